#include "jobs/job.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

enum { PARKED_MAX = 80 };

static const char *const priority_names[JOB_PRIORITIES] = {"high", "normal", "low"};

const char *job_priority_name(enum job_priority priority)
{
    return (unsigned)priority < JOB_PRIORITIES ? priority_names[priority] : "normal";
}

bool job_priority_parse(const char *text, size_t bytes, enum job_priority *out)
{
    for (int i = 0; i < JOB_PRIORITIES; i++) {
        if (strlen(priority_names[i]) == bytes && memcmp(priority_names[i], text, bytes) == 0) {
            *out = (enum job_priority)i;
            return true;
        }
    }
    return false;
}

/* 1 to LIBRARY_DIGITS_MAX digits. */
static bool parse_number(struct slice text, int64_t *out)
{
    int64_t number = 0;

    if (text.bytes == 0 || text.bytes > LIBRARY_DIGITS_MAX) {
        return false;
    }
    for (size_t i = 0; i < text.bytes; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        number = number * 10 + (text.data[i] - '0');
    }
    *out = number;
    return true;
}

/* No spaces, no control characters; with `ascii` nothing above 126 either. */
static bool is_word(struct slice text, size_t max, bool ascii)
{
    if (text.bytes == 0 || text.bytes > max) {
        return false;
    }
    for (size_t i = 0; i < text.bytes; i++) {
        const unsigned char c = (unsigned char)text.data[i];
        if (c <= ' ' || c == 127 || (ascii && c > 127)) {
            return false;
        }
    }
    return true;
}

static bool set_priority(struct slice value, struct job_options *out)
{
    return job_priority_parse(value.data, value.bytes, &out->priority);
}

static bool set_delay(struct slice value, struct job_options *out)
{
    return parse_number(value, &out->delay_ms);
}

static bool set_deadline(struct slice value, struct job_options *out)
{
    return parse_number(value, &out->deadline_unix_ms) && out->deadline_unix_ms > 0;
}

static bool set_since(struct slice value, struct job_options *out)
{
    return parse_number(value, &out->since_unix_ms);
}

static bool set_unique(struct slice value, struct job_options *out)
{
    out->unique = value;
    return is_word(value, LIBRARY_UNIQUE_MAX, false);
}

static bool set_traceparent(struct slice value, struct job_options *out)
{
    out->traceparent = value;
    return is_word(value, LIBRARY_TRACEPARENT_MAX, true);
}

static bool set_reply(struct slice value, struct job_options *out)
{
    out->reply = true;
    return value.bytes == 1 && value.data[0] == '1';
}

/* "3.chroma.write.1700000000000". What is none counts as never parked: it must not cost the job. */
static bool set_parked(struct slice value, struct job_options *out)
{
    const char *first = memchr(value.data, '.', value.bytes);
    const char *last = memrchr(value.data, '.', value.bytes);
    struct job_parked parked = {0};

    if (first == NULL || first == last || !is_word(value, PARKED_MAX, true)) {
        return true;
    }
    const char *end = value.data + value.bytes;
    parked.waits_for = (struct slice){first + 1, (size_t)(last - first) - 1};
    if (parse_number((struct slice){value.data, (size_t)(first - value.data)}, &parked.tries) &&
        parse_number((struct slice){last + 1, (size_t)(end - last) - 1}, &parked.tried_unix_ms)) {
        out->parked = parked;
    }
    return true;
}

static const struct option_rule {
    const char *key;
    bool (*set)(struct slice value, struct job_options *out);
    const char *expected; /* NULL: the fleet's own, no producer may send it */
} rules[] = {
    {"priority", set_priority, "high, normal or low"},
    {"delay_ms", set_delay, "a whole number of milliseconds"},
    {"deadline_ms", set_deadline, "Unix milliseconds"},
    {"unique", set_unique, "1 to 256 bytes without spaces and control characters"},
    {"reply", set_reply, "1"},
    {"traceparent", set_traceparent, "1 to 128 printable characters without spaces"},
    {"since", set_since, "Unix milliseconds"},
    {"parked", set_parked, NULL},
};

enum { RULES = sizeof rules / sizeof rules[0] };

static int find_rule(struct slice key)
{
    for (int i = 0; i < RULES; i++) {
        if (strlen(rules[i].key) == key.bytes && memcmp(rules[i].key, key.data, key.bytes) == 0) {
            return i;
        }
    }
    return -1;
}

static bool has_control(struct slice text)
{
    for (size_t i = 0; i < text.bytes; i++) {
        const unsigned char c = (unsigned char)text.data[i];
        if (c < ' ' || c == 127) {
            return true;
        }
    }
    return false;
}

static enum status parse_pair(struct slice pair, bool lenient, unsigned *seen,
                              struct job_options *out, struct error *err)
{
    char shown[48];
    const char *equals = pair.bytes == 0 ? NULL : memchr(pair.data, '=', pair.bytes);
    if (equals == NULL || equals == pair.data || has_control(pair)) {
        return error_set(err, STATUS_INVALID,
                         "options \"%s\": expected key=value pairs separated by one space",
                         text_excerpt(pair.data, pair.bytes, shown));
    }

    const struct slice key = {pair.data, (size_t)(equals - pair.data)};
    const struct slice value = {equals + 1, pair.bytes - key.bytes - 1};
    const int found = find_rule(key);
    if (found < 0 || (rules[found].expected == NULL && !lenient)) {
        return lenient ? STATUS_OK
                       : error_set(err, STATUS_INVALID,
                                   "option \"%s\": expected one of priority delay_ms deadline_ms "
                                   "unique reply traceparent since",
                                   text_excerpt(key.data, key.bytes, shown));
    }
    if ((*seen & (1u << found)) != 0) {
        return error_set(err, STATUS_INVALID, "option \"%s\": expected it once", rules[found].key);
    }
    *seen |= 1u << found;
    if (!rules[found].set(value, out)) {
        return error_set(err, STATUS_INVALID, "%s \"%s\": expected %s", rules[found].key,
                         text_excerpt(value.data, value.bytes, shown), rules[found].expected);
    }
    return STATUS_OK;
}

enum status job_options_parse(const char *text, size_t bytes, bool lenient, struct job_options *out,
                              struct error *err)
{
    unsigned seen = 0;

    *out = (struct job_options){.priority = JOB_NORMAL};
    if (bytes > LIBRARY_OPTIONS_MAX) {
        return error_set(err, STATUS_INVALID, "options of %zu bytes: expected at most %d", bytes,
                         LIBRARY_OPTIONS_MAX);
    }
    for (size_t at = 0; bytes > 0 && at <= bytes;) {
        const char *space = at == bytes ? NULL : memchr(text + at, ' ', bytes - at);
        const size_t end = space == NULL ? bytes : (size_t)(space - text);
        const enum status status =
            parse_pair((struct slice){text + at, end - at}, lenient, &seen, out, err);
        if (status != STATUS_OK) {
            return status;
        }
        at = end + 1;
    }
    if (!lenient && out->delay_ms > JOB_DELAY_MAX_MS) {
        return error_set(err, STATUS_INVALID, "delay_ms %" PRId64 ": expected at most %d days",
                         out->delay_ms, JOB_DELAY_MAX_DAYS);
    }
    return STATUS_OK;
}

/* Appends " key=value" (without the space at the start) where it fits whole. */
static size_t put(char *out, size_t size, size_t used, const char *key, struct slice value)
{
    const size_t key_bytes = strlen(key);
    const size_t needed = (used > 0) + key_bytes + 1 + value.bytes;

    if (used + needed + 1 > size) {
        return used;
    }
    if (used > 0) {
        out[used++] = ' ';
    }
    memcpy(out + used, key, key_bytes);
    used += key_bytes;
    out[used++] = '=';
    memcpy(out + used, value.data, value.bytes);
    used += value.bytes;
    out[used] = '\0';
    return used;
}

static size_t put_number(char *out, size_t size, size_t used, const char *key, int64_t number)
{
    char printed[24];

    if (number <= 0) {
        return used;
    }
    const int bytes = snprintf(printed, sizeof printed, "%" PRId64, number);
    return put(out, size, used, key, (struct slice){printed, (size_t)bytes});
}

size_t job_options_format(const struct job_options *options, char *out, size_t size)
{
    size_t used = 0;

    if (size > 0) {
        out[0] = '\0';
    }
    if (options->priority != JOB_NORMAL) {
        const char *name = job_priority_name(options->priority);
        used = put(out, size, used, "priority", (struct slice){name, strlen(name)});
    }
    used = put_number(out, size, used, "delay_ms", options->delay_ms);
    used = put_number(out, size, used, "deadline_ms", options->deadline_unix_ms);
    if (options->unique.bytes > 0) {
        used = put(out, size, used, "unique", options->unique);
    }
    if (options->reply) {
        used = put(out, size, used, "reply", (struct slice){"1", 1});
    }
    if (options->traceparent.bytes > 0) {
        used = put(out, size, used, "traceparent", options->traceparent);
    }
    return put_number(out, size, used, "since", options->since_unix_ms);
}
