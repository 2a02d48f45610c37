/* process/sweep.h - deletes expired experiences from Chroma.
 *
 * One worker of the fleet at a time, by a lease ("sh:lease:sweep"), looks every STILLHOUSE_SWEEP at
 * each domain's collection for documents whose `expires_ms` has passed, and deletes them in slices
 * of 100. Enrichments leave expired ones out by themselves (enrich.c), so a sweep changes no
 * answer, and moves no epoch; without it, what has expired would hide what lives, and stay for
 * ever.
 *
 *   - A slice is deleted under the writers' leases, all of them, and only what is expired when it
 * is read again there: what was renewed since it was found stays.
 *   - Expired is what Redis' clock says, asked for each slice: no worker's clock deletes anything.
 *   - Ids only. A delete with a filter beside the ids was measured at 100,000 documents: 6 s under
 *     Chroma's write lock, against 0.1 s for reading the slice again and deleting it.
 *   - Lanes come first: before a slice the sweep waits a little for a moment without jobs in hand.
 *   - A process that has nothing to do with Chroma does not load libcurl to sweep: as long as the
 *     queues it serves have not finished a job that needs Chroma, it does nothing.
 *
 * A sweep runs in a thread of its own that lives as long as there is something to do; the janitor
 * starts it and keeps the lease. Failure modes: whatever fails ends the round, the next one is a
 * STILLHOUSE_SWEEP later. A holder that dies is followed when the lease ends.
 */
#ifndef STILLHOUSE_PROCESS_SWEEP_H
#define STILLHOUSE_PROCESS_SWEEP_H

#include "base/status.h"
#include "redis/conn.h"

struct worker;
struct sweep; /* opaque; one a process */

/* `worker` is borrowed and outlives it. */
struct sweep *sweep_new(struct worker *worker) MUSTCHECK;

/* Waits for the thread, which ends soon once the worker's mode is no longer FLEET_RUN. NULL is
 * fine.
 */
void sweep_free(struct sweep *sweep);

/* Begins a round where one is due and the lease is to be had; keeps the lease of one that runs. A
 * chore of the janitor, on its connection. */
enum status sweep_tick(struct sweep *sweep, struct redis_conn *conn, struct error *err) MUSTCHECK;

#endif
