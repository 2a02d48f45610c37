#include "records.h"

#include <string.h>

enum { WRITER_WAIT_MS = 20000 };

const struct meta_value *records_meta(const struct meta_pair *metadata, size_t count,
                                      const char *key)
{
    size_t bytes = strlen(key);
    for (size_t i = 0; i < count; i++) {
        if (metadata[i].key.bytes == bytes && memcmp(metadata[i].key.data, key, bytes) == 0) {
            return &metadata[i].value;
        }
    }
    return NULL;
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
static enum status drop_old_keys(struct lane_tools *tools, struct chroma_record *record,
                                 const struct example *stored, struct error *err)
{
    size_t most = record->metadata_count + stored->metadata_count;
    struct meta_pair *all = arena_array(&tools->arena, most, sizeof *all);

    if (all == NULL) {
        return error_set(err, STATUS_OOM, "no memory for metadata");
    }
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
    return STATUS_OK;
}

/* Reads what stands there for a slice; a collection that is not there yet holds nothing. */
static enum status read_stored(struct lane_tools *tools, const char *domain,
                               const struct record_write *writes, size_t count,
                               struct chroma_hits *stored, struct error *err)
{
    struct slice ids[RECORDS_SLICE];

    for (size_t i = 0; i < count; i++) {
        ids[i] = writes[i].record.id;
    }
    tools_phase(tools, PHASE_QUERY);
    enum status status =
        chroma_get(tools->chroma, domain, ids, count, true, &tools->arena, stored, err);
    tools_progress(tools);
    if (status == STATUS_NOT_FOUND) {
        *stored = (struct chroma_hits){0};
        return STATUS_OK;
    }
    return status;
}

static void fail(struct record_write *write, const struct error *err)
{
    if (write->failed) {
        return;
    }
    task_judge_error(write->task, BLAME_CHROMA, err);
    write->failed = true;
}

/* Upserts the chosen records in one request; when the data was refused, one by one. */
static enum status upsert(struct lane_tools *tools, const char *domain,
                          struct record_write *const *chosen, size_t count, struct error *err)
{
    struct chroma_record records[RECORDS_SLICE];

    for (size_t i = 0; i < count; i++) {
        records[i] = chosen[i]->record;
    }
    tools_phase(tools, PHASE_UPSERT);
    enum status status = chroma_upsert(tools->chroma, domain, records, count, err);
    tools_progress(tools);
    if (status != STATUS_INVALID || count == 1) {
        for (size_t i = 0; i < count && status != STATUS_OK; i++) {
            fail(chosen[i], err);
        }
        return status;
    }
    for (size_t i = 0; i < count; i++) {
        struct error own = {0};
        if (chroma_upsert(tools->chroma, domain, &records[i], 1, &own) != STATUS_OK) {
            fail(chosen[i], &own);
        }
        tools_progress(tools);
    }
    return STATUS_OK;
}

static enum status write_slice(struct lane_tools *tools, const char *domain,
                               struct record_write *writes, size_t count,
                               bool (*same)(const struct chroma_record *, const struct example *),
                               struct error *err)
{
    struct chroma_hits stored = {0};
    struct record_write *chosen[RECORDS_SLICE];
    size_t chosen_count = 0;
    enum status status = read_stored(tools, domain, writes, count, &stored, err);

    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        const struct example *old = stored_of(&stored, writes[i].record.id);
        if (writes[i].failed) {
            continue;
        }
        if (old != NULL && same != NULL && same(&writes[i].record, old)) {
            continue;
        }
        if (old != NULL) {
            status = drop_old_keys(tools, &writes[i].record, old, err);
        }
        chosen[chosen_count++] = &writes[i];
    }
    if (status == STATUS_OK && chosen_count > 0) {
        return upsert(tools, domain, chosen, chosen_count, err);
    }
    for (size_t i = 0; i < count && status != STATUS_OK; i++) {
        fail(&writes[i], err);
    }
    return status;
}

/* Not enough to write for a slice now: the upstream's breaker lets only some through. */
static void park_from(struct lane_tools *tools, struct record_write *writes, size_t from,
                      size_t count)
{
    for (size_t i = from; i < count; i++) {
        if (writes[i].failed) {
            continue;
        }
        task_park(tools, writes[i].task, METRICS_CHROMA);
        writes[i].failed = true;
    }
}

/* The lease is the fleet's affair, not the job's: no attempt is burnt for waiting in vain. */
static void park_all(struct record_write *writes, size_t count, const struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        if (writes[i].failed) {
            continue;
        }
        task_judge(writes[i].task, VERDICT_PARK, "%s", err->text);
        writes[i].task->wait_ms = 1000;
        writes[i].failed = true;
    }
}

void records_write(struct lane_tools *tools, const char *domain, struct record_write *writes,
                   size_t count,
                   bool (*same)(const struct chroma_record *record, const struct example *stored))
{
    struct error err = {0};
    size_t slot = 0;
    size_t allowed = upstreams_allow(tools->upstreams, METRICS_CHROMA, count);

    park_from(tools, writes, allowed, count);
    if (allowed == 0) {
        return;
    }
    if (writer_acquire(tools->writer, tools->redis, &tools->random, WRITER_WAIT_MS, &slot, &err) !=
        STATUS_OK) {
        park_all(writes, allowed, &err);
        upstreams_cancel(tools->upstreams, METRICS_CHROMA); /* it was not called */
        return;
    }
    enum status status = STATUS_OK;
    for (size_t done = 0; done < allowed; done += RECORDS_SLICE) {
        size_t slice = allowed - done < RECORDS_SLICE ? allowed - done : RECORDS_SLICE;
        err = (struct error){0};
        status = write_slice(tools, domain, writes + done, slice, same, &err);
        upstreams_report(tools->upstreams, METRICS_CHROMA, status, err.text);
        if (status != STATUS_OK && verdict_of_status(status) == VERDICT_RETRY) {
            for (size_t i = done + slice; i < allowed; i++) {
                fail(&writes[i], &err); /* it will not go better for the next slice */
            }
            break;
        }
    }
    writer_release(tools->writer, tools->redis, slot);
}

enum status records_delete(struct lane_tools *tools, const char *domain, const struct slice *ids,
                           size_t count, struct error *err)
{
    size_t slot = 0;

    if (count == 0) {
        return STATUS_OK;
    }
    enum status status =
        writer_acquire(tools->writer, tools->redis, &tools->random, WRITER_WAIT_MS, &slot, err);
    if (status != STATUS_OK) {
        return status;
    }
    tools_phase(tools, PHASE_UPSERT);
    status = chroma_delete(tools->chroma, domain, ids, count, err);
    upstreams_report(tools->upstreams, METRICS_CHROMA, status, err->text);
    writer_release(tools->writer, tools->redis, slot);
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}
