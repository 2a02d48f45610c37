/* The writer's threads: take a hand from the line, write it, say how it ended; again.
 *
 * Happy path of a hand: one upsert, and one delete where it replaces anything. Failure modes: see
 * halve and put_down. On close the line is empty.
 */
#include "chroma_writer/writer.h"

#include <pthread.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "chroma_writer/same_prompt.h"
#include "chroma_writer/slots.h"
#include "context/asking.h"
#include "rules/halving.h"
#include "rules/metadata.h"

enum {
    WAIT_MS = 20000,
    LOOK_MS = 200,                /* how often a lane that waits looks whether the writer moves */
    HAND_BYTES = 8 * 1024 * 1024, /* of texts a request, far below what Chroma takes */
    SILENCES_MAX = 4,             /* in a row: two bad records among good ones bring fewer */
    POLL_MIN_MS = 2,
    POLL_SPREAD_MS = 8,
    ARENA_KEEP_BYTES = 64 * 1024,
};

struct writer_thread {
    struct writer *writer;
    pthread_t thread;
    struct context ctx;
    bool is_open; /* its clients are */
};

struct writer {
    struct writer_config config;
    struct slots *slots;
    pthread_mutex_t lock;      /* guards all below, and the orders in line */
    pthread_cond_t ordered;    /* for the threads: the line, or the end */
    pthread_cond_t changed;    /* for the lanes: an order's `done` */
    struct write_order *first; /* orders of which not all is taken */
    struct write_order *last;
    bool ends;
    size_t busy; /* threads that do not wait for orders */
    size_t thread_count;
    size_t thread_max;
    struct writer_thread threads[];
};

/* What a thread takes at once: records of one domain, no two with the same id. */
struct hand {
    const char *domain;
    size_t count;
    size_t bytes;

    /* What became of it. */
    struct error error; /* why those failed that did not fail alone */
    enum operation operation;
    bool is_away;           /* it will not go better for the rest */
    struct asked replacing; /* why what they replace is not deleted, where .err says anything */

    struct held {
        struct record_write *write;
        struct write_order *order;
        bool passed;
        bool alone;
        struct error error; /* of one alone */
    } each[WRITER_REQUEST_MAX];
};

/* ---- the line, under the lock -------------------------------------------------------------- */

static bool has_records(const struct write_order *order)
{
    return order->count > 0;
}

static void stand_in_line(struct writer *writer, struct write_order *order)
{
    order->next = NULL;
    if (writer->first == NULL) {
        writer->first = order;
    } else {
        writer->last->next = order;
    }
    writer->last = order;
}

static void leave_line(struct writer *writer, struct write_order *order)
{
    struct write_order **link = &writer->first;
    struct write_order *before = NULL;

    while (*link != NULL && *link != order) {
        before = *link;
        link = &before->next;
    }
    if (*link == NULL) {
        return;
    }
    *link = order->next;
    if (writer->last == order) {
        writer->last = before;
    }
}

static void end_write(struct record_write *write, enum write_state state, const struct error *err)
{
    write->state = state;
    if (err != NULL && write->error == NULL) {
        write->error = must_alloc(1, sizeof *write->error);
        *write->error = *err;
    }
}

/* Nothing more of this order is written. */
static void give_up(struct writer *writer, struct write_order *order, enum write_state state,
                    enum operation operation, const struct error *err)
{
    for (size_t i = order->taken; i < order->size; i++) {
        if (has_records(order)) {
            order->writes[i]->operation = operation;
            end_write(order->writes[i], state, err);
        } else {
            order->state = state;
            order->operation = operation;
            order->error = *err;
        }
    }
    order->size = order->taken;
    leave_line(writer, order);
}

static void hold_back_line(struct writer *writer, const struct error *err)
{
    while (writer->first != NULL) {
        give_up(writer, writer->first, WRITE_HELD_BACK, OPERATION_WRITE, err);
    }
    pthread_cond_broadcast(&writer->changed);
}

static bool holds(const struct hand *hand, struct slice id)
{
    for (size_t i = 0; i < hand->count; i++) {
        if (slice_equal(hand->each[i].write->record.id, id)) {
            return true;
        }
    }
    return false;
}

/* Another lane may have the same document in hand (its job was delivered twice): the later one goes
 * into the next request. */
static bool fits(const struct hand *hand, const struct record_write *write)
{
    return hand->count == 0 || (hand->count < WRITER_REQUEST_MAX &&
                                hand->bytes + write->record.document.bytes <= HAND_BYTES &&
                                !holds(hand, write->record.id));
}

/* Takes records of the domain that has waited longest. */
static void take(struct writer *writer, struct hand *hand)
{
    struct write_order *next = NULL;

    memset(hand, 0, offsetof(struct hand, each));
    hand->domain = writer->first->domain;
    for (struct write_order *order = writer->first; order != NULL; order = next) {
        next = order->next;
        if (!has_records(order) || strcmp(order->domain, hand->domain) != 0) {
            continue;
        }
        while (order->taken < order->size && fits(hand, order->writes[order->taken])) {
            struct held *held = &hand->each[hand->count++];
            held->write = order->writes[order->taken++];
            held->order = order;
            held->passed = false;
            held->alone = false;
            hand->bytes += held->write->record.document.bytes;
        }
        if (order->taken == order->size) {
            leave_line(writer, order);
        }
    }
}

static bool any_passed(const struct hand *hand)
{
    for (size_t i = 0; i < hand->count; i++) {
        if (hand->each[i].passed) {
            return true;
        }
    }
    return false;
}

static void put_down(struct writer *writer, const struct hand *hand)
{
    const bool others_passed = any_passed(hand);

    for (size_t i = 0; i < hand->count; i++) {
        const struct held *held = &hand->each[i];
        struct record_write *write = held->write;
        held->order->done++;
        if (!held->passed) {
            write->operation = hand->operation;
            write->alone = held->alone;
            write->others_passed = held->alone && others_passed;
            end_write(write, WRITE_FAILED, held->alone ? &held->error : &hand->error);
        } else if (write->replaces[0].bytes > 0 && hand->replacing.err.status != STATUS_OK) {
            write->operation = hand->replacing.operation; /* the next try finds that it stands */
            end_write(write, hand->replacing.tried ? WRITE_FAILED : WRITE_HELD_BACK,
                      &hand->replacing.err);
        } else {
            end_write(write, WRITE_PASSED, NULL);
        }
        if (hand->is_away) {
            give_up(writer, held->order, WRITE_FAILED, hand->operation, &hand->error);
        }
    }
    pthread_cond_broadcast(&writer->changed);
}

static bool all_taken(const struct write_order *orders, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (orders[i].taken < orders[i].size) {
            return false;
        }
    }
    return true;
}

static bool all_done(const struct write_order *orders, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (orders[i].done < orders[i].size) {
            return false;
        }
    }
    return true;
}

size_t writer_waiting(struct writer *writer)
{
    size_t waiting = 0;

    pthread_mutex_lock(&writer->lock);
    for (const struct write_order *order = writer->first; order != NULL; order = order->next) {
        waiting += order->size - order->taken;
    }
    pthread_mutex_unlock(&writer->lock);
    return waiting;
}

/* ---- a hand, in a thread ------------------------------------------------------------------- */

/* A hand on its way to Chroma. */
struct writing {
    struct context *ctx;
    struct hand *hand;
    size_t silences;   /* requests without an answer since the last that passed */
    struct error away; /* why Chroma is away, though some passed; STATUS_OK = it is not */
};

static bool is_away(const struct writing *writing)
{
    return writing->away.status != STATUS_OK;
}

static enum status send(struct writing *writing, struct part part, struct error *err)
{
    struct hand *hand = writing->hand;
    struct chroma_record records[WRITER_REQUEST_MAX];

    for (size_t i = 0; i < part.count; i++) {
        records[i] = hand->each[part.from + i].write->record;
    }
    const enum status status =
        chroma_upsert(context_chroma(writing->ctx), hand->domain, records, part.count, err);
    context_progress(writing->ctx);
    if (status == STATUS_OK) {
        for (size_t i = 0; i < part.count; i++) {
            hand->each[part.from + i].passed = true;
        }
        writing->silences = 0;
        return STATUS_OK;
    }
    writing->silences += failure_is_outage(err);
    if (!failure_may_be_text(err) || writing->silences >= SILENCES_MAX) {
        writing->away = *err;
    }
    return status;
}

static void note_alone(struct hand *hand, size_t at, const struct error *err)
{
    hand->each[at].alone = true;
    hand->each[at].error = *err;
}

/* Who failed alone with a 500 while others passed gets a second chance: servers stumble. In an
 * outage nobody has it: this one and those behind it wait, and so do those that silence met. */
static void try_again(struct writing *writing)
{
    struct hand *hand = writing->hand;

    for (size_t i = 0; i < hand->count; i++) {
        struct held *held = &hand->each[i];
        struct error err = {0};
        if (!held->alone || held->error.status == STATUS_INVALID ||
            held->error.status == STATUS_FULL) {
            continue;
        }
        const enum status said = held->error.status;
        if (!is_away(writing) && (said == STATUS_FAILED || said == STATUS_GARBLED)) {
            held->alone = send(writing, (struct part){i, 1}, &err) != STATUS_OK;
            if (held->alone && failure_is_outage(&err)) {
                writing->away = err;
            }
        }
        held->alone = held->alone && !is_away(writing);
    }
}

/* Halves what failed until what is bad in it stands alone. There is no comparison of our own: where
 * nothing passes for a while, it is Chroma that fails; silence is not waited for more than twice.
 */
static void halve(struct writing *writing, const struct error *first)
{
    const bool is_slow = first->status == STATUS_TIMEOUT || first->status == STATUS_UNREACHABLE;
    const size_t patience = is_slow ? 2 : halving_patience(writing->hand->count);
    struct halving halving;
    struct part part;

    halving_start(&halving, writing->hand->count);
    while (halving_next(&halving, &part)) {
        struct error err = {0};
        const bool passed = send(writing, part, &err) == STATUS_OK;
        if (!passed && is_away(writing)) {
            return;
        }
        if (!passed && part.count == 1) {
            note_alone(writing->hand, part.from, &err);
        }
        halving_tell(&halving, passed);
        if (!any_passed(writing->hand) && !failure_is_own_check(&err) && halving.sent >= patience) {
            return;
        }
    }
}

/* A record that failed before and fails again, alone, is no news of Chroma: one text's fault opens
 * no breaker. An open one it does not close either. */
static bool is_known_to_fail(struct context *ctx, const struct hand *hand)
{
    return hand->count == 1 && failure_may_be_text(&hand->error) &&
           hand->each[0].write->tried_unix_ms > 0 &&
           upstreams_state(ctx->upstreams, OPERATION_WRITE) == BREAKER_CLOSED;
}

/* Upserts what is in the hand; when that fails, in halves. The breaker hears of it once. */
static void upsert(struct context *ctx, struct hand *hand)
{
    struct writing writing = {.ctx = ctx, .hand = hand};
    struct error *first = &hand->error;
    const enum status status = send(&writing, (struct part){0, hand->count}, first);

    hand->operation = OPERATION_WRITE;
    if (status != STATUS_OK && failure_may_be_text(first)) {
        if (hand->count > 1) {
            halve(&writing, first);
        } else {
            note_alone(hand, 0, first);
        }
    }
    if (status != STATUS_OK && any_passed(hand)) {
        try_again(&writing);
    }
    if (any_passed(hand)) {
        if (is_away(&writing)) {
            *first = writing.away; /* of those that wait */
        }
        (void)asking_report_chroma(ctx, OPERATION_WRITE, STATUS_OK, NULL);
        upstreams_note_written(ctx->upstreams, hand->domain, context_now_unix_ms(ctx));
        return;
    }
    hand->is_away = !failure_is_own_check(first);
    if (status == STATUS_INVALID || is_known_to_fail(ctx, hand)) {
        /* Of these texts, until others pass. */
        upstreams_cancel(ctx->upstreams, OPERATION_WRITE);
        if (chroma_take_look(context_chroma(ctx)) == CHROMA_LOOK_FAILED) {
            hand->operation = OPERATION_COLLECTION;
            asking_report(ctx, OPERATION_COLLECTION, status, first);
        }
    } else {
        hand->operation = asking_report_chroma(ctx, OPERATION_WRITE, status, first);
    }
}

/* Deletes what the records that stand take the place of: never what the same hand has written. */
static void replace(struct context *ctx, struct hand *hand)
{
    struct slice ids[WRITER_REQUEST_MAX * WRITER_REPLACES_MAX];
    size_t count = 0;

    for (size_t i = 0; i < hand->count; i++) {
        for (size_t j = 0; j < WRITER_REPLACES_MAX && hand->each[i].passed; j++) {
            const struct slice id = hand->each[i].write->replaces[j];
            if (id.bytes > 0 && !holds(hand, id)) {
                ids[count++] = id;
            }
        }
    }
    if (asking_delete(ctx, hand->domain, ids, count, &hand->replacing) != STATUS_OK) {
        log_debug("what was replaced stays: %s", hand->replacing.err.text);
    }
}

static void write_hand(struct context *ctx, struct hand *hand)
{
    upsert(ctx, hand);
    replace(ctx, hand);
}

/* ---- an order without records -------------------------------------------------------------- */

static void end_order(struct write_order *order, const struct asked *asked)
{
    order->state = asked->err.status == STATUS_OK ? WRITE_PASSED
                   : asked->tried                 ? WRITE_FAILED
                                                  : WRITE_HELD_BACK;
    order->operation = asked->operation;
    order->error = asked->err;
}

/* Deletes those of an order that are expired still: they are read again, under all slots, since
 * one that is written meanwhile is none. */
static void delete_expired(struct context *ctx, struct write_order *order, struct asked *asked)
{
    struct slice expired[WRITER_REQUEST_MAX];
    struct chroma_hits stored = {0};
    int64_t now_unix_ms = 0;
    size_t count = 0;
    const struct chroma_select select = {.domain = order->domain,
                                         .ids = order->expired,
                                         .count = order->expired_count,
                                         .fields = CHROMA_METADATA};

    if (asking_get(ctx, &select, &ctx->arena, &stored, asked) != STATUS_OK) {
        return;
    }
    if (context_ask_time(ctx, &now_unix_ms, &asked->err) != STATUS_OK) {
        asked->operation = OPERATION_REDIS;
        return;
    }
    for (size_t i = 0; i < stored.count; i++) {
        if (metadata_is_expired(&stored.examples[i], now_unix_ms) && count < WRITER_REQUEST_MAX) {
            expired[count++] = stored.examples[i].id;
        }
    }
    if (asking_delete(ctx, order->domain, expired, count, asked) == STATUS_OK) {
        order->deleted = count;
    }
}

static void wait_a_little(struct context *ctx)
{
    clock_sleep_ms(POLL_MIN_MS + (int64_t)(retry_random_next(&ctx->random) % POLL_SPREAD_MS));
    context_progress(ctx);
}

/* Takes the slots that other threads and processes have, one after the other; each is let go within
 * its 500 ms and a request. */
static void expire(struct writer *writer, struct context *ctx, struct write_order *order)
{
    const int64_t until_ms = clock_now_ms() + WAIT_MS;
    size_t *more = must_alloc(writer->thread_max, sizeof *more);
    struct asked asked = {.operation = OPERATION_WRITE};
    size_t count = 0;
    enum status status = STATUS_OK;

    while (status == STATUS_OK && count + 1 < writer->thread_max) {
        bool held = false;
        status = slots_try(writer->slots, context_redis(ctx), 0, &more[count], &held, &asked.err);
        count += held;
        if (status == STATUS_OK && !held && clock_now_ms() >= until_ms) {
            status = error_set(&asked.err, STATUS_TIMEOUT, "writer lease: others wrote for %d ms",
                               (int)WAIT_MS);
        } else if (!held) {
            wait_a_little(ctx);
        }
    }
    if (status == STATUS_OK) {
        delete_expired(ctx, order, &asked);
    }
    end_order(order, &asked);
    while (count > 0) {
        slots_release(writer->slots, context_redis(ctx), more[--count]);
    }
    free(more);
}

/* ---- the threads ---------------------------------------------------------------------------- */

/* Waits for a slot as long as anything is in line; false: nothing is any more. Under the lock, but
 * while it asks and waits. */
static bool get_slot(struct writer_thread *thread, size_t *slot)
{
    struct writer *writer = thread->writer;
    struct context *ctx = &thread->ctx;
    bool held = false;

    while (writer->first != NULL) {
        struct error err = {0};
        enum status status = STATUS_OK;
        pthread_mutex_unlock(&writer->lock);
        if (!thread->is_open) {
            status = context_open(ctx, &err);
            thread->is_open = status == STATUS_OK;
        }
        if (status == STATUS_OK) {
            status = slots_try(writer->slots, context_redis(ctx), retry_random_next(&ctx->random),
                               slot, &held, &err);
        }
        if (status == STATUS_OK && !held) {
            wait_a_little(ctx);
        }
        pthread_mutex_lock(&writer->lock);
        if (held) {
            return true;
        }
        if (status != STATUS_OK) {
            hold_back_line(writer, &err);
        }
    }
    return false;
}

/* Under the lock, but for the requests. */
static void write_next(struct writer_thread *thread)
{
    struct writer *writer = thread->writer;
    struct context *ctx = &thread->ctx;
    struct write_order *first = writer->first;
    struct hand hand;

    if (first->dimension > 0) {
        chroma_set_dimension(context_chroma(ctx), first->dimension);
    }
    if (has_records(first)) {
        take(writer, &hand);
    } else {
        first->taken = 1;
        leave_line(writer, first);
    }
    pthread_mutex_unlock(&writer->lock);
    if (has_records(first)) {
        write_hand(ctx, &hand);
    } else if (first->seen_count > 0) {
        struct asked asked = {0};
        same_prompt_trim(ctx, first->seen, first->seen_count, &asked);
        end_order(first, &asked);
    } else {
        expire(writer, ctx, first);
    }
    arena_reset(&ctx->arena, ARENA_KEEP_BYTES);
    pthread_mutex_lock(&writer->lock);
    if (has_records(first)) {
        put_down(writer, &hand);
    } else {
        first->done = 1;
        pthread_cond_broadcast(&writer->changed);
    }
}

static void *run(void *argument)
{
    struct writer_thread *thread = argument;
    struct writer *writer = thread->writer;

    pthread_mutex_lock(&writer->lock);
    for (;;) {
        size_t slot = 0;
        if (writer->first == NULL) {
            if (writer->ends) {
                break;
            }
            writer->busy--;
            pthread_cond_wait(&writer->ordered, &writer->lock);
            writer->busy++;
            continue;
        }
        if (!get_slot(thread, &slot)) {
            continue;
        }
        while (writer->first != NULL && slots_may_go_on(writer->slots, slot)) {
            write_next(thread);
        }
        pthread_mutex_unlock(&writer->lock);
        slots_release(writer->slots, context_redis(&thread->ctx), slot);
        pthread_mutex_lock(&writer->lock);
    }
    pthread_mutex_unlock(&writer->lock);
    return NULL;
}

/* A thread for each order in line that no idle one will take, as far as there are slots. */
static void start_threads(struct writer *writer)
{
    size_t wanted = writer->busy;

    for (const struct write_order *order = writer->first; order != NULL; order = order->next) {
        wanted++;
    }
    while (writer->thread_count < writer->thread_max && writer->thread_count < wanted) {
        struct writer_thread *thread = &writer->threads[writer->thread_count];
        thread->writer = writer;
        thread->ctx = (struct context){
            .settings = writer->config.settings,
            .metrics = writer->config.metrics,
            .upstreams = writer->config.upstreams,
            .redis_clock_ms = writer->config.redis_clock_ms,
        };
        context_progress(&thread->ctx);
        if (pthread_create(&thread->thread, NULL, run, thread) != 0) {
            break;
        }
        writer->thread_count++;
        writer->busy++;
    }
    if (writer->thread_count == 0) {
        struct error err = {0};
        (void)error_set(&err, STATUS_OOM, "writer: no thread to be had");
        hold_back_line(writer, &err);
    }
    pthread_cond_broadcast(&writer->ordered);
}

struct writer *writer_new(const struct writer_config *config)
{
    const size_t writers = (size_t)config->settings->chroma_writers;
    struct writer *writer = must_alloc(1, sizeof *writer + writers * sizeof writer->threads[0]);

    writer->config = *config;
    writer->slots = slots_new(config->settings->prefix, writers, config->token);
    writer->thread_max = writers;
    pthread_cond_init(&writer->changed, NULL);
    pthread_cond_init(&writer->ordered, NULL);
    pthread_mutex_init(&writer->lock, NULL);
    return writer;
}

void writer_free(struct writer *writer)
{
    if (writer == NULL) {
        return;
    }
    pthread_mutex_lock(&writer->lock);
    writer->ends = true;
    pthread_cond_broadcast(&writer->ordered);
    pthread_mutex_unlock(&writer->lock);
    for (size_t i = 0; i < writer->thread_count; i++) {
        pthread_join(writer->threads[i].thread, NULL);
        context_close(&writer->threads[i].ctx);
    }
    slots_free(writer->slots);
    pthread_cond_destroy(&writer->ordered);
    pthread_cond_destroy(&writer->changed);
    pthread_mutex_destroy(&writer->lock);
    free(writer);
}

void writer_renew(struct writer *writer, struct redis_conn *conn)
{
    slots_renew(writer->slots, conn);
}

/* ---- a lane --------------------------------------------------------------------------------- */

/* A lane moves as long as a thread does. */
static void follow(const struct writer *writer, struct context *ctx)
{
    const int64_t now_ms = clock_now_ms();

    for (size_t i = 0; i < writer->thread_count; i++) {
        if (now_ms -
                atomic_load_explicit(&writer->threads[i].ctx.progress_ms, memory_order_relaxed) <
            2 * LOOK_MS) {
            context_progress(ctx);
        }
    }
}

void writer_put(struct writer *writer, struct context *ctx, struct write_order *orders,
                size_t count)
{
    const int64_t until_ms = clock_now_ms() + WAIT_MS;

    context_phase(ctx, PHASE_UPSERT);
    pthread_mutex_lock(&writer->lock);
    for (size_t i = 0; i < count; i++) {
        orders[i].dimension = embedder_dimension(ctx->clients.embedder);
        orders[i].size = orders[i].seen_count + orders[i].expired_count > 0 ? 1 : orders[i].count;
        orders[i].taken = 0;
        orders[i].done = 0;
        if (orders[i].size > 0) {
            stand_in_line(writer, &orders[i]);
        }
    }
    start_threads(writer);
    while (!all_done(orders, count)) {
        const struct timespec until = clock_in_ms(LOOK_MS);
        (void)pthread_cond_clockwait(&writer->changed, &writer->lock, CLOCK_MONOTONIC, &until);
        if (clock_now_ms() >= until_ms && !all_taken(orders, count)) {
            struct error err = {0};
            (void)error_set(&err, STATUS_TIMEOUT, "writer lease: others wrote for %d ms",
                            (int)WAIT_MS);
            for (size_t i = 0; i < count; i++) {
                give_up(writer, &orders[i], WRITE_HELD_BACK, OPERATION_WRITE, &err);
            }
        }
        follow(writer, ctx);
    }
    pthread_mutex_unlock(&writer->lock);
}
