/* cli/commands/enqueue.c - the usage of `stillhouse enqueue`: which flags go with what. */
#include <stdio.h>
#include <string.h>

#include "cli/commands/enqueue.h"

#define TIME_MAX_MS ((int64_t)366 * 24 * 60 * 60 * 1000)
#define WAIT_MAX_MS ((int64_t)60 * 60 * 1000)

enum { FOR_ENRICH = 1, FOR_DISTILL = 2, FOR_INDEX = 4, FOR_ECHO = 8 };

static const struct {
    const char *name;
    int bit;
} kinds[] = {
    {"enrich", FOR_ENRICH}, {"distill", FOR_DISTILL}, {"index", FOR_INDEX}, {"echo", FOR_ECHO}};

/* Flags that make up one job's body. */
static const struct {
    const char *flag;
    int kinds;
} body_flags[] = {
    {"query", FOR_ENRICH},   {"k", FOR_ENRICH},       {"task-id", FOR_DISTILL},
    {"prompt", FOR_DISTILL}, {"result", FOR_DISTILL}, {"quality", FOR_DISTILL},
    {"model", FOR_DISTILL},  {"meta", FOR_DISTILL},   {"text", FOR_ECHO},
};

static int find_kind(const char *name)
{
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (strcmp(kinds[i].name, name) == 0) {
            return kinds[i].bit;
        }
    }
    return 0;
}

static int check_flags(const struct cli *cli, const char *queue, int kind)
{
    const bool lines = cli_has(cli, "jsonl");

    for (size_t i = 0; i < sizeof body_flags / sizeof body_flags[0]; i++) {
        const char *flag = body_flags[i].flag;
        if (!cli_has(cli, flag)) {
            continue;
        }
        if (lines) {
            return cli_usage(cli->command, "--%s and --jsonl exclude each other", flag);
        }
        if ((body_flags[i].kinds & kind) == 0) {
            return cli_usage(cli->command, "--%s does not go with enqueue %s", flag, queue);
        }
    }
    if (lines && cli_has(cli, "wait")) {
        return cli_usage(cli->command, "--wait and --jsonl exclude each other");
    }
    if (!lines && (cli_has(cli, "stop-on-error") || cli_has(cli, "wait-full"))) {
        return cli_usage(cli->command, "--stop-on-error and --wait-full go with --jsonl");
    }
    if (!lines && kind == FOR_INDEX) {
        return cli_usage(cli->command, "flag \"--jsonl\" is missing: index takes its documents "
                                       "from there");
    }
    return CLI_DONE;
}

static int read_request(const struct cli *cli, struct enqueue_request *request)
{
    const char *priority = cli_value(cli, "priority");

    int code = cli_get_domain(cli, !cli_has(cli, "jsonl"), &request->domain);
    if (code == CLI_DONE) {
        code = cli_get_duration(cli, "delay", TIME_MAX_MS, &request->delay_ms);
    }
    if (code == CLI_DONE) {
        code = cli_get_duration(cli, "deadline", TIME_MAX_MS, &request->deadline_ms);
    }
    if (code == CLI_DONE) {
        code = cli_get_duration(cli, "wait", WAIT_MAX_MS, &request->wait_ms);
    }
    if (code == CLI_DONE && priority != NULL &&
        !job_priority_parse(priority, strlen(priority), &request->priority)) {
        code = cli_usage(cli->command, "--priority \"%s\": expected high, normal or low", priority);
    }
    return code;
}

int cmd_enqueue(struct cli *cli)
{
    struct enqueue_request request = {.priority = JOB_NORMAL};

    int code = cli_check_arguments(cli, 1, 1, "enrich, distill, index or echo");
    if (code != CLI_DONE) {
        return code;
    }
    request.queue = cli->arguments[0];
    const int kind = find_kind(request.queue);
    if (kind == 0) {
        return cli_usage(cli->command, "enqueue \"%s\": expected enrich, distill, index or echo",
                         request.queue);
    }
    code = check_flags(cli, request.queue, kind);
    if (code == CLI_DONE) {
        code = read_request(cli, &request);
    }
    if (code != CLI_DONE) {
        return code;
    }
    return cli_has(cli, "jsonl") ? enqueue_lines(cli, &request) : enqueue_one(cli, &request);
}
