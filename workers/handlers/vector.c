/* vector - what an execution was about, as a vector in Chroma (CHROMA_TASKS and its domain), for
 * `stillhouse learn similar`.
 *
 * A job names a task; Chroma is made to agree with its row. Happy path, for the whole batch: read
 * the rows; embed the distinct descriptions in one call; write those that differ from what stands,
 * delete those whose row is gone or says nothing; read the rows again. What has changed by then is
 * done once more: another lane may have written what it read later, or the task was forgotten while
 * its vector was written. So Chroma agrees with the row when the last job of a task ends, in
 * whatever order they run. The document holds no text: there is one place for it, the row. Its id
 * is the task's. Of the same description the newest STILLHOUSE_TWINS stay, as of the same prompt
 * elsewhere: too many of one vector make others unreachable.
 *
 * Failure modes: bad body -> MALFORMED; the store cannot be read, the embedder or Chroma is away ->
 * PARK; its text's own fault -> RETRY or REJECT. Twice is as good as once.
 */
#include <string.h>

#include "chroma_writer/records.h"
#include "chroma_writer/same_prompt.h"
#include "context/asking.h"
#include "handlers/handler.h"
#include "recall/vectors.h"
#include "recorder/descriptions.h"
#include "rules/by_domain.h"
#include "rules/metadata.h"

enum { STORE_WAIT_MS = 2000, CHANGED_WAIT_MS = 100, PAIRS = 3 };

struct vector_item {
    struct task *task;
    struct description about;
    const char *collection;         /* CHROMA_TASKS and the domain */
    struct vector_item *stands_for; /* a later job of the same task: its fate is ours */
    struct embedding *embedding;    /* NULL: it is to be deleted */
    struct same_prompt prompt;
    struct metadata metadata;
    bool failed; /* it is judged */
};

/* Arrays in the arena. */
struct vector_batch {
    struct context *ctx;
    struct vector_item *items;
    size_t count;
};

static void decode(struct vector_batch *batch, struct task *tasks, size_t count)
{
    struct context *ctx = batch->ctx;

    for (size_t i = 0; i < count; i++) {
        const struct job *job = tasks[i].job;
        struct vector_item *item = &batch->items[batch->count];
        struct vector_body body;
        struct error err = {0};
        tasks[i].verdict = VERDICT_DONE;
        if (bodies_accept_vector(job->body.data, job->body.bytes, &ctx->arena, &body, &err) !=
            STATUS_OK) {
            task_judge(&tasks[i], VERDICT_MALFORMED, "%s", err.text);
            continue;
        }
        char *collection = arena_array(&ctx->arena, CHROMA_DOMAIN_BYTES, 1);
        snprintf(collection, CHROMA_DOMAIN_BYTES, CHROMA_TASKS "%.*s", (int)job->domain.bytes,
                 job->domain.data);
        *item = (struct vector_item){
            .task = &tasks[i],
            .about = {.domain = collection + strlen(CHROMA_TASKS), .task_id = body.task_id},
            .collection = collection,
        };
        batch->count++;
    }
}

static void merge_same_ids(struct vector_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        for (size_t j = i + 1; j < batch->count && batch->items[i].stands_for == NULL; j++) {
            if (slice_equal(batch->items[i].about.task_id, batch->items[j].about.task_id) &&
                strcmp(batch->items[i].collection, batch->items[j].collection) == 0) {
                batch->items[i].stands_for = &batch->items[j];
            }
        }
    }
}

/* ---- rows ------------------------------------------------------------------------------------ */

static bool is_open(const struct vector_item *item)
{
    return item->stands_for == NULL && !item->failed;
}

/* The store's breaker is of writing: what cannot be read waits, and no record with it. */
static void read_rows(struct vector_batch *batch, struct description *each)
{
    struct context *ctx = batch->ctx;
    struct error err = {0};

    for (size_t i = 0; i < batch->count; i++) {
        each[i] = batch->items[i].about;
    }
    context_wait(ctx);
    const enum status status =
        descriptions_read(ctx->descriptions, each, batch->count, &ctx->arena, &err);
    context_progress(ctx);
    for (size_t i = 0; status != STATUS_OK && i < batch->count; i++) {
        if (is_open(&batch->items[i])) {
            task_hold_back(batch->items[i].task, OPERATION_LEARN, STORE_WAIT_MS, err.text);
            batch->items[i].failed = true;
        }
    }
}

static void read_descriptions(struct vector_batch *batch)
{
    struct description *each = arena_array(&batch->ctx->arena, batch->count, sizeof *each);

    read_rows(batch, each);
    for (size_t i = 0; i < batch->count; i++) {
        batch->items[i].about = each[i];
    }
}

/* ---- vectors --------------------------------------------------------------------------------- */

static void build(struct context *ctx, struct vector_item *item)
{
    struct metadata *metadata = &item->metadata;
    const int64_t at_ms = item->about.at_ms;

    item->prompt = (struct same_prompt){.domain = item->collection,
                                        .id = item->about.task_id,
                                        .quality = 1,
                                        .created_unix_ms = at_ms};
    text_hash(item->about.text.data, item->about.text.bytes, item->prompt.text_hash);
    metadata->pairs = arena_array(&ctx->arena, PAIRS, sizeof *metadata->pairs);
    metadata_add_int(metadata, SAME_PROMPT_KEY, same_prompt_hash(item->prompt.text_hash));
    metadata_add_int(metadata, "created_ms", at_ms);
    metadata_add_int(metadata, "expires_ms", at_ms + ctx->settings->learn_ttl_ms);
}

static void embed(struct vector_batch *batch)
{
    struct arena *arena = &batch->ctx->arena;
    struct embedding *embeddings = arena_array(arena, batch->count, sizeof *embeddings);
    size_t count = 0;

    for (size_t i = 0; i < batch->count; i++) {
        struct vector_item *item = &batch->items[i];
        if (is_open(item) && item->about.text.data != NULL) {
            build(batch->ctx, item);
            item->embedding = &embeddings[count++];
            item->embedding->text_hash = item->prompt.text_hash;
            item->embedding->text = item->about.text;
        }
    }
    if (count > 0) {
        vectors_fill(batch->ctx, embeddings, count);
    }
    for (size_t i = 0; i < batch->count; i++) {
        struct vector_item *item = &batch->items[i];
        if (item->embedding != NULL && item->embedding->vector == NULL) {
            vectors_judge(item->embedding, item->about.task_id, item->task);
            item->failed = true;
        }
    }
}

/* ---- Chroma ---------------------------------------------------------------------------------- */

/* Our keys are literals, and end with NUL. */
static bool is_same(const struct chroma_record *record, const struct example *stored)
{
    for (size_t i = 0; i < record->metadata_count; i++) {
        const struct meta_pair *pair = &record->metadata[i];
        const struct meta_value *old =
            metadata_find(stored->metadata, stored->metadata_count, pair->key.data);
        if (old == NULL || old->type != META_INT || old->integer != pair->value.integer) {
            return false;
        }
    }
    return true;
}

/* Those that are to be written, or else deleted, by their collections. */
static struct by_domain *choose(struct vector_batch *batch, bool is_written, size_t *count)
{
    struct by_domain *each = arena_array(&batch->ctx->arena, batch->count, sizeof *each);

    *count = 0;
    for (size_t i = 0; i < batch->count; i++) {
        const struct vector_item *item = &batch->items[i];
        if (is_open(item) && (item->embedding != NULL) == is_written) {
            each[(*count)++] = (struct by_domain){.domain = item->collection, .index = i};
        }
    }
    by_domain_sort(each, *count);
    return each;
}

static void write_all(struct vector_batch *batch)
{
    struct arena *arena = &batch->ctx->arena;
    size_t count = 0;
    size_t groups = 0;

    const struct by_domain *each = choose(batch, true, &count);
    struct record_write *writes = arena_array(arena, count, sizeof *writes);
    struct record_group *records = arena_array(arena, count, sizeof *records);
    for (size_t i = 0; i < count; i++) {
        struct vector_item *item = &batch->items[each[i].index];
        writes[i] = (struct record_write){
            .record = {item->about.task_id,
                       item->embedding->vector,
                       {"", 0},
                       item->metadata.pairs,
                       item->metadata.count},
            .prompt = &item->prompt,
            .task = item->task,
        };
    }
    for (size_t from = 0, size; from < count; from += size) {
        size = by_domain_size(each + from, count - from);
        records[groups++] = (struct record_group){each[from].domain, writes + from, size};
    }
    if (count > 0) {
        records_write(batch->ctx, records, groups, is_same);
    }
    for (size_t i = 0; i < count; i++) {
        batch->items[each[i].index].failed = writes[i].failed;
    }
}

static void delete_all(struct vector_batch *batch)
{
    struct context *ctx = batch->ctx;
    size_t count = 0;

    const struct by_domain *each = choose(batch, false, &count);
    struct slice *ids = arena_array(&ctx->arena, count, sizeof *ids);
    for (size_t i = 0; i < count; i++) {
        ids[i] = batch->items[each[i].index].about.task_id;
    }
    for (size_t from = 0, size; from < count; from += size) {
        struct asked asked = {0};
        size = by_domain_size(each + from, count - from);
        if (asking_delete(ctx, each[from].domain, ids + from, size, &asked) == STATUS_OK) {
            continue;
        }
        for (size_t i = from; i < from + size; i++) {
            asking_judge(batch->items[each[i].index].task, &asked);
            batch->items[each[i].index].failed = true;
        }
    }
}

/* Another lane may have acted meanwhile on what the row says by now: then it is done once more. */
static void look_again(struct vector_batch *batch)
{
    struct description *each = arena_array(&batch->ctx->arena, batch->count, sizeof *each);

    read_rows(batch, each);
    for (size_t i = 0; i < batch->count; i++) {
        struct vector_item *item = &batch->items[i];
        if (is_open(item) && !slice_equal(item->about.text, each[i].text)) {
            task_hold_back(item->task, OPERATION_LEARN, CHANGED_WAIT_MS,
                           "its description changed while it was written");
        }
    }
}

static void vector_process(struct context *ctx, struct task *tasks, size_t count)
{
    struct vector_batch batch = {
        .ctx = ctx,
        .items = arena_array(&ctx->arena, count, sizeof *batch.items),
    };

    decode(&batch, tasks, count);
    if (batch.count == 0) {
        return;
    }
    merge_same_ids(&batch);
    read_descriptions(&batch);
    embed(&batch);
    write_all(&batch);
    delete_all(&batch);
    look_again(&batch);
    for (size_t i = batch.count; i-- > 0;) {
        if (batch.items[i].stands_for != NULL) {
            task_share_fate(batch.items[i].task, batch.items[i].stands_for->task);
        }
    }
}

const struct handler handler_vector = {.process = vector_process};
