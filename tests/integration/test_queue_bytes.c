/* What a call moves is bounded in bytes, not in jobs alone: Redis serves nobody else meanwhile. */
#include "queue/enqueue.h"
#include "queue/operate.h"
#include "queue/settle.h"
#include "queue/take.h"
#include "queue_fixture.h"

static struct error err;

TestSuite(queue_bytes, .init = queue_setup, .fini = queue_teardown, .timeout = 60);

enum { LARGE = 300 * 1024, LARGE_JOBS = 12, A_CALL = 4 /* LARGE ones, 1 MiB and what goes over */ };

static char large[LARGE];

static void add_large(size_t count, const char *options)
{
    memset(large, 'x', sizeof large);
    for (size_t i = 0; i < count; i++) {
        char id[16];
        struct queue_answer answer;
        snprintf(id, sizeof id, "large-%zu", i);
        const struct queue_item item = {
            text(id), text("legal"), text(options), {large, sizeof large}};
        OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, &err));
        cr_assert_not(answer.full);
    }
}

/* How often Redis ran a command since the last look. */
static long long calls_of(const char *command)
{
    char head[64];

    redisReply *reply = ask_reply("INFO", "commandstats", NULL);
    snprintf(head, sizeof head, "cmdstat_%s:calls=", command);
    const char *found = strstr(reply->str, head);
    const long long calls = found == NULL ? 0 : atoll(found + strlen(head));
    redis_reply_free(reply);
    ask("CONFIG", "RESETSTAT", NULL);
    return calls;
}

static void read_large(struct queue_batch *batch)
{
    add_large(LARGE_JOBS, "");
    read_jobs("me", LARGE_JOBS, batch);
    cr_assert_eq(batch->count, LARGE_JOBS);
    (void)calls_of("fcall");
}

static void bury_large(void)
{
    struct queue_batch batch = {0};
    struct queue_end items[LARGE_JOBS];

    read_large(&batch);
    for (size_t i = 0; i < LARGE_JOBS; i++) {
        items[i] = (struct queue_end){
            .job = &batch.jobs[i], .reason = "rejected", .error = "it did not work"};
    }
    OK(queue_bury(conn, held_by("me"), items, LARGE_JOBS, &err));
    cr_assert_geq(calls_of("fcall"), LARGE_JOBS / A_CALL);
    cr_assert_eq(stats().dead, LARGE_JOBS);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_bytes, a_call_promotes_about_a_mebibyte_and_says_that_more_are_due)
{
    struct queue_promotion due;

    add_large(LARGE_JOBS, "delay_ms=1");
    clock_sleep_ms(3);
    OK(queue_promote(conn, &queue, 1000, &due, &err));
    cr_assert_eq(due.moved, A_CALL);
    cr_assert_eq(due.next_ms, 0);
    for (size_t total = due.moved; total < LARGE_JOBS; total += due.moved) {
        OK(queue_promote(conn, &queue, 1000, &due, &err));
        cr_assert_gt(due.moved, 0);
    }
    cr_assert_eq(due.next_ms, -1);
    cr_assert_eq(stats().waiting, LARGE_JOBS);
}

BOOKED_TEST(queue_bytes, jobs_are_buried_and_requeued_in_as_many_calls_as_their_bytes_need)
{
    struct slice entries[LARGE_JOBS + 1] = {text("1-1")}; /* one that is no letter */
    size_t moved = 0;

    bury_large();
    redisReply *letters = ask_reply("XRANGE", queue.dead, "-", "+", NULL);
    for (size_t i = 0; i < LARGE_JOBS; i++) {
        const redisReply *entry = letters->element[i]->element[0];
        entries[i + 1] = (struct slice){entry->str, (size_t)entry->len};
    }
    OK(queue_requeue(conn, &queue, (struct queue_letters){entries, LARGE_JOBS + 1}, &moved, &err));
    redis_reply_free(letters);
    cr_assert_eq(moved, LARGE_JOBS);
    cr_assert_geq(calls_of("fcall"), LARGE_JOBS / A_CALL);
    cr_assert_eq(stats().waiting, LARGE_JOBS);
    cr_assert_eq(counter("requeued"), LARGE_JOBS);
}

BOOKED_TEST(queue_bytes, jobs_are_delayed_and_given_back_in_as_many_calls_as_their_bytes_need)
{
    struct queue_batch batch = {0};
    struct queue_end items[LARGE_JOBS];
    const struct job *jobs[LARGE_JOBS];
    size_t released = 0;

    read_large(&batch);
    for (size_t i = 0; i < LARGE_JOBS; i++) {
        jobs[i] = &batch.jobs[i];
    }
    released = release_as("me", jobs, LARGE_JOBS, true);
    cr_assert_eq(released, LARGE_JOBS);
    cr_assert_geq(calls_of("fcall"), LARGE_JOBS / A_CALL);
    queue_batch_reset(&batch);

    read_jobs("me", LARGE_JOBS, &batch);
    for (size_t i = 0; i < LARGE_JOBS; i++) {
        items[i] = (struct queue_end){.job = &batch.jobs[i], .delay_ms = 60000};
    }
    OK(queue_retry(conn, held_by("me"), items, LARGE_JOBS, &err));
    cr_assert_geq(calls_of("fcall"), LARGE_JOBS / A_CALL);
    cr_assert_eq(stats().delayed, LARGE_JOBS);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_bytes, large_replies_are_pushed_in_several_calls)
{
    struct queue_batch batch = {0};
    struct queue_end items[LARGE_JOBS];

    add_large(LARGE_JOBS, "reply=1");
    read_jobs("me", LARGE_JOBS, &batch);
    (void)calls_of("fcall");
    for (size_t i = 0; i < LARGE_JOBS; i++) {
        items[i] = (struct queue_end){.job = &batch.jobs[i], .reply = {large, sizeof large}};
    }
    OK(queue_finish(conn, held_by("me"), items, LARGE_JOBS, &err));
    cr_assert_geq(calls_of("fcall"), LARGE_JOBS / A_CALL);
    cr_assert_eq(counter("done"), LARGE_JOBS);
    cr_assert_str_eq(ask("LLEN", "sh:{enrich}:reply:large-11", NULL), "1");
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_bytes, a_call_takes_over_about_a_mebibyte_and_its_cursor_stands_at_the_rest)
{
    struct queue_batch batch = {0};
    struct queue_batch taken = {0};
    char cursor[48] = "0-0";
    size_t buried = 0;
    const struct queue_takeover takeover = {JOB_NORMAL, "you", "worker-2", 0, 5, 100, true};

    read_large(&batch);
    OK(queue_reclaim(conn, &queue, &takeover, cursor, &taken, &buried, &err));
    cr_assert_eq(taken.count, A_CALL);
    assert_slice(batch.jobs[A_CALL].entry, cursor);
    cr_assert_eq(counter("reclaimed"), A_CALL);

    OK(queue_reclaim(conn, &queue, &takeover, cursor, &taken, &buried, &err));
    OK(queue_reclaim(conn, &queue, &takeover, cursor, &taken, &buried, &err));
    cr_assert_eq(taken.count, LARGE_JOBS);
    cr_assert_str_eq(cursor, "0-0");
    for (size_t i = 0; i < LARGE_JOBS; i++) {
        cr_assert_eq(taken.jobs[i].deliveries, 2, "to be put off counted as a delivery");
        cr_assert_eq(finish_as("you", &taken.jobs[i]), QUEUE_MOVED);
    }
    queue_batch_free(&taken);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_bytes, a_call_buries_about_a_mebibyte_of_what_crashed_too_often)
{
    struct queue_batch batch = {0};
    struct queue_batch taken = {0};
    char cursor[48] = "0-0";
    size_t buried = 0;
    const struct queue_takeover takeover = {JOB_NORMAL, "you", "worker-2", 0, 1, 100, true};

    read_large(&batch);
    OK(queue_reclaim(conn, &queue, &takeover, cursor, &taken, &buried, &err));
    cr_assert_eq(buried, A_CALL);
    for (int i = 0; i < 2; i++) {
        cr_assert_str_neq(cursor, "0-0");
        OK(queue_reclaim(conn, &queue, &takeover, cursor, &taken, &buried, &err));
    }
    cr_assert_str_eq(cursor, "0-0");
    cr_assert_eq(taken.count, 0);
    cr_assert_eq(counter("buried"), LARGE_JOBS);
    queue_batch_free(&taken);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_bytes, letters_are_trimmed_without_a_look_at_them_and_counted_exactly)
{
    size_t gone = 0;

    bury_large();
    ask("CONFIG", "RESETSTAT", NULL);
    trim_dead(LARGE_JOBS - 2, 0, &gone);
    cr_assert_eq(gone, 2);
    trim_dead(0, 3600000, &gone);
    cr_assert_eq(gone, 0, "nothing is an hour old");
    clock_sleep_ms(5);
    trim_dead(0, 1, &gone);
    cr_assert_eq(gone, LARGE_JOBS - 2);
    cr_assert_eq(calls_of("xrange"), 0);
    cr_assert_eq(counter("discarded"), LARGE_JOBS);
}

BOOKED_TEST(queue_bytes, identical_delayed_jobs_cost_two_tries_each_and_keep_their_since)
{
    enum { COPIES = 500 };
    struct queue_item items[COPIES];
    struct queue_answer answers[COPIES];
    struct queue_batch batch = {0};
    const int64_t now_ms = clock_unix_ms();

    for (size_t i = 0; i < COPIES; i++) {
        items[i] =
            (struct queue_item){text("same"), text("legal"), text("delay_ms=1"), text("body")};
    }
    ask("CONFIG", "RESETSTAT", NULL);
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, COPIES}, answers, &err));
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, COPIES}, answers, &err));
    cr_assert_leq(calls_of("zadd"), 4 * COPIES);
    cr_assert_eq(stats().delayed, 2 * COPIES);

    clock_sleep_ms(3);
    for (size_t left = 2 * COPIES; left > 0;) {
        left -= promote(NULL);
    }
    read_jobs("me", 2 * COPIES, &batch);
    cr_assert_eq(batch.count, 2 * COPIES);
    for (size_t i = 0; i < batch.count; i++) {
        OK(queue_job_check(&batch.jobs[i], &err));
        cr_assert_lt(llabs(batch.jobs[i].options.since_unix_ms - now_ms), 60000);
    }
    queue_batch_free(&batch);
}

/* ---- the memory that jobs and letters may take -------------------------------------------------
 */

BOOKED_TEST(queue_bytes, a_backlog_is_bounded_in_bytes_for_whoever_adds_to_it)
{
    size_t taken = 0;
    struct queue_answer answer = {0};
    const struct queue_item item = {text("a"), text("legal"), text(""), {large, sizeof large}};
    const struct queue_item delayed = {
        text("a"), text("legal"), text("delay_ms=60000"), {large, sizeof large}};

    OK(queue_limit_bytes(conn, &queue, 3 * 1024 * 1024, &err));
    for (; !answer.full; taken++) {
        cr_assert_lt(taken, 20, "there is no bound");
        OK(queue_enqueue(conn,
                         &(struct queue_items){&queue, 0, taken % 2 == 0 ? &item : &delayed, 1},
                         &answer, &err));
    }
    taken--;
    cr_assert_geq(taken, 8);
    cr_assert_leq(taken, 10);
    cr_assert_eq(counter("refused"), 1);
    ask("CONFIG", "RESETSTAT", NULL);
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, &err));
    cr_assert(answer.full);
    cr_assert_eq(calls_of("memory|usage"), 0, "a full queue is looked at once");

    finish_waiting("me", 2);
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, &err));
    cr_assert_not(answer.full, "there is room again");
}

BOOKED_TEST(queue_bytes, a_large_job_that_has_no_room_keeps_no_door_open_or_shut_for_small_ones)
{
    enum { SMALL = 8 * 1024, A_TIME = 100, TIMES = 20 };
    struct queue_item items[A_TIME];
    struct queue_answer answers[A_TIME] = {0};
    struct queue_answer answer;
    const struct queue_item too_large = {text("a"), text("legal"), text(""), {large, sizeof large}};
    size_t taken = 0;

    for (size_t i = 0; i < A_TIME; i++) {
        items[i] = (struct queue_item){text("a"), text("legal"), text(""), {large, SMALL}};
    }
    OK(queue_limit_bytes(conn, &queue, sizeof large, &err));
    add("first", "");
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, &too_large, 1}, &answer, &err));
    cr_assert(answer.full);
    for (size_t times = 0; times < TIMES; times++) {
        OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, A_TIME}, answers, &err));
        for (size_t i = 0; i < A_TIME; i++) {
            taken += !answers[i].full;
        }
    }
    cr_assert_gt(taken, 20);
    cr_assert_leq(taken, sizeof large / SMALL);
    finish_waiting("me", 12);
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, 1}, answers, &err));
    cr_assert_not(answers[0].full, "there is room again");
}

BOOKED_TEST(queue_bytes, of_a_call_goes_in_what_has_room_and_without_a_bound_all)
{
    struct queue_item items[LARGE_JOBS];
    struct queue_answer answers[LARGE_JOBS];
    size_t full = 0;

    for (size_t i = 0; i < LARGE_JOBS; i++) {
        items[i] = (struct queue_item){text("a"), text("legal"), text(""), {large, sizeof large}};
    }
    OK(queue_limit_bytes(conn, &queue, 1024 * 1024, &err));
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, LARGE_JOBS}, answers, &err));
    for (size_t i = 0; i < LARGE_JOBS; i++) {
        full += answers[i].full;
        cr_assert_eq(answers[i].full, i >= 3);
    }
    cr_assert_eq(counter("refused"), (int64_t)full);
    finish_waiting("me", 3);

    OK(queue_limit_bytes(conn, &queue, 0, &err));
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, LARGE_JOBS}, answers, &err));
    cr_assert_not(answers[LARGE_JOBS - 1].full);
}

BOOKED_TEST(queue_bytes, small_jobs_far_from_the_bound_are_not_weighed)
{
    add("first", "");
    ask("CONFIG", "RESETSTAT", NULL);
    for (int i = 0; i < 500; i++) {
        add("more", "");
    }
    cr_assert_eq(calls_of("memory|usage"), 0);
}

BOOKED_TEST(queue_bytes, dead_letters_are_bounded_in_bytes_too)
{
    const struct queue_dead_bounds bounds = {.bytes = 1024 * 1024};
    size_t gone = 1;
    size_t total = 0;

    bury_large();
    for (; gone > 0; total += gone) {
        OK(queue_trim_dead(conn, &queue, &bounds, &gone, &err));
    }
    cr_assert_eq(stats().dead, LARGE_JOBS - (int64_t)total);
    cr_assert_geq(stats().dead, 2);
    cr_assert_leq(stats().dead, 3);
    cr_assert_eq(counter("discarded"), (int64_t)total);
}

/* ---- walks over more than a call looks at -----------------------------------------------------
 */

/* Calls a function with its cursor until it ends; the sum of its numbers. */
static long long walk_to_the_end(const char *function, const char *first, const char *end)
{
    char cursor[64];
    long long total = 0;

    snprintf(cursor, sizeof cursor, "%s", first);
    for (int calls = 0; strcmp(cursor, end) != 0; calls++) {
        cr_assert_lt(calls, 2 * LARGE_JOBS, "%s does not end", function);
        redisReply *reply = ask_reply("FCALL", function, "1", queue.base, cursor, NULL);
        cr_assert(reply->type == REDIS_REPLY_ARRAY && reply->elements == 2, "%s", function);
        const redisReply *next = reply->element[0];
        if (next->type == REDIS_REPLY_INTEGER) {
            snprintf(cursor, sizeof cursor, "%lld", next->integer);
        } else {
            snprintf(cursor, sizeof cursor, "%s", next->str);
        }
        total += reply->element[1]->integer;
        redis_reply_free(reply);
    }
    return total;
}

BOOKED_TEST(queue_bytes, a_walk_over_mebibytes_of_orphans_ends_also_where_none_is_put_back)
{
    struct queue_batch batch = {0};

    read_large(&batch);
    add("between", "");
    add("behind", "");
    read_jobs("between", 2, &batch);
    for (size_t i = 0; i < LARGE_JOBS; i++) {
        ask("XACK", queue.stream[JOB_NORMAL], "fleet", batch.jobs[i].entry.data, NULL);
    }
    cr_assert_eq(walk_to_the_end("sh_orphans", "0", ""), LARGE_JOBS);
    ask("ACL", "SETUSER", "default", "-xadd", NULL);
    cr_assert_eq(walk_to_the_end("sh_adopt", "0", ""), 0);
    ask("ACL", "SETUSER", "default", "+xadd", NULL);
    for (size_t i = 0; i < 2; i++) {
        cr_assert_eq(finish_as("between", &batch.jobs[LARGE_JOBS + i]), QUEUE_MOVED);
    }
    cr_assert_eq(walk_to_the_end("sh_orphans", "0", ""), LARGE_JOBS, "none runs behind them");
    cr_assert_eq(walk_to_the_end("sh_adopt", "0", ""), LARGE_JOBS);
    finish_waiting("heir", LARGE_JOBS);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_bytes, parked_jobs_are_released_whatever_becomes_due_between_two_calls)
{
    struct queue_batch batch = {0};
    struct queue_end items[LARGE_JOBS];
    long long released;

    read_large(&batch);
    for (size_t i = 0; i < LARGE_JOBS; i++) {
        items[i] = (struct queue_end){.job = &batch.jobs[i],
                                      .delay_ms = 600000,
                                      .parked = true,
                                      .operation = OPERATION_WRITE,
                                      .tried = true};
    }
    OK(queue_retry(conn, held_by("me"), items, LARGE_JOBS, &err));
    add_large(A_CALL, "delay_ms=300");
    redisReply *reply = ask_reply("FCALL", "sh_unpark", "1", queue.base, "0", NULL);
    char passed[32];
    snprintf(passed, sizeof passed, "%lld", reply->element[0]->integer);
    released = reply->element[1]->integer;
    redis_reply_free(reply);
    clock_sleep_ms(350);
    released += walk_to_the_end("sh_unpark", passed, "-1");
    cr_assert_eq(released, LARGE_JOBS);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_bytes, twins_of_large_jobs_look_at_about_a_mebibyte_of_them)
{
    struct queue_item items[LARGE_JOBS];
    struct queue_answer answers[LARGE_JOBS];
    char options[LARGE_JOBS][16];

    for (size_t i = 0; i < LARGE_JOBS; i++) {
        snprintf(options[i], sizeof options[i], "unique=u%zu", i);
        items[i] =
            (struct queue_item){text("a"), text("legal"), text(options[i]), {large, sizeof large}};
    }
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, LARGE_JOBS}, answers, &err));
    for (size_t i = 0; i < LARGE_JOBS; i++) {
        items[i].id = text("twin");
    }
    for (int again = 0; again < 2; again++) {
        ask("CONFIG", "RESETSTAT", NULL);
        OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, LARGE_JOBS}, answers, &err));
        cr_assert_eq(calls_of("xrange"), A_CALL);
    }
    cr_assert_eq(counter("deduplicated"), 2 * LARGE_JOBS);
}

/* ---- what is not known, or too much ------------------------------------------------------------
 */

BOOKED_TEST(queue_bytes, what_a_consumer_does_not_know_of_is_for_the_next_and_no_death)
{
    struct queue_batch batch = {0};
    struct queue_batch taken = {0};
    char cursor[48] = "0-0";
    size_t yielded = 0;
    size_t buried = 0;
    const struct queue_takeover takeover = {JOB_NORMAL, "you", "worker-2", 60000, 5, 100, true};

    add("a", "");
    add("b", "");
    read_jobs("me", 2, &batch);
    OK(queue_yield(conn, &queue, "nobody", &yielded, &err));
    cr_assert_eq(yielded, 0);
    OK(queue_yield(conn, &queue, "me", &yielded, &err));
    cr_assert_eq(yielded, 2);
    OK(queue_reclaim(conn, &queue, &takeover, cursor, &taken, &buried, &err));
    cr_assert_eq(taken.count, 2);
    cr_assert_eq(taken.jobs[0].deliveries, 1);
    cr_assert_eq(finish_as("you", &taken.jobs[0]), QUEUE_MOVED);
    queue_batch_free(&taken);
    queue_batch_free(&batch);
}
