/* cli/commands/dead.c - the dead letters of a queue: see them, give them another life, or let them
 * go. */
#include <stdio.h>

#include "base/clock.h"
#include "cli/commands/commands.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "operate/letters.h"

enum { LIST_DEFAULT = 20, LIST_MAX = 100000 };

static void print_entry(const struct entry *letter, bool indented)
{
    struct output out;

    entry_to_json(letter, output_begin(&out, indented), NULL);
    output_end(&out);
}

static void add_row(struct table *table, const struct entry *letter)
{
    char age[32];

    table_slice(table, letter->stream_id);
    table_printf(table, "%s ago", output_age(clock_unix_ms() - entry_time_ms(letter), age));
    table_slice(table, letter->id);
    table_slice(table, letter->domain);
    table_slice(table, entry_cell(letter, "reason", 32));
    table_slice(table, entry_cell(letter, "attempts", 20));
    table_slice(table, entry_cell(letter, "error", 60));
}

int cmd_dead_list(struct cli *cli)
{
    const int64_t limit = cli_int(cli, "limit", 1, LIST_MAX, LIST_DEFAULT);
    struct queue queue;
    struct redis_conn *conn = cli_open_queue(cli, &queue);
    struct entries letters;
    struct entry letter;
    struct error err = {0};
    struct table table;
    size_t count = 0;

    table_init(&table, (const char *const[]){"letter", ">died", "job", "domain", "reason",
                                             ">attempts", "error", NULL});
    entries_open(&letters, conn, queue.dead, ENTRY_DEAD);
    entries_turn(&letters);
    letters.most = (size_t)limit;
    for (; entries_next(&letters, &letter); count++) {
        cli->json ? print_entry(&letter, false) : add_row(&table, &letter);
    }
    const enum status status = entries_close(&letters, &err);
    if (!cli->json && count > 0) {
        table_print(&table);
    } else if (!cli->json && status == STATUS_OK) {
        printf("%s has no dead letters\n", queue.name);
    }
    table_free(&table);
    redis_conn_free(conn);
    return status == STATUS_OK ? CLI_DONE : cli_fail(&err);
}

int cmd_dead_show(struct cli *cli)
{
    struct queue queue;
    struct redis_conn *conn = cli_open_queue(cli, &queue);
    struct entries letters;
    struct entry letter;
    struct error err = {0};

    entries_open(&letters, conn, queue.dead, ENTRY_DEAD);
    if (entries_find(&letters, cli->arguments[1], &letter)) {
        print_entry(&letter, !cli->json);
    }
    const enum status status = entries_close(&letters, &err);
    redis_conn_free(conn);
    return status == STATUS_OK ? CLI_DONE : cli_fail(&err);
}

/* All of the queue's, or those that are named; one that fails does not keep the others. */
static int move_letters(const struct cli *cli, struct letters letters, const char *word)
{
    struct queue queue;
    struct error err = {0};
    int code = CLI_DONE;

    letters.conn = cli_open_queue(cli, &queue);
    letters.queue = &queue;
    if (cli_has(cli, "all") && letters_move_all(&letters, &err) != STATUS_OK) {
        code = cli_fail(&err);
    }
    for (size_t i = 1; i < cli->argument_count; i++) {
        if (letters_move_one(&letters, cli->arguments[i], &err) != STATUS_OK) {
            code = cli_fail(&err);
        }
    }
    output_count(cli, word, letters.moved);
    redis_conn_free(letters.conn);
    return code;
}

int cmd_dead_requeue(struct cli *cli)
{
    return move_letters(cli, (struct letters){.move = queue_requeue}, "requeued");
}

int cmd_dead_discard(struct cli *cli)
{
    return move_letters(cli, (struct letters){.move = queue_discard}, "discarded");
}
