/* handlers/handler.h - what a kind of work is: handlers classify, the lane's one switch acts.
 *
 * A handler is given a batch of tasks and says for each how it ended. It reads and writes upstreams
 * through the lane's own clients (struct lane_tools) and knows nothing of streams, acknowledging or
 * retries.
 */
#ifndef STILLHOUSE_HANDLERS_HANDLER_H
#define STILLHOUSE_HANDLERS_HANDLER_H

#include "base/arena.h"
#include "rules/task.h"

struct lane_tools; /* context/context.h */

struct handler {
    const char *name; /* the queue it serves */

    /* Judges every task of the batch. Runs in the lane's thread; memory from tools->arena lives
     * until the batch is accounted for. */
    void (*process)(struct lane_tools *tools, struct task *tasks, size_t count);
};

extern const struct handler handler_enrich;
extern const struct handler handler_distill;
extern const struct handler handler_index;
extern const struct handler handler_echo;

#endif
