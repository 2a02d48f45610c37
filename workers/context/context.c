#include "context/context.h"

#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/clock.h"
#include "base/log.h"
#include "config/clients.h"
#include "queue/settle.h"
#include "queue/take.h"

enum { LANE_CONNECT_MS = 3000, LANE_COMMAND_MS = 5000 };

/* ---- the connections --------------------------------------------------------------------------
 */

static void observe_http(void *argument, const char *upstream, const char *operation, int code,
                         long new_connections, double seconds, enum status status)
{
    struct metrics *metrics = argument;
    enum metrics_upstream which =
        strcmp(upstream, "chroma") == 0 ? METRICS_CHROMA : METRICS_EMBEDDER;

    metrics_add(metrics, METRICS_HTTP_REQUESTS, which, metrics_code_of(code), 1);
    if (new_connections > 0) {
        metrics_add(metrics, METRICS_HTTP_CONNECTIONS, which, 0, (uint64_t)new_connections);
    }
    metrics_observe(metrics, METRICS_UPSTREAM_SECONDS, metrics_call_of(which, operation), seconds,
                    1);
    if (status != STATUS_OK) {
        metrics_add(metrics, METRICS_UPSTREAM_ERRORS, which, status, 1);
    }
}

static enum status open_redis(struct context *ctx, struct error *err)
{
    const struct settings *settings = ctx->settings;
    static const struct redis_timeouts timeouts = {LANE_CONNECT_MS, LANE_COMMAND_MS};

    TRY(clients_open_redis(settings->redis_url, timeouts, &ctx->clients.redis, err));
    ctx->clients.cache = ctx->clients.redis;
    return settings->cache_url[0] == '\0'
               ? STATUS_OK
               : clients_open_redis(settings->cache_url, timeouts, &ctx->clients.cache, err);
}

/* A request is bounded, however long that is: a lane that waits for one moves. */
static void wait_on(void *argument)
{
    context_progress(argument);
}

static enum status open_upstreams(struct context *ctx, struct error *err)
{
    const struct settings *settings = ctx->settings;

    TRY(clients_open_embedder(settings, observe_http, ctx->metrics, &ctx->clients.embedder, err));
    ctx->clients.chroma =
        clients_open_chroma(settings, ctx->clients.embedder, observe_http, ctx->metrics);
    embedder_on_wait(ctx->clients.embedder, wait_on, ctx);
    chroma_on_wait(ctx->clients.chroma, wait_on, ctx);
    return STATUS_OK;
}

enum status context_open(struct context *ctx, struct error *err)
{
    if (getrandom(&ctx->random.state, sizeof ctx->random.state, 0) < 0) {
        ctx->random.state = (uint64_t)clock_now_ns();
    }
    ctx->arena.is_must = true;
    context_progress(ctx);

    enum status status = open_redis(ctx, err);
    if (status == STATUS_OK) {
        status = open_upstreams(ctx, err);
    }
    if (status != STATUS_OK) {
        context_close(ctx);
    }
    return status;
}

void context_close(struct context *ctx)
{
    chroma_free(ctx->clients.chroma);
    embedder_free(ctx->clients.embedder);
    if (ctx->clients.cache != ctx->clients.redis) {
        redis_conn_free(ctx->clients.cache);
    }
    redis_conn_free(ctx->clients.redis);
    memset(&ctx->clients, 0, sizeof ctx->clients);
    arena_free(&ctx->arena);
}

void context_wait(struct context *ctx)
{
    if (ctx->before_wait != NULL) {
        ctx->before_wait(ctx->lane);
    }
}

struct redis_conn *context_redis(struct context *ctx)
{
    context_wait(ctx);
    return ctx->clients.redis;
}

struct redis_conn *context_cache(struct context *ctx)
{
    context_wait(ctx);
    return ctx->clients.cache;
}

struct chroma *context_chroma(struct context *ctx)
{
    context_wait(ctx);
    return ctx->clients.chroma;
}

struct embedder *context_embedder(struct context *ctx)
{
    context_wait(ctx);
    return ctx->clients.embedder;
}

/* ---- a batch ----------------------------------------------------------------------------------
 */

void context_begin(struct context *ctx, const struct queue *queue, const struct queue_batch *batch)
{
    ctx->queue = queue;
    ctx->suspect_count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        if (batch->jobs[i].deliveries < 2) {
            continue;
        }
        if (ctx->suspect_count == 0) {
            ctx->suspects = arena_array(&ctx->arena, batch->count, sizeof(const struct job *));
        }
        ctx->suspects[ctx->suspect_count++] = &batch->jobs[i];
    }
    context_phase(ctx, PHASE_DECODE);
}

void context_end(struct context *ctx)
{
    struct error err = {0};

    if (ctx->suspect_count > 0 &&
        queue_erase_phase(context_redis(ctx), ctx->queue,
                          (struct queue_jobs){ctx->suspects, ctx->suspect_count},
                          &err) != STATUS_OK) {
        log_debug("phase: %s", err.text);
    }
    ctx->suspect_count = 0;
    context_progress(ctx);
}

void context_progress(struct context *ctx)
{
    atomic_store_explicit(&ctx->progress_ms, clock_now_ms(), memory_order_relaxed);
}

void context_phase(struct context *ctx, enum phase phase)
{
    static const char *const names[] = {
        [PHASE_DECODE] = "decode", [PHASE_EMBED] = "embed",   [PHASE_QUERY] = "query",
        [PHASE_UPSERT] = "upsert", [PHASE_FINISH] = "finish",
    };
    struct error err = {0};

    context_progress(ctx);
    if (ctx->suspect_count > 0 &&
        queue_write_phase(context_redis(ctx),
                          &(struct queue_holder){.queue = ctx->queue, .consumer = ctx->consumer},
                          names[phase], (struct queue_jobs){ctx->suspects, ctx->suspect_count},
                          &err) != STATUS_OK) {
        log_debug("phase: %s", err.text);
    }
}

/* ---- the clock, and small memory --------------------------------------------------------------
 */

int64_t context_now_unix_ms(const struct context *ctx)
{
    return clock_now_ms() + atomic_load_explicit(ctx->redis_clock_ms, memory_order_relaxed);
}

enum status context_ask_time(struct context *ctx, int64_t *unix_ms, struct error *err)
{
    TRY(redis_conn_time(context_redis(ctx), unix_ms, err));
    atomic_store_explicit(ctx->redis_clock_ms, *unix_ms - clock_now_ms(), memory_order_relaxed);
    return STATUS_OK;
}

const char *context_text(struct context *ctx, struct slice slice)
{
    return arena_copy(&ctx->arena, slice.data, slice.bytes);
}

struct slice context_keep(struct context *ctx, struct strbuf *bytes)
{
    strbuf_must(bytes);
    const struct slice kept = {arena_copy(&ctx->arena, bytes->data, bytes->bytes), bytes->bytes};
    strbuf_free(bytes);
    return kept;
}

struct slice context_derive_id(struct context *ctx, struct slice id, const char *suffix)
{
    char *derived = arena_array(&ctx->arena, TEXT_ID_MAX + 1, 1);

    return slice_of(text_derive_id(id.data, id.bytes, suffix, derived));
}

struct slice context_encode_result(struct context *ctx, const struct enrich_result *result)
{
    struct strbuf packed = {0};

    bodies_encode_result(result, &packed);
    return context_keep(ctx, &packed);
}
