/* client_fixture.h - what the tests of the producer library share: queue_fixture.h's Redis, a
 * client on it, and a worker's results to find there.
 *
 *     TestSuite(client, .init = client_setup, .fini = client_teardown);
 */
#ifndef STILLHOUSE_TESTS_CLIENT_FIXTURE_H
#define STILLHOUSE_TESTS_CLIENT_FIXTURE_H

#include "jobs/bodies.h"
#include "queue/keys.h"
#include "queue_fixture.h"
#include "stillhouse.h"

#define BASE "the base prompt"

static stillhouse_client *client;

/* Bounds that a busy machine keeps, where the test is not about them. */
HELPER stillhouse_options patient(const char *url)
{
    return (stillhouse_options){.size = sizeof(stillhouse_options),
                                .redis_url = url,
                                .connect_timeout_ms = 2000,
                                .command_timeout_ms = 2000};
}

HELPER stillhouse_client *open_client(const stillhouse_options *options)
{
    stillhouse_client *made = NULL;

    cr_assert_eq(stillhouse_open(options, &made), STILLHOUSE_OK, "%s", stillhouse_open_error());
    return made;
}

#define IS(call, expected)                                                                         \
    do {                                                                                           \
        const stillhouse_status is_ = (call);                                                      \
        cr_assert_eq(is_, (expected), "%s: %d: %s", #call, (int)is_, stillhouse_error(client));    \
    } while (0)

/* The client's last error has `part` in it. */
HELPER void says(const char *part)
{
    cr_assert_not_null(strstr(stillhouse_error(client), part), "\"%s\" has no \"%s\"",
                       stillhouse_error(client), part);
}

HELPER void client_setup(void)
{
    queue_setup();
    const stillhouse_options options = patient(server.url);
    client = open_client(&options);
}

HELPER void client_teardown(void)
{
    stillhouse_close(client);
    queue_teardown();
}

/* ---- what a worker writes ------------------------------------------------------------------ */

struct written {
    const char *query;
    int k;           /* 0 = 3 */
    size_t examples; /* at most 2 */
    int64_t epoch;
    int64_t age_ms;
    const char *error;
};

HELPER void encode_written(const struct written *written, struct strbuf *out)
{
    static struct meta_pair year = {{"year", 4}, {.type = META_INT, .integer = 2026}};
    static struct example examples[] = {{{"t-1", 3}, {"first", 5}, 0.25, &year, 1},
                                        {{"t-2", 3}, {"second", 6}, 0.5, NULL, 0}};
    char hash[TEXT_HASH_CHARS + 1];

    text_hash(written->query, strlen(written->query), hash);
    const struct enrich_result result = {
        .domain = text("legal"),
        .query_hash = text(hash),
        .created_unix_ms = clock_unix_ms() - written->age_ms,
        .epoch = written->epoch,
        .k = written->k == 0 ? 3 : written->k,
        .examples = examples,
        .count = written->examples,
        .few_shot = text(written->examples == 0 ? "" : "block\n"),
        .error = {written->error, written->error == NULL ? 0 : strlen(written->error)},
    };
    strbuf_reset(out);
    bodies_encode_result(&result, out);
    cr_assert(strbuf_ok(out));
}

HELPER const char *cache_key(const char *query)
{
    static char key[KEYS_BYTES];
    char hash[TEXT_HASH_CHARS + 1];

    text_hash(query, strlen(query), hash);
    return keys_cache(key, "sh", "legal", hash);
}

HELPER void set_bytes(struct redis_conn *to, const char *key, const void *data, size_t bytes)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    redis_args_str(&args, "SET");
    redis_args_str(&args, key);
    redis_args_add(&args, data, bytes);
    OK(redis_conn_command(to, &args, &reply, &err));
    redis_args_free(&args);
    redis_reply_free(reply);
}

/* Puts a result where the contract says, on the Redis of `to`. */
HELPER void write_result_to(struct redis_conn *to, const struct written *written)
{
    struct strbuf packed = {0};

    encode_written(written, &packed);
    set_bytes(to, cache_key(written->query), packed.data, packed.bytes);
    strbuf_free(&packed);
}

#define WRITE_RESULT(...) write_result_to(conn, &(const struct written){__VA_ARGS__})

#define SIZED .size = sizeof(stillhouse_options)

#endif
