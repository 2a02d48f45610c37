/* enqueue_one.c - one job from the command line, and its result where it is waited for. */
#include <cjson/cJSON.h>
#include <inttypes.h>
#include <math.h>
#include <msgpack.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/commands/enqueue.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "jobs/bodies.h"
#include "json/tree.h"
#include "json/write.h"

/* ---- metadata ------------------------------------------------------------------------------ */

/* The value behind K:= : a finite number, whole ones of up to 64 bits, true or false. */
static bool parse_typed(const char *text, stillhouse_meta *out)
{
    const char *end = NULL;
    cJSON *value = json_tree_parse(text, strlen(text) + 1, &end, true);
    const enum json_number number = json_tree_number(value, &out->integer);
    const bool fraction = number == JSON_FRACTION && isfinite(value->valuedouble);

    if (number == JSON_WHOLE) {
        out->type = STILLHOUSE_META_INT;
    } else if (fraction) {
        out->type = STILLHOUSE_META_FLOAT;
        out->number = value->valuedouble;
    } else if (cJSON_IsBool(value)) {
        out->type = STILLHOUSE_META_BOOL;
        out->boolean = cJSON_IsTrue(value);
    }
    const bool parsed = number == JSON_WHOLE || fraction || cJSON_IsBool(value);
    cJSON_Delete(value);
    return parsed;
}

/* "K=V" or "K:=V". The key is a copy that free_meta frees. */
static int parse_meta(const struct cli *cli, const char *text, stillhouse_meta *out)
{
    const char *equals = strchr(text, '=');
    const bool typed = equals != NULL && equals > text && equals[-1] == ':';
    const size_t key_bytes = equals == NULL ? 0 : (size_t)(equals - text) - typed;

    if (key_bytes == 0) {
        return cli_usage(cli->command, "--meta \"%s\": expected KEY=TEXT or KEY:=NUMBER", text);
    }
    *out = (stillhouse_meta){.type = STILLHOUSE_META_STRING, .string = equals + 1};
    if (typed && !parse_typed(equals + 1, out)) {
        return cli_usage(cli->command,
                         "--meta \"%s\": expected a number (whole ones of at most 64 bits), true "
                         "or false behind :=",
                         text);
    }
    out->key = strndup(text, key_bytes);
    return out->key == NULL ? cli_out_of_memory() : CLI_DONE;
}

static void free_meta(stillhouse_meta *meta, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free((char *)meta[i].key);
    }
    free(meta);
}

static int read_meta(const struct cli *cli, stillhouse_meta **out, size_t *count)
{
    stillhouse_meta *meta = calloc(cli->given_count + 1, sizeof *meta);
    int code = meta == NULL ? cli_out_of_memory() : CLI_DONE;

    *count = 0;
    for (size_t i = 0; code == CLI_DONE && i < cli->given_count; i++) {
        if (strcmp(cli->given[i].name, "meta") == 0) {
            code = parse_meta(cli, cli->given[i].value, &meta[*count]);
            *count += code == CLI_DONE;
        }
    }
    if (code != CLI_DONE) {
        free_meta(meta, *count);
        return code;
    }
    *out = meta;
    return CLI_DONE;
}

/* ---- the three kinds ----------------------------------------------------------------------- */

struct sender {
    const struct cli *cli;
    const struct enqueue_request *request;
    stillhouse_client *client;
    stillhouse_job_options options;
    char id[STILLHOUSE_ID_BYTES];
    bool kept; /* in the outbox */
};

/* The exit code of a job that was handed in. */
static int take_status(struct sender *sender, stillhouse_status status)
{
    if (status == STILLHOUSE_KEPT) {
        cli_message("%s", stillhouse_error(sender->client));
        sender->kept = true;
        return CLI_DONE;
    }
    return status == STILLHOUSE_OK ? CLI_DONE : client_fail(sender->client, status);
}

static int send_enrich(struct sender *sender)
{
    const struct cli *cli = sender->cli;
    const char *query = NULL;
    int64_t k = BODIES_K_DEFAULT;

    int code = cli_get_text(cli, "query", &query);
    if (code == CLI_DONE) {
        code = cli_get_int(cli, "k", 1, BODIES_K_MAX, &k);
    }
    if (code != CLI_DONE) {
        return code;
    }
    const stillhouse_status status = stillhouse_enqueue_enrich(
        sender->client, sender->request->domain, query, (int)k, &sender->options, sender->id);
    return take_status(sender, status);
}

static int send_distill(struct sender *sender)
{
    const struct cli *cli = sender->cli;
    stillhouse_experience experience = {.domain = sender->request->domain,
                                        .success = true,
                                        .quality = -1,
                                        .model = cli_value(cli, "model")};
    stillhouse_meta *meta = NULL;

    int code = cli_get_text(cli, "task-id", &experience.task_id);
    if (code == CLI_DONE) {
        code = cli_get_text(cli, "prompt", &experience.prompt);
    }
    if (code == CLI_DONE) {
        code = cli_get_text(cli, "result", &experience.result);
    }
    if (code == CLI_DONE) {
        code = cli_get_number(cli, "quality", 0, 1, &experience.quality);
    }
    if (code == CLI_DONE) {
        code = read_meta(cli, &meta, &experience.metadata_count);
    }
    if (code != CLI_DONE) {
        return code;
    }
    experience.metadata = meta;
    const stillhouse_status status =
        stillhouse_enqueue_distill(sender->client, &experience, &sender->options, sender->id);
    free_meta(meta, experience.metadata_count);
    return take_status(sender, status);
}

static int send_echo(struct sender *sender)
{
    const char *text = cli_value(sender->cli, "text");
    msgpack_sbuffer body;
    msgpack_packer packer;

    text = text == NULL ? "" : text;
    msgpack_sbuffer_init(&body);
    msgpack_packer_init(&packer, &body, msgpack_sbuffer_write);
    const bool packed = msgpack_pack_map(&packer, 1) == 0 && msgpack_pack_str(&packer, 4) == 0 &&
                        msgpack_pack_str_body(&packer, "text", 4) == 0 &&
                        msgpack_pack_str(&packer, strlen(text)) == 0 &&
                        msgpack_pack_str_body(&packer, text, strlen(text)) == 0;
    int code = packed ? CLI_DONE : cli_out_of_memory();
    if (packed) {
        const stillhouse_status status =
            stillhouse_enqueue_raw(sender->client, "echo", sender->request->domain, body.data,
                                   body.size, &sender->options, sender->id);
        code = take_status(sender, status);
    }
    msgpack_sbuffer_destroy(&body);
    return code;
}

/* ---- the result ---------------------------------------------------------------------------- */

/* A person is shown the examples themselves, where there are some. */
static int print_document(const struct cli *cli, const struct strbuf *text)
{
    cJSON *document = strbuf_ok(text) ? cJSON_ParseWithLength(text->data, text->bytes) : NULL;
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(document, "error");
    const cJSON *few_shot = cJSON_GetObjectItemCaseSensitive(document, "few_shot");
    int code = CLI_DONE;

    if (cli->json || !cJSON_IsString(few_shot) || cJSON_IsString(error)) {
        code = cli->json ? json_print(text) : json_print_indented(text);
    } else if (few_shot->valuestring[0] == '\0') {
        puts("no examples");
    } else {
        output_text(few_shot->valuestring);
        putchar('\n');
    }
    if (cJSON_IsString(error)) {
        cli_message("the job ended without a result: %s", error->valuestring);
        code = CLI_FAILED;
    }
    cJSON_Delete(document);
    return code;
}

static int print_reply(const struct cli *cli, const void *body, size_t bytes)
{
    struct strbuf text = {0};
    struct error err = {0};

    enum status status = bodies_scan(body, bytes, &err);
    if (status == STATUS_OK) {
        status = bodies_to_json(body, bytes, &(struct json_writer){.out = &text}, NULL, &err);
    }
    int code = CLI_FAILED;
    if (status != STATUS_OK) {
        cli_message("the reply: %s", err.text);
    } else {
        code = print_document(cli, &text);
    }
    strbuf_free(&text);
    return code;
}

static int print_id(const struct cli *cli, const char *id, bool kept, const char *error)
{
    struct strbuf document = {0};

    if (!cli->json) {
        puts(id);
        return CLI_DONE;
    }
    strbuf_append_str(&document, "{\"id\":");
    json_bytes(&document, id, strlen(id));
    if (kept) {
        strbuf_append_str(&document, ",\"kept\":true");
    }
    if (error != NULL) {
        strbuf_append_str(&document, ",\"error\":");
        json_str(&document, error);
    }
    strbuf_append_char(&document, '}');
    const int code = json_print(&document);
    strbuf_free(&document);
    return code;
}

/* What is kept has no result now, and nobody knows when. */
static int no_result_of_kept(const struct sender *sender)
{
    const int printed = print_id(sender->cli, sender->id, true, "not in the queue yet");

    return printed == CLI_DONE ? CLI_NOT_FOUND : printed;
}

static int await_result(struct sender *sender)
{
    void *body = NULL;
    size_t bytes = 0;

    if (sender->kept) {
        return no_result_of_kept(sender);
    }
    const stillhouse_status status =
        stillhouse_await_raw(sender->client, sender->request->queue, sender->id,
                             (int)sender->request->wait_ms, &body, &bytes);
    if (status == STILLHOUSE_OK) {
        const int code = print_reply(sender->cli, body, bytes);
        free(body);
        return code;
    }
    if (status != STILLHOUSE_NOT_FOUND) {
        return client_fail(sender->client, status);
    }
    cli_message("no result within %" PRId64 " ms; job \"%s\" goes on", sender->request->wait_ms,
                sender->id);
    const int printed = print_id(sender->cli, sender->id, false, "timed out");
    return printed == CLI_DONE ? CLI_NOT_FOUND : printed;
}

int enqueue_one(const struct cli *cli, const struct enqueue_request *request)
{
    struct sender sender = {
        .cli = cli,
        .request = request,
        .options = {.priority = enqueue_priority(request->priority),
                    .delay_ms = request->delay_ms,
                    .deadline_ms = request->deadline_ms,
                    .reply = request->wait_ms > 0},
    };

    int code =
        connect_client_with_outbox(cli, CONNECT_TIMEOUT_MS, COMMAND_TIMEOUT_MS, &sender.client);
    if (code != CLI_DONE) {
        return code;
    }
    if (strcmp(request->queue, "enrich") == 0) {
        code = send_enrich(&sender);
    } else if (strcmp(request->queue, "distill") == 0) {
        code = send_distill(&sender);
    } else {
        code = send_echo(&sender);
    }
    if (code == CLI_DONE) {
        code = request->wait_ms > 0 ? await_result(&sender)
                                    : print_id(cli, sender.id, sender.kept, NULL);
    }
    stillhouse_close(sender.client);
    return code;
}
