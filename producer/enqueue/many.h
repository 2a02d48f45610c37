/* enqueue/many.h - what the files of the ..._many calls share. */
#ifndef STILLHOUSE_ENQUEUE_MANY_H
#define STILLHOUSE_ENQUEUE_MANY_H

#include "enqueue/make.h"

/* What the caller wants done. */
struct many_order {
    stillhouse_client *client;
    const struct queue *queue;
    const void *elements;
    size_t count;
    const stillhouse_job_options *options;
    stillhouse_status *outcome; /* may be NULL, as ids; not with `keep` */
    char (*ids)[STILLHOUSE_ID_BYTES];
    bool keep; /* in the outbox, what Redis does not take */
    enum status (*make)(const struct many_order *order, size_t index, struct jobs_draft *draft,
                        struct error *err);
};

/* Which of two outcomes is the worse one: the greater number. */
int many_severity(stillhouse_status status);

/* After a run whose outcomes are all set: what is neither in nor INVALID is encoded anew and kept,
 * under an id of its own. Returns the worst outcome; the client's error text is that of it all. */
stillhouse_status many_keep(const struct many_order *order);

#endif
