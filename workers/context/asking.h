/* context/asking.h - what stands around every call of an upstream: leave before it, the report
 * after it, and what becomes of the jobs that needed it.
 *
 *     size_t allowed = asking_allow(ctx, OPERATION_QUERY, count);  // the rest: asking_park
 *     status = chroma_query(...);
 *     failed = asking_report_chroma(ctx, OPERATION_QUERY, status, &err);
 *     if (status != STATUS_OK) asking_judge_failure(task, failed, &err);
 *
 * Both sides also exchange what the fleet knows (upstream_keys.h). Runs in the lane's thread.
 */
#ifndef STILLHOUSE_CONTEXT_ASKING_H
#define STILLHOUSE_CONTEXT_ASKING_H

#include "context/context.h"
#include "rules/task.h"

/* How many of `wanted` jobs may go to the upstream now. Each that may must be reported. */
size_t asking_allow(struct context *ctx, enum operation operation, size_t wanted) MUSTCHECK;

/* How an allowed call ended; `err` may be NULL with STATUS_OK. */
void asking_report(struct context *ctx, enum operation operation, enum status status,
                   const struct error *err);

/* The same for a call of the lane's Chroma client: what its collection answered is told apart.
 * Returns whose failure it was, where it was one. */
enum operation asking_report_chroma(struct context *ctx, enum operation operation,
                                    enum status status, const struct error *err);

/* Judges one task by a call that failed for all that were in it, or in Redis: it waits. */
void asking_judge_failure(struct task *task, enum operation operation, const struct error *err);

/* Judges a task PARK: the upstream's breaker is open or ramping up, or it wants to be left alone.
 */
void asking_park(struct task *task, enum operation operation);

#endif
