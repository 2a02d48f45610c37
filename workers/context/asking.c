#include "context/asking.h"

#include <stdio.h>

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

void asking_park(struct task *task, enum operation operation)
{
    char text[80];

    snprintf(text, sizeof text, "%s %s is paused by its circuit breaker",
             operation_upstream(operation), operation_name(operation));
    task_hold_back(task, operation, 0, text);
}
