/* config/internal.h - what the files of settings.h share: the rows and their types. */
#ifndef STILLHOUSE_CONFIG_INTERNAL_H
#define STILLHOUSE_CONFIG_INTERNAL_H

#include "config/settings.h"

/* How a row's text is read, and what its field is. */
enum settings_type {
    SETTINGS_TEXT,      /* char[]: printable */
    SETTINGS_SECRET,    /* char[]: printable, never shown */
    SETTINGS_URL,       /* char[]: printable; a password in it is never shown */
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
    SETTINGS_TYPE_COUNT /* keep last */
};

struct settings_row {
    struct settings_row_info info;
    enum settings_type type;
    size_t offset; /* of the field in struct settings */
    size_t bytes;  /* of the field */
};

extern const struct settings_row settings_rows[];

enum { SETTINGS_VALUE_BYTES = SETTINGS_TEXT_BYTES + 16 };

/* Reads `value` into the row's field. INVALID, with "<source>: ..." as text; nothing is changed
 * then. An empty value is right where the default is empty. */
enum status settings_parse(const struct settings_row *row, const char *value, const char *source,
                           struct settings *settings, struct error *err) MUSTCHECK;

/* The value in force as a text that reads back as the same value. Returns `out`. */
const char *settings_format(const struct settings_row *row, const struct settings *settings,
                            char out[SETTINGS_VALUE_BYTES]);

#endif
