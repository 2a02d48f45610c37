#include "process/preflight.h"

#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "queue/queue.h"
#include "redis/sentinel.h"

enum { TRY_FOR_MS = 5000, TRY_EVERY_MS = 250, POLICY_BYTES = 64 };

/* The value of "name:value\r\n" in an INFO text, copied. */
static bool info_value(const char *info, const char *name, char *out, size_t size)
{
    size_t bytes = strlen(name);

    for (const char *line = info; line != NULL && *line != '\0';) {
        if (strncmp(line, name, bytes) == 0 && line[bytes] == ':') {
            size_t length = strcspn(line + bytes + 1, "\r\n");
            length = length < size - 1 ? length : size - 1;
            memcpy(out, line + bytes + 1, length);
            out[length] = '\0';
            return true;
        }
        line = strchr(line, '\n');
        line = line != NULL ? line + 1 : NULL;
    }
    return false;
}

static enum status read_info(struct redis_conn *conn, const char *section, redisReply **reply,
                             struct error *err)
{
    struct redis_args args = {0};

    redis_args_str(&args, "INFO");
    redis_args_str(&args, section);
    enum status status = redis_conn_command(conn, &args, reply, err);
    redis_args_free(&args);
    return status;
}

static enum status read_policy(struct redis_conn *conn, char policy[POLICY_BYTES],
                               struct error *err)
{
    redisReply *reply = NULL;
    enum status status = read_info(conn, "memory", &reply, err);

    policy[0] = '\0';
    if (status == STATUS_OK && reply->type == REDIS_REPLY_STRING) {
        info_value(reply->str, "maxmemory_policy", policy, POLICY_BYTES);
    }
    redis_reply_free(reply);
    return status;
}

enum status preflight_check_eviction(struct redis_conn *conn, struct error *err)
{
    char policy[POLICY_BYTES];
    enum status status = read_policy(conn, policy, err);

    if (status == STATUS_OK && strncmp(policy, "allkeys-", 8) == 0) {
        return error_set(err, STATUS_INVALID,
                         "redis evicts jobs (maxmemory-policy is \"%s\"): CONFIG SET "
                         "maxmemory-policy noeviction",
                         policy);
    }
    return status;
}

static void warn_volatile(struct redis_conn *conn)
{
    char policy[POLICY_BYTES];

    if (read_policy(conn, policy, NULL) == STATUS_OK && strncmp(policy, "volatile-", 9) == 0) {
        log_warning("redis may evict cached results and unique keys (maxmemory-policy is \"%s\"): "
                    "noeviction is meant for a queue",
                    policy);
    }
}

static void warn_persistence(struct redis_conn *conn)
{
    redisReply *reply = NULL;
    struct error err = {0};
    char enabled[8] = "";

    if (read_info(conn, "persistence", &reply, &err) == STATUS_OK &&
        reply->type == REDIS_REPLY_STRING &&
        info_value(reply->str, "aof_enabled", enabled, sizeof enabled) && enabled[0] == '0') {
        log_warning("redis keeps no append-only file: jobs are lost when it dies (CONFIG SET "
                    "appendonly yes)");
    }
    redis_reply_free(reply);
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

static bool is_passing(enum status status)
{
    return status == STATUS_UNREACHABLE || status == STATUS_TIMEOUT || status == STATUS_UNAVAILABLE;
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
    struct redis_url url;
    enum status status = redis_url_parse(settings->redis_url, &url, err);
    if (status != STATUS_OK) {
        return status;
    }
    struct redis_conn *conn = redis_open(&url, (struct redis_timeouts){2000, 2000});
    if (conn == NULL) {
        return error_set(err, STATUS_OOM, "no memory for a redis connection");
    }

    const int64_t until_ms = clock_now_ms() + TRY_FOR_MS;
    *stopped = false;
    for (;;) {
        status = look(conn, err);
        if (!is_passing(status) || (clock_now_ms() >= until_ms && !is_loading(err))) {
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
