/* redis/pipeline.h - several commands, one way there and back, and nothing left over for whoever
 * has the connection next.
 *
 *     struct redis_pipeline pipeline = {.conn = conn};
 *     redis_pipelinef(&pipeline, "ZADD %s %jd %s", key, score, member);
 *     redis_pipelinef(&pipeline, "PEXPIRE %s %jd", key, ttl_ms);
 *     if (redis_pipeline_next(&pipeline, &reply) == STATUS_OK) {
 *         ...                                        // `reply` is the pipeline's until the next
 *     }
 *     status = redis_pipeline_end(&pipeline, &err);  // with the answers that were not looked at
 *
 * The first failure is kept and told at the end. An error reply is a failure of its command alone;
 * what breaks the connection ends the pipeline, and is what is told. Whichever way it ends, every
 * answer was read or the connection is closed.
 */
#ifndef STILLHOUSE_REDIS_PIPELINE_H
#define STILLHOUSE_REDIS_PIPELINE_H

#include "redis/conn.h"

struct redis_pipeline {
    struct redis_conn *conn; /* borrowed; no other call on it until the end */
    bool takes_errors;       /* an error is an answer as others are, and no failure */
    struct error error;      /* the first failure; .status is STATUS_OK where there is none */
    size_t asked;            /* commands that are not answered yet */
    bool broken;             /* no more answers come */
    redisReply *reply;       /* the last answer */
    struct redis_args args;  /* room for the words of one command after the other */
};

void redis_pipeline_add(struct redis_pipeline *pipeline, const struct redis_args *args);
void redis_pipelinef(struct redis_pipeline *pipeline, const char *format, ...) PRINTF_LIKE(2, 3);

/* The next answer. Not STATUS_OK: *reply is NULL; it was an error, or none came. */
enum status redis_pipeline_next(struct redis_pipeline *pipeline, const redisReply **reply);

/* Reads and judges what is left, and returns the first failure. The pipeline may begin anew. */
enum status redis_pipeline_end(struct redis_pipeline *pipeline, struct error *err) MUSTCHECK;

#endif
