#include "context/upstream_keys.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "queue/keys.h"

enum { KEY_TTL_MS = 2 * 60 * 60 * 1000, DIGITS_MAX = 15 };

static const int64_t LONG_AGO_UNIX_MS = 1000000000000; /* before it, Redis' time is not known yet */

static const char *const fields[] = {"setting",     "failures",     "opened_at",
                                     "probe_until", "last_success", "not_before"};

enum { FIELDS = sizeof fields / sizeof fields[0] };

static bool is_shared(const struct context *ctx, enum operation operation)
{
    return ctx->clients.cache != NULL && context_now_unix_ms(ctx) > LONG_AGO_UNIX_MS &&
           !operation_is_only_told(operation) &&
           (operation != OPERATION_EMBED || ctx->settings->embedder != EMBEDDER_BUILTIN);
}

static const char *key_of(const struct context *ctx, enum operation operation, char out[KEYS_BYTES])
{
    return keys_upstream(out, ctx->settings->prefix, operation_upstream(operation),
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
    struct upstream_shared shared = {.is_junk = reply->type != REDIS_REPLY_ARRAY ||
                                                reply->elements != FIELDS};

    if (!shared.is_junk) {
        const redisReply *setting = reply->element[0];
        if (setting->type == REDIS_REPLY_STRING) {
            snprintf(shared.setting, sizeof shared.setting, "%.*s",
                     (int)(setting->len < UPSTREAM_SETTING_CHARS ? setting->len
                                                                 : UPSTREAM_SETTING_CHARS),
                     setting->str);
        }
        shared.failures = number_of(reply->element[1]);
        shared.opened_unix_ms = number_of(reply->element[2]);
        shared.probe_until_unix_ms = number_of(reply->element[3]);
        shared.success_unix_ms = number_of(reply->element[4]);
        shared.not_before_unix_ms = number_of(reply->element[5]);
    }
    upstreams_merge(ctx->upstreams, operation, &shared, context_now_unix_ms(ctx));
}

static enum status append_read(struct context *ctx, enum operation operation, struct error *err)
{
    struct redis_args args = {0};
    char key[KEYS_BYTES];

    redis_args_str(&args, "HMGET");
    redis_args_str(&args, key_of(ctx, operation, key));
    for (size_t i = 0; i < FIELDS; i++) {
        redis_args_str(&args, fields[i]);
    }
    const enum status status = redis_conn_append(context_cache(ctx), &args, err);
    redis_args_free(&args);
    return status;
}

void upstream_keys_sync(struct context *ctx, enum operation operation)
{
    struct error err = {0};
    redisReply *reply = NULL;

    if (!is_shared(ctx, operation) || !upstreams_is_sync_due(ctx->upstreams, operation)) {
        return;
    }
    enum status status = append_read(ctx, operation, &err);
    if (status == STATUS_OK) {
        status = redis_conn_collect(context_cache(ctx), &reply, &err);
    }
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

static void add_pair(struct redis_args *args, const char *field, int64_t value)
{
    redis_args_str(args, field);
    redis_args_int(args, value);
}

static enum status append_change(struct context *ctx, const char *key,
                                 const struct upstream_change *change, struct error *err)
{
    struct redis_args args = {0};

    redis_args_str(&args, "HSET");
    redis_args_str(&args, key);
    redis_args_str(&args, "setting");
    redis_args_str(&args, change->setting);
    if (change->what == UPSTREAM_SUCCEEDED) {
        add_pair(&args, "last_success", change->now_unix_ms);
        add_pair(&args, "failures", 0);
        add_pair(&args, "opened_at", 0);
        add_pair(&args, "probe_until", 0);
    } else if (change->what == UPSTREAM_PROBES) {
        add_pair(&args, "probe_until", change->until_unix_ms);
    } else {
        redis_args_str(&args, "text");
        redis_args_str(&args, change->text);
        add_pair(&args, "probe_until", 0);
        if (change->opened) {
            add_pair(&args, "opened_at", change->now_unix_ms);
        }
        if (change->until_unix_ms > 0) {
            add_pair(&args, "not_before", change->until_unix_ms);
        }
    }
    const enum status status = redis_conn_append(context_cache(ctx), &args, err);
    redis_args_free(&args);
    return status;
}

static enum status append_words(struct context *ctx, const char *const *words, size_t count,
                                struct error *err)
{
    struct redis_args args = {0};

    for (size_t i = 0; i < count; i++) {
        redis_args_str(&args, words[i]);
    }
    const enum status status = redis_conn_append(context_cache(ctx), &args, err);
    redis_args_free(&args);
    return status;
}

static enum status send_change(struct context *ctx, const char *key,
                               const struct upstream_change *change, struct error *err)
{
    char ttl[24];
    const char *const forget[] = {"DEL", key};
    const char *const failed[] = {"HINCRBY", key, "failures", "1"};
    const char *const expire[] = {"PEXPIRE", key, ttl};
    size_t sent = 2;
    enum status status = STATUS_OK;

    snprintf(ttl, sizeof ttl, "%d", (int)KEY_TTL_MS);
    if (change->is_anew) { /* of other settings, of another type, or junk */
        status = append_words(ctx, forget, 2, err);
        sent++;
    }
    if (status == STATUS_OK && change->what == UPSTREAM_FAILED) {
        status = append_words(ctx, failed, 4, err);
        sent++;
    }
    if (status == STATUS_OK) {
        status = append_change(ctx, key, change, err);
    }
    if (status == STATUS_OK) {
        status = append_words(ctx, expire, 3, err);
    }
    enum status refused = STATUS_OK;
    for (size_t i = 0; i < sent && status == STATUS_OK; i++) {
        redisReply *reply = NULL;
        status = redis_conn_collect(context_cache(ctx), &reply, err);
        if (status == STATUS_OK && refused == STATUS_OK) {
            refused = redis_reply_status(reply, err);
        }
        redis_reply_free(reply);
    }
    return status != STATUS_OK ? status : refused;
}

void upstream_keys_tell(struct context *ctx, enum operation operation)
{
    struct upstream_change change;
    struct error err = {0};
    char key[KEYS_BYTES];

    if (!is_shared(ctx, operation) ||
        !upstreams_take_change(ctx->upstreams, operation, context_now_unix_ms(ctx), &change)) {
        return;
    }
    if (send_change(ctx, key_of(ctx, operation, key), &change, &err) != STATUS_OK) {
        redis_conn_abandon(ctx->clients.cache);
        upstreams_sync_failed(ctx->upstreams, operation);
        log_debug("telling the fleet of %s %s: %s", operation_upstream(operation),
                  operation_name(operation), err.text);
    }
}
