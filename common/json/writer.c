#include "json/writer.h"

#include <string.h>

#include "base/text.h"
#include "json/write.h"

static void line_end(struct json_writer *json)
{
    if (json->indented) {
        strbuf_printf(json->out, "\n%*s", 2 * json->depth, "");
    }
}

/* In front of a name, or of what has none. */
static void next(struct json_writer *json)
{
    if (json->more) {
        strbuf_append_char(json->out, ',');
    }
    if (json->depth > 0) {
        line_end(json);
    }
}

struct strbuf *json_name_begin(struct json_writer *json)
{
    next(json);
    return json->out;
}

void json_name_end(struct json_writer *json)
{
    strbuf_append_str(json->out, json->indented ? ": " : ":");
    json->named = true;
}

struct strbuf *json_put(struct json_writer *json, const char *name)
{
    if (name != NULL) {
        json_str(json_name_begin(json), name);
        json_name_end(json);
    }
    if (!json->named) {
        next(json);
    }
    json->named = false;
    json->more = true;
    return json->out;
}

void json_open(struct json_writer *json, const char *name, char bracket)
{
    strbuf_append_char(json_put(json, name), bracket);
    json->depth++;
    json->more = false;
}

void json_close(struct json_writer *json, char bracket)
{
    json->depth--;
    if (json->more) {
        line_end(json);
    }
    strbuf_append_char(json->out, bracket);
    json->more = true;
}

void json_put_int(struct json_writer *json, const char *name, int64_t number)
{
    json_int(json_put(json, name), number);
}

void json_put_bool(struct json_writer *json, const char *name, bool value)
{
    strbuf_append_str(json_put(json, name), value ? "true" : "false");
}

void json_put_null(struct json_writer *json, const char *name)
{
    strbuf_append_str(json_put(json, name), "null");
}

void json_put_str(struct json_writer *json, const char *name, const char *text)
{
    json_put_bytes(json, name, text, strlen(text));
}

void json_put_bytes(struct json_writer *json, const char *name, const char *text, size_t bytes)
{
    struct strbuf *out = json_put(json, name);

    if (text_is_utf8(text, bytes)) {
        json_string(out, text, bytes);
        return;
    }
    struct strbuf shown = {0};
    for (size_t i = 0; i < bytes; i++) {
        strbuf_append_char(&shown, (unsigned char)text[i] < 0x80 ? text[i] : '?');
    }
    json_string(out, strbuf_ok(&shown) ? shown.data : "", shown.bytes);
    out->failed = out->failed || !strbuf_ok(&shown);
    strbuf_free(&shown);
}
