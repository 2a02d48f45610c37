/* kill -9 of a real worker at each phase of each handler: another worker does the job, its effects
 * stand once, the books balance. The moment is chosen by proxies that hold a conversation at a
 * word. */
#include <signal.h>
#include <sys/wait.h>

#include "../integration/fleet_fixture.h"
#include "fake_server.h"
#include "proxy.h"

enum { TAKEOVERS = 7, HELD_MS = 20000 };

static const struct fake_step vectors[] = {
    EXPECT("/v1/embeddings"),
    EXPECT("\"input\":["),
    EXPECT("]}"),
    ANSWER("200 OK", "{\"data\":[{\"index\":0,\"embedding\":[3,4]}]}"),
    LOOP,
};

static struct fake_server *embed_server;
static struct test_proxy *redis_proxy;
static struct test_proxy *chroma_proxy;
static struct test_proxy *embed_proxy;
static struct chroma *reader;
static struct embedder *identity;
static char program[512];

static void setup_proxies(void)
{
    struct error err = {0};
    const struct embedder_config embedding = {.kind = EMBEDDER_OPENAI,
                                              .url = "http://127.0.0.1:1",
                                              .model = "",
                                              .key = "",
                                              .dimension = 2};

    setup();
    test_program("stillhouse-worker", program);
    embed_server = fake_server_start(vectors);
    redis_proxy = test_proxy_start(redis.port);
    chroma_proxy = test_proxy_start(chroma_server.port);
    embed_proxy = test_proxy_start(fake_server_port(embed_server));
    cr_assert_eq(embedder_new(&embedding, &identity, &err), STATUS_OK, "%s", err.text);
    const struct chroma_config config = {
        .url = chroma_server.url,
        .tenant = settings.chroma_tenant,
        .database = settings.chroma_database,
        .token = "",
        .timeout_ms = 10000,
        .identity = {embedder_model(identity), embedder_dimension(identity)},
    };
    reader = chroma_new(&config);
    cr_assert_not_null(reader);
}

static void teardown_proxies(void)
{
    chroma_free(reader);
    embedder_free(identity);
    test_proxy_stop(redis_proxy);
    test_proxy_stop(chroma_proxy);
    test_proxy_stop(embed_proxy);
    cr_assert_null(fake_server_stop(embed_server));
    teardown();
}

TestSuite(phases, .init = setup_proxies, .fini = teardown_proxies, .timeout = 120);

/* ---- workers --------------------------------------------------------------------------------- */

static pid_t start_worker(const char *id, const char *max_deliveries)
{
    char url[64];
    char chroma_url[64];
    char embed_url[64];
    char log[300];

    snprintf(url, sizeof url, "redis://127.0.0.1:%d/0", test_proxy_port(redis_proxy));
    snprintf(chroma_url, sizeof chroma_url, "http://127.0.0.1:%d", test_proxy_port(chroma_proxy));
    snprintf(embed_url, sizeof embed_url, "http://127.0.0.1:%d/v1", test_proxy_port(embed_proxy));
    snprintf(log, sizeof log, "%s/%s.log", redis.folder, id);
    return test_spawn((const char *const[]){program,
                                            "--redis-url",
                                            url,
                                            "--chroma-url",
                                            chroma_url,
                                            "--embedder",
                                            "openai",
                                            "--embed-url",
                                            embed_url,
                                            "--embed-dimension",
                                            "2",
                                            "--visibility",
                                            "1s",
                                            "--lanes",
                                            "1",
                                            "--http",
                                            "off",
                                            "--worker-id",
                                            id,
                                            "--retry-base",
                                            "20ms",
                                            "--retry-max",
                                            "100ms",
                                            "--breaker-failures",
                                            "1000",
                                            "--max-deliveries",
                                            max_deliveries,
                                            NULL},
                      log);
}

static void end_worker(pid_t pid, int signal)
{
    int state = 0;

    cr_assert_eq(kill(pid, signal), 0);
    cr_assert_eq(waitpid(pid, &state, 0), pid);
    cr_assert(signal == SIGKILL || (WIFEXITED(state) && WEXITSTATUS(state) == 0), "state %d",
              state);
}

static void drop_all(void)
{
    test_proxy_drop(redis_proxy);
    test_proxy_drop(chroma_proxy);
    test_proxy_drop(embed_proxy);
}

/* ---- jobs ------------------------------------------------------------------------------------ */

static void push_index(const char *id)
{
    struct index_document document = {.id = {"doc-1", 5}, .text = {"a manual", 8}};
    const struct index_body body = {.documents = &document, .count = 1};
    struct strbuf packed = {0};

    bodies_encode_index(&body, &packed);
    push("index", id, "legal", "reply=1", packed.data, packed.bytes);
    strbuf_free(&packed);
}

static void push_job(const char *queue, const char *id)
{
    if (strcmp(queue, "enrich") == 0) {
        push_enrich("legal", id, "a question", 3, "reply=1");
    } else if (strcmp(queue, "distill") == 0) {
        push_distill("legal", id, "a prompt", "a result", 0.9, "");
    } else if (strcmp(queue, "index") == 0) {
        push_index(id);
    } else {
        push("echo", id, "legal", "reply=1", "body", 4);
    }
}

static int64_t stored(void)
{
    struct error err = {0};
    int64_t count = -1;

    cr_assert_eq(chroma_count(reader, "legal", &count, &err), STATUS_OK, "%s", err.text);
    return count;
}

static long long length_of(const char *verb, const char *key)
{
    redisReply *reply = ask(verb, key);
    long long length = reply->integer;

    freeReplyObject(reply);
    return length;
}

/* What the job is for stands, once. */
static void check_effects(const char *queue)
{
    char key[QUEUE_BASE_BYTES];
    struct arena arena = {0};
    struct enrich_result result;

    if (strcmp(queue, "enrich") == 0) {
        cr_assert(cached("legal", "a question", &arena, &result));
        cr_assert_eq(result.count, 1);
        arena_free(&arena);
    }
    if (strcmp(queue, "enrich") == 0 || strcmp(queue, "echo") == 0) {
        snprintf(key, sizeof key, "sh:{%s}:reply:job-1", queue);
        cr_assert_eq(length_of("LLEN", key), 1);
    }
    cr_assert_eq(stored(), strcmp(queue, "distill") == 0 || strcmp(queue, "index") == 0 ? 2 : 1);
    snprintf(key, sizeof key, "sh:{%s}:jobs", queue);
    cr_assert_eq(length_of("XLEN", key), 0);
}

/* The first worker is killed where the word passes; the second one ends the job. `reclaimed` is how
 * many takeovers that needs: none where the job had ended already. */
static void kill_at(const char *queue, struct test_proxy *proxy, enum proxy_direction direction,
                    const char *word, int64_t reclaimed)
{
    pid_t first = start_worker("first", "5");
    int64_t before = 0;

    push_distill("legal", "seed", "another prompt", "a result", 0.9, "");
    wait_for("distill", COUNT_DONE, 1);
    before = stats_of(queue).counters[COUNT_DONE];
    test_proxy_hold(proxy, direction, word);
    push_job(queue, "job-1");
    cr_assert(test_proxy_wait_held(proxy, HELD_MS), "\"%s\" never passed", word);
    end_worker(first, SIGKILL);
    drop_all();

    pid_t second = start_worker("second", "5");
    wait_for(queue, COUNT_DONE, before + 1);
    struct queue_stats stats = stats_of(queue);
    cr_assert_eq(stats.counters[COUNT_DONE], before + 1);
    cr_assert_eq(stats.dead, 0);
    cr_assert_eq(stats.counters[COUNT_RETRIED], 0, "a death is no failure of the job");
    cr_assert_eq(stats.counters[TAKEOVERS], reclaimed);
    check_effects(queue);
    end_worker(second, SIGTERM);
}

#define PHASE(queue, phase, proxy, direction, word, reclaimed)                                     \
    Test(phases, queue##_survives_a_kill_at_##phase)                                               \
    {                                                                                              \
        kill_at(#queue, proxy, direction, word, reclaimed);                                        \
    }

PHASE(enrich, decode, redis_proxy, PROXY_ANSWER, "job-1", 1)
PHASE(enrich, embed, embed_proxy, PROXY_REQUEST, "/v1/embeddings", 1)
PHASE(enrich, query, chroma_proxy, PROXY_REQUEST, "/query", 1)
PHASE(enrich, the_write_of_its_result, redis_proxy, PROXY_REQUEST, "sh:cache:{legal}", 1)
PHASE(enrich, finish, redis_proxy, PROXY_REQUEST, "sh_finish", 1)
PHASE(distill, decode, redis_proxy, PROXY_ANSWER, "job-1", 1)
PHASE(distill, embed, embed_proxy, PROXY_REQUEST, "/v1/embeddings", 1)
PHASE(distill, query, chroma_proxy, PROXY_REQUEST, "/get", 1)
PHASE(distill, upsert, chroma_proxy, PROXY_REQUEST, "/upsert", 1)
PHASE(distill, the_answer_of_its_upsert, chroma_proxy, PROXY_ANSWER, "HTTP/1.1 200", 1)
PHASE(distill, the_trimming_of_twins, redis_proxy, PROXY_REQUEST, "sh:twins:", 1)
PHASE(distill, finish, redis_proxy, PROXY_REQUEST, "sh_finish", 1)
PHASE(index, decode, redis_proxy, PROXY_ANSWER, "job-1", 1)
PHASE(index, embed, embed_proxy, PROXY_REQUEST, "/v1/embeddings", 1)
PHASE(index, query, chroma_proxy, PROXY_REQUEST, "/get", 1)
PHASE(index, upsert, chroma_proxy, PROXY_REQUEST, "/upsert", 1)
PHASE(index, the_move_of_the_epoch, redis_proxy, PROXY_REQUEST, "sh:epoch:", 1)
PHASE(index, finish, redis_proxy, PROXY_REQUEST, "sh_finish", 1)
PHASE(echo, decode, redis_proxy, PROXY_ANSWER, "job-1", 1)
PHASE(echo, finish, redis_proxy, PROXY_REQUEST, "sh_finish", 1)

/* ---- a job that kills its workers ------------------------------------------------------------ */

Test(phases, a_job_that_kills_its_workers_is_dead_with_the_phase_named_and_others_flow)
{
    char said[400];
    char id[16];

    /* In every life a worker is handed the killer, and ends when it writes it; the others that
     * stood in its batch must all be done in the end. */
    for (int i = 0; i < 20; i++) {
        snprintf(id, sizeof id, "fine-%d", i);
        push_distill("legal", id, id, "a result", 0.9, "");
    }
    push_distill("legal", "killer", "kill me", "a result", 0.9, "");
    for (int life = 0; stats_of("distill").counters[COUNT_BURIED] == 0; life++) {
        cr_assert_lt(life, 10, "it lives for ever");
        test_proxy_hold(chroma_proxy, PROXY_REQUEST, "\"killer\"");
        pid_t worker = start_worker("victim", "4");
        int64_t until_ms = clock_now_ms() + HELD_MS;
        while (!test_proxy_wait_held(chroma_proxy, 100) &&
               stats_of("distill").counters[COUNT_BURIED] == 0) {
            cr_assert_lt(clock_now_ms(), until_ms, "the killer did not come");
        }
        end_worker(worker, SIGKILL);
        drop_all();
    }
    pid_t last = start_worker("survivor", "4");
    push_distill("legal", "late", "late", "a result", 0.9, "");
    wait_for("distill", COUNT_DONE, 21);
    dead_letter("distill", said, sizeof said);
    cr_assert_str_eq(said, "crash_loop: handed out 4 times without an end; the last worker, "
                           "\"victim.0\", died in phase \"query\"");
    cr_assert_eq(stats_of("distill").dead, 1, "others died with it");
    cr_assert_eq(stored(), 21);
    end_worker(last, SIGTERM);
}
