/* cli/commands/feed.h - many jobs into one queue: calls of up to 1,000, several on their way at
 * once.
 *
 *     struct feed feed;
 *     status = feed_init(&feed, conn, &queue, max_backlog, wait_full, &err);
 *     while (... feed_add(&feed, &job, &err) == STATUS_OK && !feed.full) ...
 *     status = feed_finish(&feed, &err);      // also after a failure: what is on its way counts
 *     feed_free(&feed);
 *
 * Happy path: a call is appended, and the answers of the oldest are read once enough are on their
 * way. Failure modes: refused as full - counted, `full` is set, or with `wait_full` sent again with
 * growing pauses until there is room; an error answer - the call's jobs count as failed, nothing of
 * it was added; a lost connection - what was on its way counts as unknown. With a `keeper` all of
 * these jobs go into its outbox instead, those of a call that is wrong apart, and so does whatever
 * is added from then on, without being sent. One thread.
 */
#ifndef STILLHOUSE_CLI_COMMANDS_FEED_H
#define STILLHOUSE_CLI_COMMANDS_FEED_H

#include "base/arena.h"
#include "cli/commands/line_job.h"
#include "client/client.h"
#include "queue/queue.h"

enum { FEED_IN_FLIGHT = 4, FEED_CALL_BYTES = 1024 * 1024 };

/* One call. */
struct feed_call {
    struct arena arena; /* what the items point to */
    struct queue_item items[QUEUE_BATCH_MAX];
    size_t count;
    size_t bytes;
    bool singly; /* it was refused as a whole, for one of its jobs: each is sent alone */
};

struct feed {
    struct redis_conn *conn;
    const struct queue *queue;
    int64_t max_backlog;
    bool wait_full;
    stillhouse_client *keeper; /* NULL = there is no outbox. Set it after feed_init, if at all */
    bool keeping;              /* nothing more is sent: all goes into the outbox */
    struct error why;          /* it is kept, the first reason */
    struct error invalid;      /* what was said of the first job that was refused for itself */
    struct feed_call *calls;   /* FEED_IN_FLIGHT of them on their way, and the one being filled */
    size_t oldest;
    size_t in_flight;

    size_t accepted; /* new jobs */
    size_t deduplicated;
    size_t refused; /* full, or not sent after a failure */
    size_t failed;  /* the server refused them */
    size_t unknown; /* the connection broke: they may be in */
    size_t kept;    /* in the outbox */
    bool full;      /* something was refused: no use in going on */
    bool broken;    /* a call failed: nothing more is sent */
};

enum status feed_init(struct feed *feed, struct redis_conn *conn, const struct queue *queue,
                      int64_t max_backlog, bool wait_full, struct error *err) MUSTCHECK;
void feed_free(struct feed *feed);

/* From now on nothing is sent, because of `why`; `conn` may be NULL. With a keeper only. */
void feed_keep(struct feed *feed, const struct error *why);

/* Adds a copy of the job, and sends a call when one is complete. */
enum status feed_add(struct feed *feed, const struct line_job *job, struct error *err) MUSTCHECK;

/* Sends what is left and reads every answer that can still be read. */
enum status feed_finish(struct feed *feed, struct error *err) MUSTCHECK;

#endif
