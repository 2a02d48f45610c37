#include "recall/result_cache.h"

#include <stdlib.h>
#include <string.h>

#include "queue/keys.h"
#include "redis/pipeline.h"

/* A value that is too large to be read ended the connection: it and what was asked for behind it
 * count as not there, and are written over. */
static enum status without_garbled(enum status status)
{
    return status == STATUS_GARBLED ? STATUS_OK : status;
}

static void take_result(struct context *ctx, struct cached_result *item, const redisReply *reply)
{
    struct error ignored = {0};

    if (reply->type != REDIS_REPLY_STRING) {
        return;
    }
    const char *copy = arena_copy(&ctx->arena, reply->str, (size_t)reply->len);
    item->bytes = (struct slice){copy, (size_t)reply->len};
    item->found = bodies_decode_result(copy, (size_t)reply->len, &ctx->arena, &item->result,
                                       &ignored) == STATUS_OK &&
                  bodies_result_is_of(&item->result, item->domain, item->query_hash);
}

static int64_t epoch_of(const redisReply *reply)
{
    return reply->type == REDIS_REPLY_STRING ? strtoll(reply->str, NULL, 10) : 0;
}

enum status result_cache_read(struct context *ctx, struct cached_result *items, size_t count,
                              struct error *err)
{
    struct redis_pipeline pipeline = {.conn = context_cache(ctx), .takes_errors = true};
    const char *prefix = ctx->settings->prefix;
    const redisReply *reply = NULL;
    char key[KEYS_BYTES];

    for (size_t i = 0; i < count; i++) {
        items[i].found = false;
        items[i].epoch = 0;
        redis_pipelinef(&pipeline, "GET %s",
                        keys_name(key, KEYS_CACHE, prefix, items[i].domain, items[i].query_hash));
        redis_pipelinef(&pipeline, "GET %s", keys_name(key, KEYS_EPOCH, prefix, items[i].domain));
    }
    for (size_t i = 0; i < count; i++) {
        if (redis_pipeline_next(&pipeline, &reply) == STATUS_OK) {
            take_result(ctx, &items[i], reply);
        }
        if (redis_pipeline_next(&pipeline, &reply) == STATUS_OK) {
            items[i].epoch = epoch_of(reply);
        }
    }
    return without_garbled(redis_pipeline_end(&pipeline, err));
}

enum status result_cache_write(struct context *ctx, const struct result_write *items, size_t count,
                               struct error *err)
{
    struct redis_pipeline pipeline = {.conn = context_cache(ctx)};
    char key[KEYS_BYTES];

    for (size_t i = 0; i < count; i++) {
        keys_name(key, KEYS_CACHE, ctx->settings->prefix, items[i].domain, items[i].query_hash);
        redis_pipelinef(&pipeline, "SET %s %.*s PX %jd", key, (int)items[i].bytes.bytes,
                        items[i].bytes.data, items[i].ttl_ms);
    }
    return redis_pipeline_end(&pipeline, err);
}

/* Moves an epoch where INCR may not have: of a pipeline that failed somewhere all are moved, since
 * one step too many costs nothing. A full Redis gets rid of a job only once its epoch has moved,
 * which is small and one a domain: so it may, and by a script, since the cache's own Redis has no
 * function library. A key that cannot be added to (anybody may write there: text, another type, the
 * largest number) is set to the time, which is beyond what any epoch has reached by ones. */
static const char move_all_the_same[] = "#!lua flags=allow-oom\n"
                                        "if type(redis.pcall('INCR', KEYS[1])) == 'table' then\n"
                                        "    redis.call('SET', KEYS[1], ARGV[1])\n"
                                        "end";

enum status result_cache_outdate(struct context *ctx, const char *const *domains, size_t count,
                                 struct error *err)
{
    struct redis_pipeline pipeline = {.conn = context_cache(ctx)};
    const char *prefix = ctx->settings->prefix;
    char key[KEYS_BYTES];

    for (size_t i = 0; i < count; i++) {
        redis_pipelinef(&pipeline, "INCR %s", keys_name(key, KEYS_EPOCH, prefix, domains[i]));
    }
    enum status status = redis_pipeline_end(&pipeline, err);
    if (status != STATUS_REFUSED && status != STATUS_OOM) {
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        redis_pipelinef(&pipeline, "EVAL %s 1 %s %jd", move_all_the_same,
                        keys_name(key, KEYS_EPOCH, prefix, domains[i]), context_now_unix_ms(ctx));
    }
    return redis_pipeline_end(&pipeline, err);
}
