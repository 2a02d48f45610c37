#include "redis/pipeline.h"

/* No more answers come. This is what is told, whatever was refused before. */
static void break_off(struct redis_pipeline *pipeline, const struct error *err)
{
    pipeline->error = *err;
    pipeline->broken = true;
    redis_conn_abandon(pipeline->conn);
}

void redis_pipeline_add(struct redis_pipeline *pipeline, const struct redis_args *args)
{
    struct error err; /* written by whoever fails */

    if (pipeline->broken) {
        pipeline->asked++;
        return;
    }
    if (pipeline->asked == 0) {
        redis_conn_abandon(pipeline->conn); /* answers that nobody collected are not these */
    }
    pipeline->asked++;
    if (redis_conn_append(pipeline->conn, args, &err) != STATUS_OK) {
        break_off(pipeline, &err);
    }
}

void redis_pipelinef(struct redis_pipeline *pipeline, const char *format, ...)
{
    va_list values;

    redis_args_reset(&pipeline->args);
    va_start(values, format);
    redis_args_vformat(&pipeline->args, format, values);
    va_end(values);
    redis_pipeline_add(pipeline, &pipeline->args);
}

enum status redis_pipeline_next(struct redis_pipeline *pipeline, const redisReply **reply)
{
    struct error err; /* written by whoever fails */

    redis_reply_free(pipeline->reply);
    pipeline->reply = NULL;
    *reply = NULL;
    if (pipeline->asked > 0) {
        pipeline->asked--;
    }
    if (pipeline->broken) {
        return pipeline->error.status;
    }
    if (redis_conn_collect(pipeline->conn, &pipeline->reply, &err) != STATUS_OK) {
        break_off(pipeline, &err);
        return err.status;
    }
    const enum status status =
        pipeline->takes_errors ? STATUS_OK : redis_reply_status(pipeline->reply, &err);
    if (status != STATUS_OK) {
        if (pipeline->error.status == STATUS_OK) {
            pipeline->error = err;
        }
        return status;
    }
    *reply = pipeline->reply;
    return STATUS_OK;
}

enum status redis_pipeline_end(struct redis_pipeline *pipeline, struct error *err)
{
    const redisReply *ignored = NULL;

    while (pipeline->asked > 0) {
        (void)redis_pipeline_next(pipeline, &ignored);
    }
    redis_reply_free(pipeline->reply);
    redis_args_free(&pipeline->args);
    const enum status status = pipeline->error.status;
    if (status != STATUS_OK && err != NULL) {
        *err = pipeline->error;
    }
    *pipeline =
        (struct redis_pipeline){.conn = pipeline->conn, .takes_errors = pipeline->takes_errors};
    return status;
}
