/* process/lane.h - a thread that takes jobs, works on them and settles them, with its own clients.
 *
 *     if (lane_new(worker, 0, &lane, &err) == STATUS_OK && lane_start(lane, &err) == STATUS_OK) {
 *         ... until the mode is no longer FLEET_RUN; worker->lanes_running says who still runs
 *     }
 *     lane_free(lane);
 */
#ifndef STILLHOUSE_PROCESS_LANE_H
#define STILLHOUSE_PROCESS_LANE_H

#include "process/worker.h"

struct lane; /* opaque */

/* `worker` is borrowed. STATUS_INVALID names the setting. */
enum status lane_new(struct worker *worker, size_t index, struct lane **out,
                     struct error *err) MUSTCHECK;
enum status lane_start(struct lane *lane, struct error *err) MUSTCHECK;
void lane_free(struct lane *lane); /* waits for its thread; NULL is fine */

/* What keeps the lane's jobs its own, or gives them up, by another connection than the lane's:
 * beats for those in hand, hands back what the lane can neither settle nor hand back itself, and
 * on drain what it has not begun. The janitor's, every 200 ms. */
enum status lane_look_after(struct lane *lane, struct redis_conn *conn,
                            struct error *err) MUSTCHECK;

/* Adds one lane's share of what the process has in hand. Any thread. */
struct load {
    size_t busy; /* lanes */
    size_t jobs;
};
void lane_add_load(struct lane *lane, struct load *load);

/* Monotonic ms when the lane last moved. Any thread. */
int64_t lane_moved_ms(const struct lane *lane);

#endif
