#include "embedder/embedder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/strbuf.h"
#include "base/text.h"
#include "embedder/builtin.h"
#include "embedder/decode.h"
#include "json/write.h"

enum {
    REQUEST_MAX = 256, /* texts */
    URL_BYTES = EMBEDDER_TEXT_BYTES + 32,
};

struct embedder {
    enum embedder_kind kind;
    char model[160];    /* what the server is asked for */
    char identity[192]; /* the name in keys and collections */
    size_t dimension;
    bool ask_dimension; /* it was configured: sent to an OpenAI-compatible server */
    bool ask_packed;    /* base64, which is shorter */
    bool fields_work;   /* a request with these optional fields passed */
    bool compares;      /* the text is our own: a refusal is none of it */
    int timeout_ms;     /* of a request; 0 = the client's */
    bool ollama_singly; /* /api/embed is not there: /api/embeddings, one text a request */
    char url[EMBEDDER_TEXT_BYTES];
    struct http *http;
    struct http_response response;
    struct strbuf request;
    size_t texts_from; /* where the texts begin in it: the model before them may be quoted */
};

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
    return strlen(key) < EMBEDDER_TEXT_BYTES
               ? STATUS_OK
               : error_set(err, STATUS_INVALID, "STILLHOUSE_EMBED_KEY: longer than %d bytes",
                           EMBEDDER_TEXT_BYTES - 1);
}

static enum status open_http(struct embedder *embedder, const struct embedder_config *config,
                             struct error *err)
{
    char authorization[EMBEDDER_TEXT_BYTES + 32];
    const char *headers[] = {NULL, NULL};

    const char *key = text_or(config->key, "");
    TRY(check_key(key, err));
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
    struct embedder *embedder = must_alloc(1, sizeof *embedder);

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
    float *vector = must_alloc(embedder->dimension + 1, sizeof *vector);

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
    TRY(embedder_decode_length(embedder->response.body.data, embedder->response.body.bytes, &length,
                               err));
    if (length > LENGTH_MAX) {
        return error_set(err, STATUS_GARBLED, "a vector of %zu numbers", length);
    }
    embedder->dimension = length;
    return STATUS_OK;
}

const char *embedder_model(const struct embedder *embedder)
{
    return embedder->identity;
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

/* ---- requests ----------------------------------------------------------------------------- */

static void start_request(struct embedder *embedder)
{
    strbuf_trim(&embedder->request, 1024 * 1024);
    strbuf_append_str(&embedder->request, "{\"model\":");
    json_str(&embedder->request, embedder->model);
    embedder->texts_from = embedder->request.bytes;
}

static void add_texts(struct embedder *embedder, const struct slice *texts, size_t count)
{
    struct strbuf *request = &embedder->request;

    embedder->texts_from = request->bytes; /* the fields before them may be quoted */
    strbuf_append_str(request, ",\"input\":[");
    for (size_t i = 0; i < count; i++) {
        if (i > 0) {
            strbuf_append_char(request, ',');
        }
        json_string(request, texts[i].data, texts[i].bytes);
    }
    strbuf_append_char(request, ']');
}

/* Posts the request; STATUS_OK whenever an answer came, whatever its code. */
static enum status post(struct embedder *embedder, const char *path, struct error *err)
{
    char url[URL_BYTES];

    strbuf_must(&embedder->request);
    snprintf(url, sizeof url, "%s%s", embedder->url, path);
    const struct http_request request = {
        .method = "POST",
        .url = url,
        .operation = "embed",
        .body = embedder->request.data,
        .body_bytes = embedder->request.bytes,
        .foreign_from = embedder->texts_from,
        .timeout_ms = embedder->timeout_ms,
    };
    return http_perform(embedder->http, &request, &embedder->response, err);
}

static enum status check_code(const struct embedder *embedder, struct error *err)
{
    if (embedder->response.code >= 200 && embedder->response.code < 300) {
        return STATUS_OK;
    }
    return http_code_status(&embedder->response, "embedder", err);
}

/* Posts it, and takes only a success. */
static enum status post_well(struct embedder *embedder, const char *path, struct error *err)
{
    TRY(post(embedder, path, err));
    return check_code(embedder, err);
}

static enum status ask_openai_once(struct embedder *embedder, const struct slice *texts,
                                   size_t count, float *vectors, struct error *err)
{
    start_request(embedder);
    if (embedder->ask_packed) {
        strbuf_append_str(&embedder->request, ",\"encoding_format\":\"base64\"");
    }
    if (embedder->ask_dimension) {
        strbuf_printf(&embedder->request, ",\"dimensions\":%zu", embedder->dimension);
    }
    add_texts(embedder, texts, count);
    strbuf_append_char(&embedder->request, '}');

    TRY(post_well(embedder, "/embeddings", err));
    embedder->fields_work = true;
    return embedder_decode_openai(embedder->response.body.data, embedder->response.body.bytes,
                                  count, embedder->dimension, vectors, err);
}

static bool mentions(const struct strbuf *body, const char *word)
{
    return body->bytes > 0 && memmem(body->data, body->bytes, word, strlen(word)) != NULL;
}

/* After a refusal of what was sent: leaves out the optional fields that it names, or all of them
 * where our own text was refused without a reason. False when there is nothing to leave out. */
static bool leave_out(struct embedder *embedder)
{
    const struct http_response *response = &embedder->response;
    const bool names_length = mentions(&response->body, "dimension");
    const bool names_packing =
        mentions(&response->body, "encoding_format") || mentions(&response->body, "base64");
    const bool names_none = embedder->compares && !names_length && !names_packing;
    const bool length = embedder->ask_dimension && (names_length || names_none);
    const bool packed = embedder->ask_packed && (names_packing || names_none);

    if (embedder->fields_work || (response->code != 400 && response->code != 422)) {
        return false;
    }
    embedder->ask_dimension = embedder->ask_dimension && !length;
    embedder->ask_packed = embedder->ask_packed && !packed;
    return length || packed;
}

/* Not every server knows `dimensions` and `encoding_format`: one that refuses them is asked
 * without, and from then on, since a request without them passes. */
static enum status ask_openai(struct embedder *embedder, const struct slice *texts, size_t count,
                              float *vectors, struct error *err)
{
    const bool dimension = embedder->ask_dimension;
    const bool packed = embedder->ask_packed;
    const enum status first = ask_openai_once(embedder, texts, count, vectors, err);
    enum status status = first;
    struct error own = *err;

    while (status == STATUS_INVALID && leave_out(embedder)) {
        own = (struct error){0};
        status = ask_openai_once(embedder, texts, count, vectors, &own);
    }
    if (embedder->fields_work) {
        *err = own;
        return status;
    }
    embedder->ask_dimension = dimension;
    embedder->ask_packed = packed;
    return first;
}

/* /api/embeddings of older servers: one text a request. */
static enum status ask_singly(struct embedder *embedder, const struct slice *texts, size_t count,
                              float *vectors, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        start_request(embedder);
        strbuf_append_str(&embedder->request, ",\"prompt\":");
        json_string(&embedder->request, texts[i].data, texts[i].bytes);
        strbuf_append_char(&embedder->request, '}');

        TRY(post_well(embedder, "/api/embeddings", err));
        TRY(embedder_decode_ollama(embedder->response.body.data, embedder->response.body.bytes, 1,
                                   embedder->dimension, vectors + i * embedder->dimension, err));
    }
    return STATUS_OK;
}

static enum status ask_ollama(struct embedder *embedder, const struct slice *texts, size_t count,
                              float *vectors, struct error *err)
{
    if (embedder->ollama_singly) {
        return ask_singly(embedder, texts, count, vectors, err);
    }
    start_request(embedder);
    add_texts(embedder, texts, count);
    strbuf_append_char(&embedder->request, '}');

    TRY(post(embedder, "/api/embed", err));
    if (embedder->response.code == 404 || embedder->response.code == 405) {
        /* An old server, or a model it does not have: the old path then says which. */
        const enum status status = ask_singly(embedder, texts, count, vectors, err);
        embedder->ollama_singly = status == STATUS_OK;
        return status;
    }
    TRY(check_code(embedder, err));
    return embedder_decode_ollama(embedder->response.body.data, embedder->response.body.bytes,
                                  count, embedder->dimension, vectors, err);
}

enum status embedder_embed(struct embedder *embedder, const struct slice *texts, size_t count,
                           float *vectors, struct error *err)
{
    enum status (*const ask)(struct embedder *, const struct slice *, size_t, float *,
                             struct error *) =
        embedder->kind == EMBEDDER_OPENAI ? ask_openai : ask_ollama;

    TRY(check_texts(texts, count, err));
    if (embedder->kind == EMBEDDER_BUILTIN) {
        for (size_t i = 0; i < count; i++) {
            embedder_builtin(texts[i].data, texts[i].bytes, vectors + i * embedder->dimension,
                             embedder->dimension);
        }
        return STATUS_OK;
    }
    for (size_t done = 0; done < count; done += REQUEST_MAX) {
        size_t part = count - done < REQUEST_MAX ? count - done : REQUEST_MAX;
        TRY(ask(embedder, texts + done, part, vectors + done * embedder->dimension, err));
    }
    return STATUS_OK;
}
