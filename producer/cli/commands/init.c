/* cli/commands/init.c - everything a Redis needs before the first job. */
#include <stdio.h>
#include <string.h>

#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "operate/fleet.h"
#include "redis/info.h"
#include "json/write.h"

static enum status prepare_queues(const struct cli *cli, struct redis_conn *conn, struct error *err)
{
    for (size_t i = 0; i < FLEET_QUEUES; i++) {
        struct queue queue;
        enum status status = queue_init(&queue, cli->settings.prefix, fleet_queue_names[i], err);
        if (status == STATUS_OK) {
            status = queue_prepare(conn, &queue, err);
        }
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static void warn_of_eviction(const struct redis_info *info)
{
    char policy[REDIS_INFO_BYTES];
    const enum redis_eviction eviction = redis_info_eviction(info, policy);

    if (eviction == REDIS_EVICTS_ALL || eviction == REDIS_EVICTS_MORTAL) {
        cli_message("warning: maxmemory-policy is \"%s\", which may throw jobs away; set it to "
                    "noeviction",
                    policy);
    }
}

static int report(const struct cli *cli, const struct redis_conn *conn,
                  const struct redis_info *info, bool loaded)
{
    struct strbuf document = {0};
    char version[REDIS_INFO_BYTES];

    redis_info_text(info, "redis_version", version);
    if (!cli->json) {
        printf("Redis %s at ", version);
        output_text(redis_conn_where(conn));
        putchar('\n');
        puts(loaded ? "functions loaded" : "functions were there already");
        fputs("queues prepared:", stdout);
        for (size_t i = 0; i < FLEET_QUEUES; i++) {
            printf(" %s", fleet_queue_names[i]);
        }
        putchar('\n');
        return CLI_DONE;
    }
    strbuf_append_str(&document, "{\"redis_version\":");
    json_bytes(&document, version, strlen(version));
    strbuf_printf(&document, ",\"loaded\":%s,\"queues\":[", loaded ? "true" : "false");
    for (size_t i = 0; i < FLEET_QUEUES; i++) {
        strbuf_append_str(&document, i == 0 ? "" : ",");
        json_str(&document, fleet_queue_names[i]);
    }
    strbuf_append_str(&document, "]}");
    const int code = json_print(&document);
    strbuf_free(&document);
    return code;
}

int cmd_init(struct cli *cli)
{
    struct redis_conn *conn = NULL;
    struct redis_info info = {0};
    struct error err = {0};
    bool loaded = false;

    int code = cli_check_arguments(cli, 0, 0, "");
    if (code == CLI_DONE) {
        code = connect_queue(cli, &conn);
    }
    if (code != CLI_DONE) {
        return code;
    }
    enum status status = queue_install(conn, &loaded, &err);
    if (status == STATUS_OK) {
        status = prepare_queues(cli, conn, &err);
    }
    if (status == STATUS_OK) {
        status = redis_info_get(conn, "default", &info, &err);
    }
    if (status == STATUS_OK) {
        warn_of_eviction(&info);
        code = report(cli, conn, &info, loaded);
    } else {
        code = cli_fail(&err);
    }
    redis_info_free(&info);
    redis_conn_free(conn);
    return code;
}
