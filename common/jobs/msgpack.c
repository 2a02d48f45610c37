/* The check is one pass over the foreign bytes before anything is read from them.
 *
 * It keeps a stack of open arrays and maps with how many elements each still wants, so a deep body
 * costs no C stack, and it believes no count that the bytes left cannot hold. While it is inside a
 * map that is the whole body it remembers the last key, so that an error names the field.
 */
#include "jobs/msgpack.h"

#include <inttypes.h>
#include <math.h>
#include <msgpack.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"

enum form_kind { FORM_INVALID, FORM_SCALAR, FORM_STR, FORM_BIN, FORM_EXT, FORM_ARRAY, FORM_MAP };

static const char *const kind_names[] = {
    [FORM_INVALID] = "nothing",       [FORM_SCALAR] = "a number", [FORM_STR] = "a string",
    [FORM_BIN] = "binary data",       [FORM_ARRAY] = "an array",  [FORM_MAP] = "a map",
    [FORM_EXT] = "an extension type",
};

/* What a first byte announces: `length_bytes` of big-endian length, then `fixed` bytes and the
 * length. */
struct form {
    enum form_kind kind;
    unsigned char length_bytes;
    unsigned char fixed;
};

static const struct form forms[32] = {
    /* c0 nil, c1 never used, c2 false, c3 true */
    {FORM_SCALAR, 0, 0},
    {FORM_INVALID, 0, 0},
    {FORM_SCALAR, 0, 0},
    {FORM_SCALAR, 0, 0},
    /* c4 bin 8, 16, 32; c7 ext 8, 16, 32 with a type byte */
    {FORM_BIN, 1, 0},
    {FORM_BIN, 2, 0},
    {FORM_BIN, 4, 0},
    {FORM_EXT, 1, 1},
    {FORM_EXT, 2, 1},
    {FORM_EXT, 4, 1},
    /* ca float 32, 64; cc uint 8 to 64; d0 int 8 to 64 */
    {FORM_SCALAR, 0, 4},
    {FORM_SCALAR, 0, 8},
    {FORM_SCALAR, 0, 1},
    {FORM_SCALAR, 0, 2},
    {FORM_SCALAR, 0, 4},
    {FORM_SCALAR, 0, 8},
    {FORM_SCALAR, 0, 1},
    {FORM_SCALAR, 0, 2},
    {FORM_SCALAR, 0, 4},
    {FORM_SCALAR, 0, 8},
    /* d4 fixext 1 to 16 with a type byte */
    {FORM_EXT, 0, 2},
    {FORM_EXT, 0, 3},
    {FORM_EXT, 0, 5},
    {FORM_EXT, 0, 9},
    {FORM_EXT, 0, 17},
    /* d9 str 8, 16, 32; dc array 16, 32; de map 16, 32 */
    {FORM_STR, 1, 0},
    {FORM_STR, 2, 0},
    {FORM_STR, 4, 0},
    {FORM_ARRAY, 2, 0},
    {FORM_ARRAY, 4, 0},
    {FORM_MAP, 2, 0},
    {FORM_MAP, 4, 0},
};

struct scan {
    const unsigned char *data;
    size_t bytes;
    size_t at;
    uint64_t wanted[MP_DEPTH_MAX]; /* elements that each open container still wants */
    size_t depth;
    size_t mark[MP_DEPTH_MAX]; /* which of `ends` each of them is */
    struct mp_document *ends;  /* may be NULL */
    bool root_is_map;
    struct slice field; /* the key of the root map that the scan is inside of */
    struct error *err;
};

static enum status fail(const struct scan *scan, const char *fmt, ...) PRINTF_LIKE(2, 3);

static enum status fail(const struct scan *scan, const char *fmt, ...)
{
    char text[ERROR_TEXT_BYTES / 2];
    char excerpt[48];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (scan->field.data == NULL) {
        return error_set(scan->err, STATUS_INVALID, "%s", text);
    }
    return error_set(scan->err, STATUS_INVALID, "field \"%s\": %s",
                     text_excerpt(scan->field.data, scan->field.bytes, excerpt), text);
}

/* The form of a first byte that is no number by itself, 0x80 to 0xdf, and in *length what the byte
 * says (fixstr, fixarray, fixmap). */
static inline struct form form_of(unsigned char first, uint64_t *length)
{
    *length = 0;
    if (first >= 0xc0) {
        return forms[first - 0xc0];
    }
    if (first >= 0xa0) {
        *length = first & 0x1f;
        return (struct form){FORM_STR, 0, 0};
    }
    *length = first & 0x0f;
    return (struct form){first < 0x90 ? FORM_MAP : FORM_ARRAY, 0, 0};
}

static enum status need(struct scan *scan, size_t start, enum form_kind kind, uint64_t bytes)
{
    size_t left = scan->bytes - scan->at;
    if (bytes <= left) {
        return STATUS_OK;
    }
    return fail(scan, "truncated: %s at byte %zu needs %" PRIu64 " bytes more, %zu are left",
                kind_names[kind], start, bytes, left);
}

static enum status open_container(struct scan *scan, size_t start, enum form_kind kind,
                                  uint64_t count)
{
    uint64_t elements = kind == FORM_MAP ? 2 * count : count;
    if (scan->depth == MP_DEPTH_MAX) {
        return fail(scan, "%s at byte %zu is nested deeper than %d", kind_names[kind], start,
                    MP_DEPTH_MAX);
    }
    if (elements > scan->bytes - scan->at) {
        return fail(scan, "%s at byte %zu claims %" PRIu64 " elements, %zu bytes are left",
                    kind_names[kind], start, count, scan->bytes - scan->at);
    }
    scan->root_is_map = scan->depth == 0 ? kind == FORM_MAP : scan->root_is_map;
    scan->mark[scan->depth] = MP_ENDS;
    if (scan->ends != NULL && scan->ends->count < MP_ENDS && scan->at <= UINT32_MAX) {
        scan->mark[scan->depth] = scan->ends->count;
        scan->ends->ends[scan->ends->count++] = (struct mp_end){(uint32_t)scan->at, 0};
    }
    scan->wanted[scan->depth++] = elements;
    return STATUS_OK;
}

static enum status skip_payload(struct scan *scan, size_t start, struct form form, uint64_t length)
{
    uint64_t payload = form.fixed + length;
    TRY(need(scan, start, form.kind, payload));
    const char *text = (const char *)scan->data + scan->at;
    if (form.kind == FORM_STR && !text_is_utf8(text, (size_t)payload)) {
        return fail(scan, "the string at byte %zu is not valid UTF-8", start);
    }
    scan->at += (size_t)payload;
    return STATUS_OK;
}

static enum status scan_value(struct scan *scan, enum form_kind *kind, struct slice *payload)
{
    size_t start = scan->at;
    uint64_t length;
    enum status status = need(scan, start, FORM_INVALID, 1);
    if (status != STATUS_OK) {
        return fail(scan, "truncated: a value is missing at byte %zu", start);
    }

    const unsigned char first = scan->data[scan->at++];
    if (first < 0x80 || first >= 0xe0) { /* a number that is its own head */
        *kind = FORM_SCALAR;
        return STATUS_OK;
    }
    struct form form = form_of(first, &length);
    *kind = form.kind;
    if (form.kind == FORM_INVALID) {
        return fail(scan, "byte 0xc1 at byte %zu is not msgpack", start);
    }
    status = need(scan, start, form.kind, form.length_bytes);
    if (status != STATUS_OK) {
        return status;
    }
    for (size_t i = 0; i < form.length_bytes; i++) {
        length = length << 8 | scan->data[scan->at++];
    }
    if (form.kind == FORM_ARRAY || form.kind == FORM_MAP) {
        return open_container(scan, start, form.kind, length);
    }
    *payload = (struct slice){(const char *)scan->data + scan->at, (size_t)(form.fixed + length)};
    return skip_payload(scan, start, form, length);
}

/* True when the next value is a key of the map that is the whole body. */
static bool at_root_key(const struct scan *scan)
{
    return scan->root_is_map && scan->depth == 1 && scan->wanted[0] % 2 == 0;
}

static void close_containers(struct scan *scan)
{
    while (scan->depth > 0 && scan->wanted[scan->depth - 1] == 0) {
        const size_t mark = scan->mark[--scan->depth];
        if (mark < MP_ENDS) {
            scan->ends->ends[mark].end = scan->at <= UINT32_MAX ? (uint32_t)scan->at : 0;
        }
    }
}

static enum status scan_next(struct scan *scan)
{
    bool is_key = at_root_key(scan);
    enum form_kind kind = FORM_INVALID;
    struct slice payload = {NULL, 0};

    if (is_key) {
        scan->field = (struct slice){NULL, 0};
    }
    if (scan->depth > 0) {
        scan->wanted[scan->depth - 1]--;
    }
    enum status status = scan_value(scan, &kind, &payload);
    if (status == STATUS_OK && is_key && kind == FORM_STR) {
        scan->field = payload;
    }
    close_containers(scan);
    return status;
}

/* The check of the whole. */
static enum status check(struct scan *scan)
{
    if (scan->bytes == 0) {
        return fail(scan, "empty, expected a msgpack value");
    }

    do {
        TRY(scan_next(scan));
    } while (scan->depth > 0);

    if (scan->at == scan->bytes) {
        return STATUS_OK;
    }
    scan->field = (struct slice){NULL, 0};
    if (scan->data[0] == '{') {
        return fail(scan, "expected msgpack, found what looks like JSON");
    }
    return fail(scan, "%zu trailing bytes after the end at byte %zu", scan->bytes - scan->at,
                scan->at);
}

enum status mp_check(const void *data, size_t bytes, struct mp_document *out, struct error *err)
{
    struct scan scan = {.data = data, .bytes = bytes, .ends = out, .err = err};

    if (out != NULL) {
        out->count = 0;
        out->data = data;
        out->root.type = MP_NONE;
    }
    const enum status status = check(&scan);
    if (status == STATUS_OK && out != NULL) {
        struct mp_cursor cursor = {data, scan.data + bytes, out};
        (void)!mp_next(&cursor, &out->root); /* it was checked */
    }
    return status;
}

/* ---- reading --------------------------------------------------------------------------------- */

/* The next head, and *payload what is behind it: for an array or a map nothing, *length says how
 * many elements or pairs. False at the end, and where the bytes left cannot hold it. Short numbers
 * and texts, which most are, go the short way. */
static inline __attribute__((always_inline)) bool
read_head(struct mp_cursor *cursor, struct form *form, uint64_t *length, struct slice *payload)
{
    size_t left = (size_t)(cursor->end - cursor->at);

    if (left == 0) {
        return false;
    }
    const unsigned char first = *cursor->at++;
    left--;
    payload->data = (const char *)cursor->at;
    payload->bytes = 0;
    if (first < 0x80 || first >= 0xe0) {
        form->kind = FORM_SCALAR;
        return true;
    }
    if (first >= 0xa0 && first < 0xc0) {
        form->kind = FORM_STR;
        payload->bytes = first & 0x1f;
        if (payload->bytes > left) {
            return false;
        }
        cursor->at += payload->bytes;
        return true;
    }
    *form = form_of(first, length);
    if (form->kind == FORM_INVALID || left < form->length_bytes) {
        return false;
    }
    left -= form->length_bytes;
    if (form->length_bytes == 1) {
        *length = *cursor->at++;
    } else {
        for (size_t i = 0; i < form->length_bytes; i++) {
            *length = *length << 8 | *cursor->at++;
        }
    }
    payload->data = (const char *)cursor->at;
    if (form->kind == FORM_ARRAY || form->kind == FORM_MAP) {
        return *length <= left;
    }
    const uint64_t bytes = form->fixed + *length;
    if (bytes > left) {
        return false;
    }
    payload->bytes = (size_t)bytes;
    cursor->at += bytes;
    return true;
}

static uint64_t elements_of(enum form_kind kind, uint64_t length)
{
    return kind == FORM_MAP ? 2 * length : kind == FORM_ARRAY ? length : 0;
}

/* Steps over `wanted` values, whatever is in them. */
static bool skip(struct mp_cursor *cursor, uint64_t wanted)
{
    struct slice payload;
    struct form form;
    uint64_t length;

    while (wanted > 0) {
        if (!read_head(cursor, &form, &length, &payload)) {
            return false;
        }
        wanted--;
        if (form.kind >= FORM_ARRAY) {
            wanted += elements_of(form.kind, length);
        }
    }
    return true;
}

/* Steps over what is in an array or a map. The document knows the ends of its first ones. */
static bool leave(struct mp_cursor *cursor, uint64_t elements)
{
    const struct mp_document *document = cursor->document;
    size_t low = 0;
    size_t high = document == NULL ? 0 : document->count;

    if (elements == 0) {
        return true;
    }
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        const unsigned char *inside = document->data + document->ends[middle].inside;
        if (inside == cursor->at) {
            const unsigned char *end = document->data + document->ends[middle].end;
            if (end < cursor->at || end > cursor->end) {
                break;
            }
            cursor->at = end;
            return true;
        }
        low = inside < cursor->at ? middle + 1 : low;
        high = inside < cursor->at ? high : middle;
    }
    return skip(cursor, elements);
}

static uint64_t big_endian(struct slice payload)
{
    uint64_t number = 0;

    for (size_t i = 0; i < payload.bytes; i++) {
        number = number << 8 | (unsigned char)payload.data[i];
    }
    return number;
}

static void take_whole(struct mp_value *out, uint64_t number)
{
    out->type = MP_WHOLE;
    out->whole = number;
}

static void take_signed(struct mp_value *out, int64_t number)
{
    if (number >= 0) {
        take_whole(out, (uint64_t)number);
        return;
    }
    out->type = MP_NEGATIVE;
    out->negative = number;
}

static void take_float(struct mp_value *out, struct slice payload)
{
    const uint64_t bits = big_endian(payload);

    out->type = MP_FLOAT;
    if (payload.bytes == 4) {
        const uint32_t half = (uint32_t)bits;
        float number;
        memcpy(&number, &half, sizeof number);
        out->number = (double)number;
    } else {
        memcpy(&out->number, &bits, sizeof out->number);
    }
}

static void take_scalar(struct mp_value *out, unsigned char first, struct slice payload)
{
    switch (first) {
    case 0xc0:
        out->type = MP_NIL;
        break;
    case 0xc2:
    case 0xc3:
        out->type = MP_BOOL;
        out->truth = first == 0xc3;
        break;
    case 0xca:
    case 0xcb:
        take_float(out, payload);
        break;
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
        take_whole(out, big_endian(payload));
        break;
    case 0xd0:
        take_signed(out, (int8_t)big_endian(payload));
        break;
    case 0xd1:
        take_signed(out, (int16_t)big_endian(payload));
        break;
    case 0xd2:
        take_signed(out, (int32_t)big_endian(payload));
        break;
    case 0xd3:
        take_signed(out, (int64_t)big_endian(payload));
        break;
    default:
        take_signed(out, (int8_t)first); /* the byte is the number */
        break;
    }
}

struct mp_cursor mp_inside(const struct mp_value *container)
{
    const bool has = container->type == MP_ARRAY || container->type == MP_MAP;
    const unsigned char *at = has ? (const unsigned char *)container->bytes.data : NULL;

    return (struct mp_cursor){at, has ? at + container->bytes.bytes : NULL, container->document};
}

bool mp_next(struct mp_cursor *cursor, struct mp_value *out)
{
    const unsigned char *start = cursor->at;
    struct form form;
    uint64_t length = 0;

    out->type = MP_NONE;
    if (!read_head(cursor, &form, &length, &out->bytes)) {
        return false;
    }
    switch (form.kind) {
    case FORM_SCALAR:
        take_scalar(out, *start, out->bytes);
        break;
    case FORM_STR:
        out->type = MP_STR;
        break;
    case FORM_BIN:
        out->type = MP_BIN;
        break;
    case FORM_EXT: /* with a type byte, which nobody asks for */
        out->type = MP_EXT;
        out->bytes = (struct slice){out->bytes.data + 1, out->bytes.bytes - 1};
        break;
    default: /* an array or a map: what is invalid has no head */
        if (!leave(cursor, elements_of(form.kind, length))) {
            return false;
        }
        out->type = form.kind == FORM_MAP ? MP_MAP : MP_ARRAY;
        out->count = (uint32_t)length;
        out->bytes.bytes = (size_t)((const char *)cursor->at - out->bytes.data);
        break;
    }
    out->start = (const char *)start;
    out->document = cursor->document;
    return true;
}

static size_t find_name(const struct slice *names, size_t count, const struct mp_value *key)
{
    size_t i = 0;

    if (key->type != MP_STR) {
        return count;
    }
    while (i < count && (names[i].bytes != key->bytes.bytes ||
                         memcmp(names[i].data, key->bytes.data, key->bytes.bytes) != 0)) {
        i++;
    }
    return i;
}

void mp_find_all(const struct mp_value *map, const struct slice *names, size_t count,
                 struct mp_value *out)
{
    struct mp_cursor cursor = mp_inside(map);
    struct mp_value key;
    struct mp_value value;

    for (size_t i = 0; i < count; i++) {
        out[i].type = MP_NONE;
    }
    while (mp_next(&cursor, &key) && mp_next(&cursor, &value)) {
        const size_t found = find_name(names, count, &key);
        if (found < count) {
            value.type = value.type == MP_NIL ? MP_NONE : value.type;
            out[found] = value;
        }
    }
}

/* ---- conversions ----------------------------------------------------------------------------- */

const char *mp_describe(const struct mp_value *value, char out[MP_DESCRIBE_BYTES])
{
    char excerpt[48];

    switch (value->type) {
    case MP_NONE:
    case MP_NIL:
        return "nil";
    case MP_BOOL:
        return value->truth ? "true" : "false";
    case MP_WHOLE:
        snprintf(out, MP_DESCRIBE_BYTES, "%" PRIu64, value->whole);
        return out;
    case MP_NEGATIVE:
        snprintf(out, MP_DESCRIBE_BYTES, "%" PRId64, value->negative);
        return out;
    case MP_FLOAT:
        snprintf(out, MP_DESCRIBE_BYTES, "%.9g", value->number);
        return out;
    case MP_STR:
        snprintf(out, MP_DESCRIBE_BYTES, "the string \"%s\"",
                 text_excerpt(value->bytes.data, value->bytes.bytes, excerpt));
        return out;
    case MP_BIN:
        return "binary data";
    case MP_ARRAY:
        return "an array";
    case MP_MAP:
        return "a map";
    case MP_EXT:
        break;
    }
    return "an extension type";
}

bool mp_text(const struct mp_value *value, struct slice *out)
{
    if (value->type == MP_STR) {
        *out = value->bytes;
        return true; /* the check has seen the UTF-8 */
    }
    if (value->type == MP_BIN) {
        *out = value->bytes;
        return text_is_utf8(out->data, out->bytes);
    }
    return false;
}

bool mp_number(const struct mp_value *value, double *out)
{
    switch (value->type) {
    case MP_WHOLE:
        *out = (double)value->whole;
        return true;
    case MP_NEGATIVE:
        *out = (double)value->negative;
        return true;
    case MP_FLOAT:
        *out = value->number;
        return isfinite(value->number);
    default:
        return false;
    }
}

bool mp_integer(const struct mp_value *value, int64_t *out)
{
    if (value->type == MP_WHOLE) {
        *out = (int64_t)value->whole;
        return value->whole <= INT64_MAX;
    }
    if (value->type == MP_NEGATIVE) {
        *out = value->negative;
        return true;
    }
    double number;
    const double exact_limit = 9007199254740992.0; /* 2^53: below it a double is a whole number */
    if (!mp_number(value, &number) || number != trunc(number) || fabs(number) > exact_limit) {
        return false;
    }
    *out = (int64_t)number;
    return true;
}

/* ---- typed fields ---------------------------------------------------------------------------- */

enum status mp_missing(struct mp_field field, const char *expected, struct error *err)
{
    return error_set(err, STATUS_INVALID, "field \"%s\" is missing, expected %s", field.name.data,
                     expected);
}

enum status mp_wrong(struct mp_field field, const char *expected, const struct mp_value *value,
                     struct error *err)
{
    char found[MP_DESCRIBE_BYTES];
    return error_set(err, STATUS_INVALID, "field \"%s\": expected %s, found %s", field.name.data,
                     expected, mp_describe(value, found));
}

enum status mp_field_text(struct mp_field field, const struct mp_value *value, struct slice *out,
                          struct error *err)
{
    struct slice text;

    if (value->type == MP_NONE) {
        return field.required ? mp_missing(field, "a string", err) : STATUS_OK;
    }
    if (!mp_text(value, &text)) {
        return value->type == MP_BIN ? error_set(err, STATUS_INVALID,
                                                 "field \"%s\" is not valid UTF-8", field.name.data)
                                     : mp_wrong(field, "a string", value, err);
    }
    const char *nul = text.bytes == 0 ? NULL : memchr(text.data, '\0', text.bytes);
    if (nul != NULL) {
        return error_set(err, STATUS_INVALID, "field \"%s\" holds a NUL byte at offset %td",
                         field.name.data, nul - text.data);
    }
    *out = text;
    return STATUS_OK;
}

enum status mp_field_integer(struct mp_field field, const struct mp_value *value, int64_t least,
                             int64_t most, int64_t *out, struct error *err)
{
    char expected[80];
    int64_t number;

    if (value->type == MP_NONE && !field.required) {
        return STATUS_OK;
    }
    if (mp_integer(value, &number) && number >= least && number <= most) {
        *out = number;
        return STATUS_OK;
    }
    snprintf(expected, sizeof expected, "an integer from %" PRId64 " to %" PRId64, least, most);
    return value->type == MP_NONE ? mp_missing(field, expected, err)
                                  : mp_wrong(field, expected, value, err);
}

enum status mp_field_array(struct mp_field field, const struct mp_value *value, size_t least,
                           size_t most, struct error *err)
{
    if (value->type == MP_NONE) {
        return field.required ? mp_missing(field, "an array", err) : STATUS_OK;
    }
    if (value->type != MP_ARRAY) {
        return mp_wrong(field, "an array", value, err);
    }
    if (value->count < least || value->count > most) {
        return error_set(err, STATUS_INVALID,
                         "field \"%s\": expected an array of %zu to %zu elements, found %" PRIu32,
                         field.name.data, least, most, value->count);
    }
    return STATUS_OK;
}

/* ---- writing --------------------------------------------------------------------------------- */

/* A failed append sticks in the strbuf, where the caller looks for it; so what msgpack-c returns
 * for each value need not be looked at. */
static int write_to_strbuf(void *out, const char *data, size_t bytes)
{
    strbuf_append(out, data, bytes);
    return 0;
}

static msgpack_packer packer_to(struct strbuf *out)
{
    return (msgpack_packer){.data = out, .callback = write_to_strbuf};
}

void mp_put_map(struct strbuf *out, size_t pairs)
{
    msgpack_packer packer = packer_to(out);
    msgpack_pack_map(&packer, pairs);
}

void mp_put_array(struct strbuf *out, size_t elements)
{
    msgpack_packer packer = packer_to(out);
    msgpack_pack_array(&packer, elements);
}

void mp_put_text(struct strbuf *out, struct slice text)
{
    msgpack_packer packer = packer_to(out);
    msgpack_pack_str(&packer, text.bytes);
    strbuf_append(out, text.data, text.bytes);
}

void mp_put_integer(struct strbuf *out, int64_t number)
{
    msgpack_packer packer = packer_to(out);
    msgpack_pack_int64(&packer, number);
}

void mp_put_number(struct strbuf *out, double number)
{
    msgpack_packer packer = packer_to(out);
    msgpack_pack_double(&packer, number);
}

void mp_put_truth(struct strbuf *out, bool truth)
{
    strbuf_append_char(out, truth ? '\xc3' : '\xc2');
}

void mp_put_nil(struct strbuf *out)
{
    strbuf_append_char(out, '\xc0');
}
