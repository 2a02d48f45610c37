#include "config/settings.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#include "http/address.h"
#include "jobs/kinds.h"
#include "redis/url.h"

enum { BUILTIN_DIMENSION_MIN = 64, BUILTIN_DIMENSION_MAX = 4096, FLAG_COLUMN_BYTES = 28 };

#define ENV_PREFIX "STILLHOUSE_"
#define FIELD_BYTES(field) sizeof(((struct settings *)NULL)->field)

/* ROW(scope, type, field, flag, variable without its prefix, default, range, help) */
#define ROW(scope_, type_, field, flag_, variable, default_, range_, help_)                        \
    {                                                                                              \
        {flag_,                                                                                    \
         ENV_PREFIX variable,                                                                      \
         default_,                                                                                 \
         range_,                                                                                   \
         help_,                                                                                    \
         SETTINGS_##scope_,                                                                        \
         SETTINGS_##type_ == SETTINGS_SECRET},                                                     \
            SETTINGS_##type_, offsetof(struct settings, field), FIELD_BYTES(field)                 \
    }

/* The table. A range is "lowest..highest" in the row's own notation, or "one|two|three". */
const struct settings_row settings_rows[] = {
    ROW(ALL, URL, redis_url, "redis-url", "REDIS_URL", "redis://127.0.0.1:6379/0", "",
        "the queue's Redis; also redis://user:password@host:port/db, unix:///path, rediss://, "
        "redis+sentinel://host:port,host:port/name/db"),
    ROW(ALL, URL, cache_url, "cache-url", "CACHE_URL", "", "",
        "the Redis of cached results and embeddings; empty = the same"),
    ROW(ALL, PREFIX, prefix, "prefix", "PREFIX", "sh", "", "prefix of every key"),
    ROW(ALL, URL, chroma_url, "chroma-url", "CHROMA_URL", "http://127.0.0.1:8000", "",
        "the Chroma server"),
    ROW(ALL, TEXT, chroma_tenant, "chroma-tenant", "CHROMA_TENANT", "default_tenant", "",
        "its tenant"),
    ROW(ALL, TEXT, chroma_database, "chroma-database", "CHROMA_DATABASE", "default_database", "",
        "its database"),
    ROW(ALL, SECRET, chroma_token, "chroma-token", "CHROMA_TOKEN", "", "",
        "secret, sent to it (or to a proxy in front of it)"),
    ROW(ALL, DURATION, chroma_timeout_ms, "chroma-timeout", "CHROMA_TIMEOUT", "30s", "10ms..1h",
        "bound of one request"),
    ROW(WORKER, INTEGER, chroma_writers, "chroma-writers", "CHROMA_WRITERS", "1", "1..64",
        "writers at once in the whole fleet"),
    ROW(ALL, CHOICE, store_text_as_metadata, "store-text", "STORE_TEXT", "document",
        "document|metadata", "where an experience's text stands"),
    ROW(WORKER, INTEGER, twins, "twins", "TWINS", "8", "1..64",
        "experiences with the very same prompt that a domain keeps"),
    ROW(WORKER, NUMBER, merge_distance, "merge-distance", "MERGE_DISTANCE", "0", "0..2",
        "cosine distance below which near duplicates are merged; 0 = off"),
    ROW(ALL, CHOICE, embedder, "embedder", "EMBEDDER", "builtin", "builtin|openai|ollama",
        "what makes vectors of texts"),
    ROW(ALL, URL, embed_url, "embed-url", "EMBED_URL", "", "", "empty = the embedder's own"),
    ROW(ALL, TEXT, embed_model, "embed-model", "EMBED_MODEL", "", "", "empty = the embedder's own"),
    ROW(ALL, SECRET, embed_key, "embed-key", "EMBED_KEY", "", "", "secret, sent to the embedder"),
    ROW(ALL, INTEGER, embed_dimension, "embed-dimension", "EMBED_DIMENSION", "0", "0..16384",
        "0 = the model's own, known or learnt from its first answer"),
    ROW(ALL, INTEGER, embed_max_chars, "embed-max-chars", "EMBED_MAX_CHARS", "0", "0..1000000000",
        "characters of a text that the model takes; 0 = learnt when it refuses a longer one"),
    ROW(WORKER, CHOICE, reject_long_text, "long-text", "LONG_TEXT", "cut", "cut|reject",
        "what is done with a longer one: its beginning is embedded, or it is refused"),
    ROW(ALL, DURATION, embed_timeout_ms, "embed-timeout", "EMBED_TIMEOUT", "30s", "10ms..1h",
        "bound of one request"),
    ROW(WORKER, RATE, embed_rate_count, "embed-rate", "EMBED_RATE", "", "",
        "e.g. 100/60s, kept by the whole fleet together; empty = none"),
    ROW(ALL, TEXT, tls.authorities, "ca-file", "CA_FILE", "", "",
        "PEM file of the authorities to trust in TLS; empty = SSL_CERT_FILE, or the system's"),
    ROW(ALL, TEXT, tls.certificate, "client-cert", "CLIENT_CERT", "", "",
        "PEM file of our own certificate, shown to servers that ask; empty = none"),
    ROW(ALL, TEXT, tls.key, "client-key", "CLIENT_KEY", "", "",
        "PEM file of its key; empty = in the same file"),
    ROW(WORKER, DURATION, cache_ttl_ms, "cache-ttl", "CACHE_TTL", "1h", "1s..3650d",
        "how long a cached result lives"),
    ROW(WORKER, DURATION, cache_fresh_ms, "cache-fresh", "CACHE_FRESH", "60s", "0..3650d",
        "a stale result younger than this is not refreshed"),
    ROW(WORKER, DURATION, experience_ttl_ms, "experience-ttl", "EXPERIENCE_TTL", "7d", "1s..36500d",
        "how long an experience is worth keeping"),
    ROW(WORKER, DURATION, sweep_ms, "sweep", "SWEEP", "60s", "0..1d",
        "how often one worker of the fleet deletes expired experiences; 0 = never"),
    ROW(WORKER, NUMBER, min_quality, "min-quality", "MIN_QUALITY", "0.5", "0..1",
        "experiences below it are rejected"),
    ROW(ALL, SIZE, max_body_bytes, "max-body", "MAX_BODY", "256KiB", "64..16MiB",
        "bound of a job's body"),
    ROW(ALL, INTEGER, max_backlog, "max-backlog", "MAX_BACKLOG", "100000", "0..1000000000",
        "waiting jobs a queue takes; 0 = no bound"),
    ROW(WORKER, SIZE, max_backlog_bytes, "max-backlog-bytes", "MAX_BACKLOG_BYTES", "1GiB",
        "0..1024GiB", "memory of a queue's waiting jobs, whoever adds them; 0 = no bound"),
    ROW(WORKER, INTEGER, max_attempts, "max-attempts", "MAX_ATTEMPTS", "5", "1..1000",
        "failures until a job is a dead letter"),
    ROW(WORKER, DURATION, retry_base_ms, "retry-base", "RETRY_BASE", "2s", "1ms..1d",
        "first wait between attempts, doubled with full jitter"),
    ROW(WORKER, DURATION, retry_max_ms, "retry-max", "RETRY_MAX", "5m", "1ms..30d",
        "longest wait between attempts"),
    ROW(WORKER, INTEGER, max_deliveries, "max-deliveries", "MAX_DELIVERIES", "5", "1..1000",
        "a job taken so often without an end is dead as crash_loop"),
    ROW(WORKER, INTEGER, max_dead, "max-dead", "MAX_DEAD", "100000", "0..1000000000",
        "dead letters a queue keeps, the oldest are discarded; 0 = no bound"),
    ROW(WORKER, SIZE, max_dead_bytes, "max-dead-bytes", "MAX_DEAD_BYTES", "256MiB", "0..1024GiB",
        "memory of a queue's dead letters, the oldest are discarded; 0 = no bound"),
    ROW(WORKER, DURATION, dead_ttl_ms, "dead-ttl", "DEAD_TTL", "30d", "0..3650d",
        "dead letters older than this are discarded; 0 = kept for ever"),
    ROW(WORKER, DURATION, visibility_ms, "visibility", "VISIBILITY", "60s", "1s..1d",
        "a running job whose worker shows no life for so long is taken over"),
    ROW(WORKER, INTEGER, breaker_failures, "breaker-failures", "BREAKER_FAILURES", "5", "1..1000",
        "failures in a row that open a breaker"),
    ROW(WORKER, DURATION, breaker_pause_ms, "breaker-pause", "BREAKER_PAUSE", "60s", "1ms..1d",
        "how long it stays open"),
    ROW(WORKER, DURATION, drain_ms, "drain", "DRAIN", "25s", "0..1h",
        "what SIGTERM leaves running jobs to finish"),
    ROW(WORKER, CHOICE, record_distill, "record", "RECORD", "off", "off|distill",
        "distill: each distill job, rejected or not, leaves an outcome in the queue record, and "
        "one "
        "that did not succeed is no dead letter"),
    ROW(WORKER, QUEUES, queues, "queues", "QUEUES", "enrich,distill,index,echo", "",
        "queues this worker serves"),
    ROW(ALL, PLACE, learn, "learn", "LEARN", "", "",
        "the learning store: a file, or postgresql://user@host/name; queues \"record\" and "
        "\"vector\" need one; empty = none"),
    ROW(ALL, CHOICE, learn_similar, "learn-similar", "LEARN_SIMILAR", "off", "off|on",
        "on: what executions were about becomes vectors, by the queue vector, for `stillhouse "
        "learn "
        "similar`"),
    ROW(WORKER, DURATION, learn_refresh_ms, "learn-refresh", "LEARN_REFRESH", "5s", "100ms..1h",
        "how often a recorder refreshes the store's figures"),
    ROW(WORKER, DURATION, learn_ttl_ms, "learn-ttl", "LEARN_TTL", "90d", "1h..36500d",
        "executions older than this are deleted from it"),
    ROW(WORKER, SIZE, learn_max_bytes, "learn-max", "LEARN_MAX", "4GiB", "0..1024GiB",
        "size of the store, the oldest executions are deleted; 0 = no bound"),
    ROW(WORKER, INTEGER, lanes, "lanes", "LANES", "4", "1..256", "threads"),
    ROW(WORKER, INTEGER, batch, "batch", "BATCH", "64", "1..1000", "jobs a lane takes at once"),
    ROW(WORKER, ADDRESS, http, "http", "HTTP", "127.0.0.1:9464", "",
        "health, metrics, a recorder's questions; no login; off = none"),
    ROW(WORKER, ID, worker_id, "worker-id", "WORKER_ID", "", "",
        "empty = host, pid and a random part"),
    ROW(ALL, CHOICE, log_level, "log-level", "LOG_LEVEL", "info", "error|warning|info|debug",
        "the least important lines written"),
    ROW(CLI, CHOICE, examples_as_messages, "examples", "EXAMPLES", "block", "block|messages",
        "the form of examples where a call does not say it"),
    ROW(CLI, SHARE, holdout, "holdout", "HOLDOUT", "0%", "0%..100%",
        "share of the tasks with examples that go without, to compare"),
    ROW(CLI, TEXT, outbox, "outbox", "OUTBOX", "", "",
        "folder for jobs that Redis does not take, sent when it is back; empty = none"),
    ROW(CLI, SIZE, outbox_max_bytes, "outbox-max", "OUTBOX_MAX", "64MiB", "4KiB..1024GiB",
        "bound of that folder"),
};

enum { ROWS = sizeof settings_rows / sizeof settings_rows[0] };

/* A rate is two fields. */
_Static_assert(offsetof(struct settings, embed_rate_window_ms) ==
                   offsetof(struct settings, embed_rate_count) + sizeof(int64_t),
               "embed_rate_window_ms stands behind embed_rate_count");

size_t settings_count(void)
{
    return ROWS;
}

struct settings_row_info settings_row(size_t index)
{
    return index < ROWS ? settings_rows[index].info : (struct settings_row_info){0};
}

void settings_defaults(struct settings *settings)
{
    struct error err;

    memset(settings, 0, sizeof *settings);
    for (size_t i = 0; i < ROWS; i++) {
        const struct settings_row *row = &settings_rows[i];
        if (settings_row_parse(row, row->info.default_text, row->info.env, settings, &err) !=
            STATUS_OK) {
            log_error("default of %s", err.text);
            abort(); /* the table itself is wrong */
        }
    }
}

static const struct settings_row *find_row(const char *name)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (strcmp(settings_rows[i].info.flag, name) == 0) {
            return &settings_rows[i];
        }
    }
    return NULL;
}

enum status settings_set(struct settings *settings, const char *name, const char *value,
                         const char *source, struct error *err)
{
    const struct settings_row *row = find_row(name);

    return row == NULL ? error_set(err, STATUS_NOT_FOUND, "%.64s: no such setting", source)
                       : settings_row_parse(row, value, source, settings, err);
}

static bool may_be_secret(const struct settings_row *row)
{
    return row->info.secret || row->type == SETTINGS_URL || row->type == SETTINGS_PLACE;
}

void settings_blank(const char *name, char *value)
{
    for (size_t i = 0; i < ROWS; i++) {
        const struct settings_row *row = &settings_rows[i];
        char *scheme = row->info.secret ? NULL : strstr(value, "://");
        const bool is_path = row->type == SETTINGS_PLACE && scheme == NULL;
        if (strcmp(row->info.flag, name) == 0 && may_be_secret(row) && !is_path) {
            char *from = scheme == NULL ? value : scheme + strlen("://");
            memset(from, '*', strlen(from));
        }
    }
}

/* ---- environment ----------------------------------------------------------------------------- */

/* Up to `size` bytes of a file's start. A pipe or a device could be waited for without end. */
static enum status read_start(const char *path, const char *source, struct settings_line *line,
                              size_t *bytes, struct error *err)
{
    struct stat info = {0};
    ssize_t got = -1;
    int failure = 0;

    const int file = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (file < 0 || fstat(file, &info) != 0) {
        failure = errno;
    } else if (S_ISREG(info.st_mode) || S_ISDIR(info.st_mode)) { /* read() has a word for those */
        for (*bytes = 0; *bytes < sizeof line->text &&
                         (got = read(file, line->text + *bytes, sizeof line->text - *bytes)) != 0;
             *bytes += (size_t)got) {
            if (got < 0) {
                failure = errno;
                break;
            }
        }
    }
    if (file >= 0) {
        close(file);
    }
    if (failure != 0 || !S_ISREG(info.st_mode)) {
        return error_set(err, STATUS_INVALID, "%s: cannot read \"%.160s\": %s", source, path,
                         failure != 0 ? strerror(failure) : "it is no regular file");
    }
    line->exposed = (info.st_mode & (S_IROTH | S_IWOTH)) != 0;
    return STATUS_OK;
}

/* Cuts `text` behind its first line; what is wrong with that line, or NULL. */
static const char *cut_line(char *text, size_t bytes, size_t size)
{
    char *end = memchr(text, '\n', bytes);
    if (end == NULL && bytes == size) {
        return "is too long";
    }

    size_t length = end == NULL ? bytes : (size_t)(end - text);
    if (length > 0 && text[length - 1] == '\r') {
        length--;
    }
    text[length] = '\0';
    if (length == 0) {
        return "is empty";
    }
    return memchr(text, '\0', length) != NULL ? "holds a NUL byte" : NULL;
}

enum status settings_read_line(const char *path, const char *source, struct settings_line *line,
                               struct error *err)
{
    size_t bytes = 0;

    TRY(read_start(path, source, line, &bytes, err));
    const char *wrong = cut_line(line->text, bytes, sizeof line->text);
    return wrong == NULL ? STATUS_OK
                         : error_set(err, STATUS_INVALID, "%s: the first line of \"%.160s\" %s",
                                     source, path, wrong);
}

/* A library says nothing of itself. */
static enum status load_file(const struct settings_row *row, const char *path, const char *source,
                             bool library, struct settings *settings, struct error *err)
{
    struct settings_line line;

    enum status status = settings_read_line(path, source, &line, err);
    if (status == STATUS_OK) {
        status = settings_row_parse(row, line.text, source, settings, err);
        if (line.exposed && !library) {
            log_warning("%s: every user of this machine may read or write \"%.160s\"", source,
                        path);
        }
    }
    explicit_bzero(&line, sizeof line);
    return status;
}

static enum status load_row(const struct settings_row *row, bool library, struct settings *settings,
                            struct error *err)
{
    const char *value = getenv(row->info.env);
    const char *path = NULL;
    char file_env[80];

    snprintf(file_env, sizeof file_env, "%s_FILE", row->info.env);
    if (library || may_be_secret(row)) {
        path = getenv(file_env);
    }
    const bool given = value != NULL && value[0] != '\0'; /* compose writes NAME= for unset ones */
    if (path == NULL || path[0] == '\0') {
        return given ? settings_row_parse(row, value, row->info.env, settings, err) : STATUS_OK;
    }
    if (given) {
        return error_set(err, STATUS_INVALID, "%s and %s are both set, expected one of them",
                         row->info.env, file_env);
    }
    return load_file(row, path, file_env, library, settings, err);
}

enum status settings_load_env(struct settings *settings, enum settings_scope scope,
                              struct error *err)
{
    for (size_t i = 0; i < ROWS; i++) {
        if ((settings_rows[i].info.scope & scope) == 0) {
            continue;
        }
        TRY(load_row(&settings_rows[i], false, settings, err));
    }
    return STATUS_OK;
}

enum status settings_load_one(struct settings *settings, const char *name, struct error *err)
{
    const struct settings_row *row = find_row(name);

    return row == NULL ? error_set(err, STATUS_NOT_FOUND, "%.64s: no such setting", name)
                       : load_row(row, true, settings, err);
}

/* STILLHOUSE_<NAME>, or STILLHOUSE_<NAME>_FILE where that is read. */
static bool is_setting(const char *name, size_t bytes)
{
    for (size_t i = 0; i < ROWS; i++) {
        const struct settings_row *row = &settings_rows[i];
        const size_t own = strlen(row->info.env);
        if (bytes < own || strncmp(name, row->info.env, own) != 0) {
            continue;
        }
        const bool from_file = may_be_secret(row);
        if (bytes == own ||
            (from_file && bytes == own + 5 && memcmp(name + own, "_FILE", 5) == 0)) {
            return true;
        }
    }
    return false;
}

/* Of the scripts and tests (deploy, tests), or what Kubernetes sets for a service of our name. */
static bool is_others(const char *name, size_t bytes)
{
    static const char *const starts[] = {
        "TEST_",       "CHROMA_SERVER",  "CHROMA_VERSION", "CHROMA_SHA", "CHROMA_FROM",
        "QUICKSTART_", "REDIS_PASSWORD", "FUZZ_",          "CONTAINERS", "DEBIAN_MIRROR",
        "WORKER_URLS", "BIN=",           "DEPS=",          "PYTHON=",    "VERSION="};
    static const char *const parts[] = {"_SERVICE_", "_PORT"};
    const char *own = name + strlen(ENV_PREFIX);

    for (size_t i = 0; i < sizeof starts / sizeof starts[0]; i++) {
        if (strncmp(own, starts[i], strlen(starts[i])) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        if (memmem(name, bytes, parts[i], strlen(parts[i])) != NULL) {
            return true;
        }
    }
    return false;
}

size_t settings_unknown_env(const char **first)
{
    size_t count = 0;

    *first = NULL;
    for (char **at = environ; at != NULL && *at != NULL; at++) {
        const size_t bytes = strcspn(*at, "=");
        if (strncmp(*at, ENV_PREFIX, strlen(ENV_PREFIX)) != 0 || (*at)[bytes] == '\0' ||
            (*at)[bytes + 1] == '\0' || is_setting(*at, bytes) || is_others(*at, bytes)) {
            continue;
        }
        *first = count++ == 0 ? *at : *first;
    }
    return count;
}

/* ---- what they must be together ---------------------------------------------------------------
 */

static enum status check_redis_url(const char *flag, const char *text, struct error *err)
{
    struct redis_url url;

    enum status status = redis_url_parse(text, &url, err);
    explicit_bzero(&url, sizeof url);
    return status == STATUS_OK ? STATUS_OK : error_wrap(err, "%s", flag);
}

static enum status check_http_url(const char *flag, const char *text, struct error *err)
{
    return http_check_url(text, err) == STATUS_OK ? STATUS_OK : error_wrap(err, "%s", flag);
}

static enum status check_urls(const struct settings *settings, struct error *err)
{
    TRY(check_redis_url("redis-url", settings->redis_url, err));
    if (settings->cache_url[0] != '\0') {
        TRY(check_redis_url("cache-url", settings->cache_url, err));
    }
    TRY(check_http_url("chroma-url", settings->chroma_url, err));
    if (settings->embed_url[0] != '\0') {
        TRY(check_http_url("embed-url", settings->embed_url, err));
    }
    return STATUS_OK;
}

size_t settings_bare_secrets(const struct settings *settings, const char *names[SETTINGS_BARE_MAX])
{
    const struct {
        const char *name;
        const char *secret;
        const char *url;
    } uses[SETTINGS_BARE_MAX] = {
        {"chroma-token", settings->chroma_token, settings->chroma_url},
        {"embed-key", settings->embed_key, settings->embed_url},
    };
    size_t count = 0;

    for (size_t i = 0; i < SETTINGS_BARE_MAX; i++) {
        if (uses[i].secret[0] != '\0' && strncasecmp(uses[i].url, "http://", 7) == 0 &&
            !http_is_loopback(uses[i].url)) {
            names[count++] = uses[i].name;
        }
    }
    return count;
}

/* A queue that needs a learning store, where none is named. */
static enum status check_learn(const struct settings *settings, struct error *err)
{
    for (const char *name = settings->queues; *name != '\0'; name += strspn(name, ",")) {
        const size_t bytes = strcspn(name, ",");
        const enum kind_id kind = kind_of(name, bytes);
        if (settings->learn[0] == '\0' && kind != KINDS && kind_wants_store(kind)) {
            return error_set(
                err, STATUS_INVALID,
                "queues has \"%.*s\", which needs a learning store: set learn to a file "
                "or postgresql://user@host/name (--learn, STILLHOUSE_LEARN), or take the queue out",
                (int)bytes, name);
        }
        name += bytes;
    }
    return STATUS_OK;
}

enum status settings_finish(const struct settings *settings, struct error *err)
{
    struct error own = {0}; /* error_wrap wants one */
    struct error *detail = err != NULL ? err : &own;

    TRY(check_urls(settings, detail));
    TRY(tls_files_check(&settings->tls, detail));
    TRY(check_learn(settings, detail));
    if (settings->retry_max_ms < settings->retry_base_ms) {
        return error_set(detail, STATUS_INVALID,
                         "retry-max is %lld ms, expected at least retry-base, %lld ms",
                         (long long)settings->retry_max_ms, (long long)settings->retry_base_ms);
    }
    if (settings->embedder == EMBEDDER_BUILTIN && settings->embed_dimension != 0 &&
        (settings->embed_dimension < BUILTIN_DIMENSION_MIN ||
         settings->embed_dimension > BUILTIN_DIMENSION_MAX)) {
        return error_set(detail, STATUS_INVALID,
                         "embed-dimension is %lld, the builtin embedder takes %d to %d, or 0",
                         (long long)settings->embed_dimension, BUILTIN_DIMENSION_MIN,
                         BUILTIN_DIMENSION_MAX);
    }
    return STATUS_OK;
}

/* ---- what people read ------------------------------------------------------------------------ */

static const char *shown_value(const struct settings_row *row, const struct settings *settings,
                               const struct settings *defaults, char out[SETTINGS_VALUE_BYTES])
{
    const char *field = (const char *)settings + row->offset;
    char value[SETTINGS_VALUE_BYTES];
    char usual[SETTINGS_VALUE_BYTES];

    if (row->info.secret) {
        return field[0] == '\0' ? "" : "***";
    }
    settings_row_format(row, settings, value);
    if (strcmp(value, settings_row_format(row, defaults, usual)) == 0) {
        return row->info.default_text;
    }
    const bool is_path = row->type == SETTINGS_PLACE && strstr(value, "://") == NULL;
    return may_be_secret(row) && !is_path ? redis_url_hide(value, out, SETTINGS_VALUE_BYTES)
                                          : strcpy(out, value);
}

void settings_print(FILE *out, const struct settings *settings, enum settings_scope scope)
{
    struct settings defaults;

    settings_defaults(&defaults);
    for (size_t i = 0; i < settings_count(); i++) {
        const struct settings_row *row = &settings_rows[i];
        char value[SETTINGS_VALUE_BYTES];
        if ((row->info.scope & scope) != 0) {
            fprintf(out, "%s=%s\n", row->info.env, shown_value(row, settings, &defaults, value));
        }
    }
}

void settings_print_help(FILE *out, enum settings_scope scope)
{
    for (size_t i = 0; i < settings_count(); i++) {
        const struct settings_row *row = &settings_rows[i];
        const struct settings_row_info *info = &row->info;
        char flag[64];
        if ((info->scope & scope) == 0) {
            continue;
        }
        snprintf(flag, sizeof flag, "--%s %s", info->flag, settings_row_word(row));
        fprintf(out, "  %-*s  %s%s%s (default %s)\n", FLAG_COLUMN_BYTES, flag, info->help,
                info->range[0] == '\0' ? "" : ": ", info->range,
                info->default_text[0] == '\0' ? "empty" : info->default_text);
    }
}
