/* The outbox of the producer library: a Redis that is away, full, refusing, frozen or killed, and
 * producers that are killed. Nothing is lost. */
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client_fixture.h"
#include "fake_server.h"

enum { IN_TIME_MS = 2000 };

static char folder[512];

static stillhouse_options boxed(void)
{
    stillhouse_options options = patient(server.url);

    options.outbox = folder;
    options.retry_ms = 20;
    return options;
}

static void setup(void)
{
    queue_setup();
    OK(queue_init(&queue, "sh", "distill", &err));
    snprintf(folder, sizeof folder, "%s/outbox", server.folder);
    const stillhouse_options options = boxed();
    client = open_client(&options);
}

static void remove_outbox(void)
{
    char path[1024];
    DIR *entries = opendir(folder);

    for (struct dirent *entry; entries != NULL && (entry = readdir(entries)) != NULL;) {
        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        unlink(path);
    }
    if (entries != NULL) {
        closedir(entries);
    }
    rmdir(folder);
}

static void teardown(void)
{
    stillhouse_close(client);
    remove_outbox();
    queue_teardown();
}

TestSuite(outbox, .init = setup, .fini = teardown, .timeout = 120);

/* ---- words --------------------------------------------------------------------------------- */

static void away(void)
{
    test_server_kill(&server);
}

/* It has forgotten everything, as after a crash without persistence, until a worker comes. */
static void back(void)
{
    test_server_restart(&server);
    redis_conn_free(conn);
    conn = new_conn();
    OK(queue_install(conn, NULL, &err));
}

static stillhouse_status hand_in_to(stillhouse_client *to, const char *task)
{
    const stillhouse_experience experience = {
        .domain = "legal", .task_id = task, .prompt = "p", .result = "r", .quality = -1};

    return stillhouse_enqueue_distill(to, &experience, NULL, NULL);
}

static stillhouse_status hand_in(const char *task)
{
    return hand_in_to(client, task);
}

static size_t flushed(stillhouse_status expected)
{
    size_t left = 99;

    IS(stillhouse_flush(client, 2000, &left), expected);
    return left;
}

/* Flushes until the status is as expected: Redis may be taken for away for a moment. */
static void comes_to(stillhouse_status expected)
{
    const int64_t until = clock_now_ms() + 10000;
    stillhouse_status now = STILLHOUSE_OK;

    do {
        now = stillhouse_flush(client, 1000, NULL);
    } while (now != expected && clock_now_ms() < until);
    cr_assert_eq(now, expected, "%d: %s", (int)now, stillhouse_error(client));
}

static size_t left_now(void)
{
    size_t left = 0;

    (void)stillhouse_flush(client, 0, &left);
    return left;
}

static uint64_t sent_count(void)
{
    uint64_t sent = 0;

    stillhouse_outbox_counts(client, NULL, &sent, NULL);
    return sent;
}

/* The task ids in the stream, in order, each with a comma behind it. */
static const char *tasks(void)
{
    static char out[1 << 16];

    out[0] = '\0';
    redisReply *entries = ask_reply("XRANGE", queue.stream[JOB_NORMAL], "-", "+", NULL);
    for (size_t i = 0; i < entries->elements; i++) {
        const redisReply *fields = entries->element[i]->element[1];
        const redisReply *body = fields->element[9];
        struct arena arena = {0};
        struct distill_body distill;
        OK(bodies_decode_distill(body->str, (size_t)body->len, &arena, &distill, &err));
        strncat(out, distill.task_id.data, distill.task_id.bytes);
        strcat(out, ",");
        arena_free(&arena);
    }
    redis_reply_free(entries);
    return out;
}

static size_t files_like(const char *end)
{
    size_t count = 0;
    DIR *entries = opendir(folder);

    cr_assert_not_null(entries);
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        const size_t bytes = strlen(entry->d_name);
        count += bytes > strlen(end) && strcmp(entry->d_name + bytes - strlen(end), end) == 0;
    }
    closedir(entries);
    return count;
}

/* ---- an outage ----------------------------------------------------------------------------- */

Test(outbox, a_redis_that_is_there_is_sent_to_and_nothing_is_written)
{
    IS(hand_in("a"), STILLHOUSE_OK);
    cr_assert_eq(files_like(".outbox"), 0);
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
    cr_assert_eq(files_like(".outbox"), 0);
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
    cr_assert_eq(files_like(".outbox"), 0);
}

Test(outbox, a_redis_that_came_back_empty_is_waited_for_until_a_worker_has_set_it_up)
{
    away();
    IS(hand_in("a"), STILLHOUSE_KEPT);
    test_server_restart(&server);
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
    IS(stillhouse_enqueue_raw(client, "record", "legal", "\xc1", 1, NULL, NULL),
       STILLHOUSE_INVALID);
    back();
    comes_to(STILLHOUSE_OK);
    OK(queue_init(&index, "sh", "index", &err));
    OK(queue_init(&other, "sh", "record.7", &err));
    cr_assert_str_eq(tasks(), "a,b,");
    cr_assert_str_eq(ask("XLEN", index.stream[JOB_NORMAL], NULL), "1");
    cr_assert_str_eq(ask("XLEN", other.stream[JOB_NORMAL], NULL), "1");
    cr_assert_eq(sent_count(), 4);
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

Test(outbox, what_is_invalid_is_not_kept)
{
    const stillhouse_experience bad = {.domain = "Bad Domain"};

    IS(stillhouse_enqueue_distill(client, &bad, NULL, NULL), STILLHOUSE_INVALID);
    away();
    IS(stillhouse_enqueue_distill(client, &bad, NULL, NULL), STILLHOUSE_INVALID);
    cr_assert_eq(files_like(".outbox"), 0);
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
    cr_assert_eq(files_like(".bad"), 1);
    cr_assert_eq(files_like(".outbox"), 0);
    const char *fault = fake_server_stop(fake);
    cr_assert_null(fault, "%s", fault);
    test_server_restart(&server);
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
    test_server_freeze(&server, true);
    const int64_t start = clock_now_ms();
    for (int i = 0; i < 20; i++) {
        IS(hand_in("b"), STILLHOUSE_KEPT);
    }
    cr_assert_lt(clock_now_ms() - start, IN_TIME_MS);
    cr_assert_eq(stillhouse_prompt(client, "legal", "q", BASE, 0, &(stillhouse_prompt_result){0}),
                 STILLHOUSE_PROMPT_FALLBACK);
    test_server_freeze(&server, false);
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
    test_server_restart(&server);
}

/* ---- producers that end -------------------------------------------------------------------- */

static void run_child(void (*work)(void))
{
    int code = 0;
    const pid_t pid = fork();

    cr_assert(pid >= 0);
    if (pid == 0) {
        work();
        _exit(0);
    }
    cr_assert_eq(waitpid(pid, &code, 0), pid);
    cr_assert(WIFSIGNALED(code) || WEXITSTATUS(code) == 0, "%d", code);
}

static void keep_and_die(void)
{
    const stillhouse_options options = boxed();
    stillhouse_client *own = NULL;

    if (stillhouse_open(&options, &own) != STILLHOUSE_OK ||
        hand_in_to(own, "a") != STILLHOUSE_KEPT || hand_in_to(own, "b") != STILLHOUSE_KEPT) {
        _exit(1);
    }
    raise(SIGKILL);
}

Test(outbox, what_a_killed_process_kept_is_sent_by_the_next)
{
    away();
    run_child(keep_and_die);
    back();
    comes_to(STILLHOUSE_OK);
    cr_assert_str_eq(tasks(), "a,b,");
}

/* Without being asked: its next job takes along what the dead one left. */
Test(outbox, a_living_process_adopts_without_being_asked)
{
    const int64_t until = clock_now_ms() + 10000;

    IS(hand_in("first"), STILLHOUSE_OK);
    away();
    run_child(keep_and_die);
    back();
    while (files_like(".outbox") > 0 && clock_now_ms() < until) {
        (void)hand_in("x");
        clock_sleep_ms(20);
    }
    cr_assert_not_null(strstr(tasks(), "a,b,"), "%s", tasks());
}

/* A producer that hands in, and is killed at any moment. What it was told is in. */
Test(outbox, a_producer_killed_at_any_moment_loses_nothing_it_was_told_of)
{
    enum { ROUNDS = 8 };
    int told = 0;
    int pipes[2];

    cr_assert_eq(pipe(pipes), 0);
    away();
    for (int round = 0; round < ROUNDS; round++) {
        const pid_t pid = fork();
        cr_assert(pid >= 0);
        if (pid == 0) {
            const stillhouse_options options = boxed();
            stillhouse_client *own = NULL;
            if (stillhouse_open(&options, &own) != STILLHOUSE_OK) {
                _exit(1);
            }
            for (;;) {
                char task[32];
                snprintf(task, sizeof task, "%d.%ld", round, (long)clock_now_ns());
                if (hand_in_to(own, task) != STILLHOUSE_KEPT || write(pipes[1], "x", 1) != 1) {
                    _exit(2);
                }
            }
        }
        char letter;
        for (int i = 0; i < 5 + round; i++) {
            cr_assert_eq(read(pipes[0], &letter, 1), 1);
            told++;
        }
        cr_assert_eq(kill(pid, SIGKILL), 0);
        cr_assert_eq(waitpid(pid, NULL, 0), pid);
    }
    cr_assert_eq(fcntl(pipes[0], F_SETFL, O_NONBLOCK), 0);
    for (char letter; read(pipes[0], &letter, 1) == 1;) {
        told++;
    }
    back();
    comes_to(STILLHOUSE_OK);
    const int there = atoi(ask("XLEN", queue.stream[JOB_NORMAL], NULL));
    cr_assert(there >= told && there <= told + ROUNDS, "%d told, %d there", told, there);
    uint64_t aside = 0;
    stillhouse_outbox_counts(client, NULL, NULL, &aside);
    cr_assert_eq(aside, 0);
}

/* A sender that is killed after Redis has accepted and before that was written down. */
Test(outbox, a_sender_killed_in_the_middle_repeats_but_does_not_lose)
{
    static const struct fake_step script[] = {EXPECT("sh_enqueue"), EXPECT("t-b"), HANG, END};

    away();
    IS(hand_in("t-a"), STILLHOUSE_KEPT);
    IS(hand_in("t-b"), STILLHOUSE_KEPT);
    struct fake_server *fake = fake_server_start(script);
    const pid_t pid = fork();
    cr_assert(pid >= 0);
    if (pid == 0) {
        stillhouse_options options = boxed();
        stillhouse_client *own = NULL;
        char url[64];
        snprintf(url, sizeof url, "redis://127.0.0.1:%d", fake_server_port(fake));
        options.redis_url = url;
        options.command_timeout_ms = 60000;
        if (stillhouse_open(&options, &own) != STILLHOUSE_OK) {
            _exit(1);
        }
        (void)stillhouse_flush(own, 60000, NULL);
        _exit(2);
    }
    const int64_t until = clock_now_ms() + 10000;
    while (!fake_server_saw(fake, "t-b") && clock_now_ms() < until) {
        clock_sleep_ms(5);
    }
    cr_assert_eq(kill(pid, SIGKILL), 0);
    cr_assert_eq(waitpid(pid, NULL, 0), pid);
    (void)fake_server_stop(fake);
    back();
    comes_to(STILLHOUSE_OK);
    cr_assert_str_eq(tasks(), "t-a,t-b,");
}

Test(outbox, two_processes_at_once_keep_and_send_everything)
{
    enum { PROCESSES = 2, TIMES = 100 };
    pid_t pids[PROCESSES];

    IS(hand_in("warm"), STILLHOUSE_OK);
    away();
    for (int i = 0; i < PROCESSES; i++) {
        pids[i] = fork();
        cr_assert(pids[i] >= 0);
        if (pids[i] == 0) {
            const stillhouse_options options = boxed();
            stillhouse_client *own = NULL;
            if (stillhouse_open(&options, &own) != STILLHOUSE_OK) {
                _exit(1);
            }
            for (int n = 0; n < TIMES; n++) {
                char task[32];
                snprintf(task, sizeof task, "%d-%d", i, n);
                const stillhouse_status status = hand_in_to(own, task);
                if (status != STILLHOUSE_OK && status != STILLHOUSE_KEPT) {
                    _exit(2);
                }
                clock_sleep_ms(2);
            }
            stillhouse_close(own);
            _exit(0);
        }
    }
    clock_sleep_ms(50);
    back(); /* in the middle of it */
    for (int i = 0; i < PROCESSES; i++) {
        int code = 0;
        cr_assert_eq(waitpid(pids[i], &code, 0), pids[i]);
        cr_assert_eq(code, 0, "%d", code);
    }
    comes_to(STILLHOUSE_OK);
    const char *all = tasks();
    for (int i = 0; i < PROCESSES; i++) {
        for (int n = 0; n < TIMES; n++) {
            char task[32];
            snprintf(task, sizeof task, "%d-%d,", i, n);
            cr_assert_not_null(strstr(all, task), "%s is not there", task);
        }
    }
    check_books();
}

/* ---- disks --------------------------------------------------------------------------------- */

Test(outbox, an_outbox_that_is_full_lets_the_call_fail_as_it_would_without)
{
    stillhouse_options options = boxed();
    char id[STILLHOUSE_ID_BYTES] = "x";
    const stillhouse_experience experience = {
        .domain = "legal", .task_id = "z", .prompt = "p", .result = "r"};
    int kept = 0;

    stillhouse_close(client);
    options.outbox_max_bytes = 1000;
    client = open_client(&options);
    away();
    while (hand_in("a") == STILLHOUSE_KEPT) {
        cr_assert_lt(++kept, 50);
    }
    IS(stillhouse_enqueue_distill(client, &experience, NULL, id), STILLHOUSE_UNREACHABLE);
    cr_assert_str_eq(id, "");
    says("redis 127.0.0.1");
    says("not kept either: the outbox");
    says("is full");
    back();
    comes_to(STILLHOUSE_OK);
    cr_assert_eq(atoi(ask("XLEN", queue.stream[JOB_NORMAL], NULL)), kept);
    IS(hand_in("b"), STILLHOUSE_OK);
}

Test(outbox, a_disk_that_is_full_lets_the_call_fail_as_it_would_without)
{
    const struct rlimit small = {8, RLIM_INFINITY};
    const struct rlimit large = {RLIM_INFINITY, RLIM_INFINITY};
    const stillhouse_experience experience = {
        .domain = "legal", .task_id = "m", .prompt = "p", .result = "r"};
    stillhouse_status outcome[2] = {STILLHOUSE_OK, STILLHOUSE_OK};

    away();
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
    IS(hand_in("a"), STILLHOUSE_UNREACHABLE);
    says("not kept either");
    says("File too large");
    const stillhouse_experience both[] = {experience, experience};
    IS(stillhouse_enqueue_distill_many(client, both, 2, NULL, outcome, NULL),
       STILLHOUSE_UNREACHABLE);
    cr_assert_eq(outcome[0], STILLHOUSE_UNREACHABLE);
    cr_assert_eq(outcome[1], STILLHOUSE_UNREACHABLE);
    says("not kept either");
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &large), 0);
    IS(hand_in("b"), STILLHOUSE_KEPT);
    test_server_restart(&server);
}

Test(outbox, a_file_that_another_process_holds_is_left_to_it)
{
    char path[1100];
    int held = -1;

    away();
    IS(hand_in("a"), STILLHOUSE_KEPT);
    DIR *entries = opendir(folder);
    cr_assert_not_null(entries);
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
            held = open(path, O_RDWR | O_CLOEXEC);
        }
    }
    closedir(entries);
    cr_assert(held >= 0 && flock(held, LOCK_EX) == 0);
    back();
    comes_to(STILLHOUSE_NOT_FOUND);
    says("1 jobs left in files that other processes hold");
    IS(hand_in("b"), STILLHOUSE_OK);
    close(held);
    cr_assert_eq(flushed(STILLHOUSE_OK), 0);
    cr_assert_str_eq(tasks(), "b,a,");
}

Test(outbox, a_damaged_job_is_put_aside_and_counted)
{
    char path[1100] = "";
    uint64_t aside = 0;

    away();
    IS(hand_in("a"), STILLHOUSE_KEPT);
    IS(hand_in("b"), STILLHOUSE_KEPT);
    DIR *entries = opendir(folder);
    cr_assert_not_null(entries);
    for (struct dirent *entry; (entry = readdir(entries)) != NULL;) {
        if (entry->d_name[0] != '.') {
            snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
        }
    }
    closedir(entries);
    const int file = open(path, O_WRONLY);
    cr_assert(file >= 0 && pwrite(file, "!!!", 3, 70) == 3);
    close(file);
    back();
    comes_to(STILLHOUSE_OK);
    cr_assert_str_eq(tasks(), "b,");
    stillhouse_outbox_counts(client, NULL, NULL, &aside);
    cr_assert_eq(aside, 1);
    cr_assert_eq(files_like(".bad"), 1);
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
    stillhouse_options options = patient(server.url);

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
    test_server_restart(&server);
}

/* Two fleets on one machine may share a folder: a job knows its prefix. */
Test(outbox, a_job_goes_where_it_was_meant_to_whoever_sends_it)
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
    comes_to(STILLHOUSE_OK);
    cr_assert_str_eq(ask("XLEN", "other:{distill}:jobs", NULL), "1");
    cr_assert_str_eq(tasks(), "b,");
}
