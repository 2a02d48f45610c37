/* redis_conn_fixture.h - one connection, and what it says. */
#ifndef STILLHOUSE_TESTS_REDIS_CONN_FIXTURE_H
#define STILLHOUSE_TESTS_REDIS_CONN_FIXTURE_H

#include <criterion/criterion.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "fake_server.h"
#include "ok.h"
#include "queue/queue.h"
#include "redis/conn.h"
#include "servers.h"

static struct error err;

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

#endif
