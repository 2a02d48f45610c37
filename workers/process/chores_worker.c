/* The chores that every worker has for itself. See janitor.h. */
#include <stdlib.h>

#include "base/clock.h"
#include "process/janitor.h"
#include "process/preflight.h"
#include "process/registration.h"

enum {
    STUCK_MS = 300000, /* a lane that has not moved for so long gets no more heartbeats */
    STILL_AFTER_MS = 10000,
    STALE_OTHERS_MS = 18000, /* how often those look who have no lease, and as much later at most */
    STALE_SPREAD_MS = 250,
    OTHERS_EVERY_MS = 60000, /* how often those look at the server who have no lease */
    EVICTION_EVERY_MS = 10000,
    CALL_AFTER_MS = 1000,
    CALL_EVERY_MS = 2500,
    REGISTER_AFTER_MS = 27000,
    REGISTER_SPREAD_MS = 4000, /* so that a fleet that was started at once does not stay in step */
    ASK_EVERY = 6,
};

/* ---- what the lanes hold --------------------------------------------------------------------- */

/* Beats for the jobs of one take. The lane's lock is held: the jobs cannot go away meanwhile. */
static enum status beat_take(struct janitor *janitor, const struct lane *lane,
                             const struct take *take, struct error *err)
{
    const struct job **jobs = calloc(take->batch.count + 1, sizeof *jobs);
    size_t alive = 0;

    if (jobs == NULL) {
        return error_set(err, STATUS_OOM, "no memory for a heartbeat");
    }
    for (size_t i = 0; i < take->batch.count; i++) {
        jobs[i] = &take->batch.jobs[i];
    }
    enum status status = queue_heartbeat(janitor->conn, &janitor->fleet->queues[take->queue],
                                         lane->consumer, jobs, take->batch.count, &alive, err);
    free(jobs);
    return status;
}

static enum status beat_lane(struct janitor *janitor, struct lane *lane, struct error *err)
{
    int64_t now_ms = clock_now_ms();
    int64_t moved_ms = atomic_load_explicit(&lane->ctx.progress_ms, memory_order_relaxed);
    enum status status = STATUS_OK;

    pthread_mutex_lock(&lane->lock);
    bool due = lane->inflight_count > 0 && now_ms - moved_ms < STUCK_MS &&
               now_ms - lane->beat_ms >= janitor->fleet->settings->visibility_ms / 3;
    for (size_t i = lane->inflight; due && i < lane->inflight_count && status == STATUS_OK; i++) {
        status = beat_take(janitor, lane, &lane->takes.each[i], err);
    }
    if (due && status == STATUS_OK) {
        lane->beat_ms = now_ms;
    }
    pthread_mutex_unlock(&lane->lock);
    return status;
}

/* What a lane can neither commit nor hand back itself goes back by the janitor's connection. */
static enum status rescue_lane(struct janitor *janitor, struct lane *lane, struct error *err)
{
    enum status status = STATUS_OK;

    pthread_mutex_lock(&lane->lock);
    if (lane->is_stranded) {
        status = take_hand_back(janitor->conn, lane, &lane->takes.each[lane->inflight], err);
        lane->is_stranded = status != STATUS_OK;
    }
    pthread_mutex_unlock(&lane->lock);
    return status;
}

/* On drain, what a busy lane has not begun is not kept waiting for what it has. */
static enum status hand_back_lane(struct janitor *janitor, struct lane *lane, struct error *err)
{
    enum status status = STATUS_OK;

    pthread_mutex_lock(&lane->lock);
    while (lane->inflight_count > lane->inflight + 1 && status == STATUS_OK) {
        const struct take *last = &lane->takes.each[lane->inflight_count - 1];
        status = take_hand_back(janitor->conn, lane, last, err);
        lane->inflight_count -= status == STATUS_OK;
    }
    pthread_mutex_unlock(&lane->lock);
    return status;
}

/* What keeps jobs ours, or gives them up. */
static enum status look_after_lanes(struct janitor *janitor, struct turn *turn, struct error *err)
{
    struct fleet *fleet = janitor->fleet;
    enum status status = STATUS_OK;
    (void)turn;

    for (size_t i = 0; i < fleet->lane_count && status == STATUS_OK; i++) {
        status = rescue_lane(janitor, &fleet->lanes[i], err);
        if (status == STATUS_OK && fleet_get_mode(fleet) != FLEET_RUN) {
            status = hand_back_lane(janitor, &fleet->lanes[i], err);
        }
        if (status == STATUS_OK) {
            status = beat_lane(janitor, &fleet->lanes[i], err);
        }
    }
    return status;
}

static enum status renew_writers(struct janitor *janitor, struct turn *turn, struct error *err)
{
    (void)turn;
    (void)err;
    writer_renew(janitor->fleet->writer, janitor->conn);
    return STATUS_OK;
}

/* ---- the leases of the queues ---------------------------------------------------------------- */

static enum status beat_duty(struct janitor *janitor, struct turn *turn, struct error *err)
{
    (void)turn;
    return duty_beat(&janitor->duty, janitor->fleet, janitor->conn, err);
}

static enum status look_for_duty(struct janitor *janitor, struct turn *turn, struct error *err)
{
    return duty_look(&janitor->duty, janitor->fleet, janitor->conn, &turn->wait_ms, err);
}

/* ---- the server ------------------------------------------------------------------------------ */

/* Lost functions must not wait for the next call that needs one, since producers need them too; and
 * an older program may have put its own in the place of ours. */
static enum status look_for_library(struct janitor *janitor, struct turn *turn, struct error *err)
{
    bool loaded = false;
    enum status status = queue_install(janitor->conn, &loaded, err);

    if (loaded) {
        log_warning("the function library was gone or older and is loaded again");
    }
    if (!duty_holds_any(&janitor->duty, janitor->fleet->queue_count)) {
        turn->wait_ms = OTHERS_EVERY_MS;
    }
    return status;
}

/* A policy may be set at run time, and after a failover another server has its own. */
static enum status look_for_eviction(struct janitor *janitor, struct turn *turn, struct error *err)
{
    struct fleet *fleet = janitor->fleet;
    const int64_t now_ms = clock_now_ms();

    if (redis_conn_opened(janitor->conn) == janitor->looked_opened &&
        now_ms < janitor->look_at_ms) {
        return STATUS_OK;
    }
    enum status status = preflight_check_eviction(janitor->conn, err);
    if (status == STATUS_OK || status == STATUS_INVALID) {
        atomic_store(&fleet->evicts, status == STATUS_INVALID);
    }
    janitor->looked_opened = redis_conn_opened(janitor->conn);
    janitor->look_at_ms = now_ms + (duty_holds_any(&janitor->duty, fleet->queue_count) ||
                                            status != STATUS_OK || atomic_load(&fleet->size) == 0
                                        ? EVICTION_EVERY_MS
                                        : OTHERS_EVERY_MS);
    (void)turn;
    return status;
}

/* ---- stale jobs ------------------------------------------------------------------------------ */

/* Whether stale jobs are worth a look: a queue that moves is looked at, one that stands still only
 * when an entry stands in it for longer than a job may. */
static enum status find_old(struct janitor *janitor, bool *found, struct error *err)
{
    struct fleet *fleet = janitor->fleet;
    struct queue still[READER_QUEUES_MAX];
    size_t which[READER_QUEUES_MAX];
    bool old[READER_QUEUES_MAX];
    size_t count = 0;
    const int64_t now_ms = clock_now_ms();

    for (size_t i = 0; i < fleet->queue_count; i++) {
        const int64_t jobs_ms = reader_last_jobs_ms(fleet->reader, i);
        if (jobs_ms > 0 && now_ms - jobs_ms < STILL_AFTER_MS) {
            *found = true;
        } else if (!reader_is_paused(fleet->reader, i)) {
            which[count] = i;
            still[count++] = fleet->queues[i];
        }
    }
    if (*found || count == 0) {
        return STATUS_OK;
    }
    const struct queue_age age = {now_ms + atomic_load(&fleet->redis_clock_ms),
                                  fleet->settings->visibility_ms};
    enum status status = queue_find_old(janitor->conn, still, count, age, old, err);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        *found = *found || old[i];
        janitor->old_ms[which[i]] = old[i] ? now_ms : janitor->old_ms[which[i]];
    }
    return status;
}

/* Who has leases looks often, the others seldom, so that jobs are taken over also when its lanes
 * are all busy. What cannot be looked at from here (a key of another type) the reader looks at. */
static enum status look_for_stale(struct janitor *janitor, struct turn *turn, struct error *err)
{
    struct fleet *fleet = janitor->fleet;
    bool found = false;

    if (!duty_holds_any(&janitor->duty, fleet->queue_count)) {
        const int64_t size = atomic_load(&fleet->size);
        const int64_t spread_ms = size * STALE_SPREAD_MS;
        turn->wait_ms =
            STALE_OTHERS_MS + (int64_t)(backoff_random_next(&janitor->duty.random) %
                                        (uint64_t)(spread_ms < 1                 ? 1
                                                   : spread_ms > STALE_OTHERS_MS ? STALE_OTHERS_MS
                                                                                 : spread_ms));
    }
    enum status status = find_old(janitor, &found, err);
    if (found || status == STATUS_REFUSED) {
        reader_call(fleet->reader);
        status = STATUS_OK;
    }
    return status;
}

/* Sees to it that the reader heeds what it is told, and when the worker stops; where all lanes are
 * busy somebody else is called. */
static enum status nudge_reader(struct janitor *janitor, struct turn *turn, struct error *err)
{
    struct fleet *fleet = janitor->fleet;
    const int64_t called_ms = reader_called_for_ms(fleet->reader);
    (void)turn;

    if (fleet_get_mode(fleet) != FLEET_RUN) {
        reader_invite(fleet->reader); /* off the bench */
    } else if (called_ms < 0) {
        return STATUS_OK;
    }
    if (!reader_unblock(fleet->reader, janitor->conn) && called_ms > CALL_AFTER_MS &&
        atomic_load(&fleet->size) > 1 && clock_now_ms() >= janitor->call_at_ms) {
        janitor->call_at_ms = clock_now_ms() + CALL_EVERY_MS;
        return queue_push_token(janitor->conn, fleet->queues[0].call, err);
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
static enum status register_worker(struct janitor *janitor, struct turn *turn, struct error *err)
{
    const uint64_t digest = registration_digest(janitor->fleet);
    const int64_t now_ms = clock_now_ms();
    (void)turn;

    if (digest == janitor->registered_digest && now_ms < janitor->register_at_ms) {
        return STATUS_OK;
    }
    enum status status = registration_renew(janitor->conn, janitor->fleet,
                                            shall_ask(janitor->registered_times), err);
    if (status == STATUS_OK) {
        janitor->registered_times++;
        janitor->registered_digest = digest;
        janitor->register_at_ms =
            now_ms + REGISTER_AFTER_MS +
            (int64_t)(backoff_random_next(&janitor->duty.random) % REGISTER_SPREAD_MS);
    }
    return status;
}

static enum status forget_workers(struct janitor *janitor, struct turn *turn, struct error *err)
{
    (void)turn;
    return registration_forget(janitor->conn, janitor->fleet, err);
}

/* A command a minute where nothing is swept; the work is done by a thread of its own. */
static enum status sweep(struct janitor *janitor, struct turn *turn, struct error *err)
{
    (void)turn;
    return sweep_tick(janitor->fleet->sweep, janitor->conn, err);
}

/* When somebody scrapes; they wait for it. */
static enum status feed_families(struct janitor *janitor, struct turn *turn, struct error *err)
{
    (void)turn;
    (void)err;
    if (families_are_asked(&janitor->fleet->families)) {
        families_fetch(&janitor->fleet->families, janitor->conn);
    }
    return STATUS_OK;
}

static const struct chore rows[] = {
    {"metrics", 200, feed_families, false}, /* first: it is told also what cannot be had */
    {"lanes", 200, look_after_lanes, false},
    {"writers", 1000, renew_writers, false},
    {"register", 2000, register_worker, false},
    {"leases", 3000, beat_duty, false},
    {"holders", 3000, look_for_duty, false},
    {"library", 6000, look_for_library, false},
    {"eviction", 1000, look_for_eviction, false},
    {"stale", 4000, look_for_stale, false},
    {"reader", 200, nudge_reader, false},
    {"forget", 600000, forget_workers, false},
    {"sweep", 200, sweep, false},
};

const struct chores chores_worker = {rows, sizeof rows / sizeof rows[0]};
