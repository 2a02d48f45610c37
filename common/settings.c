#include "settings.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "http.h"
#include "redis_conn.h"
#include "settings_table.h"
#include "text.h"

void settings_defaults(struct settings *settings)
{
    memset(settings, 0, sizeof *settings);
    for (size_t i = 0; i < settings_table_count; i++) {
        struct error err = {0};
        enum status status =
            settings_parse(&settings_table[i], settings_table[i].default_text, settings, &err);
        (void)status; /* that every default parses is a test */
    }
}

static enum status set_entry(struct settings *settings, const struct settings_entry *entry,
                             const char *value, const char *source, struct error *err)
{
    struct error own = {0};
    if (settings_parse(entry, value, settings, &own) == STATUS_OK) {
        return STATUS_OK;
    }
    return error_set(err, STATUS_INVALID, "%s: %s", source, own.text);
}

enum status settings_set(struct settings *settings, const char *name, const char *value,
                         const char *source, struct error *err)
{
    for (size_t i = 0; i < settings_table_count; i++) {
        if (strcmp(settings_table[i].flag, name) == 0) {
            return set_entry(settings, &settings_table[i], value, source, err);
        }
    }
    return error_set(err, STATUS_NOT_FOUND, "%s: there is no setting \"%s\"", source, name);
}

/* The first line of the file that `variable` names. */
static enum status read_secret(const char *variable, const char *path, char *out, size_t size,
                               struct error *err)
{
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        return error_set(err, STATUS_INVALID, "%s: cannot read \"%s\": %s", variable, path,
                         strerror(errno));
    }
    bool read = fgets(out, (int)size, file) != NULL;
    fclose(file);
    if (!read) {
        return error_set(err, STATUS_INVALID, "%s: \"%s\" is empty", variable, path);
    }
    out[strcspn(out, "\r\n")] = '\0';
    return STATUS_OK;
}

static enum status load_secret_file(struct settings *settings, const struct settings_entry *entry,
                                    struct error *err)
{
    char variable[80];
    char secret[SETTINGS_TEXT_BYTES + 2];

    snprintf(variable, sizeof variable, "%s_FILE", entry->env);
    const char *path = getenv(variable);
    if (path == NULL) {
        return STATUS_OK;
    }
    if (getenv(entry->env) != NULL) {
        return error_set(err, STATUS_INVALID, "%s and %s are both set, expected one of them",
                         entry->env, variable);
    }
    enum status status = read_secret(variable, path, secret, sizeof secret, err);
    return status == STATUS_OK ? set_entry(settings, entry, secret, variable, err) : status;
}

enum status settings_load_env(struct settings *settings, enum settings_scope scope,
                              struct error *err)
{
    for (size_t i = 0; i < settings_table_count; i++) {
        const struct settings_entry *entry = &settings_table[i];
        const char *value = getenv(entry->env);
        enum status status = STATUS_OK;

        if ((entry->scope & scope) == 0) {
            continue;
        }
        if (value != NULL) {
            status = set_entry(settings, entry, value, entry->env, err);
        }
        if (status == STATUS_OK && entry->secret) {
            status = load_secret_file(settings, entry, err);
        }
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

static bool is_known_queue(const char *name, size_t bytes)
{
    static const char *const known[] = {"enrich", "distill", "index", "echo"};
    const char *dot = memchr(name, '.', bytes);
    size_t base = dot != NULL ? (size_t)(dot - name) : bytes;
    size_t digits = bytes - base;

    if (dot != NULL && (digits < 2 || digits > 6 || strspn(dot + 1, "0123456789") < digits - 1)) {
        return false;
    }
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strlen(known[i]) == base && memcmp(known[i], name, base) == 0) {
            return true;
        }
    }
    return false;
}

static bool was_named(const char *list, const char *name, size_t bytes)
{
    for (const char *at = list; at < name; at += strcspn(at, ",") + 1) {
        if (strcspn(at, ",") == bytes && memcmp(at, name, bytes) == 0) {
            return true;
        }
    }
    return false;
}

static enum status check_queues(const char *list, struct error *err)
{
    size_t count = 0;

    for (const char *at = list;;) {
        size_t bytes = strcspn(at, ",");
        if (!is_known_queue(at, bytes)) {
            return error_set(
                err, STATUS_INVALID,
                "STILLHOUSE_QUEUES: \"%.*s\" is not one of enrich, distill, index, echo",
                (int)bytes, at);
        }
        if (was_named(list, at, bytes)) {
            return error_set(err, STATUS_INVALID, "STILLHOUSE_QUEUES: \"%.*s\" is named twice",
                             (int)bytes, at);
        }
        if (++count > 32) {
            return error_set(err, STATUS_INVALID, "STILLHOUSE_QUEUES: more than 32 queues");
        }
        if (at[bytes] == '\0') {
            return STATUS_OK;
        }
        at += bytes + 1;
    }
}

static enum status check_http(const char *text, struct error *err)
{
    const char *colon = strrchr(text, ':');
    char *end = NULL;

    if (strcmp(text, "off") == 0) {
        return STATUS_OK;
    }
    long port = colon != NULL && colon != text ? strtol(colon + 1, &end, 10) : -1;
    if (end == NULL || end == colon + 1 || *end != '\0' || port < 0 || port > 65535) {
        return error_set(err, STATUS_INVALID,
                         "STILLHOUSE_HTTP: \"%s\" is not HOST:PORT, [::1]:PORT or off", text);
    }
    return STATUS_OK;
}

static enum status check_names(const struct settings *settings, struct error *err)
{
    static const char letters[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";

    if (strspn(settings->prefix, letters) != strlen(settings->prefix)) {
        return error_set(err, STATUS_INVALID,
                         "STILLHOUSE_PREFIX: \"%s\" has characters other than [A-Za-z0-9._-]",
                         settings->prefix);
    }
    if (strspn(settings->worker_id, letters) != strlen(settings->worker_id)) {
        return error_set(err, STATUS_INVALID,
                         "STILLHOUSE_WORKER_ID: \"%s\" has characters other than [A-Za-z0-9._-]",
                         settings->worker_id);
    }
    return STATUS_OK;
}

static enum status check_urls(const struct settings *settings, struct error *err)
{
    struct redis_url url;

    if (redis_url_parse(settings->redis_url, &url, err) != STATUS_OK) {
        return error_wrap(err, "STILLHOUSE_REDIS_URL");
    }
    if (settings->cache_url[0] != '\0' &&
        redis_url_parse(settings->cache_url, &url, err) != STATUS_OK) {
        return error_wrap(err, "STILLHOUSE_CACHE_URL");
    }
    if (http_check_url(settings->chroma_url, err) != STATUS_OK) {
        return error_wrap(err, "STILLHOUSE_CHROMA_URL");
    }
    if (settings->embed_url[0] != '\0' && http_check_url(settings->embed_url, err) != STATUS_OK) {
        return error_wrap(err, "STILLHOUSE_EMBED_URL");
    }
    return STATUS_OK;
}

enum status settings_finish(const struct settings *settings, struct error *err)
{
    enum status status = check_urls(settings, err);
    if (status == STATUS_OK) {
        status = check_names(settings, err);
    }
    if (status == STATUS_OK) {
        status = check_queues(settings->queues, err);
    }
    if (status == STATUS_OK) {
        status = check_http(settings->http, err);
    }
    if (status == STATUS_OK && settings->retry_max_ms < settings->retry_base_ms) {
        char longest[32];
        char first[32];
        status = error_set(err, STATUS_INVALID,
                           "STILLHOUSE_RETRY_MAX: %s is shorter than STILLHOUSE_RETRY_BASE, %s",
                           text_format_duration(settings->retry_max_ms, longest),
                           text_format_duration(settings->retry_base_ms, first));
    }
    return status;
}

size_t settings_count(void)
{
    return settings_table_count;
}

struct settings_row_info settings_row(size_t index)
{
    const struct settings_entry *entry = &settings_table[index];
    return (struct settings_row_info){entry->flag, entry->env,   entry->default_text, entry->range,
                                      entry->help, entry->scope, entry->secret};
}

void settings_print_help(FILE *out, enum settings_scope scope)
{
    for (size_t i = 0; i < settings_table_count; i++) {
        const struct settings_entry *entry = &settings_table[i];
        if ((entry->scope & scope) == 0) {
            continue;
        }
        fprintf(out, "  --%-18s %s", entry->flag, entry->help);
        if (entry->range[0] != '\0') {
            fprintf(out, " [%s]", entry->range);
        }
        fprintf(out, " (%s, default %s)\n", entry->env,
                entry->default_text[0] != '\0' ? entry->default_text : "none");
    }
}

/* Hides the password of "scheme://user:password@host". */
static void hide_password(char *text)
{
    char *start = strstr(text, "://");
    char *at = strrchr(text, '@');
    if (start == NULL || at == NULL || at < start) {
        return;
    }
    char *colon = memchr(start + 3, ':', (size_t)(at - start - 3));
    if (colon != NULL) {
        size_t tail = strlen(at) + 1;
        size_t room = (size_t)(at - colon - 1);
        size_t stars = room < 3 ? room : 3;
        memset(colon + 1, '*', stars);
        memmove(colon + 1 + stars, at, tail);
    }
}

void settings_print(FILE *out, const struct settings *settings, enum settings_scope scope)
{
    for (size_t i = 0; i < settings_table_count; i++) {
        const struct settings_entry *entry = &settings_table[i];
        char value[SETTINGS_TEXT_BYTES];
        if ((entry->scope & scope) == 0) {
            continue;
        }
        settings_format(entry, settings, value, sizeof value);
        if (entry->secret && value[0] != '\0') {
            snprintf(value, sizeof value, "***");
        }
        hide_password(value);
        fprintf(out, "%s=%s\n", entry->env, value);
    }
}
