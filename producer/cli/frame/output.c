/* cli/frame/output.c - what a person or a script reads: documents, tables, messages. */
#include "cli/frame/output.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/must.h"
#include "base/text.h"

/* ---- JSON ---------------------------------------------------------------------------------- */

struct json_writer *output_begin(struct output *out, bool indented)
{
    *out = (struct output){.json = {.out = &out->text, .indented = indented}};
    return &out->json;
}

struct json_writer *output_object(struct output *out)
{
    struct json_writer *json = output_begin(out, false);

    json_open(json, NULL, '{');
    return json;
}

void output_end(struct output *out)
{
    if (out->json.depth > 0) {
        json_close(&out->json, '}');
    }
    if (!strbuf_ok(&out->text)) {
        must_die();
    }
    fwrite(out->text.data, 1, out->text.bytes, stdout);
    putchar('\n');
    strbuf_free(&out->text);
}

void output_count(const struct cli *cli, const char *name, size_t count)
{
    struct output out;

    if (!cli->json) {
        printf("%zu %s\n", count, name);
        return;
    }
    struct json_writer *json = output_object(&out);
    json_put_int(json, name, (int64_t)count);
    output_end(&out);
}

/* ---- tables -------------------------------------------------------------------------------- */

size_t table_width(const char *text)
{
    size_t width = 0;

    for (; *text != '\0'; text++) {
        width += ((unsigned char)*text & 0xC0) != 0x80; /* not a continuation byte */
    }
    return width;
}

void table_slice(struct table *table, struct slice text)
{
    char *cell = must_copy(text.data, text.bytes);

    cell[text_make_safe(cell, text.bytes)] = '\0';
    if (table->count % 64 == 0) {
        table->cells = must_grow(table->cells, (table->count + 64) * sizeof *table->cells);
    }
    table->cells[table->count++] = cell;
}

void table_text(struct table *table, const char *text)
{
    table_slice(table, (struct slice){text, strlen(text)});
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

static void print_cell(const struct table *table, const int *widths, size_t column,
                       struct slice cell, int width)
{
    const int space = widths[column] - width;
    const bool last = column + 1 == table->columns;

    printf("%s%*s%.*s%*s", column == 0 ? "" : "  ", table->right[column] ? space : 0, "",
           (int)cell.bytes, cell.data, table->right[column] || last ? 0 : space, "");
}

static void print_row(const struct table *table, const int *widths, size_t row)
{
    for (size_t column = 0; column < table->columns; column++) {
        const char *cell = table->cells[row * table->columns + column];
        print_cell(table, widths, column, slice_of(cell), (int)table_width(cell));
    }
    putchar('\n');
}

/* Takes a line of a title, which is broken at a '_' where it is wider than its column. */
static struct slice take_line(struct slice *title, int width)
{
    size_t bytes = title->bytes;

    while (bytes > (size_t)width) {
        const char *mark = memrchr(title->data, '_', bytes);
        if (mark == NULL) {
            break;
        }
        bytes = (size_t)(mark - title->data);
    }
    const struct slice line = {title->data, bytes};
    const size_t taken = bytes < title->bytes ? bytes + 1 : bytes;
    *title = (struct slice){title->data + taken, title->bytes - taken};
    return line;
}

/* The titles end in the same line. */
static void print_titles(const struct table *table, const int *widths)
{
    struct slice lines[TABLE_COLUMNS_MAX][TITLE_LINES_MAX];
    size_t counts[TABLE_COLUMNS_MAX] = {0};
    size_t most = 0;

    for (size_t column = 0; column < table->columns; column++) {
        struct slice rest = slice_of(table->cells[column]);
        while (rest.bytes > 0 && counts[column] < TITLE_LINES_MAX) {
            lines[column][counts[column]++] = take_line(&rest, widths[column]);
        }
        most = counts[column] > most ? counts[column] : most;
    }
    for (size_t line = 0; line < most; line++) {
        for (size_t column = 0; column < table->columns; column++) {
            const size_t above = most - counts[column];
            const struct slice text = line < above ? slice_of("") : lines[column][line - above];
            print_cell(table, widths, column, text, (int)text.bytes);
        }
        putchar('\n');
    }
}

/* Of a title its longest word: it can be broken at each '_'. */
static int title_width(const char *title)
{
    size_t widest = 0;

    for (const char *word = title; *word != '\0'; word += *word == '_') {
        const size_t bytes = strcspn(word, "_");
        widest = bytes > widest ? bytes : widest;
        word += bytes;
    }
    return (int)widest;
}

void table_print(const struct table *table)
{
    int widths[TABLE_COLUMNS_MAX] = {0};

    for (size_t i = 0; table->columns > 0 && i < table->count; i++) {
        const bool is_title = i < table->columns;
        const int width =
            is_title ? title_width(table->cells[i]) : (int)table_width(table->cells[i]);
        int *widest = &widths[i % table->columns];
        *widest = width > *widest ? width : *widest;
    }
    print_titles(table, widths);
    const size_t rows = table->columns == 0 ? 0 : table->count / table->columns;
    for (size_t row = 1; row < rows; row++) {
        print_row(table, widths, row);
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

/* ---- for people ---------------------------------------------------------------------------- */

void output_text(const char *text)
{
    if (isatty(STDOUT_FILENO) == 0) {
        fputs(text, stdout);
        return;
    }
    while (*text != '\0') {
        const size_t bytes = strcspn(text, "\n\t");
        char *part = must_copy(text, bytes);
        fwrite(part, 1, text_make_safe(part, bytes), stdout);
        free(part);
        text += bytes;
        for (; *text == '\n' || *text == '\t'; text++) {
            putchar(*text);
        }
    }
}

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

/* ---- messages and the end ------------------------------------------------------------------ */

enum { MESSAGE_BYTES = 1024 };

void cli_message(const char *fmt, ...)
{
    char text[MESSAGE_BYTES];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    text[text_make_safe(text, strlen(text))] = '\0';
    fprintf(stderr, "stillhouse: %s\n", text);
}

void cli_exit(int code)
{
    if (fflush(stdout) != 0 || ferror(stdout) != 0) {
        if (errno != EPIPE) {
            cli_message("standard output: %s", strerror(errno));
        }
        code = code == CLI_DONE ? CLI_FAILED : code;
    }
    exit(code);
}

void cli_usage(const struct command *command, const char *fmt, ...)
{
    char text[MESSAGE_BYTES - 128];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (command == NULL) {
        cli_message("%s; see `stillhouse help`", text);
    } else {
        cli_message("%s; see `stillhouse help %s`", text, command->name);
    }
    cli_exit(CLI_USAGE);
}

int cli_exit_code(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return CLI_DONE;
    case STATUS_INVALID:
        return CLI_USAGE;
    case STATUS_UNREACHABLE:
    case STATUS_TIMEOUT:
    case STATUS_UNAVAILABLE:
        return CLI_UNREACHABLE;
    case STATUS_NOT_FOUND:
        return CLI_NOT_FOUND;
    case STATUS_FULL:
        return CLI_FULL;
    case STATUS_FAILED:
    case STATUS_REFUSED:
    case STATUS_OOM:
    case STATUS_MISMATCH:
    case STATUS_GARBLED:
        break;
    }
    return CLI_FAILED;
}

const char *cli_advice(const struct error *err)
{
    if (strstr(err->text, "NOAUTH") != NULL || strstr(err->text, "WRONGPASS") != NULL) {
        return "put user:password into STILLHOUSE_REDIS_URL";
    }
    if (strcasestr(err->text, "function not found") != NULL &&
        strstr(err->text, "stillhouse init") == NULL) {
        return "run `stillhouse init` first";
    }
    if (strstr(err->text, "disk image is malformed") != NULL ||
        strstr(err->text, "the learning store is damaged") != NULL) {
        return "put a copy in its place: `stillhouse learn restore FILE`";
    }
    return "";
}

int cli_fail(const struct error *err)
{
    const char *text = err->text[0] == '\0' ? status_text(err->status) : err->text;
    const char *advice = cli_advice(err);
    const size_t bytes = strlen(text);
    const bool stop = bytes > 0 && text[bytes - 1] == '.'; /* a server's */

    cli_message("%.*s%s%s", (int)(bytes - stop), text, advice[0] == '\0' ? "" : "; ", advice);
    return cli_exit_code(err->status);
}
