/* cli/commands/prompt.c - the prompt for a task, or its examples as messages; and what the cache
 * holds for a query.
 *
 * A prompt comes out whatever state the servers are in. Happy path: the cached examples in front of
 * the base prompt, exit code 0; messages alike, where the fallback is an empty list. Failure modes:
 * nothing cached (the enrichment is enqueued), Redis away, slow or without functions, a question,
 * domain, task or base prompt that cannot be asked with: the base prompt byte for byte, a message
 * on standard error, exit code 0. These come from the task; only bad usage fails.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/text.h"
#include "cli/commands/commands.h"
#include "cli/frame/connections.h"
#include "cli/frame/input.h"
#include "cli/frame/output.h"
#include "jobs/bodies.h"
#include "queue/keys.h"

/* ---- both forms ---------------------------------------------------------------------------- */

/* A task waits for this: shorter bounds than an operator's commands have. */
enum { PROMPT_CONNECT_MS = 1000, PROMPT_COMMAND_MS = 500, WAIT_MAX_MS = 600000 };

struct request {
    const char *domain;
    const char *query;
    const char *task_id; /* NULL = none */
    struct strbuf base;
    int k; /* of messages */
    int64_t wait_ms;
};

/* What came of it, in either form; untouched, it could not be asked with. */
struct outcome {
    stillhouse_prompt_kind kind;
    size_t examples;
    const char *id;     /* the prompt's; NULL = none */
    const char *reason; /* why it is not an enriched one; NULL when it is */
};

static stillhouse_question question_of(const struct request *request)
{
    return (stillhouse_question){
        .size = sizeof(stillhouse_question),
        .domain = request->domain,
        .query = request->query,
        .base = request->base.data,
        .k = request->k,
        .wait_ms = (int)request->wait_ms,
        .task_id = request->task_id,
    };
}

/* Why nothing can be asked with these, which the task brought; NULL: it can. */
static const char *fault_of(const struct cli *cli, const struct request *request)
{
    const size_t query_bytes = strlen(request->query);

    if (!text_is_domain(request->domain, strlen(request->domain))) {
        return "--domain: expected 1 to 63 of a-z0-9._- with a letter or digit at both ends";
    }
    if (!text_is_utf8(request->query, query_bytes)) {
        return "--query: expected UTF-8 text";
    }
    if (text_is_blank(request->query, query_bytes)) {
        return "--query is empty: expected text that is not blank";
    }
    if (request->base.bytes > 0 && memchr(request->base.data, '\0', request->base.bytes) != NULL) {
        return "--base holds a NUL byte";
    }
    if (cli->json && request->base.bytes > 0 &&
        !text_is_utf8(request->base.data, request->base.bytes)) {
        return "--base is not UTF-8: JSON cannot show all of it";
    }
    return NULL;
}

static void put_or_null(struct json_writer *json, const char *name, const char *text)
{
    if (text == NULL) {
        json_put_null(json, name);
    } else {
        json_put_str(json, name, text);
    }
}

static void put_outcome(struct json_writer *json, const struct outcome *outcome)
{
    json_put_str(json, "result", stillhouse_kind_name(outcome->kind));
    json_put_int(json, "examples", (int64_t)outcome->examples);
    put_or_null(json, "id", outcome->id);
    put_or_null(json, "reason", outcome->reason);
}

/* Exactly the text: no line end is added. */
static void print_prompt(const struct cli *cli, struct slice text, const struct outcome *outcome)
{
    if (!cli->json) {
        fwrite(text.data, 1, text.bytes, stdout);
        return;
    }
    struct output out;
    struct json_writer *json = output_object(&out);
    json_put_bytes(json, "prompt", text.data, text.bytes);
    put_outcome(json, outcome);
    output_end(&out);
}

/* Why it is not an enriched one; NULL when it is. */
static const char *reason_of(const stillhouse_client *client, stillhouse_prompt_kind kind,
                             stillhouse_status status)
{
    switch (kind) {
    case STILLHOUSE_PROMPT_ENRICHED:
        return NULL;
    case STILLHOUSE_PROMPT_STALE:
        return "the domain has changed since; a newer result was asked for";
    case STILLHOUSE_PROMPT_HOLDOUT:
        return "held out, to compare";
    case STILLHOUSE_PROMPT_FALLBACK:
        break;
    }
    if (status == STILLHOUSE_OK) {
        return "there are no examples for it, or Chroma or the embedder is away";
    }
    if (status == STILLHOUSE_NOT_FOUND) {
        return "not in the cache yet; the enrichment was enqueued";
    }
    const char *text = stillhouse_error(client);
    return text[0] == '\0' ? "no answer" : text;
}

static void ask(const struct cli *cli, stillhouse_client *client, const struct request *request)
{
    const stillhouse_question question = question_of(request);
    stillhouse_prompt_result prompt;

    const stillhouse_prompt_kind kind = stillhouse_prompt_for(client, &question, &prompt);
    const struct outcome outcome = {kind, prompt.examples, stillhouse_prompt_id(client),
                                    reason_of(client, kind, prompt.status)};
    if (prompt.examples == 0) {
        cli_message("the base prompt, unchanged: %s", outcome.reason);
    }
    print_prompt(cli, (struct slice){prompt.text, strlen(prompt.text)}, &outcome);
    stillhouse_prompt_free(&prompt);
}

/* ---- messages ------------------------------------------------------------------------------ */

static void put_list(struct json_writer *json, const char *name,
                     const stillhouse_messages_result *past)
{
    json_open(json, name, '[');
    for (size_t i = 0; i < past->count; i++) {
        json_open(json, NULL, '{');
        json_put_str(json, "role", past->messages[i].role);
        json_put_str(json, "content", past->messages[i].content);
        json_close(json, '}');
    }
    json_close(json, ']');
}

static void print_messages(const struct cli *cli, const stillhouse_messages_result *past,
                           const struct outcome *outcome)
{
    struct output out;

    if (cli->json) {
        struct json_writer *json = output_object(&out);
        put_list(json, "messages", past);
        put_outcome(json, outcome);
    } else {
        put_list(output_begin(&out, false), NULL, past);
    }
    output_end(&out);
}

int cmd_messages(struct cli *cli)
{
    const struct request request = {.domain = cli_required(cli, "domain"),
                                    .query = cli_required(cli, "query"),
                                    .task_id = cli_value(cli, "task-id"),
                                    .k = (int)cli_int(cli, "k", 1, BODIES_K_MAX, BODIES_K_DEFAULT),
                                    .wait_ms = cli_duration(cli, "wait", WAIT_MAX_MS, 0)};
    stillhouse_messages_result past = {.kind = STILLHOUSE_PROMPT_FALLBACK};
    struct outcome outcome = {.kind = STILLHOUSE_PROMPT_FALLBACK};
    stillhouse_client *client = NULL;

    if (cli_has(cli, "base")) {
        cli_usage(cli->command, "--base: messages stand in front of no base prompt");
    }
    outcome.reason = fault_of(cli, &request);
    if (outcome.reason == NULL) {
        const stillhouse_question question = question_of(&request);
        client =
            cli_client(cli, (struct client_bounds){PROMPT_CONNECT_MS, PROMPT_COMMAND_MS, false});
        (void)stillhouse_messages_for(client, &question, &past);
        outcome = (struct outcome){past.kind, past.examples, stillhouse_prompt_id(client),
                                   reason_of(client, past.kind, past.status)};
    }
    if (past.examples == 0) {
        cli_message("no messages: %s", outcome.reason);
    }
    print_messages(cli, &past, &outcome);
    stillhouse_messages_free(&past);
    stillhouse_close(client);
    return CLI_DONE;
}

/* ---- the block ----------------------------------------------------------------------------- */

int cmd_prompt(struct cli *cli)
{
    if (cli->settings.examples_as_messages && !cli_has(cli, "base")) {
        return cmd_messages(cli);
    }
    if (cli_has(cli, "k")) {
        cli_usage(cli->command, "--k: a prompt has %d examples; messages have as many as you say",
                  BODIES_K_DEFAULT);
    }
    struct request request = {.domain = cli_required(cli, "domain"),
                              .query = cli_required(cli, "query"),
                              .task_id = cli_value(cli, "task-id"),
                              .wait_ms = cli_duration(cli, "wait", WAIT_MAX_MS, 0)};

    input_read_all(cli, "base", &request.base);
    const struct outcome fault = {.kind = STILLHOUSE_PROMPT_FALLBACK,
                                  .reason = fault_of(cli, &request)};
    if (fault.reason != NULL) {
        cli_message("the base prompt, unchanged: %s", fault.reason);
        print_prompt(cli, (struct slice){request.base.data, request.base.bytes}, &fault);
    } else {
        stillhouse_client *client =
            cli_client(cli, (struct client_bounds){PROMPT_CONNECT_MS, PROMPT_COMMAND_MS, false});
        ask(cli, client, &request);
        stillhouse_close(client);
    }
    strbuf_free(&request.base);
    return CLI_DONE;
}

/* ---- result -------------------------------------------------------------------------------- */

/* NOT_FOUND when the key is not there, or not a string. */
static enum status get(struct redis_conn *conn, const char *key, redisReply **reply,
                       struct error *err)
{
    const enum status status = redis_commandf(conn, reply, err, "GET %s", key);

    if (status == STATUS_OK && (*reply)->type != REDIS_REPLY_STRING) {
        redis_reply_free(*reply);
        *reply = NULL;
        return error_set(err, STATUS_NOT_FOUND, "nothing under \"%s\"", key);
    }
    return status;
}

/* The domain's epoch now; 0 before its first write. */
static enum status get_epoch(struct redis_conn *conn, const char *key, int64_t *epoch,
                             struct error *err)
{
    redisReply *reply = NULL;

    *epoch = 0;
    const enum status status = get(conn, key, &reply, err);
    if (status == STATUS_OK) {
        *epoch = strtoll(reply->str, NULL, 10);
        redis_reply_free(reply);
    }
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* The result's fields as they are, and whether the domain has changed since. */
static int print_result(const struct cli *cli, const redisReply *result, int64_t epoch)
{
    struct output out;
    struct json_writer *json = output_begin(&out, !cli->json);
    struct arena arena = {0};
    struct enrich_result decoded;
    struct error err = {0};

    json_open(json, NULL, '{');
    enum status status =
        bodies_decode_result(result->str, (size_t)result->len, &arena, &decoded, &err);
    if (status == STATUS_OK) {
        status = values_members_to_json(result->str, (size_t)result->len, json, &err);
    }
    if (status == STATUS_OK) {
        json_put_bool(json, "stale", decoded.epoch < epoch);
        json_close(json, '}');
        output_end(&out);
    } else {
        cli_message("the cached result: %s", err.text);
    }
    strbuf_free(&out.text);
    arena_free(&arena);
    return status == STATUS_OK ? CLI_DONE : CLI_FAILED;
}

int cmd_result(struct cli *cli)
{
    const char *domain = cli_domain(cli, true);
    const char *query = cli_text(cli, "query");
    const char *prefix = cli->settings.prefix;
    struct redis_conn *conn = cli_cache_redis(cli);
    redisReply *result = NULL;
    struct error err = {0};
    char hash[TEXT_HASH_CHARS + 1];
    char key[KEYS_BYTES];
    int64_t epoch = 0;
    int code;

    text_hash(query, strlen(query), hash);
    enum status status = get(conn, keys_name(key, KEYS_CACHE, prefix, domain, hash), &result, &err);
    if (status == STATUS_OK) {
        status = get_epoch(conn, keys_name(key, KEYS_EPOCH, prefix, domain), &epoch, &err);
    }
    if (status == STATUS_NOT_FOUND) {
        cli_message("no result for \"%s\" in domain \"%s\" is cached", query, domain);
        code = CLI_NOT_FOUND;
    } else {
        code = status == STATUS_OK ? print_result(cli, result, epoch) : cli_fail(&err);
    }
    redis_reply_free(result);
    redis_conn_free(conn);
    return code;
}
