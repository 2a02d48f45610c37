/* Bodies by the table of kinds. */
#include "jobs/bodies.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* ---- decode ---------------------------------------------------------------------------------- */

/* Text with more than white space in it. */
static enum status check_full(const char *name, struct slice text, struct error *err)
{
    if (text.bytes == 0) {
        return error_set(err, STATUS_INVALID, "field \"%s\" is empty", name);
    }
    if (text_is_blank(text.data, text.bytes)) {
        return error_set(err, STATUS_INVALID, "field \"%s\" holds nothing but white space", name);
    }
    return STATUS_OK;
}

enum status bodies_check_id(const char *name, struct slice text, struct error *err)
{
    const enum status status = check_full(name, text, err);

    if (status != STATUS_OK) {
        return status;
    }
    if (text.bytes > BODIES_ID_MAX) {
        return error_set(err, STATUS_INVALID, "field \"%s\": expected 1 to %d bytes, found %zu",
                         name, BODIES_ID_MAX, text.bytes);
    }
    for (size_t i = 0; i < text.bytes; i++) {
        const unsigned char c = (unsigned char)text.data[i];
        if (c < 0x20 || c == 0x7f) {
            return error_set(err, STATUS_INVALID,
                             "field \"%s\" holds the control character 0x%02x at offset %zu", name,
                             c, i);
        }
    }
    return STATUS_OK;
}

static enum status check_length(const struct kind_field *field, struct slice text,
                                struct error *err)
{
    return field->most == 0 || text.bytes <= (size_t)field->most
               ? STATUS_OK
               : error_set(err, STATUS_INVALID,
                           "field \"%s\": expected at most %" PRId64 " bytes, found %zu",
                           field->name.data, field->most, text.bytes);
}

static enum status read_text(const struct kind_field *field, const struct mp_value *value,
                             const struct reading *how, struct slice *out, struct error *err)
{
    const struct mp_field named = {field->name, (field->rules & FIELD_REQUIRED) != 0};
    struct slice repaired = {NULL, 0};

    if (field->type == FIELD_DOCUMENT && how->lenient && mp_text(value, &repaired) &&
        repaired.bytes > 0 && !text_is_blank(repaired.data, repaired.bytes)) {
        *out = repaired;
        return values_repair(how, out, err);
    }
    enum status status = mp_field_text(named, value, out, err);
    if (status != STATUS_OK || out->data == NULL) {
        return status;
    }
    switch (field->type) {
    case FIELD_ID:
        return bodies_check_id(field->name.data, *out, err);
    case FIELD_FULL:
    case FIELD_DOCUMENT:
        return check_full(field->name.data, *out, err);
    case FIELD_WORD: {
        char expected[160];
        if (kind_is_word(field->words, *out)) {
            return STATUS_OK;
        }
        snprintf(expected, sizeof expected, "one of %s", field->words);
        return mp_wrong(named, expected, value, err);
    }
    default:
        if (out->bytes == 0 && !named.required) {
            *out = (struct slice){NULL, 0};
        }
        return check_length(field, *out, err);
    }
}

static enum status read_integer(const struct kind_field *field, const struct mp_value *value,
                                struct maybe_integer *out, struct error *err)
{
    const struct mp_field named = {field->name, (field->rules & FIELD_REQUIRED) != 0};

    out->given = value->type != MP_NONE;
    out->value = strtoll(field->fallback, NULL, 10);
    return mp_field_integer(named, value, field->least, field->most, &out->value, err);
}

static enum status read_number(const struct kind_field *field, const struct mp_value *value,
                               struct maybe_number *out, struct error *err)
{
    const struct mp_field named = {field->name, (field->rules & FIELD_REQUIRED) != 0};
    char expected[80];
    double number = 0;

    out->given = value->type != MP_NONE;
    if (!out->given && !named.required) {
        return STATUS_OK;
    }
    if (mp_number(value, &number) && number >= (double)field->least &&
        number <= (double)field->most) {
        out->value = number;
        return STATUS_OK;
    }
    snprintf(expected, sizeof expected, "a number from %" PRId64 " to %" PRId64, field->least,
             field->most);
    return out->given ? mp_wrong(named, expected, value, err) : mp_missing(named, expected, err);
}

static enum status read_truth(const struct kind_field *field, const struct mp_value *value,
                              struct maybe_truth *out, struct error *err)
{
    const struct mp_field named = {field->name, (field->rules & FIELD_REQUIRED) != 0};

    out->given = value->type != MP_NONE;
    if (!out->given) {
        return named.required ? mp_missing(named, "true or false", err) : STATUS_OK;
    }
    if (value->type != MP_BOOL) {
        return mp_wrong(named, "true or false", value, err);
    }
    out->value = value->truth;
    return STATUS_OK;
}

/* How every LIST member lies in memory, whatever its elements are. */
struct any_list {
    void *each;
    size_t count;
};

static enum status read_list(const struct kind_field *field, const struct mp_value *value,
                             const struct reading *how, void *member, struct error *err)
{
    const struct mp_field named = {field->name, true};
    const struct kind_shape *shape = field->element;
    struct mp_cursor cursor = mp_inside(value);
    struct any_list list = {NULL, 0};
    struct mp_value element;
    char found[MP_DESCRIBE_BYTES];
    struct error detail = {0};
    enum status status =
        mp_field_array(named, value, (size_t)field->least, (size_t)field->most, err);

    if (status != STATUS_OK) {
        return status;
    }
    list.each = arena_array(how->arena, value->count, shape->bytes);
    if (list.each == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    for (; mp_next(&cursor, &element); list.count++) {
        status = element.type == MP_MAP
                     ? bodies_read(shape, &element, how,
                                   (char *)list.each + list.count * shape->bytes, &detail)
                     : error_set(&detail, STATUS_INVALID, "expected a map, found %s",
                                 mp_describe(&element, found));
        if (status != STATUS_OK) {
            return error_set(err, status, "%s[%zu]: %s", field->name.data, list.count, detail.text);
        }
    }
    memcpy(member, &list, sizeof list);
    return STATUS_OK;
}

/* A map that is read by a shape: the value of each field, what its WORD says, and which fields
 * belong to such a body. */
struct found {
    const struct mp_value *map;
    const struct kind_shape *shape;
    struct mp_value values[SHAPE_FIELDS_MAX];
    bool belongs[SHAPE_FIELDS_MAX];
    struct slice word;
    size_t next; /* the field that is looked at next */
};

/* Looked for behind the one that was found last: there it stands where the map has the order of
 * the table. */
static size_t find_field(struct found *found, const struct mp_value *key)
{
    const struct kind_shape *shape = found->shape;

    for (size_t tried = 0; key->type == MP_STR && tried < shape->count; tried++) {
        const size_t i = found->next < shape->count ? found->next : 0;
        found->next = i + 1;
        if (shape->fields[i].name.bytes == key->bytes.bytes &&
            memcmp(shape->fields[i].name.data, key->bytes.data, key->bytes.bytes) == 0) {
            return i;
        }
    }
    return shape->count;
}

static void note_word(struct found *found, struct slice word)
{
    found->word = word;
    for (size_t i = 0; i < found->shape->count; i++) {
        found->belongs[i] = kind_has(&found->shape->fields[i], word);
    }
}

/* nil counts as absent; of equal keys the last one counts. */
static void find_values(struct found *found, const struct mp_value *map)
{
    struct mp_cursor cursor = mp_inside(map);
    struct mp_value key;
    struct mp_value value;

    for (size_t i = 0; i < found->shape->count; i++) {
        found->values[i].type = MP_NONE;
    }
    while (mp_next(&cursor, &key) && mp_next(&cursor, &value)) {
        const size_t i = find_field(found, &key);
        if (i < found->shape->count) {
            value.type = value.type == MP_NIL ? MP_NONE : value.type;
            found->values[i] = value;
        }
    }
}

/* False for what goes to metadata where a kind takes the rest. */
static bool is_field(void *context, const struct mp_value *key)
{
    struct found *found = context;
    const size_t i = find_field(found, key);

    return i < found->shape->count && found->belongs[i];
}

static enum status read_metadata(const struct kind_field *field, struct found *found,
                                 const struct reading *how, struct metadata *out, struct error *err)
{
    const struct mp_field named = {field->name, false};
    const struct mp_value *value = &found->values[field - found->shape->fields];
    const struct metadata_source source = {
        .map = value,
        .reserved = field->words,
        .body = (field->rules & FIELD_REST) != 0 ? found->map : NULL,
        .is_field = is_field,
        .context = found,
    };

    if (value->type != MP_NONE && value->type != MP_MAP) {
        return mp_wrong(named, "a map", value, err);
    }
    return metadata_read(&source, how, out, err);
}

static enum status read_field(const struct kind_field *field, struct found *found,
                              const struct reading *how, void *member, struct error *err)
{
    const struct mp_value *value = &found->values[field - found->shape->fields];

    switch (field->type) {
    case FIELD_TEXT:
    case FIELD_FULL:
    case FIELD_DOCUMENT:
    case FIELD_ID:
    case FIELD_WORD:
        return read_text(field, value, how, member, err);
    case FIELD_INTEGER:
        return read_integer(field, value, member, err);
    case FIELD_NUMBER:
        return read_number(field, value, member, err);
    case FIELD_TRUTH:
        return read_truth(field, value, member, err);
    case FIELD_LIST:
        return read_list(field, value, how, member, err);
    case FIELD_METADATA:
        return read_metadata(field, found, how, member, err);
    case FIELD_ANY:
        break;
    }
    if (value->type != MP_NONE) {
        *(struct slice *)member = (struct slice){
            value->start, (size_t)(value->bytes.data + value->bytes.bytes - value->start)};
    }
    return STATUS_OK;
}

/* Of the EITHER fields that belong to this body, none is there. */
static enum status check_either(const struct found *found, struct error *err)
{
    char names[160];
    size_t used = 0;

    for (size_t i = 0; i < found->shape->count; i++) {
        const struct kind_field *field = &found->shape->fields[i];
        if ((field->rules & FIELD_EITHER) == 0 || !found->belongs[i]) {
            continue;
        }
        if (found->values[i].type != MP_NONE) {
            return STATUS_OK;
        }
        used += (size_t)snprintf(names + used, sizeof names - used, "%s\"%s\"",
                                 used > 0 ? " or " : "", field->name.data);
    }
    return used == 0 ? STATUS_OK
                     : error_set(err, STATUS_INVALID, "field %s is missing, expected text", names);
}

enum status bodies_read(const struct kind_shape *shape, const struct mp_value *map,
                        const struct reading *how, void *out, struct error *err)
{
    struct found found;
    enum status status = STATUS_OK;

    memset(out, 0, shape->bytes);
    found.map = map;
    found.shape = shape;
    found.next = 0;
    note_word(&found, (struct slice){NULL, 0});
    find_values(&found, map);
    for (size_t i = 0; status == STATUS_OK && i < shape->count; i++) {
        const struct kind_field *field = &shape->fields[i];
        void *member = (char *)out + field->at;
        if (!found.belongs[i]) {
            continue;
        }
        status = read_field(field, &found, how, member, err);
        if (status == STATUS_OK && field->type == FIELD_WORD && found.word.data == NULL) {
            note_word(&found, *(const struct slice *)member);
        }
    }
    return status == STATUS_OK ? check_either(&found, err) : status;
}

enum status bodies_decode(enum kind_id kind, struct slice body, const struct reading *how,
                          void *out, struct error *err)
{
    char found[MP_DESCRIBE_BYTES];
    struct mp_document document;
    const enum status status = mp_check(body.data, body.bytes, &document, err);

    if (status != STATUS_OK) {
        memset(out, 0, job_kinds[kind].shape->bytes);
        return status;
    }
    if (document.root.type != MP_MAP) {
        memset(out, 0, job_kinds[kind].shape->bytes);
        return error_set(err, STATUS_INVALID, "expected a map, found %s",
                         mp_describe(&document.root, found));
    }
    return bodies_read(job_kinds[kind].shape, &document.root, how, out, err);
}

/* ---- encode ---------------------------------------------------------------------------------- */

/* What the body's WORD field says; {NULL, 0}: it has none. */
static struct slice word_of(const struct kind_shape *shape, const void *body)
{
    for (size_t i = 0; i < shape->count; i++) {
        if (shape->fields[i].type == FIELD_WORD) {
            return *(const struct slice *)((const char *)body + shape->fields[i].at);
        }
    }
    return (struct slice){NULL, 0};
}

/* Required fields are there, as lists are, and those that count as something where they are not
 * given. */
static bool is_there(const struct kind_field *field, struct slice word, const void *member)
{
    if (!kind_has(field, word)) {
        return false;
    }
    if ((field->rules & FIELD_REQUIRED) != 0) {
        return true;
    }
    switch (field->type) {
    case FIELD_INTEGER:
        return ((const struct maybe_integer *)member)->given || field->fallback[0] != '\0';
    case FIELD_NUMBER:
        return ((const struct maybe_number *)member)->given;
    case FIELD_TRUTH:
        return ((const struct maybe_truth *)member)->given;
    case FIELD_METADATA:
        return ((const struct metadata *)member)->count > 0;
    default:
        return ((const struct slice *)member)->data != NULL;
    }
}

static void put_list(const struct kind_shape *shape, const void *member, struct strbuf *out)
{
    struct any_list list;

    memcpy(&list, member, sizeof list);
    mp_put_array(out, list.count);
    for (size_t i = 0; i < list.count; i++) {
        bodies_write(shape, (const char *)list.each + i * shape->bytes, out);
    }
}

static void put_member(const struct kind_field *field, const void *member, struct strbuf *out)
{
    const struct slice *text = member;
    const struct metadata *metadata = member;

    switch (field->type) {
    case FIELD_TEXT:
    case FIELD_FULL:
    case FIELD_DOCUMENT:
    case FIELD_ID:
    case FIELD_WORD:
        mp_put_text(out, *text);
        break;
    case FIELD_INTEGER:
        mp_put_integer(out, ((const struct maybe_integer *)member)->value);
        break;
    case FIELD_NUMBER:
        mp_put_number(out, ((const struct maybe_number *)member)->value);
        break;
    case FIELD_TRUTH:
        mp_put_truth(out, ((const struct maybe_truth *)member)->value);
        break;
    case FIELD_ANY:
        strbuf_append(out, text->data, text->bytes);
        break;
    case FIELD_METADATA:
        metadata_write(metadata->pairs, metadata->count, out);
        break;
    case FIELD_LIST:
        put_list(field->element, member, out);
        break;
    }
}

/* Recursion is bounded: the table nests as deep as it is written. */
void bodies_write(const struct kind_shape *shape, const void *body, struct strbuf *out)
{
    const struct slice word = word_of(shape, body);
    size_t count = 0;

    for (size_t i = 0; i < shape->count; i++) {
        count += is_there(&shape->fields[i], word, (const char *)body + shape->fields[i].at);
    }
    mp_put_map(out, count);
    for (size_t i = 0; i < shape->count; i++) {
        const struct kind_field *field = &shape->fields[i];
        const void *member = (const char *)body + field->at;
        if (is_there(field, word, member)) {
            mp_put_text(out, field->name);
            put_member(field, member, out);
        }
    }
}

void bodies_encode(enum kind_id kind, const void *body, struct strbuf *out)
{
    bodies_write(job_kinds[kind].shape, body, out);
}

void bodies_unique(enum kind_id kind, const void *body, char out[BODIES_UNIQUE_BYTES])
{
    const struct kind_shape *shape = job_kinds[kind].shape;
    size_t used = 0;

    out[0] = '\0';
    for (size_t i = 0; i < shape->count && used < BODIES_UNIQUE_BYTES; i++) {
        const struct kind_field *field = &shape->fields[i];
        const void *member = (const char *)body + field->at;
        char text[TEXT_HASH_CHARS + 1];
        if ((field->rules & FIELD_KEY) == 0) {
            continue;
        }
        if (field->type == FIELD_INTEGER) {
            snprintf(text, sizeof text, "%" PRId64, ((const struct maybe_integer *)member)->value);
        } else {
            const struct slice *slice = member;
            text_hash(slice->data, slice->bytes, text);
        }
        used += (size_t)snprintf(out + used, BODIES_UNIQUE_BYTES - used, "%s%s",
                                 used > 0 ? "." : "", text);
    }
}

/* ---- for each kind --------------------------------------------------------------------------- */

#define JOB_KIND(name, needs, traits)                                                              \
    enum status bodies_decode_##name(const void *data, size_t bytes, struct arena *arena,          \
                                     struct name##_body *out, struct error *err)                   \
    {                                                                                              \
        const struct reading strict = {arena, false};                                              \
        return bodies_decode(KIND_##name, (struct slice){data, bytes}, &strict, out, err);         \
    }                                                                                              \
    enum status bodies_accept_##name(const void *data, size_t bytes, struct arena *arena,          \
                                     struct name##_body *out, struct error *err)                   \
    {                                                                                              \
        const struct reading lenient = {arena, true};                                              \
        return bodies_decode(KIND_##name, (struct slice){data, bytes}, &lenient, out, err);        \
    }                                                                                              \
    void bodies_encode_##name(const struct name##_body *body, struct strbuf *out)                  \
    {                                                                                              \
        bodies_encode(KIND_##name, body, out);                                                     \
    }
#include "jobs/kinds.def"
