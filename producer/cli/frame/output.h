/* cli/frame/output.h - what goes to standard output: JSON documents and tables.
 *
 *     struct output out;
 *     struct json_writer *json = output_object(&out);
 *     json_put_int(json, "waiting", 7);
 *     output_end(&out);                        // printed, with a line end
 *
 *     struct table table;
 *     table_init(&table, (const char *const[]){"queue", ">waiting", NULL});
 *     table_text(&table, "enrich");
 *     table_int(&table, 7);
 *     table_print(&table);
 *     table_free(&table);
 *
 * Cells are foreign text: control characters are shown as '?'. A lack of memory ends the program.
 * One thread.
 *
 * The table is sixty lines of our own: libsmartcols would cost a package to build with, counts the
 * width of a cell by the locale, and cuts what is wider than the terminal.
 */
#ifndef STILLHOUSE_CLI_FRAME_OUTPUT_H
#define STILLHOUSE_CLI_FRAME_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/slice.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "cli/frame/cli.h"
#include "json/writer.h"

/* ---- JSON ---------------------------------------------------------------------------------- */

struct output {
    struct strbuf text;
    struct json_writer json;
};

/* A document, `indented` for people; or an object, for programs, which output_end closes. Stays
 * where it is until then. */
struct json_writer *output_begin(struct output *out, bool indented);
struct json_writer *output_object(struct output *out);
void output_end(struct output *out);

/* One number: "7 requeued", or {"requeued":7}. */
void output_count(const struct cli *cli, const char *name, size_t count);

/* ---- tables -------------------------------------------------------------------------------- */

enum { TABLE_COLUMNS_MAX = 16, TITLE_LINES_MAX = 8 };

struct table {
    size_t columns;
    bool right[TABLE_COLUMNS_MAX]; /* aligned to the right: numbers */
    char **cells;                  /* row by row, the titles first */
    size_t count;
};

/* `titles` ends with NULL; a title that begins with '>' stands for a right-aligned column. Where a
 * title is wider than all below it, it is broken at its underscores, into TITLE_LINES_MAX at most.
 */
void table_init(struct table *table, const char *const *titles);

/* The next cell, left to right and then in the next row. */
void table_text(struct table *table, const char *text);
void table_slice(struct table *table, struct slice text);
void table_int(struct table *table, int64_t number);
void table_printf(struct table *table, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* To standard output; an unfinished last row is left out. */
void table_print(const struct table *table);
void table_free(struct table *table);

/* How many columns of a terminal a text takes, counting code points. */
size_t table_width(const char *text);

/* ---- for people ---------------------------------------------------------------------------- */

/* A text of several lines to standard output: byte for byte, but on a terminal without what changes
 * how it takes the rest (text_is_safe_codepoint). */
void output_text(const char *text);

/* "812 ms", "4.2 s", "3 min", "5.0 h", "2.1 d": a duration for people. Returns `out`. */
const char *output_age(int64_t ms, char out[32]);

/* "1.5 MiB". Returns `out`. */
const char *output_bytes(int64_t bytes, char out[32]);

#endif
