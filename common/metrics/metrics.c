#include "metrics/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- label values: closed sets --------------------------------------------------------------- */

const char *const metrics_outcome_names[METRICS_OUTCOMES] = {"done",    "retried",   "buried",
                                                             "expired", "reclaimed", "parked"};
const char *const metrics_upstream_names[METRICS_UPSTREAMS] = {"redis", "chroma", "embedder"};
const char *const metrics_layer_names[METRICS_LAYERS] = {"memory", "redis"};
const char *const metrics_lookup_names[METRICS_LOOKUPS] = {"hit", "miss", "stale"};
const char *const metrics_further_names[METRICS_FURTHERS] = {"found", "gave_up"};
const char *const metrics_source_names[METRICS_SOURCES] = {"model", "cache"};
const char *const metrics_job_state_names[METRICS_JOB_STATES] = {"waiting", "running", "delayed",
                                                                 "dead"};
const char *const metrics_lane_names[METRICS_LANES] = {"busy", "idle", "paused"};
const char *const metrics_code_names[METRICS_CODES] = {
    "error", "200", "201", "204", "400", "401", "403", "404", "405", "408",
    "409",   "413", "415", "422", "429", "500", "502", "503", "504", "other"};
const char *const metrics_reason_names[METRICS_STATUSES] = {
#define REASON(name, text) #name,
    STATUS_MAP(REASON)
#undef REASON
};
const char *const metrics_operation_names[METRICS_UPSTREAMS][METRICS_OPERATIONS_MAX + 1] = {
    [METRICS_REDIS] = {"read", "finish", "cache", "function", "other"},
    [METRICS_CHROMA] = {"query", "upsert", "get", "delete", "collection", "heartbeat", "other"},
    [METRICS_EMBEDDER] = {"embed", "other"},
};

/* Operations that clients name more finely than the metrics do. */
static const struct {
    const char *name;
    const char *counts_as;
} aliases[] = {{"open", "collection"}, {"create", "collection"}};

/* clang-format off */
const struct metrics_buckets metrics_call_buckets = {
    .count = 15,
    .text = {"0.0005", "0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5",
             "1", "2.5", "5", "10", "30"},
    .bound = {0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
              1, 2.5, 5, 10, 30},
};

const struct metrics_buckets metrics_wait_buckets = {
    .count = 17,
    .text = {"0.001", "0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1", "2.5",
             "5", "10", "30", "60", "300", "3600"},
    .bound = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5,
              5, 10, 30, 60, 300, 3600},
};
/* clang-format on */

/* ---- counting -------------------------------------------------------------------------------- */

struct metrics *metrics_new(void)
{
    struct metrics *m = calloc(1, sizeof *m);
    if (m == NULL) {
        return NULL;
    }
    snprintf(m->queues[METRICS_OTHER].name, sizeof m->queues[METRICS_OTHER].name, "other");
    m->queue_count = 1;
    return m;
}

void metrics_free(struct metrics *metrics)
{
    free(metrics);
}

static void add(atomic_uint_fast64_t *counter, uint64_t count)
{
    atomic_fetch_add_explicit(counter, count, memory_order_relaxed);
}

static void observe(struct metrics_histogram *histogram, const struct metrics_buckets *buckets,
                    double seconds, uint64_t times)
{
    const double longest = 1e6;
    size_t bucket = 0;

    if (!(seconds > 0)) { /* not a number neither */
        seconds = 0;
    } else if (seconds > longest) {
        seconds = longest;
    }
    while (bucket < buckets->count && seconds > buckets->bound[bucket]) {
        bucket++;
    }
    add(&histogram->counts[bucket], times);
    add(&histogram->sum_ns, (uint64_t)(seconds * 1e9) * times);
}

/* The position of `name` in a list that ends with NULL; -1 when it is not there. */
static int position_of(const char *const *names, const char *name)
{
    for (int i = 0; names[i] != NULL; i++) {
        if (strcmp(names[i], name) == 0) {
            return i;
        }
    }
    return -1;
}

void metrics_add_queue(struct metrics *m, const char *name)
{
    if (m->queue_count < METRICS_QUEUES_MAX && metrics_queue_of(m, name) == METRICS_OTHER) {
        char *to = m->queues[m->queue_count++].name;
        snprintf(to, METRICS_QUEUE_NAME_BYTES, "%s", name);
    }
}

void metrics_name_tallies(struct metrics *m, const char *const *names, size_t count)
{
    m->tally_names = names;
    m->tally_count = count < METRICS_TALLIES_MAX ? count : METRICS_TALLIES_MAX;
}

size_t metrics_queue_of(const struct metrics *m, const char *name)
{
    for (size_t i = METRICS_OTHER + 1; i < m->queue_count; i++) {
        if (strcmp(m->queues[i].name, name) == 0) {
            return i;
        }
    }
    return METRICS_OTHER;
}

void metrics_jobs(struct metrics *m, size_t queue, enum metrics_outcome outcome, uint64_t count)
{
    add(&m->queues[queue].jobs[outcome], count);
}

void metrics_job_seconds(struct metrics *m, size_t queue, double seconds, uint64_t jobs)
{
    observe(&m->queues[queue].job_seconds, &metrics_call_buckets, seconds, jobs);
}

void metrics_job_wait_seconds(struct metrics *m, size_t queue, double seconds)
{
    observe(&m->queues[queue].job_wait_seconds, &metrics_wait_buckets, seconds, 1);
}

static int operation_of(enum metrics_upstream upstream, const char *operation)
{
    const char *const *names = metrics_operation_names[upstream];

    for (size_t i = 0; i < sizeof aliases / sizeof aliases[0]; i++) {
        if (strcmp(operation, aliases[i].name) == 0) {
            operation = aliases[i].counts_as;
        }
    }
    int position = position_of(names, operation);
    return position >= 0 ? position : position_of(names, "other");
}

void metrics_upstream_seconds(struct metrics *m, enum metrics_upstream upstream,
                              const char *operation, double seconds)
{
    int position = operation_of(upstream, operation != NULL ? operation : "other");

    observe(&m->upstream_seconds[upstream][position], &metrics_call_buckets, seconds, 1);
}

void metrics_upstream_error(struct metrics *m, enum metrics_upstream upstream, enum status reason)
{
    size_t index = (size_t)reason < METRICS_STATUSES ? (size_t)reason : STATUS_FAILED;

    add(&m->upstream_errors[upstream][index], 1);
}

void metrics_http_request(struct metrics *m, enum metrics_upstream upstream, int code,
                          long new_connections)
{
    size_t index = METRICS_NO_ANSWER;

    if (code != 0) {
        do {
            index++;
        } while (index < METRICS_CODES - 1 && strtol(metrics_code_names[index], NULL, 10) != code);
    }
    add(&m->http_requests[upstream][index], 1);
    if (new_connections > 0) {
        add(&m->http_connections[upstream], (uint64_t)new_connections);
    }
}

void metrics_breaker(struct metrics *m, enum operation operation, int state, uint64_t opened_total)
{
    atomic_store_explicit(&m->breaker_state[operation], state, memory_order_relaxed);
    atomic_store_explicit(&m->breaker_opened[operation], opened_total, memory_order_relaxed);
}

void metrics_cache_lookup(struct metrics *m, enum metrics_layer layer, enum metrics_lookup result,
                          uint64_t count)
{
    add(&m->lookups[layer][result], count);
}

void metrics_looked_further(struct metrics *m, enum metrics_further result)
{
    add(&m->furthers[result], 1);
}

void metrics_swept(struct metrics *m, uint64_t experiences)
{
    add(&m->swept, experiences);
}

void metrics_long_text(struct metrics *m, enum metrics_long_text action)
{
    add(&m->long_texts[action], 1);
}

void metrics_embedded(struct metrics *m, enum metrics_source source, uint64_t texts)
{
    add(&m->embedded[source], texts);
}

static void set(atomic_int_fast64_t *gauge, int64_t value)
{
    atomic_store_explicit(gauge, value, memory_order_relaxed);
}

void metrics_queue_set(struct metrics *m, size_t queue, const struct metrics_queue_facts *facts)
{
    struct metrics_facts *to = &m->queues[queue].facts;

    for (int state = 0; state < METRICS_JOB_STATES; state++) {
        set(&to->jobs[state], facts->jobs[state]);
    }
    set(&to->oldest_ms, facts->oldest_ms);
    set(&to->unaccounted, facts->unaccounted);
    set(&to->limit_jobs, facts->limit_jobs);
    set(&to->paused, facts->paused);
    set(&to->faults, facts->faults);
    for (size_t i = 0; i < m->tally_count; i++) {
        set(&to->tallies[i], facts->tallies[i]);
    }
    atomic_store_explicit(&to->known, true, memory_order_release);
}

void metrics_queue_unset(struct metrics *m, size_t queue)
{
    atomic_store_explicit(&m->queues[queue].facts.known, false, memory_order_relaxed);
}

void metrics_lanes(struct metrics *m, enum metrics_lane state, int64_t delta)
{
    atomic_fetch_add_explicit(&m->lanes[state], delta, memory_order_relaxed);
}

void metrics_prompts(struct metrics *m, uint64_t enriched, uint64_t stale, uint64_t fallback)
{
    atomic_store_explicit(&m->enriched, enriched + stale, memory_order_relaxed);
    atomic_store_explicit(&m->fallback, fallback, memory_order_relaxed);
    atomic_store_explicit(&m->prompts_known, true, memory_order_release);
}

void metrics_memory_lookups(struct metrics *m, const uint64_t counts[METRICS_LOOKUPS])
{
    for (int i = 0; i < METRICS_LOOKUPS; i++) {
        atomic_store_explicit(&m->lookups[METRICS_MEMORY][i], counts[i], memory_order_relaxed);
    }
}

void metrics_prompts_unset(struct metrics *m)
{
    atomic_store_explicit(&m->prompts_known, false, memory_order_relaxed);
}
