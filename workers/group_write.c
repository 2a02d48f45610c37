#include "group_write.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"

enum {
    WAIT_MS = 20000,
    HAND_BYTES = 8 * 1024 * 1024, /* of texts a request, far below what Chroma takes */
    RETRY_LEASE_MS = 1000,
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

void record_write_fail(struct record_write *write, const struct error *err)
{
    if (write->failed) {
        return;
    }
    task_judge_error(write->task, BLAME_CHROMA, err);
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
static void give_up(struct group_write *group, struct write_order *order, const struct error *err)
{
    for (size_t i = order->taken; i < order->count; i++) {
        record_write_fail(order->list[i], err);
    }
    order->count = order->taken;
    leave_line(group, order);
}

static void put_down(struct group_write *group, const struct hand *hand, enum status status,
                     const struct error *err)
{
    for (size_t i = 0; i < hand->count; i++) {
        hand->owner[i]->done++;
        if (status != STATUS_OK && verdict_of_status(status) == VERDICT_RETRY) {
            give_up(group, hand->owner[i], err); /* it will not go better for the rest */
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
            task_judge(order->list[j]->task, VERDICT_PARK, "%s", err->text);
            order->list[j]->task->wait_ms = RETRY_LEASE_MS;
            order->list[j]->failed = true;
        }
        order->count = order->taken;
        leave_line(group, order);
    }
}

/* ---- leading ------------------------------------------------------------------------------- */

static void fail(struct group_write *group, struct record_write *write, const struct error *err)
{
    pthread_mutex_lock(&group->lock); /* another leader may have a record of the same task */
    record_write_fail(write, err);
    pthread_mutex_unlock(&group->lock);
}

/* Upserts what is in the hand in one request; when the data was refused, record by record. */
static enum status upsert(struct group_write *group, struct lane_tools *tools,
                          const struct hand *hand, struct error *err)
{
    struct chroma_record records[GROUP_WRITE_MAX];

    for (size_t i = 0; i < hand->count; i++) {
        records[i] = hand->list[i]->record;
    }
    enum status status = chroma_upsert(tools->chroma, hand->domain, records, hand->count, err);
    tools_progress(tools);
    if (status != STATUS_INVALID || hand->count == 1) {
        for (size_t i = 0; i < hand->count && status != STATUS_OK; i++) {
            fail(group, hand->list[i], err);
        }
        return status;
    }
    for (size_t i = 0; i < hand->count; i++) {
        struct error own = {0};
        if (chroma_upsert(tools->chroma, hand->domain, &records[i], 1, &own) != STATUS_OK) {
            fail(group, hand->list[i], &own);
        }
        tools_progress(tools);
    }
    return STATUS_OK;
}

/* Writes from the front of the line until the own orders are taken. Under the lock, but for the
 * requests. */
static void write_line(struct group_write *group, struct lane_tools *tools,
                       const struct write_order *orders, size_t count)
{
    while (any_untaken(orders, count)) {
        struct hand hand;
        struct error err = {0};

        take(group, &hand);
        pthread_mutex_unlock(&group->lock);
        const enum status status = upsert(group, tools, &hand, &err);
        upstreams_report(tools->upstreams, METRICS_CHROMA, status, err.text);
        pthread_mutex_lock(&group->lock);
        put_down(group, &hand, status, &err);
    }
}

static void let_go(struct group_write *group, struct lane_tools *tools, size_t slot)
{
    pthread_mutex_unlock(&group->lock);
    writer_release(group->writer, tools->redis, slot);
    pthread_mutex_lock(&group->lock);
    group->leaders--;
}

/* Leads with a slot of the lease, then hands it on. Under the lock, but for requests. */
static void lead(struct group_write *group, struct lane_tools *tools,
                 const struct write_order *orders, size_t count, size_t slot)
{
    write_line(group, tools, orders, count);
    if (group->first != NULL && writer_may_stay(group->writer, slot)) {
        group->handed[group->handed_count++] = slot;
    } else {
        let_go(group, tools, slot);
    }
    pthread_cond_broadcast(&group->changed);
}

/* Asks for the lease and leads. Under the lock, but while it waits. */
static void apply(struct group_write *group, struct lane_tools *tools, struct write_order *orders,
                  size_t count, int64_t until_ms)
{
    struct error err = {0};
    size_t slot = 0;
    const int64_t left_ms = until_ms - clock_now_ms();

    group->leaders++;
    pthread_mutex_unlock(&group->lock);
    const enum status status = writer_acquire(group->writer, tools->redis, &tools->random,
                                              left_ms > 0 ? left_ms : 0, &slot, &err);
    pthread_mutex_lock(&group->lock);
    if (status == STATUS_OK) {
        lead(group, tools, orders, count, slot);
        return;
    }
    group->leaders--;
    park_untaken(group, orders, count, &err);
    pthread_cond_broadcast(&group->changed);
}

/* Waits for a change; where some records are still in line, until `until_ms` at the longest. */
static void wait_in_line(struct group_write *group, struct lane_tools *tools,
                         struct write_order *orders, size_t count, int64_t until_ms)
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
    tools_progress(tools);
}

void group_write_orders(struct group_write *group, struct lane_tools *tools,
                        struct write_order *orders, size_t count)
{
    const int64_t until_ms = clock_now_ms() + WAIT_MS;

    tools_phase(tools, PHASE_UPSERT);
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
            lead(group, tools, orders, count, group->handed[--group->handed_count]);
        } else if (untaken && group->leaders < group->leaders_max) {
            apply(group, tools, orders, count, until_ms);
        } else {
            wait_in_line(group, tools, orders, count, until_ms);
        }
    }
    while (group->first == NULL && group->handed_count > 0) {
        let_go(group, tools, group->handed[--group->handed_count]); /* whom it was for gave up */
    }
    pthread_mutex_unlock(&group->lock);
}
