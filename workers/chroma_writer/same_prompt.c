#include "chroma_writer/same_prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "chroma_writer/records.h"
#include "context/asking.h"
#include "queue/keys.h"

enum {
    DEPTHS = 3,
    PERIODS = 2,
    BUCKET_ROOM = 480, /* Redis keeps up to 512 integers compactly; lanes may add at once */
    FOUND_SPARE = 64,  /* a prompt whose count was lost comes back to its bound in steps */
};

static const int bucket_digits[DEPTHS] = {0, 2, 3};

/* 42 bits of milliseconds last until the year 2109; 10 bits of quality above them fit a
 * double's 53. */
static const double QUALITY_UNIT = 4398046511104.0;

double same_prompt_score(double quality, int64_t created_unix_ms)
{
    return (double)(int64_t)(quality * 1000.0) * QUALITY_UNIT + (double)created_unix_ms;
}

static int64_t digits(const char *text_hash, size_t from, size_t count)
{
    char part[TEXT_HASH_CHARS + 1] = {0};

    memcpy(part, text_hash + from, count);
    return strtoll(part, NULL, 16);
}

int64_t same_prompt_hash(const char text_hash[TEXT_HASH_CHARS + 1])
{
    return digits(text_hash, 16, 13);
}

/* One experience of a prompt. */
struct copy {
    struct slice id;
    double score;
};

/* A prompt of the batch, and what Redis says of it. */
struct prompt {
    const struct same_prompt *own;
    int64_t hash;
    bool was_seen;    /* there may be another experience of it; also where Redis does not say */
    size_t depth;     /* where it is remembered */
    struct copy *old; /* in the sorted set of older workers */
    size_t old_count;
};

struct trim {
    struct context *ctx;
    const char *domain;
    struct prompt *prompts;
    size_t count;
    int64_t period;
    struct slice *surplus; /* ids to delete */
    size_t surplus_count;
    size_t surplus_max;
};

/* ---- what Redis remembers ---- */

static const char *bucket(const struct trim *trim, const struct prompt *prompt, size_t periods_ago,
                          size_t depth, char key[KEYS_BYTES])
{
    return keys_seen(key, trim->ctx->settings->prefix, trim->domain,
                     trim->period - (int64_t)periods_ago, prompt->own->text_hash,
                     bucket_digits[depth]);
}

static int64_t fingerprint(const struct prompt *prompt)
{
    return digits(prompt->own->text_hash, 8, 8) & INT32_MAX;
}

static const char *old_key(const struct trim *trim, const struct prompt *prompt,
                           char key[KEYS_BYTES])
{
    return keys_twins(key, trim->ctx->settings->prefix, trim->domain, prompt->own->text_hash);
}

static void ask(struct trim *trim, struct redis_pipeline *pipeline, const struct prompt *prompt)
{
    char key[KEYS_BYTES];

    for (size_t i = 0; i < PERIODS * DEPTHS; i++) {
        redis_pipelinef(pipeline, "SISMEMBER %s %jd",
                        bucket(trim, prompt, i / DEPTHS, i % DEPTHS, key), fingerprint(prompt));
    }
    for (size_t depth = 0; depth + 1 < DEPTHS; depth++) {
        redis_pipelinef(pipeline, "SCARD %s", bucket(trim, prompt, 0, depth, key));
    }
    redis_pipelinef(pipeline, "ZRANGE %s 0 -1 WITHSCORES", old_key(trim, prompt, key));
}

/* The next answer as a number; `otherwise` where Redis does not say it. */
static int64_t next_number(struct redis_pipeline *pipeline, int64_t otherwise)
{
    const redisReply *reply = NULL;

    return redis_pipeline_next(pipeline, &reply) == STATUS_OK && reply->type == REDIS_REPLY_INTEGER
               ? reply->integer
               : otherwise;
}

static void take_old(struct trim *trim, struct prompt *prompt, const redisReply *reply)
{
    struct arena *arena = &trim->ctx->arena;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2) {
        return;
    }
    prompt->old = arena_array(arena, reply->elements / 2, sizeof *prompt->old);
    for (size_t i = 0; i + 1 < reply->elements && prompt->old != NULL; i += 2) {
        const redisReply *id = reply->element[i];
        const redisReply *score = reply->element[i + 1];
        const char *copy = id->type == REDIS_REPLY_STRING && score->type == REDIS_REPLY_STRING
                               ? arena_copy(arena, id->str, (size_t)id->len)
                               : NULL;
        if (copy != NULL) {
            prompt->old[prompt->old_count++] =
                (struct copy){{copy, (size_t)id->len}, strtod(score->str, NULL)};
        }
    }
}

static void take_answers(struct trim *trim, struct redis_pipeline *pipeline, struct prompt *prompt)
{
    const redisReply *reply = NULL;

    for (size_t i = 0; i < PERIODS * DEPTHS; i++) {
        prompt->was_seen = next_number(pipeline, 1) != 0 || prompt->was_seen;
    }
    prompt->depth = DEPTHS - 1;
    for (size_t depth = 0; depth + 1 < DEPTHS; depth++) {
        if (next_number(pipeline, BUCKET_ROOM) < BUCKET_ROOM && depth < prompt->depth) {
            prompt->depth = depth;
        }
    }
    if (redis_pipeline_next(pipeline, &reply) == STATUS_OK) {
        take_old(trim, prompt, reply);
        prompt->was_seen = prompt->was_seen || prompt->old_count > 0;
    }
}

/* A refusal (another type under a key, a missing right, a full memory) leaves Chroma to be asked.
 */
static enum status end(struct redis_pipeline *pipeline, struct error *err)
{
    const redisReply *reply = NULL;

    while (pipeline->asked > 0 && !pipeline->broken) {
        (void)redis_pipeline_next(pipeline, &reply);
    }
    const bool is_broken = pipeline->broken;
    const enum status status = redis_pipeline_end(pipeline, err);

    return is_broken || status == STATUS_UNAVAILABLE ? status : STATUS_OK;
}

/* Asks what was seen before, then adds what is new. Two round trips, however many prompts. */
static enum status remember(struct trim *trim, struct error *err)
{
    struct redis_pipeline pipeline = {.conn = context_cache(trim->ctx)};
    char key[KEYS_BYTES];

    for (size_t i = 0; i < trim->count; i++) {
        ask(trim, &pipeline, &trim->prompts[i]);
    }
    for (size_t i = 0; i < trim->count; i++) {
        take_answers(trim, &pipeline, &trim->prompts[i]);
    }
    const enum status status = end(&pipeline, err);
    if (status != STATUS_OK) {
        return status;
    }

    for (size_t i = 0; i < trim->count; i++) {
        const struct prompt *prompt = &trim->prompts[i];
        bucket(trim, prompt, 0, prompt->depth, key);
        redis_pipelinef(&pipeline, "SADD %s %jd", key, fingerprint(prompt));
        redis_pipelinef(&pipeline, "PEXPIRE %s %jd", key,
                        PERIODS * trim->ctx->settings->experience_ttl_ms);
    }
    for (size_t i = 0; i < trim->count; i++) {
        /* Another lane may have added it since it was asked. */
        trim->prompts[i].was_seen = next_number(&pipeline, 0) == 0 || trim->prompts[i].was_seen;
        (void)next_number(&pipeline, 0);
    }
    return end(&pipeline, err);
}

/* ---- what Chroma has of a prompt ---- */

static enum status find_copies(struct trim *trim, struct chroma_hits *found, struct error *err)
{
    struct context *ctx = trim->ctx;
    int64_t *hashes = arena_array(&ctx->arena, trim->count, sizeof *hashes);
    size_t count = 0;

    if (hashes == NULL) {
        return error_set(err, STATUS_OOM, "no memory for %zu prompts", trim->count);
    }
    for (size_t i = 0; i < trim->count; i++) {
        if (trim->prompts[i].was_seen) {
            hashes[count++] = trim->prompts[i].hash;
        }
    }
    if (count == 0) {
        return STATUS_OK;
    }
    const size_t limit = count * ((size_t)ctx->settings->twins + 1) + FOUND_SPARE;
    if (asking_allow(ctx, OPERATION_GET, 1) == 0) {
        return error_set(err, STATUS_UNAVAILABLE, "chroma get is paused by its circuit breaker");
    }
    context_phase(ctx, PHASE_QUERY);
    const struct chroma_in in = {SAME_PROMPT_KEY, hashes, count, limit};
    enum status status =
        chroma_find_in(context_chroma(ctx), trim->domain, &in, &ctx->arena, found, err);
    context_progress(ctx);
    (void)asking_report_chroma(ctx, OPERATION_GET, status, err);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

static double number_of(const struct example *example, const char *key, double otherwise)
{
    const struct meta_value *value = records_meta(example->metadata, example->metadata_count, key);

    if (value == NULL || (value->type != META_INT && value->type != META_FLOAT)) {
        return otherwise;
    }
    return value->type == META_INT ? (double)value->integer : value->number;
}

static void add_copy(struct copy *copies, size_t *count, struct slice id, double score)
{
    for (size_t i = 0; i < *count; i++) {
        if (copies[i].id.bytes == id.bytes && memcmp(copies[i].id.data, id.data, id.bytes) == 0) {
            return;
        }
    }
    copies[(*count)++] = (struct copy){id, score};
}

static int compare_copies(const void *left, const void *right)
{
    const struct copy *a = left;
    const struct copy *b = right;

    return a->score > b->score ? -1 : a->score < b->score;
}

/* The experiences of one prompt: those found in Chroma, those that older workers remember, those
 * of this batch. What is more than may stay joins the surplus. */
static enum status find_surplus(struct trim *trim, size_t at, const struct chroma_hits *found,
                                struct error *err)
{
    const struct prompt *prompt = &trim->prompts[at];
    const size_t most = found->count + prompt->old_count + trim->count;
    const size_t keep = (size_t)trim->ctx->settings->twins;
    const struct arena_mark mark = arena_mark(&trim->ctx->arena);
    struct copy *copies = arena_array(&trim->ctx->arena, most, sizeof *copies);
    size_t count = 0;

    if (copies == NULL) {
        return error_set(err, STATUS_OOM, "no memory for %zu experiences", most);
    }
    for (size_t i = 0; i < found->count; i++) {
        const struct example *hit = &found->examples[i];
        if ((int64_t)number_of(hit, SAME_PROMPT_KEY, -1) == prompt->hash) {
            add_copy(copies, &count, hit->id,
                     same_prompt_score(number_of(hit, "quality", 1),
                                       (int64_t)number_of(hit, "created_ms", 0)));
        }
    }
    for (size_t i = 0; i < prompt->old_count; i++) {
        add_copy(copies, &count, prompt->old[i].id, prompt->old[i].score);
    }
    for (size_t i = 0; i < trim->count; i++) {
        const struct same_prompt *own = trim->prompts[i].own;
        if (trim->prompts[i].hash == prompt->hash) {
            add_copy(copies, &count, own->id,
                     same_prompt_score(own->quality, own->created_unix_ms));
        }
    }
    qsort(copies, count, sizeof *copies, compare_copies);
    for (size_t i = keep; i < count && trim->surplus_count < trim->surplus_max; i++) {
        trim->surplus[trim->surplus_count++] = copies[i].id;
    }
    arena_rewind(&trim->ctx->arena, mark);
    return STATUS_OK;
}

static bool was_before(const struct trim *trim, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (trim->prompts[i].was_seen && trim->prompts[i].hash == trim->prompts[at].hash) {
            return true;
        }
    }
    return false;
}

/* ---- for older workers ---- */

/* Their sorted sets gain what was written, and lose what was deleted. */
static enum status tell_old(struct trim *trim, struct error *err)
{
    struct redis_pipeline pipeline = {.conn = context_cache(trim->ctx)};
    char key[KEYS_BYTES];
    char score[40];

    for (size_t i = 0; i < trim->count; i++) {
        const struct prompt *prompt = &trim->prompts[i];
        const struct same_prompt *own = prompt->own;
        if (prompt->old_count == 0) {
            continue;
        }
        old_key(trim, prompt, key);
        snprintf(score, sizeof score, "%.0f",
                 same_prompt_score(own->quality, own->created_unix_ms));
        redis_pipelinef(&pipeline, "ZADD %s %s %.*s", key, score, (int)own->id.bytes, own->id.data);
        for (size_t j = 0; j < trim->surplus_count; j++) {
            redis_pipelinef(&pipeline, "ZREM %s %.*s", key, (int)trim->surplus[j].bytes,
                            trim->surplus[j].data);
        }
    }
    return end(&pipeline, err);
}

/* ---- trimming ---- */

static enum status run(struct trim *trim, enum operation *failed, struct error *err)
{
    struct chroma_hits found = {0};

    *failed = OPERATION_REDIS;
    enum status status = remember(trim, err);
    if (status != STATUS_OK) {
        return status;
    }
    *failed = OPERATION_GET;
    status = find_copies(trim, &found, err);
    for (size_t i = 0; i < trim->count && status == STATUS_OK; i++) {
        if (trim->prompts[i].was_seen && !was_before(trim, i)) {
            status = find_surplus(trim, i, &found, err);
        }
    }
    if (status != STATUS_OK) {
        return status;
    }
    *failed = OPERATION_WRITE;
    status = records_delete(trim->ctx, trim->domain, trim->surplus, trim->surplus_count, err);
    if (status != STATUS_OK) {
        return status;
    }
    *failed = OPERATION_REDIS;
    return tell_old(trim, err);
}

enum status same_prompt_trim(struct context *ctx, const char *domain,
                             const struct same_prompt *written, size_t count,
                             enum operation *failed, struct error *err)
{
    const size_t surplus_max = count * 2 + FOUND_SPARE;
    struct trim trim = {
        .ctx = ctx,
        .domain = domain,
        .prompts = arena_array(&ctx->arena, count, sizeof *trim.prompts),
        .count = count,
        .period = context_now_unix_ms(ctx) / ctx->settings->experience_ttl_ms,
        .surplus = arena_array(&ctx->arena, surplus_max, sizeof *trim.surplus),
        .surplus_max = surplus_max,
    };

    *failed = OPERATION_REDIS;
    if (trim.prompts == NULL || trim.surplus == NULL) {
        return error_set(err, STATUS_OOM, "no memory for %zu prompts", count);
    }
    for (size_t i = 0; i < count; i++) {
        trim.prompts[i] =
            (struct prompt){.own = &written[i], .hash = same_prompt_hash(written[i].text_hash)};
    }
    return run(&trim, failed, err);
}
