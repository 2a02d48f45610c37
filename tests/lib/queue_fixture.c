#include "queue_fixture.h"

struct queue queue;
static struct error err;

/* ---- life ---------------------------------------------------------------------------------- */

void queue_setup(void)
{
    redis_setup();
    queue = queue_named("enrich");
    OK(queue_prepare(conn, &queue, &err));
}

void queue_teardown(void)
{
    redis_teardown();
}

struct queue_stats stats(void)
{
    return figures_of(&queue);
}

int64_t counter(const char *name)
{
    const struct queue_stats now = stats();

    return counter_in(&now, name);
}

void check_books(void)
{
    const struct queue_stats now = stats();

    check_balance(&now);
}

/* ---- jobs ---------------------------------------------------------------------------------- */

struct queue_answer add_bounded(int64_t max_backlog, const char *id, const char *options)
{
    struct queue_answer answer;
    const struct queue_item item = {text(id), text("legal"), text(options), text("body")};

    OK(queue_enqueue(conn, &(struct queue_items){&queue, max_backlog, &item, 1}, &answer, &err));
    return answer;
}

void add(const char *id, const char *options)
{
    const struct queue_answer answer = add_bounded(0, id, options);

    cr_assert_not(answer.full);
    cr_assert_str_eq(answer.id, id);
}

void read_jobs(const char *consumer, size_t count, struct queue_batch *batch)
{
    const char *const streams[] = {queue.stream[JOB_HIGH], queue.stream[JOB_NORMAL],
                                   queue.stream[JOB_LOW]};
    redisReply *reply = NULL;

    OK(queue_read_append(conn, &(struct queue_read){consumer, count, 0, streams, 3}, &err));
    OK(redis_conn_collect(conn, &reply, &err));
    OK(redis_reply_status(reply, &err));
    OK(queue_read_parse(&queue, reply, batch, &err));
    OK(queue_batch_own(batch, reply, &err));
}

const struct job *read_one(const char *consumer, struct queue_batch *batch)
{
    const size_t before = batch->count;

    read_jobs(consumer, 1, batch);
    cr_assert_eq(batch->count, before + 1);
    return &batch->jobs[before];
}

void assert_slice(struct slice slice, const char *expected)
{
    cr_assert(slice.bytes == strlen(expected) && memcmp(slice.data, expected, slice.bytes) == 0,
              "\"%.*s\", expected \"%s\"", (int)slice.bytes, slice.data, expected);
}

const struct queue_holder *held_by(const char *consumer)
{
    static struct queue_holder holder;

    holder = (struct queue_holder){&queue, consumer, "worker-1"};
    return &holder;
}

size_t release_as(const char *consumer, const struct job *const *jobs, size_t count, bool again)
{
    struct queue_release release = {.jobs = {jobs, count}, .again = again, .visibility_ms = 60000};

    OK(queue_release(conn, held_by(consumer), &release, &err));
    return release.released;
}

enum queue_fate finish_as(const char *consumer, const struct job *job)
{
    struct queue_end item = {.job = job};

    OK(queue_finish(conn, held_by(consumer), &item, 1, &err));
    return item.fate;
}

void finish_waiting(const char *consumer, size_t count)
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

enum queue_fate bury_as(const char *consumer, const struct job *job, const char *reason)
{
    struct queue_end item = {.job = job, .reason = reason, .error = "it did not work"};

    OK(queue_bury(conn, held_by(consumer), &item, 1, &err));
    return item.fate;
}

enum queue_fate retry_as(const char *consumer, const struct job *job, int64_t delay_ms, bool parked)
{
    struct queue_end item = {.job = job, .delay_ms = delay_ms, .parked = parked};

    OK(queue_retry(conn, held_by(consumer), &item, 1, &err));
    return item.fate;
}

size_t promote(int64_t *next_ms)
{
    struct queue_promotion due;

    OK(queue_promote(conn, &queue, 100, &due, &err));
    if (next_ms != NULL) {
        *next_ms = due.next_ms;
    }
    return due.moved;
}

void trim_dead(int64_t letters, int64_t ttl_ms, size_t *gone)
{
    const struct queue_dead_bounds bounds = {.letters = letters, .ttl_ms = ttl_ms};

    OK(queue_trim_dead(conn, &queue, &bounds, gone, &err));
}

const char *first_field(const char *stream, const char *field)
{
    static char out[4][1200];
    static unsigned turn;
    char *const value = out[turn++ % 4];

    snprintf(value, sizeof out[0], "(none)");
    redisReply *reply = ask_reply("XRANGE", stream, "-", "+", "COUNT", "1", (char *)NULL);
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

const char *first_entry(const char *stream)
{
    static char out[48];

    redisReply *reply = ask_reply("XRANGE", stream, "-", "+", "COUNT", "1", (char *)NULL);
    cr_assert(reply->type == REDIS_REPLY_ARRAY && reply->elements == 1);
    snprintf(out, sizeof out, "%s", reply->element[0]->element[0]->str);
    redis_reply_free(reply);
    return out;
}
