/* process/worker.h - what the threads of one worker process share.
 *
 * fleet.c fills it in before it starts them, and frees it after they have ended. Read-only in
 * between, but for the atomics and what has locks inside.
 */
#ifndef STILLHOUSE_PROCESS_WORKER_H
#define STILLHOUSE_PROCESS_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>

#include "config/settings.h"
#include "context/families.h"
#include "context/upstreams.h"
#include "handlers/handler.h"
#include "metrics/metrics.h"
#include "queue/queue.h"
#include "reader/reader.h"

/* What each promises:
 *   FLEET_RUN    takes and processes jobs.
 *   FLEET_DRAIN  takes no new job; a batch that was begun is finished; jobs not begun go back at
 *                once, undelivered.
 *   FLEET_STOP   the same, but nobody waits: what is running stays pending and is taken over by
 *                others. */
enum fleet_mode { FLEET_RUN, FLEET_DRAIN, FLEET_STOP };

struct worker {
    const struct settings *settings;
    char id[65];
    int64_t started_unix_ms;
    struct queue queues[READER_QUEUES_MAX];
    const struct handler *handlers[READER_QUEUES_MAX];
    size_t queue_count;

    struct metrics *metrics;
    struct upstreams *upstreams;
    struct writer *writer;
    struct recorder *recorder;         /* NULL where no queue needs a learning store */
    struct descriptions *descriptions; /* NULL likewise, where none reads one */
    struct reader *reader;
    struct families families;

    atomic_int mode;             /* enum fleet_mode */
    atomic_llong redis_clock_ms; /* see context_now_unix_ms */
    atomic_bool is_cut_off;      /* the janitor's connection is lost */
    atomic_bool evicts;          /* Redis throws jobs away when it is full */
    atomic_int fleet_size; /* workers alive in the whole fleet, as Redis said last; 0: not yet */
    atomic_int lanes_running;
    atomic_int lanes_busy;
};

static inline enum fleet_mode worker_mode(const struct worker *worker)
{
    return (enum fleet_mode)atomic_load_explicit(&worker->mode, memory_order_relaxed);
}

#endif
