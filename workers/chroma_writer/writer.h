/* chroma_writer/writer.h - who may write to Chroma now: one writer in the whole fleet
 * (STILLHOUSE_CHROMA_WRITERS of them).
 *
 * A single-node Chroma is 3-4 times slower with several writers than with one, so a lane takes a
 * lease in Redis before it writes. Lanes of one process hand the lease to each other without a
 * round trip, for at most 500 ms, then let it go so that other processes get their turn. The
 * janitor renews leases in use. A lease whose holder died ends by itself after 10 s. Two writers at
 * once (a holder that slept through its lease) are slower, not wrong: document ids are
 * deterministic.
 *
 *     if (writer_acquire(writer, redis, token, random, &slot, &err) == STATUS_OK) {
 *         chroma_upsert(...);
 *         writer_release(writer, redis, slot);
 *     }
 *
 * Any thread; the connection is the calling lane's.
 */
#ifndef STILLHOUSE_CHROMA_WRITER_WRITER_H
#define STILLHOUSE_CHROMA_WRITER_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "redis/conn.h"
#include "rules/retry.h"

struct writer; /* opaque; one a process */

/* `token` names this process in the leases. NULL: out of memory. */
struct writer *writer_new(const char *prefix, size_t writers, const char *token) MUSTCHECK;
void writer_free(struct writer *writer);

/* Waits up to `wait_ms` for a slot. STATUS_TIMEOUT: others write all the time; otherwise Redis'
 * trouble. */
enum status writer_acquire(struct writer *writer, struct redis_conn *conn,
                           struct backoff_random *random, int64_t wait_ms, size_t *slot,
                           struct error *err) MUSTCHECK;

/* Gives the slot to a waiting lane of this process, or the lease back to Redis. */
void writer_release(struct writer *writer, struct redis_conn *conn, size_t slot);

/* True when a holder need not let go yet: the lease is good, and this process has not had it for
 * its 500 ms. */
bool writer_may_stay(struct writer *writer, size_t slot);

/* Renews the leases in use. Called by the janitor every second, on its own connection. */
void writer_renew(struct writer *writer, struct redis_conn *conn);

#endif
