/* commit.h - the one switch: what a verdict does to a job in the queue.
 *
 * Runs in the lane's thread, on the lane's connection. A step whose outcome is unknown is repeated
 * a few times, one that was refused once, when the function library stands (FUNCTION FLUSH took it:
 * it is loaded again). What cannot be committed (Redis away, out of memory for a retry) stays
 * pending and is taken over later: nothing is lost, and effects are idempotent.
 */
#ifndef STILLHOUSE_WORKERS_COMMIT_H
#define STILLHOUSE_WORKERS_COMMIT_H

#include "handler.h"
#include "queue.h"
#include "tools.h"

struct commit_target {
    const struct queue *queue;
    const char *consumer;
    const char *worker_id;
};

/* Acts on the verdicts of `count` tasks and counts what moved. */
void commit_tasks(struct lane_tools *tools, const struct commit_target *target,
                  const struct task *tasks, size_t count);

#endif
