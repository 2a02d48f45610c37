#include "cli/frame/connections.h"

#include <stdio.h>
#include <string.h>

#include "operate/fleet.h"
#include "redis/sentinel.h"

enum status open_redis(const char *text, struct redis_conn **out, struct error *err)
{
    struct redis_url url;

    enum status status = redis_url_parse(text, &url, err);
    if (status != STATUS_OK) {
        return status;
    }
    struct redis_conn *conn =
        redis_open(&url, (struct redis_timeouts){CONNECT_TIMEOUT_MS, COMMAND_TIMEOUT_MS});
    explicit_bzero(&url, sizeof url);
    if (conn == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    status = redis_conn_connect(conn, err);
    if (status != STATUS_OK) {
        redis_conn_free(conn);
        return status;
    }
    *out = conn;
    return STATUS_OK;
}

static int connect_to(const char *text, struct redis_conn **out)
{
    struct error err = {0};

    return open_redis(text, out, &err) == STATUS_OK ? CLI_DONE : cli_fail(&err);
}

int connect_queue(const struct cli *cli, struct redis_conn **conn)
{
    return connect_to(cli->settings.redis_url, conn);
}

int connect_cache(const struct cli *cli, struct redis_conn **conn)
{
    const struct settings *settings = &cli->settings;

    return connect_to(settings->cache_url[0] == '\0' ? settings->redis_url : settings->cache_url,
                      conn);
}

static int open_client(const struct cli *cli, int connect_ms, int command_ms, const char *outbox,
                       stillhouse_client **client)
{
    const struct settings *settings = &cli->settings;
    const stillhouse_options options = {
        .size = sizeof options,
        .redis_url = settings->redis_url,
        .cache_url = settings->cache_url[0] == '\0' ? settings->redis_url : settings->cache_url,
        .prefix = settings->prefix,
        .connect_timeout_ms = connect_ms,
        .command_timeout_ms = command_ms,
        .max_backlog = settings->max_backlog,
        .max_body_bytes = settings->max_body_bytes,
        .outbox = outbox,
        .outbox_max_bytes = settings->outbox_max_bytes,
    };

    const stillhouse_status status = stillhouse_open(&options, client);
    if (status != STILLHOUSE_OK) {
        cli_message("%s", stillhouse_open_error());
    }
    return (int)status;
}

int connect_client(const struct cli *cli, int connect_ms, int command_ms,
                   stillhouse_client **client)
{
    return open_client(cli, connect_ms, command_ms, "", client);
}

int connect_client_with_outbox(const struct cli *cli, int connect_ms, int command_ms,
                               stillhouse_client **client)
{
    return open_client(cli, connect_ms, command_ms, cli->settings.outbox, client);
}

int client_fail(const stillhouse_client *client, stillhouse_status status)
{
    struct error err = {0};

    (void)error_set(&err, STATUS_FAILED, "%s", stillhouse_error(client));
    (void)cli_fail(&err);
    return (int)status;
}

int cli_queue(const struct cli *cli, size_t index, struct queue *queue)
{
    struct error err = {0};

    if (queue_init(queue, cli->settings.prefix, cli->arguments[index], &err) != STATUS_OK) {
        return cli_usage(cli->command, "%s", err.text);
    }
    return CLI_DONE;
}

/* "enrich" or "enrich.3". */
static bool is_known_kind(const char *name)
{
    for (size_t i = 0; i < FLEET_QUEUES; i++) {
        const size_t bytes = strlen(fleet_queue_names[i]);
        if (strncmp(name, fleet_queue_names[i], bytes) == 0 &&
            (name[bytes] == '\0' || name[bytes] == '.')) {
            return true;
        }
    }
    return false;
}

int cli_check_queue(struct redis_conn *conn, const struct queue *queue)
{
    struct error err = {0};
    char counters[QUEUE_BASE_BYTES + 16];
    redisReply *reply = NULL;

    if (is_known_kind(queue->name)) {
        return CLI_DONE;
    }
    snprintf(counters, sizeof counters, "%s:counters", queue->base);
    const enum status status =
        redis_commandf(conn, &reply, &err, "EXISTS %s %s %s %s %s %s %s", queue->stream[JOB_HIGH],
                       queue->stream[JOB_NORMAL], queue->stream[JOB_LOW], queue->delayed,
                       queue->dead, queue->paused, counters);
    if (status ==
        STATUS_REFUSED) { /* who may not look at all of it is told by the command itself */
        return CLI_DONE;
    }
    if (status != STATUS_OK) {
        return cli_fail(&err);
    }
    const bool is_there = reply->type != REDIS_REPLY_INTEGER || reply->integer > 0;
    redis_reply_free(reply);
    if (!is_there) {
        cli_message("no such queue: \"%s\"; there are enrich, distill, index, echo, their "
                    "partitions (enrich.3), and what `stillhouse stats` shows beside them",
                    queue->name);
    }
    return is_there ? CLI_DONE : CLI_NOT_FOUND;
}
