/* recall/result_cache.h - what handlers keep in the cache's Redis: results, epochs and vectors.
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
struct store_result {
    const char *domain;
    const char *query_hash;
    bool found;
    struct slice bytes;          /* the msgpack as it stands in Redis, in the arena */
    struct enrich_result result; /* decoded, pointing into `bytes` and the arena */
    int64_t epoch;               /* the domain's epoch now; 0 when never written */
};

/* Reads results and epochs of `count` keys in one pipeline. A garbled entry is a miss. */
enum status store_read_results(struct context *ctx, struct store_result *items, size_t count,
                               struct error *err) MUSTCHECK;

struct store_write {
    const char *domain;
    const char *query_hash;
    struct slice bytes;
    int64_t ttl_ms;
};
enum status store_write_results(struct context *ctx, const struct store_write *items, size_t count,
                                struct error *err) MUSTCHECK;

/* Moves the epochs of `count` domains: their cached results are stale from now on. */
enum status store_bump_epochs(struct context *ctx, const char *const *domains, size_t count,
                              struct error *err) MUSTCHECK;

/* Vectors by text hash: found[i] says whether vectors[i * dimension] was filled (and is sound). */
enum status store_read_vectors(struct context *ctx, const char (*hashes)[TEXT_HASH_CHARS + 1],
                               size_t count, float *vectors, bool *found,
                               struct error *err) MUSTCHECK;
/* Writes those for which skip[i] is false. */
enum status store_write_vectors(struct context *ctx, const char (*hashes)[TEXT_HASH_CHARS + 1],
                                size_t count, const float *vectors, const bool *skip,
                                struct error *err) MUSTCHECK;

#endif
