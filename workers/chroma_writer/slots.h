/* chroma_writer/slots.h - which process may write to Chroma now: leases in Redis, as many as
 * STILLHOUSE_CHROMA_WRITERS says for the whole fleet.
 *
 * A single-node Chroma is 3-4 times slower with several writers than with one, so a thread takes a
 * slot before it writes. It lets go after 500 ms at the latest, so that other processes get their
 * turn; the janitor renews what is in use, since one request may take longer than a lease lasts. A
 * lease whose holder died ends by itself after 10 s. Two writers at once (a holder that slept
 * through its lease) are slower, not wrong: document ids are deterministic.
 *
 *     bool held = false;
 *     status = slots_try(slots, conn, random, &slot, &held, &err);
 *     while (held && slots_may_go_on(slots, slot)) {
 *         chroma_upsert(...);
 *     }
 *     slots_release(slots, conn, slot);
 *
 * Any thread; the connection is the caller's.
 */
#ifndef STILLHOUSE_CHROMA_WRITER_SLOTS_H
#define STILLHOUSE_CHROMA_WRITER_SLOTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "redis/conn.h"

struct slots; /* opaque; one a process */

/* `token` names this process in the leases. */
struct slots *slots_new(const char *prefix, size_t count, const char *token);
void slots_free(struct slots *slots); /* NULL is fine */

/* Asks for one that no thread of this process has, beginning with slot `from` modulo their number.
 * *held is false where another process has it, or all are in use here. Errors: Redis' trouble. */
enum status slots_try(struct slots *slots, struct redis_conn *conn, uint64_t from, size_t *slot,
                      bool *held, struct error *err) MUSTCHECK;

/* The lease is good, and has not been held for 500 ms. */
bool slots_may_go_on(struct slots *slots, size_t slot);

/* Gives the lease back to Redis. */
void slots_release(struct slots *slots, struct redis_conn *conn, size_t slot);

/* Renews the leases in use. Called by the janitor every second, on its own connection. */
void slots_renew(struct slots *slots, struct redis_conn *conn);

#endif
