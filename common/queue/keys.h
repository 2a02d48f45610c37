/* queue/keys.h - the names of Redis keys that belong to no queue (producer/CONTRACT.md, section 6).
 * Pure, any thread.
 *
 *     char key[KEYS_BYTES];
 *     status = redis_commandf(conn, NULL, &err, "DEL %s", keys_name(key, KEYS_WORKER, "sh", id));
 *
 * Behind the format stand the prefix and what is named there; the compiler checks their types.
 */
#ifndef STILLHOUSE_QUEUE_KEYS_H
#define STILLHOUSE_QUEUE_KEYS_H

#include <inttypes.h>

#include "base/status.h"

enum { KEYS_BYTES = 320 };

#define KEYS_CACHE "%s:cache:{%s}:%s"             /* domain, query hash */
#define KEYS_EPOCH "%s:epoch:{%s}"                /* domain */
#define KEYS_TWINS "%s:twins:{%s}:%s"             /* domain, text hash: of older workers */
#define KEYS_SEEN "%s:seen:{%s}:%" PRId64 ":%.*s" /* domain, period, first digits of a hash */
#define KEYS_EMBED "%s:embed:%s:%s"               /* model, text hash */
#define KEYS_PLAIN "%s:%s"                        /* prompts, workers */
#define KEYS_WORKER "%s:worker:%s"                /* id */
#define KEYS_ALIVE "%s:lease:worker:%s"           /* id */
#define KEYS_LEASE "%s:lease:chroma:%zu"          /* slot */
#define KEYS_LEARN "%s:learn:{%s}"                /* domain */
#define KEYS_RATE "%s:rate:%s"                    /* name */
#define KEYS_UPSTREAM "%s:upstream:%s:%s"         /* upstream, operation */

/* Returns `out`. A longer name is cut, which cannot happen with checked domains and settings. */
const char *keys_name(char out[KEYS_BYTES], const char *format, ...) PRINTF_LIKE(2, 3);

#endif
