#include "base/log.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/text.h"

enum { LINE_BYTES = 1024, RING_BYTES = 32 * 1024 };

static enum log_level threshold = LOG_INFO; /* set before threads start, read-only afterwards */

static const char *const level_names[] = {"error", "warning", "info", "debug"};

void log_set_level(enum log_level level)
{
    threshold = level;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* One line is one write(2); a line that cannot be written is lost. */
static void write_line(const char *line, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        const ssize_t wrote = write(STDERR_FILENO, line + done, bytes - done);
        if (wrote > 0) {
            done += (size_t)wrote;
        } else if (wrote < 0 && errno == EAGAIN) { /* somebody else made it non-blocking */
            struct pollfd room = {.fd = STDERR_FILENO, .events = POLLOUT};
            (void)poll(&room, 1, -1);
        } else if (wrote == 0 || errno != EINTR) {
            return;
        }
    }
}

/* Lines on their way to the thread, each with its line end. Counts of bytes since the start. */
static struct {
    pthread_mutex_t lock;
    pthread_cond_t filled;
    pthread_cond_t emptied;
    char bytes[RING_BYTES];
    size_t read;
    size_t written;
    unsigned long long lost;
    bool writing; /* a line is in the thread's hand */
    bool started; /* before other threads; read-only afterwards */
} ring = {.lock = PTHREAD_MUTEX_INITIALIZER,
          .filled = PTHREAD_COND_INITIALIZER,
          .emptied = PTHREAD_COND_INITIALIZER};

static void hand_over(const char *line, size_t bytes)
{
    if (!ring.started) {
        write_line(line, bytes);
        return;
    }
    pthread_mutex_lock(&ring.lock);
    if (RING_BYTES - (ring.written - ring.read) < bytes) {
        ring.lost++;
    } else {
        for (size_t i = 0; i < bytes; i++) {
            ring.bytes[ring.written++ % RING_BYTES] = line[i];
        }
    }
    pthread_cond_signal(&ring.filled);
    pthread_mutex_unlock(&ring.lock);
}

/* The time, the level and a space; its length. */
static size_t begin_line(char *line, size_t size, enum log_level level)
{
    struct timespec now;
    struct tm utc;

    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &utc);
    const size_t used = strftime(line, size, "%Y-%m-%dT%H:%M:%S", &utc);
    return used + (size_t)snprintf(line + used, size - used, ".%03ldZ %s ", now.tv_nsec / 1000000,
                                   level_names[level]);
}

/* The next line, or how many were lost once all others are out. With the lock held. */
static size_t take_line(char line[LINE_BYTES])
{
    size_t bytes = 0;

    if (ring.read == ring.written) {
        bytes = begin_line(line, LINE_BYTES, LOG_WARNING);
        bytes += (size_t)snprintf(line + bytes, LINE_BYTES - bytes,
                                  "%llu lines lost: standard error was too slow\n", ring.lost);
        ring.lost = 0;
        return bytes;
    }
    do {
        line[bytes] = ring.bytes[ring.read++ % RING_BYTES];
    } while (line[bytes++] != '\n');
    return bytes;
}

static void *run_writer(void *unused)
{
    char line[LINE_BYTES];

    pthread_mutex_lock(&ring.lock);
    for (;;) {
        ring.writing = false;
        while (ring.read == ring.written && ring.lost == 0) {
            pthread_cond_broadcast(&ring.emptied);
            pthread_cond_wait(&ring.filled, &ring.lock);
        }
        const size_t bytes = take_line(line);
        ring.writing = true;
        pthread_mutex_unlock(&ring.lock);
        write_line(line, bytes);
        pthread_mutex_lock(&ring.lock);
    }
    return unused;
}

enum status log_start(struct error *err)
{
    pthread_t thread;

    if (!ring.started) {
        const int failure = pthread_create(&thread, NULL, run_writer, NULL);
        if (failure != 0) {
            return error_set(err, STATUS_FAILED, "cannot start the log's thread: %s",
                             strerror(failure));
        }
        pthread_detach(thread);
        ring.started = true;
    }
    return STATUS_OK;
}

void log_flush(int64_t wait_ms)
{
    const struct timespec until = clock_in_ms(wait_ms);

    if (!ring.started) {
        return;
    }
    pthread_mutex_lock(&ring.lock);
    while ((ring.writing || ring.read != ring.written || ring.lost > 0) &&
           pthread_cond_clockwait(&ring.emptied, &ring.lock, CLOCK_MONOTONIC, &until) == 0) {
    }
    pthread_mutex_unlock(&ring.lock);
}

/* ---- lines ----------------------------------------------------------------------------------- */

/* Ends the line of `end` bytes, of which those from `from` on are foreign text. */
static void end_line(char line[LINE_BYTES], size_t from, size_t end)
{
    if (end > LINE_BYTES - 2) {
        end = LINE_BYTES - 2;
    }
    end = from + text_make_safe(line + from, end - from);
    line[end++] = '\n';
    hand_over(line, end);
}

void log_line(enum log_level level, const char *fmt, ...)
{
    if (level > threshold) {
        return;
    }

    char line[LINE_BYTES];
    const size_t used = begin_line(line, sizeof line, level);
    va_list args;
    va_start(args, fmt);
    const int text_bytes = vsnprintf(line + used, sizeof line - used - 1, fmt, args);
    va_end(args);
    end_line(line, used, used + (size_t)(text_bytes < 0 ? 0 : text_bytes));
}

void log_plain(const char *text)
{
    char line[LINE_BYTES];
    const size_t bytes = strlen(text);

    memcpy(line, text, bytes < sizeof line ? bytes : sizeof line);
    end_line(line, 0, bytes);
}

/* ---- limits ---------------------------------------------------------------------------------- */

bool log_limit_allow(struct log_limit *limit, long long now_ms, long long interval_ms,
                     long long *suppressed)
{
    if (now_ms < limit->next_ms) {
        limit->suppressed++;
        return false;
    }
    *suppressed = limit->suppressed;
    limit->suppressed = 0;
    limit->next_ms = now_ms + interval_ms;
    return true;
}

bool log_kind_allow(const char *kind, long long *suppressed)
{
    enum { KINDS = 64, KIND_BYTES = 64, INTERVAL_MS = 1000 };
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct {
        char name[KIND_BYTES];
        struct log_limit limit;
    } kinds[KINDS];
    size_t i = 0;

    pthread_mutex_lock(&lock);
    while (i + 1 < KINDS && kinds[i].name[0] != '\0' &&
           strncmp(kinds[i].name, kind, KIND_BYTES - 1) != 0) {
        i++; /* what finds no place shares the last one */
    }
    snprintf(kinds[i].name, KIND_BYTES, "%s", kind);
    const bool allowed = log_limit_allow(&kinds[i].limit, clock_now_ms(), INTERVAL_MS, suppressed);
    pthread_mutex_unlock(&lock);
    return allowed;
}
