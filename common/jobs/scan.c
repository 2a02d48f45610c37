/* The scanner: one pass over foreign bytes before anything is unpacked from them.
 *
 * It keeps a stack of open arrays and maps with how many elements each still wants, so a deep body
 * costs no C stack, and it believes no count that the bytes left cannot hold. While it is inside a
 * map that is the whole body it remembers the last key, so that an error names the field.
 */
#include "jobs/bodies.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

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
    uint64_t wanted[BODIES_DEPTH_MAX]; /* elements that each open container still wants */
    size_t depth;
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

/* The form of a first byte, and in *length what the byte itself says (fixstr, fixarray, fixmap). */
static struct form form_of(unsigned char first, uint64_t *length)
{
    *length = 0;
    if (first < 0x80 || first >= 0xe0) {
        return (struct form){FORM_SCALAR, 0, 0};
    }
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
    if (scan->depth == BODIES_DEPTH_MAX) {
        return fail(scan, "%s at byte %zu is nested deeper than %d", kind_names[kind], start,
                    BODIES_DEPTH_MAX);
    }
    if (elements > scan->bytes - scan->at) {
        return fail(scan, "%s at byte %zu claims %" PRIu64 " elements, %zu bytes are left",
                    kind_names[kind], start, count, scan->bytes - scan->at);
    }
    scan->root_is_map = scan->depth == 0 ? kind == FORM_MAP : scan->root_is_map;
    scan->wanted[scan->depth++] = elements;
    return STATUS_OK;
}

static enum status skip_payload(struct scan *scan, size_t start, struct form form, uint64_t length)
{
    uint64_t payload = form.fixed + length;
    enum status status = need(scan, start, form.kind, payload);
    if (status != STATUS_OK) {
        return status;
    }
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

    struct form form = form_of(scan->data[scan->at++], &length);
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
        scan->depth--;
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

enum status bodies_scan(const void *data, size_t bytes, struct error *err)
{
    struct scan scan = {.data = data, .bytes = bytes, .err = err};
    if (bytes == 0) {
        return fail(&scan, "empty, expected a msgpack value");
    }

    do {
        enum status status = scan_next(&scan);
        if (status != STATUS_OK) {
            return status;
        }
    } while (scan.depth > 0);

    if (scan.at == bytes) {
        return STATUS_OK;
    }
    scan.field = (struct slice){NULL, 0};
    if (scan.data[0] == '{') {
        return fail(&scan, "expected msgpack, found what looks like JSON");
    }
    return fail(&scan, "%zu trailing bytes after the end at byte %zu", bytes - scan.at, scan.at);
}
