#include "enqueue/send.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "enqueue/flush.h"
#include "queue/enqueue.h"

enum {
    CALL_JOBS = 500, /* Redis does nothing else meanwhile: about 2 ms */
    CALL_BYTES = 512 * 1024,
    IN_FLIGHT = 4,
    SLOTS = IN_FLIGHT + 1,
    BYTES_PER_MS = 16 * 1024, /* what the slowest network worth waiting for carries */
    PAUSE_MIN_MS = 50,
    PAUSE_MAX_MS = 2000,
};

static enum status say_full(const stillhouse_client *client, const struct queue *queue,
                            struct error *err)
{
    return error_set(err, STATUS_FULL, "queue \"%s\" is full: %lld jobs wait already", queue->name,
                     (long long)client->config.max_backlog);
}

/* ---- one ----------------------------------------------------------------------------------- */

struct single {
    stillhouse_client *client;
    const struct queue *queue;
    struct queue_item item;
    struct queue_answer answer;
};

/* The same item may be sent twice: a job's effects are idempotent by its id. */
static enum status ask(struct redis_conn *conn, void *context, struct error *err)
{
    struct single *single = context;
    struct counts *counts = &single->client->counts;
    const int64_t deadline_ms = clock_now_ms() + redis_conn_command_timeout(conn);

    TRY(queue_enqueue_append(
        conn,
        &(struct queue_items){single->queue, single->client->config.max_backlog, &single->item, 1},
        err));
    counts_append(counts, conn);
    enum status status = queue_enqueue_collect(conn, 1, &single->answer, err);
    link_limit(conn, deadline_ms);
    counts_collect(counts, conn);
    return status;
}

enum status send_one(stillhouse_client *client, const struct queue *queue,
                     const struct job_draft *draft, char id[STILLHOUSE_ID_BYTES], struct error *err)
{
    struct single single = {.client = client, .queue = queue, .item = draft_item(client, draft)};

    TRY(link_run(client->link, ask, &single, err));
    if (single.answer.full) {
        return say_full(client, queue, err);
    }
    if (id != NULL) {
        snprintf(id, STILLHOUSE_ID_BYTES, "%s", single.answer.id);
    }
    return STATUS_OK;
}

/* ---- the spool ----------------------------------------------------------------------------- */

/* True where there is a spool and the queue's jobs may wait in it: those of a stranger's queue, and
 * of the kinds that are kept (jobs/kinds.def). */
static bool may_keep(const stillhouse_client *client, const struct queue *queue)
{
    return client->spool.folder != NULL &&
           (queue->kind == KINDS || (job_kinds[queue->kind].traits & KIND_IS_KEPT) != 0);
}

static enum spool_room room_of(const struct queue *queue)
{
    return queue->kind != KINDS && (job_kinds[queue->kind].traits & KIND_GIVES_WAY) != 0
               ? SPOOL_HALF
               : SPOOL_ALL;
}

/* A kept job knows when it was first enqueued. */
static enum status encode(const struct queue *queue, const struct queue_item *item,
                          struct strbuf *records, struct error *err)
{
    struct job_options options;
    char text[JOBS_OPTIONS_BYTES];

    const enum status status =
        job_options_parse(item->options.data, item->options.bytes, false, &options, err);
    if (status != STATUS_OK) {
        return status;
    }
    if (options.since_unix_ms == 0) {
        options.since_unix_ms = clock_unix_ms();
    }
    const size_t bytes = job_options_format(&options, text, sizeof text);
    const struct spool_record record = {
        .base = {queue->base, strlen(queue->base)},
        .id = item->id,
        .domain = item->domain,
        .options = {text, bytes},
        .body = item->body,
    };
    return record_encode(&record, records, err);
}

/* All or none of the items, in one file. */
static enum status keep(stillhouse_client *client, const struct queue *queue,
                        const struct queue_item *items, size_t count, struct error *err)
{
    struct strbuf records = {0};
    enum status status = STATUS_OK;

    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        status = encode(queue, &items[i], &records, err);
    }
    if (status == STATUS_OK) {
        status = spool_put(&client->spool, &records, count, room_of(queue), err);
    }
    strbuf_free(&records);
    return status;
}

/* Adds to the client's error text, which is why Redis did not take them. */
static void say_not_kept(stillhouse_client *client, const struct error *why_not)
{
    char text[ERROR_TEXT_BYTES];

    memcpy(text, client->err.text, sizeof text);
    snprintf(client->err.text, sizeof client->err.text, "%.140s; not kept either: %.150s", text,
             why_not->text);
}

stillhouse_status send_or_keep(stillhouse_client *client, const struct queue *queue,
                               const struct job_draft *draft, char id[STILLHOUSE_ID_BYTES])
{
    const bool keeps = may_keep(client, queue);
    struct error err = {0};
    struct error why_not = {0};

    enum status status = keeps ? flush_make_way(client, &err) : STATUS_OK;
    if (status == STATUS_OK) {
        status = send_one(client, queue, draft, id, &err);
    }
    if (status == STATUS_OK) {
        return STILLHOUSE_OK;
    }
    err.status = status;
    const stillhouse_status failed = client_failed(client, &err);
    if (!keeps || status == STATUS_INVALID) {
        return failed;
    }
    const struct queue_item item = draft_item(client, draft);
    if (keep(client, queue, &item, 1, &why_not) != STATUS_OK) {
        say_not_kept(client, &why_not);
        return failed;
    }
    if (id != NULL) {
        snprintf(id, STILLHOUSE_ID_BYTES, "%s", draft->id);
    }
    (void)error_wrap(&client->err, "kept in the outbox");
    return STILLHOUSE_KEPT;
}

/* ---- many ---------------------------------------------------------------------------------- */

struct call {
    struct arena arena; /* what the items point to */
    struct queue_item items[CALL_JOBS];
    size_t indexes[CALL_JOBS];
    size_t count;
    size_t bytes; /* of bodies */
    bool singly;  /* refused as a whole, for one of its jobs: each is sent alone */
};

struct sending {
    const struct send_order *order;
    bool keep;                /* in the spool, what Redis does not take */
    struct redis_conn *conn;  /* NULL: not connected */
    struct call calls[SLOTS]; /* a ring: those on their way, and the one that is filled */
    size_t oldest;
    size_t in_flight;
    size_t next;          /* number of the job that is made next */
    bool keeping;         /* nothing more is sent: what comes goes into the spool */
    bool over;            /* nothing more is made */
    struct error end;     /* why nothing more is sent; STATUS_OK = it is */
    struct error why;     /* the first failure; STATUS_OK = none */
    bool why_of_one;      /* it is that of one job, */
    size_t why_index;     /* this one */
    struct error why_not; /* what the spool had against them */
    stillhouse_status worst;
    struct queue_answer answers[CALL_JOBS];
};

/* Which of two outcomes is the worse one: the greater number. */
static int severity(stillhouse_status status)
{
    static const int ranks[] = {
        [STILLHOUSE_OK] = 0,      [STILLHOUSE_NOT_FOUND] = 1, [STILLHOUSE_FULL] = 2,
        [STILLHOUSE_INVALID] = 3, [STILLHOUSE_FAILED] = 4,    [STILLHOUSE_UNREACHABLE] = 5,
        [STILLHOUSE_KEPT] = 1,
    };

    return ranks[status];
}

static void tell(struct sending *sending, size_t index, stillhouse_status status, const char *id)
{
    if (severity(status) > severity(sending->worst)) {
        sending->worst = status;
    }
    sending->order->tell(sending->order->context, index, status, id, false);
}

/* A job that is in, or has a twin that is. */
static void tell_in(struct sending *sending, const struct call *call, size_t at,
                    const struct queue_answer *answer)
{
    sending->order->tell(sending->order->context, call->indexes[at], STILLHOUSE_OK, answer->id,
                         strcmp(answer->id, call->items[at].id.data) != 0);
}

static void note(struct sending *sending, const struct error *err)
{
    if (sending->why.status == STATUS_OK) {
        sending->why = *err;
    }
}

static void empty(struct call *call)
{
    arena_reset(&call->arena, CALL_BYTES);
    call->count = 0;
    call->bytes = 0;
    call->singly = false;
}

/* ---- many: what is not in ------------------------------------------------------------------- */

/* Empties a call that is not in because of `why`: it is kept, or its jobs are told. `sent`: it may
 * have arrived. */
static void lose(struct sending *sending, struct call *call, const struct error *why, bool sent)
{
    const struct send_order *order = sending->order;
    stillhouse_status status = client_status(why->status);
    struct error err = {0};

    if (sending->keep && call->count > 0 && sending->why_not.status == STATUS_OK) {
        const enum status kept = keep(order->client, order->queue, call->items, call->count, &err);
        if (kept == STATUS_OK) {
            status = STILLHOUSE_KEPT;
        } else {
            sending->why_not = err;
            sending->why_not.status = kept;
            sending->over = true;
        }
    }
    const bool named = sent || status == STILLHOUSE_KEPT;
    for (size_t i = 0; i < call->count; i++) {
        tell(sending, call->indexes[i], status, named ? call->items[i].id.data : "");
    }
    empty(call);
}

/* Nothing more is sent because of `why`. What is on its way is still answered, unless the
 * connection is gone. */
static void stop(struct sending *sending, const struct error *why)
{
    note(sending, why);
    if (sending->end.status == STATUS_OK) {
        sending->end = *why;
    }
    sending->keeping = sending->keep;
    sending->over = sending->over || !sending->keeping;
    if (sending->conn != NULL && !redis_conn_is_open(sending->conn)) {
        for (; sending->in_flight > 0; sending->in_flight--) {
            lose(sending, &sending->calls[sending->oldest], why, true);
            sending->oldest = (sending->oldest + 1) % SLOTS;
        }
    }
}

/* The queue, or where `said` is no success Redis, has no room for what is in the call. Those behind
 * it are sent all the same where nothing is kept: there may be some by then. */
static void lose_for_room(struct sending *sending, struct call *call, const struct error *said)
{
    struct error full = *said;

    if (said->status == STATUS_OK) {
        (void)say_full(sending->order->client, sending->order->queue, &full);
    }
    note(sending, &full);
    if (sending->keep || sending->order->room_ms > 0) {
        stop(sending, &full);
    }
    lose(sending, call, &full, false);
}

/* Redis itself is full: it took none of a call, and may take them all once workers have made room.
 */
static bool may_wait(const struct sending *sending, const struct error *err)
{
    return err->status == STATUS_OOM && sending->order->room_ms > 0 &&
           redis_conn_is_open(sending->conn);
}

/* ---- many: answers -------------------------------------------------------------------------- */

/* What the queue had no room for stays in the call. */
static void take_answers(struct sending *sending, struct call *call)
{
    size_t left = 0;

    for (size_t i = 0; i < call->count; i++) {
        if (sending->answers[i].full) {
            call->items[left] = call->items[i];
            call->indexes[left++] = call->indexes[i];
        } else {
            tell_in(sending, call, i, &sending->answers[i]);
        }
    }
    call->count = left;
    if (left == 0) {
        empty(call);
    }
}

static void refuse(struct sending *sending, size_t index, const struct error *why)
{
    if (sending->why.status == STATUS_OK) {
        sending->why_of_one = true;
        sending->why_index = index;
    }
    note(sending, why);
    tell(sending, index, STILLHOUSE_INVALID, "");
}

static void set_bound(struct sending *sending)
{
    size_t bytes = 0;

    for (size_t i = 0; i < sending->in_flight; i++) {
        bytes += sending->calls[(sending->oldest + i) % SLOTS].bytes;
    }
    redis_conn_set_command_timeout(sending->conn, sending->order->client->config.bounds.command_ms +
                                                      (int)(bytes / BYTES_PER_MS));
}

/* Reads the answers of the oldest call; what is to be sent again stays in it. A refusal is that
 * call's alone; a broken connection all calls'. */
static void collect(struct sending *sending)
{
    struct call *call = &sending->calls[sending->oldest];
    struct error err = {0};

    set_bound(sending);
    err.status = queue_enqueue_collect(sending->conn, call->count, sending->answers, &err);
    if (err.status != STATUS_OK && !redis_conn_is_open(sending->conn)) {
        stop(sending, &err);
        return;
    }
    sending->oldest = (sending->oldest + 1) % SLOTS;
    sending->in_flight--;
    if (err.status == STATUS_OK) {
        take_answers(sending, call);
        if (call->count > 0 && sending->order->room_ms == 0) {
            lose_for_room(sending, call, &err);
        }
    } else if (err.status == STATUS_INVALID && call->count > 1) {
        call->singly = true;
    } else if (err.status == STATUS_INVALID) {
        refuse(sending, call->indexes[0], &err);
        empty(call);
    } else if (!may_wait(sending, &err)) {
        if (err.status == STATUS_GARBLED) { /* somebody is there, and said something else */
            err.status = STATUS_FAILED;
        }
        stop(sending, &err);
        lose(sending, call, &err, false);
    }
}

/* ---- many: again ---------------------------------------------------------------------------- */

static enum status ask_again(struct sending *sending, const struct call *call, size_t at,
                             size_t count, struct error *err)
{
    err->status = queue_enqueue(sending->conn,
                                &(struct queue_items){sending->order->queue,
                                                      sending->order->client->config.max_backlog,
                                                      call->items + at, count},
                                sending->answers, err);
    return err->status;
}

/* The one job for which a call was refused is the only one that stays out; and those that the queue
 * has no room for stay in the call. */
static void send_singly(struct sending *sending, struct call *call)
{
    const size_t count = call->count;
    struct error err = {0};
    size_t left = 0;

    call->singly = false;
    for (size_t i = 0; i < count; i++) {
        const enum status status = ask_again(sending, call, i, 1, &err);
        if (status == STATUS_INVALID) {
            refuse(sending, call->indexes[i], &err);
        } else if (status == STATUS_OK && !sending->answers[0].full) {
            tell_in(sending, call, i, &sending->answers[0]);
        } else {
            const size_t rest = status == STATUS_OK ? 1 : count - i;
            memmove(call->items + left, call->items + i, rest * sizeof call->items[0]);
            memmove(call->indexes + left, call->indexes + i, rest * sizeof call->indexes[0]);
            left += rest;
            if (status != STATUS_OK) {
                break;
            }
        }
    }
    call->count = left;
    if (err.status != STATUS_OK && err.status != STATUS_INVALID && !may_wait(sending, &err)) {
        stop(sending, &err);
        lose(sending, call, &err, !redis_conn_is_open(sending->conn));
    }
}

static void wait_for_room(struct sending *sending, struct call *call)
{
    int64_t until_ms = clock_now_ms() + sending->order->room_ms;
    int64_t pause_ms = PAUSE_MIN_MS;
    struct error err = {0};

    while (call->count > 0) {
        const size_t before = call->count;
        const int64_t left_ms = until_ms - clock_now_ms();
        if (left_ms <= 0) {
            lose_for_room(sending, call, &err);
            return;
        }
        clock_sleep_ms(pause_ms < left_ms ? pause_ms : left_ms);
        if (ask_again(sending, call, 0, call->count, &err) == STATUS_OK) {
            take_answers(sending, call);
        } else if (!may_wait(sending, &err)) {
            stop(sending, &err);
            lose(sending, call, &err, !redis_conn_is_open(sending->conn));
            return;
        }
        pause_ms = call->count < before ? PAUSE_MIN_MS : pause_ms * 2;
        pause_ms = pause_ms > PAUSE_MAX_MS ? PAUSE_MAX_MS : pause_ms;
        if (call->count < before) {
            until_ms = clock_now_ms() + sending->order->room_ms;
        }
    }
}

/* Reads all answers, then sends again what is to be, in order; then no call holds anything but the
 * one that is filled. */
static void drain(struct sending *sending, size_t first)
{
    while (sending->in_flight > 0) {
        collect(sending);
    }
    for (size_t i = 0; i < IN_FLIGHT; i++) {
        struct call *call = &sending->calls[(first + i) % SLOTS];
        if (call->count > 0 && sending->end.status == STATUS_OK && call->singly) {
            send_singly(sending, call);
        }
        if (call->count > 0 && sending->end.status == STATUS_OK) {
            wait_for_room(sending, call);
        }
        if (call->count > 0) {
            lose(sending, call, &sending->end, false);
        }
    }
}

/* ---- many: calls ---------------------------------------------------------------------------- */

/* Puts the call that was filled on its way. */
static void dispatch(struct sending *sending)
{
    struct call *call = &sending->calls[(sending->oldest + sending->in_flight) % SLOTS];
    struct error err = {0};

    if (call->count == 0) {
        return;
    }
    if (sending->end.status == STATUS_OK) {
        err.status = queue_enqueue_append(
            sending->conn,
            &(struct queue_items){sending->order->queue, sending->order->client->config.max_backlog,
                                  call->items, call->count},
            &err);
        if (err.status != STATUS_OK) {
            stop(sending, &err);
        }
    }
    if (sending->end.status != STATUS_OK) {
        lose(sending, call, &sending->end, false);
        return;
    }
    const size_t first = sending->oldest;
    sending->in_flight++;
    if (sending->in_flight == IN_FLIGHT) {
        collect(sending);
        if (sending->calls[first].count > 0) {
            drain(sending, first);
        }
    }
}

static bool copy(struct arena *arena, struct slice from, struct slice *to)
{
    char *made = arena_array(arena, from.bytes + 1, 1);

    if (made == NULL) {
        return false;
    }
    if (from.bytes > 0) {
        memcpy(made, from.data, from.bytes);
    }
    made[from.bytes] = '\0';
    *to = (struct slice){made, from.bytes};
    return true;
}

/* Makes the next job and adds it to the call that is filled. */
static void add_job(struct sending *sending, struct call *call)
{
    struct job_draft draft;
    struct error err = {0};

    err.status = sending->order->make(sending->order->context, &draft, &err);
    if (err.status == STATUS_NOT_FOUND) {
        sending->over = true;
        return;
    }
    if (err.status == STATUS_INVALID) {
        refuse(sending, sending->next++, &err);
        return;
    }
    if (err.status == STATUS_OK) {
        const struct queue_item item = draft_item(sending->order->client, &draft);
        struct queue_item *to = &call->items[call->count];
        if (copy(&call->arena, item.id, &to->id) && copy(&call->arena, item.domain, &to->domain) &&
            copy(&call->arena, item.options, &to->options) &&
            copy(&call->arena, item.body, &to->body)) {
            call->indexes[call->count++] = sending->next++;
            call->bytes += item.body.bytes;
            return;
        }
        (void)error_set(&err, STATUS_OOM, "out of memory for a call");
    }
    stop(sending, &err);
    sending->over = true;
    tell(sending, sending->next++, client_status(err.status), "");
}

static void take_all(struct sending *sending)
{
    while (!sending->over) {
        struct call *call = &sending->calls[(sending->oldest + sending->in_flight) % SLOTS];
        add_job(sending, call);
        if (call->count == CALL_JOBS || call->bytes >= CALL_BYTES) {
            dispatch(sending);
        }
    }
    dispatch(sending);
}

static enum status send_all(struct redis_conn *conn, void *context, struct error *err)
{
    struct sending *sending = context;

    sending->conn = conn;
    take_all(sending);
    drain(sending, sending->oldest);
    sending->conn = NULL;
    *err = sending->end;
    return sending->end.status;
}

static stillhouse_status finish(struct sending *sending)
{
    stillhouse_client *client = sending->order->client;

    for (; sending->next < sending->order->count; sending->next++) { /* not looked at */
        tell(sending, sending->next, client_status(sending->end.status), "");
    }
    if (sending->why_of_one && sending->next > 1) { /* of one job it need not be said which */
        (void)error_wrap(&sending->why, "[%zu]", sending->why_index);
    }
    if (sending->worst != STILLHOUSE_OK) {
        (void)client_failed(client, &sending->why);
    }
    if (sending->why_not.status != STATUS_OK) {
        say_not_kept(client, &sending->why_not);
    } else if (sending->worst == STILLHOUSE_KEPT) {
        (void)error_wrap(&client->err, "kept in the outbox");
    }
    return sending->worst;
}

stillhouse_status send_many(const struct send_order *order)
{
    struct error err = {0};

    struct sending *sending = calloc(1, sizeof *sending);
    if (sending == NULL) {
        (void)error_set(&err, STATUS_OOM, "out of memory");
        for (size_t i = 0; i < order->count; i++) {
            order->tell(order->context, i, STILLHOUSE_FAILED, "", false);
        }
        return client_failed(order->client, &err);
    }
    sending->order = order;
    sending->keep = may_keep(order->client, order->queue);
    err.status = sending->keep ? flush_make_way(order->client, &err) : STATUS_OK;
    if (err.status == STATUS_OK) {
        err.status = link_run_once(order->client->link, send_all, sending, &err);
    }
    if (err.status != STATUS_OK) {
        if (sending->end.status == STATUS_OK) { /* it did not come to send_all */
            stop(sending, &err);
        }
        take_all(sending);
        if (!sending->keeping && severity(client_status(err.status)) > severity(sending->worst)) {
            sending->worst = client_status(err.status);
        }
    }
    const stillhouse_status worst = finish(sending);
    for (size_t i = 0; i < SLOTS; i++) {
        arena_free(&sending->calls[i].arena);
    }
    free(sending);
    return worst;
}
