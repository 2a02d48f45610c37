/* context/families.h - what /metrics tells beyond what the lanes count: the queues and the prompts
 * of the whole fleet, which Redis knows, and the process itself.
 *
 *     health thread:  families_refresh(f); families_measure(f, up); metrics_render(metrics, out)
 *     janitor:        if (families_are_asked(f)) families_fetch(f, conn)
 *
 * Redis is asked when somebody scrapes, at most twice a second, so a worker that nobody scrapes
 * costs it nothing. The answer waits for it, but never longer than 300 ms and, after it has waited
 * in vain, not again for two seconds: the endpoint has one thread, and probes come by it too. What
 * Redis does not say is not shown; while it only is slow, what it said up to 15 s ago is.
 */
#ifndef STILLHOUSE_CONTEXT_FAMILIES_H
#define STILLHOUSE_CONTEXT_FAMILIES_H

#include <pthread.h>

#include "config/settings.h"
#include "metrics/metrics.h"
#include "queue/queue.h"

struct families {
    const struct settings *settings;
    struct metrics *metrics;
    const struct queue *queues;
    size_t queue_count;
    int64_t started_unix_ms;

    pthread_mutex_t lock; /* guards the following */
    pthread_cond_t answered;
    bool asked;
    int64_t ended_ms;   /* when the last fetch was, whatever came of it; 0 = never */
    int64_t in_vain_ms; /* when a wait ended without one; 0 = the last one did not */
};

/* Everything is borrowed and must outlive it; the queues get their series. Before the threads. */
void families_init(struct families *f, const struct settings *settings, struct metrics *metrics,
                   struct queue *queues, size_t queue_count);
void families_free(struct families *f);

/* Health thread: asks for new figures and waits for them. */
void families_refresh(struct families *f);

/* Janitor: fetches them, or takes away those that Redis did not give, and wakes who waits. */
bool families_are_asked(struct families *f);
void families_fetch(struct families *f, struct redis_conn *conn);

/* Any thread: sets what there is to say of the process: Redis' state, processor time, memory,
 * descriptors, start. */
void families_measure(const struct families *f, bool redis_up);

#endif
