/* enqueue/flush.h - from the spool to Redis: oldest first, in calls of up to SPOOL_BATCH_MAX jobs.
 *
 * A call is one run of jobs of the same queue, of one file or of many. Files whose jobs Redis
 * accepted go; the first job it will not take now ends the run, so order holds; one that it never
 * will take is put aside. A call that times out, or finds a queue full, makes the next ones
 * smaller. stillhouse_flush is here too.
 */
#ifndef STILLHOUSE_ENQUEUE_FLUSH_H
#define STILLHOUSE_ENQUEUE_FLUSH_H

#include "client/client.h"

/* Before a job that may be kept: sends what waits in the spool, in a command's time and 256 jobs at
 * most. OK: nothing that a new job would overtake is left there; else why there is, and the new one
 * belongs behind it. Looks at the disk once a second where nothing is known to wait. */
enum status flush_make_way(stillhouse_client *client, struct error *err) MUSTCHECK;

#endif
