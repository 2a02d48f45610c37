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
        metrics_jobs(metrics, enrich, METRICS_DONE, 1);
        metrics_job_seconds(metrics, enrich, 0.001 * (i % 100), 1);
        metrics_upstream_seconds(metrics, METRICS_CHROMA, "query", 0.002);
        metrics_upstream_error(metrics, METRICS_CHROMA, STATUS_TIMEOUT);
        metrics_http_request(metrics, METRICS_CHROMA, 200, 1);
        metrics_cache_lookup(metrics, METRICS_REDIS_LAYER, METRICS_HIT, 2);
        metrics_embedded(metrics, METRICS_FROM_CACHE, 1);
        metrics_lanes(metrics, METRICS_BUSY, 1);
        metrics_lanes(metrics, METRICS_BUSY, -1);
        metrics_breaker(metrics, OPERATION_EMBED, i % 3, (uint64_t)i);
        const struct metrics_queue_facts facts = {.jobs = {i}};
        metrics_queue_set(metrics, METRICS_OTHER + 1, &facts);
        metrics_queue_unset(metrics, METRICS_OTHER + 1);
        metrics_prompts(metrics, (uint64_t)i, 1, 2);
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
