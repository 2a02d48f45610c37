#include "client/client.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "config/settings.h"
#include "queue/queue.h"

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

static _Thread_local char open_error[ERROR_TEXT_BYTES];

const char *stillhouse_version(void)
{
    return STILLHOUSE_VERSION;
}

const char *stillhouse_open_error(void)
{
    return open_error;
}

const char *stillhouse_error(const stillhouse_client *client)
{
    return client == NULL ? "" : client->err.text;
}

void stillhouse_query_hash(const char *query, char out[33])
{
    const char *text = query == NULL ? "" : query;

    text_hash(text, strlen(text), out);
}

/* ---- statuses ------------------------------------------------------------------------------ */

stillhouse_status client_status(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return STILLHOUSE_OK;
    case STATUS_INVALID:
        return STILLHOUSE_INVALID;
    case STATUS_NOT_FOUND:
        return STILLHOUSE_NOT_FOUND;
    case STATUS_FULL:
        return STILLHOUSE_FULL;
    case STATUS_TIMEOUT:
    case STATUS_UNREACHABLE:
    case STATUS_UNAVAILABLE:
    case STATUS_GARBLED:
        return STILLHOUSE_UNREACHABLE;
    case STATUS_FAILED:
    case STATUS_REFUSED:
    case STATUS_OOM:
    case STATUS_MISMATCH:
        break;
    }
    return STILLHOUSE_FAILED;
}

stillhouse_status client_failed(stillhouse_client *client, const struct error *err)
{
    client->err = *err;
    if (err->text[0] == '\0') {
        snprintf(client->err.text, sizeof client->err.text, "%s", status_text(err->status));
    } else if (strcasestr(err->text, "function not found") != NULL) {
        snprintf(client->err.text, sizeof client->err.text,
                 "the queues are not set up on this Redis: run `stillhouse init` or start a worker "
                 "(%.160s)",
                 err->text);
    }
    return client_status(err->status);
}

stillhouse_status client_finish(stillhouse_client *client, enum status status, struct error *err)
{
    err->status = status;
    const stillhouse_status result =
        status == STATUS_OK ? STILLHOUSE_OK : client_failed(client, err);

    client_leave(client);
    return result;
}

/* ---- from options and the environment to a configuration ------------------------------------ */

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

/* Other settings are not the library's business: one of them may be wrong. */
static enum status load_environment(const stillhouse_options *options, struct settings *settings,
                                    struct error *err)
{
    const struct {
        const char *flag;
        bool given; /* by the caller: then the environment is not looked at */
    } rows[] = {
        {"redis-url", options->redis_url != NULL},
        {"cache-url", options->cache_url != NULL},
        {"prefix", options->prefix != NULL},
        {"max-backlog", options->max_backlog != 0},
        {"max-body", options->max_body_bytes != 0},
        {"cache-fresh", false},
        {"holdout", options->holdout != NULL},
        {"outbox", options->outbox != NULL},
        {"outbox-max", options->outbox_max_bytes != 0},
        {"ca-file", false},
        {"client-cert", false},
        {"client-key", false},
    };
    enum status status = STATUS_OK;

    settings_defaults(settings);
    for (size_t i = 0; status == STATUS_OK && i < sizeof rows / sizeof rows[0]; i++) {
        if (!rows[i].given) {
            status = settings_load_one(settings, rows[i].flag, err);
        }
    }
    return status;
}

/* ---- the fields ---------------------------------------------------------------------------- */

static enum status take_texts(const stillhouse_options *options, const struct settings *settings,
                              struct client_config *config, struct error *err)
{
    const struct {
        const char *name;
        const char *given;
        const char *setting;
        char *out;
        size_t size;
    } texts[] = {
        {"redis_url", options->redis_url, settings->redis_url, config->redis_url,
         sizeof config->redis_url},
        {"cache_url", options->cache_url, settings->cache_url, config->cache_url,
         sizeof config->cache_url},
        {"prefix", options->prefix, settings->prefix, config->prefix, sizeof config->prefix},
        {"outbox", options->outbox, settings->outbox, config->outbox, sizeof config->outbox},
    };

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const char *text = texts[i].given != NULL ? texts[i].given : texts[i].setting;
        if (strlen(text) >= texts[i].size) {
            return error_set(err, STATUS_INVALID, "%s: %zu bytes, expected at most %zu",
                             texts[i].name, strlen(text), texts[i].size - 1);
        }
        memcpy(texts[i].out, text, strlen(text) + 1);
    }
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
        int64_t otherwise; /* where 0 is given */
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
        if (numbers[i].given < 0 || numbers[i].given > numbers[i].max) {
            return error_set(err, STATUS_INVALID,
                             "%s %lld: expected 1 to %lld, or 0 for the default", numbers[i].name,
                             (long long)numbers[i].given, (long long)numbers[i].max);
        }
        *numbers[i].out = numbers[i].given == 0 ? numbers[i].otherwise : numbers[i].given;
    }
    config->bounds = (struct link_bounds){(int)connect_ms, (int)command_ms, (int)retry_ms};
    config->memory_entries = (size_t)entries;
    config->cache_fresh_ms = settings->cache_fresh_ms;
    config->holdout = settings->holdout;
    return STATUS_OK;
}

/* The program that we are in may have said it before, by flags. */
static enum status take_tls_files(const struct tls_files *files, struct error *err)
{
    const struct tls_files now = tls_files_now();

    TRY(tls_files_check(files, err));
    if (now.authorities[0] == '\0' && now.certificate[0] == '\0') {
        tls_files_use(files);
    }
    return STATUS_OK;
}

static enum status configure(const stillhouse_options *options, struct client_config *config,
                             struct error *err)
{
    struct settings settings;
    stillhouse_options known;

    TRY(read_options(options, &known, err));
    enum status status = load_environment(&known, &settings, err);
    if (status == STATUS_OK && known.holdout != NULL) {
        status = settings_set(&settings, "holdout", known.holdout, "holdout", err);
    }
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

/* ---- life ---------------------------------------------------------------------------------- */

static enum status open_queues(stillhouse_client *client, struct error *err)
{
    const char *prefix = client->config.prefix;

    TRY(queue_init(&client->enrich, prefix, job_kinds[KIND_enrich].name, err));
    TRY(queue_init(&client->distill, prefix, job_kinds[KIND_distill].name, err));
    TRY(queue_init(&client->record, prefix, job_kinds[KIND_record].name, err));
    return queue_init(&client->index, prefix, job_kinds[KIND_index].name, err);
}

static enum status open_links(stillhouse_client *client, struct error *err)
{
    const struct client_config *config = &client->config;

    client->link = link_new(config->redis_url, &config->bounds, err);
    if (client->link == NULL) {
        return error_wrap(err, "redis_url");
    }
    if (config->cache_url[0] == '\0' || strcmp(config->cache_url, config->redis_url) == 0) {
        client->cache_link = client->link;
        return STATUS_OK;
    }
    client->cache_link = link_new(config->cache_url, &config->bounds, err);
    return client->cache_link == NULL ? error_wrap(err, "cache_url") : STATUS_OK;
}

/* The client is configured. `beside`: shares that one's memory; NULL: has one of its own. */
static enum status open_client(stillhouse_client *client, const stillhouse_client *beside,
                               struct error *err)
{
    TRY(open_queues(client, err));
    TRY(open_links(client, err));
    client->memory = beside != NULL ? memory_join(beside->memory)
                                    : memory_new(client->config.memory_entries,
                                                 client->config.memory_ttl_ms, err);
    if (client->memory == NULL) {
        return STATUS_OOM;
    }
    counts_init(&client->counts, client->config.prefix);
    return spool_open(&client->spool, client->config.outbox, client->config.prefix,
                      client->config.outbox_max_bytes, err);
}

static void free_client(stillhouse_client *client)
{
    if (client->cache_link != client->link) {
        link_free(client->cache_link);
    }
    link_free(client->link);
    memory_leave(client->memory);
    spool_close(&client->spool);
    strbuf_free(&client->body);
    arena_free(&client->arena);
    explicit_bzero(&client->config, sizeof client->config);
    free(client);
}

/* `options`, or the configuration of the client that it stands beside. */
static stillhouse_status open_as(const stillhouse_options *options, const stillhouse_client *beside,
                                 stillhouse_client **client)
{
    struct error err = {0};
    enum status status = STATUS_OK;

    *client = NULL;
    stillhouse_client *made = calloc(1, sizeof *made);
    if (made == NULL || !forks_watch()) {
        free(made);
        snprintf(open_error, sizeof open_error, "out of memory");
        return STILLHOUSE_FAILED;
    }
    if (beside == NULL) {
        status = configure(options, &made->config, &err);
    } else {
        made->config = beside->config;
    }
    if (status == STATUS_OK) {
        status = open_client(made, beside, &err);
    }
    made->forks = forks_count();
    if (status != STATUS_OK) {
        snprintf(open_error, sizeof open_error, "%s", err.text);
        free_client(made);
        return client_status(status);
    }
    *client = made;
    return STILLHOUSE_OK;
}

stillhouse_status stillhouse_open(const stillhouse_options *options, stillhouse_client **client)
{
    open_error[0] = '\0';
    if (client == NULL) {
        snprintf(open_error, sizeof open_error, "client: expected a place for it, got NULL");
        return STILLHOUSE_INVALID;
    }
    return open_as(options, NULL, client);
}

stillhouse_status stillhouse_open_beside(const stillhouse_client *other, stillhouse_client **client)
{
    open_error[0] = '\0';
    if (client != NULL) {
        *client = NULL;
    }
    if (client == NULL || other == NULL) {
        snprintf(open_error, sizeof open_error, "%s",
                 client == NULL ? "client: expected a place for it, got NULL"
                                : "other: expected a client, got NULL");
        return STILLHOUSE_INVALID;
    }
    return open_as(NULL, other, client);
}

void stillhouse_close(stillhouse_client *client)
{
    if (!client_enter(client)) {
        return;
    }
    if (link_is_willing(client->link)) {
        counts_flush(&client->counts, client->link);
    }
    free_client(client);
}

/* ---- a child of fork() ----------------------------------------------------------------------- */

/* Another thread of the parent was in a call: what it was changing then is not looked at, but left
 * where it is. Only what a call never changes is taken over, and the memory, which fork() finds
 * whole. */
static void start_over(stillhouse_client *client)
{
    spool_start_over(&client->spool);
    client->body = (struct strbuf){0};
    client->arena = (struct arena){0};
    client->err = (struct error){0};
}

void client_adopt(stillhouse_client *client)
{
    const bool torn = atomic_load_explicit(&client->busy, memory_order_relaxed);

    link_adopt(client->link, torn);
    if (client->cache_link != client->link) {
        link_adopt(client->cache_link, torn);
    }
    if (torn) {
        start_over(client);
    }
    client->prompt_id[0] = '\0';
    client->has_asked = false;
    spool_forget_counts(&client->spool);
    counts_init(&client->counts, client->config.prefix); /* the parent sends what waits */
    client->forks = forks_count();
}

void client_tidy(stillhouse_client *client)
{
    strbuf_trim(&client->body, CLIENT_KEEP_BYTES);
    arena_reset(&client->arena, CLIENT_KEEP_BYTES);
}
