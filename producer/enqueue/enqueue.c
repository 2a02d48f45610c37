/* The public calls that enqueue: they make drafts (make.h) and hand them to the sender (send.h). */
#include <stdio.h>
#include <string.h>

#include "enqueue/send.h"
#include "queue/queue.h"

/* ---- one ----------------------------------------------------------------------------------- */

static bool start(stillhouse_client *client, char *id)
{
    if (id != NULL) {
        id[0] = '\0';
    }
    return client_enter(client);
}

/* Hands in a draft, or says why there is none: err->status is that of its making. */
static stillhouse_status hand_in(stillhouse_client *client, const struct queue *queue,
                                 const struct job_draft *draft, char *id, const struct error *err)
{
    const stillhouse_status status = err->status == STATUS_OK
                                         ? send_or_keep(client, queue, draft, id)
                                         : client_failed(client, err);
    client_tidy(client);
    client_leave(client);
    return status;
}

stillhouse_status stillhouse_enqueue_enrich(stillhouse_client *client, const char *domain,
                                            const char *query, int k,
                                            const stillhouse_job_options *options,
                                            char id[STILLHOUSE_ID_BYTES])
{
    const stillhouse_enrichment enrichment = {.domain = domain, .query = query, .k = k};
    struct job_draft draft;
    struct error err = {0};

    if (!start(client, id)) {
        return STILLHOUSE_INVALID;
    }
    err.status = make_enrich(client, &enrichment, options, &draft, &err);
    return hand_in(client, &client->enrich, &draft, id, &err);
}

stillhouse_status stillhouse_enqueue_distill(stillhouse_client *client,
                                             const stillhouse_experience *experience,
                                             const stillhouse_job_options *options,
                                             char id[STILLHOUSE_ID_BYTES])
{
    struct job_draft draft;
    struct error err = {0};

    if (!start(client, id)) {
        return STILLHOUSE_INVALID;
    }
    err.status = make_distill(client, experience, options, &draft, &err);
    return hand_in(client, &client->distill, &draft, id, &err);
}

stillhouse_status stillhouse_enqueue_index(stillhouse_client *client, const char *domain,
                                           const stillhouse_document *documents, size_t count,
                                           const stillhouse_job_options *options,
                                           char id[STILLHOUSE_ID_BYTES])
{
    struct job_draft draft;
    struct error err = {0};

    if (!start(client, id)) {
        return STILLHOUSE_INVALID;
    }
    err.status =
        make_index(client, &(struct documents){domain, documents, count}, options, &draft, &err);
    return hand_in(client, &client->index, &draft, id, &err);
}

stillhouse_status stillhouse_record(stillhouse_client *client, const stillhouse_part *part,
                                    char id[STILLHOUSE_ID_BYTES])
{
    struct job_draft draft;
    struct error err = {0};

    if (!start(client, id)) {
        return STILLHOUSE_INVALID;
    }
    err.status = make_record(client, part, &draft, &err);
    return hand_in(client, &client->record, &draft, id, &err);
}

stillhouse_status stillhouse_enqueue_raw(stillhouse_client *client, const char *queue,
                                         const char *domain, const void *body, size_t body_bytes,
                                         const stillhouse_job_options *options,
                                         char id[STILLHOUSE_ID_BYTES])
{
    const stillhouse_job job = {
        .domain = domain, .body = body, .body_bytes = body_bytes, .options = options};
    struct queue target;
    struct job_draft draft;
    struct error err = {0};

    if (!start(client, id)) {
        return STILLHOUSE_INVALID;
    }
    err.status = queue_init(&target, client->config.prefix, queue == NULL ? "" : queue, &err);
    if (err.status == STATUS_OK) {
        err.status = make_raw(client, &job, &draft, &err);
    }
    return hand_in(client, &target, &draft, id, &err);
}

/* ---- arrays -------------------------------------------------------------------------------- */

struct array {
    stillhouse_client *client;
    const struct queue *queue;
    const stillhouse_experience *experiences; /* one of the three */
    const stillhouse_enrichment *enrichments;
    const stillhouse_part *parts;
    size_t count;
    size_t next;
    const stillhouse_job_options *options;
    stillhouse_status *outcome; /* may be NULL, as ids */
    char (*ids)[STILLHOUSE_ID_BYTES];
};

static enum status make_element(void *context, struct job_draft *draft, struct error *err)
{
    struct array *array = context;

    if (array->next == array->count) {
        return STATUS_NOT_FOUND;
    }
    const size_t i = array->next++;
    if (array->experiences != NULL) {
        return make_distill(array->client, &array->experiences[i], array->options, draft, err);
    }
    return array->parts != NULL
               ? make_record(array->client, &array->parts[i], draft, err)
               : make_enrich(array->client, &array->enrichments[i], array->options, draft, err);
}

static void tell_element(void *context, size_t index, stillhouse_status status, const char *id,
                         bool twin)
{
    (void)twin;
    const struct array *array = context;
    const bool stands = status == STILLHOUSE_OK || status == STILLHOUSE_KEPT;

    if (array->outcome != NULL) {
        array->outcome[index] = status;
    }
    if (array->ids != NULL) {
        snprintf(array->ids[index], STILLHOUSE_ID_BYTES, "%s", stands ? id : "");
    }
}

static stillhouse_status send_array(struct array *array)
{
    stillhouse_client *client = array->client;
    stillhouse_status worst = STILLHOUSE_OK;
    struct error err = {0};

    if (!client_enter(client)) {
        return STILLHOUSE_INVALID;
    }
    if (array->count > 0 && array->experiences == NULL && array->enrichments == NULL &&
        array->parts == NULL) {
        (void)error_set(&err, STATUS_INVALID, "expected an array of jobs, got NULL");
        worst = client_failed(client, &err);
    } else if (array->count > 0) {
        worst = send_many(&(struct send_order){.client = client,
                                               .queue = array->queue,
                                               .count = array->count,
                                               .make = make_element,
                                               .tell = tell_element,
                                               .context = array});
        client_tidy(client);
    }
    client_leave(client);
    return worst;
}

stillhouse_status
stillhouse_enqueue_distill_many(stillhouse_client *client, const stillhouse_experience *experiences,
                                size_t count, const stillhouse_job_options *options,
                                stillhouse_status *outcome, char (*ids)[STILLHOUSE_ID_BYTES])
{
    return send_array(&(struct array){.client = client,
                                      .queue = client == NULL ? NULL : &client->distill,
                                      .experiences = experiences,
                                      .count = count,
                                      .options = options,
                                      .outcome = outcome,
                                      .ids = ids});
}

stillhouse_status
stillhouse_enqueue_enrich_many(stillhouse_client *client, const stillhouse_enrichment *enrichments,
                               size_t count, const stillhouse_job_options *options,
                               stillhouse_status *outcome, char (*ids)[STILLHOUSE_ID_BYTES])
{
    return send_array(&(struct array){.client = client,
                                      .queue = client == NULL ? NULL : &client->enrich,
                                      .enrichments = enrichments,
                                      .count = count,
                                      .options = options,
                                      .outcome = outcome,
                                      .ids = ids});
}

stillhouse_status stillhouse_record_many(stillhouse_client *client, const stillhouse_part *parts,
                                         size_t count, stillhouse_status *outcome,
                                         char (*ids)[STILLHOUSE_ID_BYTES])
{
    return send_array(&(struct array){.client = client,
                                      .queue = client == NULL ? NULL : &client->record,
                                      .parts = parts,
                                      .count = count,
                                      .outcome = outcome,
                                      .ids = ids});
}

/* ---- a source ------------------------------------------------------------------------------ */

struct source {
    stillhouse_client *client;
    const stillhouse_source *given;
};

static enum status make_next(void *context, struct job_draft *draft, struct error *err)
{
    const struct source *source = context;
    stillhouse_job job = {0};

    return source->given->next(source->given->context, &job)
               ? make_raw(source->client, &job, draft, err)
               : STATUS_NOT_FOUND;
}

static void tell_source(void *context, size_t index, stillhouse_status status, const char *id,
                        bool twin)
{
    const struct source *source = context;

    if (source->given->told != NULL) {
        source->given->told(source->given->context, index, status, id, twin);
    }
}

static enum status check_source(const stillhouse_source *source, struct error *err)
{
    if (source == NULL || source->size != sizeof *source) {
        return error_set(err, STATUS_INVALID, "source: expected one with .size %zu",
                         sizeof *source);
    }
    if (source->next == NULL) {
        return error_set(err, STATUS_INVALID, "source: expected a function .next, got NULL");
    }
    if (source->room_ms < 0) {
        return error_set(err, STATUS_INVALID, "room_ms %lld: expected 0 or more",
                         (long long)source->room_ms);
    }
    return STATUS_OK;
}

stillhouse_status stillhouse_enqueue_all(stillhouse_client *client, const stillhouse_source *source)
{
    struct source from = {client, source};
    struct queue queue;
    struct error err = {0};

    if (!client_enter(client)) {
        return STILLHOUSE_INVALID;
    }
    enum status status = check_source(source, &err);
    if (status == STATUS_OK) {
        status = queue_init(&queue, client->config.prefix,
                            source->queue == NULL ? "" : source->queue, &err);
    }
    if (status != STATUS_OK) {
        return client_finish(client, status, &err);
    }
    const stillhouse_status worst = send_many(&(struct send_order){.client = client,
                                                                   .queue = &queue,
                                                                   .room_ms = source->room_ms,
                                                                   .make = make_next,
                                                                   .tell = tell_source,
                                                                   .context = &from});
    client_tidy(client);
    client_leave(client);
    return worst;
}
