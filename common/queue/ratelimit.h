/* queue/ratelimit.h - a rate kept by the whole fleet: "100/60s" calls to the embedder
 * (STILLHOUSE_EMBED_RATE).
 *
 * A generic cell rate (GCRA) over one Redis key, in the function sh_rate: takes `cost` tokens or
 * says how long to wait.
 */
#ifndef STILLHOUSE_QUEUE_RATELIMIT_H
#define STILLHOUSE_QUEUE_RATELIMIT_H

#include <stdint.h>

#include "base/status.h"
#include "redis/conn.h"

/* *wait_ms = 0: taken. > 0: nothing was taken; ask again after so long. The key is sh:rate:<name>.
 */
enum status ratelimit_take(struct redis_conn *conn, const char *key, int64_t count,
                           int64_t window_ms, int64_t cost, int64_t *wait_ms,
                           struct error *err) MUSTCHECK;

#endif
