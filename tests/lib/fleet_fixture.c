#include "fleet_fixture.h"

#include "fleet_settings.h"
#include "http/client.h"
#include "jobs/bodies.h"
#include "queue/enqueue.h"
#include "queue/keys.h"

struct test_server chroma_server;
struct settings settings;
struct metrics *metrics;
struct fleet *fleet;
struct embedder *embedder;
struct chroma *chroma;
static struct error err;

struct chroma *chroma_of(const struct embedder *of)
{
    const struct chroma_config config = {
        .url = settings.chroma_url,
        .tenant = settings.chroma_tenant,
        .database = settings.chroma_database,
        .token = "",
        .timeout_ms = 10000,
        .identity = {embedder_model(of), embedder_dimension(of)},
    };
    struct chroma *made = chroma_new(&config);

    cr_assert_not_null(made);
    return made;
}

void fleet_connect(void)
{
    const struct embedder_config embedding = {.kind = EMBEDDER_BUILTIN};

    redis_connect();
    OK(embedder_new(&embedding, &embedder, &err));
    chroma = chroma_of(embedder);
}

void fleet_setup(void)
{
    log_set_level(LOG_ERROR);
    OK(http_global_init(&err));
    test_redis_start(&redis, NULL);
    test_chroma_start(&chroma_server);
    test_fleet_settings(&settings, &redis, &chroma_server);
    settings.lanes = 2;
    fleet_connect();
}

void fleet_teardown(void)
{
    chroma_free(chroma);
    embedder_free(embedder);
    test_server_stop(&chroma_server);
    redis_teardown();
}

void start_fleet(void)
{
    metrics = metrics_new();
    cr_assert_not_null(metrics);
    OK(fleet_start(&settings, metrics, &fleet, &err));
}

void stop_fleet(void)
{
    fleet_stop(fleet, FLEET_DRAIN);
    cr_assert(fleet_wait(fleet, PATIENCE_MS), "the lanes did not end");
    fleet_free(fleet);
    metrics_free(metrics);
}

void push(const char *queue_name, const char *id, const char *domain, const char *options,
          const void *body, size_t bytes)
{
    struct queue queue = queue_named(queue_name);
    const struct queue_item item = {
        {id, strlen(id)}, {domain, strlen(domain)}, {options, strlen(options)}, {body, bytes}};
    struct queue_answer answer;

    OK(queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, &err));
    cr_assert_str_eq(answer.id, id);
}

void push_distill(const char *domain, const char *task_id, const char *prompt, const char *result,
                  double quality, const char *options)
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

void push_enrich(const char *domain, const char *id, const char *query, int k, const char *options)
{
    struct strbuf body = {0};
    const struct enrich_body enrich = {.query = {query, strlen(query)}, .k.value = k};

    bodies_encode_enrich(&enrich, &body);
    push("enrich", id, domain, options, body.data, body.bytes);
    strbuf_free(&body);
}

void dead_letter(const char *name, char *out, size_t size)
{
    const struct queue queue = queue_named(name);
    redisReply *reply = good_reply("XREVRANGE", queue.dead, "+", "-", "COUNT", "1", (char *)NULL);

    cr_assert_eq(reply->elements, 1, "no dead letter in %s", name);
    const redisReply *fields = reply->element[0]->element[1];
    const char *reason = "";
    const char *why = "";
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        if (strcmp(fields->element[i]->str, "reason") == 0) {
            reason = fields->element[i + 1]->str;
        } else if (strcmp(fields->element[i]->str, "error") == 0) {
            why = fields->element[i + 1]->str;
        }
    }
    snprintf(out, size, "%s: %s", reason, why);
    redis_reply_free(reply);
}

bool cached(const char *domain, const char *query, struct arena *arena, struct enrich_result *out)
{
    char hash[TEXT_HASH_CHARS + 1];
    char key[KEYS_BYTES];

    text_hash(query, strlen(query), hash);
    redisReply *reply =
        good_reply("GET", keys_name(key, KEYS_CACHE, "sh", domain, hash), (char *)NULL);
    bool found = reply->type == REDIS_REPLY_STRING;
    if (found) {
        char *bytes = arena_copy(arena, reply->str, (size_t)reply->len);
        OK(bodies_decode_result(bytes, (size_t)reply->len, arena, out, &err));
    }
    redis_reply_free(reply);
    return found;
}

int64_t documents_in(const char *domain)
{
    int64_t count = -1;

    OK(chroma_count(chroma, domain, &count, &err));
    return count;
}
