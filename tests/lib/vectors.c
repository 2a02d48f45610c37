#include "vectors.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "jobs/bodies.h"
#include "jobs/job.h"

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static int digit(char c)
{
    must((c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'));
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

void vectors_bytes(const char *hex, struct strbuf *out)
{
    strbuf_reset(out);
    for (; hex[0] != '\0'; hex += 2) {
        strbuf_append_char(out, (char)(digit(hex[0]) * 16 + digit(hex[1])));
    }
    must(strbuf_ok(out));
}

void vectors_add_hex(cJSON *to, const char *name, const struct strbuf *bytes)
{
    struct strbuf hex = {0};

    must(strbuf_ok(bytes));
    strbuf_append_str(&hex, "");
    for (size_t i = 0; i < bytes->bytes; i++) {
        strbuf_printf(&hex, "%02x", (unsigned char)bytes->data[i]);
    }
    must(strbuf_ok(&hex));
    cJSON_AddStringToObject(to, name, hex.data != NULL ? hex.data : "");
    strbuf_free(&hex);
}

static const char *text_of(const cJSON *vector, const char *name)
{
    const cJSON *member = cJSON_GetObjectItemCaseSensitive(vector, name);

    must(cJSON_IsString(member));
    return member->valuestring;
}

static void add_text(cJSON *to, const char *name, struct slice text)
{
    char *copy = strndup(text.data != NULL ? text.data : "", text.bytes);

    must(copy != NULL);
    cJSON_AddStringToObject(to, name, copy);
    free(copy);
}

static void add_metadata(cJSON *to, const struct meta_pair *pairs, size_t count)
{
    cJSON *map = cJSON_AddObjectToObject(to, "metadata");

    for (size_t i = 0; i < count; i++) {
        char *key = strndup(pairs[i].key.data, pairs[i].key.bytes);
        must(key != NULL);
        switch (pairs[i].value.type) {
        case META_STRING:
            add_text(map, key, pairs[i].value.string);
            break;
        case META_INT:
            cJSON_AddNumberToObject(map, key, (double)pairs[i].value.integer);
            break;
        case META_FLOAT:
            cJSON_AddNumberToObject(map, key, pairs[i].value.number);
            break;
        case META_BOOL:
            cJSON_AddBoolToObject(map, key, pairs[i].value.boolean);
            break;
        case META_NULL:
            cJSON_AddNullToObject(map, key);
            break;
        }
        free(key);
    }
}

/* ---- bodies -------------------------------------------------------------------------------- */

static void add_enrich(cJSON *to, const struct enrich_body *body)
{
    add_text(to, "query", body->query);
    cJSON_AddNumberToObject(to, "k", (double)body->k.value);
}

static void add_distill(cJSON *to, const struct distill_body *body)
{
    add_text(to, "task_id", body->task_id);
    add_text(to, "prompt", body->prompt);
    add_text(to, "result", body->result);
    cJSON_AddBoolToObject(to, "success", body->success.value);
    if (body->quality.given) {
        cJSON_AddNumberToObject(to, "quality", body->quality.value);
    }
    if (body->model.data != NULL) {
        add_text(to, "model", body->model);
    }
    if (body->metadata.count > 0) {
        add_metadata(to, body->metadata.pairs, body->metadata.count);
    }
}

static void add_index(cJSON *to, const struct index_body *body)
{
    cJSON *documents = cJSON_AddArrayToObject(to, "documents");

    for (size_t i = 0; i < body->documents.count; i++) {
        cJSON *document = cJSON_CreateObject();
        add_text(document, "id", body->documents.each[i].id);
        add_text(document, "text", body->documents.each[i].text);
        if (body->documents.each[i].metadata.count > 0) {
            add_metadata(document, body->documents.each[i].metadata.pairs,
                         body->documents.each[i].metadata.count);
        }
        cJSON_AddItemToArray(documents, document);
    }
}

/* By the table: what is there of each field. */
static void add_record(cJSON *to, const struct record_body *body)
{
    const struct kind_shape *shape = job_kinds[KIND_record].shape;

    for (size_t i = 0; i < shape->count; i++) {
        const struct kind_field *field = &shape->fields[i];
        const void *member = (const char *)body + field->at;
        const struct maybe_integer *integer = member;
        const struct maybe_number *number = member;
        const struct maybe_truth *truth = member;
        const struct slice *text = member;
        const char *name = field->name.data;
        switch (field->type) {
        case FIELD_INTEGER:
            (void)(integer->given && cJSON_AddNumberToObject(to, name, (double)integer->value));
            break;
        case FIELD_NUMBER:
            (void)(number->given && cJSON_AddNumberToObject(to, name, number->value));
            break;
        case FIELD_TRUTH:
            (void)(truth->given && cJSON_AddBoolToObject(to, name, truth->value));
            break;
        case FIELD_METADATA:
            if (body->metadata.count > 0) {
                add_metadata(to, body->metadata.pairs, body->metadata.count);
            }
            break;
        default:
            if (text->data != NULL) {
                add_text(to, name, *text);
            }
        }
    }
}

/* "fields" and "canonical", or "error"; what a worker takes all the same is "worker". */
static void answer_body(const cJSON *vector, cJSON *answer)
{
    const char *kind = text_of(vector, "kind");
    struct strbuf bytes = {0};
    struct strbuf canonical = {0};
    struct arena arena = {0};
    struct error err = {0};
    struct enrich_body enrich;
    struct distill_body distill;
    struct index_body index;
    struct record_body record;
    struct vector_body about;
    cJSON *fields = cJSON_CreateObject();
    cJSON *worker = cJSON_CreateObject();
    enum status status = STATUS_OK;
    enum status accepted = STATUS_INVALID;

    vectors_bytes(text_of(vector, "hex"), &bytes);
    if (strcmp(kind, "enrich") == 0) {
        status = bodies_decode_enrich(bytes.data, bytes.bytes, NULL, &enrich, &err);
        if (status == STATUS_OK) {
            add_enrich(fields, &enrich);
            bodies_encode_enrich(&enrich, &canonical);
        }
    } else if (strcmp(kind, "distill") == 0) {
        status = bodies_decode_distill(bytes.data, bytes.bytes, &arena, &distill, &err);
        if (status == STATUS_OK) {
            add_distill(fields, &distill);
            bodies_encode_distill(&distill, &canonical);
        } else {
            accepted = bodies_accept_distill(bytes.data, bytes.bytes, &arena, &distill, NULL);
            if (accepted == STATUS_OK) {
                add_distill(worker, &distill);
            }
        }
    } else if (strcmp(kind, "index") == 0) {
        status = bodies_decode_index(bytes.data, bytes.bytes, &arena, &index, &err);
        if (status == STATUS_OK) {
            add_index(fields, &index);
            bodies_encode_index(&index, &canonical);
        } else {
            accepted = bodies_accept_index(bytes.data, bytes.bytes, &arena, &index, NULL);
            if (accepted == STATUS_OK) {
                add_index(worker, &index);
            }
        }
    } else if (strcmp(kind, "vector") == 0) {
        status = bodies_decode_vector(bytes.data, bytes.bytes, &arena, &about, &err);
        if (status == STATUS_OK) {
            add_text(fields, "task_id", about.task_id);
            bodies_encode_vector(&about, &canonical);
        }
    } else if (strcmp(kind, "record") == 0) {
        status = bodies_decode_record(bytes.data, bytes.bytes, &arena, &record, &err);
        if (status == STATUS_OK) {
            add_record(fields, &record);
            bodies_encode_record(&record, &canonical);
        }
    } else {
        status = values_to_json(bytes.data, bytes.bytes, &(struct json_writer){.out = &canonical},
                                NULL, &err);
    }
    if (status != STATUS_OK) {
        cJSON_AddStringToObject(answer, "error", err.text);
    } else if (cJSON_GetArraySize(fields) > 0) {
        cJSON_AddItemToObject(answer, "fields", cJSON_Duplicate(fields, true));
        vectors_add_hex(answer, "canonical", &canonical);
    } else {
        cJSON_AddStringToObject(answer, "json", canonical.data);
    }
    if (accepted == STATUS_OK) {
        cJSON_AddItemToObject(answer, "worker", cJSON_Duplicate(worker, true));
    }
    cJSON_Delete(fields);
    cJSON_Delete(worker);
    arena_free(&arena);
    strbuf_free(&canonical);
    strbuf_free(&bytes);
}

/* ---- results ------------------------------------------------------------------------------- */

static void add_result(cJSON *to, const struct enrich_result *result)
{
    cJSON_AddNumberToObject(to, "v", 1);
    add_text(to, "domain", result->domain);
    add_text(to, "query_hash", result->query_hash);
    cJSON_AddNumberToObject(to, "created_ms", (double)result->created_unix_ms);
    cJSON_AddNumberToObject(to, "epoch", (double)result->epoch);
    cJSON_AddNumberToObject(to, "k", (double)result->k);
    if (result->error.data != NULL) {
        add_text(to, "error", result->error);
    } else {
        cJSON *examples = cJSON_AddArrayToObject(to, "examples");
        for (size_t i = 0; i < result->count; i++) {
            cJSON *example = cJSON_CreateObject();
            add_text(example, "id", result->examples[i].id);
            add_text(example, "text", result->examples[i].text);
            cJSON_AddNumberToObject(example, "distance", result->examples[i].distance);
            add_metadata(example, result->examples[i].metadata, result->examples[i].metadata_count);
            cJSON_AddItemToArray(examples, example);
        }
    }
    add_text(to, "few_shot", result->few_shot);
}

static void answer_result(const cJSON *vector, cJSON *answer)
{
    struct strbuf bytes = {0};
    struct strbuf canonical = {0};
    struct arena arena = {0};
    struct error err = {0};
    struct enrich_result result;

    vectors_bytes(text_of(vector, "hex"), &bytes);
    if (bodies_decode_result(bytes.data, bytes.bytes, &arena, &result, &err) == STATUS_OK) {
        add_result(cJSON_AddObjectToObject(answer, "fields"), &result);
        bodies_encode_result(&result, &canonical);
        vectors_add_hex(answer, "canonical", &canonical);
    } else {
        cJSON_AddStringToObject(answer, "error", err.text);
    }
    arena_free(&arena);
    strbuf_free(&canonical);
    strbuf_free(&bytes);
}

/* ---- options ------------------------------------------------------------------------------- */

static void add_number(cJSON *to, const char *name, int64_t number)
{
    if (number > 0) {
        cJSON_AddNumberToObject(to, name, (double)number);
    }
}

static void add_options(cJSON *to, const struct job_options *options)
{
    cJSON_AddStringToObject(to, "priority", job_priority_name(options->priority));
    add_number(to, "delay_ms", options->delay_ms);
    add_number(to, "deadline_ms", options->deadline_unix_ms);
    if (options->unique.bytes > 0) {
        add_text(to, "unique", options->unique);
    }
    if (options->reply) {
        cJSON_AddBoolToObject(to, "reply", true);
    }
    if (options->traceparent.bytes > 0) {
        add_text(to, "traceparent", options->traceparent);
    }
    add_number(to, "since", options->since_unix_ms);
    if (options->parked.tries > 0) {
        cJSON *parked = cJSON_AddObjectToObject(to, "parked");
        add_number(parked, "tries", options->parked.tries);
        add_text(parked, "waits_for", options->parked.waits_for);
        add_number(parked, "tried_ms", options->parked.tried_unix_ms);
    }
}

/* "fields" and "canonical", or "error"; what the fleet reads all the same is "worker". */
static void answer_options(const cJSON *vector, cJSON *answer)
{
    const char *text = text_of(vector, "text");
    struct job_options options;
    struct error err = {0};
    char canonical[640];

    if (job_options_parse(text, strlen(text), false, &options, &err) == STATUS_OK) {
        add_options(cJSON_AddObjectToObject(answer, "fields"), &options);
        (void)job_options_format(&options, canonical, sizeof canonical);
        cJSON_AddStringToObject(answer, "canonical", canonical);
        return;
    }
    cJSON_AddStringToObject(answer, "error", err.text);
    if (job_options_parse(text, strlen(text), true, &options, NULL) == STATUS_OK) {
        add_options(cJSON_AddObjectToObject(answer, "worker"), &options);
    }
}

/* ---- names --------------------------------------------------------------------------------- */

cJSON *vectors_answer(const char *file, const cJSON *vector)
{
    cJSON *answer = cJSON_CreateObject();

    must(answer != NULL);
    if (strcmp(file, "bodies") == 0) {
        answer_body(vector, answer);
    } else if (strcmp(file, "results") == 0) {
        answer_result(vector, answer);
    } else if (strcmp(file, "options") == 0) {
        answer_options(vector, answer);
    } else {
        const char *text = text_of(vector, "text");
        char hash[TEXT_HASH_CHARS + 1];
        if (strcmp(file, "hashes") == 0) {
            text_hash(text, strlen(text), hash);
            cJSON_AddStringToObject(answer, "text_hash", hash);
            text_hash_raw(text, strlen(text), hash);
            cJSON_AddStringToObject(answer, "raw_hash", hash);
        } else if (strcmp(file, "ids") == 0) {
            cJSON_AddBoolToObject(answer, "good", text_is_id(text, strlen(text)));
        } else {
            must(strcmp(file, "domains") == 0);
            cJSON_AddBoolToObject(answer, "good", text_is_domain(text, strlen(text)));
        }
    }
    return answer;
}
