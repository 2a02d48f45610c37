/* support.h - what the benchmarks share: workers, figures, samples. Failure is fatal. */
#ifndef STILLHOUSE_TESTS_BENCH_SUPPORT_H
#define STILLHOUSE_TESTS_BENCH_SUPPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "queue/operate.h"
#include "queue/queue.h"
#include "servers.h"

/* What a benchmark ends with that lacks what it measures; the reason is on standard error. */
enum { BENCH_SKIPPED = 77 };

/* Prints what went wrong and ends the program. */
void bench_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));

/* Opens a connection to a test's Redis and loads the functions. */
struct redis_conn *bench_connect(const struct test_server *redis);

/* Starts a worker of this build with these flags behind its URLs (NULL-terminated). */
pid_t bench_worker_start(const struct test_server *redis, const char *chroma_url,
                         const char *const *flags);
void bench_worker_stop(pid_t pid);

/* The numbers of a queue now. Its books must balance. */
struct queue_stats bench_stats(struct redis_conn *conn, const struct queue *queue);

/* Resident memory of a process, in KiB. */
long bench_resident_kib(pid_t pid);

/* The most it ever was, in KiB. */
long bench_resident_peak_kib(pid_t pid);

/* CPU time that a process of ours has used so far, user and system, all threads. */
double bench_cpu_seconds(pid_t pid);

/* Starts a Redis without persistence, or with an append-only file whose fsync is `append`:
 * "off", "everysec", "always", "no". */
void bench_redis_start(struct test_server *redis, const char *append);

/* What all programs say about the order of things: of `count` variants the one that comes `at`th in
 * round `round`. Each round begins with another one. */
size_t bench_turn(long round, size_t at, size_t count);

/* One line of output: a JSON object of these and of further fields. */
struct bench_figure {
    const char *group;
    const char *series;  /* what is measured: "bare consumer" */
    const char *variant; /* the same with its parameters: "bare consumer, batch 64" */
    long round;
    double value;
    const char *unit;
    long jobs;
    bool checked; /* every job was done exactly once */
};

/* `fields`: further members as JSON, "\"batch\": %ld"; "" = none. */
void bench_print(const struct bench_figure *figure, const char *fields, ...)
    __attribute__((format(printf, 2, 3)));

/* Times in us, kept to ask for quantiles. Zero-initialise. */
struct bench_samples {
    double *us;
    size_t count;
    size_t capacity;
};

void bench_add(struct bench_samples *samples, double us);
/* Sorts; `q` from 0 to 1. */
double bench_quantile(struct bench_samples *samples, double q);
void bench_reset(struct bench_samples *samples);

#endif
