/* What a twin is owed by the job that stands for it, and what everybody is told who waits. */
#include "base/arena.h"
#include "jobs/bodies.h"
#include "queue/enqueue.h"
#include "queue/settle.h"
#include "queue/take.h"
#include "queue_fixture.h"

static struct error err;

TestSuite(queue_twins, .init = queue_setup, .fini = queue_teardown, .timeout = 60);

/* Enqueues a job with the unique key "u" and other options. Who stands for it. */
static const char *add_twin(const char *id, const char *options)
{
    static struct queue_answer answer;
    char text[200];

    snprintf(text, sizeof text, "unique=u %s", options);
    text[strlen(text) - (options[0] == '\0')] = '\0';
    answer = add_bounded(0, id, text);
    return answer.id;
}

static const char *in_ms(const char *option, int64_t ms)
{
    static char text[64];

    snprintf(text, sizeof text, "%s=%lld", option, (long long)(clock_unix_ms() + ms));
    return text;
}

static enum queue_fate expire_as(const char *consumer, const struct job *job)
{
    struct queue_end item = {.job = job, .expired = true};

    OK(queue_finish(conn, held_by(consumer), &item, 1, &err));
    return item.fate;
}

/* What whoever waits for job `id` is told: the reply's error, copied. */
static const char *told(const char *id)
{
    static char out[ERROR_TEXT_BYTES];
    struct strbuf reply = {0};
    struct arena arena = {0};
    struct enrich_result result;

    OK(queue_await_reply(conn, &queue, id, 0, &reply, &err));
    OK(bodies_decode_result(reply.data, reply.bytes, &arena, &result, &err));
    assert_slice(result.domain, "legal");
    snprintf(out, sizeof out, "%.*s", (int)result.error.bytes, result.error.data);
    strbuf_free(&reply);
    arena_free(&arena);
    return out;
}

/* ---- whose twin one is ----------------------------------------------------------------------- */

BOOKED_TEST(queue_twins, a_twin_without_a_deadline_outlives_the_job_that_stands_for_it)
{
    struct queue_batch batch = {0};

    add_twin("mortal", in_ms("deadline_ms", 1));
    cr_assert_str_eq(add_twin("twin", "reply=1"), "mortal");
    cr_assert_eq(expire_as("me", read_one("me", &batch)), QUEUE_RENEWED);
    cr_assert_eq(counter("expired"), 0);
    const struct job *again = read_one("me", &batch);
    assert_slice(again->id, "mortal");
    cr_assert_eq(again->options.deadline_unix_ms, 0);
    cr_assert_gt(again->options.since_unix_ms, 0);
    cr_assert_eq(finish_as("me", again), QUEUE_MOVED_WANTED);
    cr_assert_eq(counter("done"), 1);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_twins, a_twin_with_more_time_hands_it_on_and_ends_with_it)
{
    struct queue_batch batch = {0};
    const int64_t later_ms = clock_unix_ms() + 600000;

    add_twin("mortal", in_ms("deadline_ms", 1));
    cr_assert_str_eq(add_twin("twin", in_ms("deadline_ms", 600000)), "mortal");
    cr_assert_str_eq(add_twin("short", in_ms("deadline_ms", 0)), "mortal");
    cr_assert_eq(expire_as("me", read_one("me", &batch)), QUEUE_RENEWED);
    const struct job *again = read_one("me", &batch);
    cr_assert_geq(again->options.deadline_unix_ms, later_ms);
    cr_assert_eq(expire_as("me", again), QUEUE_MOVED, "there is nobody left with more time");
    cr_assert_eq(counter("expired"), 1);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_twins, a_job_that_sleeps_longer_or_waits_behind_others_stands_for_nobody)
{
    add_twin("sleeper", "delay_ms=3600000");
    cr_assert_str_eq(add_twin("later", "delay_ms=7200000"), "sleeper");
    cr_assert_str_eq(add_twin("low", "priority=low"), "low");
    cr_assert_str_eq(add_twin("low-too", "priority=low"), "low");
    cr_assert_str_eq(add_twin("normal", ""), "normal");
    cr_assert_str_eq(add_twin("high", "priority=high"), "high");
    cr_assert_str_eq(add_twin("low-again", "priority=low delay_ms=5"), "high");
    cr_assert_eq(counter("enqueued"), 4);
    cr_assert_eq(counter("deduplicated"), 3);
}

BOOKED_TEST(queue_twins, a_job_that_is_tried_again_stands_for_its_twins_wherever_it_is)
{
    struct queue_batch batch = {0};
    const struct job *jobs[1];

    add_twin("second", "");
    cr_assert_eq(retry_as("me", read_one("me", &batch), 1, false), QUEUE_MOVED);
    cr_assert_str_eq(add_twin("b", ""), "second");
    clock_sleep_ms(3);
    while (promote(NULL) == 0) {
    }
    cr_assert_str_eq(add_twin("c", ""), "second");
    jobs[0] = read_one("me", &batch);
    release_as("me", jobs, 1, true);
    cr_assert_str_eq(add_twin("d", ""), "second");
    queue_batch_free(&batch);
}

/* ---- a holder that an operator deleted ---------------------------------------------------------
 */

static void was_deleted(size_t jobs)
{
    char by[24];

    snprintf(by, sizeof by, "-%zu", jobs);
    ask("HINCRBY", "sh:{enrich}:counters", "enqueued", by, NULL);
}

BOOKED_TEST(queue_twins, a_key_whose_holder_is_gone_is_free)
{
    add_twin("first", "");
    cr_assert_str_eq(ask("DEL", queue.stream[JOB_NORMAL], NULL), "1");
    was_deleted(1);
    cr_assert_str_eq(add_twin("second", ""), "second");

    add("other", "");
    cr_assert_str_eq(
        ask("XDEL", queue.stream[JOB_NORMAL], first_entry(queue.stream[JOB_NORMAL]), NULL), "1");
    was_deleted(1);
    cr_assert_str_eq(add_twin("third", "delay_ms=60000"), "third");

    cr_assert_str_eq(ask("DEL", queue.delayed, NULL), "1");
    was_deleted(1);
    cr_assert_str_eq(add_twin("fourth", "delay_ms=70000"), "fourth");
    cr_assert_str_eq(add_twin("fifth", "delay_ms=80000"), "fourth");
}

BOOKED_TEST(queue_twins, a_key_of_an_older_library_says_no_more_than_the_id)
{
    ask("SET", "sh:{enrich}:unique:u", "old", "PX", "60000", NULL);
    cr_assert_str_eq(add_twin("new", "priority=high"), "old");
}

/* ---- who waits is told an end ------------------------------------------------------------------
 */

BOOKED_TEST(queue_twins, a_twins_asker_is_told_that_the_job_is_dead)
{
    struct queue_batch batch = {0};

    add_twin("first", "");
    add_twin("asker", "reply=1");
    cr_assert_eq(bury_as("me", read_one("me", &batch), "rejected"), QUEUE_MOVED);
    cr_assert_str_eq(told("first"), "it did not work");
    cr_assert_str_eq(ask("KEYS", "sh:{enrich}:wanted:*", NULL), "[0]");
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_twins, a_twins_asker_is_told_that_the_job_expired)
{
    struct queue_batch batch = {0};

    add_twin("first", in_ms("deadline_ms", 1));
    add_twin("asker", "reply=1 deadline_ms=2");
    cr_assert_eq(expire_as("me", read_one("me", &batch)), QUEUE_MOVED);
    cr_assert_str_eq(told("first"), "expired: its deadline passed");
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_twins, everybody_is_told_of_a_crash_loop)
{
    struct queue_batch batch = {0};
    struct queue_batch taken = {0};
    char cursor[48] = "0-0";
    size_t buried = 0;
    const struct queue_takeover takeover = {JOB_NORMAL, "you", "worker-2", 0, 1, 10, true};

    add("alone", "reply=1");
    add_twin("first", "");
    add_twin("asker", "reply=1");
    read_jobs("me", 2, &batch);
    OK(queue_reclaim(conn, &queue, &takeover, cursor, &taken, &buried, &err));
    cr_assert_eq(buried, 2);
    cr_assert_str_eq(told("alone"), "handed out 1 times without an end");
    cr_assert_str_eq(told("first"), "handed out 1 times without an end");
    queue_batch_free(&taken);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_twins, a_reply_that_is_owed_is_handed_in_once)
{
    struct queue_batch batch = {0};
    struct strbuf out = {0};

    add_twin("first", "");
    add_twin("asker", "reply=1");
    const struct job *job = read_one("me", &batch);
    cr_assert_eq(finish_as("me", job), QUEUE_MOVED_WANTED);
    cr_assert_eq(finish_as("me", job), QUEUE_LOST, "the answer was lost, the call is repeated");
    cr_assert_leq(atoll(ask("PTTL", "sh:{enrich}:wanted:first", NULL)), 300000);
    OK(queue_push_wanted(conn, &queue, job->id, text("result"), &err));
    OK(queue_push_wanted(conn, &queue, job->id, text("nobody waits any more"), &err));
    OK(queue_await_reply(conn, &queue, "first", 0, &out, &err));
    cr_assert_str_eq(out.data, "result");
    strbuf_free(&out);
    queue_batch_free(&batch);
}
