#include "jobs/line_job.h"

#include <cjson/cJSON.h>
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "jobs/bodies.h"
#include "json/tree.h"

enum { KEEP_SCRATCH_BYTES = 1024 * 1024 };

#define DURATION_MAX_MS ((int64_t)366 * 24 * 60 * 60 * 1000)

/* The rest are fields of the body, or would be. */
static bool is_of_the_job(const char *name)
{
    static const char *const of_all[] = {"domain", "priority", "delay", "deadline"};

    for (size_t i = 0; i < sizeof of_all / sizeof of_all[0]; i++) {
        if (strcmp(of_all[i], name) == 0) {
            return true;
        }
    }
    return false;
}

static bool is_named(const struct kind_shape *shape, const char *name)
{
    for (size_t i = 0; i < shape->count; i++) {
        if (strcmp(shape->fields[i].name.data, name) == 0) {
            return true;
        }
    }
    return false;
}

/* Fields that the table does not name go along, as metadata. */
static bool takes_rest(const struct kind_shape *shape)
{
    for (size_t i = 0; i < shape->count; i++) {
        if ((shape->fields[i].rules & FIELD_REST) != 0) {
            return true;
        }
    }
    return false;
}

static bool is_field(const struct kind_shape *shape, const char *name)
{
    return is_of_the_job(name) || is_named(shape, name) || takes_rest(shape);
}

/* They are left out, and said: a mistyped "qualty" would otherwise go unnoticed. */
static void count_strangers(const struct kind_shape *shape, const cJSON *line, struct line_job *out)
{
    const cJSON *field = NULL;

    out->strangers = 0;
    out->stranger[0] = '\0';
    cJSON_ArrayForEach(field, line)
    {
        if (!is_field(shape, field->string) && out->strangers++ == 0) {
            text_excerpt(field->string, strlen(field->string), out->stranger);
        }
    }
}

/* ---- JSON to msgpack ----------------------------------------------------------------------- */

static void put_text(struct strbuf *out, const char *text)
{
    mp_put_text(out, (struct slice){text, strlen(text)});
}

/* A whole number that 64 bits do not hold makes `err` name its key. */
static void put_number(struct strbuf *out, const cJSON *number, const char *key, struct error *err)
{
    char shown[48];
    int64_t whole = 0;

    switch (json_tree_number(number, &whole)) {
    case JSON_WHOLE:
        mp_put_integer(out, whole);
        return;
    case JSON_TOO_LARGE:
        error_set(err, STATUS_INVALID, "key \"%s\": a whole number of more than 64 bits",
                  text_excerpt(key, strlen(key), shown));
        break;
    case JSON_FRACTION:
    case JSON_NO_NUMBER:
        break;
    }
    mp_put_number(out, number->valuedouble);
}

/* The depth is bounded by cJSON's own limit. `key` is what `err` shall name. */
static void put_value(struct strbuf *out, const cJSON *value, const char *key, struct error *err)
{
    const cJSON *child = NULL;

    if (cJSON_IsString(value)) {
        put_text(out, value->valuestring);
    } else if (cJSON_IsNumber(value)) {
        put_number(out, value, key, err);
    } else if (cJSON_IsBool(value)) {
        mp_put_truth(out, cJSON_IsTrue(value));
    } else if (cJSON_IsArray(value)) {
        mp_put_array(out, (size_t)cJSON_GetArraySize(value));
        cJSON_ArrayForEach(child, value)
        {
            put_value(out, child, key, err);
        }
    } else if (cJSON_IsObject(value)) {
        mp_put_map(out, (size_t)cJSON_GetArraySize(value));
        cJSON_ArrayForEach(child, value)
        {
            put_text(out, child->string);
            put_value(out, child, child->string, err);
        }
    } else {
        mp_put_nil(out);
    }
}

/* What a field counts as that a person leaves out: "true", "false"; NULL: it is absent. */
static const char *assumed(const struct kind_field *field)
{
    return field->type == FIELD_TRUTH && field->fallback[0] != '\0' ? field->fallback : NULL;
}

/* A field of the line that the table does not name, in a body that takes such. */
static bool is_rest(const struct kind_shape *shape, const cJSON *field)
{
    return takes_rest(shape) && !is_of_the_job(field->string) && !is_named(shape, field->string);
}

/* The line's fields that belong to the body, in the order of the kind's table; then the rest of the
 * line where the kind takes it, and last what is assumed. */
static enum status put_body(const struct kind_shape *shape, const cJSON *line, struct strbuf *out,
                            struct error *err)
{
    const cJSON *values[SHAPE_FIELDS_MAX] = {NULL};
    const cJSON *field = NULL;
    struct error wrong = {0};
    size_t count = 0;

    cJSON_ArrayForEach(field, line)
    {
        count += is_rest(shape, field);
    }
    for (size_t i = 0; i < shape->count; i++) {
        values[i] = cJSON_GetObjectItemCaseSensitive(line, shape->fields[i].name.data);
        count += values[i] != NULL || assumed(&shape->fields[i]) != NULL;
    }
    strbuf_reset(out);
    mp_put_map(out, count);
    for (size_t i = 0; i < shape->count; i++) {
        if (values[i] != NULL) {
            put_text(out, shape->fields[i].name.data);
            put_value(out, values[i], shape->fields[i].name.data, &wrong);
        }
    }
    cJSON_ArrayForEach(field, line)
    {
        if (is_rest(shape, field)) {
            put_text(out, field->string);
            put_value(out, field, field->string, &wrong);
        }
    }
    for (size_t i = 0; i < shape->count; i++) {
        const char *truth = values[i] == NULL ? assumed(&shape->fields[i]) : NULL;
        if (truth != NULL) {
            put_text(out, shape->fields[i].name.data);
            mp_put_truth(out, strcmp(truth, "true") == 0);
        }
    }
    if (!strbuf_ok(out)) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    return wrong.status == STATUS_OK ? STATUS_OK : error_set(err, wrong.status, "%s", wrong.text);
}

/* The checks of the workers' own decoders. Fills the unique key; "" where the kind has none. */
static enum status check_body(enum kind_id kind, const struct strbuf *body, struct arena *scratch,
                              char unique[BODIES_UNIQUE_BYTES], struct error *err)
{
    const struct reading strict = {.arena = scratch};
    union any_body decoded;

    arena_reset(scratch, KEEP_SCRATCH_BYTES);
    const enum status status =
        bodies_decode(kind, (struct slice){body->data, body->bytes}, &strict, &decoded, err);
    if (status == STATUS_OK) {
        bodies_unique(kind, &decoded, unique);
    }
    return status;
}

/* ---- what is not the body ------------------------------------------------------------------ */

/* "field "x": expected ..., found ..." */
static enum status wrong(const char *name, const cJSON *value, const char *expected,
                         struct error *err)
{
    char shown[48];

    if (cJSON_IsString(value)) {
        return error_set(err, STATUS_INVALID, "field \"%s\": expected %s, found the string \"%s\"",
                         name, expected,
                         text_excerpt(value->valuestring, strlen(value->valuestring), shown));
    }
    if (cJSON_IsNumber(value)) {
        return error_set(err, STATUS_INVALID, "field \"%s\": expected %s, found %g", name, expected,
                         value->valuedouble);
    }
    return error_set(err, STATUS_INVALID, "field \"%s\": expected %s, found another type", name,
                     expected);
}

static enum status read_domain(const struct line_defaults *defaults, const cJSON *line,
                               char out[TEXT_DOMAIN_MAX + 1], struct error *err)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(line, "domain");
    const char *domain = cJSON_IsString(value) ? value->valuestring : NULL;

    if (value == NULL) {
        domain = defaults->domain;
        if (domain == NULL) {
            return error_set(err, STATUS_INVALID,
                             "field \"domain\" is missing, and there is no --domain");
        }
    }
    if (domain == NULL || !text_is_domain(domain, strlen(domain))) {
        return wrong("domain", value, "1 to 63 of a-z0-9._- with a letter or digit at both ends",
                     err);
    }
    snprintf(out, TEXT_DOMAIN_MAX + 1, "%s", domain);
    return STATUS_OK;
}

/* "5s", or a number of milliseconds. */
static enum status read_duration(const cJSON *line, const char *name, int64_t max_ms, int64_t *out,
                                 struct error *err)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(line, name);
    int64_t ms = -1;

    if (value == NULL) {
        return STATUS_OK;
    }
    if (cJSON_IsNumber(value) && value->valuedouble >= 0 && value->valuedouble <= (double)max_ms) {
        ms = (int64_t)value->valuedouble;
    } else if (!cJSON_IsString(value) || !text_parse_duration(value->valuestring, &ms) ||
               ms > max_ms) {
        return wrong(
            name, value,
            max_ms == JOB_DELAY_MAX_MS
                ? "a duration of at most 30 days such as \"5s\", or a number of milliseconds"
                : "a duration such as \"5s\" or a number of milliseconds",
            err);
    }
    *out = ms;
    return STATUS_OK;
}

static enum status read_options(const struct line_defaults *defaults, const cJSON *line,
                                struct line_job *out, struct error *err)
{
    const cJSON *priority = cJSON_GetObjectItemCaseSensitive(line, "priority");

    out->priority = defaults->priority;
    out->delay_ms = defaults->delay_ms;
    out->deadline_ms = defaults->deadline_ms;
    if (priority != NULL && (!cJSON_IsString(priority) ||
                             !job_priority_parse(priority->valuestring,
                                                 strlen(priority->valuestring), &out->priority))) {
        return wrong("priority", priority, "\"high\", \"normal\" or \"low\"", err);
    }
    TRY(read_duration(line, "delay", JOB_DELAY_MAX_MS, &out->delay_ms, err));
    return read_duration(line, "deadline", DURATION_MAX_MS, &out->deadline_ms, err);
}

/* ---- the line ------------------------------------------------------------------------------ */

#define REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

enum { ESCAPE_BYTES = 6 /* \u003f */ };

/* The code unit of an escape at `text`; -1: there is none. */
static int unit_at(const char *text, size_t bytes)
{
    int unit = 0;

    if (bytes < ESCAPE_BYTES || text[0] != '\\' || text[1] != 'u') {
        return -1;
    }
    for (size_t i = 2; i < ESCAPE_BYTES; i++) {
        static const char digits[] = "0123456789abcdef";
        const char *digit = strchr(digits, tolower((unsigned char)text[i]));
        if (text[i] == '\0' || digit == NULL) {
            return -1;
        }
        unit = unit * 16 + (int)(digit - digits);
    }
    return unit;
}

/* How many bytes at `text` stand for something that a text can hold; 0: they do not, and *wrong
 * says how many do not. */
static size_t sound_bytes(const char *text, size_t bytes, size_t *wrong)
{
    const int unit = unit_at(text, bytes);

    *wrong = 1;
    if (unit >= 0) {
        const int next = unit_at(text + ESCAPE_BYTES, bytes - ESCAPE_BYTES);
        const bool high = unit >= 0xd800 && unit <= 0xdbff;
        const bool low = unit >= 0xdc00 && unit <= 0xdfff;
        *wrong = ESCAPE_BYTES;
        if (high && next >= 0xdc00 && next <= 0xdfff) {
            return 2 * (size_t)ESCAPE_BYTES;
        }
        return high || low || unit == 0 ? 0 : ESCAPE_BYTES;
    }
    if (text[0] == '\\') {
        return bytes >= 2 && (unsigned char)text[1] < 0x80 && text[1] != '\0' ? 2 : 1;
    }
    if (text[0] == '\0') {
        return 0;
    }
    for (size_t length = 1; length <= 4 && length <= bytes; length++) {
        if (text_is_utf8(text, length)) {
            return length;
        }
    }
    if (bytes >= 3 && (unsigned char)text[0] == 0xed && (unsigned char)text[1] >= 0xa0 &&
        ((unsigned char)text[1] & 0xc0) == 0x80 && ((unsigned char)text[2] & 0xc0) == 0x80) {
        *wrong = 3; /* half a pair as bytes */
    }
    return 0;
}

/* What a text cannot hold becomes U+FFFD: NUL, halves of surrogate pairs (a text that was cut
 * within an emoji), bytes of another encoding. Returns how many there were. */
static size_t repair(const char *text, size_t bytes, struct strbuf *out)
{
    size_t replaced = 0;
    size_t from = 0;
    size_t at = 0;

    strbuf_reset(out);
    while (at < bytes) {
        size_t wrong = 0;
        const size_t sound = sound_bytes(text + at, bytes - at, &wrong);
        if (sound == 0) {
            strbuf_append(out, text + from, at - from);
            strbuf_append_str(out, REPLACEMENT);
            replaced++;
            from = at + wrong;
        }
        at += sound > 0 ? sound : wrong;
    }
    strbuf_append(out, text + from, bytes - from);
    return replaced;
}

static bool needs_repair(const char *text, size_t bytes)
{
    return !text_is_utf8(text, bytes) || memchr(text, '\0', bytes) != NULL ||
           memmem(text, bytes, "\\u", 2) != NULL;
}

/* Python writes NaN and infinity, which JSON has no words for. The key before such a word at `at`;
 * false: there is something else. */
static bool key_of_no_number(struct slice line, const char *at, struct slice *key)
{
    const char *const text = line.data;
    const size_t left = line.bytes - (size_t)(at - text);
    static const char *const words[] = {"NaN", "Infinity", "-Infinity"};
    bool known = false;

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        known = known || (strlen(words[i]) <= left && memcmp(at, words[i], strlen(words[i])) == 0);
    }
    while (known && at > text && strchr(" :[", at[-1]) != NULL) {
        at--;
    }
    if (!known || at == text || at[-1] != '"') {
        return false;
    }
    const char *start = at - 1;
    while (start > text && start[-1] != '"') {
        start--;
    }
    *key = (struct slice){start, (size_t)(at - 1 - start)};
    return true;
}

static enum status not_json(struct slice line, const char *at, struct error *err)
{
    struct slice key = {0};
    char shown[48];

    if (at != NULL && key_of_no_number(line, at, &key)) {
        return error_set(err, STATUS_INVALID, "key \"%s\": expected a finite number",
                         text_excerpt(key.data, key.bytes, shown));
    }
    return error_set(err, STATUS_INVALID, "not JSON at byte %td", at == NULL ? 0 : at - line.data);
}

static enum status parse_line(struct slice line, cJSON **out, struct error *err)
{
    const char *end = NULL;

    cJSON *tree = json_tree_parse(line.data, line.bytes, &end, false);
    if (tree == NULL) {
        return not_json(line, end, err);
    }
    const size_t done = (size_t)(end - line.data);
    if (cJSON_IsObject(tree) && text_is_blank(end, line.bytes - done)) {
        *out = tree;
        return STATUS_OK;
    }
    const bool is_object = cJSON_IsObject(tree);
    cJSON_Delete(tree);
    return is_object ? error_set(err, STATUS_INVALID,
                                 "something behind the JSON object at byte %zu", done)
                     : error_set(err, STATUS_INVALID, "expected a JSON object");
}

static enum status decode(const struct line_defaults *defaults, const cJSON *line,
                          struct arena *scratch, struct line_job *out, struct error *err)
{
    const struct kind_shape *shape = job_kinds[defaults->kind].shape;

    count_strangers(shape, line, out);
    TRY(read_domain(defaults, line, out->domain, err));
    TRY(put_body(shape, line, &out->body, err));
    TRY(check_body(defaults->kind, &out->body, scratch, out->unique, err));
    if ((int64_t)out->body.bytes > defaults->max_body_bytes) {
        return error_set(err, STATUS_INVALID,
                         "the body has %zu bytes: expected at most %" PRId64 " (--max-body)",
                         out->body.bytes, defaults->max_body_bytes);
    }
    return read_options(defaults, line, out, err);
}

void line_job_free(struct line_job *job)
{
    strbuf_free(&job->body);
    strbuf_free(&job->repaired);
}

enum status line_job_decode(const struct line_defaults *defaults, struct slice line,
                            struct arena *scratch, struct line_job *out, struct error *err)
{
    cJSON *tree = NULL;

    out->replaced = 0;
    if (needs_repair(line.data, line.bytes)) {
        out->replaced = repair(line.data, line.bytes, &out->repaired);
        if (!strbuf_ok(&out->repaired)) {
            return error_set(err, STATUS_OOM, "out of memory");
        }
        line = (struct slice){out->repaired.data, out->repaired.bytes};
    }
    TRY(parse_line(line, &tree, err));
    const enum status status = decode(defaults, tree, scratch, out, err);
    cJSON_Delete(tree);
    return status;
}
