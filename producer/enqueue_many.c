/* Enqueueing many jobs: calls of up to 1,000 jobs or about 1 MiB, a few of them in flight. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "jobs.h"

enum { CALL_JOBS = 1000, CALL_BYTES = 1024 * 1024, IN_FLIGHT = 4 };

/* One call: its jobs, and which of the caller's each one is. */
struct call {
    struct arena arena;
    struct ready_job *jobs;
    struct queue_item *items;
    size_t *owner;
    size_t count;
    size_t bytes;
};

struct many {
    stillhouse_client *client;
    struct queue queue;
    struct call calls[IN_FLIGHT];
    size_t first; /* oldest call in flight */
    size_t flying;
    enum status broken; /* why the connection is of no more use */
    stillhouse_status *outcome;
    char (*ids)[STILLHOUSE_ID_BYTES];
    stillhouse_status worst;
};

static void settle(struct many *many, size_t index, stillhouse_status status, const char *id)
{
    if (many->outcome != NULL) {
        many->outcome[index] = status;
    }
    if (many->ids != NULL) {
        snprintf(many->ids[index], STILLHOUSE_ID_BYTES, "%s", id);
    }
    if (status > many->worst) {
        many->worst = status;
    }
}

static void settle_call(struct many *many, const struct call *call, enum status status)
{
    for (size_t i = 0; i < call->count; i++) {
        settle(many, call->owner[i], client_status(many->client, status), "");
    }
}

static bool call_open(struct call *call)
{
    arena_reset(&call->arena, CALL_BYTES);
    call->count = 0;
    call->bytes = 0;
    call->jobs = arena_array(&call->arena, CALL_JOBS, sizeof *call->jobs);
    call->items = arena_array(&call->arena, CALL_JOBS, sizeof *call->items);
    call->owner = arena_array(&call->arena, CALL_JOBS, sizeof *call->owner);
    return call->jobs != NULL && call->items != NULL && call->owner != NULL;
}

/* Reads the answers of the oldest call in flight. */
static void collect_oldest(struct many *many)
{
    struct call *call = &many->calls[many->first];
    struct queue_answer *answers = arena_array(&call->arena, call->count, sizeof *answers);
    enum status status = many->broken;

    if (status == STATUS_OK && answers == NULL) {
        status = STATUS_OOM; /* an answer is left unread: the connection cannot go on */
        redis_conn_close(many->client->queue.conn);
        many->broken = status;
    }
    if (status == STATUS_OK) {
        status = queue_enqueue_collect(many->client->queue.conn, call->count, answers,
                                       &many->client->error);
        client_note(many->client, &many->client->queue, status);
        if (!redis_conn_is_open(many->client->queue.conn)) {
            many->broken = status;
        }
    }
    if (status != STATUS_OK) {
        settle_call(many, call, status);
    }
    for (size_t i = 0; i < call->count && status == STATUS_OK; i++) {
        settle(many, call->owner[i], answers[i].full ? STILLHOUSE_FULL : STILLHOUSE_OK,
               answers[i].id);
    }
    many->first = (many->first + 1) % IN_FLIGHT;
    many->flying--;
}

/* The call being filled stands behind those in flight. */
static struct call *filling(struct many *many)
{
    return &many->calls[(many->first + many->flying) % IN_FLIGHT];
}

static void send_call(struct many *many)
{
    struct call *call = filling(many);

    if (call->count == 0) {
        return;
    }
    for (size_t i = 0; i < call->count; i++) {
        call->items[i] = call->jobs[i].item;
    }
    enum status status = many->broken;
    if (status == STATUS_OK) {
        status =
            queue_enqueue_append(many->client->queue.conn, &many->queue, many->client->max_backlog,
                                 call->items, call->count, &many->client->error);
    }
    if (status != STATUS_OK) {
        many->broken = status;
        settle_call(many, call, status);
        call->count = 0;
        return;
    }
    many->flying++;
    if (many->flying == IN_FLIGHT) {
        collect_oldest(many);
    }
}

/* Adds one job with the body in client->body to the call being filled. */
static void add(struct many *many, size_t index, const char *domain,
                const stillhouse_job_options *options, const char *unique)
{
    struct call *call = filling(many);
    const struct strbuf *body = &many->client->body;

    if (call->count == CALL_JOBS || (call->count > 0 && call->bytes + body->bytes > CALL_BYTES)) {
        send_call(many);
        call = filling(many);
        call->count = 0;
    }
    if (call->count == 0 && !call_open(call)) {
        settle(many, index, STILLHOUSE_FAILED, "");
        return;
    }
    char *copy = arena_copy(&call->arena, body->data, body->bytes);
    char *name = arena_copy(&call->arena, domain, strlen(domain));
    if (copy == NULL || name == NULL) {
        settle(many, index, STILLHOUSE_FAILED, "");
        return;
    }
    enum status status = jobs_finish(many->client, &call->jobs[call->count], name, options, unique,
                                     (struct slice){copy, body->bytes});
    if (status != STATUS_OK) {
        settle(many, index, client_status(many->client, status), "");
        return;
    }
    call->owner[call->count++] = index;
    call->bytes += body->bytes;
}

static struct many *begin(stillhouse_client *client, const char *queue, stillhouse_status *outcome,
                          char (*ids)[STILLHOUSE_ID_BYTES], enum status *status)
{
    struct many *many = calloc(1, sizeof *many);

    client->error.text[0] = '\0';
    if (many == NULL) {
        *status = error_set(&client->error, STATUS_OOM, "out of memory");
        return NULL;
    }
    many->client = client;
    many->outcome = outcome;
    many->ids = ids;
    *status = queue_init(&many->queue, client->prefix, queue, &client->error);
    if (*status == STATUS_OK) {
        many->broken = client_connect(client, &client->queue);
    }
    return many;
}

static stillhouse_status end(struct many *many)
{
    stillhouse_status worst = STILLHOUSE_OK;

    send_call(many);
    while (many->flying > 0) {
        collect_oldest(many);
    }
    client_flush_counts(many->client, false);
    worst = many->worst;
    for (size_t i = 0; i < IN_FLIGHT; i++) {
        arena_free(&many->calls[i].arena);
    }
    free(many);
    return worst;
}

stillhouse_status
stillhouse_enqueue_distill_many(stillhouse_client *client, const stillhouse_experience *experiences,
                                size_t count, const stillhouse_job_options *options,
                                stillhouse_status *outcome, char (*ids)[STILLHOUSE_ID_BYTES])
{
    enum status status = STATUS_OK;
    struct many *many = begin(client, "distill", outcome, ids, &status);

    if (many == NULL) {
        return client_status(client, status);
    }
    for (size_t i = 0; i < count; i++) {
        strbuf_trim(&client->body, 1024 * 1024);
        status = jobs_distill_body(client, &experiences[i], &client->body);
        if (status == STATUS_OK) {
            add(many, i, experiences[i].domain, options, "");
        } else {
            settle(many, i, client_status(client, status), "");
        }
    }
    return end(many);
}

stillhouse_status
stillhouse_enqueue_enrich_many(stillhouse_client *client, const stillhouse_enrichment *enrichments,
                               size_t count, const stillhouse_job_options *options,
                               stillhouse_status *outcome, char (*ids)[STILLHOUSE_ID_BYTES])
{
    enum status status = STATUS_OK;
    struct many *many = begin(client, "enrich", outcome, ids, &status);

    if (many == NULL) {
        return client_status(client, status);
    }
    for (size_t i = 0; i < count; i++) {
        char unique[48];
        int k = enrichments[i].k;
        strbuf_trim(&client->body, 1024 * 1024);
        status = jobs_enrich_body(client, enrichments[i].domain, enrichments[i].query, &k,
                                  &client->body);
        if (status == STATUS_OK) {
            jobs_unique(enrichments[i].query, k, unique);
            add(many, i, enrichments[i].domain, options, unique);
        } else {
            settle(many, i, client_status(client, status), "");
        }
    }
    return end(many);
}
