/* Jobs that did not work: retried, buried, malformed. On a real Redis. */
#include "queue/enqueue.h"
#include "queue/operate.h"
#include "queue/settle.h"
#include "queue/take.h"
#include "queue_fixture.h"

static struct error err;

TestSuite(queue_retry, .init = queue_setup, .fini = queue_teardown, .timeout = 60);

/* ---- retry --------------------------------------------------------------------------------- */

BOOKED_TEST(queue_retry, a_retried_job_comes_back_with_one_more_attempt_and_its_first_time)
{
    struct queue_batch batch = {0};
    char since[64];

    add("a", "priority=high traceparent=t");
    const struct job *job = read_one("me", &batch);
    snprintf(since, sizeof since, "priority=high traceparent=t since=%lld", atoll(job->entry.data));
    cr_assert_eq(retry_as("me", job, 0, false), QUEUE_MOVED);
    cr_assert_eq(stats().delayed, 1);
    cr_assert_eq(stats().running, 0);
    cr_assert_eq(counter("retried"), 1);
    cr_assert_eq(promote(NULL), 1);

    job = read_one("me", &batch);
    cr_assert_eq(job->stream, JOB_HIGH);
    cr_assert_eq(job->attempt, 1);
    assert_slice(job->options_text, since);
    assert_slice(job->body, "body");
    cr_assert_eq(retry_as("me", job, 0, false), QUEUE_MOVED);
    cr_assert_eq(promote(NULL), 1);
    job = read_one("me", &batch);
    cr_assert_eq(job->attempt, 2);
    assert_slice(job->options_text, since);
    cr_assert_eq(finish_as("me", job), QUEUE_MOVED);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_retry, parking_burns_no_attempt)
{
    struct queue_batch batch = {0};

    add("a", "");
    cr_assert_eq(retry_as("me", read_one("me", &batch), 0, true), QUEUE_MOVED);
    cr_assert_eq(counter("retried"), 0);
    cr_assert_eq(counter("parked"), 1);
    cr_assert_eq(promote(NULL), 1);
    cr_assert_eq(read_one("me", &batch)->attempt, 0);
    queue_batch_free(&batch);
}

/* As version 4 has it: parked is "1", and all else is a failure; a unique key's value is an id. */
static const char older_library[] =
    "#!lua name=stillhouse\n"
    "local function register(name, f, flags)\n"
    "    redis.register_function{function_name = name, callback = f, flags = flags}\n"
    "end\n"
    "register('sh_version', function() return 4 end, {'no-writes'})\n"
    "register('sh_retry', function(keys, args)\n"
    "    redis.call('HINCRBY', keys[1] .. ':counters', args[6] == '1' and 'parked' or 'retried', "
    "1)\n"
    "    return {1}\n"
    "end)\n"
    "register('sh_enqueue', function() return {'holder 0123456789abcdef @2:1-1:0'} end)\n";

Test(queue_retry, an_older_library_burns_no_attempt_for_what_is_parked)
{
    struct queue_batch batch = {0};

    add("a", "");
    const struct job *job = read_one("me", &batch);
    cr_assert_str_eq(ask("FUNCTION", "LOAD", "REPLACE", older_library, NULL), "stillhouse");
    cr_assert_eq(retry_as("me", job, 5, true), QUEUE_MOVED);
    cr_assert_eq(retry_as("me", job, 5, false), QUEUE_MOVED);
    cr_assert_str_eq(ask("HGET", "sh:{enrich}:counters", "parked", NULL), "1");
    cr_assert_str_eq(ask("HGET", "sh:{enrich}:counters", "retried", NULL), "1");
    queue_batch_free(&batch);
}

Test(queue_retry, an_older_library_that_names_a_newer_claim_names_its_job)
{
    const struct queue_item item = {{"a", 1}, {"d", 1}, {"unique=u", 8}, {"b", 1}};
    struct queue_answer answer;

    cr_assert_str_eq(ask("FUNCTION", "LOAD", "REPLACE", older_library, NULL), "stillhouse");
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, &err));
    cr_assert_not(answer.full);
    cr_assert_str_eq(answer.id, "holder");
}

BOOKED_TEST(queue_retry, jobs_parked_in_one_call_each_remember_what_they_wait_for)
{
    static const enum operation waits_for[] = {OPERATION_WRITE, OPERATION_EMBED, OPERATION_QUERY};
    static const char *const expected[] = {"chroma.write", "embedder.embed", "chroma.query"};
    struct queue_end items[3] = {{0}};
    struct queue_batch batch = {0};

    add("a", "");
    add("b", "");
    add("c", "");
    read_jobs("me", 3, &batch);
    for (size_t i = 0; i < 3; i++) {
        items[i] = (struct queue_end){
            .job = &batch.jobs[i], .parked = true, .tried = i == 1, .operation = waits_for[i]};
    }
    OK(queue_retry(conn, held_by("me"), items, 3, &err));
    queue_batch_free(&batch);
    cr_assert_eq(promote(NULL), 3);
    read_jobs("me", 3, &batch);
    for (size_t i = 0; i < 3; i++) {
        const size_t which = (size_t)(batch.jobs[i].id.data[0] - 'a');
        const struct job_parked *parked = &batch.jobs[i].options.parked;
        assert_slice(parked->waits_for, expected[which]);
        cr_assert_eq(parked->tries, which == 1);
    }
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_retry, a_retry_by_somebody_else_moves_nothing)
{
    struct queue_batch batch = {0};

    add("a", "");
    const struct job *job = read_one("me", &batch);
    cr_assert_eq(retry_as("you", job, 0, false), QUEUE_LOST);
    cr_assert_eq(stats().delayed, 0);
    cr_assert_eq(counter("retried"), 0);
    cr_assert_eq(retry_as("me", job, -5, false), QUEUE_MOVED);
    cr_assert_eq(retry_as("me", job, 0, false), QUEUE_LOST);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_retry, copies_of_one_job_are_not_swallowed_by_the_delayed_set)
{
    enum { COPIES = 20 };
    struct queue_batch batch = {0};
    struct queue_end items[COPIES];
    char since[32];

    snprintf(since, sizeof since, "since=%lld", (long long)clock_unix_ms() - 1000);
    for (int i = 0; i < COPIES; i++) {
        add("same", since);
    }
    read_jobs("me", COPIES, &batch);
    for (int i = 0; i < COPIES; i++) {
        items[i] = (struct queue_end){.job = &batch.jobs[i], .delay_ms = 60000};
    }
    OK(queue_retry(conn, held_by("me"), items, COPIES, &err));
    cr_assert_eq(stats().delayed, COPIES);
    queue_batch_free(&batch);
}

/* ---- bury ---------------------------------------------------------------------------------- */

BOOKED_TEST(queue_retry, a_dead_letter_has_the_job_and_why_it_died)
{
    struct queue_batch batch = {0};
    char shown[1024] = "";
    char expected[1024];

    add("a", "reply=1");
    const struct job *job = read_one("me", &batch);
    const long long since = atoll(job->entry.data);
    cr_assert_eq(bury_as("me", job, "retries_exhausted"), QUEUE_MOVED);
    redisReply *reply = ask_reply("XRANGE", queue.dead, "-", "+", NULL);
    cr_assert_eq(reply->elements, 1);
    flatten(reply->element[0]->element[1], shown, sizeof shown);
    redis_reply_free(reply);
    snprintf(expected, sizeof expected,
             "id a domain legal attempt 0 options reply=1 body body reason retries_exhausted "
             "error it did not work attempts 1 deliveries 1 died %s worker worker-1 since %lld",
             first_field(queue.dead, "died"), since);
    cr_assert_str_eq(shown, expected);
    cr_assert_leq(llabs(atoll(first_field(queue.dead, "died")) - clock_unix_ms()), 60000);
    cr_assert_eq(counter("buried"), 1);
    cr_assert_eq(stats().dead, 1);
    cr_assert_eq(stats().running, 0);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_retry, a_reply_tells_the_asker_of_a_buried_job)
{
    struct queue_batch batch = {0};
    struct strbuf out = {0};

    add("a", "reply=1");
    struct queue_end item = {.job = read_one("me", &batch),
                             .reason = "rejected",
                             .error = "no",
                             .reply = text("it died")};
    OK(queue_bury(conn, held_by("me"), &item, 1, &err));
    OK(queue_await_reply(conn, &queue, "a", 0, &out, &err));
    cr_assert_str_eq(out.data, "it died");
    strbuf_free(&out);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_retry, a_long_error_is_cut)
{
    struct queue_batch batch = {0};
    char error[3000];

    memset(error, 'e', sizeof error - 1);
    error[sizeof error - 1] = '\0';
    add("a", "");
    struct queue_end item = {.job = read_one("me", &batch), .reason = "rejected", .error = error};
    OK(queue_bury(conn, held_by("me"), &item, 1, &err));
    cr_assert_eq(strlen(first_field(queue.dead, "error")), 1000);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_retry, only_the_holder_buries)
{
    struct queue_batch batch = {0};

    add("a", "");
    const struct job *job = read_one("me", &batch);
    cr_assert_eq(bury_as("you", job, "rejected"), QUEUE_LOST);
    cr_assert_eq(stats().dead, 0);
    cr_assert_eq(bury_as("me", job, "rejected"), QUEUE_MOVED);
    cr_assert_eq(bury_as("me", job, "rejected"), QUEUE_LOST);
    cr_assert_eq(stats().dead, 1);
    queue_batch_free(&batch);
}

/* ---- malformed entries --------------------------------------------------------------------- */

/* Adds an entry of a foreign program, which our books then count as enqueued. */
static const struct job *foreign(struct queue_batch *batch, const char *id, const char *domain,
                                 const char *attempt, const char *options)
{
    ask("XADD", queue.stream[JOB_NORMAL], "*", "id", id, "domain", domain, "attempt", attempt,
        "options", options, "body", "", NULL);
    ask("HINCRBY", "sh:{enrich}:counters", "enqueued", "1", NULL);
    return read_one("me", batch);
}

static void assert_malformed(const struct job *job, const char *why)
{
    cr_assert_eq(queue_job_check(job, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, why), "\"%s\" without \"%s\"", err.text, why);
    cr_assert_eq(retry_as("me", job, 0, false), QUEUE_LOST, "only the dead can hold it");
    cr_assert_eq(bury_as("me", job, "malformed"), QUEUE_MOVED);
}

BOOKED_TEST(queue_retry, a_malformed_entry_is_named_and_buried)
{
    struct queue_batch batch = {0};

    assert_malformed(foreign(&batch, "a b", "legal", "0", ""), "id \"a b\"");
    assert_malformed(foreign(&batch, "a", "LEGAL", "0", ""), "domain \"LEGAL\"");
    assert_malformed(foreign(&batch, "a", "legal", "-1", ""), "attempt");
    assert_malformed(foreign(&batch, "a", "legal", "", ""), "attempt");
    assert_malformed(foreign(&batch, "a", "legal", "12345678901234567890", ""), "attempt");
    cr_assert_eq(stats().dead, 5);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_retry, bad_options_are_named_and_read_as_none)
{
    struct queue_batch batch = {0};
    const struct job *job = foreign(&batch, "a", "legal", "0", "reply=1 priority=urgent");

    cr_assert_not(job->options.reply);
    cr_assert_eq(job->options.priority, JOB_NORMAL);
    cr_assert_eq(queue_job_check(job, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "priority \"urgent\""));
    cr_assert_eq(bury_as("me", job, "malformed"), QUEUE_MOVED);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_retry, an_entry_without_our_fields_is_buried_as_it_is)
{
    struct queue_batch batch = {0};

    ask("XADD", queue.stream[JOB_LOW], "*", "colour", "red", NULL);
    ask("HINCRBY", "sh:{enrich}:counters", "enqueued", "1", NULL);
    const struct job *job = read_one("me", &batch);
    cr_assert_null(job->id.data);
    cr_assert_eq(queue_job_check(job, &err), STATUS_INVALID);
    cr_assert_eq(bury_as("me", job, "malformed"), QUEUE_MOVED);
    cr_assert_str_eq(first_field(queue.dead, "colour"), "red");
    cr_assert_str_eq(first_field(queue.dead, "attempts"), "1");
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_retry, missing_fields_are_named)
{
    struct job job = {.id = text("a"), .domain = text("x"), .attempt = 0};

    cr_assert_eq(queue_job_check(&job, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "options"));
    job.options_text = text("");
    cr_assert_eq(queue_job_check(&job, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "body"));
    job.body = text("");
    OK(queue_job_check(&job, &err));
}

BOOKED_TEST(queue_retry, an_entry_that_was_deleted_while_it_ran_is_lost_to_retry_and_bury)
{
    struct queue_batch batch = {0};

    add("a", "");
    const struct job *job = read_one("me", &batch);
    ask("XDEL", queue.stream[JOB_NORMAL], first_entry(queue.stream[JOB_NORMAL]), NULL);
    cr_assert_eq(retry_as("me", job, 0, false), QUEUE_LOST);
    cr_assert_eq(bury_as("me", job, "rejected"), QUEUE_LOST);
    cr_assert_eq(finish_as("me", job), QUEUE_MOVED);
    queue_batch_free(&batch);
}

/* ---- parked jobs, by hand ------------------------------------------------------------------ */

/* Parks job `id` for ten minutes. */
static void park(const char *id, const char *options, enum operation operation)
{
    struct queue_batch batch = {0};
    struct error error = {0};

    add(id, options);
    struct queue_end item = {.job = read_one("me", &batch),
                             .delay_ms = 600000,
                             .parked = true,
                             .operation = operation,
                             .tried = true};
    cr_assert_eq(queue_retry(conn, held_by("me"), &item, 1, &error), STATUS_OK, "%s", error.text);
    cr_assert_eq(item.fate, QUEUE_MOVED);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_retry, parked_jobs_are_seen_with_what_they_wait_for_and_released_by_hand)
{
    struct queue_parked parked;
    struct error error = {0};
    int64_t released = 0;

    park("a", "", OPERATION_WRITE);
    park("b", "unique=u", OPERATION_WRITE);
    park("c", "", OPERATION_EMBED);
    add("sleeper", "delay_ms=600000");
    cr_assert_eq(queue_get_parked(conn, &queue, &parked, &error), STATUS_OK, "%s", error.text);
    cr_assert_eq(parked.count, 2);
    cr_assert(parked.is_all);
    for (size_t i = 0; i < parked.count; i++) {
        const bool writes = strcmp(parked.each[i].operation, "chroma.write") == 0;
        cr_assert(writes || strcmp(parked.each[i].operation, "embedder.embed") == 0);
        cr_assert_eq(parked.each[i].jobs, writes ? 2 : 1);
    }
    cr_assert_eq(promote(NULL), 0);
    cr_assert_eq(queue_unpark(conn, &queue, &released, &error), STATUS_OK, "%s", error.text);
    cr_assert_eq(released, 3);
    cr_assert_eq(promote(NULL), 3);
    cr_assert_eq(stats().delayed, 1, "who only sleeps goes on sleeping");
    cr_assert_eq(queue_unpark(conn, &queue, &released, &error), STATUS_OK, "%s", error.text);
    cr_assert_eq(released, 0);
}

BOOKED_TEST(queue_retry, a_unique_key_that_reads_like_a_first_time_is_kept_to_the_letter)
{
    struct queue_batch batch = {0};

    for (int i = 0; i < 2; i++) { /* the second gets a serial behind its `since` */
        add("same", "unique=since=5.17 delay_ms=1 since=5");
        ask("DEL", "sh:{enrich}:unique:since=5.17", NULL);
    }
    clock_sleep_ms(3);
    for (size_t left = 2; left > 0;) {
        left -= promote(NULL);
    }
    read_jobs("me", 2, &batch);
    cr_assert_eq(batch.count, 2);
    for (size_t i = 0; i < 2; i++) {
        OK(queue_job_check(&batch.jobs[i], &err));
        assert_slice(batch.jobs[i].options.unique, "since=5.17");
        cr_assert_eq(finish_as("me", &batch.jobs[i]), QUEUE_MOVED);
    }
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_retry, more_jobs_than_one_call_looks_at_are_released_in_several)
{
    struct queue_parked parked;
    struct error error = {0};
    int64_t released = 0;

    for (int i = 0; i < 1200; i++) {
        char id[24];
        snprintf(id, sizeof id, "sleeper-%d", i);
        add(id, "delay_ms=500000");
    }
    park("a", "", OPERATION_WRITE);
    cr_assert_eq(queue_get_parked(conn, &queue, &parked, &error), STATUS_OK, "%s", error.text);
    cr_assert_not(parked.is_all);
    cr_assert_eq(queue_unpark(conn, &queue, &released, &error), STATUS_OK, "%s", error.text);
    cr_assert_eq(released, 1);
    cr_assert_eq(promote(NULL), 1);
}
