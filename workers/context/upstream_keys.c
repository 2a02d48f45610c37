#include "context/upstream_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "queue/keys.h"
#include "redis/pipeline.h"

enum { KEY_TTL_MS = 2 * 60 * 60 * 1000, DIGITS_MAX = 15 };

static const int64_t LONG_AGO_UNIX_MS = 1000000000000; /* before it, Redis' time is not known yet */

static bool is_shared(const struct context *ctx, enum operation operation)
{
    return ctx->clients.cache != NULL && context_now_unix_ms(ctx) > LONG_AGO_UNIX_MS &&
           !operation_is_only_told(operation) && operation != OPERATION_LEARN &&
           (operation != OPERATION_EMBED || ctx->settings->embedder != EMBEDDER_BUILTIN);
}

static const char *key_of(const struct context *ctx, enum operation operation, char out[KEYS_BYTES])
{
    return keys_name(out, KEYS_UPSTREAM, ctx->settings->prefix, operation_upstream(operation),
                     operation_name(operation));
}

/* 0 for what is no number of up to 15 digits. */
static int64_t number_of(const redisReply *reply)
{
    int64_t number = 0;

    if (reply->type != REDIS_REPLY_STRING || reply->len == 0 || reply->len > DIGITS_MAX) {
        return 0;
    }
    for (size_t i = 0; i < (size_t)reply->len; i++) {
        if (reply->str[i] < '0' || reply->str[i] > '9') {
            return 0;
        }
        number = number * 10 + (reply->str[i] - '0');
    }
    return number;
}

static void take(struct context *ctx, enum operation operation, const redisReply *reply)
{
    struct news_shared shared = {.is_junk = !redis_reply_is_row(reply, "******")};

    if (!shared.is_junk) {
        const redisReply *setting = reply->element[0];
        if (setting->type == REDIS_REPLY_STRING) {
            snprintf(shared.setting, sizeof shared.setting, "%.*s",
                     (int)(setting->len < NEWS_SETTING_CHARS ? setting->len : NEWS_SETTING_CHARS),
                     setting->str);
        }
        shared.failures = number_of(reply->element[1]);
        shared.opened_unix_ms = number_of(reply->element[2]);
        shared.probe_until_unix_ms = number_of(reply->element[3]);
        shared.success_unix_ms = number_of(reply->element[4]);
        shared.not_before_unix_ms = number_of(reply->element[5]);
    }
    upstreams_hear(ctx->upstreams, operation, &shared, context_now_unix_ms(ctx));
}

void upstream_keys_sync(struct context *ctx, enum operation operation)
{
    struct error err = {0};
    redisReply *reply = NULL;
    char key[KEYS_BYTES];

    if (!is_shared(ctx, operation) || !upstreams_is_sync_due(ctx->upstreams, operation)) {
        return;
    }
    enum status status =
        redis_askf(context_cache(ctx), &reply, &err,
                   "HMGET %s setting failures opened_at probe_until last_success not_before",
                   key_of(ctx, operation, key));
    if (status == STATUS_OK) {
        status = redis_reply_status(reply, &err);
    }
    if (status == STATUS_OK || (status == STATUS_REFUSED && redis_is_wrong_type(&err))) {
        take(ctx, operation, reply); /* what is no hash is junk, to be written anew */
    } else {
        upstreams_sync_failed(ctx->upstreams, operation);
        log_debug("what the fleet knows of %s %s: %s", operation_upstream(operation),
                  operation_name(operation), err.text);
    }
    redis_reply_free(reply);
}

/* The fields that a change sets. */
static void set_fields(struct redis_pipeline *pipeline, const char *key,
                       const struct news_change *change)
{
    struct redis_args args = {0};

    redis_args_format(&args, "HSET %s setting %s", key, change->setting);
    if (change->what == UPSTREAM_SUCCEEDED) {
        redis_args_format(&args, "last_success %jd failures 0 opened_at 0 probe_until 0",
                          change->now_unix_ms);
    } else if (change->what == UPSTREAM_PROBES) {
        redis_args_format(&args, "probe_until %jd", change->until_unix_ms);
    } else {
        redis_args_format(&args, "text %s probe_until 0", change->text);
        if (change->opened) {
            redis_args_format(&args, "opened_at %jd", change->now_unix_ms);
        }
        if (change->until_unix_ms > 0) {
            redis_args_format(&args, "not_before %jd", change->until_unix_ms);
        }
    }
    redis_pipeline_add(pipeline, &args);
    redis_args_free(&args);
}

static enum status send_change(struct context *ctx, const char *key,
                               const struct news_change *change, struct error *err)
{
    struct redis_pipeline pipeline = {.conn = context_cache(ctx)};

    if (change->is_anew) { /* of other settings, of another type, or junk */
        redis_pipelinef(&pipeline, "DEL %s", key);
    }
    if (change->what == UPSTREAM_FAILED) {
        redis_pipelinef(&pipeline, "HINCRBY %s failures 1", key);
    }
    set_fields(&pipeline, key, change);
    redis_pipelinef(&pipeline, "PEXPIRE %s %d", key, KEY_TTL_MS);
    return redis_pipeline_end(&pipeline, err);
}

void upstream_keys_tell(struct context *ctx, enum operation operation)
{
    struct news_change change;
    struct error err = {0};
    char key[KEYS_BYTES];

    if (!is_shared(ctx, operation) ||
        !upstreams_take_change(ctx->upstreams, operation, context_now_unix_ms(ctx), &change)) {
        return;
    }
    if (send_change(ctx, key_of(ctx, operation, key), &change, &err) != STATUS_OK) {
        upstreams_sync_failed(ctx->upstreams, operation);
        log_debug("telling the fleet of %s %s: %s", operation_upstream(operation),
                  operation_name(operation), err.text);
    }
}
