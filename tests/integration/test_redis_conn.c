/* One connection to a real Redis. */
#include "redis_conn_fixture.h"

#include <arpa/inet.h>

TestSuite(redis_conn, .timeout = 60);

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
    char folder[80];
    char path[108]; /* all that a socket's address holds */
    char text[128];
    struct test_server server;

    test_folder_make(folder, sizeof folder);
    snprintf(path, sizeof path, "%s/redis.sock", folder);
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
    test_folder_remove(folder);
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

static long resident_kib(void)
{
    long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "r");

    cr_assert_not_null(statm);
    cr_assert_eq(fscanf(statm, "%*d %ld", &pages), 1);
    fclose(statm);
    return pages * (sysconf(_SC_PAGESIZE) / 1024);
}

Test(redis_conn, an_answer_of_any_size_does_not_grow_us_and_the_next_command_works)
{
    struct test_server server;
    redisReply *reply = NULL;

    test_redis_start(&server, NULL);
    struct redis_conn *conn = conn_to(server.url, 10000);
    struct redis_args args = {0};
    static const char *const words[] = {"SETRANGE", "huge", "209715200", "x"};
    for (size_t i = 0; i < 4; i++) {
        redis_args_str(&args, words[i]);
    }
    OK(redis_conn_command(conn, &args, &reply, &err));
    redis_reply_free(reply);
    redis_args_free(&args);

    const long before_kib = resident_kib();
    cr_assert_eq(say(conn, "GET", "huge", &reply), STATUS_FAILED);
    assert_says("a value of more than 17 MiB");
    /* Less than the value has; AddressSanitizer keeps each smaller buffer for a while. */
    cr_assert_lt(resident_kib() - before_kib, 200 * 1024);
    assert_pong(conn);

    /* Many values that are small enough, in one answer. */
    redis_conn_set_answer_max(conn, 1024 * 1024);
    static char value[600 * 1024];
    memset(value, 'x', sizeof value);
    redis_args_str(&args, "SET");
    redis_args_str(&args, "half");
    redis_args_add(&args, value, sizeof value);
    OK(redis_conn_command(conn, &args, &reply, &err));
    redis_reply_free(reply);
    OK(say(conn, "GET", "half", &reply));
    redis_reply_free(reply);
    redis_args_reset(&args);
    redis_args_str(&args, "MGET");
    redis_args_str(&args, "half");
    redis_args_str(&args, "half");
    cr_assert_eq(redis_conn_command(conn, &args, &reply, &err), STATUS_FAILED);
    assert_says("more than 1 MiB in all");
    assert_pong(conn);
    redis_args_free(&args);
    redis_conn_free(conn);
    test_server_stop(&server);
}

Test(redis_conn, the_servers_clock_is_ours)
{
    struct test_server server;
    int64_t unix_ms = 0;

    test_redis_start(&server, NULL);
    struct redis_conn *conn = conn_to(server.url, 2000);
    OK(redis_conn_time(conn, &unix_ms, &err));
    cr_assert_lt(llabs(unix_ms - clock_unix_ms()), 1000);
    redis_conn_free(conn);
    test_server_stop(&server);
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

/* ---- a name with several addresses ----------------------------------------------------------- */

/* The name server that these tests have. */
static enum status give_addresses(void *context, const char *host, int timeout_ms,
                                  struct redis_addresses *out, struct error *why)
{
    (void)why;
    cr_assert_str_eq(host, "queue.test");
    cr_assert_gt(timeout_ms, 0);
    *out = *(const struct redis_addresses *)context;
    return STATUS_OK;
}

static struct redis_conn *conn_by_name(int port, int connect_ms, struct redis_addresses *addresses)
{
    char text[64];
    struct redis_url url;

    snprintf(text, sizeof text, "redis://queue.test:%d/0", port);
    OK(redis_url_parse(text, &url, &err));
    struct redis_conn *conn = redis_conn_new(&url, (struct redis_timeouts){connect_ms, 2000});
    cr_assert_not_null(conn);
    redis_conn_set_lookup(conn, give_addresses, addresses);
    return conn;
}

/* Listens on 127.0.0.2 and, where `full`, has no room for one more connection: the packets of the
 * next one are dropped. */
static void listen_beside(int port, bool full, int sockets[4])
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    const int yes = 1;

    inet_pton(AF_INET, "127.0.0.2", &address.sin_addr);
    sockets[0] = socket(AF_INET, SOCK_STREAM, 0);
    setsockopt(sockets[0], SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    cr_assert_eq(bind(sockets[0], (struct sockaddr *)&address, sizeof address), 0);
    cr_assert_eq(listen(sockets[0], 0), 0);
    for (int i = 1; i < 4; i++) {
        sockets[i] = full ? socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0) : -1;
        if (full) {
            (void)!connect(sockets[i], (struct sockaddr *)&address, sizeof address);
        }
    }
}

static void close_all(const int sockets[4])
{
    for (int i = 0; i < 4; i++) {
        close(sockets[i]);
    }
}

Test(redis_conn, an_address_that_refuses_gives_way_to_the_next_which_goes_first_then)
{
    struct redis_addresses addresses = {.text = {"127.0.0.2", "::1", "127.0.0.1"}, .count = 3};
    struct test_server server;
    int sockets[4];

    test_redis_start(&server, (const char *const[]){"--bind", "127.0.0.1", NULL});
    struct redis_conn *conn = conn_by_name(server.port, 2000, &addresses);
    assert_pong(conn);
    redis_conn_close(conn);
    listen_beside(server.port, true, sockets); /* would cost a share of the time */
    const int64_t before_ms = clock_now_ms();
    assert_pong(conn);
    cr_assert_lt(clock_now_ms() - before_ms, 500);
    close_all(sockets);
    redis_conn_free(conn);
    test_server_stop(&server);
}

Test(redis_conn, an_address_that_drops_packets_costs_its_share_of_the_time)
{
    struct redis_addresses addresses = {.text = {"127.0.0.2", "127.0.0.1"}, .count = 2};
    struct test_server server;
    int sockets[4];

    test_redis_start(&server, (const char *const[]){"--bind", "127.0.0.1", NULL});
    listen_beside(server.port, true, sockets);
    struct redis_conn *conn = conn_by_name(server.port, 1000, &addresses);
    const int64_t before_ms = clock_now_ms();
    assert_pong(conn);
    cr_assert_geq(clock_now_ms() - before_ms, 450);
    close_all(sockets);
    redis_conn_free(conn);
    test_server_stop(&server);
}

Test(redis_conn, an_address_that_takes_the_connection_and_never_answers_goes_last)
{
    struct redis_addresses addresses = {.text = {"127.0.0.2", "127.0.0.1"}, .count = 2};
    struct test_server server;
    int sockets[4];

    test_redis_start(&server, (const char *const[]){"--bind", "127.0.0.1", NULL});
    listen_beside(server.port, false, sockets);
    struct redis_conn *conn = conn_by_name(server.port, 1000, &addresses);
    redis_conn_set_command_timeout(conn, 50);
    assert_fails(conn, STATUS_TIMEOUT);
    redis_conn_set_command_timeout(conn, 2000);
    assert_pong(conn);
    close_all(sockets);
    redis_conn_free(conn);
    test_server_stop(&server);
}

Test(redis_conn, the_error_names_every_address_that_was_tried)
{
    struct redis_addresses addresses = {.text = {"127.0.0.2", "127.0.0.3"}, .count = 2};
    struct redis_conn *conn = conn_by_name(test_free_port(), 1000, &addresses);

    assert_fails(conn, STATUS_UNREACHABLE);
    assert_says("queue.test:");
    assert_says("cannot connect: 127.0.0.2: Connection refused, 127.0.0.3: Connection refused");
    redis_conn_free(conn);
}
