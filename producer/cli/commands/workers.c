/* cli/commands/workers.c - who is alive. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "operate/fleet.h"
#include "json/write.h"

static bool is_number(const char *text)
{
    const size_t digits = strspn(text, "0123456789");

    return digits > 0 && digits <= 15 && text[digits] == '\0' && (text[0] != '0' || digits == 1);
}

static void append_worker(struct strbuf *out, const struct worker *worker)
{
    static const char *const texts[] = {"host", "version", "queues", "breakers"};
    const redisReply *fields = worker->fields;

    strbuf_append_char(out, '{');
    json_key(out, "id");
    json_bytes(out, worker->id, strlen(worker->id));
    json_key(out, "alive");
    strbuf_append_str(out, worker_is_alive(worker) ? "true" : "false");
    json_key(out, "last_beat_ms");
    json_int(out, worker->beat_unix_ms);
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        const redisReply *name = fields->element[i];
        const redisReply *value = fields->element[i + 1];
        bool text = false;
        if (name->type != REDIS_REPLY_STRING || value->type != REDIS_REPLY_STRING ||
            strcmp(name->str, "id") == 0) {
            continue;
        }
        for (size_t j = 0; j < sizeof texts / sizeof texts[0]; j++) {
            text = text || strcmp(texts[j], name->str) == 0;
        }
        strbuf_append_char(out, ',');
        json_bytes(out, name->str, (size_t)name->len);
        strbuf_append_char(out, ':');
        if (!text && is_number(value->str)) {
            strbuf_append(out, value->str, (size_t)value->len);
        } else {
            json_bytes(out, value->str, (size_t)value->len);
        }
    }
    strbuf_append_char(out, '}');
}

static int print_json(const struct worker_list *list)
{
    struct strbuf document = {0};

    strbuf_append_str(&document, "{\"workers\":[");
    for (size_t i = 0; i < list->count; i++) {
        strbuf_append_str(&document, i == 0 ? "" : ",");
        append_worker(&document, &list->workers[i]);
    }
    strbuf_append_str(&document, "]}");
    const int code = json_print(&document);
    strbuf_free(&document);
    return code;
}

static void add_row(struct table *table, const struct worker *worker)
{
    static const char *const names[] = {"host",  "pid",  "version",   "queues",
                                        "lanes", "busy", "in_flight", "breakers"};
    const int64_t started = strtoll(worker_field(worker, "started_ms"), NULL, 10);
    const int64_t now = clock_unix_ms();
    char age[32];

    table_text(table, worker->id);
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        table_text(table, worker_field(worker, names[i]));
    }
    table_text(table, started <= 0 ? "" : output_age(now - started, age));
    table_printf(table, "%s ago%s", output_age(now - worker->beat_unix_ms, age),
                 worker_is_alive(worker) ? "" : ", gone");
}

static int print_table(const struct worker_list *list)
{
    struct table table;

    if (list->count == 0) {
        puts("no worker is registered");
        return CLI_DONE;
    }
    table_init(&table,
               (const char *const[]){"worker", "host", ">pid", "version", "queues", ">lanes",
                                     ">busy", ">in flight", "breakers", ">up", ">last beat", NULL});
    for (size_t i = 0; i < list->count; i++) {
        add_row(&table, &list->workers[i]);
    }
    const bool printed = table_print(&table, stdout);
    table_free(&table);
    return printed ? CLI_DONE : cli_out_of_memory();
}

int cmd_workers(struct cli *cli)
{
    struct redis_conn *conn = NULL;
    struct worker_list list = {0};
    struct error err = {0};

    int code = cli_check_arguments(cli, 0, 0, "");
    if (code == CLI_DONE) {
        code = connect_queue(cli, &conn);
    }
    if (code != CLI_DONE) {
        return code;
    }
    if (fleet_workers(conn, cli->settings.prefix, &list, &err) != STATUS_OK) {
        code = cli_fail(&err);
    } else {
        code = cli->json ? print_json(&list) : print_table(&list);
    }
    worker_list_free(&list);
    redis_conn_free(conn);
    return code;
}
