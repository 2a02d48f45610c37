/* cli/commands/enqueue.c - one job from the command line, and its result where it is waited for;
 * one job a line; and what producers kept while Redis was away.
 *
 * A line that is no good job is reported with its number and left out; the others go in. What ends
 * it early: --stop-on-error at the first such line, a queue or a Redis that is full (without
 * --wait-full), a Redis that fails. What was accepted by then stays, and the counts say how much
 * that is. With an outbox neither of the last two ends it: from there on the lines go into the
 * outbox, as they do from the first where older jobs in it could not be sent. Enrichments are not
 * kept.
 */
#include <cjson/cJSON.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/text.h"
#include "cli/commands/commands.h"
#include "cli/frame/connections.h"
#include "cli/frame/input.h"
#include "cli/frame/output.h"
#include "jobs/kinds.h"
#include "jobs/line_job.h"
#include "jobs/values.h"
#include "json/tree.h"
#include "json/write.h"

#define TIME_MAX_MS ((int64_t)366 * 24 * 60 * 60 * 1000)
#define WAIT_MAX_MS ((int64_t)60 * 60 * 1000)
#define ROOM_MAX_MS ((int64_t)365 * 24 * 60 * 60 * 1000)

static const stillhouse_priority priorities[JOB_PRIORITIES] = {
    [JOB_HIGH] = STILLHOUSE_HIGH, [JOB_NORMAL] = STILLHOUSE_NORMAL, [JOB_LOW] = STILLHOUSE_LOW};

static enum job_priority read_priority(const struct cli *cli)
{
    const char *text = cli_value(cli, "priority");
    enum job_priority priority = JOB_NORMAL;

    if (text != NULL && !job_priority_parse(text, strlen(text), &priority)) {
        cli_usage(cli->command, "--priority \"%s\": expected high, normal or low", text);
    }
    return priority;
}

/* ---- a job's flags ------------------------------------------------------------------------- */

/* The flags that give the fields of a kind's body, as kinds.def has them. */
static const struct kind_flag {
    enum kind_id kind;
    const char *field;
    const char *flag;
    const char *argument;
} kind_flags[] = {
#define JOB_FLAG(name, field, flag, argument, help) {KIND_##name, #field, flag, argument},
#include "jobs/kinds.def"
};

enum { KIND_FLAGS = sizeof kind_flags / sizeof kind_flags[0] };

static const struct kind_field *field_of(const struct kind_flag *flag)
{
    const struct kind_field *field = job_kinds[flag->kind].shape->fields;

    while (strcmp(field->name.data, flag->field) != 0) {
        field++;
    }
    return field;
}

static void check_utf8(const struct cli *cli, const char *flag, const char *value)
{
    if (!text_is_utf8(value, strlen(value))) {
        cli_usage(cli->command, "--%s: expected UTF-8 text", flag);
    }
}

/* True for what may stand behind K:= : a finite number, whole ones of up to 64 bits, true, false.
 */
static bool is_typed_value(const char *text)
{
    const char *end = NULL;
    int64_t whole = 0;
    cJSON *value = json_tree_parse(text, strlen(text) + 1, &end, true);
    const enum json_number number = json_tree_number(value, &whole);

    const bool typed = number == JSON_WHOLE || cJSON_IsBool(value) ||
                       (number == JSON_FRACTION && isfinite(value->valuedouble));
    cJSON_Delete(value);
    return typed;
}

/* "K=V" or "K:=V" as a member. */
static void put_pair(struct json_writer *json, const struct cli *cli, const char *flag,
                     const char *text)
{
    const char *equals = strchr(text, '=');
    const bool typed = equals != NULL && equals > text && equals[-1] == ':';
    const size_t key_bytes = equals == NULL ? 0 : (size_t)(equals - text) - typed;

    check_utf8(cli, flag, text);
    if (key_bytes == 0) {
        cli_usage(cli->command, "--%s \"%s\": expected KEY=TEXT or KEY:=NUMBER", flag, text);
    }
    if (typed && !is_typed_value(equals + 1)) {
        cli_usage(cli->command,
                  "--%s \"%s\": expected a number (whole ones of at most 64 bits), true or false "
                  "behind :=",
                  flag, text);
    }
    json_string(json_name_begin(json), text, key_bytes);
    json_name_end(json);
    if (typed) {
        strbuf_append_str(json_put(json, NULL), equals + 1);
    } else {
        json_put_str(json, NULL, equals + 1);
    }
}

static void put_pairs(struct json_writer *json, const struct cli *cli, const struct kind_flag *flag)
{
    json_open(json, flag->field, '{');
    for (size_t i = 0; i < cli->given_count; i++) {
        if (strcmp(cli->given[i].name, flag->flag) == 0) {
            put_pair(json, cli, flag->flag, cli->given[i].value);
        }
    }
    json_close(json, '}');
}

static bool read_truth(const struct cli *cli, const char *flag, const char *value)
{
    if (strcmp(value, "true") != 0 && strcmp(value, "false") != 0) {
        cli_usage(cli->command, "--%s \"%s\": expected true or false", flag, value);
    }
    return value[0] == 't';
}

/* A flag that two kinds have with ranges of another size is a trap: of the larger range, what would
 * be any value of the smaller one is taken for a mistake. */
static void check_range(const struct cli *cli, const struct kind_flag *flag, double number)
{
    const int64_t most = field_of(flag)->most;

    for (size_t i = 0; i < KIND_FLAGS; i++) {
        const struct kind_flag *other = &kind_flags[i];
        const int64_t other_most = field_of(other)->most;
        if (strcmp(other->flag, flag->flag) == 0 && other_most < most && number > 0 &&
            number <= (double)other_most) {
            cli_usage(cli->command,
                      "--%s \"%s\": for %s it is 0..%" PRId64 ", only for %s 0..%" PRId64
                      "; expected 0 or more than %" PRId64 " (a line of --jsonl may say less)",
                      flag->flag, cli_value(cli, flag->flag), job_kinds[flag->kind].name, most,
                      job_kinds[other->kind].name, other_most, other_most);
        }
    }
}

static void put_field(struct json_writer *json, const struct cli *cli, const struct kind_flag *flag)
{
    const struct kind_field *field = field_of(flag);
    const bool required = (field->rules & FIELD_REQUIRED) != 0;
    const char *value = required ? cli_text(cli, flag->flag) : cli_value(cli, flag->flag);

    if (value == NULL && field->type == FIELD_ANY) {
        value = "";
    }
    if (value == NULL) {
        return;
    }
    if (field->type == FIELD_INTEGER) {
        json_put_int(json, flag->field, cli_int(cli, flag->flag, field->least, field->most, 0));
    } else if (field->type == FIELD_NUMBER) {
        const double number =
            cli_number(cli, flag->flag, (double)field->least, (double)field->most, 0);
        check_range(cli, flag, number);
        json_double(json_put(json, flag->field), number);
    } else if (field->type == FIELD_METADATA) {
        put_pairs(json, cli, flag);
    } else if (field->type == FIELD_TRUTH) {
        json_put_bool(json, flag->field, read_truth(cli, flag->flag, value));
    } else {
        check_utf8(cli, flag->flag, value);
        json_put_str(json, flag->field, value);
    }
}

/* The flags as the line that --jsonl would have; the rest of the way is the same. */
static void write_line(const struct cli *cli, struct strbuf *line)
{
    const enum kind_id kind = kind_of(cli->form->word, strlen(cli->form->word));
    struct json_writer json = {.out = line};

    json_open(&json, NULL, '{');
    for (size_t i = 0; i < KIND_FLAGS; i++) {
        if (kind_flags[i].kind == kind) {
            put_field(&json, cli, &kind_flags[i]);
        }
    }
    json_close(&json, '}');
    if (!strbuf_ok(line)) {
        must_die();
    }
}

/* ---- forms --------------------------------------------------------------------------------- */

struct cli_form enqueue_forms[2 * KINDS + 1];
char enqueue_details[ENQUEUE_DETAILS_BYTES];

/* "--domain D --query Q [--k N]"; "" for a kind that no flags can give. Of a kind with very many
 * the optional ones are not shown: they stand below. */
static void describe_flags(enum kind_id kind, char *out, size_t size)
{
    enum { MANY = 10 };
    size_t count = 0;
    size_t used = 0;

    for (size_t i = 0; i < KIND_FLAGS; i++) {
        count += kind_flags[i].kind == kind;
    }
    out[0] = '\0';
    for (size_t i = 0; i < KIND_FLAGS && used < size; i++) {
        const struct kind_flag *flag = &kind_flags[i];
        if (flag->kind != kind) {
            continue;
        }
        const struct kind_field *field = field_of(flag);
        if (count > MANY && (field->rules & (FIELD_REQUIRED | FIELD_EITHER)) == 0) {
            continue;
        }
        const char *format =
            (field->rules & FIELD_REQUIRED) != 0 ? "%s --%s %s%s" : "%s [--%s %s%s]";
        used += (size_t)snprintf(out + used, size - used, format, used == 0 ? "--domain D" : "",
                                 flag->flag, flag->argument,
                                 field->type == FIELD_METADATA ? " ..." : "");
    }
    if (count > MANY && used < size) {
        snprintf(out + used, size - used, " [FLAG VALUE ...]");
    }
}

/* "task_id prompt result"; a list with its elements' fields: "documents: [{id, text}]". */
static void describe_fields(enum kind_id kind, char *out, size_t size)
{
    enum { WIDTH = 80 };
    const struct kind_shape *shape = job_kinds[kind].shape;
    size_t line = 0; /* where it begins */
    size_t used = 0;

    out[0] = '\0';
    for (size_t i = 0; i < shape->count && used < size; i++) {
        const struct kind_shape *element = shape->fields[i].element;
        const bool wraps = used - line + shape->fields[i].name.bytes >= WIDTH;
        line = wraps ? used : line;
        used += (size_t)snprintf(out + used, size - used, "%s%s",
                                 i == 0  ? ""
                                 : wraps ? "\n           "
                                         : " ",
                                 shape->fields[i].name.data);
        for (size_t j = 0; element != NULL && j < element->count && used < size; j++) {
            used +=
                (size_t)snprintf(out + used, size - used, "%s%s%s", j == 0 ? ": [{" : ", ",
                                 element->fields[j].name.data, j + 1 == element->count ? "}]" : "");
        }
        if ((shape->fields[i].rules & FIELD_REST) != 0 && used < size) {
            used += (size_t)snprintf(out + used, size - used, ", and any other");
        }
    }
}

void enqueue_make_forms(void)
{
    static char usages[KINDS][160];
    struct cli_form *form = enqueue_forms;
    char fields[ENQUEUE_DETAILS_BYTES - 1024];
    size_t used = 0;

    for (int kind = 0; kind < KINDS; kind++) {
        char list[1024];
        describe_flags((enum kind_id)kind, usages[kind], sizeof usages[kind]);
        if (usages[kind][0] != '\0') {
            *form++ = (struct cli_form){
                .word = job_kinds[kind].name, .usage = usages[kind], .run = cmd_enqueue};
        }
        *form++ = (struct cli_form){.word = job_kinds[kind].name,
                                    .flag = "jsonl",
                                    .usage = "--jsonl FILE|-",
                                    .run = cmd_enqueue_lines};
        describe_fields((enum kind_id)kind, list, sizeof list);
        used += (size_t)snprintf(fields + used, sizeof fields - used, "  %-8s %s\n",
                                 job_kinds[kind].name, list);
    }
    snprintf(
        enqueue_details, sizeof enqueue_details,
        "Prints the id that stands for the job. Fields of a line: domain priority delay "
        "deadline and\n"
        "%s"
        "Other fields are left out; the first is named, all are counted. A field that has no flag\n"
        "goes by --jsonl.\n"
        "A bad line is reported with its number; the rest goes on and the exit code is 1.\n"
        "With --outbox DIR whatever Redis does not take, enrichments apart, is kept in that "
        "folder:\n"
        "the exit code is 0, a message says so, and the next enqueue or `stillhouse flush` "
        "sends it.",
        fields);
}

/* ---- one job ------------------------------------------------------------------------------- */

struct sender {
    const struct cli *cli;
    stillhouse_client *client;
    struct line_job job;
    stillhouse_job_options options;
    bool asked;      /* for the one job there is */
    int64_t wait_ms; /* 0 = no waiting for the result */
    char id[STILLHOUSE_ID_BYTES];
};

/* What a line has become, for the library. */
static void hand_over(const struct line_job *from, const stillhouse_job_options *options,
                      stillhouse_job *job)
{
    job->domain = from->domain;
    job->body = from->body.data;
    job->body_bytes = from->body.bytes;
    job->options = options;
    job->unique = from->unique[0] == '\0' ? NULL : from->unique;
}

static bool next_one(void *context, stillhouse_job *job)
{
    struct sender *sender = context;

    if (sender->asked) {
        return false;
    }
    sender->asked = true;
    hand_over(&sender->job, &sender->options, job);
    return true;
}

static void take_id(void *context, size_t index, stillhouse_status outcome, const char *id,
                    bool twin)
{
    struct sender *sender = context;

    (void)index;
    (void)outcome;
    (void)twin;
    snprintf(sender->id, sizeof sender->id, "%s", id);
}

/* What holds for a line that does not say otherwise. */
static struct line_defaults read_defaults(const struct cli *cli, bool domain)
{
    return (struct line_defaults){.kind = kind_of(cli->form->word, strlen(cli->form->word)),
                                  .domain = cli_domain(cli, domain),
                                  .priority = read_priority(cli),
                                  .delay_ms = cli_duration(cli, "delay", TIME_MAX_MS, 0),
                                  .deadline_ms = cli_duration(cli, "deadline", TIME_MAX_MS, 0),
                                  .max_body_bytes = cli->settings.max_body_bytes};
}

/* There is an outbox, and it takes this kind of job. */
static bool has_outbox(const struct cli *cli)
{
    const enum kind_id kind = kind_of(cli->form->word, strlen(cli->form->word));

    return cli->settings.outbox[0] != '\0' && (job_kinds[kind].traits & KIND_IS_KEPT) != 0;
}

/* What waits in the outbox goes first; what cannot is in front of what comes now. */
static stillhouse_client *open_client(const struct cli *cli)
{
    const struct client_bounds bounds = {CONNECT_TIMEOUT_MS, COMMAND_TIMEOUT_MS, has_outbox(cli)};
    stillhouse_client *client = cli_client(cli, bounds);

    if (bounds.outbox) {
        (void)stillhouse_flush(client, COMMAND_TIMEOUT_MS, NULL);
    }
    return client;
}

/* ---- its result ---------------------------------------------------------------------------- */

/* A person is shown the examples themselves, where there are some. */
static int print_reply(const struct cli *cli, const void *body, size_t bytes)
{
    struct output out;
    struct json_writer *json = output_begin(&out, !cli->json);
    struct error err = {0};
    int code = CLI_DONE;

    if (values_to_json(body, bytes, json, NULL, &err) != STATUS_OK) {
        cli_message("the reply: %s", err.text);
        strbuf_free(&out.text);
        return CLI_FAILED;
    }
    cJSON *document = cJSON_ParseWithLength(out.text.data, out.text.bytes);
    const cJSON *error = cJSON_GetObjectItemCaseSensitive(document, "error");
    const cJSON *few_shot = cJSON_GetObjectItemCaseSensitive(document, "few_shot");
    if (cli->json || !cJSON_IsString(few_shot) || cJSON_IsString(error)) {
        output_end(&out);
    } else {
        output_text(few_shot->valuestring[0] == '\0' ? "no examples" : few_shot->valuestring);
        putchar('\n');
    }
    if (cJSON_IsString(error)) {
        cli_message("the job ended without a result: %s", error->valuestring);
        code = CLI_FAILED;
    }
    strbuf_free(&out.text);
    cJSON_Delete(document);
    return code;
}

static void print_id(const struct sender *sender, bool kept, const char *error)
{
    if (!sender->cli->json) {
        puts(sender->id);
        return;
    }
    struct output out;
    struct json_writer *json = output_object(&out);
    json_put_str(json, "id", sender->id);
    if (kept) {
        json_put_bool(json, "kept", true);
    }
    if (error != NULL) {
        json_put_str(json, "error", error);
    }
    output_end(&out);
}

static int await_result(struct sender *sender)
{
    void *body = NULL;
    size_t bytes = 0;

    const stillhouse_status status = stillhouse_await_raw(
        sender->client, sender->cli->form->word, sender->id, (int)sender->wait_ms, &body, &bytes);
    if (status == STILLHOUSE_OK) {
        const int code = print_reply(sender->cli, body, bytes);
        free(body);
        return code;
    }
    if (status != STILLHOUSE_NOT_FOUND) {
        return client_fail(sender->client, status);
    }
    cli_message("no result within %" PRId64 " ms; job \"%s\" goes on", sender->wait_ms, sender->id);
    print_id(sender, false, "timed out");
    return CLI_NOT_FOUND;
}

/* What became of a job that was handed in. */
static int finish_one(struct sender *sender, stillhouse_status status)
{
    const bool kept = status == STILLHOUSE_KEPT;

    if (kept) {
        cli_message("%s", stillhouse_error(sender->client));
    } else if (status != STILLHOUSE_OK) {
        return client_fail(sender->client, status);
    }
    if (sender->wait_ms == 0) {
        print_id(sender, kept, NULL);
        return CLI_DONE;
    }
    if (kept) { /* it has no result now, and nobody knows when */
        print_id(sender, true, "not in the queue yet");
        return CLI_NOT_FOUND;
    }
    return await_result(sender);
}

int cmd_enqueue(struct cli *cli)
{
    struct sender sender = {.cli = cli, .wait_ms = cli_duration(cli, "wait", WAIT_MAX_MS, 0)};
    const struct line_defaults defaults = read_defaults(cli, true);
    const stillhouse_source source = {.size = sizeof source,
                                      .queue = cli->form->word,
                                      .next = next_one,
                                      .told = take_id,
                                      .context = &sender};
    struct strbuf line = {0};
    struct arena scratch = {0};
    struct error err = {0};

    if (cli_has(cli, "stop-on-error") || cli_has(cli, "wait-full")) {
        cli_usage(cli->command, "--stop-on-error and --wait-full go with --jsonl");
    }
    write_line(cli, &line);
    if (line_job_decode(&defaults, (struct slice){line.data, line.bytes}, &scratch, &sender.job,
                        &err) != STATUS_OK) {
        cli_usage(cli->command, "%s", err.text);
    }
    sender.options = (stillhouse_job_options){.priority = priorities[sender.job.priority],
                                              .delay_ms = sender.job.delay_ms,
                                              .deadline_ms = sender.job.deadline_ms,
                                              .reply = sender.wait_ms > 0};
    sender.client = open_client(cli);
    const int code = finish_one(&sender, stillhouse_enqueue_all(sender.client, &source));
    stillhouse_close(sender.client);
    line_job_free(&sender.job);
    arena_free(&scratch);
    strbuf_free(&line);
    return code;
}

/* ---- one job a line ------------------------------------------------------------------------ */

enum { PROGRESS_MS = 200, LINE_SLACK_BYTES = 64 * 1024 };
enum { MOST_ESCAPED = 6 /* bytes of JSON for one byte of text: \u001f */ };

struct lines {
    const struct cli *cli;
    FILE *file;
    struct line_defaults defaults;
    stillhouse_client *client;
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

static void report_line(struct lines *lines, const char *text)
{
    clear_progress(lines);
    cli_message("line %zu: %s", lines->number, text);
    lines->invalid++;
    lines->stopped = cli_has(lines->cli, "stop-on-error");
}

/* One line that is there; true: it is a job. */
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
    const enum status status = line_job_decode(&lines->defaults, (struct slice){text, bytes},
                                               &lines->scratch, &lines->job, &err);
    if (status == STATUS_OOM) {
        must_die();
    }
    if (status != STATUS_OK) {
        report_line(lines, err.text);
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
    (void)error_set(&lines->wrong, STATUS_FAILED, "line %zu: %s", lines->number, strerror(errno));
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
    lines->options = (stillhouse_job_options){.priority = priorities[lines->job.priority],
                                              .delay_ms = lines->job.delay_ms,
                                              .deadline_ms = lines->job.deadline_ms};
    hand_over(&lines->job, &lines->options, job);
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

static void put_count(struct json_writer *json, const char *name, size_t count, bool shown)
{
    if (shown) {
        json_put_int(json, name, (int64_t)count);
    }
}

static void print_counts_json(const struct lines *lines)
{
    struct output out;
    struct json_writer *json = output_object(&out);
    put_count(json, "accepted", lines->accepted, true);
    put_count(json, "deduplicated", lines->deduplicated, true);
    put_count(json, "refused", lines->refused, true);
    put_count(json, "invalid", lines->invalid, true);
    put_count(json, "failed", lines->failed, true);
    put_count(json, "unknown", lines->unknown, true);
    put_count(json, "kept", lines->kept, has_outbox(lines->cli));
    put_count(json, "replaced", lines->replaced, lines->replaced > 0);
    put_count(json, "unknown_fields", lines->strangers, lines->strangers > 0);
    output_end(&out);
}

static void print_counts(const struct lines *lines)
{
    const struct {
        size_t count;
        const char *what;
    } rest[] = {{lines->failed, "failed"},
                {lines->unknown, "unknown (the connection broke before their answer)"},
                {lines->kept, "kept in the outbox"},
                {lines->replaced, "characters that were none replaced by U+FFFD"},
                {lines->strangers, "unknown fields left out"}};

    printf("%zu accepted, %zu deduplicated, %zu refused, %zu invalid", lines->accepted,
           lines->deduplicated, lines->refused, lines->invalid);
    for (size_t i = 0; i < sizeof rest / sizeof rest[0]; i++) {
        if (rest[i].count > 0) {
            printf(", %zu %s", rest[i].count, rest[i].what);
        }
    }
    putchar('\n');
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
                    lines->cli->form->word, lines->cli->settings.max_backlog, lines->number);
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
        .queue = lines->cli->form->word,
        .next = next_job,
        .told = count_job,
        .context = lines,
        .room_ms = cli_has(lines->cli, "wait-full") ? ROOM_MAX_MS : 0,
    };

    start_progress(lines);
    const stillhouse_status status = stillhouse_enqueue_all(lines->client, &source);
    clear_progress(lines);
    const int code = explain(lines, status);
    lines->cli->json ? print_counts_json(lines) : print_counts(lines);
    arena_free(&lines->scratch);
    line_job_free(&lines->job);
    strbuf_free(&lines->line);
    return code;
}

/* What belongs to one job stands in its line. */
static void check_no_body_flags(const struct cli *cli)
{
    for (const struct cli_option *option = cli->command->options; option->name != NULL; option++) {
        if ((option->only != NULL || strcmp(option->name, "wait") == 0) &&
            cli_has(cli, option->name)) {
            cli_usage(cli->command, "--%s and --jsonl exclude each other", option->name);
        }
    }
}

int cmd_enqueue_lines(struct cli *cli)
{
    struct lines lines = {.cli = cli, .defaults = read_defaults(cli, false)};

    check_no_body_flags(cli);
    lines.file = input_open(cli, "jsonl");
    lines.client = open_client(cli);
    const int code = send_lines(&lines);
    stillhouse_close(lines.client);
    input_close(lines.file);
    return code;
}

/* ---- flush --------------------------------------------------------------------------------- */

enum { FLUSH_WAIT_MS = 5000, FLUSH_PAUSE_MS = 100 };

static void print_flushed(const struct cli *cli, uint64_t sent, size_t left, uint64_t aside)
{
    if (!cli->json) {
        printf("%" PRIu64 " sent, %zu left", sent, left);
        if (aside > 0) {
            printf(", %" PRIu64 " damaged or refused: put aside in its bad/", aside);
        }
        putchar('\n');
        return;
    }
    struct output out;
    struct json_writer *json = output_object(&out);
    json_put_int(json, "sent", (int64_t)sent);
    json_put_int(json, "left", (int64_t)left);
    json_put_int(json, "aside", (int64_t)aside);
    output_end(&out);
}

/* True where trying again may help: Redis may come back, or a queue have room. */
static bool is_passing(stillhouse_status status)
{
    return status == STILLHOUSE_UNREACHABLE || status == STILLHOUSE_FULL ||
           status == STILLHOUSE_NOT_FOUND;
}

static stillhouse_status flush_until(stillhouse_client *client, int64_t deadline_ms, size_t *left)
{
    for (;;) {
        const int64_t left_ms = deadline_ms - clock_now_ms();
        const stillhouse_status status =
            stillhouse_flush(client, left_ms < 0 ? 0 : (int)left_ms, left);
        if (!is_passing(status) || clock_now_ms() + FLUSH_PAUSE_MS >= deadline_ms) {
            return status;
        }
        clock_sleep_ms(FLUSH_PAUSE_MS);
    }
}

int cmd_flush(struct cli *cli)
{
    const int64_t wait_ms = cli_duration(cli, "wait", WAIT_MAX_MS, FLUSH_WAIT_MS);
    size_t left = 0;
    uint64_t sent = 0;
    uint64_t aside = 0;

    if (cli->settings.outbox[0] == '\0') {
        cli_usage(cli->command, "which outbox? --outbox or STILLHOUSE_OUTBOX names it");
    }
    stillhouse_client *client =
        cli_client(cli, (struct client_bounds){CONNECT_TIMEOUT_MS, COMMAND_TIMEOUT_MS, true});
    const stillhouse_status status = flush_until(client, clock_now_ms() + wait_ms, &left);
    stillhouse_outbox_counts(client, NULL, &sent, &aside);
    const int code = status == STILLHOUSE_OK ? CLI_DONE : client_fail(client, status);
    stillhouse_close(client);
    print_flushed(cli, sent, left, aside);
    return code;
}
