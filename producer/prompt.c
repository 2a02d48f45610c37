/* The prompt of a task: enriched when examples are at hand, else as it is. Nothing here can fail a
 * task. */
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "clock.h"

/* few_shot, a blank line, base. NULL when there is nothing to put in front, or memory is short. */
static char *enrich(const stillhouse_result *result, const char *base)
{
    size_t front = strlen(result->few_shot);
    size_t back = strlen(base);

    if (result->count == 0 || front == 0) {
        return NULL;
    }
    bool newline = result->few_shot[front - 1] == '\n';
    char *text = malloc(front + 2 + back + 1);
    if (text == NULL) {
        return NULL;
    }
    memcpy(text, result->few_shot, front);
    text[front] = '\n';
    text[front + 1] = '\n';
    memcpy(text + front + (newline ? 1 : 2), base, back + 1);
    return text;
}

static void use(stillhouse_client *client, const char *base, const void *bytes, size_t count,
                bool stale, stillhouse_prompt_result *out)
{
    stillhouse_result *result = client_make_result(client, bytes, count, stale);

    if (result == NULL) {
        out->status = STILLHOUSE_FAILED;
        return;
    }
    out->status = STILLHOUSE_OK;
    out->owned = enrich(result, base);
    if (out->owned != NULL) {
        out->text = out->owned;
        out->kind = stale ? STILLHOUSE_PROMPT_STALE : STILLHOUSE_PROMPT_ENRICHED;
        out->examples = result->count;
    }
    stillhouse_result_free(result);
}

static bool is_old(stillhouse_client *client, const struct strbuf *bytes)
{
    struct arena arena = {0};
    struct enrich_result result;
    bool old = true;

    if (bodies_decode_result(bytes->data, bytes->bytes, &arena, &result, &client->error) ==
        STATUS_OK) {
        int64_t age_ms = clock_unix_ms() - result.created_unix_ms;
        old = age_ms < 0 || age_ms >= client->cache_fresh_ms;
    }
    arena_free(&arena);
    return old;
}

/* Enqueues the enrichment, and waits for it where the caller gave it time. */
static void ask(stillhouse_client *client, const char *domain, const char *query, const char *base,
                int wait_ms, stillhouse_prompt_result *out)
{
    const stillhouse_job_options options = {.reply = wait_ms > 0};
    char id[STILLHOUSE_ID_BYTES];
    void *body = NULL;
    size_t bytes = 0;
    stillhouse_status status = stillhouse_enqueue_enrich(client, domain, query, 0, &options, id);

    if (status == STILLHOUSE_OK && wait_ms > 0) {
        status = stillhouse_await_raw(client, "enrich", id, wait_ms, &body, &bytes);
    } else if (status == STILLHOUSE_OK) {
        status = STILLHOUSE_NOT_FOUND; /* a miss that will be a hit */
    }
    if (status == STILLHOUSE_OK) {
        use(client, base, body, bytes, false, out);
    } else {
        out->status = status;
    }
    free(body);
}

stillhouse_prompt_kind stillhouse_prompt(stillhouse_client *client, const char *domain,
                                         const char *query, const char *base, int wait_ms,
                                         stillhouse_prompt_result *out)
{
    struct strbuf bytes = {0};
    bool stale = false;
    int k = 0;

    *out = (stillhouse_prompt_result){
        .text = base, .kind = STILLHOUSE_PROMPT_FALLBACK, .status = STILLHOUSE_OK};
    enum status status = client_check_domain(client, domain);
    if (status == STATUS_OK) {
        status = client_check_query(client, query, &k);
    }
    if (status == STATUS_OK) {
        status = client_find(client, domain, query, k, &bytes, &stale);
    }
    if (status == STATUS_OK) {
        bool refresh = stale && is_old(client, &bytes);
        use(client, base, bytes.data, bytes.bytes, stale, out);
        if (refresh) {
            (void)stillhouse_enqueue_enrich(client, domain, query, 0, NULL, NULL);
        }
    } else if (status == STATUS_NOT_FOUND) {
        ask(client, domain, query, base, wait_ms, out);
    } else {
        out->status = client_status(client, status);
    }
    strbuf_free(&bytes);

    client->counts.enriched += out->kind == STILLHOUSE_PROMPT_ENRICHED;
    client->counts.stale += out->kind == STILLHOUSE_PROMPT_STALE;
    client->counts.fallback += out->kind == STILLHOUSE_PROMPT_FALLBACK;
    return out->kind;
}

void stillhouse_prompt_free(stillhouse_prompt_result *prompt)
{
    free(prompt->owned);
    prompt->owned = NULL;
    prompt->text = "";
}
