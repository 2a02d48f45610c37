#include "embedder/decode.h"

#include <cjson/cJSON.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "embedder/vector.h"

/* A number that is none: an answer about this text and no other. */
static enum status unusable(size_t index, size_t count, const char *what, struct error *err)
{
    (void)error_set(err, STATUS_INVALID, "embedding %zu of %zu: %s", index + 1, count, what);
    if (err != NULL) {
        err->http_code = 200;
    }
    return STATUS_INVALID;
}

/* The vector of text `index`, scaled; the place is named in the error. */
static enum status finish(float *vector, size_t index, size_t count, size_t dimension,
                          struct error *err)
{
    struct error own = {0};

    if (embedder_normalise(vector, dimension, &own) != STATUS_OK) {
        return unusable(index, count, own.text, err);
    }
    return STATUS_OK;
}

static enum status wrong_length(size_t index, size_t count, size_t found, size_t dimension,
                                struct error *err)
{
    return error_set(err, STATUS_MISMATCH,
                     "embedding %zu of %zu: %zu numbers, expected %zu (STILLHOUSE_EMBED_DIMENSION)",
                     index + 1, count, found, dimension);
}

static enum status decode_array(const cJSON *array, size_t index, size_t count, size_t dimension,
                                float *vector, struct error *err)
{
    size_t found = (size_t)cJSON_GetArraySize(array);
    size_t i = 0;
    const cJSON *number = NULL;

    if (found != dimension) {
        return wrong_length(index, count, found, dimension, err);
    }
    cJSON_ArrayForEach(number, array)
    {
        if (!cJSON_IsNumber(number)) {
            char what[48];
            snprintf(what, sizeof what, "element %zu is no number", i);
            return unusable(index, count, what, err);
        }
        vector[i++] = (float)number->valuedouble;
    }
    return finish(vector, index, count, dimension, err);
}

static int base64_value(char c)
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *at = c != '\0' ? strchr(alphabet, c) : NULL;
    return at != NULL ? (int)(at - alphabet) : -1;
}

/* Decodes base64 into exactly `bytes` bytes; the number there really are otherwise. */
static size_t decode_base64(const char *text, unsigned char *out, size_t bytes, int *bad)
{
    unsigned buffer = 0;
    int bits = 0;
    size_t used = 0;

    for (; *text != '\0' && *text != '='; text++) {
        int value = base64_value(*text);
        if (value < 0) {
            *bad = 1;
            return used;
        }
        buffer = (buffer << 6 | (unsigned)value) & 0xffffff;
        bits += 6;
        if (bits >= 8) {
            bits -= 8;
            if (used < bytes) {
                out[used] = (unsigned char)(buffer >> bits);
            }
            used++;
        }
    }
    return used;
}

static enum status decode_packed(const char *text, size_t index, size_t count, size_t dimension,
                                 float *vector, struct error *err)
{
    _Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "float32 comes little-endian");
    int bad = 0;
    size_t bytes = decode_base64(text, (unsigned char *)vector, dimension * sizeof *vector, &bad);

    if (bad) {
        return error_set(err, STATUS_GARBLED, "embedding %zu of %zu: not base64", index + 1, count);
    }
    if (bytes % sizeof *vector != 0) {
        return error_set(err, STATUS_GARBLED, "embedding %zu of %zu: %zu bytes are no float32",
                         index + 1, count, bytes);
    }
    if (bytes != dimension * sizeof *vector) {
        return wrong_length(index, count, bytes / sizeof *vector, dimension, err);
    }
    return finish(vector, index, count, dimension, err);
}

static enum status decode_any(const cJSON *embedding, size_t index, size_t count, size_t dimension,
                              float *vector, struct error *err)
{
    if (cJSON_IsString(embedding)) {
        return decode_packed(embedding->valuestring, index, count, dimension, vector, err);
    }
    if (cJSON_IsArray(embedding)) {
        return decode_array(embedding, index, count, dimension, vector, err);
    }
    return error_set(err, STATUS_GARBLED, "embedding %zu of %zu is missing", index + 1, count);
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
        enum status status = decode_any(cJSON_GetObjectItemCaseSensitive(item, "embedding"),
                                        (size_t)at, count, dimension, vector, err);
        if (status != STATUS_OK) {
            return status;
        }
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
        status = decode_any(single, 0, 1, dimension, vectors, err);
    } else {
        const cJSON *list = cJSON_GetObjectItemCaseSensitive(root, "embeddings");
        const cJSON *item = NULL;
        size_t index = 0;
        status = check_count(list, "embeddings", count, err);
        for (item = status == STATUS_OK ? list->child : NULL; item != NULL && status == STATUS_OK;
             item = item->next) {
            status = decode_any(item, index, count, dimension, vectors + index * dimension, err);
            index++;
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
    int bad = 0;

    *length = 0;
    if (cJSON_IsArray(vector)) {
        *length = (size_t)cJSON_GetArraySize(vector);
    } else if (cJSON_IsString(vector)) {
        *length = decode_base64(vector->valuestring, NULL, 0, &bad) / sizeof(float);
    }
    cJSON_Delete(root);
    return *length > 0 && bad == 0
               ? STATUS_OK
               : error_set(err, STATUS_GARBLED, "embedder's answer has no vector");
}
