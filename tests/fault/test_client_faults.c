/* The producer library when Redis is away, hangs, or is something else. A task must not notice: the
 * base prompt comes out unchanged and in time. The bounds are 100 ms to connect and 50 ms a
 * command; a second is what a busy machine may make of them. */
#include "client_fixture.h"
#include "queue/queue.h"

#include <signal.h>

#include "fake_server.h"

static struct error err;

enum { IN_TIME_MS = 1000 };

TestSuite(client_faults, .init = queue_setup, .fini = queue_teardown);
TestSuite(client_fakes);

static stillhouse_prompt_result prompt;

/* The default bounds, and a short time before it tries again. */
static void open_at(const char *url, int retry_ms)
{
    const stillhouse_options options = {
        .size = sizeof options, .redis_url = url, .retry_ms = retry_ms};
    client = open_client(&options);
}

static void free_port_url(char url[64])
{
    snprintf(url, 64, "redis://127.0.0.1:%d", test_free_port());
}

/* A prompt comes out as the base itself, in time, with this reason. */
static void falls_back(stillhouse_status status)
{
    static const char base[] = BASE;
    const int64_t start = clock_now_ms();

    cr_assert_eq(stillhouse_prompt(client, "legal", "q", base, 0, &prompt),
                 STILLHOUSE_PROMPT_FALLBACK);
    cr_assert_eq(prompt.text, base);
    cr_assert_str_eq(prompt.text, BASE);
    cr_assert_eq(prompt.status, status, "%d: %s", (int)prompt.status, stillhouse_error(client));
    cr_assert_lt(clock_now_ms() - start, IN_TIME_MS);
    stillhouse_prompt_free(&prompt);
}

static void closes_in_time(void)
{
    const int64_t start = clock_now_ms();

    stillhouse_close(client);
    cr_assert_lt(clock_now_ms() - start, IN_TIME_MS);
}

/* Asks until the status is as expected; the last reason otherwise. */
static void comes_to(stillhouse_status status)
{
    const int64_t until = clock_now_ms() + 10000;
    stillhouse_status now = STILLHOUSE_OK;

    do {
        now = stillhouse_enqueue_enrich(client, "legal", "q", 0, NULL, NULL);
    } while (now != status && clock_now_ms() < until);
    cr_assert_eq(now, status, "%d: %s", (int)now, stillhouse_error(client));
}

/* ---- away ---------------------------------------------------------------------------------- */

Test(client_fakes, every_call_says_unreachable_when_nothing_listens)
{
    const stillhouse_experience experience = {
        .domain = "legal", .task_id = "t", .prompt = "p", .result = "r"};
    const stillhouse_document document = {.id = "a", .text = "t"};
    const stillhouse_enrichment enrichment = {"legal", "q", 0};
    stillhouse_status outcome = STILLHOUSE_OK;
    stillhouse_result *result = NULL;
    char id[1][STILLHOUSE_ID_BYTES] = {"x"};
    void *body = NULL;
    size_t bytes = 0;
    char url[64];

    free_port_url(url);
    open_at(url, 60000);
    falls_back(STILLHOUSE_UNREACHABLE);
    says("cannot connect");
    IS(stillhouse_enqueue_enrich(client, "legal", "q", 0, NULL, id[0]), STILLHOUSE_UNREACHABLE);
    says("not tried again for");
    IS(stillhouse_enqueue_distill(client, &experience, NULL, NULL), STILLHOUSE_UNREACHABLE);
    IS(stillhouse_enqueue_index(client, "legal", &document, 1, NULL, NULL), STILLHOUSE_UNREACHABLE);
    IS(stillhouse_enqueue_raw(client, "echo", "legal", "\x80", 1, NULL, NULL),
       STILLHOUSE_UNREACHABLE);
    IS(stillhouse_enqueue_distill_many(client, &experience, 1, NULL, &outcome, id),
       STILLHOUSE_UNREACHABLE);
    cr_assert_eq(outcome, STILLHOUSE_UNREACHABLE);
    cr_assert_str_eq(id[0], "");
    IS(stillhouse_enqueue_enrich_many(client, &enrichment, 1, NULL, NULL, NULL),
       STILLHOUSE_UNREACHABLE);
    IS(stillhouse_lookup(client, "legal", "q", 0, &result), STILLHOUSE_UNREACHABLE);
    IS(stillhouse_await(client, "enrich", "a", 5000, &result), STILLHOUSE_UNREACHABLE);
    IS(stillhouse_await_raw(client, "enrich", "a", 5000, &body, &bytes), STILLHOUSE_UNREACHABLE);
    closes_in_time();
}

/* No time is spent on a server that was away a moment ago. */
Test(client_fakes, ten_thousand_prompts_without_a_server_take_no_time)
{
    const int64_t start = clock_now_ms();
    char url[64];

    free_port_url(url);
    open_at(url, 60000);
    for (int i = 0; i < 10000; i++) {
        (void)stillhouse_prompt(client, "legal", "q", BASE, 100, &prompt);
        cr_assert_str_eq(prompt.text, BASE);
    }
    cr_assert_lt(clock_now_ms() - start, IN_TIME_MS);
    closes_in_time();
}

Test(client_faults, a_server_that_comes_back_is_used_again)
{
    open_at(redis.url, 50);
    falls_back(STILLHOUSE_NOT_FOUND);
    test_server_kill(&redis);
    falls_back(STILLHOUSE_UNREACHABLE);
    test_server_restart(&redis);
    redis_conn_free(conn);
    conn = new_conn();
    comes_to(STILLHOUSE_FAILED); /* it has forgotten our functions */
    OK(queue_install(conn, NULL, &err));
    comes_to(STILLHOUSE_OK);
    closes_in_time();
}

Test(client_fakes, a_name_that_nobody_knows_is_unreachable_in_time)
{
    open_at("redis://no-such-host.invalid", 1);
    for (int i = 0; i < 3; i++) {
        falls_back(STILLHOUSE_UNREACHABLE);
        says("no-such-host.invalid");
    }
    closes_in_time();
}

Test(client_fakes, a_socket_that_is_not_there_is_unreachable)
{
    open_at("unix:///no/such/socket", 1);
    falls_back(STILLHOUSE_UNREACHABLE);
    says("/no/such/socket");
    closes_in_time();
}

/* ---- hanging ------------------------------------------------------------------------------- */

Test(client_faults, a_server_that_hangs_costs_one_bound_and_then_nothing_for_a_while)
{
    open_at(redis.url, 60000);
    falls_back(STILLHOUSE_NOT_FOUND);
    test_server_freeze(&redis, true);
    falls_back(STILLHOUSE_UNREACHABLE); /* on the old connection */
    falls_back(STILLHOUSE_UNREACHABLE); /* on a new one, that the kernel accepts */
    const int64_t start = clock_now_ms();
    for (int i = 0; i < 1000; i++) {
        falls_back(STILLHOUSE_UNREACHABLE);
    }
    cr_assert_lt(clock_now_ms() - start, IN_TIME_MS);
    closes_in_time();
    test_server_freeze(&redis, false);
}

Test(client_faults, a_server_that_thaws_is_used_again)
{
    open_at(redis.url, 20);
    test_server_freeze(&redis, true);
    falls_back(STILLHOUSE_UNREACHABLE);
    test_server_freeze(&redis, false);
    comes_to(STILLHOUSE_OK);
    closes_in_time();
}

Test(client_faults, a_large_body_to_a_server_that_hangs_is_given_up_in_time)
{
    enum { COUNT = 64, BYTES = 200000 };
    static stillhouse_experience experiences[COUNT];
    static stillhouse_status outcome[COUNT];
    char *text_of_all = malloc(BYTES);

    cr_assert_not_null(text_of_all);
    memset(text_of_all, 'x', BYTES - 1);
    text_of_all[BYTES - 1] = '\0';
    for (size_t i = 0; i < COUNT; i++) {
        experiences[i] = (stillhouse_experience){
            .domain = "legal", .task_id = "t", .prompt = text_of_all, .result = "r"};
    }
    open_at(redis.url, 60000);
    IS(stillhouse_enqueue_enrich(client, "legal", "q", 0, NULL, NULL), STILLHOUSE_OK);
    test_server_freeze(&redis, true);
    int64_t start = clock_now_ms();
    IS(stillhouse_enqueue_distill(client, &experiences[0], NULL, NULL), STILLHOUSE_UNREACHABLE);
    cr_assert_lt(clock_now_ms() - start, IN_TIME_MS);
    start = clock_now_ms();
    IS(stillhouse_enqueue_distill_many(client, experiences, COUNT, NULL, outcome, NULL),
       STILLHOUSE_UNREACHABLE);
    cr_assert_lt(clock_now_ms() - start, IN_TIME_MS);
    cr_assert_eq(outcome[COUNT - 1], STILLHOUSE_UNREACHABLE);
    test_server_freeze(&redis, false);
    free(text_of_all);
    closes_in_time();
}

Test(client_faults, a_wait_for_a_server_that_hangs_ends_in_time)
{
    stillhouse_result *result = NULL;

    open_at(redis.url, 20);
    IS(stillhouse_await(client, "enrich", "a", 0, &result), STILLHOUSE_NOT_FOUND);
    test_server_freeze(&redis, true);
    const int64_t start = clock_now_ms();
    IS(stillhouse_await(client, "enrich", "a", 100, &result), STILLHOUSE_NOT_FOUND);
    IS(stillhouse_await(client, "enrich", "a", 100, &result), STILLHOUSE_UNREACHABLE);
    cr_assert_lt(clock_now_ms() - start, IN_TIME_MS);
    test_server_freeze(&redis, false);
    closes_in_time();
}

/* ---- refusing ------------------------------------------------------------------------------ */

Test(client_faults, a_redis_out_of_memory_refuses_and_the_prompt_does_not_mind)
{
    open_at(redis.url, 20);
    cr_assert_str_eq(ask("CONFIG", "SET", "maxmemory", "1", NULL), "OK");
    falls_back(STILLHOUSE_FAILED);
    says("OOM");
    const stillhouse_experience experience = {
        .domain = "legal", .task_id = "t", .prompt = "p", .result = "r"};
    IS(stillhouse_enqueue_distill_many(client, &experience, 1, NULL, NULL, NULL),
       STILLHOUSE_FAILED);
    cr_assert_str_eq(ask("CONFIG", "SET", "maxmemory", "0", NULL), "OK");
    falls_back(STILLHOUSE_NOT_FOUND);
    closes_in_time();
}

/* A write to a connection that the other side has reset raises SIGPIPE, whose default is death. */
Test(client_faults, sigpipe_does_not_reach_the_program)
{
    cr_assert_neq(signal(SIGPIPE, SIG_DFL), SIG_ERR);
    open_at(redis.url, 1);
    for (int i = 0; i < 3; i++) {
        comes_to(STILLHOUSE_OK);
        (void)ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes", NULL);
        (void)stillhouse_enqueue_enrich(client, "legal", "q", 0, NULL, NULL);
    }
    closes_in_time();
}

/* ---- something else ------------------------------------------------------------------------ */

static struct fake_server *fake;

static void play(const struct fake_step *script)
{
    fake = fake_server_start(script);
    open_at(fake_server_url(fake, "redis"), 60000);
}

static void ends(void)
{
    closes_in_time();
    const char *fault = fake_server_stop(fake);
    cr_assert_null(fault, "%s", fault);
}

Test(client_fakes, something_that_is_no_redis_is_unreachable)
{
    static const struct fake_step script[] = {EXPECT("GET"),
                                              SEND("HTTP/1.1 400 Bad Request\r\n\r\n"), END};
    play(script);
    falls_back(STILLHOUSE_UNREACHABLE);
    says("does not speak the Redis protocol");
    falls_back(STILLHOUSE_UNREACHABLE);
    says("not tried again");
    ends();
}

Test(client_fakes, a_server_that_drips_is_given_up_in_time)
{
    static const struct fake_step script[] = {
        EXPECT("GET"), SEND_SLOWLY("$1000000\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", 30), END};
    play(script);
    falls_back(STILLHOUSE_UNREACHABLE);
    ends();
}

Test(client_fakes, a_connection_that_breaks_in_the_middle_is_unreachable)
{
    static const struct fake_step script[] = {EXPECT("GET"), SEND("$5\r\nab"), RST, END};
    play(script);
    falls_back(STILLHOUSE_UNREACHABLE);
    ends();
}

Test(client_fakes, a_server_that_is_loading_is_left_alone_for_a_while)
{
    static const struct fake_step script[] = {EXPECT("PING"), SEND("-LOADING Redis is loading\r\n"),
                                              END};
    const stillhouse_enrichment enrichment = {"legal", "q", 0};

    play(script);
    IS(stillhouse_enqueue_enrich_many(client, &enrichment, 1, NULL, NULL, NULL),
       STILLHOUSE_UNREACHABLE);
    says("LOADING");
    IS(stillhouse_enqueue_enrich(client, "legal", "q", 0, NULL, NULL), STILLHOUSE_UNREACHABLE);
    says("not tried again");
    ends();
}

Test(client_fakes, answers_of_other_shapes_are_failures)
{
    static const struct fake_step script[] = {EXPECT("MGET"),
                                              SEND("*2\r\n:1\r\n:2\r\n"), /* a look-up */
                                              EXPECT("MGET"),
                                              SEND("*2\r\n$1\r\n\x80\r\n*0\r\n"), /* its epoch */
                                              EXPECT("MGET"),
                                              SEND("*1\r\n$-1\r\n"), /* half of both */
                                              EXPECT("MGET"),
                                              SEND("*2\r\n$-1\r\n$-1\r\n"), /* a prompt: a miss */
                                              EXPECT("sh_enqueue"),
                                              SEND("*1\r\n:1\r\n"),
                                              END};
    stillhouse_result *result = NULL;

    play(script);
    IS(stillhouse_lookup(client, "legal", "q", 0, &result), STILLHOUSE_FAILED);
    says("of another kind");
    IS(stillhouse_lookup(client, "legal", "q", 0, &result), STILLHOUSE_FAILED);
    IS(stillhouse_lookup(client, "legal", "q", 0, &result), STILLHOUSE_UNREACHABLE);
    says("another shape");
    falls_back(STILLHOUSE_UNREACHABLE);
    says("another shape");
    closes_in_time();
    (void)fake_server_stop(fake);
}

Test(client_fakes, jobs_whose_answer_does_not_come_are_unreachable_and_the_run_ends)
{
    static const struct fake_step script[] = {
        EXPECT("PING"), SEND("+PONG\r\n"), EXPECT("sh_enqueue"), EXPECT("sh_enqueue"), RST, END};
    enum { COUNT = 5000 };
    static stillhouse_enrichment enrichments[COUNT];
    static stillhouse_status outcome[COUNT];
    static char queries[COUNT][16];

    for (size_t i = 0; i < COUNT; i++) {
        snprintf(queries[i], sizeof queries[i], "q%zu", i);
        enrichments[i] = (stillhouse_enrichment){"legal", queries[i], 0};
    }
    play(script);
    IS(stillhouse_enqueue_enrich_many(client, enrichments, COUNT, NULL, outcome, NULL),
       STILLHOUSE_UNREACHABLE);
    for (size_t i = 0; i < COUNT; i++) {
        cr_assert_eq(outcome[i], STILLHOUSE_UNREACHABLE, "%zu", i);
    }
    closes_in_time();
    (void)fake_server_stop(fake);
}

Test(client_fakes, a_refused_call_of_many_ends_the_run_and_the_connection_stays)
{
    static const struct fake_step script[] = {EXPECT("PING"),
                                              SEND("+PONG\r\n"),
                                              EXPECT("sh_enqueue"),
                                              SEND("-OOM command not allowed\r\n"),
                                              EXPECT("PING"),
                                              SEND("+PONG\r\n"),
                                              EXPECT("sh_enqueue"),
                                              SEND("*1\r\n$1\r\na\r\n"),
                                              END};
    const stillhouse_enrichment enrichment = {"legal", "q", 0};
    char id[1][STILLHOUSE_ID_BYTES];

    play(script);
    IS(stillhouse_enqueue_enrich_many(client, &enrichment, 1, NULL, NULL, id), STILLHOUSE_FAILED);
    says("OOM");
    IS(stillhouse_enqueue_enrich_many(client, &enrichment, 1, NULL, NULL, id), STILLHOUSE_OK);
    cr_assert_str_eq(id[0], "a");
    cr_assert_eq(fake_server_connections(fake), 1);
    ends();
}
