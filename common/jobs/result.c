/* The result of an enrichment, as a producer reads it from a cache that others may have written:
 * what can be left out is left out, what is wrong in kind is refused. */
#include "jobs/bodies.h"

#include <string.h>

enum { RESULT_VERSION = 1, EXAMPLES_MAX = 1000 };

#define NAME(text)                                                                                 \
    {                                                                                              \
        text, sizeof text - 1                                                                      \
    }

enum result_field {
    RESULT_V,
    RESULT_K,
    RESULT_CREATED,
    RESULT_EPOCH,
    RESULT_DOMAIN,
    RESULT_HASH,
    RESULT_FEW_SHOT,
    RESULT_ERROR,
    RESULT_EXAMPLES,
    RESULT_FIELDS
};

static const struct slice result_names[RESULT_FIELDS] = {
    NAME("v"),          NAME("k"),        NAME("created_ms"), NAME("epoch"),    NAME("domain"),
    NAME("query_hash"), NAME("few_shot"), NAME("error"),      NAME("examples"),
};

enum { EXAMPLE_ID, EXAMPLE_TEXT, EXAMPLE_METADATA, EXAMPLE_DISTANCE, EXAMPLE_FIELDS };

/* A past task has one more, for readers without example_split: how many bytes its prompt has. The
 * halves themselves would double the text in every cached result. */
static const struct slice prompt_name = NAME(EXAMPLE_PROMPT_KEY);

static const struct slice example_names[EXAMPLE_FIELDS] = {
    NAME("id"),
    NAME("text"),
    NAME("metadata"),
    NAME("distance"),
};

/* ---- decode ---------------------------------------------------------------------------------- */

static enum status read_numbers(const struct mp_value *values, struct enrich_result *out,
                                struct error *err)
{
    int64_t version = RESULT_VERSION;
    int64_t k = BODIES_K_DEFAULT;
    const struct {
        int field;
        int64_t least, most;
        int64_t *out;
    } numbers[] = {
        {RESULT_V, RESULT_VERSION, RESULT_VERSION, &version},
        {RESULT_K, 1, BODIES_K_MAX, &k},
        {RESULT_CREATED, 0, INT64_MAX, &out->created_unix_ms},
        {RESULT_EPOCH, 0, INT64_MAX, &out->epoch},
    };
    enum status status = STATUS_OK;

    for (size_t i = 0; status == STATUS_OK && i < sizeof numbers / sizeof numbers[0]; i++) {
        const struct mp_field field = {result_names[numbers[i].field], false};
        status = mp_field_integer(field, &values[numbers[i].field], numbers[i].least,
                                  numbers[i].most, numbers[i].out, err);
    }
    out->k = (int)k;
    return status;
}

static enum status read_texts(const struct mp_value *values, struct enrich_result *out,
                              struct error *err)
{
    const struct {
        int field;
        struct slice *out;
    } texts[] = {
        {RESULT_DOMAIN, &out->domain},
        {RESULT_HASH, &out->query_hash},
        {RESULT_FEW_SHOT, &out->few_shot},
        {RESULT_ERROR, &out->error},
    };
    enum status status = STATUS_OK;

    for (size_t i = 0; status == STATUS_OK && i < sizeof texts / sizeof texts[0]; i++) {
        const struct mp_field field = {result_names[texts[i].field], false};
        status = mp_field_text(field, &values[texts[i].field], texts[i].out, err);
    }
    return status;
}

static enum status read_example(const struct mp_value *map, struct arena *arena,
                                struct example *out, struct error *err)
{
    struct mp_value values[EXAMPLE_FIELDS];
    struct metadata metadata = {0};
    char found[MP_DESCRIBE_BYTES];

    if (map->type != MP_MAP) {
        return error_set(err, STATUS_INVALID, "expected a map, found %s", mp_describe(map, found));
    }
    mp_find_all(map, example_names, EXAMPLE_FIELDS, values);
    enum status status = mp_field_text((struct mp_field){example_names[EXAMPLE_ID], true},
                                       &values[EXAMPLE_ID], &out->id, err);
    if (status == STATUS_OK) {
        status = mp_field_text((struct mp_field){example_names[EXAMPLE_TEXT], true},
                               &values[EXAMPLE_TEXT], &out->text, err);
    }
    if (status == STATUS_OK) {
        status = metadata_read_tolerant(&values[EXAMPLE_METADATA], arena, &metadata, err);
    }
    if (!mp_number(&values[EXAMPLE_DISTANCE], &out->distance)) {
        out->distance = 0;
    }
    out->metadata = metadata.pairs;
    out->metadata_count = metadata.count;
    return status;
}

static enum status read_examples(const struct mp_value *value, struct arena *arena,
                                 struct enrich_result *out, struct error *err)
{
    const struct mp_field field = {result_names[RESULT_EXAMPLES], false};
    struct mp_cursor cursor = mp_inside(value);
    struct error detail = {0};
    struct mp_value example;
    enum status status = mp_field_array(field, value, 0, EXAMPLES_MAX, err);

    if (status != STATUS_OK || value->type == MP_NONE || value->count == 0) {
        return status;
    }
    out->examples = arena_array(arena, value->count, sizeof *out->examples);
    if (out->examples == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    for (; mp_next(&cursor, &example); out->count++) {
        status = read_example(&example, arena, &out->examples[out->count], &detail);
        if (status != STATUS_OK) {
            return error_set(err, status, "examples[%zu]: %s", out->count, detail.text);
        }
    }
    return STATUS_OK;
}

static bool is_text(struct slice slice, const char *text)
{
    return slice.bytes == strlen(text) && memcmp(slice.data, text, slice.bytes) == 0;
}

bool bodies_result_is_of(const struct enrich_result *result, const char *domain,
                         const char *query_hash)
{
    return is_text(result->domain, domain) && is_text(result->query_hash, query_hash);
}

enum status bodies_decode_result(const void *data, size_t bytes, struct arena *arena,
                                 struct enrich_result *out, struct error *err)
{
    struct mp_value values[RESULT_FIELDS];
    char found[MP_DESCRIBE_BYTES];
    struct mp_document document;
    enum status status = mp_check(data, bytes, &document, err);

    *out = (struct enrich_result){.domain = {"", 0}, .query_hash = {"", 0}, .few_shot = {"", 0}};
    if (status == STATUS_OK && document.root.type != MP_MAP) {
        status = error_set(err, STATUS_INVALID, "expected a map, found %s",
                           mp_describe(&document.root, found));
    }
    if (status != STATUS_OK) {
        return status;
    }
    mp_find_all(&document.root, result_names, RESULT_FIELDS, values);
    status = read_numbers(values, out, err);
    if (status == STATUS_OK) {
        status = read_texts(values, out, err);
    }
    if (status == STATUS_OK) {
        status = read_examples(&values[RESULT_EXAMPLES], arena, out, err);
    }
    if (status == STATUS_OK && out->few_shot.bytes > BODIES_FEW_SHOT_MAX) {
        status = error_set(err, STATUS_INVALID, "\"few_shot\" has %zu bytes, expected at most %d",
                           out->few_shot.bytes, BODIES_FEW_SHOT_MAX);
    }
    return status;
}

/* ---- encode ---------------------------------------------------------------------------------- */

static void put_text(enum result_field field, struct slice text, struct strbuf *out)
{
    mp_put_text(out, result_names[field]);
    mp_put_text(out, text);
}

static void put_integer(enum result_field field, int64_t number, struct strbuf *out)
{
    mp_put_text(out, result_names[field]);
    mp_put_integer(out, number);
}

static void put_example(const struct example *example, struct strbuf *out)
{
    struct halves halves;
    const bool is_task = example_split(example, &halves);

    mp_put_map(out, is_task ? EXAMPLE_FIELDS + 1 : EXAMPLE_FIELDS);
    mp_put_text(out, example_names[EXAMPLE_ID]);
    mp_put_text(out, example->id);
    mp_put_text(out, example_names[EXAMPLE_TEXT]);
    mp_put_text(out, example->text);
    if (is_task) {
        mp_put_text(out, prompt_name);
        mp_put_integer(out, (int64_t)halves.prompt.bytes);
    }
    mp_put_text(out, example_names[EXAMPLE_DISTANCE]);
    mp_put_number(out, example->distance);
    mp_put_text(out, example_names[EXAMPLE_METADATA]);
    metadata_write(example->metadata, example->metadata_count, out);
}

void bodies_encode_result(const struct enrich_result *result, struct strbuf *out)
{
    mp_put_map(out, RESULT_FIELDS - 1); /* examples or an error */
    put_integer(RESULT_V, RESULT_VERSION, out);
    put_text(RESULT_DOMAIN, result->domain, out);
    put_text(RESULT_HASH, result->query_hash, out);
    put_integer(RESULT_CREATED, result->created_unix_ms, out);
    put_integer(RESULT_EPOCH, result->epoch, out);
    put_integer(RESULT_K, result->k, out);
    if (result->error.data != NULL) {
        put_text(RESULT_ERROR, result->error, out);
    } else {
        mp_put_text(out, result_names[RESULT_EXAMPLES]);
        mp_put_array(out, result->count);
        for (size_t i = 0; i < result->count; i++) {
            put_example(&result->examples[i], out);
        }
    }
    put_text(RESULT_FEW_SHOT, result->few_shot, out);
}
