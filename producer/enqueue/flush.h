/* enqueue/flush.h - from the outbox to Redis: oldest first, in calls of up to OUTBOX_BATCH_MAX
 * jobs.
 *
 * A call is one run of jobs of the same queue in one segment. What Redis accepted is passed over at
 * once; the first job it will not take now ends the run, so order holds; one that it never will
 * take is put aside. A call that times out, or finds a queue full, makes the next ones smaller.
 */
#ifndef STILLHOUSE_ENQUEUE_FLUSH_H
#define STILLHOUSE_ENQUEUE_FLUSH_H

#include "client/client.h"

struct outbox_bounds {
    int64_t deadline_ms; /* monotonic; 0 = a command's time from when there is a connection */
    size_t jobs_max;
};

struct outbox_outcome {
    bool over;         /* the bounds ended it; something is left */
    struct error disk; /* of the first file that could not be read or written; STATUS_OK = none */
};

/* OK: everything that is not held by other processes was looked at, or the bounds ended it. FULL,
 * or why Redis would not have it: something is left. One call is always made; another one only
 * while half a command's time is left. */
enum status outbox_send(stillhouse_client *client, struct outbox_bounds bounds,
                        struct outbox_outcome *outcome, struct error *err) MUSTCHECK;

#endif
