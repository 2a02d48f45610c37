/* The turn at the reader, on a real Redis: who has it, and when it is passed on. */
#include <pthread.h>

#include "proxy.h"
#include "queue/enqueue.h"
#include "queue/take.h"
#include "queue_fixture.h"
#include "reader/reader.h"

static struct error err;

static struct settings settings;
static struct metrics *metrics;
static struct upstreams *upstreams;
static struct reader *reader;
static struct takes *takes;

static bool never(void *context)
{
    (void)context;
    return false;
}

static void open_reader(void)
{
    const struct reader_config config = {.settings = &settings,
                                         .metrics = metrics,
                                         .upstreams = upstreams,
                                         .queues = &queue,
                                         .queue_count = 1,
                                         .worker_id = "worker"};
    OK(reader_new(&config, &reader, &err));
}

static void setup(void)
{
    queue_setup();
    settings_defaults(&settings);
    snprintf(settings.redis_url, sizeof settings.redis_url, "%s", redis.url);
    metrics = metrics_new();
    upstreams = upstreams_new(&settings, metrics);
    takes = calloc(2, sizeof *takes);
    cr_assert(metrics != NULL && upstreams != NULL && takes != NULL);
    open_reader();
}

static void teardown(void)
{
    reader_free(reader);
    upstreams_free(upstreams);
    metrics_free(metrics);
    takes_free(&takes[0]);
    takes_free(&takes[1]);
    free(takes);
    queue_teardown();
}

TestSuite(reader, .init = setup, .fini = teardown, .timeout = 60);

/* The first job of the first take of `own`. */
static const struct job *take(const char *consumer, struct takes *own)
{
    own->consumer = consumer;
    do {
        cr_assert(reader_take(reader, own, never, NULL));
    } while (own->count == 0);
    return &own->each[0].batch.jobs[0];
}

static void *take_second(void *argument)
{
    const struct job *job = take("second", &takes[1]);

    reader_pass_turn(reader, &takes[1]);
    (void)argument;
    return (void *)(uintptr_t)job;
}

BOOKED_TEST(reader, a_lane_with_a_lone_job_has_the_turn_until_it_passes_it_on)
{
    pthread_t other;
    void *second = NULL;

    add("job-1", "");
    assert_slice(take("first", &takes[0])->id, "job-1");
    cr_assert(takes[0].has_turn);

    cr_assert_eq(pthread_create(&other, NULL, take_second, NULL), 0);
    add("job-2", "");
    cr_assert_eq(stats().running, 1, "nobody reads meanwhile");
    reader_pass_turn(reader, &takes[0]);
    cr_assert_not(takes[0].has_turn);
    reader_pass_turn(reader, &takes[0]);
    pthread_join(other, &second);
    assert_slice(((const struct job *)second)->id, "job-2");
}

BOOKED_TEST(reader, a_lane_with_more_than_a_few_jobs_passes_the_turn_on_at_once)
{
    char id[16];

    for (int i = 0; i <= READER_FEW; i++) {
        snprintf(id, sizeof id, "job-%d", i);
        add(id, "");
    }
    take("first", &takes[0]);
    cr_assert_gt(takes[0].each[0].batch.count, READER_FEW);
    cr_assert_not(takes[0].has_turn);
}

static void *take_once(void *argument)
{
    (void)argument;
    takes[0].consumer = "first";
    return reader_take(reader, &takes[0], never, NULL) ? reader : NULL;
}

BOOKED_TEST(reader, a_turn_that_brings_nothing_is_passed_on)
{
    const int64_t until_ms = clock_now_ms() + 10000;
    pthread_t lane;
    void *took = NULL;

    cr_assert_eq(pthread_create(&lane, NULL, take_once, NULL), 0);
    while (!reader_unblock(reader, conn)) {
        cr_assert_lt(clock_now_ms(), until_ms, "it does not block");
        clock_sleep_ms(5);
    }
    pthread_join(lane, &took);
    cr_assert_not_null(took);
    cr_assert_eq(takes[0].count, 0);
    cr_assert_not(takes[0].has_turn);
}

/* It is looked at in Redis before it begins, and that waits. */
BOOKED_TEST(reader, a_lane_that_takes_a_job_over_passes_the_turn_on_at_once)
{
    struct queue_batch batch = {0};

    add("job-1", "");
    const struct job *job = read_one("gone", &batch);
    char entry[64];
    snprintf(entry, sizeof entry, "%.*s", (int)job->entry.bytes, job->entry.data);
    ask("XCLAIM", queue.stream[JOB_NORMAL], "fleet", "gone", "0", entry, "IDLE", "100000000", NULL);
    queue_batch_free(&batch);

    const struct job *taken = take("first", &takes[0]);
    assert_slice(taken->id, "job-1");
    cr_assert_gt(taken->deliveries, 1);
    cr_assert_not(takes[0].has_turn);
}

/* A job of several pieces on its way, which ends with `end`. */
static void add_large(const char *id, const char *end)
{
    enum { BYTES = 300 * 1000 };
    struct queue_answer answer;
    char *body = malloc(BYTES);

    cr_assert_not_null(body);
    memset(body, 'x', BYTES);
    memcpy(body + BYTES - strlen(end), end, strlen(end));
    const struct queue_item item = {text(id), text("legal"), text(""), {body, BYTES}};
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, &err));
    free(body);
}

/* Three streams are asked at once; the first has answered when the connection is lost. False where
 * the machine was so slow that all queues were asked instead, with one answer for all. */
static bool lose_second_answer(struct test_proxy *proxy)
{
    pthread_t lane;
    void *took = NULL;

    ask("FLUSHALL", NULL);
    OK(queue_prepare(conn, &queue, &err));
    add("job-0", "");
    take("first", &takes[0]); /* the queue is a busy one from now on */
    reader_pass_turn(reader, &takes[0]);
    add("job-00", "");
    take("first", &takes[0]); /* and all queues were looked at just now */
    reader_pass_turn(reader, &takes[0]);
    add("job-1", "priority=high");
    add_large("job-2", "of what is lost");
    test_proxy_hold(proxy, PROXY_ANSWER, "of what is lost");
    cr_assert_eq(pthread_create(&lane, NULL, take_once, NULL), 0);
    cr_assert(test_proxy_wait_held(proxy, 10000));
    test_proxy_drop(proxy);
    pthread_join(lane, &took);
    reader_pass_turn(reader, &takes[0]);
    return took != NULL;
}

BOOKED_TEST(reader, jobs_of_an_answer_that_was_lost_behind_another_wait_for_no_timeout)
{
    struct test_proxy *proxy = test_proxy_start(redis.port);
    int tries = 1;

    reader_free(reader);
    snprintf(settings.redis_url, sizeof settings.redis_url, "redis://127.0.0.1:%d",
             test_proxy_port(proxy));
    open_reader();
    while (!lose_second_answer(proxy)) {
        cr_assert_lt(tries++, 20);
    }
    cr_assert_eq(takes[0].count, 1, "the first answer came");
    cr_assert_eq(takes[0].each[0].batch.count, 1);
    assert_slice(takes[0].each[0].batch.jobs[0].id, "job-1");

    const int64_t before_ms = clock_now_ms();
    take("first", &takes[0]); /* of what it has not in hand */
    cr_assert_lt(clock_now_ms() - before_ms, settings.visibility_ms / 2);
    reader_pass_turn(reader, &takes[0]);
    test_proxy_stop(proxy);
}
