#include "drain.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "queue/operate.h"
#include "support.h"

enum { START_MS = 20000, DRAIN_MS = 300000, POLL_MS = 1 };

static void freeze(const pid_t *pids, long count, bool frozen)
{
    for (long i = 0; i < count; i++) {
        int state = 0;
        if (kill(pids[i], frozen ? SIGSTOP : SIGCONT) != 0 ||
            (frozen && (waitpid(pids[i], &state, WUNTRACED) != pids[i] || !WIFSTOPPED(state)))) {
            bench_fail("worker %d is gone", (int)pids[i]);
        }
    }
}

void drain_start_workers(const struct drain *drain, redisContext *bare, pid_t *pids)
{
    const char *flags[24] = {"--http", "off", "--log-level", "error"};
    size_t count = 4;
    const long long blocked_before = bare_info(bare, "clients", "blocked_clients");
    const int64_t until_ms = clock_now_ms() + START_MS;

    for (const char *const *flag = drain->flags; flag != NULL && *flag != NULL; flag++) {
        if (count + 1 == sizeof flags / sizeof flags[0]) {
            bench_fail("too many flags");
        }
        flags[count++] = *flag;
    }
    for (long i = 0; i < drain->workers; i++) {
        pids[i] = bench_worker_start(
            drain->redis, drain->chroma_url != NULL ? drain->chroma_url : "http://127.0.0.1:9",
            flags);
    }
    while (bare_info(bare, "clients", "blocked_clients") < blocked_before + drain->workers) {
        if (clock_now_ms() > until_ms) {
            bench_fail("the workers do not wait for jobs within %d ms", START_MS);
        }
        clock_sleep_ms(10);
    }
}

static double cpu_of(const pid_t *pids, long count)
{
    double seconds = 0;

    for (long i = 0; i < count; i++) {
        seconds += bench_cpu_seconds(pids[i]);
    }
    return seconds;
}

static void wait_until_done(const struct drain *drain, redisContext *bare)
{
    const int64_t until_ms = clock_now_ms() + DRAIN_MS;

    while (bare_number(bare, "HGET %s:counters done", drain->queue->base) < drain->jobs) {
        if (clock_now_ms() > until_ms) {
            bench_fail("not drained within %d ms", DRAIN_MS);
        }
        clock_sleep_ms(POLL_MS);
    }
}

static bool is_done_once(const struct drain *drain)
{
    struct redis_conn *conn = bench_connect(drain->redis);
    const struct queue_stats stats = bench_stats(conn, drain->queue);
    bool good = stats.waiting == 0 && stats.running == 0 && stats.delayed == 0 && stats.dead == 0;

    for (int i = 0; i < QUEUE_COUNTERS; i++) {
        good =
            good && stats.counters[i] == (i == QUEUE_ENQUEUED || i == QUEUE_DONE ? drain->jobs : 0);
    }
    redis_conn_free(conn);
    return good;
}

void drain_run(struct drain *drain)
{
    pid_t pids[DRAIN_WORKERS_MAX];
    redisContext *bare = bare_connect(drain->redis);

    if (drain->workers < 1 || drain->workers > DRAIN_WORKERS_MAX) {
        bench_fail("%ld workers: expected 1 to %d", drain->workers, DRAIN_WORKERS_MAX);
    }
    bare_run(bare, "FLUSHALL SYNC");
    drain_start_workers(drain, bare, pids);
    const long long empty_bytes = bare_info(bare, "memory", "used_memory");
    freeze(pids, drain->workers, true);
    drain->fill(drain->context);
    drain->redis_bytes = bare_info(bare, "memory", "used_memory") - empty_bytes;

    const double workers_before = cpu_of(pids, drain->workers);
    const double redis_before = bench_cpu_seconds(drain->redis->pid);
    const int64_t start_ns = clock_now_ns();
    freeze(pids, drain->workers, false);
    wait_until_done(drain, bare);
    drain->seconds = (double)(clock_now_ns() - start_ns) / 1e9;
    drain->worker_cpu_s = cpu_of(pids, drain->workers) - workers_before;
    drain->redis_cpu_s = bench_cpu_seconds(drain->redis->pid) - redis_before;

    drain->worker_peak_kib = 0;
    for (long i = 0; i < drain->workers; i++) {
        const long kib = bench_resident_peak_kib(pids[i]);
        drain->worker_peak_kib = kib > drain->worker_peak_kib ? kib : drain->worker_peak_kib;
    }
    drain->checked = is_done_once(drain);
    for (long i = 0; i < drain->workers; i++) {
        bench_worker_stop(pids[i]);
    }
    redisFree(bare);
}
