#include "prompt/lookup.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/text.h"
#include "enqueue/make.h"
#include "jobs/bodies.h"
#include "prompt/result.h"

enum status lookup_check(const char *domain, const char *query, int *k, struct error *err)
{
    const enum status status = make_check_domain(domain, err);
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
    if (*k < 0 || *k > BODIES_K_MAX) {
        return error_set(err, STATUS_INVALID, "k %d: expected 1 to %d, or 0 for %d", *k,
                         BODIES_K_MAX, BODIES_K_DEFAULT);
    }
    *k = *k == 0 ? BODIES_K_DEFAULT : *k;
    return STATUS_OK;
}

/* ---- decoding ------------------------------------------------------------------------------ */

static bool is_asked_for(const struct enrich_result *result, const struct lookup_for *asked)
{
    char hash[TEXT_HASH_CHARS + 1];

    text_hash(asked->query, strlen(asked->query), hash);
    return bodies_result_is_of(result, asked->domain, hash);
}

/* Decodes into the client's arena. */
static enum status decode(stillhouse_client *client, const struct lookup_bytes *from,
                          const struct lookup_for *asked, struct enrich_result *out,
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
                          const struct lookup_for *asked, stillhouse_result **out,
                          struct error *err)
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
        memory_keep(&client->memory, asked->domain, asked->query, decoded.k, *out, bytes,
                    clock_now_ms());
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
        wire_limit(conn, deadline_ms);
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
                                const struct lookup_for *asked, stillhouse_result **out,
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
        memory_note_epoch(&client->memory, asked->domain, epoch);
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

enum status lookup_fetch(stillhouse_client *client, const struct lookup_for *asked,
                         stillhouse_result **out, struct error *err)
{
    struct request request = {.counts =
                                  client->cache_wire == client->wire ? &client->counts : NULL};
    char hash[TEXT_HASH_CHARS + 1];

    *out = NULL;
    text_hash(asked->query, strlen(asked->query), hash);
    (void)keys_cache(request.cache_key, client->config.prefix, asked->domain, hash);
    (void)keys_epoch(request.epoch_key, client->config.prefix, asked->domain);
    enum status status = wire_run(client->cache_wire, get_both, &request, err);
    if (status == STATUS_OK) {
        status = read_replies(client, &request, asked, out, err);
        if (status ==
            STATUS_MISMATCH) { /* perhaps the answers of this connection are out of step */
            wire_distrust(client->cache_wire);
            status = STATUS_FAILED;
        }
    }
    redis_reply_free(request.reply);
    return status;
}

/* ---- the public call ----------------------------------------------------------------------- */

static enum status look_up(stillhouse_client *client, const char *domain, const char *query, int k,
                           stillhouse_result **out, struct error *err)
{
    enum memory_answer found = MEMORY_MISS;
    struct memory_hit hit = {0};

    /* What is in memory passed the checks when it came there. */
    if (domain != NULL && query != NULL && k >= 0 && k <= BODIES_K_MAX) {
        found = memory_find(&client->memory, domain, query, k == 0 ? BODIES_K_DEFAULT : k,
                            clock_now_ms(), &hit);
        counts_add(&client->counts, COUNTS_MEMORY_MISS + found);
    }
    if (found == MEMORY_HIT) {
        *out = result_copy(hit.piece, hit.bytes, hit.made_at);
        return *out != NULL ? STATUS_OK : error_set(err, STATUS_OOM, "out of memory for a result");
    }
    const enum status status = lookup_check(domain, query, &k, err);
    return status == STATUS_OK
               ? lookup_fetch(client, &(struct lookup_for){domain, query, k}, out, err)
               : status;
}

stillhouse_status stillhouse_lookup(stillhouse_client *client, const char *domain,
                                    const char *query, int k, stillhouse_result **result)
{
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
            : look_up(client, domain, query, k, result, &err);
    return client_finish(client, status, &err);
}
