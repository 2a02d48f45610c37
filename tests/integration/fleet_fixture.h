/* fleet_fixture.h - a fleet inside the test's own process, on a Redis and a Chroma of its own. */
#ifndef STILLHOUSE_TESTS_FLEET_FIXTURE_H
#define STILLHOUSE_TESTS_FLEET_FIXTURE_H

#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "chroma/chroma.h"
#include "context/context.h"
#include "fleet_settings.h"
#include "http/client.h"
#include "jobs/bodies.h"
#include "process/fleet.h"
#include "queue/enqueue.h"
#include "queue/keys.h"
#include "queue/operate.h"
#include "queue/queue.h"
#include "redis/sentinel.h"
#include "servers.h"

#define UNUSED __attribute__((unused))

enum { PATIENCE_MS = 20000, POLL_MS = 10 };

static struct test_server redis;
static struct test_server chroma_server;
static struct settings settings;
static struct metrics *metrics;
static struct fleet *fleet;
static struct redis_conn *conn;
static struct embedder *embedder;
static struct chroma *chroma;

static void connect_test(void)
{
    struct error err = {0};
    struct redis_url url;
    const struct embedder_config embedding = {.kind = EMBEDDER_BUILTIN};

    cr_assert_eq(redis_url_parse(redis.url, &url, &err), STATUS_OK, "%s", err.text);
    conn = redis_open(&url, (struct redis_timeouts){3000, 5000});
    cr_assert_not_null(conn);
    cr_assert_eq(queue_install(conn, NULL, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(embedder_new(&embedding, &embedder, &err), STATUS_OK, "%s", err.text);
    const struct chroma_config config = {
        .url = settings.chroma_url,
        .tenant = settings.chroma_tenant,
        .database = settings.chroma_database,
        .token = "",
        .timeout_ms = 10000,
        .identity = {embedder_model(embedder), embedder_dimension(embedder)},
    };
    chroma = chroma_new(&config);
    cr_assert_not_null(chroma);
}

/* Servers and settings, no fleet yet: tests change settings, then start_fleet. */
static UNUSED void setup(void)
{
    struct error err = {0};

    log_set_level(LOG_ERROR);
    cr_assert_eq(http_global_init(&err), STATUS_OK, "%s", err.text);
    test_redis_start(&redis, NULL);
    test_chroma_start(&chroma_server);
    test_fleet_settings(&settings, &redis, &chroma_server);
    settings.lanes = 2;
    connect_test();
}

static UNUSED void start_fleet(void)
{
    struct error err = {0};

    metrics = metrics_new();
    cr_assert_not_null(metrics);
    cr_assert_eq(fleet_start(&settings, metrics, &fleet, &err), STATUS_OK, "%s", err.text);
}

static UNUSED void stop_fleet(void)
{
    fleet_stop(fleet, FLEET_DRAIN);
    cr_assert(fleet_wait(fleet, PATIENCE_MS), "the lanes did not end");
    fleet_free(fleet);
    metrics_free(metrics);
}

static UNUSED void teardown(void)
{
    chroma_free(chroma);
    embedder_free(embedder);
    redis_conn_free(conn);
    test_server_stop(&chroma_server);
    test_server_stop(&redis);
}

static UNUSED struct queue queue_named(const char *name)
{
    struct queue queue;
    struct error err = {0};

    cr_assert_eq(queue_init(&queue, "sh", name, &err), STATUS_OK, "%s", err.text);
    return queue;
}

static UNUSED void push(const char *queue_name, const char *id, const char *domain,
                        const char *options, const void *body, size_t bytes)
{
    struct queue queue = queue_named(queue_name);
    const struct queue_item item = {
        {id, strlen(id)}, {domain, strlen(domain)}, {options, strlen(options)}, {body, bytes}};
    struct queue_answer answer;
    struct error err = {0};

    cr_assert_eq(queue_enqueue(conn, &queue, 0, &item, 1, &answer, &err), STATUS_OK, "%s",
                 err.text);
    cr_assert_str_eq(answer.id, id);
}

static UNUSED void push_distill(const char *domain, const char *task_id, const char *prompt,
                                const char *result, double quality, const char *options)
{
    struct strbuf body = {0};
    const struct distill_body distill = {
        .task_id = {task_id, strlen(task_id)},
        .prompt = {prompt, strlen(prompt)},
        .result = {result, strlen(result)},
        .success.value = true,
        .quality = {quality, true},
    };

    bodies_encode_distill(&distill, &body);
    push("distill", task_id, domain, options, body.data, body.bytes);
    strbuf_free(&body);
}

static UNUSED void push_enrich(const char *domain, const char *id, const char *query, int k,
                               const char *options)
{
    struct strbuf body = {0};
    const struct enrich_body enrich = {.query = {query, strlen(query)}, .k.value = k};

    bodies_encode_enrich(&enrich, &body);
    push("enrich", id, domain, options, body.data, body.bytes);
    strbuf_free(&body);
}

static UNUSED struct queue_stats stats_of(const char *name)
{
    struct queue queue = queue_named(name);
    struct queue_stats stats;
    struct error err = {0};

    cr_assert_eq(queue_get_stats(conn, &queue, &stats, &err), STATUS_OK, "%s", err.text);
    return stats;
}

/* Waits until a counter of a queue reaches `count`; the books must balance then. */
static UNUSED void wait_for(const char *name, int counter, int64_t count)
{
    int64_t until_ms = clock_now_ms() + PATIENCE_MS;
    struct queue_stats stats = stats_of(name);

    while (stats.counters[counter] < count) {
        cr_assert(clock_now_ms() < until_ms, "queue %s: counter %s stays at %lld", name,
                  queue_counter_names[counter], (long long)stats.counters[counter]);
        clock_sleep_ms(POLL_MS);
        stats = stats_of(name);
    }
    struct queue_balance balance = queue_check_balance(&stats);
    cr_assert_eq(balance.jobs, 0);
    cr_assert_eq(balance.dead, 0);
}

/* The error of the newest dead letter of a queue, and its reason before it: "rejected: ...". */
static UNUSED void dead_letter(const char *name, char *out, size_t size)
{
    struct redis_args args = {0};
    struct queue queue = queue_named(name);
    redisReply *reply = NULL;
    struct error err = {0};

    redis_args_str(&args, "XREVRANGE");
    redis_args_str(&args, queue.dead);
    redis_args_str(&args, "+");
    redis_args_str(&args, "-");
    redis_args_str(&args, "COUNT");
    redis_args_str(&args, "1");
    cr_assert_eq(redis_conn_command(conn, &args, &reply, &err), STATUS_OK, "%s", err.text);
    cr_assert_eq(reply->elements, 1, "no dead letter in %s", name);
    const redisReply *fields = reply->element[0]->element[1];
    const char *reason = "";
    const char *text = "";
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        if (strcmp(fields->element[i]->str, "reason") == 0) {
            reason = fields->element[i + 1]->str;
        } else if (strcmp(fields->element[i]->str, "error") == 0) {
            text = fields->element[i + 1]->str;
        }
    }
    snprintf(out, size, "%s: %s", reason, text);
    redis_reply_free(reply);
    redis_args_free(&args);
}

static UNUSED redisReply *ask(const char *verb, const char *key)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;
    struct error err = {0};

    redis_args_str(&args, verb);
    redis_args_str(&args, key);
    cr_assert_eq(redis_conn_command(conn, &args, &reply, &err), STATUS_OK, "%s", err.text);
    redis_args_free(&args);
    return reply;
}

/* The cached result of a query, decoded into `arena`; false for none. */
static UNUSED bool cached(const char *domain, const char *query, struct arena *arena,
                          struct enrich_result *out)
{
    char hash[TEXT_HASH_CHARS + 1];
    char key[KEYS_BYTES];
    struct error err = {0};

    text_hash(query, strlen(query), hash);
    redisReply *reply = ask("GET", keys_cache(key, "sh", domain, hash));
    bool found = reply->type == REDIS_REPLY_STRING;
    if (found) {
        char *bytes = arena_copy(arena, reply->str, (size_t)reply->len);
        cr_assert_eq(bodies_decode_result(bytes, (size_t)reply->len, arena, out, &err), STATUS_OK,
                     "%s", err.text);
    }
    redis_reply_free(reply);
    return found;
}

static UNUSED int64_t documents_in(const char *domain)
{
    int64_t count = -1;
    struct error err = {0};

    cr_assert_eq(chroma_count(chroma, domain, &count, &err), STATUS_OK, "%s", err.text);
    return count;
}

#endif
