#include "support.h"

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>

#include "base/clock.h"
#include "queue/operate.h"

void bench_fail(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

struct redis_conn *bench_connect(const struct test_server *redis)
{
    struct redis_url url;
    struct error err = {0};

    if (redis_url_parse(redis->url, &url, &err) != STATUS_OK) {
        bench_fail("%s", err.text);
    }
    struct redis_conn *conn = redis_conn_new(&url, (struct redis_timeouts){3000, 30000});
    if (conn == NULL || queue_install(conn, NULL, &err) != STATUS_OK) {
        bench_fail("connect: %s", err.text);
    }
    return conn;
}

pid_t bench_worker_start(const struct test_server *redis, const char *chroma_url,
                         const char *const *flags)
{
    char program[512];
    char log[300];
    const char *argv[32] = {test_program("stillhouse-worker", program), "--redis-url", redis->url,
                            "--chroma-url", chroma_url};
    size_t count = 5;

    for (; *flags != NULL; flags++) {
        if (count + 1 >= sizeof argv / sizeof argv[0]) {
            bench_fail("too many flags");
        }
        argv[count++] = *flags;
    }
    snprintf(log, sizeof log, "%s/worker.log", redis->folder);
    return test_spawn(argv, log);
}

void bench_worker_stop(pid_t pid)
{
    int state = 0;

    if (kill(pid, SIGTERM) != 0 || waitpid(pid, &state, 0) != pid) {
        bench_fail("worker %d is gone", (int)pid);
    }
}

struct queue_stats bench_stats(struct redis_conn *conn, const struct queue *queue)
{
    struct queue_stats stats;
    struct error err = {0};

    if (queue_get_stats(conn, queue, &stats, &err) != STATUS_OK) {
        bench_fail("stats: %s", err.text);
    }
    struct queue_balance balance = queue_check_balance(&stats);
    if (balance.jobs != 0 || balance.dead != 0) {
        bench_fail("the books of %s are off by %lld jobs", queue->name, (long long)balance.jobs);
    }
    return stats;
}

/* A line "NAME:   1234 kB" of /proc/PID/status. */
static long status_kib(pid_t pid, const char *name)
{
    char path[64];
    char line[256];
    const size_t bytes = strlen(name);
    long kib = -1;

    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        bench_fail("worker %d is gone", (int)pid);
    }
    while (kib < 0 && fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, name, bytes) == 0) {
            kib = strtol(line + bytes, NULL, 10);
        }
    }
    fclose(file);
    return kib;
}

long bench_resident_kib(pid_t pid)
{
    return status_kib(pid, "VmRSS:");
}

long bench_resident_peak_kib(pid_t pid)
{
    return status_kib(pid, "VmHWM:");
}

double bench_cpu_seconds(pid_t pid)
{
    clockid_t clock;
    struct timespec used;

    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &used) != 0) {
        bench_fail("process %d is gone", (int)pid);
    }
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

void bench_redis_start(struct test_server *redis, const char *append)
{
    if (strcmp(append, "off") == 0) {
        test_redis_start(redis, NULL);
        return;
    }
    test_redis_start(redis,
                     (const char *const[]){"--appendonly", "yes", "--appendfsync", append, NULL});
}

size_t bench_turn(long round, size_t at, size_t count)
{
    return ((size_t)round + at) % count;
}

void bench_print(const struct bench_figure *figure, const char *fields, ...)
{
    va_list args;

    printf("{\"group\": \"%s\", \"variant\": \"%s\", \"series\": \"%s\", \"round\": %ld, "
           "\"value\": %.6g, \"unit\": \"%s\", \"jobs\": %ld, \"checked\": %s",
           figure->group, figure->variant, figure->series, figure->round, figure->value,
           figure->unit, figure->jobs, figure->checked ? "true" : "false");
    if (*fields != '\0') {
        printf(", ");
        va_start(args, fields);
        vprintf(fields, args);
        va_end(args);
    }
    printf("}\n");
    fflush(stdout);
}

void bench_add(struct bench_samples *samples, double us)
{
    if (samples->count == samples->capacity) {
        samples->capacity = samples->capacity == 0 ? 1024 : 2 * samples->capacity;
        samples->us = realloc(samples->us, samples->capacity * sizeof *samples->us);
        if (samples->us == NULL) {
            bench_fail("out of memory");
        }
    }
    samples->us[samples->count++] = us;
}

static int compare(const void *a, const void *b)
{
    const double left = *(const double *)a;
    const double right = *(const double *)b;

    return (left > right) - (left < right);
}

double bench_quantile(struct bench_samples *samples, double q)
{
    if (samples->count == 0) {
        bench_fail("no samples");
    }
    qsort(samples->us, samples->count, sizeof *samples->us, compare);
    return samples->us[(size_t)(q * (double)(samples->count - 1))];
}

void bench_reset(struct bench_samples *samples)
{
    samples->count = 0;
}
