#include "queue/enqueue.h"
#include "queue/operate.h"
#include "queue/settle.h"
#include "queue/take.h"
#include "queue_fixture.h"

static struct error err;

TestSuite(queue_operate, .init = queue_setup, .fini = queue_teardown, .timeout = 60);

/* ---- stats --------------------------------------------------------------------------------- */

BOOKED_TEST(queue_operate, stats_of_a_queue_that_never_was_are_all_zero)
{
    static const struct queue_stats nothing;

    OK(queue_init(&queue, "sh", "never", &err));
    const struct queue_stats now = stats();
    cr_assert_eq(memcmp(&now, &nothing, sizeof now), 0);
    cr_assert_str_eq(ask("KEYS", "sh:{never}*", NULL), "[0]");
}

BOOKED_TEST(queue_operate, stats_are_a_flat_list_in_the_published_order)
{
    char shown[512] = "";

    redisReply *reply = ask_reply("FCALL_RO", "sh_stats", "1", queue.base, NULL);
    flatten(reply, shown, sizeof shown);
    redis_reply_free(reply);
    cr_assert_str_eq(shown, "waiting 0 running 0 delayed 0 dead 0 paused 0 oldest_ms 0 enqueued 0 "
                            "deduplicated 0 refused 0 done 0 retried 0 buried 0 expired 0 "
                            "reclaimed 0 requeued 0 discarded 0 parked 0 reset 0 "
                            "adjusted 0");
}

BOOKED_TEST(queue_operate, stats_count_every_state)
{
    struct queue_batch batch = {0};

    add("dead", "");
    cr_assert_eq(bury_as("me", read_one("me", &batch), "rejected"), QUEUE_MOVED);
    add("runs", "priority=high");
    (void)read_one("me", &batch);
    add("waits", "priority=low");
    add("waits-too", "");
    add("later", "delay_ms=60000");
    const struct queue_stats now = stats();
    cr_assert_eq(now.waiting, 2);
    cr_assert_eq(now.running, 1);
    cr_assert_eq(now.delayed, 1);
    cr_assert_eq(now.dead, 1);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_operate, without_a_group_all_jobs_wait)
{
    add("a", "");
    ask("XGROUP", "DESTROY", queue.stream[JOB_NORMAL], "fleet", NULL);
    cr_assert_eq(stats().waiting, 1);
    cr_assert_eq(stats().running, 0);
}

BOOKED_TEST(queue_operate, the_oldest_waiting_job_has_an_age)
{
    struct queue_batch batch = {0};
    char old[32];
    char older[32];

    snprintf(older, sizeof older, "%lld-0", (long long)clock_unix_ms() - 100000);
    snprintf(old, sizeof old, "%lld-0", (long long)clock_unix_ms() - 50000);
    ask("XADD", queue.stream[JOB_NORMAL], older, "id", "a", NULL);
    ask("XADD", queue.stream[JOB_NORMAL], old, "id", "b", NULL);
    ask("HINCRBY", "sh:{enrich}:counters", "enqueued", "2", NULL);
    cr_assert_geq(stats().oldest_ms, 100000);
    cr_assert_lt(stats().oldest_ms, 150000);
    (void)read_one("me", &batch);
    cr_assert_geq(stats().oldest_ms, 50000);
    cr_assert_lt(stats().oldest_ms, 100000, "a running job does not wait");
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_operate, the_balance_tells_what_is_missing)
{
    struct queue_stats out = {.waiting = 2, .running = 3, .delayed = 4, .dead = 5};

    out.counters[QUEUE_ENQUEUED] = 100;
    out.counters[QUEUE_DONE] = 50;
    out.counters[QUEUE_BURIED] = 20;
    out.counters[QUEUE_EXPIRED] = 1;
    out.counters[QUEUE_REQUEUED] = 7;
    out.counters[QUEUE_DISCARDED] = 1;
    const struct queue_balance balance = queue_check_balance(&out);
    cr_assert_eq(balance.jobs, 100 + 7 - (50 + 20 + 1 + 2 + 3 + 4));
    cr_assert_eq(balance.dead, 20 - (5 + 7 + 1));
}

/* ---- dead letters -------------------------------------------------------------------------- */

static struct slice dead_entry(void)
{
    return text(first_entry(queue.dead));
}

BOOKED_TEST(queue_operate, a_requeued_job_starts_anew)
{
    struct queue_batch batch = {0};
    size_t moved = 0;
    char expected[96];

    add("a", "priority=high deadline_ms=1 traceparent=t");
    const struct job *job = read_one("me", &batch);
    snprintf(expected, sizeof expected, "priority=high traceparent=t since=%lld",
             atoll(job->entry.data));
    cr_assert_eq(retry_as("me", job, 0, false), QUEUE_MOVED);
    (void)promote(NULL);
    cr_assert_eq(bury_as("me", read_one("me", &batch), "retries_exhausted"), QUEUE_MOVED);
    cr_assert_str_eq(first_field(queue.dead, "attempts"), "2");

    const struct slice entries[] = {dead_entry(), dead_entry(), text("1-1")};
    OK(queue_requeue(conn, &queue, (struct queue_letters){entries, 3}, &moved, &err));
    cr_assert_eq(moved, 1);
    cr_assert_eq(counter("requeued"), 1);
    cr_assert_eq(stats().dead, 0);
    job = read_one("me", &batch);
    cr_assert_eq(job->stream, JOB_HIGH);
    cr_assert_eq(job->attempt, 0);
    assert_slice(job->id, "a");
    assert_slice(job->body, "body");
    assert_slice(job->options_text, expected);
    cr_assert_eq(finish_as("me", job), QUEUE_MOVED);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_operate, a_job_that_was_buried_at_once_keeps_its_first_time_when_requeued)
{
    struct queue_batch batch = {0};
    size_t moved = 0;

    add("a", "");
    const struct job *job = read_one("me", &batch);
    const long long since = atoll(job->entry.data);
    cr_assert_eq(bury_as("me", job, "rejected"), QUEUE_MOVED);
    const struct slice entry = dead_entry();
    OK(queue_requeue(conn, &queue, (struct queue_letters){&entry, 1}, &moved, &err));
    cr_assert_eq(read_one("me", &batch)->options.since_unix_ms, since);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_operate, a_requeued_job_takes_its_unique_key_again_unless_a_twin_is_outstanding)
{
    struct queue_batch batch = {0};
    size_t moved = 0;

    add("first", "unique=k");
    cr_assert_eq(bury_as("me", read_one("me", &batch), "rejected"), QUEUE_MOVED);
    struct slice entry = dead_entry();
    OK(queue_requeue(conn, &queue, (struct queue_letters){&entry, 1}, &moved, &err));
    cr_assert_eq(strncmp(ask("GET", "sh:{enrich}:unique:k", NULL), "first ", 6), 0);
    const struct job *job = read_one("me", &batch);
    assert_slice(job->options.unique, "k");
    cr_assert_eq(bury_as("me", job, "rejected"), QUEUE_MOVED);

    add("second", "unique=k");
    entry = dead_entry();
    OK(queue_requeue(conn, &queue, (struct queue_letters){&entry, 1}, &moved, &err));
    cr_assert_eq(strncmp(ask("GET", "sh:{enrich}:unique:k", NULL), "second ", 7), 0);
    read_jobs("me", 2, &batch);
    cr_assert_eq(batch.count, 4);
    assert_slice(batch.jobs[3].id, "first");
    cr_assert_null(batch.jobs[3].options.unique.data);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_operate, a_malformed_dead_letter_can_be_requeued_and_is_malformed_again)
{
    struct queue_batch batch = {0};
    size_t moved = 0;

    ask("XADD", queue.stream[JOB_NORMAL], "*", "colour", "red", NULL);
    ask("HINCRBY", "sh:{enrich}:counters", "enqueued", "1", NULL);
    cr_assert_eq(bury_as("me", read_one("me", &batch), "malformed"), QUEUE_MOVED);
    const struct slice entry = dead_entry();
    OK(queue_requeue(conn, &queue, (struct queue_letters){&entry, 1}, &moved, &err));
    const struct job *job = read_one("me", &batch);
    cr_assert_eq(queue_job_check(job, &err), STATUS_INVALID);
    cr_assert_eq(bury_as("me", job, "malformed"), QUEUE_MOVED);
    queue_batch_free(&batch);
}

BOOKED_TEST(queue_operate, discarded_letters_are_gone_and_counted_once)
{
    struct queue_batch batch = {0};
    size_t moved = 0;

    add("a", "");
    add("b", "");
    read_jobs("me", 2, &batch);
    cr_assert_eq(bury_as("me", &batch.jobs[0], "rejected"), QUEUE_MOVED);
    cr_assert_eq(bury_as("me", &batch.jobs[1], "rejected"), QUEUE_MOVED);
    const struct slice entries[] = {dead_entry(), text("1-1"), dead_entry()};
    OK(queue_discard(conn, &queue, (struct queue_letters){entries, 3}, &moved, &err));
    cr_assert_eq(moved, 1);
    OK(queue_discard(conn, &queue, (struct queue_letters){entries, 0}, &moved, &err));
    cr_assert_eq(moved, 0);
    cr_assert_eq(counter("discarded"), 1);
    cr_assert_eq(stats().dead, 1);
    cr_assert_eq(queue_discard(conn, &queue, (struct queue_letters){entries, 1001}, &moved, &err),
                 STATUS_INVALID);
    queue_batch_free(&batch);
}

/* ---- the function library ------------------------------------------------------------------ */

static void load_version(const char *version)
{
    char code[256];

    snprintf(code, sizeof code,
             "#!lua name=stillhouse\nredis.register_function{function_name='sh_version', "
             "callback=function() return %s end, flags={'no-writes'}}",
             version);
    cr_assert_str_eq(ask("FUNCTION", "LOAD", "REPLACE", code, NULL), "stillhouse");
}

BOOKED_TEST(queue_operate, the_library_is_loaded_when_missing_or_older_and_left_when_newer)
{
    bool loaded = true;

    OK(queue_install(conn, &loaded, &err));
    cr_assert_not(loaded);
    cr_assert_str_eq(ask("FUNCTION", "FLUSH", NULL), "OK");
    OK(queue_install(conn, &loaded, &err));
    cr_assert(loaded);
    load_version("0");
    OK(queue_install(conn, &loaded, &err));
    cr_assert(loaded);
    cr_assert_eq(stats().waiting, 0);

    load_version("1000000");
    OK(queue_install(conn, &loaded, &err));
    cr_assert_not(loaded);
    load_version("'text'");
    cr_assert_eq(queue_install(conn, &loaded, &err), STATUS_GARBLED);
    load_version("0");
    OK(queue_install(conn, NULL, &err));
}

BOOKED_TEST(queue_operate, a_user_who_may_not_load_functions_is_told)
{
    struct redis_url url;

    cr_assert_str_eq(
        ask("ACL", "SETUSER", "weak", "on", ">pw", "~*", "+info", "+select", "+ping", NULL), "OK");
    OK(redis_url_parse(redis.url, &url, &err));
    snprintf(url.user, sizeof url.user, "weak");
    snprintf(url.password, sizeof url.password, "pw");
    struct redis_conn *weak = redis_conn_new(&url, (struct redis_timeouts){3000, 3000});
    cr_assert_not_null(weak);
    cr_assert_eq(queue_install(weak, NULL, &err), STATUS_REFUSED);
    cr_assert_not_null(strstr(err.text, "NOPERM"), "%s", err.text);
    redis_conn_free(weak);
}

/* ---- out of memory ------------------------------------------------------------------------- */

/* `count` dead letters, by way of a consumer. */
static void kill_jobs(int count)
{
    for (int i = 0; i < count; i++) {
        struct queue_batch batch = {0};
        char id[16];
        snprintf(id, sizeof id, "dead-%d", i);
        add(id, "");
        struct queue_end item = {.job = read_one("me", &batch), .reason = "rejected", .error = "x"};
        OK(queue_bury(conn, held_by("me"), &item, 1, &err));
        queue_batch_free(&batch);
    }
}

BOOKED_TEST(queue_operate, dead_letters_over_their_number_leave_the_oldest_first_and_are_counted)
{
    size_t gone = 0;

    kill_jobs(5);
    trim_dead(5, 0, &gone);
    cr_assert_eq(gone, 0);
    trim_dead(2, 0, &gone);
    cr_assert_eq(gone, 3);
    cr_assert_eq(stats().dead, 2);
    cr_assert_eq(counter("discarded"), 3);
    cr_assert_str_eq(first_field(queue.dead, "id"), "dead-3");
}

BOOKED_TEST(queue_operate, dead_letters_over_their_age_leave_and_others_stay)
{
    size_t gone = 0;

    kill_jobs(2);
    trim_dead(0, 60000, &gone);
    cr_assert_eq(gone, 0);
    trim_dead(0, 0, &gone);
    cr_assert_eq(gone, 0, "no bound");
    clock_sleep_ms(5); /* older than a millisecond */
    trim_dead(0, 1, &gone);
    cr_assert_eq(gone, 2);
    cr_assert_eq(stats().dead, 0);
}

BOOKED_TEST(queue_operate, out_of_memory_nothing_comes_in_and_everything_can_end)
{
    struct queue_batch batch = {0};
    struct queue_answer answer;
    size_t alive = 0;
    const struct queue_item item = {text("new"), text("legal"), text(""), text("b")};

    add("done", "unique=u reply=1");
    add("again", "");
    add("released", "");
    add("retried", "");
    add("buried", "");
    add("delayed", "delay_ms=1 unique=v");
    read_jobs("me", 5, &batch);
    cr_assert_eq(batch.count, 5);
    cr_assert_str_eq(ask("CONFIG", "SET", "maxmemory", "1", NULL), "OK");

    cr_assert_eq(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, &err),
                 STATUS_OOM);
    struct queue_end retry = {.job = &batch.jobs[3]};
    OK(queue_retry(conn, held_by("me"), &retry, 1, &err));
    cr_assert_eq(retry.fate, QUEUE_MOVED);
    struct queue_end bury = {.job = &batch.jobs[4], .reason = "rejected", .error = "x"};
    OK(queue_bury(conn, held_by("me"), &bury, 1, &err));
    cr_assert_eq(bury.fate, QUEUE_MOVED);
    const struct job *jobs[] = {&batch.jobs[0], &batch.jobs[1], &batch.jobs[2]};
    OK(queue_heartbeat(conn, held_by("me"), (struct queue_jobs){jobs, 3}, &alive, &err));
    cr_assert_eq(alive, 3);
    struct queue_end finish = {.job = &batch.jobs[0], .reply = text("r")};
    OK(queue_finish(conn, held_by("me"), &finish, 1, &err));
    cr_assert_eq(finish.fate, QUEUE_MOVED);
    alive = release_as("me", &jobs[1], 1, true);
    cr_assert_eq(alive, 1);
    alive = release_as("me", &jobs[2], 1, false);
    cr_assert_eq(alive, 1);
    struct queue_batch taken = {0};
    char cursor[48] = "0-0";
    size_t buried = 0;
    OK(queue_reclaim(conn, &queue,
                     &(const struct queue_takeover){JOB_NORMAL, "you", "w", 1000, 5, 10, true},
                     cursor, &taken, &buried, &err));
    cr_assert_eq(taken.count, 1);
    OK(queue_prepare(conn, &queue, &err));
    clock_sleep_ms(2); /* until it is due */
    cr_assert_eq(promote(NULL), 2, "the delayed one and the one that failed");
    OK(queue_push_token(conn, queue.call, &err)); /* worth no failure */
    cr_assert_str_eq(ask("EXISTS", queue.call, NULL), "0");
    OK(queue_pause(conn, &queue, true, &err));

    cr_assert_str_eq(ask("CONFIG", "SET", "maxmemory", "0", NULL), "OK");
    cr_assert_eq(stats().waiting, 3);
    cr_assert_eq(stats().running, 1);
    cr_assert_eq(retry_as("you", &taken.jobs[0], 0, false), QUEUE_MOVED);
    queue_batch_free(&taken);
    queue_batch_free(&batch);
}

/* ---- names --------------------------------------------------------------------------------- */

BOOKED_TEST(queue_operate, names_of_queues_are_checked)
{
    struct queue other;

    OK(queue_init(&other, "sh", "enrich.3", &err));
    cr_assert_str_eq(other.base, "sh:{enrich.3}");
    cr_assert_str_eq(other.stream[JOB_HIGH], "sh:{enrich.3}:jobs:high");
    cr_assert_str_eq(other.stream[JOB_NORMAL], "sh:{enrich.3}:jobs");
    cr_assert_str_eq(other.stream[JOB_LOW], "sh:{enrich.3}:jobs:low");
    cr_assert_str_eq(other.paused, "sh:{enrich.3}:paused");
    cr_assert_eq(queue_init(&other, "sh", "", &err), STATUS_INVALID);
    cr_assert_eq(queue_init(&other, "sh", "Enrich", &err), STATUS_INVALID);
    cr_assert_eq(queue_init(&other, "sh", ".enrich", &err), STATUS_INVALID);
    cr_assert_eq(queue_init(&other, "sh", "a}b", &err), STATUS_INVALID);
    cr_assert_eq(queue_init(&other, "sh", "a23456789012345678901234567890123", &err),
                 STATUS_INVALID);
    cr_assert_eq(queue_init(&other, "", "enrich", &err), STATUS_INVALID);
    cr_assert_eq(queue_init(&other, "s{h", "enrich", &err), STATUS_INVALID);
    cr_assert_eq(queue_init(&other, "s h", "enrich", &err), STATUS_INVALID);
}
