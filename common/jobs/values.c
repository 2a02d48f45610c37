#include "jobs/values.h"

#include <inttypes.h>
#include <string.h>

#include "base/text.h"
#include "jobs/kinds.h"
#include "json/write.h"

enum { KEY_MAX = 128, DROPPED_NAMED_MAX = 10 };

/* ---- JSON ------------------------------------------------------------------------------------ */

static void put_unsigned(struct strbuf *out, uint64_t number)
{
    if (number <= INT64_MAX) {
        json_int(out, (int64_t)number);
    } else {
        strbuf_printf(out, "%llu", (unsigned long long)number);
    }
}

static void put_scalar(const struct mp_value *value, struct strbuf *out)
{
    switch (value->type) {
    case MP_BOOL:
        strbuf_append_str(out, value->truth ? "true" : "false");
        break;
    case MP_WHOLE:
        put_unsigned(out, value->whole);
        break;
    case MP_NEGATIVE:
        json_int(out, value->negative);
        break;
    case MP_FLOAT:
        json_double(out, value->number);
        break;
    case MP_STR:
        json_string(out, value->bytes.data, value->bytes.bytes);
        break;
    case MP_BIN:
    case MP_EXT:
        json_base64(out, value->bytes.data, value->bytes.bytes);
        break;
    default:
        strbuf_append_str(out, "null");
        break;
    }
}

/* JSON wants text here: texts as they are, other scalars in quotes. An array or a map as key is
 * only named, since quoting it again at each level would double its length each time. */
static void put_key(const struct mp_value *key, struct json_writer *json)
{
    const bool quoted = key->type == MP_STR || key->type == MP_BIN || key->type == MP_EXT;
    struct strbuf *out = json_name_begin(json);

    if (key->type == MP_ARRAY || key->type == MP_MAP) {
        strbuf_append_str(out, key->type == MP_ARRAY ? "\"[array]\"" : "\"{map}\"");
    } else {
        strbuf_append_str(out, quoted ? "" : "\"");
        put_scalar(key, out);
        strbuf_append_str(out, quoted ? "" : "\"");
    }
    json_name_end(json);
}

static void put_value(const struct mp_value *value, struct json_writer *json, const char *name);

static void put_members(const struct mp_value *map, struct json_writer *json)
{
    struct mp_cursor cursor = mp_inside(map);
    struct mp_value key;
    struct mp_value value;

    while (mp_next(&cursor, &key) && mp_next(&cursor, &value)) {
        put_key(&key, json);
        put_value(&value, json, NULL);
    }
}

/* Recursion is bounded: the check refuses more than MP_DEPTH_MAX levels. */
static void put_value(const struct mp_value *value, struct json_writer *json, const char *name)
{
    struct mp_cursor cursor = mp_inside(value);
    struct mp_value element;

    if (value->type == MP_ARRAY) {
        json_open(json, name, '[');
        while (mp_next(&cursor, &element)) {
            put_value(&element, json, NULL);
        }
        json_close(json, ']');
    } else if (value->type == MP_MAP) {
        json_open(json, name, '{');
        put_members(value, json);
        json_close(json, '}');
    } else {
        put_scalar(value, json_put(json, name));
    }
}

static enum status copy_text(struct arena *arena, struct strbuf *text, struct slice *out,
                             struct error *err)
{
    const char *copy =
        strbuf_ok(text) ? arena_copy(arena, text->data, text->bytes) : arena_no_memory(arena);

    *out = (struct slice){copy, text->bytes};
    strbuf_free(text);
    return copy != NULL ? STATUS_OK : error_set(err, STATUS_OOM, "out of memory");
}

/* What lists, maps, and numbers as keys are in metadata. Of Chroma's servers only new ones take
 * lists, and none maps. */
static enum status json_text(const struct mp_value *value, struct arena *arena, struct slice *out,
                             struct error *err)
{
    struct strbuf text = {0};

    put_value(value, &(struct json_writer){.out = &text}, NULL);
    return copy_text(arena, &text, out, err);
}

enum status values_to_json(const void *data, size_t bytes, struct json_writer *json,
                           const char *name, struct error *err)
{
    struct mp_document document;
    enum status status = mp_check(data, bytes, &document, err);

    if (status == STATUS_OK) {
        put_value(&document.root, json, name);
        if (!strbuf_ok(json->out)) {
            status = error_set(err, STATUS_OOM, "out of memory");
        }
    }
    return status;
}

enum status values_members_to_json(const void *data, size_t bytes, struct json_writer *json,
                                   struct error *err)
{
    char found[MP_DESCRIBE_BYTES];
    struct mp_document document;

    TRY(mp_check(data, bytes, &document, err));
    if (document.root.type != MP_MAP) {
        return error_set(err, STATUS_INVALID, "expected a map, found %s",
                         mp_describe(&document.root, found));
    }
    put_members(&document.root, json);
    return STATUS_OK;
}

/* ---- texts ----------------------------------------------------------------------------------- */

/* A copy in which U+FFFD stands for each NUL byte. */
static enum status without_nul(struct arena *arena, struct slice text, struct slice *out,
                               struct error *err)
{
    static const char replacement[] = "\xef\xbf\xbd";
    struct strbuf repaired = {0};

    for (size_t i = 0; i < text.bytes; i++) {
        if (text.data[i] == '\0') {
            strbuf_append_str(&repaired, replacement);
        } else {
            strbuf_append_char(&repaired, text.data[i]);
        }
    }
    return copy_text(arena, &repaired, out, err);
}

enum status values_repair(const struct reading *how, struct slice *text, struct error *err)
{
    if (!how->lenient || text->bytes == 0 || memchr(text->data, '\0', text->bytes) == NULL) {
        return STATUS_OK;
    }
    return without_nul(how->arena, *text, text, err);
}

/* Chroma and C strings both can hold it. */
static bool is_plain(struct slice text)
{
    return text.bytes == 0 || memchr(text.data, '\0', text.bytes) == NULL;
}

/* ---- pairs ----------------------------------------------------------------------------------- */

/* INVALID without a text: the caller knows the key. */
static enum status read_value(const struct mp_value *value, const struct reading *how,
                              struct meta_value *out, struct error *err)
{
    bool kept = false;

    switch (value->type) {
    case MP_NIL:
        out->type = META_NULL;
        kept = true;
        break;
    case MP_BOOL:
        out->type = META_BOOL;
        out->boolean = value->truth;
        kept = true;
        break;
    case MP_WHOLE:
    case MP_NEGATIVE:
        out->type = META_INT;
        kept = mp_integer(value, &out->integer);
        break;
    case MP_FLOAT:
        out->type = META_FLOAT;
        kept = mp_number(value, &out->number);
        break;
    case MP_STR:
    case MP_BIN:
        out->type = META_STRING;
        if (!mp_text(value, &out->string)) {
            break;
        }
        kept = is_plain(out->string);
        if (!kept && how->lenient) {
            return values_repair(how, &out->string, err);
        }
        break;
    case MP_ARRAY:
    case MP_MAP:
        out->type = META_STRING;
        return json_text(value, how->arena, &out->string, err);
    default:
        break;
    }
    return kept ? STATUS_OK : STATUS_INVALID;
}

/* Text; of msgpack's other types numbers and truth values can be one. */
static enum status read_key(const struct mp_value *key, struct arena *arena, struct slice *out,
                            struct error *err)
{
    if (key->type == MP_BOOL || key->type == MP_WHOLE || key->type == MP_NEGATIVE ||
        key->type == MP_FLOAT) {
        TRY(json_text(key, arena, out, err));
    } else if (!mp_text(key, out)) {
        return STATUS_INVALID;
    }
    return out->bytes > 0 && out->bytes <= KEY_MAX && is_plain(*out) ? STATUS_OK : STATUS_INVALID;
}

/* Names of Chroma's own begin with "chroma:", '#' or '$'; one such key would make it refuse the
 * whole batch. */
static bool is_reserved(struct slice key, const char *reserved)
{
    static const char chroma_prefix[] = "chroma:";
    const size_t prefix_bytes = sizeof chroma_prefix - 1;

    return key.data[0] == '#' || key.data[0] == '$' ||
           (key.bytes >= prefix_bytes && memcmp(key.data, chroma_prefix, prefix_bytes) == 0) ||
           kind_is_word(reserved, key);
}

/* Where a key already stands its value is replaced: the last one wins. */
static void put_pair(struct metadata *metadata, const struct meta_pair *pair)
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

static enum status key_error(const struct mp_value *key, struct error *err)
{
    char found[MP_DESCRIBE_BYTES];
    return error_set(err, STATUS_INVALID,
                     "field \"metadata\": expected keys of 1 to %d bytes of text, found %s",
                     KEY_MAX, mp_describe(key, found));
}

static enum status value_error(struct slice key, const struct mp_value *value, struct error *err)
{
    char excerpt[48];
    char found[MP_DESCRIBE_BYTES];
    struct slice text;

    text_excerpt(key.data, key.bytes, excerpt);
    if (mp_text(value, &text)) {
        return error_set(err, STATUS_INVALID, "metadata key \"%s\" holds a NUL byte", excerpt);
    }
    return error_set(err, STATUS_INVALID,
                     "metadata key \"%s\": expected a string, a finite number of at most 64 bits, "
                     "true, false, nil, a list or a map, found %s",
                     excerpt, mp_describe(value, found));
}

/* One pair of a foreign map. */
struct foreign {
    struct mp_value key;
    struct mp_value value;
};

/* INVALID: it cannot be kept. */
static enum status read_pair(const struct foreign *pair, const char *reserved,
                             const struct reading *how, struct meta_pair *out, struct error *err)
{
    char excerpt[48];
    enum status status = read_key(&pair->key, how->arena, &out->key, err);

    if (status == STATUS_INVALID) {
        return key_error(&pair->key, err);
    }
    if (status == STATUS_OK && is_reserved(out->key, reserved)) {
        return error_set(err, STATUS_INVALID, "metadata key \"%s\" is reserved",
                         text_excerpt(out->key.data, out->key.bytes, excerpt));
    }
    if (status == STATUS_OK) {
        status = read_value(&pair->value, how, &out->value, err);
    }
    return status == STATUS_INVALID ? value_error(out->key, &pair->value, err) : status;
}

static enum status make_room(struct arena *arena, size_t count, struct metadata *out,
                             struct error *err)
{
    *out = (struct metadata){0};
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

static void note_dropped(struct dropped *dropped, const struct mp_value *key)
{
    char excerpt[48];
    char found[MP_DESCRIBE_BYTES];
    struct slice text = {0};

    if (dropped->count++ >= DROPPED_NAMED_MAX) {
        return;
    }
    strbuf_append_str(&dropped->names, dropped->count > 1 ? ", " : "");
    if (!mp_text(key, &text)) {
        strbuf_append_str(&dropped->names, mp_describe(key, found));
    } else {
        strbuf_append_str(&dropped->names, text.bytes == 0
                                               ? "(empty)"
                                               : text_excerpt(text.data, text.bytes, excerpt));
    }
}

/* Says in the metadata itself what it lacks. */
static enum status put_dropped(struct dropped *dropped, struct arena *arena, struct metadata *out,
                               struct error *err)
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

/* A read of one source. */
struct taking {
    const struct metadata_source *source;
    const struct reading *how;
    struct metadata *out;
    struct dropped dropped;
};

/* The next pair of the map, or of the body, whose own fields are none. */
static bool next_pair(const struct metadata_source *source, bool of_body, struct mp_cursor *cursor,
                      struct foreign *out)
{
    while (mp_next(cursor, &out->key) && mp_next(cursor, &out->value)) {
        if (!of_body || !source->is_field(source->context, &out->key)) {
            return true;
        }
    }
    return false;
}

static size_t count_pairs(const struct metadata_source *source)
{
    size_t total = source->map->type == MP_MAP ? source->map->count : 0;
    struct foreign pair;

    if (source->body != NULL) {
        struct mp_cursor cursor = mp_inside(source->body);
        while (next_pair(source, true, &cursor, &pair)) {
            total++;
        }
    }
    return total;
}

static enum status take_pairs(struct taking *taking, bool of_body, struct error *err)
{
    const struct metadata_source *source = taking->source;
    struct mp_cursor cursor = mp_inside(of_body ? source->body : source->map);
    enum status status = STATUS_OK;
    struct foreign found;

    while (status == STATUS_OK && next_pair(source, of_body, &cursor, &found)) {
        struct meta_pair pair = {0};
        if (taking->out->count == METADATA_MAX) {
            note_dropped(&taking->dropped, &found.key);
            continue;
        }
        status = read_pair(&found, source->reserved, taking->how, &pair, err);
        if (status == STATUS_OK) {
            put_pair(taking->out, &pair);
        } else if (status == STATUS_INVALID && taking->how->lenient) {
            note_dropped(&taking->dropped, &found.key);
            status = STATUS_OK;
        }
    }
    return status;
}

enum status metadata_read(const struct metadata_source *source, const struct reading *how,
                          struct metadata *out, struct error *err)
{
    const size_t total = count_pairs(source);
    struct taking taking = {.source = source, .how = how, .out = out};

    *out = (struct metadata){0};
    if (total > METADATA_MAX && !how->lenient) {
        return error_set(err, STATUS_INVALID,
                         "field \"metadata\": expected at most %d keys, found %zu", METADATA_MAX,
                         total);
    }
    const size_t room = total < METADATA_MAX ? total : METADATA_MAX;
    enum status status = make_room(how->arena, room + (how->lenient && total > 0), out, err);
    if (status == STATUS_OK) {
        status = take_pairs(&taking, false, err);
    }
    if (status == STATUS_OK && source->body != NULL) {
        status = take_pairs(&taking, true, err);
    }
    if (status == STATUS_OK && taking.dropped.count > 0) {
        status = put_dropped(&taking.dropped, how->arena, out, err);
    }
    strbuf_free(&taking.dropped.names);
    return status;
}

/* Of results, which are read from what a worker wrote, no more is expected. Nothing is allocated
 * for such a pair. */
static bool is_scalar_pair(const struct foreign *pair)
{
    return (pair->key.type == MP_STR || pair->key.type == MP_BIN) && pair->value.type != MP_ARRAY &&
           pair->value.type != MP_MAP;
}

enum status metadata_read_tolerant(const struct mp_value *map, struct arena *arena,
                                   struct metadata *out, struct error *err)
{
    const struct metadata_source source = {.map = map};
    const struct reading how = {arena, false};
    const size_t size = map->type == MP_MAP ? map->count : 0;
    struct mp_cursor cursor = mp_inside(map);
    struct foreign found;
    enum status status =
        make_room(arena, size < METADATA_RESULT_MAX ? size : METADATA_RESULT_MAX, out, err);

    if (map->type != MP_MAP) {
        return status;
    }
    while (status == STATUS_OK && out->count < METADATA_RESULT_MAX &&
           next_pair(&source, false, &cursor, &found)) {
        struct meta_pair pair = {0};
        if (is_scalar_pair(&found) && read_key(&found.key, arena, &pair.key, NULL) == STATUS_OK &&
            read_value(&found.value, &how, &pair.value, NULL) == STATUS_OK) {
            put_pair(out, &pair);
        }
    }
    return status;
}

static void put_meta_value(const struct meta_value *value, struct strbuf *out)
{
    switch (value->type) {
    case META_STRING:
        mp_put_text(out, value->string);
        break;
    case META_INT:
        mp_put_integer(out, value->integer);
        break;
    case META_FLOAT:
        mp_put_number(out, value->number);
        break;
    case META_BOOL:
        mp_put_truth(out, value->boolean);
        break;
    case META_NULL:
        mp_put_nil(out);
        break;
    }
}

void metadata_write(const struct meta_pair *pairs, size_t count, struct strbuf *out)
{
    mp_put_map(out, count);
    for (size_t i = 0; i < count; i++) {
        mp_put_text(out, pairs[i].key);
        put_meta_value(&pairs[i].value, out);
    }
}
