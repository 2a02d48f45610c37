/* record - what an execution taught, into the learning store.
 *
 * Happy path: decode all jobs of the batch, put their parts into the store at once (with those of
 * other lanes: recorder/recorder.h), tell those who follow, done. Failure modes: bad body ->
 * MALFORMED; a time that has not come -> REJECT; data that the store refuses -> that part alone is
 * REJECT; no store now -> PARK. A batch that is repeated leaves the same rows, and events with the
 * same job ids.
 */
#include "base/log.h"
#include "context/asking.h"
#include "handlers/handler.h"
#include "recorder/descriptions.h"
#include "recorder/events.h"
#include "recorder/recorder.h"

/* The parts of a batch, and whose they are. Arrays in the arena. */
struct record_batch {
    struct context *ctx;
    struct part *parts;
    struct task **owners;
    struct error *refused;
    size_t count;
};

/* Time by Redis' clock. What is thrown away for it is asked for twice. False: the task is judged.
 */
static bool is_past(struct context *ctx, int64_t at_ms, struct task *task)
{
    int64_t now_unix_ms = context_now_unix_ms(ctx);
    struct error err = {0};

    if (at_ms - now_unix_ms <= STORE_AHEAD_MS) {
        return true;
    }
    if (context_ask_time(ctx, &now_unix_ms, &err) != STATUS_OK) {
        asking_judge_failure(task, OPERATION_REDIS, &err);
        return false;
    }
    if (at_ms - now_unix_ms <= STORE_AHEAD_MS) {
        return true;
    }
    task_judge(task, VERDICT_REJECT,
               "field \"at_ms\" is %lld, expected at most a day after now, which is %lld",
               (long long)at_ms, (long long)now_unix_ms);
    return false;
}

static void decode(struct record_batch *batch, struct task *task)
{
    const struct job *job = task->job;
    struct part *part = &batch->parts[batch->count];
    struct error err = {0};

    if (bodies_accept_record(job->body.data, job->body.bytes, &batch->ctx->arena, &part->body,
                             &err) != STATUS_OK) {
        task_judge(task, VERDICT_MALFORMED, "%s", err.text);
        return;
    }
    part->domain = job->domain;
    part->job_id = job->id;
    part->at_ms = part->body.at_ms.given ? part->body.at_ms.value : task_since_unix_ms(job);
    if (is_past(batch->ctx, part->at_ms, task)) {
        batch->owners[batch->count++] = task;
    }
}

static void judge_all(struct record_batch *batch, enum operation operation, const struct error *err)
{
    for (size_t i = 0; i < batch->count; i++) {
        asking_judge_failure(batch->owners[i], operation, err);
    }
}

/* True when Redis may take them the next time: then the batch is repeated, so that whoever follows
 * misses none. What Redis refuses, it would again. */
static bool is_untold(struct record_batch *batch, struct error *err)
{
    long long suppressed = 0;
    const enum status status = events_send(context_redis(batch->ctx), batch->ctx->queue,
                                           batch->parts, batch->refused, batch->count, err);

    if (status_may_pass(status)) {
        return true;
    }
    if (status != STATUS_OK && log_kind_allow("events", &suppressed)) {
        log_warning("queue \"%s\": events are not told: %s (%lld more like it)",
                    batch->ctx->queue->name, err->text, suppressed);
    }
    return false;
}

static void put(struct record_batch *batch)
{
    struct error err = {0};

    const enum status status =
        recorder_put(batch->ctx, batch->parts, batch->count, batch->refused, &err);
    asking_report(batch->ctx, OPERATION_LEARN, status, &err);
    if (status != STATUS_OK) {
        judge_all(batch, OPERATION_LEARN, &err);
        return;
    }
    if (is_untold(batch, &err) || descriptions_order(batch->ctx, batch->parts, batch->refused,
                                                     batch->count, &err) != STATUS_OK) {
        judge_all(batch, OPERATION_REDIS, &err);
        return;
    }
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->refused[i].status != STATUS_OK) {
            task_judge(batch->owners[i], VERDICT_REJECT, "%s", batch->refused[i].text);
        }
    }
}

static void record_process(struct context *ctx, struct task *tasks, size_t count)
{
    struct record_batch batch = {
        .ctx = ctx,
        .parts = arena_array(&ctx->arena, count, sizeof *batch.parts),
        .owners = arena_array(&ctx->arena, count, sizeof(struct task *)),
        .refused = arena_array(&ctx->arena, count, sizeof *batch.refused),
    };

    for (size_t i = 0; i < count; i++) {
        tasks[i].verdict = VERDICT_DONE;
        decode(&batch, &tasks[i]);
    }
    if (batch.count == 0) {
        return;
    }
    const size_t allowed = asking_allow(ctx, OPERATION_LEARN, batch.count);
    for (size_t i = allowed; i < batch.count; i++) {
        asking_park(batch.owners[i], OPERATION_LEARN);
    }
    batch.count = allowed;
    if (allowed > 0) {
        put(&batch);
    }
}

const struct handler handler_record = {.process = record_process};
