/* What many calls could not hand in, put into the outbox. */
#include <stdio.h>

#include "enqueue/keep.h"
#include "enqueue/many.h"

enum { WRITE_BYTES = 256 * 1024 /* at once */ };

/* Elements that are encoded and not yet written; all had the outcome `failed`. */
struct keeping {
    const struct many_order *order;
    struct strbuf records;
    size_t first; /* they stand from here on, and are the ones that are KEPT */
    size_t count;
    stillhouse_status failed;
};

int many_severity(stillhouse_status status)
{
    static const int ranks[] = {
        [STILLHOUSE_OK] = 0,      [STILLHOUSE_NOT_FOUND] = 1, [STILLHOUSE_FULL] = 2,
        [STILLHOUSE_INVALID] = 3, [STILLHOUSE_FAILED] = 4,    [STILLHOUSE_UNREACHABLE] = 5,
        [STILLHOUSE_KEPT] = 1,
    };

    return ranks[status];
}

static void set_outcome(const struct many_order *order, size_t index, stillhouse_status status,
                        const char *id)
{
    order->outcome[index] = status;
    if (order->ids != NULL) {
        snprintf(order->ids[index], STILLHOUSE_ID_BYTES, "%s", id);
    }
}

/* Writes the elements before `next`. Where the disk does not let it, they have their old outcome
 * again. */
static enum status write_kept(struct keeping *keeping, size_t next, struct error *err)
{
    const struct many_order *order = keeping->order;

    const enum status status =
        spool_put(&order->client->spool, &keeping->records, keeping->count, err);
    strbuf_reset(&keeping->records);
    for (size_t i = keeping->first; status != STATUS_OK && i < next; i++) {
        if (order->outcome[i] == STILLHOUSE_KEPT) {
            set_outcome(order, i, keeping->failed, "");
        }
    }
    keeping->first = next;
    keeping->count = 0;
    return status;
}

/* Encodes one element anew: its first form went with the call. */
static enum status keep_element(struct keeping *keeping, size_t index, struct error *err)
{
    const struct many_order *order = keeping->order;
    const size_t before = keeping->records.bytes;
    struct jobs_draft draft;

    enum status status = order->make(order, index, &draft, err);
    if (status == STATUS_INVALID) { /* the run had ended before it was looked at */
        (void)error_wrap(err, "[%zu]", index);
        (void)client_failed(order->client, err);
        set_outcome(order, index, STILLHOUSE_INVALID, "");
        return STATUS_OK;
    }
    if (status == STATUS_OK) {
        const struct queue_item item = jobs_item(order->client, &draft);
        status = keep_encode(order->queue, &item, &keeping->records, err);
    }
    if (status != STATUS_OK) {
        keeping->records.bytes = before;
        return status;
    }
    keeping->failed = order->outcome[index];
    set_outcome(order, index, STILLHOUSE_KEPT, draft.id);
    keeping->count++;
    return STATUS_OK;
}

/* True where an element with this outcome is not to be written along with those before it. */
static bool is_due(const struct keeping *keeping, stillhouse_status outcome)
{
    return keeping->count > 0 &&
           (keeping->records.bytes >= WRITE_BYTES || outcome != keeping->failed);
}

static enum status keep_elements(struct keeping *keeping, struct error *err)
{
    const struct many_order *order = keeping->order;
    enum status status = STATUS_OK;

    for (size_t i = 0; status == STATUS_OK && i < order->count; i++) {
        const stillhouse_status outcome = order->outcome[i];
        if (outcome == STILLHOUSE_OK || outcome == STILLHOUSE_INVALID) {
            continue;
        }
        if (is_due(keeping, outcome)) {
            status = write_kept(keeping, i, err);
        }
        if (status == STATUS_OK) {
            status = keep_element(keeping, i, err);
        }
    }
    struct error detail = {0};
    const enum status written = write_kept(keeping, order->count, &detail);
    if (status == STATUS_OK && written != STATUS_OK) {
        *err = detail;
        status = written;
    }
    return status;
}

stillhouse_status many_keep(const struct many_order *order)
{
    struct keeping keeping = {.order = order};
    struct error err = {0};
    stillhouse_status worst = STILLHOUSE_OK;

    const enum status status = keep_elements(&keeping, &err);
    strbuf_free(&keeping.records);
    for (size_t i = 0; i < order->count; i++) {
        if (many_severity(order->outcome[i]) > many_severity(worst)) {
            worst = order->outcome[i];
        }
    }
    if (status != STATUS_OK) {
        keep_say_lost(order->client, &err);
    } else if (worst == STILLHOUSE_KEPT) {
        keep_say_kept(order->client);
    }
    return worst;
}
