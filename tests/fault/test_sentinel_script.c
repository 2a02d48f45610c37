/* Finding the master with sentinels that play a script: dead, deaf, ignorant, wrong. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "fake_server.h"
#include "queue/enqueue.h"
#include "queue/queue.h"
#include "redis/sentinel.h"
#include "servers.h"
#include "stillhouse.h"

/* What a busy machine may make of a bound of 100 ms. */
enum { IN_TIME_MS = 1000 };

/* A sentinel's part: one question, one answer. */
#define ASKED(answer) EXPECT("get-master-addr-by-name\r\n$1\r\nm\r\n"), SEND(answer), CLOSE
#define MASTER_ROLE "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n"
#define REPLICA_ROLE "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:6379\r\n$9\r\nconnected\r\n:14\r\n"
#define NO_SUCH_MASTER "*-1\r\n"

TestSuite(sentinel_script, .timeout = 60);

static struct error err;
static struct redis_conn *conn;

/* [127.0.0.1, port] */
static const char *address(int port, char out[64])
{
    char digits[16];

    snprintf(digits, sizeof digits, "%d", port);
    snprintf(out, 64, "*2\r\n$9\r\n127.0.0.1\r\n$%zu\r\n%s\r\n", strlen(digits), digits);
    return out;
}

static void open_with(const char *text, int connect_ms)
{
    struct redis_url url;

    cr_assert_eq(redis_url_parse(text, &url, &err), STATUS_OK, "%s: %s", text, err.text);
    conn = redis_open(&url, (struct redis_timeouts){connect_ms, 2000});
    cr_assert_not_null(conn);
}

/* Through the sentinels at these ports (0 = none) to the master "m". */
static void open_through(const int *ports, size_t count, int connect_ms)
{
    char text[300] = "redis+sentinel://";

    for (size_t i = 0; i < count; i++) {
        const size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s127.0.0.1:%d", i == 0 ? "" : ",", ports[i]);
    }
    strcat(text, "/m");
    open_with(text, connect_ms);
}

static enum status ping(void)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    redis_args_str(&args, "PING");
    const enum status status = redis_conn_command(conn, &args, &reply, &err);
    redis_args_free(&args);
    redis_reply_free(reply);
    return status;
}

static void assert_pong(void)
{
    const enum status status = ping();
    cr_assert_eq(status, STATUS_OK, "%s: %s", status_text(status), err.text);
}

static void assert_fails(enum status expected)
{
    const enum status status = ping();
    cr_assert_eq(status, expected, "%s: %s", status_text(status), err.text);
    cr_assert_not(redis_conn_is_open(conn));
}

static void assert_says(const char *why)
{
    cr_assert_not_null(strstr(err.text, why), "\"%s\" without \"%s\"", err.text, why);
}

static void assert_names(int port)
{
    char where[32];

    snprintf(where, sizeof where, "127.0.0.1:%d", port);
    assert_says(where);
}

static void stop(struct fake_server *server)
{
    const char *fault = fake_server_stop(server);
    cr_assert_null(fault, "%s", fault);
}

Test(sentinel_script, the_master_that_a_sentinel_names_is_asked_for_its_role_and_used)
{
    static const struct fake_step master_script[] = {EXPECT("ROLE"),
                                                     SEND(MASTER_ROLE),
                                                     EXPECT("PING"),
                                                     SEND("+PONG\r\n"),
                                                     EXPECT("PING"),
                                                     SEND("+PONG\r\n"),
                                                     END};
    struct fake_server *master = fake_server_start(master_script);
    char answer[64];
    const struct fake_step script[] = {ASKED(address(fake_server_port(master), answer)), END};
    struct fake_server *sentinel = fake_server_start(script);
    const int ports[] = {fake_server_port(sentinel)};
    char where[64];

    open_through(ports, 1, 2000);
    cr_assert_not_null(strstr(redis_conn_where(conn), "/m/0"), "%s", redis_conn_where(conn));
    assert_pong();
    assert_pong();
    cr_assert_eq(redis_conn_opened(conn), 1);
    cr_assert_eq(fake_server_connections(sentinel), 1, "asked once a connection");
    snprintf(where, sizeof where, "127.0.0.1:%d/0 (master \"m\" to sentinel 127.0.0.1:%d)",
             fake_server_port(master), ports[0]);
    cr_assert_str_eq(redis_conn_where(conn), where);
    redis_conn_free(conn);
    stop(sentinel);
    stop(master);
}

Test(sentinel_script, every_reconnect_asks_again_and_finds_the_new_master)
{
    static const struct fake_step old_script[] = {
        EXPECT("ROLE"), SEND(MASTER_ROLE), EXPECT("PING"),
        SEND("-READONLY You can't write against a read only replica.\r\n"), END};
    static const struct fake_step new_script[] = {EXPECT("ROLE"), SEND(MASTER_ROLE), EXPECT("PING"),
                                                  SEND("+PONG\r\n"), END};
    struct fake_server *old = fake_server_start(old_script);
    struct fake_server *new = fake_server_start(new_script);
    char answers[2][64];
    const struct fake_step script[] = {ASKED(address(fake_server_port(old), answers[0])),
                                       ASKED(address(fake_server_port(new), answers[1])), END};
    struct fake_server *sentinel = fake_server_start(script);
    const int ports[] = {fake_server_port(sentinel)};

    open_through(ports, 1, 2000);
    assert_fails(STATUS_UNAVAILABLE);
    assert_says("READONLY");
    assert_pong();
    cr_assert_eq(redis_conn_opened(conn), 2);
    redis_conn_free(conn);
    stop(sentinel);
    stop(old);
    stop(new);
}

Test(sentinel_script, a_name_that_no_sentinel_knows_is_said_with_the_name_and_all_who_were_asked)
{
    static const struct fake_step script[] = {ASKED(NO_SUCH_MASTER), END};
    struct fake_server *first = fake_server_start(script);
    struct fake_server *second = fake_server_start(script);
    const int ports[] = {fake_server_port(first), fake_server_port(second)};

    open_through(ports, 2, 2000);
    assert_fails(STATUS_INVALID);
    assert_says("no sentinel knows a master \"m\"");
    assert_says("does not know the name");
    assert_names(ports[0]);
    assert_names(ports[1]);
    redis_conn_free(conn);
    stop(first);
    stop(second);
}

Test(sentinel_script,
     one_that_does_not_know_the_name_and_one_that_is_away_are_no_proof_of_a_mistake)
{
    static const struct fake_step script[] = {ASKED(NO_SUCH_MASTER), END};
    struct fake_server *sentinel = fake_server_start(script);
    const int ports[] = {fake_server_port(sentinel), test_free_port()};

    open_through(ports, 2, 2000);
    assert_fails(STATUS_UNREACHABLE);
    assert_says("does not know the name");
    assert_says("Connection refused");
    redis_conn_free(conn);
    stop(sentinel);
}

Test(sentinel_script, a_sentinel_that_refuses_says_why)
{
    static const struct fake_step script[] = {ASKED("-NOAUTH Authentication required.\r\n"), END};
    struct fake_server *sentinel = fake_server_start(script);
    const int ports[] = {fake_server_port(sentinel)};

    open_through(ports, 1, 2000);
    assert_fails(STATUS_REFUSED);
    assert_says("NOAUTH");
    assert_names(ports[0]);
    redis_conn_free(conn);
    stop(sentinel);
}

Test(sentinel_script, a_sentinel_of_another_protocol_or_shape_is_garbled)
{
    static const struct fake_step script[] = {EXPECT("SENTINEL"),
                                              SEND("HTTP/1.1 400 Bad Request\r\n\r\n"),
                                              EXPECT_CLOSE,
                                              ASKED("+OK\r\n"),
                                              ASKED("*1\r\n$1\r\na\r\n"),
                                              ASKED("*2\r\n$1\r\na\r\n$5\r\n99999\r\n"),
                                              ASKED("*2\r\n$1\r\na\r\n$2\r\n1x\r\n"),
                                              ASKED("*2\r\n$0\r\n\r\n$1\r\n1\r\n"),
                                              END};
    struct fake_server *sentinel = fake_server_start(script);
    const int ports[] = {fake_server_port(sentinel)};

    open_through(ports, 1, 2000);
    assert_fails(STATUS_GARBLED);
    assert_says("does not speak the Redis protocol");
    for (int i = 0; i < 5; i++) {
        assert_fails(STATUS_GARBLED);
        assert_says("expected a host and a port");
        assert_names(ports[0]);
    }
    redis_conn_free(conn);
    stop(sentinel);
}

Test(sentinel_script, after_a_dead_and_a_deaf_one_and_half_an_answer_the_fourth_serves_in_time)
{
    static const struct fake_step deaf_script[] = {ACCEPT, HANG, END};
    static const struct fake_step half_script[] = {EXPECT("SENTINEL"), SEND("*2\r\n$9\r\n127."),
                                                   HANG, END};
    static const struct fake_step master_script[] = {
        EXPECT("ROLE"), SEND(MASTER_ROLE), EXPECT("PING"), SEND("+PONG\r\n"), EXPECT_CLOSE,
        EXPECT("ROLE"), SEND(MASTER_ROLE), EXPECT("PING"), SEND("+PONG\r\n"), END};
    struct fake_server *deaf = fake_server_start(deaf_script);
    struct fake_server *half = fake_server_start(half_script);
    struct fake_server *master = fake_server_start(master_script);
    char answer[64];
    address(fake_server_port(master), answer);
    const struct fake_step script[] = {ASKED(answer), ASKED(answer), END};
    struct fake_server *good = fake_server_start(script);
    const int ports[] = {test_free_port(), fake_server_port(deaf), fake_server_port(half),
                         fake_server_port(good)};

    open_through(ports, 4, 400);
    const int64_t before_ms = clock_now_ms();
    assert_pong();
    cr_assert_lt(clock_now_ms() - before_ms, IN_TIME_MS);
    redis_conn_close(conn);
    assert_pong();
    cr_assert_eq(fake_server_connections(deaf), 1, "the one that answered is asked first again");
    cr_assert_eq(fake_server_connections(half), 1);
    redis_conn_free(conn);
    stop(deaf);
    stop(half);
    stop(good);
    stop(master);
}

Test(sentinel_script, when_all_are_deaf_the_bound_holds_and_each_call_begins_with_another)
{
    static const struct fake_step script[] = {ACCEPT, EXPECT_CLOSE, LOOP};
    struct fake_server *sentinels[3];
    int ports[3];

    for (int i = 0; i < 3; i++) {
        sentinels[i] = fake_server_start(script);
        ports[i] = fake_server_port(sentinels[i]);
    }
    open_through(ports, 3, 100);
    for (int i = 0; i < 4; i++) {
        const int64_t before_ms = clock_now_ms();
        assert_fails(STATUS_UNREACHABLE);
        cr_assert_lt(clock_now_ms() - before_ms, IN_TIME_MS);
        assert_says("no sentinel says where the master \"m\" is");
        for (int j = 0; j < 3; j++) {
            assert_names(ports[j]);
        }
        char first[32];
        snprintf(first, sizeof first, "is: 127.0.0.1:%d", ports[i % 3]);
        assert_says(first);
    }
    redis_conn_free(conn);
    for (int i = 0; i < 3; i++) {
        stop(sentinels[i]);
    }
}

Test(sentinel_script, when_nobody_listens_all_are_named)
{
    const int ports[] = {test_free_port(), test_free_port(), test_free_port()};

    open_through(ports, 3, 2000);
    assert_fails(STATUS_UNREACHABLE);
    for (int i = 0; i < 3; i++) {
        assert_names(ports[i]);
    }
    assert_says("Connection refused");
    redis_conn_free(conn);
}

Test(sentinel_script, a_replica_is_not_taken_for_the_master_and_the_next_sentinel_knows_better)
{
    static const struct fake_step replica_script[] = {EXPECT("ROLE"), SEND(REPLICA_ROLE), END};
    static const struct fake_step master_script[] = {EXPECT("ROLE"), SEND(MASTER_ROLE),
                                                     EXPECT("PING"), SEND("+PONG\r\n"), END};
    struct fake_server *replica = fake_server_start(replica_script);
    struct fake_server *master = fake_server_start(master_script);
    char answers[2][64];
    const struct fake_step behind_script[] = {ASKED(address(fake_server_port(replica), answers[0])),
                                              END};
    const struct fake_step good_script[] = {ASKED(address(fake_server_port(master), answers[1])),
                                            END};
    struct fake_server *behind = fake_server_start(behind_script);
    struct fake_server *good = fake_server_start(good_script);
    const int ports[] = {fake_server_port(behind), fake_server_port(good)};

    open_through(ports, 2, 2000);
    assert_fails(STATUS_UNAVAILABLE);
    assert_says("its role is \"slave\", expected \"master\"");
    assert_names(fake_server_port(replica));
    assert_names(ports[0]);
    cr_assert_eq(redis_conn_opened(conn), 0);
    assert_pong();
    redis_conn_free(conn);
    stop(behind);
    stop(good);
    stop(replica);
    stop(master);
}

Test(sentinel_script, a_master_that_is_gone_is_unreachable_and_says_who_named_it)
{
    char answer[64];
    const int gone = test_free_port();
    const struct fake_step script[] = {ASKED(address(gone, answer)), END};
    struct fake_server *sentinel = fake_server_start(script);
    const int ports[] = {fake_server_port(sentinel)};

    open_through(ports, 1, 2000);
    assert_fails(STATUS_UNREACHABLE);
    assert_names(gone);
    assert_says("to sentinel 127.0.0.1:");
    assert_names(ports[0]);
    redis_conn_free(conn);
    stop(sentinel);
}

Test(sentinel_script, a_master_that_hangs_or_forbids_role_is_not_used)
{
    static const struct fake_step master_script[] = {EXPECT("ROLE"), HANG, END};
    static const struct fake_step strict_script[] = {
        EXPECT("ROLE"), SEND("-NOPERM this user has no permissions to run the 'role' command\r\n"),
        END};
    struct fake_server *hanging = fake_server_start(master_script);
    struct fake_server *strict = fake_server_start(strict_script);
    char answers[2][64];
    const struct fake_step script[] = {ASKED(address(fake_server_port(hanging), answers[0])),
                                       ASKED(address(fake_server_port(strict), answers[1])), END};
    struct fake_server *sentinel = fake_server_start(script);
    const int ports[] = {fake_server_port(sentinel)};

    open_through(ports, 1, 150);
    const int64_t before_ms = clock_now_ms();
    assert_fails(STATUS_TIMEOUT);
    cr_assert_lt(clock_now_ms() - before_ms, IN_TIME_MS);
    assert_fails(STATUS_REFUSED);
    assert_says("NOPERM");
    redis_conn_free(conn);
    stop(sentinel);
    stop(hanging);
    stop(strict);
}

Test(sentinel_script, sentinels_and_the_master_get_each_their_own_password)
{
    static const struct fake_step master_script[] = {EXPECT("$1\r\nu\r\n$5\r\np@ass\r\n"),
                                                     SEND("+OK\r\n"),
                                                     EXPECT("SELECT\r\n$1\r\n3\r\n"),
                                                     SEND("+OK\r\n"),
                                                     EXPECT("ROLE"),
                                                     SEND(MASTER_ROLE),
                                                     EXPECT("PING"),
                                                     SEND("+PONG\r\n"),
                                                     END};
    struct fake_server *master = fake_server_start(master_script);
    char answer[64];
    const struct fake_step script[] = {EXPECT("AUTH\r\n$1\r\nw\r\n$4\r\nb@ss\r\n"), SEND("+OK\r\n"),
                                       ASKED(address(fake_server_port(master), answer)), END};
    struct fake_server *sentinel = fake_server_start(script);
    char text[200];

    snprintf(text, sizeof text,
             "redis+sentinel://u:p@ass@127.0.0.1:%d/m/3?sentinel_user=w&sentinel_password=b%%40ss",
             fake_server_port(sentinel));
    open_with(text, 2000);
    assert_pong();
    redis_conn_free(conn);
    cr_assert_not(fake_server_saw(sentinel, "p@ass"));
    cr_assert_not(fake_server_saw(master, "b@ss"));
    stop(sentinel);
    stop(master);
}

/* ---- pipelines ------------------------------------------------------------------------------- */

Test(sentinel_script, a_pipeline_that_meets_a_replica_is_left_and_says_so_to_the_end)
{
    static const struct fake_step script[] = {
        EXPECT("sh_enqueue"), EXPECT("sh_enqueue"),
        EXPECT("PING"),       SEND("-READONLY You can't write against a read only replica.\r\n"),
        EXPECT_CLOSE,         EXPECT("PING"),
        SEND("+PONG\r\n"),    END};
    struct fake_server *server = fake_server_start(script);
    struct queue queue;
    struct queue_answer answer;
    struct redis_args args = {0};
    redisReply *reply = NULL;
    const struct queue_item item = {{"a", 1}, {"x", 1}, {"", 0}, {"", 0}};

    open_with(fake_server_url(server, "redis"), 2000);
    cr_assert_eq(queue_init(&queue, "sh", "enrich", &err), STATUS_OK);
    cr_assert_eq(queue_enqueue_append(conn, &(struct queue_items){&queue, 0, &item, 1}, &err),
                 STATUS_OK);
    cr_assert_eq(queue_enqueue_append(conn, &(struct queue_items){&queue, 0, &item, 1}, &err),
                 STATUS_OK);
    redis_args_str(&args, "PING");
    cr_assert_eq(redis_conn_append(conn, &args, &err), STATUS_OK);
    redis_args_free(&args);

    cr_assert_eq(queue_enqueue_collect(conn, 1, &answer, &err), STATUS_UNAVAILABLE);
    cr_assert_not(redis_conn_is_open(conn));
    cr_assert_eq(queue_enqueue_collect(conn, 1, &answer, &err), STATUS_UNAVAILABLE);
    assert_says("READONLY");
    cr_assert_eq(redis_conn_collect(conn, &reply, &err), STATUS_UNAVAILABLE);
    cr_assert_null(reply);
    assert_pong();
    redis_conn_free(conn);
    stop(server);
}

/* ---- the producer ---------------------------------------------------------------------------- */

Test(sentinel_script, a_producer_finds_its_way_by_name_past_a_dead_sentinel_within_its_bound)
{
    static const struct fake_step deaf_script[] = {ACCEPT, EXPECT_CLOSE, LOOP};
    static const struct fake_step master_script[] = {
        EXPECT("ROLE"), SEND(MASTER_ROLE), EXPECT("sh_enqueue"), SEND("*1\r\n$3\r\none\r\n"), CLOSE,
        EXPECT("ROLE"), SEND(MASTER_ROLE), EXPECT("sh_enqueue"), SEND("*1\r\n$3\r\ntwo\r\n"), END};
    struct fake_server *deaf = fake_server_start(deaf_script);
    struct fake_server *master = fake_server_start(master_script);
    char answer[64];
    address(fake_server_port(master), answer);
    const struct fake_step script[] = {ASKED(answer), ASKED(answer), END};
    struct fake_server *sentinel = fake_server_start(script);
    char url[200];
    snprintf(url, sizeof url, "redis+sentinel://127.0.0.1:%d,no-such-host.invalid,localhost:%d/m",
             fake_server_port(deaf), fake_server_port(sentinel));
    const stillhouse_options options = {.size = sizeof options,
                                        .redis_url = url,
                                        .connect_timeout_ms = 1000,
                                        .command_timeout_ms = 2000,
                                        .retry_ms = 1};
    stillhouse_client *client = NULL;
    char id[STILLHOUSE_ID_BYTES];

    cr_assert_eq(stillhouse_open(&options, &client), STILLHOUSE_OK, "%s", stillhouse_open_error());
    cr_assert_eq(stillhouse_enqueue_enrich(client, "legal", "q", 0, NULL, id), STILLHOUSE_OK, "%s",
                 stillhouse_error(client));
    cr_assert_str_eq(id, "one");
    cr_assert_eq(stillhouse_enqueue_enrich(client, "legal", "q", 0, NULL, id), STILLHOUSE_OK, "%s",
                 stillhouse_error(client));
    cr_assert_str_eq(id, "two", "the lost connection is replaced within the call");
    cr_assert_eq(fake_server_connections(deaf), 1, "the one that answered is remembered");
    stillhouse_close(client);
    stop(deaf);
    stop(sentinel);
    stop(master);
}

Test(sentinel_script, a_prompt_comes_out_in_time_when_all_sentinels_are_deaf)
{
    static const struct fake_step script[] = {ACCEPT, EXPECT_CLOSE, LOOP};
    struct fake_server *sentinels[3];
    stillhouse_client *client = NULL;
    stillhouse_prompt_result prompt;
    char url[200];

    for (int i = 0; i < 3; i++) {
        sentinels[i] = fake_server_start(script);
    }
    snprintf(url, sizeof url, "redis+sentinel://127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d/m",
             fake_server_port(sentinels[0]), fake_server_port(sentinels[1]),
             fake_server_port(sentinels[2]));
    const stillhouse_options options = {.size = sizeof options, .redis_url = url, .retry_ms = 1};
    cr_assert_eq(stillhouse_open(&options, &client), STILLHOUSE_OK, "%s", stillhouse_open_error());
    for (int i = 0; i < 3; i++) {
        const int64_t before_ms = clock_now_ms();
        cr_assert_eq(stillhouse_prompt(client, "legal", "q", "the base", 0, &prompt),
                     STILLHOUSE_PROMPT_FALLBACK);
        cr_assert_lt(clock_now_ms() - before_ms, IN_TIME_MS);
        cr_assert_str_eq(prompt.text, "the base");
        cr_assert_eq(prompt.status, STILLHOUSE_UNREACHABLE, "%s", stillhouse_error(client));
        stillhouse_prompt_free(&prompt);
    }
    stillhouse_close(client);
    for (int i = 0; i < 3; i++) {
        stop(sentinels[i]);
    }
}
