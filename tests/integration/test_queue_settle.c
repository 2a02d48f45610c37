#include "queue/enqueue.h"
#include "queue/settle.h"
#include "queue/take.h"
#include "queue_fixture.h"

static struct error err;

TestSuite(queue_settle, .init = queue_setup, .fini = queue_teardown, .timeout = 60);

/* ---- finish -------------------------------------------------------------------------------- */

BOOKED_TEST(queue_settle, only_the_holder_finishes_a_job)
{
    struct queue_batch batch = {0};

    add("a", "");
    struct job job = *read_one("me", &batch);
    cr_assert_eq(finish_as("you", &job), QUEUE_LOST);
    job.deliveries = 2;
    cr_assert_eq(finish_as("me", &job), QUEUE_LOST);
    job.deliveries = 1;
    job.stream = JOB_HIGH;
    cr_assert_eq(finish_as("me", &job), QUEUE_LOST);
    cr_assert_eq(counter("done"), 0);
    cr_assert_eq(stats().running, 1);

    job.stream = JOB_NORMAL;
    cr_assert_eq(finish_as("me", &job), QUEUE_MOVED);
    cr_assert_eq(finish_as("me", &job), QUEUE_LOST, "finished twice");
    cr_assert_eq(counter("done"), 1);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_settle, a_job_that_is_named_twice_in_a_call_is_finished_once)
{
    struct queue_batch batch = {0};

    add("a", "");
    const struct job *job = read_one("me", &batch);
    struct queue_end items[] = {{.job = job}, {.job = job}};
    OK(queue_finish(conn, held_by("me"), items, 2, &err));
    cr_assert_eq(items[0].fate, QUEUE_MOVED);
    cr_assert_eq(items[1].fate, QUEUE_LOST);
    cr_assert_eq(counter("done"), 1);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_settle, the_fence_finds_jobs_among_many_others_of_the_same_consumer)
{
    enum { JOBS = 60 };
    struct queue_batch batch = {0};
    char id[16];

    for (int i = 0; i < JOBS; i++) {
        snprintf(id, sizeof id, "job-%d", i);
        add(id, "");
    }
    read_jobs("me", JOBS, &batch);
    cr_assert_eq(batch.count, JOBS);
    struct queue_end items[] = {
        {.job = &batch.jobs[JOBS - 1]}, {.job = &batch.jobs[0]}, {.job = &batch.jobs[JOBS / 2]}};
    OK(queue_finish(conn, held_by("me"), items, 3, &err));
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(items[i].fate, QUEUE_MOVED);
    }
    cr_assert_eq(counter("done"), 3);
    cr_assert_eq(stats().running, JOBS - 3);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_settle, entry_ids_are_compared_as_numbers)
{
    static const char *const entries[] = {"9-1", "9-9", "9-10", "10-1", "100000000000000000-1"};
    struct queue_batch batch = {0};
    struct queue_end items[5];
    static const int order[] = {3, 1, 4, 0, 2};

    for (int i = 0; i < 5; i++) {
        cr_assert_str_eq(ask("XADD", queue.stream[JOB_NORMAL], entries[i], "id", "a", "domain", "x",
                             "attempt", "0", "options", "", "body", "", NULL),
                         entries[i]);
    }
    ask("HINCRBY", "sh:{enrich}:counters", "enqueued", "5", NULL);
    read_jobs("me", 5, &batch);
    cr_assert_eq(batch.count, 5);
    for (int i = 0; i < 5; i++) {
        items[i] = (struct queue_end){.job = &batch.jobs[order[i]]};
    }
    OK(queue_finish(conn, held_by("me"), items, 5, &err));
    for (int i = 0; i < 5; i++) {
        cr_assert_eq(items[i].fate, QUEUE_MOVED, "%d", i);
    }
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_settle, done_and_expired_are_counted_apart)
{
    struct queue_batch batch = {0};

    add("a", "deadline_ms=1");
    add("b", "");
    read_jobs("me", 10, &batch);
    struct queue_end items[] = {{.job = &batch.jobs[0], .expired = true}, {.job = &batch.jobs[1]}};
    OK(queue_finish(conn, held_by("me"), items, 2, &err));
    cr_assert_eq(counter("expired"), 1);
    cr_assert_eq(counter("done"), 1);
    cr_assert_eq(stats().running, 0);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_settle, an_empty_reply_is_a_reply)
{
    struct queue_batch batch = {0};
    struct strbuf out = {0};

    add("a", "reply=1");
    struct queue_end item = {.job = read_one("me", &batch), .reply = {"", 0}};
    OK(queue_finish(conn, held_by("me"), &item, 1, &err));
    OK(queue_await_reply(conn, &queue, "a", 0, &out, &err));
    cr_assert_eq(out.bytes, 0);
    strbuf_free(&out);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_settle, more_jobs_than_a_call_takes_are_sent_in_several)
{
    enum { JOBS = 1300, HALF = JOBS / 2 };
    struct queue_item *items = calloc(HALF, sizeof *items);
    struct queue_answer *answers = calloc(HALF, sizeof *answers);
    struct queue_end none = {0};

    cr_assert(items != NULL && answers != NULL);
    for (int i = 0; i < HALF; i++) {
        items[i] = (struct queue_item){text("same"), text("x"), text(""), text("")};
    }
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, HALF}, answers, &err));
    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, items, HALF}, answers, &err));
    finish_waiting("me", JOBS);
    cr_assert_eq(counter("done"), JOBS);
    OK(queue_finish(conn, held_by("me"), &none, 0, &err));
    free(answers);
    free(items);
}

BOOKED_TEST(queue_settle, without_a_group_every_job_is_lost_and_nothing_breaks)
{
    struct queue_batch batch = {0};
    size_t alive = 1;

    add("a", "");
    const struct job *job = read_one("me", &batch);
    ask("XGROUP", "DESTROY", queue.stream[JOB_NORMAL], "fleet", NULL);
    cr_assert_eq(finish_as("me", job), QUEUE_LOST);
    cr_assert_eq(retry_as("me", job, 0, false), QUEUE_LOST);
    cr_assert_eq(bury_as("me", job, "rejected"), QUEUE_LOST);
    OK(queue_heartbeat(conn, held_by("me"), (struct queue_jobs){&job, 1}, &alive, &err));
    cr_assert_eq(alive, 0);
    cr_assert_eq(stats().waiting, 1);
    queue_batch_free(&batch);
}

/* ---- unique keys and twins ----------------------------------------------------------------- */

static bool is_free(const char *key)
{
    return strcmp(ask("EXISTS", key, NULL), "0") == 0;
}

BOOKED_TEST(queue_settle, every_end_frees_the_unique_key)
{
    struct queue_batch batch = {0};
    const char *key = "sh:{enrich}:unique:k";

    add("done", "unique=k");
    cr_assert_not(is_free(key));
    cr_assert_eq(finish_as("me", read_one("me", &batch)), QUEUE_MOVED);
    cr_assert(is_free(key));

    add("expired", "unique=k");
    struct queue_end item = {.job = read_one("me", &batch), .expired = true};
    OK(queue_finish(conn, held_by("me"), &item, 1, &err));
    cr_assert(is_free(key));

    add("buried", "unique=k");
    cr_assert_eq(bury_as("me", read_one("me", &batch), "rejected"), QUEUE_MOVED);
    cr_assert(is_free(key));

    add("loops", "unique=k");
    (void)read_one("me", &batch);
    char cursor[48] = "0-0";
    size_t buried = 0;
    OK(queue_reclaim(conn, &queue,
                     &(const struct queue_takeover){JOB_NORMAL, "you", "w", 0, 1, 10, true}, cursor,
                     &batch, &buried, &err));
    cr_assert_eq(buried, 1);
    cr_assert(is_free(key));
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_settle, a_retry_keeps_the_unique_key_for_its_delay_and_a_day)
{
    struct queue_batch batch = {0};

    add("a", "unique=k");
    cr_assert_eq(retry_as("me", read_one("me", &batch), 86400000, false), QUEUE_MOVED);
    cr_assert_gt(atoll(ask("PTTL", "sh:{enrich}:unique:k", NULL)), 172000000);
    cr_assert_str_eq(add_bounded(0, "b", "unique=k").id, "a");
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_settle, a_key_that_went_to_another_job_meanwhile_is_left_to_it)
{
    struct queue_batch batch = {0};

    add("a", "unique=k");
    ask("SET", "sh:{enrich}:unique:k", "other", NULL);
    cr_assert_eq(finish_as("me", read_one("me", &batch)), QUEUE_MOVED);
    cr_assert_str_eq(ask("GET", "sh:{enrich}:unique:k", NULL), "other");
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_settle, a_twin_that_asked_late_makes_the_job_wanted)
{
    struct queue_batch batch = {0};
    struct strbuf out = {0};

    add("first", "unique=k");
    const struct job *job = read_one("me", &batch);
    cr_assert_str_eq(add_bounded(0, "second", "unique=k reply=1").id, "first");
    cr_assert_eq(finish_as("me", job), QUEUE_MOVED_WANTED);
    OK(queue_push_wanted(conn, &queue, job->id, text("late"), &err));
    OK(queue_push_wanted(conn, &queue, job->id, text("nobody waits any more"), &err));
    OK(queue_await_reply(conn, &queue, "first", 0, &out, &err));
    cr_assert_str_eq(out.data, "late");
    cr_assert_str_eq(ask("KEYS", "sh:{enrich}:wanted:*", NULL), "[0]");
    cr_assert_eq(queue_push_wanted(conn, &queue, text("no id"), text("x"), &err), STATUS_INVALID);
    strbuf_free(&out);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_settle, a_job_that_answered_already_is_not_wanted)
{
    struct queue_batch batch = {0};

    add("first", "unique=k reply=1");
    cr_assert_str_eq(add_bounded(0, "second", "unique=k reply=1").id, "first");
    struct queue_end item = {.job = read_one("me", &batch), .reply = text("r")};
    OK(queue_finish(conn, held_by("me"), &item, 1, &err));
    cr_assert_eq(item.fate, QUEUE_MOVED);
    cr_assert_str_eq(ask("LRANGE", "sh:{enrich}:reply:first", "0", "-1", NULL), "[1]");
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_settle, a_twin_s_asker_is_known_even_when_the_key_ran_out)
{
    struct queue_batch batch = {0};

    add("first", "unique=k");
    cr_assert_str_eq(add_bounded(0, "second", "unique=k reply=1").id, "first");
    ask("DEL", "sh:{enrich}:unique:k", NULL);
    cr_assert_eq(finish_as("me", read_one("me", &batch)), QUEUE_MOVED_WANTED);
    queue_batch_free(&batch);
}

/* ---- release and heartbeat ----------------------------------------------------------------- */

BOOKED_TEST(queue_settle, a_released_job_is_taken_at_once_with_the_delivery_uncounted)
{
    struct queue_batch batch = {0};
    char cursor[48] = "0-0";
    size_t released = 0;
    size_t buried = 0;

    add("a", "");
    const struct job held = *read_one("me", &batch);
    const struct job *jobs[] = {&held};
    released = release_as("you", jobs, 1, false);
    cr_assert_eq(released, 0);
    released = release_as("me", jobs, 1, false);
    cr_assert_eq(released, 1);
    cr_assert_eq(finish_as("me", &held), QUEUE_LOST, "it was given away");

    struct queue_batch taken = {0};
    OK(queue_reclaim(conn, &queue,
                     &(const struct queue_takeover){JOB_NORMAL, "you", "w", 60000, 1, 10, true},
                     cursor, &taken, &buried, &err));
    cr_assert_eq(taken.count, 1);
    cr_assert_eq(buried, 0);
    cr_assert_eq(taken.jobs[0].deliveries, 1);
    cr_assert_eq(finish_as("you", &taken.jobs[0]), QUEUE_MOVED);
    queue_batch_free(&taken);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_settle, a_job_released_again_stands_at_the_tail_as_never_delivered)
{
    struct queue_batch batch = {0};
    size_t released = 0;
    char since[64];

    add("a", "priority=low");
    const struct job held = *read_one("me", &batch);
    const struct job *jobs[] = {&held, &held};
    add("b", "priority=low");
    released = release_as("me", jobs, 2, true);
    cr_assert_eq(released, 1);
    cr_assert_eq(stats().waiting, 2);
    cr_assert_eq(stats().running, 0);

    snprintf(since, sizeof since, "priority=low since=%lld", atoll(held.entry.data));
    assert_slice(read_one("you", &batch)->id, "b");
    const struct job *job = read_one("you", &batch);
    assert_slice(job->id, "a");
    assert_slice(job->options_text, since);
    cr_assert_eq(job->deliveries, 1);
    cr_assert_eq(job->attempt, 0);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_settle, a_heartbeat_resets_idle_and_nothing_else)
{
    struct queue_batch batch = {0};
    size_t alive = 0;

    add("a", "");
    add("b", "priority=high");
    read_jobs("me", 1, &batch);
    const struct job *jobs[] = {&batch.jobs[0], &batch.jobs[1]};
    alive = release_as("me", jobs, 0, false);
    ask("XCLAIM", queue.stream[JOB_NORMAL], "fleet", "me", "0",
        first_entry(queue.stream[JOB_NORMAL]), "IDLE", "50000", "JUSTID", NULL);
    OK(queue_heartbeat(conn, held_by("me"), (struct queue_jobs){jobs, 2}, &alive, &err));
    cr_assert_eq(alive, 2);

    redisReply *reply =
        ask_reply("XPENDING", queue.stream[JOB_NORMAL], "fleet", "-", "+", "10", NULL);
    cr_assert_eq(reply->elements, 1);
    cr_assert_lt(reply->element[0]->element[2]->integer, 40000);
    cr_assert_eq(reply->element[0]->element[3]->integer, 1, "the delivery count moved");
    redis_reply_free(reply);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_settle, a_heartbeat_does_not_steal_a_job_back)
{
    struct queue_batch batch = {0};
    struct queue_batch taken = {0};
    char cursor[48] = "0-0";
    size_t buried = 0;
    size_t alive = 1;

    add("a", "");
    const struct job held = *read_one("me", &batch);
    const struct job *jobs[] = {&held};
    OK(queue_reclaim(conn, &queue,
                     &(const struct queue_takeover){JOB_NORMAL, "you", "w", 0, 5, 10, true}, cursor,
                     &taken, &buried, &err));
    OK(queue_heartbeat(conn, held_by("me"), (struct queue_jobs){jobs, 1}, &alive, &err));
    cr_assert_eq(alive, 0);
    cr_assert_eq(finish_as("me", &held), QUEUE_LOST);
    cr_assert_eq(finish_as("you", &taken.jobs[0]), QUEUE_MOVED);
    queue_batch_free(&taken);
    queue_batch_free(&batch);
}

/* ---- calls that no wrapper makes ----------------------------------------------------------- */

BOOKED_TEST(queue_settle, malformed_calls_of_the_fleet_are_refused)
{
    const char *base = queue.base;
    static const char *const calls[][9] = {
        {"sh_finish", "me", NULL},
        {"sh_done", "me", "1", "1", NULL},
        {"sh_done", "me", "3", "1", "1-1", NULL},
        {"sh_done", "me", "1", "often", "1-1", NULL},
        {"sh_finish", "me", "1", "1-1", "1", NULL},
        {"sh_retry", "me", "3", "1-1", "1", "0", "0", NULL},
        {"sh_retry", "me", "1", "junk", "1", "0", "0", NULL},
        {"sh_heartbeat", "me", "x", "1-1", "1", NULL},
        {"sh_release", "me", "soon", "0", "1", "1-1", "1", NULL},
        {"sh_reclaim", "0", "me", "w", "1", NULL},
        {"sh_promote", "0", NULL},
        {"sh_promote", NULL},
        {"sh_reap", "x", NULL},
        {"sh_pause", "yes", NULL},
        {"sh_requeue", NULL},
        {"sh_requeue", "junk", NULL},
        {"sh_discard", "1-", NULL},
        {"sh_rate", "1", "2", NULL},
        {"sh_lease_take", "", "5", NULL},
        {"sh_lease_renew", "me", "0", NULL},
        {"sh_reply", "a", NULL},
    };

    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        const char *const *c = calls[i];
        const char *answer =
            ask("FCALL", c[0], "1", base, c[1], c[2], c[3], c[4], c[5], c[6], c[7], NULL);
        cr_assert_eq(strncmp(answer, "SHINVALID ", 10), 0, "call %zu %s: %s", i, c[0], answer);
    }
}

/* ---- the short call -------------------------------------------------------------------------- */

BOOKED_TEST(queue_settle, plain_jobs_that_were_taken_over_are_lost_and_the_others_done)
{
    struct queue_batch batch = {0};
    struct queue_batch taken = {0};
    struct queue_end items[3] = {{0}};
    char cursor[48] = "0-0";
    size_t buried = 0;
    const struct queue_takeover takeover = {JOB_NORMAL, "you", "w", 0, 5, 1, true};

    add("a", "");
    add("b", "");
    add("c", "");
    read_jobs("me", 3, &batch);
    OK(queue_reclaim(conn, &queue, &takeover, cursor, &taken, &buried, &err));
    cr_assert_eq(taken.count, 1);
    for (size_t i = 0; i < 3; i++) {
        items[i].job = &batch.jobs[i];
    }
    OK(queue_finish(conn, held_by("me"), items, 3, &err));
    cr_assert_eq(items[0].fate, QUEUE_LOST);
    cr_assert_eq(items[1].fate, QUEUE_MOVED);
    cr_assert_eq(items[2].fate, QUEUE_MOVED);
    cr_assert_eq(counter("done"), 2);
    cr_assert_eq(stats().running, 1);
    queue_batch_free(&taken);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_settle, in_a_batch_of_all_kinds_each_ends_as_it_must)
{
    struct queue_batch batch = {0};
    struct queue_end items[6] = {{0}};

    add("plain-1", "");
    add("awaited", "reply=1");
    add("plain-2", "");
    add("unique", "unique=u");
    add("expired", "");
    add("high", "priority=high");
    read_jobs("me", 5, &batch);
    cr_assert_eq(batch.count, 6);
    for (size_t i = 0; i < 6; i++) {
        items[i].job = &batch.jobs[i];
    }
    assert_slice(batch.jobs[0].id, "high");
    items[2].reply = text("r");
    items[5].expired = true;
    OK(queue_finish(conn, held_by("me"), items, 6, &err));
    for (size_t i = 0; i < 6; i++) {
        cr_assert_eq(items[i].fate, QUEUE_MOVED, "%zu", i);
    }
    cr_assert_eq(counter("done"), 5);
    cr_assert_eq(counter("expired"), 1);
    cr_assert_str_eq(ask("LLEN", "sh:{enrich}:reply:awaited", NULL), "1");
    cr_assert_str_eq(ask("EXISTS", "sh:{enrich}:unique:u", NULL), "0");
    cr_assert_eq(stats().running, 0);
    queue_batch_free(&batch);
}
