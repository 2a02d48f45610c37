/* process/duty.h - which queues' chores are this worker's, by leases in Redis.
 *
 * `sh:lease:{Q}` names the worker that does the chores of queue Q. It is as good as that worker is
 * alive, and a worker that holds any says so in `sh:lease:worker:<id>`, for 4.2 s, every 3 s: one
 * command, however many queues there are. The others look when that key would end if it were not
 * renewed, and take over what its holder left: within 5 s after a kill -9. In a larger fleet most
 * of them look later by some random time, so that all together cost little; who finds a queue
 * without a holder takes all such queues, in the order of their names, so that one worker mostly
 * has them all. A holder of an older version gives way. A holder that slept through its own end
 * looks at the leases before it goes on. Two holders at once, for a moment, do no harm: chores are
 * atomic calls.
 *
 * Belongs to the janitor, its thread and its connection.
 */
#ifndef STILLHOUSE_PROCESS_DUTY_H
#define STILLHOUSE_PROCESS_DUTY_H

#include "process/worker.h"

struct duty {
    struct worker *worker; /* both borrowed */
    struct redis_conn *conn;

    bool holds[READER_QUEUES_MAX];      /* this worker does the chores of queue i */
    char holder[READER_QUEUES_MAX][66]; /* who does, as seen last; "" = nobody */
    uint64_t changes;                   /* moves whenever `holds` does */
    int64_t left_ms;         /* when a lease was seen to leave somebody else; 0 = never */
    int64_t full_look_at_ms; /* when the leases themselves are read again */
    struct retry_random random;
};

/* It holds nothing yet. `random` is the janitor's too. */
void duty_init(struct duty *duty, struct worker *worker, struct redis_conn *conn);

/* Renews what is held. */
enum status duty_beat(struct duty *duty, struct error *err) MUSTCHECK;

/* Looks after the other holders, and takes what has none. *wait_ms: when to look again. */
enum status duty_look(struct duty *duty, int64_t *wait_ms, struct error *err) MUSTCHECK;

bool duty_holds_any(const struct duty *duty);

/* Lets go of everything, on a clean end: others take it with their next look. */
void duty_end(struct duty *duty);

#endif
