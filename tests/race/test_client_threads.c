/* Clients of the producer library in many threads: each thread its own, one handed from thread to
 * thread, results freed elsewhere, names looked up by threads that outlive their client. */
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/text.h"
#include "jobs/bodies.h"
#include "queue/keys.h"
#include "queue/queue.h"
#include "servers.h"
#include "stillhouse.h"

enum { THREADS = 4, ROUNDS = 60 };

static struct test_server server;
static _Atomic(stillhouse_result *) left_behind;
static atomic_int enqueued;

static void check(bool good, const char *what, const char *detail)
{
    if (!good) {
        fprintf(stderr, "%s: %s\n", what, detail);
        exit(1);
    }
}

static stillhouse_client *open_client(const char *url, int bound_ms)
{
    const stillhouse_options options = {.size = sizeof options,
                                        .redis_url = url,
                                        .connect_timeout_ms = bound_ms,
                                        .command_timeout_ms = bound_ms};
    stillhouse_client *client = NULL;

    check(stillhouse_open(&options, &client) == STILLHOUSE_OK, "open", stillhouse_open_error());
    return client;
}

static stillhouse_client *open_beside(const stillhouse_client *other)
{
    stillhouse_client *client = NULL;

    check(stillhouse_open_beside(other, &client) == STILLHOUSE_OK, "open_beside",
          stillhouse_open_error());
    return client;
}

/* ---- what stands in Redis ------------------------------------------------------------------ */

static void write_result(struct redis_conn *conn)
{
    struct meta_pair task = {{"task_id", 7}, {.type = META_STRING, .string = {"t-1", 3}}};
    struct example example = {{"t-1", 3}, {"prompt\n\nresult", 14}, 0.5, &task, 1};
    char hash[TEXT_HASH_CHARS + 1];
    char key[KEYS_BYTES];
    struct strbuf packed = {0};
    struct redis_args args = {0};
    redisReply *reply = NULL;
    struct error err = {0};

    text_hash("hit", 3, hash);
    const struct enrich_result result = {.domain = {"legal", 5},
                                         .query_hash = {hash, TEXT_HASH_CHARS},
                                         .k = 3,
                                         .examples = &example,
                                         .count = 1,
                                         .few_shot = {"block\n", 6}};
    bodies_encode_result(&result, &packed);
    redis_args_str(&args, "SET");
    redis_args_str(&args, keys_name(key, KEYS_CACHE, "sh", "legal", hash));
    redis_args_add(&args, packed.data, packed.bytes);
    check(redis_conn_command(conn, &args, &reply, &err) == STATUS_OK, "SET", err.text);
    redis_reply_free(reply);
    redis_args_free(&args);
    strbuf_free(&packed);
}

static void prepare(void)
{
    struct redis_url url;
    struct error err = {0};

    check(redis_url_parse(server.url, &url, &err) == STATUS_OK, "URL", err.text);
    struct redis_conn *conn = redis_conn_new(&url, (struct redis_timeouts){5000, 5000});
    check(conn != NULL, "conn", "no memory");
    check(queue_install(conn, NULL, &err) == STATUS_OK, "install", err.text);
    write_result(conn);
    redis_conn_free(conn);
}

/* ---- threads ------------------------------------------------------------------------------- */

static void use_client(stillhouse_client *client, int thread, int round)
{
    char query[32];
    stillhouse_prompt_result prompt;
    stillhouse_result *result = NULL;

    snprintf(query, sizeof query, "q-%d-%d", thread, round);
    check(stillhouse_prompt(client, "legal", "hit", "base", 0, &prompt) ==
              STILLHOUSE_PROMPT_ENRICHED,
          "prompt", stillhouse_error(client));
    stillhouse_prompt_free(&prompt);
    check(stillhouse_enqueue_enrich(client, "legal", query, 0, NULL, NULL) == STILLHOUSE_OK,
          "enqueue", stillhouse_error(client));
    atomic_fetch_add(&enqueued, 1);
    check(stillhouse_lookup(client, "legal", "hit", 0, &result) == STILLHOUSE_OK, "lookup",
          stillhouse_error(client));
    stillhouse_result_free(atomic_exchange(&left_behind, result)); /* another thread's */
}

static void *run(void *argument)
{
    const int thread = *(const int *)argument;
    stillhouse_client *client = open_client(server.url, 5000);
    stillhouse_client *lost = NULL;

    for (int round = 0; round < ROUNDS; round++) {
        use_client(client, thread, round);
        check(stillhouse_open(&(stillhouse_options){.size = 1}, &lost) == STILLHOUSE_INVALID,
              "open", "1 is no size");
        check(strstr(stillhouse_open_error(), "options.size 1") != NULL, "open error",
              stillhouse_open_error());
    }
    stillhouse_close(client);
    return NULL;
}

static void side_by_side(void)
{
    pthread_t threads[THREADS];
    int names[THREADS];

    for (int i = 0; i < THREADS; i++) {
        names[i] = i;
        check(pthread_create(&threads[i], NULL, run, &names[i]) == 0, "thread", "not started");
    }
    for (int i = 0; i < THREADS; i++) {
        check(pthread_join(threads[i], NULL) == 0, "thread", "not joined");
    }
    check(atomic_load(&enqueued) == THREADS * ROUNDS, "enqueued", "not all");
    stillhouse_result_free(atomic_exchange(&left_behind, NULL));
}

static void *take_over(void *argument)
{
    use_client(argument, 99, 0);
    return NULL;
}

/* Opened here, used and left there: the join orders the calls. */
static void handed_over(void)
{
    stillhouse_client *client = open_client(server.url, 5000);
    pthread_t thread;

    use_client(client, 98, 0);
    check(pthread_create(&thread, NULL, take_over, client) == 0, "thread", "not started");
    check(pthread_join(thread, NULL) == 0, "thread", "not joined");
    use_client(client, 97, 0);
    stillhouse_result_free(atomic_exchange(&left_behind, NULL));
    stillhouse_close(client);
}

/* ---- clients beside one another ------------------------------------------------------------- */

/* One memory for all; what is not there is never kept in it. */
static void *share(void *argument)
{
    stillhouse_client *client = open_beside(argument);
    char query[32];

    for (int round = 0; round < ROUNDS * 10; round++) {
        stillhouse_prompt_result prompt;
        snprintf(query, sizeof query, "not there %d", round);
        check(stillhouse_prompt_from_memory(client, "legal", "hit", "base", &prompt) &&
                  strcmp(prompt.text, "block\n\nbase") == 0,
              "from memory", prompt.text);
        stillhouse_prompt_free(&prompt);
        stillhouse_messages_result past;
        check(stillhouse_messages_from_memory(client, "legal", "hit", 1 + round % 2, &past) &&
                  past.count == 2 && strcmp(past.messages[1].content, "result") == 0,
              "messages from memory", stillhouse_error(client));
        stillhouse_messages_free(&past);
        check(!stillhouse_prompt_from_memory(client, "legal", query, "base", &prompt),
              "from memory", query);
        if (round % 20 == 0) {
            use_client(client, 50, round);
        }
    }
    stillhouse_close(client);
    return NULL;
}

static void beside_one_another(void)
{
    stillhouse_client *client = open_client(server.url, 5000);
    pthread_t threads[THREADS];

    use_client(client, 96, 0);
    for (int i = 0; i < THREADS; i++) {
        check(pthread_create(&threads[i], NULL, share, client) == 0, "thread", "not started");
    }
    for (int i = 0; i < 100; i++) {
        use_client(client, 96, i); /* while others are opened beside it */
    }
    for (int i = 0; i < THREADS; i++) {
        check(pthread_join(threads[i], NULL) == 0, "thread", "not joined");
    }
    stillhouse_result_free(atomic_exchange(&left_behind, NULL));
    stillhouse_close(client);
}

/* ---- forks in the middle of other threads' calls ------------------------------------------- */

enum { FORKS = 25 };

static atomic_bool over;

/* Past the memory more often than not. */
static void *ask_on(void *argument)
{
    stillhouse_client *client = argument;
    stillhouse_result *result = NULL;
    char query[32];

    for (int i = 0; !atomic_load(&over); i++) {
        snprintf(query, sizeof query, "not there %d", i);
        check(stillhouse_lookup(client, "legal", query, 0, &result) == STILLHOUSE_NOT_FOUND,
              "lookup", stillhouse_error(client));
        check(stillhouse_lookup(client, "legal", "hit", 0, &result) == STILLHOUSE_OK, "lookup",
              stillhouse_error(client));
        stillhouse_result_free(result);
    }
    return NULL;
}

/* In the child: each client works, whatever its thread was doing. */
static int use_all(stillhouse_client *const clients[THREADS])
{
    int faults = 0;

    for (int i = 0; i < THREADS; i++) {
        stillhouse_result *result = NULL;
        faults +=
            stillhouse_lookup(clients[i], "legal", "not there", 0, &result) != STILLHOUSE_NOT_FOUND;
        faults += stillhouse_lookup(clients[i], "legal", "hit", 0, &result) != STILLHOUSE_OK ||
                  strcmp(result->few_shot, "block\n") != 0;
        stillhouse_result_free(result);
        stillhouse_close(clients[i]);
    }
    return faults;
}

static void forked_in_between(void)
{
    stillhouse_client *clients[THREADS];
    pthread_t threads[THREADS];

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
    /* A fork() beside threads that allocate leaves its locks held in the child. */
    printf("forked_in_between: skipped, AddressSanitizer's allocator does not survive a fork\n");
    return;
#endif
#endif
    for (int i = 0; i < THREADS; i++) {
        clients[i] = i % 2 == 0 ? open_client(server.url, 5000) : open_beside(clients[i - 1]);
        check(pthread_create(&threads[i], NULL, ask_on, clients[i]) == 0, "thread", "not started");
    }
    for (int i = 0; i < FORKS; i++) {
        int status = -1;
        const pid_t pid = fork();
        if (pid == 0) {
            alarm(20);
            _exit(use_all(clients));
        }
        check(pid > 0 && waitpid(pid, &status, 0) == pid && status == 0, "fork",
              "a child's client did not work");
    }
    atomic_store(&over, true);
    for (int i = 0; i < THREADS; i++) {
        check(pthread_join(threads[i], NULL) == 0, "thread", "not joined");
        stillhouse_close(clients[i]);
    }
}

/* A bound of 1 ms is over before most look-ups are, so their threads end after the client. */
static void names_that_are_late(void)
{
    for (int i = 0; i < 20; i++) {
        stillhouse_client *client = open_client("redis://no-such-host.invalid", 1);
        check(stillhouse_enqueue_enrich(client, "legal", "q", 0, NULL, NULL) ==
                  STILLHOUSE_UNREACHABLE,
              "enqueue", stillhouse_error(client));
        stillhouse_close(client);
    }
}

int main(void)
{
    test_redis_start(&server, NULL);
    prepare();
    side_by_side();
    handed_over();
    beside_one_another();
    forked_in_between();
    names_that_are_late();
    test_server_stop(&server);
    puts("1 passed, 0 failed");
    return 0;
}
