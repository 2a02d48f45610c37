/* process/fleet.h - one worker process: its lanes, the reader they share, the janitor, and how it
 * ends.
 *
 *     if (fleet_start(&settings, metrics, &fleet, &err) == STATUS_OK) {
 *         ... until a signal comes ...
 *         fleet_stop(fleet, FLEET_DRAIN);
 *         if (fleet_wait(fleet, 30000)) {
 *             fleet_free(fleet);
 *         }
 *     }
 *
 * A lane takes the reader, reads a batch, lets the reader go, works, settles, and begins again. The
 * janitor promotes delayed jobs, beats for long ones, renews leases, registers, feeds the gauges.
 */
#ifndef STILLHOUSE_PROCESS_FLEET_H
#define STILLHOUSE_PROCESS_FLEET_H

#include "process/worker.h"

struct fleet; /* opaque */

/* Builds everything and starts the threads; what is given is borrowed and outlives them. */
enum status fleet_start(const struct settings *settings, struct metrics *metrics,
                        struct fleet **out, struct error *err) MUSTCHECK;

void fleet_stop(struct fleet *fleet, enum fleet_mode mode);

/* Waits up to `wait_ms` for the lanes; true when all have ended. */
bool fleet_wait(struct fleet *fleet, int64_t wait_ms) MUSTCHECK;

/* Joins threads that have ended and frees everything. Only after fleet_wait said true. */
void fleet_free(struct fleet *fleet);

/* What its threads share, until fleet_free. */
struct worker *fleet_worker(struct fleet *fleet);

/* For the endpoint, any thread. True while the process makes progress: the reader turns, or the
 * lanes do. */
bool fleet_is_alive(void *fleet);
bool fleet_redis_ready(void *fleet);

/* For /readyz: appends what is set aside, that Redis evicts, and a recorder's learning store, as
 * members of an object; true when anything of it is in the way. For /metrics: sets what lanes do
 * and how many queues are set aside. */
bool fleet_describe(void *fleet, struct strbuf *out);
void fleet_measure(void *argument);

#endif
