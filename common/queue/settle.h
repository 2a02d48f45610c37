/* queue/settle.h - what a worker does to the jobs that it holds: end them, keep them, give them
 * back.
 *
 * Each is fenced: it moves those jobs only that are the holder's still, with the deliveries that
 * they came with. The others are QUEUE_LOST: nothing was changed, and nothing counted.
 */
#ifndef STILLHOUSE_QUEUE_SETTLE_H
#define STILLHOUSE_QUEUE_SETTLE_H

#include "jobs/operation.h"
#include "queue/queue.h"

/* How one job ended; the outcome of queue_finish and the others for each job. */
enum queue_fate {
    QUEUE_MOVED,        /* it was ours and it moved */
    QUEUE_MOVED_WANTED, /* moved, and a twin's asker waits for a reply under this job's id */
    QUEUE_RENEWED,      /* expired, but twins stand behind it that have more time: it waits again */
    QUEUE_LOST,   /* the fence said no: taken over, or gone; nothing changed, nothing counted */
    QUEUE_UNSENT, /* never out of queue_finish */
};

/* Who holds jobs: what the functions' fence goes by. */
struct queue_holder {
    const struct queue *queue;
    const char *consumer;
    const char *worker; /* stands in dead letters: queue_bury asks for it alone */
};

/* Jobs of one queue that somebody holds; borrowed. */
struct queue_jobs {
    const struct job *const *jobs;
    size_t count;
};

/* How one job is to end. */
struct queue_end {
    const struct job *job;
    enum queue_fate fate; /* out */
    struct slice reply;   /* pushed for who waits for it; {NULL,0} = none. Not of a retry */

    bool expired; /* queue_finish: counted as expired instead of done */

    int64_t delay_ms;         /* queue_retry */
    bool parked;              /* the upstream was down: attempt and `retried` stay as they are */
    enum operation operation; /* of a parked one: what it waits for */
    bool tried;               /* of a parked one: it was tried in vain just now */

    const char *reason; /* queue_bury: retries_exhausted rejected malformed oversize crash_loop */
    const char *error;  /* NUL-terminated text */
};

/* Each ends a whole batch, in as few calls as go, and is allowed when Redis is out of memory.
 * Acknowledge + delete + count + release the unique key (+ push the reply); */
enum status queue_finish(struct redis_conn *conn, const struct queue_holder *holder,
                         struct queue_end *ends, size_t count, struct error *err) MUSTCHECK;
/* to delayed; */
enum status queue_retry(struct redis_conn *conn, const struct queue_holder *holder,
                        struct queue_end *ends, size_t count, struct error *err) MUSTCHECK;
/* to the dead letters. */
enum status queue_bury(struct redis_conn *conn, const struct queue_holder *holder,
                       struct queue_end *ends, size_t count, struct error *err) MUSTCHECK;

/* Pushes a reply late (QUEUE_MOVED_WANTED), where a twin's asker still waits for it: so it may be
 * called also where it is not known, since an answer was lost, whether one does. */
enum status queue_push_wanted(struct redis_conn *conn, const struct queue *queue, struct slice id,
                              struct slice reply, struct error *err) MUSTCHECK;

/* Gives unstarted jobs back. */
struct queue_release {
    struct queue_jobs jobs;
    bool again;            /* added anew at the tail, as never delivered (a queue was paused);
                            * otherwise claimable at once with the delivery uncounted (SIGTERM) */
    int64_t visibility_ms; /* of the workers: claimable is what was idle for so long */
    size_t released;       /* out */
};
enum status queue_release(struct redis_conn *conn, const struct queue_holder *holder,
                          struct queue_release *release, struct error *err) MUSTCHECK;

/* Resets the idle time of jobs that are still ours (fenced). Allowed when out of memory. */
enum status queue_heartbeat(struct redis_conn *conn, const struct queue_holder *holder,
                            struct queue_jobs jobs, size_t *alive, struct error *err) MUSTCHECK;

/* The black box of jobs that were taken over: notes which phase ("embed", lower-case letters) they
 * are in and whose they are, so that the dead letter of a crash loop can say where the last worker
 * died. The notes end by themselves after an hour. After an error the jobs go on without. */
enum status queue_write_phase(struct redis_conn *conn, const struct queue_holder *holder,
                              const char *phase, struct queue_jobs jobs,
                              struct error *err) MUSTCHECK;
enum status queue_erase_phase(struct redis_conn *conn, const struct queue *queue,
                              struct queue_jobs jobs, struct error *err) MUSTCHECK;

#endif
