/* cli/commands/export.c - a domain's experiences as JSON Lines that fine-tuning takes.
 *
 * A document is prompt, blank line, result; metadata "prompt_bytes" says how long the prompt is,
 * without it the first blank line parts them. Left out, and counted on standard error: what has
 * expired, and what is no experience (indexed documents share the collection). Records that are
 * written while the export runs may be in it or not.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "cli/commands/commands.h"
#include "cli/frame/output.h"
#include "config/clients.h"

enum { PAGE = 500 };

struct export
{
    bool completion; /* else chat */
    int64_t now_unix_ms;
    size_t written;
    size_t expired;
    size_t others; /* no experiences */
};

static const struct meta_value *find_meta(const struct example *record, const char *key)
{
    for (size_t i = 0; i < record->metadata_count; i++) {
        const struct meta_pair *pair = &record->metadata[i];
        if (pair->key.bytes == strlen(key) && memcmp(pair->key.data, key, pair->key.bytes) == 0) {
            return &pair->value;
        }
    }
    return NULL;
}

/* A whole number, which a server may hand back as a float; -1 when there is none. */
static int64_t meta_integer(const struct example *record, const char *key)
{
    const struct meta_value *value = find_meta(record, key);

    if (value != NULL && value->type == META_INT) {
        return value->integer;
    }
    if (value != NULL && value->type == META_FLOAT && value->number >= 0 && value->number < 9e15) {
        return (int64_t)value->number;
    }
    return -1;
}

static void put_message(struct json_writer *json, const char *role, struct slice text)
{
    json_open(json, NULL, '{');
    json_put_str(json, "role", role);
    json_put_bytes(json, "content", text.data, text.bytes);
    json_close(json, '}');
}

static void print_line(const struct export *export, const struct halves *halves)
{
    struct output out;
    struct json_writer *json = output_object(&out);
    if (export->completion) {
        json_put_bytes(json, "prompt", halves->prompt.data, halves->prompt.bytes);
        json_put_bytes(json, "completion", halves->result.data, halves->result.bytes);
    } else {
        json_open(json, "messages", '[');
        put_message(json, "user", halves->prompt);
        put_message(json, "assistant", halves->result);
        json_close(json, ']');
    }
    output_end(&out);
}

static void export_record(struct export *export, const struct example *record)
{
    const int64_t expires_ms = meta_integer(record, "expires_ms");
    struct halves halves;

    if (!example_split(record, &halves)) {
        export->others++;
    } else if (expires_ms >= 0 && expires_ms <= export->now_unix_ms) {
        export->expired++;
    } else {
        print_line(export, &halves);
        export->written++;
    }
}

static enum status export_all(struct export *export, struct chroma *chroma, const char *domain,
                              struct error *err)
{
    struct arena arena = {.is_must = true};
    struct chroma_hits hits = {0};
    struct chroma_select select = {.domain = domain, .limit = PAGE, .fields = CHROMA_TEXTS};
    enum status status = STATUS_OK;

    do {
        arena_reset(&arena, 4 * 1024 * 1024);
        hits.count = 0;
        status = chroma_get(chroma, &select, &arena, &hits, err);
        for (size_t i = 0; status == STATUS_OK && i < hits.count; i++) {
            export_record(export, &hits.examples[i]);
        }
        select.offset += PAGE;
    } while (status == STATUS_OK && hits.count > 0 && !ferror(stdout));
    arena_free(&arena);
    return status;
}

static void summarise(const struct export *export, const char *domain)
{
    cli_message("%zu experience%s of domain \"%s\" exported", export->written,
                export->written == 1 ? "" : "s", domain);
    if (export->expired > 0) {
        cli_message("%zu left out: expired", export->expired);
    }
    if (export->others > 0) {
        cli_message("%zu left out: not distilled experiences", export->others);
    }
}

int cmd_export(struct cli *cli)
{
    struct export export = {.now_unix_ms = clock_unix_ms()};
    const char *format = cli_value(cli, "format");
    struct embedder *embedder = NULL;
    struct error err = {0};

    const char *domain = cli_domain(cli, true);
    export.completion = format != NULL && strcmp(format, "completion") == 0;
    if (format != NULL && !export.completion && strcmp(format, "chat") != 0) {
        cli_usage(cli->command, "--format \"%s\": expected chat or completion", format);
    }
    if (http_global_init(&err) != STATUS_OK ||
        clients_open_embedder(&cli->settings, NULL, NULL, &embedder, &err) != STATUS_OK) {
        return cli_fail(&err);
    }
    struct chroma *chroma = clients_open_chroma(&cli->settings, embedder, NULL, NULL);
    enum status status = chroma_open_collection(chroma, domain, false, &err);
    if (status == STATUS_OK) {
        status = export_all(&export, chroma, domain, &err);
    }
    if (status == STATUS_OK) {
        summarise(&export, domain);
    }
    chroma_free(chroma);
    embedder_free(embedder);
    return status == STATUS_OK ? CLI_DONE : cli_fail(&err);
}
