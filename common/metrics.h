/* metrics.h - counters, gauges and histograms of a worker, and their Prometheus text.
 *
 * One table holds every family: name, type, labels, help (contract, section 6). Samples are relaxed
 * atomics: any thread may add at any time, without a lock. Label values come from closed sets
 * (enums below).
 */
#ifndef STILLHOUSE_COMMON_METRICS_H
#define STILLHOUSE_COMMON_METRICS_H

#include <stdint.h>

#include "status.h"
#include "strbuf.h"

enum metrics_queue {
    METRICS_ENRICH,
    METRICS_DISTILL,
    METRICS_INDEX,
    METRICS_ECHO,
    METRICS_OTHER,
    METRICS_QUEUES
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

/* The enum of a queue's name ("enrich.3" counts as enrich). */
enum metrics_queue metrics_queue_of(const char *name);

void metrics_jobs(struct metrics *m, enum metrics_queue queue, enum metrics_outcome outcome,
                  uint64_t count);
/* Each of `jobs` jobs took `seconds`: a job takes as long as its batch. */
void metrics_job_seconds(struct metrics *m, enum metrics_queue queue, double seconds,
                         uint64_t jobs);
void metrics_job_wait_seconds(struct metrics *m, enum metrics_queue queue, double seconds);
/* `operation` is a literal from the known list in metrics.c (others count as "other"). */
void metrics_upstream_seconds(struct metrics *m, enum metrics_upstream upstream,
                              const char *operation, double seconds);
/* `reason` = status of the failure. */
void metrics_upstream_error(struct metrics *m, enum metrics_upstream upstream, enum status reason);
/* `code` 0 = no answer. */
void metrics_http_request(struct metrics *m, enum metrics_upstream upstream, int code,
                          long new_connections);
/* State and lifetime count of a breaker, as upstreams.h knows them. */
void metrics_breaker(struct metrics *m, enum metrics_upstream upstream, int state,
                     uint64_t opened_total);
void metrics_cache_lookup(struct metrics *m, enum metrics_layer layer, enum metrics_lookup result,
                          uint64_t count);
void metrics_embedded(struct metrics *m, enum metrics_source source, uint64_t texts);
/* Gauges, set by the janitor; a queue that nobody has set is not shown. */
void metrics_queue_jobs(struct metrics *m, enum metrics_queue queue, enum metrics_job_state state,
                        int64_t count);
/* By how many jobs the books of a queue are off; 0 is what it must be. */
void metrics_unaccounted(struct metrics *m, enum metrics_queue queue, int64_t jobs);
void metrics_lanes(struct metrics *m, enum metrics_lane state, int64_t delta);
/* Producers' sums from sh:prompts: enriched, stale (shown as enriched) and fallback. */
void metrics_prompts(struct metrics *m, uint64_t enriched, uint64_t stale, uint64_t fallback);

/* Appends the Prometheus text (0.0.4) of every family: # HELP, # TYPE, samples; check strbuf_ok.
 * Any thread. */
void metrics_render(const struct metrics *m, struct strbuf *out);

#endif
