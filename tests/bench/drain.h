/* drain.h - workers of this build emptying a queue that was filled before.
 *
 * The workers are started on the empty queue and stopped (SIGSTOP) once they wait for jobs; then
 * the queue is filled; then they go on, all at once, which is when the clock starts. It ends when
 * the queue's counter says that all are done. So no start-up, and no filling, is in the time.
 */
#ifndef STILLHOUSE_TESTS_BENCH_DRAIN_H
#define STILLHOUSE_TESTS_BENCH_DRAIN_H

#include "bare.h"
#include "queue/queue.h"

enum { DRAIN_WORKERS_MAX = 16 };

struct drain {
    /* what to do */
    const struct test_server *redis;
    const char *chroma_url;   /* NULL: none is needed */
    const char *const *flags; /* of the workers, behind those that are always given */
    const struct queue *queue;
    long workers;
    long jobs;
    void (*fill)(void *context); /* enqueues exactly `jobs` */
    void *context;
    /* what came of it */
    bool checked; /* all done, none lost, buried, retried or done twice; the books balance */
    double seconds;
    double worker_cpu_s; /* of all workers, while draining */
    double redis_cpu_s;
    long worker_peak_kib;  /* the largest of them */
    long long redis_bytes; /* used_memory with the queue filled, over that of the empty one */
};

/* Flushes the database first. */
void drain_run(struct drain *drain);

/* Starts workers and waits until all of them wait for jobs. bench_worker_stop each. */
void drain_start_workers(const struct drain *drain, redisContext *bare, pid_t *pids);

#endif
