/* settings_table.h - the one table of settings: every row, in the order of --help. Private to
 * settings*.c. */
#ifndef STILLHOUSE_COMMON_SETTINGS_TABLE_H
#define STILLHOUSE_COMMON_SETTINGS_TABLE_H

#include "settings.h"

enum settings_type {
    SETTING_TEXT,     /* low..high: length in bytes */
    SETTING_INTEGER,  /* low..high */
    SETTING_NUMBER,   /* low..high */
    SETTING_DURATION, /* low..high in ms */
    SETTING_SIZE,     /* low..high in bytes */
    SETTING_EMBEDDER,
    SETTING_RATE,  /* two int64_t: count, window */
    SETTING_STORE, /* bool: metadata instead of document */
    SETTING_LEVEL,
};

struct settings_entry {
    const char *flag;
    const char *env;
    enum settings_type type;
    size_t offset;
    size_t room; /* of a text, its NUL included */
    double low;
    double high;
    const char *default_text;
    const char *range;
    const char *help;
    enum settings_scope scope;
    bool secret;
};

extern const struct settings_entry settings_table[];
extern const size_t settings_table_count;

/* Parses `value` into the row's field. The error's text says what was expected, without the source.
 */
enum status settings_parse(const struct settings_entry *entry, const char *value,
                           struct settings *settings, struct error *err) MUSTCHECK;

/* Writes the row's value as text that parses back. */
void settings_format(const struct settings_entry *entry, const struct settings *settings, char *out,
                     size_t size);

#endif
