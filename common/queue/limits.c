
#include "queue/limits.h"
#include "queue/internal.h"

/* A call that answers whether the lease is ours now. */
static enum status hold(struct redis_conn *conn, const char *function, const struct lease *lease,
                        bool *held, struct error *err)
{
    size_t yes = 0;

    const enum status status = queue_countf(conn, &yes, err, "FCALL %s 1 %s %s %jd", function,
                                            lease->key, lease->token, lease->ttl_ms);
    *held = yes == 1;
    return status;
}

enum status lease_take(struct redis_conn *conn, const struct lease *lease, bool *taken,
                       struct error *err)
{
    return hold(conn, "sh_lease_take", lease, taken, err);
}

enum status lease_renew(struct redis_conn *conn, const struct lease *lease, bool *held,
                        struct error *err)
{
    return hold(conn, "sh_lease_renew", lease, held, err);
}

enum status lease_release(struct redis_conn *conn, const char *key, const char *token,
                          struct error *err)
{
    return redis_fetchf(conn, "#", NULL, err, "FCALL sh_lease_release 1 %s %s", key, token);
}

enum status ratelimit_take(struct redis_conn *conn, const struct rate *rate, int64_t cost,
                           int64_t *wait_ms, struct error *err)
{
    size_t wait = 0;

    TRY(queue_countf(conn, &wait, err, "FCALL sh_rate 1 %s %jd %jd %jd", rate->key, rate->count,
                     rate->window_ms, cost));
    *wait_ms = (int64_t)wait;
    return STATUS_OK;
}
