/* The text rules against plain, slow versions of the same rules. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "json/write.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

/* Normalises byte by byte into `out`, which holds `size` bytes. */
static size_t normalise(const uint8_t *data, size_t size, char *out)
{
    size_t bytes = 0;
    bool gap = false;

    for (size_t i = 0; i < size; i++) {
        if (strchr(" \t\n\r\v\f", data[i]) != NULL && data[i] != '\0') {
            gap = bytes > 0;
            continue;
        }
        if (gap) {
            out[bytes++] = ' ';
        }
        gap = false;
        out[bytes++] = (char)data[i];
    }
    return bytes;
}

static void try_hash(const uint8_t *data, size_t size)
{
    char *normal = malloc(size + 1);
    char expected[TEXT_HASH_CHARS + 1];
    char found[TEXT_HASH_CHARS + 1];

    must(normal != NULL);
    size_t bytes = normalise(data, size, normal);
    text_hash_raw(normal, bytes, expected);
    text_hash((const char *)data, size, found);
    must(strcmp(expected, found) == 0);
    must(text_is_blank((const char *)data, size) == (bytes == 0));
    free(normal);
}

/* One sequence decoded by its value; 0 when it is not well-formed. */
static size_t slow_sequence(const uint8_t *at, size_t left)
{
    static const uint32_t smallest[] = {0, 0, 0x80, 0x800, 0x10000};
    size_t length = at[0] < 0x80             ? 1
                    : (at[0] & 0xe0) == 0xc0 ? 2
                    : (at[0] & 0xf0) == 0xe0 ? 3
                    : (at[0] & 0xf8) == 0xf0 ? 4
                                             : 0;
    if (length == 0 || length > left) {
        return 0;
    }
    uint32_t point = length == 1 ? at[0] : at[0] & (0x7fU >> length);
    for (size_t i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return 0;
        }
        point = point << 6 | (at[i] & 0x3f);
    }
    bool surrogate = point >= 0xd800 && point <= 0xdfff;
    return point < smallest[length] || surrogate || point > 0x10ffff ? 0 : length;
}

static void try_utf8(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    size_t at = 0;
    size_t length = 1;

    while (at < size && length > 0) {
        length = slow_sequence(data + at, size - at);
        at += length;
    }
    bool sound = length > 0;
    must(text_is_utf8(text, size) == sound);

    size_t limit = size == 0 ? 0 : data[0];
    size_t cut = text_utf8_cut(text, size, limit);
    must(cut <= size && cut <= limit && (limit >= size ? size : limit) - cut <= 3);
    must(!sound || text_is_utf8(text, cut));
}

static void try_json(const uint8_t *data, size_t size)
{
    struct strbuf out = {0};
    float number;

    json_string(&out, (const char *)data, size);
    must(strbuf_ok(&out) && out.bytes >= size + 2);
    for (size_t at = 0; size - at >= sizeof number; at += sizeof number) {
        memcpy(&number, data + at, sizeof number);
        strbuf_reset(&out);
        json_floats(&out, &number, 1);
        must(strbuf_ok(&out));
        float back = strtof(out.data + 1, NULL);
        must(!isfinite(number) || memcmp(&back, &number, sizeof back) == 0);
    }
    strbuf_free(&out);
}

static void try_words(const uint8_t *data, size_t size)
{
    char word[128];
    char shown[48];
    char again[32];
    int64_t ms;
    int64_t back;
    size_t bytes = size < sizeof word - 1 ? size : sizeof word - 1;

    memcpy(word, data, bytes);
    word[bytes] = '\0';
    if (text_parse_duration(word, &ms)) {
        must(ms >= 0);
        must(text_parse_duration(text_format_duration(ms, again), &back) && back == ms);
    }
    must(!text_is_domain(word, bytes) || text_is_id(word, bytes));
    must(strlen(text_excerpt(data, size, shown)) <= 47);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t none = 0;

    if (size == 0) {
        data = &none;
    }
    try_hash(data, size);
    try_utf8(data, size);
    try_json(data, size);
    try_words(data, size);
    return 0;
}
