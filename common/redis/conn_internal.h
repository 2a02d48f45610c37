/* redis/conn_internal.h - the connection object and its bounded reads and writes, for redis/conn.c
 * and redis/io.c alone. */
#ifndef STILLHOUSE_REDIS_CONN_INTERNAL_H
#define STILLHOUSE_REDIS_CONN_INTERNAL_H

#include <sys/time.h>

#include "redis/conn.h"

struct ssl_ctx_st; /* OpenSSL's SSL_CTX */

/* The bound of one answer, for redis/objects.c: the reader's private data. */
struct answer_bound {
    size_t most;
    bool over; /* an answer was */
};

struct redis_conn {
    struct redis_url url;
    struct redis_timeouts timeouts;
    char where[320];
    char
        host[REDIS_HOST_BYTES]; /* where to connect to: the URL's, or the master's that was found */
    int port;
    char address[REDIS_ADDRESS_BYTES]; /* the one of the host that was connected to last */
    bool doubted;                      /* it took the connection and did not serve us */
    bool answered;                     /* something, on this connection */
    size_t sentinel;                   /* the one to ask first */
    char sentinel_addresses[REDIS_SENTINELS_MAX][REDIS_ADDRESS_BYTES]; /* that worked last */
    redis_lookup lookup;
    void *lookup_context;
    int64_t until_ms;    /* > 0: bounds whatever is read or written, besides command_ms */
    int64_t deadline_ms; /* the same, of redis_conn_set_deadline */
    int bound_ms;        /* of the write or read under way, for messages */
    enum status left; /* not OK: why the connection was closed by us in the middle of a pipeline */
    char left_text[128];
    redisContext *context; /* NULL = not connected */
    size_t pending;        /* appended, not collected yet */
    bool unsent;           /* the output buffer holds something */
    int receive_ms;        /* SO_RCVTIMEO and SO_SNDTIMEO as they are now */
    int send_ms;
    uint64_t opened;
    struct answer_bound bound;
    struct ssl_ctx_st *tls; /* redis/tls.c's own; NULL until it is needed */
};

struct timeval redis_io_to_timeval(int ms);

/* What is left until `deadline_ms`, at least 1: 0 would mean no timeout to the kernel. */
int redis_io_left_ms(int64_t deadline_ms);

/* Sets SO_RCVTIMEO or SO_SNDTIMEO where it is not so already (*current). */
bool redis_io_set_timeout(struct redis_conn *conn, int option, int ms, int *current) MUSTCHECK;

/* Judges hiredis' error, closes the connection, returns the status. `doing` is for the message. */
enum status redis_io_fail(struct redis_conn *conn, const char *doing, int saved_errno,
                          struct error *err) MUSTCHECK;

/* Sends what is in the output buffer, within the command timeout. */
enum status redis_io_flush(struct redis_conn *conn, struct error *err) MUSTCHECK;

/* Reads one reply, within the command timeout from now; the caller frees it. */
enum status redis_io_read(struct redis_conn *conn, redisReply **reply, struct error *err) MUSTCHECK;

#endif
