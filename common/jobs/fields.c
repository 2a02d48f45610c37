#include "jobs/bodies_internal.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

enum status body_open(struct body_reader *reader, const void *data, size_t bytes, struct error *err)
{
    size_t end = 0;

    msgpack_unpacked_init(&reader->unpacked);
    enum status status = bodies_scan(data, bytes, err);
    if (status != STATUS_OK) {
        return status;
    }
    switch (msgpack_unpack_next(&reader->unpacked, data, bytes, &end)) {
    case MSGPACK_UNPACK_SUCCESS:
    case MSGPACK_UNPACK_EXTRA_BYTES: /* the scanner has seen that there are none */
        return STATUS_OK;
    case MSGPACK_UNPACK_NOMEM_ERROR:
        return error_set(err, STATUS_OOM, "out of memory");
    default:
        return error_set(err, STATUS_INVALID, "not msgpack at byte %zu", end);
    }
}

enum status body_open_map(struct body_reader *reader, const void *data, size_t bytes,
                          struct error *err)
{
    char found[BODY_DESCRIBE_BYTES];
    enum status status = body_open(reader, data, bytes, err);

    if (status == STATUS_OK && reader->unpacked.data.type != MSGPACK_OBJECT_MAP) {
        return error_set(err, STATUS_INVALID, "expected a map, found %s",
                         body_describe(&reader->unpacked.data, found));
    }
    return status;
}

void body_close(struct body_reader *reader)
{
    msgpack_unpacked_destroy(&reader->unpacked);
}

const char *body_describe(const msgpack_object *object, char out[BODY_DESCRIBE_BYTES])
{
    char excerpt[48];

    switch (object->type) {
    case MSGPACK_OBJECT_NIL:
        return "nil";
    case MSGPACK_OBJECT_BOOLEAN:
        return object->via.boolean ? "true" : "false";
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        snprintf(out, BODY_DESCRIBE_BYTES, "%" PRIu64, object->via.u64);
        return out;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        snprintf(out, BODY_DESCRIBE_BYTES, "%" PRId64, object->via.i64);
        return out;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        snprintf(out, BODY_DESCRIBE_BYTES, "%.9g", object->via.f64);
        return out;
    case MSGPACK_OBJECT_STR:
        snprintf(out, BODY_DESCRIBE_BYTES, "the string \"%s\"",
                 text_excerpt(object->via.str.ptr, object->via.str.size, excerpt));
        return out;
    case MSGPACK_OBJECT_BIN:
        return "binary data";
    case MSGPACK_OBJECT_ARRAY:
        return "an array";
    case MSGPACK_OBJECT_MAP:
        return "a map";
    case MSGPACK_OBJECT_EXT:
        return "an extension type";
    }
    return "an unknown type";
}

static bool is_key(const msgpack_object *key, const char *name)
{
    return key->type == MSGPACK_OBJECT_STR && key->via.str.size == strlen(name) &&
           memcmp(key->via.str.ptr, name, key->via.str.size) == 0;
}

const msgpack_object *body_find(const msgpack_object *map, const char *name)
{
    for (size_t i = map->via.map.size; i > 0; i--) {
        const msgpack_object_kv *pair = &map->via.map.ptr[i - 1];
        if (is_key(&pair->key, name)) {
            return pair->val.type == MSGPACK_OBJECT_NIL ? NULL : &pair->val;
        }
    }
    return NULL;
}

bool body_as_text(const msgpack_object *object, struct slice *out)
{
    if (object->type == MSGPACK_OBJECT_STR) {
        *out = (struct slice){object->via.str.ptr, object->via.str.size};
        return true; /* the scanner has checked the UTF-8 */
    }
    if (object->type == MSGPACK_OBJECT_BIN) {
        *out = (struct slice){object->via.bin.ptr, object->via.bin.size};
        return text_is_utf8(out->data, out->bytes);
    }
    return false;
}

bool body_as_number(const msgpack_object *object, double *out)
{
    switch (object->type) {
    case MSGPACK_OBJECT_POSITIVE_INTEGER:
        *out = (double)object->via.u64;
        return true;
    case MSGPACK_OBJECT_NEGATIVE_INTEGER:
        *out = (double)object->via.i64;
        return true;
    case MSGPACK_OBJECT_FLOAT32:
    case MSGPACK_OBJECT_FLOAT64:
        *out = object->via.f64;
        return isfinite(object->via.f64);
    default:
        return false;
    }
}

bool body_as_integer(const msgpack_object *object, int64_t *out)
{
    if (object->type == MSGPACK_OBJECT_POSITIVE_INTEGER) {
        *out = (int64_t)object->via.u64;
        return object->via.u64 <= INT64_MAX;
    }
    if (object->type == MSGPACK_OBJECT_NEGATIVE_INTEGER) {
        *out = object->via.i64;
        return true;
    }
    double number;
    const double exact_limit = 9007199254740992.0; /* 2^53: below it a double is a whole number */
    if (!body_as_number(object, &number) || number != trunc(number) || fabs(number) > exact_limit) {
        return false;
    }
    *out = (int64_t)number;
    return true;
}

static enum status missing(const char *name, const char *expected, struct error *err)
{
    return error_set(err, STATUS_INVALID, "field \"%s\" is missing, expected %s", name, expected);
}

static enum status wrong(const char *name, const char *expected, const msgpack_object *object,
                         struct error *err)
{
    char found[BODY_DESCRIBE_BYTES];
    return error_set(err, STATUS_INVALID, "field \"%s\": expected %s, found %s", name, expected,
                     body_describe(object, found));
}

enum status body_text(const msgpack_object *map, const char *name, enum body_presence presence,
                      struct slice *out, struct error *err)
{
    const msgpack_object *object = body_find(map, name);
    if (object == NULL) {
        return presence == BODY_OPTIONAL ? STATUS_OK : missing(name, "a string", err);
    }
    struct slice text;
    if (!body_as_text(object, &text)) {
        return object->type == MSGPACK_OBJECT_BIN
                   ? error_set(err, STATUS_INVALID, "field \"%s\" is not valid UTF-8", name)
                   : wrong(name, "a string", object, err);
    }
    const char *nul = text.bytes == 0 ? NULL : memchr(text.data, '\0', text.bytes);
    if (nul != NULL) {
        return error_set(err, STATUS_INVALID, "field \"%s\" holds a NUL byte at offset %td", name,
                         nul - text.data);
    }
    *out = text;
    return STATUS_OK;
}

enum status body_full_text(const msgpack_object *map, const char *name, struct slice *out,
                           struct error *err)
{
    enum status status = body_text(map, name, BODY_REQUIRED, out, err);
    if (status != STATUS_OK) {
        return status;
    }
    if (out->bytes == 0) {
        return error_set(err, STATUS_INVALID, "field \"%s\" is empty", name);
    }
    if (text_is_blank(out->data, out->bytes)) {
        return error_set(err, STATUS_INVALID, "field \"%s\" holds nothing but white space", name);
    }
    return STATUS_OK;
}

/* A copy in which U+FFFD stands for each NUL byte. */
static enum status without_nul(struct arena *arena, struct slice text, struct slice *out,
                               struct error *err)
{
    static const char replacement[] = "\xef\xbf\xbd";
    struct strbuf repaired = {0};
    enum status status = STATUS_OK;

    for (size_t i = 0; i < text.bytes; i++) {
        if (text.data[i] == '\0') {
            strbuf_append_str(&repaired, replacement);
        } else {
            strbuf_append_char(&repaired, text.data[i]);
        }
    }
    const char *copy =
        strbuf_ok(&repaired) ? arena_copy(arena, repaired.data, repaired.bytes) : NULL;
    *out = (struct slice){copy, repaired.bytes};
    if (copy == NULL) {
        status = error_set(err, STATUS_OOM, "out of memory");
    }
    strbuf_free(&repaired);
    return status;
}

enum status body_repair(const struct body_rules *rules, struct slice *text, struct error *err)
{
    if (!rules->lenient || text->bytes == 0 || memchr(text->data, '\0', text->bytes) == NULL) {
        return STATUS_OK;
    }
    return without_nul(rules->arena, *text, text, err);
}

enum status body_document_text(const msgpack_object *map, const char *name,
                               const struct body_rules *rules, struct slice *out, struct error *err)
{
    const msgpack_object *object = body_find(map, name);
    struct slice text = {0};

    if (!rules->lenient || object == NULL || !body_as_text(object, &text) || text.bytes == 0 ||
        memchr(text.data, '\0', text.bytes) == NULL) {
        return body_full_text(map, name, out, err);
    }
    *out = text;
    return body_repair(rules, out, err);
}

enum status body_id(const msgpack_object *map, const char *name, struct slice *out,
                    struct error *err)
{
    enum status status = body_full_text(map, name, out, err);
    if (status != STATUS_OK) {
        return status;
    }
    if (out->bytes > BODY_ID_MAX) {
        return error_set(err, STATUS_INVALID, "field \"%s\": expected 1 to %d bytes, found %zu",
                         name, BODY_ID_MAX, out->bytes);
    }
    for (size_t i = 0; i < out->bytes; i++) {
        unsigned char c = (unsigned char)out->data[i];
        if (c < 0x20 || c == 0x7f) {
            return error_set(err, STATUS_INVALID,
                             "field \"%s\" holds the control character 0x%02x at offset %zu", name,
                             c, i);
        }
    }
    return STATUS_OK;
}

enum status body_integer(const msgpack_object *map, const char *name, int64_t min, int64_t max,
                         int64_t *out, struct error *err)
{
    const msgpack_object *object = body_find(map, name);
    int64_t number;
    char expected[80];

    if (object == NULL) {
        return STATUS_OK;
    }
    if (body_as_integer(object, &number) && number >= min && number <= max) {
        *out = number;
        return STATUS_OK;
    }
    snprintf(expected, sizeof expected, "an integer from %" PRId64 " to %" PRId64, min, max);
    return wrong(name, expected, object, err);
}

enum status body_fraction(const msgpack_object *map, const char *name, bool *present, double *out,
                          struct error *err)
{
    const msgpack_object *object = body_find(map, name);
    double number;

    *present = object != NULL;
    if (object == NULL) {
        return STATUS_OK;
    }
    if (!body_as_number(object, &number) || number < 0 || number > 1) {
        return wrong(name, "a number from 0 to 1", object, err);
    }
    *out = number;
    return STATUS_OK;
}

enum status body_bool(const msgpack_object *map, const char *name, bool *out, struct error *err)
{
    const msgpack_object *object = body_find(map, name);
    if (object == NULL) {
        return missing(name, "true or false", err);
    }
    if (object->type != MSGPACK_OBJECT_BOOLEAN) {
        return wrong(name, "true or false", object, err);
    }
    *out = object->via.boolean;
    return STATUS_OK;
}

enum status body_array(const msgpack_object *map, const char *name, enum body_presence presence,
                       size_t min, size_t max, const msgpack_object_array **out, struct error *err)
{
    const msgpack_object *object = body_find(map, name);

    *out = NULL;
    if (object == NULL) {
        return presence == BODY_OPTIONAL ? STATUS_OK : missing(name, "an array", err);
    }
    if (object->type != MSGPACK_OBJECT_ARRAY) {
        return wrong(name, "an array", object, err);
    }
    if (object->via.array.size < min || object->via.array.size > max) {
        return error_set(err, STATUS_INVALID,
                         "field \"%s\": expected an array of %zu to %zu elements, found %" PRIu32,
                         name, min, max, object->via.array.size);
    }
    *out = &object->via.array;
    return STATUS_OK;
}
