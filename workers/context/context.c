#include "context/context.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "config/clients.h"
#include "reader/reader.h"

enum { LANE_CONNECT_MS = 3000, LANE_COMMAND_MS = 5000 };

static void observe_http(void *context, const char *upstream, const char *operation, int code,
                         long new_connections, double seconds, enum status status)
{
    struct metrics *metrics = context;
    enum metrics_upstream which =
        strcmp(upstream, "chroma") == 0 ? METRICS_CHROMA : METRICS_EMBEDDER;

    metrics_http_request(metrics, which, code, new_connections);
    metrics_upstream_seconds(metrics, which, operation, seconds);
    if (status != STATUS_OK) {
        metrics_upstream_error(metrics, which, status);
    }
}

static enum status open_redis(struct lane_tools *tools, struct error *err)
{
    const struct settings *settings = tools->settings;
    const struct redis_timeouts timeouts = {LANE_CONNECT_MS, LANE_COMMAND_MS};
    struct redis_url url;
    enum status status = redis_url_parse(settings->redis_url, &url, err);

    if (status != STATUS_OK) {
        return status;
    }
    tools->redis = redis_conn_new(&url, timeouts);
    tools->cache = tools->redis;
    if (settings->cache_url[0] != '\0') {
        status = redis_url_parse(settings->cache_url, &url, err);
        if (status != STATUS_OK) {
            return status;
        }
        tools->cache = redis_conn_new(&url, timeouts);
    }
    if (tools->redis == NULL || tools->cache == NULL) {
        return error_set(err, STATUS_OOM, "no memory for a redis connection");
    }
    return STATUS_OK;
}

/* A request is bounded, however long that is: a lane that waits for one moves. */
static void wait_on(void *context)
{
    tools_progress(context);
}

static enum status open_upstreams(struct lane_tools *tools, struct error *err)
{
    const struct settings *settings = tools->settings;
    enum status status =
        clients_open_embedder(settings, observe_http, tools->metrics, &tools->embedder, err);

    if (status != STATUS_OK) {
        return status;
    }
    tools->chroma = clients_open_chroma(settings, tools->embedder, observe_http, tools->metrics);
    if (tools->chroma == NULL) {
        return error_set(err, STATUS_OOM, "no memory for the chroma client");
    }
    embedder_on_wait(tools->embedder, wait_on, tools);
    chroma_on_wait(tools->chroma, wait_on, tools);
    return STATUS_OK;
}

enum status tools_open(struct lane_tools *tools, struct error *err)
{
    if (getrandom(&tools->random.state, sizeof tools->random.state, 0) < 0) {
        tools->random.state = (uint64_t)clock_now_ns();
    }
    tools_progress(tools);

    enum status status = open_redis(tools, err);
    if (status == STATUS_OK) {
        status = open_upstreams(tools, err);
    }
    if (status != STATUS_OK) {
        tools_close(tools);
    }
    return status;
}

void tools_close(struct lane_tools *tools)
{
    chroma_free(tools->chroma);
    embedder_free(tools->embedder);
    if (tools->cache != tools->redis) {
        redis_conn_free(tools->cache);
    }
    redis_conn_free(tools->redis);
    arena_free(&tools->arena);
    tools->chroma = NULL;
    tools->embedder = NULL;
    tools->cache = NULL;
    tools->redis = NULL;
}

int64_t tools_now_unix_ms(const struct lane_tools *tools)
{
    return clock_now_ms() + atomic_load_explicit(tools->redis_clock_ms, memory_order_relaxed);
}

enum status tools_ask_time(struct lane_tools *tools, int64_t *unix_ms, struct error *err)
{
    enum status status = redis_conn_time(tools->redis, unix_ms, err);

    if (status == STATUS_OK) {
        atomic_store_explicit(tools->redis_clock_ms, *unix_ms - clock_now_ms(),
                              memory_order_relaxed);
    }
    return status;
}

void tools_progress(struct lane_tools *tools)
{
    atomic_store_explicit(&tools->progress_ms, clock_now_ms(), memory_order_relaxed);
}

void tools_will_wait(struct lane_tools *tools)
{
    if (tools->takes != NULL) {
        reader_pass_turn(tools->reader, tools->takes);
    }
}

void tools_phase(struct lane_tools *tools, enum phase phase)
{
    tools_progress(tools);
    if (phase != PHASE_DECODE) {
        tools_will_wait(tools);
    }
    blackbox_note(&tools->blackbox, phase);
}

const char *tools_text(struct lane_tools *tools, struct slice slice)
{
    const char *copy = arena_copy(&tools->arena, slice.data, slice.bytes);
    return copy != NULL ? copy : "";
}

struct slice tools_encode_result(struct lane_tools *tools, const struct enrich_result *result)
{
    struct strbuf packed = {0};
    struct slice out = {0};

    bodies_encode_result(result, &packed);
    if (strbuf_ok(&packed)) {
        out.data = arena_copy(&tools->arena, packed.data, packed.bytes);
        out.bytes = out.data != NULL ? packed.bytes : 0;
    }
    strbuf_free(&packed);
    return out;
}
