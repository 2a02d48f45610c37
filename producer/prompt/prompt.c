/* The prompt for a task. Whatever happens, one comes out.
 *
 * Happy path: the block of examples is in memory, and is copied in front of the base prompt.
 * Failure modes: not in memory -> Redis is asked, bounded; not there -> the enrichment is enqueued,
 * bounded, and waited for as long as the caller allows; whatever fails -> what memory holds though
 * the domain has changed since, else the base prompt itself, with the reason. */
#include "prompt/prompt.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "enqueue/send.h"
#include "jobs/bodies.h"
#include "prompt/lookup.h"

struct asked {
    stillhouse_client *client;
    struct question question; /* for the default number of examples */
    const char *base;
    int wait_ms;
};

/* ---- the layout ---------------------------------------------------------------------------- */

char *prompt_compose(struct slice few_shot, const char *base)
{
    const size_t base_bytes = strlen(base);
    const bool ended = few_shot.bytes > 0 && few_shot.data[few_shot.bytes - 1] == '\n';
    const size_t gap_bytes = ended ? 1 : 2;

    char *text = malloc(few_shot.bytes + gap_bytes + base_bytes + 1);
    if (text == NULL) {
        return NULL;
    }
    memcpy(text, few_shot.data, few_shot.bytes);
    memcpy(text + few_shot.bytes, "\n\n", gap_bytes);
    memcpy(text + few_shot.bytes + gap_bytes, base, base_bytes + 1);
    return text;
}

/* Fills *out with the examples in front; leaves the base prompt where there are none. */
static enum status put_in_front(const struct asked *asked, struct slice few_shot, size_t count,
                                bool stale, stillhouse_prompt_result *out, struct error *err)
{
    if (count == 0 || few_shot.bytes == 0) {
        return STATUS_OK;
    }
    out->owned = prompt_compose(few_shot, asked->base);
    if (out->owned == NULL) {
        return error_set(err, STATUS_OOM, "out of memory for a prompt");
    }
    out->text = out->owned;
    out->examples = count;
    out->kind = stale ? STILLHOUSE_PROMPT_STALE : STILLHOUSE_PROMPT_ENRICHED;
    return STATUS_OK;
}

static enum status use_result(const struct asked *asked, const stillhouse_result *result,
                              stillhouse_prompt_result *out, struct error *err)
{
    if (result->error != NULL) {
        return error_set(err, STATUS_FAILED, "enrichment: %.240s", result->error);
    }
    const struct slice few_shot = {result->few_shot, strlen(result->few_shot)};
    return put_in_front(asked, few_shot, result->count, result->stale, out, err);
}

/* ---- a miss -------------------------------------------------------------------------------- */

static enum status order(const struct asked *asked, bool reply, char id[STILLHOUSE_ID_BYTES],
                         struct error *err)
{
    stillhouse_client *client = asked->client;
    const stillhouse_enrichment enrichment = {.domain = asked->question.domain,
                                              .query = asked->question.query};
    const stillhouse_job_options options = {.reply = reply};
    struct job_draft draft;

    enum status status = make_enrich(client, &enrichment, &options, &draft, err);
    if (status == STATUS_OK) {
        status = send_one(client, &client->enrich, &draft, id, err);
    }
    client_tidy(client);
    return status;
}

static enum status wait_for_result(const struct asked *asked, const char *id,
                                   stillhouse_prompt_result *out, struct error *err)
{
    stillhouse_client *client = asked->client;
    struct strbuf bytes = {0};
    stillhouse_result *result = NULL;

    enum status status = await_reply(client, &client->enrich, id, asked->wait_ms, &bytes, err);
    if (status == STATUS_OK) {
        const struct lookup_bytes from = {.data = bytes.data, .bytes = bytes.bytes};
        status = lookup_decode(client, &from, &asked->question, &result, err);
    }
    if (status == STATUS_OK) {
        status = use_result(asked, result, out, err);
    }
    stillhouse_result_free(result);
    strbuf_free(&bytes);
    return status;
}

/* What is not cached is ordered; NOT_FOUND when it is not there in time. */
static enum status order_and_wait(const struct asked *asked, stillhouse_prompt_result *out,
                                  struct error *err)
{
    char id[STILLHOUSE_ID_BYTES];

    const enum status status = order(asked, asked->wait_ms > 0, id, err);
    if (status != STATUS_OK) {
        return status;
    }
    if (asked->wait_ms > 0) {
        return wait_for_result(asked, id, out, err);
    }
    return error_set(err, STATUS_NOT_FOUND, "not cached yet: the enrichment was enqueued");
}

/* ---- a hit --------------------------------------------------------------------------------- */

/* A refresh is ordered when the stale result is no longer fresh; that it cannot be is no matter:
 * the next prompt tries again. */
static void refresh(const struct asked *asked, const stillhouse_result *result)
{
    const int64_t age_ms = clock_unix_ms() - result->created_unix_ms;
    struct error err = {0};

    if (age_ms < 0 || age_ms >= asked->client->config.cache_fresh_ms) {
        (void)order(asked, false, NULL, &err);
    }
}

static enum status ask_redis(const struct asked *asked, stillhouse_prompt_result *out,
                             struct error *err)
{
    stillhouse_result *result = NULL;
    struct question question = asked->question;

    enum status status = lookup_check(&question, err);
    if (status == STATUS_OK) {
        status = lookup_fetch(asked->client, &question, &result, err);
        if (status == STATUS_NOT_FOUND || status == STATUS_FAILED) {
            return order_and_wait(asked, out, err);
        }
    }
    if (status != STATUS_OK) {
        return status;
    }
    status = use_result(asked, result, out, err);
    if (result->stale) {
        refresh(asked, result);
    }
    stillhouse_result_free(result);
    return status;
}

static enum memory_answer recall(const struct asked *asked, struct memory_hit *hit)
{
    return memory_find(&asked->client->memory, &asked->question, clock_now_ms(), hit);
}

static enum status make_prompt(const struct asked *asked, stillhouse_prompt_result *out,
                               struct error *err)
{
    struct memory_hit hit;

    if (asked->base == NULL || asked->question.domain == NULL || asked->question.query == NULL ||
        asked->wait_ms < 0) {
        return error_set(err, STATUS_INVALID, "%s",
                         asked->base == NULL              ? "base: expected text, got NULL"
                         : asked->question.domain == NULL ? "domain: expected a name, got NULL"
                         : asked->question.query == NULL  ? "query: expected text, got NULL"
                                                          : "wait_ms: expected 0 or more");
    }
    const enum memory_answer found = recall(asked, &hit);
    counts_add(&asked->client->counts, COUNTS_MEMORY_MISS + found);
    if (found == MEMORY_HIT) {
        return put_in_front(asked, hit.few_shot, hit.count, false, out, err);
    }
    const enum status status = ask_redis(asked, out, err);
    if (status != STATUS_OK && recall(asked, &hit) == MEMORY_STALE) {
        return put_in_front(asked, hit.few_shot, hit.count, true, out, err);
    }
    return status;
}

/* ---- the public calls ---------------------------------------------------------------------- */

stillhouse_prompt_kind stillhouse_prompt(stillhouse_client *client, const char *domain,
                                         const char *query, const char *base, int wait_ms,
                                         stillhouse_prompt_result *out)
{
    const struct asked asked = {client, {domain, query, BODIES_K_DEFAULT}, base, wait_ms};
    struct error err;

    if (out == NULL) {
        return STILLHOUSE_PROMPT_FALLBACK;
    }
    *out = (stillhouse_prompt_result){
        .text = base == NULL ? "" : base,
        .kind = STILLHOUSE_PROMPT_FALLBACK,
        .status = STILLHOUSE_INVALID,
    };
    if (!client_enter(client)) {
        return out->kind;
    }
    err.status = STATUS_OK;
    err.retry_after_ms = 0;
    err.text[0] = '\0';
    const enum status status = make_prompt(&asked, out, &err);
    counts_add(&client->counts, (enum counts_kind)out->kind);
    out->status = client_finish(client, status, &err);
    return out->kind;
}

void stillhouse_prompt_free(stillhouse_prompt_result *prompt)
{
    if (prompt == NULL) {
        return;
    }
    free(prompt->owned);
    *prompt = (stillhouse_prompt_result){.text = "", .kind = STILLHOUSE_PROMPT_FALLBACK};
}
