/* cli/commands/ping.c - a job there and back: queue, worker and reply in one number. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"

enum { COUNT_DEFAULT = 4, COUNT_MAX = 1000000, WAIT_DEFAULT_MS = 5000, WAIT_MAX_MS = 3600000 };

/* fixmap {"ping": true} */
static const char body[] = "\x81\xa4ping\xc3";

struct tally {
    int64_t sent;
    int64_t answered;
    double min_ms;
    double sum_ms;
    double max_ms;
};

static void count_answer(struct tally *tally, double ms)
{
    tally->min_ms = tally->answered == 0 || ms < tally->min_ms ? ms : tally->min_ms;
    tally->max_ms = ms > tally->max_ms ? ms : tally->max_ms;
    tally->sum_ms += ms;
    tally->answered++;
}

/* One job. A reply that does not come in time is no failure of the call. */
static stillhouse_status ping_once(stillhouse_client *client, int64_t wait_ms, struct tally *tally,
                                   bool quiet)
{
    const stillhouse_job_options options = {
        .priority = STILLHOUSE_HIGH, .deadline_ms = wait_ms, .reply = true};
    char id[STILLHOUSE_ID_BYTES];
    void *reply = NULL;
    size_t reply_bytes = 0;

    const int64_t start_ns = clock_now_ns();
    stillhouse_status status =
        stillhouse_enqueue_raw(client, "echo", "ping", body, sizeof body - 1, &options, id);
    if (status != STILLHOUSE_OK) {
        return status;
    }
    tally->sent++;
    status = stillhouse_await_raw(client, "echo", id, (int)wait_ms, &reply, &reply_bytes);
    const double ms = (double)(clock_now_ns() - start_ns) / 1e6;
    if (status == STILLHOUSE_OK) {
        count_answer(tally, ms);
        free(reply);
    }
    if (!quiet && status == STILLHOUSE_OK) {
        printf("%s  %.2f ms\n", id, ms);
    } else if (!quiet && status == STILLHOUSE_NOT_FOUND) {
        printf("%s  no answer within %" PRId64 " ms\n", id, wait_ms);
    }
    fflush(stdout);
    return status == STILLHOUSE_NOT_FOUND ? STILLHOUSE_OK : status;
}

static int report(const struct cli *cli, const struct tally *tally)
{
    const double average = tally->answered == 0 ? 0 : tally->sum_ms / (double)tally->answered;
    struct strbuf document = {0};
    int code = CLI_DONE;

    if (cli->json) {
        strbuf_printf(&document,
                      "{\"sent\":%" PRId64 ",\"answered\":%" PRId64
                      ",\"min_ms\":%.3f,\"avg_ms\":%.3f,\"max_ms\":%.3f}",
                      tally->sent, tally->answered, tally->min_ms, average, tally->max_ms);
        code = json_print(&document);
        strbuf_free(&document);
    } else {
        printf("%" PRId64 " sent, %" PRId64 " answered", tally->sent, tally->answered);
        if (tally->answered > 0) {
            printf(", round trip min/avg/max %.2f/%.2f/%.2f ms", tally->min_ms, average,
                   tally->max_ms);
        }
        putchar('\n');
    }
    if (code == CLI_DONE && tally->answered == 0) {
        cli_message("no worker answered; is one running that serves queue \"echo\"?");
        return CLI_NOT_FOUND;
    }
    return code;
}

int cmd_ping(struct cli *cli)
{
    stillhouse_client *client = NULL;
    stillhouse_status status = STILLHOUSE_OK;
    struct tally tally = {0};
    int64_t count = COUNT_DEFAULT;
    int64_t wait_ms = WAIT_DEFAULT_MS;

    int code = cli_check_arguments(cli, 0, 0, "");
    if (code == CLI_DONE) {
        code = cli_get_int(cli, "count", 1, COUNT_MAX, &count);
    }
    if (code == CLI_DONE) {
        code = cli_get_duration(cli, "wait", WAIT_MAX_MS, &wait_ms);
    }
    if (code == CLI_DONE && wait_ms == 0) {
        code = cli_usage(cli->command, "--wait \"0\": expected at least 1ms");
    }
    if (code == CLI_DONE) {
        code = connect_client(cli, CONNECT_TIMEOUT_MS, COMMAND_TIMEOUT_MS, &client);
    }
    if (code != CLI_DONE) {
        return code;
    }

    for (int64_t i = 0; status == STILLHOUSE_OK && i < count; i++) {
        status = ping_once(client, wait_ms, &tally, cli->json);
    }
    code = status == STILLHOUSE_OK ? report(cli, &tally) : client_fail(client, status);
    stillhouse_close(client);
    return code;
}
