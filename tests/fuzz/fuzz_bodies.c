/* Foreign bytes through the scanner, every decoder and the JSON writer. What a decoder accepts must
 * be within the documented bounds and come back the same after being encoded. */
#include <cjson/cJSON.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "jobs/bodies.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

static bool same(const struct strbuf *a, const struct strbuf *b)
{
    return a->bytes == b->bytes && memcmp(a->data, b->data, a->bytes) == 0;
}

static void check_text(struct slice text)
{
    must(text.bytes == 0 ||
         (text_is_utf8(text.data, text.bytes) && memchr(text.data, '\0', text.bytes) == NULL));
}

static void check_metadata(const struct meta_pair *pairs, size_t count)
{
    must(count <= METADATA_MAX + 1); /* "dropped_keys" */
    for (size_t i = 0; i < count; i++) {
        check_text(pairs[i].key);
        if (pairs[i].value.type == META_STRING) {
            check_text(pairs[i].value.string);
        }
    }
}

static void try_enrich(const void *data, size_t size, struct error *err)
{
    struct enrich_body body;
    struct enrich_body again;
    struct strbuf first = {0};
    struct strbuf second = {0};

    if (bodies_decode_enrich(data, size, NULL, &body, err) == STATUS_OK) {
        check_text(body.query);
        must(body.k.value >= 1 && body.k.value <= BODIES_K_MAX);
        bodies_encode_enrich(&body, &first);
        must(bodies_decode_enrich(first.data, first.bytes, NULL, &again, err) == STATUS_OK);
        bodies_encode_enrich(&again, &second);
        must(same(&first, &second));
    }
    strbuf_free(&first);
    strbuf_free(&second);
}

static void try_distill(const void *data, size_t size, struct arena *arena, struct error *err)
{
    struct distill_body body;
    struct distill_body again;
    struct strbuf first = {0};
    struct strbuf second = {0};

    if (bodies_decode_distill(data, size, arena, &body, err) == STATUS_OK) {
        check_text(body.task_id);
        check_text(body.prompt);
        check_text(body.result);
        check_metadata(body.metadata.pairs, body.metadata.count);
        must(!body.quality.given || (body.quality.value >= 0 && body.quality.value <= 1));
        bodies_encode_distill(&body, &first);
        must(bodies_decode_distill(first.data, first.bytes, arena, &again, err) == STATUS_OK);
        bodies_encode_distill(&again, &second);
        must(same(&first, &second));
    }
    strbuf_free(&first);
    strbuf_free(&second);
}

/* What was accepted can be written, and needs no leniency then. */
static void try_accepting(const void *data, size_t size, struct arena *arena, struct error *err)
{
    struct distill_body body;
    struct distill_body strict;
    struct strbuf first = {0};
    const bool sound = bodies_decode_distill(data, size, arena, &strict, err) == STATUS_OK;
    const bool accepted = bodies_accept_distill(data, size, arena, &body, err) == STATUS_OK;

    must(accepted || !sound);
    must(!sound ||
         (body.metadata.dropped.data == NULL && body.metadata.count == strict.metadata.count));
    if (accepted) {
        check_text(body.prompt);
        check_text(body.result);
        check_text(body.metadata.dropped);
        check_metadata(body.metadata.pairs, body.metadata.count);
        body.metadata.count -= body.metadata.count > METADATA_MAX;
        bodies_encode_distill(&body, &first);
        must(bodies_decode_distill(first.data, first.bytes, arena, &strict, err) == STATUS_OK);
    }
    strbuf_free(&first);
}

static void try_index(const void *data, size_t size, struct arena *arena, struct error *err)
{
    struct index_body body;
    struct index_body again;
    struct strbuf first = {0};
    struct strbuf second = {0};

    if (bodies_decode_index(data, size, arena, &body, err) == STATUS_OK) {
        must(body.documents.count >= 1);
        for (size_t i = 0; i < body.documents.count; i++) {
            check_text(body.documents.each[i].id);
            check_text(body.documents.each[i].text);
            check_metadata(body.documents.each[i].metadata.pairs,
                           body.documents.each[i].metadata.count);
        }
        bodies_encode_index(&body, &first);
        must(bodies_decode_index(first.data, first.bytes, arena, &again, err) == STATUS_OK);
        bodies_encode_index(&again, &second);
        must(same(&first, &second));
    }
    strbuf_free(&first);
    strbuf_free(&second);
}

static void try_record(const void *data, size_t size, struct arena *arena, struct error *err)
{
    struct record_body body;
    struct record_body again;
    struct strbuf first = {0};
    struct strbuf second = {0};

    if (bodies_decode_record(data, size, arena, &body, err) == STATUS_OK) {
        check_text(body.task_id);
        check_text(body.task_description);
        check_metadata(body.metadata.pairs, body.metadata.count);
        must(!body.user_rating.given ||
             (body.user_rating.value >= 1 && body.user_rating.value <= 5));
        must(!body.quality_score.given ||
             (body.quality_score.value >= 0 && body.quality_score.value <= 100));
        bodies_encode_record(&body, &first);
        must(bodies_decode_record(first.data, first.bytes, arena, &again, err) == STATUS_OK);
        bodies_encode_record(&again, &second);
        must(same(&first, &second));
        must(bodies_accept_record(data, size, arena, &again, err) == STATUS_OK);
    }
    strbuf_free(&first);
    strbuf_free(&second);
}

static void try_vector(const void *data, size_t size, struct arena *arena, struct error *err)
{
    struct vector_body body;
    struct vector_body again;
    struct strbuf first = {0};

    if (bodies_decode_vector(data, size, arena, &body, err) == STATUS_OK) {
        check_text(body.task_id);
        must(body.task_id.bytes > 0 && body.task_id.bytes <= BODIES_ID_MAX);
        bodies_encode_vector(&body, &first);
        must(bodies_decode_vector(first.data, first.bytes, arena, &again, err) == STATUS_OK);
        must(again.task_id.bytes == body.task_id.bytes);
    }
    strbuf_free(&first);
}

static void try_result(const void *data, size_t size, struct arena *arena, struct error *err)
{
    struct enrich_result result;
    struct enrich_result again;
    struct strbuf first = {0};
    struct strbuf second = {0};

    if (bodies_decode_result(data, size, arena, &result, err) == STATUS_OK) {
        check_text(result.few_shot);
        for (size_t i = 0; i < result.count; i++) {
            check_text(result.examples[i].text);
            check_metadata(result.examples[i].metadata, result.examples[i].metadata_count);
        }
        bodies_encode_result(&result, &first);
        must(bodies_decode_result(first.data, first.bytes, arena, &again, err) == STATUS_OK);
        bodies_encode_result(&again, &second);
        must(same(&first, &second));
    }
    strbuf_free(&first);
    strbuf_free(&second);
}

static void try_json(const void *data, size_t size, bool sound, struct error *err)
{
    struct strbuf json = {0};

    must((values_to_json(data, size, &(struct json_writer){.out = &json}, NULL, err) ==
          STATUS_OK) == sound);
    if (sound) {
        cJSON *document = cJSON_ParseWithLength(json.data, json.bytes);
        must(document != NULL);
        cJSON_Delete(document);
    }
    strbuf_free(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena = {0};
    struct error err = {0};
    bool sound = mp_check(data, size, NULL, &err) == STATUS_OK;

    must(sound || (err.status == STATUS_INVALID && err.text[0] != '\0'));
    must(memchr(err.text, '\0', sizeof err.text) != NULL);
    try_json(data, size, sound, &err);
    try_enrich(data, size, &err);
    try_distill(data, size, &arena, &err);
    try_accepting(data, size, &arena, &err);
    try_index(data, size, &arena, &err);
    try_record(data, size, &arena, &err);
    try_vector(data, size, &arena, &err);
    try_result(data, size, &arena, &err);
    arena_free(&arena);
    return 0;
}
