/* context/blackbox.h - which phase of the work a job is in, written down where it outlives the
 * process.
 *
 * Only for jobs that were taken over: their last worker may have died of them. A lane that works on
 * such a batch notes each phase in Redis before it begins it, so that the dead letter of a job that
 * kills its workers says where, and whom. Fresh jobs, which are nearly all, cost nothing. A note
 * that cannot be written is done without: the black box never fails a job.
 */
#ifndef STILLHOUSE_CONTEXT_BLACKBOX_H
#define STILLHOUSE_CONTEXT_BLACKBOX_H

#include "base/arena.h"
#include "queue/queue.h"

enum phase {
    PHASE_DECODE, /* reading the body, looking into the cache */
    PHASE_EMBED,  /* asking the embedder */
    PHASE_QUERY,  /* asking Chroma */
    PHASE_UPSERT, /* writing to Chroma */
    PHASE_FINISH, /* committing to the queue */
};

/* Belongs to a lane and its thread. Zeroed: nothing is noted. */
struct blackbox {
    struct redis_conn *conn;   /* borrowed, as all below, until blackbox_end */
    const struct queue *queue; /* of the batch in hand */
    const char *consumer;
    const struct job **jobs;
    size_t count;
};

/* Watches those of `count` jobs that were handed out before. The list is the arena's. */
void blackbox_begin(struct blackbox *box, struct arena *arena, const struct queue_batch *batch);

/* Notes that the watched jobs enter a phase. */
void blackbox_note(const struct blackbox *box, enum phase phase);

/* Erases the notes: the jobs have ended, or go on elsewhere. */
void blackbox_end(struct blackbox *box);

#endif
