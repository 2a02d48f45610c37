/* process/settle.h - the one switch: what a verdict does to a job in the queue.
 *
 * Runs in the lane's thread, on the lane's connection. A step whose outcome is unknown, or whose
 * connection cannot be had, is repeated until it succeeds: the lane takes no other work meanwhile,
 * and its jobs stay its own, since the janitor beats for them on another connection. So an outage
 * that meets the lanes alone (no more clients let in, a firewall) is no death of their jobs. A step
 * that was refused is repeated once, when the function library stands (FUNCTION FLUSH took it: it
 * is loaded again). What is refused for good, or not settled when the worker stops, the lane
 * hands back: nothing is lost, and effects are idempotent.
 */
#ifndef STILLHOUSE_PROCESS_SETTLE_H
#define STILLHOUSE_PROCESS_SETTLE_H

#include "context/context.h"
#include "handlers/handler.h"
#include "queue/settle.h"

/* Whose jobs they are, and how long to try. */
struct settling {
    struct queue_holder holder;
    const struct handler *handler;
    bool (*may_wait)(void *); /* false: the worker stops, a few tries must do */
    void *context;
};

/* Acts on the verdicts of `count` tasks, which may change by it, and counts what moved. False: some
 * are not settled. */
bool settle(struct context *ctx, const struct settling *settling, struct task *tasks,
            size_t count) MUSTCHECK;

#endif
