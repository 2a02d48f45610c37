/* prompt/holdout.h - which tasks are held out: have examples, and go without, so that the two can
 * be compared (producer/CONTRACT.md, section 3).
 *
 *     holdout_has(50000, "legal", "t-17")                                // of 5 %
 *
 * The domain, a NUL byte and the id are hashed (SHA-256); the first eight hex digits are a number
 * of 32 bits, and below the share of 2^32 the task is held out. So every program and language says
 * the same of a task, one that is held out at 5 % is at 10 %, and domains are independent of each
 * other. Pure, any thread.
 */
#ifndef STILLHOUSE_PROMPT_HOLDOUT_H
#define STILLHOUSE_PROMPT_HOLDOUT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

enum { HOLDOUT_ID_RANDOM = 14 }; /* where a UUIDv7's characters are no longer its time */

/* `share` in millionths; `id` is the task's, or a prompt's from HOLDOUT_ID_RANDOM on. Of a domain
 * count TEXT_DOMAIN_MAX bytes, of an id BODIES_ID_MAX. */
bool holdout_has(int64_t share, const char *domain, const char *id) MUSTCHECK;

#endif
