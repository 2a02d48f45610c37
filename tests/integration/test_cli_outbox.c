/* stillhouse enqueue --outbox, and stillhouse flush. */
#include "cli_fixture.h"
#include "fake_server.h"

static char folder[512];
static char nowhere[64];

static void setup(void)
{
    start_redis();
    snprintf(folder, sizeof folder, "%s/outbox", redis.folder);
    snprintf(nowhere, sizeof nowhere, "redis://127.0.0.1:%d", test_free_port());
}

static void teardown(void)
{
    test_folder_remove(folder);
    redis_teardown();
}

TestSuite(cli_outbox, .init = setup, .fini = teardown);

#define DISTILL(task)                                                                              \
    "enqueue", "distill", "--domain", "legal", "--task-id", (task), "--prompt", "p", "--result",   \
        "r", "--outbox", folder
#define LINE(text) "{\"domain\":\"d\",\"text\":\"" text "\"}\n"

static long long backlog(const char *stream)
{
    return integer_of(COMMAND("XLEN", stream));
}

Test(cli_outbox, a_job_that_redis_does_not_take_is_kept_and_flushed)
{
    RUN(0, DISTILL("a"), "--redis-url", nowhere);
    cr_assert_eq(strlen(out), 37, "%s", out);
    SAYS("kept in the outbox: redis 127.0.0.1");
    RUN(0, DISTILL("b"), "--redis-url", nowhere, "--json");
    cJSON *kept = document();
    cr_assert_eq(strlen(text_at(kept, "id")), 36);
    cr_assert(cJSON_IsTrue(cJSON_GetObjectItemCaseSensitive(kept, "kept")));
    cJSON_Delete(kept);
    RUN(3, "flush", "--outbox", folder, "--wait", "0", "--redis-url", nowhere);
    PRINTS("0 sent, 2 left");

    RUN(0, "flush", "--outbox", folder);
    PRINTS("2 sent, 0 left");
    cr_assert_eq(backlog("sh:{distill}:jobs"), 2);
    RUN(0, "flush", "--outbox", folder, "--json");
    cJSON *counts = document();
    cr_assert_eq(number_at(counts, "sent"), 0);
    cr_assert_eq(number_at(counts, "left"), 0);
    cr_assert_eq(number_at(counts, "aside"), 0);
    cJSON_Delete(counts);
}

Test(cli_outbox, the_next_enqueue_takes_along_what_is_kept)
{
    RUN(0, DISTILL("a"), "--redis-url", nowhere);
    RUN(0, DISTILL("b"), "--redis-url", nowhere);
    RUN(0, DISTILL("c"));
    cr_assert_eq(backlog("sh:{distill}:jobs"), 3);
    cr_assert_str_eq(err_out, "");
    RUN(0, "flush", "--outbox", folder);
    PRINTS("0 sent, 0 left");
}

Test(cli_outbox, an_enrichment_is_not_kept)
{
    RUN(3, "enqueue", "enrich", "--domain", "legal", "--query", "q", "--outbox", folder,
        "--redis-url", nowhere);
    RUN_WITH(3, "{\"domain\":\"d\",\"query\":\"q\"}\n", "enqueue", "enrich", "--jsonl", "-",
             "--outbox", folder, "--redis-url", nowhere);
    RUN(0, "flush", "--outbox", folder);
    PRINTS("0 sent, 0 left");
}

Test(cli_outbox, a_kept_job_has_no_result_to_wait_for)
{
    RUN(4, DISTILL("a"), "--redis-url", nowhere, "--wait", "10s", "--json");
    PRINTS("not in the queue yet");
    PRINTS("\"kept\":true");
}

Test(cli_outbox, a_flush_waits_for_room_and_says_when_there_was_none)
{
    RUN(0, DISTILL("a"), "--redis-url", nowhere);
    RUN(0, DISTILL("b"), "--redis-url", nowhere);
    RUN(5, "flush", "--outbox", folder, "--max-backlog", "1", "--wait", "300ms");
    PRINTS("1 sent, 1 left");
    SAYS("queue \"distill\" is full");
    RUN(0, "flush", "--outbox", folder, "--max-backlog", "2");
    PRINTS("1 sent, 0 left");
}

Test(cli_outbox, usage_is_checked)
{
    RUN(2, "flush");
    SAYS("which outbox?");
    RUN(2, "flush", "now", "--outbox", folder);
    SAYS("unexpected argument \"now\"");
    RUN(2, "flush", "--outbox", "/no/such/parent/outbox");
    SAYS("/no/such/parent/outbox");
    RUN(2, "flush", "--outbox", folder, "--wait", "soon");
    SAYS("--wait");
    RUN(2, DISTILL("a"), "--outbox-max", "1");
    SAYS("--outbox-max");
    RUN(0, "help", "flush");
    PRINTS("usage: stillhouse flush --outbox DIR");
}

/* ---- lines --------------------------------------------------------------------------------- */

Test(cli_outbox, lines_are_kept_from_the_first_where_nothing_listens)
{
    RUN_WITH(0, LINE("a") LINE("b"), "enqueue", "echo", "--jsonl", "-", "--outbox", folder,
             "--redis-url", nowhere);
    PRINTS("0 accepted, 0 deduplicated, 0 refused, 0 invalid, 2 kept in the outbox");
    SAYS("kept in the outbox: redis 127.0.0.1");
    RUN_WITH(1, LINE("c") "{}\n", "enqueue", "echo", "--jsonl", "-", "--outbox", folder,
             "--redis-url", nowhere, "--json");
    cJSON *counts = document();
    cr_assert_eq(number_at(counts, "kept"), 1);
    cr_assert_eq(number_at(counts, "invalid"), 1);
    cJSON_Delete(counts);
    RUN_WITH(0, LINE("d"), "enqueue", "echo", "--jsonl", "-", "--outbox", folder, "--json");
    counts = document();
    cr_assert_eq(number_at(counts, "accepted"), 1);
    cr_assert_eq(number_at(counts, "kept"), 0);
    cJSON_Delete(counts);
    cr_assert_eq(backlog("sh:{echo}:jobs"), 4);
}

Test(cli_outbox, lines_go_on_into_the_outbox_where_the_connection_breaks)
{
    enum { LINES = 5000 };
    static const struct fake_step script[] = {
        EXPECT("PING"), SEND("+PONG\r\n"), EXPECT("sh_enqueue"), EXPECT("sh_enqueue"), RST, END};
    char *input = malloc(LINES * 64);
    size_t used = 0;

    cr_assert_not_null(input);
    for (int i = 0; i < LINES; i++) {
        used += (size_t)snprintf(input + used, 64, "{\"domain\":\"d\",\"text\":\"%d\"}\n", i);
    }
    struct fake_server *fake = fake_server_start(script);
    RUN_WITH(0, input, "enqueue", "echo", "--jsonl", "-", "--outbox", folder, "--redis-url",
             fake_server_url(fake, "redis"), "--json");
    (void)fake_server_stop(fake);
    cJSON *counts = document();
    cr_assert_eq(number_at(counts, "kept"), LINES);
    cr_assert_eq(number_at(counts, "unknown"), 0);
    cJSON_Delete(counts);
    RUN(0, "flush", "--outbox", folder);
    PRINTS("5000 sent, 0 left");
    cr_assert_eq(backlog("sh:{echo}:jobs"), LINES);
    free(input);
}

Test(cli_outbox, lines_that_a_full_queue_refuses_are_kept)
{
    RUN_WITH(0, LINE("a") LINE("b") LINE("c"), "enqueue", "echo", "--jsonl", "-", "--outbox",
             folder, "--max-backlog", "1");
    PRINTS("1 accepted, 0 deduplicated, 0 refused, 0 invalid, 2 kept in the outbox");
    SAYS("queue \"echo\" is full");
    /* and those that come later go behind them */
    RUN_WITH(0, LINE("d"), "enqueue", "echo", "--jsonl", "-", "--outbox", folder, "--max-backlog",
             "1");
    PRINTS("0 accepted, 0 deduplicated, 0 refused, 0 invalid, 1 kept in the outbox");
    RUN(0, "flush", "--outbox", folder);
    PRINTS("3 sent, 0 left");
}

Test(cli_outbox, a_call_that_is_wrong_is_not_kept)
{
    static const struct fake_step script[] = {EXPECT("PING"), SEND("+PONG\r\n"),
                                              EXPECT("sh_enqueue"), SEND("-SHINVALID body: no\r\n"),
                                              END};
    struct fake_server *fake = fake_server_start(script);

    RUN_WITH(2, LINE("a"), "enqueue", "echo", "--jsonl", "-", "--outbox", folder, "--redis-url",
             fake_server_url(fake, "redis"), "--json");
    (void)fake_server_stop(fake);
    cJSON *counts = document();
    cr_assert_eq(number_at(counts, "failed"), 1);
    cr_assert_eq(number_at(counts, "kept"), 0);
    cJSON_Delete(counts);
}

Test(cli_outbox, of_a_call_refused_for_one_job_the_others_go_in)
{
    static const struct fake_step script[] = {EXPECT("PING"),
                                              SEND("+PONG\r\n"),
                                              EXPECT("sh_enqueue"),
                                              SEND("-SHINVALID body: no\r\n"), /* all three */
                                              EXPECT("sh_enqueue"),
                                              SEND("*1\r\n$1\r\nx\r\n"), /* a */
                                              EXPECT("sh_enqueue"),
                                              SEND("-SHINVALID body \"17 MiB\"\r\n"), /* b */
                                              EXPECT("sh_enqueue"),
                                              SEND("*1\r\n$1\r\ny\r\n"), /* c */
                                              END};
    struct fake_server *fake = fake_server_start(script);

    RUN_WITH(2, LINE("a") LINE("b") LINE("c"), "enqueue", "echo", "--jsonl", "-", "--outbox",
             folder, "--redis-url", fake_server_url(fake, "redis"));
    (void)fake_server_stop(fake);
    SAYS("17 MiB");
    PRINTS("0 accepted, 2 deduplicated, 0 refused, 0 invalid, 1 failed"); /* the ids are not ours */
}

Test(cli_outbox, lines_that_do_not_fit_into_the_outbox_end_it_with_both_reasons)
{
    char *input = malloc(70000);

    cr_assert_not_null(input);
    strcpy(input, "{\"domain\":\"d\",\"text\":\"");
    memset(input + strlen(input), 'x', 60000);
    strcpy(input + 22 + 60000 - 1, "\"}\n");
    RUN_WITH(3, input, "enqueue", "echo", "--jsonl", "-", "--outbox", folder, "--outbox-max",
             "4KiB", "--redis-url", nowhere);
    SAYS("cannot connect");
    SAYS("not kept either: the outbox");
    PRINTS("1 refused");
    free(input);
}
