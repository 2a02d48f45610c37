#include "chroma_writer/records.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "chroma_writer/same_prompt.h"
#include "context/asking.h"
#include "rules/metadata.h"

void records_say_dropped(struct slice id, struct slice dropped)
{
    char excerpt[48];
    long long suppressed = 0;

    if (dropped.data != NULL && log_kind_allow("metadata dropped", &suppressed)) {
        log_warning("document \"%s\" is kept without metadata that Chroma cannot hold: %.*s (%lld "
                    "more like it)",
                    text_excerpt(id.data, id.bytes, excerpt), (int)dropped.bytes, dropped.data,
                    suppressed);
    }
}

static bool has_key(const struct chroma_record *record, struct slice key)
{
    for (size_t i = 0; i < record->metadata_count; i++) {
        if (slice_equal(record->metadata[i].key, key)) {
            return true;
        }
    }
    return false;
}

/* An upsert merges metadata: keys that the new version lacks are sent as null. */
static void drop_old_keys(struct context *ctx, struct chroma_record *record,
                          const struct example *stored)
{
    size_t most = record->metadata_count + stored->metadata_count;
    struct meta_pair *all = arena_array(&ctx->arena, most, sizeof *all);

    size_t count = record->metadata_count;
    if (count > 0) {
        memcpy(all, record->metadata, count * sizeof *all);
    }
    for (size_t i = 0; i < stored->metadata_count; i++) {
        if (!has_key(record, stored->metadata[i].key)) {
            all[count++] = (struct meta_pair){stored->metadata[i].key, {.type = META_NULL}};
        }
    }
    record->metadata = all;
    record->metadata_count = count;
}

/* Reads what stands there for a slice; a collection that is not there yet holds nothing. */
static enum status read_stored(struct context *ctx, const struct record_group *slice,
                               struct chroma_hits *stored, struct error *err)
{
    struct slice ids[RECORDS_SLICE];
    const struct chroma_select select = {
        .domain = slice->domain, .ids = ids, .count = slice->count, .fields = CHROMA_TEXTS};

    for (size_t i = 0; i < slice->count; i++) {
        ids[i] = slice->writes[i].record.id;
    }
    context_phase(ctx, PHASE_QUERY);
    const enum status status = chroma_get(context_chroma(ctx), &select, &ctx->arena, stored, err);
    context_progress(ctx);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* Judges the task of a record that could not be written, once. */
static void fail(struct record_write *write, const struct failure *failure)
{
    if (write->failed) {
        return;
    }
    struct failure own = *failure;
    own.document = write->record.id;
    task_judge_failure(write->task, &own);
    write->failed = true;
}

/* Looks at what stands there for a slice, and orders what differs from it. */
static enum status choose(struct context *ctx, const struct record_group *slice, record_same *same,
                          struct write_order *order, struct error *err)
{
    struct chroma_hits stored = {0};

    TRY(read_stored(ctx, slice, &stored, err));
    for (size_t i = 0; i < slice->count; i++) {
        struct record_write *write = &slice->writes[i];
        const struct job *job = write->task->job;
        const struct example *old =
            metadata_document(stored.examples, stored.count, write->record.id);
        write->tried_unix_ms = job != NULL ? task_tried_unix_ms(job) : 0;
        if (write->failed || (old != NULL && same != NULL && same(&write->record, old))) {
            continue;
        }
        if (old != NULL) {
            drop_old_keys(ctx, &write->record, old);
        }
        order->writes[order->count++] = write;
    }
    return STATUS_OK;
}

/* Reads before the lease is taken: others may write meanwhile. */
static void choose_all(struct context *ctx, const struct record_group *group, record_same *same,
                       struct write_order *order)
{
    for (size_t done = 0; done < group->count; done += RECORDS_SLICE) {
        const size_t left = group->count - done;
        const struct record_group slice = {group->domain, group->writes + done,
                                           left < RECORDS_SLICE ? left : RECORDS_SLICE};
        struct error err = {0};
        const enum status status = choose(ctx, &slice, same, order, &err);
        const struct failure failure = {
            .operation = asking_report_chroma(ctx, OPERATION_GET, status, &err), .err = &err};
        for (size_t i = done; i < group->count && status != STATUS_OK; i++) {
            fail(&group->writes[i], &failure);
        }
        if (status != STATUS_OK) { /* it will not go better for the rest */
            return;
        }
    }
}

/* Not enough to write for a slice now: the upstream's breaker lets only some through. */
static void park_from(struct record_write *writes, size_t from, size_t count,
                      enum operation operation)
{
    for (size_t i = from; i < count; i++) {
        if (writes[i].failed) {
            continue;
        }
        asking_park(writes[i].task, operation);
        writes[i].failed = true;
    }
}

/* Fills the order with what is to be written of a group now; false when that is nothing. */
static bool prepare(struct context *ctx, const struct record_group *group, record_same *same,
                    struct write_order *order)
{
    size_t allowed = asking_allow(ctx, OPERATION_GET, group->count);
    const bool may_read = allowed > 0;
    if (may_read) {
        allowed = asking_allow(ctx, OPERATION_WRITE, allowed);
    }

    *order = (struct write_order){
        .domain = group->domain,
        .writes = arena_array(&ctx->arena, group->count, sizeof(void *)),
    };
    park_from(group->writes, allowed, group->count, may_read ? OPERATION_WRITE : OPERATION_GET);
    if (may_read && allowed == 0) {
        upstreams_cancel(ctx->upstreams, OPERATION_GET); /* it is not called */
    }
    if (allowed == 0) {
        return false;
    }
    choose_all(ctx, &(struct record_group){group->domain, group->writes, allowed}, same, order);
    if (order->count == 0) {
        upstreams_cancel(ctx->upstreams, OPERATION_WRITE); /* nothing to write */
    }
    return order->count > 0;
}

/* What was not tried is no attempt of the job's, and none is burnt. */
static void judge(struct record_write *write, enum write_state state, const struct failure *failure)
{
    if (state == WRITE_FAILED) {
        fail(write, failure);
    } else if (state == WRITE_HELD_BACK) {
        task_hold_back(write->task, failure->operation, WRITER_RETRY_MS, failure->err->text);
        write->failed = true;
    }
}

void records_judge(struct context *ctx, const char *domain, struct record_write *write)
{
    const int64_t tried_unix_ms = write->tried_unix_ms;
    const struct failure failure = {
        .operation = write->operation,
        .err = write->error,
        .alone = write->alone,
        .others_pass =
            write->alone &&
            (write->others_passed ||
             (tried_unix_ms > 0 && upstreams_wrote_since(ctx->upstreams, domain, tried_unix_ms))),
    };

    judge(write, write->state, &failure);
    free(write->error);
    write->error = NULL;
}

/* ---- what is too many of one prompt ---- */

static bool is_remembered(const struct record_write *write)
{
    return !write->failed && write->prompt != NULL;
}

/* What is deleted in one domain: of records that stood there already too, since the worker that
 * wrote them may have died then. */
static void order_trim(const struct record_group *group, struct same_prompt **seen,
                       struct write_order *order)
{
    *order = (struct write_order){.domain = group->domain, .seen = seen};
    for (size_t i = 0; i < group->count; i++) {
        const struct record_write *write = &group->writes[i];
        if (is_remembered(write) && write->prompt->was_seen) {
            seen[order->seen_count++] = write->prompt;
        }
    }
}

/* `only_seen`: of all that is remembered, what was seen before. */
static void judge_remembered(const struct record_group *group, bool only_seen,
                             enum write_state state, const struct failure *failure)
{
    for (size_t i = 0; i < group->count; i++) {
        struct record_write *write = &group->writes[i];
        if (is_remembered(write) && (!only_seen || write->prompt->was_seen)) {
            judge(write, state, failure);
        }
    }
}

static void trim(struct context *ctx, const struct record_group *groups, size_t group_count)
{
    struct write_order *orders = arena_array(&ctx->arena, group_count, sizeof *orders);
    struct same_prompt **prompts = NULL;
    struct error err = {0};
    enum status status = STATUS_OK;
    size_t most = 0;
    size_t count = 0;
    size_t seen = 0;

    for (size_t i = 0; i < group_count; i++) {
        most += groups[i].count;
    }
    prompts = arena_array(&ctx->arena, most, sizeof *prompts);
    for (size_t i = 0; i < group_count; i++) {
        for (size_t j = 0; j < groups[i].count; j++) {
            if (is_remembered(&groups[i].writes[j])) {
                prompts[count++] = groups[i].writes[j].prompt;
            }
        }
    }
    if (count > 0) {
        status = same_prompt_remember(ctx, prompts, count, &err);
    }
    for (size_t i = 0; i < group_count; i++) {
        if (status == STATUS_OK) {
            order_trim(&groups[i], prompts + seen, &orders[i]);
            seen += orders[i].seen_count;
        } else {
            judge_remembered(&groups[i], false, WRITE_FAILED,
                             &(struct failure){.operation = OPERATION_REDIS, .err = &err});
        }
    }
    if (seen == 0) {
        return;
    }
    writer_put(ctx->writer, ctx, orders, group_count);
    for (size_t i = 0; i < group_count; i++) {
        judge_remembered(
            &groups[i], true, orders[i].state,
            &(struct failure){.operation = orders[i].operation, .err = &orders[i].error});
    }
}

void records_write(struct context *ctx, const struct record_group *groups, size_t group_count,
                   record_same *same)
{
    struct write_order *orders = arena_array(&ctx->arena, group_count, sizeof *orders);
    size_t count = 0;

    for (size_t i = 0; i < group_count; i++) {
        count += prepare(ctx, &groups[i], same, &orders[count]);
    }
    if (count > 0) {
        writer_put(ctx->writer, ctx, orders, count);
    }
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < orders[i].count; j++) {
            records_judge(ctx, orders[i].domain, orders[i].writes[j]);
        }
    }
    trim(ctx, groups, group_count);
}
