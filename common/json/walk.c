#include "json/walk.h"

#include <string.h>

const char *json_skip_space(const char *text, const char *end)
{
    while (text < end && (*text == ' ' || *text == '\t' || *text == '\n' || *text == '\r')) {
        text++;
    }
    return text;
}

/* Behind the string whose opening quote is at `text`; NULL: it has no end. */
static const char *skip_string(const char *text, const char *end)
{
    for (const char *at = text + 1; at < end; at++) {
        at = memchr(at, '"', (size_t)(end - at));
        if (at == NULL) {
            return NULL;
        }
        size_t backslashes = 0;
        while (at[-1 - (ptrdiff_t)backslashes] == '\\') { /* the opening quote ends this */
            backslashes++;
        }
        if (backslashes % 2 == 0) {
            return at + 1;
        }
    }
    return NULL;
}

/* Numbers, true, false, null. */
static const char *skip_word(const char *text, const char *end)
{
    const char *at = text;
    while (at < end && memchr(" \t\n\r,:\"[]{}", *at, 11) == NULL) {
        at++;
    }
    return at == text ? NULL : at;
}

const char *json_skip(const char *text, const char *end)
{
    const char *at = json_skip_space(text, end);
    size_t depth = 0;

    if (at < end && *at != '[' && *at != '{') {
        return *at == '"' ? skip_string(at, end) : skip_word(at, end);
    }
    while (at != NULL && at < end) {
        const char c = *at;
        if (c == '"') {
            at = skip_string(at, end);
            continue;
        }
        at++;
        if (c == '[' || c == '{') {
            depth++;
        } else if ((c == ']' || c == '}') && --depth == 0) {
            return at;
        }
    }
    return NULL;
}

bool json_list_open(struct json_list *list, const char *text, const char *end, char opening)
{
    const char *at = json_skip_space(text, end);

    if (at == end || *at != opening) {
        return false;
    }
    *list = (struct json_list){.at = at + 1, .end = end, .closing = opening == '[' ? ']' : '}'};
    return true;
}

enum json_step json_list_next(struct json_list *list)
{
    list->at = json_skip_space(list->at, list->end);
    if (list->at == list->end) {
        return JSON_BROKEN;
    }
    if (*list->at == list->closing) {
        list->at++;
        return JSON_END;
    }
    if (list->begun) {
        if (*list->at != ',') {
            return JSON_BROKEN;
        }
        list->at = json_skip_space(list->at + 1, list->end);
    }
    list->begun = true;
    return list->at == list->end || *list->at == list->closing ? JSON_BROKEN : JSON_ELEMENT;
}

bool json_list_key(struct json_list *list, const char **key, size_t *key_bytes)
{
    const char *after = *list->at == '"' ? skip_string(list->at, list->end) : NULL;

    if (after == NULL) {
        return false;
    }
    *key = list->at + 1;
    *key_bytes = (size_t)(after - 1 - *key);
    after = json_skip_space(after, list->end);
    if (after == list->end || *after != ':') {
        return false;
    }
    list->at = json_skip_space(after + 1, list->end);
    return list->at < list->end;
}
