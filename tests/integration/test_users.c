/* The Redis users of deploy/redis: what each must be able to do with the programs, and what not. */
#include "cli_fixture.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "queue/enqueue.h"

enum { PATIENCE_MS = 20000, POLL_MS = 20 };

static struct test_server chroma;
static char folder[200];

static int make_users(const char *const *words)
{
    char program[512];
    const char *argv[12] = {program, folder};
    const char *source = getenv("STILLHOUSE_TEST_SOURCE");

    cr_assert_not_null(source);
    snprintf(program, sizeof program, "%s/deploy/redis/make-users", source);
    for (size_t i = 2; *words != NULL && i < 11; i++) {
        argv[i] = *words++;
    }
    return test_run(argv, NULL, out, sizeof out, err_out, sizeof err_out);
}

/* The URL that make-users wrote, with the port that Redis really has. */
static const char *url_of(const char *user, char url[200])
{
    char path[300];
    char text[200] = "";

    snprintf(path, sizeof path, "%s/%s.url", folder, user);
    FILE *file = fopen(path, "re");
    cr_assert_not_null(file, "%s", path);
    cr_assert_not_null(fgets(text, sizeof text, file));
    fclose(file);
    char *address = strstr(text, "@127.0.0.1:1/0");
    cr_assert_not_null(address, "%s", text);
    *address = '\0';
    snprintf(url, 200, "%s@127.0.0.1:%d/0", text, redis.port);
    return url;
}

static struct redis_conn *connect_as(const char *user)
{
    char text[200];
    struct redis_url url;

    cr_assert_eq(redis_url_parse(url_of(user, text), &url, NULL), STATUS_OK);
    struct redis_conn *made = redis_conn_new(&url, (struct redis_timeouts){3000, 5000});
    cr_assert_not_null(made);
    return made;
}

static void become(const char *user)
{
    char url[200];
    setenv("STILLHOUSE_REDIS_URL", url_of(user, url), 1);
}

static void setup(void)
{
    char file[300];

    test_folder_make(folder, sizeof folder);
    cr_assert_eq(make_users(WORDS("127.0.0.1:1", "producer=enrich,distill,index,echo",
                                  "acme=enrich.7,distill.7@acme-*")),
                 0, "%s", err_out);
    snprintf(file, sizeof file, "%s/users.acl", folder);
    test_redis_start(&redis, WORDS("--aclfile", file));
    conn = connect_as("admin");
    become("operator");
}

static void teardown(void)
{
    redis_teardown();
    test_folder_remove(folder);
}

TestSuite(users, .init = setup, .fini = teardown, .timeout = 120);

/* ---- what they must do ----------------------------------------------------------------------- */

static pid_t start_as_worker(void)
{
    char program[512];
    char url[200];
    char log[300];

    snprintf(log, sizeof log, "%s/worker.log", redis.folder);
    return test_spawn(WORDS(test_program("stillhouse-worker", program), "--redis-url",
                            url_of("worker", url), "--chroma-url", chroma.url, "--queues",
                            "enrich,distill,index,echo,enrich.7", "--http", "off", "--visibility",
                            "1s"),
                      log);
}

static void wait_for_number(const char *path, double at_least)
{
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;

    while (stat_of(path) < at_least) {
        cr_assert(clock_now_ms() < until_ms, "%s stays at %g", path, stat_of(path));
        clock_sleep_ms(POLL_MS);
    }
}

/* Every refusal is noted by Redis, also one that a function swallows. */
static void assert_nothing_was_refused(void)
{
    redisReply *reply = COMMAND("ACL", "LOG");

    cr_assert_eq(reply->type, REDIS_REPLY_ARRAY);
    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *entry = reply->element[i];
        char text[512] = "";
        for (size_t j = 0; j + 1 < entry->elements; j += 2) {
            const redisReply *value = entry->element[j + 1];
            const size_t used = strlen(text);
            if (value->type == REDIS_REPLY_STRING) {
                snprintf(text + used, sizeof text - used, "%s=%s ", entry->element[j]->str,
                         value->str);
            }
        }
        cr_assert_fail("refused: %s", text);
    }
    redis_reply_free(reply);
}

static void work_as_producer(void)
{
    become("producer");
    RUN(0, "enqueue", "enrich", "--domain", "legal", "--query", "notice period", "--wait", "10s");
    RUN(0, "enqueue", "distill", "--domain", "legal", "--task-id", "t1", "--prompt", "notice",
        "--result", "three months");
    RUN(0, "enqueue", "distill", "--domain", "legal", "--task-id", "t2", "--prompt", "notice",
        "--result", "never", "--quality", "0.1");
    RUN(0, "enqueue", "enrich", "--domain", "legal", "--query", "later", "--delay", "300ms",
        "--priority", "high");
    RUN_WITH(0, "{\"query\":\"one a line\"}\n", "enqueue", "enrich", "--domain", "legal", "--jsonl",
             "-");
    RUN_WITH(0, "base", "prompt", "--domain", "legal", "--query", "notice", "--base", "-", "--wait",
             "5s");
    RUN(0, "result", "--domain", "legal", "--query", "notice period");
    RUN(0, "ping", "--count", "2");
}

static void work_as_operator(void)
{
    become("operator");
    wait_for_number("queues.distill.counters.buried", 1);
    RUN(0, "stats");
    RUN(0, "workers");
    RUN(0, "verify");
    RUN(0, "pause", "echo");
    RUN(0, "peek", "echo");
    RUN(0, "resume", "echo");
    RUN(0, "dead", "list", "distill");
    RUN(0, "dead", "requeue", "distill", "--all");
    wait_for_number("queues.distill.counters.buried", 2);
    RUN(0, "dead", "discard", "distill", "--all");
    RUN(0, "resume", "distill", "--parked");
    RUN(0, "pause", "index");
    become("producer");
    RUN_WITH(0, "{\"documents\":[{\"id\":\"d\",\"text\":\"t\"}]}\n", "enqueue", "index", "--domain",
             "legal", "--jsonl", "-");
    become("operator");
    RUN(0, "purge", "index", "--yes");
    RUN(0, "resume", "index");
    DO("HINCRBY", "sh:{index}:counters", "enqueued", "1");
    RUN(1, "verify");
    RUN(0, "verify", "--repair");
    RUN(0, "verify");
    RUN(0, "doctor", "--chroma-url", chroma.url);
}

static void work_as_monitor(void)
{
    become("monitor");
    RUN(0, "stats");
    RUN(0, "workers");
    RUN(0, "verify");
}

/* A job of the tenant's own queue; the orphan of a worker that is gone. */
static void leave_an_orphan(void)
{
    struct redis_conn *acme = connect_as("acme");
    struct queue queue;
    const struct queue_item item = {
        {"orphan", 6}, {"acme-1", 6}, {"", 0}, {"\x81\xa5query\xa1x", 9}};
    struct queue_answer answer;
    struct error err = {0};

    cr_assert_eq(queue_init(&queue, "sh", "enrich.7", &err), STATUS_OK);
    cr_assert_eq(queue_prepare(conn, &queue, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(queue_enqueue(acme, &(struct queue_items){&queue, 100, &item, 1}, &answer, &err),
                 STATUS_OK, "%s", err.text);
    DO("XREADGROUP", "GROUP", "fleet", "gone", "STREAMS", queue.stream[JOB_NORMAL], ">");
    redis_conn_free(acme);
}

Test(users, each_can_do_what_it_is_for)
{
    int state = 0;

    test_chroma_start(&chroma);
    RUN(0, "init");
    leave_an_orphan();
    DO("SET", "sh:epoch:{legal}", "oops"); /* to be moved all the same */
    const pid_t worker = start_as_worker();
    work_as_producer();
    work_as_operator();
    work_as_monitor();
    become("operator");
    const int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    while (integer_of(COMMAND("XLEN", "sh:{enrich.7}:jobs")) > 0) {
        cr_assert(clock_now_ms() < until_ms, "the orphan is not taken over");
        clock_sleep_ms(POLL_MS);
    }
    wait_for_number("queues.enrich.counters.done", 4);
    cr_assert_gt(integer_of(COMMAND("INCR", "sh:epoch:{legal}")), 1000000000000);
    cr_assert_eq(kill(worker, SIGTERM), 0);
    cr_assert_eq(waitpid(worker, &state, 0), worker);
    cr_assert(WIFEXITED(state) && WEXITSTATUS(state) == 0, "state %d", state);
    assert_nothing_was_refused();
    test_server_stop(&chroma);
}

/* ---- what they must not ---------------------------------------------------------------------- */

static void assert_refused(struct redis_conn *as, const char *const *words)
{
    struct redis_args args = {0};
    struct error err = {0};
    redisReply *reply = NULL;
    const char *first = words[0];
    const char *key = words[1];

    for (; *words != NULL; words++) {
        redis_args_str(&args, *words);
    }
    cr_assert_eq(redis_conn_command(as, &args, &reply, &err), STATUS_REFUSED, "%s %s", first, key);
    cr_assert(strstr(err.text, "NOPERM") != NULL || strstr(err.text, "permission") != NULL ||
                  strstr(err.text, "can't") != NULL,
              "%s %s: %s", first, key, err.text);
    redis_args_free(&args);
}

#define REFUSED(as, ...) assert_refused(as, WORDS(__VA_ARGS__))

Test(users, a_producer_fills_its_queues_and_no_more)
{
    RUN(0, "init");
    struct redis_conn *producer = connect_as("producer");
    REFUSED(producer, "FLUSHALL");
    REFUSED(producer, "CONFIG", "GET", "*");
    REFUSED(producer, "KEYS", "*");
    REFUSED(producer, "FUNCTION", "FLUSH");
    REFUSED(producer, "DEL", "sh:{echo}:jobs");
    REFUSED(producer, "SET", "sh:{echo}:paused", "1");
    REFUSED(producer, "XADD", "sh:{echo}:dead", "*", "a", "b");
    REFUSED(producer, "XADD", "sh:{enrich.7}:jobs", "*", "a", "b");
    REFUSED(producer, "GET", "sh:worker:x");
    REFUSED(producer, "SET", "sh:cache:{legal}:0", "x");
    REFUSED(producer, "SET", "elsewhere", "x");
    REFUSED(producer, "FCALL", "sh_pause", "1", "sh:{echo}", "1");
    REFUSED(producer, "FCALL", "sh_requeue", "1", "sh:{echo}", "1-1");
    REFUSED(producer, "FCALL", "sh_enqueue", "1", "sh:{enrich.7}", "0", "a", "d", "", "x");
    redis_conn_free(producer);

    struct redis_conn *acme = connect_as("acme");
    REFUSED(acme, "FCALL", "sh_enqueue", "1", "sh:{enrich}", "0", "a", "d", "", "x");
    REFUSED(acme, "GET", "sh:cache:{legal}:0");
    struct redis_args args = {0};
    redisReply *reply = NULL;
    struct error err = {0};
    redis_args_str(&args, "GET");
    redis_args_str(&args, "sh:cache:{acme-1}:0");
    cr_assert_eq(redis_conn_command(acme, &args, &reply, &err), STATUS_OK, "%s", err.text);
    redis_reply_free(reply);
    redis_args_free(&args);
    redis_conn_free(acme);

    become("producer");
    RUN(1, "pause", "echo");
    RUN(1, "dead", "list", "echo");
    RUN(1, "workers");
}

Test(users, a_monitor_changes_nothing_and_nobody_comes_in_without_a_name)
{
    RUN(0, "init");
    struct redis_conn *monitor = connect_as("monitor");
    REFUSED(monitor, "SET", "sh:{echo}:paused", "1");
    REFUSED(monitor, "DEL", "sh:{echo}:dead");
    REFUSED(monitor, "FCALL", "sh_pause", "1", "sh:{echo}", "1");
    REFUSED(monitor, "FLUSHALL");
    redis_conn_free(monitor);
    struct redis_conn *worker = connect_as("worker");
    REFUSED(worker, "FLUSHALL");
    REFUSED(worker, "CONFIG", "SET", "maxmemory", "1");
    REFUSED(worker, "SET", "elsewhere", "x");
    redis_conn_free(worker);

    become("monitor");
    RUN(1, "pause", "echo");
    RUN(1, "enqueue", "enrich", "--domain", "legal", "--query", "x");
    setenv("STILLHOUSE_REDIS_URL", redis.url, 1);
    RUN(1, "stats");
}

Test(users, passwords_are_each_ones_own_and_for_the_owner_alone)
{
    struct stat info;
    char path[300];
    char one[200];
    char other[200];

    snprintf(path, sizeof path, "%s/worker.url", folder);
    cr_assert_eq(stat(path, &info), 0);
    cr_assert_eq(info.st_mode & 0777, 0600);
    cr_assert_str_neq(url_of("worker", one) + strlen("redis://worker"),
                      url_of("producer", other) + strlen("redis://producer"));
    cr_assert_eq(make_users(WORDS("127.0.0.1:1")), 1, "what is there is not overwritten");
    cr_assert_eq(make_users(WORDS("127.0.0.1:1", "Bad Name=echo")), 2);
}
