#include "chroma_writer/same_prompt.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/keys.h"
#include "redis/pipeline.h"
#include "rules/metadata.h"

enum {
    DEPTHS = 3,
    DIGITS_MAX = 3,
    PERIODS = 2,
    BUCKET_ROOM = 480, /* Redis keeps up to 512 integers compactly; lanes may add at once */
    FOUND_SPARE = 64,  /* a prompt whose count was lost comes back to its bound in steps */
};

static const int bucket_digits[DEPTHS] = {0, 2, DIGITS_MAX};

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

struct same_prompt_copy {
    struct slice id;
    double score;
};

/* ---- what Redis remembers ---- */

static int64_t fingerprint(const struct same_prompt *prompt)
{
    return digits(prompt->text_hash, 8, 8) & INT32_MAX;
}

static const char *old_key(const struct context *ctx, const struct same_prompt *prompt,
                           char key[KEYS_BYTES])
{
    return keys_name(key, KEYS_TWINS, ctx->settings->prefix, prompt->domain, prompt->text_hash);
}

/* The next answer as a number; `otherwise` where Redis does not say it. */
static int64_t next_number(struct redis_pipeline *pipeline, int64_t otherwise)
{
    const redisReply *reply = NULL;

    return redis_pipeline_next(pipeline, &reply) == STATUS_OK && reply->type == REDIS_REPLY_INTEGER
               ? reply->integer
               : otherwise;
}

/* A refusal (another type under a key, a missing right, a full memory) leaves Chroma to be asked.
 */
static enum status end(struct redis_pipeline *pipeline, struct error *err)
{
    const redisReply *reply = NULL;
    struct error own = {0};

    while (pipeline->asked > 0 && !pipeline->broken) {
        (void)redis_pipeline_next(pipeline, &reply);
    }
    const bool is_broken = pipeline->broken;
    const enum status status = redis_pipeline_end(pipeline, &own);
    if (!is_broken && status != STATUS_UNAVAILABLE) {
        return STATUS_OK;
    }
    *err = own;
    return status;
}

/* The sets of a domain in one period. */
struct sets {
    char *key; /* of the first one, with room for the digits that the others' have behind it */
    size_t key_bytes;
    size_t looked_at; /* the first so many depths may hold a prompt */
};

struct domain {
    const char *name;
    struct sets sets[PERIODS]; /* this period's first */
    size_t depth;              /* where prompts are added, which says too whether they are there */
    bool may_be_full;          /* the second depth: each bucket is asked */
};

struct memory {
    struct context *ctx;
    struct same_prompt *const *prompts;
    size_t count;
    struct domain *domains;
    size_t domain_count;
    size_t *domain_of; /* prompt -> domain */
};

/* The set of a depth that a prompt belongs to; good until it is asked again. */
static const char *bucket(struct sets *sets, const struct same_prompt *prompt, size_t depth)
{
    const size_t digit_count = (size_t)bucket_digits[depth];

    memcpy(sets->key + sets->key_bytes, prompt->text_hash, digit_count);
    sets->key[sets->key_bytes + digit_count] = '\0';
    return sets->key;
}

static void find_domains(struct memory *memory)
{
    struct context *ctx = memory->ctx;
    char key[KEYS_BYTES];
    const int64_t period = context_now_unix_ms(ctx) / ctx->settings->experience_ttl_ms;

    for (size_t i = 0; i < memory->count; i++) {
        const char *name = memory->prompts[i]->domain;
        size_t known = 0;
        while (known < memory->domain_count && strcmp(memory->domains[known].name, name) != 0) {
            known++;
        }
        memory->domain_of[i] = known;
        if (known < memory->domain_count) {
            continue;
        }
        struct domain *domain = &memory->domains[memory->domain_count++];
        domain->name = name;
        for (size_t ago = 0; ago < PERIODS; ago++) {
            struct sets *sets = &domain->sets[ago];
            keys_name(key, KEYS_SEEN, ctx->settings->prefix, name, period - (int64_t)ago, 0, "");
            sets->key_bytes = strlen(key);
            sets->key = arena_alloc(&ctx->arena, sets->key_bytes + DIGITS_MAX + 1);
            memcpy(sets->key, key, sets->key_bytes);
        }
    }
}

/* How deep the sets of a domain go. Those of a depth fill evenly, so one of the second depth, that
 * of the domain's first prompt, tells how far they are. */
static enum status ask_depths(struct memory *memory, struct error *err)
{
    struct redis_pipeline pipeline = {.conn = context_cache(memory->ctx)};

    for (size_t i = 0, next = 0; i < memory->count; i++) {
        if (memory->domain_of[i] != next) {
            continue;
        }
        for (size_t ago = 0; ago < PERIODS; ago++) {
            struct sets *sets = &memory->domains[next].sets[ago];
            redis_pipelinef(&pipeline, "SCARD %s", bucket(sets, memory->prompts[i], 0));
            redis_pipelinef(&pipeline, "SCARD %s", bucket(sets, memory->prompts[i], 1));
        }
        next++;
    }
    for (size_t i = 0; i < memory->domain_count; i++) {
        struct domain *domain = &memory->domains[i];
        for (size_t ago = 0; ago < PERIODS; ago++) {
            const int64_t first = next_number(&pipeline, BUCKET_ROOM);
            const int64_t second = next_number(&pipeline, BUCKET_ROOM);
            const size_t depth = first < BUCKET_ROOM ? 0 : second < BUCKET_ROOM / 2 ? 1 : 2;
            domain->sets[ago].looked_at = first == 0 ? 0 : depth + 1;
            domain->depth = ago == 0 ? depth : domain->depth;
        }
        domain->may_be_full = domain->depth == DEPTHS - 1;
    }
    return end(&pipeline, err);
}

/* How many sets are asked for a prompt: all that may hold it, but for the one that it will be added
 * to where that is known. */
static size_t question_count(const struct domain *domain)
{
    const size_t known = !domain->may_be_full && domain->sets[0].looked_at > 0 ? 1 : 0;

    return domain->sets[0].looked_at - known + domain->sets[1].looked_at;
}

static void ask(const struct memory *memory, struct redis_pipeline *pipeline, size_t at)
{
    const struct same_prompt *prompt = memory->prompts[at];
    struct domain *domain = &memory->domains[memory->domain_of[at]];
    char key[KEYS_BYTES];

    for (size_t ago = 0; ago < PERIODS; ago++) {
        struct sets *sets = &domain->sets[ago];
        for (size_t depth = 0; depth < sets->looked_at; depth++) {
            if (ago == 0 && depth == domain->depth && !domain->may_be_full) {
                continue;
            }
            redis_pipelinef(pipeline, "SISMEMBER %s %jd", bucket(sets, prompt, depth),
                            fingerprint(prompt));
        }
    }
    if (domain->may_be_full) {
        redis_pipelinef(pipeline, "SCARD %s", bucket(&domain->sets[0], prompt, 1));
    }
    redis_pipelinef(pipeline, "ZRANGE %s 0 -1 WITHSCORES", old_key(memory->ctx, prompt, key));
}

static void take_old(struct context *ctx, struct same_prompt *prompt, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements < 2) {
        return;
    }
    prompt->old = arena_array(&ctx->arena, reply->elements / 2, sizeof *prompt->old);
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        const redisReply *id = reply->element[i];
        const redisReply *score = reply->element[i + 1];
        const char *copy = id->type == REDIS_REPLY_STRING && score->type == REDIS_REPLY_STRING
                               ? arena_copy(&ctx->arena, id->str, (size_t)id->len)
                               : NULL;
        if (copy != NULL) {
            prompt->old[prompt->old_count++] =
                (struct same_prompt_copy){{copy, (size_t)id->len}, strtod(score->str, NULL)};
        }
    }
}

static void take_answers(const struct memory *memory, struct redis_pipeline *pipeline, size_t at)
{
    struct same_prompt *prompt = memory->prompts[at];
    const struct domain *domain = &memory->domains[memory->domain_of[at]];
    const redisReply *reply = NULL;

    prompt->was_seen = false;
    prompt->old_count = 0;
    prompt->depth = domain->depth;
    for (size_t i = question_count(domain); i > 0; i--) {
        prompt->was_seen = next_number(pipeline, 1) != 0 || prompt->was_seen;
    }
    if (domain->may_be_full) {
        prompt->depth = next_number(pipeline, BUCKET_ROOM) < BUCKET_ROOM ? 1 : 2;
    }
    if (redis_pipeline_next(pipeline, &reply) == STATUS_OK) {
        take_old(memory->ctx, prompt, reply);
        prompt->was_seen = prompt->was_seen || prompt->old_count > 0;
    }
}

static enum status ask_all(const struct memory *memory, struct error *err)
{
    struct redis_pipeline pipeline = {.conn = context_cache(memory->ctx)};

    for (size_t i = 0; i < memory->count; i++) {
        ask(memory, &pipeline, i);
    }
    for (size_t i = 0; i < memory->count; i++) {
        take_answers(memory, &pipeline, i);
    }
    return end(&pipeline, err);
}

static enum status add_all(const struct memory *memory, struct error *err)
{
    struct redis_pipeline pipeline = {.conn = context_cache(memory->ctx)};
    const int64_t ttl_ms = PERIODS * memory->ctx->settings->experience_ttl_ms;

    for (size_t i = 0; i < memory->count; i++) {
        const struct same_prompt *prompt = memory->prompts[i];
        struct sets *sets = &memory->domains[memory->domain_of[i]].sets[0];
        const char *key = bucket(sets, prompt, prompt->depth);
        redis_pipelinef(&pipeline, "SADD %s %jd", key, fingerprint(prompt));
        redis_pipelinef(&pipeline, "PEXPIRE %s %jd", key, ttl_ms);
    }
    for (size_t i = 0; i < memory->count; i++) {
        /* Another lane may have added it since it was asked. */
        struct same_prompt *prompt = memory->prompts[i];
        prompt->was_seen = next_number(&pipeline, 0) == 0 || prompt->was_seen;
        (void)next_number(&pipeline, 0);
    }
    return end(&pipeline, err);
}

enum status same_prompt_remember(struct context *ctx, struct same_prompt *const *written,
                                 size_t count, struct error *err)
{
    struct memory memory = {
        .ctx = ctx,
        .prompts = written,
        .count = count,
        .domains = arena_array(&ctx->arena, count, sizeof *memory.domains),
        .domain_of = arena_array(&ctx->arena, count, sizeof *memory.domain_of),
    };

    find_domains(&memory);
    TRY(ask_depths(&memory, err));
    TRY(ask_all(&memory, err));
    return add_all(&memory, err);
}

/* ---- what Chroma has of a prompt ---- */

struct trim {
    struct context *ctx;
    struct same_prompt *const *seen;
    size_t count;
    struct slice *surplus; /* ids to delete */
    size_t surplus_count;
    size_t surplus_max;
};

static enum status find_copies(struct trim *trim, struct chroma_hits *found, struct asked *asked)
{
    struct context *ctx = trim->ctx;
    int64_t *hashes = arena_array(&ctx->arena, trim->count, sizeof *hashes);
    const size_t limit = trim->count * ((size_t)ctx->settings->twins + 1) + FOUND_SPARE;

    for (size_t i = 0; i < trim->count; i++) {
        hashes[i] = same_prompt_hash(trim->seen[i]->text_hash);
    }
    const struct chroma_select select = {.domain = trim->seen[0]->domain,
                                         .key = SAME_PROMPT_KEY,
                                         .values = hashes,
                                         .count = trim->count,
                                         .limit = limit,
                                         .fields = CHROMA_METADATA};
    return asking_get(ctx, &select, &ctx->arena, found, asked);
}

static void add_copy(struct same_prompt_copy *copies, size_t *count, struct slice id, double score)
{
    for (size_t i = 0; i < *count; i++) {
        if (slice_equal(copies[i].id, id)) {
            return;
        }
    }
    copies[(*count)++] = (struct same_prompt_copy){id, score};
}

static int compare_copies(const void *left, const void *right)
{
    const struct same_prompt_copy *a = left;
    const struct same_prompt_copy *b = right;

    return a->score > b->score ? -1 : a->score < b->score;
}

static bool is_same_prompt(const struct same_prompt *a, const struct same_prompt *b)
{
    return memcmp(a->text_hash, b->text_hash, TEXT_HASH_CHARS) == 0;
}

/* The experiences of one prompt: those found in Chroma, those that older workers remember, those
 * just written. What is more than may stay joins the surplus. */
static void find_surplus(struct trim *trim, const struct same_prompt *prompt,
                         const struct chroma_hits *found)
{
    const int64_t hash = same_prompt_hash(prompt->text_hash);
    const size_t most = found->count + prompt->old_count + trim->count;
    const size_t keep = (size_t)trim->ctx->settings->twins;
    const struct arena_mark mark = arena_mark(&trim->ctx->arena);
    struct same_prompt_copy *copies = arena_array(&trim->ctx->arena, most, sizeof *copies);
    size_t count = 0;

    for (size_t i = 0; i < found->count; i++) {
        const struct example *hit = &found->examples[i];
        const struct meta_pair *pairs = hit->metadata;
        const size_t pair_count = hit->metadata_count;
        if ((int64_t)metadata_number(pairs, pair_count, SAME_PROMPT_KEY, -1) == hash) {
            const double created_ms = metadata_number(pairs, pair_count, "created_ms", 0);
            add_copy(copies, &count, hit->id,
                     same_prompt_score(metadata_number(pairs, pair_count, "quality", 1),
                                       (int64_t)created_ms));
        }
    }
    for (size_t i = 0; i < prompt->old_count; i++) {
        add_copy(copies, &count, prompt->old[i].id, prompt->old[i].score);
    }
    for (size_t i = 0; i < trim->count; i++) {
        const struct same_prompt *own = trim->seen[i];
        if (is_same_prompt(own, prompt)) {
            add_copy(copies, &count, own->id,
                     same_prompt_score(own->quality, own->created_unix_ms));
        }
    }
    qsort(copies, count, sizeof *copies, compare_copies);
    for (size_t i = keep; i < count && trim->surplus_count < trim->surplus_max; i++) {
        trim->surplus[trim->surplus_count++] = copies[i].id;
    }
    arena_rewind(&trim->ctx->arena, mark);
}

static bool was_before(const struct trim *trim, size_t at)
{
    for (size_t i = 0; i < at; i++) {
        if (is_same_prompt(trim->seen[i], trim->seen[at])) {
            return true;
        }
    }
    return false;
}

/* The sorted sets of older workers gain what was written, and lose what was deleted. */
static enum status tell_old(struct trim *trim, struct error *err)
{
    struct redis_pipeline pipeline = {.conn = context_cache(trim->ctx)};
    char key[KEYS_BYTES];
    char score[40];

    for (size_t i = 0; i < trim->count; i++) {
        const struct same_prompt *own = trim->seen[i];
        if (own->old_count == 0) {
            continue;
        }
        old_key(trim->ctx, own, key);
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

void same_prompt_trim(struct context *ctx, struct same_prompt *const *seen, size_t count,
                      struct asked *asked)
{
    const size_t surplus_max = count * 2 + FOUND_SPARE;
    struct trim trim = {
        .ctx = ctx,
        .seen = seen,
        .count = count,
        .surplus = arena_array(&ctx->arena, surplus_max, sizeof *trim.surplus),
        .surplus_max = surplus_max,
    };
    struct chroma_hits found = {0};

    if (find_copies(&trim, &found, asked) != STATUS_OK) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (!was_before(&trim, i)) {
            find_surplus(&trim, seen[i], &found);
        }
    }
    if (asking_delete(ctx, seen[0]->domain, trim.surplus, trim.surplus_count, asked) != STATUS_OK ||
        tell_old(&trim, &asked->err) == STATUS_OK) {
        return;
    }
    asked->operation = OPERATION_REDIS;
    asked->tried = true;
}

/* ---- near duplicates ---- */

/* True when `hit` is another document, near enough to be the same experience. */
static bool is_near(const struct context *ctx, const struct chroma_record *record,
                    const struct example *hit)
{
    return !slice_equal(hit->id, record->id) && hit->distance <= ctx->settings->merge_distance;
}

static enum status query_nearest(struct context *ctx, const struct record_group *group,
                                 size_t count, struct chroma_hits *hits, struct error *err)
{
    const float **vectors = arena_array(&ctx->arena, count, sizeof *vectors);
    /* Two, since the nearest may be the experience itself, written before. */
    const struct chroma_search search = {.domain = group->domain,
                                         .vectors = vectors,
                                         .count = count,
                                         .n_results = 2,
                                         .without_text = true};

    for (size_t i = 0; i < count; i++) {
        vectors[i] = group->writes[i].record.vector;
    }
    context_phase(ctx, PHASE_QUERY);
    enum status status = chroma_query(context_chroma(ctx), &search, err);
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        status = chroma_next_hits(context_chroma(ctx), &ctx->arena, &hits[i], err);
    }
    context_progress(ctx);
    return status;
}

static void settle_near(const struct context *ctx, struct record_write *write,
                        const struct chroma_hits *hits)
{
    const struct chroma_record *record = &write->record;
    size_t count = 0;

    for (size_t i = 0; i < hits->count; i++) {
        const struct example *hit = &hits->examples[i];
        if (!is_near(ctx, record, hit)) {
            continue;
        }
        if (metadata_number(hit->metadata, hit->metadata_count, "quality", 1) >
            metadata_number(record->metadata, record->metadata_count, "quality", 1)) {
            write->failed = true; /* left out: what is stored is better, and the job is done */
        } else if (count < WRITER_REPLACES_MAX) {
            write->replaces[count++] = hit->id;
        }
    }
}

void same_prompt_find_near(struct context *ctx, const struct record_group *group)
{
    struct record_write *writes = group->writes;
    struct error err = {0};

    if (ctx->settings->merge_distance <= 0 || group->count == 0) {
        return;
    }
    const size_t allowed = asking_allow(ctx, OPERATION_QUERY, group->count);
    for (size_t i = allowed; i < group->count; i++) {
        asking_park(writes[i].task, OPERATION_QUERY);
        writes[i].failed = true;
    }
    if (allowed == 0) {
        return;
    }
    struct chroma_hits *hits = arena_array(&ctx->arena, allowed, sizeof *hits);
    enum status status = query_nearest(ctx, group, allowed, hits, &err);
    const enum operation failed = asking_report_chroma(ctx, OPERATION_QUERY, status, &err);
    if (status == STATUS_NOT_FOUND) {
        return;
    }
    for (size_t i = 0; i < allowed; i++) {
        if (status == STATUS_OK) {
            settle_near(ctx, &writes[i], &hits[i]);
        } else {
            asking_judge_failure(writes[i].task, failed, &err);
            writes[i].failed = true;
        }
    }
}
