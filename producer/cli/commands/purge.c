/* cli/commands/purge.c - takes all jobs out of a queue, with the books. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/frame/connections.h"
#include "cli/frame/output.h"

/* True when somebody at the terminal says yes. */
static bool is_meant(const struct queue *queue, const struct queue_stats *stats)
{
    fprintf(stderr,
            "take %" PRId64 " waiting, %" PRId64 " running and %" PRId64
            " delayed jobs out of queue \"%s\"? [y/N] ",
            stats->waiting, stats->running, stats->delayed, queue->name);
    const int answer = getchar();

    return answer == 'y' || answer == 'Y';
}

/* Those that are there now; more that come meanwhile are not meant. */
static enum status purge_all(struct redis_conn *conn, const struct queue *queue,
                             const struct queue_stats *stats, size_t *purged, struct error *err)
{
    size_t left = (size_t)(stats->waiting + stats->running + stats->delayed);
    size_t some = 1;
    enum status status = STATUS_OK;

    *purged = 0;
    while (status == STATUS_OK && left > 0 && some > 0) {
        status = queue_purge(conn, queue, left, &some, err);
        *purged += some;
        left -= some < left ? some : left;
    }
    return status;
}

static int purge(struct cli *cli, struct redis_conn *conn, const struct queue *queue)
{
    struct queue_stats stats;
    struct error err = {0};
    struct strbuf document = {0};
    size_t purged = 0;

    if (queue_get_stats(conn, queue, &stats, &err) != STATUS_OK) {
        return cli_fail(&err);
    }
    if (!cli_has(cli, "yes") && !is_meant(queue, &stats)) {
        cli_message("nothing was purged");
        return CLI_FAILED;
    }
    int code = CLI_DONE;
    if (purge_all(conn, queue, &stats, &purged, &err) != STATUS_OK) {
        code = cli_fail(&err);
    }
    if (!cli->json) {
        printf("%zu purged\n", purged);
        return code;
    }
    strbuf_printf(&document, "{\"purged\":%zu}", purged);
    const int printed = json_print(&document);
    strbuf_free(&document);
    return code == CLI_DONE ? printed : code;
}

int cmd_purge(struct cli *cli)
{
    struct queue queue;
    struct redis_conn *conn = NULL;

    int code = cli_check_arguments(cli, 1, 1, "QUEUE");
    if (code == CLI_DONE) {
        code = cli_queue(cli, 0, &queue);
    }
    if (code == CLI_DONE && !cli_has(cli, "yes") && isatty(STDIN_FILENO) == 0) {
        return cli_usage(cli->command, "standard input is no terminal to ask at: expected --yes");
    }
    if (code == CLI_DONE) {
        code = connect_queue(cli, &conn);
    }
    if (code == CLI_DONE) {
        code = cli_check_queue(conn, &queue);
    }
    if (code == CLI_DONE) {
        code = purge(cli, conn, &queue);
    }
    redis_conn_free(conn);
    return code;
}
