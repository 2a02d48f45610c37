/* recorder/events.h - who follows what happens: a capped stream beside the queue's own keys,
 * "sh:{record}:events" (producer/CONTRACT.md, section 6).
 *
 *     status = events_send(context_redis(ctx), ctx->queue, parts, refused, count, &err);
 *
 * `routing_decision` for a part of kind routing, `execution_recorded` for an outcome or an
 * execution: after the store has it, before its job is finished. So each is told at least once,
 * with the job's id, by which a follower knows a repeat. About the last 10,000 are kept. Runs in
 * the lane's thread.
 */
#ifndef STILLHOUSE_RECORDER_EVENTS_H
#define STILLHOUSE_RECORDER_EVENTS_H

#include "learn/store.h"
#include "queue/queue.h"

/* Those parts of which `refused` says nothing. Errors: the first failure; an outage may be
 * repeated.
 */
enum status events_send(struct redis_conn *conn, const struct queue *queue,
                        const struct part *parts, const struct error *refused, size_t count,
                        struct error *err) MUSTCHECK;

#endif
