#include "process/sweep.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "chroma_writer/writer.h"
#include "context/asking.h"
#include "process/worker.h"
#include "queue/keys.h"
#include "queue/limits.h"

enum {
    LEASE_MS = 60000, /* kept between two rounds too, so that one worker sweeps */
    RENEW_EVERY_MS = 20000,
    FIND_MAX = 1000, /* ids found at once: at 100,000 documents 0.3 s, however many there are */
    DOMAINS_PAGE = 100,
    IDLE_WAIT_MS = 100,
    IDLE_POLL_MS = 5,
    REST_MAX_MS = 100,      /* between slices, so that others' writes come through */
    REQUEST_MAX_MS = 10000, /* a worker that is to end waits no longer for a Chroma that hangs */
};

struct sweep {
    struct worker *worker;
    bool needed; /* the fleet has done work that needs Chroma */
    int64_t due_ms;
    bool leased;
    int64_t renew_at_ms;
    char key[KEYS_BYTES];

    pthread_t thread;
    bool started;
    atomic_bool running;
    struct context ctx; /* the thread's, and the settings that it was opened with */
    struct settings settings;
};

struct sweep *sweep_new(struct worker *worker)
{
    struct sweep *sweep = must_alloc(1, sizeof *sweep);

    sweep->worker = worker;
    sweep->due_ms = clock_now_ms() + worker->settings->sweep_ms;
    keys_name(sweep->key, KEYS_PLAIN, worker->settings->prefix, "lease:sweep");
    return sweep;
}

static void join(struct sweep *sweep)
{
    if (sweep->started) {
        pthread_join(sweep->thread, NULL);
        sweep->started = false;
    }
}

void sweep_free(struct sweep *sweep)
{
    if (sweep != NULL) {
        join(sweep);
        free(sweep);
    }
}

/* ---- a round, in its thread ------------------------------------------------------------------ */

/* Not while Chroma is in trouble, or has asked to be left alone. */
static bool may_go_on(const struct sweep *sweep)
{
    struct upstreams *upstreams = sweep->worker->upstreams;

    return worker_mode(sweep->worker) == FLEET_RUN &&
           upstreams_worst(upstreams, METRICS_CHROMA) == BREAKER_CLOSED &&
           upstreams_wait_ms(upstreams, OPERATION_GET) == 0 &&
           upstreams_wait_ms(upstreams, OPERATION_WRITE) == 0;
}

static bool is_idle(const struct sweep *sweep)
{
    return atomic_load(&sweep->worker->lanes_busy) == 0 &&
           writer_waiting(sweep->worker->writer) == 0;
}

/* For a moment without jobs in hand, but not for ever: a worker may never have one. */
static void wait_for_idle_moment(const struct sweep *sweep)
{
    const int64_t until_ms = clock_now_ms() + IDLE_WAIT_MS;

    while (!is_idle(sweep) && clock_now_ms() < until_ms && may_go_on(sweep)) {
        clock_sleep_ms(IDLE_POLL_MS);
    }
}

/* A Chroma that wants to be left alone is, by all. */
static enum status heed(struct context *ctx, enum status status, const struct error *err)
{
    if (status == STATUS_UNAVAILABLE) {
        asking_report(ctx, OPERATION_WRITE, status, err);
    }
    return status;
}

/* What has expired in a domain. STATUS_OK also where it is cut off. */
static enum status sweep_domain(struct sweep *sweep, const char *domain, size_t *total,
                                struct error *err)
{
    struct context *ctx = &sweep->ctx;
    struct chroma_hits found = {0};
    size_t gone = 0;
    enum status status = STATUS_OK;

    do {
        const struct arena_mark mark = arena_mark(&ctx->arena);
        struct slice ids[WRITER_REQUEST_MAX];
        int64_t now_unix_ms = 0;
        gone = 0;
        status = context_ask_time(ctx, &now_unix_ms, err);
        if (status == STATUS_OK) {
            const struct chroma_select select = {
                .domain = domain, .expired_unix_ms = now_unix_ms, .limit = FIND_MAX};
            status =
                heed(ctx, chroma_get(context_chroma(ctx), &select, &ctx->arena, &found, err), err);
        }
        for (size_t done = 0; status == STATUS_OK && done < found.count && may_go_on(sweep);) {
            const struct arena_mark slice_mark = arena_mark(&ctx->arena);
            struct write_order order = {.domain = domain, .expired = ids};
            while (order.expired_count < WRITER_REQUEST_MAX && done < found.count) {
                ids[order.expired_count++] = found.examples[done++].id;
            }
            wait_for_idle_moment(sweep);
            const int64_t begun_ms = clock_now_ms();
            writer_put(sweep->worker->writer, ctx, &order, 1);
            metrics_add(ctx->metrics, METRICS_SWEPT, 0, 0, order.deleted);
            gone += order.deleted;
            status = order.error.status;
            *err = status == STATUS_OK ? *err : order.error;
            arena_rewind(&ctx->arena, slice_mark);
            const int64_t rest_ms = (clock_now_ms() - begun_ms) / 2;
            clock_sleep_ms(rest_ms < REST_MAX_MS ? rest_ms : REST_MAX_MS);
        }
        *total += gone;
        arena_rewind(&ctx->arena, mark);
    } while (status == STATUS_OK && found.count == FIND_MAX && gone > 0 && may_go_on(sweep));
    return status;
}

/* Somebody else's collection, or one that was dropped meanwhile, ends no round. */
static bool is_of_the_domain(enum status status)
{
    return status == STATUS_MISMATCH || status == STATUS_NOT_FOUND || status == STATUS_INVALID;
}

static enum status sweep_all(struct sweep *sweep, struct error *err)
{
    struct context *ctx = &sweep->ctx;
    struct chroma_domains page = {.limit = DOMAINS_PAGE};
    enum status status = STATUS_OK;

    do {
        const struct arena_mark mark = arena_mark(&ctx->arena);
        status = heed(ctx, chroma_list_domains(context_chroma(ctx), &ctx->arena, &page, err), err);
        for (size_t i = 0; status == STATUS_OK && i < page.count && may_go_on(sweep); i++) {
            size_t total = 0;
            status = sweep_domain(sweep, page.domains[i], &total, err);
            if (total > 0) {
                log_info("sweep: %zu expired experiences of \"%s\" deleted", total,
                         page.domains[i]);
            }
            if (is_of_the_domain(status)) {
                log_debug("sweep: %s", err->text);
                status = STATUS_OK;
            }
        }
        page.offset += page.answered;
        arena_rewind(&ctx->arena, mark);
    } while (status == STATUS_OK && page.answered == DOMAINS_PAGE && may_go_on(sweep));
    return status;
}

static void *run(void *argument)
{
    struct sweep *sweep = argument;
    const struct worker *worker = sweep->worker;
    struct error err = {0};

    sweep->settings = *worker->settings;
    if (sweep->settings.chroma_timeout_ms > REQUEST_MAX_MS) {
        sweep->settings.chroma_timeout_ms = REQUEST_MAX_MS;
    }
    sweep->ctx = (struct context){
        .settings = &sweep->settings,
        .metrics = worker->metrics,
        .upstreams = worker->upstreams,
        .writer = worker->writer,
        .redis_clock_ms = &sweep->worker->redis_clock_ms,
    };
    enum status status = context_open(&sweep->ctx, &err);
    if (status == STATUS_OK) {
        status = sweep_all(sweep, &err);
        context_close(&sweep->ctx);
    }
    if (status != STATUS_OK) {
        log_warning("sweep: %s", err.text);
    }
    atomic_store(&sweep->running, false);
    return NULL;
}

/* ---- when there is one ------------------------------------------------------------------------
 */

/* Has a queue that this worker serves finished a job that needs Chroma? */
static enum status look_for_work(struct sweep *sweep, struct redis_conn *conn, struct error *err)
{
    const struct worker *worker = sweep->worker;
    enum status status = STATUS_OK;

    for (size_t i = 0; i < worker->queue_count && status == STATUS_OK && !sweep->needed; i++) {
        redisReply *reply = NULL;
        char key[KEYS_BYTES];
        if ((job_kinds[worker->queues[i].kind].traits & KIND_ASKS_HTTP) == 0) {
            continue;
        }
        snprintf(key, sizeof key, "%s:counters", worker->queues[i].base);
        status = redis_commandf(conn, &reply, err, "HGET %s done", key);
        sweep->needed = status == STATUS_OK && reply->type == REDIS_REPLY_STRING &&
                        strtoll(reply->str, NULL, 10) > 0;
        redis_reply_free(reply);
        if (redis_conn_is_open(conn)) {
            status = STATUS_OK; /* what stands under one queue's key is no matter for the others */
        }
    }
    return status;
}

/* Takes the lease, or keeps it. */
static enum status take_lease(struct sweep *sweep, struct redis_conn *conn, struct error *err)
{
    sweep->renew_at_ms = clock_now_ms() + RENEW_EVERY_MS;
    return lease_take(conn, &(struct lease){sweep->key, sweep->worker->id, LEASE_MS},
                      &sweep->leased, err);
}

static enum status begin(struct sweep *sweep, struct redis_conn *conn, struct error *err)
{
    sweep->due_ms = clock_now_ms() + sweep->worker->settings->sweep_ms;
    TRY(look_for_work(sweep, conn, err));
    if (!sweep->needed || !may_go_on(sweep)) {
        return STATUS_OK;
    }
    TRY(take_lease(sweep, conn, err));
    if (!sweep->leased) {
        return STATUS_OK;
    }
    atomic_store(&sweep->running, true);
    sweep->started = pthread_create(&sweep->thread, NULL, run, sweep) == 0;
    if (!sweep->started) {
        atomic_store(&sweep->running, false);
        return error_set(err, STATUS_OOM, "sweep: no thread to be had");
    }
    return STATUS_OK;
}

enum status sweep_tick(struct sweep *sweep, struct redis_conn *conn, struct error *err)
{
    const int64_t now_ms = clock_now_ms();

    if (sweep->worker->settings->sweep_ms == 0) {
        return STATUS_OK;
    }
    if (sweep->leased && now_ms >= sweep->renew_at_ms) {
        TRY(take_lease(sweep, conn, err));
    }
    if (atomic_load(&sweep->running)) {
        return STATUS_OK;
    }
    if (sweep->started) {
        join(sweep);
        sweep->due_ms = now_ms + sweep->worker->settings->sweep_ms;
    }
    return now_ms < sweep->due_ms ? STATUS_OK : begin(sweep, conn, err);
}
