#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "settings_table.h"
#include "text.h"

static void *field_of(const struct settings_entry *entry, struct settings *settings)
{
    return (char *)settings + entry->offset;
}

static const void *const_field_of(const struct settings_entry *entry,
                                  const struct settings *settings)
{
    return (const char *)settings + entry->offset;
}

/* The whole of `text` as a decimal integer. */
static bool whole_integer(const char *text, int64_t *out)
{
    char *end = NULL;
    if (text[0] == '\0' || strspn(text, "0123456789") != strlen(text) || strlen(text) > 18) {
        return false;
    }
    *out = strtoll(text, &end, 10);
    return *end == '\0';
}

static bool parse_size(const char *text, int64_t *out)
{
    static const struct {
        const char *name;
        int64_t factor;
    } units[] = {{"KiB", 1024}, {"MiB", 1048576}, {"kB", 1000}, {"MB", 1000000}};
    char digits[24];
    size_t length = strspn(text, "0123456789");

    if (length == 0 || length > 12) {
        return false;
    }
    memcpy(digits, text, length);
    digits[length] = '\0';
    *out = strtoll(digits, NULL, 10);
    if (text[length] == '\0') {
        return true;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(text + length, units[i].name) == 0) {
            *out *= units[i].factor;
            return true;
        }
    }
    return false;
}

/* "100/60s"; empty = none. */
static bool parse_rate(const char *text, int64_t *pair)
{
    char count[24];
    const char *slash = strchr(text, '/');

    pair[0] = 0;
    pair[1] = 0;
    if (text[0] == '\0') {
        return true;
    }
    if (slash == NULL || (size_t)(slash - text) >= sizeof count) {
        return false;
    }
    memcpy(count, text, (size_t)(slash - text));
    count[slash - text] = '\0';
    return whole_integer(count, &pair[0]) && pair[0] >= 1 && pair[0] <= 1000000 &&
           text_parse_duration(slash + 1, &pair[1]) && pair[1] >= 1;
}

static bool parse_choice(const char *value, const char *const *names, size_t count, size_t *out)
{
    for (size_t i = 0; i < count; i++) {
        if (strcmp(value, names[i]) == 0) {
            *out = i;
            return true;
        }
    }
    return false;
}

static const char *const embedder_names[] = {"builtin", "openai", "ollama"};
static const char *const store_names[] = {"document", "metadata"};
static const char *const level_names[] = {"error", "warning", "info", "debug"};

static bool parse_number(const char *value, double *out)
{
    char *end = NULL;
    *out = strtod(value, &end);
    return end != value && *end == '\0' && isfinite(*out);
}

static bool in_range(const struct settings_entry *entry, double number)
{
    return number >= entry->low && number <= entry->high;
}

static bool parse_int64(const struct settings_entry *entry, const char *value, int64_t *out)
{
    bool parsed = false;

    if (entry->type == SETTING_INTEGER) {
        parsed = whole_integer(value, out);
    } else if (entry->type == SETTING_DURATION) {
        parsed = text_parse_duration(value, out);
    } else {
        parsed = parse_size(value, out);
    }
    return parsed && in_range(entry, (double)*out);
}

static enum status refuse(const struct settings_entry *entry, const char *value, struct error *err)
{
    char excerpt[48];
    const char *shown = entry->secret ? "(hidden)" : text_excerpt(value, strlen(value), excerpt);
    char low[32];
    char high[32];

    switch (entry->type) {
    case SETTING_TEXT:
        return error_set(err, STATUS_INVALID, "\"%s\" is not a text of %d to %d bytes", shown,
                         (int)entry->low, (int)entry->high);
    case SETTING_INTEGER:
        return error_set(err, STATUS_INVALID, "\"%s\" is not an integer from %.0f to %.0f", shown,
                         entry->low, entry->high);
    case SETTING_NUMBER:
        return error_set(err, STATUS_INVALID, "\"%s\" is not a number from %g to %g", shown,
                         entry->low, entry->high);
    case SETTING_DURATION:
        return error_set(err, STATUS_INVALID,
                         "\"%s\" is not a duration from %s to %s (as 250ms, 5s, 2m, 1h, 7d)", shown,
                         text_format_duration((int64_t)entry->low, low),
                         text_format_duration((int64_t)entry->high, high));
    case SETTING_SIZE:
        return error_set(err, STATUS_INVALID,
                         "\"%s\" is not a size from %.0f to %.0f bytes (as 1000, 256KiB, 1MiB)",
                         shown, entry->low, entry->high);
    case SETTING_RATE:
        return error_set(err, STATUS_INVALID, "\"%s\" is not a rate (as 100/60s)", shown);
    default:
        return error_set(err, STATUS_INVALID, "\"%s\" is not one of %s", shown, entry->range);
    }
}

static bool parse_chosen(const struct settings_entry *entry, const char *value, void *field)
{
    size_t choice = 0;

    switch (entry->type) {
    case SETTING_EMBEDDER:
        if (!parse_choice(value, embedder_names, 3, &choice)) {
            return false;
        }
        *(enum settings_embedder *)field = (enum settings_embedder)choice;
        return true;
    case SETTING_STORE:
        if (!parse_choice(value, store_names, 2, &choice)) {
            return false;
        }
        *(bool *)field = choice == 1;
        return true;
    default:
        return log_level_parse(value, field);
    }
}

enum status settings_parse(const struct settings_entry *entry, const char *value,
                           struct settings *settings, struct error *err)
{
    void *field = field_of(entry, settings);
    bool parsed = false;

    switch (entry->type) {
    case SETTING_TEXT:
        parsed = in_range(entry, (double)strlen(value));
        if (parsed) {
            memcpy(field, value, strlen(value) + 1);
        }
        break;
    case SETTING_NUMBER: {
        double number = 0;
        parsed = parse_number(value, &number) && in_range(entry, number);
        if (parsed) {
            *(double *)field = number;
        }
        break;
    }
    case SETTING_INTEGER:
    case SETTING_DURATION:
    case SETTING_SIZE: {
        int64_t number = 0;
        parsed = parse_int64(entry, value, &number);
        if (parsed) {
            *(int64_t *)field = number;
        }
        break;
    }
    case SETTING_RATE:
        parsed = parse_rate(value, field);
        break;
    case SETTING_EMBEDDER:
    case SETTING_STORE:
    case SETTING_LEVEL:
        parsed = parse_chosen(entry, value, field);
        break;
    }
    return parsed ? STATUS_OK : refuse(entry, value, err);
}

void settings_format(const struct settings_entry *entry, const struct settings *settings, char *out,
                     size_t size)
{
    const void *field = const_field_of(entry, settings);
    char duration[32];

    switch (entry->type) {
    case SETTING_TEXT:
        snprintf(out, size, "%s", (const char *)field);
        break;
    case SETTING_NUMBER:
        snprintf(out, size, "%g", *(const double *)field);
        break;
    case SETTING_DURATION:
        snprintf(out, size, "%s", text_format_duration(*(const int64_t *)field, duration));
        break;
    case SETTING_INTEGER:
    case SETTING_SIZE:
        snprintf(out, size, "%lld", (long long)*(const int64_t *)field);
        break;
    case SETTING_RATE: {
        const int64_t *pair = field;
        out[0] = '\0';
        if (pair[0] > 0) {
            snprintf(out, size, "%lld/%s", (long long)pair[0],
                     text_format_duration(pair[1], duration));
        }
        break;
    }
    case SETTING_EMBEDDER:
        snprintf(out, size, "%s", embedder_names[*(const enum settings_embedder *)field]);
        break;
    case SETTING_STORE:
        snprintf(out, size, "%s", store_names[*(const bool *)field ? 1 : 0]);
        break;
    case SETTING_LEVEL:
        snprintf(out, size, "%s", level_names[*(const enum log_level *)field]);
        break;
    }
}
