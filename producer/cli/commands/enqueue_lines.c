/* enqueue_lines.c - one job a line.
 *
 * A line that is no good job is reported with its number and left out; the others go in. What ends
 * it early: --stop-on-error at the first such line, a queue that is full (without --wait-full), a
 * Redis that fails. What was accepted by then stays, and the counts say how much that is. With an
 * outbox neither of the last two ends it: from there on the lines go into the outbox, as they do
 * from the first where older jobs in it could not be sent. Enrichments are not kept.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "cli/commands/enqueue.h"
#include "cli/commands/feed.h"
#include "cli/commands/line_job.h"
#include "cli/frame/connections.h"
#include "cli/frame/input.h"
#include "cli/frame/output.h"
#include "enqueue/keep.h"

enum { PROGRESS_MS = 200, LINE_SLACK_BYTES = 64 * 1024 };
enum { MOST_ESCAPED = 6 /* bytes of JSON for one byte of text: \u001f */ };

struct lines {
    const struct cli *cli;
    FILE *file;
    struct line_defaults defaults;
    struct feed feed;
    stillhouse_client *keeper; /* NULL = no outbox */
    struct line_job job;
    struct arena scratch;
    struct strbuf line;
    size_t number; /* of the line, from 1 */
    size_t jobs;   /* good lines so far */
    size_t invalid;
    size_t replaced;  /* characters that no text can hold */
    size_t strangers; /* fields that no job of this queue has */
    bool stopped;     /* --stop-on-error */
    bool progress;    /* standard error is a terminal */
    int64_t start_ms;
    int64_t shown_ms;
    int64_t file_bytes; /* 0 = not known */
};

/* ---- progress ------------------------------------------------------------------------------ */

static void clear_progress(const struct lines *lines)
{
    if (lines->progress && lines->shown_ms > 0) {
        fputs("\r\033[K", stderr);
    }
}

static void show_progress(struct lines *lines)
{
    const int64_t now_ms = clock_now_ms();
    const int64_t took_ms = now_ms - lines->start_ms + 1;

    if (!lines->progress || now_ms - lines->shown_ms < PROGRESS_MS) {
        return;
    }
    lines->shown_ms = now_ms;
    fprintf(stderr, "\r\033[K%zu jobs, %" PRId64 " a second", lines->jobs,
            (int64_t)lines->jobs * 1000 / took_ms);
    const off_t at = lines->file_bytes > 0 ? ftello(lines->file) : -1;
    if (at >= 0) {
        fprintf(stderr, ", %" PRId64 " %%", (int64_t)at * 100 / lines->file_bytes);
    }
    fflush(stderr);
}

static void start_progress(struct lines *lines)
{
    struct stat info;

    lines->progress = isatty(STDERR_FILENO) != 0;
    lines->start_ms = clock_now_ms();
    if (fstat(fileno(lines->file), &info) == 0 && S_ISREG(info.st_mode)) {
        lines->file_bytes = info.st_size;
    }
}

/* ---- lines --------------------------------------------------------------------------------- */

static void report_line(struct lines *lines, const char *text)
{
    clear_progress(lines);
    cli_message("line %zu: %s", lines->number, text);
    lines->invalid++;
    lines->stopped = cli_has(lines->cli, "stop-on-error");
}

/* One line that is there. A failure is the server's, or a lack of memory. */
static enum status take_line(struct lines *lines, struct error *err)
{
    const char *text = lines->line.bytes == 0 ? "" : lines->line.data;
    size_t bytes = lines->line.bytes;

    if (lines->number == 1 && bytes >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
        text += 3; /* a byte order mark */
        bytes -= 3;
    }
    if (text_is_blank(text, bytes)) {
        return STATUS_OK;
    }
    const enum status status =
        line_job_decode(&lines->defaults, text, bytes, &lines->scratch, &lines->job, err);
    if (status == STATUS_INVALID) {
        report_line(lines, err->text);
        return STATUS_OK;
    }
    if (status != STATUS_OK) {
        return status;
    }
    lines->jobs++;
    lines->replaced += lines->job.replaced;
    if (lines->strangers == 0 && lines->job.strangers > 0) {
        clear_progress(lines);
        cli_message("line %zu: field \"%s\" is unknown and left out (of more the counts tell)",
                    lines->number, lines->job.stranger);
    }
    lines->strangers += lines->job.strangers;
    return feed_add(&lines->feed, &lines->job, err);
}

static enum status read_lines(struct lines *lines, struct error *err)
{
    const size_t most = (size_t)lines->defaults.max_body_bytes * MOST_ESCAPED + LINE_SLACK_BYTES;
    enum status status = STATUS_OK;

    while (status == STATUS_OK && !lines->stopped && !lines->feed.full) {
        const enum input_line found = input_line(lines->file, most, &lines->line);
        lines->number++;
        if (found == INPUT_END) {
            return STATUS_OK;
        }
        if (found == INPUT_ERROR) {
            return error_set(err, STATUS_FAILED, "line %zu: %s", lines->number,
                             strbuf_ok(&lines->line) ? strerror(errno) : "out of memory");
        }
        if (found == INPUT_TOO_LONG) {
            char text[96];
            snprintf(text, sizeof text, "longer than %zu bytes: no body of at most %" PRId64, most,
                     lines->defaults.max_body_bytes);
            report_line(lines, text);
        } else {
            status = take_line(lines, err);
        }
        show_progress(lines);
    }
    return status;
}

/* ---- the end ------------------------------------------------------------------------------- */

static int print_counts(const struct lines *lines)
{
    const struct feed *feed = &lines->feed;
    struct strbuf document = {0};

    if (lines->cli->json) {
        strbuf_printf(&document,
                      "{\"accepted\":%zu,\"deduplicated\":%zu,\"refused\":%zu,\"invalid\":%zu,"
                      "\"failed\":%zu,\"unknown\":%zu",
                      feed->accepted, feed->deduplicated, feed->refused, lines->invalid,
                      feed->failed, feed->unknown);
        if (feed->keeper != NULL) {
            strbuf_printf(&document, ",\"kept\":%zu", feed->kept);
        }
        if (lines->replaced > 0) {
            strbuf_printf(&document, ",\"replaced\":%zu", lines->replaced);
        }
        if (lines->strangers > 0) {
            strbuf_printf(&document, ",\"unknown_fields\":%zu", lines->strangers);
        }
        strbuf_append_char(&document, '}');
        const int code = json_print(&document);
        strbuf_free(&document);
        return code;
    }
    printf("%zu accepted, %zu deduplicated, %zu refused, %zu invalid", feed->accepted,
           feed->deduplicated, feed->refused, lines->invalid);
    if (feed->failed > 0) {
        printf(", %zu failed", feed->failed);
    }
    if (feed->unknown > 0) {
        printf(", %zu unknown (the connection broke before their answer)", feed->unknown);
    }
    if (feed->kept > 0) {
        printf(", %zu kept in the outbox", feed->kept);
    }
    if (lines->replaced > 0) {
        printf(", %zu characters that were none replaced by U+FFFD", lines->replaced);
    }
    if (lines->strangers > 0) {
        printf(", %zu unknown fields left out", lines->strangers);
    }
    putchar('\n');
    return CLI_DONE;
}

static int finish(struct lines *lines, enum status status, struct error *err)
{
    struct error late = {0};

    const enum status finished = feed_finish(&lines->feed, &late);
    clear_progress(lines);
    int code = CLI_DONE;
    if (status != STATUS_OK) {
        code = cli_fail(err);
    } else if (finished != STATUS_OK) {
        code = cli_fail(&late);
    } else if (lines->feed.full) {
        cli_message("queue \"%s\" is full (--max-backlog %" PRId64 "), ended in line %zu; "
                    "--wait-full waits for room",
                    lines->defaults.queue, lines->feed.max_backlog, lines->number);
        code = CLI_FULL;
    } else if (lines->invalid > 0) {
        code = CLI_FAILED;
    }
    if (lines->feed.kept > 0) {
        cli_message("kept in the outbox: %s", lines->feed.why.text);
    }
    const int printed = print_counts(lines);
    return code == CLI_DONE ? printed : code;
}

/* What waits in the outbox goes first; when it cannot, the lines go behind it. */
static void start_keeping(struct lines *lines, const struct error *conn_fault)
{
    struct error err = {0};

    lines->feed.keeper = lines->keeper;
    if (lines->keeper == NULL) {
        return;
    }
    if (conn_fault->status != STATUS_OK) {
        feed_keep(&lines->feed, conn_fault);
    } else if (flush_make_way(lines->keeper, COMMAND_TIMEOUT_MS, &err) != STATUS_OK) {
        feed_keep(&lines->feed, &err);
    }
}

static int feed_lines(struct lines *lines, struct redis_conn *conn, const struct queue *queue,
                      const struct error *conn_fault)
{
    const struct settings *settings = &lines->cli->settings;
    struct error err = {0};
    int code;

    start_progress(lines);
    if (feed_init(&lines->feed, conn, queue, settings->max_backlog,
                  cli_has(lines->cli, "wait-full"), &err) != STATUS_OK) {
        code = cli_fail(&err);
    } else {
        start_keeping(lines, conn_fault);
        code = finish(lines, read_lines(lines, &err), &err);
    }
    feed_free(&lines->feed);
    arena_free(&lines->scratch);
    line_job_free(&lines->job);
    strbuf_free(&lines->line);
    return code;
}

/* Where there is no connection the outbox is enough. */
static int connect_and_feed(struct lines *lines, const struct queue *queue)
{
    struct redis_conn *conn = NULL;
    struct error fault = {0};

    const enum status status = open_redis(lines->cli->settings.redis_url, &conn, &fault);
    if (status != STATUS_OK && (lines->keeper == NULL || status == STATUS_INVALID)) {
        return cli_fail(&fault);
    }
    const int code = feed_lines(lines, conn, queue, &fault);
    redis_conn_free(conn);
    return code;
}

int enqueue_lines(const struct cli *cli, const struct enqueue_request *request)
{
    struct lines lines = {
        .cli = cli,
        .defaults = {.queue = request->queue,
                     .domain = request->domain,
                     .priority = request->priority,
                     .delay_ms = request->delay_ms,
                     .deadline_ms = request->deadline_ms,
                     .max_body_bytes = cli->settings.max_body_bytes},
    };
    struct queue queue;

    int code = cli_queue(cli, 0, &queue);
    if (code == CLI_DONE) {
        code = input_open(cli, "jsonl", cli_value(cli, "jsonl"), &lines.file);
    }
    if (code != CLI_DONE) {
        return code;
    }
    if (cli->settings.outbox[0] != '\0' && strcmp(request->queue, "enrich") != 0) {
        code =
            connect_client_with_outbox(cli, CONNECT_TIMEOUT_MS, COMMAND_TIMEOUT_MS, &lines.keeper);
    }
    if (code == CLI_DONE) {
        code = connect_and_feed(&lines, &queue);
    }
    stillhouse_close(lines.keeper);
    input_close(lines.file);
    return code;
}
