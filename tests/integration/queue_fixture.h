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

#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ok.h"
#include "queue/enqueue.h"
#include "queue/operate.h"
#include "queue/queue.h"
#include "queue/settle.h"
#include "queue/take.h"
#include "servers.h"

#define HELPER static __attribute__((unused))

static struct test_server server;
static struct redis_conn *conn;
static struct queue queue;
static struct error err;

HELPER struct slice text(const char *chars)
{
    return (struct slice){chars, strlen(chars)};
}

/* ---- raw commands -------------------------------------------------------------------------- */

/* One command of NUL-terminated words, NULL at the end; the reply may be an error. */
HELPER redisReply *raw_list(const char *first, va_list words)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    for (const char *word = first; word != NULL; word = va_arg(words, const char *)) {
        redis_args_str(&args, word);
    }
    OK(redis_conn_append(conn, &args, &err));
    OK(redis_conn_collect(conn, &reply, &err));
    redis_args_free(&args);
    return reply;
}

/* Its reply's text, number, or number of elements, printed; "(nil)". */
HELPER const char *ask(const char *first, ...)
{
    static char out[4][4096];
    static unsigned turn;
    char *const shown = out[turn++ % 4];
    va_list words;

    va_start(words, first);
    redisReply *reply = raw_list(first, words);
    va_end(words);
    switch (reply->type) {
    case REDIS_REPLY_INTEGER:
        snprintf(shown, sizeof out[0], "%lld", reply->integer);
        break;
    case REDIS_REPLY_NIL:
        snprintf(shown, sizeof out[0], "(nil)");
        break;
    case REDIS_REPLY_ARRAY:
        snprintf(shown, sizeof out[0], "[%zu]", reply->elements);
        break;
    default:
        snprintf(shown, sizeof out[0], "%s", reply->str);
        break;
    }
    redis_reply_free(reply);
    return shown;
}

/* The reply itself; the caller frees it. */
HELPER redisReply *ask_reply(const char *first, ...)
{
    va_list words;

    va_start(words, first);
    redisReply *reply = raw_list(first, words);
    va_end(words);
    return reply;
}

/* Arrays flattened: their leaves in one line, a space between. */
HELPER void flatten(const redisReply *reply, char *out, size_t size)
{
    const size_t used = strlen(out);

    if (reply->type == REDIS_REPLY_ARRAY) {
        for (size_t i = 0; i < reply->elements; i++) {
            flatten(reply->element[i], out, size);
        }
    } else if (reply->type == REDIS_REPLY_INTEGER) {
        snprintf(out + used, size - used, "%s%lld", used > 0 ? " " : "", reply->integer);
    } else {
        snprintf(out + used, size - used, "%s%s", used > 0 ? " " : "",
                 reply->type == REDIS_REPLY_NIL ? "(nil)" : reply->str);
    }
}

/* ---- life ---------------------------------------------------------------------------------- */

HELPER struct redis_conn *new_conn(void)
{
    struct redis_url url;

    OK(redis_url_parse(server.url, &url, &err));
    struct redis_conn *made = redis_conn_new(&url, (struct redis_timeouts){3000, 10000});
    cr_assert_not_null(made);
    return made;
}

HELPER void queue_setup(void)
{
    test_redis_start(&server, NULL);
    conn = new_conn();
    OK(queue_install(conn, NULL, &err));
    OK(queue_init(&queue, "sh", "enrich", &err));
    OK(queue_prepare(conn, &queue, &err));
}

HELPER struct queue_stats stats(void)
{
    struct queue_stats now;

    OK(queue_get_stats(conn, &queue, &now, &err));
    return now;
}

HELPER int64_t counter(const char *name)
{
    const struct queue_stats now = stats();

    for (size_t i = 0; i < QUEUE_COUNTERS; i++) {
        if (strcmp(queue_counter_names[i], name) == 0) {
            return now.counters[i];
        }
    }
    cr_assert_fail("no counter \"%s\"", name);
    return -1;
}

HELPER void check_books(void)
{
    const struct queue_stats now = stats();
    const struct queue_balance balance = queue_check_balance(&now);

    cr_assert_eq(balance.jobs, 0, "the jobs' books are out by %lld", (long long)balance.jobs);
    cr_assert_eq(balance.dead, 0, "the dead letters' books are out by %lld",
                 (long long)balance.dead);
}

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

HELPER void queue_teardown(void)
{
    redis_conn_free(conn);
    test_server_stop(&server);
}

/* ---- jobs ---------------------------------------------------------------------------------- */

/* Enqueues one job; what stands for it now. */
HELPER struct queue_answer add_bounded(int64_t max_backlog, const char *id, const char *options)
{
    struct queue_answer answer;
    const struct queue_item item = {text(id), text("legal"), text(options), text("body")};

    OK(queue_enqueue(conn, &queue, max_backlog, &item, 1, &answer, &err));
    return answer;
}

HELPER void add(const char *id, const char *options)
{
    const struct queue_answer answer = add_bounded(0, id, options);

    cr_assert_not(answer.full);
    cr_assert_str_eq(answer.id, id);
}

/* Reads up to `count` jobs a stream for `consumer` into the batch, behind those that are there. */
HELPER void read_jobs(const char *consumer, size_t count, struct queue_batch *batch)
{
    const char *const streams[] = {queue.stream[JOB_HIGH], queue.stream[JOB_NORMAL],
                                   queue.stream[JOB_LOW]};
    redisReply *reply = NULL;

    OK(queue_read_append(conn, consumer, count, 0, streams, 3, &err));
    OK(redis_conn_collect(conn, &reply, &err));
    OK(redis_reply_status(reply, &err));
    OK(queue_read_parse(&queue, reply, batch, &err));
    OK(queue_batch_own(batch, reply, &err));
}

/* Reads exactly one job into `batch`. */
HELPER const struct job *read_one(const char *consumer, struct queue_batch *batch)
{
    const size_t before = batch->count;

    read_jobs(consumer, 1, batch);
    cr_assert_eq(batch->count, before + 1);
    return &batch->jobs[before];
}

HELPER void assert_slice(struct slice slice, const char *expected)
{
    cr_assert(slice.bytes == strlen(expected) && memcmp(slice.data, expected, slice.bytes) == 0,
              "\"%.*s\", expected \"%s\"", (int)slice.bytes, slice.data, expected);
}

/* Who holds the queue's jobs under that name; until the next call. */
HELPER const struct queue_holder *held_by(const char *consumer)
{
    static struct queue_holder holder;

    holder = (struct queue_holder){&queue, consumer, "worker-1"};
    return &holder;
}

/* Gives jobs back. How many were. */
HELPER size_t release_as(const char *consumer, const struct job *const *jobs, size_t count,
                         bool again)
{
    struct queue_release release = {.jobs = {jobs, count}, .again = again, .visibility_ms = 60000};

    OK(queue_release(conn, held_by(consumer), &release, &err));
    return release.released;
}

HELPER enum queue_fate finish_as(const char *consumer, const struct job *job)
{
    struct queue_end item = {.job = job};

    OK(queue_finish(conn, held_by(consumer), &item, 1, &err));
    return item.fate;
}

/* Reads the `count` jobs that wait and finishes them in one call. */
HELPER void finish_waiting(const char *consumer, size_t count)
{
    struct queue_batch batch = {0};
    struct queue_end *items = calloc(count, sizeof *items);

    cr_assert_not_null(items);
    read_jobs(consumer, count, &batch);
    cr_assert_eq(batch.count, count);
    for (size_t i = 0; i < count; i++) {
        items[i].job = &batch.jobs[i];
    }
    OK(queue_finish(conn, held_by(consumer), items, count, &err));
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(items[i].fate, QUEUE_MOVED);
    }
    queue_batch_free(&batch);
    free(items);
}

HELPER enum queue_fate bury_as(const char *consumer, const struct job *job, const char *reason)
{
    struct queue_end item = {.job = job, .reason = reason, .error = "it did not work"};

    OK(queue_bury(conn, held_by(consumer), &item, 1, &err));
    return item.fate;
}

HELPER enum queue_fate retry_as(const char *consumer, const struct job *job, int64_t delay_ms,
                                bool parked)
{
    struct queue_end item = {.job = job, .delay_ms = delay_ms, .parked = parked};

    OK(queue_retry(conn, held_by(consumer), &item, 1, &err));
    return item.fate;
}

HELPER size_t promote(int64_t *next_ms)
{
    struct queue_promotion due;

    OK(queue_promote(conn, &queue, 100, &due, &err));
    if (next_ms != NULL) {
        *next_ms = due.next_ms;
    }
    return due.moved;
}

HELPER enum status trim_dead(int64_t letters, int64_t ttl_ms, size_t *gone)
{
    const struct queue_dead_bounds bounds = {.letters = letters, .ttl_ms = ttl_ms};

    return queue_trim_dead(conn, &queue, &bounds, gone, &err);
}

/* The value of a field of the first entry of a stream, copied; "(none)". */
HELPER const char *first_field(const char *stream, const char *field)
{
    static char out[4][1200];
    static unsigned turn;
    char *const value = out[turn++ % 4];

    snprintf(value, sizeof out[0], "(none)");
    redisReply *reply = ask_reply("XRANGE", stream, "-", "+", "COUNT", "1", NULL);
    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 1) {
        const redisReply *fields = reply->element[0]->element[1];
        for (size_t i = 0; i + 1 < fields->elements; i += 2) {
            if (strcmp(fields->element[i]->str, field) == 0) {
                snprintf(value, sizeof out[0], "%s", fields->element[i + 1]->str);
            }
        }
    }
    redis_reply_free(reply);
    return value;
}

/* The id of the first entry of a stream. */
HELPER const char *first_entry(const char *stream)
{
    static char out[48];

    redisReply *reply = ask_reply("XRANGE", stream, "-", "+", "COUNT", "1", NULL);
    cr_assert(reply->type == REDIS_REPLY_ARRAY && reply->elements == 1);
    snprintf(out, sizeof out, "%s", reply->element[0]->element[0]->str);
    redis_reply_free(reply);
    return out;
}

#endif
