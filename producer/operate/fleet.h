/* operate/fleet.h - which queues and which workers there are. One thread, a caller's connection. */
#ifndef STILLHOUSE_OPERATE_FLEET_H
#define STILLHOUSE_OPERATE_FLEET_H

#include "cli/frame/cli.h"
#include "queue/queue.h"
#include "redis/conn.h"

/* enrich distill index echo. */
enum { FLEET_QUEUES = 4 };
extern const char *const fleet_queue_names[FLEET_QUEUES];

struct queue_list {
    struct queue *queues;
    size_t count;
};

/* The four queues and every other that has counters (found with SCAN), sorted behind them. */
enum status fleet_queues(struct redis_conn *conn, const char *prefix, struct queue_list *list,
                         struct error *err) MUSTCHECK;
void queue_list_free(struct queue_list *list);

/* One registered worker. */
struct worker {
    char *id;
    redisReply *fields; /* of its hash: names and values; empty when it is gone */
    int64_t beat_unix_ms;
};

struct worker_list {
    struct worker *workers;
    size_t count;
    size_t alive;
};

/* Everybody in <prefix>:workers; who has no hash any more is gone. */
enum status fleet_workers(struct redis_conn *conn, const char *prefix, struct worker_list *list,
                          struct error *err) MUSTCHECK;
void worker_list_free(struct worker_list *list);
bool worker_is_alive(const struct worker *worker);

/* A field of the worker's hash; "" when it has none of that name. */
const char *worker_field(const struct worker *worker, const char *name);

#endif
