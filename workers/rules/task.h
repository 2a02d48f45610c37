/* rules/task.h - a job in a handler's hands, and how it is judged. Pure: no clock, socket, lock or
 * log.
 *
 * Who is to blame for a failure is read off what else happens, not off a status code. What the
 * whole fleet could meet (no answer, "not now", a log-in page, half an answer, a refused write,
 * another model's collection) is no job's fault in whatever form it comes: the job is parked and no
 * attempt is burnt. It is the job's own fault only when its text was sent alone and another text
 * passed by the same way since its last try.
 */
#ifndef STILLHOUSE_RULES_TASK_H
#define STILLHOUSE_RULES_TASK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"
#include "jobs/job.h"
#include "jobs/operation.h"
#include "rules/retry.h"

enum verdict {
    VERDICT_DONE,   /* the effect stands: acknowledge, delete, count done, push the reply */
    VERDICT_REJECT, /* will never work: dead at once, reason `rejected` */
    VERDICT_RETRY,  /* its own failure, which may pass: one attempt is burnt; delayed with backoff,
                       dead after the last */
    VERDICT_PARK,   /* an upstream's failure: delayed, no attempt burnt */
    VERDICT_MALFORMED, /* cannot be decoded: dead at once, reason `malformed` */
    VERDICT_EXPIRED,   /* its deadline has passed: counted as expired, not run */
    VERDICT_OVERSIZE,  /* body over STILLHOUSE_MAX_BODY: dead at once, reason `oversize` */
    VERDICT_EXHAUSTED, /* was RETRY or PARK, and no attempt or no time is left: dead, reason
                          `retries_exhausted`; given by process/settle.h alone */
};

/* One job in a handler's hands. */
struct task {
    const struct job *job;
    enum verdict verdict;
    char error[ERROR_TEXT_BYTES]; /* for RETRY, PARK, REJECT, MALFORMED: what happened */
    int64_t wait_ms;              /* for RETRY and PARK: the wait that was asked for; 0 = none */
    enum operation operation;     /* for PARK: what it waits for */
    bool tried;                   /* for PARK: it was asked and failed, not held back beforehand */
    bool may_be_text;             /* for PARK: what was sent may be the reason */
    struct slice reply;           /* for DONE: the result, in the batch's arena; {NULL,0} = none */
};

/* Fills a verdict with its text in one line. */
void task_judge(struct task *task, enum verdict verdict, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* A call that failed, as far as one text of it is concerned. */
struct failure {
    enum operation operation;
    const struct error *err;
    struct slice document; /* names it in the error; {NULL, 0} = unnamed */
    bool alone;            /* nothing else was in the request */
    bool others_pass;      /* another text passed by the same way since its last try */
};

/* Could this be the fault of what was sent? A refused connection, 401, 429, 503 and their like
 * never are; 400, 413, 422, 5xx, a closed connection, silence, an answer that is none may be. */
bool failure_may_be_text(const struct error *err);

/* Of a try that followed on a clear answer: is the server away by now, so that it says nothing of
 * the text? Silence and a closed connection count too. */
bool failure_is_outage(const struct error *err);

/* The caller's own check refused the text before anything was sent. */
bool failure_is_own_check(const struct error *err);

/* PARK, RETRY or REJECT. */
enum verdict failure_verdict(const struct failure *failure);

/* Judges a task by a failure. Where several documents share a task the gravest stands that loses
 * nothing: PARK before RETRY before REJECT. */
void task_judge_failure(struct task *task, const struct failure *failure);

/* Judges a task PARK before anything was asked: `operation` is paused, or others have their turn.
 */
void task_hold_back(struct task *task, enum operation operation, int64_t wait_ms, const char *text);

/* Takes an end back that cannot be prepared, whichever it was: PARK for `operation`, which failed.
 */
void task_take_back(struct task *task, enum operation operation, const struct error *err);

/* The task ends as `fate` does: another job writes the same document in its place. */
void task_share_fate(struct task *task, const struct task *fate);

/* When the job was tried last before this time, Unix ms; 0 = never. */
int64_t task_tried_unix_ms(const struct job *job);

/* When the job was first enqueued, Unix ms. */
int64_t task_since_unix_ms(const struct job *job);

/* The same for what is kept: doing the job again writes the same time. Whoever may write to Redis
 * may have put any number there: what lies ahead, or more than a year back, is no such time, and
 * `now_unix_ms` stands for it (sh_enqueue has the same rule). */
int64_t task_enqueued_unix_ms(const struct job *job, int64_t now_unix_ms);

struct park_policy {
    int64_t base_ms;
    int64_t max_ms;
    int64_t pause_ms; /* of the breaker */
};

/* How long a parked task waits: at least as long as its operation is paused (`paused_ms`) and as
 * was asked for, jitter on top; one that was tried waits twice as long each time. */
int64_t task_park_ms(const struct task *task, int64_t paused_ms, const struct park_policy *policy,
                     struct retry_random *random);

/* An experience that is not stored by its own end is not worth waiting for any longer. */
bool task_is_over(const struct task *task, int64_t now_unix_ms, int64_t ttl_ms);

#endif
