/* handlers/outcomes.h - what became of the tasks of a batch, for the learning store: with
 * STILLHOUSE_RECORD=distill each distill job, rejected ones included, leaves a record of the kind
 * outcome.
 *
 *     outcomes_leave(ctx, outcomes, count);
 *
 * It is enqueued before the job is finished, since two queues are two hash tags and no single step
 * can hold both, and under an id and with an at_ms that are made of the job's alone: a crash
 * between the two repeats both, and the same part twice is the same row.
 */
#ifndef STILLHOUSE_HANDLERS_OUTCOMES_H
#define STILLHOUSE_HANDLERS_OUTCOMES_H

#include "context/context.h"
#include "rules/task.h"

struct outcome {
    struct task *task;
    const struct distill_body *body;
    int64_t at_unix_ms; /* the same whenever the job is done again */
};

/* Leaves those of the tasks that end now: DONE or REJECT. Where Redis does not take them their
 * tasks are parked, and where the queue of records is full they are left out, with a warning: what
 * is learnt from a task matters more. */
void outcomes_leave(struct context *ctx, const struct outcome *outcomes, size_t count);

#endif
