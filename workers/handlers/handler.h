/* handlers/handler.h - what a kind of work is: handlers classify, the lane's one switch acts.
 *
 * A handler is given a batch of tasks and says for each how it ended. It reads and writes upstreams
 * through the lane's own clients (struct context) and knows nothing of streams, acknowledging or
 * retries.
 */
#ifndef STILLHOUSE_HANDLERS_HANDLER_H
#define STILLHOUSE_HANDLERS_HANDLER_H

#include "base/arena.h"
#include "rules/task.h"

struct context; /* context/context.h */

struct handler {
    /* Judges every task of the batch. Runs in the lane's thread; memory from ctx->arena lives
     * until the batch is accounted for. */
    void (*process)(struct context *ctx, struct task *tasks, size_t count);

    /* What must stand before jobs end, whatever for: done, expired or dead, also those that never
     * reached `process`. May judge a task PARK instead. NULL: nothing must. */
    void (*before_end)(struct context *ctx, struct task *const *tasks, size_t count);
};

/* handler_enrich and so on, one a kind. */
#define JOB_KIND(name, needs, traits) extern const struct handler handler_##name;
#include "jobs/kinds.def"

#endif
