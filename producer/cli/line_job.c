#include "line_job.h"

#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <msgpack.h>
#include <stdio.h>
#include <string.h>

#include "bodies.h"
#include "clock.h"

enum { KEEP_SCRATCH_BYTES = 1024 * 1024 };

#define EXACT_INTEGER_MAX                                                                          \
    9007199254740992.0 /* 2^53: whole numbers beyond are not exact in JSON                         \
                        */
#define DURATION_MAX_MS ((int64_t)366 * 24 * 60 * 60 * 1000)

/* The fields of each queue's body; others in a line are ignored. */
struct shape {
    const char *queue;
    const char *const fields[8];
};

static const struct shape shapes[] = {
    {"enrich", {"query", "k", NULL}},
    {"distill", {"task_id", "prompt", "result", "success", "quality", "model", "metadata", NULL}},
    {"index", {"documents", NULL}},
    {"echo", {"text", NULL}},
};

static const struct shape *find_shape(const char *queue)
{
    for (size_t i = 0; i < sizeof shapes / sizeof shapes[0]; i++) {
        if (strcmp(shapes[i].queue, queue) == 0) {
            return &shapes[i];
        }
    }
    return &shapes[sizeof shapes / sizeof shapes[0] - 1];
}

/* ---- JSON to msgpack ----------------------------------------------------------------------- */

static int write_body(void *data, const char *bytes, size_t count)
{
    strbuf_append(data, bytes, count);
    return 0; /* a lack of memory sticks to the buffer */
}

static void pack_text(msgpack_packer *packer, const char *text)
{
    const size_t bytes = strlen(text);

    msgpack_pack_str(packer, bytes);
    msgpack_pack_str_body(packer, text, bytes);
}

static void pack_number(msgpack_packer *packer, double number)
{
    if (number == floor(number) && fabs(number) <= EXACT_INTEGER_MAX) {
        msgpack_pack_int64(packer, (int64_t)number);
    } else {
        msgpack_pack_double(packer, number);
    }
}

/* The depth is bounded by cJSON's own limit. */
static void pack_value(msgpack_packer *packer, const cJSON *value)
{
    const cJSON *child = NULL;

    if (cJSON_IsString(value)) {
        pack_text(packer, value->valuestring);
    } else if (cJSON_IsNumber(value)) {
        pack_number(packer, value->valuedouble);
    } else if (cJSON_IsBool(value)) {
        cJSON_IsTrue(value) ? msgpack_pack_true(packer) : msgpack_pack_false(packer);
    } else if (cJSON_IsArray(value)) {
        msgpack_pack_array(packer, (size_t)cJSON_GetArraySize(value));
        cJSON_ArrayForEach(child, value)
        {
            pack_value(packer, child);
        }
    } else if (cJSON_IsObject(value)) {
        msgpack_pack_map(packer, (size_t)cJSON_GetArraySize(value));
        cJSON_ArrayForEach(child, value)
        {
            pack_text(packer, child->string);
            pack_value(packer, child);
        }
    } else {
        msgpack_pack_nil(packer);
    }
}

/* The line's fields that belong to the queue's body; a distillation without `success` is one. */
static void pack_body(const struct shape *shape, const cJSON *line, struct strbuf *out)
{
    const bool assume_success = strcmp(shape->queue, "distill") == 0 &&
                                cJSON_GetObjectItemCaseSensitive(line, "success") == NULL;
    msgpack_packer packer;
    size_t count = assume_success;

    for (size_t i = 0; shape->fields[i] != NULL; i++) {
        count += cJSON_GetObjectItemCaseSensitive(line, shape->fields[i]) != NULL;
    }
    strbuf_reset(out);
    msgpack_packer_init(&packer, out, write_body);
    msgpack_pack_map(&packer, count);
    for (size_t i = 0; shape->fields[i] != NULL; i++) {
        const cJSON *value = cJSON_GetObjectItemCaseSensitive(line, shape->fields[i]);
        if (value != NULL) {
            pack_text(&packer, shape->fields[i]);
            pack_value(&packer, value);
        }
    }
    if (assume_success) {
        pack_text(&packer, "success");
        msgpack_pack_true(&packer);
    }
}

/* The checks of the workers' own decoders. Fills the unique key of an enrichment. */
static enum status check_body(const struct shape *shape, const struct strbuf *body,
                              struct arena *scratch, char unique[TEXT_HASH_CHARS + 8],
                              struct error *err)
{
    struct enrich_body enrich;
    struct distill_body distill;
    struct index_body index;
    char hash[TEXT_HASH_CHARS + 1];

    unique[0] = '\0';
    arena_reset(scratch, KEEP_SCRATCH_BYTES);
    if (strcmp(shape->queue, "distill") == 0) {
        return bodies_decode_distill(body->data, body->bytes, scratch, &distill, err);
    }
    if (strcmp(shape->queue, "index") == 0) {
        return bodies_decode_index(body->data, body->bytes, scratch, &index, err);
    }
    if (strcmp(shape->queue, "enrich") != 0) {
        return bodies_scan(body->data, body->bytes, err);
    }
    const enum status status = bodies_decode_enrich(body->data, body->bytes, &enrich, err);
    if (status == STATUS_OK) {
        text_hash(enrich.query.data, enrich.query.bytes, hash);
        snprintf(unique, TEXT_HASH_CHARS + 8, "%s.%d", hash, enrich.k);
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
static enum status read_duration(const cJSON *line, const char *name, int64_t *out,
                                 struct error *err)
{
    const cJSON *value = cJSON_GetObjectItemCaseSensitive(line, name);
    int64_t ms = -1;

    if (value == NULL) {
        return STATUS_OK;
    }
    if (cJSON_IsNumber(value) && value->valuedouble >= 0 &&
        value->valuedouble <= (double)DURATION_MAX_MS) {
        ms = (int64_t)value->valuedouble;
    } else if (!cJSON_IsString(value) || !text_parse_duration(value->valuestring, &ms) ||
               ms > DURATION_MAX_MS) {
        return wrong(name, value, "a duration such as \"5s\" or a number of milliseconds", err);
    }
    *out = ms;
    return STATUS_OK;
}

static enum status read_options(const struct line_defaults *defaults, const cJSON *line,
                                const char *unique, char out[LINE_OPTIONS_BYTES], struct error *err)
{
    const cJSON *priority = cJSON_GetObjectItemCaseSensitive(line, "priority");
    struct job_options options = {
        .priority = defaults->priority,
        .delay_ms = defaults->delay_ms,
        .unique = {unique, strlen(unique)},
    };
    int64_t deadline_ms = defaults->deadline_ms;

    if (priority != NULL &&
        (!cJSON_IsString(priority) ||
         !job_priority_parse(priority->valuestring, strlen(priority->valuestring),
                             &options.priority))) {
        return wrong("priority", priority, "\"high\", \"normal\" or \"low\"", err);
    }
    enum status status = read_duration(line, "delay", &options.delay_ms, err);
    if (status == STATUS_OK) {
        status = read_duration(line, "deadline", &deadline_ms, err);
    }
    if (status == STATUS_OK) {
        options.deadline_unix_ms = deadline_ms > 0 ? clock_unix_ms() + deadline_ms : 0;
        (void)job_options_format(&options, out, LINE_OPTIONS_BYTES);
    }
    return status;
}

/* ---- the line ------------------------------------------------------------------------------ */

/* An escaped NUL would end a string early without a word from cJSON. */
static bool has_escaped_nul(const char *text, size_t bytes)
{
    for (size_t i = 0; i + 1 < bytes; i++) {
        if (text[i] == '\\') {
            if (bytes - i >= 6 && memcmp(text + i, "\\u0000", 6) == 0) {
                return true;
            }
            i++;
        }
    }
    return false;
}

static enum status parse_line(const char *text, size_t bytes, cJSON **out, struct error *err)
{
    const char *end = NULL;

    if (!text_is_utf8(text, bytes)) {
        return error_set(err, STATUS_INVALID, "not UTF-8");
    }
    const char *nul = memchr(text, '\0', bytes);
    if (nul != NULL || has_escaped_nul(text, bytes)) {
        return error_set(err, STATUS_INVALID, "a NUL character: expected text");
    }
    cJSON *line = cJSON_ParseWithLengthOpts(text, bytes, &end, false);
    if (line == NULL) {
        return error_set(err, STATUS_INVALID, "not JSON at byte %td", end == NULL ? 0 : end - text);
    }
    const size_t rest = bytes - (size_t)(end - text);
    if (!cJSON_IsObject(line)) {
        cJSON_Delete(line);
        return error_set(err, STATUS_INVALID, "expected a JSON object");
    }
    if (!text_is_blank(end, rest)) {
        cJSON_Delete(line);
        return error_set(err, STATUS_INVALID, "something behind the JSON object at byte %td",
                         end - text);
    }
    *out = line;
    return STATUS_OK;
}

static enum status decode(const struct line_defaults *defaults, const cJSON *line,
                          struct arena *scratch, struct line_job *out, struct error *err)
{
    const struct shape *shape = find_shape(defaults->queue);
    char unique[TEXT_HASH_CHARS + 8];

    enum status status = read_domain(defaults, line, out->domain, err);
    if (status != STATUS_OK) {
        return status;
    }
    pack_body(shape, line, &out->body);
    if (!strbuf_ok(&out->body)) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    status = check_body(shape, &out->body, scratch, unique, err);
    if (status == STATUS_OK && (int64_t)out->body.bytes > defaults->max_body_bytes) {
        status = error_set(err, STATUS_INVALID,
                           "the body has %zu bytes: expected at most %" PRId64 " (--max-body)",
                           out->body.bytes, defaults->max_body_bytes);
    }
    if (status == STATUS_OK) {
        status = read_options(defaults, line, unique, out->options, err);
    }
    if (status == STATUS_OK) {
        text_make_id(clock_unix_ms(), out->id);
    }
    return status;
}

enum status line_job_decode(const struct line_defaults *defaults, const char *text, size_t bytes,
                            struct arena *scratch, struct line_job *out, struct error *err)
{
    cJSON *line = NULL;

    enum status status = parse_line(text, bytes, &line, err);
    if (status == STATUS_OK) {
        status = decode(defaults, line, scratch, out, err);
    }
    cJSON_Delete(line);
    return status;
}
