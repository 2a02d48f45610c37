/* embedding.h - vectors for a batch of texts: from the cache, else from the embedder in one call.
 *
 * Texts that normalise to the same hash are embedded once. Runs in the lane's thread.
 */
#ifndef STILLHOUSE_WORKERS_EMBEDDING_H
#define STILLHOUSE_WORKERS_EMBEDDING_H

#include "tools.h"

/* One text: in `text`, out the rest. */
struct embedding {
    struct slice text;   /* valid UTF-8, not blank */
    const float *vector; /* in the arena; NULL where it failed */
    struct error error;  /* why it failed */
    bool parked;         /* the embedder's breaker is open: nothing was tried */
};

/* Fills every item. A text that the embedder refuses fails alone: the others are embedded without
 * it. */
void embedding_resolve(struct lane_tools *tools, struct embedding *items, size_t count);

/* Judges `task` by an item without a vector. */
void embedding_judge(struct lane_tools *tools, const struct embedding *item, struct task *task);

#endif
