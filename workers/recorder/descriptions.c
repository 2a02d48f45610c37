#include "recorder/descriptions.h"

#include <pthread.h>
#include <stdlib.h>

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

static struct slice encode(struct context *ctx, const struct part *part)
{
    const struct vector_body body = {.task_id = part->body.task_id};
    struct strbuf bytes = {0};

    bodies_encode_vector(&body, &bytes);
    return context_keep(ctx, &bytes);
}

/* What Redis refuses now it would refuse again: only where it was not to be had is it asked again.
 */
static enum status order_some(struct context *ctx, const struct queue_items *items,
                              struct error *err)
{
    struct queue_answer *answers = arena_array(&ctx->arena, items->count, sizeof *answers);
    const enum status status = queue_enqueue(context_redis(ctx), items, answers, err);
    long long suppressed = 0;
    size_t left_out = 0;

    if (status_may_pass(status)) {
        return status;
    }
    for (size_t i = 0; i < items->count; i++) {
        left_out += status != STATUS_OK || answers[i].full;
    }
    if (left_out > 0 && log_kind_allow("vectors left out", &suppressed)) {
        log_warning("queue \"%s\": %zu executions get no vector: %s (%lld more lines)",
                    items->queue->name, left_out, status == STATUS_OK ? "it is full" : err->text,
                    suppressed);
    }
    return STATUS_OK;
}

enum status descriptions_order(struct context *ctx, const struct part *parts,
                               const struct error *refused, size_t count, struct error *err)
{
    struct queue queue;
    size_t wanted = 0;

    if (!ctx->settings->learn_similar) {
        return STATUS_OK;
    }
    struct queue_item *each = arena_array(&ctx->arena, count, sizeof *each);
    TRY(queue_init(&queue, ctx->settings->prefix, job_kinds[KIND_vector].name, err));
    for (size_t i = 0; i < count; i++) {
        if (refused[i].status == STATUS_OK && parts[i].body.task_description.bytes > 0) {
            each[wanted++] =
                (struct queue_item){.id = context_derive_id(ctx, parts[i].job_id, ".v"),
                                    .domain = parts[i].domain,
                                    .options = slice_of("priority=low"),
                                    .body = encode(ctx, &parts[i])};
        }
    }
    for (size_t from = 0; from < wanted; from += CALL_JOBS) {
        const size_t left = wanted - from;
        TRY(order_some(ctx,
                       &(struct queue_items){&queue, ctx->settings->max_backlog, each + from,
                                             left < CALL_JOBS ? left : CALL_JOBS},
                       err));
    }
    return STATUS_OK;
}
