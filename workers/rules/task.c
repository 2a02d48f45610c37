#include "rules/task.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SPREAD_MS = 1000, NAME_BYTES = 100 };

void task_judge(struct task *task, enum verdict verdict, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(task->error, sizeof task->error, fmt, args);
    va_end(args);
    task->verdict = verdict;
}

bool failure_is_own_check(const struct error *err)
{
    return err->status == STATUS_INVALID && err->http_code == 0;
}

bool failure_may_be_text(const struct error *err)
{
    switch (err->status) {
    case STATUS_INVALID:
    case STATUS_GARBLED:
    case STATUS_TIMEOUT:
    case STATUS_UNREACHABLE:
    case STATUS_FULL:
        return true;
    case STATUS_FAILED:
        return err->http_code >= 500;
    case STATUS_UNAVAILABLE:
        return err->http_code == 502 || err->http_code == 504;
    default:
        return false;
    }
}

bool failure_is_outage(const struct error *err)
{
    return !failure_may_be_text(err) || status_may_pass(err->status);
}

enum verdict failure_verdict(const struct failure *failure)
{
    if (failure->operation == OPERATION_REDIS || failure->operation == OPERATION_COLLECTION ||
        !failure->alone || !failure_may_be_text(failure->err)) {
        return VERDICT_PARK;
    }
    if (failure_is_own_check(failure->err)) {
        return VERDICT_REJECT;
    }
    if (!failure->others_pass) {
        return VERDICT_PARK;
    }
    return failure->err->status == STATUS_INVALID ? VERDICT_REJECT : VERDICT_RETRY;
}

static bool outranks(enum verdict verdict, enum verdict other)
{
    return other <= VERDICT_PARK && verdict > other;
}

void task_judge_failure(struct task *task, const struct failure *failure)
{
    const enum verdict verdict = failure_verdict(failure);
    const struct slice document = failure->document;

    if (!outranks(verdict, task->verdict)) {
        return;
    }
    if (document.bytes > 0) {
        task_judge(task, verdict, "document \"%.*s\": %s",
                   (int)(document.bytes < NAME_BYTES ? document.bytes : NAME_BYTES), document.data,
                   failure->err->text);
    } else {
        task_judge(task, verdict, "%s", failure->err->text);
    }
    task->wait_ms = failure->err->retry_after_ms;
    task->operation = failure->operation;
    task->tried = true;
    task->may_be_text = failure_may_be_text(failure->err);
}

void task_hold_back(struct task *task, enum operation operation, int64_t wait_ms, const char *text)
{
    task_judge(task, VERDICT_PARK, "%s", text);
    task->wait_ms = wait_ms;
    task->operation = operation;
    task->tried = false;
}

void task_take_back(struct task *task, enum operation operation, const struct error *err)
{
    const struct failure failure = {.operation = operation, .err = err};

    task->verdict = VERDICT_DONE; /* which any failure outranks */
    task_judge_failure(task, &failure);
}

void task_share_fate(struct task *task, const struct task *fate)
{
    const struct task own = *task;

    *task = *fate;
    task->job = own.job;
    task->reply = own.reply;
}

static int64_t entry_unix_ms(const struct job *job)
{
    char entry[24] = {0};
    const size_t bytes = job->entry.bytes < sizeof entry - 1 ? job->entry.bytes : sizeof entry - 1;

    if (bytes > 0) {
        memcpy(entry, job->entry.data, bytes);
    }
    return strtoll(entry, NULL, 10);
}

int64_t task_tried_unix_ms(const struct job *job)
{
    if (job->options.parked.tried_unix_ms > 0) {
        return job->options.parked.tried_unix_ms;
    }
    return job->attempt > 0 ? entry_unix_ms(job) : 0; /* it came back after that try */
}

int64_t task_since_unix_ms(const struct job *job)
{
    return job->options.since_unix_ms > 0 ? job->options.since_unix_ms : entry_unix_ms(job);
}

int64_t task_enqueued_unix_ms(const struct job *job, int64_t now_unix_ms)
{
    static const int64_t day_ms = INT64_C(24) * 60 * 60 * 1000;
    const int64_t then_unix_ms = task_since_unix_ms(job);
    const bool is_likely =
        then_unix_ms < now_unix_ms + day_ms && then_unix_ms > now_unix_ms - 366 * day_ms;

    return is_likely ? then_unix_ms : now_unix_ms;
}

static int64_t larger(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

static int64_t smaller(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

/* Twice as long with each try, half of it at random. What cannot be the text's fault is not made to
 * wait longer than a breaker would. */
static int64_t growing_ms(const struct task *task, const struct park_policy *policy,
                          struct retry_random *random)
{
    const int64_t most =
        task->may_be_text ? policy->max_ms : smaller(policy->max_ms, policy->pause_ms);
    int64_t wait_ms = policy->base_ms;

    for (int64_t i = 0; i < task->job->options.parked.tries && wait_ms < most; i++) {
        wait_ms = wait_ms > most / 2 ? most : wait_ms * 2;
    }
    wait_ms = smaller(wait_ms, most);
    return wait_ms / 2 + (int64_t)(retry_random_next(random) % (uint64_t)(wait_ms / 2 + 1));
}

int64_t task_park_ms(const struct task *task, int64_t paused_ms, const struct park_policy *policy,
                     struct retry_random *random)
{
    const int64_t until_ms = larger(paused_ms, task->wait_ms);
    int64_t wait_ms = task->tried ? growing_ms(task, policy, random) : 0;

    if (until_ms > 0 || !task->tried) {
        const uint64_t spread_ms = (uint64_t)(until_ms / 4 + SPREAD_MS);
        wait_ms = larger(wait_ms, until_ms + (int64_t)(retry_random_next(random) % spread_ms));
    }
    return wait_ms;
}

bool task_is_over(const struct task *task, int64_t now_unix_ms, int64_t ttl_ms)
{
    const int64_t since_unix_ms = task_since_unix_ms(task->job);

    return since_unix_ms > 0 && now_unix_ms - since_unix_ms > ttl_ms;
}
