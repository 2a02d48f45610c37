/* The janitor: one thread a process for what no lane should wait for.
 *
 * Every 200 ms it promotes due jobs and looks whether queues are paused; every second it renews
 * writer leases; every third of the visibility timeout it beats for batches that run long; every 2
 * s it registers; every 5 s it asks Redis for the time; when /metrics is asked for it fetches what
 * Redis knows of the queues; every minute it removes consumers that are long gone and discards dead
 * letters over their bound. Failure modes: any failure ends the round, the next one begins with a
 * new connection. Nothing here is needed for safety: other janitors do the same, and what is missed
 * is done a little later.
 */
#include <stdlib.h>
#include <unistd.h>

#include "clock.h"
#include "fleet.h"
#include "log.h"
#include "registration.h"

enum {
    TICK_MS = 200,
    RENEW_EVERY_MS = 1000,
    REGISTER_EVERY_MS = 2000,
    CLOCK_EVERY_MS = 5000,
    TIDY_EVERY_MS = 60000,
    REAP_IDLE_MS = 600000,
    PROMOTE_LIMIT = 1000,
    STUCK_MS = 300000, /* a lane that has not moved for so long gets no more heartbeats */
};

struct janitor {
    struct fleet *fleet;
    struct redis_conn *conn;
    int64_t renew_at_ms;
    int64_t register_at_ms;
    int64_t clock_at_ms;
    int64_t tidy_at_ms;
    struct log_limit log_limit;
};

static enum status promote_all(struct janitor *janitor, struct error *err)
{
    struct fleet *fleet = janitor->fleet;
    enum status status = STATUS_OK;

    for (size_t i = 0; i < fleet->queue_count && status == STATUS_OK; i++) {
        size_t moved = 0;
        int64_t next_ms = 0;
        do {
            status = queue_promote(janitor->conn, &fleet->queues[i], PROMOTE_LIMIT, &moved,
                                   &next_ms, err);
        } while (status == STATUS_OK && moved > 0 && next_ms == 0);
    }
    return status;
}

static enum status watch_pauses(struct janitor *janitor, struct error *err)
{
    struct fleet *fleet = janitor->fleet;
    struct redis_args args = {0};
    enum status status = STATUS_OK;

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

static enum status read_clock(struct janitor *janitor, struct error *err)
{
    int64_t offset_ms = 0;
    enum status status = redis_conn_clock_offset(janitor->conn, &offset_ms, err);

    if (status == STATUS_OK) {
        atomic_store(&janitor->fleet->clock_offset_ms, offset_ms);
    }
    return status;
}

/* Dead letters over their bound leave loudly: somebody may have wanted to read them. */
static enum status trim_dead(struct janitor *janitor, const struct queue *queue, struct error *err)
{
    const struct settings *settings = janitor->fleet->settings;
    size_t total = 0;
    size_t gone = 0;
    enum status status = STATUS_OK;

    do {
        status = queue_trim_dead(janitor->conn, queue, settings->max_dead, settings->dead_ttl_ms,
                                 &gone, err);
        total += gone;
    } while (status == STATUS_OK && gone > 0);
    if (total > 0) {
        log_warning("queue \"%s\": %zu dead letters over STILLHOUSE_MAX_DEAD or "
                    "STILLHOUSE_DEAD_TTL discarded",
                    queue->name, total);
    }
    return status;
}

static enum status tidy_all(struct janitor *janitor, struct error *err)
{
    struct fleet *fleet = janitor->fleet;
    enum status status = STATUS_OK;

    for (size_t i = 0; i < fleet->queue_count && status == STATUS_OK; i++) {
        size_t removed = 0;
        status = trim_dead(janitor, &fleet->queues[i], err);
        if (status != STATUS_OK) {
            break;
        }
        status = queue_reap(janitor->conn, &fleet->queues[i], REAP_IDLE_MS, &removed, err);
        if (removed > 0) {
            log_info("queue \"%s\": %zu gone consumers removed", fleet->queues[i].name, removed);
        }
    }
    return status;
}

static bool is_due(int64_t *at_ms, int64_t now_ms, int64_t every_ms)
{
    if (now_ms < *at_ms) {
        return false;
    }
    *at_ms = now_ms + every_ms;
    return true;
}

static void complain(struct janitor *janitor, const struct error *err)
{
    long long suppressed = 0;

    if (log_limit_allow(&janitor->log_limit, clock_now_ms(), 5000, &suppressed)) {
        log_warning("janitor: %s (%lld more like it)", err->text, suppressed);
    }
}

/* Redis without memory is said, but the round goes on: the rest of it needs none. */
static enum status without_oom(struct janitor *janitor, enum status status, const struct error *err)
{
    if (status != STATUS_OOM) {
        return status;
    }
    complain(janitor, err);
    return STATUS_OK;
}

static enum status tick(struct janitor *janitor, struct error *err)
{
    struct fleet *fleet = janitor->fleet;
    int64_t now_ms = clock_now_ms();
    enum status status = STATUS_OK;

    if (families_are_asked(&fleet->families)) {
        families_fetch(&fleet->families, janitor->conn); /* whatever else fails */
    }
    /* What keeps jobs ours goes first: it is allowed also where Redis has no memory for the rest.
     */
    for (size_t i = 0; i < fleet->lane_count && status == STATUS_OK; i++) {
        if (fleet_get_mode(fleet) != FLEET_RUN) {
            status = hand_back_lane(janitor, &fleet->lanes[i], err);
        }
        if (status == STATUS_OK) {
            status = beat_lane(janitor, &fleet->lanes[i], err);
        }
    }
    if (status == STATUS_OK && is_due(&janitor->renew_at_ms, now_ms, RENEW_EVERY_MS)) {
        writer_renew(fleet->writer, janitor->conn);
    }
    if (status == STATUS_OK) {
        status = without_oom(janitor, promote_all(janitor, err), err);
    }
    if (status == STATUS_OK) {
        status = watch_pauses(janitor, err);
    }
    if (status == STATUS_OK && is_due(&janitor->register_at_ms, now_ms, REGISTER_EVERY_MS)) {
        status = without_oom(janitor, registration_renew(janitor->conn, fleet, err), err);
    }
    if (status == STATUS_OK && is_due(&janitor->clock_at_ms, now_ms, CLOCK_EVERY_MS)) {
        status = read_clock(janitor, err);
    }
    if (status == STATUS_OK && is_due(&janitor->tidy_at_ms, now_ms, TIDY_EVERY_MS)) {
        status = tidy_all(janitor, err);
    }
    return status;
}

void *janitor_run(void *argument)
{
    struct janitor janitor = {.fleet = argument};
    struct redis_url url;
    struct error err = {0};

    if (redis_url_parse(janitor.fleet->settings->redis_url, &url, &err) == STATUS_OK) {
        janitor.conn = redis_conn_new(&url, (struct redis_timeouts){3000, 5000});
    }
    if (janitor.conn == NULL) {
        log_error("janitor: no connection object");
        return NULL;
    }
    while (atomic_load(&janitor.fleet->lanes_running) > 0) {
        if (tick(&janitor, &err) != STATUS_OK) {
            redis_conn_close(janitor.conn);
            complain(&janitor, &err);
        }
        clock_sleep_ms(TICK_MS);
    }
    registration_end(janitor.conn, janitor.fleet);
    redis_conn_free(janitor.conn);
    return NULL;
}
