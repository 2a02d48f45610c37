/* queue/take.h - what brings jobs to a worker: reading, taking over stale ones, moving due ones to
 * their streams; and the group's consumers. */
#ifndef STILLHOUSE_QUEUE_TAKE_H
#define STILLHOUSE_QUEUE_TAKE_H

#include "queue/queue.h"

/* Jobs parsed from replies; owns the replies they point into. Zero-initialise. */
struct queue_batch {
    struct job *jobs;
    size_t count;
    size_t capacity;
    redisReply **replies;
    size_t reply_count;
    size_t reply_capacity;
};

void queue_batch_reset(struct queue_batch *batch); /* frees the replies, keeps the arrays */
void queue_batch_free(struct queue_batch *batch);

/* ---- reading: XREADGROUP in one pipeline --------------------------------------------------- */

/* Appends "XREADGROUP GROUP fleet <consumer> COUNT n [BLOCK ms] STREAMS <keys> > ..."; block_ms <=
 * 0 does not block. The connection's command timeout must exceed block_ms. Collect the reply with
 * redis_conn_collect: nil, an array for queue_read_parse, or an error (NOGROUP: queue_prepare). */
struct queue_read {
    const char *consumer;
    size_t count; /* n, of each stream */
    int64_t block_ms;
    const char *const *streams;
    size_t stream_count;
};
enum status queue_read_append(struct redis_conn *conn, const struct queue_read *read,
                              struct error *err) MUSTCHECK;

/* Parses one XREADGROUP reply (nil = nothing) for the entries of the given queue's streams into
 * `batch`; other queues' streams in the same reply are left for a call with that queue. The jobs
 * point into the reply: hand it to queue_batch_own of the batch, or keep it as long. Freshly read
 * jobs have deliveries 1. A malformed entry becomes a job with its fields as they are (missing ones
 * {NULL, 0}, a bad attempt -1, bad options as if empty): check with queue_job_check. batch->jobs
 * may move: take pointers to jobs after the last call. */
enum status queue_read_parse(const struct queue *queue, const redisReply *reply,
                             struct queue_batch *batch, struct error *err) MUSTCHECK;

/* Hands the reply over to the batch, which frees it on reset. On STATUS_OOM it stays the caller's.
 */
enum status queue_batch_own(struct queue_batch *batch, redisReply *reply,
                            struct error *err) MUSTCHECK;

/* STATUS_INVALID with the field named when a parsed job's plain fields are not as the contract
 * says. */
enum status queue_job_check(const struct job *job, struct error *err) MUSTCHECK;

/* ---- what nobody ends ------------------------------------------------------------------------ */

/* Who takes over stale jobs of one stream, and which. */
struct queue_takeover {
    enum job_priority stream;
    const char *consumer;
    const char *worker;     /* stands in dead letters */
    int64_t visibility_ms;  /* stale = idle for so long */
    int64_t max_deliveries; /* handed out so often without an end: buried as crash_loop */
    size_t count;           /* at most so many, 1..1000 */
    bool suspects;          /* may bring a suspect */
};

/* Takes over stale jobs. A job that was handed out twice already without an end is a suspect (it
 * may be what kills its workers): it comes alone, and only where `suspects` is set, so that the
 * jobs that merely shared its batch end elsewhere. Jobs over the limit are buried inside the call.
 * `cursor` starts as "0-0" and is moved; it is "0-0" again when the stream was seen whole. */
enum status queue_reclaim(struct redis_conn *conn, const struct queue *queue,
                          const struct queue_takeover *takeover, char cursor[48],
                          struct queue_batch *batch, size_t *buried, struct error *err) MUSTCHECK;

/* True for a job that came as a suspect: its lane tells the reader when it has ended. */
bool queue_is_suspect(const struct job *job, int64_t max_deliveries);

/* Which of the queues hold an entry that was added more than `age_ms` before `now_unix_ms` (Redis'
 * clock): since jobs that end leave their stream, only these can hold stale ones. One command for
 * all of them. */
struct queue_age {
    const struct queue *queues;
    size_t count;
    int64_t now_unix_ms;
    int64_t age_ms;
};
enum status queue_find_old(struct redis_conn *conn, const struct queue_age *age, bool *old,
                           struct error *err) MUSTCHECK;

/* Of the first `limit` entries of a stream that were idle for `idle_ms`: how long, and whose they
 * are. Nothing for a stream or a group that is not there. */
struct queue_idle {
    int64_t idle_ms;
    char consumer[96];
};
enum status queue_list_idle(struct redis_conn *conn, const char *stream, int64_t idle_ms,
                            struct queue_idle *rows, size_t *count, struct error *err) MUSTCHECK;

/* Puts a token on a queue's list `key` (wake, call) in the place of any; it ends by itself. A full
 * Redis takes none, and that is no failure. */
enum status queue_push_token(struct redis_conn *conn, const char *key, struct error *err) MUSTCHECK;

/* ---- delayed jobs, consumers -------------------------------------------------------------------
 */

/* Moves up to `limit` due jobs from delayed to their streams, about 1 MiB a call; nothing while the
 * queue is paused. */
struct queue_promotion {
    size_t moved;
    int64_t next_ms; /* until the next is due; 0 when more are, -1 for none */
    bool paused;
};
enum status queue_promote(struct redis_conn *conn, const struct queue *queue, size_t limit,
                          struct queue_promotion *out, struct error *err) MUSTCHECK;

/* What `consumer` holds is claimable at once, its last delivery uncounted: for one that does not
 * know what it holds, since the answer that brought it was lost. */
enum status queue_yield(struct redis_conn *conn, const struct queue *queue, const char *consumer,
                        size_t *yielded, struct error *err) MUSTCHECK;

/* Removes `consumer` from the group where it holds nothing (inside the function). */
enum status queue_leave(struct redis_conn *conn, const struct queue *queue, const char *consumer,
                        struct error *err) MUSTCHECK;

/* Removes every consumer that holds nothing and was idle for `idle_ms`. */
enum status queue_reap(struct redis_conn *conn, const struct queue *queue, int64_t idle_ms,
                       size_t *removed, struct error *err) MUSTCHECK;

#endif
