#include "process/preflight.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "config/clients.h"
#include "queue/queue.h"
#include "redis/info.h"

enum { TRY_FOR_MS = 5000, TRY_EVERY_MS = 250 };

enum status preflight_check_eviction(struct redis_conn *conn, struct error *err)
{
    char policy[REDIS_INFO_BYTES];
    struct redis_info info;

    enum status status = redis_info_get(conn, "memory", &info, err);
    if (status == STATUS_OK && redis_info_eviction(&info, policy) == REDIS_EVICTS_ALL) {
        status = error_set(err, STATUS_INVALID,
                           "redis evicts jobs (maxmemory-policy is \"%s\"): CONFIG SET "
                           "maxmemory-policy noeviction",
                           policy);
    }
    redis_info_free(&info);
    return status;
}

static void warn_volatile(struct redis_conn *conn)
{
    char policy[REDIS_INFO_BYTES];
    struct redis_info info;

    if (redis_info_get(conn, "memory", &info, NULL) == STATUS_OK &&
        redis_info_eviction(&info, policy) == REDIS_EVICTS_MORTAL) {
        log_warning("redis may evict cached results and unique keys (maxmemory-policy is \"%s\"): "
                    "noeviction is meant for a queue",
                    policy);
    }
    redis_info_free(&info);
}

static void warn_persistence(struct redis_conn *conn)
{
    char enabled[REDIS_INFO_BYTES];
    struct redis_info info;

    if (redis_info_get(conn, "persistence", &info, NULL) == STATUS_OK &&
        strcmp(redis_info_text(&info, "aof_enabled", enabled), "0") == 0) {
        log_warning("redis keeps no append-only file: jobs are lost when it dies (CONFIG SET "
                    "appendonly yes)");
    }
    redis_info_free(&info);
}

static enum status look(struct redis_conn *conn, struct error *err)
{
    enum status status = preflight_check_eviction(conn, err);

    if (status == STATUS_OK) {
        status = queue_install(conn, NULL, err);
    }
    if (status == STATUS_OOM) {
        log_warning("the function library waits until there is room: %s", err->text);
        return STATUS_OK;
    }
    return status;
}

/* It is there, and it takes as long as it takes. */
static bool is_loading(const struct error *err)
{
    return err->status == STATUS_UNAVAILABLE && strstr(err->text, "LOADING ") != NULL;
}

enum status preflight_redis(const struct settings *settings, const sigset_t *signals, bool *stopped,
                            struct error *err)
{
    const struct timespec pause = {.tv_nsec = TRY_EVERY_MS * 1000000L};
    long long suppressed = 0;
    struct redis_conn *conn = NULL;
    enum status status = STATUS_OK;

    TRY(clients_open_redis(settings->redis_url, (struct redis_timeouts){2000, 2000}, &conn, err));
    const int64_t until_ms = clock_now_ms() + TRY_FOR_MS;
    *stopped = false;
    for (;;) {
        status = look(conn, err);
        if (!status_may_pass(status) || (clock_now_ms() >= until_ms && !is_loading(err))) {
            break;
        }
        if (is_loading(err) && log_kind_allow("loading", &suppressed)) {
            log_info("waiting: %s", err->text);
        }
        *stopped = sigtimedwait(signals, NULL, &pause) > 0;
        if (*stopped) {
            break;
        }
    }
    if (status == STATUS_OK) {
        warn_volatile(conn);
        warn_persistence(conn);
    }
    redis_conn_free(conn);
    return *stopped ? STATUS_OK : status;
}
