#include "config/row.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "http/address.h"
#include "jobs/kinds.h"

enum { PORT_MAX = 65535, RATE_MAX = 1000000, WORD_BYTES = 32 };

static const char digit_characters[] = "0123456789";

/* ---- amounts --------------------------------------------------------------------------------- */

/* Digits only, up to the end or to `end` when that is given. */
static bool parse_integer(const char *text, const char **end, int64_t *out)
{
    size_t digits = strspn(text, digit_characters);
    if (digits == 0 || (end == NULL && text[digits] != '\0')) {
        return false;
    }

    errno = 0;
    *out = strtoll(text, NULL, 10);
    if (end != NULL) {
        *end = text + digits;
    }
    return errno == 0;
}

static bool parse_size(const char *text, int64_t *out)
{
    static const struct {
        const char *name;
        int shift;
    } units[] = {{"", 0}, {"B", 0}, {"KiB", 10}, {"MiB", 20}, {"GiB", 30}};
    const char *unit = NULL;
    int64_t count = 0;

    if (!parse_integer(text, &unit, &count)) {
        return false;
    }
    for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
        if (strcmp(unit, units[i].name) == 0 && count <= INT64_MAX >> units[i].shift) {
            *out = count << units[i].shift;
            return true;
        }
    }
    return false;
}

/* Digits with at most one point among them: no sign, no exponent, no "nan". What is next to
 * nothing is nothing: format_number() shows the others so that they read back as the same. */
static bool parse_number(const char *text, double *out)
{
    size_t digits = strspn(text, digit_characters);
    size_t fraction = 0;
    size_t bytes = digits;

    if (text[digits] == '.') {
        fraction = strspn(text + digits + 1, digit_characters);
        bytes += 1 + fraction;
    }
    if (digits + fraction == 0 || text[bytes] != '\0') {
        return false;
    }
    *out = strtod(text, NULL);
    if (*out < 1e-20) {
        *out = 0;
    }
    return true;
}

/* "100/60s"; "" = none, which is zeros. */
static bool parse_rate(const char *text, int64_t out[2])
{
    const char *slash = NULL;

    if (text[0] == '\0') {
        out[0] = 0;
        out[1] = 0;
        return true;
    }
    return parse_integer(text, &slash, &out[0]) && out[0] > 0 && out[0] <= RATE_MAX &&
           *slash == '/' && text_parse_duration(slash + 1, &out[1]) && out[1] > 0;
}

/* "5%", "0.25%", with four digits behind the point at most, so that it is a whole number of
 * millionths; nothing is nothing without the sign too. */
static bool parse_share(const char *text, int64_t *out)
{
    const char *at = text;
    int64_t percent = 0;
    int64_t worth = SETTINGS_WHOLE / 100;

    if (strcmp(text, "0") == 0) {
        *out = 0;
        return true;
    }
    if (!parse_integer(text, &at, &percent) || percent > 100) {
        return false;
    }
    *out = percent * worth;
    if (*at == '.') {
        const size_t digits = strspn(++at, digit_characters);
        if (digits < 1 || digits > 4) {
            return false;
        }
        for (size_t i = 0; i < digits; i++) {
            worth /= 10;
            *out += (*at++ - '0') * worth;
        }
    }
    return strcmp(at, "%") == 0;
}

static bool parse_amount(enum settings_type type, const char *text, int64_t *out)
{
    switch (type) {
    case SETTINGS_SHARE:
        return parse_share(text, out);
    case SETTINGS_INTEGER:
        return parse_integer(text, NULL, out);
    case SETTINGS_SIZE:
        return parse_size(text, out);
    default:
        return text_parse_duration(text, out);
    }
}

/* ---- ranges ---------------------------------------------------------------------------------- */

struct range {
    char low[WORD_BYTES];
    char high[WORD_BYTES];
};

/* "1..256" as its two texts. */
static struct range range_of(const struct settings_row *row)
{
    const char *range = row->info.range;
    const char *dots = strstr(range, "..");
    struct range out = {"", ""};

    if (dots != NULL) {
        snprintf(out.low, sizeof out.low, "%.*s", (int)(dots - range), range);
        snprintf(out.high, sizeof out.high, "%s", dots + 2);
    }
    return out;
}

static bool amount_in_range(const struct settings_row *row, const char *text, int64_t *out)
{
    const struct range range = range_of(row);
    int64_t low = 0;
    int64_t high = 0;

    return parse_amount(row->type, text, out) && parse_amount(row->type, range.low, &low) &&
           parse_amount(row->type, range.high, &high) && *out >= low && *out <= high;
}

static bool number_in_range(const struct settings_row *row, const char *text, double *out)
{
    const struct range range = range_of(row);
    double low = 0;
    double high = 0;

    return parse_number(text, out) && parse_number(range.low, &low) &&
           parse_number(range.high, &high) && *out >= low && *out <= high;
}

/* The position of `text` in "first|second"; -1 when it is not there. */
static int choice_position(const struct settings_row *row, const char *text)
{
    size_t bytes = strlen(text);
    const char *at = row->info.range;

    for (int position = 0;; position++) {
        size_t length = strcspn(at, "|");
        if (length == bytes && memcmp(at, text, bytes) == 0) {
            return position;
        }
        if (at[length] == '\0') {
            return -1;
        }
        at += length + 1;
    }
}

/* ---- texts ----------------------------------------------------------------------------------- */

static bool is_listed(const char *list, const char *end, const char *name, size_t bytes)
{
    while (list < end) {
        size_t length = strcspn(list, ",");
        if (length == bytes && memcmp(list, name, bytes) == 0) {
            return true;
        }
        list += length + 1;
    }
    return false;
}

static enum status check_queues(const char *value, const char *source, struct error *err)
{
    char kinds[KIND_LIST_BYTES];
    char shown[48];

    for (const char *at = value;; at++) {
        size_t bytes = strcspn(at, ",");
        if (kind_of(at, bytes) == KINDS) {
            return error_set(err, STATUS_INVALID,
                             "%s: \"%s\" is not a queue: expected %s, separated by commas, or a "
                             "partition such as %s.3",
                             source, text_excerpt(at, bytes, shown), kind_list(kinds),
                             job_kinds[0].name);
        }
        if (is_listed(value, at, at, bytes)) {
            return error_set(err, STATUS_INVALID, "%s: queue \"%s\" is named twice", source,
                             text_excerpt(at, bytes, shown));
        }
        at += bytes;
        if (*at == '\0') {
            return STATUS_OK;
        }
    }
}

static bool is_plain_text(const char *text)
{
    for (; *text != '\0'; text++) {
        if ((unsigned char)*text < ' ' || *text == 0x7f) {
            return false;
        }
    }
    return true;
}

/* What holds for every text. The value may be a secret, so it is not shown. */
static enum status check_text(const struct settings_row *row, const char *value, const char *source,
                              struct error *err)
{
    if (value[0] == '\0') {
        return row->info.default_text[0] == '\0'
                   ? STATUS_OK
                   : error_set(err, STATUS_INVALID, "%s: must not be empty", source);
    }
    if (strlen(value) >= row->bytes) {
        return error_set(err, STATUS_INVALID, "%s: the value has %zu bytes, expected at most %zu",
                         source, strlen(value), row->bytes - 1);
    }
    if (!is_plain_text(value)) {
        return error_set(err, STATUS_INVALID, "%s: the value holds a control character", source);
    }
    return STATUS_OK;
}

/* What the type wants besides, in words; NULL when the text is fine. */
static const char *text_fault(enum settings_type type, const char *value)
{
    char host[HTTP_HOST_BYTES];
    int port = 0;

    switch (type) {
    case SETTINGS_ID:
        return value[0] == '\0' || text_is_id(value, strlen(value))
                   ? NULL
                   : "an id of 1 to 64 characters A-Z a-z 0-9 . _ : -";
    case SETTINGS_PREFIX:
        for (const char *c = value; *c != '\0'; c++) {
            if (*c <= ' ' || *c > '~' || *c == '{' || *c == '}') {
                return "a prefix of ASCII characters without spaces, { and }";
            }
        }
        return NULL;
    case SETTINGS_ADDRESS:
        return strcmp(value, "off") == 0 || http_split_address(value, host, &port)
                   ? NULL
                   : "an address such as 127.0.0.1:9464 or [::1]:9464, or off";
    default:
        return NULL;
    }
}

/* ---- rows ------------------------------------------------------------------------------------ */

static enum status parse_text(const struct settings_row *row, const char *value, const char *source,
                              char *out, struct error *err)
{
    char shown[48];

    TRY(check_text(row, value, source, err));
    if (row->type == SETTINGS_QUEUES) {
        TRY(check_queues(value, source, err));
    }
    const char *wanted = text_fault(row->type, value);
    if (wanted != NULL) {
        return error_set(err, STATUS_INVALID, "%s: \"%s\" is not %s", source,
                         text_excerpt(value, strlen(value), shown), wanted);
    }
    explicit_bzero(out, row->bytes);
    memcpy(out, value, strlen(value) + 1);
    return STATUS_OK;
}

static enum status bad_amount(const struct settings_row *row, const char *value, const char *source,
                              struct error *err)
{
    static const char *const kinds[SETTINGS_TYPE_COUNT] = {
        [SETTINGS_INTEGER] = "an integer",
        [SETTINGS_NUMBER] = "a number",
        [SETTINGS_DURATION] = "a duration (such as 250ms, 5s, 2m, 1h, 7d)",
        [SETTINGS_SIZE] = "a size (such as 1000, 256KiB, 1MiB)",
        [SETTINGS_SHARE] = "a share (such as 5%, 0.25%)",
    };
    const struct range range = range_of(row);
    char shown[48];

    text_excerpt(value, strlen(value), shown);
    if (row->type == SETTINGS_RATE) {
        return error_set(err, STATUS_INVALID, "%s: \"%s\" is not a rate such as 100/60s", source,
                         shown);
    }
    if (row->type == SETTINGS_CHOICE) {
        return error_set(err, STATUS_INVALID, "%s: \"%s\" is not one of %s", source, shown,
                         row->info.range);
    }
    return error_set(err, STATUS_INVALID, "%s: \"%s\" is not %s from %s to %s", source, shown,
                     kinds[row->type], range.low, range.high);
}

/* Enums are unsigned int, a choice of two may be a bool. */
static bool parse_choice(const struct settings_row *row, const char *value, void *field)
{
    int position = choice_position(row, value);
    if (position < 0) {
        return false;
    }

    unsigned int as_enum = (unsigned int)position;
    bool as_bool = position != 0;
    memcpy(field, row->bytes == sizeof as_bool ? (void *)&as_bool : (void *)&as_enum, row->bytes);
    return true;
}

/* A field of any type but texts and choices. */
union field {
    int64_t amounts[2]; /* of a rate; of others the first one */
    double number;
};

static size_t field_bytes(enum settings_type type)
{
    return type == SETTINGS_RATE ? sizeof(int64_t[2]) : sizeof(int64_t);
}

_Static_assert(sizeof(double) == sizeof(int64_t), "what field_bytes says");

enum status settings_row_parse(const struct settings_row *row, const char *value,
                               const char *source, void *values, struct error *err)
{
    void *field = (char *)values + row->offset;
    union field read = {.amounts = {0, 0}};
    bool parsed = false;

    switch (row->type) {
    case SETTINGS_CHOICE:
        return parse_choice(row, value, field) ? STATUS_OK : bad_amount(row, value, source, err);
    case SETTINGS_NUMBER:
        parsed = number_in_range(row, value, &read.number);
        break;
    case SETTINGS_RATE:
        parsed = parse_rate(value, read.amounts);
        break;
    case SETTINGS_INTEGER:
    case SETTINGS_DURATION:
    case SETTINGS_SIZE:
    case SETTINGS_SHARE:
        parsed = amount_in_range(row, value, &read.amounts[0]);
        break;
    default:
        return parse_text(row, value, source, field, err);
    }
    if (!parsed) {
        return bad_amount(row, value, source, err);
    }
    memcpy(field, &read, field_bytes(row->type));
    return STATUS_OK;
}

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

/* The fewest digits behind the point. */
static const char *format_share(int64_t share, char out[SETTINGS_VALUE_BYTES])
{
    int digits = 4;

    for (int64_t rest = share; digits > 0 && rest % 10 == 0; rest /= 10) {
        digits--;
    }
    snprintf(out, SETTINGS_VALUE_BYTES, "%.*f%%", digits, (double)share * 100 / SETTINGS_WHOLE);
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

const char *settings_row_format(const struct settings_row *row, const void *values,
                                char out[SETTINGS_VALUE_BYTES])
{
    const void *field = (const char *)values + row->offset;
    union field value = {.amounts = {0, 0}};

    if (row->type == SETTINGS_CHOICE) {
        return format_choice(row, field, out);
    }
    if (row->type >= SETTINGS_INTEGER) { /* neither a text nor a choice */
        memcpy(&value, field, field_bytes(row->type));
    }
    switch (row->type) {
    case SETTINGS_NUMBER:
        return format_number(value.number, out);
    case SETTINGS_RATE:
        return format_rate(value.amounts, out);
    case SETTINGS_DURATION:
        return text_format_duration(value.amounts[0], out);
    case SETTINGS_SIZE:
        return format_size(value.amounts[0], out);
    case SETTINGS_SHARE:
        return format_share(value.amounts[0], out);
    case SETTINGS_INTEGER:
        snprintf(out, SETTINGS_VALUE_BYTES, "%" PRId64, value.amounts[0]);
        return out;
    default:
        snprintf(out, SETTINGS_VALUE_BYTES, "%s", (const char *)field);
        return out;
    }
}

const char *settings_row_word(const struct settings_row *row)
{
    static const char *const words[SETTINGS_TYPE_COUNT] = {
        [SETTINGS_TEXT] = "TEXT",    [SETTINGS_SECRET] = "TEXT",     [SETTINGS_URL] = "URL",
        [SETTINGS_PLACE] = "PLACE",  [SETTINGS_ID] = "ID",           [SETTINGS_PREFIX] = "TEXT",
        [SETTINGS_QUEUES] = "NAMES", [SETTINGS_ADDRESS] = "ADDRESS", [SETTINGS_CHOICE] = "WORD",
        [SETTINGS_INTEGER] = "N",    [SETTINGS_NUMBER] = "N",        [SETTINGS_DURATION] = "TIME",
        [SETTINGS_SIZE] = "SIZE",    [SETTINGS_RATE] = "RATE",       [SETTINGS_SHARE] = "SHARE",
    };

    return words[row->type];
}
