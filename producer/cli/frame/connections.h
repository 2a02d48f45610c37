/* cli/frame/connections.h - the servers of a command, as its settings name them.
 *
 * Generous bounds, since a person or a script waits: 3 s to connect, 5 s a command. Each call that
 * returns an exit code has said what went wrong when it is not CLI_DONE. One thread.
 */
#ifndef STILLHOUSE_CLI_FRAME_CONNECTIONS_H
#define STILLHOUSE_CLI_FRAME_CONNECTIONS_H

#include "cli/frame/cli.h"
#include "queue/queue.h"
#include "redis/conn.h"
#include "stillhouse.h"

enum { CONNECT_TIMEOUT_MS = 3000, COMMAND_TIMEOUT_MS = 5000 };

/* A connection to the server of a URL; says nothing. */
enum status open_redis(const char *text, struct redis_conn **out, struct error *err) MUSTCHECK;

/* The queue's Redis, connected. The caller frees it. */
int connect_queue(const struct cli *cli, struct redis_conn **conn) MUSTCHECK;

/* The cache's Redis, which may be the same server. */
int connect_cache(const struct cli *cli, struct redis_conn **conn) MUSTCHECK;

/* A client of the producer library with the command's settings, without an outbox.
 * stillhouse_close. */
int connect_client(const struct cli *cli, int connect_ms, int command_ms,
                   stillhouse_client **client) MUSTCHECK;
/* With the outbox that the settings name; they may name none. */
int connect_client_with_outbox(const struct cli *cli, int connect_ms, int command_ms,
                               stillhouse_client **client) MUSTCHECK;

/* Says why a call on the client failed and returns the exit code, which is its status. */
int client_fail(const stillhouse_client *client, stillhouse_status status);

/* The queue named by argument `index`; there need not be one. */
int cli_queue(const struct cli *cli, size_t index, struct queue *queue) MUSTCHECK;

/* CLI_NOT_FOUND, and a message, where nothing of the queue stands in Redis and its name is none of
 * the four kinds or their partitions: then it was mistyped. */
int cli_check_queue(struct redis_conn *conn, const struct queue *queue) MUSTCHECK;

#endif
