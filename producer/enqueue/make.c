#include "enqueue/make.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "jobs/bodies.h"
#include "jobs/library.h"
#include "queue/enqueue.h"

/* 15 digits are what a double, and so the queue's Lua, holds exactly; half of it leaves room for
 * the clock. */
static const int64_t span_max_ms = 500000000000000;

/* ---- arguments ----------------------------------------------------------------------------- */

enum status make_check_domain(const char *domain, struct error *err)
{
    char shown[48];

    if (domain == NULL) {
        return error_set(err, STATUS_INVALID, "domain: expected a name, got NULL");
    }
    if (!text_is_domain(domain, strlen(domain))) {
        return error_set(err, STATUS_INVALID,
                         "domain \"%s\": expected [a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?",
                         text_excerpt(domain, strlen(domain), shown));
    }
    return STATUS_OK;
}

static enum status take_text(const char *name, const char *text, struct slice *out,
                             struct error *err)
{
    if (text == NULL) {
        return error_set(err, STATUS_INVALID, "%s: expected text, got NULL", name);
    }
    *out = (struct slice){text, strlen(text)};
    return STATUS_OK;
}

static enum status check_span(const char *name, int64_t ms, struct error *err)
{
    return ms >= 0 && ms <= span_max_ms
               ? STATUS_OK
               : error_set(err, STATUS_INVALID,
                           "%s %" PRId64 ": expected 0 to %" PRId64 " milliseconds", name, ms,
                           span_max_ms);
}

static enum status check_traceparent(const char *text, struct error *err)
{
    const size_t bytes = strlen(text);
    char shown[48];
    bool good = bytes >= 1 && bytes <= LIBRARY_TRACEPARENT_MAX;

    for (size_t i = 0; good && i < bytes; i++) {
        good = text[i] > ' ' && text[i] <= '~';
    }
    return good ? STATUS_OK
                : error_set(err, STATUS_INVALID,
                            "traceparent \"%s\": expected 1 to %d printable characters without "
                            "spaces",
                            text_excerpt(text, bytes, shown), LIBRARY_TRACEPARENT_MAX);
}

static enum status take_priority(stillhouse_priority given, enum job_priority *out,
                                 struct error *err)
{
    switch (given) {
    case STILLHOUSE_NORMAL:
        *out = JOB_NORMAL;
        return STATUS_OK;
    case STILLHOUSE_HIGH:
        *out = JOB_HIGH;
        return STATUS_OK;
    case STILLHOUSE_LOW:
        *out = JOB_LOW;
        return STATUS_OK;
    }
    return error_set(err, STATUS_INVALID, "priority %d: expected one of stillhouse_priority",
                     (int)given);
}

/* ---- what all jobs have -------------------------------------------------------------------- */

static enum status take_options(const stillhouse_job_options *given, int64_t now_unix_ms,
                                struct job_options *out, struct error *err)
{
    TRY(take_priority(given->priority, &out->priority, err));
    TRY(check_span("delay_ms", given->delay_ms, err));
    TRY(check_span("deadline_ms", given->deadline_ms, err));
    if (given->traceparent != NULL) {
        TRY(check_traceparent(given->traceparent, err));
    }
    out->delay_ms = given->delay_ms;
    out->deadline_unix_ms = given->deadline_ms == 0 ? 0 : now_unix_ms + given->deadline_ms;
    out->reply = given->reply;
    if (given->traceparent != NULL) {
        out->traceparent = (struct slice){given->traceparent, strlen(given->traceparent)};
    }
    return STATUS_OK;
}

/* Names the draft and writes its options; `unique` may be "". */
static enum status start_draft(const char *domain, const stillhouse_job_options *options,
                               const char *unique, struct job_draft *draft, struct error *err)
{
    static const stillhouse_job_options none = {0};
    const int64_t now_unix_ms = clock_unix_ms();
    struct job_options parsed = {.unique = {unique, strlen(unique)}};

    TRY(make_check_domain(domain, err));
    TRY(take_options(options == NULL ? &none : options, now_unix_ms, &parsed, err));
    draft->domain = domain;
    draft->options_bytes = job_options_format(&parsed, draft->options, sizeof draft->options);
    text_make_id(now_unix_ms, draft->id);
    return STATUS_OK;
}

/* The size first: a body over the bound need not be read. */
static enum status check_body(const stillhouse_client *client, struct error *err)
{
    const struct strbuf *body = &client->body;

    if (!strbuf_ok(body)) {
        return error_set(err, STATUS_OOM, "out of memory for a body");
    }
    if ((int64_t)body->bytes > client->config.max_body_bytes) {
        return error_set(err, STATUS_INVALID, "body of %zu bytes: expected at most %" PRId64,
                         body->bytes, client->config.max_body_bytes);
    }
    return STATUS_OK;
}

/* Encodes a body, and hears what the worker will say to it: the rules stand in the decoder alone.
 */
static enum status encode(stillhouse_client *client, enum kind_id kind, const void *body,
                          struct error *err)
{
    const struct reading strict = {&client->arena, false};
    union any_body read;

    strbuf_reset(&client->body);
    bodies_encode(kind, body, &client->body);
    TRY(check_body(client, err));
    return bodies_decode(kind, (struct slice){client->body.data, client->body.bytes}, &strict,
                         &read, err);
}

struct queue_item draft_item(const stillhouse_client *client, const struct job_draft *draft)
{
    return (struct queue_item){
        .id = {draft->id, strlen(draft->id)},
        .domain = {draft->domain, strlen(draft->domain)},
        .options = {draft->options, draft->options_bytes},
        .body = {client->body.data, client->body.bytes},
    };
}

/* ---- metadata ------------------------------------------------------------------------------ */

static enum status take_meta(const stillhouse_meta *from, struct meta_pair *to, struct error *err)
{
    enum status status = take_text("metadata key", from->key, &to->key, err);
    if (status != STATUS_OK) {
        return status;
    }
    switch (from->type) {
    case STILLHOUSE_META_STRING:
        to->value.type = META_STRING;
        status = take_text("value", from->string, &to->value.string, err);
        return status == STATUS_OK ? status : error_wrap(err, "metadata \"%.128s\"", from->key);
    case STILLHOUSE_META_INT:
        to->value.type = META_INT;
        to->value.integer = from->integer;
        return STATUS_OK;
    case STILLHOUSE_META_FLOAT:
        to->value.type = META_FLOAT;
        to->value.number = from->number;
        return STATUS_OK;
    case STILLHOUSE_META_BOOL:
        to->value.type = META_BOOL;
        to->value.boolean = from->boolean;
        return STATUS_OK;
    }
    return error_set(err, STATUS_INVALID,
                     "metadata \"%.128s\": type %d, expected one of stillhouse_meta_type",
                     from->key, (int)from->type);
}

static enum status take_metadata(struct arena *arena, const stillhouse_meta *metadata, size_t count,
                                 struct metadata *out, struct error *err)
{
    if (count == 0) {
        return STATUS_OK;
    }
    if (metadata == NULL || count > METADATA_MAX) {
        return error_set(err, STATUS_INVALID, "metadata: %zu values%s, expected at most %d", count,
                         metadata == NULL ? " at NULL" : "", METADATA_MAX);
    }
    out->pairs = arena_array(arena, count, sizeof *out->pairs);
    if (out->pairs == NULL) {
        return error_set(err, STATUS_OOM, "out of memory for metadata");
    }
    for (size_t i = 0; i < count; i++) {
        TRY(take_meta(&metadata[i], &out->pairs[i], err));
    }
    out->count = count;
    return STATUS_OK;
}

/* ---- enrich -------------------------------------------------------------------------------- */

enum status make_enrich(stillhouse_client *client, const stillhouse_enrichment *enrichment,
                        const stillhouse_job_options *options, struct job_draft *draft,
                        struct error *err)
{
    struct enrich_body body = {.k.value = enrichment->k == 0 ? BODIES_K_DEFAULT : enrichment->k};
    char unique[BODIES_UNIQUE_BYTES];

    TRY(make_check_domain(enrichment->domain, err));
    TRY(take_text("query", enrichment->query, &body.query, err));
    TRY(encode(client, KIND_enrich, &body, err));
    bodies_unique(KIND_enrich, &body, unique);
    return start_draft(enrichment->domain, options, unique, draft, err);
}

/* ---- distill ------------------------------------------------------------------------------- */

static enum status take_experience(struct arena *arena, const stillhouse_experience *from,
                                   struct distill_body *body, struct error *err)
{
    TRY(take_text("task_id", from->task_id, &body->task_id, err));
    TRY(take_text("prompt", from->prompt, &body->prompt, err));
    TRY(take_text("result", from->result, &body->result, err));
    TRY(take_metadata(arena, from->metadata, from->metadata_count, &body->metadata, err));
    body->success.value = from->success;
    body->quality.given = !(from->quality < 0); /* NaN is given, and refused below */
    body->quality.value = from->quality;
    if (from->model != NULL) {
        body->model = (struct slice){from->model, strlen(from->model)};
    }
    return STATUS_OK;
}

enum status make_distill(stillhouse_client *client, const stillhouse_experience *experience,
                         const stillhouse_job_options *options, struct job_draft *draft,
                         struct error *err)
{
    struct distill_body body = {0};

    if (experience == NULL) {
        return error_set(err, STATUS_INVALID, "experience: expected one, got NULL");
    }
    arena_reset(&client->arena, CLIENT_KEEP_BYTES);
    TRY(start_draft(experience->domain, options, "", draft, err));
    TRY(take_experience(&client->arena, experience, &body, err));
    return encode(client, KIND_distill, &body, err);
}

/* ---- index --------------------------------------------------------------------------------- */

static enum status take_document(struct arena *arena, const stillhouse_document *from,
                                 struct index_document *to, struct error *err)
{
    TRY(take_text("id", from->id, &to->id, err));
    TRY(take_text("text", from->text, &to->text, err));
    return take_metadata(arena, from->metadata, from->metadata_count, &to->metadata, err);
}

static enum status take_documents(struct arena *arena, const struct documents *documents,
                                  struct index_body *body, struct error *err)
{
    const size_t count = documents->count;

    if (documents->each == NULL || count < 1 || count > QUEUE_BATCH_MAX) {
        return error_set(err, STATUS_INVALID, "documents: %zu%s, expected 1 to %d", count,
                         documents->each == NULL ? " at NULL" : "", QUEUE_BATCH_MAX);
    }
    body->documents.each = arena_array(arena, count, sizeof *body->documents.each);
    if (body->documents.each == NULL) {
        return error_set(err, STATUS_OOM, "out of memory for %zu documents", count);
    }
    for (; body->documents.count < count; body->documents.count++) {
        const enum status status = take_document(arena, &documents->each[body->documents.count],
                                                 &body->documents.each[body->documents.count], err);
        if (status != STATUS_OK) {
            return error_wrap(err, "documents[%zu]", body->documents.count);
        }
    }
    return STATUS_OK;
}

enum status make_index(stillhouse_client *client, const struct documents *documents,
                       const stillhouse_job_options *options, struct job_draft *draft,
                       struct error *err)
{
    struct index_body body = {0};

    arena_reset(&client->arena, CLIENT_KEEP_BYTES);
    TRY(start_draft(documents->domain, options, "", draft, err));
    TRY(take_documents(&client->arena, documents, &body, err));
    return encode(client, KIND_index, &body, err);
}

/* ---- any other ----------------------------------------------------------------------------- */

static enum status check_unique(const char *unique, struct error *err)
{
    struct job_options read;
    char text[LIBRARY_UNIQUE_MAX + 16];
    char shown[48];

    const int bytes = snprintf(text, sizeof text, "unique=%s", unique);
    return bytes < (int)sizeof text && strchr(unique, ' ') == NULL &&
                   job_options_parse(text, (size_t)bytes, false, &read, NULL) == STATUS_OK
               ? STATUS_OK
               : error_set(err, STATUS_INVALID,
                           "unique \"%s\": expected 1 to %d bytes without spaces and control "
                           "characters",
                           text_excerpt(unique, strlen(unique), shown), LIBRARY_UNIQUE_MAX);
}

enum status make_raw(stillhouse_client *client, const stillhouse_job *job, struct job_draft *draft,
                     struct error *err)
{
    const char *unique = job->unique == NULL ? "" : job->unique;

    if (job->body == NULL) {
        return error_set(err, STATUS_INVALID, "body: expected msgpack, got NULL");
    }
    if (job->unique != NULL) {
        TRY(check_unique(unique, err));
    }
    TRY(start_draft(job->domain, job->options, unique, draft, err));
    strbuf_reset(&client->body);
    strbuf_append(&client->body, job->body, job->body_bytes);
    TRY(check_body(client, err));
    return mp_check(job->body, job->body_bytes, NULL, err) == STATUS_OK ? STATUS_OK
                                                                        : error_wrap(err, "body");
}
