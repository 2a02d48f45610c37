#include "chroma_writer/records.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "context/asking.h"

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

static bool slice_equal(struct slice a, struct slice b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

static const struct example *stored_of(const struct chroma_hits *stored, struct slice id)
{
    for (size_t i = 0; i < stored->count; i++) {
        if (slice_equal(stored->examples[i].id, id)) {
            return &stored->examples[i];
        }
    }
    return NULL;
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
static enum status read_stored(struct context *ctx, const char *domain,
                               const struct record_write *writes, size_t count,
                               struct chroma_hits *stored, struct error *err)
{
    struct slice ids[RECORDS_SLICE];

    for (size_t i = 0; i < count; i++) {
        ids[i] = writes[i].record.id;
    }
    context_phase(ctx, PHASE_QUERY);
    const struct chroma_select select = {
        .domain = domain, .ids = ids, .count = count, .fields = CHROMA_TEXTS};
    enum status status = chroma_get(context_chroma(ctx), &select, &ctx->arena, stored, err);
    context_progress(ctx);
    if (status == STATUS_NOT_FOUND) {
        *stored = (struct chroma_hits){0};
        return STATUS_OK;
    }
    return status;
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

static void fail_all(struct record_write *writes, size_t count, enum operation operation,
                     const struct error *err)
{
    const struct failure failure = {.operation = operation, .err = err};

    for (size_t i = 0; i < count; i++) {
        fail(&writes[i], &failure);
    }
}

/* Looks at what stands there for a slice, and orders what differs from it. */
static enum status choose(struct context *ctx, struct record_write *writes, size_t count,
                          record_same *same, struct write_order *order, struct error *err)
{
    struct chroma_hits stored = {0};
    enum status status = read_stored(ctx, order->domain, writes, count, &stored, err);

    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        const struct job *job = writes[i].task->job;
        writes[i].tried_unix_ms = job != NULL ? task_tried_unix_ms(job) : 0;
        const struct example *old = stored_of(&stored, writes[i].record.id);
        if (writes[i].failed || (old != NULL && same != NULL && same(&writes[i].record, old))) {
            continue;
        }
        if (old != NULL) {
            drop_old_keys(ctx, &writes[i].record, old);
        }
        order->writes[order->count++] = &writes[i];
    }
    return status;
}

/* Reads before the lease is taken: others may write meanwhile. */
static void choose_all(struct context *ctx, struct record_write *writes, size_t count,
                       record_same *same, struct write_order *order)
{
    for (size_t done = 0; done < count; done += RECORDS_SLICE) {
        size_t slice = count - done < RECORDS_SLICE ? count - done : RECORDS_SLICE;
        struct error err = {0};
        enum status status = choose(ctx, writes + done, slice, same, order, &err);
        const enum operation failed = asking_report_chroma(ctx, OPERATION_GET, status, &err);
        if (status != STATUS_OK) { /* it will not go better for the rest */
            fail_all(writes + done, count - done, failed, &err);
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
    choose_all(ctx, group->writes, allowed, same, order);
    if (order->count == 0) {
        upstreams_cancel(ctx->upstreams, OPERATION_WRITE); /* nothing to write */
    }
    return order->count > 0;
}

/* The writers' turn is the fleet's affair, not the job's: no attempt is burnt. */
static void hold_back(struct record_write *write, const struct error *err)
{
    task_hold_back(write->task, OPERATION_WRITE, WRITER_RETRY_MS, err->text);
    write->failed = true;
}

void records_judge(struct context *ctx, const char *domain, struct record_write *write)
{
    const int64_t tried_unix_ms = write->tried_unix_ms;

    if (write->state == WRITE_FAILED) {
        fail(write,
             &(struct failure){
                 .operation = write->operation,
                 .err = write->error,
                 .alone = write->alone,
                 .others_pass = write->alone &&
                                (write->others_passed ||
                                 (tried_unix_ms > 0 &&
                                  upstreams_wrote_since(ctx->upstreams, domain, tried_unix_ms))),
             });
    } else if (write->state == WRITE_HELD_BACK) {
        hold_back(write, write->error);
    }
    free(write->error);
    write->error = NULL;
}

/* ---- what is too many of one prompt ---- */

static bool is_remembered(const struct record_write *write)
{
    return !write->failed && write->prompt != NULL;
}

static void fail_remembered(const struct record_group *group, bool only_seen,
                            const struct failure *failure)
{
    for (size_t i = 0; i < group->count; i++) {
        struct record_write *write = &group->writes[i];
        if (is_remembered(write) && (!only_seen || write->prompt->was_seen)) {
            fail(write, failure);
        }
    }
}

static enum status remember(struct context *ctx, const struct record_group *groups,
                            size_t group_count, struct same_prompt **prompts, struct error *err)
{
    size_t count = 0;

    for (size_t i = 0; i < group_count; i++) {
        for (size_t j = 0; j < groups[i].count; j++) {
            if (is_remembered(&groups[i].writes[j])) {
                prompts[count++] = groups[i].writes[j].prompt;
            }
        }
    }
    return count > 0 ? same_prompt_remember(ctx, prompts, count, err) : STATUS_OK;
}

static void judge_trim(const struct record_group *group, const struct write_order *order)
{
    if (order->state == WRITE_FAILED) {
        fail_remembered(group, true,
                        &(struct failure){.operation = order->operation, .err = &order->error});
    }
    for (size_t i = 0; i < group->count && order->state == WRITE_HELD_BACK; i++) {
        struct record_write *write = &group->writes[i];
        if (is_remembered(write) && write->prompt->was_seen) {
            hold_back(write, &order->error);
        }
    }
}

/* Of records that stood there already too: the worker that wrote them may have died then. */
static void trim(struct context *ctx, const struct record_group *groups, size_t group_count)
{
    struct write_order *orders = arena_array(&ctx->arena, group_count, sizeof *orders);
    struct same_prompt **prompts = NULL;
    struct error err = {0};
    size_t most = 0;
    size_t seen = 0;

    for (size_t i = 0; i < group_count; i++) {
        most += groups[i].count;
    }
    prompts = arena_array(&ctx->arena, most, sizeof *prompts);
    const enum status status = remember(ctx, groups, group_count, prompts, &err);
    if (status != STATUS_OK) {
        for (size_t i = 0; i < group_count; i++) {
            fail_remembered(&groups[i], false,
                            &(struct failure){.operation = OPERATION_REDIS, .err = &err});
        }
        return;
    }
    for (size_t i = 0; i < group_count; i++) {
        orders[i] = (struct write_order){.domain = groups[i].domain, .seen = prompts + seen};
        for (size_t j = 0; j < groups[i].count; j++) {
            const struct record_write *write = &groups[i].writes[j];
            if (is_remembered(write) && write->prompt->was_seen) {
                orders[i].seen[orders[i].seen_count++] = write->prompt;
            }
        }
        seen += orders[i].seen_count;
    }
    if (seen == 0) {
        return;
    }
    writer_put(ctx->writer, ctx, orders, group_count);
    for (size_t i = 0; i < group_count; i++) {
        judge_trim(&groups[i], &orders[i]);
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
