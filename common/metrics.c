#include "metrics.h"

#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* X(name, type, help): every family, in the order it is shown (contract, section 6). */
#define METRICS_FAMILIES(X)                                                                        \
    X(JOBS, "stillhouse_jobs_total", "counter", "Jobs that left this worker, by outcome.")         \
    X(JOB_SECONDS, "stillhouse_job_seconds", "histogram", "Processing time of a job's batch.")     \
    X(WAIT_SECONDS, "stillhouse_job_wait_seconds", "histogram", "Time from enqueued to started.")  \
    X(UPSTREAM_SECONDS, "stillhouse_upstream_seconds", "histogram", "Time of upstream calls.")     \
    X(UPSTREAM_ERRORS, "stillhouse_upstream_errors_total", "counter",                              \
      "Upstream calls that failed.")                                                               \
    X(HTTP_REQUESTS, "stillhouse_http_requests_total", "counter", "HTTP requests, by code.")       \
    X(HTTP_CONNECTIONS, "stillhouse_http_connections_total", "counter",                            \
      "HTTP connections opened.")                                                                  \
    X(BREAKER_STATE, "stillhouse_breaker_state", "gauge", "0 closed, 1 half-open, 2 open.")        \
    X(BREAKER_OPENED, "stillhouse_breaker_opened_total", "counter", "Times a breaker opened.")     \
    X(CACHE_LOOKUPS, "stillhouse_cache_lookups_total", "counter", "Result cache lookups.")         \
    X(PROMPTS, "stillhouse_prompts_total", "counter", "Prompts that producers sent.")              \
    X(EMBEDDED, "stillhouse_embedded_texts_total", "counter", "Texts that became vectors.")        \
    X(QUEUE_JOBS, "stillhouse_queue_jobs", "gauge", "Jobs of a queue, by state.")                  \
    X(LANES, "stillhouse_lanes", "gauge", "Lanes, by state.")

enum metrics_family {
#define FAMILY_ENUM(id, name, type, help) FAMILY_##id,
    METRICS_FAMILIES(FAMILY_ENUM)
#undef FAMILY_ENUM
};

static const struct {
    const char *name;
    const char *type;
    const char *help;
} families[] = {
#define FAMILY_ROW(id, name, type, help) {name, type, help},
    METRICS_FAMILIES(FAMILY_ROW)
#undef FAMILY_ROW
};

static const char *const queue_names[] = {"enrich", "distill", "index", "echo", "other"};
static const char *const outcome_names[] = {"done",    "retried",   "buried",
                                            "expired", "reclaimed", "parked"};
static const char *const upstream_names[] = {"redis", "chroma", "embedder"};
static const char *const layer_names[] = {"memory", "redis"};
static const char *const lookup_names[] = {"hit", "miss", "stale"};
static const char *const source_names[] = {"model", "cache"};
static const char *const lane_names[] = {"busy", "idle", "paused"};
static const char *const state_names[] = {"waiting", "running", "delayed", "dead"};
static const char *const operation_names[] = {"read",  "finish",     "cache",     "function",
                                              "query", "upsert",     "get",       "delete",
                                              "embed", "collection", "heartbeat", "other"};
static const int codes[] = {200, 201, 204, 400, 401, 403, 404, 405, 408, 409,
                            413, 415, 422, 429, 500, 502, 503, 504, 0};

/* Upper bounds in microseconds; the last bucket is +Inf. */
static const int64_t bounds_us[] = {500,    1000,   2500,   5000,    10000,   25000,    50000,
                                    100000, 250000, 500000, 1000000, 2500000, 10000000, 30000000};

enum {
    BOUNDS = sizeof bounds_us / sizeof bounds_us[0],
    OPERATIONS = sizeof operation_names / sizeof operation_names[0],
    CODES = sizeof codes / sizeof codes[0],
    REASONS = STATUS_GARBLED + 1,
};

struct histogram {
    atomic_ullong buckets[BOUNDS + 1]; /* not cumulative */
    atomic_ullong sum_ns;
};

struct metrics {
    atomic_ullong jobs[METRICS_QUEUES][METRICS_OUTCOMES];
    struct histogram job_seconds[METRICS_QUEUES];
    struct histogram wait_seconds[METRICS_QUEUES];
    struct histogram upstream_seconds[METRICS_UPSTREAMS][OPERATIONS];
    atomic_ullong upstream_errors[METRICS_UPSTREAMS][REASONS];
    atomic_ullong http_requests[METRICS_UPSTREAMS][CODES + 1];
    atomic_ullong http_connections[METRICS_UPSTREAMS];
    atomic_int breaker_state[METRICS_UPSTREAMS];
    atomic_ullong breaker_opened[METRICS_UPSTREAMS];
    atomic_ullong lookups[METRICS_LAYERS][METRICS_LOOKUPS];
    atomic_ullong prompts_enriched;
    atomic_ullong prompts_fallback;
    atomic_ullong embedded[METRICS_SOURCES];
    atomic_llong queue_jobs[METRICS_QUEUES][METRICS_JOB_STATES];
    atomic_llong lanes[METRICS_LANES];
};

struct metrics *metrics_new(void)
{
    return calloc(1, sizeof(struct metrics));
}

void metrics_free(struct metrics *metrics)
{
    free(metrics);
}

enum metrics_queue metrics_queue_of(const char *name)
{
    size_t bytes = strcspn(name, ".");

    for (int i = 0; i < METRICS_OTHER; i++) {
        if (strlen(queue_names[i]) == bytes && memcmp(queue_names[i], name, bytes) == 0) {
            return (enum metrics_queue)i;
        }
    }
    return METRICS_OTHER;
}

static void add(atomic_ullong *counter, uint64_t count)
{
    atomic_fetch_add_explicit(counter, count, memory_order_relaxed);
}

static unsigned long long load(const atomic_ullong *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void observe(struct histogram *histogram, double seconds, uint64_t times)
{
    int64_t us = seconds > 0 ? (int64_t)(seconds * 1e6) : 0;
    size_t bucket = 0;

    while (bucket < BOUNDS && us > bounds_us[bucket]) {
        bucket++;
    }
    add(&histogram->buckets[bucket], times);
    add(&histogram->sum_ns, (uint64_t)(seconds > 0 ? seconds * 1e9 : 0) * times);
}

void metrics_jobs(struct metrics *m, enum metrics_queue queue, enum metrics_outcome outcome,
                  uint64_t count)
{
    add(&m->jobs[queue][outcome], count);
}

void metrics_job_seconds(struct metrics *m, enum metrics_queue queue, double seconds, uint64_t jobs)
{
    observe(&m->job_seconds[queue], seconds, jobs);
}

void metrics_job_wait_seconds(struct metrics *m, enum metrics_queue queue, double seconds)
{
    observe(&m->wait_seconds[queue], seconds, 1);
}

void metrics_upstream_seconds(struct metrics *m, enum metrics_upstream upstream,
                              const char *operation, double seconds)
{
    size_t index = 0;
    while (index < OPERATIONS - 1 && strcmp(operation_names[index], operation) != 0) {
        index++;
    }
    observe(&m->upstream_seconds[upstream][index], seconds, 1);
}

void metrics_upstream_error(struct metrics *m, enum metrics_upstream upstream, enum status reason)
{
    add(&m->upstream_errors[upstream][(unsigned)reason < REASONS ? reason : STATUS_FAILED], 1);
}

void metrics_http_request(struct metrics *m, enum metrics_upstream upstream, int code,
                          long new_connections)
{
    size_t index = 0;
    while (index < CODES && codes[index] != code) {
        index++;
    }
    add(&m->http_requests[upstream][index], 1);
    add(&m->http_connections[upstream], new_connections > 0 ? (uint64_t)new_connections : 0);
}

void metrics_breaker(struct metrics *m, enum metrics_upstream upstream, int state,
                     uint64_t opened_total)
{
    atomic_store_explicit(&m->breaker_state[upstream], state, memory_order_relaxed);
    atomic_store_explicit(&m->breaker_opened[upstream], opened_total, memory_order_relaxed);
}

void metrics_cache_lookup(struct metrics *m, enum metrics_layer layer, enum metrics_lookup result,
                          uint64_t count)
{
    add(&m->lookups[layer][result], count);
}

void metrics_embedded(struct metrics *m, enum metrics_source source, uint64_t texts)
{
    add(&m->embedded[source], texts);
}

void metrics_queue_jobs(struct metrics *m, enum metrics_queue queue, enum metrics_job_state state,
                        int64_t count)
{
    atomic_store_explicit(&m->queue_jobs[queue][state], count, memory_order_relaxed);
}

void metrics_lanes(struct metrics *m, enum metrics_lane state, int64_t delta)
{
    atomic_fetch_add_explicit(&m->lanes[state], delta, memory_order_relaxed);
}

void metrics_prompts(struct metrics *m, uint64_t enriched, uint64_t stale, uint64_t fallback)
{
    atomic_store_explicit(&m->prompts_enriched, enriched + stale, memory_order_relaxed);
    atomic_store_explicit(&m->prompts_fallback, fallback, memory_order_relaxed);
}

/* "# HELP" and "# TYPE" of a family. */
static void head(struct strbuf *out, enum metrics_family family)
{
    strbuf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", families[family].name, families[family].help,
                  families[family].name, families[family].type);
}

static void sample(struct strbuf *out, enum metrics_family family, long long value,
                   const char *labels_format, ...) PRINTF_LIKE(4, 5);

static void sample(struct strbuf *out, enum metrics_family family, long long value,
                   const char *labels_format, ...)
{
    char labels[128];
    va_list args;

    va_start(args, labels_format);
    vsnprintf(labels, sizeof labels, labels_format, args);
    va_end(args);
    strbuf_printf(out, "%s{%s} %lld\n", families[family].name, labels, value);
}

static void render_histogram(struct strbuf *out, enum metrics_family family, const char *labels,
                             const struct histogram *histogram)
{
    unsigned long long total = 0;
    const char *name = families[family].name;

    for (size_t i = 0; i < BOUNDS; i++) {
        total += load(&histogram->buckets[i]);
        strbuf_printf(out, "%s_bucket{%s,le=\"%g\"} %llu\n", name, labels,
                      (double)bounds_us[i] / 1e6, total);
    }
    total += load(&histogram->buckets[BOUNDS]);
    strbuf_printf(out, "%s_bucket{%s,le=\"+Inf\"} %llu\n", name, labels, total);
    strbuf_printf(out, "%s_sum{%s} %.9f\n", name, labels, (double)load(&histogram->sum_ns) / 1e9);
    strbuf_printf(out, "%s_count{%s} %llu\n", name, labels, total);
}

static void render_jobs(const struct metrics *m, struct strbuf *out)
{
    char labels[64];

    head(out, FAMILY_JOBS);
    for (size_t q = 0; q < METRICS_QUEUES; q++) {
        for (size_t o = 0; o < METRICS_OUTCOMES; o++) {
            sample(out, FAMILY_JOBS, (long long)load(&m->jobs[q][o]), "queue=\"%s\",outcome=\"%s\"",
                   queue_names[q], outcome_names[o]);
        }
    }
    head(out, FAMILY_JOB_SECONDS);
    for (size_t q = 0; q < METRICS_QUEUES; q++) {
        snprintf(labels, sizeof labels, "queue=\"%s\"", queue_names[q]);
        render_histogram(out, FAMILY_JOB_SECONDS, labels, &m->job_seconds[q]);
    }
    head(out, FAMILY_WAIT_SECONDS);
    for (size_t q = 0; q < METRICS_QUEUES; q++) {
        snprintf(labels, sizeof labels, "queue=\"%s\"", queue_names[q]);
        render_histogram(out, FAMILY_WAIT_SECONDS, labels, &m->wait_seconds[q]);
    }
}

static bool has_observations(const struct histogram *histogram)
{
    for (size_t i = 0; i <= BOUNDS; i++) {
        if (load(&histogram->buckets[i]) > 0) {
            return true;
        }
    }
    return false;
}

static void render_upstream_seconds(const struct metrics *m, struct strbuf *out)
{
    char labels[96];

    head(out, FAMILY_UPSTREAM_SECONDS);
    for (size_t u = 0; u < METRICS_UPSTREAMS; u++) {
        for (size_t o = 0; o < OPERATIONS; o++) {
            if (has_observations(&m->upstream_seconds[u][o])) {
                snprintf(labels, sizeof labels, "upstream=\"%s\",operation=\"%s\"",
                         upstream_names[u], operation_names[o]);
                render_histogram(out, FAMILY_UPSTREAM_SECONDS, labels, &m->upstream_seconds[u][o]);
            }
        }
    }
}

static void render_errors(const struct metrics *m, struct strbuf *out)
{
    head(out, FAMILY_UPSTREAM_ERRORS);
    for (size_t u = 0; u < METRICS_UPSTREAMS; u++) {
        for (size_t r = STATUS_FAILED; r < REASONS; r++) {
            if (load(&m->upstream_errors[u][r]) > 0) {
                sample(out, FAMILY_UPSTREAM_ERRORS, (long long)load(&m->upstream_errors[u][r]),
                       "upstream=\"%s\",reason=\"%s\"", upstream_names[u],
                       status_text((enum status)r));
            }
        }
    }
}

static void render_http(const struct metrics *m, struct strbuf *out)
{
    head(out, FAMILY_HTTP_REQUESTS);
    for (size_t u = METRICS_CHROMA; u < METRICS_UPSTREAMS; u++) {
        for (size_t c = 0; c <= CODES; c++) {
            unsigned long long count = load(&m->http_requests[u][c]);
            if (count == 0) {
                continue;
            }
            if (c == CODES) {
                sample(out, FAMILY_HTTP_REQUESTS, (long long)count,
                       "upstream=\"%s\",code=\"other\"", upstream_names[u]);
            } else {
                sample(out, FAMILY_HTTP_REQUESTS, (long long)count, "upstream=\"%s\",code=\"%d\"",
                       upstream_names[u], codes[c]);
            }
        }
    }
    head(out, FAMILY_HTTP_CONNECTIONS);
    for (size_t u = METRICS_CHROMA; u < METRICS_UPSTREAMS; u++) {
        sample(out, FAMILY_HTTP_CONNECTIONS, (long long)load(&m->http_connections[u]),
               "upstream=\"%s\"", upstream_names[u]);
    }
}

static void render_breakers(const struct metrics *m, struct strbuf *out)
{
    head(out, FAMILY_BREAKER_STATE);
    for (size_t u = 0; u < METRICS_UPSTREAMS; u++) {
        sample(out, FAMILY_BREAKER_STATE,
               atomic_load_explicit(&m->breaker_state[u], memory_order_relaxed), "upstream=\"%s\"",
               upstream_names[u]);
    }
    head(out, FAMILY_BREAKER_OPENED);
    for (size_t u = 0; u < METRICS_UPSTREAMS; u++) {
        sample(out, FAMILY_BREAKER_OPENED, (long long)load(&m->breaker_opened[u]),
               "upstream=\"%s\"", upstream_names[u]);
    }
}

static void render_cache(const struct metrics *m, struct strbuf *out)
{
    head(out, FAMILY_CACHE_LOOKUPS);
    for (size_t l = 0; l < METRICS_LAYERS; l++) {
        for (size_t r = 0; r < METRICS_LOOKUPS; r++) {
            sample(out, FAMILY_CACHE_LOOKUPS, (long long)load(&m->lookups[l][r]),
                   "layer=\"%s\",result=\"%s\"", layer_names[l], lookup_names[r]);
        }
    }
    head(out, FAMILY_PROMPTS);
    sample(out, FAMILY_PROMPTS, (long long)load(&m->prompts_enriched), "result=\"enriched\"");
    sample(out, FAMILY_PROMPTS, (long long)load(&m->prompts_fallback), "result=\"fallback\"");
    head(out, FAMILY_EMBEDDED);
    for (size_t s = 0; s < METRICS_SOURCES; s++) {
        sample(out, FAMILY_EMBEDDED, (long long)load(&m->embedded[s]), "source=\"%s\"",
               source_names[s]);
    }
}

static void render_gauges(const struct metrics *m, struct strbuf *out)
{
    head(out, FAMILY_QUEUE_JOBS);
    for (size_t q = 0; q < METRICS_OTHER; q++) {
        for (size_t s = 0; s < METRICS_JOB_STATES; s++) {
            sample(out, FAMILY_QUEUE_JOBS,
                   atomic_load_explicit(&m->queue_jobs[q][s], memory_order_relaxed),
                   "queue=\"%s\",state=\"%s\"", queue_names[q], state_names[s]);
        }
    }
    head(out, FAMILY_LANES);
    for (size_t l = 0; l < METRICS_LANES; l++) {
        sample(out, FAMILY_LANES, atomic_load_explicit(&m->lanes[l], memory_order_relaxed),
               "state=\"%s\"", lane_names[l]);
    }
}

void metrics_render(const struct metrics *m, struct strbuf *out)
{
    render_jobs(m, out);
    render_upstream_seconds(m, out);
    render_errors(m, out);
    render_http(m, out);
    render_breakers(m, out);
    render_cache(m, out);
    render_gauges(m, out);
}
