/* enqueue/send.h - jobs on their way into a queue, or into the spool where Redis does not take
 * them. The one sender: one job in one round trip, or any number from a source, pipelined.
 *
 *     status = make_enrich(client, &enrichment, options, &draft, &err);
 *     if (status == STATUS_OK) {
 *         status = send_one(client, queue, &draft, id, &err);
 *     }
 */
#ifndef STILLHOUSE_ENQUEUE_SEND_H
#define STILLHOUSE_ENQUEUE_SEND_H

#include "enqueue/make.h"
#include "queue/queue.h"

/* One bounded round trip. FULL where the bound was reached; else the statuses of queue_enqueue.
 * `id` (may be NULL) is filled on STATUS_OK only. */
enum status send_one(stillhouse_client *client, const struct queue *queue,
                     const struct job_draft *draft, char id[STILLHOUSE_ID_BYTES],
                     struct error *err) MUSTCHECK;

/* The same, for a job that may be kept behind those that wait in the spool, and into it where Redis
 * does not take it. The client's error text says all of it. */
stillhouse_status send_or_keep(stillhouse_client *client, const struct queue *queue,
                               const struct job_draft *draft, char id[STILLHOUSE_ID_BYTES]);

/* What many jobs come from, and who is told what became of each. */
struct send_order {
    stillhouse_client *client;
    const struct queue *queue;
    int64_t room_ms; /* a full queue or Redis is waited for, so long after it took one; 0 = not */
    size_t count;    /* of the jobs, where it is known: then all are told; else 0 */

    /* Makes the next job's draft, its body in client->body. NOT_FOUND: there are no more. INVALID:
     * it is none, and the next one may be; others end the run. */
    enum status (*make)(void *context, struct job_draft *draft, struct error *err);

    /* Told once of each job that was made or INVALID, by its number from 0; not in order. `id` is
     * that which stands for it, `twin` where that is another job's; of one that went out without an
     * answer its own; else "". */
    void (*tell)(void *context, size_t index, stillhouse_status status, const char *id, bool twin);
    void *context;
};

/* Calls of up to 500 jobs or about 512 KiB, four on their way at once. A call that is refused for
 * one of its jobs is sent again one by one; a call refused otherwise, or an answer that does not
 * come, ends the run, and with a spool what is not in, and all that comes, goes there. Returns the
 * worst outcome. The client's error text is that of the first failure. */
stillhouse_status send_many(const struct send_order *order);

#endif
