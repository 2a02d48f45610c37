#include "process/settle.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "jobs/bodies.h"

enum { COMMIT_TRIES = 4, COMMIT_BASE_MS = 50, COMMIT_MAX_MS = 1000 };

/* The verdicts of a batch, sorted by what is to be done. Arrays in the arena. */
struct plan {
    struct queue_finish_item *finish;
    size_t finish_count;
    struct queue_retry_item *retry;
    size_t retry_count;
    struct queue_bury_item *bury;
    size_t bury_count;
    bool finish_unsure, retry_unsure, bury_unsure; /* see struct commit_part */
};

static bool plan_alloc(struct lane_tools *tools, size_t count, struct plan *plan)
{
    plan->finish = arena_array(&tools->arena, count, sizeof *plan->finish);
    plan->retry = arena_array(&tools->arena, count, sizeof *plan->retry);
    plan->bury = arena_array(&tools->arena, count, sizeof *plan->bury);
    return plan->finish != NULL && plan->retry != NULL && plan->bury != NULL;
}

/* Somebody who waits for a dead job is told why, instead of waiting in vain. */
static struct slice error_reply(struct lane_tools *tools, const struct task *task)
{
    const struct enrich_result result = {
        .domain = task->job->domain,
        .created_unix_ms = tools_now_unix_ms(tools),
        .k = BODIES_K_DEFAULT,
        .error = {task->error, strlen(task->error)},
    };

    return tools_encode_result(tools, &result);
}

/* What somebody who waits for a job that ended otherwise is told. Work that has no result, such as
 * a distillation, says that it is done by an empty map. */
static struct slice reply_of(struct lane_tools *tools, const struct task *task)
{
    static const char empty_map[] = "\x80";

    if (task->verdict == VERDICT_EXPIRED) {
        return error_reply(tools, task);
    }
    return task->reply.data != NULL ? task->reply : (struct slice){empty_map, 1};
}

static void plan_bury(struct lane_tools *tools, struct plan *plan, const struct task *task,
                      const char *reason)
{
    struct queue_bury_item *item = &plan->bury[plan->bury_count++];

    *item = (struct queue_bury_item){.job = task->job, .reason = reason, .error = task->error};
    if (task->job->options.reply) {
        item->reply = error_reply(tools, task);
    }
}

static void plan_retry(struct lane_tools *tools, struct plan *plan, const struct task *task)
{
    const struct settings *settings = tools->settings;
    int64_t failures = task->job->attempt + 1;

    if (!backoff_should_retry(failures, settings->max_attempts)) {
        plan_bury(tools, plan, task, "retries_exhausted");
        return;
    }
    plan->retry[plan->retry_count++] = (struct queue_retry_item){
        .job = task->job,
        .delay_ms = backoff_delay_ms(&tools->random, failures, settings->retry_base_ms,
                                     settings->retry_max_ms, task->wait_ms),
    };
}

/* An experience ends by itself. What is thrown away for it is asked for twice, the second time of
 * Redis' clock at this moment. */
static bool is_over(struct lane_tools *tools, const struct task *task)
{
    const int64_t ttl_ms = tools->settings->experience_ttl_ms;
    int64_t now_unix_ms = 0;

    return task_is_over(task, tools_now_unix_ms(tools), ttl_ms) &&
           tools_ask_time(tools, &now_unix_ms, NULL) == STATUS_OK &&
           task_is_over(task, now_unix_ms, ttl_ms);
}

/* No attempt is burnt, but not for ever. */
static void plan_park(struct lane_tools *tools, struct plan *plan, const struct task *task)
{
    const struct settings *settings = tools->settings;
    const struct park_policy policy = {settings->retry_base_ms, settings->retry_max_ms,
                                       settings->breaker_pause_ms};

    if (is_over(tools, task)) {
        plan_bury(tools, plan, task, "retries_exhausted");
        return;
    }
    const int64_t paused_ms = upstreams_wait_ms(tools->upstreams, task->operation);
    plan->retry[plan->retry_count++] = (struct queue_retry_item){
        .job = task->job,
        .delay_ms = task_park_ms(task, paused_ms, &policy, &tools->random),
        .parked = true,
        .operation = task->operation,
        .tried = task->tried,
    };
}

static void plan_task(struct lane_tools *tools, struct plan *plan, const struct task *task)
{
    switch (task->verdict) {
    case VERDICT_DONE:
    case VERDICT_EXPIRED:
        plan->finish[plan->finish_count++] = (struct queue_finish_item){
            .job = task->job,
            .expired = task->verdict == VERDICT_EXPIRED,
            .reply = task->job->options.reply ? reply_of(tools, task) : (struct slice){0},
        };
        break;
    case VERDICT_RETRY:
        plan_retry(tools, plan, task);
        break;
    case VERDICT_PARK:
        plan_park(tools, plan, task);
        break;
    case VERDICT_REJECT:
        plan_bury(tools, plan, task, "rejected");
        break;
    case VERDICT_MALFORMED:
        plan_bury(tools, plan, task, "malformed");
        break;
    case VERDICT_OVERSIZE:
        plan_bury(tools, plan, task, "oversize");
        break;
    }
}

static enum status run_finish(struct lane_tools *tools, const struct commit_target *target,
                              struct plan *plan, struct error *err)
{
    return queue_finish(tools->redis, target->queue, target->consumer, plan->finish,
                        plan->finish_count, err);
}

static enum status run_retry(struct lane_tools *tools, const struct commit_target *target,
                             struct plan *plan, struct error *err)
{
    return queue_retry(tools->redis, target->queue, target->consumer, plan->retry,
                       plan->retry_count, err);
}

static enum status run_bury(struct lane_tools *tools, const struct commit_target *target,
                            struct plan *plan, struct error *err)
{
    return queue_bury(tools->redis, target->queue, target->consumer, target->worker_id, plan->bury,
                      plan->bury_count, err);
}

typedef enum status commit_step(struct lane_tools *, const struct commit_target *, struct plan *,
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
static bool has_library(struct lane_tools *tools)
{
    bool loaded = false;
    const bool stands = queue_install(tools->redis, &loaded, NULL) == STATUS_OK;

    if (loaded) {
        log_warning("the function library was gone and is loaded again");
    }
    return stands;
}

/* Whether the connection failed, and not what was asked of it: "max number of clients reached" and
 * a password that changed are refusals too, but of everything. */
static bool is_outage(const struct lane_tools *tools, enum status status)
{
    return status == STATUS_UNREACHABLE || status == STATUS_TIMEOUT ||
           status == STATUS_UNAVAILABLE || !redis_conn_is_open(tools->redis);
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
static bool persist(struct lane_tools *tools, const struct commit_target *target, struct plan *plan,
                    const struct commit_part *part)
{
    struct error err = {0};
    int64_t started_ns = clock_now_ns();
    bool refused = false;

    for (int64_t i = 1; part->count > 0; i++) {
        enum status status = part->step(tools, target, plan, &err);
        if (status == STATUS_OK) {
            metrics_upstream_seconds(tools->metrics, METRICS_REDIS, "finish",
                                     (double)(clock_now_ns() - started_ns) / 1e9);
            return true;
        }
        metrics_upstream_error(tools->metrics, METRICS_REDIS, status);
        complain(target->queue->name, part, &err);
        if (!is_outage(tools, status)) {
            if (status != STATUS_REFUSED || refused || !has_library(tools)) {
                return false;
            }
            refused = true;
            continue;
        }
        if (i >= COMMIT_TRIES && !target->may_wait(target->context)) {
            return false;
        }
        *part->unsure = true;
        clock_sleep_ms(
            backoff_delay_ms(&tools->random, i, COMMIT_BASE_MS, COMMIT_MAX_MS, COMMIT_BASE_MS));
        tools_progress(tools);
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
static void push_late(struct lane_tools *tools, const struct commit_target *target,
                      const struct task *task)
{
    struct error err = {0};

    if (task->verdict == VERDICT_DONE &&
        queue_push_wanted(tools->redis, target->queue, task->job->id, reply_of(tools, task),
                          &err) != STATUS_OK) {
        log_warning("late reply of job \"%.*s\": %s", (int)task->job->id.bytes, task->job->id.data,
                    err.text);
    }
}

static void account_finished(struct lane_tools *tools, const struct commit_target *target,
                             const struct plan *plan, const struct task *tasks, size_t count)
{
    uint64_t done = 0;
    uint64_t expired = 0;

    for (size_t i = 0; i < plan->finish_count; i++) {
        const struct queue_finish_item *item = &plan->finish[i];
        const struct task *task = task_of(tasks, count, item->job);
        const bool wanted = item->fate == QUEUE_LOST ? item->job->options.unique.bytes > 0
                                                     : item->fate == QUEUE_MOVED_WANTED;
        if (item->fate == QUEUE_LOST && !plan->finish_unsure) {
            log_info("queue \"%s\": job \"%.*s\" was taken over meanwhile", target->queue->name,
                     (int)item->job->id.bytes, item->job->id.data);
            continue;
        }
        if (item->fate == QUEUE_RENEWED) {
            continue;
        }
        done += !item->expired;
        expired += item->expired;
        if (wanted && task != NULL) {
            push_late(tools, target, task);
        }
    }
    size_t series = metrics_queue_of(tools->metrics, target->queue->name);
    metrics_jobs(tools->metrics, series, METRICS_DONE, done);
    metrics_jobs(tools->metrics, series, METRICS_EXPIRED, expired);
}

static void account_retried(struct lane_tools *tools, const struct commit_target *target,
                            const struct plan *plan)
{
    size_t series = metrics_queue_of(tools->metrics, target->queue->name);

    for (size_t i = 0; i < plan->retry_count; i++) {
        if (plan->retry[i].fate != QUEUE_LOST || plan->retry_unsure) {
            metrics_jobs(tools->metrics, series,
                         plan->retry[i].parked ? METRICS_PARKED : METRICS_RETRIED, 1);
        }
    }
}

/* One line a second for each queue and reason: bad jobs come by the thousand, and all of them stand
 * among the dead letters. `reason` NULL: it will be tried again. */
static void log_end(const struct commit_target *target, const struct job *job, const char *reason,
                    const char *error)
{
    const char *queue = target->queue->name;
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

static void account_buried(struct lane_tools *tools, const struct commit_target *target,
                           const struct plan *plan)
{
    for (size_t i = 0; i < plan->bury_count; i++) {
        const struct queue_bury_item *item = &plan->bury[i];
        if (item->fate != QUEUE_LOST || plan->bury_unsure) {
            metrics_jobs(tools->metrics, metrics_queue_of(tools->metrics, target->queue->name),
                         METRICS_BURIED, 1);
            log_end(target, item->job, item->reason, item->error);
        }
    }
}

bool commit_tasks(struct lane_tools *tools, const struct commit_target *target,
                  const struct task *tasks, size_t count)
{
    struct plan plan = {0};

    if (!plan_alloc(tools, count, &plan)) {
        log_error("no memory to commit %zu jobs, they stay pending", count);
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        const bool is_outage = tasks[i].verdict == VERDICT_PARK && tasks[i].tried;
        if (tasks[i].verdict == VERDICT_RETRY || is_outage) {
            log_end(target, tasks[i].job, NULL, tasks[i].error);
        }
        plan_task(tools, &plan, &tasks[i]);
    }
    tools_phase(tools, PHASE_FINISH);
    const struct commit_part finish = {"finishing", plan.finish_count, run_finish,
                                       &plan.finish_unsure};
    const struct commit_part retry = {"retrying", plan.retry_count, run_retry, &plan.retry_unsure};
    const struct commit_part bury = {"burying", plan.bury_count, run_bury, &plan.bury_unsure};
    const bool finished = persist(tools, target, &plan, &finish);
    const bool retried = persist(tools, target, &plan, &retry);
    const bool buried = persist(tools, target, &plan, &bury);
    if (finished) {
        account_finished(tools, target, &plan, tasks, count);
    }
    if (retried) {
        account_retried(tools, target, &plan);
    }
    if (buried) {
        account_buried(tools, target, &plan);
    }
    return finished && retried && buried;
}
