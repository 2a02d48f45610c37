/* echo - returns its body: for `stillhouse ping`, benchmarks and tests of the queue alone. */
#include "context/context.h"
#include "handlers/handler.h"

static void echo_process(struct context *ctx, struct task *tasks, size_t count)
{
    (void)ctx;
    for (size_t i = 0; i < count; i++) {
        tasks[i].verdict = VERDICT_DONE;
        tasks[i].reply = tasks[i].job->body;
    }
}

const struct handler handler_echo = {.process = echo_process};
