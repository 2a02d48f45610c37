/* reader/queues.h - the reader's state, and of its queues: which may be read now, and the reads.
 * For reader.c and queues.c. Guarded by the turn, but for the atomics and what names its own lock.
 */
#ifndef STILLHOUSE_READER_QUEUES_H
#define STILLHOUSE_READER_QUEUES_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "reader/reader.h"
#include "reader/seats.h"
#include "rules/retry.h"

struct reader_queue {
    bool hot;                        /* the last read brought jobs */
    bool stream_hot[JOB_PRIORITIES]; /* ... of this priority */
    char cursor[JOB_PRIORITIES][48]; /* of the takeover pass */
    int64_t fairness_at_ms;
    size_t body_bytes; /* what a body of the last read weighed; COUNT follows it */
    atomic_bool paused;
    atomic_llong last_jobs_ms;
    atomic_llong aside_until_ms; /* 0 = not set aside */
    char aside[160];             /* why; guarded by aside_lock */
};

struct reader {
    struct reader_config config;
    pthread_mutex_t turn;
    struct redis_conn *conn;
    bool prepared; /* functions and groups are known to stand */
    struct retry_random random;
    int64_t failures; /* turns that failed in a row */
    struct log_limit log_limit;

    struct reader_queue queues[READER_QUEUES_MAX];
    pthread_mutex_t aside_lock;
    int64_t cold_at_ms; /* when queues without jobs are asked again while others are busy */
    size_t next;        /* where the round over hot queues goes on */
    struct seats seats;

    atomic_bool suspect_out;     /* a lane of this process works on one */
    atomic_llong called_ms;      /* stale jobs are to be looked for, since then; 0 = not */
    atomic_llong client_id;      /* of the connection, 0 = CLIENT UNBLOCK is not for us */
    atomic_bool blocked;         /* in a read */
    atomic_llong waits_since_ms; /* for jobs; 0 = does not */
    atomic_int waiting;          /* lanes that wait for the turn */
    atomic_int unsure;           /* lanes that lost an answer and had no turn since */
    atomic_llong last_turn_ms;
    atomic_bool connected;
};

/* Whether a queue is to be read now: it is not paused, and its upstreams are there. */
bool reader_is_readable(struct reader *reader, size_t queue);

/* Tries the queues again that were set aside for long enough. */
enum status reader_try_aside(struct reader *reader, struct error *err) MUSTCHECK;

/* Notes that an answer to the lane's consumer was lost, or that what it brought is given back. As
 * long as there is such a lane, nobody blocks for long. */
void reader_set_unsure(struct reader *reader, struct takes *takes, bool unsure);

/* Reads one queue that had jobs the last time, in turn; nothing when there is none. Never blocks.
 */
enum status reader_read_hot(struct reader *reader, struct takes *takes,
                            struct error *err) MUSTCHECK;

/* Asks all queues at once; blocks for up to `block_ms` when none has jobs (0: does not). */
enum status reader_read_all(struct reader *reader, struct takes *takes, int64_t block_ms,
                            struct error *err) MUSTCHECK;

/* Gives jobs of queues that were paused meanwhile back as they came. */
enum status reader_return_paused(struct reader *reader, struct takes *takes,
                                 struct error *err) MUSTCHECK;

#endif
