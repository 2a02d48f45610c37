/* What a job asks for: the bodies of enrich, distill and index. */
#include <string.h>

#include "jobs/bodies_internal.h"

static const char *const distill_reserved[] = {
    "task_id", "domain", "success", "quality", "model", "created_ms", "expires_ms", NULL,
};

static const char *const index_reserved[] = {"content_hash", "domain", "created_ms", NULL};

static enum status decode_enrich(const msgpack_object *map, struct enrich_body *out,
                                 struct error *err)
{
    int64_t k = BODIES_K_DEFAULT;
    enum status status = body_full_text(map, "query", &out->query, err);

    if (status == STATUS_OK) {
        status = body_integer(map, "k", 1, BODIES_K_MAX, &k, err);
    }
    out->k = (int)k;
    return status;
}

enum status bodies_decode_enrich(const void *data, size_t bytes, struct enrich_body *out,
                                 struct error *err)
{
    struct body_reader reader;
    enum status status = body_open_map(&reader, data, bytes, err);

    *out = (struct enrich_body){0};
    if (status == STATUS_OK) {
        status = decode_enrich(&reader.unpacked.data, out, err);
    }
    body_close(&reader);
    return status;
}

static enum status decode_distill_judged(const msgpack_object *map, struct distill_body *out,
                                         struct error *err)
{
    enum status status = body_bool(map, "success", &out->success, err);

    if (status == STATUS_OK) {
        status = body_fraction(map, "quality", &out->has_quality, &out->quality, err);
    }
    if (status == STATUS_OK) {
        status = body_text(map, "model", BODY_OPTIONAL, &out->model, err);
    }
    if (status == STATUS_OK && out->model.bytes == 0) {
        out->model = (struct slice){NULL, 0};
    }
    return status;
}

static enum status decode_distill(const msgpack_object *map, const struct body_rules *rules,
                                  struct distill_body *out, struct error *err)
{
    struct body_metadata metadata = {0};
    enum status status = body_id(map, "task_id", &out->task_id, err);

    if (status == STATUS_OK) {
        status = body_document_text(map, "prompt", rules, &out->prompt, err);
    }
    if (status == STATUS_OK) {
        status = body_document_text(map, "result", rules, &out->result, err);
    }
    if (status == STATUS_OK) {
        status = decode_distill_judged(map, out, err);
    }
    if (status == STATUS_OK) {
        status = body_metadata(map, distill_reserved, rules, &metadata, err);
    }
    out->metadata = metadata.pairs;
    out->metadata_count = metadata.count;
    out->dropped = metadata.dropped;
    return status;
}

static enum status read_distill(struct slice body, const struct body_rules *rules,
                                struct distill_body *out, struct error *err)
{
    struct body_reader reader;
    enum status status = body_open_map(&reader, body.data, body.bytes, err);

    *out = (struct distill_body){0};
    if (status == STATUS_OK) {
        status = decode_distill(&reader.unpacked.data, rules, out, err);
    }
    body_close(&reader);
    return status;
}

enum status bodies_decode_distill(const void *data, size_t bytes, struct arena *arena,
                                  struct distill_body *out, struct error *err)
{
    const struct body_rules strict = {arena, false};
    return read_distill((struct slice){data, bytes}, &strict, out, err);
}

enum status bodies_accept_distill(const void *data, size_t bytes, struct arena *arena,
                                  struct distill_body *out, struct error *err)
{
    const struct body_rules lenient = {arena, true};
    return read_distill((struct slice){data, bytes}, &lenient, out, err);
}

static enum status decode_document(const msgpack_object *object, const struct body_rules *rules,
                                   struct index_document *out, struct error *err)
{
    struct body_metadata metadata = {0};
    char found[BODY_DESCRIBE_BYTES];

    if (object->type != MSGPACK_OBJECT_MAP) {
        return error_set(err, STATUS_INVALID, "expected a map, found %s",
                         body_describe(object, found));
    }
    enum status status = body_id(object, "id", &out->id, err);
    if (status == STATUS_OK) {
        status = body_document_text(object, "text", rules, &out->text, err);
    }
    if (status == STATUS_OK) {
        status = body_metadata(object, index_reserved, rules, &metadata, err);
    }
    out->metadata = metadata.pairs;
    out->metadata_count = metadata.count;
    out->dropped = metadata.dropped;
    return status;
}

static enum status decode_index(const msgpack_object *map, const struct body_rules *rules,
                                struct index_body *out, struct error *err)
{
    const msgpack_object_array *documents;
    struct error detail = {0};
    enum status status =
        body_array(map, "documents", BODY_REQUIRED, 1, BODY_LIST_MAX, &documents, err);
    if (status != STATUS_OK) {
        return status;
    }

    out->documents = arena_array(rules->arena, documents->size, sizeof *out->documents);
    if (out->documents == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    for (; out->count < documents->size; out->count++) {
        status = decode_document(&documents->ptr[out->count], rules, &out->documents[out->count],
                                 &detail);
        if (status != STATUS_OK) {
            return error_set(err, status, "documents[%zu]: %s", out->count, detail.text);
        }
    }
    return STATUS_OK;
}

static enum status read_index(struct slice body, const struct body_rules *rules,
                              struct index_body *out, struct error *err)
{
    struct body_reader reader;
    enum status status = body_open_map(&reader, body.data, body.bytes, err);

    *out = (struct index_body){0};
    if (status == STATUS_OK) {
        status = decode_index(&reader.unpacked.data, rules, out, err);
    }
    body_close(&reader);
    return status;
}

enum status bodies_decode_index(const void *data, size_t bytes, struct arena *arena,
                                struct index_body *out, struct error *err)
{
    const struct body_rules strict = {arena, false};
    return read_index((struct slice){data, bytes}, &strict, out, err);
}

enum status bodies_accept_index(const void *data, size_t bytes, struct arena *arena,
                                struct index_body *out, struct error *err)
{
    const struct body_rules lenient = {arena, true};
    return read_index((struct slice){data, bytes}, &lenient, out, err);
}
