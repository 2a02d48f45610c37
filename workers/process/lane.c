/* A lane's life is at the end of this file: take, sort, process, settle; again.
 *
 * Happy path: reader_take brings the jobs of one or a few queues; each queue's jobs are one batch
 * of its handler. Failure modes: jobs that are malformed, oversize or past their deadline never
 * reach the handler. A lane takes jobs only while its own connection stands: what it could not
 * settle it keeps trying, or hands back. On drain, what was not begun is handed back. On close, the
 * consumer leaves the group where it holds nothing.
 */
#include "process/lane.h"
#include "queue/settle.h"
#include "queue/take.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "context/context.h"
#include "process/settle.h"

enum {
    ARENA_KEEP_BYTES = 64 * 1024,
    STRANDED_WAIT_MS = 1000,
    STEP_MS = 20,
    CONNECT_BASE_MS = 100,
    CONNECT_MAX_MS = 2000,
    STUCK_MS = 300000, /* a lane that has not moved for so long gets no more heartbeats */
};

/* Everything but what the lock guards is the lane's own. */
struct lane {
    struct worker *worker;
    pthread_t thread;
    bool started;
    char consumer[96]; /* "<worker id>.<lane>" */
    struct context ctx;
    struct takes takes;
    bool is_cut_off; /* a commit failed: no more jobs before the lane's connection answers */

    pthread_mutex_t lock;
    size_t inflight;       /* index of the take being processed; those before it are settled */
    size_t inflight_count; /* where they end; on drain those not begun are handed back */
    int64_t beat_ms;       /* last heartbeat */
    bool is_stranded;      /* the take in hand cannot be settled: it is handed back for the lane */
    uint64_t times_stranded;
    bool is_handed_back; /* a take that was not begun, right now; if in vain it comes back */
};

static bool is_stopping(void *argument)
{
    return worker_mode(argument) != FLEET_RUN;
}

static bool is_running(void *argument)
{
    return worker_mode(argument) == FLEET_RUN;
}

/* To wake the next lane takes some 20 us, which a lone job need not wait for: the turn is passed
 * when the lane waits for the first time, for whatever it may be. */
static void pass_turn(void *argument)
{
    struct lane *lane = argument;

    reader_pass_turn(lane->worker->reader, &lane->takes);
}

/* ---- jobs that go back ------------------------------------------------------------------------
 */

/* Jobs of one queue that the lane holds. */
struct held {
    const struct queue *queue;
    const struct job *jobs;
    size_t count;
};

static struct held held_in(const struct lane *lane, const struct take *take)
{
    return (struct held){&lane->worker->queues[take->queue], take->batch.jobs, take->batch.count};
}

/* The same for the janitor, under the lock: as far as the queue's functions ask after them, so that
 * the lane may end them while Redis is asked. */
static struct held held_copy(const struct lane *lane, const struct take *take, struct arena *arena)
{
    struct held held = held_in(lane, take);
    struct job *jobs = arena_array(arena, held.count, sizeof *jobs);

    for (size_t i = 0; i < held.count; i++) {
        const struct slice entry = held.jobs[i].entry;
        jobs[i] = (struct job){.stream = held.jobs[i].stream,
                               .deliveries = held.jobs[i].deliveries,
                               .entry = {arena_copy(arena, entry.data, entry.bytes), entry.bytes},
                               .body.bytes = held.jobs[i].body.bytes};
    }
    held.jobs = jobs;
    return held;
}

/* Releases those that were never handed out before, or those that were. */
static enum status release(struct redis_conn *conn, const struct lane *lane,
                           const struct held *held, bool again, struct error *err)
{
    const struct job **jobs = must_alloc(held->count, sizeof *jobs);
    size_t count = 0;

    for (size_t i = 0; i < held->count; i++) {
        if ((held->jobs[i].deliveries <= 1) == again) {
            jobs[count++] = &held->jobs[i];
        }
    }
    struct queue_release back = {
        .jobs = {jobs, count},
        .again = again,
        .visibility_ms = lane->worker->settings->visibility_ms,
    };
    const struct queue_holder holder = {.queue = held->queue, .consumer = lane->consumer};
    const enum status status = queue_release(conn, &holder, &back, err);
    free(jobs);
    if (back.released > 0) {
        log_info("queue \"%s\": %zu jobs are handed back", held->queue->name, back.released);
    }
    return status;
}

/* What nobody had before goes to the end of its stream, where a waiting reader finds it at once.
 * What was taken over keeps its deliveries, and is claimable at once. */
static enum status hand_back(struct redis_conn *conn, const struct lane *lane,
                             const struct held *held, struct error *err)
{
    TRY(release(conn, lane, held, true, err));
    return release(conn, lane, held, false, err);
}

static void set_stranded(struct lane *lane, bool stranded)
{
    pthread_mutex_lock(&lane->lock);
    lane->times_stranded += stranded;
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

/* What could not be settled goes back without a delivery being counted, so that it is no death of
 * its jobs. Where this lane's connection is why, the janitor does it by its own: it looks every
 * 200 ms. The lane takes nothing else before its connection answers. */
static void give_up(struct lane *lane, const struct take *take)
{
    const struct held held = held_in(lane, take);
    struct error err = {0};

    lane->is_cut_off = true;
    if (redis_conn_is_open(lane->ctx.clients.redis)) { /* refused: as it would be again */
        reader_set_aside(lane->worker->reader, take->queue, "its jobs could not be committed");
    }
    if (hand_back(context_redis(&lane->ctx), lane, &held, &err) == STATUS_OK) {
        return;
    }
    set_stranded(lane, true);
    for (int64_t waited_ms = 0; is_stranded(lane) && waited_ms < STRANDED_WAIT_MS;
         waited_ms += STEP_MS) {
        clock_sleep_ms(STEP_MS);
    }
    if (is_stranded(lane)) {
        set_stranded(lane, false);
        log_warning("jobs that could not be committed stay pending: %s", err.text);
    }
}

/* ---- what the janitor does for a lane ---------------------------------------------------------
 *
 * It looks and copies under the lock, and asks Redis without it: no lane waits for the janitor's
 * connection. */

static enum status hand_back_stranded(struct lane *lane, struct redis_conn *conn,
                                      struct arena *arena, struct error *err)
{
    struct held held = {0};

    pthread_mutex_lock(&lane->lock);
    const uint64_t time = lane->times_stranded;
    if (lane->is_stranded) {
        held = held_copy(lane, &lane->takes.each[lane->inflight], arena);
    }
    pthread_mutex_unlock(&lane->lock);
    if (held.queue == NULL) {
        return STATUS_OK;
    }
    const enum status status = hand_back(conn, lane, &held, err);
    pthread_mutex_lock(&lane->lock);
    if (status == STATUS_OK && lane->times_stranded == time) {
        lane->is_stranded = false;
    }
    pthread_mutex_unlock(&lane->lock);
    return status;
}

/* On drain, from the back; the lane does not end before it is known what came of it. */
static enum status hand_back_unbegun(struct lane *lane, struct redis_conn *conn,
                                     struct arena *arena, struct error *err)
{
    enum status status = STATUS_OK;

    while (status == STATUS_OK) {
        struct held held = {0};
        pthread_mutex_lock(&lane->lock);
        if (is_stopping(lane->worker) && lane->inflight_count > lane->inflight + 1) {
            lane->is_handed_back = true;
            held = held_copy(lane, &lane->takes.each[--lane->inflight_count], arena);
        }
        pthread_mutex_unlock(&lane->lock);
        if (held.queue == NULL) {
            break;
        }
        status = hand_back(conn, lane, &held, err);
        pthread_mutex_lock(&lane->lock);
        lane->is_handed_back = false;
        lane->inflight_count += status != STATUS_OK;
        pthread_mutex_unlock(&lane->lock);
    }
    return status;
}

static enum status beat_for(struct lane *lane, struct redis_conn *conn, const struct held *held,
                            struct error *err)
{
    const struct queue_holder holder = {.queue = held->queue, .consumer = lane->consumer};
    const struct job **jobs = must_alloc(held->count, sizeof *jobs);
    size_t alive = 0;

    for (size_t i = 0; i < held->count; i++) {
        jobs[i] = &held->jobs[i];
    }
    const enum status status =
        queue_heartbeat(conn, &holder, (struct queue_jobs){jobs, held->count}, &alive, err);
    free(jobs);
    return status;
}

static enum status beat(struct lane *lane, struct redis_conn *conn, struct arena *arena,
                        struct error *err)
{
    const int64_t now_ms = clock_now_ms();
    const int64_t every_ms = lane->worker->settings->visibility_ms / 3;
    struct held held[READER_QUEUES_MAX];
    enum status status = STATUS_OK;
    size_t count = 0;

    pthread_mutex_lock(&lane->lock);
    if (now_ms - lane_moved_ms(lane) < STUCK_MS && now_ms - lane->beat_ms >= every_ms) {
        for (size_t i = lane->inflight; i < lane->inflight_count; i++) {
            held[count++] = held_copy(lane, &lane->takes.each[i], arena);
        }
    }
    pthread_mutex_unlock(&lane->lock);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        status = beat_for(lane, conn, &held[i], err);
    }
    if (count > 0 && status == STATUS_OK) {
        pthread_mutex_lock(&lane->lock);
        lane->beat_ms = now_ms;
        pthread_mutex_unlock(&lane->lock);
    }
    return status;
}

static enum status look_after(struct lane *lane, struct redis_conn *conn, struct arena *arena,
                              struct error *err)
{
    TRY(hand_back_stranded(lane, conn, arena, err));
    TRY(hand_back_unbegun(lane, conn, arena, err));
    return beat(lane, conn, arena, err);
}

enum status lane_look_after(struct lane *lane, struct redis_conn *conn, struct error *err)
{
    struct arena arena = {.is_must = true};
    const enum status status = look_after(lane, conn, &arena, err);

    arena_free(&arena);
    return status;
}

void lane_add_load(struct lane *lane, struct load *load)
{
    pthread_mutex_lock(&lane->lock);
    load->busy += lane->inflight_count > 0;
    for (size_t i = lane->inflight; i < lane->inflight_count; i++) {
        load->jobs += lane->takes.each[i].batch.count;
    }
    pthread_mutex_unlock(&lane->lock);
}

int64_t lane_moved_ms(const struct lane *lane)
{
    return atomic_load_explicit(&lane->ctx.progress_ms, memory_order_relaxed);
}

/* ---- sort: what must not reach a handler is judged here ---------------------------------------
 */

/* True when the task goes on. */
static bool is_fit(const struct settings *settings, struct task *task, int64_t redis_unix_ms)
{
    const struct job *job = task->job;
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
    if (job->options.deadline_unix_ms > 0 && redis_unix_ms > job->options.deadline_unix_ms) {
        task_judge(task, VERDICT_EXPIRED, "expired: its deadline passed");
        return false;
    }
    return true;
}

/* What deadlines are judged by: Redis' clock at this moment, asked where a job has one, since a job
 * thrown away for what that clock was a moment ago is gone. Where Redis does not say, nothing is
 * past its deadline. */
static int64_t deadline_clock(struct lane *lane, const struct queue_batch *batch)
{
    int64_t now_unix_ms = 0;

    for (size_t i = 0; i < batch->count; i++) {
        if (batch->jobs[i].options.deadline_unix_ms > 0) {
            return context_ask_time(&lane->ctx, &now_unix_ms, NULL) == STATUS_OK ? now_unix_ms : 0;
        }
    }
    return 0;
}

/* Sorts the fit tasks to the front, so that the handler gets one run of them. */
static size_t sort_fit(struct lane *lane, const struct queue_batch *batch, struct task *tasks,
                       size_t series)
{
    const int64_t now_unix_ms = context_now_unix_ms(&lane->ctx);
    const int64_t redis_unix_ms = deadline_clock(lane, batch);
    size_t fit = 0;
    size_t unfit = batch->count;

    for (size_t i = 0; i < batch->count; i++) {
        struct task task = {.job = &batch->jobs[i]};
        metrics_observe(lane->worker->metrics, METRICS_JOB_WAIT_SECONDS, series,
                        (double)(now_unix_ms - task_since_unix_ms(task.job)) / 1e3, 1);
        if (is_fit(lane->worker->settings, &task, redis_unix_ms)) {
            tasks[fit++] = task;
        } else {
            tasks[--unfit] = task;
        }
    }
    return fit;
}

/* ---- a lane's life ----------------------------------------------------------------------------
 */

static void work(struct lane *lane, struct take *take)
{
    struct worker *worker = lane->worker;
    const struct queue *queue = &worker->queues[take->queue];
    const size_t series = queue->series;
    const int64_t started_ns = clock_now_ns();
    const size_t count = take->batch.count;
    struct task *tasks = arena_array(&lane->ctx.arena, count, sizeof *tasks);

    context_begin(&lane->ctx, queue, &take->batch);
    const size_t fit = sort_fit(lane, &take->batch, tasks, series);
    if (fit > 0) {
        worker->handlers[take->queue]->process(&lane->ctx, tasks, fit);
        redis_conn_abandon(lane->ctx.clients.redis);
        redis_conn_abandon(lane->ctx.clients.cache);
    }
    context_progress(&lane->ctx);

    const struct settling settling = {
        {queue, lane->consumer, worker->id}, worker->handlers[take->queue], is_running, worker};
    if (!settle(&lane->ctx, &settling, tasks, count)) {
        give_up(lane, take);
    }
    context_end(&lane->ctx);
    metrics_observe(worker->metrics, METRICS_JOB_SECONDS, series,
                    (double)(clock_now_ns() - started_ns) / 1e9, count);
}

static void give_back(struct lane *lane, const struct take *take)
{
    const struct held held = held_in(lane, take);
    struct error err = {0};

    if (hand_back(context_redis(&lane->ctx), lane, &held, &err) != STATUS_OK) {
        log_warning("jobs not begun stay pending: %s", err.text);
    }
}

/* Under the lock, since others beat for what is in flight, and may hand back what is not begun. */
static void set_inflight(struct lane *lane, size_t count)
{
    pthread_mutex_lock(&lane->lock);
    lane->inflight = 0;
    lane->inflight_count = count;
    lane->beat_ms = clock_now_ms();
    pthread_mutex_unlock(&lane->lock);
}

static struct take *next_take(struct lane *lane)
{
    for (;;) {
        pthread_mutex_lock(&lane->lock);
        struct take *next =
            lane->inflight < lane->inflight_count ? &lane->takes.each[lane->inflight] : NULL;
        const bool waits = next == NULL && lane->is_handed_back;
        pthread_mutex_unlock(&lane->lock);
        if (!waits) {
            return next;
        }
        clock_sleep_ms(STEP_MS);
    }
}

static void end_take(struct lane *lane, const struct take *take)
{
    if (take->suspect) {
        reader_end_suspect(lane->worker->reader);
    }
    pthread_mutex_lock(&lane->lock);
    lane->inflight++;
    pthread_mutex_unlock(&lane->lock);
    arena_reset(&lane->ctx.arena, ARENA_KEEP_BYTES);
}

static void set_busy(struct lane *lane, int busy)
{
    atomic_fetch_add(&lane->worker->lanes_busy, busy);
}

static void work_on_takes(struct lane *lane)
{
    set_inflight(lane, lane->takes.count);
    set_busy(lane, 1);
    for (struct take *take = next_take(lane); take != NULL; take = next_take(lane)) {
        if (worker_mode(lane->worker) == FLEET_RUN) {
            work(lane, take);
        } else {
            give_back(lane, take);
        }
        end_take(lane, take);
    }
    set_inflight(lane, 0);
    set_busy(lane, -1);
}

/* Waits until the lane's own connection answers: what it takes before that it could not settle.
 * False when the worker stops meanwhile. */
static bool connect_lane(struct lane *lane)
{
    bool answers = false;

    for (int64_t i = 1; !answers && !is_stopping(lane->worker); i++) {
        struct error err = {0};
        int64_t now_unix_ms = 0;
        long long suppressed = 0;
        answers = context_ask_time(&lane->ctx, &now_unix_ms, &err) == STATUS_OK;
        if (!answers) {
            if (log_kind_allow("lane", &suppressed)) {
                log_warning("a lane takes no jobs, it has no connection: %s (%lld more like it)",
                            err.text, suppressed);
            }
            clock_sleep_ms(retry_delay_ms(&lane->ctx.random, i, CONNECT_BASE_MS, CONNECT_MAX_MS,
                                          CONNECT_BASE_MS));
            context_progress(&lane->ctx);
        }
    }
    lane->is_cut_off = false;
    return answers;
}

static void leave_groups(struct lane *lane)
{
    struct error err = {0};

    for (size_t i = 0; i < lane->worker->queue_count; i++) {
        if (queue_leave(context_redis(&lane->ctx), &lane->worker->queues[i], lane->consumer,
                        &err) != STATUS_OK) {
            log_debug("consumer \"%s\" is left to the janitors: %s", lane->consumer, err.text);
            return;
        }
    }
}

static void *run(void *argument)
{
    struct lane *lane = argument;
    struct worker *worker = lane->worker;

    while (worker_mode(worker) == FLEET_RUN) {
        context_progress(&lane->ctx);
        if ((lane->is_cut_off || !redis_conn_is_open(lane->ctx.clients.redis)) &&
            !connect_lane(lane)) {
            break;
        }
        if (reader_take(worker->reader, &lane->takes, is_stopping, worker) &&
            lane->takes.count > 0) {
            work_on_takes(lane);
        }
        pass_turn(lane);
        takes_reset(&lane->takes);
    }
    leave_groups(lane);
    atomic_fetch_sub(&worker->lanes_running, 1);
    return NULL;
}

enum status lane_new(struct worker *worker, size_t index, struct lane **out, struct error *err)
{
    struct lane *lane = must_alloc(1, sizeof *lane);

    lane->worker = worker;
    pthread_mutex_init(&lane->lock, NULL);
    snprintf(lane->consumer, sizeof lane->consumer, "%s.%zu", worker->id, index);
    lane->ctx.settings = worker->settings;
    lane->ctx.metrics = worker->metrics;
    lane->ctx.upstreams = worker->upstreams;
    lane->ctx.writer = worker->writer;
    lane->ctx.recorder = worker->recorder;
    lane->ctx.descriptions = worker->descriptions;
    lane->ctx.redis_clock_ms = &worker->redis_clock_ms;
    lane->ctx.consumer = lane->consumer;
    lane->takes.consumer = lane->consumer;
    lane->ctx.before_wait = pass_turn;
    lane->ctx.lane = lane;
    const enum status status = context_open(&lane->ctx, err);
    if (status != STATUS_OK) {
        lane_free(lane);
        return status;
    }
    *out = lane;
    return STATUS_OK;
}

enum status lane_start(struct lane *lane, struct error *err)
{
    atomic_fetch_add(&lane->worker->lanes_running, 1);
    lane->started = pthread_create(&lane->thread, NULL, run, lane) == 0;
    if (!lane->started) {
        atomic_fetch_sub(&lane->worker->lanes_running, 1);
        return error_set(err, STATUS_OOM, "lane \"%s\": no thread to be had", lane->consumer);
    }
    return STATUS_OK;
}

void lane_free(struct lane *lane)
{
    if (lane == NULL) {
        return;
    }
    if (lane->started) {
        pthread_join(lane->thread, NULL);
    }
    takes_free(&lane->takes);
    context_close(&lane->ctx);
    pthread_mutex_destroy(&lane->lock);
    free(lane);
}
