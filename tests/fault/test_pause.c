/* A process that is stopped for longer than its deadlines (SIGSTOP, a paused machine): what arrived
 * meanwhile is still read. A fork stands for it. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "redis/conn.h"
#include "servers.h"

enum { BOUND_MS = 1000, VALUE_BYTES = 200 * 1024, PATIENCE_MS = 10000 };

static struct test_server redis;

static void setup(void)
{
    test_redis_start(&redis, NULL);
}

static void teardown(void)
{
    test_server_stop(&redis);
}

TestSuite(pause, .init = setup, .fini = teardown, .timeout = 60);

static struct redis_conn *connect_redis(int command_ms)
{
    struct redis_url url;
    struct error err = {0};

    if (redis_url_parse(redis.url, &url, &err) != STATUS_OK) {
        return NULL;
    }
    return redis_conn_new(&url, (struct redis_timeouts){2000, command_ms});
}

static enum status command(struct redis_conn *conn, const char *const *words, redisReply **reply,
                           struct error *err)
{
    struct redis_args args = {0};

    for (; *words != NULL; words++) {
        redis_args_str(&args, *words);
    }
    const enum status status = redis_conn_command(conn, &args, reply, err);
    redis_args_free(&args);
    return status;
}

/* Waits for a value, and says by its exit code whether it came whole. */
static _Noreturn void be_the_process(void)
{
    struct redis_conn *conn = connect_redis(BOUND_MS);
    redisReply *reply = NULL;
    struct error err = {0};

    if (conn == NULL ||
        command(conn, (const char *[]){"BLPOP", "list", "0", NULL}, &reply, &err) != STATUS_OK) {
        fprintf(stderr, "the child: %s\n", err.text);
        _exit(1);
    }
    _exit(reply->elements == 2 && reply->element[1]->len == VALUE_BYTES ? 0 : 2);
}

static void wait_until_blocked(struct redis_conn *conn)
{
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    bool blocked = false;

    while (!blocked) {
        redisReply *reply = NULL;
        struct error err = {0};
        cr_assert_lt(clock_now_ms(), until_ms, "the child does not wait for the list");
        cr_assert_eq(command(conn, (const char *[]){"INFO", "clients", NULL}, &reply, &err),
                     STATUS_OK, "%s", err.text);
        blocked = strstr(reply->str, "blocked_clients:1") != NULL;
        redis_reply_free(reply);
    }
}

Test(pause, an_answer_that_came_while_the_process_was_stopped_is_read_whole)
{
    struct redis_conn *conn = connect_redis(5000);
    char *value = malloc(VALUE_BYTES + 1);
    redisReply *reply = NULL;
    struct error err = {0};
    int state = 0;
    const pid_t child = fork();

    if (child == 0) {
        be_the_process();
    }
    memset(value, 'v', VALUE_BYTES);
    value[VALUE_BYTES] = '\0';
    wait_until_blocked(conn);
    cr_assert_eq(kill(child, SIGSTOP), 0);
    cr_assert_eq(waitpid(child, &state, WUNTRACED), child);
    cr_assert(WIFSTOPPED(state), "it ended before it was stopped");
    cr_assert_eq(command(conn, (const char *[]){"RPUSH", "list", value, NULL}, &reply, &err),
                 STATUS_OK, "%s", err.text);
    redis_reply_free(reply);
    clock_sleep_ms(BOUND_MS + BOUND_MS / 2); /* the pause itself */
    cr_assert_eq(kill(child, SIGCONT), 0);
    cr_assert_eq(waitpid(child, &state, 0), child);
    cr_assert(WIFEXITED(state));
    cr_assert_eq(WEXITSTATUS(state), 0, "exit code %d", WEXITSTATUS(state));
    free(value);
    redis_conn_free(conn);
}
