#include <inttypes.h>
#include <string.h>

#include "bodies_internal.h"
#include "text.h"

/* A text that Chroma and C strings both can hold. */
static bool as_plain_text(const msgpack_object *object, struct slice *out)
{
    return body_as_text(object, out) &&
           (out->bytes == 0 || memchr(out->data, '\0', out->bytes) == NULL);
}

static bool decode_value(const msgpack_object *object, struct meta_value *out)
{
    switch (object->type) {
    case MSGPACK_OBJECT_NIL:
        out->type = META_NULL;
        return true;
    case MSGPACK_OBJECT_BOOLEAN:
        out->type = META_BOOL;
        out->boolean = object->via.boolean;
        return true;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        out->type = META_INT;
        return body_as_integer(object, &out->integer);
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        out->type = META_FLOAT;
        return body_as_number(object, &out->number);
    case MSGPACK_OBJECT_STR:
    case MSGPACK_OBJECT_BIN:
        out->type = META_STRING;
        return as_plain_text(object, &out->string);
    default:
        return false;
    }
}

static bool decode_key(const msgpack_object *object, struct slice *out)
{
    return as_plain_text(object, out) && out->bytes > 0 && out->bytes <= BODY_KEY_MAX;
}

/* Names of Chroma's own begin with "chroma:", '#' or '$'; one such key would make it refuse the
 * whole batch. */
static bool is_reserved(struct slice key, const char *const *reserved)
{
    static const char chroma_prefix[] = "chroma:";
    const size_t prefix_bytes = sizeof chroma_prefix - 1;

    if (key.data[0] == '#' || key.data[0] == '$' ||
        (key.bytes >= prefix_bytes && memcmp(key.data, chroma_prefix, prefix_bytes) == 0)) {
        return true;
    }
    for (size_t i = 0; reserved[i] != NULL; i++) {
        if (strlen(reserved[i]) == key.bytes && memcmp(reserved[i], key.data, key.bytes) == 0) {
            return true;
        }
    }
    return false;
}

/* Where a key already stands its value is replaced: the last one wins. */
static void put_pair(struct body_metadata *metadata, const struct meta_pair *pair)
{
    size_t i = 0;
    while (i < metadata->count &&
           (metadata->pairs[i].key.bytes != pair->key.bytes ||
            memcmp(metadata->pairs[i].key.data, pair->key.data, pair->key.bytes) != 0)) {
        i++;
    }
    metadata->pairs[i] = *pair;
    metadata->count += i == metadata->count;
}

static enum status key_error(const msgpack_object *key, struct error *err)
{
    char found[BODY_DESCRIBE_BYTES];
    return error_set(err, STATUS_INVALID,
                     "field \"metadata\": expected keys of 1 to %d bytes of text, found %s",
                     BODY_KEY_MAX, body_describe(key, found));
}

static enum status value_error(struct slice key, const msgpack_object *value, struct error *err)
{
    char excerpt[48];
    char found[BODY_DESCRIBE_BYTES];
    struct slice text;

    text_excerpt(key.data, key.bytes, excerpt);
    if (body_as_text(value, &text)) {
        return error_set(err, STATUS_INVALID, "metadata key \"%s\" holds a NUL byte", excerpt);
    }
    return error_set(err, STATUS_INVALID,
                     "metadata key \"%s\": expected a string, a finite number of at most 64 bits, "
                     "true, false or nil, found %s",
                     excerpt, body_describe(value, found));
}

static enum status decode_pair(const msgpack_object_kv *pair, const char *const *reserved,
                               struct meta_pair *out, struct error *err)
{
    char excerpt[48];

    if (!decode_key(&pair->key, &out->key)) {
        return key_error(&pair->key, err);
    }
    if (is_reserved(out->key, reserved)) {
        return error_set(err, STATUS_INVALID, "metadata key \"%s\" is reserved",
                         text_excerpt(out->key.data, out->key.bytes, excerpt));
    }
    if (!decode_value(&pair->val, &out->value)) {
        return value_error(out->key, &pair->val, err);
    }
    return STATUS_OK;
}

static enum status make_room(struct arena *arena, size_t count, struct body_metadata *out,
                             struct error *err)
{
    *out = (struct body_metadata){NULL, 0};
    if (count == 0) {
        return STATUS_OK;
    }
    out->pairs = arena_array(arena, count, sizeof *out->pairs);
    return out->pairs == NULL ? error_set(err, STATUS_OOM, "out of memory") : STATUS_OK;
}

enum status body_metadata(const msgpack_object *map, const char *const *reserved,
                          struct arena *arena, struct body_metadata *out, struct error *err)
{
    const msgpack_object *object = body_find(map, "metadata");
    char found[BODY_DESCRIBE_BYTES];

    *out = (struct body_metadata){NULL, 0};
    if (object == NULL) {
        return STATUS_OK;
    }
    if (object->type != MSGPACK_OBJECT_MAP) {
        return error_set(err, STATUS_INVALID, "field \"metadata\": expected a map, found %s",
                         body_describe(object, found));
    }
    if (object->via.map.size > BODIES_METADATA_MAX) {
        return error_set(err, STATUS_INVALID,
                         "field \"metadata\": expected at most %d keys, found %" PRIu32,
                         BODIES_METADATA_MAX, object->via.map.size);
    }
    enum status status = make_room(arena, object->via.map.size, out, err);
    for (size_t i = 0; status == STATUS_OK && i < object->via.map.size; i++) {
        struct meta_pair pair = {0};
        status = decode_pair(&object->via.map.ptr[i], reserved, &pair, err);
        if (status == STATUS_OK) {
            put_pair(out, &pair);
        }
    }
    return status;
}

enum status body_metadata_tolerant(const msgpack_object *map, struct arena *arena,
                                   struct body_metadata *out, struct error *err)
{
    const msgpack_object *object = body_find(map, "metadata");
    size_t size = object == NULL || object->type != MSGPACK_OBJECT_MAP ? 0 : object->via.map.size;
    enum status status =
        make_room(arena, size < BODIES_METADATA_MAX ? size : BODIES_METADATA_MAX, out, err);

    for (size_t i = 0; status == STATUS_OK && i < size && out->count < BODIES_METADATA_MAX; i++) {
        struct meta_pair pair = {0};
        if (decode_key(&object->via.map.ptr[i].key, &pair.key) &&
            decode_value(&object->via.map.ptr[i].val, &pair.value)) {
            put_pair(out, &pair);
        }
    }
    return status;
}
