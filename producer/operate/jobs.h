/* operate/jobs.h - what a queue will do next, and where one job is.
 *
 *     status = jobs_next(conn, &queue, 10, show, &page, &err);
 *
 * One thread, a caller's connection.
 */
#ifndef STILLHOUSE_OPERATE_JOBS_H
#define STILLHOUSE_OPERATE_JOBS_H

#include "operate/entries.h"
#include "queue/queue.h"

/* Is called with each job; what the entry borrows is there during the call. */
typedef void jobs_show(void *context, const struct entry *job);

/* The first `most` jobs that wait, in the order of their priority, then of the delayed ones. */
enum status jobs_next(struct redis_conn *conn, const struct queue *queue, size_t most,
                      jobs_show *show, void *context, struct error *err) MUSTCHECK;

/* The job of this id, or of this stream entry: waiting, running or delayed. NOT_FOUND. */
enum status jobs_find(struct redis_conn *conn, const struct queue *queue, const char *id,
                      jobs_show *show, void *context, struct error *err) MUSTCHECK;

#endif
