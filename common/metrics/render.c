#include "metrics/internal.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

enum { NS_PER_S = 1000000000, MS_PER_S = 1000, LABELS_BYTES = 128 };

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

    for (size_t i = 0; i < w->m->queue_count; i++) {
        const struct metrics_queue *queue = &w->m->queues[i];
        for (int outcome = 0; outcome < METRICS_OUTCOMES; outcome++) {
            uint64_t count = value_of(&queue->jobs[outcome]);
            if (i != METRICS_OTHER || count > 0) {
                write_count(
                    w,
                    pairs(labels, "queue", queue->name, "outcome", metrics_outcome_names[outcome]),
                    count);
            }
        }
    }
}

static void write_of_queue(const struct writer *w, size_t queue,
                           const struct metrics_histogram *histogram,
                           const struct metrics_buckets *buckets)
{
    char labels[LABELS_BYTES];

    if (queue != METRICS_OTHER || is_observed(histogram)) {
        write_histogram(w, pairs(labels, "queue", w->m->queues[queue].name, NULL, NULL), histogram,
                        buckets);
    }
}

static void write_job_seconds(const struct writer *w)
{
    for (size_t i = 0; i < w->m->queue_count; i++) {
        write_of_queue(w, i, &w->m->queues[i].job_seconds, &metrics_call_buckets);
    }
}

static void write_job_wait_seconds(const struct writer *w)
{
    for (size_t i = 0; i < w->m->queue_count; i++) {
        write_of_queue(w, i, &w->m->queues[i].job_wait_seconds, &metrics_wait_buckets);
    }
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
            if (code <= METRICS_NO_ANSWER + 1 || count > 0) { /* and 200 */
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

static const char *operation_pairs(char out[LABELS_BYTES], enum operation operation)
{
    return pairs(out, "upstream", operation_upstream(operation), "operation",
                 operation_name(operation));
}

static void write_breaker_state(const struct writer *w)
{
    char labels[LABELS_BYTES];

    for (int i = 0; i < OPERATIONS; i++) {
        write_gauge(w, operation_pairs(labels, (enum operation)i), &w->m->breaker_state[i]);
    }
}

static void write_breaker_opened(const struct writer *w)
{
    char labels[LABELS_BYTES];

    for (int i = 0; i < OPERATIONS; i++) {
        write_count(w, operation_pairs(labels, (enum operation)i),
                    value_of(&w->m->breaker_opened[i]));
    }
}

static void write_cache_lookups(const struct writer *w)
{
    char labels[LABELS_BYTES];

    for (int layer = 0; layer < METRICS_LAYERS; layer++) {
        if (layer == METRICS_MEMORY &&
            !atomic_load_explicit(&w->m->prompts_known, memory_order_acquire)) {
            continue; /* Redis knows them, with the prompts */
        }
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
    if (atomic_load_explicit(&w->m->prompts_known, memory_order_acquire)) {
        write_count(w, "result=\"enriched\"", value_of(&w->m->enriched));
        write_count(w, "result=\"fallback\"", value_of(&w->m->fallback));
    }
}

static void write_looked_further(const struct writer *w)
{
    write_counters(w, "result", metrics_further_names, w->m->furthers, 0, METRICS_FURTHERS);
}

static void write_swept(const struct writer *w)
{
    write_count(w, "reason=\"expired\"", value_of(&w->m->swept));
}

static void write_long_texts(const struct writer *w)
{
    static const char *const actions[] = {"cut", "rejected"};

    write_counters(w, "action", actions, w->m->long_texts, 0, METRICS_LONG_TEXTS);
}

static void write_embedded_texts(const struct writer *w)
{
    write_counters(w, "source", metrics_source_names, w->m->embedded, 0, METRICS_SOURCES);
}

/* ---- what Redis says of a queue -------------------------------------------------------------- */

/* The next queue from `*i` on that something is known of; NULL behind the last. */
static const struct metrics_queue *next_known(const struct metrics *m, size_t *i)
{
    while (*i < m->queue_count) {
        const struct metrics_queue *queue = &m->queues[(*i)++];
        if (atomic_load_explicit(&queue->facts.known, memory_order_acquire)) {
            return queue;
        }
    }
    return NULL;
}

static int64_t fact(const atomic_int_fast64_t *gauge)
{
    return atomic_load_explicit(gauge, memory_order_relaxed);
}

static void write_queue_jobs(const struct writer *w)
{
    char labels[LABELS_BYTES];
    const struct metrics_queue *queue = NULL;

    for (size_t i = 0; (queue = next_known(w->m, &i)) != NULL;) {
        for (int state = 0; state < METRICS_JOB_STATES; state++) {
            write_gauge(
                w, pairs(labels, "queue", queue->name, "state", metrics_job_state_names[state]),
                &queue->facts.jobs[state]);
        }
    }
}

static void write_oldest(const struct writer *w)
{
    const struct metrics_queue *queue = NULL;

    for (size_t i = 0; (queue = next_known(w->m, &i)) != NULL;) {
        int64_t oldest_ms = fact(&queue->facts.oldest_ms);
        strbuf_printf(w->out, "%s{queue=\"%s\"} %" PRId64 ".%03d\n", w->name, queue->name,
                      oldest_ms / MS_PER_S, (int)(oldest_ms % MS_PER_S));
    }
}

static void write_limit(const struct writer *w)
{
    char labels[LABELS_BYTES];
    const struct metrics_queue *queue = NULL;

    for (size_t i = 0; (queue = next_known(w->m, &i)) != NULL;) {
        if (fact(&queue->facts.limit_jobs) > 0) {
            write_gauge(w, pairs(labels, "queue", queue->name, NULL, NULL),
                        &queue->facts.limit_jobs);
        }
    }
}

static void write_paused(const struct writer *w)
{
    char labels[LABELS_BYTES];
    const struct metrics_queue *queue = NULL;

    for (size_t i = 0; (queue = next_known(w->m, &i)) != NULL;) {
        write_gauge(w, pairs(labels, "queue", queue->name, NULL, NULL), &queue->facts.paused);
    }
}

static void write_unaccounted(const struct writer *w)
{
    char labels[LABELS_BYTES];
    const struct metrics_queue *queue = NULL;

    for (size_t i = 0; (queue = next_known(w->m, &i)) != NULL;) {
        write_gauge(w, pairs(labels, "queue", queue->name, NULL, NULL), &queue->facts.unaccounted);
    }
}

static void write_faults(const struct writer *w)
{
    char labels[LABELS_BYTES];
    const struct metrics_queue *queue = NULL;

    for (size_t i = 0; (queue = next_known(w->m, &i)) != NULL;) {
        write_gauge(w, pairs(labels, "queue", queue->name, NULL, NULL), &queue->facts.faults);
    }
}

static void write_fleet_jobs(const struct writer *w)
{
    char labels[LABELS_BYTES];
    const struct metrics_queue *queue = NULL;

    for (size_t i = 0; (queue = next_known(w->m, &i)) != NULL;) {
        for (size_t tally = 0; tally < w->m->tally_count; tally++) {
            write_gauge(w, pairs(labels, "queue", queue->name, "outcome", w->m->tally_names[tally]),
                        &queue->facts.tallies[tally]);
        }
    }
}

static bool all_are_paused(const struct metrics *m)
{
    for (size_t i = METRICS_OTHER + 1; i < m->queue_count; i++) {
        const struct metrics_facts *facts = &m->queues[i].facts;
        if (!atomic_load_explicit(&facts->known, memory_order_acquire) ||
            fact(&facts->paused) == 0) {
            return false;
        }
    }
    return m->queue_count > METRICS_OTHER + 1;
}

/* A lane that has nothing it may read is not idle for want of work: it is paused. */
static void write_lanes(const struct writer *w)
{
    char labels[LABELS_BYTES];
    bool paused = all_are_paused(w->m);

    for (int i = 0; i < METRICS_LANES; i++) {
        int64_t lanes = fact(&w->m->lanes[i == METRICS_PAUSED ? METRICS_IDLE : i]);
        if ((i == METRICS_IDLE && paused) || (i == METRICS_PAUSED && !paused)) {
            lanes = 0;
        }
        strbuf_printf(w->out, "%s{%s} %" PRId64 "\n", w->name,
                      pairs(labels, "state", metrics_lane_names[i], NULL, NULL), lanes);
    }
}

static const struct family {
    const char *name;
    const char *type;
    const char *help;
    void (*write)(const struct writer *w);
} families[] = {
    {"stillhouse_jobs_total", "counter", "Jobs of this worker by how they ended; sum over workers.",
     write_jobs},
    {"stillhouse_job_seconds", "histogram", "Processing time of a job, which is that of its batch.",
     write_job_seconds},
    {"stillhouse_job_wait_seconds", "histogram", "From a job's enqueueing to its start.",
     write_job_wait_seconds},
    {"stillhouse_upstream_seconds", "histogram", "Duration of calls to upstreams.",
     write_upstream_seconds},
    {"stillhouse_upstream_errors_total", "counter", "Calls to upstreams that failed.",
     write_upstream_errors},
    {"stillhouse_http_requests_total", "counter",
     "HTTP requests by answer; error is none, other codes than the usual ones are other.",
     write_http_requests},
    {"stillhouse_http_connections_total", "counter",
     "HTTP connections opened; reuse = 1 - connections / requests.", write_http_connections},
    {"stillhouse_breaker_state", "gauge",
     "Circuit breaker of the fleet as this worker knows it: 0 closed, 1 half-open, 2 open.",
     write_breaker_state},
    {"stillhouse_breaker_opened_total", "counter",
     "How often this worker saw the fleet's circuit breaker open; not to be added up.",
     write_breaker_opened},
    {"stillhouse_cache_lookups_total", "counter", "Lookups of enrichment results by cache layer.",
     write_cache_lookups},
    {"stillhouse_prompts_total", "counter",
     "Prompts of all producers, with examples or the base prompt; the same from every worker.",
     write_prompts},
    {"stillhouse_looked_further_total", "counter",
     "Enrichments whose first hits held too few live experiences, by how the search went on.",
     write_looked_further},
    {"stillhouse_swept_experiences_total", "counter",
     "Expired experiences that this worker deleted from Chroma.", write_swept},
    {"stillhouse_long_texts_total", "counter",
     "Texts longer than the model takes: embedded by their beginning, or rejected.",
     write_long_texts},
    {"stillhouse_embedded_texts_total", "counter",
     "Texts whose embedding came from the model or from the cache.", write_embedded_texts},
    {"stillhouse_fleet_jobs_total", "counter",
     "Jobs of a queue by what became of them, as Redis counts; the same from every worker.",
     write_fleet_jobs},
    {"stillhouse_queue_jobs", "gauge", "Jobs in a queue now; the same from every worker.",
     write_queue_jobs},
    {"stillhouse_queue_oldest_seconds", "gauge",
     "Age of a queue's oldest waiting job; the same from every worker.", write_oldest},
    {"stillhouse_queue_limit_jobs", "gauge",
     "Waiting jobs that a queue takes (STILLHOUSE_MAX_BACKLOG of this worker).", write_limit},
    {"stillhouse_queue_paused", "gauge", "1 while a queue is paused; the same from every worker.",
     write_paused},
    {"stillhouse_unaccounted_jobs", "gauge",
     "By how many jobs the books of a queue are off; anything but 0 is a bug or a foreign hand.",
     write_unaccounted},
    {"stillhouse_queue_faults", "gauge",
     "Keys of a queue that hold what they should not; `stillhouse doctor` names them.",
     write_faults},
    {"stillhouse_lanes", "gauge",
     "Lanes of this worker by what they do; paused is idle while all its queues are paused.",
     write_lanes},
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
