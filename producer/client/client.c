#include "client/client.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

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

/* ---- life ---------------------------------------------------------------------------------- */

static enum status open_queues(stillhouse_client *client, struct error *err)
{
    const char *prefix = client->config.prefix;

    enum status status = queue_init(&client->enrich, prefix, "enrich", err);
    if (status == STATUS_OK) {
        status = queue_init(&client->distill, prefix, "distill", err);
    }
    return status == STATUS_OK ? queue_init(&client->index, prefix, "index", err) : status;
}

static enum status open_wires(stillhouse_client *client, struct error *err)
{
    const struct client_config *config = &client->config;

    client->wire = wire_new(config->redis_url, &config->bounds, err);
    if (client->wire == NULL) {
        return error_wrap(err, "redis_url");
    }
    if (config->cache_url[0] == '\0' || strcmp(config->cache_url, config->redis_url) == 0) {
        client->cache_wire = client->wire;
        return STATUS_OK;
    }
    client->cache_wire = wire_new(config->cache_url, &config->bounds, err);
    return client->cache_wire == NULL ? error_wrap(err, "cache_url") : STATUS_OK;
}

static enum status open_client(stillhouse_client *client, const stillhouse_options *options,
                               struct error *err)
{
    enum status status = client_configure(options, &client->config, err);
    if (status == STATUS_OK) {
        status = open_queues(client, err);
    }
    if (status == STATUS_OK) {
        status = open_wires(client, err);
    }
    if (status == STATUS_OK) {
        status = memory_init(&client->memory, client->config.memory_entries,
                             client->config.memory_ttl_ms, err);
    }
    if (status == STATUS_OK) {
        counts_init(&client->counts, client->config.prefix);
        status = spool_open(&client->spool, client->config.outbox, client->config.prefix,
                            client->config.outbox_max_bytes, err);
    }
    return status;
}

static void free_client(stillhouse_client *client)
{
    if (client->cache_wire != client->wire) {
        wire_free(client->cache_wire);
    }
    wire_free(client->wire);
    memory_free(&client->memory);
    spool_close(&client->spool);
    strbuf_free(&client->body);
    arena_free(&client->arena);
    explicit_bzero(&client->config, sizeof client->config);
    free(client);
}

stillhouse_status stillhouse_open(const stillhouse_options *options, stillhouse_client **client)
{
    struct error err = {0};

    open_error[0] = '\0';
    if (client == NULL) {
        snprintf(open_error, sizeof open_error, "client: expected a place for it, got NULL");
        return STILLHOUSE_INVALID;
    }
    *client = NULL;
    stillhouse_client *made = calloc(1, sizeof *made);
    if (made == NULL) {
        snprintf(open_error, sizeof open_error, "out of memory");
        return STILLHOUSE_FAILED;
    }
    const enum status status = forks_watch() ? open_client(made, options, &err)
                                             : error_set(&err, STATUS_OOM, "out of memory");
    made->forks = forks_count();
    if (status != STATUS_OK) {
        snprintf(open_error, sizeof open_error, "%s", err.text);
        free_client(made);
        return client_status(status);
    }
    *client = made;
    return STILLHOUSE_OK;
}

void stillhouse_close(stillhouse_client *client)
{
    if (!client_enter(client)) {
        return;
    }
    if (wire_is_willing(client->wire)) {
        counts_flush(&client->counts, client->wire);
    }
    free_client(client);
}

/* ---- a child of fork() ----------------------------------------------------------------------- */

/* Another thread of the parent was in a call: what it was changing then is not looked at, but left
 * where it is. Only what a call never changes is taken over. */
static void start_over(stillhouse_client *client)
{
    struct error err;

    if (memory_init(&client->memory, client->config.memory_entries, client->config.memory_ttl_ms,
                    &err) != STATUS_OK) {
        client->memory = (struct memory){0}; /* then nothing is remembered */
    }
    spool_start_over(&client->spool);
    client->body = (struct strbuf){0};
    client->arena = (struct arena){0};
    client->err = (struct error){0};
}

void client_adopt(stillhouse_client *client)
{
    const bool torn = atomic_load_explicit(&client->busy, memory_order_relaxed);

    wire_adopt(client->wire, torn);
    if (client->cache_wire != client->wire) {
        wire_adopt(client->cache_wire, torn);
    }
    if (torn) {
        start_over(client);
    }
    spool_forget_counts(&client->spool);
    counts_init(&client->counts, client->config.prefix); /* the parent sends what waits */
    client->forks = forks_count();
}

void client_tidy(stillhouse_client *client)
{
    strbuf_trim(&client->body, CLIENT_KEEP_BYTES);
    arena_reset(&client->arena, CLIENT_KEEP_BYTES);
}
