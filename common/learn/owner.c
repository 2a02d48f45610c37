#include "learn/owner.h"

#include <string.h>

#include "base/log.h"
#include "queue/keys.h"
#include "queue/limits.h"

static const char *store_key(const char *prefix, char out[KEYS_BYTES])
{
    return keys_name(out, KEYS_PLAIN, prefix, "learn:store");
}

static const char *lease_key(const char *prefix, char out[KEYS_BYTES])
{
    return keys_name(out, KEYS_PLAIN, prefix, "lease:learn");
}

/* *reply: the id that was there before ours; nil where ours is the first. It is read first, since a
 * full Redis takes nothing. */
static enum status register_store(struct redis_conn *conn, const struct owner *owner,
                                  redisReply **reply, struct error *err)
{
    char key[KEYS_BYTES];

    store_key(owner->prefix, key);
    TRY(redis_commandf(conn, reply, err, "GET %s", key));
    if ((*reply)->type != REDIS_REPLY_NIL) {
        return STATUS_OK;
    }
    redis_reply_free(*reply);
    *reply = NULL;
    return redis_commandf(conn, reply, err, "SET %s %s NX GET", key, owner->store_id);
}

static enum status check_store(struct redis_conn *conn, const struct owner *owner,
                               struct error *err)
{
    redisReply *reply = NULL;

    enum status status = register_store(conn, owner, &reply, err);
    if (status == STATUS_OK && reply->type == REDIS_REPLY_STRING &&
        strcmp(reply->str, owner->store_id) != 0) {
        status =
            error_set(err, STATUS_MISMATCH,
                      "redis knows the fleet's learning store as %.40s, this one is %s, another "
                      "history: bring that one here, or `stillhouse learn adopt`",
                      reply->str, owner->store_id);
    }
    redis_reply_free(reply);
    return status;
}

static enum status name_holder(struct redis_conn *conn, const char *key, struct error *err)
{
    redisReply *reply = NULL;

    TRY(redis_commandf(conn, &reply, err, "GET %s", key));
    const enum status status =
        error_set(err, STATUS_UNAVAILABLE, "worker \"%.64s\" writes to the learning store",
                  reply->type == REDIS_REPLY_STRING ? reply->str : "(its lease has just ended)");
    redis_reply_free(reply);
    return status;
}

enum status owner_claim(struct redis_conn *conn, const struct owner *owner, struct error *err)
{
    char key[KEYS_BYTES];
    bool taken = false;

    const enum status status = check_store(conn, owner, err);
    if (status == STATUS_MISMATCH) {
        owner_release(conn, owner);
    }
    TRY(status);
    if (owner->is_shared) {
        return STATUS_OK;
    }
    TRY(lease_take(conn,
                   &(struct lease){lease_key(owner->prefix, key), owner->worker, OWNER_LEASE_MS},
                   &taken, err));
    return taken ? STATUS_OK : name_holder(conn, key, err);
}

void owner_release(struct redis_conn *conn, const struct owner *owner)
{
    struct error err = {0};
    char key[KEYS_BYTES];

    if (owner->is_shared) {
        return;
    }
    if (lease_release(conn, lease_key(owner->prefix, key), owner->worker, &err) != STATUS_OK) {
        log_debug("lease \"%s\" ends by itself: %s", key, err.text);
    }
}

enum status owner_adopt(struct redis_conn *conn, const char *prefix, const char *store_id,
                        struct error *err)
{
    char key[KEYS_BYTES];

    return redis_commandf(conn, NULL, err, "SET %s %s", store_key(prefix, key), store_id);
}
