/* operate/jobs.h - what a queue will do next, and where one job is.
 *
 *     struct queue queue;
 *     status = queue_init(&queue, "sh", "enrich", &err);
 *     struct jobs_view view = {conn, &queue, show, context};
 *     status = jobs_next(&view, 10, &err);
 *
 * One thread, a caller's connection.
 */
#ifndef STILLHOUSE_OPERATE_JOBS_H
#define STILLHOUSE_OPERATE_JOBS_H

#include "operate/entries.h"
#include "queue/queue.h"

/* Whose jobs are looked at, and who is shown them. */
struct jobs_view {
    struct redis_conn *conn;
    const struct queue *queue;
    /* Is called with each job; what the entry borrows is there during the call. */
    void (*show)(void *context, const struct entry *job);
    void *context;
    size_t shown; /* so many */
};

/* The first `most` jobs that wait, in the order of their priority, then of the delayed ones. */
enum status jobs_next(struct jobs_view *view, size_t most, struct error *err) MUSTCHECK;

/* The job of this id, or of this stream entry: waiting, running or delayed. NOT_FOUND. */
enum status jobs_find(struct jobs_view *view, const char *id, struct error *err) MUSTCHECK;

#endif
