/* What the janitor does to a queue: promotes, takes over, tidies up consumers. On a real Redis. */
#include "queue/enqueue.h"
#include "queue/operate.h"
#include "queue/settle.h"
#include "queue/take.h"
#include "queue_fixture.h"

static struct error err;

TestSuite(queue_janitor, .init = queue_setup, .fini = queue_teardown, .timeout = 60);

/* ---- promote ------------------------------------------------------------------------------- */

BOOKED_TEST(queue_janitor, due_jobs_are_promoted_to_the_stream_of_their_priority)
{
    struct queue_batch batch = {0};
    int64_t next_ms = 0;

    add("soon", "delay_ms=1 priority=low unique=u");
    add("later", "delay_ms=60000");
    const int64_t until_ms = clock_now_ms() + 5000;
    while (promote(&next_ms) == 0) {
        cr_assert_lt(clock_now_ms(), until_ms);
    }
    cr_assert_gt(next_ms, 50000);
    cr_assert_leq(next_ms, 60000);
    cr_assert_eq(stats().delayed, 1);

    const struct job *job = read_one("me", &batch);
    assert_slice(job->id, "soon");
    assert_slice(job->body, "body");
    assert_slice(job->options.unique, "u");
    cr_assert_eq(job->stream, JOB_LOW);
    cr_assert_gt(job->options.since_unix_ms, 0);
    cr_assert_eq(finish_as("me", job), QUEUE_MOVED);
    queue_batch_free(&batch);
}

/* Whoever was woken for the first took its token and died. */
BOOKED_TEST(queue_janitor, a_job_that_nobody_promoted_in_time_keeps_no_other_from_waking_somebody)
{
    add("first", "delay_ms=1");
    ask("DEL", "sh:{enrich}:wake", NULL);
    add("soon_after", "delay_ms=2000");
    cr_assert_str_eq(ask("EXISTS", "sh:{enrich}:wake", NULL), "0", "one token was enough");
    clock_sleep_ms(1100);
    add("much_later", "delay_ms=60000");
    cr_assert_str_eq(ask("EXISTS", "sh:{enrich}:wake", NULL), "0", "the second is due before it");
    add("late", "delay_ms=1");
    cr_assert_str_eq(ask("EXISTS", "sh:{enrich}:wake", NULL), "1", "one is due that nobody moves");
}

BOOKED_TEST(queue_janitor, nothing_delayed_means_no_next_one)
{
    int64_t next_ms = 0;

    cr_assert_eq(promote(&next_ms), 0);
    cr_assert_eq(next_ms, -1);
}

BOOKED_TEST(queue_janitor, at_most_limit_jobs_are_promoted_in_a_call)
{
    struct queue_promotion due;

    for (int i = 0; i < 5; i++) {
        add("a", "delay_ms=1");
    }
    const int64_t until_ms = clock_now_ms() + 5000;
    size_t total = 0;
    while (total < 5) {
        OK(queue_promote(conn, &queue, 2, &due, &err));
        cr_assert_leq(due.moved, 2);
        total += due.moved;
        cr_assert_lt(clock_now_ms(), until_ms);
    }
    cr_assert_eq(due.next_ms, -1);
    OK(queue_promote(conn, &queue, 100000, &due, &err));
    cr_assert_eq(queue_promote(conn, &queue, 0, &due, &err), STATUS_INVALID);
}

BOOKED_TEST(queue_janitor, bodies_with_any_bytes_come_through_the_delayed_set)
{
    static const char body[] = "line\n\0\xff\n line";
    struct queue_batch batch = {0};
    struct queue_answer answer;
    const struct queue_item item = {
        text("a"), text("legal"), text("delay_ms=1"), {body, sizeof body}};

    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, &err));
    const int64_t until_ms = clock_now_ms() + 5000;
    while (promote(NULL) == 0) {
        cr_assert_lt(clock_now_ms(), until_ms);
    }
    const struct job *job = read_one("me", &batch);
    cr_assert_eq(job->body.bytes, sizeof body);
    cr_assert_eq(memcmp(job->body.data, body, sizeof body), 0);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_janitor, a_foreign_member_of_delayed_is_buried_and_does_not_stand_in_the_way)
{
    ask("ZADD", queue.delayed, "1", "junk", NULL);
    ask("HINCRBY", "sh:{enrich}:counters", "enqueued", "1", NULL);
    cr_assert_eq(promote(NULL), 1);
    cr_assert_str_eq(first_field(queue.dead, "reason"), "malformed");
    cr_assert_str_eq(first_field(queue.dead, "body"), "junk");
    cr_assert_eq(stats().delayed, 0);
}

/* ---- takeovers ----------------------------------------------------------------------------- */

static size_t reclaim(const char *consumer, int64_t visibility_ms, int64_t max_deliveries,
                      struct queue_batch *batch)
{
    char cursor[48] = "0-0";
    size_t buried = 0;

    OK(queue_reclaim(conn, &queue,
                     &(const struct queue_takeover){JOB_NORMAL, consumer, "worker-2", visibility_ms,
                                                    max_deliveries, 100, true},
                     cursor, batch, &buried, &err));
    cr_assert_str_eq(cursor, "0-0");
    return buried;
}

BOOKED_TEST(queue_janitor, an_idle_job_is_taken_over_and_its_old_holder_is_fenced_off)
{
    struct queue_batch batch = {0};
    struct queue_batch taken = {0};

    add("a", "");
    const struct job held = *read_one("me", &batch);
    cr_assert_eq(reclaim("you", 60000, 5, &taken), 0);
    cr_assert_eq(taken.count, 0, "it was not idle for so long");
    cr_assert_eq(reclaim("you", 0, 5, &taken), 0);
    cr_assert_eq(taken.count, 1);
    assert_slice(taken.jobs[0].id, "a");
    cr_assert_eq(taken.jobs[0].deliveries, 2);
    cr_assert_eq(counter("reclaimed"), 1);
    cr_assert_eq(finish_as("me", &held), QUEUE_LOST);
    cr_assert_eq(finish_as("you", &taken.jobs[0]), QUEUE_MOVED);
    queue_batch_free(&taken);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_janitor, its_own_late_holder_is_fenced_off_by_the_count)
{
    struct queue_batch batch = {0};
    struct queue_batch taken = {0};

    add("a", "");
    const struct job held = *read_one("me", &batch);
    (void)reclaim("me", 0, 5, &taken);
    cr_assert_eq(finish_as("me", &held), QUEUE_LOST);
    cr_assert_eq(finish_as("me", &taken.jobs[0]), QUEUE_MOVED);
    queue_batch_free(&taken);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_janitor, a_job_that_kills_its_workers_is_buried_as_a_crash_loop)
{
    struct queue_batch batch = {0};

    add("killer", "");
    add("fine", "");
    (void)read_one("me", &batch);
    cr_assert_eq(reclaim("me", 0, 3, &batch), 0);
    cr_assert_eq(batch.jobs[1].deliveries, 2);
    assert_slice(read_one("me", &batch)->id, "fine");
    cr_assert_eq(reclaim("me", 0, 3, &batch), 0);
    cr_assert_eq(batch.jobs[3].deliveries, 3);
    cr_assert_eq(reclaim("me", 0, 3, &batch), 1);
    cr_assert_eq(batch.count, 5);
    assert_slice(batch.jobs[4].id, "fine");

    cr_assert_str_eq(first_field(queue.dead, "id"), "killer");
    cr_assert_str_eq(first_field(queue.dead, "reason"), "crash_loop");
    cr_assert_str_eq(first_field(queue.dead, "error"), "handed out 3 times without an end");
    cr_assert_str_eq(first_field(queue.dead, "attempts"), "0");
    cr_assert_str_eq(first_field(queue.dead, "deliveries"), "3");
    cr_assert_str_eq(first_field(queue.dead, "worker"), "worker-2");
    cr_assert_eq(counter("buried"), 1);
    cr_assert_eq(counter("reclaimed"), 3);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_janitor, a_crash_loop_names_the_phase_and_the_worker_that_died_last)
{
    struct queue_batch batch = {0};

    add("killer", "");
    (void)read_one("me", &batch);
    (void)reclaim("me", 0, 2, &batch);
    const struct job *taken = &batch.jobs[1];
    OK(queue_write_phase(conn, held_by("host-7.0"), "embed", (struct queue_jobs){&taken, 1}, &err));
    OK(queue_write_phase(conn, held_by("host-7.0"), "upsert", (struct queue_jobs){&taken, 1},
                         &err));
    cr_assert_eq(reclaim("me", 0, 2, &batch), 1);
    cr_assert_str_eq(first_field(queue.dead, "error"),
                     "handed out 2 times without an end; the last worker, \"host-7.0\", died in "
                     "phase \"upsert\"");
    cr_assert_str_eq(first_field(queue.dead, "worker"), "host-7.0");
    cr_assert_str_eq(ask("EXISTS", "sh:{enrich}:phase:killer", NULL), "0");
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_janitor, notes_of_a_phase_are_erased_and_end_by_themselves)
{
    struct queue_batch batch = {0};

    add("a", "");
    const struct job *held = read_one("me", &batch);
    OK(queue_write_phase(conn, held_by("host-7.0"), "embed", (struct queue_jobs){&held, 1}, &err));
    cr_assert_gt(strtol(ask("PTTL", "sh:{enrich}:phase:a", NULL), NULL, 10), 0);
    OK(queue_erase_phase(conn, &queue, (struct queue_jobs){&held, 1}, &err));
    cr_assert_str_eq(ask("EXISTS", "sh:{enrich}:phase:a", NULL), "0");
    queue_batch_free(&batch);
}

/* Takes over stale jobs, suspects only if wanted; each call begins a new pass. */
static size_t take_over(bool suspects, struct queue_batch *batch)
{
    char cursor[48] = "0-0";
    size_t buried = 0;
    const struct queue_takeover takeover = {JOB_NORMAL, "me", "w", 0, 5, 100, suspects};

    queue_batch_reset(batch);
    OK(queue_reclaim(conn, &queue, &takeover, cursor, batch, &buried, &err));
    cr_assert_eq(buried, 0);
    return batch->count;
}

BOOKED_TEST(queue_janitor,
            a_job_that_was_handed_out_twice_comes_alone_and_only_to_who_takes_suspects)
{
    struct queue_batch batch = {0};

    add("a", "");
    add("b", "");
    add("c", "");
    read_jobs("me", 2, &batch);
    cr_assert_eq(take_over(false, &batch), 2, "handed out once is not suspicious");
    read_jobs("me", 1, &batch);
    cr_assert_eq(take_over(false, &batch), 1);
    assert_slice(batch.jobs[0].id, "c");
    cr_assert_eq(take_over(false, &batch), 0, "three suspects for one who takes none");
    cr_assert_eq(take_over(true, &batch), 1);
    assert_slice(batch.jobs[0].id, "a");
    cr_assert_eq(batch.jobs[0].deliveries, 3);
    cr_assert(queue_is_suspect(&batch.jobs[0], 5));
    cr_assert_eq(finish_as("me", &batch.jobs[0]), QUEUE_MOVED);
    cr_assert_eq(take_over(true, &batch), 1);
    assert_slice(batch.jobs[0].id, "b");
    cr_assert_eq(batch.jobs[0].deliveries, 3, "waiting its turn counted as a delivery");
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_janitor, a_stale_job_behind_ten_thousand_fresh_ones_is_found_in_one_pass)
{
    enum { FRESH = 10000 };
    struct queue_batch batch = {0};
    struct queue_batch taken = {0};
    char cursor[48] = "0-0";
    size_t buried = 0;
    const struct queue_takeover takeover = {JOB_NORMAL, "you", "w", 60000, 5, 64, true};

    for (int i = 0; i < FRESH; i++) {
        char id[16];
        snprintf(id, sizeof id, "fresh-%d", i);
        add(id, "");
    }
    for (int i = 0; i < FRESH; i += 1000) {
        read_jobs("me", 1000, &batch);
    }
    add("stale", "");
    const struct job stale = *read_one("me", &batch);
    ask("XCLAIM", queue.stream[JOB_NORMAL], "fleet", "me", "0", stale.entry.data, "IDLE", "60001",
        "JUSTID", NULL);
    do {
        OK(queue_reclaim(conn, &queue, &takeover, cursor, &taken, &buried, &err));
    } while (strcmp(cursor, "0-0") != 0);
    cr_assert_eq(taken.count, 1);
    assert_slice(taken.jobs[0].id, "stale");
    queue_batch_free(&taken);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_janitor, the_cursor_walks_through_a_long_list)
{
    enum { JOBS = 25 };
    struct queue_batch batch = {0};
    struct queue_batch taken = {0};
    char cursor[48] = "0-0";
    size_t buried = 0;
    int calls = 0;

    for (int i = 0; i < JOBS; i++) {
        add("a", "");
    }
    read_jobs("me", JOBS, &batch);
    do {
        OK(queue_reclaim(conn, &queue,
                         &(const struct queue_takeover){JOB_NORMAL, "you", "w", 0, 5, 10, true},
                         cursor, &taken, &buried, &err));
        calls++;
    } while (strcmp(cursor, "0-0") != 0 && calls < 10);
    cr_assert_eq(calls, 3);
    cr_assert_eq(taken.count, JOBS);
    cr_assert_eq(taken.reply_count, 3);
    queue_batch_free(&taken);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_janitor, a_deleted_entry_is_not_handed_out)
{
    struct queue_batch batch = {0};
    struct queue_batch taken = {0};

    add("a", "");
    add("b", "");
    read_jobs("me", 2, &batch);
    ask("XDEL", queue.stream[JOB_NORMAL], first_entry(queue.stream[JOB_NORMAL]), NULL);
    ask("HINCRBY", "sh:{enrich}:counters", "enqueued", "-1", NULL);
    (void)reclaim("you", 0, 5, &taken);
    cr_assert_eq(taken.count, 1);
    assert_slice(taken.jobs[0].id, "b");
    queue_batch_free(&taken);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_janitor, without_a_group_there_is_nothing_to_take_over)
{
    struct queue_batch taken = {0};

    ask("DEL", queue.stream[JOB_NORMAL], NULL);
    cr_assert_eq(reclaim("me", 0, 5, &taken), 0);
    cr_assert_eq(taken.count, 0);
    queue_batch_free(&taken);
}

BOOKED_TEST(queue_janitor, a_paused_queue_is_left_alone)
{
    struct queue_batch batch = {0};
    struct queue_batch taken = {0};
    int64_t next_ms = 0;

    add("due", "delay_ms=1");
    add("held", "");
    (void)read_one("me", &batch);
    OK(queue_pause(conn, &queue, true, &err));
    cr_assert(stats().paused);
    ask("ZADD", queue.delayed, "XX", "1", "none", NULL);
    clock_sleep_ms(3);
    struct queue_promotion none;
    OK(queue_promote(conn, &queue, 1, &none, &err));
    cr_assert(none.paused && none.moved == 0 && none.next_ms == -1);
    (void)reclaim("you", 0, 5, &taken);
    cr_assert_eq(taken.count, 0);

    OK(queue_pause(conn, &queue, false, &err));
    cr_assert_not(stats().paused);
    (void)reclaim("you", 0, 5, &taken);
    cr_assert_eq(taken.count, 1);
    cr_assert_eq(promote(&next_ms), 1);
    queue_batch_free(&taken);
    queue_batch_free(&batch);
}

/* ---- consumers ----------------------------------------------------------------------------- */

static size_t consumers(enum job_priority stream)
{
    redisReply *reply = ask_reply("XINFO", "CONSUMERS", queue.stream[stream], "fleet", NULL);
    const size_t count = reply->elements;

    redis_reply_free(reply);
    return count;
}

BOOKED_TEST(queue_janitor, a_consumer_leaves_only_where_it_holds_nothing)
{
    struct queue_batch batch = {0};

    add("a", "");
    add("b", "priority=high");
    read_jobs("me", 1, &batch);
    cr_assert_eq(batch.count, 2);
    cr_assert_eq(batch.jobs[0].stream, JOB_HIGH);
    cr_assert_eq(finish_as("me", &batch.jobs[0]), QUEUE_MOVED);
    OK(queue_leave(conn, &queue, "me", &err));
    cr_assert_eq(consumers(JOB_HIGH), 0);
    cr_assert_eq(consumers(JOB_NORMAL), 1);
    cr_assert_eq(finish_as("me", &batch.jobs[1]), QUEUE_MOVED, "its job went with it");
    OK(queue_leave(conn, &queue, "me", &err));
    OK(queue_leave(conn, &queue, "nobody", &err));
    cr_assert_eq(consumers(JOB_NORMAL), 0);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_janitor, idle_consumers_that_hold_nothing_are_reaped)
{
    struct queue_batch batch = {0};
    size_t removed = 0;

    add("a", "");
    read_jobs("busy", 1, &batch);
    ask("XGROUP", "CREATECONSUMER", queue.stream[JOB_NORMAL], "fleet", "idle", NULL);
    ask("XGROUP", "CREATECONSUMER", queue.stream[JOB_HIGH], "fleet", "idle", NULL);
    ask("XGROUP", "CREATECONSUMER", queue.stream[JOB_NORMAL], "fleet", "idler", NULL);
    OK(queue_reap(conn, &queue, 60000, &removed, &err));
    cr_assert_eq(removed, 0);
    OK(queue_reap(conn, &queue, 0, &removed, &err));
    cr_assert_geq(removed, 2, "from 7.2 on, busy has consumers in the other streams too");
    cr_assert_eq(consumers(JOB_HIGH), 0);
    cr_assert_eq(consumers(JOB_NORMAL), 1);
    cr_assert_eq(finish_as("busy", &batch.jobs[0]), QUEUE_MOVED);
    ask("DEL", queue.stream[JOB_HIGH], NULL);
    OK(queue_reap(conn, &queue, 0, &removed, &err));
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_janitor, too_many_consumers_to_be_listed_leave_together_where_none_holds_a_job)
{
    enum { MANY = 5001 };
    struct queue_batch batch = {0};
    size_t removed = 0;

    add("a", "");
    read_jobs("busy", 1, &batch);
    for (int i = 0; i < MANY; i++) {
        struct redis_args args = {0};
        char name[16];
        snprintf(name, sizeof name, "w%d", i);
        const char *const words[] = {"XGROUP", "CREATECONSUMER", queue.stream[JOB_NORMAL], "fleet",
                                     name};
        for (size_t w = 0; w < sizeof words / sizeof words[0]; w++) {
            redis_args_str(&args, words[w]);
        }
        OK(redis_conn_append(conn, &args, &err));
        redis_args_free(&args);
    }
    for (int i = 0; i < MANY; i++) {
        redisReply *reply = NULL;
        OK(redis_conn_collect(conn, &reply, &err));
        redis_reply_free(reply);
    }
    OK(queue_reap(conn, &queue, 0, &removed, &err));
    cr_assert_eq(consumers(JOB_NORMAL), MANY + 1, "one of them holds a job");
    cr_assert_eq(finish_as("busy", &batch.jobs[0]), QUEUE_MOVED);
    OK(queue_reap(conn, &queue, 0, &removed, &err));
    cr_assert_eq(consumers(JOB_NORMAL), 0);
    add("b", "");
    read_jobs("busy", 1, &batch);
    cr_assert_eq(batch.count, 2);
    assert_slice(batch.jobs[1].id, "b");
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_janitor, preparing_twice_is_fine_and_a_wrong_type_is_told)
{
    OK(queue_prepare(conn, &queue, &err));
    ask("DEL", queue.stream[JOB_LOW], NULL);
    OK(queue_prepare(conn, &queue, &err));
    cr_assert_eq(consumers(JOB_LOW), 0);
    ask("DEL", queue.stream[JOB_LOW], NULL);
    ask("SET", queue.stream[JOB_LOW], "x", NULL);
    cr_assert_eq(queue_prepare(conn, &queue, &err), STATUS_REFUSED);
    ask("DEL", queue.stream[JOB_LOW], NULL);
}

BOOKED_TEST(queue_janitor, jobs_that_came_before_the_group_are_seen)
{
    struct queue_batch batch = {0};

    ask("DEL", queue.stream[JOB_NORMAL], NULL);
    add("early", "");
    OK(queue_prepare(conn, &queue, &err));
    assert_slice(read_one("me", &batch)->id, "early");
    queue_batch_free(&batch);
}
