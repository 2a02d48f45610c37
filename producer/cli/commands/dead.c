/* cli/commands/dead.c - the dead letters of a queue: see them, give them another life, or let them
 * go. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "operate/entries.h"

enum { LIST_DEFAULT = 20, LIST_MAX = 100000, PAGE = 500 };

typedef enum status move_letters(struct redis_conn *conn, const struct queue *queue,
                                 const struct slice *entries, size_t count, size_t *moved,
                                 struct error *err);

/* ---- list ---------------------------------------------------------------------------------- */

static void add_row(struct table *table, const struct entry *letter)
{
    const struct slice error = entry_cell(letter, "error", 60);
    const struct slice reason = entry_cell(letter, "reason", 32);
    const struct slice attempts = entry_cell(letter, "attempts", 20);
    char age[32];

    table_bytes(table, letter->stream_id.data, letter->stream_id.bytes);
    table_printf(table, "%s ago", output_age(clock_unix_ms() - entry_time_ms(letter), age));
    table_bytes(table, letter->id.data, letter->id.bytes);
    table_bytes(table, letter->domain.data, letter->domain.bytes);
    table_bytes(table, reason.data, reason.bytes);
    table_bytes(table, attempts.data, attempts.bytes);
    table_bytes(table, error.data, error.bytes);
}

static int print_list(const redisReply *page, bool json)
{
    struct table table;
    int code = CLI_DONE;

    table_init(&table, (const char *const[]){"letter", ">died", "job", "domain", "reason",
                                             ">attempts", "error", NULL});
    for (size_t i = 0; code == CLI_DONE && i < page->elements; i++) {
        struct entry letter;
        if (!entry_from_stream(page->element[i], ENTRY_DEAD, &letter)) {
            continue;
        }
        if (json) {
            struct strbuf line = {0};
            entry_to_json(&letter, &line);
            code = json_print(&line);
            strbuf_free(&line);
        } else {
            add_row(&table, &letter);
        }
    }
    if (code == CLI_DONE && !json && !table_print(&table, stdout)) {
        code = cli_out_of_memory();
    }
    table_free(&table);
    return code;
}

static int list(struct cli *cli, struct redis_conn *conn, const struct queue *queue)
{
    struct error err = {0};
    redisReply *page = NULL;
    int64_t limit = LIST_DEFAULT;

    int code = cli_get_int(cli, "limit", 1, LIST_MAX, &limit);
    if (code != CLI_DONE) {
        return code;
    }
    if (entries_range(conn, queue->dead, "+", "-", (size_t)limit, true, &page, &err) != STATUS_OK) {
        return cli_fail(&err);
    }
    if (page->elements == 0 && !cli->json) {
        printf("%s has no dead letters\n", queue->name);
    } else {
        code = print_list(page, cli->json);
    }
    redis_reply_free(page);
    return code;
}

/* ---- show ---------------------------------------------------------------------------------- */

static int show(struct cli *cli, struct redis_conn *conn, const struct queue *queue)
{
    struct error err = {0};
    struct entry letter;
    struct strbuf document = {0};
    redisReply *reply = NULL;

    if (entries_find(conn, queue->dead, cli->arguments[2], ENTRY_DEAD, &reply, &letter, &err) !=
        STATUS_OK) {
        return cli_fail(&err);
    }
    entry_to_json(&letter, &document);
    const int code = cli->json ? json_print(&document) : json_print_indented(&document);
    strbuf_free(&document);
    redis_reply_free(reply);
    return code;
}

/* ---- requeue, discard ---------------------------------------------------------------------- */

/* The letters of one page. *last is set when there are no more. */
static enum status move_page(struct redis_conn *conn, const struct queue *queue, move_letters *move,
                             const char *until, char from[ENTRY_ID_BYTES], size_t *moved,
                             bool *last, struct error *err)
{
    struct slice ids[PAGE];
    redisReply *page = NULL;
    size_t count = 0;
    size_t moved_now = 0;

    enum status status = entries_range(conn, queue->dead, from, until, PAGE, false, &page, err);
    if (status != STATUS_OK) {
        return status;
    }
    for (size_t i = 0; i < page->elements; i++) {
        struct entry letter;
        if (entry_from_stream(page->element[i], ENTRY_DEAD, &letter)) {
            ids[count++] = letter.stream_id;
        }
    }
    *last = page->elements < PAGE || count == 0;
    if (count > 0) {
        snprintf(from, ENTRY_ID_BYTES, "(%.*s", (int)ids[count - 1].bytes, ids[count - 1].data);
        status = move(conn, queue, ids, count, &moved_now, err);
        *moved += moved_now;
    }
    redis_reply_free(page);
    return status;
}

/* Up to the newest letter there is now: those that die meanwhile are not meant. */
static enum status move_all(struct redis_conn *conn, const struct queue *queue, move_letters *move,
                            size_t *moved, struct error *err)
{
    char from[ENTRY_ID_BYTES] = "-";
    char until[ENTRY_ID_BYTES] = "+";
    redisReply *newest = NULL;
    struct entry letter;
    bool last = false;

    enum status status = entries_range(conn, queue->dead, "+", "-", 1, true, &newest, err);
    if (status != STATUS_OK) {
        return status;
    }
    if (newest->elements == 0) {
        last = true;
    } else if (entry_from_stream(newest->element[0], ENTRY_DEAD, &letter)) {
        snprintf(until, sizeof until, "%.*s", (int)letter.stream_id.bytes, letter.stream_id.data);
    }
    redis_reply_free(newest);

    while (status == STATUS_OK && !last) {
        status = move_page(conn, queue, move, until, from, moved, &last, err);
    }
    return status;
}

static enum status move_one(struct redis_conn *conn, const struct queue *queue, move_letters *move,
                            const char *id, size_t *moved, struct error *err)
{
    redisReply *reply = NULL;
    struct entry letter;
    size_t moved_now = 0;

    enum status status = entries_find(conn, queue->dead, id, ENTRY_DEAD, &reply, &letter, err);
    if (status != STATUS_OK) {
        return status;
    }
    status = move(conn, queue, &letter.stream_id, 1, &moved_now, err);
    *moved += moved_now;
    redis_reply_free(reply);
    return status;
}

static int report_moved(const struct cli *cli, const char *word, size_t moved)
{
    struct strbuf document = {0};

    if (!cli->json) {
        printf("%zu %s\n", moved, word);
        return CLI_DONE;
    }
    strbuf_printf(&document, "{\"%s\":%zu}", word, moved);
    const int code = json_print(&document);
    strbuf_free(&document);
    return code;
}

static int move_given(struct cli *cli, struct redis_conn *conn, const struct queue *queue,
                      move_letters *move, const char *word)
{
    struct error err = {0};
    size_t moved = 0;
    int code = CLI_DONE;

    if (cli_has(cli, "all")) {
        if (move_all(conn, queue, move, &moved, &err) != STATUS_OK) {
            code = cli_fail(&err);
        }
    }
    for (size_t i = 2; i < cli->argument_count; i++) {
        if (move_one(conn, queue, move, cli->arguments[i], &moved, &err) != STATUS_OK) {
            code = cli_fail(&err);
        }
    }
    const int printed = report_moved(cli, word, moved);
    return code == CLI_DONE ? printed : code;
}

/* ---- the command --------------------------------------------------------------------------- */

static int check_usage(const struct cli *cli, const char *what)
{
    const bool moves = strcmp(what, "requeue") == 0 || strcmp(what, "discard") == 0;
    const bool all = cli_has(cli, "all");

    if (moves && all) {
        return cli_check_arguments(cli, 2, 2, "QUEUE beside --all");
    }
    if (all) {
        return cli_usage(cli->command, "--all goes with requeue and discard");
    }
    if (moves) {
        return cli_check_arguments(cli, 3, SIZE_MAX, "QUEUE ID, or --all");
    }
    if (strcmp(what, "show") == 0) {
        return cli_check_arguments(cli, 3, 3, "QUEUE ID");
    }
    if (strcmp(what, "list") == 0) {
        return cli_check_arguments(cli, 2, 2, "QUEUE");
    }
    return cli_usage(cli->command, "dead \"%s\": expected list, show, requeue or discard", what);
}

int cmd_dead(struct cli *cli)
{
    struct queue queue;
    struct redis_conn *conn = NULL;

    int code = cli_check_arguments(cli, 1, SIZE_MAX, "list, show, requeue or discard");
    if (code != CLI_DONE) {
        return code;
    }
    const char *what = cli->arguments[0];
    code = check_usage(cli, what);
    if (code == CLI_DONE) {
        code = cli_queue(cli, 1, &queue);
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

    if (strcmp(what, "list") == 0) {
        code = list(cli, conn, &queue);
    } else if (strcmp(what, "show") == 0) {
        code = show(cli, conn, &queue);
    } else if (strcmp(what, "requeue") == 0) {
        code = move_given(cli, conn, &queue, queue_requeue, "requeued");
    } else {
        code = move_given(cli, conn, &queue, queue_discard, "discarded");
    }
    redis_conn_free(conn);
    return code;
}
