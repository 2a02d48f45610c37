/* cmd_pause.c - pause and resume. */
#include <stdio.h>

#include "connections.h"
#include "output.h"

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

int cmd_resume(struct cli *cli)
{
    return set_paused(cli, false);
}
