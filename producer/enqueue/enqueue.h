/* enqueue/enqueue.h - one draft put into a queue, in one bounded round trip. */
#ifndef STILLHOUSE_ENQUEUE_ENQUEUE_H
#define STILLHOUSE_ENQUEUE_ENQUEUE_H

#include "enqueue/make.h"

/* FULL where the bound was reached; else the statuses of queue_enqueue. `id` (may be NULL) is
 * filled on STATUS_OK only. */
enum status enqueue_draft(stillhouse_client *client, const struct queue *queue,
                          const struct jobs_draft *draft, char id[STILLHOUSE_ID_BYTES],
                          struct error *err) MUSTCHECK;

#endif
