/* context/asking.h - what stands around every call of an upstream: leave before it, the report
 * after it, and what becomes of the jobs that needed it.
 *
 *     size_t allowed = asking_allow(ctx, OPERATION_QUERY, count);  // the rest: asking_park
 *     status = chroma_query(...);
 *     failed = asking_report_chroma(ctx, OPERATION_QUERY, status, &err);
 *     if (status != STATUS_OK) asking_judge_failure(task, failed, &err);
 *
 * or, where one request is all there is, in one:
 *
 *     if (asking_get(ctx, &select, &ctx->arena, &hits, &asked) != STATUS_OK) {
 *         asking_judge(task, &asked);
 *     }
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

/* How a call ended that asks for leave by itself. */
struct asked {
    enum operation operation; /* what failed */
    bool tried;               /* false: there was no leave, and nothing was asked */
    struct error err;
};

/* Reads what is selected, deletes documents: leave for one, the call, the report. UNAVAILABLE where
 * there is no leave. A collection that is not there holds nothing. */
enum status asking_get(struct context *ctx, const struct chroma_select *select, struct arena *arena,
                       struct chroma_hits *hits, struct asked *asked) MUSTCHECK;
enum status asking_delete(struct context *ctx, const char *domain, const struct slice *ids,
                          size_t count, struct asked *asked) MUSTCHECK;

/* Judges one task by such a call that failed: it waits. */
void asking_judge(struct task *task, const struct asked *asked);

/* Judges one task by a call that failed for all that were in it, or in Redis: it waits. */
void asking_judge_failure(struct task *task, enum operation operation, const struct error *err);

/* Judges a task PARK: the upstream's breaker is open or ramping up, or it wants to be left alone.
 */
void asking_park(struct task *task, enum operation operation);

#endif
