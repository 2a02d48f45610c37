/* process/fleet.h - one worker process: its lanes, the reader they share, the janitor, and how it
 * ends.
 *
 *     main thread: fleet_start -> waits for signals -> fleet_stop(FLEET_DRAIN) -> fleet_join ->
 * fleet_free lanes:       take the reader, read a batch, let it go, process, commit, account; again
 *     janitor:     promotes delayed jobs, beats for long jobs, renews leases, registers, feeds the
 * gauges
 *
 * Shutdown modes, each with what it promises:
 *   FLEET_RUN    takes and processes jobs.
 *   FLEET_DRAIN  takes no new job; a batch that was begun is finished; jobs not begun go back at
 * once, undelivered. FLEET_STOP   the same, but nobody waits: what is running stays pending and is
 * taken over by others.
 */
#ifndef STILLHOUSE_PROCESS_FLEET_H
#define STILLHOUSE_PROCESS_FLEET_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include "chroma_writer/writer.h"
#include "config/settings.h"
#include "context/context.h"
#include "context/families.h"
#include "context/upstreams.h"
#include "handlers/handler.h"
#include "metrics/metrics.h"
#include "process/sweep.h"
#include "queue/queue.h"
#include "reader/reader.h"

enum fleet_mode { FLEET_RUN, FLEET_DRAIN, FLEET_STOP };

/* A thread with its own clients. Everything but `inflight` is its own. */
struct lane {
    struct fleet *fleet;
    pthread_t thread;
    bool started;
    char consumer[96]; /* "<worker id>.<lane>" */
    struct context ctx;
    struct takes takes;
    bool is_cut_off; /* a commit failed: no more jobs before the lane's connection answers */

    pthread_mutex_t lock;  /* guards the following, for the janitor's heartbeats */
    size_t inflight;       /* index of the take being processed; those before it are committed */
    size_t inflight_count; /* where they end; on drain the janitor hands back those not begun */
    int64_t inflight_since_ms;
    int64_t beat_ms;  /* last heartbeat */
    bool is_stranded; /* the take in hand cannot be committed: the janitor hands it back */
};

struct fleet {
    const struct settings *settings;
    char id[65];
    struct metrics *metrics;
    struct upstreams *upstreams;
    struct writer *writer;
    struct group_write *group_write;
    struct sweep *sweep;
    struct reader *reader;
    struct queue queues[READER_QUEUES_MAX];
    const struct handler *handlers[READER_QUEUES_MAX];
    size_t queue_count;
    struct families families;
    struct lane *lanes;
    size_t lane_count;
    pthread_t janitor;
    bool janitor_started;
    atomic_int mode;             /* enum fleet_mode */
    atomic_llong redis_clock_ms; /* see context_now_unix_ms */
    atomic_bool is_cut_off;      /* the janitor's connection is lost */
    atomic_bool evicts;          /* Redis throws jobs away when it is full */
    atomic_int size; /* workers alive in the whole fleet, as Redis said last; 0: not yet */
    atomic_int lanes_running;
    int64_t started_unix_ms;
};

/* Builds everything and starts the threads; `fleet` is zeroed by the caller and outlives them. */
enum status fleet_start(struct fleet *fleet, const struct settings *settings,
                        struct metrics *metrics, struct error *err) MUSTCHECK;

enum fleet_mode fleet_get_mode(const struct fleet *fleet);
void fleet_stop(struct fleet *fleet, enum fleet_mode mode);

/* Waits up to `wait_ms` for the lanes; true when all have ended. */
bool fleet_wait(struct fleet *fleet, int64_t wait_ms) MUSTCHECK;

/* Joins threads that have ended and frees everything. Only after fleet_wait said true. */
void fleet_join(struct fleet *fleet);

/* True while the process makes progress: the reader turns, or the lanes do. Any thread. */
bool fleet_is_alive(void *fleet);
bool fleet_redis_ready(void *fleet);

/* For /readyz: appends what is set aside and that Redis evicts, as members of an object; true when
 * there is anything. For /metrics: the number of queues that are set aside. Any thread. */
bool fleet_describe(void *fleet, struct strbuf *out);
void fleet_write_metrics(void *context, struct strbuf *out);

/* Gives a take that was not begun back to the queue: claimable by others at once, its deliveries
 * uncounted. Under the lane's lock, or in its thread. */
enum status take_hand_back(struct redis_conn *conn, const struct lane *lane,
                           const struct take *take, struct error *err) MUSTCHECK;

/* The threads' functions. */
void *lane_run(void *argument);
void *janitor_run(void *argument);

#endif
