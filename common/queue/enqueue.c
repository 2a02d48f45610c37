#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "queue/enqueue.h"
#include "queue/internal.h"

enum { WAIT_MAX_MS = 24 * 60 * 60 * 1000 };

enum status queue_enqueue_append(struct redis_conn *conn, const struct queue_items *items,
                                 struct error *err)
{
    struct redis_args args = {0};

    if (items->count < 1 || items->count > QUEUE_BATCH_MAX) {
        return error_set(err, STATUS_INVALID, "%zu jobs in a call: expected 1 to %d", items->count,
                         QUEUE_BATCH_MAX);
    }
    queue_args_start(&args, "sh_enqueue", items->queue->base);
    redis_args_int(&args, items->max_backlog);
    for (size_t i = 0; i < items->count; i++) {
        const struct queue_item *item = &items->each[i];
        redis_args_slice(&args, item->id);
        redis_args_slice(&args, item->domain);
        redis_args_slice(&args, item->options);
        redis_args_slice(&args, item->body);
    }
    const enum status status = redis_conn_append(conn, &args, err);
    redis_args_free(&args);
    return status;
}

/* An id, or FULL. A library before 5 answers all that a newer one put under a unique key: the id of
 * who holds it and words behind that. */
static enum status take_answer(const redisReply *reply, struct queue_answer *answer,
                               struct error *err)
{
    const size_t bytes = reply->type == REDIS_REPLY_STRING ? strcspn(reply->str, " ") : 0;

    if (bytes == 0 || bytes > TEXT_ID_MAX) {
        return queue_bad_shape("sh_enqueue", err);
    }
    answer->full = strcmp(reply->str, "FULL") == 0;
    snprintf(answer->id, sizeof answer->id, "%.*s", answer->full ? 0 : (int)bytes, reply->str);
    return STATUS_OK;
}

enum status queue_enqueue_collect(struct redis_conn *conn, size_t count,
                                  struct queue_answer *answers, struct error *err)
{
    redisReply *reply = NULL;

    TRY(redis_conn_collect(conn, &reply, err));
    enum status status = redis_reply_status(reply, err);
    if (status == STATUS_OK && (reply->type != REDIS_REPLY_ARRAY || reply->elements != count)) {
        status = queue_bad_shape("sh_enqueue", err);
    }
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        status = take_answer(reply->element[i], &answers[i], err);
    }
    redis_reply_free(reply);
    return status;
}

enum status queue_enqueue(struct redis_conn *conn, const struct queue_items *items,
                          struct queue_answer *answers, struct error *err)
{
    redis_conn_abandon(conn); /* answers that nobody collected are not this call's */

    TRY(queue_enqueue_append(conn, items, err));
    return queue_enqueue_collect(conn, items->count, answers, err);
}

static enum status take_reply(const redisReply *reply, const char *id, struct strbuf *out,
                              struct error *err)
{
    if (reply->type == REDIS_REPLY_NIL) {
        return error_set(err, STATUS_TIMEOUT, "no reply for job \"%s\" in time", id);
    }
    if (reply->type != REDIS_REPLY_STRING) {
        return queue_bad_shape("BLMOVE", err);
    }
    strbuf_append(out, reply->str, (size_t)reply->len);
    return strbuf_ok(out) ? STATUS_OK
                          : error_set(err, STATUS_OOM, "no memory for a reply of %zu bytes",
                                      (size_t)reply->len);
}

enum status queue_await_reply(struct redis_conn *conn, const struct queue *queue, const char *id,
                              int64_t wait_ms, struct strbuf *out, struct error *err)
{
    redisReply *reply = NULL;
    char key[QUEUE_BASE_BYTES + TEXT_ID_MAX + 16];
    char wait[32];
    const int command_ms = redis_conn_command_timeout(conn);

    if (!text_is_id(id, strlen(id))) {
        return error_set(err, STATUS_INVALID, "job id \"%.64s\": expected 1 to 64 of A-Za-z0-9._:-",
                         id);
    }
    snprintf(key, sizeof key, "%s:reply:%s", queue->base, id);
    wait_ms = wait_ms > WAIT_MAX_MS ? WAIT_MAX_MS : wait_ms;
    snprintf(wait, sizeof wait, "%" PRId64 ".%03d", wait_ms / 1000, (int)(wait_ms % 1000));

    redis_conn_set_command_timeout(conn, command_ms + (wait_ms > 0 ? (int)wait_ms : 0));
    /* BLMOVE with 0 would wait for ever: no wait is LMOVE. */
    enum status status =
        wait_ms > 0 ? redis_commandf(conn, &reply, err, "BLMOVE %s %s LEFT LEFT %s", key, key, wait)
                    : redis_commandf(conn, &reply, err, "LMOVE %s %s LEFT LEFT", key, key);
    redis_conn_set_command_timeout(conn, command_ms);
    if (status == STATUS_OOM && redis_conn_is_open(conn)) {
        /* A Redis that is full refuses to move, but not to look. */
        status = redis_commandf(conn, &reply, err, "LINDEX %s 0", key);
        if (status == STATUS_OK && reply->type == REDIS_REPLY_NIL) {
            status = error_set(err, STATUS_OOM,
                               "no reply for job \"%s\" yet, and Redis is out of memory", id);
        }
    }
    if (status == STATUS_OK) {
        status = take_reply(reply, id, out, err);
    }
    redis_reply_free(reply);
    return status;
}
