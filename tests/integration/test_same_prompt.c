/* What experiences of one and the same prompt cost in Redis, and how many of them stay in Chroma.
 */
#include "chroma_calls.h"
#include "chroma_writer/same_prompt.h"
#include "embedder/builtin.h"
#include "fleet_fixture.h"
#include "queue/keys.h"
#include "queue/operate.h"

TestSuite(same_prompt, .init = fleet_setup, .fini = fleet_teardown, .timeout = 120);

static redisReply *run(const char *const *words)
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

static size_t keys_like(const char *pattern)
{
    redisReply *reply = run((const char *const[]){"KEYS", pattern, NULL});
    const size_t count = reply->elements;

    redis_reply_free(reply);
    return count;
}

static void lose(const char *pattern)
{
    redisReply *keys = run((const char *const[]){"KEYS", pattern, NULL});

    for (size_t i = 0; i < keys->elements; i++) {
        redis_reply_free(run((const char *const[]){"DEL", keys->element[i]->str, NULL}));
    }
    redis_reply_free(keys);
}

static int64_t memory_of(const char *pattern)
{
    redisReply *keys = run((const char *const[]){"KEYS", pattern, NULL});
    int64_t bytes = 0;

    for (size_t i = 0; i < keys->elements; i++) {
        redisReply *reply =
            run((const char *const[]){"MEMORY", "USAGE", keys->element[i]->str, NULL});
        bytes += reply->integer;
        redis_reply_free(reply);
    }
    redis_reply_free(keys);
    return bytes;
}

static void learn(const char *id, const char *prompt, double quality)
{
    const int64_t before = counter_of("distill", "done");

    push_distill("legal", id, prompt, id, quality, "");
    wait_for("distill", "done", before + 1);
}

static bool stands(const char *id)
{
    const struct slice one = {id, strlen(id)};
    struct arena arena = {0};
    struct chroma_hits hits = {0};
    struct error err = {0};

    cr_assert_eq(get_ids(chroma, "legal", &one, 1, &arena, &hits, &err), STATUS_OK);
    arena_free(&arena);
    return hits.count == 1;
}

Test(same_prompt, a_prompt_that_comes_once_costs_a_few_bytes_and_no_question)
{
    enum { PROMPTS = 40000, BATCH = 64 };
    static struct same_prompt written[BATCH];
    struct context ctx = {.settings = &settings};
    struct error err = {0};
    atomic_llong redis_clock_ms = 0;
    static struct same_prompt *list[BATCH];
    struct asked asked = {0};
    char ids[BATCH][24];
    int64_t took_ns = 0;
    size_t seen = 0;

    metrics = metrics_new();
    ctx.metrics = metrics;
    ctx.upstreams = upstreams_new(&settings, metrics);
    ctx.redis_clock_ms = &redis_clock_ms;
    snprintf(settings.chroma_url, sizeof settings.chroma_url, "http://127.0.0.1:1");
    cr_assert_eq(context_open(&ctx, &err), STATUS_OK, "%s", err.text);
    for (int i = 0; i < PROMPTS; i += BATCH) {
        for (int j = 0; j < BATCH; j++) {
            snprintf(ids[j], sizeof ids[j], "prompt %d", i + j);
            written[j] = (struct same_prompt){
                .id = {ids[j], strlen(ids[j])}, .domain = "legal", .quality = 1};
            text_hash(ids[j], strlen(ids[j]), written[j].text_hash);
            list[j] = &written[j];
        }
        const int64_t begun_ns = clock_now_ns();
        cr_assert_eq(same_prompt_remember(&ctx, list, BATCH, &err), STATUS_OK, "%s", err.text);
        for (int j = 0; j < BATCH; j++) {
            seen += list[j]->was_seen;
        }
        took_ns += clock_now_ns() - begun_ns;
        arena_reset(&ctx.arena, 65536);
    }
    cr_assert_eq(seen, 0);
    cr_assert_eq(same_prompt_remember(&ctx, list, BATCH, &err), STATUS_OK, "%s", err.text);
    for (int i = 0; i < BATCH; i++) {
        cr_assert(list[i]->was_seen);
    }
    same_prompt_trim(&ctx, list, BATCH, &asked);
    cr_assert_eq(asked.err.status, STATUS_UNREACHABLE, "what was seen is asked for");
    cr_assert_eq(asked.operation, OPERATION_GET);
    cr_assert(asked.tried);

    const double bytes = (double)memory_of("sh:seen:*") / PROMPTS;
    cr_log_info("%.1f bytes and %.1f us a prompt", bytes, (double)took_ns / 1e3 / PROMPTS);
    cr_assert_lt(bytes, 10);
    cr_assert_eq(keys_like("sh:twins:*"), 0);
    context_close(&ctx);
    upstreams_free(ctx.upstreams);
    metrics_free(metrics);
}

Test(same_prompt, while_queries_are_paused_nothing_is_asked_for_near_ones)
{
    const float vector[2] = {1, 0};
    const struct job job = {0};
    struct task task = {.job = &job};
    struct record_write write = {.record = {.id = {"t1", 2}, .vector = vector}, .task = &task};
    struct context ctx = {.settings = &settings};
    struct error err = {0};
    atomic_llong redis_clock_ms = 0;

    metrics = metrics_new();
    ctx.metrics = metrics;
    ctx.redis_clock_ms = &redis_clock_ms;
    settings.merge_distance = 0.2;
    settings.breaker_failures = 1;
    settings.breaker_pause_ms = 60000;
    snprintf(settings.chroma_url, sizeof settings.chroma_url, "http://127.0.0.1:1");
    ctx.upstreams = upstreams_new(&settings, metrics);
    cr_assert_eq(context_open(&ctx, &err), STATUS_OK, "%s", err.text);
    (void)error_set(&err, STATUS_UNREACHABLE, "nobody is there");
    upstreams_report(ctx.upstreams, OPERATION_QUERY, err.status, &err);
    same_prompt_find_near(&ctx, &(struct record_group){"legal", &write, 1});
    cr_assert(write.failed);
    cr_assert_eq(task.verdict, VERDICT_PARK);
    cr_assert_eq(task.operation, OPERATION_QUERY);
    cr_assert_not(task.tried, "%s", task.error);
    context_close(&ctx);
    upstreams_free(ctx.upstreams);
    metrics_free(metrics);
}

Test(same_prompt, a_domain_of_a_few_prompts_has_one_small_key)
{
    start_fleet();
    learn("a", "one prompt", 0.9);
    learn("b", "another prompt", 0.9);
    learn("c", "a third prompt", 0.9);
    cr_assert_eq(keys_like("sh:seen:*"), 1);
    cr_assert_lt(memory_of("sh:seen:*"), 200);
    cr_assert_eq(documents_in("legal"), 3);
    stop_fleet();
}

Test(same_prompt, when_what_redis_remembers_is_lost_one_more_stays_until_the_next)
{
    settings.twins = 2;
    start_fleet();
    learn("a", "the prompt", 0.5);
    learn("b", "the prompt", 0.6);
    learn("c", "the prompt", 0.7);
    cr_assert_eq(documents_in("legal"), 2);
    cr_assert_not(stands("a"));
    lose("sh:seen:*");
    learn("d", "the prompt", 0.8);
    cr_assert_eq(documents_in("legal"), 3, "it is taken for the first");
    learn("e", "the prompt", 0.9);
    cr_assert_eq(documents_in("legal"), 2);
    cr_assert(stands("d") && stands("e"));
    stop_fleet();
}

Test(same_prompt, what_stands_under_its_key_makes_no_mistake)
{
    char key[KEYS_BYTES];
    const int64_t period = clock_unix_ms() / settings.experience_ttl_ms;

    keys_name(key, KEYS_SEEN, "sh", "legal", period, 0, "");
    redis_reply_free(run((const char *const[]){"SET", key, "junk", NULL}));
    settings.twins = 1;
    start_fleet();
    learn("a", "the prompt", 0.5);
    learn("b", "the prompt", 0.6);
    learn("c", "another prompt", 0.6);
    cr_assert_eq(documents_in("legal"), 2);
    cr_assert_not(stands("a"));
    stop_fleet();
}

/* As versions before wrote it: no prompt_hash, a sorted set beside it. */
static void learn_as_before(const char *id, const char *prompt, int64_t created_unix_ms)
{
    float vector[384] = {0};
    struct meta_pair metadata[] = {
        {{"task_id", 7}, {.type = META_STRING, .string = {id, strlen(id)}}},
        {{"created_ms", 10}, {.type = META_INT, .integer = created_unix_ms}},
    };
    const struct chroma_record record = {{id, strlen(id)}, vector, {id, strlen(id)}, metadata, 2};
    char hash[TEXT_HASH_CHARS + 1];
    char key[KEYS_BYTES];
    char score[40];
    struct error err = {0};

    embedder_builtin(prompt, strlen(prompt), vector, 384);
    cr_assert_eq(chroma_upsert(chroma, "legal", &record, 1, &err), STATUS_OK, "%s", err.text);
    text_hash(prompt, strlen(prompt), hash);
    snprintf(score, sizeof score, "%.0f", same_prompt_score(1.0, created_unix_ms));
    redis_reply_free(run((const char *const[]){
        "ZADD", keys_name(key, KEYS_TWINS, "sh", "legal", hash), score, id, NULL}));
}

Test(same_prompt, what_older_workers_wrote_and_go_on_to_write_counts)
{
    const int64_t now_unix_ms = clock_unix_ms();
    char hash[TEXT_HASH_CHARS + 1];
    char key[KEYS_BYTES];

    settings.twins = 3;
    learn_as_before("old-1", "the prompt", now_unix_ms - 50000);
    learn_as_before("old-2", "the prompt", now_unix_ms - 40000);
    learn_as_before("old-3", "the prompt", now_unix_ms - 30000);
    start_fleet();
    learn("new-1", "the prompt", 1.0);
    cr_assert_eq(documents_in("legal"), 3);
    cr_assert_not(stands("old-1"));
    learn_as_before("old-4", "the prompt", now_unix_ms - 20000);
    learn("new-2", "the prompt", 1.0);
    cr_assert_eq(documents_in("legal"), 3);
    cr_assert(stands("old-4") && stands("new-1") && stands("new-2"));

    text_hash("the prompt", 10, hash);
    redisReply *members = run((const char *const[]){
        "ZRANGE", keys_name(key, KEYS_TWINS, "sh", "legal", hash), "0", "-1", NULL});
    cr_assert_eq(members->elements, 3, "an older worker counts the same ones");
    redis_reply_free(members);
    stop_fleet();
}
