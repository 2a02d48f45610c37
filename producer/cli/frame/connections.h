/* cli/frame/connections.h - the servers of a command, as its settings name them.
 *
 *     struct queue queue;
 *     struct redis_conn *conn = cli_open_queue(cli, &queue);
 *     ...
 *     redis_conn_free(conn);
 *
 * Generous bounds, since a person or a script waits: 3 s to connect, 5 s a command. What is not
 * there ends the program with a message and the exit code of its status. One thread.
 */
#ifndef STILLHOUSE_CLI_FRAME_CONNECTIONS_H
#define STILLHOUSE_CLI_FRAME_CONNECTIONS_H

#include "cli/frame/cli.h"
#include "learn/store.h"
#include "queue/queue.h"
#include "redis/conn.h"
#include "stillhouse.h"

enum { CONNECT_TIMEOUT_MS = 3000, COMMAND_TIMEOUT_MS = 5000 };

/* A connection to the server of a URL, for who goes on without it. */
enum status open_redis(const char *text, struct redis_conn **out, struct error *err) MUSTCHECK;

/* The queue's Redis, connected; or the cache's, which may be the same server. redis_conn_free. */
struct redis_conn *cli_redis(const struct cli *cli);
struct redis_conn *cli_cache_redis(const struct cli *cli);

/* The queue that the first argument names, and its Redis. It must be one of the kinds, a
 * partition of one, or have something in Redis: else its name was mistyped, CLI_NOT_FOUND. */
struct redis_conn *cli_open_queue(const struct cli *cli, struct queue *queue);

/* The learning store that --learn names; its path alone. One that is not named, or cannot be
 * opened, ends the program. store_close. */
const char *cli_store_path(const struct cli *cli);
struct store *cli_store(const struct cli *cli, enum store_mode mode);

/* A client of the producer library with the command's settings. stillhouse_close. */
struct client_bounds {
    int connect_ms;
    int command_ms;
    bool outbox; /* with the one that the settings name; they may name none */
};
stillhouse_client *cli_client(const struct cli *cli, struct client_bounds bounds);

/* Says why a call on the client failed and returns the exit code, which is its status. */
int client_fail(const stillhouse_client *client, stillhouse_status status);

#endif
