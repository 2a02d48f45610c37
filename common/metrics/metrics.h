/* metrics/metrics.h - counters, gauges and histograms of a worker, and their Prometheus text.
 *
 *     struct metrics *m = metrics_new();
 *     metrics_add_queue(m, "echo");
 *     metrics_add(m, METRICS_JOBS, metrics_queue_of(m, "echo"), METRICS_DONE, 64);
 *     metrics_observe(m, METRICS_JOB_SECONDS, metrics_queue_of(m, "echo"), 0.25, 64);
 *     metrics_render(m, &text);
 *
 * One table holds every family: name, type, help, labels, which of its series stand at 0 from the
 * start (metrics/table.c; producer/CONTRACT.md, section 9). A family is a matrix of cells, one a
 * series: a row and a column stand for the values of its labels, enums below and the queues that
 * the worker serves; a family without a label has row and column 0. Cells are relaxed atomics: any
 * thread may change one at any time, without a lock.
 *
 * Two kinds of families stand here. What the worker itself did is its own: sum it over workers.
 * What Redis says of a queue or of all producers (stillhouse_queue_..., stillhouse_fleet_...,
 * stillhouse_unaccounted_jobs, stillhouse_prompts_total, layer "memory" of
 * stillhouse_cache_lookups_total) is the same from every worker, and what it says of breakers
 * nearly so: read it with max by, since a sum would count it once a worker.
 */
#ifndef STILLHOUSE_METRICS_METRICS_H
#define STILLHOUSE_METRICS_METRICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/strbuf.h"
#include "jobs/operation.h"

/* Behind each: its rows, and its columns where it has two labels. */
enum metrics_family {
    METRICS_JOBS,               /* queue, enum metrics_outcome */
    METRICS_JOB_SECONDS,        /* queue; a job takes as long as its batch */
    METRICS_JOB_WAIT_SECONDS,   /* queue */
    METRICS_UPSTREAM_SECONDS,   /* metrics_call_of() */
    METRICS_UPSTREAM_ERRORS,    /* enum metrics_upstream, enum status */
    METRICS_HTTP_REQUESTS,      /* enum metrics_upstream, metrics_code_of() */
    METRICS_HTTP_CONNECTIONS,   /* enum metrics_upstream */
    METRICS_BREAKER_STATE,      /* enum operation */
    METRICS_BREAKER_OPENED,     /* enum operation */
    METRICS_CACHE_LOOKUPS,      /* enum metrics_layer, enum metrics_lookup */
    METRICS_PROMPTS,            /* enum metrics_prompt */
    METRICS_LOOKED_FURTHER,     /* enum metrics_further */
    METRICS_SWEPT,              /* 0 */
    METRICS_LONG_TEXTS,         /* enum metrics_long_text */
    METRICS_EMBEDDED,           /* enum metrics_source */
    METRICS_FLEET_JOBS,         /* queue, the tally that was named */
    METRICS_QUEUE_JOBS,         /* queue, enum metrics_job_state */
    METRICS_QUEUE_OLDEST_MS,    /* queue; shown in seconds */
    METRICS_QUEUE_LIMIT,        /* queue */
    METRICS_QUEUE_PAUSED,       /* queue */
    METRICS_UNACCOUNTED,        /* queue */
    METRICS_QUEUE_FAULTS,       /* queue */
    METRICS_LANES,              /* METRICS_BUSY, METRICS_IDLE */
    METRICS_BUILD_INFO,         /* what metrics_name_build said */
    METRICS_REDIS_UP,           /* of the process, as all below: no label */
    METRICS_PROCESS_CPU_MS,     /* shown in seconds */
    METRICS_PROCESS_VIRTUAL,    /* bytes */
    METRICS_PROCESS_RESIDENT,   /* bytes */
    METRICS_PROCESS_OPEN_FILES, /**/
    METRICS_PROCESS_MOST_FILES, /**/
    METRICS_PROCESS_START_MS,   /* shown in seconds */
    METRICS_QUEUES_SET_ASIDE,   /**/
    METRICS_LEARN_OPEN,         /* of a recorder, as all below */
    METRICS_LEARN_PARTS,        /* the word of `kind`, counted in kinds.def's order */
    METRICS_LEARN_EXECUTIONS,   /**/
    METRICS_LEARN_INCOMPLETE,   /**/
    METRICS_LEARN_DIRTY,        /**/
    METRICS_LEARN_LAG_MS,       /* shown in seconds */
    METRICS_LEARN_BYTES,        /**/
    METRICS_LEARN_CHECKED,      /**/
    METRICS_LEARN_DRIFTED,      /**/
    METRICS_LEARN_EXPIRED,      /* enum metrics_deleted */
    METRICS_LEARN_HURT,         /**/
    METRICS_FAMILIES
};

enum {
    METRICS_OTHER = 0,       /* the queue that nobody has named */
    METRICS_QUEUES_MAX = 33, /* it and what a worker serves at most */
    METRICS_TALLIES_MAX = 24
};
enum metrics_outcome {
    METRICS_DONE,
    METRICS_RETRIED,
    METRICS_BURIED,
    METRICS_EXPIRED,
    METRICS_RECLAIMED,
    METRICS_PARKED,
    METRICS_OUTCOMES
};
enum metrics_upstream {
    METRICS_REDIS,
    METRICS_CHROMA,
    METRICS_EMBEDDER,
    METRICS_LEARN, /* the learning store */
    METRICS_UPSTREAMS
};
enum metrics_layer { METRICS_MEMORY, METRICS_REDIS_LAYER, METRICS_LAYERS };
enum metrics_lookup { METRICS_HIT, METRICS_MISS, METRICS_STALE, METRICS_LOOKUPS };
enum metrics_prompt { METRICS_ENRICHED, METRICS_FALLBACK, METRICS_HOLDOUT, METRICS_PROMPT_RESULTS };
enum metrics_source { METRICS_FROM_MODEL, METRICS_FROM_CACHE, METRICS_SOURCES };
/* An enrichment asked Chroma for more hits, since expired ones lay nearer than live ones. */
enum metrics_further { METRICS_FOUND, METRICS_GAVE_UP, METRICS_FURTHERS };
/* A text was longer than the model takes: its beginning was embedded, or it was refused. */
enum metrics_long_text { METRICS_LONG_CUT, METRICS_LONG_REJECTED, METRICS_LONG_ACTIONS };
/* Lanes are set as busy or idle; while all queues are paused, idle ones are shown as paused. */
enum metrics_lane { METRICS_BUSY, METRICS_IDLE, METRICS_PAUSED, METRICS_LANE_STATES };
/* What a recorder deletes for its age or the store's size; the last: hashes of forgotten names. */
enum metrics_deleted {
    METRICS_DELETED_EXECUTION,
    METRICS_DELETED_FEEDBACK,
    METRICS_DELETED_POOL,
    METRICS_DELETED_POLICY,
    METRICS_DELETED_FORGOTTEN,
    METRICS_DELETED_KINDS
};
enum metrics_job_state {
    METRICS_WAITING,
    METRICS_RUNNING,
    METRICS_DELAYED,
    METRICS_DEAD,
    METRICS_JOB_STATES
};

struct metrics; /* opaque; heap; any thread */

/* NULL: out of memory. */
struct metrics *metrics_new(void) MUSTCHECK;
void metrics_free(struct metrics *metrics);

/* ---- before any other thread counts ----------------------------------------------------------
 */

/* A queue that this worker serves: its counters stand at 0 from now on. Each goes by its own name,
 * "enrich.3" too, or two partitions on two workers would fall into one series. `name` is copied. */
void metrics_add_queue(struct metrics *m, const char *name);
/* How Redis' counters of a queue are called; literals, at most METRICS_TALLIES_MAX. */
void metrics_name_tallies(struct metrics *m, const char *const *names, size_t count);
/* `version` is a literal. */
void metrics_name_build(struct metrics *m, const char *version, long long functions);

/* ---- rows and columns ------------------------------------------------------------------------
 */

/* The row of a queue; METRICS_OTHER when it was not added. */
size_t metrics_queue_of(const struct metrics *m, const char *name);

/* The row of an operation of an upstream, "query" of METRICS_CHROMA; one that is not in the list is
 * that upstream's "other", as NULL is. */
size_t metrics_call_of(enum metrics_upstream upstream, const char *operation);

/* The column of an HTTP code; 0 = no answer. */
size_t metrics_code_of(int code);

/* ---- counting --------------------------------------------------------------------------------
 */

/* Counts on. A series that does not stand there yet comes with its first event. */
void metrics_add(struct metrics *m, enum metrics_family family, size_t row, size_t column,
                 uint64_t count);

/* How it is now; shown from the first time on until it is unset. */
void metrics_set(struct metrics *m, enum metrics_family family, size_t row, size_t column,
                 int64_t value);

/* Redis does not say: rather nothing than what was true once. All series of that row. */
void metrics_unset(struct metrics *m, enum metrics_family family, size_t row);

/* What Redis says of a queue, all families. */
void metrics_unset_queue(struct metrics *m, size_t queue);

/* `times` events of a histogram took `seconds` each. */
void metrics_observe(struct metrics *m, enum metrics_family family, size_t row, double seconds,
                     uint64_t times);

/* ---- telling ---------------------------------------------------------------------------------
 */

/* Appends the Prometheus text (0.0.4) of every family: # HELP, # TYPE, samples; check strbuf_ok.
 * Any thread. */
void metrics_render(const struct metrics *m, struct strbuf *out);

#endif
