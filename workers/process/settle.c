#include "process/settle.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "jobs/bodies.h"

enum { COMMIT_TRIES = 4, COMMIT_BASE_MS = 50, COMMIT_MAX_MS = 1000 };

/* The verdicts of a batch, sorted by what is to be done. Arrays in the arena. */
struct plan {
    struct queue_end *finish;
    size_t finish_count;
    struct queue_end *retry;
    size_t retry_count;
    struct queue_end *bury;
    size_t bury_count;
    bool finish_unsure, retry_unsure, bury_unsure; /* see struct commit_part */
};

static bool plan_alloc(struct context *ctx, size_t count, struct plan *plan)
{
    plan->finish = arena_array(&ctx->arena, count, sizeof *plan->finish);
    plan->retry = arena_array(&ctx->arena, count, sizeof *plan->retry);
    plan->bury = arena_array(&ctx->arena, count, sizeof *plan->bury);
    return plan->finish != NULL && plan->retry != NULL && plan->bury != NULL;
}

/* Somebody who waits for a dead job is told why, instead of waiting in vain. */
static struct slice error_reply(struct context *ctx, const struct task *task)
{
    const struct enrich_result result = {
        .domain = task->job->domain,
        .created_unix_ms = context_now_unix_ms(ctx),
        .k = BODIES_K_DEFAULT,
        .error = {task->error, strlen(task->error)},
    };

    return context_encode_result(ctx, &result);
}

/* What somebody who waits for a job that ended otherwise is told. Work that has no result, such as
 * a distillation, says that it is done by an empty map. */
static struct slice reply_of(struct context *ctx, const struct task *task)
{
    static const char empty_map[] = "\x80";

    if (task->verdict == VERDICT_EXPIRED) {
        return error_reply(ctx, task);
    }
    return task->reply.data != NULL ? task->reply : (struct slice){empty_map, 1};
}

static void plan_bury(struct context *ctx, struct plan *plan, const struct task *task,
                      const char *reason)
{
    struct queue_end *item = &plan->bury[plan->bury_count++];

    *item = (struct queue_end){.job = task->job, .reason = reason, .error = task->error};
    if (task->job->options.reply) {
        item->reply = error_reply(ctx, task);
    }
}

static void plan_retry(struct context *ctx, struct plan *plan, const struct task *task)
{
    const struct settings *settings = ctx->settings;
    int64_t failures = task->job->attempt + 1;

    if (!retry_is_left(failures, settings->max_attempts)) {
        plan_bury(ctx, plan, task, "retries_exhausted");
        return;
    }
    plan->retry[plan->retry_count++] = (struct queue_end){
        .job = task->job,
        .delay_ms = retry_delay_ms(&ctx->random, failures, settings->retry_base_ms,
                                   settings->retry_max_ms, task->wait_ms),
    };
}

/* An experience ends by itself. What is thrown away for it is asked for twice, the second time of
 * Redis' clock at this moment. */
static bool is_over(struct context *ctx, const struct task *task)
{
    const int64_t ttl_ms = ctx->settings->experience_ttl_ms;
    int64_t now_unix_ms = 0;

    return task_is_over(task, context_now_unix_ms(ctx), ttl_ms) &&
           context_ask_time(ctx, &now_unix_ms, NULL) == STATUS_OK &&
           task_is_over(task, now_unix_ms, ttl_ms);
}

/* No attempt is burnt, but not for ever. */
static void plan_park(struct context *ctx, struct plan *plan, const struct task *task)
{
    const struct settings *settings = ctx->settings;
    const struct park_policy policy = {settings->retry_base_ms, settings->retry_max_ms,
                                       settings->breaker_pause_ms};

    if (is_over(ctx, task)) {
        plan_bury(ctx, plan, task, "retries_exhausted");
        return;
    }
    const int64_t paused_ms = upstreams_wait_ms(ctx->upstreams, task->operation);
    plan->retry[plan->retry_count++] = (struct queue_end){
        .job = task->job,
        .delay_ms = task_park_ms(task, paused_ms, &policy, &ctx->random),
        .parked = true,
        .operation = task->operation,
        .tried = task->tried,
    };
}

static void plan_task(struct context *ctx, struct plan *plan, const struct task *task)
{
    switch (task->verdict) {
    case VERDICT_DONE:
    case VERDICT_EXPIRED:
        plan->finish[plan->finish_count++] = (struct queue_end){
            .job = task->job,
            .expired = task->verdict == VERDICT_EXPIRED,
            .reply = task->job->options.reply ? reply_of(ctx, task) : (struct slice){0},
        };
        break;
    case VERDICT_RETRY:
        plan_retry(ctx, plan, task);
        break;
    case VERDICT_PARK:
        plan_park(ctx, plan, task);
        break;
    case VERDICT_REJECT:
        plan_bury(ctx, plan, task, "rejected");
        break;
    case VERDICT_MALFORMED:
        plan_bury(ctx, plan, task, "malformed");
        break;
    case VERDICT_OVERSIZE:
        plan_bury(ctx, plan, task, "oversize");
        break;
    }
}

static enum status run_finish(struct context *ctx, const struct settling *settling,
                              struct plan *plan, struct error *err)
{
    return queue_finish(context_redis(ctx), &settling->holder, plan->finish, plan->finish_count,
                        err);
}

static enum status run_retry(struct context *ctx, const struct settling *settling,
                             struct plan *plan, struct error *err)
{
    return queue_retry(context_redis(ctx), &settling->holder, plan->retry, plan->retry_count, err);
}

static enum status run_bury(struct context *ctx, const struct settling *settling, struct plan *plan,
                            struct error *err)
{
    return queue_bury(context_redis(ctx), &settling->holder, plan->bury, plan->bury_count, err);
}

typedef enum status commit_step(struct context *, const struct settling *, struct plan *,
                                struct error *);

/* One of the calls of a commit: what the log says of it, how many jobs, and the call. */
struct commit_part {
    const char *what;
    size_t count;
    commit_step *step;
    bool *unsure; /* set when a try's answer was lost: what it moved is LOST to the next one */
};

/* After a refusal: true when the function library stands, or stands again. Why it was refused is
 * not looked at: the texts differ, and a second refusal costs nothing. */
static bool has_library(struct context *ctx)
{
    bool loaded = false;
    const bool stands = queue_install(context_redis(ctx), &loaded, NULL) == STATUS_OK;

    if (loaded) {
        log_warning("the function library was gone and is loaded again");
    }
    return stands;
}

/* Whether the connection failed, and not what was asked of it: "max number of clients reached" and
 * a password that changed are refusals too, but of everything. */
static bool is_outage(const struct context *ctx, enum status status)
{
    return status == STATUS_UNREACHABLE || status == STATUS_TIMEOUT ||
           status == STATUS_UNAVAILABLE || !redis_conn_is_open(ctx->clients.redis);
}

static void complain(const char *queue, const struct commit_part *part, const struct error *err)
{
    long long suppressed = 0;

    if (log_kind_allow("commit", &suppressed)) {
        log_warning("queue \"%s\": %s of %zu jobs failed, they are kept: %s (%lld more like it)",
                    queue, part->what, part->count, err->text, suppressed);
    }
}

/* Repeats an idempotent step as long as the connection fails (the jobs are this lane's meanwhile:
 * the janitor beats for them by its own), and once after a refusal. When the worker stops, a few
 * times. */
static bool persist(struct context *ctx, const struct settling *settling, struct plan *plan,
                    const struct commit_part *part)
{
    struct error err = {0};
    int64_t started_ns = clock_now_ns();
    bool refused = false;

    for (int64_t i = 1; part->count > 0; i++) {
        enum status status = part->step(ctx, settling, plan, &err);
        if (status == STATUS_OK) {
            metrics_observe(ctx->metrics, METRICS_UPSTREAM_SECONDS,
                            metrics_call_of(METRICS_REDIS, "finish"),
                            (double)(clock_now_ns() - started_ns) / 1e9, 1);
            return true;
        }
        metrics_add(ctx->metrics, METRICS_UPSTREAM_ERRORS, METRICS_REDIS, status, 1);
        complain(settling->holder.queue->name, part, &err);
        if (!is_outage(ctx, status)) {
            if (status != STATUS_REFUSED || refused || !has_library(ctx)) {
                return false;
            }
            refused = true;
            continue;
        }
        if (i >= COMMIT_TRIES && !settling->may_wait(settling->context)) {
            return false;
        }
        *part->unsure = true;
        clock_sleep_ms(
            retry_delay_ms(&ctx->random, i, COMMIT_BASE_MS, COMMIT_MAX_MS, COMMIT_BASE_MS));
        context_progress(ctx);
    }
    return true;
}

static const struct task *task_of(const struct task *tasks, size_t count, const struct job *job)
{
    for (size_t i = 0; i < count; i++) {
        if (tasks[i].job == job) {
            return &tasks[i];
        }
    }
    return NULL;
}

/* A twin's asker waits for the reply of a job that did not ask for one itself. Whether one does is
 * not known where the answer of the call that ended the job was lost: the function looks. */
static void push_late(struct context *ctx, const struct settling *settling, const struct task *task)
{
    struct error err = {0};

    if (task->verdict == VERDICT_DONE &&
        queue_push_wanted(context_redis(ctx), settling->holder.queue, task->job->id,
                          reply_of(ctx, task), &err) != STATUS_OK) {
        log_warning("late reply of job \"%.*s\": %s", (int)task->job->id.bytes, task->job->id.data,
                    err.text);
    }
}

static void account_finished(struct context *ctx, const struct settling *settling,
                             const struct plan *plan, const struct task *tasks, size_t count)
{
    uint64_t done = 0;
    uint64_t expired = 0;

    for (size_t i = 0; i < plan->finish_count; i++) {
        const struct queue_end *item = &plan->finish[i];
        const struct task *task = task_of(tasks, count, item->job);
        const bool wanted = item->fate == QUEUE_LOST ? item->job->options.unique.bytes > 0
                                                     : item->fate == QUEUE_MOVED_WANTED;
        if (item->fate == QUEUE_LOST && !plan->finish_unsure) {
            log_info("queue \"%s\": job \"%.*s\" was taken over meanwhile",
                     settling->holder.queue->name, (int)item->job->id.bytes, item->job->id.data);
            continue;
        }
        if (item->fate == QUEUE_RENEWED) {
            continue;
        }
        done += !item->expired;
        expired += item->expired;
        if (wanted && task != NULL) {
            push_late(ctx, settling, task);
        }
    }
    const size_t series = settling->holder.queue->series;
    metrics_add(ctx->metrics, METRICS_JOBS, series, METRICS_DONE, done);
    metrics_add(ctx->metrics, METRICS_JOBS, series, METRICS_EXPIRED, expired);
}

static void account_retried(struct context *ctx, const struct settling *settling,
                            const struct plan *plan)
{
    const size_t series = settling->holder.queue->series;

    for (size_t i = 0; i < plan->retry_count; i++) {
        if (plan->retry[i].fate != QUEUE_LOST || plan->retry_unsure) {
            metrics_add(ctx->metrics, METRICS_JOBS, series,
                        plan->retry[i].parked ? METRICS_PARKED : METRICS_RETRIED, 1);
        }
    }
}

/* One line a second for each queue and reason: bad jobs come by the thousand, and all of them stand
 * among the dead letters. `reason` NULL: it will be tried again. */
static void log_end(const struct settling *settling, const struct job *job, const char *reason,
                    const char *error)
{
    const char *queue = settling->holder.queue->name;
    char kind[64];
    char more[48] = "";
    long long suppressed = 0;

    snprintf(kind, sizeof kind, "%s %s", queue, reason == NULL ? "failed" : reason);
    if (!log_kind_allow(kind, &suppressed)) {
        return;
    }
    if (suppressed > 0) {
        snprintf(more, sizeof more, " (%lld more like it)", suppressed);
    }
    if (reason == NULL) {
        log_info("queue \"%s\": job \"%.*s\" failed: %s%s", queue, (int)job->id.bytes, job->id.data,
                 error, more);
    } else {
        log_warning("queue \"%s\": job \"%.*s\" is dead (%s): %s%s", queue, (int)job->id.bytes,
                    job->id.data, reason, error, more);
    }
}

static void account_buried(struct context *ctx, const struct settling *settling,
                           const struct plan *plan)
{
    for (size_t i = 0; i < plan->bury_count; i++) {
        const struct queue_end *item = &plan->bury[i];
        if (item->fate != QUEUE_LOST || plan->bury_unsure) {
            metrics_add(ctx->metrics, METRICS_JOBS, settling->holder.queue->series, METRICS_BURIED,
                        1);
            log_end(settling, item->job, item->reason, item->error);
        }
    }
}

bool settle(struct context *ctx, const struct settling *settling, const struct task *tasks,
            size_t count)
{
    struct plan plan = {0};

    if (!plan_alloc(ctx, count, &plan)) {
        log_error("no memory to commit %zu jobs, they stay pending", count);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const bool is_outage = tasks[i].verdict == VERDICT_PARK && tasks[i].tried;
        if (tasks[i].verdict == VERDICT_RETRY || is_outage) {
            log_end(settling, tasks[i].job, NULL, tasks[i].error);
        }
        plan_task(ctx, &plan, &tasks[i]);
    }
    context_phase(ctx, PHASE_FINISH);
    const struct commit_part finish = {"finishing", plan.finish_count, run_finish,
                                       &plan.finish_unsure};
    const struct commit_part retry = {"retrying", plan.retry_count, run_retry, &plan.retry_unsure};
    const struct commit_part bury = {"burying", plan.bury_count, run_bury, &plan.bury_unsure};
    const bool finished = persist(ctx, settling, &plan, &finish);
    const bool retried = persist(ctx, settling, &plan, &retry);
    const bool buried = persist(ctx, settling, &plan, &bury);
    if (finished) {
        account_finished(ctx, settling, &plan, tasks, count);
    }
    if (retried) {
        account_retried(ctx, settling, &plan);
    }
    if (buried) {
        account_buried(ctx, settling, &plan);
    }
    return finished && retried && buried;
}
