/* cli/commands/doctor.c - what the servers are and what will break, and what to do about it. */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "base/clock.h"
#include "base/must.h"
#include "cli/commands/commands.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "config/clients.h"
#include "learn/store.h"
#include "operate/fleet.h"
#include "queue/keys.h"
#include "queue/operate.h"
#include "redis/info.h"

/* ---- findings ------------------------------------------------------------------------------ */

enum state { STATE_OK, STATE_WARNING, STATE_ERROR, STATES };

struct finding {
    enum state state;
    char check[64];
    char text[512];
    const char *advice; /* what to do, "" when nothing; static */
};

struct doctor {
    const struct cli *cli;
    struct finding *findings;
    size_t count;
    size_t of_state[STATES];
    bool redis_unreachable;
};

/* One check: its name, what was found, and what to do ("" when nothing). */
static PRINTF_LIKE(5, 6) void note(struct doctor *doctor, enum state state, const char *check,
                                   const char *advice, const char *fmt, ...)
{
    va_list args;

    doctor->findings = must_grow(doctor->findings, (doctor->count + 1) * sizeof *doctor->findings);
    struct finding *finding = &doctor->findings[doctor->count++];
    *finding = (struct finding){.state = state, .advice = advice};
    snprintf(finding->check, sizeof finding->check, "%s", check);
    va_start(args, fmt);
    vsnprintf(finding->text, sizeof finding->text, fmt, args);
    va_end(args);
    doctor->of_state[state]++;
}

/* ---- is this Redis one that keeps jobs? ---------------------------------------------------- */

enum { MEMORY_WARNING = 75, MEMORY_ERROR = 90 /* percent */ };
enum { CLOCK_WARNING_MS = 1000, CLOCK_ERROR_MS = 30000 };

static void check_version(struct doctor *doctor, const struct redis_info *info)
{
    char version[REDIS_INFO_BYTES];
    char valkey[REDIS_INFO_BYTES];

    redis_info_text(info, "redis_version", version);
    redis_info_text(info, "valkey_version", valkey);
    if (valkey[0] != '\0') {
        note(doctor, STATE_OK, "redis version", "", "Valkey %s", valkey);
    } else if (redis_info_is_new_enough(info)) {
        note(doctor, STATE_OK, "redis version", "", "Redis %s", version);
    } else {
        note(doctor, STATE_ERROR, "redis version", "7.0 or newer is needed", "Redis %s",
             version[0] == '\0' ? "of unknown version" : version);
    }
}

static void check_role(struct doctor *doctor, const struct redis_info *info)
{
    char role[REDIS_INFO_BYTES];

    redis_info_text(info, "role", role);
    if (strcmp(role, "master") == 0) {
        note(doctor, STATE_OK, "redis role", "", "master");
    } else {
        note(doctor, STATE_ERROR, "redis role",
             "it takes no writes; name the master in STILLHOUSE_REDIS_URL", "%s",
             role[0] == '\0' ? "unknown" : role);
    }
}

static void check_durability(struct doctor *doctor, const struct redis_info *info)
{
    char policy[REDIS_INFO_BYTES];

    if (redis_info_eviction(info, policy) == REDIS_EVICTS_NOTHING) {
        note(doctor, STATE_OK, "redis eviction", "", "noeviction");
    } else {
        note(doctor, STATE_ERROR, "redis eviction",
             "jobs may be thrown away; CONFIG SET maxmemory-policy noeviction (the cache "
             "may have a Redis of its own, STILLHOUSE_CACHE_URL)",
             "%s", policy[0] == '\0' ? "unknown" : policy);
    }
    if (redis_info_number(info, "aof_enabled") == 1) {
        note(doctor, STATE_OK, "redis append-only file", "", "on");
    } else {
        note(doctor, STATE_WARNING, "redis append-only file",
             "a crash loses the jobs since the last snapshot; CONFIG SET appendonly yes", "off");
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
        note(doctor, STATE_WARNING, "redis memory",
             "set maxmemory, so that a full queue is refused before the machine is full",
             "%s used, no bound", used_text);
        return;
    }
    const double percent = (double)used * 100 / (double)most;
    const enum state state = percent >= MEMORY_ERROR     ? STATE_ERROR
                             : percent >= MEMORY_WARNING ? STATE_WARNING
                                                         : STATE_OK;
    note(doctor, state, "redis memory",
         state == STATE_OK ? "" : "when it is full, jobs are refused; raise maxmemory",
         "%s of %s used, %.0f %%", used_text, output_bytes(most, most_text), percent);
}

static void check_library(struct doctor *doctor, struct redis_conn *conn)
{
    const long long own = queue_library_version();
    struct error err = {0};
    redisReply *reply = NULL;

    if (redis_commandf(conn, &reply, &err, "FCALL_RO sh_version 0") != STATUS_OK) {
        note(doctor, STATE_ERROR, "function library",
             strstr(err.text, "NOPERM") != NULL
                 ? "this user may not ask; use the operator's or the worker's"
                 : "run `stillhouse init`",
             "%s", err.text);
        return;
    }
    if (reply->type != REDIS_REPLY_INTEGER) {
        note(doctor, STATE_ERROR, "function library", "run `stillhouse init`",
             "an answer of another shape");
    } else if (reply->integer < own) {
        note(doctor, STATE_WARNING, "function library",
             "run `stillhouse init`; workers of this version do it when they start",
             "version %lld, this program has %lld", reply->integer, own);
    } else {
        note(doctor, STATE_OK, "function library", "", "version %lld%s", reply->integer,
             reply->integer > own ? ", newer than this program's" : "");
    }
    redis_reply_free(reply);
}

static void check_clock(struct doctor *doctor, struct redis_conn *conn)
{
    struct error err = {0};
    int64_t server_unix_ms = 0;

    if (redis_conn_time(conn, &server_unix_ms, &err) != STATUS_OK) {
        note(doctor, STATE_WARNING, "redis clock", "", "%s", err.text);
        return;
    }
    const int64_t offset_ms = server_unix_ms - clock_unix_ms();
    const int64_t away_ms = offset_ms < 0 ? -offset_ms : offset_ms;
    const enum state state = away_ms > CLOCK_ERROR_MS     ? STATE_ERROR
                             : away_ms > CLOCK_WARNING_MS ? STATE_WARNING
                                                          : STATE_OK;
    note(doctor, state, "redis clock",
         state == STATE_OK ? "" : "deadlines will be off; synchronise the clocks (NTP)",
         "%+" PRId64 " ms against this machine", offset_ms);
}

static void check_workers(struct doctor *doctor, struct redis_conn *conn)
{
    struct worker_list list = {0};
    struct error err = {0};

    if (fleet_workers(conn, doctor->cli->settings.prefix, &list, &err) != STATUS_OK) {
        note(doctor, STATE_ERROR, "workers", "", "%s", err.text);
        return;
    }
    note(doctor, list.alive > 0 ? STATE_OK : STATE_WARNING, "workers",
         list.alive > 0 ? "" : "nobody does the work; start stillhouse-worker", "%zu alive",
         list.alive);
    for (size_t i = 0; i < list.count; i++) {
        const char *breakers = worker_field(&list.workers[i], "breakers");
        if (strstr(breakers, "=open") != NULL) { /* the fleet's, so one worker speaks for all */
            note(doctor, STATE_WARNING, "breakers",
                 "its jobs wait, enrichments come from the cache; it is asked again by "
                 "itself",
                 "open: %s", breakers);
            break;
        }
    }
    worker_list_free(&list);
}

/* Jobs that wait for an upstream: its breaker is open, or was a moment ago. */
static void check_parked(struct doctor *doctor, const char *check,
                         const struct queue_parked *parked)
{
    for (size_t i = 0; i < parked->count; i++) {
        note(doctor, STATE_WARNING, check,
             "they come by themselves once it answers; sooner: `stillhouse resume --parked`",
             "%s%" PRId64 " parked, waiting for %s", parked->is_all ? "" : "at least ",
             parked->each[i].jobs, parked->each[i].operation);
    }
}

static void check_served(struct doctor *doctor, const char *check, const struct fleet_view *view,
                         const struct queue_view *one)
{
    if (fleet_is_unserved(view, one)) {
        const bool wants_store = kind_wants_store(one->queue.kind);
        note(doctor, STATE_WARNING, check,
             wants_store ? "start a worker with it in STILLHOUSE_QUEUES and the store in "
                           "STILLHOUSE_LEARN"
                         : "start a worker with it in STILLHOUSE_QUEUES",
             "nobody serves it: %" PRId64 " jobs wait", one->stats.waiting + one->stats.delayed);
    }
}

static void check_books(struct doctor *doctor, const char *check, const struct queue_stats *stats)
{
    const struct queue_balance balance = queue_check_balance(stats);

    if (balance.jobs != 0 || balance.dead != 0) {
        note(doctor, STATE_WARNING, check,
             "somebody wrote there by hand; see `stillhouse verify`, and its --repair",
             "the books are off by %+" PRId64 " jobs and %+" PRId64 " dead letters", balance.jobs,
             balance.dead);
    }
}

/* One line for each thing wrong with a queue. */
static void check_queue(struct doctor *doctor, const struct fleet_view *view,
                        const struct queue_view *one)
{
    const struct queue_stats *stats = &one->stats;
    const int64_t reset = stats->counters[QUEUE_RESET];
    char check[QUEUE_NAME_MAX + 8];

    snprintf(check, sizeof check, "queue %s", one->queue.name);
    if (stats->faults > 0) {
        const bool exhausted = strstr(stats->fault, "exhausted") != NULL;
        note(doctor, STATE_ERROR, check,
             exhausted ? "it begins anew once it is empty; until then let the workers "
                         "finish, or RENAME it and add its entries to a new one"
                       : "see what it is, and who put it there, then DEL it",
             "%s", stats->fault);
    } else if (reset > 0) {
        note(doctor, STATE_WARNING, check,
             "somebody writes into the books; see `stillhouse verify`",
             "%" PRId64 " times a counter held no number and began anew", reset);
    }
    if (stats->faults == 0) {
        check_books(doctor, check, stats);
    }
    check_parked(doctor, check, &one->parked);
    check_served(doctor, check, view, one);
}

static void check_queues(struct doctor *doctor, struct redis_conn *conn)
{
    const size_t before = doctor->of_state[STATE_ERROR] + doctor->of_state[STATE_WARNING];
    struct fleet_view view = {0};
    struct error err = {0};

    enum status status = fleet_queues(conn, doctor->cli->settings.prefix, &view, &err);
    if (status == STATUS_OK) {
        status = fleet_look(conn, doctor->cli->settings.prefix, &view, &err);
    }
    for (size_t i = 0; i < view.count && status == STATUS_OK; i++) {
        check_queue(doctor, &view, &view.queues[i]);
    }
    if (status != STATUS_OK) {
        note(doctor, STATE_ERROR, "queues", "", "%s", err.text);
    } else if (before == doctor->of_state[STATE_ERROR] + doctor->of_state[STATE_WARNING]) {
        note(doctor, STATE_OK, "queues", "", "%zu, their keys are as they must be", view.count);
    }
    fleet_view_free(&view);
}

/* ---- what executions taught ----------------------------------------------------------------- */

enum { HURT_SHOWN = 10 };

/* One of `domains` in sh:learn:lift; foreign, like all that stands in Redis. */
static bool note_hurt(struct doctor *doctor, const cJSON *domain)
{
    const cJSON *name = cJSON_GetObjectItemCaseSensitive(domain, "domain");
    const cJSON *examples = cJSON_GetObjectItemCaseSensitive(domain, "examples");
    char check[64 + 16];

    if (!cJSON_IsString(name) || !cJSON_IsString(examples) ||
        strcmp(examples->valuestring, "hurt") != 0) {
        return false;
    }
    snprintf(check, sizeof check, "domain %.64s", name->valuestring);
    note(doctor, STATE_WARNING, check,
         "see `stillhouse lift`; until it is mended, ask for no examples there",
         "examples hurt: %+.1f points, %+.1f to %+.1f with 99.9 %%",
         100 * cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(domain, "difference")),
         100 * cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(domain, "low")),
         100 * cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(domain, "high")));
    return true;
}

/* What the recorder says of all domains; nothing where there is none, or no task was held out. */
static void check_lift(struct doctor *doctor, struct redis_conn *cache)
{
    const cJSON *domain = NULL;
    redisReply *reply = NULL;
    size_t hurt = 0;
    char key[KEYS_BYTES];
    struct error err = {0};

    if (redis_commandf(cache, &reply, &err, "GET %s",
                       keys_name(key, KEYS_PLAIN, doctor->cli->settings.prefix, "learn:lift")) !=
        STATUS_OK) {
        note(doctor, STATE_WARNING, "examples", "", "%s", err.text);
        return;
    }
    cJSON *told = reply->type == REDIS_REPLY_STRING
                      ? cJSON_ParseWithLength(reply->str, (size_t)reply->len)
                      : NULL;
    const double compared =
        cJSON_GetNumberValue(cJSON_GetObjectItemCaseSensitive(told, "compared"));
    cJSON_ArrayForEach(domain, cJSON_GetObjectItemCaseSensitive(told, "domains"))
    {
        hurt += hurt < HURT_SHOWN && note_hurt(doctor, domain);
    }
    if (reply->type == REDIS_REPLY_STRING && !(compared >= 0)) {
        note(doctor, STATE_WARNING, "examples", "a recorder writes it anew within five minutes",
             "key \"%s\" is not what a recorder writes", key);
    } else if (compared > 0 && hurt == 0) {
        note(doctor, STATE_OK, "examples", "", "hurt none of the %.0f domains that are compared",
             compared);
    }
    cJSON_Delete(told);
    redis_reply_free(reply);
}

/* Another history than the fleet's is written by nobody. */
static void check_history(struct doctor *doctor, struct redis_conn *queues, const char *id)
{
    redisReply *reply = NULL;
    struct error err = {0};
    char key[KEYS_BYTES];

    if (redis_commandf(queues, &reply, &err, "GET %s",
                       keys_name(key, KEYS_PLAIN, doctor->cli->settings.prefix, "learn:store")) ==
            STATUS_OK &&
        reply->type == REDIS_REPLY_STRING && strcmp(reply->str, id) != 0) {
        note(doctor, STATE_WARNING, "learning store",
             "name the fleet's, or say by `stillhouse learn adopt` that this one counts",
             "this one is %s, the fleet's is %.40s", id, reply->str);
    }
    redis_reply_free(reply);
}

/* Where one is named. */
static void check_store(struct doctor *doctor, struct redis_conn *queues)
{
    struct store *store = NULL;
    struct store_state state = {0};
    struct error err = {0};
    char size[32];

    if (doctor->cli->settings.learn[0] == '\0') {
        return;
    }
    enum status status = store_open(doctor->cli->settings.learn, STORE_READ, &store, &err);
    if (status == STATUS_OK) {
        status = store_look(store, &state, &err);
    }
    if (status != STATUS_OK) {
        note(doctor, STATE_ERROR, "learning store",
             status == STATUS_NOT_FOUND
                 ? "a recorder makes it: `stillhouse-worker --queues record`; see STILLHOUSE_LEARN"
             : status == STATUS_UNREACHABLE
                 ? "start the server, or name another in STILLHOUSE_LEARN; records wait in Redis"
                 : "see StillhouseRecorderParked in deploy/RUNBOOK.md",
             "%s", err.text);
    } else {
        note(doctor, STATE_OK, "learning store", "",
             "%" PRId64 " executions, %" PRId64 " without their routing, %s, version %d",
             state.executions, state.incomplete, output_bytes(state.bytes, size), state.version);
        if (queues != NULL) {
            check_history(doctor, queues, store_id(store));
        }
    }
    store_close(store);
}

/* ---- one server after the other ------------------------------------------------------------ */

/* `queues`: the queues' Redis, which may be the cache's too; NULL where it does not answer. */
static void check_cache(struct doctor *doctor, struct redis_conn *queues)
{
    const struct settings *settings = &doctor->cli->settings;
    struct redis_conn *conn = NULL;
    struct error err = {0};

    if (settings->cache_url[0] == '\0' || strcmp(settings->cache_url, settings->redis_url) == 0) {
        note(doctor, STATE_OK, "cache", "", "in the same Redis");
        if (queues != NULL) {
            check_lift(doctor, queues);
        }
    } else if (open_redis(settings->cache_url, &conn, &err) == STATUS_OK) {
        note(doctor, STATE_OK, "cache", "", "Redis %s", redis_conn_where(conn));
        check_lift(doctor, conn);
    } else {
        note(doctor, STATE_ERROR, "cache", "check STILLHOUSE_CACHE_URL", "%s", err.text);
    }
    redis_conn_free(conn);
}

/* Once it answers. What it does not answer in time, it would not five times over. */
static void check_server(struct doctor *doctor, struct redis_conn *conn)
{
    struct redis_info info = {0};
    struct error err = {0};

    const int64_t start_ns = clock_now_ns();
    const enum status status = redis_info_get(conn, "default", &info, &err);
    const double ms = (double)(clock_now_ns() - start_ns) / 1e6;
    if (status == STATUS_OK) {
        note(doctor, STATE_OK, "redis", "", "%s answers in %.1f ms", redis_conn_where(conn), ms);
        check_version(doctor, &info);
        check_role(doctor, &info);
        check_durability(doctor, &info);
        check_memory(doctor, &info);
        redis_info_free(&info);
    } else if (cli_exit_code(status) == CLI_UNREACHABLE) {
        doctor->redis_unreachable = true;
        note(doctor, STATE_ERROR, "redis", "see whether it is busy, stopped or still loading", "%s",
             err.text);
        return;
    } else {
        note(doctor, STATE_ERROR, "redis", "INFO must be allowed to this user", "%s", err.text);
    }
    check_library(doctor, conn);
    check_clock(doctor, conn);
    check_workers(doctor, conn);
    check_queues(doctor, conn);
}

static void check_redis(struct doctor *doctor)
{
    struct redis_conn *conn = NULL;
    struct error err = {0};

    const enum status status = open_redis(doctor->cli->settings.redis_url, &conn, &err);
    if (status == STATUS_OK) {
        check_server(doctor, conn);
    } else {
        const char *advice = cli_advice(&err);
        doctor->redis_unreachable = cli_exit_code(status) == CLI_UNREACHABLE;
        note(doctor, STATE_ERROR, "redis",
             advice[0] != '\0' ? advice : "start it, or name another in STILLHOUSE_REDIS_URL", "%s",
             err.text);
    }
    struct redis_conn *answering = doctor->redis_unreachable ? NULL : conn;
    check_cache(doctor, answering);
    check_store(doctor, answering);
    redis_conn_free(conn);
}

/* ---- Chroma and the embedder: there, ours, and not overfull? -------------------------------- */

enum { HEARTBEAT_MS = 3000, COLLECTIONS_WARNING = 200, STRANGERS_MAX = 10 };

static void check_collections(struct doctor *doctor, struct chroma *chroma)
{
    struct error err = {0};
    int64_t count = 0;

    if (chroma_collection_count(chroma, &count, &err) != STATUS_OK) {
        note(doctor, STATE_ERROR, "chroma collections",
             "check STILLHOUSE_CHROMA_TENANT, _DATABASE and _TOKEN", "%s", err.text);
        return;
    }
    note(doctor, count > COLLECTIONS_WARNING ? STATE_WARNING : STATE_OK, "chroma collections",
         count > COLLECTIONS_WARNING
             ? "each takes memory and files that are not given back; use fewer domains"
             : "",
         "%" PRId64, count);
}

/* Which collection wants another embedder, or another space: its jobs wait until somebody mends it.
 */
static void check_identities(struct doctor *doctor, struct chroma *chroma)
{
    struct arena arena = {.is_must = true};
    struct chroma_domains page = {.limit = COLLECTIONS_WARNING};
    struct error err = {0};
    size_t strangers = 0;

    if (chroma_list_domains(chroma, &arena, &page, &err) != STATUS_OK) {
        page.count = 0; /* said already */
    }
    for (size_t i = 0; i < page.count && strangers < STRANGERS_MAX; i++) {
        if (chroma_open_collection(chroma, page.domains[i], false, &err) == STATUS_MISMATCH) {
            strangers++;
            note(doctor, STATE_ERROR, "chroma collection",
                 "its jobs wait: set STILLHOUSE_EMBEDDER, _EMBED_MODEL and "
                 "_EMBED_DIMENSION as it was made, or make it anew",
                 "%s", err.text);
        }
    }
    arena_free(&arena);
}

static void check_chroma(struct doctor *doctor, struct chroma *chroma)
{
    const char *url = doctor->cli->settings.chroma_url;
    struct error err = {0};
    char version[64];

    const int64_t start_ns = clock_now_ns();
    if (chroma_heartbeat(chroma, HEARTBEAT_MS, &err) != STATUS_OK) {
        note(doctor, STATE_ERROR, "chroma", "start it, or name another in STILLHOUSE_CHROMA_URL",
             "%s", err.text);
        return;
    }
    note(doctor, STATE_OK, "chroma", "", "%s answers in %.1f ms", url,
         (double)(clock_now_ns() - start_ns) / 1e6);
    if (chroma_version(chroma, version, &err) == STATUS_OK) {
        note(doctor, STATE_OK, "chroma version", "", "says %s", version);
        check_collections(doctor, chroma);
        check_identities(doctor, chroma);
    } else { /* what it has no tenant, database or token can explain */
        note(doctor, STATE_WARNING, "chroma version", "is STILLHOUSE_CHROMA_URL that of a Chroma?",
             "%s", err.text);
    }
}

static void check_embedder(struct doctor *doctor, struct embedder *embedder)
{
    static const char text[] = "the doctor's test sentence";
    const struct slice texts[] = {{text, sizeof text - 1}};
    struct error err = {0};
    const enum status learnt = embedder_learn(embedder, &err);
    const size_t dimension = embedder_dimension(embedder);
    float *vector = must_alloc(dimension + 1, sizeof *vector);

    const int64_t start_ns = clock_now_ns();
    if (learnt == STATUS_OK && embedder_embed(embedder, texts, 1, vector, &err) == STATUS_OK) {
        note(doctor, STATE_OK, "embedder", "", "%s, %zu dimensions, a text in %.1f ms",
             embedder_model(embedder), dimension, (double)(clock_now_ns() - start_ns) / 1e6);
    } else {
        note(doctor, STATE_ERROR, "embedder",
             "check STILLHOUSE_EMBED_URL, _MODEL, _KEY and _DIMENSION", "%s, %zu dimensions: %s",
             embedder_model(embedder), dimension, err.text);
    }
    free(vector);
}

/* What is trusted, and which secrets need none of it. */
static void check_transport(struct doctor *doctor)
{
    const struct settings *settings = &doctor->cli->settings;
    const char *names[SETTINGS_BARE_MAX];
    char authorities[TLS_FILE_BYTES];

    note(doctor, STATE_OK, "tls authorities", "", "%s", tls_files_describe(authorities));
    const size_t count = settings_bare_secrets(settings, names);
    for (size_t i = 0; i < count; i++) {
        note(doctor, STATE_WARNING, names[i],
             "anybody on the way can read it; use https:// (STILLHOUSE_CA_FILE names an "
             "authority of your own)",
             "goes over plain http to another host");
    }
}

static void check_upstreams(struct doctor *doctor)
{
    struct embedder *embedder = NULL;
    struct error err = {0};

    if (http_global_init(&err) != STATUS_OK ||
        clients_open_embedder(&doctor->cli->settings, NULL, NULL, &embedder, &err) != STATUS_OK) {
        note(doctor, STATE_ERROR, "embedder", "", "%s", err.text);
        return;
    }
    struct chroma *chroma = clients_open_chroma(&doctor->cli->settings, embedder, NULL, NULL);
    if (embedder_learn(embedder, &err) == STATUS_OK) { /* else it is said below */
        chroma_set_dimension(chroma, embedder_dimension(embedder));
    }
    check_chroma(doctor, chroma);
    check_transport(doctor);
    check_embedder(doctor, embedder);
    chroma_free(chroma);
    embedder_free(embedder);
}

/* ---- the command --------------------------------------------------------------------------- */

static void check_environment(struct doctor *doctor)
{
    const char *first = NULL;
    const size_t count = settings_unknown_env(&first);

    if (count > 0) {
        note(doctor, STATE_WARNING, "environment", "`stillhouse-worker --help` shows all",
             "%.*s: no such setting (%zu such variables)", (int)strcspn(first, "="), first, count);
    }
}

static void print_json(const struct doctor *doctor)
{
    static const char *const states[STATES] = {"ok", "warning", "error"};
    struct output out;
    struct json_writer *json = output_object(&out);
    json_put_bool(json, "ok", doctor->of_state[STATE_ERROR] == 0);
    json_put_int(json, "warnings", (int64_t)doctor->of_state[STATE_WARNING]);
    json_put_int(json, "errors", (int64_t)doctor->of_state[STATE_ERROR]);
    json_open(json, "checks", '[');
    for (size_t i = 0; i < doctor->count; i++) {
        const struct finding *finding = &doctor->findings[i];
        json_open(json, NULL, '{');
        json_put_str(json, "check", finding->check);
        json_put_str(json, "state", states[finding->state]);
        json_put_str(json, "found", finding->text);
        json_put_str(json, "advice", finding->advice);
        json_close(json, '}');
    }
    json_close(json, ']');
    output_end(&out);
}

static void print_table(const struct doctor *doctor)
{
    static const char *const states[STATES] = {"ok", "warning", "ERROR"};
    const size_t *of = doctor->of_state;
    struct table table;

    table_init(&table, (const char *const[]){"state", "check", "found", NULL});
    for (size_t i = 0; i < doctor->count; i++) {
        const struct finding *finding = &doctor->findings[i];
        table_text(&table, states[finding->state]);
        table_text(&table, finding->check);
        table_printf(&table, "%s%s%s", finding->text, finding->advice[0] == '\0' ? "" : ": ",
                     finding->advice);
    }
    table_print(&table);
    table_free(&table);
    printf("\n%zu ok, %zu warning%s, %zu error%s\n", of[STATE_OK], of[STATE_WARNING],
           of[STATE_WARNING] == 1 ? "" : "s", of[STATE_ERROR], of[STATE_ERROR] == 1 ? "" : "s");
}

int cmd_doctor(struct cli *cli)
{
    struct doctor doctor = {.cli = cli};

    check_environment(&doctor);
    check_redis(&doctor);
    check_upstreams(&doctor);
    cli->json ? print_json(&doctor) : print_table(&doctor);
    free(doctor.findings);
    if (doctor.redis_unreachable) {
        return CLI_UNREACHABLE;
    }
    return doctor.of_state[STATE_ERROR] > 0 ? CLI_FAILED : CLI_DONE;
}
