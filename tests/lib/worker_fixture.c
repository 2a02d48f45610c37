#include "worker_fixture.h"

#include <signal.h>
#include <sys/wait.h>

#include "fake_server.h"

static const struct fake_step vectors[] = {
    EXPECT("/v1/embeddings"),
    EXPECT("\"input\":["),
    EXPECT("]}"),
    ANSWER("200 OK", "{\"data\":[{\"index\":0,\"embedding\":[3,4]}]}"),
    LOOP,
};

struct test_proxy *redis_proxy;
struct test_proxy *chroma_proxy;
struct test_proxy *embed_proxy;
static struct fake_server *embed_server;
static struct chroma *reader;
static struct embedder *identity;
static char program[512];
static struct error err;

void setup_proxies(void)
{
    const struct embedder_config embedding = {.kind = EMBEDDER_OPENAI,
                                              .url = "http://127.0.0.1:1",
                                              .model = "",
                                              .key = "",
                                              .dimension = 2};

    fleet_setup();
    test_program("stillhouse-worker", program);
    embed_server = fake_server_start(vectors);
    redis_proxy = test_proxy_start(redis.port);
    chroma_proxy = test_proxy_start(chroma_server.port);
    embed_proxy = test_proxy_start(fake_server_port(embed_server));
    OK(embedder_new(&embedding, &identity, &err));
    reader = chroma_of(identity);
}

void teardown_proxies(void)
{
    chroma_free(reader);
    embedder_free(identity);
    test_proxy_stop(redis_proxy);
    test_proxy_stop(chroma_proxy);
    test_proxy_stop(embed_proxy);
    cr_assert_null(fake_server_stop(embed_server));
    fleet_teardown();
}

/* ---- workers --------------------------------------------------------------------------------- */

pid_t start_worker(const char *id, enum worker_kind kind, const char *const *extra)
{
    char url[64];
    char chroma_url[64];
    char embed_url[64];
    char log[300];
    const bool proxied = kind == PROXIED;

    snprintf(url, sizeof url, "redis://127.0.0.1:%d/0",
             proxied ? test_proxy_port(redis_proxy) : redis.port);
    snprintf(chroma_url, sizeof chroma_url, "http://127.0.0.1:%d",
             proxied ? test_proxy_port(chroma_proxy) : chroma_server.port);
    snprintf(embed_url, sizeof embed_url, "http://127.0.0.1:%d/v1",
             proxied ? test_proxy_port(embed_proxy) : fake_server_port(embed_server));
    snprintf(log, sizeof log, "%s/%s.log", redis.folder, id);

    // clang-format off
    const char *const flags[] = {
        program, "--worker-id", id, "--redis-url", url, "--chroma-url", chroma_url,
        "--embedder", "openai", "--embed-url", embed_url, "--embed-dimension", "2",
        "--visibility", "1s", "--lanes", "1", "--http", "off",
        "--retry-base", "20ms", "--retry-max", "100ms", "--breaker-failures", "1000",
    };
    // clang-format on
    enum { FLAGS = sizeof flags / sizeof flags[0], EXTRA_MAX = 16 };
    const char *argv[FLAGS + EXTRA_MAX + 1] = {0};
    memcpy(argv, flags, sizeof flags);
    for (size_t i = 0; extra != NULL && extra[i] != NULL; i++) {
        cr_assert_lt(i, EXTRA_MAX);
        argv[FLAGS + i] = extra[i];
    }
    return test_spawn(argv, log);
}

void end_worker(pid_t pid, int signal)
{
    int state = 0;

    cr_assert_eq(kill(pid, signal), 0);
    cr_assert_eq(waitpid(pid, &state, 0), pid);
    cr_assert(signal == SIGKILL || (WIFEXITED(state) && WEXITSTATUS(state) == 0), "state %d",
              state);
}

void drop_all(void)
{
    test_proxy_drop(redis_proxy);
    test_proxy_drop(chroma_proxy);
    test_proxy_drop(embed_proxy);
}

int64_t stored(void)
{
    int64_t count = -1;

    OK(chroma_count(reader, "legal", &count, &err));
    return count;
}
