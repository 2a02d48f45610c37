/* chroma.c - the handle, one call, and the collection of a domain.
 *
 * Happy path: the domain's UUID is in the handle's map, so an operation is one request.
 *
 * Failure modes: a 404 under a UUID means that the collection was deleted, perhaps made again: it
 * is forgotten, looked up by name and the call made once more. A 500 "Error finding id" comes when
 * a query meets a write: once more. All else is the caller's to retry.
 *
 * A collection enters the map only after its space, embedder and dimension were found to be ours,
 * so what is in the map is never checked again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "chroma/internal.h"
#include "json/write.h"

#define uthash_fatal(text) must_die()
#include <uthash.h>

enum { KEEP_BYTES = 64 * 1024, TOKEN_HEADER_BYTES = 2048 };

struct chroma_collection {
    char domain[CHROMA_DOMAIN_BYTES]; /* as it is asked for */
    char id[CHROMA_ID_BYTES];
    UT_hash_handle hh;
};

/* "<before><value, percent-encoded>" at the end of `out`. */
static void append_escaped(struct strbuf *out, const char *before, const char *value)
{
    static const char unreserved[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";

    strbuf_append_str(out, before);
    for (; *value != '\0'; value++) {
        if (strchr(unreserved, *value) != NULL) {
            strbuf_append_char(out, *value);
        } else {
            strbuf_printf(out, "%%%02X", (unsigned)(unsigned char)*value);
        }
    }
}

static void build_urls(struct chroma *chroma, const struct chroma_config *config)
{
    struct strbuf url = {0};
    size_t bytes = strlen(config->url);
    while (bytes > 0 && config->url[bytes - 1] == '/') {
        bytes--;
    }

    strbuf_append(&url, config->url, bytes);
    strbuf_append_str(&url, "/api/v2");
    strbuf_must(&url);
    chroma->api_url = must_copy(url.data, url.bytes);
    append_escaped(&url, "/tenants/", config->tenant);
    append_escaped(&url, "/databases/", config->database);
    strbuf_must(&url);
    chroma->database_url = must_copy(url.data, url.bytes);
    strbuf_free(&url);
}

static void open_http(struct chroma *chroma, const char *token)
{
    char token_header[TOKEN_HEADER_BYTES];
    char bearer_header[TOKEN_HEADER_BYTES];
    const char *headers[] = {token_header, bearer_header, NULL};
    int token_bytes = (int)strcspn(token, "\r\n"); /* it must not bring headers of its own */

    snprintf(token_header, sizeof token_header, "x-chroma-token: %.*s", token_bytes, token);
    snprintf(bearer_header, sizeof bearer_header, "Authorization: Bearer %.*s", token_bytes, token);
    chroma->http = http_new(&(struct http_config){
        .upstream = "chroma",
        .timeout_ms = chroma->config.timeout_ms,
        .headers = token_bytes > 0 ? headers : NULL,
        .observer = chroma->config.observer,
        .observer_context = chroma->config.observer_context,
    });
}

struct chroma *chroma_new(const struct chroma_config *config)
{
    struct chroma *chroma = must_alloc(1, sizeof *chroma);

    chroma->config = *config;
    chroma->config.url = must_copy(config->url, strlen(config->url));
    chroma->config.tenant = NULL;
    chroma->config.database = NULL;
    chroma->config.token = NULL;
    build_urls(chroma, config);
    open_http(chroma, config->token == NULL ? "" : config->token);
    return chroma;
}

static void forget(struct chroma *chroma, struct chroma_collection *collection)
{
    HASH_DEL(chroma->collections, collection);
    free(collection);
}

void chroma_free(struct chroma *chroma)
{
    if (chroma == NULL) {
        return;
    }
    struct chroma_collection *collection = NULL;
    struct chroma_collection *next = NULL;
    HASH_ITER(hh, chroma->collections, collection, next)
    {
        forget(chroma, collection);
    }
    http_free(chroma->http);
    http_response_free(&chroma->response);
    strbuf_free(&chroma->url);
    strbuf_free(&chroma->request);
    free(chroma->api_url);
    free(chroma->database_url);
    free((char *)chroma->config.url);
    free(chroma);
}

struct strbuf *chroma_request(struct chroma *chroma)
{
    strbuf_reset(&chroma->request);
    chroma->foreign_from = SIZE_MAX;
    return &chroma->request;
}

static bool wants_repeating(const struct http_response *response)
{
    static const char text[] = "Error finding id";
    return response->code == 500 && response->body.bytes > 0 &&
           memmem(response->body.data, response->body.bytes, text, strlen(text)) != NULL;
}

static enum status send_once(struct chroma *chroma, const struct chroma_call *call,
                             struct error *err)
{
    return http_perform(chroma->http,
                        &(struct http_request){
                            .method = call->method,
                            .url = chroma->url.data,
                            .operation = call->operation,
                            .body = call->body == NULL ? NULL : call->body->data,
                            .body_bytes = call->body == NULL ? 0 : call->body->bytes,
                            .foreign_from = call->foreign_from,
                            .timeout_ms = call->timeout_ms,
                        },
                        &chroma->response, err);
}

/* Chroma's own 404 is JSON or empty; a web server's is a page. */
static bool is_web_page(const struct http_response *response)
{
    const struct strbuf *body = &response->body;
    return body->bytes > 0 && body->data[strspn(body->data, " \t\r\n")] == '<';
}

enum status chroma_perform(struct chroma *chroma, const struct chroma_call *call, struct error *err)
{
    strbuf_must(&chroma->url);
    if (call->body != NULL) {
        strbuf_must(call->body);
    }
    enum status status = send_once(chroma, call, err);
    if (status == STATUS_OK && wants_repeating(&chroma->response)) {
        status = send_once(chroma, call, err);
    }
    if (status != STATUS_OK || (chroma->response.code >= 200 && chroma->response.code < 300)) {
        return status;
    }

    char what[ERROR_TEXT_BYTES / 2];
    snprintf(what, sizeof what, "chroma at \"%.64s\": %.80s", chroma->config.url, call->what);
    if (chroma->response.code == 404 && is_web_page(&chroma->response)) {
        return error_set(err, STATUS_GARBLED,
                         "%s: http 404 with a web page; this does not look like a Chroma", what);
    }
    return http_code_status(&chroma->response, what, err);
}

void chroma_end_answer(struct chroma *chroma)
{
    strbuf_trim(&chroma->response.body, KEEP_BYTES);
}

enum status chroma_answer(struct chroma *chroma, const char *what, cJSON **out, struct error *err)
{
    struct error inner = {0};
    enum status status =
        chroma_parse(chroma->response.body.data, chroma->response.body.bytes, out, &inner);
    if (status != STATUS_OK) {
        error_set(err, status, "chroma at \"%.64s\": %s: %.128s", chroma->config.url, what,
                  inner.text);
    }
    chroma_end_answer(chroma);
    return status;
}

void chroma_set_url(struct chroma *chroma, const char *base, const char *path)
{
    strbuf_reset(&chroma->url);
    strbuf_append_str(&chroma->url, base);
    strbuf_append_str(&chroma->url, path);
}

/* ---- the collection of a domain ---- */

/* False: it is no domain. */
static bool collection_name(const char *domain, char out[CHROMA_NAME_BYTES])
{
    const bool is_tasks = strncmp(domain, CHROMA_TASKS, strlen(CHROMA_TASKS)) == 0;
    const char *of = is_tasks ? domain + strlen(CHROMA_TASKS) : domain;

    snprintf(out, CHROMA_NAME_BYTES, "%s%s", is_tasks ? CHROMA_TASKS_NAME : CHROMA_NAME, of);
    return text_is_domain(of, strlen(of));
}

static void write_create_request(const struct chroma *chroma, const char *name, struct strbuf *out)
{
    strbuf_append_str(out, "{\"name\":");
    json_str(out, name);
    strbuf_append_str(out, ",\"get_or_create\":true,\"metadata\":{\"embedder\":");
    json_str(out, chroma->config.identity.model);
    strbuf_append_str(out, ",\"dimension\":");
    json_int(out, (int64_t)chroma->config.identity.dimension);
    strbuf_append_str(out, ",\"normalised\":true},\"configuration\":{\"hnsw\":{"
                           "\"space\":\"cosine\",\"max_neighbors\":16,\"ef_construction\":100,"
                           "\"ef_search\":200,\"sync_threshold\":100}}}");
}

static enum status find_collection(struct chroma *chroma, const char *name, struct error *err)
{
    char what[CHROMA_NAME_BYTES + 32];
    snprintf(what, sizeof what, "collection \"%s\"", name);
    chroma_set_url(chroma, chroma->database_url, "/collections/");
    strbuf_append_str(&chroma->url, name);
    return chroma_perform(
        chroma, &(struct chroma_call){.method = "GET", .operation = "open", .what = what}, err);
}

static enum status create_collection(struct chroma *chroma, const char *name, struct error *err)
{
    struct strbuf body = {0};
    char what[CHROMA_NAME_BYTES + 32];
    snprintf(what, sizeof what, "create collection \"%s\"", name);
    chroma_set_url(chroma, chroma->database_url, "/collections");
    write_create_request(chroma, name, &body);
    enum status status = chroma_perform(chroma,
                                        &(struct chroma_call){.method = "POST",
                                                              .operation = "create",
                                                              .what = what,
                                                              .body = &body,
                                                              .foreign_from = body.bytes},
                                        err);
    strbuf_free(&body);
    if (status != STATUS_OK && chroma->response.code == 409) {
        return find_collection(chroma, name, err); /* somebody else was quicker */
    }
    return status;
}

/* Reads a collection from the last response, checks that it is ours and puts it into the map. */
static enum status remember(struct chroma *chroma, const char *domain, const char *name,
                            struct chroma_collection **out, struct error *err)
{
    cJSON *root = NULL;
    TRY(chroma_answer(chroma, name, &root, err));
    struct chroma_collection *collection = must_alloc(1, sizeof *collection);
    const enum status status =
        chroma_decode_collection(root, name, &chroma->config.identity, collection->id, err);
    cJSON_Delete(root);
    if (status != STATUS_OK) {
        free(collection);
        return status;
    }
    snprintf(collection->domain, sizeof collection->domain, "%s", domain);
    HASH_ADD_STR(chroma->collections, domain, collection);
    *out = collection;
    return STATUS_OK;
}

static enum status resolve(struct chroma *chroma, const char *domain, bool create,
                           struct chroma_collection **out, struct error *err)
{
    char name[CHROMA_NAME_BYTES];

    if (!collection_name(domain, name)) {
        char excerpt[48];
        return error_set(err, STATUS_INVALID, "\"%s\" is not a domain",
                         text_excerpt(domain, strlen(domain), excerpt));
    }
    HASH_FIND_STR(chroma->collections, domain, *out);
    if (*out != NULL) {
        return STATUS_OK;
    }
    enum status status =
        create ? create_collection(chroma, name, err) : find_collection(chroma, name, err);
    if (status == STATUS_OK) {
        status = remember(chroma, domain, name, out, err);
    }
    chroma->look = status == STATUS_OK ? CHROMA_LOOK_PASSED : CHROMA_LOOK_FAILED;
    return status;
}

void chroma_set_dimension(struct chroma *chroma, size_t dimension)
{
    chroma->config.identity.dimension = dimension;
}

void chroma_on_wait(struct chroma *chroma, http_waiter *waiter, void *context)
{
    http_on_wait(chroma->http, waiter, context);
}

enum chroma_look chroma_take_look(struct chroma *chroma)
{
    const enum chroma_look look = chroma->look;

    chroma->look = CHROMA_LOOK_NONE;
    return look;
}

enum status chroma_open_collection(struct chroma *chroma, const char *domain, bool create,
                                   struct error *err)
{
    struct chroma_collection *collection = NULL;
    return resolve(chroma, domain, create, &collection, err);
}

static enum status call_collection(struct chroma *chroma, const struct chroma_action *action,
                                   const struct chroma_collection *collection, struct error *err)
{
    char name[CHROMA_NAME_BYTES];
    char what[CHROMA_NAME_BYTES + 32];
    const bool has_body = strcmp(action->method, "POST") == 0;

    (void)collection_name(action->domain, name); /* it was looked up by it */
    snprintf(what, sizeof what, "%s \"%s\"", action->name, name);
    chroma_set_url(chroma, chroma->database_url, "/collections/");
    strbuf_append_str(&chroma->url, collection->id);
    strbuf_append_char(&chroma->url, '/');
    strbuf_append_str(&chroma->url, action->name);
    return chroma_perform(chroma,
                          &(struct chroma_call){.method = action->method,
                                                .operation = action->name,
                                                .what = what,
                                                .body = has_body ? &chroma->request : NULL,
                                                .foreign_from = chroma->foreign_from},
                          err);
}

enum status chroma_on_collection(struct chroma *chroma, const struct chroma_action *action,
                                 struct error *err)
{
    enum status status = STATUS_NOT_FOUND;

    for (int attempt = 0; attempt < 2 && status == STATUS_NOT_FOUND; attempt++) {
        struct chroma_collection *collection = NULL;
        status = resolve(chroma, action->domain, action->create, &collection, err);
        if (status != STATUS_OK) {
            break;
        }
        status = call_collection(chroma, action, collection, err);
        if (status == STATUS_NOT_FOUND) {
            forget(chroma, collection);
        }
    }
    strbuf_trim(&chroma->request, KEEP_BYTES); /* most of the time it would only lie there */
    return status;
}
