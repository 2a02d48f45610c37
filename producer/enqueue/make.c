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

/* ---- record -------------------------------------------------------------------------------- */

/* What a body of this kind may have among its fields; NULL: no such. What stands beside the fields
 * in a part is none of them. */
static const struct kind_field *find_record_field(const char *name, struct slice kind)
{
    static const char beside[] = "kind task_id at_ms metadata";
    const struct kind_shape *shape = job_kinds[KIND_record].shape;

    for (size_t i = 0; i < shape->count; i++) {
        const struct kind_field *field = &shape->fields[i];
        if (strcmp(field->name.data, name) == 0) {
            return kind_has(field, kind) && !kind_is_word(beside, field->name) ? field : NULL;
        }
    }
    return NULL;
}

/* To be described in the decoder's words. */
static struct mp_value shown_value(const stillhouse_meta *from)
{
    switch (from->type) {
    case STILLHOUSE_META_STRING:
        if (from->string == NULL) {
            return (struct mp_value){.type = MP_NIL};
        }
        return (struct mp_value){.type = MP_STR, .bytes = slice_of(from->string)};
    case STILLHOUSE_META_INT:
        if (from->integer < 0) {
            return (struct mp_value){.type = MP_NEGATIVE, .negative = from->integer};
        }
        return (struct mp_value){.type = MP_WHOLE, .whole = (uint64_t)from->integer};
    case STILLHOUSE_META_FLOAT:
        return (struct mp_value){.type = MP_FLOAT, .number = from->number};
    case STILLHOUSE_META_BOOL:
        return (struct mp_value){.type = MP_BOOL, .truth = from->boolean};
    }
    return (struct mp_value){.type = MP_EXT};
}

static enum status wrong_type(const stillhouse_meta *from, const char *expected, struct error *err)
{
    const struct mp_value value = shown_value(from);
    char found[MP_DESCRIBE_BYTES];

    return error_set(err, STATUS_INVALID, "field \"%s\": expected %s, found %s%s", from->key,
                     expected, value.type == MP_FLOAT ? "the float " : "",
                     mp_describe(&value, found));
}

/* One value into the body; its bounds are the decoder's to judge. */
static enum status take_field(const stillhouse_meta *from, struct record_body *body,
                              struct error *err)
{
    char shown[48];

    if (from->key == NULL) {
        return error_set(err, STATUS_INVALID, "fields: expected a name, got NULL");
    }
    const struct kind_field *field = find_record_field(from->key, body->kind);
    if (field == NULL) {
        return error_set(err, STATUS_INVALID,
                         "field \"%s\": expected one that kind \"%s\" has, or it among metadata",
                         text_excerpt(from->key, strlen(from->key), shown), body->kind.data);
    }
    void *member = (char *)body + field->at;
    switch (field->type) {
    case FIELD_INTEGER:
        *(struct maybe_integer *)member = (struct maybe_integer){from->integer, true};
        return from->type == STILLHOUSE_META_INT ? STATUS_OK
                                                 : wrong_type(from, "a whole number", err);
    case FIELD_NUMBER:
        *(struct maybe_number *)member = (struct maybe_number){
            from->type == STILLHOUSE_META_INT ? (double)from->integer : from->number, true};
        return from->type == STILLHOUSE_META_INT || from->type == STILLHOUSE_META_FLOAT
                   ? STATUS_OK
                   : wrong_type(from, "a number", err);
    case FIELD_TRUTH:
        *(struct maybe_truth *)member = (struct maybe_truth){from->boolean, true};
        return from->type == STILLHOUSE_META_BOOL ? STATUS_OK
                                                  : wrong_type(from, "true or false", err);
    default:
        if (from->type != STILLHOUSE_META_STRING || from->string == NULL) {
            return wrong_type(from, "text", err);
        }
        *(struct slice *)member = slice_of(from->string);
        return STATUS_OK;
    }
}

static enum status take_part(struct arena *arena, const stillhouse_part *from,
                             struct record_body *body, struct error *err)
{
    TRY(take_text("kind", from->kind, &body->kind, err));
    if (from->task_id != NULL) {
        body->task_id = slice_of(from->task_id);
    }
    if (from->at_ms < 0) {
        return error_set(err, STATUS_INVALID, "at_ms %" PRId64 ": expected Unix ms, or 0",
                         from->at_ms);
    }
    body->at_ms = (struct maybe_integer){from->at_ms, from->at_ms > 0};
    if (from->fields == NULL && from->field_count > 0) {
        return error_set(err, STATUS_INVALID, "fields: %zu values at NULL", from->field_count);
    }
    for (size_t i = 0; i < from->field_count; i++) {
        TRY(take_field(&from->fields[i], body, err));
    }
    return take_metadata(arena, from->metadata, from->metadata_count, &body->metadata, err);
}

/* A kind that is none, before a field is said to be none of it. */
static enum status check_kind(const char *kind, struct error *err)
{
    const struct kind_shape *shape = job_kinds[KIND_record].shape;
    char shown[48];

    for (size_t i = 0; kind != NULL && i < shape->count; i++) {
        if (shape->fields[i].type == FIELD_WORD &&
            !kind_is_word(shape->fields[i].words, slice_of(kind))) {
            return error_set(err, STATUS_INVALID, "kind \"%s\": expected one of %s",
                             text_excerpt(kind, strlen(kind), shown), shape->fields[i].words);
        }
    }
    return STATUS_OK;
}

enum status make_record(stillhouse_client *client, const stillhouse_part *part,
                        struct job_draft *draft, struct error *err)
{
    static const stillhouse_job_options low = {.priority = STILLHOUSE_LOW};
    struct record_body body = {0};

    if (part == NULL) {
        return error_set(err, STATUS_INVALID, "part: expected one, got NULL");
    }
    arena_reset(&client->arena, CLIENT_KEEP_BYTES);
    TRY(start_draft(part->domain, &low, "", draft, err));
    TRY(check_kind(part->kind, err));
    TRY(take_part(&client->arena, part, &body, err));
    return encode(client, KIND_record, &body, err);
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
