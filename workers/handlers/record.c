/* record - what an execution taught, into the learning store. */
#include "context/context.h"
#include "handlers/handler.h"

static void record_process(struct context *ctx, struct task *tasks, size_t count)
{
    (void)ctx;
    for (size_t i = 0; i < count; i++) {
        task_hold_back(&tasks[i], OPERATION_REDIS, 0, "no learning store here");
    }
}

const struct handler handler_record = {.process = record_process};
