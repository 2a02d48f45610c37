/* config/row.h - one setting: a text becomes a value in its place, and the value a text again.
 * Knows the rows' types, and not what they are for. Pure, any thread.
 *
 *     status = settings_row_parse(&row, "8", "--lanes", &settings, &err);
 *     puts(settings_row_format(&row, &settings, text));                        // 8
 */
#ifndef STILLHOUSE_CONFIG_ROW_H
#define STILLHOUSE_CONFIG_ROW_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum { SETTINGS_TEXT_BYTES = 512, SETTINGS_VALUE_BYTES = SETTINGS_TEXT_BYTES + 16 };

/* Which programs a row concerns; bits. */
enum settings_scope { SETTINGS_WORKER = 1, SETTINGS_CLI = 2, SETTINGS_ALL = 3 };

/* How a row's text is read, and what its field is. */
enum settings_type {
    SETTINGS_TEXT,      /* char[]: printable */
    SETTINGS_SECRET,    /* char[]: printable, never shown */
    SETTINGS_URL,       /* char[]: printable; a password in it is never shown */
    SETTINGS_PLACE,     /* char[]: the path of a file, or a URL likewise */
    SETTINGS_ID,        /* char[]: [A-Za-z0-9._:-] */
    SETTINGS_PREFIX,    /* char[]: printable, without spaces and braces */
    SETTINGS_QUEUES,    /* char[]: comma list of known queues */
    SETTINGS_ADDRESS,   /* char[]: HOST:PORT, [HOST]:PORT or off */
    SETTINGS_CHOICE,    /* enum or bool: the position in "first|second" */
    SETTINGS_INTEGER,   /* int64_t */
    SETTINGS_NUMBER,    /* double */
    SETTINGS_DURATION,  /* int64_t, ms */
    SETTINGS_SIZE,      /* int64_t, bytes */
    SETTINGS_RATE,      /* int64_t[2]: count and window in ms */
    SETTINGS_SHARE,     /* int64_t, millionths: "5%" */
    SETTINGS_TYPE_COUNT /* keep last */
};

enum { SETTINGS_WHOLE = 1000000 }; /* a share of 100 % */

/* One row, for building getopt tables, the README's table and the checks that keep them true. */
struct settings_row_info {
    const char *flag;         /* "redis-url" */
    const char *env;          /* "STILLHOUSE_REDIS_URL" */
    const char *default_text; /* "redis://127.0.0.1:6379/0" */
    const char *range;        /* "1..256", "first|second", "" */
    const char *help;         /* one line */
    enum settings_scope scope;
    bool secret;
};

struct settings_row {
    struct settings_row_info info;
    enum settings_type type;
    size_t offset; /* of the field in the struct that holds the values */
    size_t bytes;  /* of the field */
};

/* Reads `value` into the row's field of *values. INVALID, with "<source>: ..." as text; nothing is
 * changed then. An empty value is right where the default is empty. */
enum status settings_row_parse(const struct settings_row *row, const char *value,
                               const char *source, void *values, struct error *err) MUSTCHECK;

/* The value in force as a text that reads back as the same value. Returns `out`. */
const char *settings_row_format(const struct settings_row *row, const void *values,
                                char out[SETTINGS_VALUE_BYTES]);

/* What stands for a value in the help: "TEXT", "N", "TIME". */
const char *settings_row_word(const struct settings_row *row);

#endif
