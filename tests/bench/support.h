/* support.h - what the benchmarks share: workers, samples, quantiles. Failure is fatal. */
#ifndef STILLHOUSE_TESTS_BENCH_SUPPORT_H
#define STILLHOUSE_TESTS_BENCH_SUPPORT_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "queue.h"
#include "servers.h"

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
