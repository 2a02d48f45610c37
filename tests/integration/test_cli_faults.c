/* The program stillhouse against servers that misbehave as a script says. */
#include "cli_fixture.h"
#include "fake_server.h"

#define NO_FUNCTION "-ERR Function not found\r\n"
#define PING EXPECT("PING"), SEND("+PONG\r\n")
#define LINE "{\"domain\":\"d\",\"text\":\"a\"}\n"

static struct fake_server *server;

static const char *play(const struct fake_step *script)
{
    server = fake_server_start(script);
    return fake_server_url(server, "redis");
}

static void ended_well(void)
{
    const char *fault = fake_server_stop(server);

    cr_assert_null(fault, "%s", fault);
}

Test(cli_faults, a_connection_that_breaks_leaves_jobs_of_unknown_outcome)
{
    static const struct fake_step script[] = {PING, EXPECT("sh_enqueue"), EXPECT("text"), RST, END};

    RUN_WITH(3, LINE LINE "{}\n", "enqueue", "echo", "--jsonl", "-", "--json", "--redis-url",
             play(script));
    SAYS("line 3: field \"domain\" is missing");
    cJSON *counts = document();
    cr_assert_eq(number_at(counts, "accepted"), 0);
    cr_assert_eq(number_at(counts, "unknown"), 2);
    cr_assert_eq(number_at(counts, "invalid"), 1);
    cJSON_Delete(counts);
    ended_well();
}

Test(cli_faults, an_answer_of_another_shape_is_no_success)
{
    static const struct fake_step script[] = {PING, EXPECT("sh_enqueue"), SEND("*1\r\n:5\r\n"),
                                              END};

    RUN_WITH(1, LINE, "enqueue", "echo", "--jsonl", "-", "--redis-url", play(script));
    PRINTS("0 accepted");
    PRINTS("1 failed");
    ended_well();
}

Test(cli_faults, a_redis_older_than_7_is_refused_with_both_versions_named)
{
    static const struct fake_step script[] = {EXPECT("sh_version"),
                                              SEND("-ERR unknown command\r\n"), EXPECT("INFO"),
                                              SEND("$21\r\nredis_version:6.2.6\r\n\r\n"), END};

    const int code = run_with(NULL, WORDS("init", "--redis-url", play(script)));
    cr_assert(code == 1 || code == 2, "%d", code);
    SAYS("6.2.6");
    SAYS("7.0");
    ended_well();
}

Test(cli_faults, a_port_where_something_else_answers_is_named)
{
    static const struct fake_step script[] = {SEND("HTTP/1.1 400 Bad Request\r\n\r\n"), HANG, END};

    const int code = run_with(NULL, WORDS("stats", "--redis-url", play(script)));
    cr_assert(code == 1 || code == 3, "%d", code);
    SAYS("does not speak the Redis protocol");
    (void)fake_server_stop(server);
}

Test(cli_faults, the_doctor_asks_a_redis_that_does_not_answer_once)
{
    static const struct fake_step script[] = {
        EXPECT("INFO"), SEND("-LOADING Redis is loading the dataset in memory\r\n"), END};

    setenv("STILLHOUSE_CHROMA_URL", "http://127.0.0.1:9", 1);
    RUN(3, "doctor", "--redis-url", play(script));
    PRINTS("still loading");
    cr_assert_null(strstr(out, "function library"));
    ended_well();
}

Test(cli_faults, answers_of_other_shapes_are_failures_not_crashes)
{
    static const struct fake_step scan[] = {EXPECT("SCAN"), SEND("*1\r\n:5\r\n"), END};
    static const struct fake_step dead[] = {EXPECT("XREVRANGE"), SEND(":5\r\n"), END};
    static const struct fake_step odd[] = {
        EXPECT("XREVRANGE"), SEND("*3\r\n:5\r\n*2\r\n:1\r\n:2\r\n*2\r\n$3\r\n1-1\r\n*1\r\n:7\r\n"),
        END};
    static const struct fake_step workers[] = {EXPECT("ZRANGE"), SEND("*2\r\n:5\r\n:6\r\n"), END};
    static const struct fake_step hash[] = {EXPECT("ZRANGE"), SEND("*2\r\n$1\r\nw\r\n$1\r\n5\r\n"),
                                            EXPECT("HGETALL"), SEND(":5\r\n"), END};
    static const struct fake_step peek[] = {EXPECT("XINFO"),
                                            SEND("*1\r\n*2\r\n:5\r\n:6\r\n"),
                                            EXPECT("XRANGE"),
                                            SEND("*1\r\n$1\r\nx\r\n"),
                                            EXPECT("XINFO"),
                                            SEND("-ERR no such key\r\n"),
                                            EXPECT("XRANGE"),
                                            SEND("*0\r\n"),
                                            EXPECT("XINFO"),
                                            SEND("*1\r\n*0\r\n"),
                                            EXPECT("XRANGE"),
                                            SEND("*0\r\n"),
                                            EXPECT("ZRANGE"),
                                            SEND("*2\r\n:5\r\n:5\r\n"),
                                            END};

    RUN(1, "verify", "--redis-url", play(scan));
    SAYS("another shape");
    ended_well();
    RUN(1, "dead", "list", "echo", "--redis-url", play(dead));
    SAYS("another shape");
    ended_well();
    RUN(0, "dead", "list", "echo", "--redis-url", play(odd));
    ended_well();
    RUN(1, "workers", "--redis-url", play(workers));
    ended_well();
    RUN(1, "workers", "--redis-url", play(hash));
    ended_well();
    RUN(0, "peek", "echo", "--redis-url", play(peek));
    ended_well();
}

Test(cli_faults, the_doctor_tells_a_replica_of_an_old_version)
{
    static const char info[] = "redis_version:6.0.16\r\nrole:slave\r\nused_memory:1\r\n"
                               "aof_enabled:1\r\nmaxmemory:0\r\n";
    static char reply[256];
    const struct fake_step script[] = {EXPECT("INFO"),
                                       SEND(reply),
                                       EXPECT("sh_version"),
                                       SEND("+OK\r\n"),
                                       EXPECT("TIME"),
                                       SEND("-ERR no clock\r\n"),
                                       EXPECT("ZRANGE"),
                                       SEND("-ERR no set\r\n"),
                                       END};
    char chroma[64];

    snprintf(reply, sizeof reply, "$%zu\r\n%s\r\n", sizeof info - 1, info);
    snprintf(chroma, sizeof chroma, "http://127.0.0.1:%d", test_free_port());
    RUN(1, "doctor", "--redis-url", play(script), "--chroma-url", chroma);
    PRINTS("Redis 6.0.16: 7.0 or newer");
    PRINTS("slave: it takes no writes");
    PRINTS("no clock");
    PRINTS("no set");
    ended_well();
}

Test(cli_faults, a_terminal_is_shown_how_far_it_is)
{
    char program[512];
    char line[2048];
    char path[512];

    start_redis();
    snprintf(path, sizeof path, "%s/lines.jsonl", redis.folder);
    FILE *file = fopen(path, "w");
    cr_assert_not_null(file);
    cr_assert(fputs(LINE, file) >= 0 && fclose(file) == 0);
    snprintf(line, sizeof line, "%s enqueue echo --jsonl %s", test_program("stillhouse", program),
             path);
    const char *const argv[] = {"script", "-qec", line, "/dev/null", NULL};
    cr_assert_eq(test_run(argv, NULL, out, sizeof out, err_out, sizeof err_out), 0, "%s", out);
    PRINTS("1 jobs, ");
    PRINTS("100 %");
    PRINTS("1 accepted");
    redis_teardown();
}
