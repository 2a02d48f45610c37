/* From stillhouse_options and the environment to a configuration. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/client.h"
#include "config/settings.h"

enum { TIME_MAX_MS = 60 * 60 * 1000, ENTRIES_MAX = 10 * 1000 * 1000 };

#define OUTBOX_MAX_BYTES ((int64_t)1 << 40)

/* Defaults stand here once; everything else that has one is a setting. */
enum {
    CONNECT_TIMEOUT_MS = 100,
    COMMAND_TIMEOUT_MS = 50,
    RETRY_MS = 1000,
    MEMORY_TTL_MS = 5 * 60 * 1000,
    MEMORY_ENTRIES = 1000
};

/* Copies what the caller's version of the struct has; what it does not know is zero. */
static enum status read_options(const stillhouse_options *given, stillhouse_options *out,
                                struct error *err)
{
    *out = (stillhouse_options){0};
    if (given == NULL) {
        return STATUS_OK;
    }
    if (given->size < sizeof given->size || given->size > sizeof *out) {
        return error_set(err, STATUS_INVALID,
                         "options.size %zu: expected at most %zu, the size of "
                         "stillhouse_options",
                         given->size, sizeof *out);
    }
    memcpy(out, given, given->size);
    return STATUS_OK;
}

/* ---- the environment ----------------------------------------------------------------------- */

/* One variable, or the file that <variable>_FILE names, read by the settings' own rule. Other
 * settings are not the library's business: one of them may be wrong. */
static enum status load(struct settings *settings, const char *flag, const char *variable,
                        struct error *err)
{
    const char *value = getenv(variable);
    char file_variable[64];
    struct settings_line line;

    snprintf(file_variable, sizeof file_variable, "%s_FILE", variable);
    const char *path = getenv(file_variable);
    const bool given = value != NULL && value[0] != '\0';
    if (path == NULL || path[0] == '\0') {
        return given ? settings_set(settings, flag, value, variable, err) : STATUS_OK;
    }
    if (given) {
        return error_set(err, STATUS_INVALID, "%s and %s are both set, expected one of them",
                         variable, file_variable);
    }
    enum status status = settings_read_line(path, file_variable, &line, err);
    if (status == STATUS_OK) {
        status = settings_set(settings, flag, line.text, file_variable, err);
    }
    explicit_bzero(&line, sizeof line);
    return status;
}

static enum status load_environment(const stillhouse_options *options, struct settings *settings,
                                    struct error *err)
{
    const struct {
        const char *flag;
        const char *variable;
        bool given; /* by the caller: then the environment is not looked at */
    } rows[] = {
        {"redis-url", "STILLHOUSE_REDIS_URL", options->redis_url != NULL},
        {"cache-url", "STILLHOUSE_CACHE_URL", options->cache_url != NULL},
        {"prefix", "STILLHOUSE_PREFIX", options->prefix != NULL},
        {"max-backlog", "STILLHOUSE_MAX_BACKLOG", options->max_backlog != 0},
        {"max-body", "STILLHOUSE_MAX_BODY", options->max_body_bytes != 0},
        {"cache-fresh", "STILLHOUSE_CACHE_FRESH", false},
        {"outbox", "STILLHOUSE_OUTBOX", options->outbox != NULL},
        {"outbox-max", "STILLHOUSE_OUTBOX_MAX", options->outbox_max_bytes != 0},
        {"ca-file", "STILLHOUSE_CA_FILE", false},
        {"client-cert", "STILLHOUSE_CLIENT_CERT", false},
        {"client-key", "STILLHOUSE_CLIENT_KEY", false},
    };

    settings_defaults(settings);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        if (!rows[i].given) {
            const enum status status = load(settings, rows[i].flag, rows[i].variable, err);
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    return STATUS_OK;
}

/* ---- the fields ---------------------------------------------------------------------------- */

static enum status take_text(const char *name, const char *given, const char *setting, char *out,
                             size_t size, struct error *err)
{
    const char *text = given != NULL ? given : setting;

    if (strlen(text) >= size) {
        return error_set(err, STATUS_INVALID, "%s: %zu bytes, expected at most %zu", name,
                         strlen(text), size - 1);
    }
    memcpy(out, text, strlen(text) + 1);
    return STATUS_OK;
}

static enum status take_texts(const stillhouse_options *options, const struct settings *settings,
                              struct client_config *config, struct error *err)
{
    enum status status = take_text("redis_url", options->redis_url, settings->redis_url,
                                   config->redis_url, sizeof config->redis_url, err);
    if (status == STATUS_OK) {
        status = take_text("cache_url", options->cache_url, settings->cache_url, config->cache_url,
                           sizeof config->cache_url, err);
    }
    if (status == STATUS_OK) {
        status = take_text("prefix", options->prefix, settings->prefix, config->prefix,
                           sizeof config->prefix, err);
    }
    if (status == STATUS_OK) {
        status = take_text("outbox", options->outbox, settings->outbox, config->outbox,
                           sizeof config->outbox, err);
    }
    return status;
}

/* 0 = `otherwise`. */
static enum status take_number(const char *name, int64_t given, int64_t max, int64_t otherwise,
                               int64_t *out, struct error *err)
{
    if (given < 0 || given > max) {
        return error_set(err, STATUS_INVALID, "%s %lld: expected 1 to %lld, or 0 for the default",
                         name, (long long)given, (long long)max);
    }
    *out = given == 0 ? otherwise : given;
    return STATUS_OK;
}

static enum status take_numbers(const stillhouse_options *options, const struct settings *settings,
                                struct client_config *config, struct error *err)
{
    int64_t connect_ms = 0;
    int64_t command_ms = 0;
    int64_t retry_ms = 0;
    int64_t entries = 0;
    const int64_t given_entries =
        options->memory_entries > INT_MAX ? INT_MAX : (int64_t)options->memory_entries;
    const struct {
        const char *name;
        int64_t given;
        int64_t max;
        int64_t otherwise;
        int64_t *out;
    } numbers[] = {
        {"connect_timeout_ms", options->connect_timeout_ms, TIME_MAX_MS, CONNECT_TIMEOUT_MS,
         &connect_ms},
        {"command_timeout_ms", options->command_timeout_ms, TIME_MAX_MS, COMMAND_TIMEOUT_MS,
         &command_ms},
        {"retry_ms", options->retry_ms, TIME_MAX_MS, RETRY_MS, &retry_ms},
        {"memory_ttl_ms", options->memory_ttl_ms, TIME_MAX_MS, MEMORY_TTL_MS,
         &config->memory_ttl_ms},
        {"memory_entries", given_entries, ENTRIES_MAX, MEMORY_ENTRIES, &entries},
        {"max_backlog", options->max_backlog, INT_MAX, settings->max_backlog, &config->max_backlog},
        {"max_body_bytes", options->max_body_bytes, INT_MAX, settings->max_body_bytes,
         &config->max_body_bytes},
        {"outbox_max_bytes", options->outbox_max_bytes, OUTBOX_MAX_BYTES,
         settings->outbox_max_bytes, &config->outbox_max_bytes},
    };

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        const enum status status = take_number(numbers[i].name, numbers[i].given, numbers[i].max,
                                               numbers[i].otherwise, numbers[i].out, err);
        if (status != STATUS_OK) {
            return status;
        }
    }
    config->bounds = (struct wire_bounds){(int)connect_ms, (int)command_ms, (int)retry_ms};
    config->memory_entries = (size_t)entries;
    config->cache_fresh_ms = settings->cache_fresh_ms;
    return STATUS_OK;
}

/* The program that we are in may have said it before, by flags. */
static enum status take_tls_files(const struct tls_files *files, struct error *err)
{
    const struct tls_files now = tls_files_now();
    enum status status = tls_files_check(files, err);

    if (status == STATUS_OK && now.authorities[0] == '\0' && now.certificate[0] == '\0') {
        tls_files_use(files);
    }
    return status;
}

enum status client_configure(const stillhouse_options *options, struct client_config *config,
                             struct error *err)
{
    struct settings settings;
    stillhouse_options known;

    enum status status = read_options(options, &known, err);
    if (status != STATUS_OK) {
        return status;
    }
    status = load_environment(&known, &settings, err);
    if (status == STATUS_OK) {
        status = take_texts(&known, &settings, config, err);
    }
    if (status == STATUS_OK) {
        status = take_numbers(&known, &settings, config, err);
    }
    if (status == STATUS_OK) {
        status = take_tls_files(&settings.tls, err);
    }
    explicit_bzero(&settings, sizeof settings); /* its URLs may hold passwords */
    return status;
}
