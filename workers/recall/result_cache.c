#include "recall/result_cache.h"

#include <stdlib.h>
#include <string.h>

#include "embedder/vector.h"
#include "queue/keys.h"

/* Float32 in Redis is little-endian (contract); a copy is right on the machines that we support. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "vectors are stored as they lie in memory");

static enum status append_two(struct context *ctx, struct redis_args *args, const char *verb,
                              const char *key, struct error *err)
{
    redis_args_reset(args);
    redis_args_str(args, verb);
    redis_args_str(args, key);
    return redis_conn_append(context_cache(ctx), args, err);
}

/* Collects `count` replies that say nothing but "ok"; the first error reply is the status. */
static enum status collect_all(struct context *ctx, size_t count, struct error *err)
{
    enum status first = STATUS_OK;

    for (size_t i = 0; i < count; i++) {
        redisReply *reply = NULL;
        struct error ignored = {0};
        enum status status = redis_conn_collect(context_cache(ctx), &reply, err);
        if (status != STATUS_OK) {
            return status;
        }
        status = redis_reply_status(reply, first == STATUS_OK ? err : &ignored);
        if (first == STATUS_OK) {
            first = status;
        }
        redis_reply_free(reply);
    }
    return first;
}

/* A value that is too large to be read ended the connection: it and what was asked for behind it
 * count as not there, and are written over. */
static enum status without_garbled(enum status status)
{
    return status == STATUS_GARBLED ? STATUS_OK : status;
}

static void take_result(struct context *ctx, struct store_result *item, const redisReply *reply)
{
    struct error ignored = {0};

    if (reply->type != REDIS_REPLY_STRING) {
        return;
    }
    const char *copy = arena_copy(&ctx->arena, reply->str, (size_t)reply->len);
    if (copy == NULL) {
        return;
    }
    item->bytes = (struct slice){copy, (size_t)reply->len};
    item->found = bodies_decode_result(copy, (size_t)reply->len, &ctx->arena, &item->result,
                                       &ignored) == STATUS_OK &&
                  bodies_result_is_of(&item->result, item->domain, item->query_hash);
}

static int64_t epoch_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? strtoll(reply->str, NULL, 10) : 0;
}

enum status store_read_results(struct context *ctx, struct store_result *items, size_t count,
                               struct error *err)
{
    struct redis_args args = {0};
    enum status status = STATUS_OK;
    char key[KEYS_BYTES];
    const char *prefix = ctx->settings->prefix;

    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        items[i].found = false;
        items[i].epoch = 0;
        status = append_two(ctx, &args, "GET",
                            keys_cache(key, prefix, items[i].domain, items[i].query_hash), err);
        if (status == STATUS_OK) {
            status = append_two(ctx, &args, "GET", keys_epoch(key, prefix, items[i].domain), err);
        }
    }
    for (size_t i = 0; i < count * 2 && status == STATUS_OK; i++) {
        redisReply *reply = NULL;
        status = redis_conn_collect(context_cache(ctx), &reply, err);
        if (status == STATUS_OK && i % 2 == 0) {
            take_result(ctx, &items[i / 2], reply);
        } else if (status == STATUS_OK) {
            items[i / 2].epoch = epoch_of(reply);
        }
        redis_reply_free(reply);
    }
    redis_args_free(&args);
    return without_garbled(status);
}

static enum status append_set(struct context *ctx, struct redis_args *args, const char *key,
                              const void *value, size_t bytes, int64_t ttl_ms, struct error *err)
{
    redis_args_reset(args);
    redis_args_str(args, "SET");
    redis_args_str(args, key);
    redis_args_add(args, value, bytes);
    redis_args_str(args, "PX");
    redis_args_int(args, ttl_ms);
    return redis_conn_append(context_cache(ctx), args, err);
}

enum status store_write_results(struct context *ctx, const struct store_write *items, size_t count,
                                struct error *err)
{
    struct redis_args args = {0};
    enum status status = STATUS_OK;
    char key[KEYS_BYTES];

    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        keys_cache(key, ctx->settings->prefix, items[i].domain, items[i].query_hash);
        status = append_set(ctx, &args, key, items[i].bytes.data, items[i].bytes.bytes,
                            items[i].ttl_ms, err);
    }
    if (status == STATUS_OK) {
        status = collect_all(ctx, count, err);
    }
    redis_args_free(&args);
    return status;
}

/* An epoch key that cannot be added to (anybody may write there: text, another type, the largest
 * number) is set to the time, which is beyond what any epoch has reached by ones. */
static enum status renew_epoch(struct context *ctx, const char *domain, struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;
    char key[KEYS_BYTES];

    redis_args_str(&args, "SET");
    redis_args_str(&args, keys_epoch(key, ctx->settings->prefix, domain));
    redis_args_int(&args, context_now_unix_ms(ctx));
    const enum status status = redis_conn_command(context_cache(ctx), &args, &reply, err);
    redis_args_free(&args);
    redis_reply_free(reply);
    return status;
}

enum status store_bump_epochs(struct context *ctx, const char *const *domains, size_t count,
                              struct error *err)
{
    struct redis_args args = {0};
    enum status status = STATUS_OK;
    char key[KEYS_BYTES];

    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        keys_epoch(key, ctx->settings->prefix, domains[i]);
        status = append_two(ctx, &args, "INCR", key, err);
    }
    redis_args_free(&args);
    if (status == STATUS_OK) {
        status = collect_all(ctx, count, err);
    }
    if (status != STATUS_REFUSED) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        status = renew_epoch(ctx, domains[i], err);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

enum status store_read_vectors(struct context *ctx, const char (*hashes)[TEXT_HASH_CHARS + 1],
                               size_t count, float *vectors, bool *found, struct error *err)
{
    const size_t dimension = embedder_dimension(context_embedder(ctx));
    const char *model = embedder_model(context_embedder(ctx));
    struct redis_args args = {0};
    enum status status = STATUS_OK;
    char key[KEYS_BYTES];

    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        found[i] = false;
        keys_embed(key, ctx->settings->prefix, model, hashes[i]);
        status = append_two(ctx, &args, "GET", key, err);
    }
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        redisReply *reply = NULL;
        struct error ignored = {0};
        status = redis_conn_collect(context_cache(ctx), &reply, err);
        if (status == STATUS_OK && reply->type == REDIS_REPLY_STRING &&
            (size_t)reply->len == dimension * sizeof *vectors) {
            memcpy(vectors + i * dimension, reply->str, dimension * sizeof *vectors);
            found[i] =
                embedder_normalise(vectors + i * dimension, dimension, &ignored) == STATUS_OK;
        }
        redis_reply_free(reply);
    }
    redis_args_free(&args);
    return without_garbled(status);
}

enum status store_write_vectors(struct context *ctx, const char (*hashes)[TEXT_HASH_CHARS + 1],
                                size_t count, const float *vectors, const bool *skip,
                                struct error *err)
{
    const size_t dimension = embedder_dimension(context_embedder(ctx));
    const char *model = embedder_model(context_embedder(ctx));
    struct redis_args args = {0};
    enum status status = STATUS_OK;
    size_t sent = 0;
    char key[KEYS_BYTES];

    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        if (skip[i]) {
            continue;
        }
        keys_embed(key, ctx->settings->prefix, model, hashes[i]);
        status = append_set(ctx, &args, key, vectors + i * dimension, dimension * sizeof *vectors,
                            ctx->settings->cache_ttl_ms, err);
        sent++;
    }
    if (status == STATUS_OK) {
        status = collect_all(ctx, sent, err);
    }
    redis_args_free(&args);
    return status;
}
