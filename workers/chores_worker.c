/* The chores that every worker has for itself. See janitor.h. */
#include <stdlib.h>

#include "clock.h"
#include "janitor.h"
#include "registration.h"

enum { STUCK_MS = 300000 /* a lane that has not moved for so long gets no more heartbeats */ };

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
    int64_t moved_ms = atomic_load_explicit(&lane->tools.progress_ms, memory_order_relaxed);
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

/* ---- what others see ------------------------------------------------------------------------- */

static enum status register_worker(struct janitor *janitor, struct turn *turn, struct error *err)
{
    (void)turn;
    return registration_renew(janitor->conn, janitor->fleet, err);
}

static enum status watch_pauses(struct janitor *janitor, struct turn *turn, struct error *err)
{
    struct fleet *fleet = janitor->fleet;
    struct redis_args args = {0};
    enum status status = STATUS_OK;
    (void)turn;

    for (size_t i = 0; i < fleet->queue_count && status == STATUS_OK; i++) {
        redis_args_reset(&args);
        redis_args_str(&args, "EXISTS");
        redis_args_str(&args, fleet->queues[i].paused);
        status = redis_conn_append(janitor->conn, &args, err);
    }
    for (size_t i = 0; i < fleet->queue_count && status == STATUS_OK; i++) {
        redisReply *reply = NULL;
        status = redis_conn_collect(janitor->conn, &reply, err);
        if (status == STATUS_OK) {
            status = redis_reply_status(reply, err);
        }
        if (status == STATUS_OK) {
            reader_set_paused(fleet->reader, i,
                              reply->type == REDIS_REPLY_INTEGER && reply->integer > 0);
        }
        redis_reply_free(reply);
    }
    redis_args_free(&args);
    return status;
}

static enum status read_clock(struct janitor *janitor, struct turn *turn, struct error *err)
{
    int64_t unix_ms = 0;
    enum status status = redis_conn_time(janitor->conn, &unix_ms, err);
    (void)turn;

    if (status == STATUS_OK) {
        atomic_store(&janitor->fleet->redis_clock_ms, unix_ms - clock_now_ms());
    }
    return status;
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
    {"metrics", 200, feed_families}, /* first: it is told also what cannot be had */
    {"lanes", 200, look_after_lanes}, {"writers", 1000, renew_writers},
    {"pauses", 200, watch_pauses},    {"register", 2000, register_worker},
    {"clock", 5000, read_clock},      {"sweep", 200, sweep},
};

const struct chores chores_worker = {rows, sizeof rows / sizeof rows[0]};
