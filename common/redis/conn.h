/* redis/conn.h - one blocking Redis connection with deadlines, that reconnects by itself.
 *
 *     struct redis_url url;
 *     status = redis_url_parse("redis://127.0.0.1:6379/0", &url, &err);
 *     struct redis_conn *conn = redis_open(&url, (struct redis_timeouts){3000, 5000});
 *     redisReply *reply = NULL;
 *     status = redis_commandf(conn, &reply, &err, "GET %s", key);
 *     ...
 *     redis_reply_free(reply);
 *
 * A call connects first when there is no connection (AUTH and SELECT included). After an I/O error
 * or a timeout the connection is closed (hiredis leaves it unusable) and the outcome is unknown:
 * STATUS_UNREACHABLE or STATUS_TIMEOUT; repeat only what is idempotent. An error reply is a
 * refusal; its first word decides the status, see redis_classify. One thread at a time; one context
 * per thread.
 *
 * A name with several addresses: all are tried within the connect timeout, each with its share,
 * beginning with the one that worked last; one that took the connection and then never answered, or
 * said "not now", goes last. The error names them.
 */
#ifndef STILLHOUSE_REDIS_CONN_H
#define STILLHOUSE_REDIS_CONN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "redis/address.h"
#include "redis/args.h"
#include "redis/reply.h"
#include "redis/url.h"

struct redis_timeouts {
    int connect_ms; /* > 0 */
    int command_ms; /* > 0: the bound on one write or one reply */
};

struct redis_conn; /* opaque; heap */

/* A connection object to the one server that `url` names, not connected yet. `url` is copied. NULL
 * when memory is short. What may be reached through Sentinel is made by redis_open
 * (redis/sentinel.h). */
struct redis_conn *redis_conn_new(const struct redis_url *url,
                                  struct redis_timeouts timeouts) MUSTCHECK;
void redis_conn_free(struct redis_conn *conn); /* NULL is fine */

/* Connects now if there is no connection. rediss:// without TLS in hiredis: STATUS_INVALID. */
enum status redis_conn_connect(struct redis_conn *conn, struct error *err) MUSTCHECK;

/* Closes the connection; the next call opens a new one. */
void redis_conn_close(struct redis_conn *conn);
bool redis_conn_is_open(const struct redis_conn *conn);

/* Changes the bound on one write or reply from the next call on. */
void redis_conn_set_command_timeout(struct redis_conn *conn, int command_ms);
int redis_conn_command_timeout(const struct redis_conn *conn);

/* Nothing on this connection, connecting among it, takes longer than until then (monotonic),
 * whatever the timeouts are; 0 = no such bound. */
void redis_conn_set_deadline(struct redis_conn *conn, int64_t deadline_ms);

/* The server as redis_url_describe names it; through Sentinel the master that was found last, and
 * who named it. Lives as long as the connection object; connecting may change the text. */
const char *redis_conn_where(const struct redis_conn *conn);

/* Finds the addresses of a host, within `timeout_ms`. */
typedef enum status (*redis_lookup)(void *context, const char *host, int timeout_ms,
                                    struct redis_addresses *out, struct error *err);

/* Names of servers, sentinels and masters go through `lookup` instead of the system's resolver,
 * which no timeout can stop; then the connect timeout bounds the look-up too. `context` is borrowed
 * as long as the connection object lives. */
void redis_conn_set_lookup(struct redis_conn *conn, redis_lookup lookup, void *context);

/* What a finder is told: when it must have found, whether what it found last was no good, and how
 * names are looked up. */
struct redis_search {
    int64_t until_ms; /* monotonic */
    bool failed;
    redis_lookup lookup; /* NULL: the system's resolver */
    void *lookup_context;
};

/* Finds the server each time a connection is opened, for a URL that only names who knows it. It
 * sets `at`, and `where` for messages. What was found must then call itself "master" (ROLE). */
struct redis_finder {
    enum status (*find)(void *state, const struct redis_search *search, struct redis_host *at,
                        char where[REDIS_WHERE_BYTES], struct error *err);
    void (*free)(void *state);
    void *state;
};

/* The connection owns the finder's state from now on. */
void redis_conn_set_finder(struct redis_conn *conn, const struct redis_finder *finder);

/* How often a TCP/unix connection was opened (1 = never lost). */
uint64_t redis_conn_opened(const struct redis_conn *conn);

/* Sends one command and reads its reply into *reply (the caller frees it with redis_reply_free).
 * STATUS_OK only when the reply is not an error; on any other status *reply is NULL. */
enum status redis_conn_command(struct redis_conn *conn, const struct redis_args *args,
                               redisReply **reply, struct error *err) MUSTCHECK;

/* The command that `format` and its values make (redis_args_format). `reply` may be NULL: the
 * answer is looked at for an error and freed. */
enum status redis_commandf(struct redis_conn *conn, redisReply **reply, struct error *err,
                           const char *format, ...) PRINTF_LIKE(4, 5) MUSTCHECK;

/* The same for an answer of this shape (redis_reply_has_shape); GARBLED, in words, for another. */
enum status redis_fetchf(struct redis_conn *conn, const char *shape, redisReply **reply,
                         struct error *err, const char *format, ...) PRINTF_LIKE(5, 6) MUSTCHECK;
/* From arguments, which it frees. */
enum status redis_fetch(struct redis_conn *conn, struct redis_args *args, const char *shape,
                        redisReply **reply, struct error *err) MUSTCHECK;

/* The same where an error is an answer too: STATUS_OK, and *reply may be a REDIS_REPLY_ERROR. */
enum status redis_askf(struct redis_conn *conn, redisReply **reply, struct error *err,
                       const char *format, ...) PRINTF_LIKE(4, 5) MUSTCHECK;

/* Pipelining by hand, for a connection on which a command stands for long: append any number, then
 * collect exactly one reply for each, in order. Append buffers only (connecting first if needed).
 * Collect flushes, then reads one reply. Its status is STATUS_OK also for an error reply: *reply is
 * then of type REDIS_REPLY_ERROR and the caller looks (redis_reply_status). On any I/O failure the
 * connection is closed and all later replies are lost. So it is after an error reply for which
 * redis_reply_wants_reconnect: that reply is given, and collecting the later ones is
 * STATUS_UNAVAILABLE with its text. */
enum status redis_conn_append(struct redis_conn *conn, const struct redis_args *args,
                              struct error *err) MUSTCHECK;
enum status redis_conn_collect(struct redis_conn *conn, redisReply **reply,
                               struct error *err) MUSTCHECK;

/* Bounds the bytes of one answer. A larger one is STATUS_FAILED, and the connection is closed, as
 * it is after a value of more than REDIS_VALUE_MAX. */
void redis_conn_set_answer_max(struct redis_conn *conn, size_t bytes);

/* Sends what was appended and waits up to `wait_ms` for the first byte of an answer, which is not
 * read: *ready says that redis_conn_collect need not wait for it. For a thread that has other
 * things to do while a blocking command stands. */
enum status redis_conn_wait(struct redis_conn *conn, int64_t wait_ms, bool *ready,
                            struct error *err) MUSTCHECK;

/* Ends a pipeline: where answers are outstanding, the connection is closed, so that they are never
 * taken for those of a later command. Does nothing where there are none. */
void redis_conn_abandon(struct redis_conn *conn);

/* The server's clock as it is when this returns, Unix ms, from one TIME command. */
enum status redis_conn_time(struct redis_conn *conn, int64_t *unix_ms, struct error *err) MUSTCHECK;

#endif
