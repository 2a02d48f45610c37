/* What a task pays for Stillhouse, whatever state the servers are in: bench_task [ROUNDS [TASKS]].
 *
 * A task takes its prompt (half of the queries are cached, half are not), works for 10 ms (the
 * stand-in for a model; a real one takes a hundred times as long), and enqueues its distillation.
 * Rounds go through all states in turn, so that noise of the machine meets all alike; each round's
 * quantiles are divided by those of the same round with everything healthy. Ends with 1 when a
 * median ratio of a Chroma state is over 1.05, or a call took longer than its bound.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "http/client.h"
#include "stillhouse.h"
#include "support.h"

enum {
    ROUNDS_MAX = 64,
    WORK_US = 10000,
    CONNECT_MS = 100, /* the library's defaults */
    COMMAND_MS = 50,
    SLACK_MS = 20, /* of the scheduler, on a busy machine */
};

enum state { HEALTHY, CHROMA_HUNG, BREAKER_OPEN, CHROMA_DEAD, REDIS_HUNG, REDIS_DEAD, STATES };

static const char *const names[STATES] = {
    "all healthy", "Chroma hung", "breaker open, Chroma hung",
    "Chroma dead", "Redis hung",  "Redis dead",
};

struct figures {
    double p50[ROUNDS_MAX];
    double p99[ROUNDS_MAX];
    double call_max_us; /* the longest single call */
    double call_p50[ROUNDS_MAX];
};

static struct test_server redis;
static struct test_server chroma;
static stillhouse_client *client;
static long serial;

static double now_us(void)
{
    return (double)clock_now_ns() / 1e3;
}

static void work(void)
{
    const int64_t until_ns = clock_now_ns() + (int64_t)WORK_US * 1000;

    clock_sleep_ms(WORK_US / 1000 - 1);
    while (clock_now_ns() < until_ns) {
    }
}

static double timed(double start_us, struct figures *figures)
{
    const double took = now_us() - start_us;

    figures->call_max_us = took > figures->call_max_us ? took : figures->call_max_us;
    return took;
}

static void run_task(struct figures *figures, struct bench_samples *tasks,
                     struct bench_samples *calls)
{
    char query[64];
    char task_id[32];
    stillhouse_prompt_result prompt;

    serial++;
    snprintf(query, sizeof query, "question %ld", serial % 2 == 0 ? serial % 20 : serial);
    snprintf(task_id, sizeof task_id, "task-%ld", serial);
    const stillhouse_experience experience = {.domain = "bench",
                                              .task_id = task_id,
                                              .prompt = query,
                                              .result = "an answer",
                                              .success = true,
                                              .quality = 1.0};

    const double start = now_us();
    stillhouse_prompt(client, "bench", query, "You are a helper.", 0, &prompt);
    double in_calls = timed(start, figures);
    stillhouse_prompt_free(&prompt);
    work();
    const double enqueue = now_us();
    (void)stillhouse_enqueue_distill(client, &experience, NULL, NULL); /* refused is fine here */
    in_calls += timed(enqueue, figures);
    bench_add(tasks, now_us() - start);
    bench_add(calls, in_calls);
}

static void enter(enum state state)
{
    switch (state) {
    case HEALTHY:
        break;
    case CHROMA_HUNG:
        test_server_freeze(&chroma, true);
        break;
    case BREAKER_OPEN: /* the calls that hang since the state before have failed by now */
        clock_sleep_ms(1500);
        break;
    case CHROMA_DEAD:
        test_server_freeze(&chroma, false);
        test_server_kill(&chroma);
        break;
    case REDIS_HUNG:
        test_server_restart(&chroma);
        test_server_freeze(&redis, true);
        break;
    case REDIS_DEAD:
        test_server_freeze(&redis, false);
        test_server_kill(&redis);
        break;
    case STATES:
        break;
    }
}

/* After the last state: everything is back, and the client has noticed. */
static void recover(void)
{
    struct figures ignored = {0};
    struct bench_samples samples = {0};

    test_server_restart(&redis);
    for (int i = 0; i < 400; i++) { /* longer than the library leaves a dead server alone */
        run_task(&ignored, &samples, &samples);
    }
    free(samples.us);
}

static double median_ratio(const double *a, const double *b, int rounds, double *low, double *high)
{
    struct bench_samples ratios = {0};

    for (int i = 0; i < rounds; i++) {
        bench_add(&ratios, a[i] / b[i]);
    }
    const double median = bench_quantile(&ratios, 0.5);
    *low = ratios.us[0];
    *high = ratios.us[ratios.count - 1];
    free(ratios.us);
    return median;
}

static double median(const double *values, int rounds)
{
    struct bench_samples samples = {0};

    for (int i = 0; i < rounds; i++) {
        bench_add(&samples, values[i]);
    }
    const double middle = bench_quantile(&samples, 0.5);
    free(samples.us);
    return middle;
}

static int report(const struct figures *figures, int rounds)
{
    int bad = 0;

    printf(
        "| state | task p50, ms | p99, ms | p50 to healthy (min..max) | p99 to healthy (min..max) "
        "| both calls p50, us | longest call, ms |\n"
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    for (int s = 0; s < STATES; s++) {
        const struct figures *f = &figures[s];
        double low50;
        double high50;
        double low99;
        double high99;
        const double r50 = median_ratio(f->p50, figures[HEALTHY].p50, rounds, &low50, &high50);
        const double r99 = median_ratio(f->p99, figures[HEALTHY].p99, rounds, &low99, &high99);
        printf("| %s | %.2f | %.2f | %.3f (%.3f..%.3f) | %.3f (%.3f..%.3f) | %.0f | %.1f |\n",
               names[s], median(f->p50, rounds) / 1e3, median(f->p99, rounds) / 1e3, r50, low50,
               high50, r99, low99, high99, median(f->call_p50, rounds), f->call_max_us / 1e3);
        if (s < REDIS_HUNG && (r50 > 1.05 || r99 > 1.05)) {
            printf("%s: over 1.05\n", names[s]);
            bad = 1;
        }
        if (f->call_max_us / 1e3 > CONNECT_MS + COMMAND_MS + SLACK_MS) {
            printf("%s: a call took longer than %d ms\n", names[s], CONNECT_MS + COMMAND_MS);
            bad = 1;
        }
    }
    return bad;
}

int main(int argc, char **argv)
{
    static struct figures figures[STATES];
    const int rounds = argc > 1 ? (int)strtol(argv[1], NULL, 10) : 5;
    const int tasks = argc > 2 ? (int)strtol(argv[2], NULL, 10) : 300;
    struct bench_samples whole = {0};
    struct bench_samples calls = {0};

    if (rounds < 1 || rounds > ROUNDS_MAX || tasks < 1) {
        bench_fail("usage: bench_task [ROUNDS [TASKS]], at most %d rounds", ROUNDS_MAX);
    }
    test_redis_start(&redis, NULL);
    test_chroma_start(&chroma);
    redis_conn_free(bench_connect(&redis));
    const stillhouse_options options = {.size = sizeof options, .redis_url = redis.url};
    if (stillhouse_open(&options, &client) != STILLHOUSE_OK) {
        bench_fail("%s", stillhouse_open_error());
    }
    pid_t worker = bench_worker_start(
        &redis, chroma.url,
        (const char *const[]){"--http", "off", "--log-level", "error", "--chroma-timeout", "1s",
                              "--breaker-failures", "1", "--breaker-pause", "2s", NULL});
    for (int round = -1; round < rounds; round++) { /* the first one warms up and does not count */
        for (int state = 0; state < STATES; state++) {
            struct figures warm = {0};
            struct figures *f = round < 0 ? &warm : &figures[state];
            enter((enum state)state);
            bench_reset(&whole);
            bench_reset(&calls);
            for (int i = 0; i < tasks; i++) {
                run_task(f, &whole, &calls);
            }
            f->p50[round < 0 ? 0 : round] = bench_quantile(&whole, 0.5);
            f->p99[round < 0 ? 0 : round] = bench_quantile(&whole, 0.99);
            f->call_p50[round < 0 ? 0 : round] = bench_quantile(&calls, 0.5);
        }
        recover();
    }
    const int bad = report(figures, rounds);
    stillhouse_close(client);
    bench_worker_stop(worker);
    test_server_stop(&chroma);
    test_server_stop(&redis);
    free(whole.us);
    free(calls.us);
    return bad;
}
