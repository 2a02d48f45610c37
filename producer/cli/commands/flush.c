/* cli/commands/flush.c - stillhouse flush: what producers kept while Redis was away goes into the
 * queues. */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"

enum { WAIT_MS = 5000, PAUSE_MS = 100 };

#define WAIT_MAX_MS ((int64_t)60 * 60 * 1000)

static int print_counts(const struct cli *cli, uint64_t sent, size_t left, uint64_t aside)
{
    struct strbuf document = {0};

    if (cli->json) {
        strbuf_printf(&document, "{\"sent\":%" PRIu64 ",\"left\":%zu,\"aside\":%" PRIu64 "}", sent,
                      left, aside);
        const int code = json_print(&document);
        strbuf_free(&document);
        return code;
    }
    printf("%" PRIu64 " sent, %zu left", sent, left);
    if (aside > 0) {
        printf(", %" PRIu64 " damaged or refused: put aside in its bad/", aside);
    }
    putchar('\n');
    return CLI_DONE;
}

/* True where trying again may help: Redis may come back, or a queue have room. */
static bool is_passing(stillhouse_status status)
{
    return status == STILLHOUSE_UNREACHABLE || status == STILLHOUSE_FULL ||
           status == STILLHOUSE_NOT_FOUND;
}

static stillhouse_status flush_until(stillhouse_client *client, int64_t deadline_ms, size_t *left)
{
    for (;;) {
        const int64_t left_ms = deadline_ms - clock_now_ms();
        const stillhouse_status status =
            stillhouse_flush(client, left_ms < 0 ? 0 : (int)left_ms, left);
        if (!is_passing(status) || clock_now_ms() + PAUSE_MS >= deadline_ms) {
            return status;
        }
        clock_sleep_ms(PAUSE_MS);
    }
}

int cmd_flush(struct cli *cli)
{
    stillhouse_client *client = NULL;
    int64_t wait_ms = WAIT_MS;
    size_t left = 0;
    uint64_t sent = 0;
    uint64_t aside = 0;

    int code = cli_check_arguments(cli, 0, 0, "");
    if (code == CLI_DONE) {
        code = cli_get_duration(cli, "wait", WAIT_MAX_MS, &wait_ms);
    }
    if (code == CLI_DONE && cli->settings.outbox[0] == '\0') {
        code = cli_usage(cli->command, "which outbox? --outbox or STILLHOUSE_OUTBOX names it");
    }
    if (code == CLI_DONE) {
        code = connect_client_with_outbox(cli, CONNECT_TIMEOUT_MS, COMMAND_TIMEOUT_MS, &client);
    }
    if (code != CLI_DONE) {
        return code;
    }
    const stillhouse_status status = flush_until(client, clock_now_ms() + wait_ms, &left);
    stillhouse_outbox_counts(client, NULL, &sent, &aside);
    code = status == STILLHOUSE_OK ? CLI_DONE : client_fail(client, status);
    stillhouse_close(client);
    const int printed = print_counts(cli, sent, left, aside);
    return code == CLI_DONE ? printed : code;
}
