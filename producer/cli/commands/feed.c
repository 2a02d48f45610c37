#include "cli/commands/feed.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "enqueue/keep.h"

enum { SLOTS = FEED_IN_FLIGHT + 1, PAUSE_MIN_MS = 50, PAUSE_MAX_MS = 2000 };

static struct queue_answer answers[QUEUE_BATCH_MAX]; /* of the call that is read now */

enum status feed_init(struct feed *feed, struct redis_conn *conn, const struct queue *queue,
                      int64_t max_backlog, bool wait_full, struct error *err)
{
    *feed = (struct feed){
        .conn = conn, .queue = queue, .max_backlog = max_backlog, .wait_full = wait_full};
    feed->calls = calloc(SLOTS, sizeof *feed->calls);
    return feed->calls == NULL ? error_set(err, STATUS_OOM, "out of memory") : STATUS_OK;
}

void feed_free(struct feed *feed)
{
    for (size_t i = 0; feed->calls != NULL && i < SLOTS; i++) {
        arena_free(&feed->calls[i].arena);
    }
    free(feed->calls);
    feed->calls = NULL;
}

static void empty(struct feed_call *call)
{
    arena_reset(&call->arena, FEED_CALL_BYTES);
    call->count = 0;
    call->bytes = 0;
    call->singly = false;
}

/* ---- what Redis did not take --------------------------------------------------------------- */

static enum status write_kept(const struct feed *feed, const struct feed_call *call,
                              struct error *err)
{
    struct strbuf records = {0};
    enum status status = STATUS_OK;

    for (size_t i = 0; status == STATUS_OK && i < call->count; i++) {
        status = keep_encode(feed->queue, &call->items[i], &records, err);
    }
    if (status == STATUS_OK) {
        status = spool_put(&feed->keeper->spool, &records, call->count, err);
    }
    strbuf_free(&records);
    return status;
}

/* Empties a call that is not in: it is kept, or counts as `*otherwise`. */
static void lose(struct feed *feed, struct feed_call *call, size_t *otherwise)
{
    struct error err = {0};

    if (feed->keeper == NULL || call->count == 0) {
        *otherwise += call->count;
    } else if (write_kept(feed, call, &err) == STATUS_OK) {
        feed->kept += call->count;
    } else {
        *otherwise += call->count;
        feed->broken = true;
        if (feed->why.text[0] == '\0') {
            feed->why = err;
        } else {
            char text[ERROR_TEXT_BYTES];
            memcpy(text, feed->why.text, sizeof text);
            (void)error_set(&feed->why, feed->why.status, "%.140s; not kept either: %.150s", text,
                            err.text);
        }
    }
    empty(call);
}

void feed_keep(struct feed *feed, const struct error *why)
{
    if (!feed->keeping) {
        feed->keeping = true;
        feed->why = *why;
    }
}

/* What a failure is to the caller: none as long as the outbox takes the jobs. */
static enum status settle(struct feed *feed, enum status status, struct error *err)
{
    if (feed->keeper == NULL || status == STATUS_INVALID) {
        feed->broken = feed->broken || status != STATUS_OK;
        return status;
    }
    if (status != STATUS_OK) {
        feed_keep(feed, err);
    }
    if (feed->broken) {
        *err = feed->why;
        return err->status;
    }
    return STATUS_OK;
}

/* ---- calls --------------------------------------------------------------------------------- */

/* Counts the answers of a call, and keeps the refused items where they will be sent again. */
static void take_answers(struct feed *feed, struct feed_call *call)
{
    size_t kept = 0;

    for (size_t i = 0; i < call->count; i++) {
        const struct slice id = call->items[i].id;
        if (answers[i].full) {
            call->items[kept++] = call->items[i];
        } else if (strncmp(answers[i].id, id.data, id.bytes) == 0) {
            feed->accepted++;
        } else {
            feed->deduplicated++;
        }
    }
    call->count = kept;
    if (kept > 0 && !feed->wait_full) {
        struct error why = {0};
        (void)error_set(&why, STATUS_FULL, "queue \"%s\" is full", feed->queue->name);
        if (feed->keeper != NULL) {
            feed_keep(feed, &why);
        }
        feed->full = feed->keeper == NULL;
        lose(feed, call, &feed->refused);
    } else if (call->count == 0) {
        empty(call);
    }
}

/* Nothing more can be read: whatever is on its way may have arrived or not. */
static void give_up(struct feed *feed)
{
    for (; feed->in_flight > 0; feed->in_flight--) {
        lose(feed, &feed->calls[feed->oldest], &feed->unknown);
        feed->oldest = (feed->oldest + 1) % SLOTS;
    }
}

/* One job was refused for itself. */
static void note_invalid(struct feed *feed, const struct queue_item *item, const struct error *why)
{
    feed->failed++;
    if (feed->invalid.status == STATUS_OK) {
        feed->invalid = *why;
        (void)error_wrap(&feed->invalid, "job \"%.*s\"", (int)item->id.bytes, item->id.data);
    }
}

/* Reads the answers of the oldest call; its refused items stay in it. */
static enum status collect_oldest(struct feed *feed, struct error *err)
{
    struct feed_call *call = &feed->calls[feed->oldest];

    struct error detail = {0};
    enum status status = queue_enqueue_collect(feed->conn, call->count, answers, &detail);
    if (err != NULL) {
        *err = detail;
    }
    if (status == STATUS_OK) {
        take_answers(feed, call);
    } else if (!redis_conn_is_open(feed->conn)) {
        give_up(feed);
        return status;
    } else if (status == STATUS_INVALID) {
        call->singly = call->count > 1; /* nothing of it is in: drain() sends it again */
        if (!call->singly) {
            note_invalid(feed, &call->items[0], &detail);
            empty(call);
        }
        status = STATUS_OK;
    } else {
        lose(feed, call, &feed->failed);
    }
    feed->oldest = (feed->oldest + 1) % SLOTS;
    feed->in_flight--;
    return status;
}

/* Sends the jobs of a call that was refused one by one, so that the one it was refused for is the
 * only one that stays out; what the queue has no room for stays in the call. */
static enum status send_singly(struct feed *feed, struct feed_call *call, struct error *err)
{
    const size_t count = call->count;
    size_t left = 0;
    enum status status = STATUS_OK;

    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        const struct queue_item item = call->items[i];
        struct error detail = {0};
        status =
            queue_enqueue(feed->conn, feed->queue, feed->max_backlog, &item, 1, answers, &detail);
        if (err != NULL) {
            *err = detail;
        }
        if (status == STATUS_INVALID) {
            note_invalid(feed, &item, &detail);
            status = STATUS_OK;
        } else if (status != STATUS_OK || answers[0].full) {
            call->items[left++] = item;
        } else if (strncmp(answers[0].id, item.id.data, item.id.bytes) == 0) {
            feed->accepted++;
        } else {
            feed->deduplicated++;
        }
        for (; status != STATUS_OK && i + 1 < count; i++) {
            call->items[left++] = call->items[i + 1];
        }
    }
    call->count = left;
    call->singly = false;
    return status;
}

/* Sends a call's refused items until they are in. Nothing else is on its way. */
static enum status send_until_in(struct feed *feed, struct feed_call *call, struct error *err)
{
    int64_t pause_ms = PAUSE_MIN_MS;

    if (call->singly) {
        const enum status status = send_singly(feed, call, err);
        if (status != STATUS_OK) {
            lose(feed, call, redis_conn_is_open(feed->conn) ? &feed->failed : &feed->unknown);
            return status;
        }
        if (call->count == 0) {
            empty(call);
        }
    }
    while (call->count > 0) {
        const size_t before = call->count;
        clock_sleep_ms(pause_ms);
        const enum status status = queue_enqueue(feed->conn, feed->queue, feed->max_backlog,
                                                 call->items, call->count, answers, err);
        if (status != STATUS_OK) {
            lose(feed, call, redis_conn_is_open(feed->conn) ? &feed->failed : &feed->unknown);
            return status;
        }
        take_answers(feed, call);
        pause_ms = call->count < before ? PAUSE_MIN_MS : pause_ms * 2;
        pause_ms = pause_ms > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause_ms;
    }
    return STATUS_OK;
}

/* Reads all answers, then sends again what was refused; then no slot holds anything. */
static enum status drain(struct feed *feed, struct error *err)
{
    enum status worst = STATUS_OK;

    while (feed->in_flight > 0) {
        const enum status status = collect_oldest(feed, worst == STATUS_OK ? err : NULL);
        worst = worst == STATUS_OK ? status : worst;
    }
    for (size_t i = 0; i < SLOTS; i++) {
        struct feed_call *call = &feed->calls[i];
        if (worst == STATUS_OK) {
            worst = send_until_in(feed, call, err);
        } else {
            lose(feed, call, &feed->refused);
        }
    }
    return worst;
}

/* Puts the call that is being filled on its way. */
static enum status send_call(struct feed *feed, struct error *err)
{
    struct feed_call *call = &feed->calls[(feed->oldest + feed->in_flight) % SLOTS];

    if (call->count == 0) {
        return STATUS_OK;
    }
    if (feed->keeping) {
        lose(feed, call, &feed->refused);
        return STATUS_OK;
    }
    enum status status = queue_enqueue_append(feed->conn, feed->queue, feed->max_backlog,
                                              call->items, call->count, err);
    if (status != STATUS_OK) {
        if (!redis_conn_is_open(feed->conn)) {
            give_up(feed); /* those before it first */
        }
        lose(feed, call, &feed->failed);
        return status;
    }
    feed->in_flight++;
    if (feed->in_flight < FEED_IN_FLIGHT) {
        return STATUS_OK;
    }
    const struct feed_call *oldest = &feed->calls[feed->oldest];
    status = collect_oldest(feed, err);
    return status == STATUS_OK && oldest->count > 0 ? drain(feed, err) : status;
}

static bool copy_slice(struct arena *arena, const char *data, size_t bytes, struct slice *out)
{
    *out = (struct slice){arena_copy(arena, data, bytes), bytes};
    return out->data != NULL;
}

enum status feed_add(struct feed *feed, const struct line_job *job, struct error *err)
{
    struct feed_call *call = &feed->calls[(feed->oldest + feed->in_flight) % SLOTS];
    struct queue_item *item = &call->items[call->count];

    if (!copy_slice(&call->arena, job->id, strlen(job->id), &item->id) ||
        !copy_slice(&call->arena, job->domain, strlen(job->domain), &item->domain) ||
        !copy_slice(&call->arena, job->options, strlen(job->options), &item->options) ||
        !copy_slice(&call->arena, job->body.data, job->body.bytes, &item->body)) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    call->count++;
    call->bytes += job->body.bytes;
    if (call->count < QUEUE_BATCH_MAX && call->bytes < FEED_CALL_BYTES) {
        return STATUS_OK;
    }
    return settle(feed, send_call(feed, err), err);
}

enum status feed_finish(struct feed *feed, struct error *err)
{
    enum status sent = STATUS_OK;

    if (!feed->broken && !feed->full) {
        sent = send_call(feed, err);
    } else { /* no use in sending more: it counts as refused */
        struct feed_call *call = &feed->calls[(feed->oldest + feed->in_flight) % SLOTS];
        feed->refused += call->count;
        empty(call);
    }
    const enum status drained = drain(feed, sent == STATUS_OK ? err : NULL);
    const enum status status = settle(feed, sent == STATUS_OK ? drained : sent, err);
    if (status == STATUS_OK && feed->invalid.status != STATUS_OK) {
        *err = feed->invalid;
        return err->status;
    }
    return status;
}
