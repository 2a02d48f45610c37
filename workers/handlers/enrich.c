/* enrich - find the best past examples for a query.
 *
 * Happy path, for the whole batch: decode; one pipelined read of results and epochs; one embedding
 * call for the distinct missing queries; one Chroma query a domain; render; one pipelined write of
 * the results. Where expired experiences lie nearer than k live ones, the query is asked again for
 * more hits, four times as many each time, by those alone that lack some; the sweep deletes what
 * has expired (sweep.h), so that this stays rare. Failure modes: Chroma's breaker open -> the
 * cached result, stale if need be, else an empty one at once (not cached); a failed call ->
 * the same where somebody waits, else PARK; a result that the cache does not take -> DONE where
 * somebody waits or the cache is full, else PARK; no collection -> zero examples, cached for a
 * short time.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "chroma_writer/records.h"
#include "chroma_writer/same_prompt.h"
#include "context/asking.h"
#include "handlers/handler.h"
#include "recall/result_cache.h"
#include "recall/vectors.h"
#include "rules/by_domain.h"
#include "rules/halving.h"
#include "rules/metadata.h"
#include "rules/prompt_block.h"
#include "rules/rank.h"

enum {
    EMPTY_TTL_MS = 10000,       /* a domain without a collection may get one any moment */
    FURTHER_REQUEST_MAX = 4096, /* hits in one answer: some 700 KiB without the texts */
    FURTHER_BATCH_MAX = 65536,  /* hits for a group in all: a few seconds of Chroma */
    HITS_KEEP_BYTES = 64 * 1024,
    QUERY_BATCH_MAX = 64, /* vectors in one Chroma request */
};

/* One distinct task of the batch and what became of it. */
struct enrich_item {
    struct task *task;
    struct enrich_body body;
    const char *domain;
    char hash[TEXT_HASH_CHARS + 1];
    struct cached_result *cached;
    struct embedding *embedding;
    struct example *found; /* by looking further, without text; NULL: the first hits were enough */
    size_t found_count;
    bool lacks;    /* fewer than k live ones so far, and there may be more behind them */
    bool finished; /* has its verdict */
};

struct enrich_batch {
    struct context *ctx;
    struct enrich_item *items;
    size_t count;
    struct cached_result *cached; /* one an item */
    int64_t now_unix_ms;
};

static void finish_with(struct enrich_item *item, struct slice reply)
{
    item->task->verdict = VERDICT_DONE;
    item->task->reply = reply;
    item->finished = true;
}

static void decode(struct enrich_batch *batch, struct task *tasks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct enrich_item *item = &batch->items[batch->count];
        struct error err = {0};
        const struct job *job = tasks[i].job;

        if (bodies_decode_enrich(job->body.data, job->body.bytes, NULL, &item->body, &err) !=
            STATUS_OK) {
            task_judge(&tasks[i], VERDICT_MALFORMED, "%s", err.text);
            continue;
        }
        item->task = &tasks[i];
        item->domain = context_text(batch->ctx, job->domain);
        text_hash(item->body.query.data, item->body.query.bytes, item->hash);
        batch->count++;
    }
}

/* Finishes the items whose result stands in the cache already. */
static void look_up(struct enrich_batch *batch)
{
    struct context *ctx = batch->ctx;
    struct error err = {0};
    uint64_t counts[METRICS_LOOKUPS] = {0};

    for (size_t i = 0; i < batch->count; i++) {
        struct enrich_item *item = &batch->items[i];
        item->cached = &batch->cached[i];
        item->cached->domain = item->domain;
        item->cached->query_hash = item->hash;
    }
    if (result_cache_read(ctx, batch->cached, batch->count, &err) != STATUS_OK) {
        log_debug("result cache: %s", err.text);
        upstreams_report(ctx->upstreams, OPERATION_REDIS, err.status, &err);
    }
    for (size_t i = 0; i < batch->count; i++) {
        struct enrich_item *item = &batch->items[i];
        if (!item->cached->found || item->cached->result.k < item->body.k.value) {
            item->cached->found = false;
            counts[METRICS_MISS]++;
        } else if (!rank_is_current(&item->cached->result, item->cached->epoch, batch->now_unix_ms,
                                    ctx->settings->cache_fresh_ms)) {
            counts[METRICS_STALE]++;
        } else {
            counts[METRICS_HIT]++;
            finish_with(item, item->cached->bytes);
        }
    }
    for (int i = 0; i < METRICS_LOOKUPS; i++) {
        metrics_add(ctx->metrics, METRICS_CACHE_LOOKUPS, METRICS_REDIS_LAYER, (size_t)i, counts[i]);
    }
}

/* Of no use to who asks. */
static void hide_prompt_hash(struct example *example)
{
    size_t kept = 0;

    for (size_t i = 0; i < example->metadata_count; i++) {
        if (!slice_equal(example->metadata[i].key, slice_of(SAME_PROMPT_KEY))) {
            example->metadata[kept++] = example->metadata[i];
        }
    }
    example->metadata_count = kept;
}

static struct slice render_result(struct enrich_batch *batch, const struct enrich_item *item,
                                  struct example *examples, size_t count)
{
    struct strbuf few_shot = {0};

    prompt_block_render(examples, count, &few_shot);
    strbuf_must(&few_shot);
    const struct enrich_result result = {
        .domain = slice_of(item->domain),
        .query_hash = {item->hash, TEXT_HASH_CHARS},
        .created_unix_ms = batch->now_unix_ms,
        .epoch = item->cached->epoch,
        .k = (int)item->body.k.value,
        .examples = examples,
        .count = count,
        .few_shot = {few_shot.data != NULL ? few_shot.data : "", few_shot.bytes},
    };
    const struct slice out = context_encode_result(batch->ctx, &result);
    strbuf_free(&few_shot);
    return out;
}

/* The farthest go where all would be more than a producer reads. */
static struct slice make_result(struct enrich_batch *batch, const struct enrich_item *item,
                                struct example *examples, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        hide_prompt_hash(&examples[i]);
    }
    struct slice out = render_result(batch, item, examples, count);

    while (out.bytes > BODIES_RESULT_MAX && count > 0) {
        out = render_result(batch, item, examples, --count);
    }
    return out;
}

/* While an upstream is out of reach: stale beats nothing, and nothing comes at once. */
static void answer_without_upstream(struct enrich_batch *batch, struct enrich_item *item)
{
    if (item->cached->found) {
        finish_with(item, item->cached->bytes);
        return;
    }
    finish_with(item, make_result(batch, item, NULL, 0));
}

/* An item whose call failed has its verdict. Where it is the upstream's fault and somebody waits,
 * something older can be said, it was tried before, or the breaker is open now, it is answered like
 * those that find the breaker open; else it is tried once more a little later. */
static void fail(struct enrich_batch *batch, struct enrich_item *item, enum operation operation)
{
    const struct job *job = item->task->job;

    item->finished = true;
    if (item->task->verdict == VERDICT_PARK &&
        (job->options.reply || item->cached->found || job->options.parked.tries > 0 ||
         upstreams_state(batch->ctx->upstreams, operation) != BREAKER_CLOSED)) {
        answer_without_upstream(batch, item);
    }
}

static void embed(struct enrich_batch *batch)
{
    struct arena *arena = &batch->ctx->arena;
    struct embedding *embeddings = arena_array(arena, batch->count, sizeof *embeddings);
    struct enrich_item **owners = arena_array(arena, batch->count, sizeof *owners);
    size_t count = 0;

    for (size_t i = 0; i < batch->count; i++) {
        if (!batch->items[i].finished) {
            embeddings[count].text_hash = batch->items[i].hash;
            embeddings[count].text = batch->items[i].body.query;
            owners[count++] = &batch->items[i];
        }
    }
    if (count == 0) {
        return;
    }
    vectors_fill(batch->ctx, embeddings, count);
    for (size_t i = 0; i < count; i++) {
        owners[i]->embedding = &embeddings[i];
        if (embeddings[i].parked) {
            answer_without_upstream(batch, owners[i]);
        } else if (embeddings[i].vector == NULL) {
            vectors_judge(&embeddings[i], (struct slice){NULL, 0}, owners[i]->task);
            fail(batch, owners[i], OPERATION_EMBED);
        }
    }
}

static bool is_live(const void *context, const struct example *hit)
{
    const struct enrich_batch *batch = context;
    return !metadata_is_expired(hit, batch->now_unix_ms);
}

/* The still unfinished items of one domain: at most QUERY_BATCH_MAX. */
struct enrich_group {
    struct enrich_batch *batch;
    struct enrich_item *items[QUERY_BATCH_MAX];
    struct slice results[QUERY_BATCH_MAX]; /* encoded */
    bool passed[QUERY_BATCH_MAX];
    struct error *alone[QUERY_BATCH_MAX]; /* why it failed, while nothing else was asked for */
    size_t count;
    int k_max;
    size_t n_results;
    struct arena hits;     /* of one item at a time */
    enum operation failed; /* where the query failed */
};

static size_t choose(const struct enrich_group *group, struct enrich_item *item,
                     const struct chroma_hits *hits)
{
    const struct rank_search search = {group->n_results, hits->answered, hits->count};
    return rank_take(&search, (size_t)item->body.k.value, &item->lacks);
}

static void take_hits(struct enrich_group *group, size_t index, const struct chroma_hits *hits)
{
    struct enrich_item *item = group->items[index];
    const size_t kept = choose(group, item, hits);

    group->results[index] = make_result(group->batch, item, hits->examples, kept);
}

/* Only which ones they are: their texts are fetched when no more are looked for. */
static void take_far_hits(struct enrich_group *group, size_t index, const struct chroma_hits *hits)
{
    struct enrich_item *item = group->items[index];
    struct arena *arena = &group->batch->ctx->arena;
    const size_t kept = choose(group, item, hits);

    item->found = arena_array(arena, kept, sizeof *item->found);
    item->found_count = kept;
    for (size_t i = 0; i < kept; i++) {
        const struct example *hit = &hits->examples[i];
        const char *id = arena_copy(arena, hit->id.data, hit->id.bytes);
        item->found[i] = (struct example){.id = {id, hit->id.bytes}, .distance = hit->distance};
    }
}

static void say_full(const struct error *err)
{
    long long suppressed = 0;

    if (log_kind_allow("results not kept", &suppressed)) {
        log_warning("results are not kept: %s (%lld more like it)", err->text, suppressed);
    }
}

static void write_group(struct enrich_group *group, int64_t ttl_ms)
{
    struct result_write writes[QUERY_BATCH_MAX];
    struct error err = {0};

    for (size_t i = 0; i < group->count; i++) {
        struct enrich_item *item = group->items[i];
        finish_with(item, group->results[i]);
        writes[i] = (struct result_write){item->domain, item->hash, group->results[i],
                                          item->lacks ? EMPTY_TTL_MS : ttl_ms};
    }
    if (result_cache_write(group->batch->ctx, writes, group->count, &err) == STATUS_OK) {
        return;
    }
    /* Who waits is answered all the same: whoever asks next has it made anew. */
    (void)error_wrap(&err, "result cache");
    if (err.status == STATUS_OOM) { /* no reason to keep the job, which takes room too */
        say_full(&err);
        return;
    }
    for (size_t i = 0; i < group->count; i++) {
        if (!group->items[i]->task->job->options.reply) {
            asking_judge_failure(group->items[i]->task, OPERATION_REDIS, &err);
        }
    }
}

/* ---- one request ------------------------------------------------------------------------------
 */

/* Asks for part of a group. As they are decoded, hits become results: those of a whole group would
 * take twice as much memory. */
static enum status request(struct enrich_group *group, struct part part, bool is_far,
                           struct error *err)
{
    struct context *ctx = group->batch->ctx;
    const float *vectors[QUERY_BATCH_MAX];
    const struct chroma_search search = {
        .domain = group->items[0]->domain,
        .vectors = vectors,
        .count = part.count,
        .n_results = group->n_results,
        .without_text = is_far,
        .wanted = is_live,
        .wanted_context = group->batch,
    };

    for (size_t i = 0; i < part.count; i++) {
        vectors[i] = group->items[part.from + i]->embedding->vector;
    }
    context_phase(ctx, PHASE_QUERY);
    enum status status = chroma_query(context_chroma(ctx), &search, err);
    for (size_t i = 0; i < part.count && status == STATUS_OK; i++) {
        struct chroma_hits hits = {0};
        status = chroma_next_hits(context_chroma(ctx), &group->hits, &hits, err);
        if (status == STATUS_OK && is_far) {
            take_far_hits(group, part.from + i, &hits);
        } else if (status == STATUS_OK) {
            take_hits(group, part.from + i, &hits);
        }
        arena_reset(&group->hits, HITS_KEEP_BYTES);
    }
    arena_free(&group->hits);
    context_progress(ctx);
    return status;
}

/* Halves what was refused until what is bad in it stands alone. Where nothing passes for a while,
 * it is Chroma that fails. True: something passed; what did not is either alone, or not asked for
 * any more, and *err says why. */
static bool halve(struct enrich_group *group, struct error *err)
{
    const size_t patience = halving_patience(group->count);
    struct halving halving;
    struct part part;
    bool any_passed = false;

    halving_start(&halving, group->count);
    while (halving_next(&halving, &part) && (any_passed || halving.sent <= patience)) {
        struct error own = {0};
        const bool passed = request(group, part, false, &own) == STATUS_OK;
        if (!passed && (!failure_may_be_text(&own) || failure_is_outage(&own))) {
            *err = own;
            break;
        }
        for (size_t i = part.from; passed && i < part.from + part.count; i++) {
            group->passed[i] = true;
        }
        if (!passed && part.count == 1) {
            group->alone[part.from] = arena_alloc(&group->batch->ctx->arena, sizeof own);
            *group->alone[part.from] = own;
        }
        any_passed = any_passed || passed;
        halving_tell(&halving, passed);
    }
    return any_passed;
}

/* The breaker hears of it once. Silence is not waited for again. */
static enum status query(struct enrich_group *group, struct error *err)
{
    const struct part all = {0, group->count};
    enum status status = request(group, all, false, err);

    memset(group->passed, status == STATUS_OK, sizeof group->passed);
    if (status != STATUS_OK && group->count > 1 && failure_may_be_text(err) &&
        !failure_is_outage(err)) {
        const enum status first = status;
        status = halve(group, err) ? STATUS_OK : first;
    }
    group->failed = asking_report_chroma(group->batch->ctx, OPERATION_QUERY, status,
                                         status == STATUS_OK ? NULL : err);
    return status;
}

/* Judges those that did not pass, and takes them out of the group. */
static void leave_out_failed(struct enrich_group *group, const struct error *err)
{
    size_t kept = 0;

    for (size_t i = 0; i < group->count; i++) {
        struct enrich_item *item = group->items[i];
        if (group->passed[i]) {
            group->items[kept] = item;
            group->results[kept++] = group->results[i];
            continue;
        }
        if (group->alone[i] != NULL) {
            task_judge_failure(item->task, &(struct failure){.operation = OPERATION_QUERY,
                                                             .err = group->alone[i],
                                                             .alone = true,
                                                             .others_pass = true});
        } else {
            asking_judge_failure(item->task, group->failed, err);
        }
        fail(group->batch, item, OPERATION_QUERY);
    }
    group->count = kept;
}

/* ---- further than the first hits ---------------------------------------------------------------
 */

/* One query more for those that lack some, in requests whose answers are bounded. False: there are
 * none, or it makes no sense to go on. */
static bool ask_again(struct enrich_group *group, size_t n_results, size_t *hits_left)
{
    const struct enrich_batch *batch = group->batch;
    const size_t fit = FURTHER_REQUEST_MAX / n_results;
    bool asked = false;
    size_t at = 0;

    while (at < group->count) {
        struct enrich_group part = {
            .batch = group->batch, .n_results = n_results, .hits.is_must = true};
        struct error err = {0};
        for (; at < group->count && part.count < fit; at++) {
            if (group->items[at]->lacks) {
                part.items[part.count++] = group->items[at];
            }
        }
        if (part.count == 0) {
            break;
        }
        if (part.count * n_results > *hits_left ||
            asking_allow(batch->ctx, OPERATION_QUERY, 1) == 0) {
            return false;
        }
        *hits_left -= part.count * n_results;
        const enum status status = request(&part, (struct part){0, part.count}, true, &err);
        (void)asking_report_chroma(batch->ctx, OPERATION_QUERY, status, &err);
        if (status != STATUS_OK) {
            log_debug("looking further than the first hits: %s", err.text);
            return false; /* what was found before is an answer too */
        }
        asked = true;
    }
    return asked;
}

/* The result of an item anew, of what was found. Where its texts are not to be had, the first
 * hits stay the answer, for a short time. */
static void fetch_found(struct enrich_group *group, size_t index)
{
    struct context *ctx = group->batch->ctx;
    struct enrich_item *item = group->items[index];
    struct slice ids[BODIES_K_MAX];
    struct example examples[BODIES_K_MAX];
    struct chroma_hits stored = {0};
    struct asked asked;
    size_t count = 0;

    for (size_t i = 0; i < item->found_count; i++) {
        ids[i] = item->found[i].id;
    }
    const struct chroma_select select = {
        .domain = item->domain, .ids = ids, .count = item->found_count, .fields = CHROMA_TEXTS};
    if (asking_get(ctx, &select, &group->hits, &stored, &asked) == STATUS_OK) {
        for (size_t i = 0; i < item->found_count; i++) {
            examples[count] = item->found[i];
            count += rank_complete(&examples[count], stored.examples, stored.count,
                                   group->batch->now_unix_ms);
        }
        group->results[index] = make_result(group->batch, item, examples, count);
    } else {
        log_debug("texts of what was found: %s", asked.err.text);
        item->lacks = true;
    }
    arena_reset(&group->hits, HITS_KEEP_BYTES);
}

static void look_further(struct enrich_group *group)
{
    struct metrics *metrics = group->batch->ctx->metrics;
    size_t hits_left = FURTHER_BATCH_MAX;
    size_t n_results = rank_further(group->n_results);

    while (n_results > 0 && ask_again(group, n_results, &hits_left)) {
        n_results = rank_further(n_results);
    }
    for (size_t i = 0; i < group->count; i++) {
        if (group->items[i]->found_count > 0) {
            fetch_found(group, i);
        }
        if (group->items[i]->found != NULL || group->items[i]->lacks) {
            metrics_add(metrics, METRICS_LOOKED_FURTHER,
                        group->items[i]->lacks ? METRICS_GAVE_UP : METRICS_FOUND, 0, 1);
        }
    }
    arena_free(&group->hits);
}

static void run_group(struct enrich_group *group)
{
    static const struct chroma_hits none = {0};
    struct enrich_batch *batch = group->batch;
    struct error err = {0};
    size_t allowed = asking_allow(batch->ctx, OPERATION_QUERY, group->count);

    for (size_t i = allowed; i < group->count; i++) {
        answer_without_upstream(batch, group->items[i]);
    }
    group->count = allowed;
    if (allowed == 0) {
        return;
    }

    group->n_results = rank_first((size_t)group->k_max);
    enum status status = query(group, &err);
    if (status == STATUS_OK) {
        leave_out_failed(group, &err);
        look_further(group);
        write_group(group, batch->ctx->settings->cache_ttl_ms);
    } else if (status == STATUS_NOT_FOUND) {
        for (size_t i = 0; i < group->count; i++) {
            take_hits(group, i, &none);
        }
        write_group(group, EMPTY_TTL_MS);
    } else {
        for (size_t i = 0; i < group->count; i++) {
            asking_judge_failure(group->items[i]->task, group->failed, &err);
            fail(batch, group->items[i], OPERATION_QUERY);
        }
    }
}

/* Runs the unfinished items domain by domain, QUERY_BATCH_MAX at a time. */
static void ask_chroma(struct enrich_batch *batch)
{
    struct by_domain *each = arena_array(&batch->ctx->arena, batch->count, sizeof *each);
    size_t count = 0;

    for (size_t i = 0; i < batch->count; i++) {
        if (!batch->items[i].finished) {
            each[count++] = (struct by_domain){.domain = batch->items[i].domain, .index = i};
        }
    }
    by_domain_sort(each, count);
    for (size_t from = 0, size; from < count; from += size) {
        struct enrich_group group = {.batch = batch, .hits.is_must = true};
        size = by_domain_size(each + from, count - from);
        size = size < QUERY_BATCH_MAX ? size : QUERY_BATCH_MAX;
        for (; group.count < size; group.count++) {
            struct enrich_item *item = &batch->items[each[from + group.count].index];
            const int k = (int)item->body.k.value;
            group.items[group.count] = item;
            group.k_max = k > group.k_max ? k : group.k_max;
        }
        run_group(&group);
    }
}

static void enrich_process(struct context *ctx, struct task *tasks, size_t count)
{
    struct enrich_batch batch = {
        .ctx = ctx,
        .items = arena_array(&ctx->arena, count, sizeof *batch.items),
        .cached = arena_array(&ctx->arena, count, sizeof *batch.cached),
        .now_unix_ms = context_now_unix_ms(ctx),
    };

    decode(&batch, tasks, count);
    look_up(&batch);
    embed(&batch);
    ask_chroma(&batch);
}

const struct handler handler_enrich = {.process = enrich_process};
