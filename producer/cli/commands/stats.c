/* cli/commands/stats.c - what stands where, once or every second. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "operate/fleet.h"
#include "json/write.h"

enum { WATCH_MS = 1000, RESCAN_EVERY = 10 /* a queue of a new name is rare, SCAN is not free */ };

/* All queues at one moment. */
struct snapshot {
    struct queue_stats *stats; /* of the list's queues, in its order */
    struct queue_parked *parked;
    size_t workers;
    int64_t at_ms;
};

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

/* An older library cannot say it. */
static void note_parked(struct redis_conn *conn, const struct queue *queue,
                        struct queue_parked *out)
{
    struct error err = {0};

    if (queue_get_parked(conn, queue, out, &err) != STATUS_OK) {
        *out = (struct queue_parked){.count = 0};
    }
}

static void snapshot_free(struct snapshot *snapshot)
{
    free(snapshot->stats);
    free(snapshot->parked);
    *snapshot = (struct snapshot){.stats = NULL};
}

static enum status take(struct redis_conn *conn, const char *prefix, const struct queue_list *list,
                        struct snapshot *out, struct error *err)
{
    struct worker_list workers;

    out->stats = calloc(list->count + 1, sizeof *out->stats);
    out->parked = calloc(list->count + 1, sizeof *out->parked);
    if (out->stats == NULL || out->parked == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    for (size_t i = 0; i < list->count; i++) {
        const enum status status = queue_get_stats(conn, &list->queues[i], &out->stats[i], err);
        if (status != STATUS_OK) {
            return status;
        }
        if (out->stats[i].delayed > 0) {
            note_parked(conn, &list->queues[i], &out->parked[i]);
        }
    }
    const enum status status = fleet_workers(conn, prefix, &workers, err);
    if (status == STATUS_OK) {
        out->workers = workers.alive;
        worker_list_free(&workers);
    } else if (status == STATUS_REFUSED) {
        cli_message("the workers are not known: %s", err->text);
    }
    out->at_ms = clock_now_ms();
    return status == STATUS_REFUSED ? STATUS_OK : status;
}

/* ---- JSON ---------------------------------------------------------------------------------- */

/* Of the delayed jobs: what those that are parked wait for. */
static void append_parked(struct strbuf *out, const struct queue_parked *parked)
{
    json_key(out, "parked");
    strbuf_append_char(out, '{');
    for (size_t i = 0; i < parked->count; i++) {
        json_key(out, parked->each[i].operation);
        json_int(out, parked->each[i].jobs);
    }
    strbuf_append_char(out, '}');
}

static void append_stats(struct strbuf *out, const struct queue_stats *stats,
                         const struct queue_parked *parked)
{
    strbuf_printf(out,
                  "{\"waiting\":%" PRId64 ",\"running\":%" PRId64 ",\"delayed\":%" PRId64
                  ",\"dead\":%" PRId64 ",\"paused\":%s,\"oldest_ms\":%" PRId64 ",\"counters\":{",
                  stats->waiting, stats->running, stats->delayed, stats->dead,
                  stats->paused ? "true" : "false", stats->oldest_ms);
    for (size_t i = 0; i < QUEUE_COUNTERS; i++) {
        json_key(out, queue_counter_names[i]);
        json_int(out, stats->counters[i]);
    }
    json_key(out, "adjusted");
    json_int(out, stats->adjusted);
    strbuf_append_char(out, '}');
    append_parked(out, parked);
    if (stats->faults > 0) {
        json_key(out, "faults");
        json_bytes(out, stats->fault, strlen(stats->fault));
    }
    strbuf_append_char(out, '}');
}

static int print_json(const struct queue_list *list, const struct snapshot *now)
{
    struct strbuf document = {0};

    strbuf_append_str(&document, "{\"queues\":{");
    for (size_t i = 0; i < list->count; i++) {
        json_key(&document, list->queues[i].name);
        append_stats(&document, &now->stats[i], &now->parked[i]);
    }
    strbuf_printf(&document, "},\"workers\":%zu}", now->workers);
    const int code = json_print(&document);
    strbuf_free(&document);
    return code;
}

/* ---- table --------------------------------------------------------------------------------- */

static int64_t counter(const struct queue_stats *stats, const char *name)
{
    for (size_t i = 0; i < QUEUE_COUNTERS; i++) {
        if (strcmp(queue_counter_names[i], name) == 0) {
            return stats->counters[i];
        }
    }
    return 0;
}

/* A counter's growth a second since `before`. */
static void add_rate(struct table *table, const struct snapshot *before, const struct snapshot *now,
                     size_t i, const char *name)
{
    const int64_t ms = now->at_ms - before->at_ms;
    const int64_t grown = counter(&now->stats[i], name) - counter(&before->stats[i], name);

    table_printf(table, "%.0f", ms <= 0 ? 0.0 : (double)grown * 1000 / (double)ms);
}

static void print_parked(const char *queue, const struct queue_parked *parked)
{
    for (size_t i = 0; i < parked->count; i++) {
        printf("%s: %s%" PRId64 " parked, waiting for %s\n", queue,
               parked->is_all ? "" : "at least ", parked->each[i].jobs, parked->each[i].operation);
    }
}

static int print_table(const struct queue_list *list, const struct snapshot *before,
                       const struct snapshot *now)
{
    static const char *const counted[] = {"enqueued", "done", "retried", "expired", "buried"};
    struct table table;
    char age[32];

    table_init(&table,
               (const char *const[]){"queue", ">waiting", ">running", ">delayed", ">dead", "paused",
                                     ">oldest", ">enqueued", ">done", ">retried", ">expired",
                                     ">buried", before == NULL ? NULL : ">in/s", ">done/s", NULL});
    for (size_t i = 0; i < list->count; i++) {
        const struct queue_stats *stats = &now->stats[i];
        table_text(&table, list->queues[i].name);
        table_int(&table, stats->waiting);
        table_int(&table, stats->running);
        table_int(&table, stats->delayed);
        table_int(&table, stats->dead);
        table_text(&table, stats->paused ? "paused" : "");
        table_text(&table, stats->waiting == 0 ? "-" : output_age(stats->oldest_ms, age));
        for (size_t j = 0; j < sizeof counted / sizeof counted[0]; j++) {
            table_int(&table, counter(stats, counted[j]));
        }
        if (before != NULL) {
            add_rate(&table, before, now, i, "enqueued");
            add_rate(&table, before, now, i, "done");
        }
    }
    const bool printed = table_print(&table, stdout);
    table_free(&table);
    for (size_t i = 0; i < list->count; i++) {
        if (now->stats[i].faults > 0) {
            printf("%s: %s\n", list->queues[i].name, now->stats[i].fault);
        }
        print_parked(list->queues[i].name, &now->parked[i]);
    }
    printf("%zu worker%s\n", now->workers, now->workers == 1 ? "" : "s");
    return printed ? CLI_DONE : cli_out_of_memory();
}

/* ---- once, or every second ----------------------------------------------------------------- */

static int show_once(const struct cli *cli, struct redis_conn *conn)
{
    struct queue_list list = {0};
    struct snapshot now = {0};
    struct error err = {0};
    int code;

    enum status status = fleet_queues(conn, cli->settings.prefix, &list, &err);
    if (status == STATUS_OK) {
        status = take(conn, cli->settings.prefix, &list, &now, &err);
    }
    if (status != STATUS_OK) {
        code = cli_fail(&err);
    } else {
        code = cli->json ? print_json(&list, &now) : print_table(&list, NULL, &now);
    }
    snapshot_free(&now);
    queue_list_free(&list);
    return code;
}

static void wait_a_second(void)
{
    for (int waited = 0; waited < WATCH_MS && !interrupted; waited += 50) {
        clock_sleep_ms(50);
    }
}

/* Redraws in place on a terminal; elsewhere one table after the other. */
static int draw(const struct cli *cli, const struct queue_list *list, const struct snapshot *before,
                const struct snapshot *now)
{
    if (cli->json) {
        return print_json(list, now);
    }
    if (isatty(STDOUT_FILENO)) {
        fputs("\033[H\033[2J", stdout);
    }
    return print_table(list, before->stats == NULL ? now : before, now);
}

/* The queues there are now. What was seen before is of use where they are the same. */
static enum status rescan(const struct cli *cli, struct redis_conn *conn, struct queue_list *list,
                          struct snapshot *before, struct error *err)
{
    const size_t old_count = list->count;

    queue_list_free(list);
    const enum status status = fleet_queues(conn, cli->settings.prefix, list, err);
    if (list->count != old_count) {
        snapshot_free(before);
        *before = (struct snapshot){0};
    }
    return status;
}

/* A Redis that goes away meanwhile is waited for. */
static int watch(const struct cli *cli, struct redis_conn *conn)
{
    struct queue_list list = {0};
    struct snapshot before = {0};
    int code = CLI_DONE;

    for (size_t round = 0; code == CLI_DONE && !interrupted && !ferror(stdout); round++) {
        struct snapshot now = {0};
        struct error err = {0};
        enum status status = STATUS_OK;
        if (round % RESCAN_EVERY == 0 || list.queues == NULL) {
            status = rescan(cli, conn, &list, &before, &err);
        }
        if (status == STATUS_OK) {
            status = take(conn, cli->settings.prefix, &list, &now, &err);
        }
        if (status == STATUS_OK) {
            code = draw(cli, &list, &before, &now);
            snapshot_free(&before);
            before = now;
        } else {
            snapshot_free(&now);
            code = cli_fail(&err);
            code = round > 0 && code == CLI_UNREACHABLE ? CLI_DONE : code;
        }
        fflush(stdout);
        wait_a_second();
    }
    snapshot_free(&before);
    queue_list_free(&list);
    return code;
}

int cmd_stats(struct cli *cli)
{
    const struct sigaction action = {.sa_handler = on_signal};
    struct redis_conn *conn = NULL;

    int code = cli_check_arguments(cli, 0, 0, "");
    if (code == CLI_DONE) {
        code = connect_queue(cli, &conn);
    }
    if (code != CLI_DONE) {
        return code;
    }
    if (cli_has(cli, "watch")) {
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        code = watch(cli, conn);
    } else {
        code = show_once(cli, conn);
    }
    redis_conn_free(conn);
    return code;
}
