/* Many jobs in few calls: while the server works on some calls, the next one is encoded.
 *
 * Happy path: each element is checked and encoded behind those before it; at 500 jobs or 512 KiB
 * they go out as one call; with IN_FLIGHT calls out, the oldest one's answer is read first.
 * Failure modes: an invalid element is left out; where the server finds one of a call invalid,
 * which refuses it as a whole, its elements are sent again one by one at the end; another refused
 * call, or an answer that does not come, ends the run, and what was not sent shares its outcome.
 * Else calls are not sent twice. With an outbox, whatever is neither in nor invalid is then encoded
 * again and kept.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "enqueue/keep.h"
#include "enqueue/many.h"

enum {
    CALL_JOBS = 500, /* Redis does nothing else meanwhile: about 2 ms */
    CALL_BYTES = 512 * 1024,
    IN_FLIGHT = 4,
    BYTES_PER_MS = 16 * 1024, /* what the slowest network worth waiting for carries */
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
    size_t indexes[CALL_JOBS];
    size_t count;
    size_t bytes;
};

struct many {
    const struct many_order *order;
    struct many_job jobs[CALL_JOBS]; /* the call that is being filled */
    size_t job_count;
    struct strbuf text;
    struct many_call calls[IN_FLIGHT]; /* a ring */
    size_t oldest;
    size_t in_flight;
    size_t next;    /* element to look at */
    size_t *singly; /* elements of calls that were refused for one of them */
    size_t singly_count;
    stillhouse_status worst;
    struct queue_item items[CALL_JOBS];
    struct queue_answer answers[CALL_JOBS];
};

/* ---- outcomes ------------------------------------------------------------------------------ */

static void set_outcome(struct many *many, size_t index, stillhouse_status status, const char *id)
{
    if (many->order->outcome != NULL) {
        many->order->outcome[index] = status;
    }
    if (many->order->ids != NULL) {
        snprintf(many->order->ids[index], STILLHOUSE_ID_BYTES, "%s", id);
    }
    if (many_severity(status) > many_severity(many->worst)) {
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

/* ---- calls --------------------------------------------------------------------------------- */

static void set_bound(struct many *many, struct redis_conn *conn)
{
    size_t bytes = 0;

    for (size_t i = 0; i < many->in_flight; i++) {
        bytes += many->calls[(many->oldest + i) % IN_FLIGHT].bytes;
    }
    redis_conn_set_command_timeout(conn, many->order->client->config.bounds.command_ms +
                                             (int)(bytes / BYTES_PER_MS));
}

/* Puts the elements of a refused call aside. False when memory is short. */
static bool set_aside(struct many *many, const struct many_call *call)
{
    size_t *singly =
        reallocarray(many->singly, many->singly_count + call->count, sizeof *many->singly);

    if (singly == NULL) {
        return false;
    }
    memcpy(singly + many->singly_count, call->indexes, call->count * sizeof *singly);
    many->singly = singly;
    many->singly_count += call->count;
    return true;
}

/* Reads the oldest call's answers. A refusal is that call's alone; a broken connection all calls'.
 */
static enum status collect(struct many *many, struct redis_conn *conn, struct error *err)
{
    const struct many_call *call = &many->calls[many->oldest];

    set_bound(many, conn);
    enum status status = queue_enqueue_collect(conn, call->count, many->answers, err);
    if (status != STATUS_OK && !redis_conn_is_open(conn)) {
        return status;
    }
    if (status == STATUS_OK) {
        take_answers(many, call);
    } else if (status == STATUS_INVALID && call->count > 1 && set_aside(many, call)) {
        status = STATUS_OK;
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

/* ---- elements ------------------------------------------------------------------------------ */

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

/* Sends one of the elements that were set aside. Nothing else is on its way. */
static enum status send_alone(struct many *many, struct redis_conn *conn, size_t index,
                              struct error *err)
{
    struct jobs_draft draft;
    const struct many_call call = {.indexes = {index}, .count = 1};

    enum status status = many->order->make(many->order, index, &draft, err);
    if (status == STATUS_OK) {
        const struct queue_item item = jobs_item(many->order->client, &draft);
        status = queue_enqueue(conn, many->order->queue, many->order->client->config.max_backlog,
                               &item, 1, many->answers, err);
    }
    if (status == STATUS_OK) {
        take_answers(many, &call);
    } else if (status == STATUS_INVALID) {
        (void)error_wrap(err, "[%zu]", index);
        note(many, err);
        set_outcome(many, index, STILLHOUSE_INVALID, "");
        status = STATUS_OK;
    }
    return status;
}

/* Whoever is not reached any more shares the outcome of what failed. */
static enum status send_aside(struct many *many, struct redis_conn *conn, enum status status,
                              struct error *err)
{
    for (size_t i = 0; i < many->singly_count; i++) {
        if (status == STATUS_OK) {
            status = send_alone(many, conn, many->singly[i], err);
        }
        if (status != STATUS_OK) {
            set_outcome(many, many->singly[i], client_status(status), "");
        }
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
            (many->job_count == CALL_JOBS || many->text.bytes >= CALL_BYTES)) {
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
    return send_aside(many, conn, status, err);
}

/* ---- the public calls ---------------------------------------------------------------------- */

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
    enum status status = order->keep ? flush_make_way(order->client, 0, &err) : STATUS_OK;
    if (status == STATUS_OK) {
        status = wire_run_once(order->client->wire, send_all, many, &err);
    }
    if (status != STATUS_OK) {
        err.status = status;
        give_up(many, &err);
    }
    const stillhouse_status worst =
        order->keep && many->worst != STILLHOUSE_OK ? many_keep(order) : many->worst;
    strbuf_free(&many->text);
    free(many->singly);
    free(many);
    client_tidy(order->client);
    return worst;
}

/* What shall be kept is found by its outcome. */
static stillhouse_status run_and_keep(struct many_order *order)
{
    if (!order->keep || order->outcome != NULL || order->count == 0) {
        return run(order);
    }
    order->outcome = calloc(order->count, sizeof *order->outcome);
    if (order->outcome == NULL) {
        return refuse(order->client, STATUS_OOM, "out of memory");
    }
    const stillhouse_status worst = run(order);
    free(order->outcome);
    return worst;
}

stillhouse_status
stillhouse_enqueue_distill_many(stillhouse_client *client, const stillhouse_experience *experiences,
                                size_t count, const stillhouse_job_options *options,
                                stillhouse_status *outcome, char (*ids)[STILLHOUSE_ID_BYTES])
{
    if (!client_enter(client)) {
        return STILLHOUSE_INVALID;
    }
    const stillhouse_status worst = run_and_keep(&(struct many_order){.client = client,
                                                                      .queue = &client->distill,
                                                                      .elements = experiences,
                                                                      .count = count,
                                                                      .options = options,
                                                                      .outcome = outcome,
                                                                      .ids = ids,
                                                                      .keep = keep_is_on(client),
                                                                      .make = make_distill});
    client_leave(client);
    return worst;
}

stillhouse_status
stillhouse_enqueue_enrich_many(stillhouse_client *client, const stillhouse_enrichment *enrichments,
                               size_t count, const stillhouse_job_options *options,
                               stillhouse_status *outcome, char (*ids)[STILLHOUSE_ID_BYTES])
{
    if (!client_enter(client)) {
        return STILLHOUSE_INVALID;
    }
    const stillhouse_status worst = run(&(struct many_order){.client = client,
                                                             .queue = &client->enrich,
                                                             .elements = enrichments,
                                                             .count = count,
                                                             .options = options,
                                                             .outcome = outcome,
                                                             .ids = ids,
                                                             .make = make_enrich});
    client_leave(client);
    return worst;
}
