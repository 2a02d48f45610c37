/* Looking up a cached result: memory first (it cannot see a domain's changes, hence its short
 * life), then Redis. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client.h"
#include "clock.h"
#include "keys.h"

enum { MEMORY_KEY_BYTES = 2048 };

/* The raw query stands in the key, so that a hit costs no hash; NULL: too long for memory. */
static const char *memory_key(char out[MEMORY_KEY_BYTES], const char *domain, const char *query,
                              int k)
{
    int bytes = snprintf(out, MEMORY_KEY_BYTES, "%s\x1f%d\x1f%s", domain, k, query);
    return bytes > 0 && bytes < MEMORY_KEY_BYTES ? out : NULL;
}

void client_remember(stillhouse_client *client, const char *domain, const char *query, int k,
                     const struct strbuf *bytes)
{
    char key[MEMORY_KEY_BYTES];

    if (memory_key(key, domain, query, k) != NULL) {
        lru_put(client->memory, key, bytes->data, bytes->bytes, clock_now_ms());
    }
}

static enum status append_get(struct redis_conn *conn, const char *key, struct error *err)
{
    struct redis_args args = {0};

    redis_args_str(&args, "GET");
    redis_args_str(&args, key);
    enum status status = redis_conn_append(conn, &args, err);
    redis_args_free(&args);
    return status;
}

/* Epoch and number of examples asked for, from the bytes of a result. */
static enum status judge(stillhouse_client *client, const struct strbuf *bytes, int64_t epoch_now,
                         int k, bool *stale)
{
    struct arena arena = {0};
    struct enrich_result result;
    enum status status =
        bodies_decode_result(bytes->data, bytes->bytes, &arena, &result, &client->error);

    if (status == STATUS_OK && result.k < k) {
        status = error_set(&client->error, STATUS_NOT_FOUND,
                           "the cached result was made for k = %d, not %d", result.k, k);
    } else if (status == STATUS_OK) {
        *stale = result.epoch != epoch_now;
    }
    arena_free(&arena);
    return status;
}

/* GET result, GET epoch, in one round trip. */
static enum status read_cache(stillhouse_client *client, struct redis_conn *conn,
                              const char *domain, const char *query, struct strbuf *out,
                              int64_t *epoch)
{
    struct error *err = &client->error;
    char hash[TEXT_HASH_CHARS + 1];
    char key[KEYS_BYTES];
    redisReply *value = NULL;
    redisReply *number = NULL;

    text_hash(query, strlen(query), hash);
    enum status status = append_get(conn, keys_cache(key, client->prefix, domain, hash), err);
    if (status == STATUS_OK) {
        status = append_get(conn, keys_epoch(key, client->prefix, domain), err);
    }
    if (status == STATUS_OK) {
        status = redis_conn_collect(conn, &value, err);
    }
    if (status == STATUS_OK) {
        status = redis_conn_collect(conn, &number, err);
    }
    if (status == STATUS_OK) {
        status = redis_reply_status(value, err);
    }
    if (status == STATUS_OK && value->type != REDIS_REPLY_STRING) {
        status = error_set(err, STATUS_NOT_FOUND, "no cached result");
    } else if (status == STATUS_OK) {
        strbuf_append(out, value->str, (size_t)value->len);
        *epoch = number->type == REDIS_REPLY_STRING ? strtoll(number->str, NULL, 10) : 0;
        status = strbuf_ok(out) ? STATUS_OK : error_set(err, STATUS_OOM, "out of memory");
    }
    freeReplyObject(value);
    freeReplyObject(number);
    return status;
}

enum status client_find(stillhouse_client *client, const char *domain, const char *query, int k,
                        struct strbuf *out, bool *stale)
{
    char key[MEMORY_KEY_BYTES];
    size_t bytes = 0;
    const char *known = memory_key(key, domain, query, k);
    const void *value =
        known != NULL ? lru_get(client->memory, known, clock_now_ms(), &bytes) : NULL;

    *stale = false;
    client->error.text[0] = '\0';
    if (value != NULL) {
        strbuf_append(out, value, bytes);
        return strbuf_ok(out) ? STATUS_OK : STATUS_OOM;
    }

    struct client_server *server = client->one_redis ? &client->queue : &client->cache;
    int64_t epoch = 0;
    enum status status = client_connect(client, server);
    if (status == STATUS_OK) {
        status = read_cache(client, server->conn, domain, query, out, &epoch);
        client_note(client, server, status);
    }
    if (status == STATUS_OK) {
        status = judge(client, out, epoch, k, stale);
    }
    if (status == STATUS_OK && !*stale) {
        client_remember(client, domain, query, k, out);
    }
    return status;
}

stillhouse_status stillhouse_lookup(stillhouse_client *client, const char *domain,
                                    const char *query, int k, stillhouse_result **result)
{
    struct strbuf bytes = {0};
    bool stale = false;

    *result = NULL;
    enum status status = client_check_domain(client, domain);
    if (status == STATUS_OK) {
        status = client_check_query(client, query, &k);
    }
    if (status == STATUS_OK) {
        status = client_find(client, domain, query, k, &bytes, &stale);
    }
    if (status == STATUS_OK) {
        *result = client_make_result(client, bytes.data, bytes.bytes, stale);
        status = *result != NULL ? STATUS_OK : client->error.status;
    }
    strbuf_free(&bytes);
    return client_status(client, status);
}
