/* process/janitor.h - one thread a process for what no lane should wait for: two tables of chores.
 *
 *     if (janitor_start(worker, lanes, lane_count, &janitor, &err) == STATUS_OK) {
 *         ... until no lane runs any more
 *         janitor_free(janitor);
 *     }
 *
 * What a chore may do, and how to add one: janitor.c.
 */
#ifndef STILLHOUSE_PROCESS_JANITOR_H
#define STILLHOUSE_PROCESS_JANITOR_H

#include "process/lane.h"

struct janitor; /* opaque */

/* All is borrowed, and outlives it. */
enum status janitor_start(struct worker *worker, struct lane *const *lanes, size_t lane_count,
                          struct janitor **out, struct error *err) MUSTCHECK;

/* Waits for its thread, which ends when no lane runs any more. NULL is fine. */
void janitor_free(struct janitor *janitor);

#endif
