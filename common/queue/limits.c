
#include "queue/limits.h"
#include "queue/internal.h"

enum status lease_take(struct redis_conn *conn, const char *key, const char *token, int64_t ttl_ms,
                       bool *taken, struct error *err)
{
    size_t yes = 0;

    const enum status status =
        queue_countf(conn, &yes, err, "FCALL sh_lease_take 1 %s %s %jd", key, token, ttl_ms);
    *taken = yes == 1;
    return status;
}

enum status lease_renew(struct redis_conn *conn, const char *key, const char *token, int64_t ttl_ms,
                        bool *held, struct error *err)
{
    size_t yes = 0;

    const enum status status =
        queue_countf(conn, &yes, err, "FCALL sh_lease_renew 1 %s %s %jd", key, token, ttl_ms);
    *held = yes == 1;
    return status;
}

enum status lease_release(struct redis_conn *conn, const char *key, const char *token,
                          struct error *err)
{
    return queue_callf(conn, "#", NULL, err, "FCALL sh_lease_release 1 %s %s", key, token);
}

enum status ratelimit_take(struct redis_conn *conn, const char *key, int64_t count,
                           int64_t window_ms, int64_t cost, int64_t *wait_ms, struct error *err)
{
    size_t wait = 0;

    TRY(queue_countf(conn, &wait, err, "FCALL sh_rate 1 %s %jd %jd %jd", key, count, window_ms,
                     cost));
    *wait_ms = (int64_t)wait;
    return STATUS_OK;
}
