/* The black box of jobs that were taken over: one short-lived key a job, `sh:{Q}:phase:<id>`. */
#include <stdio.h>
#include <string.h>

#include "queue/internal.h"

enum { PHASE_TTL_MS = 60 * 60 * 1000 };

static void name_key(const struct queue *queue, const struct job *job, char *out, size_t size)
{
    snprintf(out, size, "%s:phase:%.*s", queue->base, (int)job->id.bytes, job->id.data);
}

/* One command a job, in one pipeline: SET with a value, UNLINK without. */
static enum status note_all(struct redis_conn *conn, const struct queue *queue, const char *value,
                            struct queue_jobs jobs, struct error *err)
{
    struct redis_pipeline pipeline = {.conn = conn};
    char key[QUEUE_BASE_BYTES + TEXT_ID_MAX + 16];

    for (size_t i = 0; i < jobs.count; i++) {
        name_key(queue, jobs.jobs[i], key, sizeof key);
        if (value != NULL) {
            redis_pipelinef(&pipeline, "SET %s %s PX %d", key, value, PHASE_TTL_MS);
        } else {
            redis_pipelinef(&pipeline, "UNLINK %s", key);
        }
    }
    return redis_pipeline_end(&pipeline, err);
}

enum status queue_write_phase(struct redis_conn *conn, const struct queue_holder *holder,
                              const char *phase, struct queue_jobs jobs, struct error *err)
{
    char value[160];

    snprintf(value, sizeof value, "%s %s", phase, holder->consumer);
    return note_all(conn, holder->queue, value, jobs, err);
}

enum status queue_erase_phase(struct redis_conn *conn, const struct queue *queue,
                              struct queue_jobs jobs, struct error *err)
{
    return note_all(conn, queue, NULL, jobs, err);
}
