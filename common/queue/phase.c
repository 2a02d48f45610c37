/* The black box of jobs that were taken over: one short-lived key a job, `sh:{Q}:phase:<id>`. */
#include <stdio.h>
#include <string.h>

#include "queue/internal.h"

enum { PHASE_TTL_MS = 60 * 60 * 1000 };

static void name_key(const struct queue *queue, const struct job *job, char *out, size_t size)
{
    snprintf(out, size, "%s:phase:%.*s", queue->base, (int)job->id.bytes, job->id.data);
}

static enum status collect_all(struct redis_conn *conn, size_t count, struct error *err)
{
    enum status worst = STATUS_OK;

    for (size_t i = 0; i < count && redis_conn_is_open(conn); i++) {
        redisReply *reply = NULL;
        enum status status = redis_conn_collect(conn, &reply, err);
        if (status == STATUS_OK) {
            status = redis_reply_status(reply, err);
        }
        redis_reply_free(reply);
        worst = worst == STATUS_OK ? status : worst;
    }
    return worst;
}

/* One command a job, in one pipeline: SET with a value, UNLINK without. */
static enum status note_all(struct redis_conn *conn, const struct queue *queue, const char *value,
                            const struct job *const *jobs, size_t count, struct error *err)
{
    char key[QUEUE_BASE_BYTES + TEXT_ID_MAX + 16];
    enum status status = STATUS_OK;
    size_t sent = 0;

    for (; sent < count && status == STATUS_OK; sent++) {
        struct redis_args args = {0};
        name_key(queue, jobs[sent], key, sizeof key);
        redis_args_str(&args, value != NULL ? "SET" : "UNLINK");
        redis_args_str(&args, key);
        if (value != NULL) {
            redis_args_str(&args, value);
            redis_args_str(&args, "PX");
            redis_args_int(&args, PHASE_TTL_MS);
        }
        status = redis_conn_append(conn, &args, err);
        redis_args_free(&args);
    }
    return status == STATUS_OK ? collect_all(conn, sent, err) : status;
}

enum status queue_write_phase(struct redis_conn *conn, const struct queue *queue,
                              const char *consumer, const char *phase,
                              const struct job *const *jobs, size_t count, struct error *err)
{
    char value[160];

    snprintf(value, sizeof value, "%s %s", phase, consumer);
    return note_all(conn, queue, value, jobs, count, err);
}

enum status queue_erase_phase(struct redis_conn *conn, const struct queue *queue,
                              const struct job *const *jobs, size_t count, struct error *err)
{
    return note_all(conn, queue, NULL, jobs, count, err);
}
