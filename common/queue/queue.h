/* queue/queue.h - the queue: C wrappers of the Redis Functions in queue/lua (producer/CONTRACT.md,
 * section 8).
 *
 * A queue is its base key "sh:{enrich}". Each call is one round trip on a caller's connection; the
 * rules (what moves where, what is counted, who may finish) live in the functions and are atomic
 * there. All calls are idempotent: after STATUS_TIMEOUT or STATUS_UNREACHABLE they may be repeated.
 * A connection belongs to one thread at a time, and so does what is passed here.
 */
#ifndef STILLHOUSE_QUEUE_QUEUE_H
#define STILLHOUSE_QUEUE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/strbuf.h"
#include "jobs/job.h"
#include "jobs/kinds.h"
#include "jobs/operation.h"
#include "redis/conn.h"

enum { QUEUE_BASE_BYTES = 160, QUEUE_NAME_MAX = 32, QUEUE_BATCH_MAX = LIBRARY_JOBS_MAX };

/* A queue's name and keys. Fill with queue_init. */
struct queue {
    char name[QUEUE_NAME_MAX + 1];
    enum kind_id kind;           /* KINDS: a stranger's */
    size_t series;               /* of a worker's metrics; METRICS_OTHER until they know it */
    char base[QUEUE_BASE_BYTES]; /* "sh:{enrich}" */
    char stream[JOB_PRIORITIES][QUEUE_BASE_BYTES + 16]; /* by enum job_priority */
    char delayed[QUEUE_BASE_BYTES + 16];
    char dead[QUEUE_BASE_BYTES + 16];
    char paused[QUEUE_BASE_BYTES + 16];
    char wake[QUEUE_BASE_BYTES + 16];  /* a token: an earlier job is due */
    char call[QUEUE_BASE_BYTES + 16];  /* a token: there is more to take than the takers take */
    char lease[QUEUE_BASE_BYTES + 16]; /* who does the queue's chores, "sh:lease:{enrich}" */
};

/* `name` is [a-z0-9][a-z0-9._-]{0,31}, optionally with a partition ("enrich.3"). */
enum status queue_init(struct queue *queue, const char *prefix, const char *name,
                       struct error *err) MUSTCHECK;

/* ---- the function library ------------------------------------------------------------------ */

/* Loads the library when it is missing or older than ours. Where a full Redis does not take it and
 * there is an older one, that must do: STATUS_OK, with a warning. STATUS_INVALID on a Redis older
 * than 7.0
 * ("redis 6.2.6 at ...: 7.0 or newer is needed"). Sets *loaded (may be NULL) when it did load. */
enum status queue_install(struct redis_conn *conn, bool *loaded, struct error *err) MUSTCHECK;

/* The version of the library that is built into this program. */
long long queue_library_version(void);

/* Creates group "fleet" at 0 on the three streams where it is missing. */
enum status queue_prepare(struct redis_conn *conn, const struct queue *queue,
                          struct error *err) MUSTCHECK;

/* ---- producers ----------------------------------------------------------------------------- */

struct queue_item {
    struct slice id;      /* text_is_id */
    struct slice domain;  /* text_is_domain */
    struct slice options; /* job_options_format */
    struct slice body;
};

/* What stands for one item now. */
struct queue_answer {
    bool full;                /* the bound was reached; nothing was added */
    char id[TEXT_ID_MAX + 1]; /* its own id or the outstanding twin's; "" when full */
};

/* Enqueues 1..1000 items in one call; answers[i] belongs to items[i]. All or nothing on an error.
 */
enum status queue_enqueue(struct redis_conn *conn, const struct queue *queue, int64_t max_backlog,
                          const struct queue_item *items, size_t count,
                          struct queue_answer *answers, struct error *err) MUSTCHECK;

/* The same for pipelining: append now, collect later, in order. */
enum status queue_enqueue_append(struct redis_conn *conn, const struct queue *queue,
                                 int64_t max_backlog, const struct queue_item *items, size_t count,
                                 struct error *err) MUSTCHECK;
enum status queue_enqueue_collect(struct redis_conn *conn, size_t count,
                                  struct queue_answer *answers, struct error *err) MUSTCHECK;

/* Waits up to `wait_ms` for the reply of job `id` (BLMOVE onto itself, so that several can wait).
 * The bytes are appended to `out`. STATUS_TIMEOUT when there was none in time (connection still
 * good). STATUS_OOM: Redis is full and waits for nobody; there is none yet, ask again. */
enum status queue_await_reply(struct redis_conn *conn, const struct queue *queue, const char *id,
                              int64_t wait_ms, struct strbuf *out, struct error *err) MUSTCHECK;

/* ---- the fleet: what a lane holds ------------------------------------------------------------ */

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

/* The black box of jobs that were taken over: notes which phase ("embed", lower-case letters) they
 * are in and whose they are, so that the dead letter of a crash loop can say where the last worker
 * died. The notes end by themselves after an hour. After an error the jobs go on without. */
enum status queue_write_phase(struct redis_conn *conn, const struct queue_holder *holder,
                              const char *phase, struct queue_jobs jobs,
                              struct error *err) MUSTCHECK;
enum status queue_erase_phase(struct redis_conn *conn, const struct queue *queue,
                              struct queue_jobs jobs, struct error *err) MUSTCHECK;

/* Which of the queues hold an entry that was added more than `age_ms` before `now_unix_ms` (Redis'
 * clock): since jobs that end leave their stream, only these can hold stale ones. One command for
 * all of them. */
struct queue_age {
    int64_t now_unix_ms;
    int64_t age_ms;
};
enum status queue_find_old(struct redis_conn *conn, const struct queue *queues, size_t count,
                           struct queue_age age, bool *old, struct error *err) MUSTCHECK;

/* Of the first `limit` entries of a stream that were idle for `idle_ms`: how long, and whose they
 * are. Nothing for a stream or a group that is not there. */
struct queue_idle {
    int64_t idle_ms;
    char consumer[96];
};
enum status queue_list_idle(struct redis_conn *conn, const char *stream, int64_t idle_ms,
                            struct queue_idle *rows, size_t *count, struct error *err) MUSTCHECK;

/* Puts a token on a queue's list `key` (wake, call) where none stands; it ends by itself. */
enum status queue_push_token(struct redis_conn *conn, const char *key, struct error *err) MUSTCHECK;

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

/* ---- reading: XREADGROUP in one pipeline --------------------------------------------------- */

/* Appends "XREADGROUP GROUP fleet <consumer> COUNT n [BLOCK ms] STREAMS <keys> > ..."; block_ms <=
 * 0 does not block. The connection's command timeout must exceed block_ms. Collect the reply with
 * redis_conn_collect: nil, an array for queue_read_parse, or an error (NOGROUP: queue_prepare). */
enum status queue_read_append(struct redis_conn *conn, const char *consumer, size_t count,
                              int64_t block_ms, const char *const *streams, size_t stream_count,
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

/* ---- operators ----------------------------------------------------------------------------- */

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

/* left - right of the two conservation laws; both 0 when the books balance. Pure. */
struct queue_balance {
    int64_t jobs; /* enqueued + requeued + adjusted -
                     (done + buried + expired + waiting + running + delayed) */
    int64_t dead; /* buried - (dead + requeued + discarded) */
};
struct queue_balance queue_check_balance(const struct queue_stats *stats);

/* Dead letters by their entry ids (at most 1000): back to work with attempts 0, or away for good.
 */
enum status queue_requeue(struct redis_conn *conn, const struct queue *queue,
                          const struct slice *entries, size_t count, size_t *moved,
                          struct error *err) MUSTCHECK;
enum status queue_discard(struct redis_conn *conn, const struct queue *queue,
                          const struct slice *entries, size_t count, size_t *moved,
                          struct error *err) MUSTCHECK;

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
