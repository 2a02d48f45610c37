/* handler.h - what a kind of work is: handlers classify, the lane's one switch acts.
 *
 * A handler is given a batch of tasks and says for each how it ended. It reads and writes upstreams
 * through the lane's own clients (struct lane_tools) and knows nothing of streams, acknowledging or
 * retries.
 */
#ifndef STILLHOUSE_WORKERS_HANDLER_H
#define STILLHOUSE_WORKERS_HANDLER_H

#include <stdint.h>

#include "arena.h"
#include "job.h"
#include "status.h"

enum verdict {
    VERDICT_DONE,   /* the effect stands: acknowledge, delete, count done, push the reply */
    VERDICT_RETRY,  /* transient failure: one attempt is burnt; delayed with backoff, dead after the
                       last */
    VERDICT_PARK,   /* the upstream is down: delayed, no attempt burnt */
    VERDICT_REJECT, /* will never work: dead at once, reason `rejected` */
    VERDICT_MALFORMED, /* cannot be decoded: dead at once, reason `malformed` */
    VERDICT_EXPIRED,   /* its deadline has passed: counted as expired, not run */
    VERDICT_OVERSIZE,  /* body over STILLHOUSE_MAX_BODY: dead at once, reason `oversize` */
};

/* Whose fault a RETRY is. One that is an upstream's burns no attempt while that upstream is down:
 * the lane turns it into a PARK when the breaker is not closed, or at once where it is Redis
 * itself. */
enum blame { BLAME_JOB, BLAME_REDIS, BLAME_CHROMA, BLAME_EMBEDDER };

/* One job in a handler's hands. */
struct task {
    const struct job *job;
    enum verdict verdict;
    enum blame blame;             /* for RETRY */
    char error[ERROR_TEXT_BYTES]; /* for RETRY, REJECT, MALFORMED: what happened */
    int64_t
        wait_ms; /* for RETRY: the wait the server asked for; for PARK: until it may be better */
    struct slice reply; /* for DONE: the result, in the batch's arena; {NULL,0} = none */
};

struct lane_tools; /* tools.h */

struct handler {
    const char *name; /* the queue it serves */

    /* Judges every task of the batch. Runs in the lane's thread; memory from tools->arena lives
     * until the batch is accounted for. */
    void (*process)(struct lane_tools *tools, struct task *tasks, size_t count);
};

extern const struct handler handler_enrich;
extern const struct handler handler_distill;
extern const struct handler handler_index;
extern const struct handler handler_echo;

/* Fills a verdict with its text in one line. */
void task_judge(struct task *task, enum verdict verdict, const char *fmt, ...) PRINTF_LIKE(3, 4);

#endif
