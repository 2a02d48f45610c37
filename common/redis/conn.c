/* redis/conn.c - one blocking connection, bounded in time whatever the server does.
 *
 * Happy path: the first call connects (AUTH, SELECT), a command is appended to hiredis' output
 * buffer, flushed, and its reply read. Failure modes: every write and every reply has a deadline.
 * hiredis only knows a timeout for a single read(2), which a server that drips bytes resets for
 * ever, so the loops stand here and shorten the socket's timeout as the deadline comes nearer. Any
 * I/O error closes the context: hiredis leaves it unusable, and replies that were on their way must
 * not be taken for later ones. SIGPIPE is held back in the writing thread, because a library may
 * not change its process' disposition and hiredis 0.14 writes with write(2).
 */
#include "redis/conn.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "base/clock.h"
#include "redis/tls.h"

/* What one command may weigh: hiredis counts in int. */
#define COMMAND_BYTES_MAX ((size_t)1 << 30)

enum { SHARE_MIN_MS = 5, LIST_BYTES = 200, GRACE_MS = 50 };

struct redis_conn {
    struct redis_url url;
    struct redis_timeouts timeouts;
    char where[REDIS_WHERE_BYTES];
    struct redis_host at;              /* where to connect to: the URL's, or what was found */
    struct redis_finder finder;        /* .find is NULL where the URL says it */
    bool found_in_vain;                /* what it found last was no good */
    char address[REDIS_ADDRESS_BYTES]; /* the one of the host that was connected to last */
    bool doubted;                      /* it took the connection and did not serve us */
    bool answered;                     /* something, on this connection */
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
    struct redis_answer_bound bound;
    struct redis_tls *tls; /* NULL until it is needed */
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
    memcpy(conn->at.host, url->host, sizeof conn->at.host);
    conn->at.port = url->port;
    conn->bound.most = REDIS_ANSWER_MAX;
    redis_url_describe(url, conn->where);
    return conn;
}

void redis_conn_set_answer_max(struct redis_conn *conn, size_t bytes)
{
    conn->bound.most = bytes;
}

void redis_conn_set_lookup(struct redis_conn *conn, redis_lookup lookup, void *context)
{
    conn->lookup = lookup;
    conn->lookup_context = context;
}

void redis_conn_set_finder(struct redis_conn *conn, const struct redis_finder *finder)
{
    conn->finder = *finder;
}

static void drop(struct redis_conn *conn)
{
    redisFree(conn->context);
    conn->context = NULL;
}

void redis_conn_close(struct redis_conn *conn)
{
    if (conn->context != NULL) {
        conn->doubted = !conn->answered;
        drop(conn);
    }
    conn->pending = 0;
    conn->left = STATUS_OK;
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
    redis_tls_free(conn->tls);
    if (conn->finder.find != NULL) {
        conn->finder.free(conn->finder.state);
    }
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

void redis_conn_set_deadline(struct redis_conn *conn, int64_t deadline_ms)
{
    conn->deadline_ms = deadline_ms;
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

/* The deadline of a write or a read that begins now. */
static int64_t begin(struct redis_conn *conn)
{
    const int64_t now_ms = clock_now_ms();
    const int64_t bounds[] = {conn->until_ms, conn->deadline_ms};
    int64_t deadline_ms = now_ms + conn->timeouts.command_ms;

    conn->bound_ms = conn->timeouts.command_ms;
    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        if (bounds[i] > 0 && bounds[i] < deadline_ms) {
            deadline_ms = bounds[i];
            conn->bound_ms = clock_left_ms(deadline_ms);
        }
    }
    return deadline_ms;
}

static bool set_timeout(struct redis_conn *conn, int option, int ms, int *current)
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
                     conn->bound_ms);
}

/* The rest of the answer would have to be read to be skipped: the connection goes. The server is
 * well. */
static enum status fail_large(struct redis_conn *conn, const char *doing, struct error *err)
{
    conn->answered = true;
    redis_conn_close(conn);
    return error_set(err, STATUS_FAILED,
                     "redis %s: %s: a value of more than %d MiB, or more than %zu MiB in all",
                     conn->where, doing, REDIS_VALUE_MAX >> 20, conn->bound.most >> 20);
}

static enum status fail(struct redis_conn *conn, const char *doing, int saved_errno,
                        struct error *err)
{
    const redisContext *context = conn->context;

    if (timed_out(context, saved_errno)) {
        return fail_timeout(conn, doing, err);
    }
    enum status status = STATUS_UNREACHABLE;
    const char *what = "connection lost";
    if (conn->bound.over) {
        return fail_large(conn, doing, err);
    }
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
    const int64_t deadline_ms = begin(conn);
    int done = 0;
    int saved_errno = 0;

    if (!conn->unsent) {
        return STATUS_OK;
    }
    if (!set_timeout(conn, SO_SNDTIMEO, conn->bound_ms, &conn->send_ms)) {
        return fail(conn, "sending", errno, err);
    }
    for (;;) {
        if (write_some(conn->context, &done, &saved_errno) != REDIS_OK) {
            return fail(conn, "sending", saved_errno, err);
        }
        if (done) {
            conn->unsent = false;
            return STATUS_OK;
        }
        if (clock_now_ms() >= deadline_ms) {
            return fail_timeout(conn, "sending", err);
        }
        if (!set_timeout(conn, SO_SNDTIMEO, clock_left_ms(deadline_ms), &conn->send_ms)) {
            return fail(conn, "sending", errno, err);
        }
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

static bool is_readable(const struct redis_conn *conn)
{
    struct pollfd socket = {.fd = conn->context->fd, .events = POLLIN};

    return poll(&socket, 1, 0) > 0;
}

enum status redis_conn_wait(struct redis_conn *conn, int64_t wait_ms, bool *ready,
                            struct error *err)
{
    *ready = false;
    if (conn->context == NULL) {
        return error_set(err, STATUS_UNREACHABLE, "redis %s: connection lost", conn->where);
    }
    TRY(flush(conn, err));
    struct pollfd socket = {.fd = conn->context->fd, .events = POLLIN};
    *ready = poll(&socket, 1, wait_ms > INT_MAX ? INT_MAX : (int)wait_ms) > 0;
    return STATUS_OK;
}

/* True when a read whose deadline was `deadline_ms` ends without its answer. A process that was
 * stopped (SIGSTOP, a paused machine) finds itself too late with its answer lying there: that is
 * still read, for GRACE_MS at most and as long as there is no waiting. */
static bool is_late(const struct redis_conn *conn, int64_t deadline_ms, int64_t *grace_until_ms)
{
    const int64_t now_ms = clock_now_ms();

    if (now_ms < deadline_ms) {
        return false;
    }
    if (*grace_until_ms == 0) {
        *grace_until_ms = now_ms + GRACE_MS;
    }
    return now_ms >= *grace_until_ms || !is_readable(conn);
}

static enum status read_reply(struct redis_conn *conn, redisReply **reply, struct error *err)
{
    const int64_t deadline_ms = begin(conn);
    int64_t grace_until_ms = 0;
    int wait_ms = conn->bound_ms;

    for (;;) {
        void *parsed = NULL;
        if (redisGetReplyFromReader(conn->context, &parsed) != REDIS_OK) {
            return fail(conn, "reading", 0, err);
        }
        if (parsed != NULL) {
            *reply = parsed;
            return STATUS_OK;
        }
        const redisReader *reader = conn->context->reader;
        if (reader->len - reader->pos > REDIS_VALUE_MAX) {
            return fail_large(conn, "the answer", err);
        }
        if (is_late(conn, deadline_ms, &grace_until_ms)) {
            return fail_timeout(conn, "the answer", err);
        }
        if (!set_timeout(conn, SO_RCVTIMEO, wait_ms, &conn->receive_ms)) {
            return fail(conn, "reading", errno, err);
        }
        errno = 0;
        if (redisBufferRead(conn->context) != REDIS_OK) {
            return fail(conn, "the answer", errno, err);
        }
        wait_ms = clock_left_ms(deadline_ms);
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
        return fail(conn, "sending", 0, err);
    }
    conn->unsent = true;
    conn->pending++;
    return STATUS_OK;
}

static enum status ask(struct redis_conn *conn, redisReply **reply, struct error *err,
                       const char *format, va_list values) PRINTF_LIKE(4, 0);
static enum status greet(struct redis_conn *conn, const char *what, struct error *err,
                         const char *format, ...) PRINTF_LIKE(4, 5);

/* One command of the connection's own greeting. */
static enum status greet(struct redis_conn *conn, const char *what, struct error *err,
                         const char *format, ...)
{
    redisReply *reply = NULL;
    va_list values;

    va_start(values, format);
    enum status status = ask(conn, &reply, err, format, values);
    va_end(values);
    TRY(status);
    status = redis_reply_status(reply, err);
    redis_reply_free(reply);
    if (status != STATUS_OK) {
        redis_conn_close(conn);
        return err == NULL ? status : error_wrap(err, "redis %s: %s", conn->where, what);
    }
    return STATUS_OK;
}

/* A server that does not know AUTH quotes what it was sent. In place, "***" for the password, also
 * where the text breaks off in the middle of it. */
static void blank(char *text, const char *password)
{
    enum { SHORTEST = 4 }; /* a password shorter than this stands in any text */
    const size_t bytes = strlen(password);

    for (char *at = text; bytes >= SHORTEST && *at != '\0'; at++) {
        size_t same = 0;
        while (same < bytes && at[same] == password[same]) {
            same++;
        }
        if (same == bytes || (same >= SHORTEST && at[same] == '\0')) {
            memset(at, '*', 3);
            memmove(at + 3, at + same, strlen(at + same) + 1);
            at += 2;
        }
    }
}

static enum status authenticate(struct redis_conn *conn, struct error *err)
{
    static const char what[] = "cannot log in";
    const struct redis_url *url = &conn->url;

    const enum status status = url->user[0] == '\0'
                                   ? greet(conn, what, err, "AUTH %s", url->password)
                                   : greet(conn, what, err, "AUTH %s %s", url->user, url->password);
    if (status != STATUS_OK) {
        blank(conn->left_text, conn->url.password);
        if (err != NULL) {
            blank(err->text, conn->url.password);
        }
    }
    return status;
}

/* With TLS 1.3 the server's session tickets come before its first answer. Where nothing is asked in
 * greeting they would make the socket readable for who waits for an answer: they are read with this
 * one, whatever it says. */
static enum status read_tickets(struct redis_conn *conn, struct error *err)
{
    redisReply *reply = NULL;

    enum status status = redis_askf(conn, &reply, err, "PING");
    if (status == STATUS_OK && conn->context == NULL) { /* an answer that is not for staying */
        status = redis_reply_status(reply, err);
    }
    redis_reply_free(reply);
    return status;
}

/* Why no address of the host took the connection: "127.0.0.2: Connection refused, ::1: ...". */
static void note(char list[LIST_BYTES], const char *address, const struct redis_conn *conn)
{
    const size_t used = strlen(list);
    const bool named = strcmp(address, conn->at.host) != 0; /* else the message has it already */

    snprintf(list + used, LIST_BYTES - used, "%s%s%s%s", used == 0 ? "" : ", ",
             named ? address : "", named ? ": " : "", conn->context->errstr);
}

/* An even share of what is left for this address, but not nothing. */
static struct timeval share_of(int64_t deadline_ms, size_t still_to_try)
{
    const int share_ms = clock_left_ms(deadline_ms) / (int)still_to_try;

    return to_timeval(share_ms < SHARE_MIN_MS ? SHARE_MIN_MS : share_ms);
}

static enum status find_addresses(struct redis_conn *conn, int64_t deadline_ms,
                                  struct redis_addresses *found, struct error *err)
{
    const enum status status = conn->lookup == NULL
                                   ? redis_address_find(conn->at.host, found, err)
                                   : conn->lookup(conn->lookup_context, conn->at.host,
                                                  clock_left_ms(deadline_ms), found, err);
    if (status != STATUS_OK) {
        return err == NULL ? status : error_wrap(err, "redis %s", conn->where);
    }
    redis_address_order(found, conn->address, conn->doubted);
    return STATUS_OK;
}

/* Tries one address of the host after the other. */
static enum status open_tcp(struct redis_conn *conn, int64_t deadline_ms, struct error *err)
{
    struct redis_addresses found;
    char list[LIST_BYTES] = "";

    TRY(find_addresses(conn, deadline_ms, &found, err));
    for (size_t i = 0; i < found.count; i++) {
        conn->context = redisConnectWithTimeout(found.text[i], conn->at.port,
                                                share_of(deadline_ms, found.count - i));
        if (conn->context == NULL) {
            return error_set(err, STATUS_OOM, "redis %s: no memory for a connection", conn->where);
        }
        if (conn->context->err == 0) {
            memcpy(conn->address, found.text[i], sizeof conn->address);
            return STATUS_OK;
        }
        note(list, found.text[i], conn);
        drop(conn);
    }
    return error_set(err, STATUS_UNREACHABLE, "redis %s: cannot connect: %s", conn->where, list);
}

static enum status open_unix(struct redis_conn *conn, int64_t deadline_ms, struct error *err)
{
    conn->context = redisConnectUnixWithTimeout(conn->url.path, share_of(deadline_ms, 1));
    if (conn->context == NULL) {
        return error_set(err, STATUS_OOM, "redis %s: no memory for a connection", conn->where);
    }
    if (conn->context->err != 0) {
        (void)error_set(err, STATUS_UNREACHABLE, "redis %s: cannot connect: %s", conn->where,
                        conn->context->errstr);
        drop(conn);
        return STATUS_UNREACHABLE;
    }
    return STATUS_OK;
}

/* When connecting has to be done. */
static int64_t connect_deadline(const struct redis_conn *conn)
{
    const int64_t deadline_ms =
        conn->until_ms > 0 ? conn->until_ms : clock_now_ms() + conn->timeouts.connect_ms;

    return conn->deadline_ms > 0 && conn->deadline_ms < deadline_ms ? conn->deadline_ms
                                                                    : deadline_ms;
}

static enum status open_socket(struct redis_conn *conn, struct error *err)
{
    const bool local = conn->url.path[0] != '\0';
    const int64_t deadline_ms = connect_deadline(conn);

    conn->left = STATUS_OK;
    conn->answered = false;
    const enum status status =
        local ? open_unix(conn, deadline_ms, err) : open_tcp(conn, deadline_ms, err);
    if (status != STATUS_OK) {
        return status;
    }
    (void)fcntl(conn->context->fd, F_SETFD, FD_CLOEXEC); /* no business of programs we start */
    conn->context->reader->fn = &redis_reply_functions;
    conn->context->reader->privdata = &conn->bound;
    conn->bound.over = false;
    if (!local && redisEnableKeepAlive(conn->context) != REDIS_OK) {
        return fail(conn, "keepalive", errno, err);
    }
    return STATUS_OK;
}

/* hiredis' TLS reads and writes inside the handshake: the connect timeout bounds each of them. */
static enum status start_tls(struct redis_conn *conn, struct error *err)
{
    struct error own = {0};

    conn->bound_ms = conn->timeouts.connect_ms;
    if (!set_timeout(conn, SO_RCVTIMEO, conn->bound_ms, &conn->receive_ms) ||
        !set_timeout(conn, SO_SNDTIMEO, conn->bound_ms, &conn->send_ms)) {
        return fail(conn, "TLS handshake", errno, err);
    }
    const enum status status = redis_tls_start(conn->tls, conn->context, conn->at.host, &own);
    if (status == STATUS_OK) {
        return STATUS_OK;
    }
    if (own.text[0] == '\0') {
        return fail(conn, "TLS handshake", errno, err);
    }
    redis_conn_close(conn);
    return error_set(err, status, "redis %s: %s", conn->where, own.text);
}

/* What was found must say itself that it is the master: a sentinel may name yesterday's. */
static enum status check_role(struct redis_conn *conn, struct error *err)
{
    redisReply *reply = NULL;

    enum status status = redis_commandf(conn, &reply, err, "ROLE");
    if (status != STATUS_OK) {
        redis_conn_close(conn);
        return status;
    }
    const bool has_role = reply->type == REDIS_REPLY_ARRAY && reply->elements > 0 &&
                          reply->element[0]->type == REDIS_REPLY_STRING;
    const char *role = has_role ? reply->element[0]->str : "something else";
    if (strcmp(role, "master") != 0) {
        status = error_set(err, STATUS_UNAVAILABLE,
                           "redis %s: its role is \"%.24s\", expected \"master\": a failover is "
                           "under way",
                           conn->where, role);
        redis_conn_close(conn);
    }
    redis_reply_free(reply);
    return status;
}

/* Opens the connection to conn->at and makes it ready for the caller's commands. */
static enum status establish(struct redis_conn *conn, struct error *err)
{
    const bool asks = conn->url.password[0] != '\0' || conn->url.db != 0;

    if (conn->url.tls && conn->tls == NULL) {
        const enum status status = redis_tls_new(&conn->tls, err);
        if (status != STATUS_OK) {
            return err == NULL ? status : error_wrap(err, "redis %s", conn->where);
        }
    }
    TRY(open_socket(conn, err));
    if (conn->url.tls) {
        TRY(start_tls(conn, err));
    }
    if (conn->url.password[0] != '\0') {
        TRY(authenticate(conn, err));
    }
    if (conn->url.db != 0) {
        TRY(greet(conn, "cannot select the database", err, "SELECT %d", conn->url.db));
    }
    if (conn->url.tls && !asks) {
        TRY(read_tickets(conn, err));
    }
    return conn->finder.find == NULL ? STATUS_OK : check_role(conn, err);
}

/* Finding the server, connecting and its own word share the connect timeout. */
static enum status find_and_establish(struct redis_conn *conn, struct error *err)
{
    conn->until_ms = connect_deadline(conn);
    const struct redis_search search = {conn->until_ms, conn->found_in_vain, conn->lookup,
                                        conn->lookup_context};

    conn->found_in_vain = false;
    enum status status =
        conn->finder.find(conn->finder.state, &search, &conn->at, conn->where, err);
    if (status == STATUS_OK) {
        status = establish(conn, err);
        conn->found_in_vain = status != STATUS_OK;
    }
    conn->until_ms = 0;
    return status;
}

enum status redis_conn_connect(struct redis_conn *conn, struct error *err)
{
    if (conn->context != NULL) {
        return STATUS_OK;
    }
    TRY(conn->finder.find != NULL ? find_and_establish(conn, err) : establish(conn, err));
    conn->opened++;
    return STATUS_OK;
}

/* ---- commands -------------------------------------------------------------------------------- */

enum status redis_conn_append(struct redis_conn *conn, const struct redis_args *args,
                              struct error *err)
{
    TRY(redis_conn_connect(conn, err));
    return append(conn, args, err);
}

/* This server is not for us now. The replies behind this one are given up. */
static void leave(struct redis_conn *conn, const redisReply *reply)
{
    redis_conn_close(conn);
    conn->doubted = true; /* another address of the name may be another server */
    conn->left = redis_reply_status(reply, NULL);
    snprintf(conn->left_text, sizeof conn->left_text, "%s", reply->str);
}

enum status redis_conn_collect(struct redis_conn *conn, redisReply **reply, struct error *err)
{
    *reply = NULL;
    if (conn->context == NULL && conn->left != STATUS_OK) {
        return error_set(err, conn->left, "redis %s: left before the answer: %s", conn->where,
                         conn->left_text);
    }
    if (conn->context == NULL || conn->pending == 0) {
        return error_set(err, STATUS_UNREACHABLE, "redis %s: connection lost before the answer",
                         conn->where);
    }

    TRY(flush(conn, err));
    TRY(read_reply(conn, reply, err));
    conn->pending--;
    conn->answered = true;
    if (redis_reply_wants_reconnect(*reply)) {
        leave(conn, *reply);
    }
    return STATUS_OK;
}

void redis_conn_abandon(struct redis_conn *conn)
{
    if (conn->pending > 0) {
        redis_conn_close(conn);
    }
}

/* One command and its answer, which may be an error. */
static enum status ask_args(struct redis_conn *conn, const struct redis_args *args,
                            redisReply **reply, struct error *err)
{
    *reply = NULL;
    redis_conn_abandon(conn); /* answers that nobody collected are not this command's */

    TRY(redis_conn_append(conn, args, err));
    return redis_conn_collect(conn, reply, err);
}

static enum status ask(struct redis_conn *conn, redisReply **reply, struct error *err,
                       const char *format, va_list values)
{
    struct redis_args args = {0};

    redis_args_vformat(&args, format, values);
    const enum status status = ask_args(conn, &args, reply, err);
    redis_args_free(&args);
    return status;
}

/* Where the answer is an error it is freed. */
static enum status judge(const struct redis_conn *conn, redisReply **reply, struct error *err)
{
    const enum status status = redis_reply_status(*reply, err);

    if (status != STATUS_OK) {
        redis_reply_free(*reply);
        *reply = NULL;
        return err == NULL ? status : error_wrap(err, "redis %s", conn->where);
    }
    return STATUS_OK;
}

enum status redis_conn_command(struct redis_conn *conn, const struct redis_args *args,
                               redisReply **reply, struct error *err)
{
    TRY(ask_args(conn, args, reply, err));
    return judge(conn, reply, err);
}

enum status redis_askf(struct redis_conn *conn, redisReply **reply, struct error *err,
                       const char *format, ...)
{
    va_list values;

    va_start(values, format);
    const enum status status = ask(conn, reply, err, format, values);
    va_end(values);
    return status;
}

enum status redis_commandf(struct redis_conn *conn, redisReply **reply, struct error *err,
                           const char *format, ...)
{
    redisReply *unread = NULL;
    redisReply **answer = reply == NULL ? &unread : reply;
    va_list values;

    va_start(values, format);
    enum status status = ask(conn, answer, err, format, values);
    va_end(values);
    if (status == STATUS_OK) {
        status = judge(conn, answer, err);
    }
    redis_reply_free(unread);
    return status;
}

enum status redis_fetch(struct redis_conn *conn, struct redis_args *args, const char *shape,
                        redisReply **reply, struct error *err)
{
    const bool calls = args->count > 1 && strncmp(args->values[0], "FCALL", strlen("FCALL")) == 0;
    const char *name = args->count == 0 ? "" : args->values[calls ? 1 : 0];
    redisReply *answer = NULL;

    enum status status = redis_conn_command(conn, args, &answer, err);
    if (status == STATUS_OK && !redis_reply_has_shape(answer, shape)) {
        status = error_set(err, STATUS_GARBLED, "%.64s: an answer of another shape", name);
    }
    redis_args_free(args);
    if (status != STATUS_OK || reply == NULL) {
        redis_reply_free(answer);
        answer = NULL;
    }
    if (reply != NULL) {
        *reply = answer;
    }
    return status;
}

enum status redis_fetchf(struct redis_conn *conn, const char *shape, redisReply **reply,
                         struct error *err, const char *format, ...)
{
    struct redis_args args = {0};
    va_list values;

    va_start(values, format);
    redis_args_vformat(&args, format, values);
    va_end(values);
    return redis_fetch(conn, &args, shape, reply, err);
}

enum status redis_conn_time(struct redis_conn *conn, int64_t *unix_ms, struct error *err)
{
    const int64_t before_ms = clock_now_ms();
    redisReply *reply = NULL;

    TRY(redis_fetchf(conn, "ss", &reply, err, "TIME"));
    *unix_ms = strtoll(reply->element[0]->str, NULL, 10) * 1000 +
               strtoll(reply->element[1]->str, NULL, 10) / 1000 + (clock_now_ms() - before_ms) / 2;
    redis_reply_free(reply);
    return STATUS_OK;
}
