#include <string.h>

#include "jobs/bodies_internal.h"

/* A failed append sticks in the strbuf, where the caller looks for it; so what msgpack-c returns
 * for each value need not be looked at. */
static int write_to_strbuf(void *out, const char *data, size_t bytes)
{
    strbuf_append(out, data, bytes);
    return 0;
}

static void put_text(msgpack_packer *packer, struct slice text)
{
    msgpack_pack_str(packer, text.bytes);
    msgpack_pack_str_body(packer, text.data, text.bytes);
}

static void put_name(msgpack_packer *packer, const char *name)
{
    put_text(packer, (struct slice){name, strlen(name)});
}

static void put_text_field(msgpack_packer *packer, const char *name, struct slice text)
{
    put_name(packer, name);
    put_text(packer, text);
}

static void put_int_field(msgpack_packer *packer, const char *name, int64_t number)
{
    put_name(packer, name);
    msgpack_pack_int64(packer, number);
}

static void put_bool(msgpack_packer *packer, bool value)
{
    if (value) {
        msgpack_pack_true(packer);
    } else {
        msgpack_pack_false(packer);
    }
}

static void put_meta_value(msgpack_packer *packer, const struct meta_value *value)
{
    switch (value->type) {
    case META_STRING:
        put_text(packer, value->string);
        break;
    case META_INT:
        msgpack_pack_int64(packer, value->integer);
        break;
    case META_FLOAT:
        msgpack_pack_double(packer, value->number);
        break;
    case META_BOOL:
        put_bool(packer, value->boolean);
        break;
    case META_NULL:
        msgpack_pack_nil(packer);
        break;
    }
}

static void put_metadata_field(msgpack_packer *packer, const struct meta_pair *pairs, size_t count)
{
    put_name(packer, "metadata");
    msgpack_pack_map(packer, count);
    for (size_t i = 0; i < count; i++) {
        put_text(packer, pairs[i].key);
        put_meta_value(packer, &pairs[i].value);
    }
}

void bodies_encode_enrich(const struct enrich_body *body, struct strbuf *out)
{
    msgpack_packer packer;

    msgpack_packer_init(&packer, out, write_to_strbuf);
    msgpack_pack_map(&packer, 2);
    put_text_field(&packer, "query", body->query);
    put_int_field(&packer, "k", body->k);
}

void bodies_encode_distill(const struct distill_body *body, struct strbuf *out)
{
    bool has_model = body->model.data != NULL;
    bool has_metadata = body->metadata_count > 0;
    msgpack_packer packer;

    msgpack_packer_init(&packer, out, write_to_strbuf);
    msgpack_pack_map(&packer, 4U + body->has_quality + has_model + has_metadata);
    put_text_field(&packer, "task_id", body->task_id);
    put_text_field(&packer, "prompt", body->prompt);
    put_text_field(&packer, "result", body->result);
    put_name(&packer, "success");
    put_bool(&packer, body->success);
    if (body->has_quality) {
        put_name(&packer, "quality");
        msgpack_pack_double(&packer, body->quality);
    }
    if (has_model) {
        put_text_field(&packer, "model", body->model);
    }
    if (has_metadata) {
        put_metadata_field(&packer, body->metadata, body->metadata_count);
    }
}

void bodies_encode_index(const struct index_body *body, struct strbuf *out)
{
    msgpack_packer packer;

    msgpack_packer_init(&packer, out, write_to_strbuf);
    msgpack_pack_map(&packer, 1);
    put_name(&packer, "documents");
    msgpack_pack_array(&packer, body->count);
    for (size_t i = 0; i < body->count; i++) {
        const struct index_document *document = &body->documents[i];
        bool has_metadata = document->metadata_count > 0;

        msgpack_pack_map(&packer, 2U + has_metadata);
        put_text_field(&packer, "id", document->id);
        put_text_field(&packer, "text", document->text);
        if (has_metadata) {
            put_metadata_field(&packer, document->metadata, document->metadata_count);
        }
    }
}

static void put_example(msgpack_packer *packer, const struct example *example)
{
    msgpack_pack_map(packer, 4);
    put_text_field(packer, "id", example->id);
    put_text_field(packer, "text", example->text);
    put_name(packer, "distance");
    msgpack_pack_double(packer, example->distance);
    put_metadata_field(packer, example->metadata, example->metadata_count);
}

void bodies_encode_result(const struct enrich_result *result, struct strbuf *out)
{
    msgpack_packer packer;

    msgpack_packer_init(&packer, out, write_to_strbuf);
    msgpack_pack_map(&packer, 8);
    put_int_field(&packer, "v", 1);
    put_text_field(&packer, "domain", result->domain);
    put_text_field(&packer, "query_hash", result->query_hash);
    put_int_field(&packer, "created_ms", result->created_unix_ms);
    put_int_field(&packer, "epoch", result->epoch);
    put_int_field(&packer, "k", result->k);
    if (result->error.data != NULL) {
        put_text_field(&packer, "error", result->error);
    } else {
        put_name(&packer, "examples");
        msgpack_pack_array(&packer, result->count);
        for (size_t i = 0; i < result->count; i++) {
            put_example(&packer, &result->examples[i]);
        }
    }
    put_text_field(&packer, "few_shot", result->few_shot);
}
