/* redis/sentinel.h - a connection to whatever a URL names: one server, or the master that sentinels
 * know.
 *
 *     struct redis_conn *conn = redis_open(&url, (struct redis_timeouts){3000, 5000});
 *
 * Through Sentinel: redis+sentinel://[user:password@]h1[:26379],h2,h3/name[/db][?sentinel_user=U&
 * sentinel_password=P]. Every time a connection is opened the sentinels are asked in turn for the
 * master of that name, beginning with the one that answered last; then the server must say so
 * itself (ROLE), else STATUS_UNAVAILABLE. The connect timeout bounds all of it: two thirds are
 * shared evenly by the sentinels still to be asked, so that dead ones do not eat it, and after a
 * failure the next call begins with the next one. All say that they do not know the name:
 * STATUS_INVALID; all say no, or speak something else: STATUS_REFUSED, STATUS_GARBLED; else
 * STATUS_UNREACHABLE, naming all that were asked. A server that is left for what it said
 * (redis/reply.h) is looked for again by the next call. User and password are the master's; it must
 * allow ROLE.
 *
 * Protocol: redis.io, "Guidelines for Redis clients with support for Redis Sentinel".
 */
#ifndef STILLHOUSE_REDIS_SENTINEL_H
#define STILLHOUSE_REDIS_SENTINEL_H

#include "redis/conn.h"

/* A connection object, not connected yet. `url` is copied. NULL when memory is short. */
struct redis_conn *redis_open(const struct redis_url *url,
                              struct redis_timeouts timeouts) MUSTCHECK;

#endif
