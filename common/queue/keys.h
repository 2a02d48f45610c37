/* queue/keys.h - the names of Redis keys that belong to no queue (producer/CONTRACT.md, section 6).
 * Pure, any thread.
 *
 * `out` must hold KEYS_BYTES; a longer name is cut, which cannot happen with checked domains and
 * settings.
 */
#ifndef STILLHOUSE_QUEUE_KEYS_H
#define STILLHOUSE_QUEUE_KEYS_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { KEYS_BYTES = 320 };

const char *keys_cache(char out[KEYS_BYTES], const char *prefix, const char *domain,
                       const char *query_hash); /* sh:cache:{legal}:<hash> */
const char *keys_epoch(char out[KEYS_BYTES], const char *prefix,
                       const char *domain); /* sh:epoch:{legal} */
const char *keys_twins(char out[KEYS_BYTES], const char *prefix, const char *domain,
                       const char *text_hash); /* sh:twins:{legal}:<hash>: of older workers */
const char *keys_seen(char out[KEYS_BYTES], const char *prefix, const char *domain, int64_t period,
                      const char *text_hash,
                      int digits); /* sh:seen:{legal}:<period>:<first digits of the hash> */
const char *keys_embed(char out[KEYS_BYTES], const char *prefix, const char *model,
                       const char *text_hash); /* sh:embed:<model>:<hash> */
const char *keys_plain(char out[KEYS_BYTES], const char *prefix,
                       const char *name); /* sh:<name>: prompts, workers */
const char *keys_worker(char out[KEYS_BYTES], const char *prefix,
                        const char *id); /* sh:worker:<id> */
const char *keys_lease(char out[KEYS_BYTES], const char *prefix,
                       size_t slot); /* sh:lease:chroma:<slot> */
const char *keys_alive(char out[KEYS_BYTES], const char *prefix,
                       const char *id); /* sh:lease:worker:<id> */
const char *keys_rate(char out[KEYS_BYTES], const char *prefix,
                      const char *name); /* sh:rate:<name> */
const char *keys_upstream(char out[KEYS_BYTES], const char *prefix, const char *upstream,
                          const char *operation); /* sh:upstream:<upstream>:<operation> */

#endif
