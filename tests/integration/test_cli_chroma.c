/* stillhouse doctor and export, on a real Chroma. */
#include "chroma/chroma.h"
#include "cli_fixture.h"
#include "embedder/embedder.h"

static struct test_server chroma_server;
static struct embedder *embedder;
static struct chroma *chroma;

static void start_both(void)
{
    const struct embedder_config config = {
        .kind = EMBEDDER_BUILTIN, .url = "", .model = "", .key = ""};

    start_redis();
    test_chroma_start(&chroma_server);
    setenv("STILLHOUSE_CHROMA_URL", chroma_server.url, 1);
    cr_assert_eq(http_global_init(NULL), STATUS_OK);
    cr_assert_eq(embedder_new(&config, &embedder, NULL), STATUS_OK);
    chroma = chroma_new(&(struct chroma_config){
        .url = chroma_server.url,
        .tenant = "default_tenant",
        .database = "default_database",
        .token = "",
        .timeout_ms = 30000,
        .identity = {embedder_model(embedder), embedder_dimension(embedder)}});
    cr_assert_not_null(chroma);
}

static void stop_both(void)
{
    chroma_free(chroma);
    embedder_free(embedder);
    test_server_stop(&chroma_server);
    redis_teardown();
}

TestSuite(cli_chroma, .init = start_both, .fini = stop_both);

static void add_document(const char *id, const char *text, const struct meta_pair *metadata,
                         size_t count)
{
    const struct slice texts[] = {{text, strlen(text)}};
    struct error err = {0};
    float *vector = calloc(embedder_dimension(embedder), sizeof *vector);

    cr_assert_not_null(vector);
    cr_assert_eq(embedder_embed(embedder, texts, 1, vector, &err), STATUS_OK, "%s", err.text);
    const struct chroma_record record = {{id, strlen(id)}, vector, texts[0], metadata, count};
    cr_assert_eq(chroma_upsert(chroma, "legal", &record, 1, &err), STATUS_OK, "%s", err.text);
    free(vector);
}

#define KEY(name)                                                                                  \
    {                                                                                              \
        name, sizeof(name) - 1                                                                     \
    }

static void add_experience(const char *id, const char *text, int64_t expires_ms,
                           int64_t prompt_bytes)
{
    const struct meta_pair metadata[] = {
        {KEY("task_id"), {.type = META_STRING, .string = {id, strlen(id)}}},
        {KEY("expires_ms"), {.type = META_INT, .integer = expires_ms}},
        {KEY("prompt_bytes"), {.type = META_INT, .integer = prompt_bytes}},
    };

    add_document(id, text, metadata, prompt_bytes < 0 ? 2 : 3);
}

#define FAR_MS 9000000000000

Test(cli_chroma, experiences_are_exported_for_fine_tuning, .timeout = 60)
{
    const struct meta_pair of_a_document[] = {
        {KEY("content_hash"), {.type = META_STRING, .string = {"x", 1}}}};

    add_experience("t-1", "one\n\ntwo\n\nthree", FAR_MS, -1);
    add_experience("t-2", "first\n\nsecond\n\nthird", FAR_MS, 13);
    add_experience("t-3", "old\n\nanswer", 1, 3);
    add_document("doc", "an indexed\n\ndocument", of_a_document, 1);

    RUN(0, "export", "dataset", "--domain", "legal", "--format", "completion");
    PRINTS("{\"prompt\":\"one\",\"completion\":\"two\\n\\nthree\"}\n");
    PRINTS("{\"prompt\":\"first\\n\\nsecond\",\"completion\":\"third\"}\n");
    cr_assert_null(strstr(out, "old"));
    cr_assert_null(strstr(out, "indexed"));
    SAYS("2 experiences");
    SAYS("1 left out: expired");
    SAYS("1 left out: not distilled");

    RUN(0, "export", "dataset", "--domain", "legal");
    PRINTS("{\"messages\":[{\"role\":\"user\",\"content\":\"one\"},"
           "{\"role\":\"assistant\",\"content\":\"two\\n\\nthree\"}]}\n");
}

Test(cli_chroma, an_export_of_nothing_is_exit_code_4_and_bad_usage_2, .timeout = 60)
{
    RUN(4, "export", "dataset", "--domain", "nobody");
    SAYS("nobody");
    RUN(2, "export", "dataset", "--domain", "legal", "--format", "csv");
    SAYS("csv");
    RUN(2, "export", "dataset");
    SAYS("--domain");
    RUN(2, "export", "everything", "--domain", "legal");
    SAYS("everything");
    RUN(2, "export", "--domain", "legal");
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%d", test_free_port());
    RUN(3, "export", "dataset", "--domain", "legal", "--chroma-url", url);
}

static const char *state_of(const cJSON *report, const char *name)
{
    const cJSON *check = NULL;

    cJSON_ArrayForEach(check, cJSON_GetObjectItem(report, "checks"))
    {
        if (strcmp(text_at(check, "check"), name) == 0) {
            return text_at(check, "state");
        }
    }
    cr_assert_fail("no check \"%s\" in %s", name, out);
    return "";
}

Test(cli_chroma, the_doctor_finds_healthy_servers_healthy, .timeout = 60)
{
    RUN(0, "doctor", "--json");
    cJSON *report = document();
    cr_assert(cJSON_IsTrue(cJSON_GetObjectItem(report, "ok")));
    static const char *const well[] = {"redis",          "redis version",  "redis role",
                                       "redis eviction", "redis clock",    "function library",
                                       "chroma",         "chroma version", "chroma collections",
                                       "embedder",       "cache"};
    for (size_t i = 0; i < sizeof well / sizeof well[0]; i++) {
        cr_assert_str_eq(state_of(report, well[i]), "ok", "%s", well[i]);
    }
    cr_assert_str_eq(state_of(report, "redis append-only file"), "warning");
    cr_assert_str_eq(state_of(report, "workers"), "warning");
    cJSON_Delete(report);
    RUN(0, "doctor");
    PRINTS("0 errors");
}

Test(cli_chroma, the_doctor_says_which_collection_wants_another_embedder, .timeout = 60)
{
    add_experience("t1", "prompt\n\nresult", FAR_MS, -1);
    RUN(1, "doctor", "--embed-dimension", "128");
    PRINTS(
        "was made with embedder \"builtin-384-v1\" of 384 dimensions, ours is \"builtin-128-v1\"");
    PRINTS("its jobs wait");
}

Test(cli_chroma, the_doctor_says_what_will_break_and_what_to_do, .timeout = 60)
{
    char url[64];

    DO("CONFIG", "SET", "maxmemory-policy", "allkeys-lru");
    DO("CONFIG", "SET", "maxmemory", "2mb");
    DO("FUNCTION", "FLUSH");
    snprintf(url, sizeof url, "http://127.0.0.1:%d", test_free_port());
    RUN(1, "doctor", "--chroma-url", url, "--embedder", "ollama", "--embed-url", url);
    PRINTS("maxmemory-policy noeviction");
    PRINTS("stillhouse init");
    PRINTS("STILLHOUSE_CHROMA_URL");
    PRINTS("STILLHOUSE_EMBED_URL");
    PRINTS("2.0 MiB");
}

Test(cli_chroma, the_doctor_says_whom_we_trust_and_which_secret_is_in_clear, .timeout = 60)
{
    RUN(0, "doctor", "--ca-file", "/etc/passwd");
    PRINTS("/etc/passwd");
    cr_assert_null(strstr(out, "plain http"), "%s", out);
    RUN(1, "doctor", "--embedder", "openai", "--embed-url", "http://embedder.invalid/v1",
        "--embed-key", "hush");
    PRINTS("embed-key");
    PRINTS("plain http");
    cr_assert_null(strstr(out, "hush"), "%s", out);
}

Test(cli_chroma, the_doctor_without_redis_still_looks_at_the_rest, .timeout = 60)
{
    char url[64];

    snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", test_free_port());
    RUN(3, "doctor", "--redis-url", url, "--cache-url", redis.url, "--json");
    cJSON *report = document();
    cr_assert_str_eq(state_of(report, "redis"), "error");
    cr_assert_str_eq(state_of(report, "chroma"), "ok");
    cr_assert_str_eq(state_of(report, "cache"), "ok");
    cJSON_Delete(report);
    RUN(1, "doctor", "--cache-url", url);
    PRINTS("STILLHOUSE_CACHE_URL");
}
