#include "embedder/decode.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <nettle/base64.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "embedder/vector.h"

/* Which vector of an answer, and where it goes. */
struct place {
    size_t index;
    size_t count;
    size_t dimension;
    float *vector;
};

/* A number that is none: an answer about this text and no other. */
static enum status unusable(const struct place *place, const char *what, struct error *err)
{
    (void)error_set(err, STATUS_INVALID, "embedding %zu of %zu: %s", place->index + 1, place->count,
                    what);
    if (err != NULL) {
        err->http_code = 200;
    }
    return STATUS_INVALID;
}

static enum status wrong_length(const struct place *place, size_t found, struct error *err)
{
    return error_set(err, STATUS_MISMATCH,
                     "embedding %zu of %zu: %zu numbers, expected %zu (STILLHOUSE_EMBED_DIMENSION)",
                     place->index + 1, place->count, found, place->dimension);
}

static enum status decode_array(const cJSON *array, const struct place *place, struct error *err)
{
    const size_t found = (size_t)cJSON_GetArraySize(array);
    size_t i = 0;
    const cJSON *number = NULL;

    if (found != place->dimension) {
        return wrong_length(place, found, err);
    }
    cJSON_ArrayForEach(number, array)
    {
        if (!cJSON_IsNumber(number)) {
            char what[48];
            snprintf(what, sizeof what, "element %zu is no number", i);
            return unusable(place, what, err);
        }
        place->vector[i++] = (float)number->valuedouble;
    }
    return STATUS_OK;
}

/* Base64's digits before the padding, if there is any; false: there is something else. */
static bool count_digits(const char *text, size_t *digits)
{
    *digits = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/");
    return text[*digits] == '\0' || text[*digits] == '=';
}

static enum status decode_packed(const char *text, const struct place *place, struct error *err)
{
    _Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "float32 comes little-endian");
    struct base64_decode_ctx base64;
    size_t digits = 0;

    if (!count_digits(text, &digits)) {
        return error_set(err, STATUS_GARBLED, "embedding %zu of %zu: not base64", place->index + 1,
                         place->count);
    }
    size_t bytes = digits * 3 / 4;
    if (bytes % sizeof(float) != 0) {
        return error_set(err, STATUS_GARBLED, "embedding %zu of %zu: %zu bytes are no float32",
                         place->index + 1, place->count, bytes);
    }
    if (bytes != place->dimension * sizeof(float)) {
        return wrong_length(place, bytes / sizeof(float), err);
    }
    base64_decode_init(&base64);
    (void)base64_decode_update(&base64, &bytes, (uint8_t *)place->vector, digits, text);
    return STATUS_OK;
}

/* Of unit length; in an error its place is named. */
static enum status decode_any(const cJSON *embedding, const struct place *place, struct error *err)
{
    struct error own = {0};
    enum status status = STATUS_OK;

    if (cJSON_IsString(embedding)) {
        status = decode_packed(embedding->valuestring, place, err);
    } else if (cJSON_IsArray(embedding)) {
        status = decode_array(embedding, place, err);
    } else {
        return error_set(err, STATUS_GARBLED, "embedding %zu of %zu is missing", place->index + 1,
                         place->count);
    }
    if (status == STATUS_OK &&
        embedder_normalise(place->vector, place->dimension, &own) != STATUS_OK) {
        return unusable(place, own.text, err);
    }
    return status;
}

static enum status check_count(const cJSON *list, const char *field, size_t count,
                               struct error *err)
{
    if (!cJSON_IsArray(list)) {
        return error_set(err, STATUS_GARBLED, "embedder's answer has no list \"%s\"", field);
    }
    if ((size_t)cJSON_GetArraySize(list) != count) {
        return error_set(err, STATUS_GARBLED, "embedder's answer has %d embeddings, expected %zu",
                         cJSON_GetArraySize(list), count);
    }
    return STATUS_OK;
}

/* Items come with an index and in any order; without one, in the order of the texts. */
static enum status decode_items(const cJSON *list, size_t count, size_t dimension, float *vectors,
                                struct error *err)
{
    size_t position = 0;
    const cJSON *item = NULL;

    /* What is not a number has not come yet: `count` items, none twice, are all of them. */
    for (size_t i = 0; i < count; i++) {
        vectors[i * dimension] = NAN;
    }
    cJSON_ArrayForEach(item, list)
    {
        const cJSON *index = cJSON_GetObjectItemCaseSensitive(item, "index");
        double at = cJSON_IsNumber(index) ? index->valuedouble : (double)position;
        if (!(at >= 0 && at < (double)count && at == floor(at))) {
            return error_set(err, STATUS_GARBLED, "embedding %zu of %zu has a wrong index",
                             position + 1, count);
        }
        float *vector = vectors + (size_t)at * dimension;
        if (!isnan(vector[0])) {
            return error_set(err, STATUS_GARBLED, "embedding %zu of %zu comes twice",
                             (size_t)at + 1, count);
        }
        const struct place place = {(size_t)at, count, dimension, vector};
        TRY(decode_any(cJSON_GetObjectItemCaseSensitive(item, "embedding"), &place, err));
        position++;
    }
    return STATUS_OK;
}

enum status embedder_decode_openai(const char *body, size_t bytes, size_t count, size_t dimension,
                                   float *vectors, struct error *err)
{
    cJSON *root = cJSON_ParseWithLength(body != NULL ? body : "", bytes);
    if (root == NULL) {
        return error_set(err, STATUS_GARBLED, "embedder's answer is not JSON");
    }
    const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "data");
    enum status status = check_count(list, "data", count, err);
    if (status == STATUS_OK) {
        status = decode_items(list, count, dimension, vectors, err);
    }
    cJSON_Delete(root);
    return status;
}

enum status embedder_decode_ollama(const char *body, size_t bytes, size_t count, size_t dimension,
                                   float *vectors, struct error *err)
{
    cJSON *root = cJSON_ParseWithLength(body != NULL ? body : "", bytes);
    if (root == NULL) {
        return error_set(err, STATUS_GARBLED, "embedder's answer is not JSON");
    }
    const cJSON *single = cJSON_GetObjectItemCaseSensitive(root, "embedding");
    enum status status = STATUS_OK;

    if (single != NULL && count == 1) {
        status = decode_any(single, &(struct place){0, 1, dimension, vectors}, err);
    } else {
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "embeddings");
        const cJSON *item = NULL;
        struct place place = {0, count, dimension, vectors};
        status = check_count(list, "embeddings", count, err);
        for (item = status == STATUS_OK ? list->child : NULL; item != NULL && status == STATUS_OK;
             item = item->next) {
            status = decode_any(item, &place, err);
            place.index++;
            place.vector += dimension;
        }
    }
    cJSON_Delete(root);
    return status;
}

static const cJSON *first_vector(const cJSON *root)
{
    const cJSON *item = cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(root, "data"), 0);
    const cJSON *single = cJSON_GetObjectItemCaseSensitive(root, "embedding");

    if (item != NULL) {
        return cJSON_GetObjectItemCaseSensitive(item, "embedding");
    }
    return single != NULL
               ? single
               : cJSON_GetArrayItem(cJSON_GetObjectItemCaseSensitive(root, "embeddings"), 0);
}

enum status embedder_decode_length(const char *body, size_t bytes, size_t *length,
                                   struct error *err)
{
    cJSON *root = cJSON_ParseWithLength(body != NULL ? body : "", bytes);
    const cJSON *vector = first_vector(root);
    size_t digits = 0;

    *length = 0;
    if (cJSON_IsArray(vector)) {
        *length = (size_t)cJSON_GetArraySize(vector);
    } else if (cJSON_IsString(vector) && count_digits(vector->valuestring, &digits)) {
        *length = digits * 3 / 4 / sizeof(float);
    }
    cJSON_Delete(root);
    return *length > 0 ? STATUS_OK
                       : error_set(err, STATUS_GARBLED, "embedder's answer has no vector");
}
