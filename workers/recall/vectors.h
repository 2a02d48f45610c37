/* recall/vectors.h - vectors for a batch of texts: from the cache, else from the embedder in one
 * call.
 *
 * Texts that normalise to the same hash are embedded once. Runs in the lane's thread.
 */
#ifndef STILLHOUSE_RECALL_VECTORS_H
#define STILLHOUSE_RECALL_VECTORS_H

#include "context/context.h"
#include "rules/task.h"

/* One text: in the first two, out the rest. */
struct embedding {
    const char *text_hash; /* of the text, where it is known already; else NULL */
    struct slice text;     /* valid UTF-8, not blank; made shorter where the model takes less */
    const float *vector;   /* in the arena; NULL where it failed */
    size_t embedded_bytes; /* of the text, where it was too long for the model; 0 = all */
    struct error error;    /* why it failed */
    bool parked;           /* nothing was tried: the embedder is paused, or the rate used up */
    bool guilty;           /* it failed alone, and others pass */
};

/* Fills every item. A request that fails is halved: a text that fails alone while others pass is at
 * fault itself, the others are embedded without it. */
void vectors_fill(struct context *ctx, struct embedding *items, size_t count);

/* Judges `task` by an item without a vector; `document` names it ({NULL, 0} = nothing does). */
void vectors_judge(const struct embedding *item, struct slice document, struct task *task);

#endif
