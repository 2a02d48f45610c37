/* queue/enqueue.h - a producer adds jobs, and waits for the reply to one. */
#ifndef STILLHOUSE_QUEUE_ENQUEUE_H
#define STILLHOUSE_QUEUE_ENQUEUE_H

#include "base/strbuf.h"
#include "queue/queue.h"

struct queue_item {
    struct slice id;      /* text_is_id */
    struct slice domain;  /* text_is_domain */
    struct slice options; /* job_options_format */
    struct slice body;
};

/* Jobs for a queue, which takes no more than `max_backlog` (0 = no bound). */
struct queue_items {
    const struct queue *queue;
    int64_t max_backlog;
    const struct queue_item *each;
    size_t count; /* 1..1000 */
};

/* What stands for one item now. */
struct queue_answer {
    bool full;                /* the bound was reached; nothing was added */
    char id[TEXT_ID_MAX + 1]; /* its own id or the outstanding twin's; "" when full */
};

/* Enqueues them in one call; answers[i] belongs to items->each[i]. All or nothing on an error. */
enum status queue_enqueue(struct redis_conn *conn, const struct queue_items *items,
                          struct queue_answer *answers, struct error *err) MUSTCHECK;

/* The same for pipelining: append now, collect later, in order. */
enum status queue_enqueue_append(struct redis_conn *conn, const struct queue_items *items,
                                 struct error *err) MUSTCHECK;
enum status queue_enqueue_collect(struct redis_conn *conn, size_t count,
                                  struct queue_answer *answers, struct error *err) MUSTCHECK;

/* Waits up to `wait_ms` for the reply of job `id` (BLMOVE onto itself, so that several can wait).
 * The bytes are appended to `out`. STATUS_TIMEOUT when there was none in time (connection still
 * good). STATUS_OOM: Redis is full and waits for nobody; there is none yet, ask again. */
enum status queue_await_reply(struct redis_conn *conn, const struct queue *queue, const char *id,
                              int64_t wait_ms, struct strbuf *out, struct error *err) MUSTCHECK;

#endif
