/* What workers cost Redis while there is nothing to do, and that nothing is late for it: real
 * processes, counted by Redis itself. */
#include <criterion/criterion.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "queue/enqueue.h"
#include "queue/operate.h"
#include "queue_fixture.h"

static struct error err;

enum {
    WORKERS_MAX = 3,
    PATIENCE_MS = 20000,
    WATCHED_MS = 6000,
    SETTLE_MS = 2000, /* the first looks of a new worker */
};

static pid_t workers[WORKERS_MAX];
static char program[512];

static void setup(void)
{
    queue_setup();
    test_program("stillhouse-worker", program);
}

static void teardown(void)
{
    for (int i = 0; i < WORKERS_MAX; i++) {
        if (workers[i] > 0) {
            kill(workers[i], SIGKILL);
            waitpid(workers[i], NULL, 0);
        }
    }
    queue_teardown();
}

TestSuite(idle, .init = setup, .fini = teardown, .timeout = 120);

static long long number(const char *command, const char *key)
{
    redisReply *reply = ask_reply(command, key, NULL);
    const long long value = reply->type == REDIS_REPLY_INTEGER ? reply->integer : -1;

    redis_reply_free(reply);
    return value;
}

static void start_worker(int i, const char *id)
{
    char log[300];

    snprintf(log, sizeof log, "%s/%s.log", redis.folder, id);
    workers[i] = test_spawn((const char *const[]){program, "--redis-url", redis.url, "--http",
                                                  "off", "--worker-id", id, "--queues",
                                                  "enrich,distill,index,echo", NULL},
                            log);
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    while (number("ZCARD", "sh:workers") < i + 1) {
        cr_assert_lt(clock_now_ms(), until_ms, "worker %s does not register", id);
        clock_sleep_ms(20);
    }
    clock_sleep_ms(SETTLE_MS);
}

static long long commands_processed(void)
{
    static const char name[] = "total_commands_processed:";
    redisReply *reply = ask_reply("INFO", "stats", NULL);
    const char *found = strstr(reply->str, name);

    cr_assert_not_null(found);
    const long long count = atoll(found + sizeof name - 1);
    redis_reply_free(reply);
    return count;
}

static long long commands_in_a_while(void)
{
    const long long before = commands_processed();

    clock_sleep_ms(WATCHED_MS);
    return commands_processed() - before - 1; /* the second INFO does not count itself */
}

/* Two a second for the first worker, a half for each further one. */
Test(idle, workers_with_nothing_to_do_leave_redis_alone)
{
    start_worker(0, "one");
    const long long one = commands_in_a_while();
    cr_assert_leq(one, 2 * WATCHED_MS / 1000, "%lld commands", one);
    start_worker(1, "two");
    start_worker(2, "three");
    const long long three = commands_in_a_while();
    cr_assert_leq(three, 3 * WATCHED_MS / 1000, "%lld commands", three);
}

/* An echo job that is due in `delay`, until it is done. */
static int64_t ms_until_done(const char *id, const char *delay)
{
    struct queue echo;
    struct queue_answer answer;
    struct queue_stats now;
    const int64_t begun_ms = clock_now_ms();
    const struct queue_item item = {text(id), text("legal"), text(delay), text("body")};

    OK(queue_init(&echo, "sh", "echo", &err));
    OK(queue_get_stats(conn, &echo, &now, &err));
    const int64_t done_before = now.counters[QUEUE_DONE];
    OK(queue_enqueue(conn, &(struct queue_items){&echo, 0, &item, 1}, &answer, &err));
    while (now.counters[QUEUE_DONE] == done_before) {
        cr_assert_lt(clock_now_ms() - begun_ms, PATIENCE_MS, "job %s is not done", id);
        clock_sleep_ms(5);
        OK(queue_get_stats(conn, &echo, &now, &err));
    }
    return clock_now_ms() - begun_ms;
}

Test(idle, a_job_that_is_due_before_all_others_is_not_slept_over)
{
    start_worker(0, "one");
    ask("FCALL", "sh_enqueue", "1", "sh:{echo}", "0", "far", "legal", "delay_ms=3600000", "body",
        NULL);
    cr_assert_lt(ms_until_done("near", "delay_ms=300"), 3000);
    cr_assert_str_eq(ask("LLEN", "sh:{echo}:wake", NULL), "0", "the token was heeded");
}

Test(idle, junk_in_the_keys_of_the_chores_makes_nothing_late_and_goes_away)
{
    static const char *const keys[] = {"sh:{echo}:wake",      "sh:{echo}:call", "sh:lease:{echo}",
                                       "sh:lease:worker:one", "sh:workers",     "sh:worker:one"};

    for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
        ask("HSET", keys[i], "junk", "junk", NULL);
    }
    start_worker(0, "one");
    cr_assert_lt(ms_until_done("first", "delay_ms=100"), 5000);
    for (size_t i = 0; i < 5; i++) {
        ask("DEL", keys[i], NULL);
        ask("HSET", keys[i], "junk", "junk", NULL);
    }
    cr_assert_lt(ms_until_done("second", "delay_ms=100"), 5000);
}

Test(idle, the_chores_of_a_worker_that_was_killed_are_done_by_another)
{
    start_worker(0, "one");
    cr_assert_str_eq(ask("GET", "sh:lease:{echo}", NULL), "one");
    start_worker(1, "two");
    cr_assert_str_eq(ask("GET", "sh:lease:{echo}", NULL), "one");
    kill(workers[0], SIGKILL);
    const int64_t took_ms = ms_until_done("due", "delay_ms=100");
    cr_assert_lt(took_ms, 8000, "%lld ms", (long long)took_ms);
    cr_assert_str_eq(ask("GET", "sh:lease:{echo}", NULL), "two");
    cr_assert_str_eq(ask("GET", "sh:lease:{distill}", NULL), "two", "and the others with it");
}

static void enqueue_due(void)
{
    ask("FCALL", "sh_enqueue", "1", "sh:{echo}", "0", "due", "legal", "delay_ms=100", "body", NULL);
}

static void check_due_job_is_moved(int64_t until_ms)
{
    while (number("ZCARD", "sh:{echo}:delayed") > 0) {
        cr_assert_lt(clock_now_ms(), until_ms, "the job that is due is not moved to its stream");
        clock_sleep_ms(20);
    }
}

/* Redis still holds its blocking read, which comes first and takes a token with it. */
Test(idle, a_worker_that_stands_still_takes_no_token_from_the_one_that_took_over)
{
    start_worker(0, "one");
    start_worker(1, "two");
    kill(workers[0], SIGSTOP);
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    while (strcmp(ask("GET", "sh:lease:{echo}", NULL), "two") != 0) {
        cr_assert_lt(clock_now_ms(), until_ms, "nobody takes over");
        clock_sleep_ms(20);
    }
    clock_sleep_ms(SETTLE_MS);
    enqueue_due();
    check_due_job_is_moved(until_ms);
}

/* The number of a client that blocks on a token, and how many do. */
static int listeners(char id[32])
{
    redisReply *reply = ask_reply("CLIENT", "LIST", NULL);
    int count = 0;
    char *rest = NULL;

    for (char *line = strtok_r(reply->str, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        if (strstr(line, " cmd=blpop ") != NULL) {
            snprintf(id, 32, "%.*s", (int)strcspn(line + 3, " "), line + 3);
            count++;
        }
    }
    redis_reply_free(reply);
    return count;
}

/* Redis may hold the blocking read of a connection that its worker has lost: here it is another's
 * that comes first and takes the token with it. */
Test(idle, a_worker_that_lost_its_connection_misses_no_job_for_a_token_that_went_there)
{
    char id[32];

    start_worker(0, "one");
    cr_assert_eq(listeners(id), 1);
    redisContext *gone = redisConnect("127.0.0.1", redis.port);
    cr_assert(gone != NULL && gone->err == 0);
    redisAppendCommand(gone, "BLPOP sh:{echo}:wake 60");
    int written = 0;
    cr_assert_eq(redisBufferWrite(gone, &written), REDIS_OK);
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    char any[32];
    while (listeners(any) < 2) {
        cr_assert_lt(clock_now_ms(), until_ms, "the other does not block");
        clock_sleep_ms(20);
    }
    ask("CLIENT", "KILL", "ID", id, NULL);
    clock_sleep_ms(SETTLE_MS);
    while (listeners(any) < 2) {
        cr_assert_lt(clock_now_ms(), until_ms, "the worker does not listen again");
        clock_sleep_ms(20);
    }
    clock_sleep_ms(SETTLE_MS);
    enqueue_due();
    check_due_job_is_moved(until_ms);
    redisFree(gone);
}

/* Ends every connection that does not block, but for our own. */
static void kill_those_that_do_not_block(void)
{
    char own[32];
    snprintf(own, sizeof own, "%lld", number("CLIENT", "ID"));
    redisReply *reply = ask_reply("CLIENT", "LIST", NULL);
    char *rest = NULL;

    for (char *line = strtok_r(reply->str, "\n", &rest); line != NULL;
         line = strtok_r(NULL, "\n", &rest)) {
        char id[32];
        snprintf(id, sizeof id, "%.*s", (int)strcspn(line + 3, " "), line + 3);
        if (strcmp(id, own) != 0 && strstr(line, " cmd=blpop ") == NULL &&
            strstr(line, " cmd=xreadgroup ") == NULL) {
            ask("CLIENT", "KILL", "ID", id, NULL);
        }
    }
    redis_reply_free(reply);
}

/* As after a failover: the new master has a job that the old one had promoted, and no token. */
Test(idle, who_comes_to_another_server_looks_for_due_jobs_there)
{
    start_worker(0, "one");
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    ask("MULTI", NULL);
    enqueue_due();
    ask("DEL", "sh:{echo}:wake", NULL);
    redis_reply_free(ask_reply("EXEC", NULL));
    kill_those_that_do_not_block();
    check_due_job_is_moved(until_ms);
}

/* A read that blocks for long is ended, not waited for. */
Test(idle, a_worker_with_nothing_to_do_ends_at_once)
{
    int state = 0;

    start_worker(0, "one");
    const int64_t told_ms = clock_now_ms();
    kill(workers[0], SIGTERM);
    cr_assert_eq(waitpid(workers[0], &state, 0), workers[0]);
    workers[0] = 0;
    cr_assert(WIFEXITED(state) && WEXITSTATUS(state) == 0);
    cr_assert_lt(clock_now_ms() - told_ms, 5000);
    cr_assert_str_eq(ask("EXISTS", "sh:lease:{echo}", NULL), "0", "its leases are free");
}
