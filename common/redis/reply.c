#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "redis/conn.h"

/* The table of redis/conn.h, "what an error reply means"; tests/fault/test_redis_errors.c has a
 * test for each row. What is not here is REFUSED and keeps the connection. */
static const struct error_class {
    const char *word;
    enum status status;
    bool reconnect;
} classes[] = {
    {"OOM", STATUS_OOM, false},
    {"BUSY", STATUS_UNAVAILABLE, false},
    {"TRYAGAIN", STATUS_UNAVAILABLE, false},
    {"CLUSTERDOWN", STATUS_UNAVAILABLE, false},
    {"LOADING", STATUS_UNAVAILABLE, true},
    {"MASTERDOWN", STATUS_UNAVAILABLE, true},
    {"MISCONF", STATUS_UNAVAILABLE, true},
    {"NOREPLICAS", STATUS_UNAVAILABLE, true},
    {"READONLY", STATUS_UNAVAILABLE, true},
    {"UNBLOCKED", STATUS_UNAVAILABLE, true},
    {"NOGROUP", STATUS_NOT_FOUND, false},
    {"SHFULL", STATUS_FULL, false},
    {"SHINVALID", STATUS_INVALID, false},
};

static const struct error_class *find_class(const char *text, size_t bytes)
{
    const char *space = bytes == 0 ? NULL : memchr(text, ' ', bytes);
    const size_t word_bytes = space == NULL ? bytes : (size_t)(space - text);

    for (size_t i = 0; i < sizeof classes / sizeof classes[0]; i++) {
        if (strlen(classes[i].word) == word_bytes &&
            memcmp(classes[i].word, text, word_bytes) == 0) {
            return &classes[i];
        }
    }
    return NULL;
}

enum status redis_classify(const char *text, size_t bytes)
{
    const struct error_class *found = find_class(text, bytes);

    return found == NULL ? STATUS_REFUSED : found->status;
}

bool redis_is_wrong_type(const struct error *err)
{
    return err->status == STATUS_REFUSED && strstr(err->text, "WRONGTYPE ") != NULL;
}

enum status redis_reply_status(const redisReply *reply, struct error *err)
{
    if (reply->type != REDIS_REPLY_ERROR) {
        return STATUS_OK;
    }

    const enum status status = redis_classify(reply->str, (size_t)reply->len);
    const char *text = reply->str;
    if (status == STATUS_INVALID || status == STATUS_FULL) {
        text = strchr(text, ' ') == NULL ? text : strchr(text, ' ') + 1; /* our own marker */
    }
    if (strncmp(text, "MOVED ", 6) == 0 || strncmp(text, "ASK ", 4) == 0) {
        return error_set(err, status,
                         "%.120s: a Redis Cluster, whose redirections are not followed; expected a "
                         "server that holds all keys",
                         text);
    }
    /* What follows is the beginning of what we sent. */
    const char *quoted = strstr(text, ", with args beginning with");
    return error_set(err, status, "%.*s",
                     (int)(quoted == NULL ? strlen(text) : (size_t)(quoted - text)), text);
}

bool redis_reply_wants_reconnect(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ERROR) {
        return false;
    }
    const struct error_class *found = find_class(reply->str, (size_t)reply->len);
    return found != NULL && found->reconnect;
}

enum status redis_conn_time(struct redis_conn *conn, int64_t *unix_ms, struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    const int64_t before_ms = clock_now_ms();
    redis_args_str(&args, "TIME");
    enum status status = redis_conn_command(conn, &args, &reply, err);
    redis_args_free(&args);
    if (status != STATUS_OK) {
        return status;
    }
    const int64_t took_ms = clock_now_ms() - before_ms;

    if (reply->type == REDIS_REPLY_ARRAY && reply->elements == 2 &&
        reply->element[0]->type == REDIS_REPLY_STRING &&
        reply->element[1]->type == REDIS_REPLY_STRING) {
        *unix_ms = strtoll(reply->element[0]->str, NULL, 10) * 1000 +
                   strtoll(reply->element[1]->str, NULL, 10) / 1000 + took_ms / 2;
    } else {
        status = error_set(err, STATUS_GARBLED, "TIME: an answer of another shape");
    }
    redis_reply_free(reply);
    return status;
}
