/* cli/commands/result.c - what the cache holds for a query, as it stands there. */
#include <cjson/cJSON.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "jobs/bodies.h"
#include "queue/keys.h"

/* NOT_FOUND when the key is not there, or not a string. */
static enum status get(struct redis_conn *conn, const char *key, struct strbuf *out,
                       struct error *err)
{
    redisReply *reply = NULL;

    enum status status = redis_commandf(conn, &reply, err, "GET %s", key);
    if (status != STATUS_OK) {
        return status;
    }
    if (reply->type == REDIS_REPLY_STRING) {
        strbuf_append(out, reply->str, (size_t)reply->len);
        if (!strbuf_ok(out)) {
            status = error_set(err, STATUS_OOM, "out of memory");
        }
    } else {
        status = error_set(err, STATUS_NOT_FOUND, "nothing under \"%s\"", key);
    }
    redis_reply_free(reply);
    return status;
}

/* The domain's epoch now; 0 before its first write. */
static enum status get_epoch(struct redis_conn *conn, const char *key, int64_t *epoch,
                             struct error *err)
{
    struct strbuf text = {0};

    *epoch = 0;
    enum status status = get(conn, key, &text, err);
    if (status == STATUS_OK) {
        *epoch = strtoll(text.data, NULL, 10);
    } else if (status == STATUS_NOT_FOUND) {
        status = STATUS_OK;
    }
    strbuf_free(&text);
    return status;
}

/* The result and "stale" behind its own fields. */
static int print_result(const struct cli *cli, const struct strbuf *result, int64_t epoch)
{
    struct strbuf document = {0};
    struct arena arena = {0};
    struct enrich_result decoded;
    struct error err = {0};

    enum status status = bodies_decode_result(result->data, result->bytes, &arena, &decoded, &err);
    if (status == STATUS_OK) {
        status = bodies_to_json(result->data, result->bytes,
                                &(struct json_writer){.out = &document}, NULL, &err);
    }
    const bool stale = status == STATUS_OK && decoded.epoch < epoch;
    arena_free(&arena);
    if (status != STATUS_OK) {
        strbuf_free(&document);
        cli_message("the cached result: %s", err.text);
        return CLI_FAILED;
    }
    if (strbuf_ok(&document)) {
        document.bytes--; /* the map's closing brace */
        strbuf_printf(&document, ",\"stale\":%s}", stale ? "true" : "false");
    }
    const int code = cli->json ? json_print(&document) : json_print_indented(&document);
    strbuf_free(&document);
    return code;
}

static int look_up(const struct cli *cli, struct redis_conn *conn, const char *domain,
                   const char *query)
{
    const char *prefix = cli->settings.prefix;
    struct strbuf result = {0};
    struct error err = {0};
    char hash[TEXT_HASH_CHARS + 1];
    char key[KEYS_BYTES];
    int64_t epoch = 0;
    int code;

    text_hash(query, strlen(query), hash);
    enum status status = get(conn, keys_cache(key, prefix, domain, hash), &result, &err);
    if (status == STATUS_OK) {
        status = get_epoch(conn, keys_epoch(key, prefix, domain), &epoch, &err);
    }
    if (status == STATUS_NOT_FOUND) {
        cli_message("no result for \"%s\" in domain \"%s\" is cached", query, domain);
        code = CLI_NOT_FOUND;
    } else {
        code = status == STATUS_OK ? print_result(cli, &result, epoch) : cli_fail(&err);
    }
    strbuf_free(&result);
    return code;
}

int cmd_result(struct cli *cli)
{
    struct redis_conn *conn = NULL;
    const char *domain = NULL;
    const char *query = NULL;

    int code = cli_check_arguments(cli, 0, 0, "");
    if (code == CLI_DONE) {
        code = cli_get_domain(cli, true, &domain);
    }
    if (code == CLI_DONE) {
        code = cli_get_text(cli, "query", &query);
    }
    if (code == CLI_DONE) {
        code = connect_cache(cli, &conn);
    }
    if (code == CLI_DONE) {
        code = look_up(cli, conn, domain, query);
    }
    redis_conn_free(conn);
    return code;
}
