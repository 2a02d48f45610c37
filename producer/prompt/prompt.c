/* The prompt for a task, or its examples as messages. Whatever happens, a prompt comes out.
 *
 * Happy path: the block of examples is in memory, and is copied in front of the base prompt; or the
 * messages that were made of them once are copied out.
 * Failure modes: not in memory -> Redis is asked, bounded; not there -> the enrichment is enqueued,
 * bounded, and waited for as long as the caller allows; whatever fails -> what memory holds though
 * the domain has changed since, else the base prompt itself, with the reason. */
#include "prompt/prompt.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "enqueue/send.h"
#include "jobs/bodies.h"
#include "prompt/holdout.h"
#include "prompt/lookup.h"
#include "prompt/messages.h"

struct asked {
    stillhouse_client *client;
    struct question question;
    const char *base;    /* of the block */
    const char *task_id; /* whose prompt it is; NULL = nobody said */
    int wait_ms;
    bool as_messages;
};

/* What comes out, in either form. Untouched, it is the fallback. */
struct answer {
    stillhouse_prompt_kind kind;
    size_t examples;
    size_t messages;
    char *owned;
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

/* ---- the two forms --------------------------------------------------------------------------- */

static enum status give_block(const struct asked *asked, const struct memory_hit *hit,
                              struct answer *out, struct error *err)
{
    if (hit->few_shot.bytes == 0) {
        return STATUS_OK;
    }
    out->owned = prompt_compose(hit->few_shot, asked->base);
    if (out->owned == NULL) {
        return error_set(err, STATUS_OOM, "out of memory for a prompt");
    }
    out->examples = hit->count;
    return STATUS_OK;
}

/* Made once of what is in memory: breaking up foreign texts takes a hundred times as long as
 * copying them. */
static enum status give_messages(const struct asked *asked, const struct memory_hit *hit,
                                 struct answer *out, struct error *err)
{
    struct memory_made made = hit->made;
    bool is_kept = made.piece != NULL && made.k == asked->question.k;

    if (!is_kept) {
        const enum status status = messages_make(hit, asked->question.k, &made, err);
        if (status != STATUS_OK) {
            return status;
        }
        is_kept = hit->entry != NULL && memory_keep_made(asked->client->memory, hit, &made);
    }
    if (made.count > 0) {
        out->owned = is_kept ? messages_copy(&made) : made.piece;
        if (out->owned == NULL) {
            return error_set(err, STATUS_OOM, "out of memory for messages");
        }
        out->messages = made.count;
        out->examples = made.count / 2;
        return STATUS_OK;
    }
    if (!is_kept) {
        free(made.piece);
    }
    return STATUS_OK;
}

/* Leaves the fallback where there are no examples. */
static enum status give(const struct asked *asked, const struct memory_hit *hit, bool stale,
                        struct answer *out, struct error *err)
{
    enum status status = STATUS_OK;

    if (hit->count > 0) {
        status = asked->as_messages ? give_messages(asked, hit, out, err)
                                    : give_block(asked, hit, out, err);
    }
    if (out->owned != NULL) {
        out->kind = stale ? STILLHOUSE_PROMPT_STALE : STILLHOUSE_PROMPT_ENRICHED;
    }
    return status;
}

static enum status use_result(const struct asked *asked, const stillhouse_result *result,
                              struct answer *out, struct error *err)
{
    if (result->error != NULL) {
        return error_set(err, STATUS_FAILED, "enrichment: %.240s", result->error);
    }
    const struct memory_hit fresh = {
        .piece = result,
        .made_at = (uintptr_t)result,
        .count = result->count,
        .few_shot = slice_of(result->few_shot),
    };
    return give(asked, &fresh, result->stale, out, err);
}

/* Gives what memory holds, where that is current, or else will do. */
static enum memory_answer recall(const struct asked *asked, bool may_be_stale, struct answer *out,
                                 enum status *status, struct error *err)
{
    struct memory *memory = asked->client->memory;
    struct memory_hit hit;

    memory_hold(memory);
    const enum memory_answer found = memory_find(memory, &asked->question, clock_now_ms(), &hit);
    if (found == MEMORY_HIT || (found == MEMORY_STALE && may_be_stale)) {
        *status = give(asked, &hit, found == MEMORY_STALE, out, err);
    }
    memory_release(memory);
    return found;
}

/* ---- a miss -------------------------------------------------------------------------------- */

static enum status order(const struct asked *asked, bool reply, char id[STILLHOUSE_ID_BYTES],
                         struct error *err)
{
    stillhouse_client *client = asked->client;
    const stillhouse_enrichment enrichment = {
        .domain = asked->question.domain, .query = asked->question.query, .k = asked->question.k};
    const stillhouse_job_options options = {.reply = reply};
    struct job_draft draft;

    enum status status = make_enrich(client, &enrichment, &options, &draft, err);
    if (status == STATUS_OK) {
        status = send_one(client, &client->enrich, &draft, id, err);
    }
    client_tidy(client);
    return status;
}

static enum status wait_for_result(const struct asked *asked, const char *id, struct answer *out,
                                   struct error *err)
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
static enum status order_and_wait(const struct asked *asked, struct answer *out, struct error *err)
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

static enum status ask_redis(const struct asked *asked, struct answer *out, struct error *err)
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

/* ---- the public calls ---------------------------------------------------------------------- */

static enum status check_task_id(const char *task_id, struct error *err)
{
    const struct slice text = slice_of(task_id);

    if (!text_is_utf8(text.data, text.bytes)) {
        return error_set(err, STATUS_INVALID, "task_id: expected UTF-8");
    }
    return bodies_check_id("task_id", text, err);
}

static enum status check(struct asked *asked, struct error *err)
{
    const int k = asked->question.k;

    if (k < 0 || k > BODIES_K_MAX) {
        return error_set(err, STATUS_INVALID, "k %d: expected 1 to %d, or 0 for %d", k,
                         BODIES_K_MAX, BODIES_K_DEFAULT);
    }
    asked->question.k = k == 0 ? BODIES_K_DEFAULT : k;
    if ((asked->base == NULL && !asked->as_messages) || asked->question.domain == NULL ||
        asked->question.query == NULL || asked->wait_ms < 0) {
        return error_set(err, STATUS_INVALID, "%s",
                         asked->base == NULL && !asked->as_messages
                             ? "base: expected text, got NULL"
                         : asked->question.domain == NULL ? "domain: expected a name, got NULL"
                         : asked->question.query == NULL  ? "query: expected text, got NULL"
                                                          : "wait_ms: expected 0 or more");
    }
    return asked->task_id == NULL ? STATUS_OK : check_task_id(asked->task_id, err);
}

/* Nothing is sent or waited for. False: memory has nothing current. */
static bool ask_memory(struct asked *asked, struct answer *out, enum status *status,
                       struct error *err)
{
    *status = check(asked, err);
    if (*status != STATUS_OK || recall(asked, false, out, status, err) != MEMORY_HIT) {
        return false;
    }
    counts_add(&asked->client->counts, COUNTS_MEMORY_HIT);
    return true;
}

static enum status ask(struct asked *asked, struct answer *out, struct error *err)
{
    enum status status = check(asked, err);

    if (status != STATUS_OK) {
        return status;
    }
    const enum memory_answer found = recall(asked, false, out, &status, err);
    counts_add(&asked->client->counts, COUNTS_MEMORY_MISS + found);
    if (found == MEMORY_HIT) {
        return status;
    }
    status = ask_redis(asked, out, err);
    if (status != STATUS_OK) {
        (void)recall(asked, true, out, &status, err);
    }
    return status;
}

/* The text alone: clearing all of it takes as long as the look-up. */
static void clear(struct error *err)
{
    err->status = STATUS_OK;
    err->retry_after_ms = 0;
    err->text[0] = '\0';
}

/* Takes the examples away from a share of those who have them in time, and of nobody else: so the
 * two groups differ in nothing but the examples. */
static void hold_out(const struct asked *asked, struct answer *answer)
{
    stillhouse_client *client = asked->client;
    const char *who = asked->task_id;

    if (who == NULL) {
        text_make_id(clock_unix_ms(), client->prompt_id);
        who = client->prompt_id + HOLDOUT_ID_RANDOM;
    }
    if (holdout_has(client->config.holdout, asked->question.domain, who)) {
        free(answer->owned);
        *answer = (struct answer){.kind = STILLHOUSE_PROMPT_HOLDOUT};
    }
}

/* Ends a call that came to a prompt: it is counted, and has an id of its own. */
static stillhouse_status finish(const struct asked *asked, struct answer *answer,
                                enum status status, struct error *err)
{
    asked->client->prompt_id[0] = '\0';
    asked->client->has_asked = true;
    if (asked->client->config.holdout > 0 && answer->owned != NULL) {
        hold_out(asked, answer);
    }
    counts_add(&asked->client->counts, (enum counts_kind)answer->kind);
    return client_finish(asked->client, status, err);
}

/* Whatever comes of it is in *answer. */
static stillhouse_status run(struct asked *asked, struct answer *answer)
{
    struct error err;

    *answer = (struct answer){.kind = STILLHOUSE_PROMPT_FALLBACK};
    if (!client_enter(asked->client)) {
        return STILLHOUSE_INVALID;
    }
    clear(&err);
    const enum status status = ask(asked, answer, &err);
    return finish(asked, answer, status, &err);
}

/* False: nothing current is in memory, and nothing was counted. */
static bool run_from_memory(struct asked *asked, struct answer *answer, stillhouse_status *told)
{
    enum status status = STATUS_INVALID;
    struct error err;

    *answer = (struct answer){.kind = STILLHOUSE_PROMPT_FALLBACK};
    *told = STILLHOUSE_INVALID;
    if (!client_enter(asked->client)) {
        return false;
    }
    clear(&err);
    if (ask_memory(asked, answer, &status, &err)) {
        *told = finish(asked, answer, status, &err);
        return true;
    }
    if (status == STATUS_OK) {
        status = error_set(&err, STATUS_NOT_FOUND, "not in memory");
    }
    *told = client_finish(asked->client, status, &err);
    return false;
}

static void fill_prompt(const struct answer *answer, stillhouse_status status, const char *base,
                        stillhouse_prompt_result *out)
{
    *out = (stillhouse_prompt_result){
        .text = answer->owned != NULL ? answer->owned
                : base != NULL        ? base
                                      : "",
        .kind = answer->kind,
        .examples = answer->examples,
        .status = status,
        .owned = answer->owned,
    };
}

static void fill_messages(const struct answer *answer, stillhouse_status status,
                          stillhouse_messages_result *out)
{
    *out = (stillhouse_messages_result){
        .messages = (const void *)answer->owned,
        .count = answer->messages,
        .kind = answer->kind,
        .examples = answer->examples,
        .status = status,
        .owned = answer->owned,
    };
}

stillhouse_prompt_kind stillhouse_prompt(stillhouse_client *client, const char *domain,
                                         const char *query, const char *base, int wait_ms,
                                         stillhouse_prompt_result *out)
{
    struct asked asked = {.client = client,
                          .question = {domain, query, BODIES_K_DEFAULT},
                          .base = base,
                          .wait_ms = wait_ms};
    struct answer answer;

    if (out == NULL) {
        return STILLHOUSE_PROMPT_FALLBACK;
    }
    const stillhouse_status status = run(&asked, &answer);
    fill_prompt(&answer, status, base, out);
    return out->kind;
}

bool stillhouse_prompt_from_memory(stillhouse_client *client, const char *domain, const char *query,
                                   const char *base, stillhouse_prompt_result *out)
{
    struct asked asked = {
        .client = client, .question = {domain, query, BODIES_K_DEFAULT}, .base = base};
    stillhouse_status status;
    struct answer answer;

    if (out == NULL) {
        return false;
    }
    const bool found = run_from_memory(&asked, &answer, &status);
    fill_prompt(&answer, status, base, out);
    return found;
}

void stillhouse_prompt_free(stillhouse_prompt_result *prompt)
{
    if (prompt == NULL) {
        return;
    }
    free(prompt->owned);
    *prompt = (stillhouse_prompt_result){.text = "", .kind = STILLHOUSE_PROMPT_FALLBACK};
}

stillhouse_prompt_kind stillhouse_messages(stillhouse_client *client, const char *domain,
                                           const char *query, int k, int wait_ms,
                                           stillhouse_messages_result *out)
{
    struct asked asked = {
        .client = client, .question = {domain, query, k}, .wait_ms = wait_ms, .as_messages = true};
    struct answer answer;

    if (out == NULL) {
        return STILLHOUSE_PROMPT_FALLBACK;
    }
    const stillhouse_status status = run(&asked, &answer);
    fill_messages(&answer, status, out);
    return out->kind;
}

bool stillhouse_messages_from_memory(stillhouse_client *client, const char *domain,
                                     const char *query, int k, stillhouse_messages_result *out)
{
    struct asked asked = {.client = client, .question = {domain, query, k}, .as_messages = true};
    stillhouse_status status;
    struct answer answer;

    if (out == NULL) {
        return false;
    }
    const bool found = run_from_memory(&asked, &answer, &status);
    fill_messages(&answer, status, out);
    return found;
}

void stillhouse_messages_free(stillhouse_messages_result *messages)
{
    if (messages == NULL) {
        return;
    }
    free(messages->owned);
    *messages = (stillhouse_messages_result){.kind = STILLHOUSE_PROMPT_FALLBACK};
}

/* Two round trips, each sent and answered, after a connection to each Redis that they go to. */
int stillhouse_prompt_bound_ms(const stillhouse_client *client)
{
    if (client == NULL) {
        return 0;
    }
    const int other_ms =
        client->cache_link == client->link ? 0 : link_connect_bound_ms(client->cache_link);

    return link_connect_bound_ms(client->link) + other_ms + 4 * client->config.bounds.command_ms;
}

/* ---- for a task ------------------------------------------------------------------------------ */

/* What the caller's version of the struct has; what it does not know is zero. */
static enum status read_question(const stillhouse_question *given, bool as_messages,
                                 stillhouse_question *out, struct error *err)
{
    *out = (stillhouse_question){0};
    if (given == NULL) {
        return error_set(err, STATUS_INVALID, "question: expected one, got NULL");
    }
    if (given->size < sizeof given->size || given->size > sizeof *out) {
        return error_set(err, STATUS_INVALID,
                         "question.size %zu: expected at most %zu, the size of "
                         "stillhouse_question",
                         given->size, sizeof *out);
    }
    memcpy(out, given, given->size);
    if (!as_messages && out->k != 0 && out->k != BODIES_K_DEFAULT) {
        return error_set(err, STATUS_INVALID, "k %d: expected 0, since a prompt has %d examples",
                         out->k, BODIES_K_DEFAULT);
    }
    return STATUS_OK;
}

/* The base is told apart, since it is what comes out where all else is wrong. */
static stillhouse_status run_question(stillhouse_client *client, const stillhouse_question *given,
                                      bool as_messages, const char **base, struct answer *answer)
{
    stillhouse_question question;
    stillhouse_status told;
    struct error err = {0};

    *answer = (struct answer){.kind = STILLHOUSE_PROMPT_FALLBACK};
    const enum status status = read_question(given, as_messages, &question, &err);
    *base = question.base;
    if (status != STATUS_OK) {
        return client_enter(client) ? client_finish(client, status, &err) : STILLHOUSE_INVALID;
    }
    struct asked asked = {.client = client,
                          .question = {question.domain, question.query, question.k},
                          .base = question.base,
                          .task_id = question.task_id,
                          .wait_ms = question.wait_ms,
                          .as_messages = as_messages};
    if (question.memory_only) {
        (void)run_from_memory(&asked, answer, &told);
        return told;
    }
    return run(&asked, answer);
}

stillhouse_prompt_kind stillhouse_prompt_for(stillhouse_client *client,
                                             const stillhouse_question *question,
                                             stillhouse_prompt_result *out)
{
    struct answer answer;
    const char *base;

    if (out == NULL) {
        return STILLHOUSE_PROMPT_FALLBACK;
    }
    const stillhouse_status status = run_question(client, question, false, &base, &answer);
    fill_prompt(&answer, status, base, out);
    return out->kind;
}

stillhouse_prompt_kind stillhouse_messages_for(stillhouse_client *client,
                                               const stillhouse_question *question,
                                               stillhouse_messages_result *out)
{
    struct answer answer;
    const char *base;

    if (out == NULL) {
        return STILLHOUSE_PROMPT_FALLBACK;
    }
    const stillhouse_status status = run_question(client, question, true, &base, &answer);
    fill_messages(&answer, status, out);
    return out->kind;
}

const char *stillhouse_kind_name(stillhouse_prompt_kind kind)
{
    static const char *const names[] = {
        [STILLHOUSE_PROMPT_ENRICHED] = "enriched",
        [STILLHOUSE_PROMPT_STALE] = "stale",
        [STILLHOUSE_PROMPT_FALLBACK] = "fallback",
        [STILLHOUSE_PROMPT_HOLDOUT] = "holdout",
    };

    return (size_t)kind < sizeof names / sizeof names[0] ? names[kind] : "";
}

/* Made when it is asked for: random numbers of the kernel cost more than a prompt from memory. */
const char *stillhouse_prompt_id(stillhouse_client *client)
{
    if (!client_enter(client)) {
        return "";
    }
    if (client->has_asked && client->prompt_id[0] == '\0') {
        text_make_id(clock_unix_ms(), client->prompt_id);
    }
    client_leave(client);
    return client->prompt_id;
}
