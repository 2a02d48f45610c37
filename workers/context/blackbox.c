#include "context/blackbox.h"

#include "base/log.h"

static const char *const names[] = {
    [PHASE_DECODE] = "decode", [PHASE_EMBED] = "embed",   [PHASE_QUERY] = "query",
    [PHASE_UPSERT] = "upsert", [PHASE_FINISH] = "finish",
};

void blackbox_begin(struct blackbox *box, struct arena *arena, const struct queue_batch *batch)
{
    box->count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->jobs[i].deliveries < 2) {
            continue;
        }
        if (box->count == 0) {
            box->jobs = arena_array(arena, batch->count, sizeof(const struct job *));
        }
        if (box->jobs == NULL) {
            return;
        }
        box->jobs[box->count++] = &batch->jobs[i];
    }
}

void blackbox_note(const struct blackbox *box, enum phase phase)
{
    struct error err = {0};

    if (box->count > 0 && queue_write_phase(box->conn, box->queue, box->consumer, names[phase],
                                            box->jobs, box->count, &err) != STATUS_OK) {
        log_debug("black box: %s", err.text);
    }
}

void blackbox_end(struct blackbox *box)
{
    struct error err = {0};

    if (box->count > 0 &&
        queue_erase_phase(box->conn, box->queue, box->jobs, box->count, &err) != STATUS_OK) {
        log_debug("black box: %s", err.text);
    }
    box->count = 0;
}
