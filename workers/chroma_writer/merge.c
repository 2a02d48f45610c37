#include "chroma_writer/merge.h"

#include <string.h>

#include "context/asking.h"

static double quality_of(const struct meta_pair *metadata, size_t count)
{
    const struct meta_value *value = records_meta(metadata, count, "quality");
    if (value == NULL) {
        return 1.0;
    }
    return value->type == META_INT ? (double)value->integer : value->number;
}

/* True when `hit` is another document, near enough to be the same experience. */
static bool is_near(const struct context *ctx, const struct chroma_record *record,
                    const struct example *hit)
{
    bool itself = hit->id.bytes == record->id.bytes &&
                  memcmp(hit->id.data, record->id.data, hit->id.bytes) == 0;
    return !itself && hit->distance <= ctx->settings->merge_distance;
}

static enum status query_nearest(struct context *ctx, const char *domain,
                                 const struct record_write *writes, size_t count,
                                 struct chroma_hits *hits, struct error *err)
{
    const size_t dimension = embedder_dimension(context_embedder(ctx));
    float *vectors = arena_array(&ctx->arena, count * dimension, sizeof *vectors);

    if (vectors == NULL || hits == NULL) {
        return error_set(err, STATUS_OOM, "no memory for %zu vectors", count);
    }
    for (size_t i = 0; i < count; i++) {
        memcpy(vectors + i * dimension, writes[i].record.vector, dimension * sizeof *vectors);
    }
    context_phase(ctx, PHASE_QUERY);
    /* Two, since the nearest may be the experience itself, written before. */
    enum status status =
        chroma_query(context_chroma(ctx), domain, vectors, count, 2, &ctx->arena, hits, err);
    context_progress(ctx);
    return status;
}

static void settle(struct context *ctx, const char *domain, struct record_write *write,
                   const struct chroma_hits *hits)
{
    for (size_t i = 0; i < hits->count && !write->failed; i++) {
        const struct example *hit = &hits->examples[i];
        struct error err = {0};
        if (!is_near(ctx, &write->record, hit)) {
            continue;
        }
        if (quality_of(hit->metadata, hit->metadata_count) >
            quality_of(write->record.metadata, write->record.metadata_count)) {
            write->failed = true; /* left out: what is stored is better, and the job is done */
        } else if (records_delete(ctx, domain, &hit->id, 1, &err) != STATUS_OK) {
            asking_judge_failure(write->task, OPERATION_WRITE, &err);
            write->failed = true;
        }
    }
}

void merge_near(struct context *ctx, const char *domain, struct record_write *writes, size_t count)
{
    struct error err = {0};

    if (ctx->settings->merge_distance <= 0 || count == 0) {
        return;
    }
    struct chroma_hits *hits = arena_array(&ctx->arena, count, sizeof *hits);
    enum status status = query_nearest(ctx, domain, writes, count, hits, &err);
    const enum operation failed = asking_report_chroma(ctx, OPERATION_QUERY, status, &err);
    if (status == STATUS_NOT_FOUND) {
        return;
    }
    for (size_t i = 0; i < count; i++) {
        if (status == STATUS_OK) {
            settle(ctx, domain, &writes[i], &hits[i]);
        } else {
            asking_judge_failure(writes[i].task, failed, &err);
            writes[i].failed = true;
        }
    }
}
