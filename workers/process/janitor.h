/* process/janitor.h - one thread a process for what no lane should wait for: a table of chores.
 *
 * A chore is a function that is run now and then, on the janitor's connection, in its thread. There
 * are two kinds, two tables:
 *
 *   the worker's own    beats for the jobs that its lanes hold, renews leases, registers, asks
 *                       for the figures of /metrics: chores_worker.c
 *   a queue's           promotes due jobs, trims, tidies: chores_queue.c. Run once for each queue,
 * in one worker of those that serve it, which holds the queue's lease.
 *
 * To add one: write a chore_run, put it into the table at the end of one of the two files with a
 * name, how often it runs, and nothing else. What a chore may rely on:
 *
 *   - It fails for itself. What it returns is logged under its name, at most every few seconds; the
 *     others go on, and it is run again after a moment. Only when the connection itself is lost
 * does the round end, since it would be lost for all.
 *   - It says when it wants to run next: turn->wait_ms comes with the table's time and may be
 * changed. A chore that found nothing to do may well ask for longer; one that has more to do asks
 * for 0 and comes again in the next round, after the others: so work is done in slices.
 *   - Its functions may be missing: a refusal makes the janitor load the library anew.
 *   - Commands count: 1,000 idle workers share one Redis. A chore of the worker's own costs every
 * one of them; a queue's costs one worker, but for each of up to 32 queues.
 *
 * What a chore must not do: wait for anything but Redis, or for longer than some 100 ms, since the
 * heartbeats of running jobs come from this thread. Nothing here is needed for safety: a queue's
 * chores may run twice at once (a holder that slept), or a few seconds late.
 */
#ifndef STILLHOUSE_PROCESS_JANITOR_H
#define STILLHOUSE_PROCESS_JANITOR_H

#include "base/log.h"
#include "process/duty.h"
#include "process/fleet.h"

enum { JANITOR_CHORES_MAX = 16 };

struct janitor; /* below */

/* What a run is about, and when the next one shall be. */
struct turn {
    size_t queue;    /* index into the fleet's queues; 0 for a chore of the worker's own */
    int64_t wait_ms; /* until the next run: the table's time, or what the chore sets */
};

typedef enum status chore_run(struct janitor *janitor, struct turn *turn, struct error *err);

struct chore {
    const char *name; /* for the log: "janitor: promote: ..." */
    int64_t every_ms; /* over 0; rounds begin every 200 ms, or when the next chore is due */
    chore_run *run;
    bool is_woken; /* a queue's: also run when its key `sh:{Q}:wake` gets a token */
};

/* A table; `count` is at most JANITOR_CHORES_MAX. */
struct chores {
    const struct chore *rows;
    size_t count;
};
extern const struct chores chores_worker;
extern const struct chores chores_queue;

/* All of it belongs to the janitor's thread. */
struct janitor {
    struct fleet *fleet;
    struct redis_conn *conn;
    int64_t worker_due_ms[JANITOR_CHORES_MAX];
    int64_t queue_due_ms[JANITOR_CHORES_MAX][READER_QUEUES_MAX];
    struct log_limit log_limits[2][JANITOR_CHORES_MAX];
    struct duty duty;          /* which queues' chores are ours */
    struct redis_conn *ear;    /* blocks on the queues' wake and call keys */
    bool listening;            /* a BLPOP stands on it */
    uint64_t listening_change; /* duty.changes when it began */
    int64_t listening_ms;      /* since when */
    int64_t listen_at_ms;      /* when it may be tried again */
    int64_t next_due_ms;       /* the chore that is due next */
    struct log_limit ear_limit;
    uint64_t registered_digest; /* what the registration said last */
    int64_t register_at_ms;
    uint64_t registered_times;
    uint64_t looked_opened;            /* for the eviction policy: on which connection, */
    int64_t look_at_ms;                /* and when to look again */
    int64_t old_ms[READER_QUEUES_MAX]; /* when an old entry was seen in the queue; 0 = never */
    int64_t call_at_ms;                /* when other workers may be called again */
    int64_t install_at_ms;             /* when the library may be loaded again */
    char orphans[READER_QUEUES_MAX][QUEUE_CURSOR_BYTES]; /* how far each queue was looked through */
};

/* True while no token can reach this thread: a chore that relies on one looks more often then. */
bool janitor_is_deaf(const struct janitor *janitor);

#endif
