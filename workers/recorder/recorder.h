/* recorder/recorder.h - the learning store of a worker that serves its queue: one thread owns it,
 * lanes hand it their parts.
 *
 *     status = recorder_put(ctx, parts, count, refused, &err);   // a lane; OK: they are on disk
 *
 * How they get there:
 *
 *     lanes --parts--> line --all that is in it, one transaction--> store --synced--> lanes go on
 *
 * So the parts of several lanes share one sync of the disk. Between transactions the thread does
 * what else there is to do, a short slice at a time: it renews its claim (learn/owner.h), refreshes
 * the views' groups that were touched, tells the cache's Redis of tiers that have changed and of
 * domains that examples hurt (recorder/telling.h), checks a random day, deletes what has expired,
 * sets the metrics.
 *
 * Failure modes. The store is away, locked, read-only or full, or its file was replaced: what was
 * handed in is UNAVAILABLE, nothing of it stands, and the thread opens the store anew, once a
 * second, until that works. Then it has the jobs that were parked meanwhile come back at once: a
 * few, and all once parts are written. Another worker writes, or Redis knows another store: the
 * same, until that has changed. All of it is said in /readyz, and once in the log. Data that the
 * store refuses: those parts alone are refused, whatever came with them stands. A process that was
 * stopped (SIGSTOP) renews its claim before it writes, if that is older than half a lease. One that
 * has just begun lets its lanes wait for as long as the lease of one that was killed may last.
 *
 * On close: what is in the line is written, what was touched is refreshed if that is a matter of a
 * second, the store is closed, the lease ended.
 */
#ifndef STILLHOUSE_RECORDER_RECORDER_H
#define STILLHOUSE_RECORDER_RECORDER_H

#include <stdbool.h>

#include "base/strbuf.h"
#include "context/context.h"
#include "learn/store.h"

struct recorder; /* opaque; one a process */

/* Borrowed, and outlives the recorder. */
struct recorder_config {
    const struct settings *settings;
    struct metrics *metrics;
    struct upstreams *upstreams;
    const struct queue *queues; /* the worker's */
    size_t queue_count;
    const char *worker_id;
};

/* Opens the store and starts the thread. INVALID: the place, or a file that is no store of ours or
 * newer than this program; no thread: OOM. A store that cannot be opened now is no error: it is
 * tried on. */
enum status recorder_start(const struct recorder_config *config, struct recorder **out,
                           struct error *err) MUSTCHECK;

/* When no lane runs any more; NULL is fine. */
void recorder_stop(struct recorder *recorder);

/* A lane: puts parts into ctx->recorder's store and waits until they stand. `refused` has one entry
 * a part, zeroed: its .status is INVALID where the store does not take that part's data. Not OK:
 * nothing of this call need stand, and it may be repeated. */
enum status recorder_put(struct context *ctx, const struct part *parts, size_t count,
                         struct error *refused, struct error *err) MUSTCHECK;

/* Any thread: appends ,"learn":{...} for /readyz; true when parts are parked now. */
bool recorder_describe(struct recorder *recorder, struct strbuf *out);

#endif
