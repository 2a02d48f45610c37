/* handlers/outcomes.h - what became of the tasks that distill jobs are of, for the learning store:
 * with STILLHOUSE_RECORD=distill each distill job leaves a record of the kind outcome, however it
 * ends: done, rejected, expired, too large, or out of attempts.
 *
 *     outcomes_leave(ctx, ending, count);    // as the handler's before_end
 *
 * It says what the job's body says of the task, not what became of the job: that a lesson could not
 * be kept does not make the task a failure. So it is made of the job alone, as are its id and its
 * at_ms, and stands before the job is ended, since two queues are two hash tags and no single step
 * can hold both: a crash between the two repeats both, and the same part twice is the same row.
 *
 * None is left by a body that cannot be read, as nobody knows whose it is, nor by jobs that no
 * worker ends: those that killed every worker that took them, and those that an operator purged.
 */
#ifndef STILLHOUSE_HANDLERS_OUTCOMES_H
#define STILLHOUSE_HANDLERS_OUTCOMES_H

#include "context/context.h"
#include "rules/task.h"

/* Of distill tasks that are about to end; nothing where the setting does not ask for it. Where
 * Redis does not take their outcomes the tasks are parked, and where the queue of records is full
 * those are left out, with a warning: what is learnt from a task matters more. */
void outcomes_leave(struct context *ctx, struct task *const *tasks, size_t count);

#endif
