#include "handlers/outcomes.h"

#include "base/log.h"
#include "base/must.h"
#include "base/text.h"
#include "queue/enqueue.h"
#include "queue/take.h"
#include "rules/metadata.h"

enum { CALL_JOBS = 100, QUALITY_SCALE = 100, NAME_BYTES = 256 };

/* A lesson's names are of any length, a record's are not (kinds.def). */
static struct slice shortened(struct slice name)
{
    return (struct slice){name.data, text_utf8_cut(name.data, name.bytes, NAME_BYTES)};
}

/* What a distill job's metadata may say of its execution, and the body of an outcome has a field
 * for. */
static struct slice text_in(const struct metadata *metadata, const char *key)
{
    const struct meta_value *value = metadata_find(metadata->pairs, metadata->count, key);

    return value != NULL && value->type == META_STRING ? shortened(value->string)
                                                       : (struct slice){NULL, 0};
}

/* What is left of a job. */
struct outcome {
    struct task *task;
    struct distill_body body;
};

static struct slice encode(struct context *ctx, const struct outcome *outcome)
{
    const struct distill_body *task = &outcome->body;
    const struct metadata *metadata = &task->metadata;
    struct record_body body = {
        .kind = slice_of("outcome"),
        .task_id = task->task_id,
        .at_ms = {task_enqueued_unix_ms(outcome->task->job, context_now_unix_ms(ctx)), true},
        .user = text_in(metadata, "user"),
        .task_type = text_in(metadata, "task_type"),
        .model_tier = text_in(metadata, "model_tier"),
        .model = shortened(task->model),
        .success = task->success,
        .quality_score = {task->quality.value * QUALITY_SCALE, task->quality.given},
        .arm = text_in(metadata, "arm"),
        .prompt_id = text_in(metadata, "prompt_id"),
    };
    struct strbuf bytes = {0};

    bodies_encode_record(&body, &bytes);
    return context_keep(ctx, &bytes);
}

/* Up to CALL_JOBS of them in one call. */
static void leave_some(struct context *ctx, const struct queue *queue,
                       const struct outcome *outcomes, size_t count)
{
    struct queue_item *items = arena_array(&ctx->arena, count, sizeof *items);
    struct queue_answer *answers = arena_array(&ctx->arena, count, sizeof *answers);
    struct error err = {0};
    long long suppressed = 0;
    size_t full = 0;

    for (size_t i = 0; i < count; i++) {
        const struct job *job = outcomes[i].task->job;
        items[i] = (struct queue_item){.id = context_derive_id(ctx, job->id, ".o"),
                                       .domain = job->domain,
                                       .options = slice_of("priority=low"),
                                       .body = encode(ctx, &outcomes[i])};
    }
    const struct queue_items given = {queue, ctx->settings->max_backlog, items, count};
    if (queue_enqueue(context_redis(ctx), &given, answers, &err) != STATUS_OK) {
        for (size_t i = 0; i < count; i++) {
            task_take_back(outcomes[i].task, OPERATION_REDIS, &err);
        }
        return;
    }
    for (size_t i = 0; i < count; i++) {
        full += answers[i].full;
    }
    if (full > 0 && log_kind_allow("outcomes left out", &suppressed)) {
        log_warning("queue \"%s\" is full: %zu outcomes are left out (%lld more lines)",
                    queue->name, full, suppressed);
    }
}

/* Those whose body can be read; what cannot has no task to tell of. */
static size_t read_bodies(struct context *ctx, struct task *const *tasks, size_t count,
                          struct outcome *outcomes)
{
    size_t found = 0;

    for (size_t i = 0; i < count; i++) {
        const struct job *job = tasks[i]->job;
        struct outcome *outcome = &outcomes[found];
        struct error err = {0};
        *outcome = (struct outcome){.task = tasks[i]};
        found += queue_job_check(job, &err) == STATUS_OK &&
                 bodies_accept_distill(job->body.data, job->body.bytes, &ctx->arena, &outcome->body,
                                       &err) == STATUS_OK;
    }
    return found;
}

void outcomes_leave(struct context *ctx, struct task *const *tasks, size_t count)
{
    struct queue queue;
    struct error err = {0};

    if (!ctx->settings->record_distill) {
        return;
    }
    struct outcome *outcomes = arena_array(&ctx->arena, count, sizeof *outcomes);
    const size_t found = read_bodies(ctx, tasks, count, outcomes);
    if (queue_init(&queue, ctx->settings->prefix, job_kinds[KIND_record].name, &err) != STATUS_OK) {
        log_error("%s", err.text); /* the worker's own queues have this prefix too */
        return;
    }
    for (size_t from = 0; from < found; from += CALL_JOBS) {
        leave_some(ctx, &queue, outcomes + from,
                   found - from < CALL_JOBS ? found - from : CALL_JOBS);
    }
}
