/* A lane's life, top to bottom: take, check, process, commit, account; again.
 *
 * Happy path: reader_take brings the jobs of one or a few queues; each queue's jobs are one batch
 * of its handler. Failure modes: jobs that are malformed, oversize or past their deadline never
 * reach the handler. A lane takes jobs only while its own connection stands: what it could not
 * commit it keeps trying, or hands back. On drain, what was not begun is released. On close, the
 * consumer leaves the group where it holds nothing.
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "process/fleet.h"
#include "process/settle.h"

enum {
    ARENA_KEEP_BYTES = 64 * 1024,
    STRANDED_WAIT_MS = 1000,
    STRANDED_STEP_MS = 20,
    CONNECT_BASE_MS = 100,
    CONNECT_MAX_MS = 2000,
};

static bool is_stopping(void *context)
{
    const struct fleet *fleet = context;
    return fleet_get_mode(fleet) != FLEET_RUN;
}

static bool is_running(void *context)
{
    return !is_stopping(context);
}

static void publish_inflight(struct lane *lane, size_t index, size_t count)
{
    pthread_mutex_lock(&lane->lock);
    lane->inflight = index;
    lane->inflight_count = count;
    lane->inflight_since_ms = clock_now_ms();
    lane->beat_ms = lane->inflight_since_ms;
    pthread_mutex_unlock(&lane->lock);
}

/* Begins the next take; false when there is none left. What was not begun may have been handed back
 * by the janitor meanwhile. */
static bool begin_next(struct lane *lane, size_t *index)
{
    pthread_mutex_lock(&lane->lock);
    bool more = lane->inflight < lane->inflight_count;
    *index = lane->inflight;
    pthread_mutex_unlock(&lane->lock);
    return more;
}

static void end_take(struct lane *lane, size_t index)
{
    if (lane->takes.each[index].suspect) {
        reader_end_suspect(lane->fleet->reader);
    }
    pthread_mutex_lock(&lane->lock);
    lane->inflight++;
    pthread_mutex_unlock(&lane->lock);
}

/* What must not reach a handler is judged here; true when the task goes on. */
static bool is_fit(struct lane *lane, struct task *task, int64_t redis_unix_ms)
{
    const struct job *job = task->job;
    const struct settings *settings = lane->ctx.settings;
    struct error err = {0};

    if (queue_job_check(job, &err) != STATUS_OK) {
        task_judge(task, VERDICT_MALFORMED, "%s", err.text);
        return false;
    }
    if (job->body.bytes > (size_t)settings->max_body_bytes) {
        task_judge(task, VERDICT_OVERSIZE, "body of %zu bytes, expected at most %lld",
                   job->body.bytes, (long long)settings->max_body_bytes);
        return false;
    }
    if (!text_is_domain(job->domain.data, job->domain.bytes)) {
        char excerpt[48];
        task_judge(task, VERDICT_REJECT,
                   "domain \"%s\": expected [a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?",
                   text_excerpt(job->domain.data, job->domain.bytes, excerpt));
        return false;
    }
    if (job->options.deadline_unix_ms > 0 && redis_unix_ms > job->options.deadline_unix_ms) {
        task_judge(task, VERDICT_EXPIRED, "expired: its deadline passed");
        return false;
    }
    return true;
}

static void account_wait(struct lane *lane, size_t series, const struct job *job,
                         int64_t now_unix_ms)
{
    metrics_job_wait_seconds(lane->ctx.metrics, series,
                             (double)(now_unix_ms - task_since_unix_ms(job)) / 1e3);
}

/* What deadlines are judged by: Redis' clock at this moment, asked where a job has one, since a job
 * thrown away for what that clock was a moment ago is gone. Where Redis does not say, nothing is
 * past its deadline. */
static int64_t deadline_clock(struct lane *lane, const struct queue_batch *batch)
{
    int64_t now_unix_ms = 0;

    for (size_t i = 0; i < batch->count; i++) {
        if (batch->jobs[i].options.deadline_unix_ms == 0) {
            continue;
        }
        return context_ask_time(&lane->ctx, &now_unix_ms, NULL) == STATUS_OK ? now_unix_ms : 0;
    }
    return 0;
}

/* Sorts the fit tasks to the front, so that the handler gets one run of them. */
static size_t sort_fit(struct lane *lane, const struct queue_batch *batch, struct task *tasks,
                       size_t series)
{
    int64_t now_unix_ms = context_now_unix_ms(&lane->ctx);
    int64_t redis_unix_ms = deadline_clock(lane, batch);
    size_t fit = 0;
    size_t unfit = batch->count;

    for (size_t i = 0; i < batch->count; i++) {
        struct task task = {.job = &batch->jobs[i]};
        account_wait(lane, series, task.job, now_unix_ms);
        if (is_fit(lane, &task, redis_unix_ms)) {
            tasks[fit++] = task;
        } else {
            tasks[--unfit] = task;
        }
    }
    return fit;
}

/* Releases those jobs of a take that were never handed out before, or those that were. */
static enum status release(struct redis_conn *conn, const struct lane *lane,
                           const struct take *take, bool again, struct error *err)
{
    const struct job **jobs = calloc(take->batch.count + 1, sizeof *jobs);
    size_t count = 0;
    size_t released = 0;

    if (jobs == NULL) {
        return error_set(err, STATUS_OOM, "no memory to hand %zu jobs back", take->batch.count);
    }
    for (size_t i = 0; i < take->batch.count; i++) {
        if ((take->batch.jobs[i].deliveries <= 1) == again) {
            jobs[count++] = &take->batch.jobs[i];
        }
    }
    enum status status = STATUS_OK;
    if (count > 0) {
        status =
            queue_release(conn, &lane->fleet->queues[take->queue], lane->consumer,
                          lane->ctx.settings->visibility_ms, again, jobs, count, &released, err);
    }
    free(jobs);
    if (released > 0) {
        log_info("queue \"%s\": %zu jobs are handed back", lane->fleet->queues[take->queue].name,
                 released);
    }
    return status;
}

/* What nobody had before goes to the end of its stream, where a waiting reader finds it at once.
 * What was taken over keeps its deliveries, and is claimable at once. */
enum status take_hand_back(struct redis_conn *conn, const struct lane *lane,
                           const struct take *take, struct error *err)
{
    enum status status = release(conn, lane, take, true, err);

    return status == STATUS_OK ? release(conn, lane, take, false, err) : status;
}

static void set_stranded(struct lane *lane, bool stranded)
{
    pthread_mutex_lock(&lane->lock);
    lane->is_stranded = stranded;
    pthread_mutex_unlock(&lane->lock);
}

static bool is_stranded(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    bool stranded = lane->is_stranded;
    pthread_mutex_unlock(&lane->lock);
    return stranded;
}

/* What could not be committed goes back without a delivery being counted, so that it is no death of
 * its jobs. Where this lane's connection is why, the janitor does it by its own: it looks every
 * 200 ms. The lane takes nothing else before its connection answers. */
static void give_up(struct lane *lane, const struct take *take)
{
    struct error err = {0};

    lane->is_cut_off = true;
    if (redis_conn_is_open(lane->ctx.clients.redis)) { /* refused: as it would be again */
        reader_set_aside(lane->fleet->reader, take->queue, "its jobs could not be committed");
    }
    if (take_hand_back(context_redis(&lane->ctx), lane, take, &err) == STATUS_OK) {
        return;
    }
    set_stranded(lane, true);
    for (int64_t waited_ms = 0; is_stranded(lane) && waited_ms < STRANDED_WAIT_MS;
         waited_ms += STRANDED_STEP_MS) {
        clock_sleep_ms(STRANDED_STEP_MS);
    }
    if (is_stranded(lane)) {
        set_stranded(lane, false);
        log_warning("jobs that could not be committed stay pending: %s", err.text);
    }
}

static void process_take(struct lane *lane, struct take *take)
{
    struct fleet *fleet = lane->fleet;
    size_t series = metrics_queue_of(fleet->metrics, fleet->queues[take->queue].name);
    int64_t started_ns = clock_now_ns();
    size_t count = take->batch.count;
    struct task *tasks = arena_array(&lane->ctx.arena, count, sizeof *tasks);

    if (tasks == NULL) {
        log_error("no memory for %zu jobs, they stay pending", count);
        return;
    }
    context_begin(&lane->ctx, &fleet->queues[take->queue], &take->batch);
    size_t fit = sort_fit(lane, &take->batch, tasks, series);
    if (fit > 0) {
        fleet->handlers[take->queue]->process(&lane->ctx, tasks, fit);
        redis_conn_abandon(lane->ctx.clients.redis);
        redis_conn_abandon(lane->ctx.clients.cache);
    }
    context_progress(&lane->ctx);

    const struct commit_target target = {&fleet->queues[take->queue], lane->consumer, fleet->id,
                                         is_running, fleet};
    if (!commit_tasks(&lane->ctx, &target, tasks, count)) {
        give_up(lane, take);
    }
    context_end(&lane->ctx);
    metrics_job_seconds(lane->ctx.metrics, series, (double)(clock_now_ns() - started_ns) / 1e9,
                        count);
}

static void hand_back(struct lane *lane, struct take *take)
{
    struct error err = {0};

    if (take_hand_back(context_redis(&lane->ctx), lane, take, &err) != STATUS_OK) {
        log_warning("jobs not begun stay pending: %s", err.text);
    }
}

static void process_takes(struct lane *lane)
{
    size_t i = 0;

    publish_inflight(lane, 0, lane->takes.count);
    metrics_lanes(lane->ctx.metrics, METRICS_IDLE, -1);
    metrics_lanes(lane->ctx.metrics, METRICS_BUSY, 1);
    while (begin_next(lane, &i)) {
        if (fleet_get_mode(lane->fleet) == FLEET_RUN) {
            process_take(lane, &lane->takes.each[i]);
        } else {
            hand_back(lane, &lane->takes.each[i]);
        }
        end_take(lane, i);
        arena_reset(&lane->ctx.arena, ARENA_KEEP_BYTES);
    }
    publish_inflight(lane, 0, 0);
    metrics_lanes(lane->ctx.metrics, METRICS_BUSY, -1);
    metrics_lanes(lane->ctx.metrics, METRICS_IDLE, 1);
}

static void leave(struct lane *lane)
{
    struct error err = {0};

    for (size_t i = 0; i < lane->fleet->queue_count; i++) {
        if (queue_leave(context_redis(&lane->ctx), &lane->fleet->queues[i], lane->consumer, &err) !=
            STATUS_OK) {
            log_debug("consumer \"%s\" is left to the janitors: %s", lane->consumer, err.text);
            return;
        }
    }
}

/* Waits until the lane's own connection answers: what it takes before that it could not commit.
 * False when the worker stops meanwhile. */
static bool connect_lane(struct lane *lane)
{
    bool answers = false;

    for (int64_t i = 1; !answers && !is_stopping(lane->fleet); i++) {
        struct error err = {0};
        int64_t now_unix_ms = 0;
        long long suppressed = 0;
        answers = context_ask_time(&lane->ctx, &now_unix_ms, &err) == STATUS_OK;
        if (!answers) {
            if (log_kind_allow("lane", &suppressed)) {
                log_warning("a lane takes no jobs, it has no connection: %s (%lld more like it)",
                            err.text, suppressed);
            }
            clock_sleep_ms(backoff_delay_ms(&lane->ctx.random, i, CONNECT_BASE_MS, CONNECT_MAX_MS,
                                            CONNECT_BASE_MS));
            context_progress(&lane->ctx);
        }
    }
    lane->is_cut_off = false;
    return answers;
}

void *lane_run(void *argument)
{
    struct lane *lane = argument;

    metrics_lanes(lane->ctx.metrics, METRICS_IDLE, 1);
    while (fleet_get_mode(lane->fleet) == FLEET_RUN) {
        context_progress(&lane->ctx);
        if ((lane->is_cut_off || !redis_conn_is_open(lane->ctx.clients.redis)) &&
            !connect_lane(lane)) {
            break;
        }
        if (reader_take(lane->fleet->reader, lane->consumer, &lane->takes, is_stopping,
                        lane->fleet) &&
            lane->takes.count > 0) {
            process_takes(lane);
        }
        reader_pass_turn(lane->fleet->reader, &lane->takes);
        takes_reset(&lane->takes);
    }
    leave(lane);
    metrics_lanes(lane->ctx.metrics, METRICS_IDLE, -1);
    atomic_fetch_sub(&lane->fleet->lanes_running, 1);
    return NULL;
}
