/* cli/frame/output.h - what goes to standard output: JSON documents and tables.
 *
 *     struct table table;
 *     table_init(&table, (const char *const[]){"queue", ">waiting", NULL});
 *     table_text(&table, "enrich");
 *     table_int(&table, 7);
 *     table_print(&table, stdout);
 *     table_free(&table);
 *
 * Cells are foreign text: control characters are shown as '?'. One thread.
 */
#ifndef STILLHOUSE_CLI_FRAME_OUTPUT_H
#define STILLHOUSE_CLI_FRAME_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/status.h"
#include "base/strbuf.h"

enum { TABLE_COLUMNS_MAX = 16 };

struct table {
    size_t columns;
    bool right[TABLE_COLUMNS_MAX]; /* aligned to the right: numbers */
    char **cells;                  /* row by row, the titles first */
    size_t count;
    size_t capacity;
    bool failed; /* memory was short; sticks */
};

/* `titles` ends with NULL; a title that begins with '>' stands for a right-aligned column. Titles
 * that are all "" are not printed. */
void table_init(struct table *table, const char *const *titles);
void table_free(struct table *table);

/* The next cell, left to right and then in the next row. */
void table_text(struct table *table, const char *text);
void table_bytes(struct table *table, const char *text, size_t bytes);
void table_int(struct table *table, int64_t number);
void table_printf(struct table *table, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* False when memory was short. An unfinished last row is left out. */
bool table_print(const struct table *table, FILE *out) MUSTCHECK;

/* How many columns of a terminal a text takes, counting code points. */
size_t table_width(const char *text);

/* A text of several lines to standard output: byte for byte, but on a terminal without what changes
 * how it takes the rest (text_is_safe_codepoint). */
void output_text(const char *text);

/* ---- JSON ---------------------------------------------------------------------------------- */

/* Bytes that may not be UTF-8, as a JSON string: what is not is shown as '?'. */
void json_bytes(struct strbuf *out, const char *text, size_t bytes);

/* "name": in front of a value; with a comma where one is needed. */
void json_key(struct strbuf *out, const char *name);

/* Writes the document and a line end to standard output. CLI_FAILED when memory was short. */
int json_print(const struct strbuf *document) MUSTCHECK;

/* The same, indented for people. The document has no white space between its parts. */
int json_print_indented(const struct strbuf *document) MUSTCHECK;

/* "812 ms", "4.2 s", "3 min", "5 h", "2 d": a duration for people. Returns `out`. */
const char *output_age(int64_t ms, char out[32]);

/* "1.5 MiB". Returns `out`. */
const char *output_bytes(int64_t bytes, char out[32]);

#endif
