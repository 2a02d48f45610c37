/* cli/commands/verify.c - the two conservation laws of every queue, with all their terms. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cli/frame/connections.h"
#include "cli/frame/output.h"
#include "operate/fleet.h"
#include "json/write.h"

static int64_t counter(const struct queue_stats *stats, const char *name)
{
    for (size_t i = 0; i < QUEUE_COUNTERS; i++) {
        if (strcmp(queue_counter_names[i], name) == 0) {
            return stats->counters[i];
        }
    }
    return 0;
}

/* What is known of a queue's books. */
struct books {
    struct queue_stats stats;
    size_t orphans; /* they count as waiting, and nobody will ever run them */
};

static bool balances(const struct books *books)
{
    const struct queue_balance balance = queue_check_balance(&books->stats);

    return balance.jobs == 0 && balance.dead == 0 && books->stats.faults == 0 &&
           books->orphans == 0;
}

static enum status look(struct redis_conn *conn, const struct queue *queue, struct books *books,
                        struct error *err)
{
    char cursor[QUEUE_CURSOR_BYTES] = "0";
    enum status status = queue_get_stats(conn, queue, &books->stats, err);

    books->orphans = 0;
    while (status == STATUS_OK && books->stats.faults == 0 && cursor[0] != '\0') {
        size_t some = 0;
        status = queue_count_orphans(conn, queue, cursor, &some, err);
        books->orphans += some;
        if (status == STATUS_REFUSED) { /* the books themselves need no such right */
            cli_message("jobs that are nobody's are not looked for: %s", err->text);
            return STATUS_OK;
        }
    }
    return status;
}

static void verdict(int64_t difference)
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
    const struct queue_balance balance = queue_check_balance(stats);

    printf("%s\n", name);
    printf("  enqueued %" PRId64 " + requeued %" PRId64, counter(stats, "enqueued"),
           counter(stats, "requeued"));
    if (stats->adjusted != 0) {
        printf(" + adjusted %" PRId64, stats->adjusted);
    }
    printf(" = done %" PRId64 " + buried %" PRId64 " + expired %" PRId64 " + waiting %" PRId64
           " + running %" PRId64 " + delayed %" PRId64,
           counter(stats, "done"), counter(stats, "buried"), counter(stats, "expired"),
           stats->waiting, stats->running, stats->delayed);
    verdict(balance.jobs);
    printf("  buried %" PRId64 " = dead %" PRId64 " + requeued %" PRId64 " + discarded %" PRId64,
           counter(stats, "buried"), stats->dead, counter(stats, "requeued"),
           counter(stats, "discarded"));
    verdict(balance.dead);
    if (stats->faults > 0) {
        printf("  %s\n", stats->fault);
    }
    if (books->orphans > 0) {
        printf("  of those that wait, %zu were taken out of the group by hand and are nobody's; a "
               "worker puts them back within some minutes\n",
               books->orphans);
    }
    if (counter(stats, "reset") > 0) {
        printf("  %" PRId64 " times a counter held no number and began anew\n",
               counter(stats, "reset"));
    }
}

static void append_books(struct strbuf *out, const char *name, const struct books *books)
{
    const struct queue_stats *stats = &books->stats;
    static const char *const terms[] = {"enqueued", "requeued", "done",
                                        "buried",   "expired",  "discarded"};
    const struct queue_balance balance = queue_check_balance(stats);

    json_key(out, name);
    strbuf_printf(out, "{\"ok\":%s,\"jobs_difference\":%" PRId64 ",\"dead_difference\":%" PRId64,
                  balances(books) ? "true" : "false", balance.jobs, balance.dead);
    for (size_t i = 0; i < sizeof terms / sizeof terms[0]; i++) {
        json_key(out, terms[i]);
        json_int(out, counter(stats, terms[i]));
    }
    strbuf_printf(out,
                  ",\"waiting\":%" PRId64 ",\"running\":%" PRId64 ",\"delayed\":%" PRId64
                  ",\"dead\":%" PRId64,
                  stats->waiting, stats->running, stats->delayed, stats->dead);
    strbuf_printf(out, ",\"adjusted\":%" PRId64 ",\"orphans\":%zu", stats->adjusted,
                  books->orphans);
    if (stats->faults > 0) {
        json_key(out, "faults");
        json_bytes(out, stats->fault, strlen(stats->fault));
    }
    strbuf_append_char(out, '}');
}

/* Puts the books of a queue right that do not balance. What nobody runs is the workers' to put
 * back. */
static enum status repair(struct redis_conn *conn, const struct queue *queue,
                          const struct books *books, struct error *err)
{
    const struct queue_balance before = queue_check_balance(&books->stats);
    struct queue_balance was = {0};

    if ((before.jobs == 0 && before.dead == 0) || books->stats.faults > 0) {
        return STATUS_OK;
    }
    const enum status status = queue_repair(conn, queue, &was, err);
    if (status == STATUS_OK) {
        cli_message("%s: the books were out by %+" PRId64 " jobs and %+" PRId64
                    " dead letters, and are put right",
                    queue->name, was.jobs, was.dead);
    }
    return status;
}

static int verify(const struct cli *cli, struct redis_conn *conn, const struct queue_list *list)
{
    struct strbuf document = {0};
    struct error err = {0};
    bool ok = true;
    bool sums_hold = true;
    int code = CLI_DONE;

    strbuf_append_str(&document, "{\"queues\":{");
    for (size_t i = 0; i < list->count; i++) {
        struct books books;
        enum status status = look(conn, &list->queues[i], &books, &err);
        if (status == STATUS_OK && cli_has(cli, "repair")) {
            status = repair(conn, &list->queues[i], &books, &err);
            if (status == STATUS_OK) {
                status = look(conn, &list->queues[i], &books, &err);
            }
        }
        if (status != STATUS_OK) {
            strbuf_free(&document);
            return cli_fail(&err);
        }
        const struct queue_balance balance = queue_check_balance(&books.stats);
        ok = ok && balances(&books);
        sums_hold = sums_hold && balance.jobs == 0 && balance.dead == 0;
        if (cli->json) {
            append_books(&document, list->queues[i].name, &books);
        } else {
            print_books(list->queues[i].name, &books);
        }
    }
    strbuf_printf(&document, "},\"ok\":%s}", ok ? "true" : "false");
    if (cli->json) {
        code = json_print(&document);
    }
    strbuf_free(&document);
    if (!ok && sums_hold) {
        cli_message("the sums hold, but not all is as it must be: the books above say what");
    } else if (!ok) {
        cli_message("the books do not balance%s",
                    cli_has(cli, "repair") ? "" : "; see also --repair");
    }
    return code == CLI_DONE && !ok ? CLI_FAILED : code;
}

int cmd_verify(struct cli *cli)
{
    struct redis_conn *conn = NULL;
    struct queue_list list = {0};
    struct error err = {0};

    int code = cli_check_arguments(cli, 0, 0, "");
    if (code == CLI_DONE) {
        code = connect_queue(cli, &conn);
    }
    if (code != CLI_DONE) {
        return code;
    }
    code = fleet_queues(conn, cli->settings.prefix, &list, &err) == STATUS_OK
               ? verify(cli, conn, &list)
               : cli_fail(&err);
    queue_list_free(&list);
    redis_conn_free(conn);
    return code;
}
