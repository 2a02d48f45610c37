/* queue/limits.h - what the whole fleet keeps in one Redis key: a lease, and a rate.
 *
 * A lease is "at most one holder at a time", kept in one Redis key that ends by itself.
 *
 *     const struct lease lease = {key, token, .ttl_ms = 10000};
 *     if (lease_take(conn, &lease, &taken, &err) == STATUS_OK && taken) {
 *         ... lease_renew(conn, &lease, &held, &err) every few seconds ...
 *         status = lease_release(conn, key, token, &err);
 *     }
 *
 * The holder is a token, any text that names it alone in the fleet; only it can renew or release.
 * The functions behind it (sh_lease_*, lua/limits.lua) are atomic, judge time by the server's clock
 * and are allowed when Redis is out of memory. A holder that sleeps through `ttl_ms` loses the
 * lease without being told: what it protects must bear two holders for a moment. One connection,
 * one thread at a time. Errors: those of redis_conn_command, STATUS_INVALID for an empty token or a
 * ttl_ms under 1.
 *
 * A rate is "100/60s" calls to the embedder (STILLHOUSE_EMBED_RATE): a generic cell rate (GCRA),
 * which takes `cost` tokens or says how long to wait.
 */
#ifndef STILLHOUSE_QUEUE_LIMITS_H
#define STILLHOUSE_QUEUE_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "redis/conn.h"

struct lease {
    const char *key;
    const char *token;
    int64_t ttl_ms;
};

/* *taken: it is ours for `ttl_ms` from now. Taking one's own lease again prolongs it, so the call
 * may be repeated after an unknown outcome. Of those who are refused the first one comes next; its
 * turn lapses when it does not ask again within 50 ms. */
enum status lease_take(struct redis_conn *conn, const struct lease *lease, bool *taken,
                       struct error *err) MUSTCHECK;

/* *held: it was still ours, and is for `ttl_ms` from now. Never takes a lease that is free. */
enum status lease_renew(struct redis_conn *conn, const struct lease *lease, bool *held,
                        struct error *err) MUSTCHECK;

/* Ends it where it is ours; somebody else's, or none, is left alone and is no error. */
enum status lease_release(struct redis_conn *conn, const char *key, const char *token,
                          struct error *err) MUSTCHECK;

struct rate {
    const char *key; /* sh:rate:<name> */
    int64_t count;
    int64_t window_ms;
};

/* *wait_ms = 0: taken. > 0: nothing was taken; ask again after so long. */
enum status ratelimit_take(struct redis_conn *conn, const struct rate *rate, int64_t cost,
                           int64_t *wait_ms, struct error *err) MUSTCHECK;

#endif
