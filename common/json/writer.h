/* json/writer.h - a JSON document member by member: commas, and line ends where people read it,
 * come by themselves.
 *
 *     struct strbuf text = {0};
 *     struct json_writer json = {.out = &text, .indented = true};
 *     json_open(&json, NULL, '{');
 *     json_put_str(&json, "queue", "enrich");
 *     json_put_int(&json, "waiting", 7);
 *     json_close(&json, '}');
 *     bool written = strbuf_ok(&text);
 *
 * `name` is a member's name in an object, and NULL in an array or for the document itself. A lack
 * of memory sticks to `out`. Any thread; one writer one thread.
 */
#ifndef STILLHOUSE_JSON_WRITER_H
#define STILLHOUSE_JSON_WRITER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

/* Set `out`, and `indented` where each member shall stand on a line of its own; the rest is zero.
 */
struct json_writer {
    struct strbuf *out;
    bool indented;
    int depth;
    bool more;  /* the innermost object or array holds something: a comma is due */
    bool named; /* a name was written: its value comes next */
};

/* '{' and '}', '[' and ']'. */
void json_open(struct json_writer *json, const char *name, char bracket);
void json_close(struct json_writer *json, char bracket);

void json_put_int(struct json_writer *json, const char *name, int64_t number);
void json_put_bool(struct json_writer *json, const char *name, bool value);
void json_put_null(struct json_writer *json, const char *name);
/* Text of any bytes: what is not UTF-8 is shown as '?'. */
void json_put_str(struct json_writer *json, const char *name, const char *text);
void json_put_bytes(struct json_writer *json, const char *name, const char *text, size_t bytes);

/* For a value of another form: what the caller appends to the buffer next is it. */
struct strbuf *json_put(struct json_writer *json, const char *name);

/* For a name that is not a C string: what is appended to the buffer between the two is it, quotes
 * included. The value is put with the name NULL then. */
struct strbuf *json_name_begin(struct json_writer *json);
void json_name_end(struct json_writer *json);

#endif
