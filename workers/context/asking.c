#include "context/asking.h"

#include "context/upstream_keys.h"

size_t asking_allow(struct context *ctx, enum operation operation, size_t wanted)
{
    upstream_keys_sync(ctx, operation);
    const size_t allowed = upstreams_allow(ctx->upstreams, operation, wanted);
    upstream_keys_tell(ctx, operation);
    return allowed;
}

void asking_report(struct context *ctx, enum operation operation, enum status status,
                   const struct error *err)
{
    upstreams_report(ctx->upstreams, operation, status, err);
    upstream_keys_tell(ctx, operation);
}

/* What was answered to the look-up of one collection is no word about the others: it does not count
 * against the operation. No answer at all does. */
enum operation asking_report_chroma(struct context *ctx, enum operation operation,
                                    enum status status, const struct error *err)
{
    const enum chroma_look look = chroma_take_look(context_chroma(ctx));

    if (status == STATUS_NOT_FOUND && operation != OPERATION_WRITE) {
        status = STATUS_OK; /* a domain that nothing was learnt in yet */
    }
    if (status != STATUS_OK && look == CHROMA_LOOK_FAILED && status != STATUS_UNREACHABLE &&
        status != STATUS_TIMEOUT) {
        asking_report(ctx, OPERATION_COLLECTION, status, err);
        upstreams_cancel(ctx->upstreams, operation);
        return OPERATION_COLLECTION;
    }
    if (look == CHROMA_LOOK_PASSED) {
        asking_report(ctx, OPERATION_COLLECTION, STATUS_OK, NULL);
    }
    asking_report(ctx, operation, status, err);
    return operation;
}

void asking_judge_failure(struct task *task, enum operation operation, const struct error *err)
{
    const struct failure failure = {.operation = operation, .err = err};

    task_judge_failure(task, &failure);
}

static enum status no_leave(enum operation operation, struct asked *asked)
{
    *asked = (struct asked){.operation = operation};
    return error_set(&asked->err, STATUS_UNAVAILABLE, "%s %s is paused by its circuit breaker",
                     operation_upstream(operation), operation_name(operation));
}

static enum status end(struct context *ctx, enum operation operation, enum status status,
                       struct asked *asked)
{
    context_progress(ctx);
    status = status == STATUS_NOT_FOUND ? STATUS_OK : status;
    if (status == STATUS_OK) {
        asked->err = (struct error){0};
    }
    asked->tried = true;
    asked->operation = asking_report_chroma(ctx, operation, status, &asked->err);
    return status;
}

enum status asking_get(struct context *ctx, const struct chroma_select *select, struct arena *arena,
                       struct chroma_hits *hits, struct asked *asked)
{
    if (asking_allow(ctx, OPERATION_GET, 1) == 0) {
        return no_leave(OPERATION_GET, asked);
    }
    *asked = (struct asked){0};
    context_phase(ctx, PHASE_QUERY);
    return end(ctx, OPERATION_GET,
               chroma_get(context_chroma(ctx), select, arena, hits, &asked->err), asked);
}

enum status asking_delete(struct context *ctx, const char *domain, const struct slice *ids,
                          size_t count, struct asked *asked)
{
    if (count == 0) {
        return STATUS_OK;
    }
    if (asking_allow(ctx, OPERATION_WRITE, 1) == 0) {
        return no_leave(OPERATION_WRITE, asked);
    }
    *asked = (struct asked){0};
    return end(ctx, OPERATION_WRITE,
               chroma_delete(context_chroma(ctx), domain, ids, count, &asked->err), asked);
}

void asking_judge(struct task *task, const struct asked *asked)
{
    if (asked->tried) {
        asking_judge_failure(task, asked->operation, &asked->err);
    } else {
        task_hold_back(task, asked->operation, asked->err.retry_after_ms, asked->err.text);
    }
}

void asking_park(struct task *task, enum operation operation)
{
    struct asked asked;

    (void)no_leave(operation, &asked);
    asking_judge(task, &asked);
}
