/* Requests to OpenAI-compatible servers and to Ollama. The answers are read in embedder/decode.c.
 */
#include <stdio.h>
#include <string.h>

#include "embedder/internal.h"
#include "json/write.h"

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
    char url[EMBEDDER_URL_BYTES];

    if (!strbuf_ok(&embedder->request)) {
        return error_set(err, STATUS_OOM, "no memory for an embedding request");
    }
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

    enum status status = post(embedder, "/embeddings", err);
    if (status == STATUS_OK) {
        status = check_code(embedder, err);
    }
    if (status != STATUS_OK) {
        return status;
    }
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
enum status embedder_ask_openai(struct embedder *embedder, const struct slice *texts, size_t count,
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

        enum status status = post(embedder, "/api/embeddings", err);
        if (status == STATUS_OK) {
            status = check_code(embedder, err);
        }
        if (status == STATUS_OK) {
            status = embedder_decode_ollama(embedder->response.body.data,
                                            embedder->response.body.bytes, 1, embedder->dimension,
                                            vectors + i * embedder->dimension, err);
        }
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

enum status embedder_ask_ollama(struct embedder *embedder, const struct slice *texts, size_t count,
                                float *vectors, struct error *err)
{
    if (embedder->ollama_singly) {
        return ask_singly(embedder, texts, count, vectors, err);
    }
    start_request(embedder);
    add_texts(embedder, texts, count);
    strbuf_append_char(&embedder->request, '}');

    enum status status = post(embedder, "/api/embed", err);
    if (status != STATUS_OK) {
        return status;
    }
    if (embedder->response.code == 404 || embedder->response.code == 405) {
        /* An old server, or a model it does not have: the old path then says which. */
        status = ask_singly(embedder, texts, count, vectors, err);
        embedder->ollama_singly = status == STATUS_OK;
        return status;
    }
    status = check_code(embedder, err);
    if (status != STATUS_OK) {
        return status;
    }
    return embedder_decode_ollama(embedder->response.body.data, embedder->response.body.bytes,
                                  count, embedder->dimension, vectors, err);
}
