/* reader/reader_internal.h - the reader's state, for reader.c (life and turns), reader/queues.c
 * (new jobs), reader/takeover.c (stale ones) and reader/seats.c (who blocks in a large fleet). All
 * of it is guarded by the turn, but for the atomics and what names its own lock. */
#ifndef STILLHOUSE_READER_READER_INTERNAL_H
#define STILLHOUSE_READER_READER_INTERNAL_H

#include <pthread.h>
#include <stdatomic.h>

#include "base/log.h"
#include "queue/keys.h"
#include "reader/reader.h"
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
    struct backoff_random random;
    int64_t failures; /* turns that failed in a row */
    int64_t cold_at_ms;
    size_t next; /* where the round over hot queues goes on */
    struct log_limit log_limit;
    atomic_bool suspect_out; /* a lane of this process works on one */
    bool prepared;           /* functions and groups are known to stand */
    struct reader_queue queues[READER_QUEUES_MAX];
    pthread_mutex_t aside_lock;
    atomic_llong called_ms; /* stale jobs are to be looked for, since then; 0 = not */
    atomic_llong client_id; /* of the reading connection, 0 = CLIENT UNBLOCK is not for us */
    atomic_bool blocked;
    atomic_llong waits_since_ms; /* for jobs; 0 = does not */
    atomic_int waiting;          /* lanes that wait for the turn */
    atomic_int unsure;           /* lanes that lost an answer and had no turn since */
    bool has_seat;
    int64_t seated_ms;         /* when it was confirmed last */
    int stood;                 /* turns without a seat since the last invitation */
    char seats[KEYS_BYTES];    /* the key of those who sit, for this set of queues */
    int64_t invited_others_ms; /* when this reader did so last */
    pthread_mutex_t bench_lock;
    pthread_cond_t invited; /* or called, or the worker stops */
    bool is_invited;        /* guarded by bench_lock */
    atomic_llong last_turn_ms;
    atomic_bool connected;
};

/* Whether a queue is to be read now: it is not paused, and its upstreams are there. */
bool reader_is_readable(struct reader *reader, size_t queue);

/* How many jobs of the queue to ask for: a batch, and no more bytes than Redis copies in some
 * milliseconds. */
size_t reader_count(const struct reader *reader, size_t queue);

/* Notes that an answer to the lane's consumer was lost, or that what it brought is given back. As
 * long as there is such a lane, nobody blocks for long. */
void reader_set_unsure(struct reader *reader, struct takes *takes, bool unsure);

/* Reads one queue that had jobs the last time, in turn; nothing when there is none. Never blocks.
 */
enum status reader_read_hot(struct reader *reader, const char *consumer, struct takes *takes,
                            struct error *err) MUSTCHECK;

/* Asks all queues at once; blocks for up to `block_ms` when none has jobs (0: does not). */
enum status reader_read_all(struct reader *reader, const char *consumer, int64_t block_ms,
                            struct takes *takes, struct error *err) MUSTCHECK;

/* Gives jobs of queues that were paused meanwhile back as they came. */
enum status reader_return_paused(struct reader *reader, const char *consumer, struct takes *takes,
                                 struct error *err) MUSTCHECK;

/* In a large fleet: whether this reader may block on the streams. */
enum status reader_sit(struct reader *reader, bool *may_block, struct error *err) MUSTCHECK;
/* Waits to be invited; nothing of Redis'. */
void reader_wait_on_bench(struct reader *reader);
/* After a read: invites another one where there is more, and gives the seat up when nobody is left
 * to read here. */
enum status reader_share(struct reader *reader, const struct takes *takes,
                         struct error *err) MUSTCHECK;
void reader_seats_init(struct reader *reader);

/* Takes over stale jobs of one stream, up to a batch, or one suspect. */
enum status reader_reclaim(struct reader *reader, const char *consumer, struct takes *takes,
                           struct error *err) MUSTCHECK;

#endif
