/* cli/commands/peek.c - what a queue will do next, or where one job is. */
#include <stdio.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/text.h"
#include "cli/commands/commands.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "operate/jobs.h"
#include "queue/queue.h"

enum { SHOWN = 10, BODY_CELL = 80 };

/* Jobs one after the other, as rows of a table or as JSON documents. */
struct page {
    struct table *table; /* NULL: documents */
    bool indented;
};

static void add_time(struct table *table, const struct entry *job)
{
    const int64_t left_ms = job->due_unix_ms - clock_unix_ms();
    const struct slice waits_for = job->parked.waits_for;
    char age[32];

    if (job->state != ENTRY_DELAYED) {
        table_text(table, output_age(clock_unix_ms() - entry_time_ms(job), age));
        return;
    }
    output_age(left_ms, age);
    table_printf(table, "%s%s%s%.*s", left_ms > 0 ? "due in " : "due", left_ms > 0 ? age : "",
                 waits_for.bytes > 0 ? ", waits for " : "", (int)waits_for.bytes,
                 waits_for.bytes > 0 ? waits_for.data : "");
}

static void add_row(struct table *table, const struct entry *job)
{
    struct strbuf body = {0};

    entry_body_to_json(job, &(struct json_writer){.out = &body});
    if (!strbuf_ok(&body)) {
        must_die();
    }
    table_text(table, entry_state_name(job->state));
    table_text(table, job_priority_name(job->priority));
    table_slice(table, job->id);
    table_slice(table, job->domain);
    table_slice(table, job->attempt);
    add_time(table, job);
    table_slice(table, (struct slice){body.data, text_utf8_cut(body.data, body.bytes, BODY_CELL)});
    strbuf_free(&body);
}

static void show(void *context, const struct entry *job)
{
    struct page *page = context;
    struct output out;

    if (page->table != NULL) {
        add_row(page->table, job);
        return;
    }
    entry_to_json(job, output_begin(&out, page->indented), NULL);
    output_end(&out);
}

static int peek_one(const struct cli *cli, struct redis_conn *conn, const struct queue *queue)
{
    struct page page = {.indented = !cli->json};
    struct error err = {0};
    const char *id = cli->arguments[1];

    const enum status status =
        jobs_find(&(struct jobs_view){conn, queue, show, &page, .shown = 0}, id, &err);
    if (status == STATUS_NOT_FOUND) {
        cli_message("no job \"%s\" in queue \"%s\" (done, or dead: `stillhouse dead show %s %s`)",
                    id, queue->name, queue->name, id);
        return CLI_NOT_FOUND;
    }
    return status == STATUS_OK ? CLI_DONE : cli_fail(&err);
}

static int peek_next(const struct cli *cli, struct redis_conn *conn, const struct queue *queue)
{
    struct table table = {0};
    struct page page = {.table = cli->json ? NULL : &table};
    struct jobs_view view = {conn, queue, show, &page, .shown = 0};
    struct error err = {0};

    table_init(&table, (const char *const[]){"state", "priority", "job", "domain", ">attempt",
                                             ">age", "body", NULL});
    const enum status status = jobs_next(&view, SHOWN, &err);
    if (status == STATUS_OK && !cli->json && view.shown == 0) {
        printf("%s has no waiting jobs\n", queue->name);
    } else if (status == STATUS_OK && !cli->json) {
        table_print(&table);
    }
    table_free(&table);
    return status == STATUS_OK ? CLI_DONE : cli_fail(&err);
}

int cmd_peek(struct cli *cli)
{
    struct queue queue;
    struct redis_conn *conn = cli_open_queue(cli, &queue);

    const int code =
        cli->argument_count == 2 ? peek_one(cli, conn, &queue) : peek_next(cli, conn, &queue);
    redis_conn_free(conn);
    return code;
}
