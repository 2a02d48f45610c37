/* learn/owner.h - which learning store is the fleet's, and which worker may write to it now: what
 * the queue's Redis knows of both.
 *
 *     const struct owner owner = {"sh", store_id(store), "worker-1", false};
 *     const int64_t asked_ms = clock_now_ms();
 *     if (owner_claim(conn, &owner, &err) == STATUS_OK) {
 *         ... write until asked_ms + OWNER_LEASE_MS / 2, then claim again ...
 *     }
 *     owner_release(conn, &owner);
 *
 * sh:learn:store holds the id of the one store: a second file, begun on another machine, would be a
 * second history that knows nothing of the first. sh:lease:learn names the worker that writes, for
 * OWNER_LEASE_MS: of two machines with copies of one file one writes. On one machine the lock on
 * the file keeps out all others, also while a writer sleeps through its lease. To a store on a
 * server any number may write at once, where it is the one that is registered.
 *
 * One connection, one thread at a time.
 */
#ifndef STILLHOUSE_LEARN_OWNER_H
#define STILLHOUSE_LEARN_OWNER_H

#include <stdbool.h>

#include "base/status.h"
#include "redis/conn.h"

enum { OWNER_LEASE_MS = 6000 };

/* All borrowed. */
struct owner {
    const char *prefix;   /* of every key */
    const char *store_id; /* store_id() */
    const char *worker;   /* who asks: its id, alone in the fleet */
    bool is_shared;       /* database_is_shared(): any number may write, and there is no lease */
};

/* Registers the store where none is, and takes or prolongs the lease. MISMATCH: another store is
 * registered, and the lease is let go; UNAVAILABLE: another worker has the lease, and is named;
 * else Redis' trouble. */
enum status owner_claim(struct redis_conn *conn, const struct owner *owner,
                        struct error *err) MUSTCHECK;

/* Ends the lease where it is ours; what cannot be said ends by itself. */
void owner_release(struct redis_conn *conn, const struct owner *owner);

/* From now on this store is the fleet's, whatever was registered: whoever writes to another stops
 * within a few seconds. */
enum status owner_adopt(struct redis_conn *conn, const char *prefix, const char *store_id,
                        struct error *err) MUSTCHECK;

#endif
