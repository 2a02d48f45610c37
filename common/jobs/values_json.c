#include <stdio.h>

#include "jobs/bodies_internal.h"
#include "json/write.h"

static void put_unsigned(struct strbuf *out, uint64_t number)
{
    if (number <= INT64_MAX) {
        json_int(out, (int64_t)number);
    } else {
        strbuf_printf(out, "%llu", (unsigned long long)number);
    }
}

static void put_scalar(const msgpack_object *object, struct strbuf *out)
{
    switch (object->type) {
    case MSGPACK_OBJECT_BOOLEAN:
        strbuf_append_str(out, object->via.boolean ? "true" : "false");
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        put_unsigned(out, object->via.u64);
        break;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        json_int(out, object->via.i64);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        json_double(out, object->via.f64);
        break;
    case MSGPACK_OBJECT_STR:
        json_string(out, object->via.str.ptr, object->via.str.size);
        break;
    case MSGPACK_OBJECT_BIN:
        json_base64(out, object->via.bin.ptr, object->via.bin.size);
        break;
    case MSGPACK_OBJECT_EXT:
        json_base64(out, object->via.ext.ptr, object->via.ext.size);
        break;
    default:
        strbuf_append_str(out, "null");
        break;
    }
}

/* JSON wants text here: texts as they are, other scalars in quotes. An array or a map as key is
 * only named, since quoting it again at each level would double its length each time. */
static void put_key(const msgpack_object *key, struct json_writer *json)
{
    const bool quoted = key->type == MSGPACK_OBJECT_STR || key->type == MSGPACK_OBJECT_BIN ||
                        key->type == MSGPACK_OBJECT_EXT;
    struct strbuf *out = json_name_begin(json);

    if (key->type == MSGPACK_OBJECT_ARRAY || key->type == MSGPACK_OBJECT_MAP) {
        strbuf_append_str(out, key->type == MSGPACK_OBJECT_ARRAY ? "\"[array]\"" : "\"{map}\"");
    } else {
        strbuf_append_str(out, quoted ? "" : "\"");
        put_scalar(key, out);
        strbuf_append_str(out, quoted ? "" : "\"");
    }
    json_name_end(json);
}

static void put_value(const msgpack_object *object, struct json_writer *json, const char *name);

static void put_members(const msgpack_object_map *map, struct json_writer *json)
{
    for (size_t i = 0; i < map->size; i++) {
        put_key(&map->ptr[i].key, json);
        put_value(&map->ptr[i].val, json, NULL);
    }
}

/* Recursion is bounded: the scanner refuses more than BODIES_DEPTH_MAX levels. */
static void put_value(const msgpack_object *object, struct json_writer *json, const char *name)
{
    if (object->type == MSGPACK_OBJECT_ARRAY) {
        json_open(json, name, '[');
        for (size_t i = 0; i < object->via.array.size; i++) {
            put_value(&object->via.array.ptr[i], json, NULL);
        }
        json_close(json, ']');
    } else if (object->type == MSGPACK_OBJECT_MAP) {
        json_open(json, name, '{');
        put_members(&object->via.map, json);
        json_close(json, '}');
    } else {
        put_scalar(object, json_put(json, name));
    }
}

enum status body_json_text(const msgpack_object *object, struct arena *arena, struct slice *out,
                           struct error *err)
{
    struct strbuf text = {0};

    put_value(object, &(struct json_writer){.out = &text}, NULL);
    const char *copy = strbuf_ok(&text) ? arena_copy(arena, text.data, text.bytes) : NULL;
    *out = (struct slice){copy, text.bytes};
    strbuf_free(&text);
    return copy != NULL ? STATUS_OK : error_set(err, STATUS_OOM, "out of memory");
}

enum status bodies_to_json(const void *data, size_t bytes, struct json_writer *json,
                           const char *name, struct error *err)
{
    struct body_reader reader;
    enum status status = body_open(&reader, data, bytes, err);

    if (status == STATUS_OK) {
        put_value(&reader.unpacked.data, json, name);
        if (!strbuf_ok(json->out)) {
            status = error_set(err, STATUS_OOM, "out of memory");
        }
    }
    body_close(&reader);
    return status;
}

enum status bodies_members_to_json(const void *data, size_t bytes, struct json_writer *json,
                                   struct error *err)
{
    struct body_reader reader;
    enum status status = body_open_map(&reader, data, bytes, err);

    if (status == STATUS_OK) {
        put_members(&reader.unpacked.data.via.map, json);
    }
    body_close(&reader);
    return status;
}
