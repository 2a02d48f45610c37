/* metrics/metrics.h - counters, gauges and histograms of a worker, and their Prometheus text.
 *
 * One table holds every family: name, type, labels, help (producer/CONTRACT.md, section 9). Samples
 * are relaxed atomics: any thread may add at any time, without a lock. Label values come from
 * closed sets (enums below, and the queues that the worker serves).
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
enum metrics_upstream { METRICS_REDIS, METRICS_CHROMA, METRICS_EMBEDDER, METRICS_UPSTREAMS };
enum metrics_layer { METRICS_MEMORY, METRICS_REDIS_LAYER, METRICS_LAYERS };
enum metrics_lookup { METRICS_HIT, METRICS_MISS, METRICS_STALE, METRICS_LOOKUPS };
enum metrics_source { METRICS_FROM_MODEL, METRICS_FROM_CACHE, METRICS_SOURCES };
enum metrics_further { METRICS_FOUND, METRICS_GAVE_UP, METRICS_FURTHERS };
enum metrics_lane { METRICS_BUSY, METRICS_IDLE, METRICS_PAUSED, METRICS_LANES };
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

/* A queue that this worker serves: its counters stand at 0 from now on. Each goes by its own name,
 * "enrich.3" too, or two partitions on two workers would fall into one series. `name` is copied.
 * Before any other thread counts. */
void metrics_add_queue(struct metrics *m, const char *name);
/* How Redis' counters of a queue are called; literals, at most METRICS_TALLIES_MAX. Likewise. */
void metrics_name_tallies(struct metrics *m, const char *const *names, size_t count);

/* The queue of that name for the calls below; METRICS_OTHER when it was not added. */
size_t metrics_queue_of(const struct metrics *m, const char *name);

void metrics_jobs(struct metrics *m, size_t queue, enum metrics_outcome outcome, uint64_t count);
/* Each of `jobs` jobs took `seconds`: a job takes as long as its batch. */
void metrics_job_seconds(struct metrics *m, size_t queue, double seconds, uint64_t jobs);
void metrics_job_wait_seconds(struct metrics *m, size_t queue, double seconds);
/* `operation` is a literal from the known list in metrics.c (others count as "other"). */
void metrics_upstream_seconds(struct metrics *m, enum metrics_upstream upstream,
                              const char *operation, double seconds);
/* `reason` = status of the failure. */
void metrics_upstream_error(struct metrics *m, enum metrics_upstream upstream, enum status reason);
/* `code` 0 = no answer. */
void metrics_http_request(struct metrics *m, enum metrics_upstream upstream, int code,
                          long new_connections);
/* State and lifetime count of a breaker, as upstreams.h knows them. */
void metrics_breaker(struct metrics *m, enum operation operation, int state, uint64_t opened_total);
void metrics_cache_lookup(struct metrics *m, enum metrics_layer layer, enum metrics_lookup result,
                          uint64_t count);
/* An enrichment that asked Chroma for more hits, since expired ones lay nearer than live ones. */
void metrics_looked_further(struct metrics *m, enum metrics_further result);
/* Expired experiences that this worker deleted. */
void metrics_swept(struct metrics *m, uint64_t experiences);
/* A text was longer than the model takes: its beginning was embedded, or it was refused. */
enum metrics_long_text { METRICS_LONG_CUT, METRICS_LONG_REJECTED, METRICS_LONG_TEXTS };
void metrics_long_text(struct metrics *m, enum metrics_long_text action);
void metrics_embedded(struct metrics *m, enum metrics_source source, uint64_t texts);

/* What Redis says of a queue; shown from the first time it is set until it is unset. */
struct metrics_queue_facts {
    int64_t jobs[METRICS_JOB_STATES];
    int64_t oldest_ms;      /* age of the oldest waiting job */
    int64_t unaccounted;    /* by how many jobs the books are off; 0 is what it must be */
    int64_t limit_jobs;     /* waiting jobs it takes; 0 = no bound, not shown */
    int64_t paused;         /* 0 or 1 */
    int64_t faults;         /* keys that hold what they should not */
    const int64_t *tallies; /* Redis' counters, as many as were named */
};
void metrics_queue_set(struct metrics *m, size_t queue, const struct metrics_queue_facts *facts);
/* Redis does not say: rather nothing than what was true once. */
void metrics_queue_unset(struct metrics *m, size_t queue);

void metrics_lanes(struct metrics *m, enum metrics_lane state, int64_t delta);
/* Producers' sums from sh:prompts: enriched, stale (shown as enriched) and fallback. */
void metrics_prompts(struct metrics *m, uint64_t enriched, uint64_t stale, uint64_t fallback);
void metrics_prompts_unset(struct metrics *m);
/* Likewise what producers' memory was good for: layer "memory" of the look-ups, shown as long as
 * the prompts are. Before metrics_prompts. */
void metrics_memory_lookups(struct metrics *m, const uint64_t counts[METRICS_LOOKUPS]);

/* Appends the Prometheus text (0.0.4) of every family: # HELP, # TYPE, samples; check strbuf_ok.
 * Any thread. */
void metrics_render(const struct metrics *m, struct strbuf *out);

#endif
