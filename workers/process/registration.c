#include "process/registration.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "queue/keys.h"
#include "queue/queue.h"

enum { GONE_MS = 3600000 };

uint64_t registration_digest(const struct worker *worker, const struct load *load)
{
    const uint64_t breakers = (uint64_t)upstreams_worst(worker->upstreams, METRICS_CHROMA) * 4 +
                              (uint64_t)upstreams_worst(worker->upstreams, METRICS_EMBEDDER);

    return ((uint64_t)load->jobs << 16 | load->busy) << 8 | breakers;
}

/* {workers alive, Redis' time in ms} */
static enum status take_answer(struct worker *worker, const redisReply *reply, int64_t asked_ms,
                               struct error *err)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_INTEGER ||
        reply->element[1]->type != REDIS_REPLY_INTEGER) {
        return error_set(err, STATUS_GARBLED, "sh_register: an answer of another shape");
    }
    if (reply->element[0]->integer > 0) {
        const int64_t half_ms = (clock_now_ms() - asked_ms) / 2;
        atomic_store(&worker->fleet_size, (int)reply->element[0]->integer);
        atomic_store(&worker->redis_clock_ms, reply->element[1]->integer - asked_ms - half_ms);
    }
    return STATUS_OK;
}

enum status registration_renew(struct redis_conn *conn, struct worker *worker,
                               const struct load *load, bool ask, struct error *err)
{
    const struct settings *settings = worker->settings;
    const int64_t asked_ms = clock_now_ms();
    const int64_t now_unix_ms = asked_ms + atomic_load(&worker->redis_clock_ms);
    struct redis_args args = {0};
    redisReply *reply = NULL;
    char key[KEYS_BYTES];
    char host[65] = "";
    char breakers[96];

    gethostname(host, sizeof host - 1);
    snprintf(breakers, sizeof breakers, "chroma=%s embedder=%s",
             breaker_state_name(upstreams_worst(worker->upstreams, METRICS_CHROMA)),
             breaker_state_name(upstreams_worst(worker->upstreams, METRICS_EMBEDDER)));
    redis_args_format(&args, "FCALL sh_register 1 %s %s %d %jd",
                      keys_name(key, KEYS_PLAIN, settings->prefix, "workers"), worker->id,
                      (int)REGISTRATION_TTL_MS, (intmax_t)(ask ? 0 : now_unix_ms));
    redis_args_format(&args, "host %s pid %d version %s queues %s lanes %jd busy %zu in_flight %zu",
                      host, (int)getpid(), STILLHOUSE_VERSION_TEXT, settings->queues,
                      (intmax_t)settings->lanes, load->busy, load->jobs);
    redis_args_format(
        &args, "breakers %s functions %jd visibility_ms %jd started_ms %jd beat_ms %jd", breakers,
        (intmax_t)queue_library_version(), (intmax_t)settings->visibility_ms,
        (intmax_t)worker->started_unix_ms, (intmax_t)now_unix_ms);
    enum status status = redis_conn_command(conn, &args, &reply, err);
    if (status == STATUS_OK) {
        status = take_answer(worker, reply, asked_ms, err);
    }
    redis_reply_free(reply);
    redis_args_free(&args);
    return status;
}

enum status registration_forget(struct redis_conn *conn, const struct worker *worker,
                                struct error *err)
{
    const int64_t gone_unix_ms = clock_now_ms() + atomic_load(&worker->redis_clock_ms) - GONE_MS;
    char key[KEYS_BYTES];

    return redis_commandf(conn, NULL, err, "ZREMRANGEBYSCORE %s -inf %jd",
                          keys_name(key, KEYS_PLAIN, worker->settings->prefix, "workers"),
                          (intmax_t)gone_unix_ms);
}

void registration_end(struct redis_conn *conn, const struct worker *worker)
{
    const char *prefix = worker->settings->prefix;
    char key[KEYS_BYTES];
    struct error err = {0};
    enum status status =
        redis_commandf(conn, NULL, &err, "DEL %s", keys_name(key, KEYS_WORKER, prefix, worker->id));

    if (status == STATUS_OK) {
        status = redis_commandf(conn, NULL, &err, "ZREM %s %s",
                                keys_name(key, KEYS_PLAIN, prefix, "workers"), worker->id);
    }
    if (status != STATUS_OK) {
        log_debug("registration ends by itself: %s", err.text);
    }
}
