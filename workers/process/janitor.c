/* The janitor: a table of chores of the worker's own, a table of a queue's, and the rounds that run
 * what is due.
 *
 *   its own    beats for the jobs that its lanes hold, renews leases, registers, asks for the
 *              figures of /metrics
 *   a queue's  promotes due jobs, trims, tidies. Run once for each queue, in one worker of those
 *              that serve it, which holds the queue's lease (duty.h).
 *
 * A chore is a function that is run now and then, on the janitor's connection, in its thread. To
 * add one: write it, and put it into one of the two tables with a name and how often it runs. What
 * it may rely on:
 *
 *   - It fails for itself. What it returns is logged under its name, at most every few seconds; the
 *     others go on, and it is run again after a moment. Only when the connection itself is lost
 *     does the round end, since it would be lost for all.
 *   - It says when it wants to run next: turn.wait_ms comes with the table's time and may be
 *     changed. A chore that found nothing to do may well ask for longer; one that has more to do
 *     asks for 0 and comes again in the next round, after the others: so work is done in slices.
 *   - Its functions may be missing: a refusal makes the janitor load the library anew.
 *   - Commands count: 1,000 idle workers share one Redis. A chore of the worker's own costs every
 *     one of them; a queue's costs one worker, but for each of up to 32 queues.
 *
 * What a chore must not do: wait for anything but Redis, or for longer than some 100 ms
 * (CACHE_WAIT_MS for a cache of its own), since the heartbeats of running jobs come from this
 * thread. Nothing here is needed for safety: a queue's chores may run twice at once (a holder that
 * slept), or a few seconds late.
 *
 * A round begins every 200 ms, when a chore is due, or when somebody calls: between rounds the
 * thread waits for a token in a queue's `wake` (a job was delayed that is due before the others:
 * the worker with the queue's lease listens) or `call` (there is more to take than those take who
 * read: everybody listens, whoever has waited longest is served). What else may stand in these keys
 * is thrown away. On close the registration ends, so that the worker is gone at once.
 */
#include "process/janitor.h"
#include "queue/operate.h"
#include "queue/take.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "chroma_writer/writer.h"
#include "config/clients.h"
#include "context/upstream_keys.h"
#include "process/duty.h"
#include "process/preflight.h"
#include "process/registration.h"
#include "process/sweep.h"

enum {
    TICK_MS = 200,
    FAILED_WAIT_MS = 1000,
    INSTALL_EVERY_MS = 1000,
    LOG_EVERY_MS = 5000,
    LISTEN_MS = 40000,
    LISTEN_LATE_MS = 6000,
    CHORES_MAX = 16,
};

/* What the run of a chore is about, and when the next one shall be. */
struct turn {
    size_t queue;    /* index into the worker's queues; 0 for a chore of the worker's own */
    int64_t wait_ms; /* until the next run: the table's time, or what the chore sets */
};

/* All of it belongs to the janitor's thread. */
struct janitor {
    struct worker *worker;
    struct lane *const *lanes;
    size_t lane_count;
    struct sweep *sweep;
    pthread_t thread;
    struct redis_conn *conn;
    struct redis_conn *cache; /* the cache's; the same object where there is only one */
    struct duty duty;         /* which queues' chores are ours */
    struct turn turn;         /* of the chore that is run */

    int64_t own_due_ms[CHORES_MAX];
    int64_t queue_due_ms[CHORES_MAX][READER_QUEUES_MAX];
    int64_t next_due_ms; /* the chore that is due next */
    struct log_limit own_limits[CHORES_MAX];
    struct log_limit queue_limits[CHORES_MAX];

    struct redis_conn *ear;    /* blocks on the queues' wake and call keys */
    bool listening;            /* a BLPOP stands on it: else a chore that relies on a token looks
                                  more often */
    uint64_t listening_change; /* duty.changes when it began */
    int64_t listening_ms;      /* since when */
    int64_t lost_ear_ms;       /* when a BLPOP was lost last; 0 = never */
    uint64_t known_opened;     /* of which connection what is known of the queues is */
    int64_t listen_at_ms;      /* when it may be tried again */
    struct log_limit ear_limit;

    uint64_t registered_digest; /* what the registration said last */
    int64_t register_at_ms;
    uint64_t registered_times;
    uint64_t looked_opened;            /* for the eviction policy: on which connection, */
    int64_t look_at_ms;                /* and when to look again */
    int64_t stale_at_ms;               /* when to look for stale jobs again, */
    uint64_t stale_change;             /* or when duty.changes is another */
    int64_t old_ms[READER_QUEUES_MAX]; /* when an old entry was seen in the queue; 0 = never */
    int64_t call_at_ms;                /* when other workers may be called again */
    int64_t install_at_ms;             /* when the library may be loaded again */
    char orphans[READER_QUEUES_MAX][QUEUE_CURSOR_BYTES]; /* how far each queue was looked through */
};

struct chore {
    const char *name; /* for the log: "janitor: promote: ..." */
    int64_t every_ms; /* over 0; rounds begin every 200 ms, or when the next chore is due */
    enum status (*run)(struct janitor *janitor, struct error *err);
    bool is_woken; /* a queue's: also run when its key `sh:{Q}:wake` gets a token */
};

/* ---- the worker's own chores --------------------------------------------------------------- */

enum {
    MOVING_MS = 10000,
    STALE_EVERY_MS = 4000,
    STALE_OTHERS_MS = 18000, /* how often those look who have no lease, and as much later at most */
    STALE_SPREAD_MS = 250,
    OTHERS_EVERY_MS = 60000, /* how often those look at the server who have no lease */
    EVICTION_EVERY_MS = 10000,
    CALL_AFTER_MS = 1000,
    CALL_EVERY_MS = 2500,
    REGISTER_AFTER_MS = 27000,
    REGISTER_SPREAD_MS = 4000, /* so that a fleet that was started at once does not stay in step */
    ASK_EVERY = 6,
    CACHE_WAIT_MS = 250,
};

/* What keeps jobs ours, or gives them up. */
static enum status look_after_lanes(struct janitor *janitor, struct error *err)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; i < janitor->lane_count && status == STATUS_OK; i++) {
        status = lane_look_after(janitor->lanes[i], janitor->conn, err);
    }
    return status;
}

static enum status renew_writers(struct janitor *janitor, struct error *err)
{
    (void)err;
    writer_renew(janitor->worker->writer, janitor->conn);
    return STATUS_OK;
}

/* ---- the leases of the queues ---------------------------------------------------------------- */

static enum status beat_duty(struct janitor *janitor, struct error *err)
{
    return duty_beat(&janitor->duty, err);
}

static enum status look_for_duty(struct janitor *janitor, struct error *err)
{
    return duty_look(&janitor->duty, &janitor->turn.wait_ms, err);
}

/* ---- the server ------------------------------------------------------------------------------ */

/* Lost functions must not wait for the next call that needs one, since producers need them too; and
 * an older program may have put its own in the place of ours. */
static enum status look_for_library(struct janitor *janitor, struct error *err)
{
    bool loaded = false;
    enum status status = queue_install(janitor->conn, &loaded, err);

    if (loaded) {
        log_warning("the function library was gone or older and is loaded again");
    }
    if (!duty_holds_any(&janitor->duty)) {
        janitor->turn.wait_ms = OTHERS_EVERY_MS;
    }
    return status;
}

/* A policy may be set at run time, and after a failover another server has its own. */
static enum status look_for_eviction(struct janitor *janitor, struct error *err)
{
    struct worker *worker = janitor->worker;
    const int64_t now_ms = clock_now_ms();

    if (redis_conn_opened(janitor->conn) == janitor->looked_opened &&
        now_ms < janitor->look_at_ms) {
        return STATUS_OK;
    }
    enum status status = preflight_check_eviction(janitor->conn, err);
    if (status == STATUS_OK || status == STATUS_INVALID) {
        atomic_store(&worker->evicts, status == STATUS_INVALID);
    }
    janitor->looked_opened = redis_conn_opened(janitor->conn);
    janitor->look_at_ms = now_ms + (duty_holds_any(&janitor->duty) || status != STATUS_OK ||
                                            atomic_load(&worker->fleet_size) == 0
                                        ? EVICTION_EVERY_MS
                                        : OTHERS_EVERY_MS);
    return status;
}

/* ---- stale jobs ------------------------------------------------------------------------------ */

/* Whether stale jobs are worth a look: a queue that moves is looked at, one that stands still only
 * when an entry stands in it for longer than a job may. */
static enum status find_old(struct janitor *janitor, bool *found, struct error *err)
{
    struct worker *worker = janitor->worker;
    struct queue still[READER_QUEUES_MAX];
    size_t which[READER_QUEUES_MAX];
    bool old[READER_QUEUES_MAX];
    size_t count = 0;
    const int64_t now_ms = clock_now_ms();

    for (size_t i = 0; i < worker->queue_count; i++) {
        const int64_t jobs_ms = reader_last_jobs_ms(worker->reader, i);
        if (jobs_ms > 0 && now_ms - jobs_ms < MOVING_MS) {
            *found = true;
        } else if (!reader_is_paused(worker->reader, i)) {
            which[count] = i;
            still[count++] = worker->queues[i];
        }
    }
    if (*found || count == 0) {
        return STATUS_OK;
    }
    const struct queue_age age = {still, count, now_ms + atomic_load(&worker->redis_clock_ms),
                                  worker->settings->visibility_ms};
    enum status status = queue_find_old(janitor->conn, &age, old, err);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        *found = *found || old[i];
        janitor->old_ms[which[i]] = old[i] ? now_ms : janitor->old_ms[which[i]];
    }
    return status;
}

/* Who has leases looks often, the others seldom, so that jobs are taken over also when its lanes
 * are all busy; whose leases came or went looks at once, since their last holder may have died with
 * jobs. What cannot be looked at from here (a key of another type) the reader looks at. */
static enum status look_for_stale(struct janitor *janitor, struct error *err)
{
    struct worker *worker = janitor->worker;
    const int64_t now_ms = clock_now_ms();
    bool found = false;

    if (now_ms < janitor->stale_at_ms && janitor->duty.changes == janitor->stale_change) {
        return STATUS_OK;
    }
    enum status status = find_old(janitor, &found, err);
    if (found || status == STATUS_REFUSED) {
        reader_call(worker->reader);
        status = STATUS_OK;
    }
    if (status != STATUS_OK) {
        return status;
    }
    int64_t wait_ms = STALE_EVERY_MS;
    if (!duty_holds_any(&janitor->duty)) {
        int64_t spread_ms = atomic_load(&worker->fleet_size) * (int64_t)STALE_SPREAD_MS + 1;
        spread_ms = spread_ms > STALE_OTHERS_MS ? STALE_OTHERS_MS : spread_ms;
        wait_ms = STALE_OTHERS_MS +
                  (int64_t)(retry_random_next(&janitor->duty.random) % (uint64_t)spread_ms);
    }
    janitor->stale_at_ms = now_ms + wait_ms;
    janitor->stale_change = janitor->duty.changes;
    return STATUS_OK;
}

/* Sees to it that the reader heeds what it is told, and when the worker stops; where all lanes are
 * busy somebody else is called. */
static enum status nudge_reader(struct janitor *janitor, struct error *err)
{
    struct worker *worker = janitor->worker;
    const int64_t called_ms = reader_called_for_ms(worker->reader);

    if (worker_mode(worker) != FLEET_RUN) {
        reader_invite(worker->reader); /* off the bench */
    } else if (called_ms < 0) {
        return STATUS_OK;
    }
    if (!reader_unblock(worker->reader, janitor->conn) && called_ms > CALL_AFTER_MS &&
        atomic_load(&worker->fleet_size) > 1 && clock_now_ms() >= janitor->call_at_ms) {
        janitor->call_at_ms = clock_now_ms() + CALL_EVERY_MS;
        return queue_push_token(janitor->conn, worker->queues[0].call, err);
    }
    return STATUS_OK;
}

/* ---- what others see ------------------------------------------------------------------------- */

/* Early in its life, when the fleet may just be growing, a worker asks more often how large it is.
 */
static bool shall_ask(uint64_t times)
{
    return (times & (times - 1)) == 0 || times % ASK_EVERY == 0;
}

/* Seldom, but soon when something has changed. */
static enum status register_worker(struct janitor *janitor, struct error *err)
{
    const int64_t now_ms = clock_now_ms();
    struct load load = {0};

    for (size_t i = 0; i < janitor->lane_count; i++) {
        lane_add_load(janitor->lanes[i], &load);
    }
    const uint64_t digest = registration_digest(janitor->worker, &load);
    if (digest == janitor->registered_digest && now_ms < janitor->register_at_ms) {
        return STATUS_OK;
    }
    enum status status = registration_renew(janitor->conn, janitor->worker, &load,
                                            shall_ask(janitor->registered_times), err);
    if (status == STATUS_OK) {
        janitor->registered_times++;
        janitor->registered_digest = digest;
        janitor->register_at_ms =
            now_ms + REGISTER_AFTER_MS +
            (int64_t)(retry_random_next(&janitor->duty.random) % REGISTER_SPREAD_MS);
    }
    return status;
}

static enum status forget_workers(struct janitor *janitor, struct error *err)
{
    return registration_forget(janitor->conn, janitor->worker, err);
}

/* A command a minute where nothing is swept; the work is done by a thread of its own. */
static enum status tick_sweep(struct janitor *janitor, struct error *err)
{
    return sweep_tick(janitor->sweep, janitor->conn, err);
}

/* A worker without jobs asks no upstream: how one that was away is now, others know. A cache of its
 * own that hangs may not keep the janitor, which beats for the jobs. */
static enum status hear_of_upstreams(struct janitor *janitor, struct error *err)
{
    struct worker *worker = janitor->worker;
    struct context ctx = {.settings = worker->settings,
                          .upstreams = worker->upstreams,
                          .redis_clock_ms = &worker->redis_clock_ms,
                          .clients = {.redis = janitor->conn, .cache = janitor->cache}};
    (void)err;

    if (janitor->cache != janitor->conn) {
        redis_conn_set_deadline(janitor->cache, clock_now_ms() + CACHE_WAIT_MS);
    }
    for (int i = 0; i < OPERATIONS; i++) {
        if (upstreams_state(worker->upstreams, (enum operation)i) != BREAKER_CLOSED) {
            upstream_keys_sync(&ctx, (enum operation)i);
        }
    }
    return STATUS_OK;
}

/* When somebody scrapes; they wait for it. */
static enum status feed_families(struct janitor *janitor, struct error *err)
{
    (void)err;
    if (families_are_asked(&janitor->worker->families)) {
        families_fetch(&janitor->worker->families, janitor->conn);
    }
    return STATUS_OK;
}

static const struct chore own_chores[] = {
    {"metrics", 200, feed_families, false}, /* first: it is told also what cannot be had */
    {"lanes", 200, look_after_lanes, false},      {"writers", 1000, renew_writers, false},
    {"register", 2000, register_worker, false},   {"leases", 3000, beat_duty, false},
    {"holders", 3000, look_for_duty, false},      {"library", 6000, look_for_library, false},
    {"eviction", 1000, look_for_eviction, false}, {"stale", 1000, look_for_stale, false},
    {"reader", 200, nudge_reader, false},         {"upstreams", 5000, hear_of_upstreams, false},
    {"forget", 600000, forget_workers, false},    {"sweep", 200, tick_sweep, false},
};

/* ---- a queue's chores ------------------------------------------------------------------------ */

enum {
    REAP_IDLE_MS = 600000,
    PROMOTE_LIMIT = 250,       /* some 5 ms of Redis; where more are due it comes again at once */
    PROMOTE_EVERY_MS = 180000, /* when nothing is due before */
    PROMOTE_DEAF_MS = 1000,
    PROMOTE_PAUSED_MS = 500,
    ADOPT_NEXT_MS = 100, /* behind a slice of which none was put back, or could be */
    FEW_QUEUES = 4,
    STILL_AFTER_MS = 120000,
    STILL_TIMES = 5,
};

static const struct queue *queue_of(const struct janitor *janitor)
{
    return &janitor->worker->queues[janitor->turn.queue];
}

/* The table's time for up to a few queues; with many each comes less often, so that they cost no
 * more. */
static int64_t stretched(const struct janitor *janitor)
{
    const int64_t queues = (int64_t)janitor->worker->queue_count;
    const int64_t every_ms = janitor->turn.wait_ms;

    return queues <= FEW_QUEUES ? every_ms : every_ms * queues / FEW_QUEUES;
}

/* The same for what only becomes due where jobs move or stand: a queue in which nothing of the kind
 * was seen for a while is looked at less often. */
static int64_t when_still(const struct janitor *janitor)
{
    const int64_t jobs_ms = reader_last_jobs_ms(janitor->worker->reader, janitor->turn.queue);
    const int64_t old_ms = janitor->old_ms[janitor->turn.queue];
    const int64_t last_ms = jobs_ms > old_ms ? jobs_ms : old_ms;

    return last_ms == 0 || clock_now_ms() - last_ms > STILL_AFTER_MS
               ? stretched(janitor) * STILL_TIMES
               : stretched(janitor);
}

/* Whether the BLPOP of somebody who is not there any more may stand before ours since then. */
static bool is_before_us(int64_t gone_ms)
{
    return gone_ms != 0 && clock_now_ms() - gone_ms <= LISTEN_MS + LISTEN_LATE_MS;
}

/* Whether a token would reach us. A worker that was stopped or cut off and lost its leases may
 * stand before us in the line for them, and so may we ourselves: Redis need not know that a
 * connection which we lost is gone. */
static bool is_heard(const struct janitor *janitor)
{
    return janitor->listening && !is_before_us(janitor->duty.left_ms) &&
           !is_before_us(janitor->lost_ear_ms);
}

/* Moves due jobs to their streams, and sleeps until the next one is due. Who delays a job that is
 * due earlier leaves a token; so does who resumes the queue. */
static enum status promote(struct janitor *janitor, struct error *err)
{
    const struct queue *queue = queue_of(janitor);
    const int64_t most_ms = is_heard(janitor) ? stretched(janitor) : PROMOTE_DEAF_MS;
    struct queue_promotion due;
    enum status status = queue_promote(janitor->conn, queue, PROMOTE_LIMIT, &due, err);

    janitor->turn.wait_ms = due.next_ms < 0 || due.next_ms > most_ms ? most_ms : due.next_ms;
    if (due.paused) {
        janitor->turn.wait_ms = PROMOTE_PAUSED_MS;
    }
    if (due.moved == 0 && due.next_ms == 0) {
        janitor->turn.wait_ms = 1; /* due in less than a millisecond */
    }
    return status;
}

/* Dead letters over their bound leave loudly: somebody may have wanted to read them. */
static enum status trim(struct janitor *janitor, struct error *err)
{
    const struct queue *trimmed = queue_of(janitor);
    const struct settings *settings = janitor->worker->settings;
    size_t gone = 0;
    const struct queue_dead_bounds bounds = {settings->max_dead, settings->dead_ttl_ms,
                                             settings->max_dead_bytes};
    enum status status = queue_trim_dead(janitor->conn, trimmed, &bounds, &gone, err);

    if (gone > 0) {
        log_warning("queue \"%s\": %zu dead letters over STILLHOUSE_MAX_DEAD, _MAX_DEAD_BYTES or "
                    "_DEAD_TTL discarded",
                    trimmed->name, gone);
        janitor->turn.wait_ms = 0; /* there may be more */
    } else {
        janitor->turn.wait_ms = when_still(janitor);
    }
    return status;
}

/* Takes consumers out of the groups that are long gone. */
static enum status reap(struct janitor *janitor, struct error *err)
{
    const struct queue *reaped = queue_of(janitor);
    size_t removed = 0;
    janitor->turn.wait_ms = when_still(janitor);
    enum status status = queue_reap(janitor->conn, reaped, REAP_IDLE_MS, &removed, err);

    if (removed > 0) {
        log_info("queue \"%s\": %zu gone consumers removed", reaped->name, removed);
    }
    return status;
}

/* Puts back what nobody would ever run. */
static enum status adopt(struct janitor *janitor, struct error *err)
{
    const struct queue *adopted = queue_of(janitor);
    char *cursor = janitor->orphans[janitor->turn.queue];
    size_t count = 0;

    if (cursor[0] == '\0') {
        memcpy(cursor, "0", 2);
    }
    enum status status = queue_adopt_orphans(janitor->conn, adopted, cursor, &count, err);
    if (cursor[0] == '\0') {
        janitor->turn.wait_ms = when_still(janitor);
    } else {
        janitor->turn.wait_ms = count > 0 ? 0 : ADOPT_NEXT_MS;
    }
    if (status != STATUS_OK) {
        cursor[0] = '\0';
    }
    if (count > 0) {
        log_warning("queue \"%s\": %zu jobs that nobody would ever run are put back; somebody took "
                    "them out of the group by hand",
                    adopted->name, count);
    }
    return status;
}

/* Tells those who enqueue what the backlog may weigh. */
static enum status limit(struct janitor *janitor, struct error *err)
{
    janitor->turn.wait_ms = stretched(janitor);
    return queue_limit_bytes(janitor->conn, queue_of(janitor),
                             janitor->worker->settings->max_backlog_bytes, err);
}

static const struct chore queue_chores[] = {
    {"promote", PROMOTE_EVERY_MS, promote, true},
    {"trim", 60000, trim, false},
    {"reap", 60000, reap, false},
    {"adopt", 60000, adopt, false},
    {"limit", 60000, limit, false},
};

enum {
    OWN_CHORES = sizeof own_chores / sizeof own_chores[0],
    QUEUE_CHORES = sizeof queue_chores / sizeof queue_chores[0],
};
_Static_assert((int)OWN_CHORES <= (int)CHORES_MAX && (int)QUEUE_CHORES <= (int)CHORES_MAX,
               "raise CHORES_MAX");

/* ---- rounds ---------------------------------------------------------------------------------- */

static void complain(struct log_limit *limit, const struct chore *chore, const struct error *err)
{
    long long suppressed = 0;

    if (log_limit_allow(limit, clock_now_ms(), LOG_EVERY_MS, &suppressed)) {
        log_warning("janitor: %s: %s (%lld more like it)", chore->name, err->text, suppressed);
    }
}

/* After a refusal: the functions may be gone (FUNCTION FLUSH, a Redis that lost its data). The
 * texts of refusals differ, so the library is asked for. */
static void install_again(struct janitor *janitor)
{
    const int64_t now_ms = clock_now_ms();
    bool loaded = false;

    if (now_ms < janitor->install_at_ms) {
        return;
    }
    janitor->install_at_ms = now_ms + INSTALL_EVERY_MS;
    if (queue_install(janitor->conn, &loaded, NULL) == STATUS_OK && loaded) {
        log_warning("the function library was gone and is loaded again");
    }
}

static void note_due(struct janitor *janitor, int64_t due_ms)
{
    janitor->next_due_ms = due_ms < janitor->next_due_ms ? due_ms : janitor->next_due_ms;
}

/* Runs one chore where it is due; false when the connection is lost, and the round with it. */
static bool run_chore(struct janitor *janitor, const struct chore *chore, size_t queue,
                      int64_t *due_ms, struct log_limit *limit)
{
    struct error err = {0};

    if (clock_now_ms() < *due_ms) {
        note_due(janitor, *due_ms);
        return true;
    }
    janitor->turn = (struct turn){queue, chore->every_ms};
    const enum status status = chore->run(janitor, &err);
    if (status != STATUS_OK) {
        redis_conn_abandon(janitor->conn);
        complain(limit, chore, &err);
        janitor->turn.wait_ms = chore->every_ms < FAILED_WAIT_MS ? chore->every_ms : FAILED_WAIT_MS;
    }
    *due_ms = clock_now_ms() + janitor->turn.wait_ms;
    note_due(janitor, *due_ms);
    if (status == STATUS_REFUSED && redis_conn_is_open(janitor->conn)) {
        install_again(janitor);
    }
    const bool connected = status == STATUS_OK || redis_conn_is_open(janitor->conn);
    if (!connected || redis_conn_is_open(janitor->conn)) {
        atomic_store(&janitor->worker->is_cut_off, !connected);
    }
    return connected;
}

/* The worker's own first: what keeps jobs ours must not come late. */
static void run_round(struct janitor *janitor)
{
    bool connected = true;

    janitor->next_due_ms = clock_now_ms() + TICK_MS;
    for (size_t i = 0; i < OWN_CHORES && connected; i++) {
        connected =
            run_chore(janitor, &own_chores[i], 0, &janitor->own_due_ms[i], &janitor->own_limits[i]);
    }
    for (size_t i = 0; i < QUEUE_CHORES; i++) {
        for (size_t q = 0; q < janitor->worker->queue_count && connected; q++) {
            if (janitor->duty.holds[q]) {
                connected = run_chore(janitor, &queue_chores[i], q, &janitor->queue_due_ms[i][q],
                                      &janitor->queue_limits[i]);
            } else {
                janitor->queue_due_ms[i][q] = 0; /* when it is ours: at once */
            }
        }
    }
}

/* ---- listening ------------------------------------------------------------------------------- */

static void hush(struct janitor *janitor)
{
    redis_conn_close(janitor->ear);
    janitor->listening = false;
}

static void wake_queue(struct janitor *janitor, size_t queue)
{
    for (size_t i = 0; i < QUEUE_CHORES; i++) {
        if (queue_chores[i].is_woken) {
            janitor->queue_due_ms[i][queue] = 0;
        }
    }
}

/* What a token may have said meanwhile is looked after without it. */
static void wake_all(struct janitor *janitor)
{
    for (size_t q = 0; q < janitor->worker->queue_count; q++) {
        wake_queue(janitor, q);
    }
}

/* Listening failed. Keys of another type are in the way of all others, and worth nothing. */
static void go_deaf(struct janitor *janitor, const struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;
    long long suppressed = 0;

    hush(janitor);
    janitor->lost_ear_ms = clock_now_ms();
    janitor->listen_at_ms = clock_now_ms() + FAILED_WAIT_MS;
    if (log_limit_allow(&janitor->ear_limit, clock_now_ms(), LOG_EVERY_MS, &suppressed)) {
        log_warning("janitor: listening: %s (%lld more like it)", err->text, suppressed);
    }
    if (redis_is_wrong_type(err)) {
        redis_args_str(&args, "DEL");
        for (size_t q = 0; q < janitor->worker->queue_count; q++) {
            redis_args_str(&args, janitor->worker->queues[q].wake);
            redis_args_str(&args, janitor->worker->queues[q].call);
        }
        if (redis_conn_command(janitor->conn, &args, &reply, NULL) == STATUS_OK) {
            janitor->listen_at_ms = 0;
        }
        redis_reply_free(reply);
        redis_args_free(&args);
    }
    wake_all(janitor);
}

static enum status listen(struct janitor *janitor, struct error *err)
{
    struct worker *worker = janitor->worker;
    struct redis_args args = {0};

    redis_args_str(&args, "BLPOP");
    for (size_t q = 0; q < worker->queue_count; q++) {
        if (janitor->duty.holds[q]) {
            redis_args_str(&args, worker->queues[q].wake);
        }
    }
    for (size_t q = 0; q < worker->queue_count; q++) {
        redis_args_str(&args, worker->queues[q].call);
    }
    redis_args_int(&args, LISTEN_MS / 1000);
    enum status status = redis_conn_append(janitor->ear, &args, err);
    redis_args_free(&args);
    janitor->listening = status == STATUS_OK;
    janitor->listening_ms = clock_now_ms();
    janitor->listening_change = janitor->duty.changes;
    return status;
}

/* {key, token}, or nil after LISTEN_MS. */
static void heed(struct janitor *janitor, const redisReply *reply)
{
    struct worker *worker = janitor->worker;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING) {
        return;
    }
    for (size_t q = 0; q < worker->queue_count; q++) {
        if (strcmp(reply->element[0]->str, worker->queues[q].wake) == 0) {
            wake_queue(janitor, q);
        } else if (strcmp(reply->element[0]->str, worker->queues[q].call) == 0) {
            /* More than others take, or stale jobs while their lanes are busy. */
            reader_call(worker->reader);
        }
    }
}

static enum status hear(struct janitor *janitor, int64_t wait_ms, struct error *err)
{
    bool ready = false;
    enum status status = redis_conn_wait(janitor->ear, wait_ms, &ready, err);

    if (status == STATUS_OK && !ready &&
        clock_now_ms() - janitor->listening_ms > LISTEN_MS + LISTEN_LATE_MS) {
        return error_set(err, STATUS_TIMEOUT, "redis does not answer");
    }
    if (status != STATUS_OK || !ready) {
        return status;
    }
    redisReply *reply = NULL;
    janitor->listening = false;
    status = redis_conn_collect(janitor->ear, &reply, err);
    if (status == STATUS_OK) {
        status = redis_reply_status(reply, err);
    }
    if (status == STATUS_OK) {
        heed(janitor, reply);
        status = listen(janitor, err);
    }
    redis_reply_free(reply);
    return status;
}

/* Another connection may be one to another server, or to one that has lost something: after a
 * failover what was promoted on the old master is thrown away, and its tokens are not the new
 * one's.
 */
static void note_connection(struct janitor *janitor)
{
    const uint64_t opened = redis_conn_opened(janitor->conn);

    if (opened != janitor->known_opened) {
        janitor->known_opened = opened;
        hush(janitor);
        wake_all(janitor);
    }
}

/* Until the next chore is due, or a token comes. */
static void rest(struct janitor *janitor)
{
    struct error err = {0};
    enum status status = STATUS_OK;

    note_connection(janitor);
    if (janitor->listening && janitor->listening_change != janitor->duty.changes) {
        hush(janitor);
        wake_all(janitor); /* a token may have come and gone */
    }
    if (!janitor->listening && worker_mode(janitor->worker) == FLEET_RUN &&
        clock_now_ms() >= janitor->listen_at_ms && redis_conn_is_open(janitor->conn)) {
        status = listen(janitor, &err);
    }
    const int64_t wait_ms = janitor->next_due_ms - clock_now_ms();
    if (status == STATUS_OK && janitor->listening) {
        status = hear(janitor, wait_ms > 0 ? wait_ms : 0, &err);
    } else if (wait_ms > 0) {
        clock_sleep_ms(wait_ms);
    }
    if (status != STATUS_OK) {
        go_deaf(janitor, &err);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

static void *run(void *argument)
{
    struct janitor *janitor = argument;

    while (atomic_load(&janitor->worker->lanes_running) > 0) {
        run_round(janitor);
        rest(janitor);
    }
    duty_end(&janitor->duty);
    registration_end(janitor->conn, janitor->worker);
    return NULL;
}

static void free_all(struct janitor *janitor)
{
    sweep_free(janitor->sweep);
    if (janitor->cache != janitor->conn) {
        redis_conn_free(janitor->cache);
    }
    redis_conn_free(janitor->conn);
    redis_conn_free(janitor->ear);
    free(janitor);
}

enum status janitor_start(struct worker *worker, struct lane *const *lanes, size_t lane_count,
                          struct janitor **out, struct error *err)
{
    static const struct redis_timeouts timeouts = {3000, 5000};
    const struct settings *settings = worker->settings;
    struct janitor *janitor = must_alloc(1, sizeof *janitor);

    janitor->worker = worker;
    janitor->lanes = lanes;
    janitor->lane_count = lane_count;
    janitor->sweep = sweep_new(worker);
    enum status status = clients_open_redis(settings->redis_url, timeouts, &janitor->conn, err);
    if (status == STATUS_OK) {
        status = clients_open_redis(settings->redis_url, timeouts, &janitor->ear, err);
    }
    janitor->cache = janitor->conn;
    duty_init(&janitor->duty, worker, janitor->conn);
    if (status == STATUS_OK && settings->cache_url[0] != '\0') {
        status = clients_open_redis(settings->cache_url, timeouts, &janitor->cache, err);
    }
    if (status == STATUS_OK && pthread_create(&janitor->thread, NULL, run, janitor) != 0) {
        status = error_set(err, STATUS_OOM, "janitor: no thread to be had");
    }
    if (status != STATUS_OK) {
        free_all(janitor);
        return status;
    }
    *out = janitor;
    return STATUS_OK;
}

void janitor_free(struct janitor *janitor)
{
    if (janitor != NULL) {
        pthread_join(janitor->thread, NULL);
        free_all(janitor);
    }
}
