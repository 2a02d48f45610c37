#include "enqueue/enqueue.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "enqueue/keep.h"

struct sending {
    stillhouse_client *client;
    const struct queue *queue;
    struct queue_item item;
    struct queue_answer answer;
};

/* The same item may be sent twice: a job's effects are idempotent by its id. */
static enum status send_one(struct redis_conn *conn, void *context, struct error *err)
{
    struct sending *sending = context;
    struct counts *counts = &sending->client->counts;
    const int64_t deadline_ms = clock_now_ms() + redis_conn_command_timeout(conn);

    enum status status = queue_enqueue_append(
        conn, sending->queue, sending->client->config.max_backlog, &sending->item, 1, err);
    if (status != STATUS_OK) {
        return status;
    }
    counts_append(counts, conn);
    status = queue_enqueue_collect(conn, 1, &sending->answer, err);
    wire_limit(conn, deadline_ms);
    counts_collect(counts, conn);
    return status;
}

enum status enqueue_draft(stillhouse_client *client, const struct queue *queue,
                          const struct jobs_draft *draft, char id[STILLHOUSE_ID_BYTES],
                          struct error *err)
{
    struct sending sending = {.client = client, .queue = queue, .item = jobs_item(client, draft)};

    const enum status status = wire_run(client->wire, send_one, &sending, err);
    if (status != STATUS_OK) {
        return status;
    }
    if (sending.answer.full) {
        return error_set(err, STATUS_FULL, "queue \"%s\" is full: %lld jobs wait already",
                         queue->name, (long long)client->config.max_backlog);
    }
    if (id != NULL) {
        snprintf(id, STILLHOUSE_ID_BYTES, "%s", sending.answer.id);
    }
    return STATUS_OK;
}

/* ---- the public calls ---------------------------------------------------------------------- */

/* Sends a draft that was made with `made`, or says why there is none. */
static stillhouse_status finish(stillhouse_client *client, enum status made,
                                const struct queue *queue, const struct jobs_draft *draft, char *id,
                                struct error *err)
{
    const enum status status =
        made == STATUS_OK ? enqueue_draft(client, queue, draft, id, err) : made;

    client_tidy(client);
    return client_finish(client, status, err);
}

/* The same for a job whose loss matters: behind those that wait in the outbox, and into it where
 * Redis does not take it. */
static stillhouse_status finish_or_keep(stillhouse_client *client, enum status made,
                                        const struct queue *queue, const struct jobs_draft *draft,
                                        char *id, struct error *err)
{
    if (made != STATUS_OK || !keep_is_on(client)) {
        return finish(client, made, queue, draft, id, err);
    }
    enum status status = flush_make_way(client, 0, err);
    if (status == STATUS_OK) {
        status = enqueue_draft(client, queue, draft, id, err);
    }
    stillhouse_status result = STILLHOUSE_OK;
    if (status == STATUS_INVALID) {
        result = client_failed(client, err);
    } else if (status != STATUS_OK) {
        result = keep_draft(client, queue, draft, id, err);
    }
    client_tidy(client);
    client_leave(client);
    return result;
}

static bool start(stillhouse_client *client, char *id)
{
    if (id != NULL) {
        id[0] = '\0';
    }
    return client_enter(client);
}

stillhouse_status stillhouse_enqueue_enrich(stillhouse_client *client, const char *domain,
                                            const char *query, int k,
                                            const stillhouse_job_options *options,
                                            char id[STILLHOUSE_ID_BYTES])
{
    const stillhouse_enrichment enrichment = {.domain = domain, .query = query, .k = k};
    struct jobs_draft draft;
    struct error err = {0};

    if (!start(client, id)) {
        return STILLHOUSE_INVALID;
    }
    const enum status made = jobs_make_enrich(client, &enrichment, options, &draft, &err);
    return finish(client, made, &client->enrich, &draft, id, &err);
}

stillhouse_status stillhouse_enqueue_distill(stillhouse_client *client,
                                             const stillhouse_experience *experience,
                                             const stillhouse_job_options *options,
                                             char id[STILLHOUSE_ID_BYTES])
{
    struct jobs_draft draft;
    struct error err = {0};

    if (!start(client, id)) {
        return STILLHOUSE_INVALID;
    }
    const enum status made = jobs_make_distill(client, experience, options, &draft, &err);
    return finish_or_keep(client, made, &client->distill, &draft, id, &err);
}

stillhouse_status stillhouse_enqueue_index(stillhouse_client *client, const char *domain,
                                           const stillhouse_document *documents, size_t count,
                                           const stillhouse_job_options *options,
                                           char id[STILLHOUSE_ID_BYTES])
{
    struct jobs_draft draft;
    struct error err = {0};

    if (!start(client, id)) {
        return STILLHOUSE_INVALID;
    }
    const enum status made =
        jobs_make_index(client, domain, documents, count, options, &draft, &err);
    return finish_or_keep(client, made, &client->index, &draft, id, &err);
}

stillhouse_status stillhouse_enqueue_raw(stillhouse_client *client, const char *queue,
                                         const char *domain, const void *body, size_t body_bytes,
                                         const stillhouse_job_options *options,
                                         char id[STILLHOUSE_ID_BYTES])
{
    struct queue target;
    struct jobs_draft draft;
    struct error err = {0};

    if (!start(client, id)) {
        return STILLHOUSE_INVALID;
    }
    enum status made = queue_init(&target, client->config.prefix, queue == NULL ? "" : queue, &err);
    if (made == STATUS_OK) {
        made = jobs_make_raw(client, domain, body, body_bytes, options, &draft, &err);
    }
    return finish_or_keep(client, made, &target, &draft, id, &err);
}
