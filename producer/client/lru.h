/* client/lru.h - a bounded memory cache: string key -> bytes, least recently used out first, with
 * age limit.
 *
 * Pure (`now_ms` monotonic is passed in); callers lock. Keys are foreign: the hash is keyed at
 * random.
 */
#ifndef STILLHOUSE_CLIENT_LRU_H
#define STILLHOUSE_CLIENT_LRU_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

struct lru; /* opaque; heap */

/* At most `max_entries` entries and `max_bytes` of values; entries older than `max_age_ms` are
 * misses. NULL: out of memory. */
struct lru *lru_new(size_t max_entries, size_t max_bytes, int64_t max_age_ms) MUSTCHECK;
void lru_free(struct lru *lru);

/* A copy is kept; it takes the place of the key's old value. False when it is not kept, for it is
 * over max_bytes or memory is short: the key then has no value. */
bool lru_put(struct lru *lru, const char *key, const void *value, size_t bytes, int64_t now_ms);

/* The value, aligned for any type, valid until the next call on this lru; NULL for a miss (*bytes
 * is then untouched). */
const void *lru_get(struct lru *lru, const char *key, int64_t now_ms, size_t *bytes) MUSTCHECK;

void lru_remove(struct lru *lru, const char *key);
size_t lru_count(const struct lru *lru);

#endif
