#include "chroma_writer/twins.h"

#include <stdio.h>
#include <string.h>

#include "chroma_writer/records.h"
#include "queue/keys.h"

/* 42 bits of milliseconds last until the year 2109; 10 bits of quality above them fit a
 * double's 53. */
static const double TWINS_QUALITY_UNIT = 4398046511104.0;

double twins_score(double quality, int64_t created_unix_ms)
{
    double thousandths = (double)(int64_t)(quality * 1000.0);
    return thousandths * TWINS_QUALITY_UNIT + (double)created_unix_ms;
}

static enum status append_twin(struct context *ctx, struct redis_args *args, const char *key,
                               const struct twin *twin, struct error *err)
{
    char score[40];

    snprintf(score, sizeof score, "%.0f", twins_score(twin->quality, twin->created_unix_ms));
    redis_args_reset(args);
    redis_args_str(args, "ZADD");
    redis_args_str(args, key);
    redis_args_str(args, score);
    redis_args_add(args, twin->task_id.data, twin->task_id.bytes);
    enum status status = redis_conn_append(context_cache(ctx), args, err);
    if (status != STATUS_OK) {
        return status;
    }

    redis_args_reset(args);
    redis_args_str(args, "PEXPIRE");
    redis_args_str(args, key);
    redis_args_int(args, ctx->settings->experience_ttl_ms);
    status = redis_conn_append(context_cache(ctx), args, err);
    if (status != STATUS_OK) {
        return status;
    }

    redis_args_reset(args);
    redis_args_str(args, "ZRANGE");
    redis_args_str(args, key);
    redis_args_int(args, 0);
    redis_args_int(args, -(ctx->settings->twins + 1));
    return redis_conn_append(context_cache(ctx), args, err);
}

/* Task ids that are too many, with the key that remembers each. */
struct surplus {
    struct slice *ids;
    const char **keys;
    size_t count;
    size_t capacity;
};

static enum status collect_surplus(struct context *ctx, struct surplus *surplus, const char *key,
                                   struct error *err)
{
    enum status first = STATUS_OK;

    for (int i = 0; i < 3; i++) {
        redisReply *reply = NULL;
        struct error ignored = {0};
        enum status status = redis_conn_collect(context_cache(ctx), &reply, err);
        if (status != STATUS_OK) {
            return status;
        }
        status = redis_reply_status(reply, first == STATUS_OK ? err : &ignored);
        first = first == STATUS_OK ? status : first;
        for (size_t j = 0; status == STATUS_OK && i == 2 && reply->type == REDIS_REPLY_ARRAY &&
                           j < reply->elements && surplus->count < surplus->capacity;
             j++) {
            const redisReply *id = reply->element[j];
            const char *copy = arena_copy(&ctx->arena, id->str, (size_t)id->len);
            if (id->type == REDIS_REPLY_STRING && copy != NULL) {
                surplus->ids[surplus->count] = (struct slice){copy, (size_t)id->len};
                surplus->keys[surplus->count++] = key;
            }
        }
        redis_reply_free(reply);
    }
    return first;
}

/* A key of another type is none of ours: it makes way, and the twin is remembered all the same. */
static enum status remember_anew(struct context *ctx, struct surplus *surplus, const char *key,
                                 const struct twin *twin, struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    redis_args_str(&args, "DEL");
    redis_args_str(&args, key);
    enum status status = redis_conn_command(context_cache(ctx), &args, &reply, err);
    redis_reply_free(reply);
    if (status == STATUS_OK) {
        status = append_twin(ctx, &args, key, twin, err);
    }
    redis_args_free(&args);
    return status == STATUS_OK ? collect_surplus(ctx, surplus, key, err) : status;
}

static enum status forget(struct context *ctx, const struct surplus *surplus, struct error *err)
{
    struct redis_args args = {0};
    enum status status = STATUS_OK;

    for (size_t i = 0; i < surplus->count && status == STATUS_OK; i++) {
        redisReply *reply = NULL;
        redis_args_reset(&args);
        redis_args_str(&args, "ZREM");
        redis_args_str(&args, surplus->keys[i]);
        redis_args_add(&args, surplus->ids[i].data, surplus->ids[i].bytes);
        status = redis_conn_command(context_cache(ctx), &args, &reply, err);
        redis_reply_free(reply);
    }
    redis_args_free(&args);
    return status;
}

enum status twins_trim(struct context *ctx, const char *domain, const struct twin *twins,
                       size_t count, enum operation *failed, struct error *err)
{
    const char **keys = arena_array(&ctx->arena, count, sizeof *keys);
    bool *refused = arena_array(&ctx->arena, count, sizeof *refused);
    size_t most = count * 2 + 64; /* a set that lost its count comes back to its bound in steps */
    struct surplus surplus = {
        .ids = arena_array(&ctx->arena, most, sizeof *surplus.ids),
        .keys = arena_array(&ctx->arena, most, sizeof *surplus.keys),
        .capacity = most,
    };
    struct redis_args args = {0};
    enum status status = STATUS_OK;

    *failed = OPERATION_REDIS;
    if (keys == NULL || refused == NULL || surplus.ids == NULL || surplus.keys == NULL) {
        return error_set(err, STATUS_OOM, "no memory for %zu twins", count);
    }
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        char key[KEYS_BYTES];
        keys_twins(key, ctx->settings->prefix, domain, twins[i].text_hash);
        keys[i] = context_text(ctx, (struct slice){key, strlen(key)});
        refused[i] = false;
        status = append_twin(ctx, &args, keys[i], &twins[i], err);
    }
    redis_args_free(&args);
    /* All answers are collected whatever the first ones say: what is left would be taken for those
     * of the next command. */
    for (size_t i = 0; i < count && redis_conn_is_open(ctx->clients.cache); i++) {
        struct error own = {0};
        enum status collected = collect_surplus(ctx, &surplus, keys[i], &own);
        refused[i] = collected == STATUS_REFUSED;
        if (status == STATUS_OK && collected != STATUS_OK && !refused[i]) {
            status = collected;
            *err = own;
        }
    }
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        if (refused[i]) {
            status = remember_anew(ctx, &surplus, keys[i], &twins[i], err);
        }
    }
    if (status != STATUS_OK || surplus.count == 0) {
        return status;
    }
    *failed = OPERATION_WRITE;
    status = records_delete(ctx, domain, surplus.ids, surplus.count, err);
    if (status == STATUS_OK) {
        *failed = OPERATION_REDIS;
        status = forget(ctx, &surplus, err);
    }
    return status;
}
