#include "enqueue/keep.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "enqueue/flush.h"

enum { JOBS_AT_ONCE = OUTBOX_BATCH_MAX, FLUSH_MAX_MS = 24 * 60 * 60 * 1000 };

bool keep_is_on(const stillhouse_client *client)
{
    return client->outbox.folder != NULL;
}

/* ---- before a job ---------------------------------------------------------------------------- */

/* What the disk has against it is no reason not to send the new job. */
enum status keep_make_way(stillhouse_client *client, int timeout_ms, struct error *err)
{
    const struct outbox_bounds bounds = {
        .deadline_ms = timeout_ms == 0 ? 0 : clock_now_ms() + timeout_ms,
        .jobs_max = timeout_ms == 0 ? JOBS_AT_ONCE : SIZE_MAX,
    };
    struct outbox *outbox = &client->outbox;
    struct outbox_outcome outcome;

    if (!outbox->waiting && clock_now_ms() < outbox->look_again_ms) {
        return STATUS_OK;
    }
    const enum status status = outbox_send(client, bounds, &outcome, err);
    if (status == STATUS_OK && outcome.over) {
        return error_set(err, STATUS_UNAVAILABLE, "jobs that were kept before it go first");
    }
    return status;
}

/* ---- keeping --------------------------------------------------------------------------------- */

enum status keep_encode(const struct queue *queue, const struct queue_item *item,
                        struct strbuf *records, struct error *err)
{
    struct job_options options;
    char text[JOBS_OPTIONS_BYTES];

    const enum status status =
        job_options_parse(item->options.data, item->options.bytes, false, &options, err);
    if (status != STATUS_OK) {
        return status;
    }
    if (options.since_unix_ms == 0) {
        options.since_unix_ms = clock_unix_ms();
    }
    const size_t bytes = job_options_format(&options, text, sizeof text);
    const struct outbox_record record = {
        .base = {queue->base, strlen(queue->base)},
        .id = item->id,
        .domain = item->domain,
        .options = {text, bytes},
        .body = item->body,
    };
    return outbox_encode_record(&record, records, err);
}

void keep_say_kept(stillhouse_client *client)
{
    (void)error_wrap(&client->err, "kept in the outbox");
}

void keep_say_lost(stillhouse_client *client, const struct error *why_not)
{
    char text[ERROR_TEXT_BYTES];

    memcpy(text, client->err.text, sizeof text);
    snprintf(client->err.text, sizeof client->err.text, "%.140s; not kept either: %.150s", text,
             why_not->text);
}

stillhouse_status keep_draft(stillhouse_client *client, const struct queue *queue,
                             const struct jobs_draft *draft, char *id, const struct error *why)
{
    const struct queue_item item = jobs_item(client, draft);
    struct strbuf records = {0};
    struct error err = {0};
    const stillhouse_status failed = client_failed(client, why);

    enum status status = keep_encode(queue, &item, &records, &err);
    if (status == STATUS_OK) {
        status = outbox_append(&client->outbox, &records, 1, &err);
    }
    strbuf_free(&records);
    if (status != STATUS_OK) {
        keep_say_lost(client, &err);
        return failed;
    }
    if (id != NULL) {
        snprintf(id, STILLHOUSE_ID_BYTES, "%s", draft->id);
    }
    keep_say_kept(client);
    return STILLHOUSE_KEPT;
}

/* ---- the public calls ------------------------------------------------------------------------ */

/* Why not everything is gone, when Redis took all it was asked to. */
static enum status explain(const struct outbox_outcome *outcome, size_t left, struct error *err)
{
    if (outcome->disk.status != STATUS_OK) {
        *err = outcome->disk;
        return err->status;
    }
    if (outcome->over) {
        return error_set(err, STATUS_NOT_FOUND, "not all sent in time: %zu jobs left", left);
    }
    return left == 0
               ? STATUS_OK
               : error_set(err, STATUS_NOT_FOUND,
                           "%zu jobs left in files that other processes hold, or of another prefix",
                           left);
}

stillhouse_status stillhouse_flush(stillhouse_client *client, int timeout_ms, size_t *left)
{
    struct outbox_outcome outcome;
    struct error err = {0};
    struct error counting = {0};
    size_t waiting = 0;

    if (left != NULL) {
        *left = 0;
    }
    if (!client_enter(client)) {
        return STILLHOUSE_INVALID;
    }
    if (timeout_ms < 0 || timeout_ms > FLUSH_MAX_MS) {
        (void)error_set(&err, STATUS_INVALID, "timeout_ms %d: expected 0 to %d", timeout_ms,
                        FLUSH_MAX_MS);
        return client_finish(client, STATUS_INVALID, &err);
    }
    if (!keep_is_on(client)) {
        return client_finish(client, STATUS_OK, &err);
    }
    enum status status = outbox_send(
        client,
        (struct outbox_bounds){.deadline_ms = clock_now_ms() + timeout_ms, .jobs_max = SIZE_MAX},
        &outcome, &err);
    const enum status counted = outbox_waiting(&client->outbox, &waiting, &counting);
    if (left != NULL) {
        *left = waiting;
    }
    if (status == STATUS_OK) {
        status = explain(&outcome, waiting, &err);
    }
    if (status == STATUS_OK && counted != STATUS_OK) {
        err = counting;
        status = counted;
    }
    return client_finish(client, status, &err);
}

void stillhouse_outbox_counts(const stillhouse_client *client, uint64_t *kept, uint64_t *sent,
                              uint64_t *aside)
{
    /* What a parent did is not this process' doing. */
    const bool ours = client != NULL && client->forks == forks_count();
    const uint64_t counts[] = {ours ? client->outbox.kept : 0, ours ? client->outbox.sent : 0,
                               ours ? client->outbox.aside : 0};
    uint64_t *const out[] = {kept, sent, aside};

    for (size_t i = 0; i < 3; i++) {
        if (out[i] != NULL) {
            *out[i] = counts[i];
        }
    }
}
