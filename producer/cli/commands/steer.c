/* cli/commands/steer.c - what an operator does to a queue: pause and resume, release what is
 * parked, purge. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "cli/commands/commands.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "operate/fleet.h"
#include "queue/operate.h"

/* ---- pause, resume ------------------------------------------------------------------------- */

static int set_paused(const struct cli *cli, bool paused)
{
    struct queue queue;
    struct redis_conn *conn = cli_open_queue(cli, &queue);
    struct error err = {0};
    int code = CLI_DONE;

    if (fleet_pause(conn, &queue, paused, &err) != STATUS_OK) {
        code = cli_fail(&err);
    } else if (!cli->json) {
        printf("%s is %s\n", queue.name, paused ? "paused" : "no longer paused");
    } else {
        struct output out;
        struct json_writer *json = output_object(&out);
        json_put_str(json, "queue", queue.name);
        json_put_bool(json, "paused", paused);
        output_end(&out);
    }
    redis_conn_free(conn);
    return code;
}

int cmd_pause(struct cli *cli)
{
    return set_paused(cli, true);
}

int cmd_resume(struct cli *cli)
{
    return set_paused(cli, false);
}

/* ---- parked jobs --------------------------------------------------------------------------- */

static enum status release(const struct cli *cli, struct redis_conn *conn,
                           const struct fleet_view *view, struct json_writer *json,
                           struct error *err)
{
    for (size_t i = 0; i < view->count; i++) {
        const struct queue *queue = &view->queues[i].queue;
        int64_t released = 0;
        TRY(queue_unpark(conn, queue, &released, err));
        json_put_int(json, queue->name, released);
        if (!cli->json && (released > 0 || view->count == 1)) {
            printf("%s: %" PRId64 " parked job%s released\n", queue->name, released,
                   released == 1 ? "" : "s");
        }
    }
    return STATUS_OK;
}

/* Jobs that wait for an upstream come now: somebody mended it. Of one queue, or of all. */
int cmd_release_parked(struct cli *cli)
{
    struct queue_view one;
    struct fleet_view all = {.queues = NULL};
    struct error err = {0};
    struct output out;
    enum status status = STATUS_OK;
    struct redis_conn *conn =
        cli->argument_count == 1 ? cli_open_queue(cli, &one.queue) : cli_redis(cli);

    if (cli->argument_count == 0) {
        status = fleet_queues(conn, cli->settings.prefix, &all, &err);
    }
    struct json_writer *json = output_object(&out);
    if (status == STATUS_OK) {
        const struct fleet_view that = {.queues = &one, .count = 1};
        status = release(cli, conn, cli->argument_count == 1 ? &that : &all, json, &err);
    }
    if (cli->json && status == STATUS_OK) {
        output_end(&out);
    }
    strbuf_free(&out.text);
    fleet_view_free(&all);
    redis_conn_free(conn);
    return status == STATUS_OK ? CLI_DONE : cli_fail(&err);
}

/* ---- purge --------------------------------------------------------------------------------- */

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

int cmd_purge(struct cli *cli)
{
    const bool yes = cli_has(cli, "yes");
    struct queue queue;
    struct queue_stats stats;
    struct error err = {0};
    size_t purged = 0;
    int code = CLI_DONE;

    if (!yes && isatty(STDIN_FILENO) == 0) {
        cli_usage(cli->command, "standard input is no terminal to ask at: expected --yes");
    }
    struct redis_conn *conn = cli_open_queue(cli, &queue);
    if (queue_get_stats(conn, &queue, &stats, &err) != STATUS_OK) {
        code = cli_fail(&err);
    } else if (!yes && !is_meant(&queue, &stats)) {
        cli_message("nothing was purged");
        code = CLI_FAILED;
    } else {
        if (fleet_purge(conn, &queue, &stats, &purged, &err) != STATUS_OK) {
            code = cli_fail(&err);
        }
        output_count(cli, "purged", purged);
    }
    redis_conn_free(conn);
    return code;
}
