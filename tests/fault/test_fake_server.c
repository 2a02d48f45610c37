/* The scripted server must fail a test that deserves it: its faults, seen from a plain socket. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "fake_server.h"

static int dial(const struct fake_server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)fake_server_port(server)),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    cr_assert_geq(fd, 0);
    cr_assert_eq(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

static void say(int fd, const char *text)
{
    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void hear(int fd, const char *text)
{
    char heard[256];
    size_t bytes = strlen(text);
    cr_assert_eq(recv(fd, heard, bytes, MSG_WAITALL), (ssize_t)bytes);
    cr_assert_eq(memcmp(heard, text, bytes), 0);
}

static void hear_the_end(int fd)
{
    char heard;
    cr_assert_leq(recv(fd, &heard, 1, 0), 0);
    close(fd);
}

static void assert_fault(struct fake_server *server, const char *text)
{
    const char *fault = fake_server_stop(server);
    cr_assert_not_null(fault, "no fault was reported");
    cr_assert_not_null(strstr(fault, text), "\"%s\" lacks \"%s\"", fault, text);
}

Test(fake_server, a_script_in_the_protocol_of_redis)
{
    static const struct fake_step script[] = {
        EXPECT("PING\r\n"),
        SEND("+PONG\r\n"),
        EXPECT("QUIT"),
        SEND_SLOWLY("+OK\r\n", 1),
        EXPECT_CLOSE,
        EXPECT("AUTH"),
        RST,
        EXPECT("PING\r\n"),
        SEND_BYTES("\0\1\0", 3),
        CLOSE,
        END,
    };
    struct fake_server *server = fake_server_start(script);
    cr_assert_eq(strncmp(fake_server_url(server, "redis"), "redis://127.0.0.1:", 18), 0);
    int fd = dial(server);
    say(fd, "PING\r\nQUIT\r\n");
    hear(fd, "+PONG\r\n+OK\r\n");
    close(fd);
    fd = dial(server);
    say(fd, "AUTH");
    hear_the_end(fd);
    fd = dial(server);
    say(fd, "PING\r\n");
    char bytes[3];
    cr_assert_eq(recv(fd, bytes, 3, MSG_WAITALL), 3);
    cr_assert_eq(memcmp(bytes, "\0\1\0", 3), 0);
    hear_the_end(fd);

    cr_assert(fake_server_saw(server, "AUTH"));
    cr_assert_not(fake_server_saw(server, "SELECT"));
    cr_assert_eq(fake_server_connections(server), 3);
    const char *fault = fake_server_stop(server);
    cr_assert_null(fault, "%s", fault);
}

Test(fake_server, an_expectation_that_was_not_met_is_reported_with_what_came_instead)
{
    static const struct fake_step script[] = {EXPECT("PING"), EXPECT("SELECT 1"), END};
    struct fake_server *server = fake_server_start(script);
    int fd = dial(server);
    say(fd, "PING\r\nSELECT 2\r\n");
    close(fd);
    int64_t deadline_ms = clock_now_ms() + 5000;
    while (!fake_server_saw(server, "SELECT 2") && clock_now_ms() < deadline_ms) {
        clock_sleep_ms(1);
    }
    assert_fault(server, "step 2 (EXPECT \"SELECT 1\")");
}

Test(fake_server, bytes_are_used_up_by_the_expectation_they_met)
{
    static const struct fake_step script[] = {EXPECT("PING"), EXPECT("PING"), SEND("+OK"), END};
    struct fake_server *server = fake_server_start(script);
    int fd = dial(server);
    say(fd, "PING");
    shutdown(fd, SHUT_WR);
    hear_the_end(fd);
    assert_fault(server, "step 2 (EXPECT \"PING\"): the client closed the connection");
}

Test(fake_server, a_client_that_never_comes_is_reported)
{
    static const struct fake_step script[] = {EXPECT("PING"), END};
    assert_fault(fake_server_start(script), "nobody connected");
}

Test(fake_server, a_client_that_does_not_come_again_is_reported)
{
    static const struct fake_step script[] = {EXPECT("PING"), SEND("!"), ACCEPT, END};
    struct fake_server *server = fake_server_start(script);
    int fd = dial(server);
    say(fd, "PING");
    hear(fd, "!");
    hear_the_end(fd);
    assert_fault(server, "step 3 (ACCEPT \"\"): nobody connected");
}

Test(fake_server, a_client_that_does_not_close_is_reported)
{
    static const struct fake_step script[] = {EXPECT("PING"), SEND("!"), EXPECT_CLOSE, END};
    struct fake_server *server = fake_server_start(script);
    int fd = dial(server);
    say(fd, "PING");
    hear(fd, "!");
    assert_fault(server, "the client did not close");
    close(fd);
}

Test(fake_server, a_loop_plays_on_over_many_connections)
{
    static const struct fake_step script[] = {EXPECT("PING"), ANSWER("200 OK", "pong"), LOOP};
    struct fake_server *server = fake_server_start(script);
    for (int i = 0; i < 3; i++) {
        int fd = dial(server);
        for (int j = 0; j < 2; j++) {
            say(fd, "PING");
            hear(fd, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\npong");
        }
        close(fd);
    }
    const char *fault = fake_server_stop(server);
    cr_assert_null(fault, "%s", fault);
}

Test(fake_server, a_loop_that_was_not_played_once_is_reported)
{
    static const struct fake_step script[] = {EXPECT("PING"), LOOP};
    assert_fault(fake_server_start(script), "nobody connected");
}

Test(fake_server, a_client_that_leaves_a_flood_is_no_fault)
{
    static const struct fake_step script[] = {EXPECT("PING"), FLOOD("0123456789abcdef", 1000000),
                                              EXPECT("PING"), SEND_SLOWLY("0123456789", 20),
                                              EXPECT("PING"), SEND("!"),
                                              HANG,           END};
    struct fake_server *server = fake_server_start(script);
    int fd = dial(server);
    say(fd, "PING");
    hear(fd, "0123456789abcdef");
    close(fd);
    fd = dial(server);
    say(fd, "PING");
    hear(fd, "01");
    struct linger linger = {.l_onoff = 1, .l_linger = 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    close(fd);
    fd = dial(server);
    say(fd, "PING");
    hear(fd, "!");
    const char *fault = fake_server_stop(server);
    cr_assert_null(fault, "%s", fault);
    close(fd);
}
