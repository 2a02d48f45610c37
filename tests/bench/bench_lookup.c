/* How fast is a prompt whose examples are cached? One thread, one client.
 *
 *   from memory   stillhouse_prompt of a few queries that this client has read before.
 *   from Redis    the same with a memory of one result and queries in turn, so that each prompt is
 *                 read from Redis anew: one round trip, decoded, put in front of the base prompt.
 *   bare GET      one round trip that fetches the same bytes, and drops them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bare.h"
#include "base/clock.h"
#include "base/text.h"
#include "flags.h"
#include "jobs/bodies.h"
#include "queue/keys.h"
#include "stillhouse.h"
#include "support.h"

enum { QUERIES = 100, QUERY_BYTES = 64, EXAMPLES = 3, FEW_SHOT_EXTRA = 200 };

static const char base[] = "You are a helpful lawyer. Answer in three sentences.";

static long rounds = 1;
static long first_round = 0;
static long from_memory = 2000000;
static long from_redis = 20000;
static long example_bytes = 400;
static const char *group = "lookup";

static struct test_server redis;
static redisContext *bare;
static char queries[QUERIES][QUERY_BYTES];
static char keys[QUERIES][KEYS_BYTES];
static struct strbuf result;

/* ---- what is cached -------------------------------------------------------------------------- */

static struct slice text_of(char letter, long bytes)
{
    char *text = malloc((size_t)bytes);

    if (text == NULL) {
        bench_fail("out of memory");
    }
    memset(text, letter, (size_t)bytes);
    return (struct slice){text, (size_t)bytes};
}

static struct slice literal(const char *text)
{
    return (struct slice){text, strlen(text)};
}

/* A result as a worker writes it: examples with the metadata of an experience. */
static void encode_result(const char *query)
{
    struct meta_pair metadata[] = {
        {literal("task_id"), {.type = META_STRING, .string = literal("task-00000001")}},
        {literal("domain"), {.type = META_STRING, .string = literal("bench")}},
        {literal("success"), {.type = META_BOOL, .boolean = true}},
        {literal("quality"), {.type = META_FLOAT, .number = 0.9}},
        {literal("created_ms"), {.type = META_INT, .integer = 1700000000000}},
        {literal("expires_ms"), {.type = META_INT, .integer = 1800000000000}},
    };
    struct example examples[EXAMPLES];
    const struct slice text = text_of('e', example_bytes);
    const struct slice few_shot = text_of('f', EXAMPLES * example_bytes + FEW_SHOT_EXTRA);
    char hash[TEXT_HASH_CHARS + 1];

    text_hash(query, strlen(query), hash);
    for (int i = 0; i < EXAMPLES; i++) {
        examples[i] = (struct example){.id = literal("task-00000001"),
                                       .text = text,
                                       .distance = 0.1 * (i + 1),
                                       .metadata = metadata,
                                       .metadata_count = sizeof metadata / sizeof metadata[0]};
    }
    const struct enrich_result made = {.domain = literal("bench"),
                                       .query_hash = {hash, TEXT_HASH_CHARS},
                                       .created_unix_ms = clock_unix_ms(),
                                       .epoch = 1,
                                       .k = EXAMPLES,
                                       .examples = examples,
                                       .count = EXAMPLES,
                                       .few_shot = few_shot};
    strbuf_reset(&result);
    bodies_encode_result(&made, &result);
    if (!strbuf_ok(&result)) {
        bench_fail("out of memory");
    }
    free((char *)(uintptr_t)text.data);
    free((char *)(uintptr_t)few_shot.data);
}

static void fill_cache(void)
{
    char epoch[KEYS_BYTES];

    for (int i = 0; i < QUERIES; i++) {
        char hash[TEXT_HASH_CHARS + 1];
        snprintf(queries[i], QUERY_BYTES, "notice period for tenants in case number %03d", i);
        text_hash(queries[i], strlen(queries[i]), hash);
        keys_name(keys[i], KEYS_CACHE, "sh", "bench", hash);
    }
    for (int i = 0; i < QUERIES; i++) {
        encode_result(queries[i]);
        bare_set(bare, keys[i], result.data, result.bytes);
    }
    bare_run(bare, "SET %s 1", keys_name(epoch, KEYS_EPOCH, "sh", "bench"));
}

/* ---- the measurements --------------------------------------------------------------------------
 */

static stillhouse_client *open_client(size_t memory_entries)
{
    stillhouse_client *client = NULL;
    const stillhouse_options options = {.size = sizeof options,
                                        .redis_url = redis.url,
                                        .cache_url = "",
                                        .command_timeout_ms = 10000,
                                        .memory_entries = memory_entries};

    if (stillhouse_open(&options, &client) != STILLHOUSE_OK) {
        bench_fail("%s", stillhouse_open_error());
    }
    return client;
}

/* How many of `count` prompts came with all examples. */
static long run_prompts(stillhouse_client *client, long count)
{
    long enriched = 0;

    for (long i = 0; i < count; i++) {
        stillhouse_prompt_result prompt;
        const stillhouse_prompt_kind kind =
            stillhouse_prompt(client, "bench", queries[i % QUERIES], base, 0, &prompt);
        enriched += kind == STILLHOUSE_PROMPT_ENRICHED && prompt.examples == EXAMPLES;
        stillhouse_prompt_free(&prompt);
    }
    return enriched;
}

/* How many of `count` replies were whole. */
static long run_gets(long count)
{
    long whole = 0;

    for (long i = 0; i < count; i++) {
        const char *argv[] = {"GET", keys[i % QUERIES]};
        const size_t bytes[] = {3, strlen(argv[1])};
        redisReply *reply = redisCommandArgv(bare, 2, argv, bytes);
        whole += reply != NULL && reply->type == REDIS_REPLY_STRING &&
                 (size_t)reply->len == result.bytes;
        freeReplyObject(reply);
    }
    return whole;
}

enum method { MEMORY, REDIS, BARE, METHODS };

static const char *const names[METHODS] = {"prompt from memory", "prompt from Redis", "bare GET"};

static void measure(enum method method, long round)
{
    const long count = method == MEMORY ? from_memory : from_redis;
    stillhouse_client *client = open_client(method == REDIS ? 1 : 1000);

    if (method != BARE && run_prompts(client, QUERIES) != QUERIES) {
        bench_fail("prompts: %s", stillhouse_error(client));
    }
    const int64_t start_ns = clock_now_ns();
    const long good = method == BARE ? run_gets(count) : run_prompts(client, count);
    const double seconds = (double)(clock_now_ns() - start_ns) / 1e9;
    stillhouse_close(client);

    const struct bench_figure figure = {
        group,       names[method], names[method], round, (double)count / seconds,
        "lookups/s", count,         good == count};
    bench_print(&figure, "\"result_bytes\": %zu", result.bytes);
}

int main(int argc, char **argv)
{
    const struct flag flags[] = {
        {"--group", FLAG_TEXT, &group, "name of the group in the output"},
        {"--rounds", FLAG_NUMBER, &rounds, "how often all is measured"},
        {"--round", FLAG_NUMBER, &first_round, "number of the first round"},
        {"--memory", FLAG_NUMBER, &from_memory, "prompts from memory"},
        {"--redis", FLAG_NUMBER, &from_redis, "prompts from Redis, and bare GETs"},
        {"--example", FLAG_NUMBER, &example_bytes, "bytes of an example's text"},
    };

    flags_parse(argc, argv, "Cached prompts: from memory, from Redis, and bare GET.", flags,
                sizeof flags / sizeof flags[0]);
    if (from_memory < 1 || from_redis < 1 || example_bytes < 1) {
        bench_fail("expected numbers over 0, see --help");
    }
    test_redis_start(&redis, NULL);
    bare = bare_connect(&redis);
    fill_cache();
    for (long round = first_round; round < first_round + rounds; round++) {
        for (size_t i = 0; i < METHODS; i++) {
            measure((enum method)bench_turn(round, i, METHODS), round);
        }
    }
    strbuf_free(&result);
    redisFree(bare);
    test_server_stop(&redis);
    return 0;
}
