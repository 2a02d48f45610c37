/* cli/commands/learn.c - what executions taught: the questions of learn/questions.h asked of the
 * learning store, as tables, JSON or CSV; and what a person does to the store.
 *
 * A read needs no leave of the recorder that writes the store, which may be at work or not.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/commands/commands.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "config/clients.h"
#include "learn/owner.h"
#include "learn/questions.h"
#include "learn/similar.h"
#include "learn/store.h"

enum { BARS_FROM = 115 }; /* columns of a terminal */
enum { TABLE_MOST = 12, BAR_CHARS = 20, CELL_BYTES = 64, TEXT_SHOWN = 48 };

/* ---- help ------------------------------------------------------------------------------------ */

char learn_details[LEARN_DETAILS_BYTES];

void learn_make_details(void)
{
    size_t used = 0;

    for (size_t i = 0; i < questions_count; i++) {
        used += (size_t)snprintf(learn_details + used, sizeof learn_details - used, "  %-9s  %s\n",
                                 questions[i].name, questions[i].help);
    }
    snprintf(
        learn_details + used, sizeof learn_details - used,
        "\n"
        "A question is answered with a table for people, with --json with a list, with --csv\n"
        "with lines of CSV; `export` gives a line of JSON an execution, with --parts lines that\n"
        "`enqueue record --jsonl -` takes, for another store. A question reads the store\n"
        "itself, whether its recorder is at work or not; figures are at most\n"
        "STILLHOUSE_LEARN_REFRESH old. Days and times are UTC. Tables show the start of a long\n"
        "text. `similar` asks the embedder and Chroma too, and finds what a worker of the\n"
        "queue vector has embedded (STILLHOUSE_LEARN_SIMILAR=on); `embed` has it embed what\n"
        "was recorded before. `adopt` makes this store the fleet's history where Redis knows\n"
        "another.\n"
        "\n"
        "`finished` are the executions whose success is known, and `success_rate` is of these;\n"
        "`success_at_least` is what it surely is (95 %%), low while few are finished. Costs are\n"
        "in the unit that was recorded, quality is 0 to 100, tokens are those of in and out\n"
        "together. `from` is where the figures of `route` come from: this `type` of task in\n"
        "the domain; or, where too few of these are finished (--least), the whole `domain`; or\n"
        "`all` domains. `pools` are of executions that name their pool_type; the `share` of an\n"
        "error is of the --last executions that are finished. duration_p95_seconds is exact\n"
        "for one day, type and tier, or one hour and pool; of several it is the mean of\n"
        "theirs, weighted by their executions. `-` is not known.");
}

/* ---- rows ------------------------------------------------------------------------------------ */

static bool ends_with(const char *text, const char *end)
{
    const size_t bytes = strlen(text);
    const size_t least = strlen(end);

    return bytes > least && strcmp(text + bytes - least, end) == 0;
}

/* A narrow terminal has no room for a bar beside the figures. */
static bool has_bars(void)
{
    struct winsize size;

    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col >= BARS_FROM;
}

static bool is_truth(const char *name)
{
    return strcmp(name, "success") == 0 || strcmp(name, "user_accepted") == 0;
}

/* A number as people read it; a share of success with a bar, a moment as a date in UTC. */
static void format_number(const char *name, const struct value *value, char out[CELL_BYTES])
{
    const double number = value->type == VALUE_INTEGER ? (double)value->integer : value->number;

    if (strcmp(name, "success_rate") == 0) {
        const int full = has_bars() ? (int)(number * BAR_CHARS + 0.5) : 0;
        snprintf(out, CELL_BYTES, "%3.0f %% %.*s", number * 100, full, "####################");
    } else if (strcmp(name, "success_at_least") == 0 || strcmp(name, "share") == 0) {
        snprintf(out, CELL_BYTES, "%.0f %%", number * 100);
    } else if (is_truth(name)) {
        snprintf(out, CELL_BYTES, "%s", number != 0 ? "true" : "false");
    } else if (ends_with(name, "_ms") && value->type == VALUE_INTEGER) {
        const time_t seconds = (time_t)(value->integer / 1000);
        const char *form = strcmp(name, "day_ms") == 0 ? "%Y-%m-%d" : "%Y-%m-%d %H:%M:%SZ";
        struct tm when;
        if (gmtime_r(&seconds, &when) == NULL || strftime(out, CELL_BYTES, form, &when) == 0) {
            snprintf(out, CELL_BYTES, "%" PRId64, value->integer);
        }
    } else if (value->type == VALUE_INTEGER) {
        snprintf(out, CELL_BYTES, "%" PRId64, value->integer);
    } else if (strcmp(name, "distance") == 0) {
        snprintf(out, CELL_BYTES, "%.4f", number);
    } else {
        snprintf(out, CELL_BYTES, number >= 1000 ? "%.0f" : "%.4g", number);
    }
}

/* The start of a text that is too long for a cell, in whole characters. */
static void put_start(struct table *table, struct slice text)
{
    char start[TEXT_SHOWN + 4];
    const size_t bytes = text_utf8_cut(text.data, text.bytes, TEXT_SHOWN - 3);

    snprintf(start, sizeof start, "%.*s...", (int)bytes, text.data);
    table_text(table, start);
}

static void put_cell(struct table *table, const char *name, const struct value *value,
                     size_t bytes_max)
{
    char text[CELL_BYTES];

    if (value->type == VALUE_TEXT && value->text.bytes > bytes_max) {
        put_start(table, value->text);
    } else if (value->type == VALUE_TEXT && value->text.bytes > 0) {
        table_slice(table, value->text);
    } else if (value->type == VALUE_INTEGER || value->type == VALUE_NUMBER) {
        format_number(name, value, text);
        table_text(table, text);
    } else {
        table_text(table, "-");
    }
}

static size_t columns_of(const struct store_question *question)
{
    size_t count = 0;

    while (question->columns[count].name != NULL) {
        count++;
    }
    return count;
}

/* A moment is shown as a date, so what it is called says no unit. */
static int title_bytes(const char *column)
{
    return (int)(strlen(column) - (ends_with(column, "_ms") ? strlen("_ms") : 0));
}

/* A line a row, or where that is too wide a line a value that is known. How many rows there were.
 */
static size_t show_table(const struct store_question *question, struct rows *rows,
                         struct error *err)
{
    const size_t columns = columns_of(question);
    const bool is_wide = columns > TABLE_MOST;
    const char *titles[TABLE_MOST + 1] = {"column", "value", NULL};
    char aligned[TABLE_MOST][CELL_BYTES];
    struct table table;
    size_t count = 0;

    for (size_t i = 0; !is_wide && i < columns; i++) {
        const struct question_column *column = &question->columns[i];
        const bool is_left = column->type == VALUE_TEXT || is_truth(column->name) ||
                             strcmp(column->name, "success_rate") == 0;
        snprintf(aligned[i], CELL_BYTES, "%s%.*s", is_left ? "" : ">", title_bytes(column->name),
                 column->name);
        titles[i] = aligned[i];
        titles[i + 1] = NULL;
    }
    table_init(&table, titles);
    for (; rows_next(rows, err) == ROWS_ONE; count++) {
        for (size_t i = 0; i < columns; i++) {
            const char *name = question->columns[i].name;
            const struct value value = rows_value(rows, (int)i);
            if (is_wide &&
                (value.type == VALUE_NULL || (value.type == VALUE_TEXT && value.text.bytes == 0))) {
                continue;
            }
            if (is_wide) {
                table_slice(&table, (struct slice){name, (size_t)title_bytes(name)});
            }
            put_cell(&table, name, &value, is_wide ? SIZE_MAX : TEXT_SHOWN);
        }
    }
    if (count > 0) {
        table_print(&table);
    }
    table_free(&table);
    return count;
}

/* Prints and empties it. Ends the program where that fails: later nothing says why any more. */
static void print_text(struct strbuf *text)
{
    strbuf_must(text);
    if (fwrite(text->data, 1, text->bytes, stdout) != text->bytes) {
        cli_exit(CLI_FAILED);
    }
    strbuf_reset(text);
}

/* For programs, a row at a time: CSV, or a line of JSON. How many there were. */
static size_t show_lines(const struct store_question *question, bool csv, struct rows *rows,
                         struct error *err)
{
    struct strbuf text = {0};
    size_t count = 0;

    if (csv) {
        question_csv(question, NULL, &text);
        print_text(&text);
    }
    for (; rows_next(rows, err) == ROWS_ONE; count++) {
        if (csv) {
            question_csv(question, rows, &text);
        } else {
            question_json(question, rows, &text);
            strbuf_append_char(&text, '\n');
        }
        print_text(&text);
    }
    strbuf_free(&text);
    return count;
}

/* Whether there is a row in it. */
static bool show_list(const struct store_question *question, struct rows *rows, struct error *err)
{
    struct strbuf text = {0};

    (void)!question_list(question, rows, SIZE_MAX, &text, err);
    const bool is_any = text.bytes > strlen("[]\n");
    print_text(&text);
    strbuf_free(&text);
    return is_any;
}

/* An empty table says nothing, so that a mistyped name is not taken for one without executions. */
static int say_nothing_found(const struct cli *cli, const struct store_question *question,
                             bool is_table)
{
    if (strcmp(question->name, "task") == 0) {
        cli_message(
            "no execution of task \"%s\" in domain \"%s\"; `stillhouse learn domains` lists "
            "the domains",
            cli_value(cli, "task-id"), cli_value(cli, "domain"));
        return CLI_NOT_FOUND;
    }
    if (is_table && strcmp(question->name, "similar") == 0) {
        cli_message(
            "nothing found in domain \"%s\": expected executions with a task_description, a "
            "worker of the queue vector and STILLHOUSE_LEARN_SIMILAR=on; `stillhouse learn "
            "embed` sees to older ones",
            cli_value(cli, "domain"));
    } else if (is_table && strcmp(question->name, "policy") == 0) {
        cli_message("no policy of domain \"%s\" is recorded", cli_value(cli, "domain"));
    } else if (is_table && strcmp(question->name, "feedback") == 0) {
        cli_message("no feedback of task \"%s\" in domain \"%s\"", cli_value(cli, "task-id"),
                    cli_value(cli, "domain"));
    } else if (is_table && strcmp(question->name, "errors") == 0) {
        cli_message("none of the last executions of domain \"%s\" failed; `stillhouse learn "
                    "domains` lists the domains",
                    cli_value(cli, "domain"));
    } else if (is_table) {
        cli_message("nothing found%s; `stillhouse help learn` says how far it looks",
                    strcmp(question->name, "domains") == 0
                        ? ""
                        : ", `stillhouse learn domains` lists the domains");
    }
    return CLI_DONE;
}

static enum status ask_chroma(const struct cli *cli, struct database *database,
                              const struct value *with, struct arena *arena, struct rows *rows,
                              struct error *err)
{
    struct similar_clients clients = {.database = database,
                                      .text_bytes_max = (size_t)cli->settings.embed_max_chars};

    TRY(clients_open_embedder(&cli->settings, NULL, NULL, &clients.embedder, err));
    clients.chroma = clients_open_chroma(&cli->settings, clients.embedder, NULL, NULL);
    const enum status status = similar_ask(&clients, with, arena, rows, err);
    chroma_free(clients.chroma);
    embedder_free(clients.embedder);
    return status;
}

static enum status ask(const struct cli *cli, struct database *database,
                       const struct store_question *question, const struct value *with,
                       struct arena *arena, struct rows *rows, struct error *err)
{
    int64_t now_unix_ms = 0;

    if (question->sql == NULL) {
        return ask_chroma(cli, database, with, arena, rows, err);
    }
    TRY(database_now(database, &now_unix_ms, err));
    return question_ask(database, question, with, now_unix_ms, rows, err);
}

int cmd_learn_ask(struct cli *cli)
{
    const struct store_question *question = question_find(slice_of(cli->form->word));
    const bool is_export = strcmp(question->name, "export") == 0;
    struct slice given[QUESTION_PARAMETERS_MAX] = {{NULL, 0}};
    struct value with[QUESTION_PARAMETERS_MAX];
    struct arena arena = {.is_must = true};
    struct rows rows;
    struct error err = {0};
    bool is_any = false;

    for (size_t i = 0; i < QUESTION_PARAMETERS_MAX && question->parameters[i].name != NULL; i++) {
        const char *value = cli_value(cli, question->parameters[i].name);
        given[i] = value == NULL ? (struct slice){NULL, 0} : slice_of(value);
    }
    if (question_take(question, given, with, &err) != STATUS_OK) {
        cli_usage(cli->command, "%s", err.text);
    }
    struct store *store = cli_store(cli, STORE_READ);
    enum status status = ask(cli, store_database(store), question, with, &arena, &rows, &err);
    if (status == STATUS_OK) {
        if (cli_has(cli, "csv") || is_export) {
            is_any = show_lines(question, cli_has(cli, "csv"), &rows, &err) > 0;
        } else if (cli->json) {
            is_any = show_list(question, &rows, &err);
        } else {
            is_any = show_table(question, &rows, &err) > 0;
        }
        status = rows_end(&rows);
    }
    arena_free(&arena);
    store_close(store);
    if (status != STATUS_OK) {
        return cli_fail(&err);
    }
    const bool is_table = !cli->json && !cli_has(cli, "csv") && !is_export;
    return is_any ? CLI_DONE : say_nothing_found(cli, question, is_table);
}

int cmd_learn_parts(struct cli *cli)
{
    const struct store_question *question = question_find(slice_of("export"));
    struct slice given[QUESTION_PARAMETERS_MAX] = {{NULL, 0}};
    struct value since[QUESTION_PARAMETERS_MAX];
    struct error err = {0};

    if (cli_has(cli, "csv")) {
        cli_usage(cli->command, "--csv and --parts exclude each other");
    }
    if (cli_value(cli, "since-ms") != NULL) {
        given[0] = slice_of(cli_value(cli, "since-ms"));
    }
    if (question_take(question, given, since, &err) != STATUS_OK) {
        cli_usage(cli->command, "%s", err.text);
    }
    struct store *store = cli_store(cli, STORE_READ);
    const enum status status = store_list_parts(store, since[0].integer, print_text, &err);
    store_close(store);
    return status == STATUS_OK ? CLI_DONE : cli_fail(&err);
}

/* ---- what is done to a store ----------------------------------------------------------------- */

int cmd_learn_backup(struct cli *cli)
{
    struct store *store = cli_store(cli, STORE_READ);
    struct error err = {0};

    const enum status status = store_backup(store, cli->arguments[0], &err);
    store_close(store);
    return status == STATUS_OK ? CLI_DONE : cli_fail(&err);
}

int cmd_learn_check(struct cli *cli)
{
    const bool mends = cli_has(cli, "mend");
    struct store *store = cli_store(cli, mends ? STORE_CHANGE : STORE_READ);
    struct store_checked checked = {0};
    int64_t now_unix_ms = 0;
    struct error err = {0};

    enum status status = database_now(store_database(store), &now_unix_ms, &err);
    if (status == STATUS_OK) {
        status = (mends ? store_mend : store_check)(store, now_unix_ms, &checked, &err);
    }
    store_close(store);
    if (status != STATUS_OK) {
        const int code = cli_fail(&err);
        if (checked.apart > 0) {
            cli_message("`stillhouse learn check --mend` has what is wrong computed again");
            return CLI_FAILED;
        }
        return code;
    }
    if (checked.apart == 0) {
        printf("whole: the store, and the figures of %zu groups, which are what their executions "
               "make\n",
               checked.groups);
    } else {
        printf("%s\n%zu differences are mended with the next refresh\n", checked.first,
               checked.apart);
    }
    return CLI_DONE;
}

int cmd_learn_restore(struct cli *cli)
{
    const char *path = cli_store_path(cli);
    char kept[PATH_MAX];
    struct error err = {0};

    if (store_restore(path, cli->arguments[0], &err) != STATUS_OK) {
        return cli_fail(&err);
    }
    snprintf(kept, sizeof kept, "%s.before-restore", path);
    if (access(kept, F_OK) == 0) {
        printf("restored; what stood there is kept as \"%s\"\n", kept);
    } else {
        printf("restored\n");
    }
    return CLI_DONE;
}

int cmd_learn_migrate(struct cli *cli)
{
    struct store_migration migration = {.is_trial = cli_has(cli, "dry-run"),
                                        .to = (int)cli_int(cli, "to", 1, INT32_MAX, 0)};
    struct error err = {0};

    if (store_migrate(cli_store_path(cli), &migration, &err) != STATUS_OK) {
        return cli_fail(&err);
    }
    if (migration.from == migration.to) {
        printf("has version %d: nothing to do\n", migration.to);
    }
    if (migration.copy[0] != '\0') {
        printf("%s to \"%s\"\n", migration.is_trial ? "would be copied" : "copied", migration.copy);
    }
    for (int at = migration.from; at != migration.to;) {
        const int next = at < migration.to ? at + 1 : at - 1;
        printf("%s from version %d to %d\n", migration.is_trial ? "would go" : "went", at, next);
        at = next;
    }
    return CLI_DONE;
}

int cmd_learn_adopt(struct cli *cli)
{
    struct store *store = cli_store(cli, STORE_READ);
    struct redis_conn *conn = cli_redis(cli);
    struct error err = {0};

    const enum status status = owner_adopt(conn, cli->settings.prefix, store_id(store), &err);
    if (status == STATUS_OK) {
        printf("%s is the fleet's store\n", store_id(store));
    }
    redis_conn_free(conn);
    store_close(store);
    return status == STATUS_OK ? CLI_DONE : cli_fail(&err);
}
