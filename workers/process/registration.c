#include "process/registration.h"

#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "queue/keys.h"

enum { GONE_MS = 3600000 };

static void add_field(struct redis_args *args, const char *name, const char *value)
{
    redis_args_str(args, name);
    redis_args_str(args, value);
}

static size_t count_inflight(struct fleet *fleet, size_t *busy)
{
    size_t jobs = 0;

    for (size_t i = 0; i < fleet->lane_count; i++) {
        struct lane *lane = &fleet->lanes[i];
        pthread_mutex_lock(&lane->lock);
        *busy += lane->inflight_count > 0;
        for (size_t j = lane->inflight; j < lane->inflight_count; j++) {
            jobs += lane->takes.each[j].batch.count;
        }
        pthread_mutex_unlock(&lane->lock);
    }
    return jobs;
}

uint64_t registration_digest(struct fleet *fleet)
{
    size_t busy = 0;
    const size_t inflight = count_inflight(fleet, &busy);
    const uint64_t breakers = (uint64_t)upstreams_worst(fleet->upstreams, METRICS_CHROMA) * 4 +
                              (uint64_t)upstreams_worst(fleet->upstreams, METRICS_EMBEDDER);

    return ((uint64_t)inflight << 16 | busy) << 8 | breakers;
}

static void describe_worker(struct fleet *fleet, struct redis_args *args, char *host,
                            char *breakers, int64_t now_unix_ms)
{
    size_t busy = 0;
    size_t inflight = count_inflight(fleet, &busy);

    add_field(args, "host", host);
    redis_args_str(args, "pid");
    redis_args_int(args, getpid());
    add_field(args, "version", STILLHOUSE_VERSION_TEXT);
    add_field(args, "queues", fleet->settings->queues);
    redis_args_str(args, "lanes");
    redis_args_int(args, (int64_t)fleet->lane_count);
    redis_args_str(args, "busy");
    redis_args_int(args, (int64_t)busy);
    redis_args_str(args, "in_flight");
    redis_args_int(args, (int64_t)inflight);
    add_field(args, "breakers", breakers);
    redis_args_str(args, "functions");
    redis_args_int(args, queue_library_version());
    redis_args_str(args, "visibility_ms");
    redis_args_int(args, fleet->settings->visibility_ms);
    redis_args_str(args, "started_ms");
    redis_args_int(args, fleet->started_unix_ms);
    redis_args_str(args, "beat_ms");
    redis_args_int(args, now_unix_ms);
}

static enum status send(struct redis_conn *conn, const struct redis_args *args, struct error *err)
{
    redisReply *reply = NULL;
    enum status status = redis_conn_command(conn, args, &reply, err);
    redis_reply_free(reply);
    return status;
}

/* {workers alive, Redis' time in ms} */
static enum status take_answer(struct fleet *fleet, const redisReply *reply, int64_t asked_ms,
                               struct error *err)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_INTEGER ||
        reply->element[1]->type != REDIS_REPLY_INTEGER) {
        return error_set(err, STATUS_GARBLED, "sh_register: an answer of another shape");
    }
    if (reply->element[0]->integer > 0) {
        const int64_t half_ms = (clock_now_ms() - asked_ms) / 2;
        atomic_store(&fleet->size, (int)reply->element[0]->integer);
        atomic_store(&fleet->redis_clock_ms, reply->element[1]->integer - asked_ms - half_ms);
    }
    return STATUS_OK;
}

enum status registration_renew(struct redis_conn *conn, struct fleet *fleet, bool ask,
                               struct error *err)
{
    const int64_t asked_ms = clock_now_ms();
    const int64_t now_unix_ms = asked_ms + atomic_load(&fleet->redis_clock_ms);
    struct redis_args args = {0};
    redisReply *reply = NULL;
    char key[KEYS_BYTES];
    char host[65] = "";
    char breakers[96];

    gethostname(host, sizeof host - 1);
    snprintf(breakers, sizeof breakers, "chroma=%s embedder=%s",
             breaker_state_name(upstreams_worst(fleet->upstreams, METRICS_CHROMA)),
             breaker_state_name(upstreams_worst(fleet->upstreams, METRICS_EMBEDDER)));
    redis_args_str(&args, "FCALL");
    redis_args_str(&args, "sh_register");
    redis_args_str(&args, "1");
    redis_args_str(&args, keys_plain(key, fleet->settings->prefix, "workers"));
    redis_args_str(&args, fleet->id);
    redis_args_int(&args, REGISTRATION_TTL_MS);
    redis_args_int(&args, ask ? 0 : now_unix_ms);
    describe_worker(fleet, &args, host, breakers, now_unix_ms);
    enum status status = redis_conn_command(conn, &args, &reply, err);
    if (status == STATUS_OK) {
        status = take_answer(fleet, reply, asked_ms, err);
    }
    redis_reply_free(reply);
    redis_args_free(&args);
    return status;
}

enum status registration_forget(struct redis_conn *conn, const struct fleet *fleet,
                                struct error *err)
{
    struct redis_args args = {0};
    char key[KEYS_BYTES];

    redis_args_str(&args, "ZREMRANGEBYSCORE");
    redis_args_str(&args, keys_plain(key, fleet->settings->prefix, "workers"));
    redis_args_str(&args, "-inf");
    redis_args_int(&args, clock_now_ms() + atomic_load(&fleet->redis_clock_ms) - GONE_MS);
    enum status status = send(conn, &args, err);
    redis_args_free(&args);
    return status;
}

void registration_end(struct redis_conn *conn, const struct fleet *fleet)
{
    struct redis_args args = {0};
    struct error err = {0};
    char key[KEYS_BYTES];

    redis_args_str(&args, "DEL");
    redis_args_str(&args, keys_worker(key, fleet->settings->prefix, fleet->id));
    enum status status = send(conn, &args, &err);
    redis_args_reset(&args);
    redis_args_str(&args, "ZREM");
    redis_args_str(&args, keys_plain(key, fleet->settings->prefix, "workers"));
    redis_args_str(&args, fleet->id);
    if (status == STATUS_OK) {
        status = send(conn, &args, &err);
    }
    if (status != STATUS_OK) {
        log_debug("registration ends by itself: %s", err.text);
    }
    redis_args_free(&args);
}
