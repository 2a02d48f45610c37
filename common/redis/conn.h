/* redis/conn.h - one blocking Redis connection with deadlines, that reconnects by itself.
 *
 *     struct redis_url url;
 *     redis_url_parse("redis://127.0.0.1:6379/0", &url, &err);
 *     struct redis_conn *conn = redis_conn_new(&url, (struct redis_timeouts){3000, 5000});
 *     struct redis_args args = {0};
 *     redis_args_str(&args, "GET"); redis_args_add(&args, key, key_bytes);
 *     status = redis_conn_command(conn, &args, &reply, &err);
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
 *
 * Through Sentinel: redis+sentinel://[user:password@]h1[:26379],h2,h3/name[/db][?sentinel_user=U&
 * sentinel_password=P]. Every time a connection is opened the sentinels are asked in turn for the
 * master of that name, beginning with the one that answered last; then the server must say so
 * itself (ROLE), else STATUS_UNAVAILABLE. The connect timeout bounds all of it: two thirds are
 * shared evenly by the sentinels still to be asked, so that dead ones do not eat it, and after a
 * failure the next call begins with the next one. All say that they do not know the name:
 * STATUS_INVALID; nobody says where the master is: STATUS_UNREACHABLE, naming all that were asked.
 * A server that is left for what it said (see "what an error reply means") is
 * looked for again by the next call. User and password are the master's; it must allow ROLE.
 */
#ifndef STILLHOUSE_REDIS_CONN_H
#define STILLHOUSE_REDIS_CONN_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "redis/address.h"

enum { REDIS_HOST_BYTES = 256, REDIS_SENTINELS_MAX = 8 };

/* What an answer may hold. Anybody may put a value of any size under a key that we read; the
 * largest of ours is a body of 16 MiB. */
enum {
    REDIS_VALUE_MAX = 17 * 1024 * 1024,   /* one value */
    REDIS_ANSWER_MAX = 256 * 1024 * 1024, /* all values together, where nothing else is set */
};

struct redis_host {
    char host[REDIS_HOST_BYTES];
    int port;
};

struct redis_url {
    char host[REDIS_HOST_BYTES]; /* "" for a unix socket and through Sentinel */
    char path[256];              /* unix socket, else "" */
    int port;
    int db;
    char user[128];     /* "" = none */
    char password[256]; /* "" = none */
    bool tls;           /* rediss:// */
    struct redis_host sentinels[REDIS_SENTINELS_MAX];
    size_t sentinel_count;       /* 0 = not through Sentinel */
    char master[128];            /* the name that the sentinels know */
    char sentinel_user[128];     /* "" = none */
    char sentinel_password[256]; /* "" = none */
};

/* Parses redis://user:password@host:port/db, unix:///path?db=N, rediss://..., redis+sentinel://...
 * (percent-decoding all texts; an '@' in the query must be written %40). STATUS_INVALID with a text
 * that names the URL without its passwords. */
enum status redis_url_parse(const char *text, struct redis_url *url, struct error *err) MUSTCHECK;

/* Any URL, malformed ones too, as it may stand in a message:
 * "redis://user:***@host:6379/0?key=***". What could be a password in the wrong place is "***" too:
 * without an '@' a word that is not clearly a host, and whatever a host or a path does not hold.
 * Returns `out`. */
const char *redis_url_hide(const char *text, char *out, size_t size);

/* "127.0.0.1:6379/0", the socket's path, or "h1:26379,h2:26379/name/0": for messages, without
 * secrets. Returns `out`. */
const char *redis_url_describe(const struct redis_url *url, char out[320]);

/* "host:port" or "[::1]:port". Returns `out`. */
const char *redis_host_describe(const char *host, int port, char out[REDIS_HOST_BYTES + 16]);

struct redis_timeouts {
    int connect_ms; /* > 0 */
    int command_ms; /* > 0: the bound on one write or one reply */
};

struct redis_conn; /* opaque; heap */

/* A connection object, not connected yet. `url` is copied. NULL when memory is short. */
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

/* How often a TCP/unix connection was opened (1 = never lost). */
uint64_t redis_conn_opened(const struct redis_conn *conn);

/* The argument vector of one command. Pointers are borrowed until the command is sent; numbers are
 * printed into the vector's own space. Grows on the heap past its inline room; redis_args_free.
 * redis_args_reset keeps the memory. A failed allocation sticks and fails the command. */
struct redis_args {
    const char **values;
    size_t *bytes;
    size_t count;
    size_t capacity;
    char (*numbers)[24]; /* blocks are chained so that printed numbers do not move */
    size_t numbers_used;
    void *number_blocks;
    bool failed;
};

void redis_args_reset(struct redis_args *args);
void redis_args_free(struct redis_args *args);
void redis_args_add(struct redis_args *args, const void *data, size_t bytes);
void redis_args_str(struct redis_args *args, const char *text);
void redis_args_int(struct redis_args *args, int64_t number);

/* Sends one command and reads its reply into *reply (the caller frees it with redis_reply_free).
 * STATUS_OK only when the reply is not an error; on any other status *reply is NULL. */
enum status redis_conn_command(struct redis_conn *conn, const struct redis_args *args,
                               redisReply **reply, struct error *err) MUSTCHECK;

/* Frees a whole reply, never a part of one. NULL is fine. Not hiredis' freeReplyObject: replies are
 * made in memory of their own kind. */
void redis_reply_free(redisReply *reply);

/* Pipelining: append any number, then collect exactly one reply for each, in order.
 * Append buffers only (connecting first if needed). Collect flushes, then reads one reply. Its
 * status is STATUS_OK also for an error reply: *reply is then of type REDIS_REPLY_ERROR and the
 * caller looks (redis_reply_status). On any I/O failure the connection is closed and all later
 * replies are lost. So it is after an error reply for which redis_reply_wants_reconnect: that reply
 * is given, and collecting the later ones is STATUS_UNAVAILABLE with its text. */
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

/* ---- what an error reply means -----------------------------------------------------------------
 *
 * Its first word alone decides: texts differ between Redis and Valkey. A reply means that the
 * command was refused, never that its outcome is unknown.
 *
 *   first word                              status       connection
 *   OOM                                     OOM          kept
 *   BUSY TRYAGAIN CLUSTERDOWN               UNAVAILABLE  kept: it passes by itself
 *   LOADING MASTERDOWN MISCONF NOREPLICAS   UNAVAILABLE  left: the next call connects anew, through
 *     READONLY UNBLOCKED                                 Sentinel to whoever is the master then
 *   NOGROUP                                 NOT_FOUND    kept
 *   SHFULL, SHINVALID (our functions)       FULL,        kept
 *                                           INVALID
 *   MOVED ASK                               REFUSED      kept; Redis Cluster is not followed
 *   NOAUTH WRONGPASS NOPERM WRONGTYPE       REFUSED      kept
 *     NOSCRIPT EXECABORT ERR, all others
 *
 * Who repeats what:
 *   producer   nothing; after UNAVAILABLE on a connection that was left it does not try again for
 *              retry_ms. Its callers see UNREACHABLE for UNAVAILABLE, FAILED for OOM and REFUSED.
 *   reader     everything: any failure closes, backs off (50 ms to 5 s, jitter), turns /readyz red,
 *              is logged once in 5 s, and loads the library and makes the groups anew before it
 *              reads again. Jobs that the same turn brought are worked on all the same.
 *   commit     UNAVAILABLE: up to four times within a second or so. REFUSED: once, when it finds or
 *              loads the function library ("ERR Function not found" after FUNCTION FLUSH). Else the
 *              jobs stay pending and are taken over after the visibility timeout.
 *   janitor    everything, at its next tick; OOM ends none. */

enum status redis_classify(const char *text, size_t bytes);

/* STATUS_OK for a reply that is not an error; else its class, with the text in *err. */
enum status redis_reply_status(const redisReply *reply, struct error *err) MUSTCHECK;

/* Whether the text of an error of STATUS_REFUSED says WRONGTYPE: a key holds something else than it
 * should, and only what needs that key is in trouble. */
bool redis_is_wrong_type(const struct error *err) MUSTCHECK;

/* True for what makes the connection be left: this server is not for us now. */
bool redis_reply_wants_reconnect(const redisReply *reply) MUSTCHECK;

/* The server's clock as it is when this returns, Unix ms, from one TIME command. */
enum status redis_conn_time(struct redis_conn *conn, int64_t *unix_ms, struct error *err) MUSTCHECK;

#endif
