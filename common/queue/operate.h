/* queue/operate.h - what operators and a worker's janitor do to a queue: look at it, move dead
 * letters, bound it, pause it, put it right. */
#ifndef STILLHOUSE_QUEUE_OPERATE_H
#define STILLHOUSE_QUEUE_OPERATE_H

#include "jobs/operation.h"
#include "queue/queue.h"

/* What sh:{Q}:counters has, by the names in queue_counter_names. */
enum queue_counter {
    QUEUE_ENQUEUED,
    QUEUE_DEDUPLICATED,
    QUEUE_REFUSED,
    QUEUE_DONE,
    QUEUE_RETRIED,
    QUEUE_BURIED,
    QUEUE_EXPIRED,
    QUEUE_RECLAIMED,
    QUEUE_REQUEUED,
    QUEUE_DISCARDED,
    QUEUE_PARKED,
    QUEUE_RESET, /* fields that held no number and began anew */
    QUEUE_COUNTERS
};

enum { QUEUE_FAULT_BYTES = 512 };

struct queue_stats {
    int64_t waiting, running, delayed, dead;
    bool paused;
    int64_t oldest_ms;
    int64_t counters[QUEUE_COUNTERS];
    int64_t adjusted; /* what queue_repair put right of the jobs; may be less than none */
    /* Keys that hold what they should not: how many, and in words, "; " between. What such a key
     * would have said is 0. */
    size_t faults;
    char fault[QUEUE_FAULT_BYTES];
};

extern const char *const queue_counter_names[QUEUE_COUNTERS];

enum status queue_get_stats(struct redis_conn *conn, const struct queue *queue,
                            struct queue_stats *out, struct error *err) MUSTCHECK;

/* What the delayed jobs of a queue wait for: those that were parked. */
enum { QUEUE_PARKED_KINDS = 17 };

struct queue_parked {
    struct {
        char operation[OPERATION_TEXT_BYTES]; /* "chroma.write" */
        int64_t jobs;
    } each[QUEUE_PARKED_KINDS];
    size_t count;
    bool is_all; /* else there are more delayed jobs than one call looks at */
};
enum status queue_get_parked(struct redis_conn *conn, const struct queue *queue,
                             struct queue_parked *out, struct error *err) MUSTCHECK;

/* Makes all parked jobs due now, in calls of a bounded size; *released says how many. */
enum status queue_unpark(struct redis_conn *conn, const struct queue *queue, int64_t *released,
                         struct error *err) MUSTCHECK;
/* One such call, which takes those first that are due last. *passed is 0 for the first one, and
 * where the next one goes on, or -1 where there are no more. */
enum status queue_unpark_some(struct redis_conn *conn, const struct queue *queue, int64_t *passed,
                              int64_t *released, struct error *err) MUSTCHECK;

/* left - right of the two conservation laws; both 0 when the books balance. Pure. */
struct queue_balance {
    int64_t jobs; /* enqueued + requeued + adjusted -
                     (done + buried + expired + waiting + running + delayed) */
    int64_t dead; /* buried - (dead + requeued + discarded) */
};
struct queue_balance queue_check_balance(const struct queue_stats *stats);

/* Dead letters by their entry ids: back to work with attempts 0, or away for good. */
struct queue_letters {
    const struct slice *entries;
    size_t count; /* at most 1000 */
};
enum status queue_requeue(struct redis_conn *conn, const struct queue *queue,
                          struct queue_letters letters, size_t *moved, struct error *err) MUSTCHECK;
enum status queue_discard(struct redis_conn *conn, const struct queue *queue,
                          struct queue_letters letters, size_t *moved, struct error *err) MUSTCHECK;

/* How many dead letters a queue may keep, for how long, and of what weight; 0 = no bound. */
struct queue_dead_bounds {
    int64_t letters;
    int64_t ttl_ms;
    int64_t bytes;
};

/* Discards the oldest dead letters over the bounds, some 100 to 1,000 a call: again until there was
 * none. They are counted as discarded. */
enum status queue_trim_dead(struct redis_conn *conn, const struct queue *queue,
                            const struct queue_dead_bounds *bounds, size_t *discarded,
                            struct error *err) MUSTCHECK;

/* Says what memory the jobs of a queue may take, to all who enqueue; 0 = no bound. */
enum status queue_limit_bytes(struct redis_conn *conn, const struct queue *queue, int64_t bytes,
                              struct error *err) MUSTCHECK;

enum status queue_pause(struct redis_conn *conn, const struct queue *queue, bool paused,
                        struct error *err) MUSTCHECK;

/* Takes up to `limit` jobs (1..1000, about 1 MiB of them) out of the queue, waiting, running or
 * delayed: again until *purged is 0. They count as buried and discarded; who waits for one is told,
 * who runs one is refused when it finishes. */
enum status queue_purge(struct redis_conn *conn, const struct queue *queue, size_t limit,
                        size_t *purged, struct error *err) MUSTCHECK;

/* Entries that count as waiting and that nobody will ever run, since the group has delivered them
 * and nobody holds them (XGROUP DELCONSUMER or SETID, XACK alone, a group made at $). One call
 * looks through a slice: `cursor` starts as "0", is moved, and is "" when all was seen. */
enum { QUEUE_CURSOR_BYTES = 48 };
enum status queue_count_orphans(struct redis_conn *conn, const struct queue *queue,
                                char cursor[QUEUE_CURSOR_BYTES], size_t *count,
                                struct error *err) MUSTCHECK;
/* The same, and adds them anew, so that they are run. */
enum status queue_adopt_orphans(struct redis_conn *conn, const struct queue *queue,
                                char cursor[QUEUE_CURSOR_BYTES], size_t *count,
                                struct error *err) MUSTCHECK;

/* Puts the books right after an operator's DEL or somebody's junk; *was has the differences that
 * there were. STATUS_REFUSED where a key is not what it should be. */
enum status queue_repair(struct redis_conn *conn, const struct queue *queue,
                         struct queue_balance *was, struct error *err) MUSTCHECK;

#endif
