/* doctor_redis.c - is this Redis one that keeps jobs? */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/commands/doctor.h"
#include "cli/frame/connections.h"
#include "operate/fleet.h"
#include "redis/info.h"

enum { MEMORY_WARNING = 75, MEMORY_ERROR = 90 /* percent */ };
enum { CLOCK_WARNING_MS = 1000, CLOCK_ERROR_MS = 30000 };

static void check_version(struct doctor *doctor, const struct redis_info *info)
{
    char version[REDIS_INFO_BYTES];
    char valkey[REDIS_INFO_BYTES];

    redis_info_text(info, "redis_version", version);
    redis_info_text(info, "valkey_version", valkey);
    if (valkey[0] != '\0') {
        doctor_note(doctor, FINDING_OK, "redis version", "", "Valkey %s", valkey);
    } else if (redis_info_is_new_enough(info)) {
        doctor_note(doctor, FINDING_OK, "redis version", "", "Redis %s", version);
    } else {
        doctor_note(doctor, FINDING_ERROR, "redis version", "7.0 or newer is needed", "Redis %s",
                    version[0] == '\0' ? "of unknown version" : version);
    }
}

static void check_role(struct doctor *doctor, const struct redis_info *info)
{
    char role[REDIS_INFO_BYTES];

    redis_info_text(info, "role", role);
    if (strcmp(role, "master") == 0) {
        doctor_note(doctor, FINDING_OK, "redis role", "", "master");
    } else {
        doctor_note(doctor, FINDING_ERROR, "redis role",
                    "it takes no writes; name the master in STILLHOUSE_REDIS_URL", "%s",
                    role[0] == '\0' ? "unknown" : role);
    }
}

static void check_durability(struct doctor *doctor, const struct redis_info *info)
{
    char policy[REDIS_INFO_BYTES];

    if (redis_info_eviction(info, policy) == REDIS_EVICTS_NOTHING) {
        doctor_note(doctor, FINDING_OK, "redis eviction", "", "noeviction");
    } else {
        doctor_note(doctor, FINDING_ERROR, "redis eviction",
                    "jobs may be thrown away; CONFIG SET maxmemory-policy noeviction (the cache "
                    "may have a Redis of its own, STILLHOUSE_CACHE_URL)",
                    "%s", policy[0] == '\0' ? "unknown" : policy);
    }
    if (redis_info_number(info, "aof_enabled") == 1) {
        doctor_note(doctor, FINDING_OK, "redis append-only file", "", "on");
    } else {
        doctor_note(doctor, FINDING_WARNING, "redis append-only file",
                    "a crash loses the jobs since the last snapshot; CONFIG SET appendonly yes",
                    "off");
    }
}

static void check_memory(struct doctor *doctor, const struct redis_info *info)
{
    const int64_t used = redis_info_number(info, "used_memory");
    const int64_t most = redis_info_number(info, "maxmemory");
    char used_text[32];
    char most_text[32];

    output_bytes(used, used_text);
    if (most <= 0) {
        doctor_note(doctor, FINDING_WARNING, "redis memory",
                    "set maxmemory, so that a full queue is refused before the machine is full",
                    "%s used, no bound", used_text);
        return;
    }
    const double percent = (double)used * 100 / (double)most;
    const enum finding finding = percent >= MEMORY_ERROR     ? FINDING_ERROR
                                 : percent >= MEMORY_WARNING ? FINDING_WARNING
                                                             : FINDING_OK;
    doctor_note(doctor, finding, "redis memory",
                finding == FINDING_OK ? "" : "when it is full, jobs are refused; raise maxmemory",
                "%s of %s used, %.0f %%", used_text, output_bytes(most, most_text), percent);
}

static void check_library(struct doctor *doctor, struct redis_conn *conn)
{
    struct error err = {0};
    redisReply *reply = NULL;

    const enum status status = redis_commandf(conn, &reply, &err, "FCALL_RO sh_version 0");
    const long long own = queue_library_version();
    if (status == STATUS_OK && reply->type == REDIS_REPLY_INTEGER && reply->integer < own) {
        doctor_note(doctor, FINDING_WARNING, "function library",
                    "run `stillhouse init`; workers of this version do it when they start",
                    "version %lld, this program has %lld", reply->integer, own);
    } else if (status == STATUS_OK && reply->type == REDIS_REPLY_INTEGER) {
        doctor_note(doctor, FINDING_OK, "function library", "", "version %lld%s", reply->integer,
                    reply->integer > own ? ", newer than this program's" : "");
    } else {
        const bool refused = strstr(err.text, "NOPERM") != NULL;
        doctor_note(doctor, FINDING_ERROR, "function library",
                    refused ? "this user may not ask; use the operator's or the worker's"
                            : "run `stillhouse init`",
                    "%s", status == STATUS_OK ? "an answer of another shape" : err.text);
    }
    redis_reply_free(reply);
}

static void check_clock(struct doctor *doctor, struct redis_conn *conn)
{
    struct error err = {0};
    int64_t server_unix_ms = 0;

    if (redis_conn_time(conn, &server_unix_ms, &err) != STATUS_OK) {
        doctor_note(doctor, FINDING_WARNING, "redis clock", "", "%s", err.text);
        return;
    }
    const int64_t offset_ms = server_unix_ms - clock_unix_ms();
    const int64_t away_ms = offset_ms < 0 ? -offset_ms : offset_ms;
    const enum finding finding = away_ms > CLOCK_ERROR_MS     ? FINDING_ERROR
                                 : away_ms > CLOCK_WARNING_MS ? FINDING_WARNING
                                                              : FINDING_OK;
    doctor_note(doctor, finding, "redis clock",
                finding == FINDING_OK ? "" : "deadlines will be off; synchronise the clocks (NTP)",
                "%+" PRId64 " ms against this machine", offset_ms);
}

static void check_workers(struct doctor *doctor, struct redis_conn *conn)
{
    struct worker_list list = {0};
    struct error err = {0};

    if (fleet_workers(conn, doctor->cli->settings.prefix, &list, &err) != STATUS_OK) {
        doctor_note(doctor, FINDING_ERROR, "workers", "", "%s", err.text);
        return;
    }
    doctor_note(doctor, list.alive > 0 ? FINDING_OK : FINDING_WARNING, "workers",
                list.alive > 0 ? "" : "nobody does the work; start stillhouse-worker", "%zu alive",
                list.alive);
    for (size_t i = 0; i < list.count; i++) {
        const char *breakers = worker_field(&list.workers[i], "breakers");
        if (strstr(breakers, "=open") != NULL) { /* the fleet's, so one worker speaks for all */
            doctor_note(doctor, FINDING_WARNING, "breakers",
                        "its jobs wait, enrichments come from the cache; it is asked again by "
                        "itself",
                        "open: %s", breakers);
            break;
        }
    }
    worker_list_free(&list);
}

/* Jobs that wait for an upstream: its breaker is open, or was a moment ago. An older library cannot
 * say it. */
static void check_parked(struct doctor *doctor, struct redis_conn *conn, const char *check,
                         const struct queue *queue)
{
    struct queue_parked parked = {.count = 0};
    struct error err = {0};

    if (queue_get_parked(conn, queue, &parked, &err) != STATUS_OK) {
        return;
    }
    for (size_t i = 0; i < parked.count; i++) {
        doctor_note(doctor, FINDING_WARNING, check,
                    "they come by themselves once it answers; sooner: `stillhouse resume --parked`",
                    "%s%" PRId64 " parked, waiting for %s", parked.is_all ? "" : "at least ",
                    parked.each[i].jobs, parked.each[i].operation);
    }
}

static void check_books(struct doctor *doctor, const char *check, const struct queue_stats *stats)
{
    const struct queue_balance balance = queue_check_balance(stats);

    if (balance.jobs != 0 || balance.dead != 0) {
        doctor_note(doctor, FINDING_WARNING, check,
                    "somebody wrote there by hand; see `stillhouse verify`, and its --repair",
                    "the books are off by %+" PRId64 " jobs and %+" PRId64 " dead letters",
                    balance.jobs, balance.dead);
    }
}

/* One line for each thing wrong with a queue. */
static void check_queue(struct doctor *doctor, struct redis_conn *conn, const struct queue *queue,
                        const struct queue_stats *stats)
{
    int64_t reset = 0;
    char check[QUEUE_NAME_MAX + 8];

    snprintf(check, sizeof check, "queue %s", queue->name);
    for (size_t i = 0; i < QUEUE_COUNTERS; i++) {
        reset = strcmp(queue_counter_names[i], "reset") == 0 ? stats->counters[i] : reset;
    }
    if (stats->faults > 0) {
        const bool exhausted = strstr(stats->fault, "exhausted") != NULL;
        doctor_note(doctor, FINDING_ERROR, check,
                    exhausted ? "it begins anew once it is empty; until then let the workers "
                                "finish, or RENAME it and add its entries to a new one"
                              : "see what it is, and who put it there, then DEL it",
                    "%s", stats->fault);
    } else if (reset > 0) {
        doctor_note(doctor, FINDING_WARNING, check,
                    "somebody writes into the books; see `stillhouse verify`",
                    "%" PRId64 " times a counter held no number and began anew", reset);
    }
    if (stats->faults == 0) {
        check_books(doctor, check, stats);
    }
    if (stats->delayed > 0) {
        check_parked(doctor, conn, check, queue);
    }
}

static void check_queues(struct doctor *doctor, struct redis_conn *conn)
{
    struct queue_list list = {0};
    struct error err = {0};
    size_t looked_at = 0;
    const size_t before = doctor->count[FINDING_ERROR] + doctor->count[FINDING_WARNING];

    enum status status = fleet_queues(conn, doctor->cli->settings.prefix, &list, &err);
    for (size_t i = 0; i < list.count && status == STATUS_OK; i++) {
        struct queue_stats stats;
        status = queue_get_stats(conn, &list.queues[i], &stats, &err);
        if (status == STATUS_OK) {
            looked_at++;
            check_queue(doctor, conn, &list.queues[i], &stats);
        }
    }
    if (status != STATUS_OK) {
        doctor_note(doctor, FINDING_ERROR, "queues", "", "%s", err.text);
    } else if (before == doctor->count[FINDING_ERROR] + doctor->count[FINDING_WARNING]) {
        doctor_note(doctor, FINDING_OK, "queues", "", "%zu, their keys are as they must be",
                    looked_at);
    }
    queue_list_free(&list);
}

static void check_cache(struct doctor *doctor)
{
    const struct settings *settings = &doctor->cli->settings;
    struct redis_conn *conn = NULL;
    struct error err = {0};

    if (settings->cache_url[0] == '\0' || strcmp(settings->cache_url, settings->redis_url) == 0) {
        doctor_note(doctor, FINDING_OK, "cache", "", "in the same Redis");
    } else if (open_redis(settings->cache_url, &conn, &err) == STATUS_OK) {
        doctor_note(doctor, FINDING_OK, "cache", "", "Redis %s", redis_conn_where(conn));
    } else {
        doctor_note(doctor, FINDING_ERROR, "cache", "check STILLHOUSE_CACHE_URL", "%s", err.text);
    }
    redis_conn_free(conn);
}

static void check_server(struct doctor *doctor, struct redis_conn *conn)
{
    struct redis_info info = {0};
    struct error err = {0};

    const int64_t start_ns = clock_now_ns();
    const enum status status = redis_info_get(conn, "default", &info, &err);
    const double ms = (double)(clock_now_ns() - start_ns) / 1e6;
    if (status != STATUS_OK) {
        doctor_note(doctor, FINDING_ERROR, "redis", "INFO must be allowed to this user", "%s",
                    err.text);
    } else {
        doctor_note(doctor, FINDING_OK, "redis", "", "%s answers in %.1f ms",
                    redis_conn_where(conn), ms);
        check_version(doctor, &info);
        check_role(doctor, &info);
        check_durability(doctor, &info);
        check_memory(doctor, &info);
    }
    redis_info_free(&info);
    check_library(doctor, conn);
    check_clock(doctor, conn);
    check_workers(doctor, conn);
    check_queues(doctor, conn);
}

void doctor_redis(struct doctor *doctor)
{
    struct redis_conn *conn = NULL;
    struct error err = {0};

    const enum status status = open_redis(doctor->cli->settings.redis_url, &conn, &err);
    if (status == STATUS_OK) {
        check_server(doctor, conn);
        redis_conn_free(conn);
    } else {
        doctor->redis_unreachable = cli_exit_code(status) == CLI_UNREACHABLE;
        doctor_note(doctor, FINDING_ERROR, "redis",
                    cli_secret_advice(&err)[0] != '\0'
                        ? cli_secret_advice(&err)
                        : "start it, or name another in STILLHOUSE_REDIS_URL",
                    "%s", err.text);
    }
    check_cache(doctor);
}
