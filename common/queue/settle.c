/* queue/settle.c - how a lane ends or keeps the jobs it holds: one call of a fenced function each.
 *
 * A function takes up to QUEUE_BATCH_MAX jobs, and CALL_BYTES of them. More are sent in several
 * calls; when one of them fails, the fates of the earlier ones stand and the rest is QUEUE_LOST to
 * the caller, who treats the whole as unknown.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "queue/internal.h"

enum { FLAG_EXPIRED = 1, FLAG_REPLY = 2 };

/* Redis serves nobody else while a call runs: one whose jobs or replies are large ends here, as
 * CALL_BYTES in queue.lua. */
enum { CALL_BYTES = 1024 * 1024 };

/* What the functions answer for a job, as in queue.lua. */
static enum queue_fate fate_of(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_INTEGER || reply->integer == 0) {
        return QUEUE_LOST;
    }
    switch (reply->integer) {
    case 2:
        return QUEUE_MOVED_WANTED;
    case 3:
        return QUEUE_RENEWED;
    default:
        return QUEUE_MOVED;
    }
}

/* Makes the call; the answer has one fate for each of `count` jobs. */
static enum status call_fates(struct redis_conn *conn, struct redis_args *args,
                              const char *function, size_t count, redisReply **reply,
                              struct error *err)
{
    enum status status = queue_call(conn, args, REDIS_REPLY_ARRAY, reply, err);

    if (status == STATUS_OK && (*reply)->elements != count) {
        redis_reply_free(*reply);
        *reply = NULL;
        status = queue_bad_shape(function, err);
    }
    return status;
}

static size_t slice_of(size_t left)
{
    return left < QUEUE_BATCH_MAX ? left : QUEUE_BATCH_MAX;
}

/* Whether one more job goes into a call that has `count`, which weigh `*bytes` so far. */
static bool fits(size_t count, size_t *bytes, size_t more_bytes)
{
    if (count == QUEUE_BATCH_MAX || (count > 0 && *bytes + more_bytes > CALL_BYTES)) {
        return false;
    }
    *bytes += more_bytes;
    return true;
}

/* ---- finishing ------------------------------------------------------------------------------- */

/* Items that go into one call. */
struct finish_call {
    struct queue_finish_item *items[QUEUE_BATCH_MAX];
    size_t count;
};

/* What nobody waits for ends in a shorter call. */
static bool is_plain(const struct queue_finish_item *item)
{
    return !item->expired && item->reply.data == NULL && item->job->options.unique.bytes == 0;
}

/* Whether the item belongs to the call that the first one began: plain ones share their stream and
 * their deliveries. */
static bool belongs(const struct finish_call *call, const struct queue_finish_item *item)
{
    const struct queue_finish_item *first = call->items[0];

    return call->count == 0 ||
           (is_plain(item) == is_plain(first) &&
            (!is_plain(item) || (item->job->stream == first->job->stream &&
                                 item->job->deliveries == first->job->deliveries)));
}

static enum status finish_plain(struct redis_conn *conn, const struct queue *queue,
                                const char *consumer, struct finish_call *call, struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    queue_args_start(&args, "sh_done", queue->base);
    redis_args_str(&args, consumer);
    redis_args_int(&args, call->items[0]->job->stream);
    redis_args_int(&args, call->items[0]->job->deliveries);
    for (size_t i = 0; i < call->count; i++) {
        redis_args_slice(&args, call->items[i]->job->entry);
    }
    enum status status = redis_conn_command(conn, &args, &reply, err);
    redis_args_free(&args);
    if (status != STATUS_OK) {
        return status;
    }
    const bool all = reply->type == REDIS_REPLY_INTEGER && reply->integer == (long long)call->count;
    const bool each = reply->type == REDIS_REPLY_ARRAY && reply->elements == call->count;
    for (size_t i = 0; i < call->count && (all || each); i++) {
        call->items[i]->fate = all ? QUEUE_MOVED : fate_of(reply->element[i]);
    }
    redis_reply_free(reply);
    return all || each ? STATUS_OK : queue_bad_shape("sh_done", err);
}

static enum status finish_awaited(struct redis_conn *conn, const struct queue *queue,
                                  const char *consumer, struct finish_call *call, struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    queue_args_start(&args, "sh_finish", queue->base);
    redis_args_str(&args, consumer);
    for (size_t i = 0; i < call->count; i++) {
        const struct queue_finish_item *item = call->items[i];
        queue_args_fence(&args, item->job);
        redis_args_slice(&args, item->job->id);
        redis_args_slice(&args, item->job->domain);
        redis_args_slice(&args, item->job->options.unique);
        redis_args_int(&args, (item->expired ? FLAG_EXPIRED : 0) |
                                  (item->reply.data != NULL ? FLAG_REPLY : 0));
        redis_args_slice(&args, item->reply);
    }
    const enum status status = call_fates(conn, &args, "sh_finish", call->count, &reply, err);
    if (status != STATUS_OK) {
        return status;
    }
    for (size_t i = 0; i < call->count; i++) {
        call->items[i]->fate = fate_of(reply->element[i]);
    }
    redis_reply_free(reply);
    return STATUS_OK;
}

enum status queue_finish(struct redis_conn *conn, const struct queue *queue, const char *consumer,
                         struct queue_finish_item *items, size_t count, struct error *err)
{
    enum status status = STATUS_OK;
    size_t done = 0;

    for (size_t i = 0; i < count; i++) {
        items[i].fate = QUEUE_UNSENT;
    }
    while (status == STATUS_OK && done < count) {
        struct finish_call call = {.count = 0};
        size_t bytes = 0;
        for (size_t i = 0; i < count && call.count < QUEUE_BATCH_MAX; i++) {
            if (items[i].fate == QUEUE_UNSENT && belongs(&call, &items[i]) &&
                fits(call.count, &bytes, items[i].reply.bytes)) {
                call.items[call.count++] = &items[i];
                items[i].fate = QUEUE_LOST;
            }
        }
        status = is_plain(call.items[0]) ? finish_plain(conn, queue, consumer, &call, err)
                                         : finish_awaited(conn, queue, consumer, &call, err);
        done += call.count;
    }
    for (size_t i = 0; i < count; i++) {
        items[i].fate = items[i].fate == QUEUE_UNSENT ? QUEUE_LOST : items[i].fate;
    }
    return status;
}

/* ---- other ends ------------------------------------------------------------------------------ */

enum { PARKED_BYTES = 96 };

/* "0", or what a parked job remembers: "<tries>.<upstream>.<operation>", with the time of its last
 * try where that was not just now. `text` is to live until the command is sent. */
static void add_parked(struct redis_args *args, const struct queue_retry_item *item,
                       char text[PARKED_BYTES])
{
    const struct job_parked *old = &item->job->options.parked;
    const char *upstream = operation_upstream(item->operation);
    const char *name = operation_name(item->operation);

    if (!item->parked) {
        redis_args_str(args, "0");
        return;
    }
    if (item->tried) {
        snprintf(text, PARKED_BYTES, "%" PRId64 ".%s.%s", old->tries + 1, upstream, name);
    } else {
        snprintf(text, PARKED_BYTES, "%" PRId64 ".%s.%s.%" PRId64, old->tries, upstream, name,
                 old->tried_unix_ms);
    }
    redis_args_str(args, text);
}

static enum status retry_some(struct redis_conn *conn, const struct queue *queue,
                              const char *consumer, struct queue_retry_item *items, size_t count,
                              struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;
    char(*parked)[PARKED_BYTES] = calloc(count, sizeof *parked);

    if (parked == NULL) {
        return error_set(err, STATUS_OOM, "out of memory for a command");
    }
    queue_args_start(&args, "sh_retry", queue->base);
    redis_args_str(&args, consumer);
    for (size_t i = 0; i < count; i++) {
        queue_args_fence(&args, items[i].job);
        redis_args_int(&args, items[i].delay_ms < 0 ? 0 : items[i].delay_ms);
        add_parked(&args, &items[i], parked[i]);
    }
    const enum status status = call_fates(conn, &args, "sh_retry", count, &reply, err);
    free(parked);
    if (status != STATUS_OK) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        items[i].fate = fate_of(reply->element[i]);
    }
    redis_reply_free(reply);
    return STATUS_OK;
}

enum status queue_retry(struct redis_conn *conn, const struct queue *queue, const char *consumer,
                        struct queue_retry_item *items, size_t count, struct error *err)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; i < count; i++) {
        items[i].fate = QUEUE_LOST;
    }
    for (size_t at = 0, some = 0; status == STATUS_OK && at < count; at += some) {
        size_t bytes = 0;
        for (some = 0; at + some < count && fits(some, &bytes, items[at + some].job->body.bytes);) {
            some++;
        }
        status = retry_some(conn, queue, consumer, items + at, some, err);
    }
    return status;
}

static enum status bury_some(struct redis_conn *conn, const struct queue *queue,
                             const char *consumer, const char *worker,
                             struct queue_bury_item *items, size_t count, struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    queue_args_start(&args, "sh_bury", queue->base);
    redis_args_str(&args, consumer);
    redis_args_str(&args, worker);
    for (size_t i = 0; i < count; i++) {
        queue_args_fence(&args, items[i].job);
        redis_args_str(&args, items[i].reason);
        redis_args_str(&args, items[i].error);
        redis_args_int(&args, items[i].reply.data != NULL ? FLAG_REPLY : 0);
        redis_args_slice(&args, items[i].reply);
    }
    const enum status status = call_fates(conn, &args, "sh_bury", count, &reply, err);
    if (status != STATUS_OK) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        items[i].fate = fate_of(reply->element[i]);
    }
    redis_reply_free(reply);
    return STATUS_OK;
}

enum status queue_bury(struct redis_conn *conn, const struct queue *queue, const char *consumer,
                       const char *worker, struct queue_bury_item *items, size_t count,
                       struct error *err)
{
    enum status status = STATUS_OK;

    for (size_t i = 0; i < count; i++) {
        items[i].fate = QUEUE_LOST;
    }
    for (size_t at = 0, some = 0; status == STATUS_OK && at < count; at += some) {
        size_t bytes = 0;
        for (some = 0; at + some < count && fits(some, &bytes, items[at + some].job->body.bytes);) {
            some++;
        }
        status = bury_some(conn, queue, consumer, worker, items + at, some, err);
    }
    return status;
}

enum status queue_push_wanted(struct redis_conn *conn, const struct queue *queue, struct slice id,
                              struct slice reply, struct error *err)
{
    return queue_okf(conn, err, "FCALL sh_reply 1 %s %.*s %.*s wanted", queue->base, (int)id.bytes,
                     id.data, (int)reply.bytes, reply.data);
}

enum status queue_release(struct redis_conn *conn, const struct queue *queue, const char *consumer,
                          int64_t visibility_ms, bool again, const struct job *const *jobs,
                          size_t count, size_t *released, struct error *err)
{
    enum status status = STATUS_OK;

    *released = 0;
    for (size_t at = 0, end = 0; status == STATUS_OK && at < count; at = end) {
        struct redis_args args = {0};
        size_t some = 0;
        size_t bytes = 0;
        for (end = at; end < count && fits(end - at, &bytes, again ? jobs[end]->body.bytes : 0);) {
            end++;
        }
        queue_args_start(&args, "sh_release", queue->base);
        redis_args_str(&args, consumer);
        redis_args_int(&args, visibility_ms);
        redis_args_str(&args, again ? "1" : "0");
        for (size_t i = at; i < end; i++) {
            queue_args_fence(&args, jobs[i]);
        }
        status = queue_call_count(conn, &args, &some, err);
        *released += some;
    }
    return status;
}

enum status queue_heartbeat(struct redis_conn *conn, const struct queue *queue,
                            const char *consumer, const struct job *const *jobs, size_t count,
                            size_t *alive, struct error *err)
{
    enum status status = STATUS_OK;

    *alive = 0;
    for (size_t at = 0; status == STATUS_OK && at < count; at += QUEUE_BATCH_MAX) {
        struct redis_args args = {0};
        size_t some = 0;
        queue_args_start(&args, "sh_heartbeat", queue->base);
        redis_args_str(&args, consumer);
        for (size_t i = at; i < at + slice_of(count - at); i++) {
            queue_args_fence(&args, jobs[i]);
        }
        status = queue_call_count(conn, &args, &some, err);
        *alive += some;
    }
    return status;
}
