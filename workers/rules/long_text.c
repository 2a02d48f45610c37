#include "rules/long_text.h"

#include <string.h>

static bool is_continuation(char c)
{
    return ((unsigned char)c & 0xc0) == 0x80;
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

size_t long_text_chars(struct slice text)
{
    size_t chars = 0;

    for (size_t i = 0; i < text.bytes; i++) {
        chars += !is_continuation(text.data[i]);
    }
    return chars;
}

struct slice long_text_head(struct slice text, size_t chars)
{
    size_t end = 0;

    for (; end < text.bytes; end++) {
        if (!is_continuation(text.data[end]) && chars-- == 0) {
            break;
        }
    }
    if (end == text.bytes) {
        return text;
    }
    /* A word is not cut where that costs little. */
    for (size_t at = end; at > 0 && at >= end - end / 8; at--) {
        if (is_space(text.data[at])) {
            end = at;
            break;
        }
    }
    while (end > 0 && is_space(text.data[end - 1])) {
        end--;
    }
    return end == 0 ? text : (struct slice){text.data, end};
}

bool long_text_is_told(const struct error *err)
{
    static const char *const words[] = {
        "context length", "too long",   "too large", "too many tokens", "maximum",
        "exceed",         "max_tokens", "less than", "token limit",     "truncat"};

    if (err->http_code == 413) {
        return true;
    }
    for (size_t i = 0; i < sizeof words / sizeof words[0] && err->http_code >= 400; i++) {
        if (strcasestr(err->text, words[i]) != NULL) {
            return true;
        }
    }
    return false;
}
