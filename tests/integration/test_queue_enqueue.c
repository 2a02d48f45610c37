#include "queue/enqueue.h"
#include "queue/settle.h"
#include "queue/take.h"
#include "queue_fixture.h"

static struct error err;

TestSuite(queue_enqueue, .init = queue_setup, .fini = queue_teardown, .timeout = 60);

BOOKED_TEST(queue_enqueue, an_enqueued_job_waits_readably_in_its_stream)
{
    char shown[512] = "";

    add("job-1", "");
    redisReply *reply = ask_reply("XRANGE", queue.stream[JOB_NORMAL], "-", "+", NULL);
    flatten(reply->element[0]->element[1], shown, sizeof shown);
    redis_reply_free(reply);
    cr_assert_str_eq(shown, "id job-1 domain legal attempt 0 options  body body");
    cr_assert_eq(stats().waiting, 1);
    cr_assert_eq(counter("enqueued"), 1);
}

BOOKED_TEST(queue_enqueue, a_job_that_was_read_and_finished_is_gone)
{
    struct queue_batch batch = {0};

    add("job-1", "reply=1 traceparent=00-1");
    const struct job *job = read_one("me", &batch);
    assert_slice(job->id, "job-1");
    assert_slice(job->domain, "legal");
    assert_slice(job->body, "body");
    assert_slice(job->options.traceparent, "00-1");
    cr_assert(job->options.reply);
    cr_assert_eq(job->attempt, 0);
    cr_assert_eq(job->deliveries, 1);
    OK(queue_job_check(job, &err));
    cr_assert_eq(stats().running, 1);
    cr_assert_eq(finish_as("me", job), QUEUE_MOVED);
    queue_batch_free(&batch);

    cr_assert_str_eq(ask("XLEN", queue.stream[JOB_NORMAL], NULL), "0");
    cr_assert_eq(stats().running, 0);
    cr_assert_eq(counter("done"), 1);
}

BOOKED_TEST(queue_enqueue, a_batch_is_answered_job_by_job_in_order)
{
    enum { JOBS = 1000 };
    struct queue_answer *answers = calloc(JOBS, sizeof *answers);
    struct queue_item *items = calloc(JOBS, sizeof *items);
    char(*ids)[16] = calloc(JOBS, sizeof *ids);

    cr_assert(answers != NULL && items != NULL && ids != NULL);
    for (int i = 0; i < JOBS; i++) {
        snprintf(ids[i], sizeof ids[i], "job-%d", i);
        items[i] = (struct queue_item){text(ids[i]), text("legal"), text(""), text("b")};
    }
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, JOBS}, answers, &err));
    for (int i = 0; i < JOBS; i++) {
        cr_assert_str_eq(answers[i].id, ids[i]);
        cr_assert_not(answers[i].full);
    }
    cr_assert_eq(stats().waiting, JOBS);
    cr_assert_eq(counter("enqueued"), JOBS);

    finish_waiting("me", JOBS);
    cr_assert_eq(counter("done"), JOBS);
    free(ids);
    free(items);
    free(answers);
}

BOOKED_TEST(queue_enqueue, calls_can_be_pipelined)
{
    const struct queue_item one = {text("job-1"), text("legal"), text(""), text("b")};
    const struct queue_item bad = {text("job 2"), text("legal"), text(""), text("b")};
    const struct queue_item three = {text("job-3"), text("legal"), text(""), text("b")};
    struct queue_answer answer;

    OK(queue_enqueue_append(conn, &(struct queue_items){&queue, 0, &one, 1}, &err));
    OK(queue_enqueue_append(conn, &(struct queue_items){&queue, 0, &bad, 1}, &err));
    OK(queue_enqueue_append(conn, &(struct queue_items){&queue, 0, &three, 1}, &err));
    OK(queue_enqueue_collect(conn, 1, &answer, &err));
    cr_assert_str_eq(answer.id, "job-1");
    cr_assert_eq(queue_enqueue_collect(conn, 1, &answer, &err), STATUS_INVALID);
    OK(queue_enqueue_collect(conn, 1, &answer, &err));
    cr_assert_str_eq(answer.id, "job-3");
    cr_assert_eq(counter("enqueued"), 2);
}

BOOKED_TEST(queue_enqueue, priorities_have_streams_of_their_own)
{
    struct queue_batch batch = {0};

    add("low", "priority=low");
    add("high", "priority=high");
    add("normal", "priority=normal");
    read_jobs("me", 10, &batch);
    cr_assert_eq(batch.count, 3);
    for (size_t i = 0; i < 3; i++) {
        assert_slice(batch.jobs[i].id, job_priority_name(batch.jobs[i].stream));
        cr_assert_eq(batch.jobs[i].options.priority, batch.jobs[i].stream);
        cr_assert_eq(finish_as("me", &batch.jobs[i]), QUEUE_MOVED);
    }
    queue_batch_free(&batch);
    cr_assert_eq(counter("done"), 3);
}

BOOKED_TEST(queue_enqueue, a_twin_of_an_outstanding_job_is_answered_with_its_id)
{
    add("first", "unique=key");
    cr_assert_str_eq(add_bounded(0, "second", "unique=key").id, "first");
    cr_assert_eq(stats().waiting, 1);
    cr_assert_eq(counter("enqueued"), 1);
    cr_assert_eq(counter("deduplicated"), 1);
}

BOOKED_TEST(queue_enqueue, a_repeated_call_adds_nothing)
{
    add("first", "unique=key");
    cr_assert_str_eq(add_bounded(0, "first", "unique=key").id, "first");
    cr_assert_eq(stats().waiting, 1);
    cr_assert_eq(counter("deduplicated"), 1);
}

BOOKED_TEST(queue_enqueue, twins_in_one_call_are_one_job)
{
    const struct queue_item items[] = {
        {text("first"), text("legal"), text("unique=key"), text("b")},
        {text("other"), text("legal"), text(""), text("b")},
        {text("second"), text("legal"), text("unique=key"), text("b")},
    };
    struct queue_answer answers[3];

    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, 3}, answers, &err));
    cr_assert_str_eq(answers[0].id, "first");
    cr_assert_str_eq(answers[1].id, "other");
    cr_assert_str_eq(answers[2].id, "first");
    cr_assert_eq(stats().waiting, 2);
}

BOOKED_TEST(queue_enqueue, the_unique_key_of_a_query_counts_per_domain_and_others_do_not)
{
    const char *query = "unique=0123456789abcdef0123456789abcdef.3";
    const struct queue_item items[] = {
        {text("legal-1"), text("legal"), text(query), text("b")},
        {text("tax-1"), text("tax"), text(query), text("b")},
        {text("legal-2"), text("legal"), text(query), text("b")},
        {text("legal-3"), text("legal"), text("unique=plain"), text("b")},
        {text("tax-3"), text("tax"), text("unique=plain"), text("b")},
    };
    struct queue_answer answers[5];

    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, 5}, answers, &err));
    cr_assert_str_eq(answers[1].id, "tax-1");
    cr_assert_str_eq(answers[2].id, "legal-1");
    cr_assert_str_eq(answers[4].id, "legal-3");
    const char *held =
        ask("GET", "sh:{enrich}:unique:legal:0123456789abcdef0123456789abcdef.3", NULL);
    cr_assert_eq(strncmp(held, "legal-1 ", 8), 0, "%s", held);
    held = ask("GET", "sh:{enrich}:unique:plain", NULL);
    cr_assert_eq(strncmp(held, "legal-3 ", 8), 0, "%s", held);
    cr_assert_geq(atoll(ask("PTTL", "sh:{enrich}:unique:plain", NULL)), 86000000);
}

BOOKED_TEST(queue_enqueue, a_full_queue_refuses_and_counts_it)
{
    const struct queue_item items[] = {
        {text("a"), text("legal"), text(""), text("b")},
        {text("b"), text("legal"), text("delay_ms=60000"), text("b")},
        {text("c"), text("legal"), text("priority=high unique=c"), text("b")},
        {text("d"), text("legal"), text("unique=d"), text("b")},
        {text("e"), text("legal"), text(""), text("b")},
        {text("f"), text("legal"), text("unique=c"), text("b")},
    };
    struct queue_answer answers[6];

    OK(queue_enqueue(conn, &(struct queue_items){&queue, 3, items, 6}, answers, &err));
    cr_assert_not(answers[2].full);
    cr_assert(answers[3].full);
    cr_assert_str_empty(answers[3].id);
    cr_assert(answers[4].full);
    cr_assert_str_eq(answers[5].id, "c", "a twin needs no room");
    cr_assert_eq(counter("enqueued"), 3);
    cr_assert_eq(counter("refused"), 2);
    cr_assert_eq(counter("deduplicated"), 1);
    cr_assert_str_eq(ask("EXISTS", "sh:{enrich}:unique:d", NULL), "0");
    cr_assert(add_bounded(3, "g", "").full);
    cr_assert_not(add_bounded(4, "h", "").full);
    cr_assert_not(add_bounded(0, "i", "").full);
}

/* Far from its limit a queue is not counted with every job; that must not show. */
BOOKED_TEST(queue_enqueue, a_limit_is_kept_to_the_job_however_the_jobs_come_and_go)
{
    enum { LIMIT = 1400, FINISHED = 100, UNBOUNDED = 40 };
    static const char *const options[] = {"", "reply=1", "delay_ms=60000", ""};
    char id[24];

    for (int i = 0; i < LIMIT; i++) {
        snprintf(id, sizeof id, "job-%d", i);
        cr_assert_not(add_bounded(i % 3 == 0 ? 100 * LIMIT : LIMIT, id, options[i % 4]).full);
    }
    cr_assert(add_bounded(LIMIT, "above", "").full);

    finish_waiting("me", FINISHED);
    for (int i = 0; i < UNBOUNDED; i++) {
        snprintf(id, sizeof id, "unbounded-%d", i);
        cr_assert_not(add_bounded(0, id, "").full);
    }
    for (int i = UNBOUNDED; i < FINISHED; i++) {
        snprintf(id, sizeof id, "again-%d", i);
        cr_assert_not(add_bounded(LIMIT, id, "").full);
    }
    cr_assert(add_bounded(LIMIT, "above", "").full);
    cr_assert_eq(counter("refused"), 2);
}

/* Jobs that came without a bound are seen by whom has one. */
BOOKED_TEST(queue_enqueue, a_caller_with_a_bound_counts_the_jobs_of_callers_without_one)
{
    enum { JOBS = 1000, LIMIT = 2 * JOBS };
    static struct queue_item items[JOBS];
    static struct queue_answer answers[JOBS];

    for (int i = 0; i < JOBS; i++) {
        items[i] = (struct queue_item){text("same"), text("legal"), text(""), text("b")};
    }
    cr_assert_not(add_bounded(LIMIT, "bounded", "").full);
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, JOBS}, answers, &err));
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, JOBS}, answers, &err));
    cr_assert(add_bounded(LIMIT, "above", "").full);
}

BOOKED_TEST(queue_enqueue, a_delayed_job_is_readable_and_keeps_when_it_came)
{
    char expected[160];

    add("later", "delay_ms=60000 priority=high");
    redisReply *reply = ask_reply("ZRANGE", queue.delayed, "0", "0", "WITHSCORES", NULL);
    cr_assert_eq(reply->elements, 2);
    const long long since = atoll(reply->element[1]->str) - 60000;
    snprintf(expected, sizeof expected,
             "later legal 0 delay_ms=60000 priority=high since=%lld\nbody", since);
    cr_assert_str_eq(reply->element[0]->str, expected);
    redis_reply_free(reply);
    cr_assert_eq(stats().delayed, 1);
    cr_assert_eq(stats().waiting, 0);
}

BOOKED_TEST(queue_enqueue, the_very_same_delayed_job_twice_is_kept_twice)
{
    const struct queue_item item = {text("a"), text("legal"), text("delay_ms=60000"), text("b")};
    const struct queue_item items[] = {item, item, item};
    struct queue_answer answers[3];

    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, 3}, answers, &err));
    cr_assert_eq(stats().delayed, 3);
    cr_assert_eq(counter("enqueued"), 3);
}

/* One malformed call: refused with `why`, and nothing is added. */
static void refuse_item(struct queue_item item, const char *why)
{
    const struct queue_item items[] = {
        {text("good"), text("legal"), text("unique=u delay_ms=1"), text("b")}, item};
    struct queue_answer answers[2];

    cr_assert_eq(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, 2}, answers, &err),
                 STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, why), "\"%s\" without \"%s\"", err.text, why);
}

BOOKED_TEST(queue_enqueue, a_malformed_call_names_field_value_and_expectation_and_adds_nothing)
{
    char long_id[66];

    memset(long_id, 'x', 65);
    long_id[65] = '\0';
    refuse_item((struct queue_item){text(""), text("legal"), text(""), text("b")}, "id \"\"");
    refuse_item((struct queue_item){text(long_id), text("legal"), text(""), text("b")}, "id \"xxx");
    refuse_item((struct queue_item){text("a b"), text("legal"), text(""), text("b")},
                "id \"a b\": expected 1 to 64 of");
    refuse_item((struct queue_item){text("FULL"), text("legal"), text(""), text("b")},
                "id \"FULL\"");
    refuse_item((struct queue_item){{"a\0b", 3}, text("legal"), text(""), text("b")}, "id \"a?b\"");
    refuse_item((struct queue_item){text("a"), text("Legal"), text(""), text("b")},
                "domain \"Legal\": expected 1 to 63 of");
    refuse_item((struct queue_item){text("a"), text(""), text(""), text("b")}, "domain \"\"");
    refuse_item((struct queue_item){text("a"), text("legal-"), text(""), text("b")}, "domain");
    refuse_item((struct queue_item){text("a"), text(long_id), text(""), text("b")}, "domain");
    refuse_item((struct queue_item){text("a"), text("x"), text("nonsense"), text("b")},
                "expected key=value pairs");
    refuse_item((struct queue_item){text("a"), text("x"), text("reply=1 "), text("b")},
                "expected key=value pairs");
    refuse_item((struct queue_item){text("a"), text("x"), text("colour=red"), text("b")},
                "option \"colour\": expected one of");
    refuse_item((struct queue_item){text("a"), text("x"), text("priority=urgent"), text("b")},
                "priority \"urgent\": expected high, normal or low");
    refuse_item((struct queue_item){text("a"), text("x"), text("delay_ms=-1"), text("b")},
                "delay_ms \"-1\"");
    refuse_item((struct queue_item){text("a"), text("x"), text("delay_ms=1e3"), text("b")},
                "delay_ms");
    refuse_item((struct queue_item){text("a"), text("x"), text("deadline_ms=0"), text("b")},
                "deadline_ms");
    refuse_item((struct queue_item){text("a"), text("x"), text("unique="), text("b")}, "unique");
    refuse_item((struct queue_item){text("a"), text("x"), text("unique=a\nb"), text("b")},
                "unique");
    refuse_item((struct queue_item){text("a"), text("x"), text("reply=yes"), text("b")}, "reply");
    refuse_item((struct queue_item){text("a"), text("x"), text("reply=1 reply=1"), text("b")},
                "option \"reply\": expected it once");
    refuse_item((struct queue_item){text("a"), text("x"), text("traceparent=\xff"), text("b")},
                "traceparent \"?\"");
    refuse_item((struct queue_item){text("a"), text("x"), text("since=x"), text("b")}, "since");
    cr_assert_str_eq(
        ask("EXISTS", queue.delayed, "sh:{enrich}:counters", "sh:{enrich}:unique:u", NULL), "0");
    cr_assert_str_eq(ask("XLEN", queue.stream[JOB_NORMAL], NULL), "0");
}

BOOKED_TEST(queue_enqueue, a_body_over_16_mib_is_refused)
{
    const size_t bytes = (16u << 20) + 1;
    char *body = calloc(1, bytes);

    cr_assert_not_null(body);
    refuse_item((struct queue_item){text("a"), text("x"), text(""), {body, bytes}},
                "body \"16777217 bytes\": expected at most");
    free(body);
}

BOOKED_TEST(queue_enqueue, wrong_arguments_are_refused)
{
    const char *base = queue.base;

    cr_assert_not_null(strstr(ask("FCALL", "sh_enqueue", "1", base, "0", NULL), "SHINVALID"));
    cr_assert_not_null(strstr(ask("FCALL", "sh_enqueue", "1", base, NULL), "SHINVALID"));
    cr_assert_not_null(
        strstr(ask("FCALL", "sh_enqueue", "1", base, "0", "a", "x", "", NULL), "SHINVALID"));
    cr_assert_not_null(strstr(ask("FCALL", "sh_enqueue", "1", base, "-1", "a", "x", "", "b", NULL),
                              "SHINVALID max_backlog \"-1\""));
    cr_assert_not_null(
        strstr(ask("FCALL", "sh_enqueue", "1", "sh:enrich", "0", "a", "x", "", "b", NULL),
               "SHINVALID key \"sh:enrich\""));
    cr_assert_not_null(strstr(ask("FCALL", "sh_enqueue", "0", NULL), "SHINVALID keys"));

    const struct queue_item item = {text("a"), text("x"), text(""), text("b")};
    struct queue_answer answer;
    cr_assert_eq(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 0}, &answer, &err),
                 STATUS_INVALID);
    cr_assert_eq(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1001}, &answer, &err),
                 STATUS_INVALID);
    cr_assert_eq(queue_enqueue(conn, &(struct queue_items){&queue, -5, &item, 1}, &answer, &err),
                 STATUS_INVALID);
    cr_assert_eq(stats().waiting, 0);
}

BOOKED_TEST(queue_enqueue, a_reply_is_waited_for_and_several_can_have_it)
{
    struct queue_batch batch = {0};
    struct strbuf out = {0};

    add("asks", "reply=1");
    cr_assert_eq(queue_await_reply(conn, &queue, "asks", 0, &out, &err), STATUS_TIMEOUT);
    cr_assert_eq(queue_await_reply(conn, &queue, "asks", 50, &out, &err), STATUS_TIMEOUT);
    cr_assert(redis_conn_is_open(conn));
    cr_assert_eq(redis_conn_command_timeout(conn), 10000);

    struct queue_end item = {.job = read_one("me", &batch), .reply = text("the result")};
    OK(queue_finish(conn, held_by("me"), &item, 1, &err));
    cr_assert_eq(item.fate, QUEUE_MOVED);
    queue_batch_free(&batch);

    OK(queue_await_reply(conn, &queue, "asks", 1000, &out, &err));
    OK(queue_await_reply(conn, &queue, "asks", 0, &out, &err));
    cr_assert_str_eq(out.data, "the resultthe result");
    cr_assert_leq(atoll(ask("PTTL", "sh:{enrich}:reply:asks", NULL)), 300000);
    cr_assert_gt(atoll(ask("PTTL", "sh:{enrich}:reply:asks", NULL)), 200000);
    cr_assert_eq(queue_await_reply(conn, &queue, "no id", 0, &out, &err), STATUS_INVALID);
    strbuf_free(&out);
}
