/* queue/queue.h - a queue, and the function library behind it: C wrappers of the Redis Functions in
 * queue/lua (producer/CONTRACT.md, section 8).
 *
 * A queue is its base key "sh:{enrich}". Each call is one round trip on a caller's connection; the
 * rules (what moves where, what is counted, who may finish) live in the functions and are atomic
 * there. All calls are idempotent: after STATUS_TIMEOUT or STATUS_UNREACHABLE they may be repeated.
 * A connection belongs to one thread at a time, and so does what is passed here.
 *
 * The calls are in queue/enqueue.h (producers), queue/take.h (what brings jobs to a worker),
 * queue/settle.h (what a worker does to the jobs it holds) and queue/operate.h (operators).
 */
#ifndef STILLHOUSE_QUEUE_QUEUE_H
#define STILLHOUSE_QUEUE_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "jobs/job.h"
#include "jobs/kinds.h"
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

#endif
