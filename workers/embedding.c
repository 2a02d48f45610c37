#include "embedding.h"

#include <string.h>

#include "clock.h"
#include "keys.h"
#include "log.h"
#include "ratelimit.h"
#include "store.h"
#include "text.h"

enum { RATE_WAIT_MAX_MS = 2000 };

/* The distinct texts of a batch, arrays in the arena. */
struct distinct {
    size_t count;
    char (*hashes)[TEXT_HASH_CHARS + 1];
    size_t *first; /* index of the item that stands for it */
    float *vectors;
    bool *found;
    struct error *errors;
    bool *parked;
    size_t *of_item; /* item -> distinct */
};

static bool distinct_alloc(struct lane_tools *tools, size_t count, struct distinct *d)
{
    struct arena *arena = &tools->arena;
    size_t dimension = embedder_dimension(tools->embedder);

    d->hashes = arena_array(arena, count, sizeof *d->hashes);
    d->first = arena_array(arena, count, sizeof *d->first);
    d->vectors = arena_array(arena, count * dimension, sizeof *d->vectors);
    d->found = arena_array(arena, count, sizeof *d->found);
    d->errors = arena_array(arena, count, sizeof *d->errors);
    d->parked = arena_array(arena, count, sizeof *d->parked);
    d->of_item = arena_array(arena, count, sizeof *d->of_item);
    return d->hashes != NULL && d->first != NULL && d->vectors != NULL && d->found != NULL &&
           d->errors != NULL && d->parked != NULL && d->of_item != NULL;
}

static void distinct_fill(const struct embedding *items, size_t count, struct distinct *d)
{
    for (size_t i = 0; i < count; i++) {
        char hash[TEXT_HASH_CHARS + 1];
        size_t known = 0;
        text_hash(items[i].text.data, items[i].text.bytes, hash);
        while (known < d->count && memcmp(d->hashes[known], hash, sizeof hash) != 0) {
            known++;
        }
        if (known == d->count) {
            memcpy(d->hashes[known], hash, sizeof hash);
            d->first[known] = i;
            d->count++;
        }
        d->of_item[i] = known;
    }
}

/* Waits a little for the fleet's rate; a longer wait is the job's, not the lane's. */
static enum status take_rate(struct lane_tools *tools, struct error *err)
{
    const struct settings *settings = tools->settings;
    char key[KEYS_BYTES];
    int64_t wait_ms = 0;

    if (settings->embed_rate_count == 0) {
        return STATUS_OK;
    }
    keys_rate(key, settings->prefix, "embed");
    tools_will_wait(tools);
    for (int64_t waited_ms = 0; waited_ms <= RATE_WAIT_MAX_MS; waited_ms += wait_ms) {
        enum status status = ratelimit_take(tools->redis, key, settings->embed_rate_count,
                                            settings->embed_rate_window_ms, 1, &wait_ms, err);
        if (status != STATUS_OK || wait_ms == 0) {
            return status;
        }
        if (waited_ms + wait_ms > RATE_WAIT_MAX_MS) {
            break;
        }
        clock_sleep_ms(wait_ms);
        tools_progress(tools);
    }
    error_set(err, STATUS_UNAVAILABLE, "embedder: the fleet's rate is used up for %lld ms",
              (long long)wait_ms);
    err->retry_after_ms = (int)wait_ms;
    return STATUS_UNAVAILABLE;
}

/* One embedder call for the distinct texts `list`; whole or not at all. */
static enum status call(struct lane_tools *tools, const struct embedding *items, struct distinct *d,
                        const size_t *list, size_t count, struct error *err)
{
    const size_t dimension = embedder_dimension(tools->embedder);
    struct slice *texts = arena_array(&tools->arena, count, sizeof *texts);
    float *vectors = arena_array(&tools->arena, count * dimension, sizeof *vectors);

    if (texts == NULL || vectors == NULL) {
        upstreams_cancel(tools->upstreams, METRICS_EMBEDDER);
        return error_set(err, STATUS_OOM, "no memory for %zu vectors", count);
    }
    for (size_t i = 0; i < count; i++) {
        texts[i] = items[d->first[list[i]]].text;
    }
    enum status status = take_rate(tools, err);
    if (status != STATUS_OK) {
        upstreams_cancel(tools->upstreams, METRICS_EMBEDDER);
        return status;
    }
    tools_phase(tools, PHASE_EMBED);
    status = embedder_embed(tools->embedder, texts, count, vectors, err);
    upstreams_report(tools->upstreams, METRICS_EMBEDDER, status, err->text);
    tools_progress(tools);
    if (status != STATUS_OK) {
        return status;
    }
    metrics_embedded(tools->metrics, METRICS_FROM_MODEL, count);
    for (size_t i = 0; i < count; i++) {
        memcpy(d->vectors + list[i] * dimension, vectors + i * dimension,
               dimension * sizeof *vectors);
        d->found[list[i]] = true;
    }
    return STATUS_OK;
}

/* Calls for all; when the data was refused, one by one, so that a bad text fails alone. */
static void call_all(struct lane_tools *tools, const struct embedding *items, struct distinct *d,
                     const size_t *list, size_t count)
{
    struct error err = {0};
    enum status status = call(tools, items, d, list, count, &err);

    if (status == STATUS_OK) {
        return;
    }
    bool singly = count > 1 && (status == STATUS_INVALID || status == STATUS_GARBLED);
    for (size_t i = 0; i < count; i++) {
        struct error *own = &d->errors[list[i]];
        if (!singly) {
            *own = err;
        } else if (call(tools, items, d, &list[i], 1, own) != STATUS_OK) {
            log_debug("embedding refused: %s", own->text);
        }
    }
}

static void embed_missing(struct lane_tools *tools, const struct embedding *items,
                          struct distinct *d)
{
    size_t *list = arena_array(&tools->arena, d->count, sizeof *list);
    size_t missing = 0;

    for (size_t i = 0; i < d->count && list != NULL; i++) {
        if (!d->found[i]) {
            list[missing++] = i;
        }
    }
    if (missing == 0) {
        return;
    }
    size_t allowed = upstreams_allow(tools->upstreams, METRICS_EMBEDDER, missing);
    for (size_t i = allowed; i < missing; i++) {
        d->parked[list[i]] = true;
    }
    if (allowed > 0) {
        call_all(tools, items, d, list, allowed);
    }
}

void embedding_resolve(struct lane_tools *tools, struct embedding *items, size_t count)
{
    const size_t dimension = embedder_dimension(tools->embedder);
    struct distinct d = {0};
    struct error err = {0};

    if (!distinct_alloc(tools, count, &d)) {
        for (size_t i = 0; i < count; i++) {
            error_set(&items[i].error, STATUS_OOM, "no memory for %zu vectors", count);
        }
        return;
    }
    distinct_fill(items, count, &d);

    bool *cached = arena_array(&tools->arena, d.count, sizeof *cached);
    if (store_read_vectors(tools, d.hashes, d.count, d.vectors, d.found, &err) != STATUS_OK) {
        log_debug("vector cache: %s", err.text);
    }
    size_t hits = 0;
    for (size_t i = 0; i < d.count; i++) {
        hits += d.found[i];
        if (cached != NULL) {
            cached[i] = d.found[i];
        }
    }
    metrics_embedded(tools->metrics, METRICS_FROM_CACHE, hits);

    embed_missing(tools, items, &d);

    for (size_t i = 0; i < d.count && cached != NULL; i++) {
        cached[i] = cached[i] || !d.found[i]; /* from here: what need not be written */
    }
    if (cached != NULL &&
        store_write_vectors(tools, d.hashes, d.count, d.vectors, cached, &err) != STATUS_OK) {
        log_debug("vector cache: %s", err.text);
    }
    for (size_t i = 0; i < count; i++) {
        size_t own = d.of_item[i];
        items[i].vector = d.found[own] ? d.vectors + own * dimension : NULL;
        items[i].error = d.errors[own];
        items[i].parked = d.parked[own];
    }
}

void embedding_judge(struct lane_tools *tools, const struct embedding *item, struct task *task)
{
    if (item->parked) {
        task_park(tools, task, METRICS_EMBEDDER);
        return;
    }
    task_judge_error(task, BLAME_EMBEDDER, &item->error);
    if (item->error.status == STATUS_GARBLED) {
        task->verdict = VERDICT_REJECT; /* a vector that fails validation is never stored */
    }
}
