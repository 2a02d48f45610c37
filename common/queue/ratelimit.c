#include "queue/ratelimit.h"

#include "queue/internal.h"

enum status ratelimit_take(struct redis_conn *conn, const char *key, int64_t count,
                           int64_t window_ms, int64_t cost, int64_t *wait_ms, struct error *err)
{
    redisReply *reply = NULL;

    enum status status = queue_callf(conn, REDIS_REPLY_INTEGER, &reply, err,
                                     "FCALL sh_rate 1 %s %jd %jd %jd", key, count, window_ms, cost);
    if (status != STATUS_OK) {
        return status;
    }
    if (reply->integer >= 0) {
        *wait_ms = reply->integer;
    } else {
        status = queue_bad_shape("sh_rate", err);
    }
    redis_reply_free(reply);
    return status;
}
