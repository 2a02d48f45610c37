/* Lanes count while the endpoint renders: nothing is lost, and every rendering adds up. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "metrics/metrics.h"

enum { COUNTERS = 3, ROUNDS = 20000 };

static struct metrics *metrics;
static atomic_bool counting = true;

static void expect(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "test_metrics_race: %s\n", what);
        exit(1);
    }
}

static void *count(void *unused)
{
    const size_t enrich = metrics_queue_of(metrics, "enrich");
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        metrics_add(metrics, METRICS_JOBS, enrich, METRICS_DONE, 1);
        metrics_observe(metrics, METRICS_JOB_SECONDS, enrich, 0.001 * (i % 100), 1);
        metrics_observe(metrics, METRICS_UPSTREAM_SECONDS, metrics_call_of(METRICS_CHROMA, "query"),
                        0.002, 1);
        metrics_add(metrics, METRICS_UPSTREAM_ERRORS, METRICS_CHROMA, STATUS_TIMEOUT, 1);
        metrics_add(metrics, METRICS_HTTP_REQUESTS, METRICS_CHROMA, metrics_code_of(200), 1);
        metrics_add(metrics, METRICS_HTTP_CONNECTIONS, METRICS_CHROMA, 0, 1);
        metrics_add(metrics, METRICS_CACHE_LOOKUPS, METRICS_REDIS_LAYER, METRICS_HIT, 2);
        metrics_add(metrics, METRICS_EMBEDDED, METRICS_FROM_CACHE, 0, 1);
        metrics_set(metrics, METRICS_LANES, METRICS_BUSY, 0, 0);
        metrics_set(metrics, METRICS_BREAKER_STATE, OPERATION_EMBED, 0, i % 3);
        metrics_set(metrics, METRICS_QUEUE_JOBS, METRICS_OTHER + 1, METRICS_WAITING, i);
        metrics_unset_queue(metrics, METRICS_OTHER + 1);
        metrics_set(metrics, METRICS_PROMPTS, METRICS_ENRICHED, 0, i);
    }
    return NULL;
}

static unsigned long long value(const char *text, const char *series)
{
    const char *at = strstr(text, series);
    expect(at != NULL, series);
    return strtoull(at + strlen(series), NULL, 10);
}

static void render(struct strbuf *text)
{
    strbuf_reset(text);
    metrics_render(metrics, text);
    expect(strbuf_ok(text), "out of memory");
}

static void *render_often(void *unused)
{
    struct strbuf text = {0};
    unsigned long long before = 0;
    (void)unused;
    while (atomic_load(&counting)) {
        render(&text);
        unsigned long long all =
            value(text.data, "stillhouse_job_seconds_bucket{queue=\"enrich\",le=\"+Inf\"} ");
        expect(all == value(text.data, "stillhouse_job_seconds_count{queue=\"enrich\"} "),
               "_count is not what the buckets add up to");
        unsigned long long done =
            value(text.data, "stillhouse_jobs_total{queue=\"enrich\",outcome=\"done\"} ");
        expect(done >= before, "a counter fell");
        before = done;
    }
    strbuf_free(&text);
    return NULL;
}

int main(void)
{
    pthread_t counters[COUNTERS];
    pthread_t renderer;
    struct strbuf text = {0};
    const unsigned long long total = COUNTERS * ROUNDS;

    metrics = metrics_new();
    expect(metrics != NULL, "out of memory");
    metrics_add_queue(metrics, "enrich");
    expect(pthread_create(&renderer, NULL, render_often, NULL) == 0, "no thread");
    for (int i = 0; i < COUNTERS; i++) {
        expect(pthread_create(&counters[i], NULL, count, NULL) == 0, "no thread");
    }
    for (int i = 0; i < COUNTERS; i++) {
        pthread_join(counters[i], NULL);
    }
    atomic_store(&counting, false);
    pthread_join(renderer, NULL);

    render(&text);
    expect(value(text.data, "stillhouse_jobs_total{queue=\"enrich\",outcome=\"done\"} ") == total,
           "jobs were lost");
    expect(value(text.data, "stillhouse_job_seconds_count{queue=\"enrich\"} ") == total,
           "observations were lost");
    expect(value(text.data, "stillhouse_http_connections_total{upstream=\"chroma\"} ") == total,
           "connections were lost");
    expect(value(text.data, "stillhouse_cache_lookups_total{layer=\"redis\",result=\"hit\"} ") ==
               2 * total,
           "lookups were lost");
    expect(value(text.data, "stillhouse_lanes{state=\"busy\"} ") == 0, "a gauge drifted");
    strbuf_free(&text);
    metrics_free(metrics);
    puts("ok");
    return 0;
}
