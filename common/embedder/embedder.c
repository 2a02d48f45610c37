#include "embedder/embedder.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "embedder/internal.h"

enum { BUILTIN_DIMENSION = 384, BUILTIN_MIN = 64, BUILTIN_MAX = 4096 };

static const struct {
    const char *url;
    const char *model;
} presets[] = {
    [EMBEDDER_BUILTIN] = {"", ""},
    [EMBEDDER_OPENAI] = {"https://api.openai.com/v1", "text-embedding-3-small"},
    [EMBEDDER_OLLAMA] = {"http://127.0.0.1:11434", "nomic-embed-text"},
};

enum { LENGTH_MAX = 65536 };

/* Models whose length we know without asking. */
static const struct {
    const char *model;
    size_t dimension;
} known_models[] = {
    {"text-embedding-3-small", 1536},
    {"text-embedding-3-large", 3072},
    {"text-embedding-ada-002", 1536},
    {"nomic-embed-text", 768},
};

static size_t dimension_of(const char *model)
{
    const size_t bytes = strcspn(model, ":"); /* ollama's tag */

    for (size_t i = 0; i < sizeof known_models / sizeof known_models[0]; i++) {
        if (strlen(known_models[i].model) == bytes &&
            memcmp(known_models[i].model, model, bytes) == 0) {
            return known_models[i].dimension;
        }
    }
    return 0;
}

static const char *text_or(const char *text, const char *preset)
{
    return text != NULL && text[0] != '\0' ? text : preset;
}

/* A line break in it would begin another header. */
static enum status check_key(const char *key, struct error *err)
{
    for (const char *c = key; *c != '\0'; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f) {
            return error_set(err, STATUS_INVALID,
                             "STILLHOUSE_EMBED_KEY: holds a control "
                             "character");
        }
    }
    return strlen(key) < SETTINGS_TEXT_BYTES
               ? STATUS_OK
               : error_set(err, STATUS_INVALID, "STILLHOUSE_EMBED_KEY: longer than %d bytes",
                           SETTINGS_TEXT_BYTES - 1);
}

static enum status open_http(struct embedder *embedder, const struct embedder_config *config,
                             struct error *err)
{
    char authorization[SETTINGS_TEXT_BYTES + 32];
    const char *headers[] = {NULL, NULL};

    const char *key = text_or(config->key, "");
    enum status status = check_key(key, err);
    if (status != STATUS_OK) {
        return status;
    }
    if (key[0] != '\0') {
        snprintf(authorization, sizeof authorization, "Authorization: Bearer %s", key);
        headers[0] = authorization;
    }
    const struct http_config http = {
        .upstream = "embedder",
        .timeout_ms = config->timeout_ms,
        .headers = headers,
        .observer = config->observer,
        .observer_context = config->observer_context,
    };
    embedder->http = http_new(&http);
    if (embedder->http == NULL) {
        return error_set(err, STATUS_OOM, "no memory for the embedder's client");
    }
    return STATUS_OK;
}

static enum status name_it(struct embedder *embedder, const struct embedder_config *config,
                           struct error *err)
{
    if (config->kind == EMBEDDER_BUILTIN) {
        if (embedder->dimension < BUILTIN_MIN || embedder->dimension > BUILTIN_MAX) {
            return error_set(err, STATUS_INVALID,
                             "STILLHOUSE_EMBED_DIMENSION: %zu, expected %d to %d for the builtin "
                             "embedder",
                             embedder->dimension, BUILTIN_MIN, BUILTIN_MAX);
        }
        snprintf(embedder->identity, sizeof embedder->identity, "builtin-%zu-v1",
                 embedder->dimension);
        return STATUS_OK;
    }
    snprintf(embedder->model, sizeof embedder->model, "%s",
             text_or(config->model, presets[config->kind].model));
    snprintf(embedder->identity, sizeof embedder->identity, "%s/%s",
             config->kind == EMBEDDER_OPENAI ? "openai" : "ollama", embedder->model);
    snprintf(embedder->url, sizeof embedder->url, "%s",
             text_or(config->url, presets[config->kind].url));
    while (embedder->url[0] != '\0' && embedder->url[strlen(embedder->url) - 1] == '/') {
        embedder->url[strlen(embedder->url) - 1] = '\0';
    }
    if (http_check_url(embedder->url, err) != STATUS_OK) {
        return error_wrap(err, "STILLHOUSE_EMBED_URL");
    }
    return STATUS_OK;
}

enum status embedder_new(const struct embedder_config *config, struct embedder **out,
                         struct error *err)
{
    struct embedder *embedder = calloc(1, sizeof *embedder);
    if (embedder == NULL) {
        return error_set(err, STATUS_OOM, "no memory for the embedder");
    }
    embedder->kind = config->kind;
    embedder->ask_dimension = config->dimension > 0;
    embedder->ask_packed = true;
    embedder->dimension = config->dimension;
    if (config->dimension == 0) {
        embedder->dimension =
            config->kind == EMBEDDER_BUILTIN
                ? BUILTIN_DIMENSION
                : dimension_of(text_or(config->model, presets[config->kind].model));
    }

    enum status status = name_it(embedder, config, err);
    if (status == STATUS_OK && config->kind != EMBEDDER_BUILTIN) {
        status = open_http(embedder, config, err);
    }
    if (status != STATUS_OK) {
        embedder_free(embedder);
        return status;
    }
    *out = embedder;
    return STATUS_OK;
}

void embedder_free(struct embedder *embedder)
{
    if (embedder != NULL) {
        http_free(embedder->http);
        http_response_free(&embedder->response);
        strbuf_free(&embedder->request);
        free(embedder);
    }
}

void embedder_on_wait(struct embedder *embedder, http_waiter *waiter, void *context)
{
    if (embedder->http != NULL) {
        http_on_wait(embedder->http, waiter, context);
    }
}

void embedder_set_timeout(struct embedder *embedder, int timeout_ms)
{
    embedder->timeout_ms = timeout_ms;
}

size_t embedder_dimension(const struct embedder *embedder)
{
    return embedder->dimension;
}

enum status embedder_compare(struct embedder *embedder, struct error *err)
{
    static const struct slice text = {"a short text", 12};
    float *vector = calloc(embedder->dimension + 1, sizeof *vector);

    if (vector == NULL) {
        return error_set(err, STATUS_OOM, "no memory for a vector");
    }
    embedder->compares = true;
    const enum status status = embedder_embed(embedder, &text, 1, vector, err);
    embedder->compares = false;
    free(vector);
    return status;
}

/* Any vector is refused by its length until then, so the answer is still there to be read. */
enum status embedder_learn(struct embedder *embedder, struct error *err)
{
    size_t length = 0;

    if (embedder->dimension > 0) {
        return STATUS_OK;
    }
    enum status status = embedder_compare(embedder, err);
    if (status != STATUS_MISMATCH) {
        return status == STATUS_OK ? error_set(err, STATUS_GARBLED, "a vector without numbers")
                                   : status;
    }
    status = embedder_decode_length(embedder->response.body.data, embedder->response.body.bytes,
                                    &length, err);
    if (status == STATUS_OK && length > LENGTH_MAX) {
        status = error_set(err, STATUS_GARBLED, "a vector of %zu numbers", length);
    }
    if (status == STATUS_OK) {
        embedder->dimension = length;
    }
    return status;
}

const char *embedder_model(const struct embedder *embedder)
{
    return embedder->identity;
}

enum status embedder_normalise(float *vector, size_t dimension, struct error *err)
{
    double sum = 0;

    for (size_t i = 0; i < dimension; i++) {
        if (!isfinite(vector[i])) {
            return error_set(err, STATUS_GARBLED, "number %zu is not finite", i);
        }
        sum += (double)vector[i] * (double)vector[i];
    }
    if (sum == 0) {
        return error_set(err, STATUS_GARBLED, "all %zu numbers are zero", dimension);
    }
    double scale = sqrt(sum);
    for (size_t i = 0; i < dimension; i++) {
        vector[i] = (float)((double)vector[i] / scale);
    }
    return STATUS_OK;
}

static enum status check_texts(const struct slice *texts, size_t count, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (text_is_blank(texts[i].data, texts[i].bytes)) {
            return error_set(err, STATUS_INVALID, "text %zu of %zu is blank", i + 1, count);
        }
        if (!text_is_utf8(texts[i].data, texts[i].bytes)) {
            return error_set(err, STATUS_INVALID, "text %zu of %zu is not UTF-8", i + 1, count);
        }
    }
    return STATUS_OK;
}

static enum status ask(struct embedder *embedder, const struct slice *texts, size_t count,
                       float *vectors, struct error *err)
{
    if (embedder->kind == EMBEDDER_OPENAI) {
        return embedder_ask_openai(embedder, texts, count, vectors, err);
    }
    return embedder_ask_ollama(embedder, texts, count, vectors, err);
}

enum status embedder_embed(struct embedder *embedder, const struct slice *texts, size_t count,
                           float *vectors, struct error *err)
{
    enum status status = check_texts(texts, count, err);

    if (status != STATUS_OK) {
        return status;
    }
    if (embedder->kind == EMBEDDER_BUILTIN) {
        for (size_t i = 0; i < count; i++) {
            embedder_builtin(texts[i].data, texts[i].bytes, vectors + i * embedder->dimension,
                             embedder->dimension);
        }
        return STATUS_OK;
    }
    for (size_t done = 0; done < count && status == STATUS_OK; done += EMBEDDER_REQUEST_MAX) {
        size_t part = count - done < EMBEDDER_REQUEST_MAX ? count - done : EMBEDDER_REQUEST_MAX;
        status = ask(embedder, texts + done, part, vectors + done * embedder->dimension, err);
    }
    return status;
}
