/* One connection to servers that are slow, old, broken, or no Redis at all. */
#include "integration/redis_conn_fixture.h"
#include "queue/enqueue.h"
#include "queue/operate.h"
#include "queue/settle.h"
#include "queue/take.h"

TestSuite(redis_conn_faults, .timeout = 60);

/* ---- servers that misbehave ---------------------------------------------------------------- */

static void stop_fake(struct fake_server *server)
{
    const char *fault = fake_server_stop(server);

    cr_assert_null(fault, "%s", fault);
}

Test(redis_conn_faults, an_http_server_is_told_from_redis)
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

Test(redis_conn_faults, a_server_that_drips_bytes_is_bounded_by_the_deadline)
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

Test(redis_conn_faults, a_server_that_never_ends_its_answer_is_bounded_by_the_deadline)
{
    static const struct fake_step script[] = {EXPECT("PING"), SEND("$10\r\nhalf"), HANG, END};
    struct fake_server *server = fake_server_start(script);
    struct redis_conn *conn = conn_to(fake_server_url(server, "redis"), 200);

    assert_fails(conn, STATUS_TIMEOUT);
    redis_conn_free(conn);
    stop_fake(server);
}

Test(redis_conn_faults, a_connection_that_breaks_loses_all_replies_after_it)
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

Test(redis_conn_faults, a_reset_is_unreachable)
{
    static const struct fake_step script[] = {EXPECT("PING"), RST, END};
    struct fake_server *server = fake_server_start(script);
    struct redis_conn *conn = conn_to(fake_server_url(server, "redis"), 2000);

    assert_fails(conn, STATUS_UNREACHABLE);
    redis_conn_free(conn);
    stop_fake(server);
}

Test(redis_conn_faults, a_silent_server_is_bounded_at_login_too)
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

Test(redis_conn_faults, a_password_that_the_server_repeats_is_in_no_error_text)
{
    static const struct fake_step script[] = {EXPECT("AUTH"),
                                              SEND("-ERR no AUTH here: hush-hush-hush, with args "
                                                   "beginning with: 'me' 'hush-hush-hush'\r\n"),
                                              END};
    struct fake_server *server = fake_server_start(script);
    char url[128];

    snprintf(url, sizeof url, "redis://me:hush-hush-hush@127.0.0.1:%d/0", fake_server_port(server));
    struct redis_conn *conn = conn_to(url, 2000);
    assert_fails(conn, STATUS_REFUSED);
    assert_says("no AUTH here: ***");
    cr_assert_null(strstr(err.text, "hush"), "%s", err.text);
    cr_assert_null(strstr(err.text, "args"), "%s", err.text);
    redis_conn_free(conn);
    stop_fake(server);
}

Test(redis_conn_faults, a_server_that_is_not_for_us_now_is_left)
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

Test(redis_conn_faults, a_write_that_nobody_reads_is_bounded)
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

Test(redis_conn_faults, writing_to_a_closed_connection_raises_no_signal)
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

/* ---- answers of another shape, and old servers --------------------------------------------- */

Test(redis_conn_faults, a_redis_older_than_7_is_refused_by_its_version)
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

Test(redis_conn_faults, a_server_of_another_making_is_judged_by_its_redis_version)
{
    static const struct fake_step script[] = {
        EXPECT("$8\r\nFCALL_RO"),
        SEND("-ERR Function not found\r\n"),
        EXPECT("INFO"),
        SEND("$46\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nx:1\r\n\r\n"),
        EXPECT("$4\r\nLOAD"),
        SEND("$10\r\nstillhouse\r\n"),
        EXPECT("$8\r\nFCALL_RO"),
        SEND(":99\r\n"),
        EXPECT("$8\r\nFCALL_RO"),
        SEND("-NOPERM no\r\n"),
        EXPECT("$8\r\nFCALL_RO"),
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

Test(redis_conn_faults, answers_of_another_shape_are_garbled_and_never_trusted)
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
    struct queue_end finish = {.job = &job};
    size_t count = 0;
    int64_t number = 0;
    struct queue_promotion due;
    char cursor[48] = "5-5";

    OK(queue_init(&queue, "sh", "enrich", &err));
    cr_assert_eq(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, &err),
                 STATUS_GARBLED);
    cr_assert_eq(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, &err),
                 STATUS_GARBLED);
    cr_assert_eq(queue_get_stats(conn, &queue, &stats, &err), STATUS_GARBLED);
    cr_assert_eq(queue_get_stats(conn, &queue, &stats, &err), STATUS_GARBLED);
    cr_assert_eq(queue_promote(conn, &queue, 1, &due, &err), STATUS_GARBLED);
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(
            queue_reclaim(conn, &queue,
                          &(const struct queue_takeover){JOB_HIGH, "me", "w", 1, 1, 1, true},
                          cursor, &batch, &count, &err),
            STATUS_GARBLED);
        cr_assert_eq(batch.count, 0);
        cr_assert_str_eq(cursor, "5-5");
    }
    cr_assert_eq(queue_finish(conn, &(struct queue_holder){.queue = &queue, .consumer = "me"},
                              &finish, 1, &err),
                 STATUS_GARBLED);
    cr_assert_eq(finish.fate, QUEUE_LOST);
    cr_assert_eq(redis_conn_time(conn, &number, &err), STATUS_GARBLED);
    queue_batch_free(&batch);
    redis_conn_free(conn);
    stop_fake(server);
}

Test(redis_conn_faults, an_xreadgroup_answer_of_another_shape_is_garbled)
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
