/* metrics/internal.h - what metrics.c counts and metrics/render.c writes. */
#ifndef STILLHOUSE_METRICS_INTERNAL_H
#define STILLHOUSE_METRICS_INTERNAL_H

#include <stdatomic.h>
#include <stddef.h>

#include "metrics/metrics.h"

enum {
    METRICS_BUCKETS_MAX = 20,
    METRICS_OPERATIONS_MAX = 7,
    METRICS_CODES = 20,    /* http codes, error and other included */
    METRICS_NO_ANSWER = 0, /* the http code when there was none */
    METRICS_QUEUE_NAME_BYTES = 64,
#define METRICS_COUNT_STATUS(name, text) +1
    METRICS_STATUSES = 0 STATUS_MAP(METRICS_COUNT_STATUS)
#undef METRICS_COUNT_STATUS
};

/* Upper bounds in seconds, as they stand in `le`; +Inf is not among them. */
struct metrics_buckets {
    size_t count;
    const char *text[METRICS_BUCKETS_MAX];
    double bound[METRICS_BUCKETS_MAX];
};

extern const struct metrics_buckets metrics_call_buckets; /* 0.5 ms .. 30 s */
extern const struct metrics_buckets metrics_wait_buckets; /* 1 ms .. 1 h: jobs may wait long */

/* counts[i] = observations in (bound[i-1], bound[i]]; the last one is +Inf's. */
struct metrics_histogram {
    atomic_uint_fast64_t counts[METRICS_BUCKETS_MAX + 1];
    atomic_uint_fast64_t sum_ns;
};

/* struct metrics_queue_facts; shown while `known`. */
struct metrics_facts {
    atomic_bool known;
    atomic_int_fast64_t jobs[METRICS_JOB_STATES];
    atomic_int_fast64_t oldest_ms;
    atomic_int_fast64_t unaccounted;
    atomic_int_fast64_t limit_jobs;
    atomic_int_fast64_t paused;
    atomic_int_fast64_t faults;
    atomic_int_fast64_t tallies[METRICS_TALLIES_MAX];
};

struct metrics_queue {
    char name[METRICS_QUEUE_NAME_BYTES];
    atomic_uint_fast64_t jobs[METRICS_OUTCOMES];
    struct metrics_histogram job_seconds;
    struct metrics_histogram job_wait_seconds;
    struct metrics_facts facts;
};

struct metrics {
    struct metrics_queue queues[METRICS_QUEUES_MAX];
    size_t queue_count;
    const char *const *tally_names;
    size_t tally_count;
    struct metrics_histogram upstream_seconds[METRICS_UPSTREAMS][METRICS_OPERATIONS_MAX];
    atomic_uint_fast64_t upstream_errors[METRICS_UPSTREAMS][METRICS_STATUSES];
    atomic_uint_fast64_t http_requests[METRICS_UPSTREAMS][METRICS_CODES];
    atomic_uint_fast64_t http_connections[METRICS_UPSTREAMS];
    atomic_int_fast64_t breaker_state[OPERATIONS];
    atomic_uint_fast64_t breaker_opened[OPERATIONS];
    atomic_uint_fast64_t lookups[METRICS_LAYERS][METRICS_LOOKUPS];
    atomic_uint_fast64_t furthers[METRICS_FURTHERS];
    atomic_uint_fast64_t swept;
    atomic_uint_fast64_t embedded[METRICS_SOURCES];
    atomic_uint_fast64_t long_texts[METRICS_LONG_TEXTS];
    atomic_int_fast64_t lanes[METRICS_LANES];
    atomic_bool prompts_known;
    atomic_uint_fast64_t enriched; /* stale ones included */
    atomic_uint_fast64_t fallback;
};

/* Label values. */
extern const char *const metrics_outcome_names[METRICS_OUTCOMES];
extern const char *const metrics_upstream_names[METRICS_UPSTREAMS];
extern const char *const metrics_layer_names[METRICS_LAYERS];
extern const char *const metrics_lookup_names[METRICS_LOOKUPS];
extern const char *const metrics_further_names[METRICS_FURTHERS];
extern const char *const metrics_source_names[METRICS_SOURCES];
extern const char *const metrics_job_state_names[METRICS_JOB_STATES];
extern const char *const metrics_lane_names[METRICS_LANES];
extern const char *const metrics_reason_names[METRICS_STATUSES];
extern const char *const metrics_code_names[METRICS_CODES];

/* NULL behind the last one of an upstream; that one is "other". */
extern const char *const metrics_operation_names[METRICS_UPSTREAMS][METRICS_OPERATIONS_MAX + 1];

#endif
