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
#include "cli/commands/line_job.h"
#include "cli/frame/connections.h"
#include "cli/frame/input.h"
#include "cli/frame/output.h"

enum { PROGRESS_MS = 200, LINE_SLACK_BYTES = 64 * 1024 };
enum { MOST_ESCAPED = 6 /* bytes of JSON for one byte of text: \u001f */ };

#define ROOM_MAX_MS ((int64_t)365 * 24 * 60 * 60 * 1000)

struct lines {
    const struct cli *cli;
    FILE *file;
    struct line_defaults defaults;
    stillhouse_client *client;
    bool has_outbox;
    struct line_job job;
    stillhouse_job_options options;
    size_t accepted; /* new jobs */
    size_t deduplicated;
    size_t refused;     /* full, or not sent after a failure */
    size_t failed;      /* the server refused them */
    size_t unknown;     /* the connection broke: they may be in */
    size_t kept;        /* in the outbox */
    bool full;          /* something was refused, and is not waited for: no use in going on */
    struct error wrong; /* what ended the reading; STATUS_OK = the end of the file */
    struct arena scratch;
    struct strbuf line;
    size_t number; /* of the line, from 1 */
    size_t jobs;   /* good lines so far */
    size_t invalid;
    size_t replaced;  /* characters that no text can hold */
    size_t strangers; /* fields that no job of this queue has */
    bool stopped;     /* --stop-on-error */
    bool ended;       /* the file is read */
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

/* One line that is there. True: it is a job. False where `wrong` is set: memory is short. */
static bool take_line(struct lines *lines)
{
    const char *text = lines->line.bytes == 0 ? "" : lines->line.data;
    size_t bytes = lines->line.bytes;
    struct error err = {0};

    if (lines->number == 1 && bytes >= 3 && memcmp(text, "\xEF\xBB\xBF", 3) == 0) {
        text += 3; /* a byte order mark */
        bytes -= 3;
    }
    if (text_is_blank(text, bytes)) {
        return false;
    }
    const enum status status =
        line_job_decode(&lines->defaults, text, bytes, &lines->scratch, &lines->job, &err);
    if (status == STATUS_INVALID) {
        report_line(lines, err.text);
        return false;
    }
    if (status != STATUS_OK) {
        lines->wrong = err;
        lines->wrong.status = status;
        return false;
    }
    lines->jobs++;
    lines->replaced += lines->job.replaced;
    if (lines->strangers == 0 && lines->job.strangers > 0) {
        clear_progress(lines);
        cli_message("line %zu: field \"%s\" is unknown and left out (of more the counts tell)",
                    lines->number, lines->job.stranger);
    }
    lines->strangers += lines->job.strangers;
    return true;
}

/* Reads one line; true: it is a job. */
static bool read_line(struct lines *lines)
{
    const size_t most = (size_t)lines->defaults.max_body_bytes * MOST_ESCAPED + LINE_SLACK_BYTES;
    char text[96];

    lines->number++;
    switch (input_line(lines->file, most, &lines->line)) {
    case INPUT_LINE:
        return take_line(lines);
    case INPUT_TOO_LONG:
        snprintf(text, sizeof text, "longer than %zu bytes: no body of at most %" PRId64, most,
                 lines->defaults.max_body_bytes);
        report_line(lines, text);
        return false;
    case INPUT_END:
        lines->ended = true;
        return false;
    case INPUT_ERROR:
        break;
    }
    (void)error_set(&lines->wrong, STATUS_FAILED, "line %zu: %s", lines->number,
                    strbuf_ok(&lines->line) ? strerror(errno) : "out of memory");
    return false;
}

/* The next line that is a job. */
static bool next_job(void *context, stillhouse_job *job)
{
    struct lines *lines = context;
    bool found = false;

    while (!found && !lines->ended && !lines->stopped && !lines->full &&
           lines->wrong.status == STATUS_OK) {
        found = read_line(lines);
        show_progress(lines);
    }
    lines->options = (stillhouse_job_options){.priority = enqueue_priority(lines->job.priority),
                                              .delay_ms = lines->job.delay_ms,
                                              .deadline_ms = lines->job.deadline_ms};
    job->domain = lines->job.domain;
    job->body = lines->job.body.data;
    job->body_bytes = lines->job.body.bytes;
    job->options = &lines->options;
    job->unique = lines->job.unique[0] == '\0' ? NULL : lines->job.unique;
    return found;
}

static void count_job(void *context, size_t index, stillhouse_status outcome, const char *id,
                      bool twin)
{
    struct lines *lines = context;

    (void)index;
    switch (outcome) {
    case STILLHOUSE_OK:
        lines->accepted += !twin;
        lines->deduplicated += twin;
        break;
    case STILLHOUSE_KEPT:
        lines->kept++;
        break;
    case STILLHOUSE_FULL:
        lines->refused++;
        lines->full = true;
        break;
    case STILLHOUSE_UNREACHABLE:
        lines->unknown += id[0] != '\0';
        lines->refused += id[0] == '\0';
        break;
    case STILLHOUSE_FAILED:
    case STILLHOUSE_INVALID:
    case STILLHOUSE_NOT_FOUND:
        lines->failed++;
        break;
    }
}

/* ---- the end ------------------------------------------------------------------------------- */

static int print_counts(const struct lines *lines)
{
    struct strbuf document = {0};

    if (lines->cli->json) {
        strbuf_printf(&document,
                      "{\"accepted\":%zu,\"deduplicated\":%zu,\"refused\":%zu,\"invalid\":%zu,"
                      "\"failed\":%zu,\"unknown\":%zu",
                      lines->accepted, lines->deduplicated, lines->refused, lines->invalid,
                      lines->failed, lines->unknown);
        if (lines->has_outbox) {
            strbuf_printf(&document, ",\"kept\":%zu", lines->kept);
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
    printf("%zu accepted, %zu deduplicated, %zu refused, %zu invalid", lines->accepted,
           lines->deduplicated, lines->refused, lines->invalid);
    if (lines->failed > 0) {
        printf(", %zu failed", lines->failed);
    }
    if (lines->unknown > 0) {
        printf(", %zu unknown (the connection broke before their answer)", lines->unknown);
    }
    if (lines->kept > 0) {
        printf(", %zu kept in the outbox", lines->kept);
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

/* The exit code, and why it is no other. */
static int explain(const struct lines *lines, stillhouse_status status)
{
    if (lines->wrong.status != STATUS_OK) {
        return cli_fail(&lines->wrong);
    }
    if (status == STILLHOUSE_FULL) {
        cli_message("queue \"%s\" is full (--max-backlog %" PRId64 "), ended in line %zu; "
                    "--wait-full waits for room",
                    lines->defaults.queue, lines->cli->settings.max_backlog, lines->number);
        return CLI_FULL;
    }
    if (status != STILLHOUSE_OK && status != STILLHOUSE_KEPT) {
        return client_fail(lines->client, status);
    }
    if (status == STILLHOUSE_KEPT) {
        cli_message("%s", stillhouse_error(lines->client));
    }
    return lines->invalid > 0 ? CLI_FAILED : CLI_DONE;
}

static int send_lines(struct lines *lines)
{
    const stillhouse_source source = {
        .size = sizeof source,
        .queue = lines->defaults.queue,
        .next = next_job,
        .told = count_job,
        .context = lines,
        .room_ms = cli_has(lines->cli, "wait-full") ? ROOM_MAX_MS : 0,
    };

    start_progress(lines);
    if (lines->has_outbox) { /* what waits there goes first; what cannot is in front of the lines */
        (void)stillhouse_flush(lines->client, COMMAND_TIMEOUT_MS, NULL);
    }
    const stillhouse_status status = stillhouse_enqueue_all(lines->client, &source);
    clear_progress(lines);
    const int code = explain(lines, status);
    const int printed = print_counts(lines);
    arena_free(&lines->scratch);
    line_job_free(&lines->job);
    strbuf_free(&lines->line);
    return code == CLI_DONE ? printed : code;
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
        .has_outbox = cli->settings.outbox[0] != '\0' && strcmp(request->queue, "enrich") != 0,
    };

    int code = input_open(cli, "jsonl", cli_value(cli, "jsonl"), &lines.file);
    if (code != CLI_DONE) {
        return code;
    }
    code =
        lines.has_outbox
            ? connect_client_with_outbox(cli, CONNECT_TIMEOUT_MS, COMMAND_TIMEOUT_MS, &lines.client)
            : connect_client(cli, CONNECT_TIMEOUT_MS, COMMAND_TIMEOUT_MS, &lines.client);
    if (code == CLI_DONE) {
        code = send_lines(&lines);
    }
    stillhouse_close(lines.client);
    input_close(lines.file);
    return code;
}
