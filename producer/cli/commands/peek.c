/* cli/commands/peek.c - what a queue will do next, or where one job is. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "operate/entries.h"

enum { SHOWN = 10, BODY_CELL = 80 };

/* Prints entries one after the other, as rows of a table or as JSON Lines. */
struct peek {
    bool json;
    bool whole; /* one job: its document, not a row of a table */
    struct table table;
    size_t count;
    int code;
};

static void add_row(struct table *table, const struct entry *entry, const char *document)
{
    static const char *const states[] = {"waiting", "running", "delayed", "dead"};
    const char *body = strstr(document, ",\"body\":");
    const size_t length = body == NULL ? 0 : strlen(body + 8) - 1; /* without the last brace */
    char age[32];

    table_text(table, states[entry->state]);
    table_text(table, job_priority_name(entry->priority));
    table_bytes(table, entry->id.data, entry->id.bytes);
    table_bytes(table, entry->domain.data, entry->domain.bytes);
    table_bytes(table, entry->attempt.data, entry->attempt.bytes);
    if (entry->state == ENTRY_DELAYED) {
        const int64_t left = entry->due_unix_ms - clock_unix_ms();
        const struct slice waits_for = entry->parked.waits_for;
        char due[48];
        snprintf(due, sizeof due, left > 0 ? "due in %s" : "due", output_age(left, age));
        table_printf(table, "%s%s%.*s", due, waits_for.bytes > 0 ? ", waits for " : "",
                     (int)waits_for.bytes, waits_for.bytes > 0 ? waits_for.data : "");
    } else {
        table_text(table, output_age(clock_unix_ms() - entry_time_ms(entry), age));
    }
    table_bytes(table, body == NULL ? "" : body + 8,
                body == NULL ? 0 : text_utf8_cut(body + 8, length, BODY_CELL));
}

static void show(struct peek *peek, const struct entry *entry)
{
    struct strbuf document = {0};

    entry_to_json(entry, &document);
    if (peek->json) {
        peek->code = json_print(&document);
    } else if (peek->whole) {
        peek->code = json_print_indented(&document);
    } else if (!strbuf_ok(&document)) {
        peek->code = cli_out_of_memory();
    } else {
        add_row(&peek->table, entry, document.data);
    }
    peek->count++;
    strbuf_free(&document);
}

/* ---- waiting ------------------------------------------------------------------------------- */

/* "(<last delivered>" of group fleet, or "-" where there is no group. */
static const char *group_position(const redisReply *group, char out[ENTRY_ID_BYTES])
{
    const char *name = "";
    const char *last = NULL;

    for (size_t i = 0; group->type == REDIS_REPLY_ARRAY && i + 1 < group->elements; i += 2) {
        const redisReply *field = group->element[i];
        const redisReply *value = group->element[i + 1];
        if (field->type != REDIS_REPLY_STRING || value->type != REDIS_REPLY_STRING) {
            continue;
        }
        if (strcmp(field->str, "name") == 0) {
            name = value->str;
        } else if (strcmp(field->str, "last-delivered-id") == 0) {
            last = value->str;
        }
    }
    if (strcmp(name, "fleet") != 0 || last == NULL) {
        return NULL;
    }
    snprintf(out, ENTRY_ID_BYTES, "(%s", last);
    return out;
}

static enum status first_waiting(struct redis_conn *conn, const char *stream,
                                 char out[ENTRY_ID_BYTES], struct error *err)
{
    redisReply *reply = NULL;

    snprintf(out, ENTRY_ID_BYTES, "-");
    const enum status status = redis_askf(conn, &reply, err, "XINFO GROUPS %s", stream);
    if (status != STATUS_OK) {
        return status;
    }
    if (reply->type == REDIS_REPLY_ARRAY) { /* an error: there is no such stream yet */
        for (size_t i = 0; i < reply->elements; i++) {
            if (group_position(reply->element[i], out) != NULL) {
                break;
            }
        }
    }
    redis_reply_free(reply);
    return STATUS_OK;
}

static enum status peek_stream(struct redis_conn *conn, const struct queue *queue,
                               enum job_priority priority, struct peek *peek, struct error *err)
{
    char from[ENTRY_ID_BYTES];
    redisReply *page = NULL;

    enum status status = first_waiting(conn, queue->stream[priority], from, err);
    if (status == STATUS_OK) {
        status = entries_range(conn, queue->stream[priority], from, "+", SHOWN - peek->count, false,
                               &page, err);
    }
    if (status != STATUS_OK) {
        return status;
    }
    for (size_t i = 0; i < page->elements; i++) {
        struct entry entry;
        if (entry_from_stream(page->element[i], ENTRY_WAITING, &entry)) {
            entry.priority = priority;
            show(peek, &entry);
        }
    }
    redis_reply_free(page);
    return STATUS_OK;
}

/* ---- delayed ------------------------------------------------------------------------------- */

/* From member, score, member, score ... */
static void show_delayed(const redisReply *members, const char *id, struct peek *peek)
{
    for (size_t i = 0; i + 1 < members->elements; i += 2) {
        const redisReply *score = members->element[i + 1];
        const int64_t due = score->type == REDIS_REPLY_STRING ? strtoll(score->str, NULL, 10) : 0;
        struct entry entry;
        if (!entry_from_delayed(members->element[i], due, &entry)) {
            continue;
        }
        if (id == NULL ||
            (entry.id.bytes == strlen(id) && memcmp(entry.id.data, id, entry.id.bytes) == 0)) {
            show(peek, &entry);
        }
    }
}

static enum status peek_delayed(struct redis_conn *conn, const struct queue *queue,
                                struct peek *peek, struct error *err)
{
    redisReply *reply = NULL;

    const enum status status = redis_commandf(conn, &reply, err, "ZRANGE %s 0 %d WITHSCORES",
                                              queue->delayed, (int)(SHOWN - peek->count) - 1);
    if (status != STATUS_OK) {
        return status;
    }
    if (reply->type == REDIS_REPLY_ARRAY) {
        show_delayed(reply, NULL, peek);
    }
    redis_reply_free(reply);
    return STATUS_OK;
}

/* Looks through all delayed jobs for one id; Redis does the comparing. `id` has no glob characters
 * (text_is_id). */
static enum status find_delayed(struct redis_conn *conn, const struct queue *queue, const char *id,
                                struct peek *peek, struct error *err)
{
    char cursor[32] = "0";
    char pattern[TEXT_ID_MAX + 4];

    snprintf(pattern, sizeof pattern, "%s *", id);
    do {
        redisReply *reply = NULL;
        const enum status status = redis_commandf(
            conn, &reply, err, "ZSCAN %s %s MATCH %s COUNT 1000", queue->delayed, cursor, pattern);
        if (status != STATUS_OK) {
            return status;
        }
        if (!redis_reply_is_row(reply, "sa")) {
            redis_reply_free(reply);
            return error_set(err, STATUS_GARBLED, "ZSCAN: an answer of another shape");
        }
        snprintf(cursor, sizeof cursor, "%s", reply->element[0]->str);
        show_delayed(reply->element[1], id, peek);
        redis_reply_free(reply);
    } while (strcmp(cursor, "0") != 0 && peek->count == 0);
    return STATUS_OK;
}

/* ---- one job ------------------------------------------------------------------------------- */

/* Is the entry in somebody's hands? XPENDING: entry, consumer, idle ms, deliveries. */
static enum status mark_running(struct redis_conn *conn, const char *stream, struct entry *entry,
                                redisReply **reply, struct error *err)
{
    const struct slice id = entry->stream_id;

    const enum status status =
        redis_commandf(conn, reply, err, "XPENDING %s fleet %.*s %.*s 1", stream, (int)id.bytes,
                       id.data, (int)id.bytes, id.data);
    if (status == STATUS_NOT_FOUND) { /* no group yet: it waits */
        return STATUS_OK;
    }
    if (status != STATUS_OK || (*reply)->type != REDIS_REPLY_ARRAY || (*reply)->elements != 1) {
        return status;
    }
    const redisReply *row = (*reply)->element[0];
    if (redis_reply_is_row(row, "*s*i")) {
        entry->state = ENTRY_RUNNING;
        entry->consumer = (struct slice){row->element[1]->str, (size_t)row->element[1]->len};
        entry->deliveries = row->element[3]->integer;
    }
    return STATUS_OK;
}

static enum status find_in_stream(struct redis_conn *conn, const struct queue *queue,
                                  enum job_priority priority, const char *id, struct entry *entry,
                                  struct peek *peek, struct error *err)
{
    const char *stream = queue->stream[priority];
    redisReply *reply = NULL;
    redisReply *pending = NULL;

    enum status status = entries_find(conn, stream, id, ENTRY_WAITING, &reply, entry, err);
    if (status == STATUS_OK) {
        entry->priority = priority;
        status = mark_running(conn, stream, entry, &pending, err);
    }
    if (status == STATUS_OK) {
        show(peek, entry);
    }
    redis_reply_free(pending);
    redis_reply_free(reply);
    return status;
}

static int peek_one(struct redis_conn *conn, const struct queue *queue, const char *id,
                    struct peek *peek)
{
    struct error err = {0};
    struct entry entry;

    for (int priority = 0; priority < JOB_PRIORITIES; priority++) {
        const enum status status =
            find_in_stream(conn, queue, (enum job_priority)priority, id, &entry, peek, &err);
        if (status != STATUS_NOT_FOUND) {
            return status == STATUS_OK ? CLI_DONE : cli_fail(&err);
        }
    }
    if (text_is_id(id, strlen(id)) && find_delayed(conn, queue, id, peek, &err) != STATUS_OK) {
        return cli_fail(&err);
    }
    if (peek->count == 0) {
        cli_message("no job \"%s\" in queue \"%s\" (done, or dead: `stillhouse dead show %s %s`)",
                    id, queue->name, queue->name, id);
        return CLI_NOT_FOUND;
    }
    return CLI_DONE;
}

static int peek_next(struct redis_conn *conn, const struct queue *queue, struct peek *peek)
{
    struct error err = {0};
    enum status status = STATUS_OK;

    for (int priority = 0; status == STATUS_OK && priority < JOB_PRIORITIES && peek->count < SHOWN;
         priority++) {
        status = peek_stream(conn, queue, (enum job_priority)priority, peek, &err);
    }
    if (status == STATUS_OK && peek->count < SHOWN) {
        status = peek_delayed(conn, queue, peek, &err);
    }
    return status == STATUS_OK ? CLI_DONE : cli_fail(&err);
}

int cmd_peek(struct cli *cli)
{
    struct queue queue;
    struct redis_conn *conn = NULL;
    struct peek peek = {.json = cli->json, .whole = cli->argument_count == 2};

    int code = cli_check_arguments(cli, 1, 2, "QUEUE [ID]");
    if (code == CLI_DONE) {
        code = cli_queue(cli, 0, &queue);
    }
    if (code == CLI_DONE) {
        code = connect_queue(cli, &conn);
    }
    if (code == CLI_DONE) {
        code = cli_check_queue(conn, &queue);
    }
    if (code != CLI_DONE) {
        redis_conn_free(conn);
        return code;
    }

    table_init(&peek.table, (const char *const[]){"state", "priority", "job", "domain", ">attempt",
                                                  ">age", "body", NULL});
    code = peek.whole ? peek_one(conn, &queue, cli->arguments[1], &peek)
                      : peek_next(conn, &queue, &peek);
    if (code == CLI_DONE && !cli->json && peek.count == 0) {
        printf("%s has no waiting jobs\n", queue.name);
    } else if (code == CLI_DONE && !cli->json && !peek.whole && !table_print(&peek.table, stdout)) {
        code = cli_out_of_memory();
    }
    table_free(&peek.table);
    redis_conn_free(conn);
    return code == CLI_DONE ? peek.code : code;
}
