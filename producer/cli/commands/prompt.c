/* cli/commands/prompt.c - the prompt for a task. Whatever state the servers are in, one comes out.
 *
 * Happy path: the cached examples in front of the base prompt, exit code 0. Failure modes: nothing
 * cached (the enrichment is enqueued), Redis away, slow or without functions, a question, domain or
 * base prompt that cannot be asked with: the base prompt byte for byte, a message on standard
 * error, exit code 0. These come from the task; only bad usage fails.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cli/frame/connections.h"
#include "cli/frame/input.h"
#include "cli/frame/output.h"
#include "json/write.h"

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
    static const char *const needed[] = {"domain", "query", "base"};
    const char *path = cli_value(cli, "base");

    int code = cli_check_arguments(cli, 0, 0, "");
    for (size_t i = 0; code == CLI_DONE && i < sizeof needed / sizeof needed[0]; i++) {
        if (cli_value(cli, needed[i]) == NULL) {
            code = cli_usage(cli->command, "flag \"--%s\" is missing", needed[i]);
        }
    }
    request->domain = cli_value(cli, "domain");
    request->query = cli_value(cli, "query");
    if (code == CLI_DONE) {
        code = cli_get_duration(cli, "wait", WAIT_MAX_MS, &request->wait_ms);
    }
    return code == CLI_DONE ? input_read_all(cli, "base", path, &request->base) : code;
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

/* Exactly the text: no line end is added. */
static int print_prompt(const struct cli *cli, struct slice text, const char *result,
                        size_t examples, const char *reason)
{
    struct strbuf document = {0};

    if (!cli->json) {
        fwrite(text.data, 1, text.bytes, stdout);
        return CLI_DONE;
    }
    strbuf_append_str(&document, "{\"prompt\":");
    json_bytes(&document, text.data, text.bytes);
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
    const int code = print_prompt(cli, (struct slice){prompt.text, strlen(prompt.text)},
                                  names[kind], prompt.examples, reason);
    stillhouse_prompt_free(&prompt);
    return code;
}

static int print_base(const struct cli *cli, const struct request *request, const char *fault)
{
    const char *text = request->base.bytes == 0 ? "" : request->base.data;

    cli_message("the base prompt, unchanged: %s", fault);
    return print_prompt(cli, (struct slice){text, request->base.bytes}, "fallback", 0, fault);
}

int cmd_prompt(struct cli *cli)
{
    struct request request = {0};
    stillhouse_client *client = NULL;

    int code = read_request(cli, &request);
    const char *fault = code == CLI_DONE ? fault_of(cli, &request) : NULL;
    if (fault != NULL) {
        code = print_base(cli, &request, fault);
    } else if (code == CLI_DONE) {
        code = connect_client(cli, PROMPT_CONNECT_MS, PROMPT_COMMAND_MS, &client);
        if (code == CLI_DONE) {
            code = ask(cli, client, &request);
        }
    }
    stillhouse_close(client);
    strbuf_free(&request.base);
    return code;
}
