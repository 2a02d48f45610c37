/* cli/commands/stats.c - what stands where, once or every second; who is alive; whether the books
 * balance. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/must.h"
#include "cli/commands/commands.h"
#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "operate/books.h"
#include "operate/fleet.h"
#include "queue/operate.h"

/* ---- stats --------------------------------------------------------------------------------- */

enum { WATCH_MS = 1000, RESCAN_EVERY = 10 /* a queue of a new name is rare, SCAN is not free */ };

static volatile sig_atomic_t interrupted;

static void on_signal(int number)
{
    (void)number;
    interrupted = 1;
}

static void put_queue(struct json_writer *json, const struct queue_view *view)
{
    const struct queue_stats *stats = &view->stats;

    json_open(json, view->queue.name, '{');
    json_put_int(json, "waiting", stats->waiting);
    json_put_int(json, "running", stats->running);
    json_put_int(json, "delayed", stats->delayed);
    json_put_int(json, "dead", stats->dead);
    json_put_bool(json, "paused", stats->paused);
    json_put_int(json, "workers", (int64_t)view->workers);
    json_put_int(json, "oldest_ms", stats->oldest_ms);
    json_open(json, "counters", '{');
    for (size_t i = 0; i < QUEUE_COUNTERS; i++) {
        json_put_int(json, queue_counter_names[i], stats->counters[i]);
    }
    json_put_int(json, "adjusted", stats->adjusted);
    json_close(json, '}');
    json_open(json, "parked", '{'); /* of the delayed jobs: what they wait for */
    for (size_t i = 0; i < view->parked.count; i++) {
        json_put_int(json, view->parked.each[i].operation, view->parked.each[i].jobs);
    }
    json_close(json, '}');
    if (stats->faults > 0) {
        json_put_str(json, "faults", stats->fault);
    }
    json_close(json, '}');
}

static void print_stats_json(const struct fleet_view *view)
{
    struct output out;
    struct json_writer *json = output_object(&out);
    json_open(json, "queues", '{');
    for (size_t i = 0; i < view->count; i++) {
        put_queue(json, &view->queues[i]);
    }
    json_close(json, '}');
    json_put_int(json, "workers", (int64_t)view->workers);
    output_end(&out);
}

/* A counter's growth a second since `before`, `ms` ago. */
static void add_rate(struct table *table, const struct queue_view *before,
                     const struct queue_view *now, int64_t ms, enum queue_counter counter)
{
    const int64_t grown = now->stats.counters[counter] - before->stats.counters[counter];

    table_printf(table, "%.0f", ms <= 0 ? 0.0 : (double)grown * 1000 / (double)ms);
}

static void add_queue(struct table *table, const struct queue_view *view)
{
    static const enum queue_counter counted[] = {QUEUE_ENQUEUED, QUEUE_DONE, QUEUE_RETRIED,
                                                 QUEUE_EXPIRED, QUEUE_BURIED};
    const struct queue_stats *stats = &view->stats;
    char age[32];

    table_text(table, view->queue.name);
    table_int(table, stats->waiting);
    table_int(table, stats->running);
    table_int(table, stats->delayed);
    table_int(table, stats->dead);
    table_text(table, stats->paused ? "paused" : "");
    table_text(table, stats->waiting == 0 ? "-" : output_age(stats->oldest_ms, age));
    for (size_t i = 0; i < sizeof counted / sizeof counted[0]; i++) {
        table_int(table, stats->counters[counted[i]]);
    }
}

static void print_notes(const struct fleet_view *fleet, const struct queue_view *view)
{
    if (view->stats.faults > 0) {
        printf("%s: %s\n", view->queue.name, view->stats.fault);
    }
    if (fleet_is_unserved(fleet, view)) {
        printf("%s: nobody serves it\n", view->queue.name);
    }
    for (size_t i = 0; i < view->parked.count; i++) {
        printf("%s: %s%" PRId64 " parked, waiting for %s\n", view->queue.name,
               view->parked.is_all ? "" : "at least ", view->parked.each[i].jobs,
               view->parked.each[i].operation);
    }
}

/* With rates since `before`; NULL: without. */
static void print_stats(const struct fleet_view *before, const struct fleet_view *now)
{
    struct table table;

    table_init(&table,
               (const char *const[]){"queue", ">waiting", ">running", ">delayed", ">dead", "paused",
                                     ">oldest", ">enqueued", ">done", ">retried", ">expired",
                                     ">buried", before == NULL ? NULL : ">in/s", ">done/s", NULL});
    for (size_t i = 0; i < now->count; i++) {
        add_queue(&table, &now->queues[i]);
        if (before != NULL) {
            const int64_t ms = now->at_ms - before->at_ms;
            add_rate(&table, &before->queues[i], &now->queues[i], ms, QUEUE_ENQUEUED);
            add_rate(&table, &before->queues[i], &now->queues[i], ms, QUEUE_DONE);
        }
    }
    table_print(&table);
    table_free(&table);
    for (size_t i = 0; i < now->count; i++) {
        print_notes(now, &now->queues[i]);
    }
    printf("%zu worker%s\n", now->workers, now->workers == 1 ? "" : "s");
}

/* Looks again; every now and then also which queues there are. */
static enum status look_again(const struct cli *cli, struct redis_conn *conn, size_t round,
                              struct fleet_view *view, struct error *err)
{
    enum status status = STATUS_OK;

    if (round % RESCAN_EVERY == 0 || view->queues == NULL) {
        status = fleet_queues(conn, cli->settings.prefix, view, err);
    }
    if (status == STATUS_OK) {
        status = fleet_look(conn, cli->settings.prefix, view, err);
    }
    if (status == STATUS_OK && view->workers_refused.status != STATUS_OK) {
        cli_message("the workers are not known: %s", view->workers_refused.text);
    }
    return status;
}

/* The same queues as `view`, in memory of their own. */
static void copy_view(struct fleet_view *copy, const struct fleet_view *view)
{
    struct queue_view *queues = must_grow(copy->queues, view->count * sizeof *queues);

    memcpy(queues, view->queues, view->count * sizeof *queues);
    *copy = *view;
    copy->queues = queues;
}

/* Redraws in place on a terminal; elsewhere one table after the other. */
static void draw(const struct cli *cli, const struct fleet_view *before,
                 const struct fleet_view *now)
{
    if (cli->json) {
        print_stats_json(now);
        return;
    }
    if (isatty(STDOUT_FILENO) != 0) {
        fputs("\033[H\033[2J", stdout);
    }
    print_stats(before->count == now->count ? before : now, now);
}

/* A Redis that goes away meanwhile is waited for. */
static int watch(const struct cli *cli, struct redis_conn *conn, struct fleet_view *view)
{
    struct fleet_view before = {0};
    struct error err = {0};
    int code = CLI_DONE;

    for (size_t round = 0; code == CLI_DONE && !interrupted && !ferror(stdout); round++) {
        if (look_again(cli, conn, round, view, &err) == STATUS_OK) {
            draw(cli, &before, view);
            copy_view(&before, view);
        } else {
            code = cli_fail(&err);
            code = round > 0 && code == CLI_UNREACHABLE ? CLI_DONE : code;
        }
        fflush(stdout);
        for (int waited = 0; waited < WATCH_MS && !interrupted; waited += 50) {
            clock_sleep_ms(50);
        }
    }
    fleet_view_free(&before);
    return code;
}

int cmd_stats(struct cli *cli)
{
    const struct sigaction action = {.sa_handler = on_signal};
    struct redis_conn *conn = cli_redis(cli);
    struct fleet_view view = {0};
    struct error err = {0};
    int code = CLI_DONE;

    if (cli_has(cli, "watch")) {
        sigaction(SIGINT, &action, NULL);
        sigaction(SIGTERM, &action, NULL);
        code = watch(cli, conn, &view);
    } else if (look_again(cli, conn, 0, &view, &err) != STATUS_OK) {
        code = cli_fail(&err);
    } else {
        cli->json ? print_stats_json(&view) : print_stats(NULL, &view);
    }
    fleet_view_free(&view);
    redis_conn_free(conn);
    return code;
}

/* ---- workers ------------------------------------------------------------------------------- */

static bool is_number(const char *text)
{
    const size_t digits = strspn(text, "0123456789");

    return digits > 0 && digits <= 15 && text[digits] == '\0' && (text[0] != '0' || digits == 1);
}

/* Every field of its hash; those that are no text of their own as numbers. */
static void put_worker(struct json_writer *json, const struct worker *worker)
{
    static const char *const texts[] = {"host", "version", "queues", "breakers"};
    const redisReply *fields = worker->fields;

    json_open(json, NULL, '{');
    json_put_str(json, "id", worker->id);
    json_put_bool(json, "alive", worker_is_alive(worker));
    json_put_int(json, "last_beat_ms", worker->beat_unix_ms);
    for (size_t i = 0; fields != NULL && i + 1 < fields->elements; i += 2) {
        const redisReply *name = fields->element[i];
        const redisReply *value = fields->element[i + 1];
        if (name->type != REDIS_REPLY_STRING || value->type != REDIS_REPLY_STRING ||
            strcmp(name->str, "id") == 0) {
            continue;
        }
        bool text = !is_number(value->str);
        for (size_t j = 0; j < sizeof texts / sizeof texts[0]; j++) {
            text = text || strcmp(texts[j], name->str) == 0;
        }
        if (text) {
            json_put_bytes(json, name->str, value->str, (size_t)value->len);
        } else {
            json_put_int(json, name->str, strtoll(value->str, NULL, 10));
        }
    }
    json_close(json, '}');
}

static void print_workers_json(const struct worker_list *list)
{
    struct output out;
    struct json_writer *json = output_object(&out);
    json_open(json, "workers", '[');
    for (size_t i = 0; i < list->count; i++) {
        put_worker(json, &list->workers[i]);
    }
    json_close(json, ']');
    output_end(&out);
}

static void add_worker(struct table *table, const struct worker *worker)
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

static void print_workers(const struct worker_list *list)
{
    struct table table;

    if (list->count == 0) {
        puts("no worker is registered");
        return;
    }
    table_init(&table,
               (const char *const[]){"worker", "host", ">pid", "version", "queues", ">lanes",
                                     ">busy", ">in flight", "breakers", ">up", ">last beat", NULL});
    for (size_t i = 0; i < list->count; i++) {
        add_worker(&table, &list->workers[i]);
    }
    table_print(&table);
    table_free(&table);
}

int cmd_workers(struct cli *cli)
{
    struct redis_conn *conn = cli_redis(cli);
    struct worker_list list = {0};
    struct error err = {0};
    int code = CLI_DONE;

    if (fleet_workers(conn, cli->settings.prefix, &list, &err) != STATUS_OK) {
        code = cli_fail(&err);
    } else {
        cli->json ? print_workers_json(&list) : print_workers(&list);
    }
    worker_list_free(&list);
    redis_conn_free(conn);
    return code;
}

/* ---- verify -------------------------------------------------------------------------------- */

static void print_verdict(int64_t difference)
{
    if (difference == 0) {
        puts("   ok");
    } else {
        printf("   DOES NOT HOLD: %+" PRId64 "\n", difference);
    }
}

static void print_books(const char *name, const struct books *books)
{
    const struct queue_stats *stats = &books->stats;
    const int64_t *counters = stats->counters;
    const int64_t reset = counters[QUEUE_RESET];

    printf("%s\n", name);
    printf("  enqueued %" PRId64 " + requeued %" PRId64, counters[QUEUE_ENQUEUED],
           counters[QUEUE_REQUEUED]);
    if (stats->adjusted != 0) {
        printf(" + adjusted %" PRId64, stats->adjusted);
    }
    printf(" = done %" PRId64 " + buried %" PRId64 " + expired %" PRId64 " + waiting %" PRId64
           " + running %" PRId64 " + delayed %" PRId64,
           counters[QUEUE_DONE], counters[QUEUE_BURIED], counters[QUEUE_EXPIRED], stats->waiting,
           stats->running, stats->delayed);
    print_verdict(books->off.jobs);
    printf("  buried %" PRId64 " = dead %" PRId64 " + requeued %" PRId64 " + discarded %" PRId64,
           counters[QUEUE_BURIED], stats->dead, counters[QUEUE_REQUEUED],
           counters[QUEUE_DISCARDED]);
    print_verdict(books->off.dead);
    if (stats->faults > 0) {
        printf("  %s\n", stats->fault);
    }
    if (books->orphans > 0) {
        printf("  of those that wait, %zu were taken out of the group by hand and are nobody's; a "
               "worker puts them back within some minutes\n",
               books->orphans);
    }
    if (reset > 0) {
        printf("  %" PRId64 " times a counter held no number and began anew\n", reset);
    }
}

static void put_books(struct json_writer *json, const char *name, const struct books *books)
{
    static const enum queue_counter counted[] = {QUEUE_ENQUEUED, QUEUE_REQUEUED, QUEUE_DONE,
                                                 QUEUE_BURIED,   QUEUE_EXPIRED,  QUEUE_DISCARDED};
    const struct queue_stats *stats = &books->stats;

    json_open(json, name, '{');
    json_put_bool(json, "ok", books_balance(books));
    json_put_int(json, "jobs_difference", books->off.jobs);
    json_put_int(json, "dead_difference", books->off.dead);
    for (size_t i = 0; i < sizeof counted / sizeof counted[0]; i++) {
        json_put_int(json, queue_counter_names[counted[i]], stats->counters[counted[i]]);
    }
    json_put_int(json, "waiting", stats->waiting);
    json_put_int(json, "running", stats->running);
    json_put_int(json, "delayed", stats->delayed);
    json_put_int(json, "dead", stats->dead);
    json_put_int(json, "adjusted", stats->adjusted);
    json_put_int(json, "orphans", (int64_t)books->orphans);
    if (stats->faults > 0) {
        json_put_str(json, "faults", stats->fault);
    }
    json_close(json, '}');
}

/* The books of a queue, with --repair after they were put right. */
static enum status check_books(const struct cli *cli, struct redis_conn *conn,
                               const struct queue *queue, struct books *books, struct error *err)
{
    struct queue_balance was;

    enum status status = books_look(conn, queue, books, err);
    if (status == STATUS_OK && cli_has(cli, "repair")) {
        const bool off = !books_sums_hold(books) && books->stats.faults == 0;
        status = books_repair(conn, queue, books, &was, err);
        if (status == STATUS_OK && off) {
            cli_message("%s: the books were out by %+" PRId64 " jobs and %+" PRId64
                        " dead letters, and are put right",
                        queue->name, was.jobs, was.dead);
            status = books_look(conn, queue, books, err);
        }
    }
    if (status == STATUS_OK && books->orphans_refused.status != STATUS_OK) {
        cli_message("jobs that are nobody's are not looked for: %s", books->orphans_refused.text);
    }
    return status;
}

static enum status verify(const struct cli *cli, struct redis_conn *conn, struct json_writer *json,
                          int *code, struct error *err)
{
    struct fleet_view view = {0};
    bool ok = true;
    bool sums_hold = true;

    enum status status = fleet_queues(conn, cli->settings.prefix, &view, err);
    json_open(json, "queues", '{');
    for (size_t i = 0; status == STATUS_OK && i < view.count; i++) {
        const struct queue *queue = &view.queues[i].queue;
        struct books books;
        status = check_books(cli, conn, queue, &books, err);
        if (status == STATUS_OK) {
            ok = ok && books_balance(&books);
            sums_hold = sums_hold && books_sums_hold(&books);
            put_books(json, queue->name, &books);
        }
        if (status == STATUS_OK && !cli->json) {
            print_books(queue->name, &books);
        }
    }
    json_close(json, '}');
    json_put_bool(json, "ok", ok);
    fleet_view_free(&view);
    if (status == STATUS_OK && !ok && sums_hold) {
        cli_message("the sums hold, but not all is as it must be: the books above say what");
    } else if (status == STATUS_OK && !ok) {
        cli_message("the books do not balance%s",
                    cli_has(cli, "repair") ? "" : "; see also --repair");
    }
    *code = ok ? CLI_DONE : CLI_FAILED;
    return status;
}

int cmd_verify(struct cli *cli)
{
    struct redis_conn *conn = cli_redis(cli);
    struct output out;
    struct json_writer *json = output_object(&out);
    struct error err = {0};
    int code = CLI_DONE;

    const enum status status = verify(cli, conn, json, &code, &err);
    if (status == STATUS_OK && cli->json) {
        output_end(&out);
    }
    strbuf_free(&out.text);
    redis_conn_free(conn);
    return status == STATUS_OK ? code : cli_fail(&err);
}
