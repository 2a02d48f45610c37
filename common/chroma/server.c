/* chroma/server.c - the calls that ask the server, not a collection. */
#include <stdio.h>
#include <string.h>

#include "chroma/internal.h"

/* GET `base``path` and its answer as JSON. */
static enum status ask_server(struct chroma *chroma, const char *base, const char *path,
                              int timeout_ms, cJSON **out, struct error *err)
{
    const char *operation = path + 1;
    chroma_set_url(chroma, base, path);
    enum status status = chroma_perform(
        chroma,
        &(struct chroma_call){
            .method = "GET", .operation = operation, .what = operation, .timeout_ms = timeout_ms},
        err);
    if (status == STATUS_NOT_FOUND) { /* no page of that name: not a Chroma of API v2 */
        status = error_set(err, STATUS_GARBLED,
                           "chroma at \"%.64s\": http 404 for %s; this does not look like a Chroma "
                           "with API v2",
                           chroma->config.url, path);
    }
    return status == STATUS_OK ? chroma_answer(chroma, operation, out, err) : status;
}

static enum status not_chroma(const struct chroma *chroma, const char *what, struct error *err)
{
    return error_set(err, STATUS_GARBLED,
                     "chroma at \"%.64s\": the answer to %s does not look like a Chroma's",
                     chroma->config.url, what);
}

enum status chroma_heartbeat(struct chroma *chroma, int timeout_ms, struct error *err)
{
    cJSON *root = NULL;
    TRY(ask_server(chroma, chroma->api_url, "/heartbeat", timeout_ms, &root, err));
    bool known = cJSON_IsNumber(cJSON_GetObjectItemCaseSensitive(root, "nanosecond heartbeat"));
    cJSON_Delete(root);
    return known ? STATUS_OK : not_chroma(chroma, "heartbeat", err);
}

enum status chroma_version(struct chroma *chroma, char out[64], struct error *err)
{
    cJSON *root = NULL;
    TRY(ask_server(chroma, chroma->api_url, "/version", 0, &root, err));
    bool known = cJSON_IsString(root);
    if (known) {
        char excerpt[48];
        snprintf(out, 64, "%s",
                 text_excerpt(root->valuestring, strlen(root->valuestring), excerpt));
    }
    cJSON_Delete(root);
    return known ? STATUS_OK : not_chroma(chroma, "version", err);
}

enum status chroma_list_domains(struct chroma *chroma, struct arena *arena,
                                struct chroma_domains *out, struct error *err)
{
    cJSON *root = NULL;
    char path[96];

    snprintf(path, sizeof path, "/collections?limit=%zu&offset=%zu", out->limit, out->offset);
    chroma_set_url(chroma, chroma->database_url, path);
    TRY(chroma_perform(
        chroma,
        &(struct chroma_call){.method = "GET", .operation = "collection", .what = "collections"},
        err));
    TRY(chroma_answer(chroma, "collections", &root, err));
    const enum status status = chroma_decode_domains(root, arena, out, err);
    cJSON_Delete(root);
    return status;
}

enum status chroma_collection_count(struct chroma *chroma, int64_t *count, struct error *err)
{
    cJSON *root = NULL;
    TRY(ask_server(chroma, chroma->database_url, "/collections_count", 0, &root, err));
    const enum status status = chroma_decode_count(root, count, err);
    cJSON_Delete(root);
    return status;
}
