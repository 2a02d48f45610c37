/* cli/commands/enqueue.h - the two ways of `stillhouse enqueue`. */
#ifndef STILLHOUSE_CLI_COMMANDS_ENQUEUE_H
#define STILLHOUSE_CLI_COMMANDS_ENQUEUE_H

#include "cli/frame/cli.h"
#include "jobs/job.h"
#include "stillhouse.h"

/* What both take from the command line. */
struct enqueue_request {
    const char *queue;
    const char *domain; /* NULL = not given */
    enum job_priority priority;
    int64_t delay_ms;
    int64_t deadline_ms; /* from now; 0 = none */
    int64_t wait_ms;     /* 0 = no waiting */
};

static inline stillhouse_priority enqueue_priority(enum job_priority priority)
{
    static const stillhouse_priority priorities[JOB_PRIORITIES] = {
        [JOB_HIGH] = STILLHOUSE_HIGH, [JOB_NORMAL] = STILLHOUSE_NORMAL, [JOB_LOW] = STILLHOUSE_LOW};

    return priorities[priority];
}

int enqueue_one(const struct cli *cli, const struct enqueue_request *request);
int enqueue_lines(const struct cli *cli, const struct enqueue_request *request);

#endif
