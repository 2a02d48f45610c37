/* index - documents into a domain's collection; unchanged ones are neither embedded nor written
 * again.
 *
 * Happy path: decode all jobs of the batch; for each domain, CHUNK_DOCUMENTS at a time, so that the
 * memory does not grow with what the jobs hold: read the stored content hashes, embed what changed
 * in one call, upsert in slices under the writer lease; at the end move the epoch. A job is done
 * when all of its documents stand. Of documents with the same id the last one is written in place
 * of the others; where it is refused the one before it is, and where it has to wait they wait with
 * it. Failure modes: bad body -> MALFORMED; one document refused -> its job is dead, with the
 * document's id in the error; upstream down -> PARK, and what was written already is found
 * unchanged the next time.
 */
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "chroma_writer/records.h"
#include "context/asking.h"
#include "handlers/handler.h"
#include "recall/result_cache.h"
#include "recall/vectors.h"
#include "rules/by_domain.h"
#include "rules/metadata.h"

enum { OWN_KEYS = 4, CHUNK_DOCUMENTS = 2 * RECORDS_SLICE };

struct index_item {
    struct task *task;
    struct index_document *document;
    const char *domain;
    char content_hash[TEXT_HASH_CHARS + 1];
    struct index_item *later; /* the next document with this id: written in place of this one */
    bool unchanged;
    bool tried;  /* its turn to be written has been */
    bool failed; /* it does not stand, nor does what would be written in its place */
};

struct index_batch {
    struct context *ctx;
    struct index_item *items;
    size_t count;
};

static void hash_content(struct index_item *item)
{
    struct strbuf content = {0};
    const struct index_body body = {.documents = {item->document, 1}};

    bodies_encode_index(&body, &content); /* text and metadata, in the caller's order */
    strbuf_must(&content);
    text_hash_raw(content.data, content.bytes, item->content_hash);
    strbuf_free(&content);
}

/* Decodes every job; the items are all their documents. */
static void decode(struct index_batch *batch, struct task *tasks, size_t count)
{
    struct context *ctx = batch->ctx;
    struct index_body *bodies = arena_array(&ctx->arena, count, sizeof *bodies);
    size_t total = 0;

    for (size_t i = 0; i < count; i++) {
        const struct job *job = tasks[i].job;
        struct error err = {0};
        enum status status =
            bodies_accept_index(job->body.data, job->body.bytes, &ctx->arena, &bodies[i], &err);
        tasks[i].verdict = VERDICT_DONE;
        if (status != STATUS_OK) {
            bodies[i].documents.count = 0;
            task_judge(&tasks[i], VERDICT_MALFORMED, "%s", err.text);
        }
        total += bodies[i].documents.count;
    }
    batch->items = arena_array(&ctx->arena, total, sizeof *batch->items);
    for (size_t i = 0; i < count; i++) {
        const char *domain = context_text(ctx, tasks[i].job->domain);
        for (size_t j = 0; j < bodies[i].documents.count; j++) {
            struct index_item *item = &batch->items[batch->count++];
            item->task = &tasks[i];
            item->document = &bodies[i].documents.each[j];
            item->domain = domain;
            records_say_dropped(item->document->id, item->document->metadata.dropped);
            hash_content(item);
        }
    }
}

static int compare_ids(const void *left, const void *right)
{
    const struct index_item *a = *(struct index_item *const *)left;
    const struct index_item *b = *(struct index_item *const *)right;
    const struct slice x = a->document->id;
    const struct slice y = b->document->id;
    const int order = memcmp(x.data, y.data, x.bytes < y.bytes ? x.bytes : y.bytes);

    if (order != 0 || x.bytes != y.bytes) {
        return order != 0 ? order : x.bytes < y.bytes ? -1 : 1;
    }
    return a < b ? -1 : a > b; /* they lie in the order of the jobs */
}

/* Sorted, so that a batch of many small documents costs no time that grows with its square. */
static void link_repeats(struct context *ctx, struct index_item *const *group, size_t count)
{
    const struct arena_mark mark = arena_mark(&ctx->arena);
    struct index_item **sorted = arena_array(&ctx->arena, count, sizeof(void *));

    memcpy(sorted, group, count * sizeof(void *));
    qsort(sorted, count, sizeof(void *), compare_ids);
    for (size_t i = 0; i + 1 < count; i++) {
        if (slice_equal(sorted[i]->document->id, sorted[i + 1]->document->id)) {
            sorted[i]->later = sorted[i + 1];
        }
    }
    arena_rewind(&ctx->arena, mark);
}

static bool is_unchanged(const struct index_item *item, const struct chroma_hits *stored)
{
    const struct example *old =
        metadata_document(stored->examples, stored->count, item->document->id);
    const struct meta_value *hash =
        old == NULL ? NULL : metadata_find(old->metadata, old->metadata_count, "content_hash");

    return hash != NULL && hash->type == META_STRING &&
           slice_equal(hash->string, slice_of(item->content_hash));
}

/* Marks the documents whose content hash stands in Chroma already. */
static enum status find_unchanged(struct context *ctx, const char *domain,
                                  struct index_item *const *group, size_t count,
                                  struct asked *asked)
{
    for (size_t done = 0; done < count; done += RECORDS_SLICE) {
        struct slice ids[RECORDS_SLICE];
        struct chroma_hits stored = {0};
        size_t slice = count - done < RECORDS_SLICE ? count - done : RECORDS_SLICE;

        for (size_t i = 0; i < slice; i++) {
            ids[i] = group[done + i]->document->id;
        }
        const struct chroma_select select = {
            .domain = domain, .ids = ids, .count = slice, .fields = CHROMA_METADATA};
        const enum status status = asking_get(ctx, &select, &ctx->arena, &stored, asked);
        if (status != STATUS_OK) {
            return status;
        }
        for (size_t i = 0; i < slice; i++) {
            group[done + i]->unchanged = is_unchanged(group[done + i], &stored);
        }
    }
    return STATUS_OK;
}

static void build(struct context *ctx, const struct index_item *item,
                  const struct embedding *embedding, struct chroma_record *record,
                  int64_t now_unix_ms)
{
    const struct index_document *document = item->document;
    const struct metadata *callers = &document->metadata;
    struct metadata all = {
        .pairs = arena_array(&ctx->arena, callers->count + OWN_KEYS, sizeof *all.pairs),
        .count = callers->count};

    if (callers->count > 0) {
        memcpy(all.pairs, callers->pairs, callers->count * sizeof *all.pairs);
    }
    metadata_add_text(&all, "content_hash", slice_of(item->content_hash));
    metadata_add_text(&all, "domain", slice_of(item->domain));
    metadata_add_int(&all, "created_ms", now_unix_ms);
    if (embedding->embedded_bytes > 0) {
        metadata_add_int(&all, "embedded_bytes", (int64_t)embedding->embedded_bytes);
    }
    *record = (struct chroma_record){document->id, embedding->vector, document->text, all.pairs,
                                     all.count};
}

static void judge_all(struct index_item *const *group, size_t count, const struct asked *asked)
{
    for (size_t i = 0; i < count; i++) {
        asking_judge(group[i]->task, asked);
        group[i]->failed = true;
    }
}

/* Embeds and writes changed documents of one domain; returns how many were written. */
static size_t write_changed(struct context *ctx, const char *domain,
                            struct index_item *const *changed, size_t count)
{
    struct embedding *embeddings = arena_array(&ctx->arena, count, sizeof *embeddings);
    struct record_write *writes = arena_array(&ctx->arena, count, sizeof *writes);
    struct index_item **owners = arena_array(&ctx->arena, count, sizeof(void *));
    int64_t now_unix_ms = context_now_unix_ms(ctx);
    size_t ready = 0;

    for (size_t i = 0; i < count; i++) {
        embeddings[i].text = changed[i]->document->text;
    }
    vectors_fill(ctx, embeddings, count);
    for (size_t i = 0; i < count; i++) {
        changed[i]->failed = true; /* until it is written */
        if (embeddings[i].vector == NULL) {
            vectors_judge(&embeddings[i], changed[i]->document->id, changed[i]->task);
        } else {
            build(ctx, changed[i], &embeddings[i], &writes[ready].record, now_unix_ms);
            owners[ready] = changed[i];
            writes[ready++].task = changed[i]->task;
        }
    }
    records_write(ctx, &(struct record_group){domain, writes, ready}, 1, NULL);

    size_t written = 0;
    for (size_t i = 0; i < ready; i++) {
        owners[i]->failed = writes[i].failed;
        written += !writes[i].failed;
    }
    return written;
}

/* A job that was tried before may have written its documents and died before the epoch moved: they
 * are unchanged now, and the cache would never hear of them. */
static bool was_tried(struct index_item *const *group, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const struct job *job = group[i]->task->job;
        if (job->attempt > 0 || job->deliveries > 1 || job->options.parked.waits_for.bytes > 0) {
            return true;
        }
    }
    return false;
}

/* Moves the changed ones to the front; returns how many. */
static size_t sort_changed(struct index_item **group, size_t count)
{
    size_t changed = 0;

    for (size_t i = 0; i < count; i++) {
        if (!group[i]->unchanged) {
            struct index_item *swap = group[changed];
            group[changed++] = group[i];
            group[i] = swap;
        }
    }
    return changed;
}

/* A domain's documents on their way. */
struct writing {
    struct context *ctx;
    const char *domain;
    bool wrote;       /* a document at least */
    bool was_cut_off; /* Chroma failed or is paused: the chunk and all behind it are judged */
};

static void write_chunk(struct writing *writing, struct index_item **chunk, size_t count,
                        size_t behind)
{
    struct asked asked;

    if (find_unchanged(writing->ctx, writing->domain, chunk, count, &asked) != STATUS_OK) {
        judge_all(chunk, count + behind, &asked);
        writing->was_cut_off = true;
        return;
    }
    const size_t changed = sort_changed(chunk, count);
    log_debug("index \"%s\": %zu documents, %zu changed", writing->domain, count, changed);
    if (changed > 0 && write_changed(writing->ctx, writing->domain, chunk, changed) > 0) {
        writing->wrote = true;
    }
}

static void write_round(struct writing *writing, struct index_item **round, size_t count)
{
    struct arena *arena = &writing->ctx->arena;

    for (size_t done = 0; done < count && !writing->was_cut_off; done += CHUNK_DOCUMENTS) {
        const size_t left = count - done;
        const size_t chunk = left < CHUNK_DOCUMENTS ? left : CHUNK_DOCUMENTS;
        const struct arena_mark mark = arena_mark(arena);
        write_chunk(writing, round + done, chunk, left - chunk);
        arena_rewind(arena, mark);
    }
}

static bool may_pass(enum verdict verdict)
{
    return verdict == VERDICT_RETRY || verdict == VERDICT_PARK;
}

/* What was to be written in place of this one does not stand: the job shares its fate. */
static void share_fate(struct index_item *item)
{
    const struct task *fate = item->later->task;

    item->tried = true;
    item->failed = true;
    if (item->task->verdict == VERDICT_DONE) {
        task_share_fate(item->task, fate);
    }
}

/* The documents whose turn it is: the last ones of their ids, then those whose later one was
 * refused. Where the later one has to wait, or nothing more can be written (`last`), this one
 * shares its fate. A job that is judged already has no further turn. From the back, since a fate
 * goes from later to earlier documents. Returns the first of them; they end with the array. */
static size_t take_turn(struct index_item *const *group, size_t count, bool last,
                        struct index_item **round)
{
    size_t first = count;

    for (size_t i = count; i-- > 0;) {
        struct index_item *item = group[i];
        if (item->tried || (item->later != NULL && !item->later->failed)) {
            continue;
        }
        if (item->later != NULL &&
            (last || may_pass(item->later->task->verdict) || item->task->verdict != VERDICT_DONE)) {
            share_fate(item);
            continue;
        }
        item->tried = true;
        round[--first] = item;
    }
    return first;
}

static void write_domain(struct context *ctx, const char *domain, struct index_item **group,
                         size_t count)
{
    struct writing writing = {.ctx = ctx, .domain = domain};
    struct asked asked = {.operation = OPERATION_REDIS, .tried = true};
    struct index_item **round = arena_array(&ctx->arena, count, sizeof(void *));

    link_repeats(ctx, group, count);
    for (size_t first = 0; first < count;) {
        first = take_turn(group, count, writing.was_cut_off, round);
        write_round(&writing, round + first, count - first);
    }
    const bool again = !writing.was_cut_off && was_tried(group, count);
    if ((writing.wrote || again) &&
        result_cache_outdate(ctx, &domain, 1, &asked.err) != STATUS_OK) {
        judge_all(group, again ? count : sort_changed(group, count), &asked);
    }
}

static void index_process(struct context *ctx, struct task *tasks, size_t count)
{
    struct index_batch batch = {.ctx = ctx};

    decode(&batch, tasks, count);
    struct index_item **items = arena_array(&ctx->arena, batch.count, sizeof *items);
    struct by_domain *each = arena_array(&ctx->arena, batch.count, sizeof *each);
    for (size_t i = 0; i < batch.count; i++) {
        each[i] = (struct by_domain){.domain = batch.items[i].domain, .index = i};
    }
    by_domain_sort(each, batch.count);
    for (size_t i = 0; i < batch.count; i++) {
        items[i] = &batch.items[each[i].index];
    }
    for (size_t from = 0, size; from < batch.count; from += size) {
        size = by_domain_size(each + from, batch.count - from);
        write_domain(ctx, each[from].domain, items + from, size);
    }
}

const struct handler handler_index = {.process = index_process};
