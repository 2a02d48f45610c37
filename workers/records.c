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

/* The records that are to be written. */
struct chosen {
    struct record_write **list; /* in the arena */
    size_t count;
};

/* Looks at what stands there for a slice, and chooses what differs from it. */
static enum status choose(struct lane_tools *tools, const char *domain, struct record_write *writes,
                          size_t count,
                          bool (*same)(const struct chroma_record *, const struct example *),
                          struct chosen *chosen, struct error *err)
{
    struct chroma_hits stored = {0};
    enum status status = read_stored(tools, domain, writes, count, &stored, err);

    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        const struct example *old = stored_of(&stored, writes[i].record.id);
        if (writes[i].failed || (old != NULL && same != NULL && same(&writes[i].record, old))) {
            continue;
        }
        if (old != NULL) {
            status = drop_old_keys(tools, &writes[i].record, old, err);
        }
        chosen->list[chosen->count++] = &writes[i];
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

/* Reads before the lease is taken: others may write meanwhile. */
static void choose_all(struct lane_tools *tools, const char *domain, struct record_write *writes,
                       size_t count,
                       bool (*same)(const struct chroma_record *, const struct example *),
                       struct chosen *chosen)
{
    for (size_t done = 0; done < count; done += RECORDS_SLICE) {
        size_t slice = count - done < RECORDS_SLICE ? count - done : RECORDS_SLICE;
        struct error err = {0};
        enum status status = choose(tools, domain, writes + done, slice, same, chosen, &err);
        upstreams_report(tools->upstreams, METRICS_CHROMA, status, err.text);
        if (status != STATUS_OK) {
            for (size_t i = done + slice; i < count; i++) {
                fail(&writes[i], &err); /* it will not go better for the next slice */
            }
            return;
        }
    }
}

static void upsert_all(struct lane_tools *tools, const char *domain, const struct chosen *chosen)
{
    for (size_t done = 0; done < chosen->count; done += RECORDS_SLICE) {
        size_t left = chosen->count - done;
        size_t slice = left < RECORDS_SLICE ? left : RECORDS_SLICE;
        struct error err = {0};
        enum status status = upsert(tools, domain, chosen->list + done, slice, &err);
        upstreams_report(tools->upstreams, METRICS_CHROMA, status, err.text);
        if (status != STATUS_OK && verdict_of_status(status) == VERDICT_RETRY) {
            for (size_t i = done + slice; i < chosen->count; i++) {
                fail(chosen->list[i], &err);
            }
            return;
        }
    }
}

void records_write(struct lane_tools *tools, const char *domain, struct record_write *writes,
                   size_t count,
                   bool (*same)(const struct chroma_record *record, const struct example *stored))
{
    struct chosen chosen = {.list = arena_array(&tools->arena, count, sizeof(void *))};
    struct error err = {0};
    size_t slot = 0;
    size_t allowed = upstreams_allow(tools->upstreams, METRICS_CHROMA, count);

    park_from(tools, writes, allowed, count);
    if (allowed == 0) {
        return;
    }
    if (chosen.list == NULL) {
        upstreams_cancel(tools->upstreams, METRICS_CHROMA); /* it was not called */
        (void)error_set(&err, STATUS_OOM, "no memory for %zu records", allowed);
        park_all(writes, allowed, &err);
        return;
    }
    choose_all(tools, domain, writes, allowed, same, &chosen);
    if (chosen.count == 0) {
        return;
    }
    if (writer_acquire(tools->writer, tools->redis, &tools->random, WRITER_WAIT_MS, &slot, &err) !=
        STATUS_OK) {
        park_all(writes, allowed, &err);
        return;
    }
    upsert_all(tools, domain, &chosen);
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
