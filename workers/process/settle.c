#include "process/settle.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "jobs/bodies.h"
#include "queue/settle.h"

enum { SETTLE_TRIES = 4, SETTLE_BASE_MS = 50, SETTLE_MAX_MS = 1000 };

/* The jobs of a batch that end in one way. Arrays in the arena. */
struct ending {
    const char *what; /* for the log */
    enum status (*call)(struct redis_conn *conn, const struct queue_holder *holder,
                        struct queue_end *ends, size_t count, struct error *err);
    struct queue_end *ends;
    const struct task **tasks; /* that they are of */
    size_t count;
    bool unsure; /* a try's answer was lost: what it moved is LOST to the next one */
};

/* A batch in three endings. */
struct plan {
    struct context *ctx;
    struct ending finish;
    struct ending retry;
    struct ending bury;
};

static struct queue_end *add(struct ending *ending, const struct task *task)
{
    struct queue_end *end = &ending->ends[ending->count];

    ending->tasks[ending->count++] = task;
    end->job = task->job;
    return end;
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

static void plan_bury(struct plan *plan, const struct task *task, const char *reason)
{
    struct queue_end *end = add(&plan->bury, task);

    end->reason = reason;
    end->error = task->error;
    if (task->job->options.reply) {
        end->reply = error_reply(plan->ctx, task);
    }
}

static void plan_finish(struct plan *plan, const struct task *task)
{
    struct queue_end *end = add(&plan->finish, task);

    end->expired = task->verdict == VERDICT_EXPIRED;
    if (task->job->options.reply) {
        end->reply = reply_of(plan->ctx, task);
    }
}

static void plan_retry(struct plan *plan, const struct task *task)
{
    const struct settings *settings = plan->ctx->settings;

    add(&plan->retry, task)->delay_ms =
        retry_delay_ms(&plan->ctx->random, task->job->attempt + 1, settings->retry_base_ms,
                       settings->retry_max_ms, task->wait_ms);
}

/* No attempt is burnt. */
static void plan_park(struct plan *plan, const struct task *task)
{
    const struct settings *settings = plan->ctx->settings;
    const struct park_policy policy = {settings->retry_base_ms, settings->retry_max_ms,
                                       settings->breaker_pause_ms};

    const int64_t paused_ms = upstreams_wait_ms(plan->ctx->upstreams, task->operation);
    struct queue_end *end = add(&plan->retry, task);
    end->delay_ms = task_park_ms(task, paused_ms, &policy, &plan->ctx->random);
    end->parked = true;
    end->operation = task->operation;
    end->tried = task->tried;
}

static void plan_task(struct plan *plan, const struct task *task)
{
    switch (task->verdict) {
    case VERDICT_DONE:
    case VERDICT_EXPIRED:
        plan_finish(plan, task);
        break;
    case VERDICT_RETRY:
        plan_retry(plan, task);
        break;
    case VERDICT_PARK:
        plan_park(plan, task);
        break;
    case VERDICT_REJECT:
        plan_bury(plan, task, "rejected");
        break;
    case VERDICT_MALFORMED:
        plan_bury(plan, task, "malformed");
        break;
    case VERDICT_OVERSIZE:
        plan_bury(plan, task, "oversize");
        break;
    case VERDICT_EXHAUSTED:
        plan_bury(plan, task, "retries_exhausted");
        break;
    }
}

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

/* Whether the connection failed, and not what was asked of it: a password that changed is a refusal
 * too, but of everything. */
static bool is_outage(const struct context *ctx, enum status status)
{
    return status_may_pass(status) || !redis_conn_is_open(ctx->clients.redis);
}

static void complain(const char *queue, const struct ending *ending, const struct error *err)
{
    long long suppressed = 0;

    if (log_kind_allow("commit", &suppressed)) {
        log_warning("queue \"%s\": %s of %zu jobs failed, they are kept: %s (%lld more like it)",
                    queue, ending->what, ending->count, err->text, suppressed);
    }
}

/* Repeats an idempotent step as long as the connection fails (the jobs are this lane's meanwhile:
 * the janitor beats for them by its own), and once after a refusal. When the worker stops, a few
 * times. */
static bool persist(struct context *ctx, const struct settling *settling, struct ending *ending)
{
    struct error err = {0};
    int64_t started_ns = clock_now_ns();
    bool refused = false;

    for (int64_t i = 1; ending->count > 0; i++) {
        enum status status =
            ending->call(context_redis(ctx), &settling->holder, ending->ends, ending->count, &err);
        if (status == STATUS_OK) {
            metrics_observe(ctx->metrics, METRICS_UPSTREAM_SECONDS,
                            metrics_call_of(METRICS_REDIS, "finish"),
                            (double)(clock_now_ns() - started_ns) / 1e9, 1);
            return true;
        }
        metrics_add(ctx->metrics, METRICS_UPSTREAM_ERRORS, METRICS_REDIS, status, 1);
        complain(settling->holder.queue->name, ending, &err);
        if (!is_outage(ctx, status)) {
            if (status != STATUS_REFUSED || refused || !has_library(ctx)) {
                return false;
            }
            refused = true;
            continue;
        }
        if (i >= SETTLE_TRIES && !settling->may_wait(settling->context)) {
            return false;
        }
        ending->unsure = true;
        clock_sleep_ms(
            retry_delay_ms(&ctx->random, i, SETTLE_BASE_MS, SETTLE_MAX_MS, SETTLE_BASE_MS));
        context_progress(ctx);
    }
    return true;
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

static enum metrics_outcome outcome_of(const struct plan *plan, const struct ending *ending,
                                       const struct queue_end *end)
{
    if (ending == &plan->finish) {
        return end->expired ? METRICS_EXPIRED : METRICS_DONE;
    }
    if (ending == &plan->retry) {
        return end->parked ? METRICS_PARKED : METRICS_RETRIED;
    }
    return METRICS_BURIED;
}

/* Counts what was moved, and says it where somebody wants to know. */
static void account(const struct plan *plan, const struct settling *settling,
                    const struct ending *ending)
{
    const struct queue *queue = settling->holder.queue;
    uint64_t counts[METRICS_OUTCOMES] = {0};

    for (size_t i = 0; i < ending->count; i++) {
        const struct queue_end *end = &ending->ends[i];
        const enum metrics_outcome outcome = outcome_of(plan, ending, end);
        if (end->fate == QUEUE_LOST && !ending->unsure) {
            log_info("queue \"%s\": job \"%.*s\" was taken over meanwhile", queue->name,
                     (int)end->job->id.bytes, end->job->id.data);
            continue;
        }
        if (end->fate == QUEUE_RENEWED) {
            continue;
        }
        counts[outcome]++;
        if (outcome == METRICS_BURIED) {
            log_end(settling, end->job, end->reason, end->error);
        } else if (end->fate == QUEUE_MOVED_WANTED ||
                   (end->fate == QUEUE_LOST && end->job->options.unique.bytes > 0)) {
            push_late(plan->ctx, settling, ending->tasks[i]);
        }
    }
    for (size_t i = 0; i < METRICS_OUTCOMES; i++) {
        if (counts[i] > 0) {
            metrics_add(plan->ctx->metrics, METRICS_JOBS, queue->series, i, counts[i]);
        }
    }
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

/* Nothing is tried or waits for ever. */
static bool is_exhausted(struct context *ctx, const struct task *task)
{
    return task->verdict == VERDICT_RETRY
               ? !retry_is_left(task->job->attempt + 1, ctx->settings->max_attempts)
               : task->verdict == VERDICT_PARK && is_over(ctx, task);
}

static bool ends_now(const struct task *task)
{
    return task->verdict != VERDICT_RETRY && task->verdict != VERDICT_PARK;
}

/* THE place where it is known of a job that it ends, and not yet done. */
static void prepare_ends(struct context *ctx, const struct settling *settling, struct task *tasks,
                         size_t count)
{
    struct task **ending = arena_array(&ctx->arena, count, sizeof *ending);
    size_t ending_count = 0;

    for (size_t i = 0; i < count; i++) {
        const bool is_outage = tasks[i].verdict == VERDICT_PARK && tasks[i].tried;
        if (tasks[i].verdict == VERDICT_RETRY || is_outage) {
            log_end(settling, tasks[i].job, NULL, tasks[i].error);
        }
        if (is_exhausted(ctx, &tasks[i])) {
            tasks[i].verdict = VERDICT_EXHAUSTED;
        }
        if (ends_now(&tasks[i])) {
            ending[ending_count++] = &tasks[i];
        }
    }
    if (ending_count > 0 && settling->handler->before_end != NULL) {
        settling->handler->before_end(ctx, ending, ending_count);
    }
}

bool settle(struct context *ctx, const struct settling *settling, struct task *tasks, size_t count)
{
    struct plan plan = {
        .ctx = ctx,
        .finish = {.what = "finishing", .call = queue_finish},
        .retry = {.what = "retrying", .call = queue_retry},
        .bury = {.what = "burying", .call = queue_bury},
    };
    struct ending *const endings[] = {&plan.finish, &plan.retry, &plan.bury};
    bool all_settled = true;

    for (int i = 0; i < 3; i++) {
        endings[i]->ends = arena_array(&ctx->arena, count, sizeof *endings[i]->ends);
        endings[i]->tasks = arena_array(&ctx->arena, count, sizeof(const struct task *));
    }
    context_phase(ctx, PHASE_FINISH);
    prepare_ends(ctx, settling, tasks, count);
    for (size_t i = 0; i < count; i++) {
        plan_task(&plan, &tasks[i]);
    }
    bool settled[3];
    for (int i = 0; i < 3; i++) {
        settled[i] = persist(ctx, settling, endings[i]);
        all_settled = all_settled && settled[i];
    }
    for (int i = 0; i < 3; i++) {
        if (settled[i]) {
            account(&plan, settling, endings[i]);
        }
    }
    return all_settled;
}
