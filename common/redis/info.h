/* redis/info.h - what a Redis says about itself in INFO.
 *
 *     struct redis_info info;
 *     char role[REDIS_INFO_BYTES];
 *     status = redis_info_get(conn, "replication", &info, &err);
 *     if (status == STATUS_OK) {
 *         puts(redis_info_text(&info, "role", role));
 *         redis_info_free(&info);
 *     }
 *
 * In the connection's thread.
 */
#ifndef STILLHOUSE_REDIS_INFO_H
#define STILLHOUSE_REDIS_INFO_H

#include <stdint.h>

#include "redis/conn.h"

enum { REDIS_INFO_BYTES = 128 };

struct redis_info {
    redisReply *reply;
    const char *text;
};

/* One section, or with "default" all that INFO alone says. */
enum status redis_info_get(struct redis_conn *conn, const char *section, struct redis_info *out,
                           struct error *err) MUSTCHECK;
void redis_info_free(struct redis_info *info); /* a zero one is fine */

/* The value of a line "name:value", safe to print; "" when there is none. Returns `out`. */
const char *redis_info_text(const struct redis_info *info, const char *name,
                            char out[REDIS_INFO_BYTES]);
int64_t redis_info_number(const struct redis_info *info, const char *name);

/* Functions came with Redis 7.0; Valkey calls itself 7.2 here. False for what is older, or says no
 * version. */
bool redis_info_is_new_enough(const struct redis_info *info);

/* What a Redis throws away when it is full (section "memory"). */
enum redis_eviction {
    REDIS_EVICTS_NOTHING,   /* noeviction: the one that is meant for a queue */
    REDIS_EVICTS_MORTAL,    /* volatile-*: keys that end by themselves - results, unique keys */
    REDIS_EVICTS_ALL,       /* allkeys-*: jobs */
    REDIS_EVICTION_UNKNOWN, /* it does not say */
};
enum redis_eviction redis_info_eviction(const struct redis_info *info,
                                        char policy[REDIS_INFO_BYTES]);

#endif
