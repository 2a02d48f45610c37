#include "prompt/lookup.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/text.h"
#include "enqueue/make.h"
#include "jobs/bodies.h"
#include "prompt/result.h"
#include "queue/enqueue.h"

/* Redis looks at the clocks of those who wait about ten times a second, so its "nothing came" may
 * come so much late; a Redis that says nothing at all is not waited for longer. */
enum { LATE_MS = 250, PAUSE_MS = 50, PAUSE_MAX_MS = 500 };

enum status lookup_check(struct question *asked, struct error *err)
{
    const char *query = asked->query;
    const enum status status = make_check_domain(asked->domain, err);
    if (status != STATUS_OK) {
        return status;
    }
    if (query == NULL || text_is_blank(query, strlen(query))) {
        return error_set(err, STATUS_INVALID, "query: expected text, got %s",
                         query == NULL ? "NULL" : "nothing but white space");
    }
    if (!text_is_utf8(query, strlen(query))) {
        return error_set(err, STATUS_INVALID, "query: expected UTF-8");
    }
    if (asked->k < 0 || asked->k > BODIES_K_MAX) {
        return error_set(err, STATUS_INVALID, "k %d: expected 1 to %d, or 0 for %d", asked->k,
                         BODIES_K_MAX, BODIES_K_DEFAULT);
    }
    asked->k = asked->k == 0 ? BODIES_K_DEFAULT : asked->k;
    return STATUS_OK;
}

/* ---- decoding ------------------------------------------------------------------------------ */

static bool is_asked_for(const struct enrich_result *result, const struct question *asked)
{
    char hash[TEXT_HASH_CHARS + 1];

    text_hash(asked->query, strlen(asked->query), hash);
    return bodies_result_is_of(result, asked->domain, hash);
}

/* Decodes into the client's arena. */
static enum status decode(stillhouse_client *client, const struct lookup_bytes *from,
                          const struct question *asked, struct enrich_result *out,
                          struct error *err)
{
    const enum status status =
        bodies_decode_result(from->data, from->bytes, &client->arena, out, err);
    if (status != STATUS_OK) {
        (void)error_wrap(err, "result");
        return status == STATUS_INVALID ? STATUS_FAILED : status;
    }
    if (out->error.data != NULL || asked == NULL) {
        return STATUS_OK;
    }
    if (!is_asked_for(out, asked)) {
        return error_set(err, STATUS_MISMATCH, "the result is another query's or another domain's");
    }
    return out->k >= asked->k
               ? STATUS_OK
               : error_set(err, STATUS_NOT_FOUND, "the result has %d examples at most, expected %d",
                           out->k, asked->k);
}

enum status lookup_decode(stillhouse_client *client, const struct lookup_bytes *from,
                          const struct question *asked, stillhouse_result **out, struct error *err)
{
    struct enrich_result decoded;
    size_t bytes = 0;

    *out = NULL;
    enum status status = decode(client, from, asked, &decoded, err);
    if (status == STATUS_OK) {
        const bool stale = from->epoch_known && decoded.epoch != from->epoch;
        *out = result_make(&decoded, stale, &bytes);
        status =
            *out != NULL ? STATUS_OK : error_set(err, STATUS_OOM, "out of memory for a result");
    }
    if (status == STATUS_OK && asked != NULL) {
        const struct question answered = {asked->domain, asked->query, decoded.k};
        memory_hold(client->memory);
        memory_keep(client->memory, &answered, *out, bytes, clock_now_ms());
        memory_release(client->memory);
    }
    client_tidy(client);
    return status;
}

/* ---- Redis --------------------------------------------------------------------------------- */

struct request {
    char cache_key[KEYS_BYTES];
    char epoch_key[KEYS_BYTES];
    struct counts *counts; /* NULL: this is not their Redis */
    redisReply *reply;     /* of MGET: the result, the epoch */
};

static enum status append_get(struct redis_conn *conn, const struct request *request,
                              struct error *err)
{
    struct redis_args args = {0};

    redis_args_format(&args, "MGET %s %s", request->cache_key, request->epoch_key);
    const enum status status = redis_conn_append(conn, &args, err);
    redis_args_free(&args);
    return status;
}

/* The result and the domain's epoch, and in their shadow what is to be counted. */
static enum status get_both(struct redis_conn *conn, void *context, struct error *err)
{
    struct request *request = context;
    const int64_t deadline_ms = clock_now_ms() + redis_conn_command_timeout(conn);

    redis_reply_free(request->reply);
    request->reply = NULL;
    enum status status = append_get(conn, request, err);
    if (status == STATUS_OK && request->counts != NULL) {
        counts_append(request->counts, conn);
    }
    if (status == STATUS_OK) {
        status = redis_conn_collect(conn, &request->reply, err);
    }
    if (request->counts != NULL) {
        link_limit(conn, deadline_ms);
        counts_collect(request->counts, conn);
    }
    return status;
}

/* The domain's epoch: 0 before its first write. False for what is no number. */
static bool read_epoch(const redisReply *reply, int64_t *epoch)
{
    char *end = NULL;

    *epoch = 0;
    if (reply->type == REDIS_REPLY_NIL) {
        return true;
    }
    if (reply->type != REDIS_REPLY_STRING || reply->len == 0) {
        return false;
    }
    *epoch = strtoll(reply->str, &end, 10);
    return *end == '\0';
}

static enum status read_replies(stillhouse_client *client, const struct request *request,
                                const struct question *asked, stillhouse_result **out,
                                struct error *err)
{
    int64_t epoch = 0;

    const enum status status = redis_reply_status(request->reply, err);
    if (status != STATUS_OK) {
        return status;
    }
    if (request->reply->type != REDIS_REPLY_ARRAY || request->reply->elements != 2) {
        return error_set(err, STATUS_GARBLED, "MGET: an answer of another shape");
    }
    const redisReply *result = request->reply->element[0];
    const bool epoch_known = read_epoch(request->reply->element[1], &epoch);
    if (epoch_known) {
        memory_hold(client->memory);
        memory_note_epoch(client->memory, asked->domain, epoch);
        memory_release(client->memory);
    }
    if (result->type == REDIS_REPLY_NIL) {
        return error_set(err, STATUS_NOT_FOUND, "nothing cached in domain \"%s\" for this query",
                         asked->domain);
    }
    if (result->type != REDIS_REPLY_STRING || !epoch_known) {
        return error_set(err, STATUS_FAILED, "\"%s\" or \"%s\" is of another kind",
                         request->cache_key, request->epoch_key);
    }
    const struct lookup_bytes bytes = {
        .data = result->str,
        .bytes = (size_t)result->len,
        .epoch_known = true,
        .epoch = epoch,
    };
    return lookup_decode(client, &bytes, asked, out, err);
}

enum status lookup_fetch(stillhouse_client *client, const struct question *asked,
                         stillhouse_result **out, struct error *err)
{
    struct request request = {.counts =
                                  client->cache_link == client->link ? &client->counts : NULL};
    char hash[TEXT_HASH_CHARS + 1];

    *out = NULL;
    text_hash(asked->query, strlen(asked->query), hash);
    (void)keys_name(request.cache_key, KEYS_CACHE, client->config.prefix, asked->domain, hash);
    (void)keys_name(request.epoch_key, KEYS_EPOCH, client->config.prefix, asked->domain);
    enum status status = link_run(client->cache_link, get_both, &request, err);
    if (status == STATUS_OK) {
        status = read_replies(client, &request, asked, out, err);
        if (status ==
            STATUS_MISMATCH) { /* perhaps the answers of this connection are out of step */
            link_distrust(client->cache_link);
            status = STATUS_FAILED;
        }
    }
    redis_reply_free(request.reply);
    return status;
}

/* ---- waiting for a reply -------------------------------------------------------------------- */

struct waiting {
    struct link *link;
    const struct queue *queue;
    const char *id;
    int64_t deadline_ms; /* of the whole wait, also where the connection has to be made anew */
    bool begun;          /* Redis was there */
    struct strbuf *out;
};

/* Where "nothing came" is later than we may wait, the connection is given up. That is no sign of a
 * server that hangs, unless nothing was ever answered on this connection: hence the question
 * before. */
static enum status wait_for_reply(struct redis_conn *conn, void *context, struct error *err)
{
    struct waiting *waiting = context;

    enum status status = link_prove(waiting->link, err);
    if (status != STATUS_OK) {
        return status;
    }
    const int64_t left_ms = waiting->deadline_ms - clock_now_ms();
    waiting->begun = true;
    strbuf_reset(waiting->out);
    status = queue_await_reply(conn, waiting->queue, waiting->id, left_ms < 0 ? 0 : left_ms,
                               waiting->out, err);
    return status == STATUS_TIMEOUT
               ? error_set(err, STATUS_NOT_FOUND, "no reply for job \"%.64s\" in time", waiting->id)
               : status;
}

/* What may be otherwise while there is time: a restart, a failover, a full Redis, somebody who
 * unblocked us. */
static bool may_pass(const struct waiting *waiting, enum status status)
{
    return waiting->begun &&
           (status_may_pass(status) || status == STATUS_OOM || status == STATUS_NOT_FOUND);
}

/* Until the link tries again, but not beyond the wait. False when that is over. */
static bool pause_for(const struct waiting *waiting, int pause_ms)
{
    const int64_t left_ms = waiting->deadline_ms - clock_now_ms();
    const int64_t quiet_ms = link_quiet_ms(waiting->link);
    int64_t ms = quiet_ms > pause_ms ? quiet_ms : pause_ms;

    ms = ms > left_ms ? left_ms : ms;
    if (ms > 0) {
        const struct timespec nap = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
        (void)nanosleep(&nap, NULL); /* woken early, it is asked early */
    }
    return clock_now_ms() < waiting->deadline_ms;
}

enum status await_reply(stillhouse_client *client, const struct queue *queue, const char *id,
                        int wait_ms, struct strbuf *out, struct error *err)
{
    const int command_ms = client->config.bounds.command_ms;
    struct waiting waiting = {
        .link = client->link,
        .queue = queue,
        .id = id,
        .deadline_ms = clock_now_ms() + wait_ms,
        .out = out,
    };
    const int late_ms = wait_ms == 0 || command_ms < LATE_MS ? command_ms : LATE_MS;
    int pause_ms = PAUSE_MS;

    for (;;) {
        const enum status status = link_run_until(client->link, waiting.deadline_ms + late_ms,
                                                  wait_for_reply, &waiting, err);
        if (!may_pass(&waiting, status) || !pause_for(&waiting, pause_ms)) {
            return status;
        }
        pause_ms = pause_ms < PAUSE_MAX_MS / 2 ? pause_ms * 2 : PAUSE_MAX_MS;
    }
}

/* ---- the public calls ---------------------------------------------------------------------- */

static enum status look_up(stillhouse_client *client, struct question *asked,
                           stillhouse_result **out, struct error *err)
{
    const int k = asked->k;
    struct memory_hit hit = {0};

    /* What is in memory passed the checks when it came there. */
    if (asked->domain != NULL && asked->query != NULL && k >= 0 && k <= BODIES_K_MAX) {
        asked->k = k == 0 ? BODIES_K_DEFAULT : k;
        memory_hold(client->memory);
        const enum memory_answer found = memory_find(client->memory, asked, clock_now_ms(), &hit);
        if (found == MEMORY_HIT) {
            *out = result_copy(hit.piece, hit.bytes, hit.made_at);
        }
        memory_release(client->memory);
        counts_add(&client->counts, COUNTS_MEMORY_MISS + found);
        if (found == MEMORY_HIT) {
            return *out != NULL ? STATUS_OK
                                : error_set(err, STATUS_OOM, "out of memory for a result");
        }
    }
    const enum status status = lookup_check(asked, err);
    return status == STATUS_OK ? lookup_fetch(client, asked, out, err) : status;
}

stillhouse_status stillhouse_lookup(stillhouse_client *client, const char *domain,
                                    const char *query, int k, stillhouse_result **result)
{
    struct question asked = {domain, query, k};
    struct error err = {0};

    if (result != NULL) {
        *result = NULL;
    }
    if (!client_enter(client)) {
        return STILLHOUSE_INVALID;
    }
    const enum status status =
        result == NULL
            ? error_set(&err, STATUS_INVALID, "result: expected a place for it, got NULL")
            : look_up(client, &asked, result, &err);
    return client_finish(client, status, &err);
}

static enum status check_arguments(const stillhouse_client *client, const char *queue,
                                   const char *id, int wait_ms, struct queue *target,
                                   struct error *err)
{
    if (id == NULL || !text_is_id(id, strlen(id))) {
        return error_set(err, STATUS_INVALID, "id \"%.64s\": expected 1 to 64 of A-Za-z0-9._:-",
                         id == NULL ? "(null)" : id);
    }
    if (wait_ms < 0) {
        return error_set(err, STATUS_INVALID, "wait_ms %d: expected 0 or more", wait_ms);
    }
    return queue_init(target, client->config.prefix, queue == NULL ? "" : queue, err);
}

static enum status await_named(stillhouse_client *client, const char *queue, const char *id,
                               int wait_ms, struct strbuf *out, struct error *err)
{
    struct queue target;

    const enum status status = check_arguments(client, queue, id, wait_ms, &target, err);
    return status == STATUS_OK ? await_reply(client, &target, id, wait_ms, out, err) : status;
}

stillhouse_status stillhouse_await_raw(stillhouse_client *client, const char *queue, const char *id,
                                       int wait_ms, void **body, size_t *body_bytes)
{
    struct strbuf out = {0};
    struct error err = {0};

    if (body != NULL) {
        *body = NULL;
    }
    if (!client_enter(client)) {
        return STILLHOUSE_INVALID;
    }
    if (body == NULL || body_bytes == NULL) {
        (void)error_set(&err, STATUS_INVALID, "body, body_bytes: expected places for them");
        return client_finish(client, STATUS_INVALID, &err);
    }
    *body_bytes = 0;
    const enum status status = await_named(client, queue, id, wait_ms, &out, &err);
    if (status == STATUS_OK) {
        *body = out.data; /* of malloc, as the caller's free() wants it */
        *body_bytes = out.bytes;
    } else {
        strbuf_free(&out);
    }
    return client_finish(client, status, &err);
}

stillhouse_status stillhouse_await(stillhouse_client *client, const char *queue, const char *id,
                                   int wait_ms, stillhouse_result **result)
{
    struct strbuf out = {0};
    struct error err = {0};

    if (result != NULL) {
        *result = NULL;
    }
    if (!client_enter(client)) {
        return STILLHOUSE_INVALID;
    }
    if (result == NULL) {
        (void)error_set(&err, STATUS_INVALID, "result: expected a place for it, got NULL");
        return client_finish(client, STATUS_INVALID, &err);
    }
    enum status status = await_named(client, queue, id, wait_ms, &out, &err);
    if (status == STATUS_OK) {
        const struct lookup_bytes bytes = {.data = out.data, .bytes = out.bytes};
        status = lookup_decode(client, &bytes, NULL, result, &err);
    }
    strbuf_free(&out);
    return client_finish(client, status, &err);
}
