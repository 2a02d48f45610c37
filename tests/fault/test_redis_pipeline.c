/* Several commands at once: what is refused, what breaks, and that nothing is left over. */
#include "integration/redis_conn_fixture.h"
#include "redis/pipeline.h"

TestSuite(redis_pipeline, .timeout = 60);

static struct redis_conn *conn;
static struct fake_server *server;

static void play(const struct fake_step *script)
{
    server = fake_server_start(script);
    conn = conn_to(fake_server_url(server, "redis"), 500);
}

static void end(void)
{
    redis_conn_free(conn);
    const char *fault = fake_server_stop(server);
    cr_assert_null(fault, "%s", fault);
}

Test(redis_pipeline, answers_come_in_order_and_the_first_refusal_is_told)
{
    static const struct fake_step script[] = {
        EXPECT("GET"),
        SEND("$1\r\na\r\n-ERR one\r\n:3\r\n-ERR two\r\n"),
        EXPECT("PING"),
        SEND("+PONG\r\n"),
        END,
    };
    const redisReply *reply = NULL;

    play(script);
    struct redis_pipeline pipeline = {.conn = conn};
    for (int i = 0; i < 4; i++) {
        redis_pipelinef(&pipeline, "GET %d", i);
    }
    OK(redis_pipeline_next(&pipeline, &reply));
    cr_assert_str_eq(reply->str, "a");
    cr_assert_eq(redis_pipeline_next(&pipeline, &reply), STATUS_REFUSED);
    cr_assert_null(reply);
    OK(redis_pipeline_next(&pipeline, &reply));
    cr_assert_eq(reply->integer, 3);
    cr_assert_eq(redis_pipeline_end(&pipeline, &err), STATUS_REFUSED);
    assert_says("ERR one");
    cr_assert(redis_conn_is_open(conn), "a refusal leaves the connection");
    assert_pong(conn);
    OK(redis_pipeline_end(&pipeline, &err));
    end();
}

Test(redis_pipeline, a_connection_that_breaks_is_told_rather_than_a_refusal)
{
    static const struct fake_step script[] = {EXPECT("GET"),  SEND("-ERR one\r\n"), CLOSE,
                                              EXPECT("PING"), SEND("+PONG\r\n"),    END};
    const redisReply *reply = NULL;

    play(script);
    struct redis_pipeline pipeline = {.conn = conn};
    for (int i = 0; i < 3; i++) {
        redis_pipelinef(&pipeline, "GET %d", i);
    }
    cr_assert_eq(redis_pipeline_next(&pipeline, &reply), STATUS_REFUSED);
    cr_assert_eq(redis_pipeline_next(&pipeline, &reply), STATUS_UNREACHABLE);
    cr_assert_eq(redis_pipeline_next(&pipeline, &reply), STATUS_UNREACHABLE);
    cr_assert_eq(redis_pipeline_end(&pipeline, &err), STATUS_UNREACHABLE);
    cr_assert_not(redis_conn_is_open(conn));
    assert_pong(conn);
    end();
}

Test(redis_pipeline, a_command_that_cannot_be_sent_takes_those_before_it_with_it)
{
    static const struct fake_step script[] = {CLOSE, EXPECT("PING"), SEND("+PONG\r\n"), END};
    struct redis_args bad = {.failed = true};

    play(script);
    struct redis_pipeline pipeline = {.conn = conn};
    redis_pipelinef(&pipeline, "GET %d", 1);
    redis_pipeline_add(&pipeline, &bad);
    redis_pipelinef(&pipeline, "GET %d", 2);
    cr_assert_eq(redis_pipeline_end(&pipeline, &err), STATUS_OOM);
    cr_assert_not(redis_conn_is_open(conn), "an answer of the first one could still come");
    assert_pong(conn);
    end();
}

Test(redis_pipeline, answers_that_somebody_left_are_not_taken_for_its_own)
{
    static const struct fake_step script[] = {EXPECT("GET"), SEND("$4\r\nleft\r\n"), CLOSE,
                                              EXPECT("GET"), SEND("$3\r\nown\r\n"),  END};
    struct redis_args args = {0};
    const redisReply *reply = NULL;
    bool ready = false;

    play(script);
    redis_args_format(&args, "GET left");
    OK(redis_conn_append(conn, &args, &err));
    redis_args_free(&args);
    OK(redis_conn_wait(conn, 300, &ready, &err));
    cr_assert(ready);
    struct redis_pipeline pipeline = {.conn = conn};
    redis_pipelinef(&pipeline, "GET own");
    OK(redis_pipeline_next(&pipeline, &reply));
    cr_assert_str_eq(reply->str, "own");
    OK(redis_pipeline_end(&pipeline, &err));
    end();
}

Test(redis_pipeline, a_server_that_is_not_for_us_now_ends_it)
{
    static const struct fake_step script[] = {EXPECT("GET"), SEND("-READONLY no\r\n$1\r\na\r\n"),
                                              CLOSE, CLOSE, END};
    const redisReply *reply = NULL;

    play(script);
    struct redis_pipeline pipeline = {.conn = conn};
    redis_pipelinef(&pipeline, "GET %d", 1);
    redis_pipelinef(&pipeline, "GET %d", 2);
    cr_assert_eq(redis_pipeline_next(&pipeline, &reply), STATUS_UNAVAILABLE);
    cr_assert_eq(redis_pipeline_end(&pipeline, &err), STATUS_UNAVAILABLE);
    assert_says("READONLY");
    assert_fails(conn, STATUS_UNREACHABLE);
    end();
}
