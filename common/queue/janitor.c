#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/internal.h"

enum { CURSOR_BYTES = 48, PROMOTE_MAX = 1000, SUSPECT_AFTER = 2 /* as in queue.lua */ };

/* ---- takeovers ----------------------------------------------------------------------------- */

static bool is_taken(const redisReply *taken)
{
    return taken->type == REDIS_REPLY_ARRAY && taken->elements == 3 &&
           taken->element[0]->type == REDIS_REPLY_STRING &&
           taken->element[1]->type == REDIS_REPLY_INTEGER &&
           taken->element[2]->type == REDIS_REPLY_ARRAY;
}

/* {cursor, buried, {entry, deliveries, fields}, ...} */
static enum status parse_reclaimed(enum job_priority stream, const redisReply *reply,
                                   char cursor[CURSOR_BYTES], struct queue_batch *batch,
                                   size_t *buried, struct error *err)
{
    if (reply->elements < 2 || reply->element[0]->type != REDIS_REPLY_STRING ||
        (size_t)reply->element[0]->len >= CURSOR_BYTES ||
        reply->element[1]->type != REDIS_REPLY_INTEGER || reply->element[1]->integer < 0) {
        return queue_bad_shape("sh_reclaim", err);
    }
    for (size_t i = 2; i < reply->elements; i++) {
        const redisReply *taken = reply->element[i];
        if (!is_taken(taken)) {
            return queue_bad_shape("sh_reclaim", err);
        }
        const enum status status = queue_batch_add(
            batch, stream, taken->element[0], taken->element[2], taken->element[1]->integer, err);
        if (status != STATUS_OK) {
            return status;
        }
    }
    snprintf(cursor, CURSOR_BYTES, "%s", reply->element[0]->str);
    *buried = (size_t)reply->element[1]->integer;
    return STATUS_OK;
}

bool queue_is_suspect(const struct job *job, int64_t max_deliveries)
{
    const int64_t lower = max_deliveries - 1 < SUSPECT_AFTER ? max_deliveries - 1 : SUSPECT_AFTER;

    return job->deliveries > (lower < 1 ? 1 : lower);
}

enum status queue_reclaim(struct redis_conn *conn, const struct queue *queue,
                          const struct queue_takeover *takeover, char cursor[CURSOR_BYTES],
                          struct queue_batch *batch, size_t *buried, struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    *buried = 0;
    queue_args_start(&args, "sh_reclaim", queue->base);
    redis_args_int(&args, takeover->stream);
    redis_args_str(&args, takeover->consumer);
    redis_args_str(&args, takeover->worker);
    redis_args_int(&args, takeover->visibility_ms);
    redis_args_int(&args, takeover->max_deliveries);
    redis_args_int(&args, (int64_t)takeover->count);
    redis_args_str(&args, cursor);
    redis_args_int(&args, takeover->suspects);
    enum status status = queue_call(conn, &args, REDIS_REPLY_ARRAY, &reply, err);
    if (status != STATUS_OK) {
        return status;
    }

    const size_t before = batch->count;
    status = parse_reclaimed(takeover->stream, reply, cursor, batch, buried, err);
    if (status == STATUS_OK && batch->count > before) {
        status = queue_batch_own(batch, reply, err);
        if (status == STATUS_OK) {
            return STATUS_OK;
        }
    }
    if (status != STATUS_OK) {
        batch->count = before; /* they point into the reply; taken over again later */
    }
    redis_reply_free(reply);
    return status;
}

/* An entry's id begins with the ms when it was added. */
static bool is_old(const redisReply *entries, int64_t before_unix_ms)
{
    return entries->type == REDIS_REPLY_ARRAY && entries->elements > 0 &&
           entries->element[0]->type == REDIS_REPLY_ARRAY && entries->element[0]->elements > 0 &&
           entries->element[0]->element[0]->type == REDIS_REPLY_STRING &&
           strtoll(entries->element[0]->element[0]->str, NULL, 10) <= before_unix_ms;
}

static bool is_stream_of(const struct queue *queue, const redisReply *name)
{
    for (int priority = 0; priority < JOB_PRIORITIES; priority++) {
        if (name->type == REDIS_REPLY_STRING && strcmp(name->str, queue->stream[priority]) == 0) {
            return true;
        }
    }
    return false;
}

enum status queue_find_old(struct redis_conn *conn, const struct queue *queues, size_t count,
                           struct queue_age age, bool *old, struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    redis_args_str(&args, "XREAD");
    redis_args_str(&args, "COUNT");
    redis_args_str(&args, "1");
    redis_args_str(&args, "STREAMS");
    for (size_t i = 0; i < count; i++) {
        old[i] = false;
        for (int priority = 0; priority < JOB_PRIORITIES; priority++) {
            redis_args_str(&args, queues[i].stream[priority]);
        }
    }
    for (size_t i = 0; i < count * JOB_PRIORITIES; i++) {
        redis_args_str(&args, "0");
    }
    const enum status status = redis_conn_command(conn, &args, &reply, err);
    redis_args_free(&args);
    for (size_t i = 0;
         status == STATUS_OK && reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
        const redisReply *stream = reply->element[i];
        for (size_t q = 0; q < count && stream->type == REDIS_REPLY_ARRAY && stream->elements == 2;
             q++) {
            if (is_stream_of(&queues[q], stream->element[0])) {
                old[q] = old[q] || is_old(stream->element[1], age.now_unix_ms - age.age_ms);
            }
        }
    }
    redis_reply_free(reply);
    return status;
}

/* {entry, consumer, idle ms, deliveries} */
static bool is_idle_row(const redisReply *row)
{
    return row->type == REDIS_REPLY_ARRAY && row->elements == 4 &&
           row->element[1]->type == REDIS_REPLY_STRING &&
           row->element[2]->type == REDIS_REPLY_INTEGER;
}

enum status queue_list_idle(struct redis_conn *conn, const char *stream, int64_t idle_ms,
                            struct queue_idle *rows, size_t *count, struct error *err)
{
    const size_t limit = *count;
    struct redis_args args = {0};
    redisReply *reply = NULL;

    *count = 0;
    redis_args_str(&args, "XPENDING");
    redis_args_str(&args, stream);
    redis_args_str(&args, "fleet");
    redis_args_str(&args, "IDLE");
    redis_args_int(&args, idle_ms);
    redis_args_str(&args, "-");
    redis_args_str(&args, "+");
    redis_args_int(&args, (int64_t)limit);
    enum status status = redis_conn_command(conn, &args, &reply, err);
    redis_args_free(&args);
    if (status == STATUS_NOT_FOUND) {
        return STATUS_OK; /* NOGROUP: nothing is held */
    }
    if (status != STATUS_OK) {
        return status;
    }
    for (size_t i = 0; i < reply->elements && i < limit; i++) {
        if (!is_idle_row(reply->element[i])) {
            status = queue_bad_shape("XPENDING", err);
            break;
        }
        rows[*count].idle_ms = reply->element[i]->element[2]->integer;
        snprintf(rows[*count].consumer, sizeof rows[*count].consumer, "%s",
                 reply->element[i]->element[1]->str);
        (*count)++;
    }
    redis_reply_free(reply);
    return status;
}

enum status queue_push_token(struct redis_conn *conn, const char *key, struct error *err)
{
    static const char *const words[][3] = {{"DEL", NULL}, {"RPUSH", "1"}, {"PEXPIRE", "60000"}};
    enum status status = STATUS_OK;

    for (size_t i = 0; i < 3 && status == STATUS_OK; i++) {
        struct redis_args args = {0};
        redis_args_str(&args, words[i][0]);
        redis_args_str(&args, key);
        if (words[i][1] != NULL) {
            redis_args_str(&args, words[i][1]);
        }
        status = redis_conn_append(conn, &args, err);
        redis_args_free(&args);
    }
    for (size_t i = 0; i < 3 && status == STATUS_OK; i++) {
        redisReply *reply = NULL;
        status = redis_conn_collect(conn, &reply, err);
        if (status == STATUS_OK) {
            status = redis_reply_status(reply, err);
        }
        redis_reply_free(reply);
    }
    return status;
}

/* ---- delayed jobs -------------------------------------------------------------------------- */

enum status queue_promote(struct redis_conn *conn, const struct queue *queue, size_t limit,
                          size_t *moved, int64_t *next_ms, struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    *moved = 0;
    *next_ms = -1;
    queue_args_start(&args, "sh_promote", queue->base);
    redis_args_int(&args, limit > PROMOTE_MAX ? PROMOTE_MAX : (int64_t)limit);
    enum status status = queue_call(conn, &args, REDIS_REPLY_ARRAY, &reply, err);
    if (status != STATUS_OK) {
        return status;
    }
    if (reply->elements == 2 && reply->element[0]->type == REDIS_REPLY_INTEGER &&
        reply->element[0]->integer >= 0 && reply->element[1]->type == REDIS_REPLY_INTEGER) {
        *moved = (size_t)reply->element[0]->integer;
        *next_ms = reply->element[1]->integer;
    } else {
        status = queue_bad_shape("sh_promote", err);
    }
    redis_reply_free(reply);
    return status;
}

/* ---- consumers ----------------------------------------------------------------------------- */

enum status queue_yield(struct redis_conn *conn, const struct queue *queue, const char *consumer,
                        size_t *yielded, struct error *err)
{
    struct redis_args args = {0};

    *yielded = 0;
    queue_args_start(&args, "sh_yield", queue->base);
    redis_args_str(&args, consumer);
    return queue_call_count(conn, &args, yielded, err);
}

enum status queue_leave(struct redis_conn *conn, const struct queue *queue, const char *consumer,
                        struct error *err)
{
    struct redis_args args = {0};

    queue_args_start(&args, "sh_leave", queue->base);
    redis_args_str(&args, consumer);
    return queue_call_count(conn, &args, NULL, err);
}

enum status queue_reap(struct redis_conn *conn, const struct queue *queue, int64_t idle_ms,
                       size_t *removed, struct error *err)
{
    struct redis_args args = {0};

    *removed = 0;
    queue_args_start(&args, "sh_reap", queue->base);
    redis_args_int(&args, idle_ms);
    return queue_call_count(conn, &args, removed, err);
}
