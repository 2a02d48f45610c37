/* enqueue/keep.h - when a job goes to Redis, when to the outbox, and what the caller is told.
 *
 *     status = flush_make_way(client, 0, &err);        // what waits there goes first
 *     if (status != STATUS_OK) {                       // or Redis did not take this one
 *         kept = keep_draft(client, queue, draft, id, &err);
 *     }
 *
 * All of it only where keep_is_on.
 */
#ifndef STILLHOUSE_ENQUEUE_KEEP_H
#define STILLHOUSE_ENQUEUE_KEEP_H

#include "enqueue/flush.h"
#include "enqueue/make.h"

bool keep_is_on(const stillhouse_client *client);

/* Puts one job into the outbox because of `why`. KEPT, or, where that does not work either, what
 * `why` is to the caller. The client's error text says all of it. */
stillhouse_status keep_draft(stillhouse_client *client, const struct queue *queue,
                             const struct jobs_draft *draft, char *id, const struct error *why);

/* Adds a job to `records`, with `since` among its options: spool_put. */
enum status keep_encode(const struct queue *queue, const struct queue_item *item,
                        struct strbuf *records, struct error *err) MUSTCHECK;

/* Rewrites the client's error text for a job that was kept, or for one that could not be. */
void keep_say_kept(stillhouse_client *client);
void keep_say_lost(stillhouse_client *client, const struct error *why_not);

#endif
