#include "json/write.h"

#include <float.h>
#include <inttypes.h>
#include <math.h>
#include <nettle/base64.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum { ESCAPE_BYTES = 16 };

static const char *escape_of(uint32_t c, char room[ESCAPE_BYTES])
{
    switch (c) {
    case '"':
        return "\\\"";
    case '\\':
        return "\\\\";
    case '\n':
        return "\\n";
    case '\r':
        return "\\r";
    case '\t':
        return "\\t";
    default:
        if (c < 0x10000) {
            snprintf(room, ESCAPE_BYTES, "\\u%04" PRIx32, c);
        } else {
            snprintf(room, ESCAPE_BYTES, "\\u%04" PRIx32 "\\u%04" PRIx32,
                     0xd800 + ((c - 0x10000) >> 10), 0xdc00 + ((c - 0x10000) & 0x3ff));
        }
        return room;
    }
}

/* How many bytes from here on stand for themselves, nearly all of most texts: printable ASCII but
 * '"' and '\\', eight at a time. */
static size_t plain_run(const char *text, size_t bytes)
{
    const uint64_t ones = UINT64_C(0x0101010101010101);
    const uint64_t highs = UINT64_C(0x8080808080808080);
    size_t i = 0;

    for (; bytes - i >= sizeof(uint64_t); i += sizeof(uint64_t)) {
        uint64_t eight;
        memcpy(&eight, text + i, sizeof eight);
        const uint64_t quotes = eight ^ (ones * '"');
        const uint64_t slashes = eight ^ (ones * '\\');
        /* A byte's high bit: not ASCII, DEL; below ' '; one of the two. */
        if (((eight | (eight + ones) | (eight - ones * ' ') | (quotes - ones) | (slashes - ones)) &
             highs) != 0) {
            break;
        }
    }
    while (i < bytes && text[i] >= ' ' && text[i] < 0x7f && text[i] != '"' && text[i] != '\\') {
        i++;
    }
    return i;
}

void json_string(struct strbuf *out, const char *text, size_t bytes)
{
    size_t from = 0;
    char room[ESCAPE_BYTES];

    strbuf_append_char(out, '"');
    for (size_t i = 0; i < bytes;) {
        i += plain_run(text + i, bytes - i);
        if (i == bytes) {
            break;
        }
        uint32_t c = 0;
        const size_t length = text_decode(text + i, bytes - i, &c);
        const bool kept =
            length == 0 || (c >= 0x80 && text_is_safe_codepoint(c)); /* no UTF-8: as it is */
        if (!kept) {
            strbuf_append(out, text + from, i - from);
            strbuf_append_str(out, escape_of(c, room));
            from = i + length;
        }
        i += length == 0 ? 1 : length;
    }
    strbuf_append(out, bytes == 0 ? "" : text + from, bytes - from);
    strbuf_append_char(out, '"');
}

void json_str(struct strbuf *out, const char *text)
{
    json_string(out, text, strlen(text));
}

void json_base64(struct strbuf *out, const void *data, size_t bytes)
{
    strbuf_append_char(out, '"');
    const size_t chars = BASE64_ENCODE_RAW_LENGTH(bytes);
    char *text = strbuf_reserve(out, chars);
    if (text != NULL) {
        base64_encode_raw(text, bytes, data);
        strbuf_commit(out, chars);
    }
    strbuf_append_char(out, '"');
}

void json_int(struct strbuf *out, int64_t number)
{
    char text[24];
    int bytes = snprintf(text, sizeof text, "%" PRId64, number);
    strbuf_append(out, text, (size_t)bytes);
}

size_t json_use_full_stop(char *text)
{
    size_t bytes = 0;
    bool in_point = false;

    for (size_t i = 0; text[i] != '\0'; i++) {
        bool of_number = strchr("0123456789+-e", text[i]) != NULL;
        if (of_number) {
            text[bytes++] = text[i];
        } else if (!in_point) {
            text[bytes++] = '.';
        }
        in_point = !of_number;
    }
    text[bytes] = '\0';
    return bytes;
}

void json_double(struct strbuf *out, double number)
{
    char text[48];

    if (!isfinite(number)) {
        strbuf_append_str(out, "null");
        return;
    }
    /* 15 digits survive the way through a normal double, so fewer need not be tried */
    for (int digits = fabs(number) < DBL_MIN ? 1 : 15; digits <= 17; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, number);
        if (strtod(text, NULL) == number) {
            break;
        }
    }
    strbuf_append(out, text, json_use_full_stop(text));
    if (strpbrk(text, ".e") == NULL) {
        strbuf_append_str(out, ".0");
    }
}
