#include "jobs.h"

#include <stdio.h>
#include <string.h>

#include "clock.h"

static struct slice slice_of(const char *text)
{
    return (struct slice){text, text != NULL ? strlen(text) : 0};
}

static enum status check_text(stillhouse_client *client, const char *field, const char *text)
{
    if (text == NULL || text_is_blank(text, strlen(text))) {
        return error_set(&client->error, STATUS_INVALID, "%s is empty, expected a text", field);
    }
    if (!text_is_utf8(text, strlen(text))) {
        return error_set(&client->error, STATUS_INVALID, "%s is not UTF-8", field);
    }
    return STATUS_OK;
}

enum status jobs_enrich_body(stillhouse_client *client, const char *domain, const char *query,
                             int *k, struct strbuf *body)
{
    enum status status = client_check_domain(client, domain);
    if (status == STATUS_OK) {
        status = client_check_query(client, query, k);
    }
    if (status == STATUS_OK) {
        const struct enrich_body enrich = {slice_of(query), *k};
        bodies_encode_enrich(&enrich, body);
    }
    return status;
}

static struct meta_value value_of(const stillhouse_meta *meta)
{
    return (struct meta_value){
        .type = (enum meta_type)meta->type,
        .string = slice_of(meta->string),
        .integer = meta->integer,
        .number = meta->number,
        .boolean = meta->boolean,
    };
}

/* Copies metadata into `out`, which has room for BODIES_METADATA_MAX. */
static enum status take_meta(stillhouse_client *client, const stillhouse_meta *meta, size_t count,
                             struct meta_pair *out)
{
    if (count > BODIES_METADATA_MAX) {
        return error_set(&client->error, STATUS_INVALID, "metadata: %zu keys, expected at most %d",
                         count, BODIES_METADATA_MAX);
    }
    for (size_t i = 0; i < count; i++) {
        if (meta[i].key == NULL || meta[i].key[0] == '\0') {
            return error_set(&client->error, STATUS_INVALID, "metadata key %zu is empty", i);
        }
        out[i] = (struct meta_pair){slice_of(meta[i].key), value_of(&meta[i])};
    }
    return STATUS_OK;
}

/* What the worker's decoder says of the body is said here already, while the caller can still act.
 */
static enum status check_distill(stillhouse_client *client, const struct strbuf *body)
{
    struct arena arena = {0};
    struct distill_body decoded;
    enum status status =
        bodies_decode_distill(body->data, body->bytes, &arena, &decoded, &client->error);
    arena_free(&arena);
    return status;
}

enum status jobs_distill_body(stillhouse_client *client, const stillhouse_experience *experience,
                              struct strbuf *body)
{
    struct meta_pair metadata[BODIES_METADATA_MAX];
    enum status status = client_check_domain(client, experience->domain);

    if (status == STATUS_OK) {
        status = check_text(client, "task_id", experience->task_id);
    }
    if (status == STATUS_OK) {
        status = check_text(client, "prompt", experience->prompt);
    }
    if (status == STATUS_OK) {
        status = check_text(client, "result", experience->result);
    }
    if (status == STATUS_OK) {
        status = take_meta(client, experience->metadata, experience->metadata_count, metadata);
    }
    if (status != STATUS_OK) {
        return status;
    }
    const struct distill_body distill = {
        .task_id = slice_of(experience->task_id),
        .prompt = slice_of(experience->prompt),
        .result = slice_of(experience->result),
        .success = experience->success,
        .has_quality = experience->quality >= 0,
        .quality = experience->quality,
        .model = slice_of(experience->model),
        .metadata = metadata,
        .metadata_count = experience->metadata_count,
    };
    strbuf_reset(body);
    bodies_encode_distill(&distill, body);
    return strbuf_ok(body) ? check_distill(client, body)
                           : error_set(&client->error, STATUS_OOM, "out of memory");
}

enum status jobs_index_body(stillhouse_client *client, const char *domain,
                            const stillhouse_document *documents, size_t count, struct strbuf *body)
{
    struct arena arena = {0};
    struct index_body decoded;
    enum status status = client_check_domain(client, domain);
    struct index_document *own = arena_array(&arena, count + 1, sizeof *own);

    if (status == STATUS_OK && own == NULL) {
        status = error_set(&client->error, STATUS_OOM, "out of memory");
    }
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        size_t metas = documents[i].metadata_count;
        own[i].metadata = arena_array(&arena, BODIES_METADATA_MAX, sizeof *own[i].metadata);
        if (own[i].metadata == NULL) {
            status = error_set(&client->error, STATUS_OOM, "out of memory");
            break;
        }
        own[i].id = slice_of(documents[i].id);
        own[i].text = slice_of(documents[i].text);
        own[i].metadata_count = metas;
        status = take_meta(client, documents[i].metadata, metas, own[i].metadata);
    }
    if (status == STATUS_OK) {
        const struct index_body index = {own, count};
        bodies_encode_index(&index, body);
        status = strbuf_ok(body) ? bodies_decode_index(body->data, body->bytes, &arena, &decoded,
                                                       &client->error)
                                 : error_set(&client->error, STATUS_OOM, "out of memory");
    }
    arena_free(&arena);
    return status;
}

void jobs_unique(const char *query, int k, char out[48])
{
    char hash[TEXT_HASH_CHARS + 1];

    text_hash(query, strlen(query), hash);
    snprintf(out, 48, "%s.%d", hash, k);
}

static enum job_priority priority_of(stillhouse_priority priority)
{
    return priority == STILLHOUSE_HIGH  ? JOB_HIGH
           : priority == STILLHOUSE_LOW ? JOB_LOW
                                        : JOB_NORMAL;
}

static enum status check_options(stillhouse_client *client, const stillhouse_job_options *options)
{
    const char *trace = options->traceparent;

    if (options->delay_ms < 0 || options->deadline_ms < 0) {
        return error_set(&client->error, STATUS_INVALID,
                         "delay_ms and deadline_ms: expected 0 or more");
    }
    if (trace != NULL && (strlen(trace) > 128 || strpbrk(trace, " \t\r\n") != NULL)) {
        return error_set(&client->error, STATUS_INVALID,
                         "traceparent: expected at most 128 bytes without spaces");
    }
    return STATUS_OK;
}

enum status jobs_finish(stillhouse_client *client, struct ready_job *job, const char *domain,
                        const stillhouse_job_options *options, const char *unique,
                        struct slice body)
{
    static const stillhouse_job_options none = {0};
    const stillhouse_job_options *chosen = options != NULL ? options : &none;
    int64_t now_unix_ms = clock_unix_ms();
    enum status status = check_options(client, chosen);

    if (status != STATUS_OK) {
        return status;
    }
    if (body.bytes > (size_t)client->max_body_bytes) {
        return error_set(&client->error, STATUS_INVALID,
                         "body of %zu bytes, expected at most %lld (STILLHOUSE_MAX_BODY)",
                         body.bytes, (long long)client->max_body_bytes);
    }
    const struct job_options set = {
        .priority = priority_of(chosen->priority),
        .delay_ms = chosen->delay_ms,
        .deadline_unix_ms = chosen->deadline_ms > 0 ? now_unix_ms + chosen->deadline_ms : 0,
        .unique = slice_of(unique),
        .reply = chosen->reply,
        .traceparent = slice_of(chosen->traceparent),
    };
    size_t bytes = job_options_format(&set, job->options, sizeof job->options);
    text_make_id(now_unix_ms, job->id);
    job->item = (struct queue_item){
        .id = slice_of(job->id),
        .domain = slice_of(domain),
        .options = {job->options, bytes},
        .body = body,
    };
    return STATUS_OK;
}
