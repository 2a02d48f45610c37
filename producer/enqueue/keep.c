#include "enqueue/keep.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"

bool keep_is_on(const stillhouse_client *client)
{
    return client->spool.folder != NULL;
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
    const struct spool_record record = {
        .base = {queue->base, strlen(queue->base)},
        .id = item->id,
        .domain = item->domain,
        .options = {text, bytes},
        .body = item->body,
    };
    return record_encode(&record, records, err);
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
        status = spool_put(&client->spool, &records, 1, &err);
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
