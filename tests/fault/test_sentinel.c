/* A fleet and a producer behind a real Sentinel: the master dies or hangs, a replica takes its
 * place, and both go on by themselves. What the replica had acknowledged is not lost. */
#include "fleet_fixture.h"

#include <stdlib.h>

#include "queue/operate.h"
#include "redis/sentinel.h"
#include "stillhouse.h"

enum { SENTINELS = 3, JOBS = 200, AFTER = 50, FAILOVER_MS = 60000 };

static struct test_server nodes[2]; /* the master and its replica, as they begin */
static struct test_server sentinels[SENTINELS];
static stillhouse_client *producer;

static struct redis_conn *conn_to(const char *text)
{
    struct redis_url url;
    struct error err = {0};

    cr_assert_eq(redis_url_parse(text, &url, &err), STATUS_OK, "%s", err.text);
    struct redis_conn *made = redis_open(&url, (struct redis_timeouts){1000, 3000});
    cr_assert_not_null(made);
    return made;
}

/* Up to four words; NULL when it failed. */
static redisReply *say(struct redis_conn *to, const char *const *words)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;
    struct error err = {0};

    for (; *words != NULL; words++) {
        redis_args_str(&args, *words);
    }
    const enum status status = redis_conn_command(to, &args, &reply, &err);
    redis_args_free(&args);
    return status == STATUS_OK ? reply : NULL;
}

#define SAY(to, ...) say(to, (const char *const[]){__VA_ARGS__, NULL})

/* The value behind `name` in a flat list, as a number; -1 for none. */
static long long field(const redisReply *list, const char *name)
{
    for (size_t i = 0; list != NULL && i + 1 < list->elements; i += 2) {
        if (strcmp(list->element[i]->str, name) == 0) {
            return atoll(list->element[i + 1]->str);
        }
    }
    return -1;
}

/* A sentinel can fail over when it knows the replica and the other sentinels. */
static bool is_ready(const struct test_server *sentinel)
{
    struct redis_conn *to = conn_to(sentinel->url);
    redisReply *master = SAY(to, "SENTINEL", "MASTER", "main");
    redisReply *quorum = SAY(to, "SENTINEL", "CKQUORUM", "main");
    const bool ready = field(master, "num-slaves") == 1 &&
                       field(master, "num-other-sentinels") == SENTINELS - 1 && quorum != NULL;

    redis_reply_free(master);
    redis_reply_free(quorum);
    redis_conn_free(to);
    return ready;
}

static void start_replication(void)
{
    char port[16];

    test_redis_start(&nodes[0], NULL);
    snprintf(port, sizeof port, "%d", nodes[0].port);
    const char *const replica[] = {"--replicaof", "127.0.0.1", port, "--repl-diskless-sync-delay",
                                   "0",           NULL};
    test_redis_start(&nodes[1], replica);
    struct redis_conn *to = conn_to(nodes[1].url);
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    for (bool up = false; !up; clock_sleep_ms(POLL_MS)) {
        cr_assert(clock_now_ms() < until_ms, "the replica does not come up");
        redisReply *info = SAY(to, "INFO", "replication");
        up = info != NULL && strstr(info->str, "master_link_status:up") != NULL;
        redis_reply_free(info);
    }
    redis_conn_free(to);
}

static void start_sentinels(void)
{
    char config[400];

    snprintf(config, sizeof config,
             "sentinel monitor main 127.0.0.1 %d 2\nsentinel down-after-milliseconds main 500\n"
             "sentinel failover-timeout main 2000\nsentinel parallel-syncs main 1\n",
             nodes[0].port);
    for (int i = 0; i < SENTINELS; i++) {
        test_sentinel_start(&sentinels[i], config);
    }
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    for (int i = 0; i < SENTINELS; i++) {
        while (!is_ready(&sentinels[i])) {
            cr_assert(clock_now_ms() < until_ms, "the sentinels do not find each other");
            clock_sleep_ms(POLL_MS * 5);
        }
    }
}

static void sentinel_setup(void)
{
    struct error err = {0};

    log_set_level(LOG_ERROR);
    cr_assert_eq(http_global_init(&err), STATUS_OK, "%s", err.text);
    start_replication();
    start_sentinels();
    snprintf(redis.url, sizeof redis.url,
             "redis+sentinel://127.0.0.1:%d,127.0.0.1:%d,127.0.0.1:%d/main/0", sentinels[0].port,
             sentinels[1].port, sentinels[2].port);
    settings_defaults(&settings);
    snprintf(settings.redis_url, sizeof settings.redis_url, "%s", redis.url);
    settings.lanes = 2;
    settings.batch = 8;
    settings.visibility_ms = 1000;
    fleet_connect();
    const stillhouse_options options = {.size = sizeof options,
                                        .redis_url = redis.url,
                                        .connect_timeout_ms = 1000,
                                        .command_timeout_ms = 1000,
                                        .retry_ms = 50};
    cr_assert_eq(stillhouse_open(&options, &producer), STILLHOUSE_OK, "%s",
                 stillhouse_open_error());
}

static void sentinel_teardown(void)
{
    stillhouse_close(producer);
    chroma_free(chroma);
    embedder_free(embedder);
    redis_conn_free(conn);
    for (int i = 0; i < SENTINELS; i++) {
        test_server_stop(&sentinels[i]);
    }
    test_server_stop(&nodes[0]);
    test_server_stop(&nodes[1]);
}

TestSuite(sentinel, .init = sentinel_setup, .fini = sentinel_teardown, .timeout = 240);

static stillhouse_status enqueue_echo(int64_t delay_ms)
{
    stillhouse_job_options options = {.delay_ms = delay_ms};
    return stillhouse_enqueue_raw(producer, "echo", "legal", "x", 1, &options, NULL);
}

/* Everything sent so far stands on the replica. WAIT asks for the own connection's last write. */
static void wait_for_replica(void)
{
    redis_reply_free(SAY(conn, "SET", "marker", "1"));
    redisReply *reply = SAY(conn, "WAIT", "1", "2500");
    cr_assert(reply != NULL && reply->integer == 1, "the replica does not acknowledge");
    redis_reply_free(reply);
}

/* Enqueues until `count` were taken; returns how long the first one needed. */
static int64_t enqueue_after(int count, const char *what)
{
    const int64_t start_ms = clock_now_ms();
    int64_t first_ms = -1;
    int taken = 0;

    while (taken < count) {
        cr_assert(clock_now_ms() - start_ms < FAILOVER_MS,
                  "%s: the producer found no new master: %s", what, stillhouse_error(producer));
        if (enqueue_echo(0) == STILLHOUSE_OK) {
            taken++;
            first_ms = first_ms < 0 ? clock_now_ms() - start_ms : first_ms;
        } else {
            clock_sleep_ms(POLL_MS);
        }
    }
    return first_ms;
}

/* All that was enqueued is done, on the new master; its books balance. */
static void assert_all_done(int64_t at_least)
{
    const int64_t until_ms = clock_now_ms() + FAILOVER_MS;
    struct queue_stats stats;

    redis_conn_close(conn); /* whatever it is connected to: ask the sentinels */
    for (;; clock_sleep_ms(POLL_MS)) {
        struct queue queue = queue_named("echo");
        struct error err = {0};
        if (queue_get_stats(conn, &queue, &stats, &err) != STATUS_OK) {
            cr_assert(clock_now_ms() < until_ms, "%s", err.text); /* a sentinel may be behind */
            continue;
        }
        if (stats.counters[QUEUE_DONE] == stats.counters[QUEUE_ENQUEUED] && stats.delayed == 0) {
            break;
        }
        cr_assert(clock_now_ms() < until_ms,
                  "done %lld of %lld, waiting %lld, running %lld, delayed %lld",
                  (long long)stats.counters[QUEUE_DONE], (long long)stats.counters[QUEUE_ENQUEUED],
                  (long long)stats.waiting, (long long)stats.running, (long long)stats.delayed);
    }
    cr_assert_geq(stats.counters[QUEUE_ENQUEUED], at_least);
    cr_assert_eq(stats.waiting, 0);
    cr_assert_eq(stats.running, 0);
    cr_assert_eq(stats.dead, 0);
    const struct queue_balance balance = queue_check_balance(&stats);
    cr_assert_eq(balance.jobs, 0);
    cr_assert_eq(balance.dead, 0);
    cr_assert(fleet_is_alive(fleet));
    cr_assert(fleet_redis_ready(fleet));
}

/* Some are done, some run, some wait, some are delayed. */
static void enqueue_before(void)
{
    for (int i = 0; i < JOBS; i++) {
        cr_assert_eq(enqueue_echo(i % 4 == 0 ? 3000 : 0), STILLHOUSE_OK, "%s",
                     stillhouse_error(producer));
    }
    wait_for_replica();
}

static void assert_new_master(void)
{
    char where[32];

    snprintf(where, sizeof where, "127.0.0.1:%d/0", nodes[1].port);
    cr_assert_not_null(strstr(redis_conn_where(conn), where), "%s", redis_conn_where(conn));
}

Test(sentinel,
     when_the_master_is_killed_fleet_and_producer_go_on_with_the_new_one_and_nothing_is_lost)
{
    start_fleet();
    enqueue_before();
    test_server_kill(&nodes[0]);
    cr_assert_lt(enqueue_after(AFTER, "killed"), PATIENCE_MS);
    assert_all_done(JOBS + AFTER);
    assert_new_master();
    stop_fleet();
}

Test(sentinel, a_master_that_hangs_and_wakes_as_a_replica_is_left_for_good)
{
    start_fleet();
    enqueue_before();
    test_server_freeze(&nodes[0], true);
    cr_assert_lt(enqueue_after(AFTER, "frozen"), PATIENCE_MS);
    test_server_freeze(&nodes[0], false);

    /* Until it has been told its new role, it may take what then is thrown away. */
    struct redis_conn *old = conn_to(nodes[0].url);
    const int64_t until_ms = clock_now_ms() + FAILOVER_MS;
    for (bool replica = false; !replica; clock_sleep_ms(POLL_MS)) {
        cr_assert(clock_now_ms() < until_ms, "the old master is not made a replica");
        redisReply *role = SAY(old, "ROLE");
        replica = role != NULL && strcmp(role->element[0]->str, "slave") == 0;
        redis_reply_free(role);
    }
    redis_conn_free(old);
    cr_assert_lt(enqueue_after(AFTER, "woken"), PATIENCE_MS);
    assert_all_done(JOBS + 2 * AFTER);
    assert_new_master();
    stop_fleet();
}

Test(sentinel, with_one_sentinel_left_the_master_is_still_found)
{
    start_fleet();
    test_server_kill(&sentinels[0]);
    test_server_freeze(&sentinels[1], true);
    redis_conn_close(conn);
    cr_assert_lt(enqueue_after(AFTER, "one sentinel"), PATIENCE_MS);
    assert_all_done(AFTER);
    stop_fleet();
}
