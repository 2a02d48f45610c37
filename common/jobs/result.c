/* The result of an enrichment, as a producer reads it from a cache that others may have written:
 * what can be left out is left out, what is wrong in kind is refused. */
#include "jobs/bodies_internal.h"

#include <string.h>

enum { RESULT_VERSION = 1 };

static enum status decode_texts(const msgpack_object *map, struct enrich_result *out,
                                struct error *err)
{
    const struct {
        const char *name;
        struct slice *out;
    } fields[] = {
        {"domain", &out->domain},
        {"query_hash", &out->query_hash},
        {"few_shot", &out->few_shot},
        {"error", &out->error},
    };

    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        enum status status = body_text(map, fields[i].name, BODY_OPTIONAL, fields[i].out, err);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static enum status decode_numbers(const msgpack_object *map, struct enrich_result *out,
                                  struct error *err)
{
    int64_t version = RESULT_VERSION;
    int64_t k = BODIES_K_DEFAULT;
    enum status status = body_integer(map, "v", RESULT_VERSION, RESULT_VERSION, &version, err);

    if (status == STATUS_OK) {
        status = body_integer(map, "k", 1, BODIES_K_MAX, &k, err);
    }
    if (status == STATUS_OK) {
        status = body_integer(map, "created_ms", 0, INT64_MAX, &out->created_unix_ms, err);
    }
    if (status == STATUS_OK) {
        status = body_integer(map, "epoch", 0, INT64_MAX, &out->epoch, err);
    }
    out->k = (int)k;
    return status;
}

static enum status decode_example(const msgpack_object *object, struct arena *arena,
                                  struct example *out, struct error *err)
{
    struct body_metadata metadata = {0};
    char found[BODY_DESCRIBE_BYTES];

    if (object->type != MSGPACK_OBJECT_MAP) {
        return error_set(err, STATUS_INVALID, "expected a map, found %s",
                         body_describe(object, found));
    }
    enum status status = body_text(object, "id", BODY_REQUIRED, &out->id, err);
    if (status == STATUS_OK) {
        status = body_text(object, "text", BODY_REQUIRED, &out->text, err);
    }
    if (status == STATUS_OK) {
        status = body_metadata_tolerant(object, arena, &metadata, err);
    }
    const msgpack_object *distance = body_find(object, "distance");
    if (distance == NULL || !body_as_number(distance, &out->distance)) {
        out->distance = 0;
    }
    out->metadata = metadata.pairs;
    out->metadata_count = metadata.count;
    return status;
}

static enum status decode_examples(const msgpack_object *map, struct arena *arena,
                                   struct enrich_result *out, struct error *err)
{
    const msgpack_object_array *examples;
    struct error detail = {0};
    enum status status =
        body_array(map, "examples", BODY_OPTIONAL, 0, BODY_LIST_MAX, &examples, err);
    if (status != STATUS_OK || examples == NULL || examples->size == 0) {
        return status;
    }

    out->examples = arena_array(arena, examples->size, sizeof *out->examples);
    if (out->examples == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    for (; out->count < examples->size; out->count++) {
        status =
            decode_example(&examples->ptr[out->count], arena, &out->examples[out->count], &detail);
        if (status != STATUS_OK) {
            return error_set(err, status, "examples[%zu]: %s", out->count, detail.text);
        }
    }
    return STATUS_OK;
}

static bool is_text(struct slice slice, const char *text)
{
    return slice.bytes == strlen(text) && memcmp(slice.data, text, slice.bytes) == 0;
}

bool bodies_result_is_of(const struct enrich_result *result, const char *domain,
                         const char *query_hash)
{
    return is_text(result->domain, domain) && is_text(result->query_hash, query_hash);
}

enum status bodies_decode_result(const void *data, size_t bytes, struct arena *arena,
                                 struct enrich_result *out, struct error *err)
{
    struct body_reader reader;
    enum status status = body_open_map(&reader, data, bytes, err);
    const msgpack_object *map = &reader.unpacked.data;

    *out = (struct enrich_result){.domain = {"", 0}, .query_hash = {"", 0}, .few_shot = {"", 0}};
    if (status == STATUS_OK) {
        status = decode_numbers(map, out, err);
    }
    if (status == STATUS_OK) {
        status = decode_texts(map, out, err);
    }
    if (status == STATUS_OK) {
        status = decode_examples(map, arena, out, err);
    }
    if (status == STATUS_OK && out->few_shot.bytes > BODIES_FEW_SHOT_MAX) {
        status = error_set(err, STATUS_INVALID, "\"few_shot\" has %zu bytes, expected at most %d",
                           out->few_shot.bytes, BODIES_FEW_SHOT_MAX);
    }
    body_close(&reader);
    return status;
}
