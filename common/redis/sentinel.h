/* redis/sentinel.h - where the master is, as Sentinel says; for redis/conn.c alone.
 *
 * Protocol: redis.io, "Guidelines for Redis clients with support for Redis Sentinel": ask a
 * sentinel, connect to what it names, and believe it only when that server says "master" itself.
 * All within conn->until_ms. In the connection's thread.
 */
#ifndef STILLHOUSE_REDIS_SENTINEL_H
#define STILLHOUSE_REDIS_SENTINEL_H

#include "redis/conn_internal.h"

/* Asks the sentinels in turn and sets conn->host, port and where to the master that one of them
 * named. INVALID: all of them do not know the name; REFUSED, GARBLED: all of them said no, or spoke
 * something else; UNREACHABLE otherwise. */
enum status redis_sentinel_find(struct redis_conn *conn, struct error *err) MUSTCHECK;

/* Asks the server that conn is connected to for its role. UNAVAILABLE, and conn is closed, when it
 * is no master. */
enum status redis_sentinel_verify(struct redis_conn *conn, struct error *err) MUSTCHECK;

/* What the last sentinel named was no good: the next one is asked first. */
void redis_sentinel_doubt(struct redis_conn *conn);

#endif
