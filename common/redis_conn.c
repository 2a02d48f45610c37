/* redis_conn.c - one blocking connection, bounded in time whatever the server does.
 *
 * Happy path: the first call connects (AUTH, SELECT), a command is appended to hiredis' output
 * buffer, flushed, and its reply read. Failure modes: every write and every reply has a deadline.
 * hiredis only knows a timeout for a single read(2), which a server that drips bytes resets for
 * ever, so the loops stand here and shorten the socket's timeout as the deadline comes nearer. Any
 * I/O error closes the context: hiredis leaves it unusable, and replies that were on their way must
 * not be taken for later ones. SIGPIPE is held back in the writing thread, because a library may
 * not change its process' disposition and hiredis 0.14 writes with write(2).
 */
#include "redis_conn.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#ifdef HAVE_HIREDIS_SSL
#include <hiredis/hiredis_ssl.h>
#endif

#include "clock.h"

/* What one command may weigh: hiredis counts in int. */
#define COMMAND_BYTES_MAX ((size_t)1 << 30)

struct redis_conn {
    struct redis_url url;
    struct redis_timeouts timeouts;
    char where[320];
    redisContext *context; /* NULL = not connected */
    size_t pending;        /* appended, not collected yet */
    bool unsent;           /* the output buffer holds something */
    int receive_ms;        /* SO_RCVTIMEO and SO_SNDTIMEO as they are now */
    int send_ms;
    uint64_t opened;
#ifdef HAVE_HIREDIS_SSL
    redisSSLContext *ssl;
#endif
};

/* ---- life ------------------------------------------------------------------------------------ */

struct redis_conn *redis_conn_new(const struct redis_url *url, struct redis_timeouts timeouts)
{
    struct redis_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        return NULL;
    }
    conn->url = *url;
    conn->timeouts = timeouts;
    redis_url_describe(url, conn->where);
    return conn;
}

void redis_conn_close(struct redis_conn *conn)
{
    if (conn->context != NULL) {
        redisFree(conn->context);
        conn->context = NULL;
    }
    conn->pending = 0;
    conn->unsent = false;
    conn->receive_ms = 0;
    conn->send_ms = 0;
}

void redis_conn_free(struct redis_conn *conn)
{
    if (conn == NULL) {
        return;
    }
    redis_conn_close(conn);
#ifdef HAVE_HIREDIS_SSL
    if (conn->ssl != NULL) {
        redisFreeSSLContext(conn->ssl);
    }
#endif
    explicit_bzero(&conn->url, sizeof conn->url);
    free(conn);
}

bool redis_conn_is_open(const struct redis_conn *conn)
{
    return conn->context != NULL;
}

void redis_conn_set_command_timeout(struct redis_conn *conn, int command_ms)
{
    conn->timeouts.command_ms = command_ms;
}

int redis_conn_command_timeout(const struct redis_conn *conn)
{
    return conn->timeouts.command_ms;
}

uint64_t redis_conn_opened(const struct redis_conn *conn)
{
    return conn->opened;
}

const char *redis_conn_where(const struct redis_conn *conn)
{
    return conn->where;
}

/* ---- deadlines ------------------------------------------------------------------------------- */

static struct timeval to_timeval(int ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
}

/* What is left until `deadline_ms`, at least 1: 0 would mean no timeout to the kernel. */
static int left_ms(int64_t deadline_ms)
{
    const int64_t left = deadline_ms - clock_now_ms();

    if (left > INT_MAX) {
        return INT_MAX;
    }
    return left < 1 ? 1 : (int)left;
}

/* Sets SO_RCVTIMEO or SO_SNDTIMEO where it is not so already (*current). */
static bool set_socket_timeout(struct redis_conn *conn, int option, int ms, int *current)
{
    const struct timeval timeout = to_timeval(ms);

    if (*current == ms) {
        return true;
    }
    if (setsockopt(conn->context->fd, SOL_SOCKET, option, &timeout, sizeof timeout) != 0) {
        return false;
    }
    *current = ms;
    return true;
}

/* ---- failures -------------------------------------------------------------------------------- */

static bool timed_out(const redisContext *context, int saved_errno)
{
#ifdef REDIS_ERR_TIMEOUT
    if (context->err == REDIS_ERR_TIMEOUT) {
        return true;
    }
#endif
    return context->err == REDIS_ERR_IO && (saved_errno == EAGAIN || saved_errno == EWOULDBLOCK ||
                                            saved_errno == ETIMEDOUT || saved_errno == EINPROGRESS);
}

static enum status fail_timeout(struct redis_conn *conn, const char *doing, struct error *err)
{
    redis_conn_close(conn);
    return error_set(err, STATUS_TIMEOUT, "redis %s: %s took longer than %d ms", conn->where, doing,
                     conn->timeouts.command_ms);
}

/* Judges hiredis' error and closes the connection. */
static enum status fail_io(struct redis_conn *conn, const char *doing, int saved_errno,
                           struct error *err)
{
    const redisContext *context = conn->context;

    if (timed_out(context, saved_errno)) {
        return fail_timeout(conn, doing, err);
    }
    enum status status = STATUS_UNREACHABLE;
    const char *what = "connection lost";
    if (context->err == REDIS_ERR_PROTOCOL) {
        status = STATUS_GARBLED;
        what = "what answers there does not speak the Redis protocol";
    } else if (context->err == REDIS_ERR_OOM) {
        status = STATUS_OOM;
        what = "no memory";
    }
    (void)error_set(err, status, "redis %s: %s: %s (%s)", conn->where, doing, what,
                    context->errstr);
    redis_conn_close(conn);
    return status;
}

/* ---- writing --------------------------------------------------------------------------------- */

struct pipe_guard {
    sigset_t old;
    bool blocked; /* by us */
};

static void guard_begin(struct pipe_guard *guard)
{
    sigset_t pipe_only;

    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    guard->blocked = pthread_sigmask(SIG_BLOCK, &pipe_only, &guard->old) == 0 &&
                     sigismember(&guard->old, SIGPIPE) == 0;
}

/* Takes a SIGPIPE that the write raised off the thread before it can be delivered. */
static void guard_end(const struct pipe_guard *guard, bool broken)
{
    sigset_t pipe_only;
    const struct timespec at_once = {0, 0};

    if (!guard->blocked) {
        return;
    }
    if (broken) {
        sigemptyset(&pipe_only);
        sigaddset(&pipe_only, SIGPIPE);
        while (sigtimedwait(&pipe_only, NULL, &at_once) < 0 && errno == EINTR) {
        }
    }
    pthread_sigmask(SIG_SETMASK, &guard->old, NULL);
}

static int write_some(redisContext *context, int *done, int *saved_errno)
{
    struct pipe_guard guard;

    guard_begin(&guard);
    errno = 0;
    const int result = redisBufferWrite(context, done);
    *saved_errno = errno;
    guard_end(&guard, result != REDIS_OK);
    return result;
}

static enum status flush(struct redis_conn *conn, struct error *err)
{
    const int64_t deadline_ms = clock_now_ms() + conn->timeouts.command_ms;
    int done = 0;
    int saved_errno = 0;

    if (!conn->unsent) {
        return STATUS_OK;
    }
    if (!set_socket_timeout(conn, SO_SNDTIMEO, conn->timeouts.command_ms, &conn->send_ms)) {
        return fail_io(conn, "sending", errno, err);
    }
    for (;;) {
        if (write_some(conn->context, &done, &saved_errno) != REDIS_OK) {
            return fail_io(conn, "sending", saved_errno, err);
        }
        if (done) {
            conn->unsent = false;
            return STATUS_OK;
        }
        if (clock_now_ms() >= deadline_ms) {
            return fail_timeout(conn, "sending", err);
        }
        if (!set_socket_timeout(conn, SO_SNDTIMEO, left_ms(deadline_ms), &conn->send_ms)) {
            return fail_io(conn, "sending", errno, err);
        }
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

static enum status read_reply(struct redis_conn *conn, redisReply **reply, struct error *err)
{
    const int64_t deadline_ms = clock_now_ms() + conn->timeouts.command_ms;
    int wait_ms = conn->timeouts.command_ms;

    for (;;) {
        void *parsed = NULL;
        if (redisGetReplyFromReader(conn->context, &parsed) != REDIS_OK) {
            return fail_io(conn, "reading", 0, err);
        }
        if (parsed != NULL) {
            *reply = parsed;
            return STATUS_OK;
        }
        if (clock_now_ms() >= deadline_ms) {
            return fail_timeout(conn, "the answer", err);
        }
        if (!set_socket_timeout(conn, SO_RCVTIMEO, wait_ms, &conn->receive_ms)) {
            return fail_io(conn, "reading", errno, err);
        }
        errno = 0;
        if (redisBufferRead(conn->context) != REDIS_OK) {
            return fail_io(conn, "the answer", errno, err);
        }
        wait_ms = left_ms(deadline_ms);
    }
}

/* ---- connecting ------------------------------------------------------------------------------ */

static enum status append(struct redis_conn *conn, const struct redis_args *args, struct error *err)
{
    size_t total = 0;

    for (size_t i = 0; i < args->count; i++) {
        total += args->bytes[i];
    }
    if (args->failed || args->count == 0 || args->count > INT_MAX) {
        return error_set(err, STATUS_OOM, "no memory for a command");
    }
    if (total > COMMAND_BYTES_MAX) {
        return error_set(err, STATUS_INVALID, "a command of %zu bytes; at most %zu can be sent",
                         total, COMMAND_BYTES_MAX);
    }
    if (redisAppendCommandArgv(conn->context, (int)args->count, args->values, args->bytes) !=
        REDIS_OK) {
        return fail_io(conn, "sending", 0, err);
    }
    conn->unsent = true;
    conn->pending++;
    return STATUS_OK;
}

/* One command of the connection's own greeting. */
static enum status greet(struct redis_conn *conn, const struct redis_args *args, const char *what,
                         struct error *err)
{
    redisReply *reply = NULL;

    enum status status = append(conn, args, err);
    if (status == STATUS_OK) {
        status = redis_conn_collect(conn, &reply, err);
    }
    if (status != STATUS_OK) {
        return status;
    }
    status = redis_reply_status(reply, err);
    freeReplyObject(reply);
    if (status != STATUS_OK) {
        redis_conn_close(conn);
        return err == NULL ? status : error_wrap(err, "redis %s: %s", conn->where, what);
    }
    return STATUS_OK;
}

static enum status authenticate(struct redis_conn *conn, struct error *err)
{
    struct redis_args args = {0};

    redis_args_str(&args, "AUTH");
    if (conn->url.user[0] != '\0') {
        redis_args_str(&args, conn->url.user);
    }
    redis_args_str(&args, conn->url.password);
    const enum status status = greet(conn, &args, "cannot log in", err);
    redis_args_free(&args);
    return status;
}

static enum status select_database(struct redis_conn *conn, struct error *err)
{
    struct redis_args args = {0};

    redis_args_str(&args, "SELECT");
    redis_args_int(&args, conn->url.db);
    const enum status status = greet(conn, &args, "cannot select the database", err);
    redis_args_free(&args);
    return status;
}

#ifdef HAVE_HIREDIS_SSL
static enum status start_tls(struct redis_conn *conn, struct error *err)
{
    redisSSLContextError problem = REDIS_SSL_CTX_NONE;

    if (conn->ssl == NULL) {
        redisInitOpenSSL();
        conn->ssl =
            redisCreateSSLContext(NULL, "/etc/ssl/certs", NULL, NULL, conn->url.host, &problem);
    }
    if (conn->ssl == NULL) {
        (void)error_set(err, STATUS_FAILED, "redis %s: no TLS: %s", conn->where,
                        redisSSLContextGetError(problem));
        redis_conn_close(conn);
        return STATUS_FAILED;
    }
    /* hiredis' TLS reads and writes inside the handshake: bound them too. */
    if (!set_socket_timeout(conn, SO_RCVTIMEO, conn->timeouts.connect_ms, &conn->receive_ms) ||
        !set_socket_timeout(conn, SO_SNDTIMEO, conn->timeouts.connect_ms, &conn->send_ms) ||
        redisInitiateSSLWithContext(conn->context, conn->ssl) != REDIS_OK) {
        return fail_io(conn, "TLS handshake", errno, err);
    }
    return STATUS_OK;
}
#else
static enum status start_tls(struct redis_conn *conn, struct error *err)
{
    redis_conn_close(conn);
    return error_set(err, STATUS_INVALID,
                     "redis %s: rediss:// needs hiredis with TLS, and this program was built "
                     "without it",
                     conn->where);
}
#endif

static enum status open_socket(struct redis_conn *conn, struct error *err)
{
    const struct timeval timeout = to_timeval(conn->timeouts.connect_ms);

    conn->context = conn->url.path[0] != '\0'
                        ? redisConnectUnixWithTimeout(conn->url.path, timeout)
                        : redisConnectWithTimeout(conn->url.host, conn->url.port, timeout);
    if (conn->context == NULL) {
        return error_set(err, STATUS_OOM, "redis %s: no memory for a connection", conn->where);
    }
    if (conn->context->err != 0) {
        (void)error_set(err, STATUS_UNREACHABLE, "redis %s: cannot connect: %s", conn->where,
                        conn->context->errstr);
        redis_conn_close(conn);
        return STATUS_UNREACHABLE;
    }
    if (conn->url.path[0] == '\0' && redisEnableKeepAlive(conn->context) != REDIS_OK) {
        return fail_io(conn, "keepalive", errno, err);
    }
    return STATUS_OK;
}

enum status redis_conn_connect(struct redis_conn *conn, struct error *err)
{
    if (conn->context != NULL) {
        return STATUS_OK;
    }
#ifndef HAVE_HIREDIS_SSL
    if (conn->url.tls) {
        return start_tls(conn, err);
    }
#endif

    enum status status = open_socket(conn, err);
    if (status == STATUS_OK && conn->url.tls) {
        status = start_tls(conn, err);
    }
    if (status == STATUS_OK && conn->url.password[0] != '\0') {
        status = authenticate(conn, err);
    }
    if (status == STATUS_OK && conn->url.db != 0) {
        status = select_database(conn, err);
    }
    if (status == STATUS_OK) {
        conn->opened++;
    }
    return status;
}

/* ---- commands -------------------------------------------------------------------------------- */

enum status redis_conn_append(struct redis_conn *conn, const struct redis_args *args,
                              struct error *err)
{
    const enum status status = redis_conn_connect(conn, err);

    return status == STATUS_OK ? append(conn, args, err) : status;
}

enum status redis_conn_collect(struct redis_conn *conn, redisReply **reply, struct error *err)
{
    *reply = NULL;
    if (conn->context == NULL || conn->pending == 0) {
        return error_set(err, STATUS_UNREACHABLE, "redis %s: connection lost before the answer",
                         conn->where);
    }

    enum status status = flush(conn, err);
    if (status == STATUS_OK) {
        status = read_reply(conn, reply, err);
    }
    if (status == STATUS_OK) {
        conn->pending--;
    }
    return status;
}

enum status redis_conn_command(struct redis_conn *conn, const struct redis_args *args,
                               redisReply **reply, struct error *err)
{
    *reply = NULL;
    if (conn->pending > 0) {
        return error_set(err, STATUS_FAILED,
                         "redis %s: %zu pipelined answers must be collected first", conn->where,
                         conn->pending);
    }

    enum status status = redis_conn_append(conn, args, err);
    if (status == STATUS_OK) {
        status = redis_conn_collect(conn, reply, err);
    }
    if (status != STATUS_OK) {
        return status;
    }
    status = redis_reply_status(*reply, err);
    if (status != STATUS_OK) {
        const bool reconnect = redis_reply_wants_reconnect(*reply);
        freeReplyObject(*reply);
        *reply = NULL;
        if (reconnect) {
            redis_conn_close(conn);
        }
        return err == NULL ? status : error_wrap(err, "redis %s", conn->where);
    }
    return STATUS_OK;
}
