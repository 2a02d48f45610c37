/* jobs/line_job.h - one line of JSON to one job, with the fields checked as a worker would
 * check them.
 *
 *     {"domain": "legal", "query": "notice period", "k": 3, "priority": "low", "delay": "5s"}
 *
 * Pure. One thread.
 */
#ifndef STILLHOUSE_JOBS_LINE_JOB_H
#define STILLHOUSE_JOBS_LINE_JOB_H

#include <stdint.h>

#include "base/arena.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "base/text.h"
#include "jobs/bodies.h"
#include "jobs/job.h"
#include "jobs/kinds.h"

/* What holds for a line that does not say otherwise. */
struct line_defaults {
    enum kind_id kind;
    const char *domain; /* NULL = each line must have one */
    enum job_priority priority;
    int64_t delay_ms;
    int64_t deadline_ms; /* from now; 0 = none */
    int64_t max_body_bytes;
};

struct line_job {
    char domain[TEXT_DOMAIN_MAX + 1];
    enum job_priority priority;
    int64_t delay_ms;
    int64_t deadline_ms;              /* from now; 0 = none */
    char unique[BODIES_UNIQUE_BYTES]; /* "" = none */
    size_t replaced;                  /* characters that no text can hold, U+FFFD now */
    size_t strangers;                 /* fields of the line that are none of a job of this queue */
    char stranger[48];                /* the first of them, for a message; "" */
    struct strbuf body;               /* both are reused from line to line: zero-initialise once, */
    struct strbuf repaired;           /* line_job_free at the end */
};

void line_job_free(struct line_job *job);

/* Half a surrogate pair, a NUL or a byte that is no UTF-8 costs a character, not the line. Whole
 * numbers of up to 64 bits stay exact. STATUS_INVALID names the field, what it was and what was
 * expected. `scratch` is reset. */
enum status line_job_decode(const struct line_defaults *defaults, struct slice line,
                            struct arena *scratch, struct line_job *out,
                            struct error *err) MUSTCHECK;

#endif
