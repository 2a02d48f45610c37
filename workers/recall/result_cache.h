/* recall/result_cache.h - what handlers keep in the cache's Redis: results and epochs.
 * Pipelined, batch by batch.
 *
 * Everything here may be lost at any time (the cache may evict): a failure to read is a miss, a
 * failure to write is said in the status and harms nobody but speed. Runs in the lane's thread.
 */
#ifndef STILLHOUSE_RECALL_RESULT_CACHE_H
#define STILLHOUSE_RECALL_RESULT_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "context/context.h"
#include "jobs/bodies.h"

/* One (domain, query_hash): in the first two fields, out the rest. */
struct cached_result {
    const char *domain;
    const char *query_hash;
    bool found;
    struct slice bytes;          /* the msgpack as it stands in Redis, in the arena */
    struct enrich_result result; /* decoded, pointing into `bytes` and the arena */
    int64_t epoch;               /* the domain's epoch now; 0 when never written */
};

/* Reads results and epochs of `count` keys in one pipeline. A garbled entry is a miss. */
enum status result_cache_read(struct context *ctx, struct cached_result *items, size_t count,
                              struct error *err) MUSTCHECK;

struct result_write {
    const char *domain;
    const char *query_hash;
    struct slice bytes;
    int64_t ttl_ms;
};
enum status result_cache_write(struct context *ctx, const struct result_write *items, size_t count,
                               struct error *err) MUSTCHECK;

/* Moves the epochs of `count` domains, also where the cache's Redis is full: their cached results
 * are stale from now on. */
enum status result_cache_outdate(struct context *ctx, const char *const *domains, size_t count,
                                 struct error *err) MUSTCHECK;

#endif
