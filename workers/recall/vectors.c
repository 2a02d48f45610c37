#include "recall/vectors.h"

#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/text.h"
#include "context/asking.h"
#include "embedder/vector.h"
#include "queue/keys.h"
#include "queue/limits.h"
#include "redis/pipeline.h"
#include "rules/halving.h"
#include "rules/long_text.h"

enum { RATE_WAIT_MAX_MS = 2000, PATIENCE_MAX_MS = 10 * 60 * 1000 };

/* Float32 in Redis is little-endian (producer/CONTRACT.md); a copy is right on the machines that we
 * support. */
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
               "vectors are stored as they lie in memory");

/* One of the distinct texts of a batch. */
struct distinct_text {
    const char *hash;
    struct slice text;
    float *vector;
    bool found; /* the vector is filled, and sound */
    bool cached;
    bool parked;
    bool guilty;      /* failed alone, while another text passed, or is not to be asked for */
    size_t cut_bytes; /* what was embedded of one that was found too long; 0 = all */
    struct error error;
};

struct distinct {
    size_t count;
    struct distinct_text *each;
    size_t *of_item; /* item -> distinct */
};

/* Of what is embedded: a text that was cut is another one than its caller hashed. */
static const char *hash_of(struct context *ctx, const struct embedding *item)
{
    if (item->text_hash != NULL && item->embedded_bytes == 0) {
        return item->text_hash;
    }
    char *hash = arena_array(&ctx->arena, TEXT_HASH_CHARS + 1, 1);
    text_hash(item->text.data, item->text.bytes, hash);
    return hash;
}

static void distinct_fill(struct context *ctx, const struct embedding *items, size_t count,
                          struct distinct *d)
{
    const size_t dimension = embedder_dimension(context_embedder(ctx));

    d->each = arena_array(&ctx->arena, count, sizeof *d->each);
    d->of_item = arena_array(&ctx->arena, count, sizeof *d->of_item);
    for (size_t i = 0; i < count; i++) {
        const char *hash = hash_of(ctx, &items[i]);
        size_t known = 0;
        while (known < d->count && memcmp(d->each[known].hash, hash, TEXT_HASH_CHARS) != 0) {
            known++;
        }
        if (known == d->count) {
            d->each[d->count++] = (struct distinct_text){
                .hash = hash,
                .text = items[i].text,
                .guilty = items[i].guilty,
                .vector = arena_array(&ctx->arena, dimension, sizeof(float)),
            };
        }
        d->of_item[i] = known;
    }
}

/* ---- the cache: it may lose anything at any time --------------------------------------------- */

static const char *key_of(struct context *ctx, const struct distinct_text *text,
                          char key[KEYS_BYTES])
{
    return keys_name(key, KEYS_EMBED, ctx->settings->prefix, embedder_model(context_embedder(ctx)),
                     text->hash);
}

static void read_cached(struct context *ctx, struct distinct *d)
{
    const size_t dimension = embedder_dimension(context_embedder(ctx));
    struct redis_pipeline pipeline = {.conn = context_cache(ctx), .takes_errors = true};
    struct error err = {0};
    const redisReply *reply = NULL;
    char key[KEYS_BYTES];
    size_t hits = 0;

    for (size_t i = 0; i < d->count; i++) {
        redis_pipelinef(&pipeline, "GET %s", key_of(ctx, &d->each[i], key));
    }
    for (size_t i = 0; i < d->count; i++) {
        struct distinct_text *text = &d->each[i];
        if (redis_pipeline_next(&pipeline, &reply) == STATUS_OK &&
            reply->type == REDIS_REPLY_STRING && (size_t)reply->len == dimension * sizeof(float)) {
            memcpy(text->vector, reply->str, dimension * sizeof(float));
            text->found = embedder_normalise(text->vector, dimension, &err) == STATUS_OK;
            text->cached = text->found;
            hits += text->found;
        }
    }
    if (redis_pipeline_end(&pipeline, &err) != STATUS_OK) {
        log_debug("vector cache: %s", err.text);
    }
    metrics_add(ctx->metrics, METRICS_EMBEDDED, METRICS_FROM_CACHE, 0, hits);
}

/* A beginning's vector is none of the whole text's. */
static void write_cached(struct context *ctx, const struct distinct *d)
{
    const size_t bytes = embedder_dimension(context_embedder(ctx)) * sizeof(float);
    struct redis_pipeline pipeline = {.conn = context_cache(ctx)};
    struct error err = {0};
    char key[KEYS_BYTES];

    for (size_t i = 0; i < d->count; i++) {
        const struct distinct_text *text = &d->each[i];
        if (text->found && !text->cached && text->cut_bytes == 0) {
            redis_pipelinef(&pipeline, "SET %s %.*s PX %jd", key_of(ctx, text, key), (int)bytes,
                            (const char *)text->vector, ctx->settings->cache_ttl_ms);
        }
    }
    if (redis_pipeline_end(&pipeline, &err) != STATUS_OK) {
        log_debug("vector cache: %s", err.text);
    }
}

/* ---- the embedder --------------------------------------------------------------------------- */

/* Waits a little for the fleet's rate; a longer wait is the job's, not the lane's. */
static enum status take_rate(struct context *ctx, struct error *err)
{
    const struct settings *settings = ctx->settings;
    char key[KEYS_BYTES];
    int64_t wait_ms = 0;

    if (settings->embed_rate_count == 0) {
        return STATUS_OK;
    }
    keys_name(key, KEYS_RATE, settings->prefix, "embed");
    for (int64_t waited_ms = 0; waited_ms <= RATE_WAIT_MAX_MS; waited_ms += wait_ms) {
        enum status status = ratelimit_take(
            context_redis(ctx),
            &(struct rate){key, settings->embed_rate_count, settings->embed_rate_window_ms}, 1,
            &wait_ms, err);
        if (status != STATUS_OK || wait_ms == 0) {
            return status;
        }
        if (waited_ms + wait_ms > RATE_WAIT_MAX_MS) {
            break;
        }
        clock_sleep_ms(wait_ms);
        context_progress(ctx);
    }
    error_set(err, STATUS_UNAVAILABLE, "embedder: the fleet's rate is used up for %lld ms",
              (long long)wait_ms);
    err->retry_after_ms = (int)wait_ms;
    return STATUS_UNAVAILABLE;
}

/* The characters that the model takes, as set or learnt; 0 = as many as there are. */
static size_t text_bound(const struct context *ctx)
{
    const size_t set = (size_t)ctx->settings->embed_max_chars;
    const size_t learnt = upstreams_text_bound(ctx->upstreams);

    return set == 0 || (learnt > 0 && learnt < set) ? learnt : set;
}

/* Texts that are known to be longer than the model takes: cut before they are hashed, so that the
 * vector of a beginning is the beginning's, or refused as the setting says. */
static void bound_texts(struct context *ctx, struct embedding *items, size_t count)
{
    const size_t bound = text_bound(ctx);

    for (size_t i = 0; i < count && bound > 0; i++) {
        struct embedding *item = &items[i];
        if (item->text.bytes <= bound || long_text_chars(item->text) <= bound) {
            continue;
        }
        if (ctx->settings->reject_long_text) {
            (void)error_set(&item->error, STATUS_INVALID,
                            "a text of %zu characters, the model takes %zu "
                            "(STILLHOUSE_LONG_TEXT=reject)",
                            long_text_chars(item->text), bound);
            item->guilty = true;
            metrics_add(ctx->metrics, METRICS_LONG_TEXTS, METRICS_LONG_REJECTED, 0, 1);
        } else {
            item->text = long_text_head(item->text, bound);
            item->embedded_bytes = item->text.bytes;
            metrics_add(ctx->metrics, METRICS_LONG_TEXTS, METRICS_LONG_CUT, 0, 1);
        }
    }
}

/* A call of several texts on its way to being whole: what of it passed, what stands alone. */
struct calling {
    struct context *ctx;
    struct distinct_text *const *list; /* those that are asked for */
    size_t count;
    bool passes;        /* some text passed: the embedder works */
    bool is_doubted;    /* ... or did: the last request had no answer */
    bool rate_used_up;  /* nothing was asked */
    int timeout_ms;     /* of the first request, which may have more time; then 0 */
    struct error first; /* why the whole failed */
};

/* What is sent of a text: all of it, or what was found to be taken of one as long. */
static struct slice text_of(struct context *ctx, struct distinct_text *own)
{
    const size_t bound = ctx->settings->reject_long_text ? 0 : text_bound(ctx);

    if (own->cut_bytes == 0 && bound > 0 && own->text.bytes > bound &&
        long_text_chars(own->text) > bound) {
        own->cut_bytes = long_text_head(own->text, bound).bytes;
    }
    return (struct slice){own->text.data, own->cut_bytes > 0 ? own->cut_bytes : own->text.bytes};
}

/* One request for part of the texts; whole or not at all. */
static enum status send(struct calling *calling, struct part part, struct error *err)
{
    struct context *ctx = calling->ctx;
    const size_t dimension = embedder_dimension(context_embedder(ctx));
    struct slice *texts = arena_array(&ctx->arena, part.count, sizeof *texts);
    float *vectors = arena_array(&ctx->arena, part.count * dimension, sizeof *vectors);

    for (size_t i = 0; i < part.count; i++) {
        texts[i] = text_of(ctx, calling->list[part.from + i]);
    }
    enum status status = take_rate(ctx, err);
    if (status != STATUS_OK) {
        calling->rate_used_up = true;
        return status;
    }
    context_phase(ctx, PHASE_EMBED);
    embedder_set_timeout(context_embedder(ctx), calling->timeout_ms);
    status = embedder_embed(context_embedder(ctx), texts, part.count, vectors, err);
    embedder_set_timeout(context_embedder(ctx), 0);
    context_progress(ctx);
    calling->is_doubted = status != STATUS_OK && failure_is_outage(err);
    if (status != STATUS_OK) {
        return status;
    }
    calling->passes = true;
    metrics_add(ctx->metrics, METRICS_EMBEDDED, METRICS_FROM_MODEL, 0, part.count);
    for (size_t i = 0; i < part.count; i++) {
        struct distinct_text *own = calling->list[part.from + i];
        memcpy(own->vector, vectors + i * dimension, dimension * sizeof *vectors);
        own->found = true;
    }
    return STATUS_OK;
}

/* Does the embedder work? Where no other text says so, a short one of our own is the comparison. */
static bool works(struct calling *calling)
{
    struct context *ctx = calling->ctx;
    struct error err = {0};

    if (calling->passes && !calling->is_doubted) {
        return true;
    }
    if (take_rate(ctx, &err) != STATUS_OK) {
        return false;
    }
    const bool passes = embedder_compare(context_embedder(ctx), &err) == STATUS_OK;
    calling->passes = calling->passes || passes;
    calling->is_doubted = !passes;
    context_progress(ctx);
    return passes;
}

/* Embeds as much of the beginning as passes: halves it until it does. What the server called too
 * long is remembered for all texts of this process. An outage meanwhile makes the text wait,
 * whatever was said of it before. */
static bool passes_shorter(struct calling *calling, size_t at, bool *away)
{
    struct context *ctx = calling->ctx;
    struct distinct_text *own = calling->list[at];
    const bool told = long_text_is_told(&own->error);
    const size_t least = told ? LONG_TEXT_MIN_CHARS : LONG_TEXT_UNTOLD_CHARS;
    const size_t bound = text_bound(ctx); /* another text of this call may have taught it */
    size_t chars = long_text_chars(own->text);

    for (chars = bound > 0 && bound < chars ? bound : chars / 2; chars >= least; chars /= 2) {
        struct error err = {0};
        own->cut_bytes = long_text_head(own->text, chars).bytes;
        if (send(calling, (struct part){at, 1}, &err) == STATUS_OK) {
            if (told) {
                upstreams_learn_text_bound(ctx->upstreams, chars);
            }
            metrics_add(ctx->metrics, METRICS_LONG_TEXTS, METRICS_LONG_CUT, 0, 1);
            return true;
        }
        if (err.status != STATUS_INVALID) { /* no reason to reject it any more */
            own->error = err;
        }
        *away = !failure_may_be_text(&err) || !works(calling);
        if (*away) {
            break;
        }
    }
    own->cut_bytes = 0;
    return false;
}

/* A text that failed alone is at fault while the embedder works. One that says 500 gets a second
 * chance first: servers stumble. False when the embedder is away. */
static bool judge_lone(struct calling *calling, size_t at)
{
    struct error *err = &calling->list[at]->error;

    if (!failure_is_own_check(err) && (!failure_may_be_text(err) || !works(calling))) {
        return false;
    }
    const bool told = long_text_is_told(err);
    bool away = false;
    if ((err->status == STATUS_FAILED && !told) || err->status == STATUS_GARBLED) {
        struct error again = {0};
        if (send(calling, (struct part){at, 1}, &again) == STATUS_OK) {
            return true;
        }
        if (!failure_may_be_text(&again) || !works(calling)) {
            *err = again;
            return false;
        }
    }
    if (!calling->ctx->settings->reject_long_text && !failure_is_own_check(err) &&
        passes_shorter(calling, at, &away)) {
        return true;
    }
    if (away) {
        return false;
    }
    if (told && calling->ctx->settings->reject_long_text) {
        err->status = STATUS_INVALID;
        metrics_add(calling->ctx->metrics, METRICS_LONG_TEXTS, METRICS_LONG_REJECTED, 0, 1);
    }
    calling->list[at]->guilty = true;
    log_debug("embedding refused: %s", err->text);
    return true;
}

/* Sends halves of what failed until what is bad in it has failed alone; false when the embedder is
 * away. */
static bool halve(struct calling *calling, bool *lone)
{
    struct halving halving;
    struct part part;

    halving_start(&halving, calling->count);
    while (halving_next(&halving, &part)) {
        struct error err = {0};
        const bool passed = send(calling, part, &err) == STATUS_OK;
        if (!passed && (!failure_may_be_text(&err) || (halving.sent > 0 && !works(calling)))) {
            return false;
        }
        if (!passed && part.count == 1) {
            lone[part.from] = true;
            calling->list[part.from]->error = err;
        }
        halving_tell(&halving, passed);
    }
    return true;
}

/* Who of those that failed is at fault himself. Silence costs a whole time-out each time, so it is
 * asked first whether the embedder is there at all. */
static void find_guilty(struct calling *calling)
{
    const enum status first = calling->first.status;
    bool *lone = arena_array(&calling->ctx->arena, calling->count, sizeof *lone);

    if (!failure_may_be_text(&calling->first)) {
        return;
    }
    if (calling->count == 1) {
        (void)judge_lone(calling, 0);
        return;
    }
    if ((first == STATUS_TIMEOUT || first == STATUS_UNREACHABLE) && !works(calling)) {
        return;
    }
    bool goes_on = halve(calling, lone);
    for (size_t i = 0; i < calling->count && goes_on; i++) {
        goes_on = !lone[i] || judge_lone(calling, i);
    }
}

/* Calls for all. The breaker hears of it once: a text's own fault is none of the embedder's. */
static void call_all(struct calling *calling)
{
    struct error *first = &calling->first;
    const int64_t usual_ms = calling->ctx->settings->embed_timeout_ms;
    const int64_t patient_ms =
        usual_ms * upstreams_patience(calling->ctx->upstreams, OPERATION_EMBED);
    const int64_t most_ms = usual_ms > PATIENCE_MAX_MS ? usual_ms : PATIENCE_MAX_MS;

    calling->timeout_ms = (int)(patient_ms < most_ms ? patient_ms : most_ms);
    enum status status = send(calling, (struct part){0, calling->count}, first);
    calling->timeout_ms = 0;

    if (calling->rate_used_up) {
        upstreams_cancel(calling->ctx->upstreams, OPERATION_EMBED);
    }
    for (size_t i = 0; i < calling->count && status != STATUS_OK; i++) {
        calling->list[i]->error = *first;
        calling->list[i]->parked = calling->rate_used_up;
    }
    if (calling->rate_used_up) {
        return;
    }
    if (status != STATUS_OK) {
        find_guilty(calling);
    }
    if (calling->passes) {
        asking_report(calling->ctx, OPERATION_EMBED, STATUS_OK, NULL);
    } else {
        asking_report(calling->ctx, OPERATION_EMBED, status, first);
    }
}

static void embed_missing(struct context *ctx, struct distinct *d)
{
    struct distinct_text **list = arena_array(&ctx->arena, d->count, sizeof *list);
    size_t missing = 0;

    for (size_t i = 0; i < d->count; i++) {
        if (!d->each[i].found && !d->each[i].guilty) {
            list[missing++] = &d->each[i];
        }
    }
    if (missing == 0) {
        return;
    }
    size_t allowed = asking_allow(ctx, OPERATION_EMBED, missing);
    for (size_t i = allowed; i < missing; i++) {
        list[i]->parked = true;
    }
    if (allowed > 0) {
        struct calling calling = {.ctx = ctx, .list = list, .count = allowed};
        call_all(&calling);
    }
}

/* Nothing can be embedded before it is known how long a vector is. False when it is not to be
 * learnt now: the items say why. */
static bool learn_dimension(struct context *ctx, struct embedding *items, size_t count)
{
    struct error err = {0};

    if (embedder_dimension(context_embedder(ctx)) > 0) {
        return true;
    }
    if (asking_allow(ctx, OPERATION_EMBED, 1) == 0) {
        for (size_t i = 0; i < count; i++) {
            items[i].parked = true;
        }
        return false;
    }
    context_phase(ctx, PHASE_EMBED);
    const enum status status = embedder_learn(context_embedder(ctx), &err);
    asking_report(ctx, OPERATION_EMBED, status, &err);
    for (size_t i = 0; i < count && status != STATUS_OK; i++) {
        items[i].error = err;
    }
    if (status == STATUS_OK) {
        chroma_set_dimension(context_chroma(ctx), embedder_dimension(context_embedder(ctx)));
        log_info("embedder \"%s\": vectors of %zu numbers", embedder_model(context_embedder(ctx)),
                 embedder_dimension(context_embedder(ctx)));
    }
    return status == STATUS_OK;
}

void vectors_fill(struct context *ctx, struct embedding *items, size_t count)
{
    struct distinct d = {0};

    if (!learn_dimension(ctx, items, count)) {
        return;
    }
    bound_texts(ctx, items, count);
    distinct_fill(ctx, items, count, &d);
    read_cached(ctx, &d);
    embed_missing(ctx, &d);
    write_cached(ctx, &d);
    for (size_t i = 0; i < count; i++) {
        const struct distinct_text *text = &d.each[d.of_item[i]];
        if (items[i].guilty) { /* refused before it was asked for */
            continue;
        }
        items[i].embedded_bytes = text->cut_bytes > 0 ? text->cut_bytes : items[i].embedded_bytes;
        items[i].vector = text->found ? text->vector : NULL;
        items[i].error = text->error;
        items[i].parked = text->parked;
        items[i].guilty = text->guilty;
    }
}

void vectors_judge(const struct embedding *item, struct slice document, struct task *task)
{
    const struct failure failure = {.operation = OPERATION_EMBED,
                                    .err = &item->error,
                                    .document = document,
                                    .alone = item->guilty,
                                    .others_pass = item->guilty};

    if (!item->parked) {
        task_judge_failure(task, &failure);
    } else if (item->error.text[0] != '\0') {
        task_hold_back(task, OPERATION_EMBED, item->error.retry_after_ms, item->error.text);
    } else {
        asking_park(task, OPERATION_EMBED);
    }
}
