#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "jobs/bodies_internal.h"

enum { DROPPED_NAMED_MAX = 10 };

/* Chroma and C strings both can hold it. */
static bool is_plain(struct slice text)
{
    return text.bytes == 0 || memchr(text.data, '\0', text.bytes) == NULL;
}

static enum status copy_text(struct arena *arena, struct strbuf *text, struct slice *out,
                             struct error *err)
{
    const char *copy = strbuf_ok(text) ? arena_copy(arena, text->data, text->bytes) : NULL;

    *out = (struct slice){copy, text->bytes};
    strbuf_free(text);
    return copy != NULL ? STATUS_OK : error_set(err, STATUS_OOM, "out of memory");
}

/* INVALID without a text: the caller knows the key. */
static enum status decode_value(const msgpack_object *object, const struct body_rules *rules,
                                struct meta_value *out, struct error *err)
{
    bool kept = false;

    switch (object->type) {
    case MSGPACK_OBJECT_NIL:
        out->type = META_NULL;
        kept = true;
        break;
    case MSGPACK_OBJECT_BOOLEAN:
        out->type = META_BOOL;
        out->boolean = object->via.boolean;
        kept = true;
        break;
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        out->type = META_INT;
        kept = body_as_integer(object, &out->integer);
        break;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        out->type = META_FLOAT;
        kept = body_as_number(object, &out->number);
        break;
    case MSGPACK_OBJECT_STR:
    case MSGPACK_OBJECT_BIN:
        out->type = META_STRING;
        if (!body_as_text(object, &out->string)) {
            break;
        }
        kept = is_plain(out->string);
        if (!kept && rules->lenient) {
            return body_repair(rules, &out->string, err);
        }
        break;
    case MSGPACK_OBJECT_ARRAY:
    case MSGPACK_OBJECT_MAP:
        out->type = META_STRING;
        return body_json_text(object, rules->arena, &out->string, err);
    default:
        break;
    }
    return kept ? STATUS_OK : STATUS_INVALID;
}

/* Text; of msgpack's other types numbers and truth values can be one. */
static enum status decode_key(const msgpack_object *object, struct arena *arena, struct slice *out,
                              struct error *err)
{
    const bool has_text =
        object->type == MSGPACK_OBJECT_BOOLEAN || object->type == MSGPACK_OBJECT_POSITIVE_INTEGER ||
        object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER || object->type == MSGPACK_OBJECT_FLOAT32 ||
        object->type == MSGPACK_OBJECT_FLOAT64;

    if (object->type == MSGPACK_OBJECT_STR) {
        *out = (struct slice){object->via.str.ptr, object->via.str.size};
    } else if (has_text) {
        const enum status status = body_json_text(object, arena, out, err);
        if (status != STATUS_OK) {
            return status;
        }
    } else if (!body_as_text(object, out)) {
        return STATUS_INVALID;
    }
    return out->bytes > 0 && out->bytes <= BODY_KEY_MAX && is_plain(*out) ? STATUS_OK
                                                                          : STATUS_INVALID;
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
                     "true, false, nil, a list or a map, found %s",
                     excerpt, body_describe(value, found));
}

/* INVALID: it cannot be kept. */
static enum status decode_pair(const msgpack_object_kv *pair, const char *const *reserved,
                               const struct body_rules *rules, struct meta_pair *out,
                               struct error *err)
{
    char excerpt[48];
    enum status status = decode_key(&pair->key, rules->arena, &out->key, err);

    if (status == STATUS_INVALID) {
        return key_error(&pair->key, err);
    }
    if (status == STATUS_OK && is_reserved(out->key, reserved)) {
        return error_set(err, STATUS_INVALID, "metadata key \"%s\" is reserved",
                         text_excerpt(out->key.data, out->key.bytes, excerpt));
    }
    if (status == STATUS_OK) {
        status = decode_value(&pair->val, rules, &out->value, err);
    }
    return status == STATUS_INVALID ? value_error(out->key, &pair->val, err) : status;
}

static enum status make_room(struct arena *arena, size_t count, struct body_metadata *out,
                             struct error *err)
{
    *out = (struct body_metadata){0};
    if (count == 0) {
        return STATUS_OK;
    }
    out->pairs = arena_array(arena, count, sizeof *out->pairs);
    return out->pairs == NULL ? error_set(err, STATUS_OOM, "out of memory") : STATUS_OK;
}

/* The keys of pairs that are left out. */
struct dropped {
    struct strbuf names;
    size_t count;
};

static void note_dropped(struct dropped *dropped, const msgpack_object *key)
{
    char excerpt[48];
    char found[BODY_DESCRIBE_BYTES];
    struct slice text = {0};

    if (dropped->count++ >= DROPPED_NAMED_MAX) {
        return;
    }
    strbuf_append_str(&dropped->names, dropped->count > 1 ? ", " : "");
    if (!body_as_text(key, &text)) {
        strbuf_append_str(&dropped->names, body_describe(key, found));
    } else {
        strbuf_append_str(&dropped->names, text.bytes == 0
                                               ? "(empty)"
                                               : text_excerpt(text.data, text.bytes, excerpt));
    }
}

/* Says in the metadata itself what it lacks. */
static enum status put_dropped(struct dropped *dropped, struct arena *arena,
                               struct body_metadata *out, struct error *err)
{
    struct meta_pair pair = {{"dropped_keys", 12}, {.type = META_STRING}};

    if (dropped->count > DROPPED_NAMED_MAX) {
        strbuf_printf(&dropped->names, " and %zu more", dropped->count - DROPPED_NAMED_MAX);
    }
    enum status status = copy_text(arena, &dropped->names, &out->dropped, err);
    pair.value.string = out->dropped;
    if (status == STATUS_OK) {
        put_pair(out, &pair);
    }
    return status;
}

static enum status take_pairs(const msgpack_object_map *map, const char *const *reserved,
                              const struct body_rules *rules, struct body_metadata *out,
                              struct error *err)
{
    struct dropped dropped = {0};
    enum status status = STATUS_OK;

    for (size_t i = 0; status == STATUS_OK && i < map->size; i++) {
        struct meta_pair pair = {0};
        if (out->count == BODIES_METADATA_MAX) {
            note_dropped(&dropped, &map->ptr[i].key);
            continue;
        }
        status = decode_pair(&map->ptr[i], reserved, rules, &pair, err);
        if (status == STATUS_OK) {
            put_pair(out, &pair);
        } else if (status == STATUS_INVALID && rules->lenient) {
            note_dropped(&dropped, &map->ptr[i].key);
            status = STATUS_OK;
        }
    }
    if (status == STATUS_OK && dropped.count > 0) {
        status = put_dropped(&dropped, rules->arena, out, err);
    }
    strbuf_free(&dropped.names);
    return status;
}

enum status body_metadata(const msgpack_object *map, const char *const *reserved,
                          const struct body_rules *rules, struct body_metadata *out,
                          struct error *err)
{
    const msgpack_object *object = body_find(map, "metadata");
    char found[BODY_DESCRIBE_BYTES];

    *out = (struct body_metadata){0};
    if (object == NULL) {
        return STATUS_OK;
    }
    if (object->type != MSGPACK_OBJECT_MAP) {
        return error_set(err, STATUS_INVALID, "field \"metadata\": expected a map, found %s",
                         body_describe(object, found));
    }
    const size_t size = object->via.map.size;
    if (size > BODIES_METADATA_MAX && !rules->lenient) {
        return error_set(err, STATUS_INVALID,
                         "field \"metadata\": expected at most %d keys, found %zu",
                         BODIES_METADATA_MAX, size);
    }
    const size_t room = size < BODIES_METADATA_MAX ? size : BODIES_METADATA_MAX;
    enum status status = make_room(rules->arena, room + (rules->lenient && size > 0), out, err);
    return status == STATUS_OK ? take_pairs(&object->via.map, reserved, rules, out, err) : status;
}

/* Of results, which are read from what a worker wrote, no more is expected. Nothing is allocated
 * for such a pair. */
static bool is_scalar_pair(const msgpack_object_kv *pair)
{
    return (pair->key.type == MSGPACK_OBJECT_STR || pair->key.type == MSGPACK_OBJECT_BIN) &&
           pair->val.type != MSGPACK_OBJECT_ARRAY && pair->val.type != MSGPACK_OBJECT_MAP;
}

enum status body_metadata_tolerant(const msgpack_object *map, struct arena *arena,
                                   struct body_metadata *out, struct error *err)
{
    const struct body_rules rules = {arena, false};
    const msgpack_object *object = body_find(map, "metadata");
    const size_t size =
        object == NULL || object->type != MSGPACK_OBJECT_MAP ? 0 : object->via.map.size;
    enum status status =
        make_room(arena, size < BODIES_METADATA_MAX ? size : BODIES_METADATA_MAX, out, err);

    for (size_t i = 0; status == STATUS_OK && i < size && out->count < BODIES_METADATA_MAX; i++) {
        struct meta_pair pair = {0};
        const msgpack_object_kv *kv = &object->via.map.ptr[i];
        if (!is_scalar_pair(kv)) {
            continue;
        }
        if (decode_key(&kv->key, arena, &pair.key, NULL) == STATUS_OK &&
            decode_value(&kv->val, &rules, &pair.value, NULL) == STATUS_OK) {
            put_pair(out, &pair);
        }
    }
    return status;
}
