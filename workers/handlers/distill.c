/* distill - a finished task becomes an experience: validate, embed its prompt, store it.
 *
 * Happy path, for the whole batch: decode and judge; one embedding call for the distinct prompts;
 * the domains' records upserted, together with other lanes'; what is too many of one prompt
 * deleted; the domains' epochs moved. All of it before the job is finished, and all of it harmless
 * twice: the document's id is the task's, its times are the job's. Failure modes: bad body ->
 * MALFORMED; a task that must not be learnt from -> REJECT; a server's failure, prompts not trimmed
 * or epoch not moved -> PARK; its text's own fault -> RETRY or REJECT. With
 * STILLHOUSE_RECORD=distill whatever ends leaves an outcome for the learning store first
 * (handlers/outcomes.h), and a task that failed is DONE by that.
 */
#include <stdlib.h>
#include <string.h>

#include "chroma_writer/records.h"
#include "chroma_writer/same_prompt.h"
#include "context/asking.h"
#include "handlers/handler.h"
#include "handlers/outcomes.h"
#include "recall/result_cache.h"
#include "recall/vectors.h"
#include "rules/by_domain.h"
#include "rules/metadata.h"

enum { OWN_KEYS = 11 };

struct distill_item {
    struct task *task;
    struct distill_body body;
    const char *domain;
    int64_t created_unix_ms;
    struct same_prompt prompt;
    struct embedding *embedding;
    struct slice document;
    struct metadata metadata;
    bool judged; /* has its verdict, or waits for that of another job with the same task id */
    struct distill_item *stands_for; /* a later job with the same task id: its verdict is ours */
};

struct distill_batch {
    struct context *ctx;
    struct distill_item *items;
    size_t count;
};

static bool is_worth_learning(const struct context *ctx, const struct distill_body *body,
                              struct task *task)
{
    if (!body->success.value && ctx->settings->record_distill) {
        task->verdict = VERDICT_DONE; /* its outcome is what there is to learn */
        return false;
    }
    if (!body->success.value) {
        task_judge(task, VERDICT_REJECT, "field \"success\": false, expected true");
        return false;
    }
    if (body->quality.given && body->quality.value < ctx->settings->min_quality) {
        task_judge(task, VERDICT_REJECT,
                   "field \"quality\": %g, expected at least %g (STILLHOUSE_MIN_QUALITY)",
                   body->quality.value, ctx->settings->min_quality);
        return false;
    }
    return true;
}

static void decode(struct distill_batch *batch, struct task *tasks, size_t count)
{
    struct context *ctx = batch->ctx;

    for (size_t i = 0; i < count; i++) {
        struct distill_item *item = &batch->items[batch->count];
        const struct job *job = tasks[i].job;
        struct error err = {0};
        enum status status =
            bodies_accept_distill(job->body.data, job->body.bytes, &ctx->arena, &item->body, &err);
        if (status != STATUS_OK) {
            /* Bytes that are no msgpack are malformed; fields that are missing or wrong, rejected.
             */
            struct error scan = {0};
            bool readable = mp_check(job->body.data, job->body.bytes, NULL, &scan) == STATUS_OK;
            task_judge(&tasks[i], readable ? VERDICT_REJECT : VERDICT_MALFORMED, "%s", err.text);
            continue;
        }
        if (is_worth_learning(ctx, &item->body, &tasks[i])) {
            item->task = &tasks[i];
            item->domain = context_text(ctx, job->domain);
            item->created_unix_ms = task_enqueued_unix_ms(job, context_now_unix_ms(ctx));
            records_say_dropped(item->body.task_id, item->body.metadata.dropped);
            batch->count++;
        }
    }
}

/* Of several jobs with the same task id the last one is written; the others share its fate. */
static void merge_same_ids(struct distill_batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        for (size_t j = i + 1; j < batch->count; j++) {
            if (slice_equal(batch->items[i].body.task_id, batch->items[j].body.task_id) &&
                strcmp(batch->items[i].domain, batch->items[j].domain) == 0) {
                batch->items[i].stands_for = &batch->items[j];
                batch->items[i].judged = true;
                break;
            }
        }
    }
}

/* The caller's pairs. `source`, `prompt_hash` and `prompt_bytes` are what we know of the job, not
 * what its body says; callers had these names before we did, so theirs go on as `caller_...`. */
static void copy_callers(const struct metadata *callers, struct metadata *out)
{
    static const char *const ours[][2] = {{"source", "caller_source"},
                                          {SAME_PROMPT_KEY, "caller_" SAME_PROMPT_KEY},
                                          {EXAMPLE_PROMPT_KEY, "caller_" EXAMPLE_PROMPT_KEY}};

    for (size_t i = 0; i < callers->count; i++) {
        struct meta_pair pair = callers->pairs[i];
        bool is_taken = false;
        for (size_t j = 0; j < sizeof ours / sizeof ours[0]; j++) {
            if (slice_equal(callers->pairs[i].key, slice_of(ours[j][0]))) {
                pair.key = slice_of(ours[j][1]);
                is_taken = metadata_find(callers->pairs, callers->count, ours[j][1]) != NULL;
            }
        }
        if (!is_taken) {
            out->pairs[out->count++] = pair;
        }
    }
}

/* The document (prompt, blank line, result) and its metadata. */
static void build(struct context *ctx, struct distill_item *item)
{
    const struct distill_body *body = &item->body;
    size_t bytes = body->prompt.bytes + 2 + body->result.bytes;
    char *text = arena_alloc(&ctx->arena, bytes + 1);

    struct metadata *metadata = &item->metadata;

    metadata->pairs =
        arena_array(&ctx->arena, body->metadata.count + OWN_KEYS, sizeof *metadata->pairs);
    memcpy(text, body->prompt.data, body->prompt.bytes);
    memcpy(text + body->prompt.bytes, "\n\n", 2);
    memcpy(text + body->prompt.bytes + 2, body->result.data, body->result.bytes);
    item->document = (struct slice){text, bytes};

    copy_callers(&body->metadata, metadata);
    metadata_add_text(metadata, "source", slice_of(ctx->queue->name));
    metadata_add_text(metadata, "task_id", body->task_id);
    metadata_add_text(metadata, "domain", slice_of(item->domain));
    metadata_add(metadata, "success", (struct meta_value){.type = META_BOOL, .boolean = true});
    if (body->quality.given) {
        metadata_add(metadata, "quality",
                     (struct meta_value){.type = META_FLOAT, .number = body->quality.value});
    }
    if (body->model.data != NULL) {
        metadata_add_text(metadata, "model", body->model);
    }
    metadata_add_int(metadata, "created_ms", item->created_unix_ms);
    metadata_add_int(metadata, "expires_ms",
                     item->created_unix_ms + ctx->settings->experience_ttl_ms);
    item->prompt = (struct same_prompt){.domain = item->domain,
                                        .id = body->task_id,
                                        .quality = body->quality.given ? body->quality.value : 1.0,
                                        .created_unix_ms = item->created_unix_ms};
    text_hash(body->prompt.data, body->prompt.bytes, item->prompt.text_hash);
    metadata_add_int(metadata, SAME_PROMPT_KEY, same_prompt_hash(item->prompt.text_hash));
    if (example_is_ambiguous(item->document, body->prompt.bytes)) {
        metadata_add_int(metadata, EXAMPLE_PROMPT_KEY, (int64_t)body->prompt.bytes);
    }
}

static void embed(struct distill_batch *batch)
{
    struct arena *arena = &batch->ctx->arena;
    struct embedding *embeddings = arena_array(arena, batch->count, sizeof *embeddings);
    struct distill_item **owners = arena_array(arena, batch->count, sizeof *owners);
    size_t count = 0;

    for (size_t i = 0; i < batch->count; i++) {
        struct distill_item *item = &batch->items[i];
        if (item->judged) {
            continue;
        }
        build(batch->ctx, item);
        embeddings[count].text_hash = item->prompt.text_hash;
        embeddings[count].text = item->body.prompt;
        owners[count++] = item;
    }
    if (count == 0) {
        return;
    }
    vectors_fill(batch->ctx, embeddings, count);
    for (size_t i = 0; i < count; i++) {
        owners[i]->embedding = &embeddings[i];
        if (embeddings[i].embedded_bytes > 0) {
            metadata_add_int(&owners[i]->metadata, "embedded_bytes",
                             (int64_t)embeddings[i].embedded_bytes);
        }
        if (embeddings[i].vector == NULL) {
            vectors_judge(&embeddings[i], owners[i]->body.task_id, owners[i]->task);
            owners[i]->judged = true;
        }
    }
}

/* An experience written again by a redelivery: same text, same times. */
static bool is_same(const struct chroma_record *record, const struct example *stored)
{
    const struct meta_value *own =
        metadata_find(record->metadata, record->metadata_count, "created_ms");
    const struct meta_value *old =
        metadata_find(stored->metadata, stored->metadata_count, "created_ms");

    return own != NULL && old != NULL && old->type == META_INT && own->integer == old->integer &&
           record->metadata_count == stored->metadata_count &&
           slice_equal(record->document, stored->text);
}

/* What goes into one domain: each write beside the item that it is of. */
struct distill_group {
    struct distill_item **items; /* in the arena, as are the writes */
    struct record_group records;
};

/* Cached results of the domains that were written to are stale from now on. */
static void move_epochs(struct context *ctx, const struct distill_group *groups, size_t count)
{
    const char **domains = arena_array(&ctx->arena, count, sizeof *domains);
    struct error err = {0};
    size_t written = 0;

    for (size_t i = 0; i < count; i++) {
        const struct record_group *records = &groups[i].records;
        size_t standing = 0;
        for (size_t j = 0; j < records->count; j++) {
            standing += !records->writes[j].failed;
        }
        if (standing > 0) {
            domains[written++] = records->domain;
        }
    }
    if (written == 0 || result_cache_outdate(ctx, domains, written, &err) == STATUS_OK) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < groups[i].records.count; j++) {
            if (!groups[i].records.writes[j].failed) {
                asking_judge_failure(groups[i].items[j]->task, OPERATION_REDIS, &err);
            }
        }
    }
}

/* The items of one domain; they have their verdict now unless a write fails. */
static void gather(struct distill_batch *batch, const struct by_domain *each, size_t count,
                   struct distill_group *group)
{
    struct arena *arena = &batch->ctx->arena;
    struct record_write *writes = arena_array(arena, count, sizeof *writes);

    group->items = arena_array(arena, count, sizeof(void *));
    group->records = (struct record_group){each[0].domain, writes, count};
    for (size_t i = 0; i < count; i++) {
        struct distill_item *item = &batch->items[each[i].index];
        item->judged = true;
        item->task->verdict = VERDICT_DONE;
        group->items[i] = item;
        writes[i] = (struct record_write){
            .record = {item->body.task_id, item->embedding->vector, item->document,
                       item->metadata.pairs, item->metadata.count},
            .prompt = &item->prompt,
            .task = item->task,
        };
    }
}

/* Writes all domains' records together: several lanes' small groups make one request. */
static void write_all(struct distill_batch *batch)
{
    struct context *ctx = batch->ctx;
    struct by_domain *each = arena_array(&ctx->arena, batch->count, sizeof *each);
    struct distill_group *groups = arena_array(&ctx->arena, batch->count, sizeof *groups);
    struct record_group *records = arena_array(&ctx->arena, batch->count, sizeof *records);
    size_t left = 0;
    size_t count = 0;

    for (size_t i = 0; i < batch->count; i++) {
        if (!batch->items[i].judged) {
            each[left++] = (struct by_domain){.domain = batch->items[i].domain, .index = i};
        }
    }
    by_domain_sort(each, left);
    for (size_t from = 0, size; from < left; from += size) {
        size = by_domain_size(each + from, left - from);
        gather(batch, each + from, size, &groups[count]);
        records[count] = groups[count].records;
        same_prompt_find_near(ctx, &records[count++]);
    }
    if (count > 0) {
        records_write(ctx, records, count, is_same);
        move_epochs(ctx, groups, count);
    }
}

/* Jobs whose task id a later job of the batch has share its fate. */
static void share_fates(struct distill_batch *batch)
{
    for (size_t i = batch->count; i-- > 0;) {
        if (batch->items[i].stands_for != NULL) {
            task_share_fate(batch->items[i].task, batch->items[i].stands_for->task);
        }
    }
}

static void distill_process(struct context *ctx, struct task *tasks, size_t count)
{
    struct distill_batch batch = {
        .ctx = ctx,
        .items = arena_array(&ctx->arena, count, sizeof *batch.items),
    };

    decode(&batch, tasks, count);
    merge_same_ids(&batch);
    embed(&batch);
    write_all(&batch);
    share_fates(&batch);
}

const struct handler handler_distill = {.process = distill_process, .before_end = outcomes_leave};
