/* cli_fixture.h - the built program against a redis-server of the test's own. */
#ifndef STILLHOUSE_TESTS_CLI_FIXTURE_H
#define STILLHOUSE_TESTS_CLI_FIXTURE_H

#include <cjson/cJSON.h>
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "queue/queue.h"
#include "queue/settle.h"
#include "queue/take.h"
#include "servers.h"

#define UNUSED __attribute__((unused))

static struct test_server redis;
static struct redis_conn *conn;
static char out[1 << 18];
static char err_out[1 << 16];

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* ---- the server ---------------------------------------------------------------------------- */

static void start_redis_with(const char *const *extra)
{
    struct redis_url url;

    test_redis_start(&redis, extra);
    cr_assert_eq(redis_url_parse(redis.url, &url, NULL), STATUS_OK);
    conn = redis_conn_new(&url, (struct redis_timeouts){3000, 5000});
    cr_assert_not_null(conn);
    setenv("STILLHOUSE_REDIS_URL", redis.url, 1);
}

static UNUSED void start_redis(void)
{
    start_redis_with(NULL);
    cr_assert_eq(queue_install(conn, NULL, NULL), STATUS_OK);
}

static UNUSED void stop_redis(void)
{
    redis_conn_free(conn);
    test_server_stop(&redis);
}

/* One command; `words` ends with NULL. The caller frees the reply. */
static UNUSED redisReply *command(const char *const *words)
{
    struct redis_args args = {0};
    struct error err = {0};
    redisReply *reply = NULL;

    for (; *words != NULL; words++) {
        redis_args_str(&args, *words);
    }
    cr_assert_eq(redis_conn_command(conn, &args, &reply, &err), STATUS_OK, "%s", err.text);
    redis_args_free(&args);
    return reply;
}

#define COMMAND(...) command(WORDS(__VA_ARGS__))
#define DO(...) redis_reply_free(COMMAND(__VA_ARGS__))

static UNUSED long long integer_of(redisReply *reply)
{
    const long long number = reply->integer;

    cr_assert_eq(reply->type, REDIS_REPLY_INTEGER);
    redis_reply_free(reply);
    return number;
}

/* ---- the program --------------------------------------------------------------------------- */

/* Runs `stillhouse words...` (up to NULL) with `input`; fills out and err_out; its exit code. */
static UNUSED int run_with(const char *input, const char *const *words)
{
    char program[512];
    const char *argv[32] = {test_program("stillhouse", program)};

    for (size_t count = 1; *words != NULL && count < 31; count++) {
        argv[count] = *words++;
    }
    return test_run(argv, input, out, sizeof out, err_out, sizeof err_out);
}

/* The exit code must be `code`. */
#define RUN_WITH(code, input, ...)                                                                 \
    do {                                                                                           \
        const int ran = run_with(input, WORDS(__VA_ARGS__));                                       \
        cr_assert_eq(ran, code, "exit code %d, expected %d\n%s\n%s", ran, code, out, err_out);     \
    } while (0)
#define RUN(code, ...) RUN_WITH(code, NULL, __VA_ARGS__)

#define SAYS(text) cr_assert(strstr(err_out, text) != NULL, "\"%s\" lacks \"%s\"", err_out, text)
#define PRINTS(text) cr_assert(strstr(out, text) != NULL, "\"%s\" lacks \"%s\"", out, text)

/* Standard output must be exactly one JSON document. cJSON_Delete. */
static UNUSED cJSON *document(void)
{
    const char *end = NULL;
    cJSON *parsed = cJSON_ParseWithOpts(out, &end, false);

    cr_assert_not_null(parsed, "not JSON: %s", out);
    cr_assert_eq(strspn(end, "\n"), strlen(end), "something behind the document: %s", end);
    return parsed;
}

/* A number at a path of names, "queues.enrich.waiting". */
static UNUSED double number_at(const cJSON *from, const char *path)
{
    char name[64];

    for (; *path != '\0'; path += *path == '.') {
        const size_t bytes = strcspn(path, ".");
        snprintf(name, sizeof name, "%.*s", (int)bytes, path);
        from = cJSON_GetObjectItemCaseSensitive(from, name);
        cr_assert_not_null(from, "no \"%s\" in %s", name, out);
        path += bytes;
    }
    cr_assert(cJSON_IsNumber(from));
    return from->valuedouble;
}

static UNUSED const char *text_at(const cJSON *from, const char *name)
{
    const cJSON *item = cJSON_GetObjectItemCaseSensitive(from, name);

    cr_assert(cJSON_IsString(item), "no text \"%s\" in %s", name, out);
    return item->valuestring;
}

/* The sum of a queue's books in `stats --json`. */
static UNUSED double stat_of(const char *path)
{
    RUN(0, "stats", "--json");
    cJSON *stats = document();
    const double number = number_at(stats, path);
    cJSON_Delete(stats);
    return number;
}

static UNUSED struct queue queue_named(const char *name)
{
    struct queue queue;

    cr_assert_eq(queue_init(&queue, "sh", name, NULL), STATUS_OK);
    return queue;
}

/* ---- a worker that knows one answer -------------------------------------------------------- */

/* Takes every job of `queue` and answers with `reply`, or with its own body where that is NULL,
 * until it is killed with the test. */
static UNUSED pid_t start_worker(const char *name, const char *reply, size_t reply_bytes)
{
    const pid_t pid = fork();

    cr_assert(pid >= 0);
    if (pid > 0) {
        return pid;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    const struct queue queue = queue_named(name);
    struct redis_url url;
    struct queue_batch batch = {0};
    if (redis_url_parse(redis.url, &url, NULL) != STATUS_OK) {
        _exit(1);
    }
    struct redis_conn *own = redis_conn_new(&url, (struct redis_timeouts){3000, 5000});
    if (own == NULL || queue_prepare(own, &queue, NULL) != STATUS_OK) {
        _exit(1);
    }
    for (;;) {
        const char *streams[] = {queue.stream[0], queue.stream[1], queue.stream[2]};
        redisReply *answer = NULL;
        if (queue_read_append(own, "w", 10, 1000, streams, 3, NULL) != STATUS_OK ||
            redis_conn_collect(own, &answer, NULL) != STATUS_OK ||
            queue_read_parse(&queue, answer, &batch, NULL) != STATUS_OK) {
            _exit(1);
        }
        for (size_t i = 0; i < batch.count; i++) {
            struct queue_end item = {.job = &batch.jobs[i],
                                     .reply = reply == NULL ? batch.jobs[i].body
                                                            : (struct slice){reply, reply_bytes}};
            if (queue_finish(own, &(struct queue_holder){.queue = &queue, .consumer = "w"}, &item,
                             1, NULL) != STATUS_OK) {
                _exit(1);
            }
        }
        redis_reply_free(answer);
        queue_batch_reset(&batch);
    }
}

static UNUSED void stop_worker(pid_t pid)
{
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

#endif
