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
#include "base/text.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "config/clients.h"
#include "json/write.h"

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

/* False when the text has no blank line where one must be. */
static bool split(const struct example *record, struct slice *prompt, struct slice *result)
{
    const struct slice text = record->text;
    const int64_t known = meta_integer(record, "prompt_bytes");
    size_t cut = 0;

    if (known >= 0 && (size_t)known + 2 <= text.bytes &&
        memcmp(text.data + known, "\n\n", 2) == 0) {
        cut = (size_t)known;
    } else {
        const char *blank = text.bytes == 0 ? NULL : memmem(text.data, text.bytes, "\n\n", 2);
        if (blank == NULL) {
            return false;
        }
        cut = (size_t)(blank - text.data);
    }
    *prompt = (struct slice){text.data, cut};
    *result = (struct slice){text.data + cut + 2, text.bytes - cut - 2};
    return true;
}

static void append_line(const struct export *export, struct slice prompt, struct slice result,
                        struct strbuf *line)
{
    strbuf_append_str(line, export->completion ? "{\"prompt\":"
                                               : "{\"messages\":[{\"role\":\"user\",\"content\":");
    json_bytes(line, prompt.data, prompt.bytes);
    strbuf_append_str(line, export->completion ? ",\"completion\":"
                                               : "},{\"role\":\"assistant\",\"content\":");
    json_bytes(line, result.data, result.bytes);
    strbuf_append_str(line, export->completion ? "}" : "}]}");
}

static int export_record(struct export *export, const struct example *record, struct strbuf *line)
{
    const int64_t expires_ms = meta_integer(record, "expires_ms");
    struct slice prompt;
    struct slice result;

    if (find_meta(record, "task_id") == NULL || !split(record, &prompt, &result)) {
        export->others++;
        return CLI_DONE;
    }
    if (expires_ms >= 0 && expires_ms <= export->now_unix_ms) {
        export->expired++;
        return CLI_DONE;
    }
    strbuf_reset(line);
    append_line(export, prompt, result, line);
    export->written++;
    return json_print(line);
}

static int export_all(struct export *export, struct chroma *chroma, const char *domain)
{
    struct arena arena = {0};
    struct strbuf line = {0};
    struct error err = {0};
    struct chroma_hits hits = {0};
    size_t offset = 0;
    int code = CLI_DONE;

    do {
        arena_reset(&arena, 4 * 1024 * 1024);
        if (chroma_page(chroma, domain, offset, PAGE, &arena, &hits, &err) != STATUS_OK) {
            code = cli_fail(&err);
            break;
        }
        for (size_t i = 0; code == CLI_DONE && i < hits.count; i++) {
            code = export_record(export, &hits.examples[i], &line);
        }
        offset += PAGE;
    } while (code == CLI_DONE && hits.count > 0 && !ferror(stdout));
    strbuf_free(&line);
    arena_free(&arena);
    return code;
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

static int run(const struct cli *cli, const char *domain, struct export *export)
{
    struct embedder *embedder = NULL;
    struct error err = {0};

    if (http_global_init(&err) != STATUS_OK ||
        clients_open_embedder(&cli->settings, NULL, NULL, &embedder, &err) != STATUS_OK) {
        return cli_fail(&err);
    }
    struct chroma *chroma = clients_open_chroma(&cli->settings, embedder, NULL, NULL);
    int code = chroma == NULL ? cli_out_of_memory() : CLI_DONE;
    if (code == CLI_DONE && chroma_open_collection(chroma, domain, false, &err) != STATUS_OK) {
        code = cli_fail(&err);
    }
    if (code == CLI_DONE) {
        code = export_all(export, chroma, domain);
    }
    if (code == CLI_DONE) {
        summarise(export, domain);
    }
    chroma_free(chroma);
    embedder_free(embedder);
    return code;
}

int cmd_export(struct cli *cli)
{
    struct export export = {.now_unix_ms = clock_unix_ms()};
    const char *format = cli_value(cli, "format");
    const char *domain = NULL;

    int code = cli_check_arguments(cli, 1, 1, "dataset");
    if (code == CLI_DONE && strcmp(cli->arguments[0], "dataset") != 0) {
        code = cli_usage(cli->command, "export \"%s\": expected dataset", cli->arguments[0]);
    }
    if (code == CLI_DONE) {
        code = cli_get_domain(cli, true, &domain);
    }
    if (code == CLI_DONE && format != NULL && strcmp(format, "chat") != 0 &&
        strcmp(format, "completion") != 0) {
        code = cli_usage(cli->command, "--format \"%s\": expected chat or completion", format);
    }
    if (code != CLI_DONE) {
        return code;
    }
    export.completion = format != NULL && strcmp(format, "completion") == 0;
    return run(cli, domain, &export);
}
