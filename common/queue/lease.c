#include "queue/lease.h"

/* A call that answers 1 or 0. `ttl_ms` may be NULL: none is sent. */
static enum status call(struct redis_conn *conn, const char *function, const char *key,
                        const char *token, const int64_t *ttl_ms, bool *yes, struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    *yes = false;
    redis_args_str(&args, "FCALL");
    redis_args_str(&args, function);
    redis_args_str(&args, "1");
    redis_args_str(&args, key);
    redis_args_str(&args, token);
    if (ttl_ms != NULL) {
        redis_args_int(&args, *ttl_ms);
    }
    enum status status = redis_conn_command(conn, &args, &reply, err);
    redis_args_free(&args);
    if (status != STATUS_OK) {
        return status;
    }
    if (reply->type == REDIS_REPLY_INTEGER) {
        *yes = reply->integer == 1;
    } else {
        status = error_set(err, STATUS_GARBLED, "%s: an answer of another shape", function);
    }
    redis_reply_free(reply);
    return status;
}

enum status lease_take(struct redis_conn *conn, const char *key, const char *token, int64_t ttl_ms,
                       bool *taken, struct error *err)
{
    return call(conn, "sh_lease_take", key, token, &ttl_ms, taken, err);
}

enum status lease_renew(struct redis_conn *conn, const char *key, const char *token, int64_t ttl_ms,
                        bool *held, struct error *err)
{
    return call(conn, "sh_lease_renew", key, token, &ttl_ms, held, err);
}

enum status lease_release(struct redis_conn *conn, const char *key, const char *token,
                          struct error *err)
{
    bool released;

    return call(conn, "sh_lease_release", key, token, NULL, &released, err);
}
