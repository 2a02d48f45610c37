#include "enqueue/flush.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "enqueue/make.h"

enum {
    CALL_BYTES = 256 * 1024,
    BYTES_PER_MS = 16 * 1024, /* what the slowest network worth waiting for carries */
    LOOK_AGAIN_MS = 1000,
    SHRINK = 8,
    GROW = 4,
};

struct sending {
    stillhouse_client *client;
    struct outbox *outbox;
    struct outbox_bounds bounds;
    struct outbox_outcome *outcome;
    struct outbox_list list;
    size_t next; /* of the list */
    struct outbox_segment segment;
    bool open; /* the segment */
    bool called;
    size_t singly; /* so many jobs go one by one: one of them was refused */

    struct queue queue; /* the call in hand; only its name and base are filled */
    struct queue_item items[OUTBOX_BATCH_MAX];
    size_t ends[OUTBOX_BATCH_MAX]; /* where the item's record ends in the segment */
    size_t count;
    size_t bytes;
    struct queue_answer answers[OUTBOX_BATCH_MAX];
    struct arena arena; /* options that had to be written anew */
};

/* ---- segments -------------------------------------------------------------------------------- */

static void note_disk(struct sending *sending, const struct error *err)
{
    if (sending->outcome->disk.status == STATUS_OK) {
        sending->outcome->disk = *err;
    }
}

static void close_segment(struct sending *sending)
{
    struct error err = {0};

    if (sending->open && outbox_segment_close(&sending->segment, &err) != STATUS_OK) {
        note_disk(sending, &err);
    }
    sending->open = false;
}

/* The next segment that can be had; false when there is none. */
static bool open_segment(struct sending *sending)
{
    while (!sending->open && sending->next < sending->list.count) {
        struct error err = {0};
        const char *name = sending->list.files[sending->next++].name;
        const enum status status =
            outbox_segment_open(sending->outbox, name, &sending->segment, &err);
        sending->open = status == STATUS_OK;
        if (status != STATUS_OK && status != STATUS_NOT_FOUND) {
            note_disk(sending, &err);
        }
    }
    return sending->open;
}

/* Passes what stands between `sent` and `to` over; false where the disk does not allow it. */
static bool set_aside(struct sending *sending, size_t to)
{
    struct error err = {0};

    if (outbox_segment_set_aside(&sending->segment, to, &err) == STATUS_OK) {
        return true;
    }
    note_disk(sending, &err);
    return false;
}

/* ---- the next call --------------------------------------------------------------------------- */

/* A delay counts from when the job was kept. */
static struct slice take_options(struct sending *sending, struct slice written)
{
    struct job_options options;
    char *text = NULL;

    if (job_options_parse(written.data, written.bytes, true, &options, NULL) != STATUS_OK ||
        options.delay_ms == 0 || options.since_unix_ms == 0 ||
        (text = arena_array(&sending->arena, JOBS_OPTIONS_BYTES, 1)) == NULL) {
        return written;
    }
    const int64_t left_ms = options.since_unix_ms + options.delay_ms - clock_unix_ms();
    options.delay_ms = left_ms < 0 ? 0 : left_ms < options.delay_ms ? left_ms : options.delay_ms;
    const size_t bytes = job_options_format(&options, text, JOBS_OPTIONS_BYTES);
    return (struct slice){text, bytes};
}

static void take_queue(struct sending *sending, struct slice base)
{
    struct queue *queue = &sending->queue;
    const char *open = memchr(base.data, '{', base.bytes);

    *queue = (struct queue){0};
    snprintf(queue->base, sizeof queue->base, "%.*s", (int)base.bytes, base.data);
    snprintf(queue->name, sizeof queue->name, "%.*s", (int)(base.data + base.bytes - open - 2),
             open + 1);
}

static bool is_same_queue(const struct sending *sending, struct slice base)
{
    const char *known = sending->queue.base;

    return strlen(known) == base.bytes && memcmp(known, base.data, base.bytes) == 0;
}

/* Lists jobs of one queue from the segment's `sent` on; what stands behind them is returned. */
static enum outbox_piece list_jobs(struct sending *sending, size_t *end)
{
    const struct outbox_segment *segment = &sending->segment;
    const size_t most = sending->singly > 0 ? 1 : sending->outbox->batch;
    size_t at = segment->sent;

    sending->count = 0;
    sending->bytes = 0;
    arena_reset(&sending->arena, CALL_BYTES);
    for (;;) {
        struct outbox_record record;
        const enum outbox_piece piece = outbox_decode(segment->nonce, segment->bytes.data,
                                                      segment->bytes.bytes, at, &record, end);
        if (piece != OUTBOX_RECORD || !outbox_is_ours(sending->outbox, record.base) ||
            sending->count == most || sending->bytes >= CALL_BYTES ||
            (sending->count > 0 && !is_same_queue(sending, record.base))) {
            return piece;
        }
        if (sending->count == 0) {
            take_queue(sending, record.base);
        }
        sending->items[sending->count] = (struct queue_item){
            record.id, record.domain, take_options(sending, record.options), record.body};
        sending->ends[sending->count++] = *end;
        sending->bytes += record.body.bytes;
        at = *end;
    }
}

/* Makes the next call; false when there is nothing left to send. */
static bool next_call(struct sending *sending)
{
    while (open_segment(sending)) {
        size_t end = 0;
        const enum outbox_piece piece = list_jobs(sending, &end);
        if (sending->count > 0) {
            return true;
        }
        if (piece == OUTBOX_DAMAGED && set_aside(sending, end)) {
            continue;
        }
        if (piece == OUTBOX_TORN) { /* nobody was told that it is kept */
            sending->segment.sent = end;
        }
        close_segment(sending);
    }
    return false;
}

/* ---- calls ----------------------------------------------------------------------------------- */

/* False when the time left is too short for another call. Sets the bound of one. */
static bool may_call(struct sending *sending, struct redis_conn *conn)
{
    const int64_t command_ms = sending->client->config.bounds.command_ms;
    const int64_t most_ms = command_ms + (int64_t)sending->bytes / BYTES_PER_MS;
    const int64_t now_ms = clock_now_ms();

    if (sending->bounds.deadline_ms == 0) {
        sending->bounds.deadline_ms = now_ms + command_ms;
    }
    const int64_t left_ms = sending->bounds.deadline_ms - now_ms;
    if ((sending->called && left_ms < (command_ms + 1) / 2) || sending->bounds.jobs_max == 0) {
        return false;
    }
    wire_limit(conn, now_ms + (!sending->called && left_ms < command_ms ? command_ms
                               : left_ms < most_ms                      ? left_ms
                                                                        : most_ms));
    sending->called = true;
    return true;
}

/* The first `count` jobs of the call are in. Where the disk does not let that be written down, they
 * go again after a crash, but not before. */
static void accept_jobs(struct sending *sending, size_t count)
{
    size_t *const jobs_max = &sending->bounds.jobs_max;
    struct error err = {0};

    if (count == 0) {
        return;
    }
    sending->outbox->sent += count;
    *jobs_max -= count < *jobs_max ? count : *jobs_max;
    if (outbox_segment_advance(&sending->segment, sending->ends[count - 1], &err) != STATUS_OK) {
        note_disk(sending, &err);
    }
}

/* A call went through: the next one may be larger. */
static void grow_calls(struct sending *sending)
{
    struct outbox *outbox = sending->outbox;
    const size_t batch = outbox->batch * GROW;

    if (sending->singly > 0) {
        sending->singly--;
    } else {
        outbox->batch = batch < OUTBOX_BATCH_MAX ? batch : OUTBOX_BATCH_MAX;
    }
}

static enum status take_answers(struct sending *sending, struct error *err)
{
    size_t accepted = 0;

    while (accepted < sending->count && !sending->answers[accepted].full) {
        accepted++;
    }
    accept_jobs(sending, accepted);
    if (accepted < sending->count) {
        sending->outbox->batch = 1; /* enough to see whether there is room again */
        return error_set(err, STATUS_FULL, "queue \"%s\" is full: %lld jobs wait already",
                         sending->queue.name, (long long)sending->client->config.max_backlog);
    }
    grow_calls(sending);
    return STATUS_OK;
}

/* A job that never will be taken must not stand in the others' way. */
static void refuse_jobs(struct sending *sending)
{
    if (sending->count > 1) {
        sending->singly = sending->count;
        return;
    }
    sending->singly -= sending->singly > 0;
    if (!set_aside(sending, sending->ends[0])) {
        close_segment(sending); /* the others may go */
    }
}

static enum status send_call(struct sending *sending, struct redis_conn *conn, struct error *err)
{
    struct outbox *outbox = sending->outbox;

    const enum status status =
        queue_enqueue(conn, &sending->queue, sending->client->config.max_backlog, sending->items,
                      sending->count, sending->answers, err);
    if (status == STATUS_INVALID) {
        refuse_jobs(sending);
        return STATUS_OK;
    }
    if (status == STATUS_TIMEOUT || status == STATUS_UNREACHABLE) {
        outbox->batch = outbox->batch > SHRINK ? outbox->batch / SHRINK : 1;
    }
    if (status != STATUS_OK) {
        return status;
    }
    return take_answers(sending, err);
}

/* May run twice: it goes on where the segment says. */
static enum status send_all(struct redis_conn *conn, void *context, struct error *err)
{
    struct sending *sending = context;
    enum status status = STATUS_OK;

    while (status == STATUS_OK && next_call(sending)) {
        if (!may_call(sending, conn)) {
            sending->outcome->over = true;
            break;
        }
        status = send_call(sending, conn, err);
    }
    return status;
}

/* ---- all of it ------------------------------------------------------------------------------- */

static enum status run(struct sending *sending, struct error *err)
{
    enum status status = outbox_list(sending->outbox, &sending->list, err);
    if (status != STATUS_OK) {
        note_disk(sending, err);
        status = STATUS_OK;
    } else if (sending->list.count > 0) {
        status = wire_run(sending->client->wire, send_all, sending, err);
    }
    close_segment(sending);
    outbox_list_free(&sending->list);
    arena_free(&sending->arena);
    return status;
}

enum status outbox_send(stillhouse_client *client, struct outbox_bounds bounds,
                        struct outbox_outcome *outcome, struct error *err)
{
    struct outbox *outbox = &client->outbox;

    *outcome = (struct outbox_outcome){0};
    struct sending *sending = calloc(1, sizeof *sending);
    if (sending == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    sending->client = client;
    sending->outbox = outbox;
    sending->bounds = bounds;
    sending->outcome = outcome;
    const enum status status = run(sending, err);
    free(sending);
    outbox->waiting = status != STATUS_OK || outcome->over;
    outbox->look_again_ms = clock_now_ms() + LOOK_AGAIN_MS;
    return status;
}
