/* The table of redis/conn.h, "what an error reply means": a test for each row, in which a server
 * answers it to a plain command, to a pipelined read, to an enqueue, to a finish, to a lane's
 * commit, to a worker's reader and to a producer. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "fake_server.h"
#include "process/settle.h"
#include "queue/enqueue.h"
#include "queue/queue.h"
#include "queue/settle.h"
#include "queue/take.h"
#include "reader/reader.h"
#include "redis/conn.h"
#include "stillhouse.h"

enum { STEPS_MAX = 32, COMMIT_TRIES = 4 };

/* How a connection goes on after the reply, and what commit does. */
enum connection { KEPT, LEFT };
enum commit { GIVES_UP, REPEATS, LOOKS_FOR_LIBRARY };

struct row {
    const char *reply; /* as on the wire */
    enum status status;
    enum connection connection;
    enum commit commit;
    stillhouse_status producer;
    const char *shown; /* in the message */
};

TestSuite(redis_errors, .timeout = 60);

static struct error err;
static struct queue queue;
static struct fake_step steps[STEPS_MAX];
static size_t step_count;
static struct fake_server *server;

/* ---- scripts --------------------------------------------------------------------------------- */

static void step(struct fake_step added)
{
    cr_assert_lt(step_count + 1, STEPS_MAX);
    steps[step_count++] = added;
    steps[step_count] = (struct fake_step)END;
}

static void answer(const char *expected, const char *reply)
{
    step((struct fake_step)EXPECT(expected));
    step((struct fake_step)SEND(reply));
}

static void start(void)
{
    server = fake_server_start(steps);
    step_count = 0;
}

static void stop(void)
{
    const char *fault = fake_server_stop(server);
    cr_assert_null(fault, "%s", fault);
}

/* Two replies to the same question: on one connection, or on two. */
static void script_twice(const struct row *row, const char *expected, const char *second)
{
    answer(expected, row->reply);
    if (row->connection == LEFT) {
        step((struct fake_step)ACCEPT);
    }
    answer(expected, second);
    start();
}

static struct redis_conn *connected(void)
{
    struct redis_url url;

    cr_assert_eq(redis_url_parse(fake_server_url(server, "redis"), &url, &err), STATUS_OK);
    struct redis_conn *conn = redis_conn_new(&url, (struct redis_timeouts){2000, 2000});
    cr_assert_not_null(conn);
    return conn;
}

/* The connection is as the row says, and the next call was answered. */
static void assert_went_on(const struct row *row, struct redis_conn *conn)
{
    cr_assert_eq(redis_conn_opened(conn), row->connection == LEFT ? 2 : 1);
    cr_assert_eq(fake_server_connections(server), row->connection == LEFT ? 2 : 1);
    redis_conn_free(conn);
    stop();
}

static void assert_refused(const struct row *row, const struct redis_conn *conn, enum status status)
{
    cr_assert_eq(status, row->status, "%s: %s: %s", row->reply, status_text(status), err.text);
    cr_assert_not_null(strstr(err.text, row->shown), "%s", err.text);
    cr_assert_eq(redis_conn_is_open(conn), row->connection == KEPT, "%s", row->reply);
}

/* ---- the connection and the queue's calls ---------------------------------------------------- */

static void check_command(const struct row *row)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    script_twice(row, "PING", "+PONG\r\n");
    struct redis_conn *conn = connected();
    redis_args_str(&args, "PING");
    assert_refused(row, conn, redis_conn_command(conn, &args, &reply, &err));
    cr_assert_null(reply);
    cr_assert_eq(redis_conn_command(conn, &args, &reply, &err), STATUS_OK, "%s", err.text);
    redis_reply_free(reply);
    redis_args_free(&args);
    assert_went_on(row, conn);
}

static void check_read(const struct row *row)
{
    const char *stream = queue.stream[JOB_NORMAL];
    redisReply *reply = NULL;

    script_twice(row, "XREADGROUP", "*-1\r\n");
    struct redis_conn *conn = connected();
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(queue_read_append(conn, &(struct queue_read){"me", 1, 0, &stream, 1}, &err),
                     STATUS_OK);
        cr_assert_eq(redis_conn_collect(conn, &reply, &err), STATUS_OK, "%s", err.text);
        const enum status status = redis_reply_status(reply, &err);
        redis_reply_free(reply);
        if (i == 0) {
            assert_refused(row, conn, status);
        } else {
            cr_assert_eq(status, STATUS_OK);
        }
    }
    assert_went_on(row, conn);
}

static void check_enqueue(const struct row *row)
{
    const struct queue_item item = {{"a", 1}, {"x", 1}, {"", 0}, {"", 0}};
    struct queue_answer taken;

    script_twice(row, "sh_enqueue", "*1\r\n$1\r\na\r\n");
    struct redis_conn *conn = connected();
    assert_refused(row, conn,
                   queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &taken, &err));
    cr_assert_eq(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &taken, &err),
                 STATUS_OK, "%s", err.text);
    assert_went_on(row, conn);
}

static void check_finish(const struct row *row)
{
    const struct job job = {.id = {"a", 1}, .entry = {"1-1", 3}, .deliveries = 1};
    struct queue_end finish = {.job = &job};

    script_twice(row, "sh_done", ":1\r\n");
    struct redis_conn *conn = connected();
    assert_refused(row, conn,
                   queue_finish(conn, &(struct queue_holder){.queue = &queue, .consumer = "me"},
                                &finish, 1, &err));
    cr_assert_eq(finish.fate, QUEUE_LOST);
    cr_assert_eq(queue_finish(conn, &(struct queue_holder){.queue = &queue, .consumer = "me"},
                              &finish, 1, &err),
                 STATUS_OK, "%s", err.text);
    cr_assert_eq(finish.fate, QUEUE_MOVED);
    assert_went_on(row, conn);
}

/* ---- a worker -------------------------------------------------------------------------------- */

static bool never(void *context)
{
    (void)context;
    return false;
}

/* Commits one job that is done; returns whether it was counted as such. */
static bool commit_one(void)
{
    struct settings settings;
    struct context ctx = {.settings = &settings, .metrics = metrics_new()};
    static const struct handler handler;
    const struct settling target = {{&queue, "me", "worker"}, &handler, never, NULL};
    const struct job job = {.id = {"a", 1}, .entry = {"1-1", 3}, .deliveries = 1};
    struct task task = {.job = &job, .verdict = VERDICT_DONE};
    struct strbuf text = {0};

    settings_defaults(&settings);
    metrics_add_queue(ctx.metrics, queue.name);
    queue.series = metrics_queue_of(ctx.metrics, queue.name);
    ctx.clients.redis = connected();
    const bool committed = settle(&ctx, &target, &task, 1);
    metrics_render(ctx.metrics, &text);
    const bool done = strstr(text.data, "jobs_total{queue=\"echo\",outcome=\"done\"} 1\n") != NULL;
    cr_assert_eq(committed, done);
    strbuf_free(&text);
    arena_free(&ctx.arena);
    redis_conn_free(ctx.clients.redis);
    metrics_free(ctx.metrics);
    return done;
}

static void script_commit(const struct row *row)
{
    answer("sh_done", row->reply);
    for (int i = 2; i <= COMMIT_TRIES && row->commit == REPEATS; i++) {
        if (row->connection == LEFT) {
            step((struct fake_step)ACCEPT);
        }
        answer("sh_done", i < COMMIT_TRIES ? row->reply : ":1\r\n");
    }
    if (row->commit == LOOKS_FOR_LIBRARY) {
        answer("sh_version", ":999999\r\n");
        answer("sh_done", ":1\r\n");
    }
    start();
}

/* Also where the second refusal is the same: it is not repeated for ever. */
static void check_commit(const struct row *row)
{
    script_commit(row);
    cr_assert_eq(commit_one(), row->commit != GIVES_UP, "%s", row->reply);
    cr_assert_eq(fake_server_saw(server, "sh_version"), row->commit == LOOKS_FOR_LIBRARY);
    stop();
    if (row->commit == LOOKS_FOR_LIBRARY) {
        answer("sh_done", row->reply);
        answer("sh_version", ":999999\r\n");
        answer("sh_done", row->reply);
        start();
        cr_assert_not(commit_one());
        stop();
    }
}

/* A reader of one queue on the scripted server. */
struct own_reader {
    struct settings settings;
    struct metrics *metrics;
    struct upstreams *upstreams;
    struct reader *reader;
    struct takes *takes;
};

/* What it asks before its first read of jobs. */
static void answer_until_read(void)
{
    answer("sh_version", ":999999\r\n");
    answer("sh_prepare", "+OK\r\n");
    step((struct fake_step)EXPECT("ID"));
    answer("UNBLOCK", ":7\r\n:0\r\n");
    for (int i = 0; i < JOB_PRIORITIES; i++) {
        answer("XPENDING", "*0\r\n");
    }
    step((struct fake_step)EXPECT("XREADGROUP"));
}

static void open_reader(struct own_reader *own)
{
    *own = (struct own_reader){.metrics = metrics_new(), .takes = calloc(1, sizeof *own->takes)};
    cr_assert_not_null(own->takes);
    own->takes->consumer = "me";
    settings_defaults(&own->settings);
    snprintf(own->settings.redis_url, sizeof own->settings.redis_url, "%s",
             fake_server_url(server, "redis"));
    own->upstreams = upstreams_new(&own->settings, own->metrics);
    const struct reader_config config = {.settings = &own->settings,
                                         .metrics = own->metrics,
                                         .upstreams = own->upstreams,
                                         .queues = &queue,
                                         .queue_count = 1,
                                         .worker_id = "worker"};
    cr_assert_eq(reader_new(&config, &own->reader, &err), STATUS_OK, "%s", err.text);
}

static void close_reader(struct own_reader *own)
{
    reader_free(own->reader);
    upstreams_free(own->upstreams);
    metrics_free(own->metrics);
    takes_free(own->takes);
    free(own->takes);
}

/* The reader closes, backs off, and prepares everything anew before it reads again. */
static void check_reader(const struct row *row)
{
    struct own_reader own;

    if (strstr(row->reply, "WRONGTYPE") != NULL) {
        return; /* that is one queue's trouble:
                   a_queue_with_a_key_of_another_type_is_set_aside_alone */
    }
    answer_until_read();
    answer("EXISTS", row->reply);
    step((struct fake_step)EXPECT_CLOSE);
    answer("sh_version", ":999999\r\n");
    answer("sh_prepare", row->reply);
    step((struct fake_step)EXPECT_CLOSE);
    step((struct fake_step)EXPECT("sh_version"));
    step((struct fake_step)CLOSE);
    start();

    open_reader(&own);
    for (int i = 1; i <= 3; i++) {
        const int64_t before_ms = clock_now_ms();
        cr_assert_not(reader_take(own.reader, own.takes, never, NULL));
        cr_assert_not(reader_is_connected(own.reader));
        cr_assert_geq(clock_now_ms() - before_ms, 49, "it backs off");
        cr_assert_eq(fake_server_connections(server), i);
    }
    close_reader(&own);
    stop();
}

/* ---- a producer ------------------------------------------------------------------------------ */

static void check_producer(const struct row *row)
{
    stillhouse_client *client = NULL;

    answer("sh_enqueue", row->reply);
    if (row->connection == KEPT) {
        answer("sh_enqueue", "*1\r\n$3\r\none\r\n");
    }
    start();
    const stillhouse_options options = {.size = sizeof options,
                                        .redis_url = fake_server_url(server, "redis"),
                                        .connect_timeout_ms = 2000,
                                        .command_timeout_ms = 2000,
                                        .retry_ms = 60000};
    cr_assert_eq(stillhouse_open(&options, &client), STILLHOUSE_OK, "%s", stillhouse_open_error());
    cr_assert_eq(stillhouse_enqueue_raw(client, "echo", "legal", "x", 1, NULL, NULL), row->producer,
                 "%s: %s", row->reply, stillhouse_error(client));
    const stillhouse_status next =
        stillhouse_enqueue_raw(client, "echo", "legal", "x", 1, NULL, NULL);
    if (row->connection == KEPT) {
        cr_assert_eq(next, STILLHOUSE_OK, "%s", stillhouse_error(client));
    } else {
        cr_assert_eq(next, STILLHOUSE_UNREACHABLE);
        cr_assert_not_null(strstr(stillhouse_error(client), "not tried again for"));
    }
    cr_assert_eq(fake_server_connections(server), 1);
    stillhouse_close(client);
    stop();
}

static void check(const struct row *row)
{
    log_set_level(LOG_ERROR);
    cr_assert_eq(queue_init(&queue, "sh", "echo", &err), STATUS_OK);
    check_command(row);
    check_read(row);
    check_enqueue(row);
    check_finish(row);
    check_commit(row);
    check_reader(row);
    check_producer(row);
}

/* ROW(what the row says, reply, status, connection, commit, producer, shown) */
#define ROW(name, reply, status, connection, commit, producer, shown)                              \
    Test(redis_errors, name)                                                                       \
    {                                                                                              \
        const struct row row = {"-" reply "\r\n", status, connection, commit, producer, shown};    \
        check(&row);                                                                               \
    }

/* ---- not now, and it passes by itself -------------------------------------------------------- */

ROW(busy_passes_by_itself, "BUSY Redis is busy running a script.", STATUS_UNAVAILABLE, KEPT,
    REPEATS, STILLHOUSE_UNREACHABLE, "BUSY")
ROW(tryagain_passes_by_itself, "TRYAGAIN Multiple keys request during rehashing of slot",
    STATUS_UNAVAILABLE, KEPT, REPEATS, STILLHOUSE_UNREACHABLE, "TRYAGAIN")
ROW(clusterdown_passes_by_itself, "CLUSTERDOWN The cluster is down", STATUS_UNAVAILABLE, KEPT,
    REPEATS, STILLHOUSE_UNREACHABLE, "CLUSTERDOWN")

/* ---- not this server, now -------------------------------------------------------------------- */

ROW(a_server_that_is_loading_is_left, "LOADING Redis is loading the dataset in memory",
    STATUS_UNAVAILABLE, LEFT, REPEATS, STILLHOUSE_UNREACHABLE, "LOADING")
ROW(a_replica_without_its_master_is_left,
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    STATUS_UNAVAILABLE, LEFT, REPEATS, STILLHOUSE_UNREACHABLE, "MASTERDOWN")
ROW(a_server_that_cannot_save_is_left,
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist.",
    STATUS_UNAVAILABLE, LEFT, REPEATS, STILLHOUSE_UNREACHABLE, "MISCONF")
ROW(a_master_that_lost_its_replicas_is_left, "NOREPLICAS Not enough good replicas to write.",
    STATUS_UNAVAILABLE, LEFT, REPEATS, STILLHOUSE_UNREACHABLE, "NOREPLICAS")
ROW(a_replica_is_left, "READONLY You can't write against a read only replica.", STATUS_UNAVAILABLE,
    LEFT, REPEATS, STILLHOUSE_UNREACHABLE, "READONLY")
ROW(a_server_that_changed_its_role_while_we_waited_is_left,
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
    STATUS_UNAVAILABLE, LEFT, REPEATS, STILLHOUSE_UNREACHABLE, "UNBLOCKED")

ROW(a_server_without_room_for_a_client_is_left, "ERR max number of clients reached",
    STATUS_UNAVAILABLE, LEFT, REPEATS, STILLHOUSE_UNREACHABLE, "max number of clients")

/* ---- no -------------------------------------------------------------------------------------- */

ROW(out_of_memory_is_no_outage, "OOM command not allowed when used memory > 'maxmemory'.",
    STATUS_OOM, KEPT, GIVES_UP, STILLHOUSE_FAILED, "OOM")
ROW(a_group_that_is_gone_is_not_found, "NOGROUP No such key 'k' or consumer group 'fleet'",
    STATUS_NOT_FOUND, KEPT, GIVES_UP, STILLHOUSE_NOT_FOUND, "NOGROUP")
ROW(our_functions_say_full, "SHFULL queue \"x\": 9 jobs wait already", STATUS_FULL, KEPT, GIVES_UP,
    STILLHOUSE_FULL, "queue \"x\": 9 jobs wait already")
ROW(our_functions_say_invalid, "SHINVALID id \"\": expected more", STATUS_INVALID, KEPT, GIVES_UP,
    STILLHOUSE_INVALID, "id \"\": expected more")
ROW(a_function_that_is_gone_is_looked_for, "ERR Function not found", STATUS_REFUSED, KEPT,
    LOOKS_FOR_LIBRARY, STILLHOUSE_FAILED, "Function not found")
ROW(a_script_that_is_gone_is_a_refusal, "NOSCRIPT No matching script. Please use EVAL.",
    STATUS_REFUSED, KEPT, LOOKS_FOR_LIBRARY, STILLHOUSE_FAILED, "NOSCRIPT")
ROW(a_missing_login_is_a_refusal, "NOAUTH Authentication required.", STATUS_REFUSED, KEPT,
    LOOKS_FOR_LIBRARY, STILLHOUSE_FAILED, "NOAUTH")
ROW(a_wrong_password_is_a_refusal, "WRONGPASS invalid username-password pair or user is disabled.",
    STATUS_REFUSED, KEPT, LOOKS_FOR_LIBRARY, STILLHOUSE_FAILED, "WRONGPASS")
ROW(a_missing_permission_is_a_refusal,
    "NOPERM this user has no permissions to run the 'fcall' command", STATUS_REFUSED, KEPT,
    LOOKS_FOR_LIBRARY, STILLHOUSE_FAILED, "NOPERM")
ROW(a_key_of_another_kind_is_a_refusal,
    "WRONGTYPE Operation against a key holding the wrong kind of value", STATUS_REFUSED, KEPT,
    LOOKS_FOR_LIBRARY, STILLHOUSE_FAILED, "WRONGTYPE")
ROW(a_cluster_that_moves_us_is_refused_clearly, "MOVED 3999 127.0.0.1:6381", STATUS_REFUSED, KEPT,
    LOOKS_FOR_LIBRARY, STILLHOUSE_FAILED,
    "MOVED 3999 127.0.0.1:6381: a Redis Cluster, whose redirections are not followed")
ROW(a_cluster_that_asks_us_on_is_refused_clearly, "ASK 3999 127.0.0.1:6381", STATUS_REFUSED, KEPT,
    LOOKS_FOR_LIBRARY, STILLHOUSE_FAILED, "whose redirections are not followed")
ROW(an_aborted_transaction_is_a_refusal,
    "EXECABORT Transaction discarded because of previous errors.", STATUS_REFUSED, KEPT,
    LOOKS_FOR_LIBRARY, STILLHOUSE_FAILED, "EXECABORT")
ROW(any_other_error_is_a_refusal, "ERR syntax error", STATUS_REFUSED, KEPT, LOOKS_FOR_LIBRARY,
    STILLHOUSE_FAILED, "ERR syntax error")
ROW(a_word_that_nobody_knows_is_a_refusal, "OOMPH what is this", STATUS_REFUSED, KEPT,
    LOOKS_FOR_LIBRARY, STILLHOUSE_FAILED, "OOMPH what is this")

/* ---- what only the reader and commit do ------------------------------------------------------ */

Test(redis_errors, commit_loads_the_library_that_is_gone_and_finishes)
{
    log_set_level(LOG_ERROR);
    cr_assert_eq(queue_init(&queue, "sh", "echo", &err), STATUS_OK);
    answer("sh_done", "-ERR Function not found\r\n");
    answer("sh_version", "-ERR Function not found\r\n");
    answer("INFO", "$21\r\nredis_version:7.0.15\n\r\n");
    answer("LOAD", "$10\r\nstillhouse\r\n");
    answer("sh_version", ":1000\r\n");
    answer("sh_done", ":1\r\n");
    start();
    cr_assert(commit_one());
    stop();
}

Test(redis_errors, commit_that_may_not_load_the_library_leaves_the_job_pending)
{
    log_set_level(LOG_ERROR);
    cr_assert_eq(queue_init(&queue, "sh", "echo", &err), STATUS_OK);
    answer("sh_done", "-NOPERM no\r\n");
    answer("sh_version", "-NOPERM no\r\n");
    start();
    cr_assert_not(commit_one());
    stop();
}

Test(redis_errors, jobs_that_came_before_a_failure_of_the_same_turn_are_worked_on)
{
    static const char jobs[] =
        "*1\r\n*2\r\n$19\r\nsh:{echo}:jobs:high\r\n*1\r\n*2\r\n$3\r\n1-1\r\n"
        "*10\r\n$2\r\nid\r\n$1\r\na\r\n$6\r\ndomain\r\n$1\r\nx\r\n$7\r\nattempt\r\n$1\r\n0\r\n"
        "$7\r\noptions\r\n$0\r\n\r\n$4\r\nbody\r\n$1\r\nb\r\n";
    struct own_reader own;

    log_set_level(LOG_ERROR);
    cr_assert_eq(queue_init(&queue, "sh", "echo", &err), STATUS_OK);
    answer_until_read();
    answer("EXISTS", jobs);
    step((struct fake_step)CLOSE);
    start();
    open_reader(&own);
    cr_assert(reader_take(own.reader, own.takes, never, NULL));
    cr_assert_eq(own.takes->count, 1);
    cr_assert_eq(own.takes->each[0].batch.count, 1);
    cr_assert_eq(memcmp(own.takes->each[0].batch.jobs[0].body.data, "b", 1), 0);
    cr_assert_not(reader_is_connected(own.reader));
    close_reader(&own);
    stop();
}
