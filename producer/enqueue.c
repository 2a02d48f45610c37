/* Enqueueing one job: check, encode, one call. */
#include <stdio.h>
#include <string.h>

#include "jobs.h"

/* Sends the body in client->body as one job of `queue_name`. */
static enum status enqueue(stillhouse_client *client, const char *queue_name, const char *domain,
                           const stillhouse_job_options *options, const char *unique,
                           struct slice body, char *id)
{
    struct ready_job job;
    struct queue queue;
    struct queue_answer answer = {0};
    enum status status = queue_init(&queue, client->prefix, queue_name, &client->error);

    if (status == STATUS_OK) {
        status = jobs_finish(client, &job, domain, options, unique, body);
    }
    if (status == STATUS_OK) {
        status = client_connect(client, &client->queue);
    }
    if (status != STATUS_OK) {
        return status;
    }
    status = queue_enqueue(client->queue.conn, &queue, client->max_backlog, &job.item, 1, &answer,
                           &client->error);
    client_note(client, &client->queue, status);
    if (status == STATUS_OK && answer.full) {
        return error_set(&client->error, STATUS_FULL,
                         "queue \"%s\" is full: %lld jobs (STILLHOUSE_MAX_BACKLOG)", queue_name,
                         (long long)client->max_backlog);
    }
    if (status == STATUS_OK && id != NULL) {
        snprintf(id, STILLHOUSE_ID_BYTES, "%s", answer.id);
    }
    client_flush_counts(client, false);
    return status;
}

static struct slice scratch(const stillhouse_client *client)
{
    return (struct slice){client->body.data, client->body.bytes};
}

/* What all public calls share: a clean scratch buffer, and its failure noticed. */
static enum status finish_body(stillhouse_client *client, enum status status)
{
    if (status == STATUS_OK && !strbuf_ok(&client->body)) {
        return error_set(&client->error, STATUS_OOM, "out of memory");
    }
    return status;
}

static void start_body(stillhouse_client *client, char *id)
{
    strbuf_trim(&client->body, 1024 * 1024);
    if (id != NULL) {
        id[0] = '\0';
    }
}

stillhouse_status stillhouse_enqueue_enrich(stillhouse_client *client, const char *domain,
                                            const char *query, int k,
                                            const stillhouse_job_options *options,
                                            char id[STILLHOUSE_ID_BYTES])
{
    char unique[48];

    start_body(client, id);
    enum status status =
        finish_body(client, jobs_enrich_body(client, domain, query, &k, &client->body));
    if (status == STATUS_OK) {
        jobs_unique(query, k, unique);
        status = enqueue(client, "enrich", domain, options, unique, scratch(client), id);
    }
    return client_status(client, status);
}

stillhouse_status stillhouse_enqueue_distill(stillhouse_client *client,
                                             const stillhouse_experience *experience,
                                             const stillhouse_job_options *options,
                                             char id[STILLHOUSE_ID_BYTES])
{
    start_body(client, id);
    enum status status = finish_body(client, jobs_distill_body(client, experience, &client->body));
    if (status == STATUS_OK) {
        status = enqueue(client, "distill", experience->domain, options, "", scratch(client), id);
    }
    return client_status(client, status);
}

stillhouse_status stillhouse_enqueue_index(stillhouse_client *client, const char *domain,
                                           const stillhouse_document *documents, size_t count,
                                           const stillhouse_job_options *options,
                                           char id[STILLHOUSE_ID_BYTES])
{
    start_body(client, id);
    enum status status =
        finish_body(client, jobs_index_body(client, domain, documents, count, &client->body));
    if (status == STATUS_OK) {
        status = enqueue(client, "index", domain, options, "", scratch(client), id);
    }
    return client_status(client, status);
}

stillhouse_status stillhouse_enqueue_raw(stillhouse_client *client, const char *queue,
                                         const char *domain, const void *body, size_t body_bytes,
                                         const stillhouse_job_options *options,
                                         char id[STILLHOUSE_ID_BYTES])
{
    start_body(client, id);
    enum status status = client_check_domain(client, domain);
    if (status == STATUS_OK) {
        status = enqueue(client, queue, domain, options, "", (struct slice){body, body_bytes}, id);
    }
    return client_status(client, status);
}
