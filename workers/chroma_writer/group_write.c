#include "chroma_writer/group_write.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "context/asking.h"
#include "rules/halving.h"

enum {
    WAIT_MS = 20000,
    HAND_BYTES = 8 * 1024 * 1024, /* of texts a request, far below what Chroma takes */
    RETRY_LEASE_MS = 1000,
    SILENCES_MAX = 4, /* in a row: two bad records among good ones bring fewer */
};

struct group_write {
    pthread_mutex_t lock;
    pthread_cond_t changed; /* the line, who leads, or an order's `done` */
    struct writer *writer;
    struct write_order *first; /* orders with records that nobody has taken yet */
    struct write_order *last;
    size_t leaders;
    size_t leaders_max;
    size_t handed_count;
    size_t handed[]; /* slots of the lease between two leaders */
};

/* What a leader takes at once: records of one domain, no two with the same id. */
struct hand {
    const char *domain;
    size_t count;
    size_t bytes;
    struct record_write *list[GROUP_WRITE_MAX];
    struct write_order *owner[GROUP_WRITE_MAX];
};

struct group_write *group_write_new(struct writer *writer, size_t writers)
{
    struct group_write *group = calloc(1, sizeof *group + writers * sizeof group->handed[0]);
    if (group == NULL) {
        return NULL;
    }

    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&group->changed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&group->lock, NULL);
    group->writer = writer;
    group->leaders_max = writers;
    return group;
}

void group_write_free(struct group_write *group)
{
    if (group == NULL) {
        return;
    }
    pthread_cond_destroy(&group->changed);
    pthread_mutex_destroy(&group->lock);
    free(group);
}

void record_write_fail(struct record_write *write, const struct failure *failure)
{
    if (write->failed) {
        return;
    }
    struct failure own = *failure;
    own.document = write->record.id;
    task_judge_failure(write->task, &own);
    write->failed = true;
}

/* ---- the line, under the lock -------------------------------------------------------------- */

static void stand_in_line(struct group_write *group, struct write_order *order)
{
    order->next = NULL;
    if (group->first == NULL) {
        group->first = order;
    } else {
        group->last->next = order;
    }
    group->last = order;
}

static void leave_line(struct group_write *group, struct write_order *order)
{
    struct write_order **link = &group->first;
    struct write_order *before = NULL;

    while (*link != NULL && *link != order) {
        before = *link;
        link = &before->next;
    }
    if (*link == NULL) {
        return;
    }
    *link = order->next;
    if (group->last == order) {
        group->last = before;
    }
}

static bool holds(const struct hand *hand, struct slice id)
{
    for (size_t i = 0; i < hand->count; i++) {
        const struct slice other = hand->list[i]->record.id;
        if (other.bytes == id.bytes && memcmp(other.data, id.data, id.bytes) == 0) {
            return true;
        }
    }
    return false;
}

/* Another lane may have the same document in hand (its job was delivered twice): the later one goes
 * into the next request. */
static bool fits(const struct hand *hand, const struct record_write *write)
{
    return hand->count == 0 || (hand->count < GROUP_WRITE_MAX &&
                                hand->bytes + write->record.document.bytes <= HAND_BYTES &&
                                !holds(hand, write->record.id));
}

/* Takes records of the domain that has waited longest. */
static void take(struct group_write *group, struct hand *hand)
{
    struct write_order *next = NULL;

    hand->count = 0;
    hand->bytes = 0;
    hand->domain = group->first->domain;
    for (struct write_order *order = group->first; order != NULL; order = next) {
        next = order->next;
        if (strcmp(order->domain, hand->domain) != 0) {
            continue;
        }
        while (order->taken < order->count && fits(hand, order->list[order->taken])) {
            struct record_write *write = order->list[order->taken++];
            hand->bytes += write->record.document.bytes;
            hand->owner[hand->count] = order;
            hand->list[hand->count++] = write;
        }
        if (order->taken == order->count) {
            leave_line(group, order);
        }
    }
}

/* Nothing more of this order is written. */
static void give_up(struct group_write *group, struct write_order *order,
                    const struct failure *failure)
{
    for (size_t i = order->taken; i < order->count; i++) {
        record_write_fail(order->list[i], failure);
    }
    order->count = order->taken;
    leave_line(group, order);
}

/* What became of a hand: which of its records passed, which failed, alone or with others. */
struct outcome {
    struct failure failure; /* why the whole failed; `err` is NULL where nothing is left of it */
    bool passed[GROUP_WRITE_MAX];
    bool alone[GROUP_WRITE_MAX];
    struct error *errors; /* of those alone, in the leader's arena; NULL where there are none */
    bool is_away;         /* it will not go better for the rest */
};

/* Another record may have passed in this request, or in others of this process. */
static bool others_pass(struct context *ctx, const struct hand *hand, size_t at, bool in_hand)
{
    const struct job *job = hand->list[at]->task->job;
    const int64_t tried_unix_ms = job != NULL ? task_tried_unix_ms(job) : 0;

    return in_hand || (tried_unix_ms > 0 &&
                       upstreams_wrote_since(ctx->upstreams, hand->domain, tried_unix_ms));
}

/* Under the lock: another leader may have a record of the same task. */
static void put_down(struct group_write *group, struct context *ctx, const struct hand *hand,
                     const struct outcome *outcome)
{
    bool any_passed = false;

    for (size_t i = 0; i < hand->count; i++) {
        any_passed = any_passed || outcome->passed[i];
    }
    for (size_t i = 0; i < hand->count; i++) {
        hand->owner[i]->done++;
        if (!outcome->passed[i]) {
            struct failure own = outcome->failure;
            own.alone = outcome->alone[i];
            own.err = own.alone ? &outcome->errors[i] : outcome->failure.err;
            own.others_pass = own.alone && others_pass(ctx, hand, i, any_passed);
            record_write_fail(hand->list[i], &own);
        }
        if (outcome->is_away) {
            give_up(group, hand->owner[i], &outcome->failure);
        }
    }
    pthread_cond_broadcast(&group->changed);
}

static bool any_untaken(const struct write_order *orders, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (orders[i].taken < orders[i].count) {
            return true;
        }
    }
    return false;
}

static bool all_done(const struct write_order *orders, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (orders[i].done < orders[i].count) {
            return false;
        }
    }
    return true;
}

size_t group_write_waiting(struct group_write *group)
{
    size_t records = 0;

    pthread_mutex_lock(&group->lock);
    for (const struct write_order *order = group->first; order != NULL; order = order->next) {
        records += order->count - order->taken;
    }
    pthread_mutex_unlock(&group->lock);
    return records;
}

/* The lease is the fleet's affair, not the job's: no attempt is burnt for waiting in vain. */
static void park_untaken(struct group_write *group, struct write_order *orders, size_t count,
                         const struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        struct write_order *order = &orders[i];
        for (size_t j = order->taken; j < order->count; j++) {
            task_hold_back(order->list[j]->task, OPERATION_WRITE, RETRY_LEASE_MS, err->text);
            order->list[j]->failed = true;
        }
        order->count = order->taken;
        leave_line(group, order);
    }
}

/* ---- leading ------------------------------------------------------------------------------- */

/* A hand on its way to Chroma. */
struct writing {
    struct context *ctx;
    const struct hand *hand;
    struct outcome *outcome;
    bool any_passed;
    size_t silences;   /* requests without an answer since the last that passed */
    struct error away; /* why Chroma is away, though some passed; STATUS_OK = it is not */
};

static bool is_away(const struct writing *writing)
{
    return writing->away.status != STATUS_OK;
}

static enum status send(struct writing *writing, struct part part, struct error *err)
{
    const struct hand *hand = writing->hand;
    struct chroma_record records[GROUP_WRITE_MAX];

    for (size_t i = 0; i < part.count; i++) {
        records[i] = hand->list[part.from + i]->record;
    }
    const enum status status =
        chroma_upsert(context_chroma(writing->ctx), hand->domain, records, part.count, err);
    context_progress(writing->ctx);
    if (status == STATUS_OK) {
        memset(writing->outcome->passed + part.from, true, part.count);
        writing->any_passed = true;
        writing->silences = 0;
        return STATUS_OK;
    }
    writing->silences += failure_is_outage(err);
    if (!failure_may_be_text(err) || writing->silences >= SILENCES_MAX) {
        writing->away = *err;
    }
    return status;
}

static void note_alone(struct writing *writing, size_t at, const struct error *err)
{
    struct outcome *outcome = writing->outcome;

    if (outcome->errors == NULL) {
        outcome->errors =
            arena_array(&writing->ctx->arena, writing->hand->count, sizeof *outcome->errors);
    }
    if (outcome->errors != NULL) { /* without memory it fails with the others */
        outcome->alone[at] = true;
        outcome->errors[at] = *err;
    }
}

/* Who failed alone with a 500 while others passed gets a second chance: servers stumble. In an
 * outage nobody has it: this one and those behind it wait, and so do those that silence met. */
static void try_again(struct writing *writing)
{
    struct outcome *outcome = writing->outcome;

    for (size_t i = 0; i < writing->hand->count; i++) {
        const enum status said = outcome->errors != NULL ? outcome->errors[i].status : STATUS_OK;
        struct error err = {0};
        if (!outcome->alone[i] || said == STATUS_INVALID || said == STATUS_FULL) {
            continue;
        }
        if (!is_away(writing) && (said == STATUS_FAILED || said == STATUS_GARBLED)) {
            outcome->alone[i] = send(writing, (struct part){i, 1}, &err) != STATUS_OK;
            if (outcome->alone[i] && failure_is_outage(&err)) {
                writing->away = err;
            }
        }
        outcome->alone[i] = outcome->alone[i] && !is_away(writing);
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
            note_alone(writing, part.from, &err);
        }
        halving_tell(&halving, passed);
        if (!writing->any_passed && !failure_is_own_check(&err) && halving.sent >= patience) {
            return;
        }
    }
}

/* A record that failed before and fails again, alone, is no news of Chroma: one text's fault opens
 * no breaker. An open one it does not close either. */
static bool is_known_to_fail(struct context *ctx, const struct hand *hand, const struct error *err)
{
    const struct job *job = hand->list[0]->task->job;

    return hand->count == 1 && failure_may_be_text(err) && job != NULL &&
           task_tried_unix_ms(job) > 0 &&
           upstreams_state(ctx->upstreams, OPERATION_WRITE) == BREAKER_CLOSED;
}

/* Upserts what is in the hand; when that fails, in halves. The breaker hears of it once. */
static void upsert(struct context *ctx, const struct hand *hand, struct outcome *outcome,
                   struct error *first)
{
    struct writing writing = {.ctx = ctx, .hand = hand, .outcome = outcome};
    const enum status status = send(&writing, (struct part){0, hand->count}, first);

    outcome->failure = (struct failure){.operation = OPERATION_WRITE, .err = first};
    if (status != STATUS_OK && failure_may_be_text(first)) {
        if (hand->count > 1) {
            halve(&writing, first);
        } else {
            note_alone(&writing, 0, first);
        }
    }
    if (status != STATUS_OK && writing.any_passed) {
        try_again(&writing);
    }
    if (writing.any_passed) {
        if (is_away(&writing)) {
            *first = writing.away; /* of those that wait */
        }
        (void)asking_report_chroma(ctx, OPERATION_WRITE, STATUS_OK, NULL);
        upstreams_note_written(ctx->upstreams, hand->domain, context_now_unix_ms(ctx));
        return;
    }
    outcome->is_away = !failure_is_own_check(first);
    if (status == STATUS_INVALID || is_known_to_fail(ctx, hand, first)) {
        /* Of these texts, until others pass. */
        upstreams_cancel(ctx->upstreams, OPERATION_WRITE);
        if (chroma_take_look(context_chroma(ctx)) == CHROMA_LOOK_FAILED) {
            outcome->failure.operation = OPERATION_COLLECTION;
            asking_report(ctx, OPERATION_COLLECTION, status, first);
        }
    } else {
        outcome->failure.operation = asking_report_chroma(ctx, OPERATION_WRITE, status, first);
    }
}

/* Writes from the front of the line until the own orders are taken. Under the lock, but for the
 * requests. */
static void write_line(struct group_write *group, struct context *ctx,
                       const struct write_order *orders, size_t count)
{
    while (any_untaken(orders, count)) {
        struct hand hand;
        struct outcome outcome = {0};
        struct error err = {0};

        take(group, &hand);
        pthread_mutex_unlock(&group->lock);
        upsert(ctx, &hand, &outcome, &err);
        pthread_mutex_lock(&group->lock);
        put_down(group, ctx, &hand, &outcome);
    }
}

static void let_go(struct group_write *group, struct context *ctx, size_t slot)
{
    pthread_mutex_unlock(&group->lock);
    writer_release(group->writer, context_redis(ctx), slot);
    pthread_mutex_lock(&group->lock);
    group->leaders--;
}

/* Leads with a slot of the lease, then hands it on. Under the lock, but for requests. */
static void lead(struct group_write *group, struct context *ctx, const struct write_order *orders,
                 size_t count, size_t slot)
{
    write_line(group, ctx, orders, count);
    if (group->first != NULL && writer_may_stay(group->writer, slot)) {
        group->handed[group->handed_count++] = slot;
    } else {
        let_go(group, ctx, slot);
    }
    pthread_cond_broadcast(&group->changed);
}

/* Asks for the lease and leads. Under the lock, but while it waits. */
static void apply(struct group_write *group, struct context *ctx, struct write_order *orders,
                  size_t count, int64_t until_ms)
{
    struct error err = {0};
    size_t slot = 0;
    const int64_t left_ms = until_ms - clock_now_ms();

    group->leaders++;
    pthread_mutex_unlock(&group->lock);
    const enum status status = writer_acquire(group->writer, context_redis(ctx), &ctx->random,
                                              left_ms > 0 ? left_ms : 0, &slot, &err);
    pthread_mutex_lock(&group->lock);
    if (status == STATUS_OK) {
        lead(group, ctx, orders, count, slot);
        return;
    }
    group->leaders--;
    park_untaken(group, orders, count, &err);
    pthread_cond_broadcast(&group->changed);
}

/* Waits for a change; where some records are still in line, until `until_ms` at the longest. */
static void wait_in_line(struct group_write *group, struct context *ctx, struct write_order *orders,
                         size_t count, int64_t until_ms)
{
    const struct timespec until = {.tv_sec = until_ms / 1000,
                                   .tv_nsec = (until_ms % 1000) * 1000000};

    if (!any_untaken(orders, count)) {
        pthread_cond_wait(&group->changed, &group->lock); /* a leader has them: it will answer */
    } else if (pthread_cond_timedwait(&group->changed, &group->lock, &until) != 0) {
        struct error err = {0};
        (void)error_set(&err, STATUS_TIMEOUT, "other lanes wrote for %d ms", (int)WAIT_MS);
        park_untaken(group, orders, count, &err);
    }
    context_progress(ctx);
}

void group_write_orders(struct group_write *group, struct context *ctx, struct write_order *orders,
                        size_t count)
{
    const int64_t until_ms = clock_now_ms() + WAIT_MS;

    context_phase(ctx, PHASE_UPSERT);
    pthread_mutex_lock(&group->lock);
    for (size_t i = 0; i < count; i++) {
        orders[i].taken = 0;
        orders[i].done = 0;
        if (orders[i].count > 0) {
            stand_in_line(group, &orders[i]);
        }
    }
    while (!all_done(orders, count)) {
        const bool untaken = any_untaken(orders, count);
        if (untaken && group->handed_count > 0) {
            lead(group, ctx, orders, count, group->handed[--group->handed_count]);
        } else if (untaken && group->leaders < group->leaders_max) {
            apply(group, ctx, orders, count, until_ms);
        } else {
            wait_in_line(group, ctx, orders, count, until_ms);
        }
    }
    while (group->first == NULL && group->handed_count > 0) {
        let_go(group, ctx, group->handed[--group->handed_count]); /* whom it was for gave up */
    }
    pthread_mutex_unlock(&group->lock);
}
