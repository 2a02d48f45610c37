#include "cli/frame/output.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/frame/cli.h"
#include "json/write.h"

/* ---- tables -------------------------------------------------------------------------------- */

size_t table_width(const char *text)
{
    size_t width = 0;

    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xC0) != 0x80; /* not a continuation byte */
    }
    return width;
}

/* A copy that a terminal can be shown; NULL when memory is short. */
static char *make_cell(const char *text, size_t bytes)
{
    char *cell = malloc(bytes + 1);

    if (cell != NULL) {
        memcpy(cell, text, bytes);
        cell[text_make_safe(cell, bytes)] = '\0';
    }
    return cell;
}

void table_bytes(struct table *table, const char *text, size_t bytes)
{
    if (table->count == table->capacity) {
        const size_t capacity = table->capacity == 0 ? 64 : 2 * table->capacity;
        char **cells = realloc(table->cells, capacity * sizeof *cells);
        if (cells == NULL) {
            table->failed = true;
            return;
        }
        table->cells = cells;
        table->capacity = capacity;
    }
    char *cell = make_cell(bytes == 0 ? "" : text, bytes);
    if (cell == NULL) {
        table->failed = true;
        return;
    }
    table->cells[table->count++] = cell;
}

void table_text(struct table *table, const char *text)
{
    table_bytes(table, text, strlen(text));
}

void table_printf(struct table *table, const char *fmt, ...)
{
    char text[1024];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    table_text(table, text);
}

void table_int(struct table *table, int64_t number)
{
    table_printf(table, "%" PRId64, number);
}

void table_init(struct table *table, const char *const *titles)
{
    *table = (struct table){0};
    for (; titles[table->columns] != NULL && table->columns < TABLE_COLUMNS_MAX; table->columns++) {
        const char *title = titles[table->columns];
        table->right[table->columns] = title[0] == '>';
        table_text(table, title + table->right[table->columns]);
    }
}

void table_free(struct table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        free(table->cells[i]);
    }
    free(table->cells);
    *table = (struct table){0};
}

static void print_row(const struct table *table, const size_t *widths, size_t row, FILE *out)
{
    for (size_t column = 0; column < table->columns; column++) {
        const char *cell = table->cells[row * table->columns + column];
        const int space = (int)(widths[column] - table_width(cell));
        const char *gap = column == 0 ? "" : "  ";
        if (table->right[column]) {
            fprintf(out, "%s%*s%s", gap, space, "", cell);
        } else if (column + 1 == table->columns) {
            fprintf(out, "%s%s", gap, cell);
        } else {
            fprintf(out, "%s%s%*s", gap, cell, space, "");
        }
    }
    fputc('\n', out);
}

bool table_print(const struct table *table, FILE *out)
{
    size_t widths[TABLE_COLUMNS_MAX] = {0};
    bool titled = false;

    if (table->failed) {
        return false;
    }
    for (size_t i = 0; i < table->count; i++) {
        const size_t width = table_width(table->cells[i]);
        const size_t column = i % table->columns;
        widths[column] = width > widths[column] ? width : widths[column];
        titled = titled || (i < table->columns && width > 0);
    }
    for (size_t row = titled ? 0 : 1; row < table->count / table->columns; row++) {
        print_row(table, widths, row, out);
    }
    return true;
}

/* ---- texts --------------------------------------------------------------------------------- */

void output_text(const char *text)
{
    if (!isatty(STDOUT_FILENO)) {
        fputs(text, stdout);
        return;
    }
    while (*text != '\0') {
        const size_t bytes = strcspn(text, "\n\t");
        char *part = make_cell(text, bytes);
        if (part != NULL) {
            fputs(part, stdout);
        }
        free(part);
        text += bytes;
        for (; *text == '\n' || *text == '\t'; text++) {
            putchar(*text);
        }
    }
}

/* ---- JSON ---------------------------------------------------------------------------------- */

void json_bytes(struct strbuf *out, const char *text, size_t bytes)
{
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

void json_key(struct strbuf *out, const char *name)
{
    const char last = out->bytes == 0 ? '{' : out->data[out->bytes - 1];

    if (last != '{' && last != '[') {
        strbuf_append_char(out, ',');
    }
    json_str(out, name);
    strbuf_append_char(out, ':');
}

int json_print(const struct strbuf *document)
{
    if (!strbuf_ok(document)) {
        return cli_out_of_memory();
    }
    fwrite(document->data, 1, document->bytes, stdout);
    fputc('\n', stdout);
    return CLI_DONE;
}

static void line_end(int depth)
{
    printf("\n%*s", 2 * depth, "");
}

/* JSON as our writers make it, without white space: each member on a line of its own. */
static void print_indented(const char *text, size_t bytes)
{
    bool quoted = false;
    int depth = 0;

    for (size_t i = 0; i < bytes; i++) {
        const char c = text[i];
        const char next = i + 1 < bytes ? text[i + 1] : '\0';
        if (!quoted && (c == '}' || c == ']') && text[i - (i > 0)] != '{' &&
            text[i - (i > 0)] != '[') {
            line_end(--depth);
        }
        putchar(c);
        if (c == '"') {
            quoted = !quoted;
        } else if (quoted && c == '\\') {
            putchar(next);
            i++;
        } else if (!quoted && (c == '{' || c == '[') && next != '}' && next != ']') {
            line_end(++depth);
        } else if (!quoted && c == ',') {
            line_end(depth);
        } else if (!quoted && c == ':') {
            putchar(' ');
        }
    }
}

int json_print_indented(const struct strbuf *document)
{
    if (!strbuf_ok(document)) {
        return cli_out_of_memory();
    }
    print_indented(document->data, document->bytes);
    putchar('\n');
    return CLI_DONE;
}

/* ---- numbers for people -------------------------------------------------------------------- */

const char *output_age(int64_t ms, char out[32])
{
    const double seconds = (double)ms / 1000;

    if (ms < 1000) {
        snprintf(out, 32, "%" PRId64 " ms", ms);
    } else if (seconds < 120) {
        snprintf(out, 32, "%.1f s", seconds);
    } else if (seconds < 7200) {
        snprintf(out, 32, "%.0f min", seconds / 60);
    } else if (seconds < 48 * 3600.0) {
        snprintf(out, 32, "%.1f h", seconds / 3600);
    } else {
        snprintf(out, 32, "%.1f d", seconds / 86400);
    }
    return out;
}

const char *output_bytes(int64_t bytes, char out[32])
{
    static const char *const units[] = {"bytes", "KiB", "MiB", "GiB", "TiB"};
    double size = (double)bytes;
    size_t unit = 0;

    while (size >= 1024 && unit + 1 < sizeof units / sizeof units[0]) {
        size /= 1024;
        unit++;
    }
    snprintf(out, 32, unit == 0 ? "%.0f %s" : "%.1f %s", size, units[unit]);
    return out;
}
