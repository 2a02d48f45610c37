/* cli/commands/pause.c - pause and resume. */
#include <inttypes.h>
#include <stdio.h>

#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "operate/fleet.h"
#include "json/write.h"

static int set_paused(struct cli *cli, bool paused)
{
    struct queue queue;
    struct redis_conn *conn = NULL;
    struct error err = {0};
    struct strbuf document = {0};

    int code = cli_check_arguments(cli, 1, 1, "QUEUE");
    if (code == CLI_DONE) {
        code = cli_queue(cli, 0, &queue);
    }
    if (code == CLI_DONE) {
        code = connect_queue(cli, &conn);
    }
    if (code != CLI_DONE) {
        return code;
    }
    code = cli_check_queue(conn, &queue);
    if (code != CLI_DONE) {
        redis_conn_free(conn);
        return code;
    }
    enum status status = queue_pause(conn, &queue, paused, &err);
    if (status == STATUS_REFUSED && queue_install(conn, NULL, NULL) == STATUS_OK) {
        status = queue_pause(conn, &queue, paused, &err); /* the functions were lost */
    }
    if (status != STATUS_OK) {
        code = cli_fail(&err);
    } else if (cli->json) {
        strbuf_printf(&document, "{\"queue\":\"%s\",\"paused\":%s}", queue.name,
                      paused ? "true" : "false");
        code = json_print(&document);
    } else {
        printf("%s is %s\n", queue.name, paused ? "paused" : "no longer paused");
    }
    strbuf_free(&document);
    redis_conn_free(conn);
    return code;
}

int cmd_pause(struct cli *cli)
{
    return set_paused(cli, true);
}

/* Jobs that wait for an upstream come now: somebody mended it. */
static int unpark(struct redis_conn *conn, const struct queue *queues, size_t count, bool json)
{
    struct strbuf document = {0};
    struct error err = {0};
    int code = CLI_DONE;

    strbuf_append_char(&document, '{');
    for (size_t i = 0; i < count && code == CLI_DONE; i++) {
        int64_t released = 0;
        if (queue_unpark(conn, &queues[i], &released, &err) != STATUS_OK) {
            code = cli_fail(&err);
        } else if (json) {
            json_key(&document, queues[i].name);
            json_int(&document, released);
        } else if (released > 0 || count == 1) {
            printf("%s: %" PRId64 " parked job%s released\n", queues[i].name, released,
                   released == 1 ? "" : "s");
        }
    }
    strbuf_append_char(&document, '}');
    if (json && code == CLI_DONE) {
        code = json_print(&document);
    }
    strbuf_free(&document);
    return code;
}

static int release_parked(struct cli *cli)
{
    struct queue_list list = {0};
    struct queue queue;
    struct redis_conn *conn = NULL;
    struct error err = {0};
    int code = cli_check_arguments(cli, 0, 1, "[QUEUE]");

    if (code == CLI_DONE && cli->argument_count == 1) {
        code = cli_queue(cli, 0, &queue);
    }
    if (code == CLI_DONE) {
        code = connect_queue(cli, &conn);
    }
    if (code != CLI_DONE) {
        return code;
    }
    if (cli->argument_count == 1) {
        code = cli_check_queue(conn, &queue);
        code = code == CLI_DONE ? unpark(conn, &queue, 1, cli->json) : code;
    } else if (fleet_queues(conn, cli->settings.prefix, &list, &err) != STATUS_OK) {
        code = cli_fail(&err);
    } else {
        code = unpark(conn, list.queues, list.count, cli->json);
    }
    queue_list_free(&list);
    redis_conn_free(conn);
    return code;
}

int cmd_resume(struct cli *cli)
{
    return cli_has(cli, "parked") ? release_parked(cli) : set_paused(cli, false);
}
