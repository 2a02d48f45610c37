/* queue_fixture.h - what the queue's tests share: an own Redis, one queue on it, short words for
 * adding, reading and looking.
 *
 *     TestSuite(promote, .init = queue_setup, .fini = queue_teardown);
 *     BOOKED_TEST(promote, due_jobs_are_promoted) { ... }
 *
 * Anything unexpected fails the test at once; books that do not balance fail it at its end.
 */
#ifndef STILLHOUSE_TESTS_QUEUE_FIXTURE_H
#define STILLHOUSE_TESTS_QUEUE_FIXTURE_H

#include "queue/enqueue.h"
#include "queue/settle.h"
#include "queue/take.h"
#include "redis_fixture.h"

extern struct queue queue; /* "sh:enrich"; a test may set it to another */

/* ---- life ---------------------------------------------------------------------------------- */

/* redis_setup, and `queue` prepared. */
void queue_setup(void);
/* redis_teardown */
void queue_teardown(void);

/* Its figures, one counter by name ("done"), and that its books balance. */
struct queue_stats stats(void);
int64_t counter(const char *name);
void check_books(void);

/* A test that ends with balanced books. (Criterion lets a test pass whose .fini fails or crashes.)
 */
#define BOOKED_TEST(suite, name)                                                                   \
    static void name##_body(void);                                                                 \
    Test(suite, name)                                                                              \
    {                                                                                              \
        name##_body();                                                                             \
        check_books();                                                                             \
    }                                                                                              \
    static void name##_body(void)

/* ---- jobs ---------------------------------------------------------------------------------- */

/* Enqueues one job; what stands for it now. */
struct queue_answer add_bounded(int64_t max_backlog, const char *id, const char *options);
/* Enqueues one job that must be new. */
void add(const char *id, const char *options);

/* Reads up to `count` jobs a stream for `consumer` into the batch, behind those that are there. */
void read_jobs(const char *consumer, size_t count, struct queue_batch *batch);
/* Reads exactly one job into `batch`. */
const struct job *read_one(const char *consumer, struct queue_batch *batch);

/* Who holds the queue's jobs under that name; until the next call. */
const struct queue_holder *held_by(const char *consumer);
/* Gives jobs back. How many were. */
size_t release_as(const char *consumer, const struct job *const *jobs, size_t count, bool again);
/* Settles one job, and what became of it. */
enum queue_fate finish_as(const char *consumer, const struct job *job);
enum queue_fate bury_as(const char *consumer, const struct job *job, const char *reason);
enum queue_fate retry_as(const char *consumer, const struct job *job, int64_t delay_ms,
                         bool parked);
/* Reads the `count` jobs that wait and finishes them in one call. */
void finish_waiting(const char *consumer, size_t count);

/* Promotes what is due: how many, and in how many ms the next is (`next_ms` may be NULL). */
size_t promote(int64_t *next_ms);
/* Trims the dead letters to these bounds; `gone` went. */
void trim_dead(int64_t letters, int64_t ttl_ms, size_t *gone);

/* ---- what lies there ----------------------------------------------------------------------- */

/* The value of a field of the first entry of a stream; "(none)". Good for four calls. */
const char *first_field(const char *stream, const char *field);
/* The id of the first entry of a stream; until the next call. */
const char *first_entry(const char *stream);

void assert_slice(struct slice slice, const char *expected);

#endif
