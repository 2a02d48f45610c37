/* redis/io.c - bounded writes and reads of one connection.
 *
 * hiredis only knows a timeout for a single read(2), which a server that drips bytes resets for
 * ever, so the loops stand here and shorten the socket's timeout as the deadline comes nearer.
 * SIGPIPE is held back in the writing thread, because a library may not change its process'
 * disposition and hiredis 0.14 writes with write(2).
 */
#include "redis/conn_internal.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include "base/clock.h"

enum { GRACE_MS = 50 };

/* ---- deadlines ------------------------------------------------------------------------------- */

struct timeval redis_io_to_timeval(int ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000};
}

int redis_io_left_ms(int64_t deadline_ms)
{
    const int64_t left = deadline_ms - clock_now_ms();

    if (left > INT_MAX) {
        return INT_MAX;
    }
    return left < 1 ? 1 : (int)left;
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
            conn->bound_ms = redis_io_left_ms(deadline_ms);
        }
    }
    return deadline_ms;
}

bool redis_io_set_timeout(struct redis_conn *conn, int option, int ms, int *current)
{
    const struct timeval timeout = redis_io_to_timeval(ms);

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

enum status redis_io_fail(struct redis_conn *conn, const char *doing, int saved_errno,
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

enum status redis_io_flush(struct redis_conn *conn, struct error *err)
{
    const int64_t deadline_ms = begin(conn);
    int done = 0;
    int saved_errno = 0;

    if (!conn->unsent) {
        return STATUS_OK;
    }
    if (!redis_io_set_timeout(conn, SO_SNDTIMEO, conn->bound_ms, &conn->send_ms)) {
        return redis_io_fail(conn, "sending", errno, err);
    }
    for (;;) {
        if (write_some(conn->context, &done, &saved_errno) != REDIS_OK) {
            return redis_io_fail(conn, "sending", saved_errno, err);
        }
        if (done) {
            conn->unsent = false;
            return STATUS_OK;
        }
        if (clock_now_ms() >= deadline_ms) {
            return fail_timeout(conn, "sending", err);
        }
        if (!redis_io_set_timeout(conn, SO_SNDTIMEO, redis_io_left_ms(deadline_ms),
                                  &conn->send_ms)) {
            return redis_io_fail(conn, "sending", errno, err);
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
    const enum status status = redis_io_flush(conn, err);
    if (status != STATUS_OK) {
        return status;
    }
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

enum status redis_io_read(struct redis_conn *conn, redisReply **reply, struct error *err)
{
    const int64_t deadline_ms = begin(conn);
    int64_t grace_until_ms = 0;
    int wait_ms = conn->bound_ms;

    for (;;) {
        void *parsed = NULL;
        if (redisGetReplyFromReader(conn->context, &parsed) != REDIS_OK) {
            return redis_io_fail(conn, "reading", 0, err);
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
        if (!redis_io_set_timeout(conn, SO_RCVTIMEO, wait_ms, &conn->receive_ms)) {
            return redis_io_fail(conn, "reading", errno, err);
        }
        errno = 0;
        if (redisBufferRead(conn->context) != REDIS_OK) {
            return redis_io_fail(conn, "the answer", errno, err);
        }
        wait_ms = redis_io_left_ms(deadline_ms);
    }
}
