#include "cli/frame/connections.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/must.h"
#include "jobs/kinds.h"
#include "operate/fleet.h"
#include "queue/queue.h"
#include "redis/sentinel.h"

enum status open_redis(const char *text, struct redis_conn **out, struct error *err)
{
    struct redis_url url;

    TRY(redis_url_parse(text, &url, err));
    struct redis_conn *conn =
        redis_open(&url, (struct redis_timeouts){CONNECT_TIMEOUT_MS, COMMAND_TIMEOUT_MS});
    explicit_bzero(&url, sizeof url);
    if (conn == NULL) {
        must_die();
    }
    enum status status = redis_conn_connect(conn, err);
    if (status != STATUS_OK) {
        redis_conn_free(conn);
        return status;
    }
    *out = conn;
    return STATUS_OK;
}

static struct redis_conn *connect_to(const char *text)
{
    struct redis_conn *conn = NULL;
    struct error err = {0};

    if (open_redis(text, &conn, &err) != STATUS_OK) {
        cli_exit(cli_fail(&err));
    }
    return conn;
}

struct redis_conn *cli_redis(const struct cli *cli)
{
    return connect_to(cli->settings.redis_url);
}

/* Where no other Redis is named the cache is in the queue's. */
static const char *cache_url(const struct cli *cli)
{
    return cli->settings.cache_url[0] == '\0' ? cli->settings.redis_url : cli->settings.cache_url;
}

struct redis_conn *cli_cache_redis(const struct cli *cli)
{
    return connect_to(cache_url(cli));
}

struct redis_conn *cli_open_queue(const struct cli *cli, struct queue *queue)
{
    char kinds[KIND_LIST_BYTES];
    struct error err = {0};
    bool known = false;

    if (queue_init(queue, cli->settings.prefix, cli->arguments[0], &err) != STATUS_OK) {
        cli_usage(cli->command, "%s", err.text);
    }
    struct redis_conn *conn = cli_redis(cli);
    int code = CLI_DONE;
    if (fleet_knows(conn, queue, &known, &err) != STATUS_OK) {
        code = cli_fail(&err);
    } else if (!known) {
        cli_message("no such queue: \"%s\"; expected %s, a partition of one (%s.3), or what "
                    "`stillhouse stats` shows beside them",
                    queue->name, kind_list(kinds), job_kinds[0].name);
        code = CLI_NOT_FOUND;
    }
    if (code != CLI_DONE) {
        redis_conn_free(conn);
        cli_exit(code);
    }
    return conn;
}

stillhouse_client *cli_client(const struct cli *cli, struct client_bounds bounds)
{
    const struct settings *settings = &cli->settings;
    char holdout[32];
    const stillhouse_options options = {
        .size = sizeof options,
        .redis_url = settings->redis_url,
        .cache_url = cache_url(cli),
        .prefix = settings->prefix,
        .connect_timeout_ms = bounds.connect_ms,
        .command_timeout_ms = bounds.command_ms,
        .max_backlog =
            settings->max_backlog > 0 ? settings->max_backlog : INT_MAX, /* 0 = no bound */
        .max_body_bytes = settings->max_body_bytes,
        .outbox = bounds.outbox ? settings->outbox : "",
        .outbox_max_bytes = settings->outbox_max_bytes,
        .holdout = holdout,
    };
    stillhouse_client *client = NULL;

    snprintf(holdout, sizeof holdout, "%" PRId64 ".%04" PRId64 "%%",
             settings->holdout / (SETTINGS_WHOLE / 100),
             settings->holdout % (SETTINGS_WHOLE / 100));
    const stillhouse_status status = stillhouse_open(&options, &client);
    if (status != STILLHOUSE_OK) {
        cli_message("%s", stillhouse_open_error());
        cli_exit((int)status);
    }
    return client;
}

int client_fail(const stillhouse_client *client, stillhouse_status status)
{
    struct error err = {0};

    (void)error_set(&err, STATUS_FAILED, "%s", stillhouse_error(client));
    (void)cli_fail(&err);
    return (int)status;
}

const char *cli_store_path(const struct cli *cli)
{
    if (cli->settings.learn[0] == '\0') {
        cli_usage(cli->command, "no learning store is named: expected --learn with a file "
                                "or postgresql://user@host/name, or STILLHOUSE_LEARN");
    }
    return cli->settings.learn;
}

struct store *cli_store(const struct cli *cli, enum store_mode mode)
{
    struct store *store = NULL;
    struct error err = {0};

    if (store_open(cli_store_path(cli), mode, &store, &err) != STATUS_OK) {
        cli_exit(cli_fail(&err));
    }
    return store;
}
