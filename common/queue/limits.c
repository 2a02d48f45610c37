
#include "queue/limits.h"
#include "queue/internal.h"

/* What a call says that answers 1 or 0. */
static enum status judge(enum status status, redisReply *reply, bool *yes)
{
    *yes = status == STATUS_OK && reply->integer == 1;
    redis_reply_free(reply);
    return status;
}

enum status lease_take(struct redis_conn *conn, const char *key, const char *token, int64_t ttl_ms,
                       bool *taken, struct error *err)
{
    redisReply *reply = NULL;
    const enum status status = queue_callf(conn, REDIS_REPLY_INTEGER, &reply, err,
                                           "FCALL sh_lease_take 1 %s %s %jd", key, token, ttl_ms);

    return judge(status, reply, taken);
}

enum status lease_renew(struct redis_conn *conn, const char *key, const char *token, int64_t ttl_ms,
                        bool *held, struct error *err)
{
    redisReply *reply = NULL;
    const enum status status = queue_callf(conn, REDIS_REPLY_INTEGER, &reply, err,
                                           "FCALL sh_lease_renew 1 %s %s %jd", key, token, ttl_ms);

    return judge(status, reply, held);
}

enum status lease_release(struct redis_conn *conn, const char *key, const char *token,
                          struct error *err)
{
    return queue_countf(conn, NULL, err, "FCALL sh_lease_release 1 %s %s", key, token);
}

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
