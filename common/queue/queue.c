#include "queue/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "queue_lua.h"
#include "redis/info.h"

enum { PREFIX_MAX = 96, LOAD_TRIES = 5 };

/* ---- names ----------------------------------------------------------------------------------- */

static bool is_name(const char *name)
{
    const size_t bytes = strlen(name);

    return bytes >= 1 && bytes <= QUEUE_NAME_MAX && strchr("._-", name[0]) == NULL &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == bytes;
}

/* Printable, and no brace: the hash tag must be the queue's name. */
static bool is_prefix(const char *prefix)
{
    size_t bytes = 0;

    for (; prefix[bytes] != '\0'; bytes++) {
        if (prefix[bytes] <= ' ' || prefix[bytes] > '~' || strchr("{}", prefix[bytes]) != NULL) {
            return false;
        }
    }
    return bytes >= 1 && bytes <= PREFIX_MAX;
}

enum status queue_init(struct queue *queue, const char *prefix, const char *name, struct error *err)
{
    static const char *const suffixes[JOB_PRIORITIES] = {":high", "", ":low"};
    char shown[48];

    *queue = (struct queue){0};
    if (!is_prefix(prefix)) {
        return error_set(err, STATUS_INVALID,
                         "prefix \"%s\": expected 1 to %d printable characters without { and }",
                         text_excerpt(prefix, strlen(prefix), shown), PREFIX_MAX);
    }
    if (!is_name(name)) {
        return error_set(err, STATUS_INVALID,
                         "queue \"%s\": expected 1 to %d of a-z0-9._-, beginning with a letter or "
                         "digit",
                         text_excerpt(name, strlen(name), shown), QUEUE_NAME_MAX);
    }
    snprintf(queue->name, sizeof queue->name, "%s", name);
    queue->kind = kind_of(name, strlen(name));
    snprintf(queue->base, sizeof queue->base, "%.*s:{%s}", PREFIX_MAX, prefix, name);
    for (int i = 0; i < JOB_PRIORITIES; i++) {
        snprintf(queue->stream[i], sizeof queue->stream[i], "%s:jobs%s", queue->base, suffixes[i]);
    }
    snprintf(queue->delayed, sizeof queue->delayed, "%s:delayed", queue->base);
    snprintf(queue->dead, sizeof queue->dead, "%s:dead", queue->base);
    snprintf(queue->paused, sizeof queue->paused, "%s:paused", queue->base);
    snprintf(queue->wake, sizeof queue->wake, "%s:wake", queue->base);
    snprintf(queue->call, sizeof queue->call, "%s:call", queue->base);
    snprintf(queue->lease, sizeof queue->lease, "%.*s:lease:{%s}", PREFIX_MAX, prefix, name);
    return STATUS_OK;
}

/* ---- calls ----------------------------------------------------------------------------------- */

void queue_args_start(struct redis_args *args, const char *function, const char *key)
{
    redis_args_format(args, "FCALL %s 1 %s", function, key);
}

void queue_args_fence(struct redis_args *args, const struct job *job)
{
    redis_args_int(args, job->stream);
    redis_args_slice(args, job->entry);
    redis_args_int(args, job->deliveries);
}

enum status queue_bad_shape(const char *function, struct error *err)
{
    return error_set(err, STATUS_GARBLED, "%s: an answer of another shape", function);
}

enum status queue_call_count(struct redis_conn *conn, struct redis_args *args, size_t *count,
                             struct error *err)
{
    redisReply *reply = NULL;

    TRY(redis_fetch(conn, args, "#", &reply, err));
    *count = (size_t)reply->integer;
    redis_reply_free(reply);
    return STATUS_OK;
}

enum status queue_countf(struct redis_conn *conn, size_t *count, struct error *err,
                         const char *format, ...)
{
    struct redis_args args = {0};
    va_list values;

    *count = 0;
    va_start(values, format);
    redis_args_vformat(&args, format, values);
    va_end(values);
    return queue_call_count(conn, &args, count, err);
}

/* ---- the function library ------------------------------------------------------------------ */

long long queue_library_version(void)
{
    static const char marker[] = "\nlocal VERSION = ";
    const char *found = strstr(queue_lua, marker);

    return found == NULL ? 0 : strtoll(found + sizeof marker - 1, NULL, 10);
}

/* The version that is loaded, 0 for none; what the server says is judged later. */
static enum status loaded_version(struct redis_conn *conn, long long *version, struct error *err)
{
    redisReply *reply = NULL;

    enum status status = redis_askf(conn, &reply, err, "FCALL_RO sh_version 0");
    if (status != STATUS_OK) {
        return status;
    }

    *version = 0;
    if (reply->type == REDIS_REPLY_INTEGER) {
        *version = reply->integer;
    } else if (reply->type != REDIS_REPLY_ERROR) {
        status = queue_bad_shape("sh_version", err);
    } else if (strncmp(reply->str, "ERR ", 4) != 0) {
        status = redis_reply_status(reply, err); /* ERR: no such function, or no such command */
    }
    redis_reply_free(reply);
    return status;
}

static enum status check_server(struct redis_conn *conn, struct error *err)
{
    struct redis_info info;
    char version[REDIS_INFO_BYTES];

    enum status status = redis_info_get(conn, "server", &info, err);
    if (status == STATUS_OK && !redis_info_is_new_enough(&info)) {
        redis_info_text(&info, "redis_version", version);
        status =
            error_set(err, STATUS_INVALID, "redis %s at %s: 7.0 or newer is needed",
                      version[0] == '\0' ? "of unknown version" : version, redis_conn_where(conn));
    }
    redis_info_free(&info);
    return status;
}

/* `replace`: there is an older one. */
static enum status load_library(struct redis_conn *conn, bool replace, struct error *err)
{
    struct redis_args args = {0};

    redis_args_format(&args, replace ? "FUNCTION LOAD REPLACE" : "FUNCTION LOAD");
    redis_args_str(&args, queue_lua);
    return redis_fetch(conn, &args, "$", NULL, err);
}

/* A full Redis takes no library; it works on with the older one, whose functions make room. */
static bool must_do(enum status status, long long version, const struct redis_conn *conn)
{
    long long suppressed = 0;

    if (status != STATUS_OOM || version == 0) {
        return false;
    }
    if (log_kind_allow("library", &suppressed)) {
        log_warning("redis %s is full, function library %lld must do for now (%lld more like it)",
                    redis_conn_where(conn), version, suppressed);
    }
    return true;
}

/* Of several programs that find none at once the first one loads its own: the others are refused
 * and look again. Of those that find an older one each replaces it, so the version is read once
 * more after that, until it is not lower than ours. */
enum status queue_install(struct redis_conn *conn, bool *loaded, struct error *err)
{
    long long version = 0;
    bool did = false;
    bool replace = false;
    enum status status = loaded_version(conn, &version, err);

    if (status == STATUS_OK && version < queue_library_version()) {
        status = check_server(conn, err);
    }
    for (int i = 0; i < LOAD_TRIES && status == STATUS_OK && version < queue_library_version();
         i++) {
        status = load_library(conn, replace || version > 0, err);
        if (must_do(status, version, conn)) {
            status = STATUS_OK;
            break;
        }
        did = did || status == STATUS_OK;
        if (status == STATUS_OK || (status == STATUS_REFUSED && version == 0)) {
            const struct error refusal = err != NULL ? *err : (struct error){0};
            const bool refused = status != STATUS_OK;
            status = loaded_version(conn, &version, err);
            if (status == STATUS_OK && refused && version == 0 && replace) {
                if (err != NULL) {
                    *err = refusal; /* nobody else loaded one either */
                }
                status = STATUS_REFUSED;
            }
            replace = true; /* what bears our name and has no version is none */
        }
    }
    if (loaded != NULL) {
        *loaded = did && status == STATUS_OK;
    }
    return status;
}

enum status queue_prepare(struct redis_conn *conn, const struct queue *queue, struct error *err)
{
    return redis_fetchf(conn, "+", NULL, err, "FCALL sh_prepare 1 %s", queue->base);
}
