#include "config/internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "redis/conn.h"

enum { FLAG_COLUMN_BYTES = 28 };

/* ---- values ---------------------------------------------------------------------------------- */

static const char *format_size(int64_t bytes, char out[SETTINGS_VALUE_BYTES])
{
    static const char *const units[] = {"", "KiB", "MiB", "GiB"};
    size_t unit = 0;

    while (unit < 3 && bytes != 0 && bytes % 1024 == 0) {
        bytes /= 1024;
        unit++;
    }
    snprintf(out, SETTINGS_VALUE_BYTES, "%" PRId64 "%s", bytes, units[unit]);
    return out;
}

static const char *format_rate(const int64_t rate[2], char out[SETTINGS_VALUE_BYTES])
{
    char window[32];

    if (rate[0] == 0) {
        return strcpy(out, "");
    }
    snprintf(out, SETTINGS_VALUE_BYTES, "%" PRId64 "/%s", rate[0],
             text_format_duration(rate[1], window));
    return out;
}

static const char *format_choice(const struct settings_row *row, const void *field,
                                 char out[SETTINGS_VALUE_BYTES])
{
    const char *at = row->info.range;
    unsigned int position = 0;
    bool as_bool = false;

    if (row->bytes == sizeof as_bool) {
        memcpy(&as_bool, field, sizeof as_bool);
        position = as_bool ? 1 : 0;
    } else {
        memcpy(&position, field, sizeof position);
    }
    for (; position > 0; position--) {
        at += strcspn(at, "|") + 1;
    }
    snprintf(out, SETTINGS_VALUE_BYTES, "%.*s", (int)strcspn(at, "|"), at);
    return out;
}

/* The fewest digits that read back as the same number, which is 0 or at least 1e-20. */
static const char *format_number(double number, char out[SETTINGS_VALUE_BYTES])
{
    double again = number + 1;

    for (int digits = 1; digits <= 40 && again != number; digits++) {
        snprintf(out, SETTINGS_VALUE_BYTES, "%.*f", digits, number);
        again = strtod(out, NULL);
    }
    return out;
}

const char *settings_format(const struct settings_row *row, const struct settings *settings,
                            char out[SETTINGS_VALUE_BYTES])
{
    const void *field = (const char *)settings + row->offset;
    int64_t amounts[2] = {0, 0};
    double number = 0;

    switch (row->type) {
    case SETTINGS_CHOICE:
        return format_choice(row, field, out);
    case SETTINGS_NUMBER:
        memcpy(&number, field, sizeof number);
        return format_number(number, out);
    case SETTINGS_RATE:
        memcpy(amounts, field, sizeof amounts);
        return format_rate(amounts, out);
    case SETTINGS_DURATION:
        memcpy(amounts, field, sizeof amounts[0]);
        return text_format_duration(amounts[0], out);
    case SETTINGS_SIZE:
        memcpy(amounts, field, sizeof amounts[0]);
        return format_size(amounts[0], out);
    case SETTINGS_INTEGER:
        memcpy(amounts, field, sizeof amounts[0]);
        snprintf(out, SETTINGS_VALUE_BYTES, "%" PRId64, amounts[0]);
        return out;
    default:
        snprintf(out, SETTINGS_VALUE_BYTES, "%s", (const char *)field);
        return out;
    }
}

/* ---- what people read ------------------------------------------------------------------------ */

static const char *shown_value(const struct settings_row *row, const struct settings *settings,
                               const struct settings *defaults, char out[SETTINGS_VALUE_BYTES])
{
    const char *field = (const char *)settings + row->offset;
    char value[SETTINGS_VALUE_BYTES];
    char usual[SETTINGS_VALUE_BYTES];

    if (row->info.secret) {
        return field[0] == '\0' ? "" : "***";
    }
    settings_format(row, settings, value);
    if (strcmp(value, settings_format(row, defaults, usual)) == 0) {
        return row->info.default_text;
    }
    return row->type == SETTINGS_URL ? redis_url_hide(value, out, SETTINGS_VALUE_BYTES)
                                     : strcpy(out, value);
}

void settings_print(FILE *out, const struct settings *settings, enum settings_scope scope)
{
    struct settings defaults;

    settings_defaults(&defaults);
    for (size_t i = 0; i < settings_count(); i++) {
        const struct settings_row *row = &settings_rows[i];
        char value[SETTINGS_VALUE_BYTES];
        if ((row->info.scope & scope) != 0) {
            fprintf(out, "%s=%s\n", row->info.env, shown_value(row, settings, &defaults, value));
        }
    }
}

void settings_print_help(FILE *out, enum settings_scope scope)
{
    static const char *const words[SETTINGS_TYPE_COUNT] = {
        [SETTINGS_TEXT] = "TEXT",       [SETTINGS_SECRET] = "TEXT",   [SETTINGS_URL] = "URL",
        [SETTINGS_ID] = "ID",           [SETTINGS_PREFIX] = "TEXT",   [SETTINGS_QUEUES] = "NAMES",
        [SETTINGS_ADDRESS] = "ADDRESS", [SETTINGS_CHOICE] = "WORD",   [SETTINGS_INTEGER] = "N",
        [SETTINGS_NUMBER] = "N",        [SETTINGS_DURATION] = "TIME", [SETTINGS_SIZE] = "SIZE",
        [SETTINGS_RATE] = "RATE",
    };

    for (size_t i = 0; i < settings_count(); i++) {
        const struct settings_row *row = &settings_rows[i];
        const struct settings_row_info *info = &row->info;
        char flag[64];
        if ((info->scope & scope) == 0) {
            continue;
        }
        snprintf(flag, sizeof flag, "--%s %s", info->flag, words[row->type]);
        fprintf(out, "  %-*s  %s%s%s (default %s)\n", FLAG_COLUMN_BYTES, flag, info->help,
                info->range[0] == '\0' ? "" : ": ", info->range,
                info->default_text[0] == '\0' ? "empty" : info->default_text);
    }
}
