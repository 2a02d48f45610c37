#include "base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { EXCERPT_BYTES = 48 };

static bool is_space(unsigned char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static bool is_lower_or_digit(unsigned char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

bool text_is_blank(const char *text, size_t bytes)
{
    for (size_t i = 0; i < bytes; i++) {
        if (!is_space((unsigned char)text[i])) {
            return false;
        }
    }
    return true;
}

/* Length of the sequence that a lead byte announces; 0 for a byte that cannot lead one. */
static size_t utf8_length(unsigned char lead)
{
    if (lead < 0x80) {
        return 1;
    }
    if (lead < 0xc2) {
        return 0; /* a continuation byte, or an overlong form of ASCII */
    }
    if (lead < 0xe0) {
        return 2;
    }
    if (lead < 0xf0) {
        return 3;
    }
    return lead < 0xf5 ? 4 : 0;
}

/* The second byte carries all further rules: no overlong forms, no surrogates, at most U+10FFFF. */
static bool utf8_second_ok(unsigned char lead, unsigned char second)
{
    unsigned char low = lead == 0xe0 ? 0xa0 : lead == 0xf0 ? 0x90 : 0x80;
    unsigned char high = lead == 0xed ? 0x9f : lead == 0xf4 ? 0x8f : 0xbf;
    return second >= low && second <= high;
}

static bool utf8_sequence_ok(const unsigned char *at, size_t length)
{
    if (length < 2) {
        return length == 1;
    }
    if (!utf8_second_ok(at[0], at[1])) {
        return false;
    }
    for (size_t i = 2; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80) {
            return false;
        }
    }
    return true;
}

/* Most text is ASCII: eight bytes at a time as long as none has its high bit set. */
static size_t ascii_run(const unsigned char *at, size_t bytes)
{
    size_t i = 0;
    while (bytes - i >= sizeof(uint64_t)) {
        uint64_t eight;
        memcpy(&eight, at + i, sizeof eight);
        if ((eight & UINT64_C(0x8080808080808080)) != 0) {
            break;
        }
        i += sizeof eight;
    }
    while (i < bytes && at[i] < 0x80) {
        i++;
    }
    return i;
}

bool text_is_utf8(const char *text, size_t bytes)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t i = 0;

    while (i < bytes) {
        i += ascii_run(at + i, bytes - i);
        if (i == bytes) {
            break;
        }
        size_t length = utf8_length(at[i]);
        if (length > bytes - i || !utf8_sequence_ok(at + i, length)) {
            return false;
        }
        i += length;
    }
    return true;
}

size_t text_decode(const char *text, size_t bytes, uint32_t *c)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t length = utf8_length(at[0]);

    if (length > bytes || !utf8_sequence_ok(at, length)) {
        return 0;
    }
    *c = length == 1 ? at[0] : at[0] & (0xffU >> (length + 1));
    for (size_t i = 1; i < length; i++) {
        *c = *c << 6 | (at[i] & 0x3fU);
    }
    return length;
}

/* Controls, Unicode 15's category Cf, U+2028 and U+2029; of the last plane all, since what is not
 * assigned there is ignored by whoever draws it. */
static const struct span {
    uint32_t first;
    uint32_t last;
} unsafe_spans[] = {
    {0x00, 0x1f},       {0x7f, 0x9f},       {0xad, 0xad},       {0x600, 0x605},
    {0x61c, 0x61c},     {0x6dd, 0x6dd},     {0x70f, 0x70f},     {0x890, 0x891},
    {0x8e2, 0x8e2},     {0x180e, 0x180e},   {0x200b, 0x200f},   {0x2028, 0x202e},
    {0x2060, 0x206f},   {0xfeff, 0xfeff},   {0xfff0, 0xfffb},   {0x110bd, 0x110bd},
    {0x110cd, 0x110cd}, {0x13430, 0x1343f}, {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a},
    {0xe0000, 0xe0fff},
};

bool text_is_safe_codepoint(uint32_t c)
{
    for (size_t i = 0; i < sizeof unsafe_spans / sizeof unsafe_spans[0]; i++) {
        if (c <= unsafe_spans[i].last) {
            return c < unsafe_spans[i].first;
        }
    }
    return true;
}

size_t text_make_safe(char *text, size_t bytes)
{
    size_t kept = 0;

    for (size_t i = 0; i < bytes;) {
        uint32_t c = 0;
        const size_t length = text_decode(text + i, bytes - i, &c);
        if (length == 0 || !text_is_safe_codepoint(c)) {
            text[kept++] = '?';
        } else {
            memmove(text + kept, text + i, length);
            kept += length;
        }
        i += length == 0 ? 1 : length;
    }
    return kept;
}

size_t text_utf8_cut(const char *text, size_t bytes, size_t limit)
{
    size_t end = bytes < limit ? bytes : limit;

    for (size_t back = 1; back <= 3 && back <= end; back++) {
        unsigned char c = (unsigned char)text[end - back];
        if ((c & 0xc0) != 0x80) {
            return utf8_length(c) > back ? end - back : end;
        }
    }
    return end;
}

bool text_is_domain(const char *text, size_t bytes)
{
    if (bytes == 0 || bytes > TEXT_DOMAIN_MAX || !is_lower_or_digit((unsigned char)text[0]) ||
        !is_lower_or_digit((unsigned char)text[bytes - 1])) {
        return false;
    }
    for (size_t i = 1; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        if (!is_lower_or_digit(c) && c != '.' && c != '_' && c != '-') {
            return false;
        }
    }
    return true;
}

bool text_is_id(const char *text, size_t bytes)
{
    if (bytes == 0 || bytes > TEXT_ID_MAX) {
        return false;
    }
    for (size_t i = 0; i < bytes; i++) {
        unsigned char c = (unsigned char)text[i];
        bool upper = c >= 'A' && c <= 'Z';
        if (!is_lower_or_digit(c) && !upper && c != '.' && c != '_' && c != ':' && c != '-') {
            return false;
        }
    }
    return true;
}

static const struct duration_unit {
    const char *name;
    int64_t ms;
} duration_units[] = {
    {"d", 24 * 60 * 60 * 1000}, {"h", 60 * 60 * 1000}, {"m", 60 * 1000}, {"s", 1000}, {"ms", 1},
};

enum { DURATION_UNITS = sizeof duration_units / sizeof duration_units[0] };

/* Milliseconds of a unit; 0 for an unknown one. */
static int64_t duration_unit_ms(const char *name)
{
    for (size_t i = 0; i < DURATION_UNITS; i++) {
        if (strcmp(name, duration_units[i].name) == 0) {
            return duration_units[i].ms;
        }
    }
    return 0;
}

bool text_parse_duration(const char *text, int64_t *out_ms)
{
    const int64_t limit = INT64_MAX / 2;
    int64_t count = 0;
    size_t digits = strspn(text, "0123456789");

    for (size_t i = 0; i < digits; i++) {
        int64_t digit = text[i] - '0';
        if (count > (limit - digit) / 10) {
            return false;
        }
        count = count * 10 + digit;
    }
    if (digits == 0) {
        return false;
    }
    if (text[digits] == '\0' && count == 0) {
        *out_ms = 0;
        return true;
    }

    int64_t unit_ms = duration_unit_ms(text + digits);
    if (unit_ms == 0 || count > limit / unit_ms) {
        return false;
    }
    *out_ms = count * unit_ms;
    return true;
}

const char *text_format_duration(int64_t ms, char out[32])
{
    if (ms == 0) {
        return strcpy(out, "0");
    }
    size_t unit = 0;
    while (ms % duration_units[unit].ms != 0) {
        unit++;
    }
    snprintf(out, 32, "%" PRId64 "%s", ms / duration_units[unit].ms, duration_units[unit].name);
    return out;
}

const char *text_excerpt(const void *data, size_t bytes, char out[EXCERPT_BYTES])
{
    const unsigned char *at = data;
    bool whole = bytes < EXCERPT_BYTES;
    size_t shown = whole ? bytes : EXCERPT_BYTES - sizeof "...";

    for (size_t i = 0; i < shown; i++) {
        bool plain = at[i] >= 0x20 && at[i] < 0x7f && at[i] != '"' && at[i] != '\\';
        out[i] = plain ? (char)at[i] : '?';
    }
    strcpy(out + shown, whole ? "" : "...");
    return out;
}
