#include "metrics_internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

enum { NS_PER_S = 1000000000, LABELS_BYTES = 128 };

/* A family being written. */
struct writer {
    const struct metrics *m;
    struct strbuf *out;
    const char *name;
};

static uint64_t value_of(const atomic_uint_fast64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

static void write_count(const struct writer *w, const char *labels, uint64_t value)
{
    strbuf_printf(w->out, "%s{%s} %" PRIu64 "\n", w->name, labels, value);
}

static void write_gauge(const struct writer *w, const char *labels,
                        const atomic_int_fast64_t *gauge)
{
    strbuf_printf(w->out, "%s{%s} %" PRIdFAST64 "\n", w->name, labels,
                  atomic_load_explicit(gauge, memory_order_relaxed));
}

/* `name="value",name="value"`; the second pair may be missing. Returns `out`. */
static const char *pairs(char out[LABELS_BYTES], const char *name, const char *value,
                         const char *name2, const char *value2)
{
    int bytes = snprintf(out, LABELS_BYTES, "%s=\"%s\"", name, value);

    if (name2 != NULL) {
        snprintf(out + bytes, LABELS_BYTES - (size_t)bytes, ",%s=\"%s\"", name2, value2);
    }
    return out;
}

/* _count is what the buckets add up to, also while others are counting. */
static void write_histogram(const struct writer *w, const char *labels,
                            const struct metrics_histogram *histogram,
                            const struct metrics_buckets *buckets)
{
    uint64_t sum_ns = value_of(&histogram->sum_ns);
    uint64_t count = 0;

    for (size_t i = 0; i <= buckets->count; i++) {
        count += value_of(&histogram->counts[i]);
        strbuf_printf(w->out, "%s_bucket{%s,le=\"%s\"} %" PRIu64 "\n", w->name, labels,
                      i < buckets->count ? buckets->text[i] : "+Inf", count);
    }
    strbuf_printf(w->out, "%s_sum{%s} %" PRIu64 ".%09" PRIu64 "\n", w->name, labels,
                  sum_ns / NS_PER_S, sum_ns % NS_PER_S);
    strbuf_printf(w->out, "%s_count{%s} %" PRIu64 "\n", w->name, labels, count);
}

static bool is_observed(const struct metrics_histogram *histogram)
{
    for (size_t i = 0; i <= METRICS_BUCKETS_MAX; i++) {
        if (value_of(&histogram->counts[i]) > 0) {
            return true;
        }
    }
    return false;
}

/* ---- families -------------------------------------------------------------------------------- */

/* Counters start at 0, so that a first event is an increase; "other" comes when it is needed. */
static void write_jobs(const struct writer *w)
{
    char labels[LABELS_BYTES];

    for (int queue = 0; queue < METRICS_QUEUES; queue++) {
        for (int outcome = 0; outcome < METRICS_OUTCOMES; outcome++) {
            uint64_t count = value_of(&w->m->jobs[queue][outcome]);
            if (queue != METRICS_OTHER || count > 0) {
                write_count(w,
                            pairs(labels, "queue", metrics_queue_names[queue], "outcome",
                                  metrics_outcome_names[outcome]),
                            count);
            }
        }
    }
}

static void write_per_queue(const struct writer *w, const struct metrics_histogram *histograms,
                            const struct metrics_buckets *buckets)
{
    char labels[LABELS_BYTES];

    for (int queue = 0; queue < METRICS_QUEUES; queue++) {
        if (queue != METRICS_OTHER || is_observed(&histograms[queue])) {
            write_histogram(w, pairs(labels, "queue", metrics_queue_names[queue], NULL, NULL),
                            &histograms[queue], buckets);
        }
    }
}

static void write_job_seconds(const struct writer *w)
{
    write_per_queue(w, w->m->job_seconds, &metrics_call_buckets);
}

static void write_job_wait_seconds(const struct writer *w)
{
    write_per_queue(w, w->m->job_wait_seconds, &metrics_wait_buckets);
}

static void write_upstream_seconds(const struct writer *w)
{
    char labels[LABELS_BYTES];

    for (int upstream = 0; upstream < METRICS_UPSTREAMS; upstream++) {
        const char *const *names = metrics_operation_names[upstream];
        for (int operation = 0; names[operation] != NULL; operation++) {
            const struct metrics_histogram *histogram =
                &w->m->upstream_seconds[upstream][operation];
            if (is_observed(histogram)) {
                write_histogram(w,
                                pairs(labels, "upstream", metrics_upstream_names[upstream],
                                      "operation", names[operation]),
                                histogram, &metrics_call_buckets);
            }
        }
    }
}

/* The reasons that alerts ask for stand there from the start. */
static bool is_usual(enum status reason)
{
    return reason == STATUS_UNREACHABLE || reason == STATUS_TIMEOUT ||
           reason == STATUS_UNAVAILABLE || reason == STATUS_FAILED || reason == STATUS_GARBLED;
}

static void write_upstream_errors(const struct writer *w)
{
    char labels[LABELS_BYTES];

    for (int upstream = 0; upstream < METRICS_UPSTREAMS; upstream++) {
        for (int reason = 0; reason < METRICS_STATUSES; reason++) {
            uint64_t count = value_of(&w->m->upstream_errors[upstream][reason]);
            char name[32];
            size_t bytes = 0;
            if (count == 0 && !is_usual((enum status)reason)) {
                continue;
            }
            for (const char *c = metrics_reason_names[reason]; *c != '\0'; c++) {
                name[bytes++] = (char)tolower((unsigned char)*c);
            }
            name[bytes] = '\0';
            write_count(w,
                        pairs(labels, "upstream", metrics_upstream_names[upstream], "reason", name),
                        count);
        }
    }
}

static void write_http_requests(const struct writer *w)
{
    char labels[LABELS_BYTES];

    for (int upstream = METRICS_CHROMA; upstream < METRICS_UPSTREAMS; upstream++) {
        for (int code = 0; code < METRICS_CODES; code++) {
            uint64_t count = value_of(&w->m->http_requests[upstream][code]);
            if (code <= 1 || count > 0) { /* no answer, and 200 */
                write_count(w,
                            pairs(labels, "upstream", metrics_upstream_names[upstream], "code",
                                  metrics_code_names[code]),
                            count);
            }
        }
    }
}

/* Counters with one label, of which the first values may not apply. */
static void write_counters(const struct writer *w, const char *label, const char *const *names,
                           const atomic_uint_fast64_t *counters, int first, int count)
{
    char labels[LABELS_BYTES];

    for (int i = first; i < count; i++) {
        write_count(w, pairs(labels, label, names[i], NULL, NULL), value_of(&counters[i]));
    }
}

static void write_http_connections(const struct writer *w)
{
    write_counters(w, "upstream", metrics_upstream_names, w->m->http_connections, METRICS_CHROMA,
                   METRICS_UPSTREAMS);
}

static void write_breaker_state(const struct writer *w)
{
    char labels[LABELS_BYTES];

    for (int i = 0; i < METRICS_UPSTREAMS; i++) {
        write_gauge(w, pairs(labels, "upstream", metrics_upstream_names[i], NULL, NULL),
                    &w->m->breaker_state[i]);
    }
}

static void write_breaker_opened(const struct writer *w)
{
    write_counters(w, "upstream", metrics_upstream_names, w->m->breaker_opened, 0,
                   METRICS_UPSTREAMS);
}

static void write_cache_lookups(const struct writer *w)
{
    char labels[LABELS_BYTES];

    for (int layer = 0; layer < METRICS_LAYERS; layer++) {
        for (int result = 0; result < METRICS_LOOKUPS; result++) {
            write_count(w,
                        pairs(labels, "layer", metrics_layer_names[layer], "result",
                              metrics_lookup_names[result]),
                        value_of(&w->m->lookups[layer][result]));
        }
    }
}

static void write_prompts(const struct writer *w)
{
    write_count(w, "result=\"enriched\"", value_of(&w->m->enriched));
    write_count(w, "result=\"fallback\"", value_of(&w->m->fallback));
}

static void write_embedded_texts(const struct writer *w)
{
    write_counters(w, "source", metrics_source_names, w->m->embedded, 0, METRICS_SOURCES);
}

static void write_queue_jobs(const struct writer *w)
{
    char labels[LABELS_BYTES];

    for (int queue = 0; queue < METRICS_QUEUES; queue++) {
        for (int state = 0; state < METRICS_JOB_STATES; state++) {
            const atomic_int_fast64_t *gauge = &w->m->queue_jobs[queue][state];
            if (atomic_load_explicit(gauge, memory_order_relaxed) != METRICS_UNSET) {
                write_gauge(w,
                            pairs(labels, "queue", metrics_queue_names[queue], "state",
                                  metrics_job_state_names[state]),
                            gauge);
            }
        }
    }
}

/* Shown for the queues whose states are. */
static void write_unaccounted(const struct writer *w)
{
    char labels[LABELS_BYTES];

    for (int queue = 0; queue < METRICS_QUEUES; queue++) {
        const atomic_int_fast64_t *state = &w->m->queue_jobs[queue][METRICS_WAITING];
        if (atomic_load_explicit(state, memory_order_relaxed) != METRICS_UNSET) {
            write_gauge(w, pairs(labels, "queue", metrics_queue_names[queue], NULL, NULL),
                        &w->m->unaccounted[queue]);
        }
    }
}

static void write_lanes(const struct writer *w)
{
    char labels[LABELS_BYTES];

    for (int i = 0; i < METRICS_LANES; i++) {
        write_gauge(w, pairs(labels, "state", metrics_lane_names[i], NULL, NULL), &w->m->lanes[i]);
    }
}

static const struct family {
    const char *name;
    const char *type;
    const char *help;
    void (*write)(const struct writer *w);
} families[] = {
    {"stillhouse_jobs_total", "counter", "Jobs of this worker by how they ended.", write_jobs},
    {"stillhouse_job_seconds", "histogram", "Processing time of a job, which is that of its batch.",
     write_job_seconds},
    {"stillhouse_job_wait_seconds", "histogram", "From a job's enqueueing to its start.",
     write_job_wait_seconds},
    {"stillhouse_upstream_seconds", "histogram", "Duration of calls to upstreams.",
     write_upstream_seconds},
    {"stillhouse_upstream_errors_total", "counter", "Calls to upstreams that failed.",
     write_upstream_errors},
    {"stillhouse_http_requests_total", "counter",
     "HTTP requests by answer; code 0 is none, other codes than the usual ones are other.",
     write_http_requests},
    {"stillhouse_http_connections_total", "counter",
     "HTTP connections opened; reuse = 1 - connections / requests.", write_http_connections},
    {"stillhouse_breaker_state", "gauge", "Circuit breaker: 0 closed, 1 half-open, 2 open.",
     write_breaker_state},
    {"stillhouse_breaker_opened_total", "counter", "How often the circuit breaker opened.",
     write_breaker_opened},
    {"stillhouse_cache_lookups_total", "counter", "Lookups of enrichment results by cache layer.",
     write_cache_lookups},
    {"stillhouse_prompts_total", "counter",
     "Prompts of all producers together: with examples, or the base prompt.", write_prompts},
    {"stillhouse_embedded_texts_total", "counter",
     "Texts whose embedding came from the model or from the cache.", write_embedded_texts},
    {"stillhouse_queue_jobs", "gauge", "Jobs in a queue now; every worker reports the same queue.",
     write_queue_jobs},
    {"stillhouse_unaccounted_jobs", "gauge",
     "By how many jobs the books of a queue are off; anything but 0 is a bug or a foreign hand.",
     write_unaccounted},
    {"stillhouse_lanes", "gauge", "Lanes of this worker by what they do.", write_lanes},
};

void metrics_render(const struct metrics *m, struct strbuf *out)
{
    for (size_t i = 0; i < sizeof families / sizeof families[0]; i++) {
        const struct family *family = &families[i];
        const struct writer writer = {m, out, family->name};
        strbuf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", family->name, family->help, family->name,
                      family->type);
        family->write(&writer);
    }
}
