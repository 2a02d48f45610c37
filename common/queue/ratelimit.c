#include "queue/ratelimit.h"

enum status ratelimit_take(struct redis_conn *conn, const char *key, int64_t count,
                           int64_t window_ms, int64_t cost, int64_t *wait_ms, struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    redis_args_str(&args, "FCALL");
    redis_args_str(&args, "sh_rate");
    redis_args_str(&args, "1");
    redis_args_str(&args, key);
    redis_args_int(&args, count);
    redis_args_int(&args, window_ms);
    redis_args_int(&args, cost);
    enum status status = redis_conn_command(conn, &args, &reply, err);
    redis_args_free(&args);
    if (status != STATUS_OK) {
        return status;
    }
    if (reply->type == REDIS_REPLY_INTEGER && reply->integer >= 0) {
        *wait_ms = reply->integer;
    } else {
        status = error_set(err, STATUS_GARBLED, "sh_rate: an answer of another shape");
    }
    redis_reply_free(reply);
    return status;
}
