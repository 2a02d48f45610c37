#include "recorder/descriptions.h"

#include <pthread.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "base/text.h"
#include "queue/enqueue.h"

enum { CALL_JOBS = 100 };

struct descriptions {
    const char *where;
    pthread_mutex_t lock;
    struct store *store; /* NULL while it is not open */
};

struct descriptions *descriptions_new(const char *where)
{
    struct descriptions *descriptions = must_alloc(1, sizeof *descriptions);

    descriptions->where = where;
    pthread_mutex_init(&descriptions->lock, NULL);
    return descriptions;
}

void descriptions_free(struct descriptions *descriptions)
{
    if (descriptions != NULL) {
        store_close(descriptions->store);
        pthread_mutex_destroy(&descriptions->lock);
        free(descriptions);
    }
}

/* ---- reading --------------------------------------------------------------------------------- */

static enum status read_rows(struct descriptions *descriptions, struct description *each,
                             size_t count, struct arena *arena, struct error *err)
{
    if (descriptions->store != NULL) {
        TRY(database_check(store_database(descriptions->store), err));
    } else {
        TRY(store_open(descriptions->where, STORE_READ, &descriptions->store, err));
    }
    return similar_describe(store_database(descriptions->store), each, count, arena, err);
}

enum status descriptions_read(struct descriptions *descriptions, struct description *each,
                              size_t count, struct arena *arena, struct error *err)
{
    pthread_mutex_lock(&descriptions->lock);
    const enum status status = read_rows(descriptions, each, count, arena, err);
    if (status != STATUS_OK) {
        store_close(descriptions->store);
        descriptions->store = NULL;
    }
    pthread_mutex_unlock(&descriptions->lock);
    return status;
}

/* ---- ordering -------------------------------------------------------------------------------- */

static struct slice encode(struct arena *arena, struct slice task_id)
{
    const struct vector_body body = {.task_id = task_id};
    struct strbuf bytes = {0};

    bodies_encode_vector(&body, &bytes);
    strbuf_must(&bytes);
    const struct slice kept = {arena_copy(arena, bytes.data, bytes.bytes), bytes.bytes};
    strbuf_free(&bytes);
    return kept;
}

/* What Redis refuses now it would refuse again: only where it was not to be had is it asked again.
 * `loss`: what becomes of those that it refuses. */
static enum status order_some(struct redis_conn *conn, const struct queue_items *items,
                              const char *loss, struct error *err)
{
    struct queue_answer answers[CALL_JOBS];
    const enum status status = queue_enqueue(conn, items, answers, err);
    long long suppressed = 0;
    size_t left_out = 0;

    if (status_may_pass(status)) {
        return status;
    }
    for (size_t i = 0; i < items->count; i++) {
        left_out += status != STATUS_OK || answers[i].full;
    }
    if (left_out > 0 && log_kind_allow(loss, &suppressed)) {
        log_warning("queue \"%s\": %zu executions %s: %s (%lld more lines)", items->queue->name,
                    left_out, loss, status == STATUS_OK ? "it is full" : err->text, suppressed);
    }
    return STATUS_OK;
}

static enum status order(struct redis_conn *conn, const struct settings *settings,
                         const struct queue_item *each, size_t count, const char *loss,
                         struct error *err)
{
    struct queue queue;

    TRY(queue_init(&queue, settings->prefix, job_kinds[KIND_vector].name, err));
    for (size_t from = 0; from < count; from += CALL_JOBS) {
        const size_t left = count - from;
        TRY(order_some(conn,
                       &(struct queue_items){&queue, settings->max_backlog, each + from,
                                             left < CALL_JOBS ? left : CALL_JOBS},
                       loss, err));
    }
    return STATUS_OK;
}

static struct queue_item item_of(struct arena *arena, struct slice id, struct slice domain,
                                 struct slice task_id)
{
    return (struct queue_item){.id = id,
                               .domain = domain,
                               .options = slice_of("priority=low"),
                               .body = encode(arena, task_id)};
}

enum status descriptions_order(struct context *ctx, const struct part *parts,
                               const struct error *refused, size_t count, struct error *err)
{
    size_t wanted = 0;

    if (!ctx->settings->learn_similar) {
        return STATUS_OK;
    }
    struct queue_item *each = arena_array(&ctx->arena, count, sizeof *each);
    for (size_t i = 0; i < count; i++) {
        if (refused[i].status == STATUS_OK && parts[i].body.task_description.bytes > 0) {
            each[wanted++] = item_of(&ctx->arena, context_derive_id(ctx, parts[i].job_id, ".v"),
                                     parts[i].domain, parts[i].body.task_id);
        }
    }
    return order(context_redis(ctx), ctx->settings, each, wanted, "get no vector", err);
}

void descriptions_drop(struct redis_conn *conn, const struct settings *settings,
                       const struct store_task *tasks, size_t count)
{
    static const char loss[] = "that were deleted keep their vectors until those expire";
    struct arena arena = {.is_must = true};
    struct error err = {0};
    long long suppressed = 0;

    if (!settings->learn_similar || count == 0) {
        return;
    }
    struct queue_item *each = arena_array(&arena, count, sizeof *each);
    for (size_t i = 0; i < count; i++) {
        char *id = arena_array(&arena, 37, 1);
        text_make_id(clock_unix_ms(), id);
        each[i] = item_of(&arena, slice_of(id), tasks[i].domain, tasks[i].task_id);
    }
    if (order(conn, settings, each, count, loss, &err) != STATUS_OK &&
        log_kind_allow(loss, &suppressed)) {
        log_warning("up to %zu executions %s: %s (%lld more lines)", count, loss, err.text,
                    suppressed);
    }
    arena_free(&arena);
}
