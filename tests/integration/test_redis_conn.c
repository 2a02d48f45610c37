#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "fake_server.h"
#include "queue.h"
#include "redis_conn.h"
#include "servers.h"

TestSuite(redis_conn, .timeout = 60);

static struct error err;

#define OK(call)                                                                                   \
    do {                                                                                           \
        const enum status got_ = (call);                                                           \
        cr_assert_eq(got_, STATUS_OK, "%s: %s: %s", #call, status_text(got_), err.text);           \
    } while (0)

static void assert_says(const char *why)
{
    cr_assert_not_null(strstr(err.text, why), "\"%s\" without \"%s\"", err.text, why);
}

static struct redis_conn *conn_to(const char *text, int command_ms)
{
    struct redis_url url;

    OK(redis_url_parse(text, &url, &err));
    struct redis_conn *conn = redis_conn_new(&url, (struct redis_timeouts){2000, command_ms});
    cr_assert_not_null(conn);
    return conn;
}

/* A command of up to two words. */
static enum status say(struct redis_conn *conn, const char *word, const char *second,
                       redisReply **reply)
{
    struct redis_args args = {0};

    redis_args_str(&args, word);
    if (second != NULL) {
        redis_args_str(&args, second);
    }
    const enum status status = redis_conn_command(conn, &args, reply, &err);
    redis_args_free(&args);
    return status;
}

static void assert_pong(struct redis_conn *conn)
{
    redisReply *reply = NULL;

    OK(say(conn, "PING", NULL, &reply));
    cr_assert_str_eq(reply->str, "PONG");
    redis_reply_free(reply);
}

/* PING fails with this status. */
static void assert_fails(struct redis_conn *conn, enum status expected)
{
    redisReply *reply = NULL;
    const enum status status = say(conn, "PING", NULL, &reply);

    cr_assert_eq(status, expected, "%s: %s", status_text(status), err.text);
    cr_assert_null(reply);
}

/* ---- a real server ------------------------------------------------------------------------- */

Test(redis_conn, connects_at_the_first_command_and_only_once)
{
    struct test_server server;

    test_redis_start(&server, NULL);
    struct redis_conn *conn = conn_to(server.url, 2000);
    cr_assert_not(redis_conn_is_open(conn));
    assert_pong(conn);
    assert_pong(conn);
    cr_assert(redis_conn_is_open(conn));
    cr_assert_eq(redis_conn_opened(conn), 1);
    OK(redis_conn_connect(conn, &err));
    cr_assert_eq(redis_conn_opened(conn), 1);
    redis_conn_close(conn);
    redis_conn_close(conn);
    cr_assert_not(redis_conn_is_open(conn));
    assert_pong(conn);
    cr_assert_eq(redis_conn_opened(conn), 2);
    redis_conn_free(conn);
    redis_conn_free(NULL);
    test_server_stop(&server);
}

Test(redis_conn, a_killed_server_is_unreachable_and_is_found_again)
{
    struct test_server server;

    test_redis_start(&server, NULL);
    struct redis_conn *conn = conn_to(server.url, 2000);
    assert_pong(conn);
    test_server_kill(&server);
    assert_fails(conn, STATUS_UNREACHABLE);
    cr_assert_not(redis_conn_is_open(conn));
    assert_fails(conn, STATUS_UNREACHABLE);
    assert_says("cannot connect");
    test_server_restart(&server);
    assert_pong(conn);
    cr_assert_eq(redis_conn_opened(conn), 2);
    redis_conn_free(conn);
    test_server_stop(&server);
}

Test(redis_conn, a_frozen_server_times_out)
{
    struct test_server server;

    test_redis_start(&server, NULL);
    struct redis_conn *conn = conn_to(server.url, 2000);
    assert_pong(conn);
    redis_conn_set_command_timeout(conn, 100);
    cr_assert_eq(redis_conn_command_timeout(conn), 100);
    test_server_freeze(&server, true);
    const int64_t before_ms = clock_now_ms();
    assert_fails(conn, STATUS_TIMEOUT);
    cr_assert_geq(clock_now_ms() - before_ms, 99);
    cr_assert_lt(clock_now_ms() - before_ms, 1500);
    assert_says("longer than 100 ms");
    cr_assert_not(redis_conn_is_open(conn));
    test_server_freeze(&server, false);
    redis_conn_set_command_timeout(conn, 2000);
    assert_pong(conn);
    redis_conn_free(conn);
    test_server_stop(&server);
}

Test(redis_conn, logs_in_with_and_without_a_user_and_selects_the_database)
{
    const char *const options[] = {"--requirepass", "p@ss", NULL};
    struct test_server server;
    char text[200];
    redisReply *reply = NULL;

    test_redis_start(&server, options);
    snprintf(text, sizeof text, "redis://:p%%40ss@127.0.0.1:%d/3", server.port);
    struct redis_conn *conn = conn_to(text, 2000);
    OK(say(conn, "CLIENT", "INFO", &reply));
    cr_assert_not_null(strstr(reply->str, " db=3 "));
    redis_reply_free(reply);
    redis_conn_free(conn);

    snprintf(text, sizeof text, "redis://default:p%%40ss@127.0.0.1:%d", server.port);
    conn = conn_to(text, 2000);
    assert_pong(conn);
    redis_conn_free(conn);

    snprintf(text, sizeof text, "redis://default:wrong@127.0.0.1:%d", server.port);
    conn = conn_to(text, 2000);
    assert_fails(conn, STATUS_REFUSED);
    assert_says("cannot log in: WRONGPASS");
    cr_assert_null(strstr(err.text, "wrong@"));
    cr_assert_not(redis_conn_is_open(conn));
    redis_conn_free(conn);

    snprintf(text, sizeof text, "redis://127.0.0.1:%d", server.port);
    conn = conn_to(text, 2000);
    assert_fails(conn, STATUS_REFUSED);
    assert_says("NOAUTH");
    redis_conn_free(conn);

    snprintf(text, sizeof text, "redis://:p%%40ss@127.0.0.1:%d/9999", server.port);
    conn = conn_to(text, 2000);
    assert_fails(conn, STATUS_REFUSED);
    assert_says("cannot select the database");
    redis_conn_free(conn);
    test_server_stop(&server);
}

Test(redis_conn, a_unix_socket_works)
{
    char path[64];
    char text[100];
    struct test_server server;

    snprintf(path, sizeof path, "/tmp/stillhouse-%d.sock", (int)getpid());
    const char *const options[] = {"--unixsocket", path, NULL};
    test_redis_start(&server, options);
    snprintf(text, sizeof text, "unix://%s?db=2", path);
    struct redis_conn *conn = conn_to(text, 2000);
    assert_pong(conn);
    cr_assert_not_null(strstr(redis_conn_where(conn), path));
    redis_conn_free(conn);

    conn = conn_to("unix:///nonexistent/redis.sock", 2000);
    assert_fails(conn, STATUS_UNREACHABLE);
    redis_conn_free(conn);
    test_server_stop(&server);
    unlink(path);
}

Test(redis_conn, answers_that_nobody_collected_are_not_the_next_commands)
{
    struct test_server server;
    struct redis_args args = {0};
    redisReply *reply = NULL;

    test_redis_start(&server, NULL);
    struct redis_conn *conn = conn_to(server.url, 2000);
    redis_args_str(&args, "ECHO");
    redis_args_str(&args, "stale");
    OK(redis_conn_append(conn, &args, &err));
    OK(redis_conn_append(conn, &args, &err));
    OK(redis_conn_collect(conn, &reply, &err));
    redis_reply_free(reply);
    OK(say(conn, "PING", NULL, &reply));
    cr_assert_str_eq(reply->str, "PONG");
    redis_reply_free(reply);
    cr_assert_eq(redis_conn_opened(conn), 2);
    redis_conn_abandon(conn);
    cr_assert(redis_conn_is_open(conn), "nothing was outstanding");
    redis_args_free(&args);
    redis_conn_free(conn);
    test_server_stop(&server);
}

Test(redis_conn, pipelined_replies_come_in_order_and_errors_are_replies)
{
    struct test_server server;
    struct redis_args args = {0};
    redisReply *reply = NULL;

    test_redis_start(&server, NULL);
    struct redis_conn *conn = conn_to(server.url, 2000);
    for (int i = 0; i < 200; i++) {
        redis_args_reset(&args);
        redis_args_str(&args, i == 100 ? "NONSENSE" : "ECHO");
        redis_args_int(&args, i);
        OK(redis_conn_append(conn, &args, &err));
    }
    redis_args_free(&args);
    for (int i = 0; i < 200; i++) {
        OK(redis_conn_collect(conn, &reply, &err));
        if (i == 100) {
            cr_assert_eq(redis_reply_status(reply, &err), STATUS_REFUSED);
        } else {
            cr_assert_eq(atoi(reply->str), i);
        }
        redis_reply_free(reply);
    }
    cr_assert_eq(redis_conn_collect(conn, &reply, &err), STATUS_UNREACHABLE);
    cr_assert_null(reply);
    assert_pong(conn);
    redis_conn_free(conn);
    test_server_stop(&server);
}

Test(redis_conn, values_with_any_bytes_and_many_arguments_come_back)
{
    enum { COUNT = 500, BIG = 3 << 20 };
    struct test_server server;
    struct redis_args args = {0};
    redisReply *reply = NULL;
    char *big = malloc(BIG);

    cr_assert_not_null(big);
    for (int i = 0; i < BIG; i++) {
        big[i] = (char)i;
    }
    test_redis_start(&server, NULL);
    struct redis_conn *conn = conn_to(server.url, 10000);
    redis_args_str(&args, "RPUSH");
    redis_args_str(&args, "key");
    redis_args_add(&args, big, BIG);
    redis_args_add(&args, NULL, 0);
    for (int i = 0; i < COUNT; i++) {
        redis_args_int(&args, INT64_MIN + i);
    }
    OK(redis_conn_command(conn, &args, &reply, &err));
    cr_assert_eq(reply->integer, COUNT + 2);
    redis_reply_free(reply);

    redis_args_reset(&args);
    redis_args_str(&args, "LRANGE");
    redis_args_str(&args, "key");
    redis_args_int(&args, 0);
    redis_args_int(&args, -1);
    OK(redis_conn_command(conn, &args, &reply, &err));
    cr_assert_eq(reply->element[0]->len, BIG);
    cr_assert_eq(memcmp(reply->element[0]->str, big, BIG), 0);
    cr_assert_eq(reply->element[1]->len, 0);
    cr_assert_str_eq(reply->element[2]->str, "-9223372036854775808");
    cr_assert_str_eq(reply->element[COUNT + 1]->str, "-9223372036854775309");
    redis_reply_free(reply);
    redis_args_free(&args);
    redis_conn_free(conn);
    test_server_stop(&server);
    free(big);
}

Test(redis_conn, the_servers_clock_is_ours)
{
    struct test_server server;
    int64_t offset_ms = 99999;

    test_redis_start(&server, NULL);
    struct redis_conn *conn = conn_to(server.url, 2000);
    OK(redis_conn_clock_offset(conn, &offset_ms, &err));
    cr_assert_lt(llabs(offset_ms), 1000);
    redis_conn_free(conn);
    test_server_stop(&server);
}

/* ---- servers that misbehave ---------------------------------------------------------------- */

static void stop_fake(struct fake_server *server)
{
    const char *fault = fake_server_stop(server);

    cr_assert_null(fault, "%s", fault);
}

Test(redis_conn, an_http_server_is_told_from_redis)
{
    static const struct fake_step script[] = {
        EXPECT("PING"), SEND("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"), CLOSE, END};
    struct fake_server *server = fake_server_start(script);
    struct redis_conn *conn = conn_to(fake_server_url(server, "redis"), 2000);

    assert_fails(conn, STATUS_GARBLED);
    assert_says("does not speak the Redis protocol");
    cr_assert_not(redis_conn_is_open(conn));
    redis_conn_free(conn);
    stop_fake(server);
}

Test(redis_conn, a_server_that_drips_bytes_is_bounded_by_the_deadline)
{
    static const struct fake_step script[] = {
        EXPECT("PING"), SEND_SLOWLY("+PONGPONGPONGPONGPONGPONGPONGPONGPONGPONGPONG", 50), HANG,
        END};
    struct fake_server *server = fake_server_start(script);
    struct redis_conn *conn = conn_to(fake_server_url(server, "redis"), 300);

    const int64_t before_ms = clock_now_ms();
    assert_fails(conn, STATUS_TIMEOUT);
    cr_assert_lt(clock_now_ms() - before_ms, 1500);
    redis_conn_free(conn);
    stop_fake(server);
}

Test(redis_conn, a_server_that_never_ends_its_answer_is_bounded_by_the_deadline)
{
    static const struct fake_step script[] = {EXPECT("PING"), SEND("$10\r\nhalf"), HANG, END};
    struct fake_server *server = fake_server_start(script);
    struct redis_conn *conn = conn_to(fake_server_url(server, "redis"), 200);

    assert_fails(conn, STATUS_TIMEOUT);
    redis_conn_free(conn);
    stop_fake(server);
}

Test(redis_conn, a_connection_that_breaks_loses_all_replies_after_it)
{
    static const struct fake_step script[] = {EXPECT("PING"),
                                              EXPECT("PING"),
                                              SEND("+ONE\r\n"),
                                              CLOSE,
                                              EXPECT("PING"),
                                              SEND("+PONG\r\n"),
                                              END};
    struct fake_server *server = fake_server_start(script);
    struct redis_conn *conn = conn_to(fake_server_url(server, "redis"), 2000);
    struct redis_args args = {0};
    redisReply *reply = NULL;

    redis_args_str(&args, "PING");
    OK(redis_conn_append(conn, &args, &err));
    OK(redis_conn_append(conn, &args, &err));
    redis_args_free(&args);
    OK(redis_conn_collect(conn, &reply, &err));
    redis_reply_free(reply);
    cr_assert_eq(redis_conn_collect(conn, &reply, &err), STATUS_UNREACHABLE);
    cr_assert_null(reply);
    cr_assert_eq(redis_conn_collect(conn, &reply, &err), STATUS_UNREACHABLE);
    assert_pong(conn);
    redis_conn_free(conn);
    stop_fake(server);
}

Test(redis_conn, a_reset_is_unreachable)
{
    static const struct fake_step script[] = {EXPECT("PING"), RST, END};
    struct fake_server *server = fake_server_start(script);
    struct redis_conn *conn = conn_to(fake_server_url(server, "redis"), 2000);

    assert_fails(conn, STATUS_UNREACHABLE);
    redis_conn_free(conn);
    stop_fake(server);
}

Test(redis_conn, a_silent_server_is_bounded_at_login_too)
{
    static const struct fake_step script[] = {EXPECT("AUTH"), HANG, END};
    struct fake_server *server = fake_server_start(script);
    char text[100];

    snprintf(text, sizeof text, "redis://:pw@127.0.0.1:%d/1", fake_server_port(server));
    struct redis_conn *conn = conn_to(text, 150);
    const int64_t before_ms = clock_now_ms();
    assert_fails(conn, STATUS_TIMEOUT);
    cr_assert_lt(clock_now_ms() - before_ms, 1500);
    cr_assert_eq(redis_conn_opened(conn), 0);
    redis_conn_free(conn);
    stop_fake(server);
}

Test(redis_conn, a_server_that_is_not_for_us_now_is_left)
{
    static const struct fake_step script[] = {
        EXPECT("PING"),
        SEND("-LOADING Redis is loading the dataset in memory\r\n"),
        EXPECT_CLOSE,
        ACCEPT,
        EXPECT("PING"),
        SEND("-READONLY You can't write against a read only replica.\r\n"),
        EXPECT_CLOSE,
        ACCEPT,
        EXPECT("PING"),
        SEND("-BUSY Redis is busy\r\n"),
        EXPECT("PING"),
        SEND("+PONG\r\n"),
        END,
    };
    struct fake_server *server = fake_server_start(script);
    struct redis_conn *conn = conn_to(fake_server_url(server, "redis"), 2000);

    assert_fails(conn, STATUS_UNAVAILABLE);
    assert_says("LOADING");
    cr_assert_not(redis_conn_is_open(conn));
    assert_fails(conn, STATUS_UNAVAILABLE);
    cr_assert_not(redis_conn_is_open(conn));
    assert_fails(conn, STATUS_UNAVAILABLE);
    cr_assert(redis_conn_is_open(conn), "busy passes by itself");
    assert_pong(conn);
    cr_assert_eq(fake_server_connections(server), 3);
    redis_conn_free(conn);
    stop_fake(server);
}

Test(redis_conn, a_write_that_nobody_reads_is_bounded)
{
    enum { BIG = 64 << 20 };
    static const struct fake_step script[] = {ACCEPT, HANG, END};
    struct fake_server *server = fake_server_start(script);
    struct redis_conn *conn = conn_to(fake_server_url(server, "redis"), 300);
    struct redis_args args = {0};
    redisReply *reply = NULL;
    char *big = calloc(1, BIG);

    cr_assert_not_null(big);
    redis_args_str(&args, "ECHO");
    redis_args_add(&args, big, BIG);
    const int64_t before_ms = clock_now_ms();
    cr_assert_eq(redis_conn_command(conn, &args, &reply, &err), STATUS_TIMEOUT);
    cr_assert_lt(clock_now_ms() - before_ms, 3000);
    redis_args_free(&args);
    redis_conn_free(conn);
    stop_fake(server);
    free(big);
}

static volatile sig_atomic_t pipes_seen;

static void on_pipe(int number)
{
    (void)number;
    pipes_seen++;
}

Test(redis_conn, writing_to_a_closed_connection_raises_no_signal)
{
    static const struct fake_step script[] = {EXPECT("PING"), SEND("+PONG\r\n"), RST,
                                              EXPECT("PING"), SEND("+PONG\r\n"), END};
    struct fake_server *server = fake_server_start(script);
    struct redis_conn *conn = conn_to(fake_server_url(server, "redis"), 2000);
    struct sigaction action = {.sa_handler = on_pipe};
    sigset_t mask;
    struct redis_args args = {0};
    redisReply *reply = NULL;

    cr_assert_eq(sigaction(SIGPIPE, &action, NULL), 0);
    assert_pong(conn);
    /* The first write after the reset meets ECONNRESET or is taken; the second one meets EPIPE. */
    redis_args_str(&args, "NOOP");
    for (int i = 0; i < 3 && redis_conn_is_open(conn); i++) {
        OK(redis_conn_append(conn, &args, &err));
        (void)!redis_conn_collect(conn, &reply, &err);
        cr_assert_null(reply);
    }
    redis_args_free(&args);
    cr_assert_not(redis_conn_is_open(conn));
    cr_assert_eq(pipes_seen, 0);
    cr_assert_eq(pthread_sigmask(SIG_SETMASK, NULL, &mask), 0);
    cr_assert_eq(sigismember(&mask, SIGPIPE), 0, "the mask was not restored");
    assert_pong(conn);
    redis_conn_free(conn);
    stop_fake(server);
}

/* ---- what error replies mean --------------------------------------------------------------- */

static enum status classify(const char *text)
{
    return redis_classify(text, strlen(text));
}

Test(redis_conn, the_first_word_of_an_error_decides)
{
    cr_assert_eq(classify("OOM command not allowed"), STATUS_OOM);
    cr_assert_eq(classify("LOADING"), STATUS_UNAVAILABLE);
    cr_assert_eq(classify("BUSY Redis is busy"), STATUS_UNAVAILABLE);
    cr_assert_eq(classify("MASTERDOWN Link"), STATUS_UNAVAILABLE);
    cr_assert_eq(classify("TRYAGAIN"), STATUS_UNAVAILABLE);
    cr_assert_eq(classify("CLUSTERDOWN x"), STATUS_UNAVAILABLE);
    cr_assert_eq(classify("MISCONF x"), STATUS_UNAVAILABLE);
    cr_assert_eq(classify("NOREPLICAS x"), STATUS_UNAVAILABLE);
    cr_assert_eq(classify("READONLY x"), STATUS_UNAVAILABLE);
    cr_assert_eq(classify("UNBLOCKED the stream key no longer exists"), STATUS_UNAVAILABLE);
    cr_assert_eq(classify("NOGROUP No such key"), STATUS_NOT_FOUND);
    cr_assert_eq(classify("SHFULL x"), STATUS_FULL);
    cr_assert_eq(classify("SHINVALID x"), STATUS_INVALID);
    cr_assert_eq(classify("NOAUTH x"), STATUS_REFUSED);
    cr_assert_eq(classify("ERR OOM"), STATUS_REFUSED);
    cr_assert_eq(classify("OOMX"), STATUS_REFUSED);
    cr_assert_eq(classify(""), STATUS_REFUSED);
}

Test(redis_conn, our_own_marker_is_not_shown)
{
    char text[] = "SHINVALID k \"0\": expected more";
    redisReply reply = {.type = REDIS_REPLY_ERROR, .str = text, .len = sizeof text - 1};

    cr_assert_eq(redis_reply_status(&reply, &err), STATUS_INVALID);
    cr_assert_str_eq(err.text, "k \"0\": expected more");
    cr_assert_not(redis_reply_wants_reconnect(&reply));
    reply.type = REDIS_REPLY_STATUS;
    cr_assert_eq(redis_reply_status(&reply, &err), STATUS_OK);
    cr_assert_not(redis_reply_wants_reconnect(&reply));
}

/* ---- answers of another shape, and old servers --------------------------------------------- */

Test(redis_conn, a_redis_older_than_7_is_refused_by_its_version)
{
    static const struct fake_step script[] = {
        EXPECT("sh_version"),
        SEND("-ERR unknown command `FCALL_RO`, with args beginning with:\r\n"), EXPECT("INFO"),
        SEND("$42\r\n# Server\r\nredis_version:6.2.6\r\nos:Linux 6\r\n\r\n"), END};
    struct fake_server *server = fake_server_start(script);
    struct redis_conn *conn = conn_to(fake_server_url(server, "redis"), 2000);
    bool loaded = true;

    cr_assert_eq(queue_install(conn, &loaded, &err), STATUS_INVALID);
    assert_says("redis 6.2.6 at 127.0.0.1:");
    assert_says("7.0 or newer is needed");
    cr_assert_not(loaded);
    redis_conn_free(conn);
    stop_fake(server);
}

Test(redis_conn, a_server_of_another_making_is_judged_by_its_redis_version)
{
    static const struct fake_step script[] = {
        EXPECT("sh_version"),
        SEND("-ERR Function not found\r\n"),
        EXPECT("INFO"),
        SEND("$46\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nx:1\r\n\r\n"),
        EXPECT("REPLACE"),
        SEND("$10\r\nstillhouse\r\n"),
        EXPECT("sh_version"),
        SEND("-NOPERM no\r\n"),
        EXPECT("sh_version"),
        SEND("-ERR Function not found\r\n"),
        EXPECT("INFO"),
        SEND("$4\r\nnone\r\n"),
        END};
    struct fake_server *server = fake_server_start(script);
    struct redis_conn *conn = conn_to(fake_server_url(server, "redis"), 2000);
    bool loaded = false;

    OK(queue_install(conn, &loaded, &err));
    cr_assert(loaded);
    cr_assert_eq(queue_install(conn, &loaded, &err), STATUS_REFUSED);
    cr_assert_eq(queue_install(conn, &loaded, &err), STATUS_INVALID);
    assert_says("of unknown version");
    redis_conn_free(conn);
    stop_fake(server);
}

Test(redis_conn, answers_of_another_shape_are_garbled_and_never_trusted)
{
    static const struct fake_step script[] = {EXPECT("sh_enqueue"),
                                              SEND("*1\r\n:1\r\n"),
                                              EXPECT("sh_enqueue"),
                                              SEND("*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
                                              EXPECT("sh_stats"),
                                              SEND("*2\r\n$7\r\nwaiting\r\n$1\r\n1\r\n"),
                                              EXPECT("sh_stats"),
                                              SEND("+OK\r\n"),
                                              EXPECT("sh_promote"),
                                              SEND("*1\r\n:1\r\n"),
                                              EXPECT("sh_reclaim"),
                                              SEND("*1\r\n$3\r\n0-0\r\n"),
                                              EXPECT("sh_reclaim"),
                                              SEND("*3\r\n$3\r\n0-0\r\n:0\r\n*1\r\n:1\r\n"),
                                              EXPECT("sh_done"),
                                              SEND("*2\r\n:1\r\n:1\r\n"),
                                              EXPECT("TIME"),
                                              SEND("*1\r\n:1\r\n"),
                                              END};
    struct fake_server *server = fake_server_start(script);
    struct redis_conn *conn = conn_to(fake_server_url(server, "redis"), 2000);
    struct queue queue;
    struct queue_answer answer;
    struct queue_stats stats;
    struct queue_batch batch = {0};
    const struct queue_item item = {{"a", 1}, {"x", 1}, {"", 0}, {"", 0}};
    const struct job job = {.entry = {"1-1", 3}, .deliveries = 1};
    struct queue_finish_item finish = {.job = &job};
    size_t count = 0;
    int64_t number = 0;
    char cursor[48] = "5-5";

    OK(queue_init(&queue, "sh", "enrich", &err));
    cr_assert_eq(queue_enqueue(conn, &queue, 0, &item, 1, &answer, &err), STATUS_GARBLED);
    cr_assert_eq(queue_enqueue(conn, &queue, 0, &item, 1, &answer, &err), STATUS_GARBLED);
    cr_assert_eq(queue_get_stats(conn, &queue, &stats, &err), STATUS_GARBLED);
    cr_assert_eq(queue_get_stats(conn, &queue, &stats, &err), STATUS_GARBLED);
    cr_assert_eq(queue_promote(conn, &queue, 1, &count, &number, &err), STATUS_GARBLED);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(
            queue_reclaim(conn, &queue,
                          &(const struct queue_takeover){JOB_HIGH, "me", "w", 1, 1, 1, true},
                          cursor, &batch, &count, &err),
            STATUS_GARBLED);
        cr_assert_eq(batch.count, 0);
        cr_assert_str_eq(cursor, "5-5");
    }
    cr_assert_eq(queue_finish(conn, &queue, "me", &finish, 1, &err), STATUS_GARBLED);
    cr_assert_eq(finish.fate, QUEUE_LOST);
    cr_assert_eq(redis_conn_clock_offset(conn, &number, &err), STATUS_GARBLED);
    queue_batch_free(&batch);
    redis_conn_free(conn);
    stop_fake(server);
}

Test(redis_conn, an_xreadgroup_answer_of_another_shape_is_garbled)
{
    struct queue queue;
    struct queue_batch batch = {0};
    char name[] = "sh:{enrich}:jobs";
    redisReply text = {.type = REDIS_REPLY_STRING, .str = name, .len = sizeof name - 1};
    redisReply nil = {.type = REDIS_REPLY_NIL};
    redisReply *deleted_parts[] = {&text, &nil};
    redisReply deleted = {.type = REDIS_REPLY_ARRAY, .elements = 2, .element = deleted_parts};
    redisReply *bad_parts[] = {&nil, &nil};
    redisReply bad = {.type = REDIS_REPLY_ARRAY, .elements = 2, .element = bad_parts};
    redisReply *entries[] = {&deleted, &bad};
    redisReply list = {.type = REDIS_REPLY_ARRAY, .elements = 1, .element = entries};
    redisReply *stream_parts[] = {&text, &list};
    redisReply stream = {.type = REDIS_REPLY_ARRAY, .elements = 2, .element = stream_parts};
    redisReply *streams[] = {&stream, &nil};
    redisReply reply = {.type = REDIS_REPLY_ARRAY, .elements = 1, .element = streams};

    OK(queue_init(&queue, "sh", "enrich", &err));
    OK(queue_read_parse(&queue, &nil, &batch, &err));
    OK(queue_read_parse(&queue, &reply, &batch, &err));
    cr_assert_eq(batch.count, 0, "a deleted entry is skipped");
    list.elements = 2;
    cr_assert_eq(queue_read_parse(&queue, &reply, &batch, &err), STATUS_GARBLED);
    list.elements = 1;
    reply.elements = 2;
    cr_assert_eq(queue_read_parse(&queue, &reply, &batch, &err), STATUS_GARBLED);
    cr_assert_eq(queue_read_parse(&queue, &text, &batch, &err), STATUS_GARBLED);
    queue_batch_free(&batch);
}
