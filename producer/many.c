/* Many jobs in few calls: while the server works on some calls, the next one is encoded.
 *
 * Happy path: each element is checked and encoded behind those before it; at 1,000 jobs or 1 MiB
 * they go out as one call; with IN_FLIGHT calls out, the oldest one's answer is read first.
 * Failure modes: an invalid element is left out; a refused call, or an answer that does not come,
 * ends the run, and what was not sent shares its outcome. Calls are not sent twice. With an outbox,
 * whatever is neither in nor invalid is then encoded again and kept.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "keep.h"

enum {
    CALL_BYTES = 1024 * 1024,
    IN_FLIGHT = 3,
    BYTES_PER_MS = 16 * 1024, /* what the slowest network worth waiting for carries */
    KEEP_BYTES = 256 * 1024,  /* of what is written to the outbox at once */
};

/* Where a job of the call that is being filled stands in the text. */
struct many_job {
    size_t index; /* of the caller's element */
    size_t domain_at, domain_bytes;
    size_t options_at, options_bytes;
    size_t body_at, body_bytes;
    char id[37];
};

/* What is remembered of a call that is out. */
struct many_call {
    size_t indexes[QUEUE_BATCH_MAX];
    size_t count;
    size_t bytes;
};

/* What the caller wants done. */
struct many_order {
    stillhouse_client *client;
    const struct queue *queue;
    const void *elements;
    size_t count;
    const stillhouse_job_options *options;
    stillhouse_status *outcome; /* may be NULL, as ids; not with `keep` */
    char (*ids)[STILLHOUSE_ID_BYTES];
    bool keep; /* in the outbox, what Redis does not take */
    enum status (*make)(const struct many_order *order, size_t index, struct jobs_draft *draft,
                        struct error *err);
};

struct many {
    const struct many_order *order;
    struct many_job jobs[QUEUE_BATCH_MAX]; /* the call that is being filled */
    size_t job_count;
    struct strbuf text;
    struct many_call calls[IN_FLIGHT]; /* a ring */
    size_t oldest;
    size_t in_flight;
    size_t next; /* element to look at */
    stillhouse_status worst;
    struct queue_item items[QUEUE_BATCH_MAX];
    struct queue_answer answers[QUEUE_BATCH_MAX];
};

/* ---- outcomes ----------------------------------------------------------------------------------
 */

static int severity(stillhouse_status status)
{
    static const int ranks[] = {
        [STILLHOUSE_OK] = 0,      [STILLHOUSE_NOT_FOUND] = 1, [STILLHOUSE_FULL] = 2,
        [STILLHOUSE_INVALID] = 3, [STILLHOUSE_FAILED] = 4,    [STILLHOUSE_UNREACHABLE] = 5,
        [STILLHOUSE_KEPT] = 1,
    };

    return ranks[status];
}

static void set_outcome(struct many *many, size_t index, stillhouse_status status, const char *id)
{
    if (many->order->outcome != NULL) {
        many->order->outcome[index] = status;
    }
    if (many->order->ids != NULL) {
        snprintf(many->order->ids[index], STILLHOUSE_ID_BYTES, "%s", id);
    }
    if (severity(status) > severity(many->worst)) {
        many->worst = status;
    }
}

/* Keeps the text of the run's first failure. */
static void note(struct many *many, const struct error *err)
{
    if (many->worst == STILLHOUSE_OK) {
        (void)client_failed(many->order->client, err);
    }
}

static void take_answers(struct many *many, const struct many_call *call)
{
    for (size_t i = 0; i < call->count; i++) {
        const struct queue_answer *answer = &many->answers[i];
        if (answer->full) {
            struct error err = {0};
            (void)error_set(&err, STATUS_FULL, "queue \"%s\" is full: %lld jobs wait already",
                            many->order->queue->name,
                            (long long)many->order->client->config.max_backlog);
            note(many, &err);
        }
        set_outcome(many, call->indexes[i], answer->full ? STILLHOUSE_FULL : STILLHOUSE_OK,
                    answer->id);
    }
}

/* All that is out, waits to be sent, or was not looked at shares one outcome. */
static void give_up(struct many *many, const struct error *err)
{
    const stillhouse_status status = client_status(err->status);

    note(many, err);
    for (; many->in_flight > 0; many->in_flight--) {
        const struct many_call *call = &many->calls[many->oldest];
        for (size_t i = 0; i < call->count; i++) {
            set_outcome(many, call->indexes[i], status, "");
        }
        many->oldest = (many->oldest + 1) % IN_FLIGHT;
    }
    for (size_t i = 0; i < many->job_count; i++) {
        set_outcome(many, many->jobs[i].index, status, "");
    }
    for (; many->next < many->order->count; many->next++) {
        set_outcome(many, many->next, status, "");
    }
}

/* ---- calls -------------------------------------------------------------------------------------
 */

static void set_bound(struct many *many, struct redis_conn *conn)
{
    size_t bytes = 0;

    for (size_t i = 0; i < many->in_flight; i++) {
        bytes += many->calls[(many->oldest + i) % IN_FLIGHT].bytes;
    }
    redis_conn_set_command_timeout(conn, many->order->client->config.bounds.command_ms +
                                             (int)(bytes / BYTES_PER_MS));
}

/* Reads the oldest call's answers. A refusal is that call's alone; a broken connection all calls'.
 */
static enum status collect(struct many *many, struct redis_conn *conn, struct error *err)
{
    const struct many_call *call = &many->calls[many->oldest];

    set_bound(many, conn);
    const enum status status = queue_enqueue_collect(conn, call->count, many->answers, err);
    if (status != STATUS_OK && !redis_conn_is_open(conn)) {
        return status;
    }
    if (status == STATUS_OK) {
        take_answers(many, call);
    } else {
        note(many, err);
        for (size_t i = 0; i < call->count; i++) {
            set_outcome(many, call->indexes[i], client_status(status), "");
        }
    }
    many->oldest = (many->oldest + 1) % IN_FLIGHT;
    many->in_flight--;
    return status;
}

static enum status collect_all(struct many *many, struct redis_conn *conn, struct error *err)
{
    enum status worst = STATUS_OK;

    while (many->in_flight > 0) {
        struct error detail = {0};
        const enum status status = collect(many, conn, &detail);
        if (worst == STATUS_OK && status != STATUS_OK) {
            worst = status;
            *err = detail;
        }
        if (!redis_conn_is_open(conn)) {
            break;
        }
    }
    return worst;
}

static void list_items(struct many *many, struct many_call *call)
{
    const char *text = many->text.data;

    for (size_t i = 0; i < many->job_count; i++) {
        const struct many_job *job = &many->jobs[i];
        call->indexes[i] = job->index;
        many->items[i] = (struct queue_item){
            .id = {job->id, strlen(job->id)},
            .domain = {text + job->domain_at, job->domain_bytes},
            .options = {text + job->options_at, job->options_bytes},
            .body = {text + job->body_at, job->body_bytes},
        };
    }
    call->count = many->job_count;
    call->bytes = many->text.bytes;
}

/* Puts the filled call on its way, once there is a place for it. */
static enum status send_call(struct many *many, struct redis_conn *conn, struct error *err)
{
    if (many->job_count == 0) {
        return STATUS_OK;
    }
    if (many->in_flight == IN_FLIGHT) {
        const enum status status = collect(many, conn, err);
        if (status != STATUS_OK) {
            return status;
        }
    }
    struct many_call *call = &many->calls[(many->oldest + many->in_flight) % IN_FLIGHT];
    list_items(many, call);
    const enum status status =
        queue_enqueue_append(conn, many->order->queue, many->order->client->config.max_backlog,
                             many->items, many->job_count, err);
    if (status == STATUS_OK) { /* hiredis has a copy */
        many->in_flight++;
        many->job_count = 0;
        strbuf_reset(&many->text);
    }
    return status;
}

/* ---- elements ----------------------------------------------------------------------------------
 */

static size_t put(struct strbuf *text, const char *data, size_t bytes)
{
    const size_t at = text->bytes;

    strbuf_append(text, data, bytes);
    return at;
}

static enum status add_job(struct many *many, size_t index, const struct jobs_draft *draft,
                           struct error *err)
{
    const struct queue_item item = jobs_item(many->order->client, draft);
    struct many_job *job = &many->jobs[many->job_count];

    *job = (struct many_job){
        .index = index,
        .domain_bytes = item.domain.bytes,
        .options_bytes = item.options.bytes,
        .body_bytes = item.body.bytes,
    };
    memcpy(job->id, draft->id, sizeof job->id);
    job->domain_at = put(&many->text, item.domain.data, item.domain.bytes);
    job->options_at = put(&many->text, item.options.data, item.options.bytes);
    job->body_at = put(&many->text, item.body.data, item.body.bytes);
    if (!strbuf_ok(&many->text)) {
        return error_set(err, STATUS_OOM, "out of memory for a call");
    }
    many->job_count++;
    return STATUS_OK;
}

/* Checks and adds the next element; an invalid one has its outcome and is no failure. */
static enum status take_element(struct many *many, struct error *err)
{
    struct jobs_draft draft;
    struct error detail = {0};
    const size_t index = many->next;

    const enum status made = many->order->make(many->order, index, &draft, &detail);
    if (made == STATUS_INVALID) {
        (void)error_wrap(&detail, "[%zu]", index);
        note(many, &detail);
        set_outcome(many, index, STILLHOUSE_INVALID, "");
        many->next++;
        return STATUS_OK;
    }
    if (made != STATUS_OK) {
        *err = detail;
        return made;
    }
    const enum status status = add_job(many, index, &draft, err);
    if (status == STATUS_OK) {
        many->next++;
    }
    return status;
}

static enum status send_all(struct redis_conn *conn, void *context, struct error *err)
{
    struct many *many = context;
    enum status status = STATUS_OK;

    while (status == STATUS_OK && many->next < many->order->count) {
        status = take_element(many, err);
        if (status == STATUS_OK &&
            (many->job_count == QUEUE_BATCH_MAX || many->text.bytes >= CALL_BYTES)) {
            status = send_call(many, conn, err);
        }
    }
    if (status == STATUS_OK) {
        status = send_call(many, conn, err);
    }
    struct error detail = {0};
    const enum status collected = collect_all(many, conn, &detail);
    if (status == STATUS_OK && collected != STATUS_OK) {
        *err = detail;
        status = collected;
    }
    return status;
}

/* ---- the outbox ------------------------------------------------------------------------------ */

/* What is encoded and not yet written: the elements from `first` to `next` whose outcome is KEPT.
 */
struct many_keeping {
    struct many *many;
    struct strbuf records;
    size_t first;
    size_t next;
    size_t count;
    stillhouse_status failed; /* what these elements are without the outbox */
};

/* Writes it. Where the disk does not let it, the elements have their old outcome again. */
static enum status write_kept(struct many_keeping *keeping, struct error *err)
{
    const struct many_order *order = keeping->many->order;

    const enum status status =
        outbox_append(&order->client->outbox, &keeping->records, keeping->count, err);
    for (size_t i = keeping->first; status != STATUS_OK && i < keeping->next; i++) {
        if (order->outcome[i] == STILLHOUSE_KEPT) {
            set_outcome(keeping->many, i, keeping->failed, "");
        }
    }
    keeping->first = keeping->next;
    keeping->count = 0;
    return status;
}

/* Encodes one element anew: its first form went with the call. */
static enum status keep_element(struct many_keeping *keeping, size_t index, struct error *err)
{
    const struct many_order *order = keeping->many->order;
    struct jobs_draft draft;
    struct error detail = {0};

    enum status status = order->make(order, index, &draft, &detail);
    if (status == STATUS_INVALID) { /* the run had ended before it was looked at */
        (void)error_wrap(&detail, "[%zu]", index);
        (void)client_failed(order->client, &detail);
        set_outcome(keeping->many, index, STILLHOUSE_INVALID, "");
        return STATUS_OK;
    }
    const size_t before = keeping->records.bytes;
    if (status == STATUS_OK) {
        const struct queue_item item = jobs_item(order->client, &draft);
        status = keep_encode(order->queue, &item, &keeping->records, &detail);
    }
    if (status != STATUS_OK) {
        keeping->records.bytes = before;
        *err = detail;
        return status;
    }
    keeping->failed = order->outcome[index];
    set_outcome(keeping->many, index, STILLHOUSE_KEPT, draft.id);
    keeping->count++;
    return STATUS_OK;
}

/* True where the next element cannot be written along with those before it. */
static bool is_due(const struct many_keeping *keeping, stillhouse_status outcome)
{
    return keeping->count > 0 &&
           (keeping->records.bytes >= KEEP_BYTES || outcome != keeping->failed);
}

static enum status keep_elements(struct many_keeping *keeping, struct error *err)
{
    const struct many_order *order = keeping->many->order;
    enum status status = STATUS_OK;

    for (size_t i = 0; status == STATUS_OK && i < order->count; i++) {
        const stillhouse_status outcome = order->outcome[i];
        if (outcome == STILLHOUSE_OK || outcome == STILLHOUSE_INVALID) {
            continue;
        }
        keeping->next = i;
        if (is_due(keeping, outcome)) {
            status = write_kept(keeping, err);
        }
        if (status == STATUS_OK) {
            status = keep_element(keeping, i, err);
        }
    }
    keeping->next = order->count;
    struct error detail = {0};
    const enum status written = write_kept(keeping, &detail);
    if (status == STATUS_OK && written != STATUS_OK) {
        *err = detail;
        status = written;
    }
    return status;
}

/* After a run: the outbox takes what Redis did not. */
static void keep_rest(struct many *many)
{
    const struct many_order *order = many->order;
    struct many_keeping keeping = {.many = many};
    struct error err = {0};

    const enum status status = keep_elements(&keeping, &err);
    strbuf_free(&keeping.records);
    many->worst = STILLHOUSE_OK;
    for (size_t i = 0; i < order->count; i++) {
        if (severity(order->outcome[i]) > severity(many->worst)) {
            many->worst = order->outcome[i];
        }
    }
    if (status != STATUS_OK) {
        keep_say_lost(order->client, &err);
    } else if (many->worst == STILLHOUSE_KEPT) {
        keep_say_kept(order->client);
    }
}

/* ---- the public calls
 * ---------------------------------------------------------------------------- */

static enum status make_distill(const struct many_order *order, size_t index,
                                struct jobs_draft *draft, struct error *err)
{
    const stillhouse_experience *experiences = order->elements;

    return jobs_make_distill(order->client, &experiences[index], order->options, draft, err);
}

static enum status make_enrich(const struct many_order *order, size_t index,
                               struct jobs_draft *draft, struct error *err)
{
    const stillhouse_enrichment *enrichments = order->elements;

    return jobs_make_enrich(order->client, &enrichments[index], order->options, draft, err);
}

static stillhouse_status refuse(stillhouse_client *client, enum status status, const char *text)
{
    struct error err = {0};

    (void)error_set(&err, status, "%s", text);
    return client_failed(client, &err);
}

static stillhouse_status run(const struct many_order *order)
{
    struct error err = {0};

    if (order->count == 0) {
        return STILLHOUSE_OK;
    }
    if (order->elements == NULL) {
        return refuse(order->client, STATUS_INVALID, "expected an array of jobs, got NULL");
    }
    struct many *many = calloc(1, sizeof *many);
    if (many == NULL) {
        return refuse(order->client, STATUS_OOM, "out of memory");
    }
    many->order = order;
    enum status status = order->keep ? keep_make_way(order->client, 0, &err) : STATUS_OK;
    if (status == STATUS_OK) {
        status = wire_run_once(order->client->wire, send_all, many, &err);
    }
    if (status != STATUS_OK) {
        err.status = status;
        give_up(many, &err);
    }
    if (order->keep && many->worst != STILLHOUSE_OK) {
        keep_rest(many);
    }
    const stillhouse_status worst = many->worst;
    strbuf_free(&many->text);
    free(many);
    client_tidy(order->client);
    return worst;
}

stillhouse_status
stillhouse_enqueue_distill_many(stillhouse_client *client, const stillhouse_experience *experiences,
                                size_t count, const stillhouse_job_options *options,
                                stillhouse_status *outcome, char (*ids)[STILLHOUSE_ID_BYTES])
{
    if (client == NULL) {
        return STILLHOUSE_INVALID;
    }
    struct many_order order = {.client = client,
                               .queue = &client->distill,
                               .elements = experiences,
                               .count = count,
                               .options = options,
                               .outcome = outcome,
                               .ids = ids,
                               .keep = keep_is_on(client),
                               .make = make_distill};
    stillhouse_status *own = NULL;
    if (order.keep && outcome == NULL && count > 0) {
        own = calloc(count, sizeof *own);
        if (own == NULL) {
            return refuse(client, STATUS_OOM, "out of memory");
        }
        order.outcome = own;
    }
    const stillhouse_status worst = run(&order);
    free(own);
    return worst;
}

stillhouse_status
stillhouse_enqueue_enrich_many(stillhouse_client *client, const stillhouse_enrichment *enrichments,
                               size_t count, const stillhouse_job_options *options,
                               stillhouse_status *outcome, char (*ids)[STILLHOUSE_ID_BYTES])
{
    if (client == NULL) {
        return STILLHOUSE_INVALID;
    }
    return run(&(struct many_order){.client = client,
                                    .queue = &client->enrich,
                                    .elements = enrichments,
                                    .count = count,
                                    .options = options,
                                    .outcome = outcome,
                                    .ids = ids,
                                    .make = make_enrich});
}
