/* cmd_prompt.c - the prompt for a task. Whatever state the servers are in, one comes out.
 *
 * Happy path: the cached examples in front of the base prompt, exit code 0. Failure modes: nothing
 * cached (the enrichment is enqueued), Redis away, slow or without functions: the base prompt byte
 * for byte, a message on standard error, exit code 0. Only bad usage fails.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "connections.h"
#include "input.h"
#include "json.h"
#include "output.h"
#include "text.h"

/* A task waits for this: shorter bounds than an operator's commands have. */
enum { PROMPT_CONNECT_MS = 1000, PROMPT_COMMAND_MS = 500, WAIT_MAX_MS = 600000 };

struct request {
    const char *domain;
    const char *query;
    struct strbuf base;
    int64_t wait_ms;
};

static int read_request(const struct cli *cli, struct request *request)
{
    const char *path = cli_value(cli, "base");

    int code = cli_check_arguments(cli, 0, 0, "");
    if (code == CLI_DONE) {
        code = cli_get_domain(cli, true, &request->domain);
    }
    if (code == CLI_DONE) {
        code = cli_get_text(cli, "query", &request->query);
    }
    if (code == CLI_DONE) {
        code = cli_get_duration(cli, "wait", WAIT_MAX_MS, &request->wait_ms);
    }
    if (code == CLI_DONE && path == NULL) {
        code = cli_usage(cli->command, "flag \"--base\" is missing");
    }
    if (code == CLI_DONE) {
        code = input_read_all(cli, "base", path, &request->base);
    }
    if (code != CLI_DONE || request->base.bytes == 0) {
        return code;
    }
    const char *nul = memchr(request->base.data, '\0', request->base.bytes);
    if (nul != NULL) {
        return cli_usage(cli->command, "--base \"%s\": NUL byte at offset %td: expected text", path,
                         nul - request->base.data);
    }
    if (cli->json && !text_is_utf8(request->base.data, request->base.bytes)) {
        return cli_usage(cli->command, "--base \"%s\": not UTF-8, which --json needs", path);
    }
    return CLI_DONE;
}

/* Exactly the text: no line end is added. */
static int print_prompt(const struct cli *cli, const char *text, const char *result,
                        size_t examples, const char *reason)
{
    struct strbuf document = {0};

    if (!cli->json) {
        fputs(text, stdout);
        return CLI_DONE;
    }
    strbuf_append_str(&document, "{\"prompt\":");
    json_bytes(&document, text, strlen(text));
    strbuf_printf(&document, ",\"result\":\"%s\",\"examples\":%zu,\"reason\":", result, examples);
    if (reason == NULL) {
        strbuf_append_str(&document, "null");
    } else {
        json_bytes(&document, reason, strlen(reason));
    }
    strbuf_append_char(&document, '}');
    const int code = json_print(&document);
    strbuf_free(&document);
    return code;
}

/* Why it is not an enriched one; NULL when it is. */
static const char *reason_of(const stillhouse_client *client,
                             const stillhouse_prompt_result *prompt)
{
    switch (prompt->kind) {
    case STILLHOUSE_PROMPT_ENRICHED:
        return NULL;
    case STILLHOUSE_PROMPT_STALE:
        return "the domain has changed since; a newer result was asked for";
    case STILLHOUSE_PROMPT_FALLBACK:
        break;
    }
    if (prompt->status == STILLHOUSE_OK) {
        return "there are no examples for it";
    }
    if (prompt->status == STILLHOUSE_NOT_FOUND) {
        return "not in the cache yet; the enrichment was enqueued";
    }
    const char *text = stillhouse_error(client);
    return text[0] == '\0' ? "no answer" : text;
}

static int ask(const struct cli *cli, stillhouse_client *client, const struct request *request)
{
    static const char *const names[] = {
        [STILLHOUSE_PROMPT_ENRICHED] = "enriched",
        [STILLHOUSE_PROMPT_STALE] = "stale",
        [STILLHOUSE_PROMPT_FALLBACK] = "fallback",
    };
    const char *base = request->base.bytes == 0 ? "" : request->base.data;
    stillhouse_prompt_result prompt;

    const stillhouse_prompt_kind kind = stillhouse_prompt(client, request->domain, request->query,
                                                          base, (int)request->wait_ms, &prompt);
    const char *reason = reason_of(client, &prompt);
    if (kind == STILLHOUSE_PROMPT_FALLBACK) {
        cli_message("the base prompt, unchanged: %s", reason);
    }
    const int code = print_prompt(cli, prompt.text, names[kind], prompt.examples, reason);
    stillhouse_prompt_free(&prompt);
    return code;
}

int cmd_prompt(struct cli *cli)
{
    struct request request = {0};
    stillhouse_client *client = NULL;

    int code = read_request(cli, &request);
    if (code == CLI_DONE) {
        code = connect_client(cli, PROMPT_CONNECT_MS, PROMPT_COMMAND_MS, &client);
        if (code == CLI_DONE) {
            code = ask(cli, client, &request);
        }
    }
    stillhouse_close(client);
    strbuf_free(&request.base);
    return code;
}
