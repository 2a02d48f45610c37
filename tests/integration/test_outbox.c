/* The outbox of the producer library: a Redis that is away, full, refusing, frozen or killed, and
 * producers that are killed. Nothing is lost. */
#include <sys/wait.h>
#include <unistd.h>

#include "fake_server.h"
#include "outbox_fixture.h"
#include "queue/queue.h"

static struct error err;

TestSuite(outbox, .init = outbox_setup, .fini = outbox_teardown, .timeout = 120);

/* ---- an outage ----------------------------------------------------------------------------- */

Test(outbox, a_redis_that_is_there_is_sent_to_and_nothing_is_written)
{
    IS(hand_in("a"), STILLHOUSE_OK);
    cr_assert_eq(kept_files(), 0);
    cr_assert_eq(flushed(STILLHOUSE_OK), 0);
    cr_assert_str_eq(tasks(), "a,");
}

Test(outbox, what_redis_does_not_take_is_kept_and_sent_in_order_when_it_is_back)
{
    char id[STILLHOUSE_ID_BYTES];
    const stillhouse_experience experience = {
        .domain = "legal", .task_id = "c", .prompt = "p", .result = "r"};
    uint64_t kept = 0;

    IS(hand_in("before"), STILLHOUSE_OK);
    away();
    IS(hand_in("a"), STILLHOUSE_KEPT);
    says("kept in the outbox: redis 127.0.0.1");
    IS(hand_in("b"), STILLHOUSE_KEPT);
    IS(stillhouse_enqueue_distill(client, &experience, NULL, id), STILLHOUSE_KEPT);
    cr_assert_eq(strlen(id), 36);
    cr_assert_eq(flushed(STILLHOUSE_UNREACHABLE), 3);

    back();
    comes_to(STILLHOUSE_OK);
    cr_assert_str_eq(tasks(), "a,b,c,"); /* the one before went with the server */
    cr_assert_eq(kept_files(), 0);
    IS(hand_in("d"), STILLHOUSE_OK);
    cr_assert_str_eq(tasks(), "a,b,c,d,");
    stillhouse_outbox_counts(client, &kept, NULL, NULL);
    cr_assert_eq(kept, 3);
    cr_assert_eq(sent_count(), 3);
    check_books();
}

Test(outbox, the_next_job_takes_those_before_it_along)
{
    const int64_t until = clock_now_ms() + 10000;

    away();
    IS(hand_in("a"), STILLHOUSE_KEPT);
    IS(hand_in("b"), STILLHOUSE_KEPT);
    back();
    int tries = 0;
    while (hand_in("x") == STILLHOUSE_KEPT && clock_now_ms() < until) {
        tries++;
    }
    cr_assert_eq(strncmp(tasks(), "a,b,", 4), 0, "%s", tasks());
    cr_assert_eq(atoi(ask("XLEN", queue.stream[JOB_NORMAL], NULL)), tries + 3);
    cr_assert_eq(kept_files(), 0);
}

Test(outbox, a_redis_that_came_back_empty_is_waited_for_until_a_worker_has_set_it_up)
{
    away();
    IS(hand_in("a"), STILLHOUSE_KEPT);
    test_server_restart(&redis);
    comes_to(STILLHOUSE_FAILED);
    says("the queues are not set up");
    IS(hand_in("b"), STILLHOUSE_KEPT);
    redis_conn_free(conn);
    conn = new_conn();
    OK(queue_install(conn, NULL, &err));
    comes_to(STILLHOUSE_OK);
    cr_assert_str_eq(tasks(), "a,b,");
}

Test(outbox, a_thousand_jobs_wait_and_none_is_lost_or_doubled)
{
    enum { COUNT = 1000 };
    char task[16];
    char expected[1 << 14] = "";

    away();
    for (int i = 0; i < COUNT; i++) {
        snprintf(task, sizeof task, "t%d", i);
        IS(hand_in(task), STILLHOUSE_KEPT);
        strcat(strcat(expected, task), ",");
    }
    back();
    comes_to(STILLHOUSE_OK);
    cr_assert_eq(strcmp(tasks(), expected), 0, "order or number is wrong");
    cr_assert_eq(sent_count(), COUNT);
}

static bool next_of_one(void *context, stillhouse_job *job)
{
    bool *asked = context;
    const bool first = !*asked;

    *asked = true;
    *job = (stillhouse_job){.domain = "legal", .body = "\x80", .body_bytes = 1};
    return first;
}

static stillhouse_status enqueue_one_from_a_source(const char *name)
{
    bool asked = false;
    const stillhouse_source source = {
        .size = sizeof source, .queue = name, .next = next_of_one, .context = &asked};

    return stillhouse_enqueue_all(client, &source);
}

Test(outbox, all_kinds_but_enrichments_are_kept_each_for_its_queue)
{
    const stillhouse_document document = {.id = "d", .text = "t"};
    struct queue index;
    struct queue other;

    away();
    IS(hand_in("a"), STILLHOUSE_KEPT);
    IS(stillhouse_enqueue_index(client, "legal", &document, 1, NULL, NULL), STILLHOUSE_KEPT);
    IS(stillhouse_enqueue_raw(client, "record.7", "legal", "\x80", 1, NULL, NULL), STILLHOUSE_KEPT);
    IS(hand_in("b"), STILLHOUSE_KEPT);
    IS(stillhouse_enqueue_enrich(client, "legal", "q", 0, NULL, NULL), STILLHOUSE_UNREACHABLE);
    IS(stillhouse_enqueue_raw(client, "enrich", "legal", "\x80", 1, NULL, NULL),
       STILLHOUSE_UNREACHABLE);
    IS(enqueue_one_from_a_source("enrich.3"), STILLHOUSE_UNREACHABLE);
    IS(enqueue_one_from_a_source("record"), STILLHOUSE_KEPT);
    IS(stillhouse_enqueue_raw(client, "record", "legal", "\xc1", 1, NULL, NULL),
       STILLHOUSE_INVALID);
    back();
    comes_to(STILLHOUSE_OK);
    OK(queue_init(&index, "sh", "index", &err));
    OK(queue_init(&other, "sh", "record.7", &err));
    cr_assert_str_eq(tasks(), "a,b,");
    cr_assert_str_eq(ask("XLEN", index.stream[JOB_NORMAL], NULL), "1");
    cr_assert_str_eq(ask("XLEN", other.stream[JOB_NORMAL], NULL), "1");
    cr_assert_eq(sent_count(), 5);
}

Test(outbox, a_kept_job_knows_its_age_and_its_delay_counts_from_then)
{
    const stillhouse_experience experience = {
        .domain = "legal", .task_id = "a", .prompt = "p", .result = "r"};
    const stillhouse_job_options options = {
        .priority = STILLHOUSE_LOW, .reply = true, .traceparent = "00-ab", .deadline_ms = 60000};
    const stillhouse_job_options later = {.delay_ms = 3600000};
    const stillhouse_job_options soon = {.delay_ms = 1};
    struct job_options read;

    away();
    const int64_t before = clock_unix_ms();
    IS(stillhouse_enqueue_distill(client, &experience, &options, NULL), STILLHOUSE_KEPT);
    IS(stillhouse_enqueue_distill(client, &experience, &later, NULL), STILLHOUSE_KEPT);
    IS(stillhouse_enqueue_distill(client, &experience, &soon, NULL), STILLHOUSE_KEPT);
    const int64_t after = clock_unix_ms();
    clock_sleep_ms(20);
    back();
    comes_to(STILLHOUSE_OK);

    const char *written = first_field(queue.stream[JOB_LOW], "options");
    OK(job_options_parse(written, strlen(written), false, &read, &err));
    cr_assert(read.since_unix_ms >= before && read.since_unix_ms <= after);
    cr_assert(read.deadline_unix_ms >= before + 60000 && read.deadline_unix_ms <= after + 60000);
    cr_assert(read.reply);
    assert_slice(read.traceparent, "00-ab");
    redisReply *delayed = ask_reply("ZRANGE", queue.delayed, "0", "-1", "WITHSCORES", NULL);
    cr_assert_eq(delayed->elements, 2);
    const int64_t due = strtoll(delayed->element[1]->str, NULL, 10);
    cr_assert(due >= before + 3600000 - 50 && due <= after + 3600000 + 50, "%lld",
              (long long)(due - before));
    redis_reply_free(delayed);
    cr_assert_str_eq(ask("XLEN", queue.stream[JOB_NORMAL], NULL),
                     "1"); /* the short delay is over */
}

/* ---- a Redis that says no ------------------------------------------------------------------ */

Test(outbox, a_redis_out_of_memory_or_read_only_is_waited_for)
{
    cr_assert_str_eq(ask("CONFIG", "SET", "maxmemory", "1", NULL), "OK");
    IS(hand_in("a"), STILLHOUSE_KEPT);
    says("OOM");
    cr_assert_str_eq(ask("CONFIG", "SET", "maxmemory", "0", NULL), "OK");
    cr_assert_str_eq(ask("REPLICAOF", "127.0.0.1", "1", NULL), "OK");
    IS(hand_in("b"), STILLHOUSE_KEPT);
    says("READONLY");
    cr_assert_str_eq(ask("REPLICAOF", "NO", "ONE", NULL), "OK");
    comes_to(STILLHOUSE_OK);
    cr_assert_str_eq(tasks(), "a,b,");
}

Test(outbox, a_full_queue_is_waited_for_and_takes_what_there_is_room_for)
{
    stillhouse_options options = boxed();

    stillhouse_close(client);
    options.max_backlog = 3;
    client = open_client(&options);
    IS(hand_in("a"), STILLHOUSE_OK);
    IS(hand_in("b"), STILLHOUSE_OK);
    IS(hand_in("c"), STILLHOUSE_OK);
    IS(hand_in("d"), STILLHOUSE_KEPT);
    says("queue \"distill\" is full");
    IS(hand_in("e"), STILLHOUSE_KEPT);
    cr_assert_eq(flushed(STILLHOUSE_FULL), 2);
    cr_assert_str_eq(ask("XTRIM", queue.stream[JOB_NORMAL], "MAXLEN", "2", NULL), "1");
    cr_assert_eq(flushed(STILLHOUSE_FULL), 1);
    cr_assert_str_eq(tasks(), "b,c,d,");
    cr_assert_str_eq(ask("XTRIM", queue.stream[JOB_NORMAL], "MAXLEN", "1", NULL), "2");
    IS(hand_in("f"), STILLHOUSE_OK);
    cr_assert_str_eq(tasks(), "d,e,f,");
}

Test(outbox, what_parent_and_child_of_a_fork_keep_is_all_sent_and_each_counts_its_own)
{
    uint64_t kept = 99;
    int status = -1;

    away();
    IS(hand_in("t-1"), STILLHOUSE_KEPT);
    const pid_t pid = fork();
    cr_assert_geq(pid, 0);
    if (pid == 0) {
        stillhouse_outbox_counts(client, &kept, NULL, NULL);
        const bool none_yet = kept == 0;
        const bool good = hand_in("t-2") == STILLHOUSE_KEPT;
        stillhouse_outbox_counts(client, &kept, NULL, NULL);
        stillhouse_close(client);
        _exit(none_yet && good && kept == 1 ? 0 : 1);
    }
    cr_assert_eq(waitpid(pid, &status, 0), pid);
    cr_assert_eq(status, 0);
    IS(hand_in("t-3"), STILLHOUSE_KEPT);
    stillhouse_outbox_counts(client, &kept, NULL, NULL);
    cr_assert_eq(kept, 2);
    back();
    comes_to(STILLHOUSE_OK);
    cr_assert_str_eq(tasks(), "t-1,t-2,t-3,");
}

Test(outbox, what_is_invalid_is_not_kept)
{
    const stillhouse_experience bad = {.domain = "Bad Domain"};

    IS(stillhouse_enqueue_distill(client, &bad, NULL, NULL), STILLHOUSE_INVALID);
    away();
    IS(stillhouse_enqueue_distill(client, &bad, NULL, NULL), STILLHOUSE_INVALID);
    cr_assert_eq(kept_files(), 0);
    IS(stillhouse_flush(client, -1, NULL), STILLHOUSE_INVALID);
    says("timeout_ms -1");
    cr_assert_eq(stillhouse_flush(NULL, 1, NULL), STILLHOUSE_INVALID);
    stillhouse_outbox_counts(NULL, NULL, NULL, NULL);
}

/* Redis says so of the whole call; then they go one by one. */
Test(outbox, a_job_that_is_refused_for_good_is_put_aside_and_the_others_go)
{
    static const struct fake_step script[] = {EXPECT("sh_enqueue"),
                                              SEND("-SHINVALID body: no\r\n"),
                                              EXPECT("sh_enqueue"),
                                              SEND("*1\r\n$1\r\na\r\n"),
                                              EXPECT("sh_enqueue"),
                                              SEND("-SHINVALID body: no\r\n"),
                                              EXPECT("sh_enqueue"),
                                              SEND("*1\r\n$1\r\nc\r\n"),
                                              END};
    uint64_t aside = 0;

    away();
    IS(hand_in("a"), STILLHOUSE_KEPT);
    IS(hand_in("b"), STILLHOUSE_KEPT);
    IS(hand_in("c"), STILLHOUSE_KEPT);
    stillhouse_close(client);
    struct fake_server *fake = fake_server_start(script);
    stillhouse_options options = boxed();
    options.redis_url = fake_server_url(fake, "redis");
    client = open_client(&options);
    cr_assert_eq(flushed(STILLHOUSE_OK), 0);
    stillhouse_outbox_counts(client, NULL, NULL, &aside);
    cr_assert_eq(aside, 1);
    cr_assert_eq(sent_count(), 2);
    cr_assert_eq(bad_files(), 1);
    cr_assert_eq(kept_files(), 0);
    const char *fault = fake_server_stop(fake);
    cr_assert_null(fault, "%s", fault);
    test_server_restart(&redis);
}

/* The answer was lost: nobody knows, so it goes again. Its task id makes that harmless. */
Test(outbox, an_answer_that_does_not_come_is_a_job_that_may_be_sent_twice)
{
    static const struct fake_step script[] = {EXPECT("sh_enqueue"), EXPECT("t-lost"), RST, END};
    struct fake_server *fake = fake_server_start(script);
    stillhouse_options options = boxed();

    stillhouse_close(client);
    options.redis_url = fake_server_url(fake, "redis");
    client = open_client(&options);
    IS(hand_in("t-lost"), STILLHOUSE_KEPT);
    (void)fake_server_stop(fake);
    stillhouse_close(client);
    options = boxed();
    client = open_client(&options);
    cr_assert_eq(flushed(STILLHOUSE_OK), 0);
    cr_assert_str_eq(tasks(), "t-lost,");
}

/* ---- time ---------------------------------------------------------------------------------- */

Test(outbox, a_server_that_hangs_costs_its_bound_and_no_more)
{
    stillhouse_options options = boxed();

    stillhouse_close(client);
    options.connect_timeout_ms = 0;
    options.command_timeout_ms = 0;
    options.retry_ms = 60000;
    client = open_client(&options);
    IS(hand_in("a"), STILLHOUSE_OK);
    test_server_freeze(&redis, true);
    const int64_t start = clock_now_ms();
    for (int i = 0; i < 20; i++) {
        IS(hand_in("b"), STILLHOUSE_KEPT);
    }
    cr_assert_lt(clock_now_ms() - start, IN_TIME_MS);
    cr_assert_eq(stillhouse_prompt(client, "legal", "q", BASE, 0, &(stillhouse_prompt_result){0}),
                 STILLHOUSE_PROMPT_FALLBACK);
    test_server_freeze(&redis, false);
}

/* What was too much for the time is sent in smaller calls: 256, 32, 4, then one job. */
Test(outbox, a_network_that_is_too_slow_for_many_jobs_gets_fewer_at_once)
{
    static const struct fake_step script[] = {EXPECT("sh_enqueue"),
                                              EXPECT_CLOSE,
                                              EXPECT("sh_enqueue"),
                                              EXPECT_CLOSE,
                                              EXPECT("sh_enqueue"),
                                              EXPECT_CLOSE,
                                              EXPECT("sh_enqueue"),
                                              SEND("*1\r\n$1\r\na\r\n"),
                                              EXPECT("sh_enqueue"),
                                              SEND("*2\r\n$1\r\nb\r\n$1\r\nc\r\n"),
                                              END};
    stillhouse_options options = boxed();

    away();
    for (int i = 0; i < 3; i++) {
        IS(hand_in("a"), STILLHOUSE_KEPT);
    }
    stillhouse_close(client);
    struct fake_server *fake = fake_server_start(script);
    options.redis_url = fake_server_url(fake, "redis");
    options.command_timeout_ms = 200;
    options.retry_ms = 1;
    client = open_client(&options);
    for (int i = 0; i < 3; i++) {
        cr_assert_eq(left_now(), 3);
        clock_sleep_ms(2);
    }
    comes_to(STILLHOUSE_OK);
    cr_assert_eq(sent_count(), 3);
    const char *fault = fake_server_stop(fake);
    cr_assert_null(fault, "%s", fault);
    test_server_restart(&redis);
}

/* ---- many, options, environment ------------------------------------------------------------ */

Test(outbox, many_experiences_are_kept_but_for_the_invalid_ones)
{
    enum { COUNT = 2500 };
    static stillhouse_experience experiences[COUNT];
    static stillhouse_status outcome[COUNT];
    static char ids[COUNT][STILLHOUSE_ID_BYTES];
    static char names[COUNT][16];

    for (size_t i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "t%zu", i);
        experiences[i] = (stillhouse_experience){.domain = i == 7 ? "No Good" : "legal",
                                                 .task_id = names[i],
                                                 .prompt = "p",
                                                 .result = "r"};
    }
    away();
    IS(stillhouse_enqueue_distill_many(client, experiences, COUNT, NULL, outcome, ids),
       STILLHOUSE_INVALID);
    for (size_t i = 0; i < COUNT; i++) {
        cr_assert_eq(outcome[i], i == 7 ? STILLHOUSE_INVALID : STILLHOUSE_KEPT, "%zu", i);
        cr_assert_eq(strlen(ids[i]), i == 7 ? 0 : 36);
    }
    IS(stillhouse_enqueue_distill_many(client, experiences, 5, NULL, NULL, NULL), STILLHOUSE_KEPT);
    says("kept in the outbox: ");
    back();
    comes_to(STILLHOUSE_OK);
    cr_assert_eq(sent_count(), COUNT - 1 + 5);
    cr_assert_eq(strncmp(tasks(), "t0,t1,t2,t3,t4,t5,t6,t8,", 24), 0);
    IS(stillhouse_enqueue_distill_many(client, experiences, 5, NULL, outcome, ids), STILLHOUSE_OK);
    check_books();
}

Test(outbox, of_many_only_what_the_queue_has_no_room_for_is_kept)
{
    enum { COUNT = 10 };
    static stillhouse_experience experiences[COUNT];
    static stillhouse_status outcome[COUNT];
    static char names[COUNT][16];
    stillhouse_options options = boxed();

    for (size_t i = 0; i < COUNT; i++) {
        snprintf(names[i], sizeof names[i], "t%zu", i);
        experiences[i] = (stillhouse_experience){
            .domain = "legal", .task_id = names[i], .prompt = "p", .result = "r"};
    }
    stillhouse_close(client);
    options.max_backlog = 6;
    client = open_client(&options);
    IS(stillhouse_enqueue_distill_many(client, experiences, COUNT, NULL, outcome, NULL),
       STILLHOUSE_KEPT);
    says("is full");
    for (size_t i = 0; i < COUNT; i++) {
        cr_assert_eq(outcome[i], i < 6 ? STILLHOUSE_OK : STILLHOUSE_KEPT, "%zu", i);
    }
    cr_assert_eq(flushed(STILLHOUSE_FULL), 4);
    const int64_t refused = counter("refused");
    cr_assert_eq(flushed(STILLHOUSE_FULL), 4);
    cr_assert_eq(counter("refused"), refused + 1); /* a full queue is asked with one job */
    cr_assert_str_eq(ask("DEL", queue.stream[JOB_NORMAL], NULL), "1");
    cr_assert_eq(flushed(STILLHOUSE_OK), 0);
    cr_assert_str_eq(tasks(), "t6,t7,t8,t9,");
}

Test(outbox, the_environment_names_it_and_an_empty_option_overrules_that)
{
    stillhouse_options options = patient(redis.url);

    stillhouse_close(client);
    cr_assert_eq(setenv("STILLHOUSE_OUTBOX", folder, 1), 0);
    cr_assert_eq(setenv("STILLHOUSE_OUTBOX_MAX", "4KiB", 1), 0);
    away();
    client = open_client(&options);
    IS(hand_in("a"), STILLHOUSE_KEPT);
    stillhouse_close(client);
    options.outbox = "";
    client = open_client(&options);
    IS(hand_in("b"), STILLHOUSE_UNREACHABLE);
    IS(stillhouse_flush(client, 1000, NULL), STILLHOUSE_OK);
    stillhouse_close(client);

    options.outbox = "/no/such/parent/outbox";
    stillhouse_client *none = NULL;
    cr_assert_eq(stillhouse_open(&options, &none), STILLHOUSE_INVALID);
    cr_assert_not_null(strstr(stillhouse_open_error(), "outbox \"/no/such/parent/outbox\""));
    options.outbox = folder;
    options.outbox_max_bytes = -1;
    cr_assert_eq(stillhouse_open(&options, &none), STILLHOUSE_INVALID);
    cr_assert_not_null(strstr(stillhouse_open_error(), "outbox_max_bytes -1"));
    options = boxed();
    client = open_client(&options);
    cr_assert_eq(left_now(), 1);
    test_server_restart(&redis);
}

/* Two fleets on one machine may share a folder: a job knows its prefix. */
Test(outbox, a_job_of_another_prefix_is_left_for_who_has_that_and_is_in_nobodys_way)
{
    stillhouse_options options = boxed();

    away();
    stillhouse_close(client);
    options.prefix = "other";
    client = open_client(&options);
    IS(hand_in("a"), STILLHOUSE_KEPT);
    stillhouse_close(client);
    options = boxed();
    client = open_client(&options);
    IS(hand_in("b"), STILLHOUSE_KEPT);
    back();
    comes_to(STILLHOUSE_NOT_FOUND);
    says("1 jobs left in files that other processes hold, or of another prefix");
    cr_assert_str_eq(tasks(), "b,");
    cr_assert_str_eq(ask("XLEN", "other:{distill}:jobs", NULL), "0");
    stillhouse_close(client);

    options.prefix = "other";
    client = open_client(&options);
    comes_to(STILLHOUSE_OK);
    cr_assert_str_eq(ask("XLEN", "other:{distill}:jobs", NULL), "1");
}
