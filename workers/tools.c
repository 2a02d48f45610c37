#include "tools.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "clients.h"
#include "clock.h"
#include "reader.h"

enum { LANE_CONNECT_MS = 3000, LANE_COMMAND_MS = 5000, PARK_RAMP_MS = 1000 };

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

static enum status open_upstreams(struct lane_tools *tools, struct error *err)
{
    const struct settings *settings = tools->settings;
    enum status status =
        clients_open_embedder(settings, observe_http, tools->metrics, &tools->embedder, err);

    if (status != STATUS_OK) {
        return status;
    }
    tools->chroma = clients_open_chroma(settings, tools->embedder, observe_http, tools->metrics);
    return tools->chroma != NULL ? STATUS_OK
                                 : error_set(err, STATUS_OOM, "no memory for the chroma client");
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
    return clock_unix_ms() + atomic_load_explicit(tools->clock_offset_ms, memory_order_relaxed);
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

void task_judge(struct task *task, enum verdict verdict, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    vsnprintf(task->error, sizeof task->error, fmt, args);
    va_end(args);
    task->verdict = verdict;
}

enum verdict verdict_of_status(enum status status)
{
    switch (status) {
    case STATUS_INVALID:
    case STATUS_MISMATCH:
        return VERDICT_REJECT;
    default:
        return VERDICT_RETRY;
    }
}

static bool is_outage(enum blame blame, enum status status)
{
    switch (status) {
    case STATUS_UNREACHABLE:
    case STATUS_TIMEOUT:
    case STATUS_UNAVAILABLE:
        return true;
    case STATUS_OOM:
        return blame == BLAME_REDIS; /* it is full; it will be emptied */
    case STATUS_FAILED:
    case STATUS_GARBLED:
        return blame == BLAME_CHROMA || blame == BLAME_EMBEDDER;
    default:
        return false;
    }
}

void task_judge_error(struct task *task, enum blame blame, const struct error *err)
{
    task_judge(task, verdict_of_status(err->status), "%s", err->text);
    task->wait_ms = err->retry_after_ms;
    task->blame = is_outage(blame, err->status) ? blame : BLAME_JOB;
}

void task_park(struct lane_tools *tools, struct task *task, enum metrics_upstream upstream)
{
    int64_t wait_ms = upstreams_wait_ms(tools->upstreams, upstream);
    int64_t spread_ms = wait_ms / 4 + PARK_RAMP_MS;

    task_judge(task, VERDICT_PARK, "upstream paused by its circuit breaker");
    task->wait_ms = wait_ms + (int64_t)(backoff_random_next(&tools->random) % (uint64_t)spread_ms);
}

void tools_spare_attempts(struct lane_tools *tools, struct task *tasks, size_t count)
{
    static const enum metrics_upstream upstream_of[] = {
        [BLAME_REDIS] = METRICS_REDIS,
        [BLAME_CHROMA] = METRICS_CHROMA,
        [BLAME_EMBEDDER] = METRICS_EMBEDDER,
    };

    for (size_t i = 0; i < count; i++) {
        struct task *task = &tasks[i];
        if (task->verdict != VERDICT_RETRY || task->blame == BLAME_JOB) {
            continue;
        }
        const enum metrics_upstream upstream = upstream_of[task->blame];
        if (upstream == METRICS_REDIS ||
            upstreams_state(tools->upstreams, upstream) != BREAKER_CLOSED) {
            task_park(tools, task, upstream);
        }
    }
}
