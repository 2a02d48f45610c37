/* The parts of the program stillhouse that need no server: tables, lines, values, entries. */
#include <criterion/criterion.h>
#include <sys/wait.h>

#include "cli/frame/arguments.c"
#include "cli/frame/help.c"
#include "cli/frame/input.c"
#include "cli/frame/output.c"
#include "jobs/line_job.h"
#include "operate/entries.c"

static const struct command command = {.name = "enqueue"};

/* U+202E, which turns the reading direction; not as a literal, for who reads this. */
static const char turned[] = {'\xe2', '\x80', '\xae', '\0'};

/* ---- tables -------------------------------------------------------------------------------- */

static char printed[4096];

static const char *print_it(const struct table *table)
{
    FILE *const old = stdout;

    stdout = fmemopen(printed, sizeof printed, "w");
    cr_assert_not_null(stdout);
    table_print(table);
    fclose(stdout);
    stdout = old;
    return printed;
}

Test(cli_parts, a_table_aligns_text_to_the_left_and_numbers_to_the_right)
{
    struct table table;

    table_init(&table, (const char *const[]){"queue", ">waiting", "note", NULL});
    table_text(&table, "enrich");
    table_int(&table, 12345678);
    table_printf(&table, "%d%%", 5);
    table_text(&table, "x");
    table_int(&table, -1);
    table_text(&table, "");
    cr_assert_str_eq(print_it(&table), "queue    waiting  note\n"
                                       "enrich  12345678  5%\n"
                                       "x             -1  \n");
    table_free(&table);
}

Test(cli_parts, a_table_shows_foreign_bytes_as_question_marks_and_keeps_utf8)
{
    struct table table;
    char text[64];

    table_init(&table, (const char *const[]){"a", ">b", NULL});
    table_text(&table, "a\x1b[2J\n");
    table_text(&table, "1");
    table_text(&table, "\xc3\xa9\xc3\xa9");
    table_text(&table, "22");
    table_text(&table, "\xff\xfe");
    table_text(&table, "3");
    snprintf(text, sizeof text, "\xc2\x9b%s%se\xe2\x80\x8b\xe2\x80\xa8\xcc\x81\xff\xc3\xa9", "31m",
             turned);
    table_text(&table, text);
    table_text(&table, "4");
    table_text(&table, "half a row is left out");
    cr_assert_str_eq(print_it(&table), "a                        b\n"
                                       "a?[2J?                   1\n"
                                       "\xc3\xa9\xc3\xa9                      22\n"
                                       "??                       3\n"
                                       "?31m?e??\xcc\x81?\xc3\xa9              4\n");
    table_free(&table);
}

Test(cli_parts, a_message_shows_nothing_that_changes_how_a_terminal_takes_the_rest)
{
    char line[128] = "";
    int ends[2];

    cr_assert_eq(pipe(ends), 0);
    const int old = dup(STDERR_FILENO);
    cr_assert_eq(dup2(ends[1], STDERR_FILENO), STDERR_FILENO);
    cli_message("\x1b[2J \xc2\x9b%s%s %s", "31m", turned, "\xc3\xa9");
    dup2(old, STDERR_FILENO);
    cr_assert_gt(read(ends[0], line, sizeof line - 1), 0);
    cr_assert_str_eq(line, "stillhouse: ?[2J ?31m? \xc3\xa9\n");
}

Test(cli_parts, the_width_of_a_text_counts_its_code_points)
{
    cr_assert_eq(table_width(""), 0);
    cr_assert_eq(table_width("abc"), 3);
    cr_assert_eq(table_width("\xc3\xa9\xe2\x82\xac"), 2);
}

Test(cli_parts, ages_and_sizes_read_well)
{
    char out[32];

    cr_assert_str_eq(output_age(0, out), "0 ms");
    cr_assert_str_eq(output_age(999, out), "999 ms");
    cr_assert_str_eq(output_age(1500, out), "1.5 s");
    cr_assert_str_eq(output_age(600000, out), "10 min");
    cr_assert_str_eq(output_age(3 * 3600000, out), "3.0 h");
    cr_assert_str_eq(output_age((int64_t)72 * 3600000, out), "3.0 d");
    cr_assert_str_eq(output_bytes(1000, out), "1000 bytes");
    cr_assert_str_eq(output_bytes(1536, out), "1.5 KiB");
    cr_assert_str_eq(output_bytes((int64_t)3 << 30, out), "3.0 GiB");
}

/* ---- exit codes ---------------------------------------------------------------------------- */

Test(cli_parts, every_status_has_its_exit_code)
{
    cr_assert_eq(cli_exit_code(STATUS_OK), CLI_DONE);
    cr_assert_eq(cli_exit_code(STATUS_INVALID), CLI_USAGE);
    cr_assert_eq(cli_exit_code(STATUS_UNREACHABLE), CLI_UNREACHABLE);
    cr_assert_eq(cli_exit_code(STATUS_TIMEOUT), CLI_UNREACHABLE);
    cr_assert_eq(cli_exit_code(STATUS_UNAVAILABLE), CLI_UNREACHABLE);
    cr_assert_eq(cli_exit_code(STATUS_NOT_FOUND), CLI_NOT_FOUND);
    cr_assert_eq(cli_exit_code(STATUS_FULL), CLI_FULL);
    cr_assert_eq(cli_exit_code(STATUS_OOM), CLI_FAILED);
    cr_assert_eq(cli_exit_code(STATUS_REFUSED), CLI_FAILED);
}

/* ---- values -------------------------------------------------------------------------------- */

static struct cli with(struct cli_given *given, size_t count)
{
    return (struct cli){.command = &command, .given = given, .given_count = count};
}

/* The exit code of a child that does `call`, which ends the program where the value is no good. */
#define EXIT_CODE_OF(call)                                                                         \
    ({                                                                                             \
        int how = 0;                                                                               \
        const pid_t pid = fork();                                                                  \
        if (pid == 0) {                                                                            \
            (void)(call);                                                                          \
            _exit(CLI_DONE);                                                                       \
        }                                                                                          \
        waitpid(pid, &how, 0);                                                                     \
        WEXITSTATUS(how);                                                                          \
    })

Test(cli_parts, the_last_of_two_values_counts)
{
    struct cli_given given[] = {{"k", "1"}, {"k", "7"}, {"all", NULL}};
    struct cli cli = with(given, 3);

    cr_assert_eq(cli_int(&cli, "k", 1, 20, 3), 7);
    cr_assert(cli_has(&cli, "all"));
    cr_assert_not(cli_has(&cli, "limit"));
    cr_assert_null(cli_value(&cli, "limit"));
}

Test(cli_parts, a_value_that_is_not_given_leaves_the_default)
{
    struct cli cli = with(NULL, 0);

    cr_assert_eq(cli_int(&cli, "k", 1, 20, 3), 3);
    cr_assert_lt(cli_number(&cli, "quality", 0, 1, -1), 0);
    cr_assert_eq(cli_duration(&cli, "wait", 1000, 42), 42);
    cr_assert_null(cli_domain(&cli, false));
    cr_assert_eq(EXIT_CODE_OF(cli_domain(&cli, true)), CLI_USAGE);
    cr_assert_eq(EXIT_CODE_OF(cli_text(&cli, "query")), CLI_USAGE);
}

Test(cli_parts, values_out_of_their_range_are_bad_usage)
{
    static char *const bad_integers[] = {
        "", "0", "21", "x", "3x", " 3", "+3", "3.0", "1e1", "-1", "99999999999999999999"};
    static char *const bad_numbers[] = {"", "1.1", "-0.1", "nan", "inf", "0.5x"};
    static char *const bad_durations[] = {"", "5", "-5s", "2h", "5 s", "s"};
    struct cli_given given[] = {{"v", NULL}};
    struct cli cli = with(given, 1);

    for (size_t i = 0; i < sizeof bad_integers / sizeof bad_integers[0]; i++) {
        given[0].value = bad_integers[i];
        cr_assert_eq(EXIT_CODE_OF(cli_int(&cli, "v", 1, 20, 0)), CLI_USAGE, "%s", given[0].value);
    }
    for (size_t i = 0; i < sizeof bad_numbers / sizeof bad_numbers[0]; i++) {
        given[0].value = bad_numbers[i];
        cr_assert_eq(EXIT_CODE_OF(cli_number(&cli, "v", 0, 1, 0)), CLI_USAGE, "%s", given[0].value);
    }
    for (size_t i = 0; i < sizeof bad_durations / sizeof bad_durations[0]; i++) {
        given[0].value = bad_durations[i];
        cr_assert_eq(EXIT_CODE_OF(cli_duration(&cli, "v", 3600000, 0)), CLI_USAGE, "%s",
                     given[0].value);
    }
}

Test(cli_parts, texts_and_domains_are_checked)
{
    struct cli_given given[] = {{"query", "\xff"}, {"domain", "Legal"}};
    struct cli cli = with(given, 2);

    cr_assert_eq(EXIT_CODE_OF(cli_text(&cli, "query")), CLI_USAGE);
    given[0].value = " \n";
    cr_assert_eq(EXIT_CODE_OF(cli_text(&cli, "query")), CLI_USAGE);
    given[0].value = "notice";
    cr_assert_str_eq(cli_text(&cli, "query"), "notice");
    cr_assert_eq(EXIT_CODE_OF(cli_domain(&cli, true)), CLI_USAGE);
    given[1].value = "legal";
    cr_assert_str_eq(cli_domain(&cli, true), "legal");
}

/* ---- forms --------------------------------------------------------------------------------- */

static int show_it(struct cli *cli)
{
    (void)cli;
    return CLI_DONE;
}

static int move_it(struct cli *cli)
{
    (void)cli;
    return CLI_DONE;
}

static const struct command forms_command[] = {
    {"dead", "the dead letters", "",
     (const struct cli_option[]){{"all", NULL, "every one", "requeue discard"},
                                 {"limit", "N", "how many", "list"},
                                 {NULL, NULL, NULL, NULL}},
     (const struct cli_form[]){{"list", NULL, "QUEUE [--limit N]", 1, 1, show_it},
                               {"requeue", NULL, "QUEUE ID ...", 2, 9, move_it},
                               {"requeue", "all", "QUEUE --all", 1, 1, move_it},
                               {.run = NULL}}},
    {.name = NULL},
};

static struct cli parsed;

/* The form that `stillhouse dead words...` means; the program ends where it is none. */
static const struct cli_form *form_of(const char *const *words)
{
    static char *argv[8] = {"stillhouse"}; /* parsed.arguments points there */
    int argc = 2;

    for (; words[argc - 2] != NULL; argc++) {
        argv[argc] = (char *)words[argc - 2];
    }
    argv[argc] = NULL;
    argv[1] = "dead";
    cli_free(&parsed);
    cli_parse(&parsed, forms_command, argc, argv);
    return parsed.form;
}

#define FORM_OF(...) form_of((const char *const[]){__VA_ARGS__, NULL})

Test(cli_parts, the_word_and_the_flag_choose_the_form)
{
    cr_assert_eq(FORM_OF("list", "enrich")->run, show_it);
    cr_assert_eq(parsed.argument_count, 1);
    cr_assert_str_eq(parsed.arguments[0], "enrich");
    cr_assert_eq(FORM_OF("requeue", "enrich", "a", "b"), &forms_command[0].forms[1]);
    cr_assert_eq(FORM_OF("--all", "requeue", "enrich"), &forms_command[0].forms[2]);
}

Test(cli_parts, what_no_form_takes_is_bad_usage)
{
    cr_assert_eq(EXIT_CODE_OF(FORM_OF("bury", "enrich")), CLI_USAGE);
    cr_assert_eq(EXIT_CODE_OF(FORM_OF("list")), CLI_USAGE);
    cr_assert_eq(EXIT_CODE_OF(FORM_OF("list", "a", "b")), CLI_USAGE);
    cr_assert_eq(EXIT_CODE_OF(FORM_OF("requeue", "enrich")), CLI_USAGE);
    cr_assert_eq(EXIT_CODE_OF(FORM_OF("requeue", "enrich", "a", "--all")), CLI_USAGE);
    cr_assert_eq(EXIT_CODE_OF(FORM_OF("list", "enrich", "--all")), CLI_USAGE);
    cr_assert_eq(EXIT_CODE_OF(FORM_OF("requeue", "enrich", "a", "--limit", "3")), CLI_USAGE);
}

/* ---- lines of input ------------------------------------------------------------------------ */

static FILE *input_of(const char *text, size_t bytes)
{
    FILE *file = tmpfile();

    cr_assert_not_null(file);
    cr_assert_eq(fwrite(text, 1, bytes, file), bytes);
    rewind(file);
    return file;
}

Test(cli_parts, lines_are_read_with_and_without_a_last_line_end)
{
    static const char text[] = "one\r\n\ntwo";
    FILE *file = input_of(text, sizeof text - 1);
    struct strbuf line = {0};

    cr_assert_eq(input_line(file, 10, &line), INPUT_LINE);
    cr_assert_str_eq(line.data, "one");
    cr_assert_eq(input_line(file, 10, &line), INPUT_LINE);
    cr_assert_eq(line.bytes, 0);
    cr_assert_eq(input_line(file, 10, &line), INPUT_LINE);
    cr_assert_str_eq(line.data, "two");
    cr_assert_eq(input_line(file, 10, &line), INPUT_END);
    strbuf_free(&line);
    fclose(file);
}

Test(cli_parts, a_line_that_is_too_long_is_read_over)
{
    static const char text[] = "123456\nok\n";
    FILE *file = input_of(text, sizeof text - 1);
    struct strbuf line = {0};

    cr_assert_eq(input_line(file, 5, &line), INPUT_TOO_LONG);
    cr_assert_eq(line.bytes, 5);
    cr_assert_eq(input_line(file, 5, &line), INPUT_LINE);
    cr_assert_str_eq(line.data, "ok");
    strbuf_free(&line);
    fclose(file);
}

/* ---- a line to a job ----------------------------------------------------------------------- */

static struct line_defaults defaults_for(const char *queue)
{
    return (struct line_defaults){
        .kind = kind_of(queue, strlen(queue)), .priority = JOB_NORMAL, .max_body_bytes = 1000};
}

/* Decodes; the error's text where it is refused, else "". */
static const char *decode_line(const struct line_defaults *defaults, const char *text,
                               struct line_job *job)
{
    static struct error err;
    struct arena scratch = {0};

    err = (struct error){0};
    const enum status status =
        line_job_decode(defaults, (struct slice){text, strlen(text)}, &scratch, job, &err);
    arena_free(&scratch);
    cr_assert(status == STATUS_OK || status == STATUS_INVALID);
    return status == STATUS_OK ? "" : err.text;
}

Test(cli_parts, a_line_becomes_an_enrichment_with_its_unique_key)
{
    const struct line_defaults defaults = defaults_for("enrich");
    struct line_job job = {0};
    struct enrich_body body;
    char hash[TEXT_HASH_CHARS + 1];
    char unique[64];

    cr_assert_str_eq(decode_line(&defaults,
                                 "{\"domain\":\"legal\",\"query\":\" notice  period \",\"k\":5,"
                                 "\"priority\":\"low\",\"delay\":\"5s\",\"deadline\":60000,"
                                 "\"unknown\":[1]}",
                                 &job),
                     "");
    cr_assert_eq(bodies_decode_enrich(job.body.data, job.body.bytes, NULL, &body, NULL), STATUS_OK);
    cr_assert_eq(body.k.value, 5);
    cr_assert_eq(body.query.bytes, strlen(" notice  period "));
    cr_assert_str_eq(job.domain, "legal");

    text_hash("notice period", strlen("notice period"), hash);
    snprintf(unique, sizeof unique, "%s.5", hash);
    cr_assert_str_eq(job.unique, unique);
    cr_assert_eq(job.priority, JOB_LOW);
    cr_assert_eq(job.delay_ms, 5000);
    cr_assert_eq(job.deadline_ms, 60000);
    line_job_free(&job);
}

Test(cli_parts, a_distillation_keeps_the_types_of_its_metadata)
{
    const struct line_defaults defaults = defaults_for("distill");
    struct line_job job = {0};
    struct distill_body body;
    struct arena arena = {0};

    cr_assert_str_eq(decode_line(&defaults,
                                 "{\"domain\":\"d\",\"task_id\":\"t\",\"prompt\":\"p\","
                                 "\"result\":\"r\",\"quality\":0.75,\"model\":\"m\","
                                 "\"metadata\":{\"s\":\"x\",\"i\":7,\"f\":1.5,\"b\":false}}",
                                 &job),
                     "");
    cr_assert_eq(bodies_decode_distill(job.body.data, job.body.bytes, &arena, &body, NULL),
                 STATUS_OK);
    cr_assert(body.success.value, "a line without \"success\" is a success");
    cr_assert_float_eq(body.quality.value, 0.75, 1e-9);
    cr_assert_eq(body.metadata.count, 4);
    cr_assert_eq(body.metadata.pairs[0].value.type, META_STRING);
    cr_assert_eq(body.metadata.pairs[1].value.type, META_INT);
    cr_assert_eq(body.metadata.pairs[1].value.integer, 7);
    cr_assert_eq(body.metadata.pairs[2].value.type, META_FLOAT);
    cr_assert_eq(body.metadata.pairs[3].value.type, META_BOOL);

    cr_assert_str_eq(decode_line(&defaults,
                                 "{\"domain\":\"d\",\"task_id\":\"t\",\"prompt\":\"p\","
                                 "\"result\":\"r\",\"success\":false}",
                                 &job),
                     "");
    cr_assert_eq(bodies_decode_distill(job.body.data, job.body.bytes, &arena, &body, NULL),
                 STATUS_OK);
    cr_assert_not(body.success.value);
    arena_free(&arena);
    line_job_free(&job);
}

Test(cli_parts, documents_and_echoes_are_packed)
{
    struct line_defaults defaults = defaults_for("index");
    struct line_job job = {0};
    struct index_body body;
    struct arena arena = {0};

    defaults.domain = "docs";
    cr_assert_str_eq(decode_line(&defaults,
                                 "{\"documents\":[{\"id\":\"1\",\"text\":\"a\"},"
                                 "{\"id\":\"2\",\"text\":\"b\",\"metadata\":{\"n\":null}}]}",
                                 &job),
                     "");
    cr_assert_eq(bodies_decode_index(job.body.data, job.body.bytes, &arena, &body, NULL),
                 STATUS_OK);
    cr_assert_eq(body.documents.count, 2);
    cr_assert_str_eq(job.domain, "docs", "the default of the command line");

    defaults.kind = KIND_echo;
    cr_assert_str_eq(decode_line(&defaults, "{\"text\":\"hi\"}", &job), "");
    cr_assert_eq(memcmp(job.body.data, "\x81\xa4text\xa2hi", 9), 0);
    arena_free(&arena);
    line_job_free(&job);
}

Test(cli_parts, a_bad_line_is_refused_with_its_field_named)
{
    static const struct {
        const char *line;
        const char *says;
    } bad[] = {
        {"{", "not JSON"},
        {"[]", "expected a JSON object"},
        {"{} x", "behind the JSON object"},
        {"{\"domain\":\"d\",\"query\":\"q\",\"k\":NaN}", "\"k\": expected a finite number"},
        {"{\"domain\":\"d\",\"query\":\"q\",\"k\": -Infinity}", "\"k\": expected a finite"},
        {"{\"domain\":\"d\",\"query\":\"q\",\"k\":9223372036854775808}", "\"k\": a whole number"},
        {"{\"query\":\"q\"}", "field \"domain\" is missing"},
        {"{\"domain\":\"A B\",\"query\":\"q\"}", "field \"domain\""},
        {"{\"domain\":7,\"query\":\"q\"}", "field \"domain\""},
        {"{\"domain\":null,\"query\":\"q\"}", "field \"domain\""},
        {"{\"domain\":\"d\"}", "field \"query\""},
        {"{\"domain\":\"d\",\"query\":\" \"}", "field \"query\""},
        {"{\"domain\":\"d\",\"query\":5}", "field \"query\""},
        {"{\"domain\":\"d\",\"query\":\"q\",\"k\":0}", "field \"k\""},
        {"{\"domain\":\"d\",\"query\":\"q\",\"k\":1000}", "field \"k\""},
        {"{\"domain\":\"d\",\"query\":\"q\",\"k\":1.5}", "field \"k\""},
        {"{\"domain\":\"d\",\"query\":\"q\",\"k\":\"x\"}", "field \"k\""},
        {"{\"domain\":\"d\",\"query\":\"q\",\"priority\":\"urgent\"}", "field \"priority\""},
        {"{\"domain\":\"d\",\"query\":\"q\",\"priority\":1}", "field \"priority\""},
        {"{\"domain\":\"d\",\"query\":\"q\",\"delay\":\"soon\"}", "field \"delay\""},
        {"{\"domain\":\"d\",\"query\":\"q\",\"delay\":-1}", "field \"delay\""},
        {"{\"domain\":\"d\",\"query\":\"q\",\"delay\":\"31d\"}", "at most 30 days"},
        {"{\"domain\":\"d\",\"query\":\"q\",\"delay\":2592000001}", "at most 30 days"},
        {"{\"domain\":\"d\",\"query\":\"q\",\"deadline\":[]}", "field \"deadline\""},
    };
    const struct line_defaults defaults = defaults_for("enrich");
    struct line_job job = {0};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        const char *text = decode_line(&defaults, bad[i].line, &job);
        cr_assert(strstr(text, bad[i].says) != NULL, "%s: \"%s\"", bad[i].line, text);
    }
    line_job_free(&job);
}

#define FFFD "\xef\xbf\xbd"

Test(cli_parts, what_no_text_can_hold_costs_a_character_and_not_the_line)
{
    static const struct {
        const char *written;
        const char *read;
        size_t replaced;
    } rows[] = {
        {"a\\ud83d", "a" FFFD, 1},
        {"\\ude00a", FFFD "a", 1},
        {"\\uDE00\\uD83D", FFFD FFFD, 2},
        {"\\ud83d\\ud83d\\ude00", FFFD "\xf0\x9f\x98\x80", 1},
        {"\\ud83dx\\ude00", FFFD "x" FFFD, 2},
        {"a\\u0000b", "a" FFFD "b", 1},
        {"\\ud83d\\ude00 \\u00e9", "\xf0\x9f\x98\x80 \xc3\xa9", 0},
        {"a\\\\u0000 \\\\ud83d", "a\\u0000 \\ud83d", 0}, /* escaped backslashes */
        {"\\\\\\u0000", "\\" FFFD, 1},
        {"caf\xe9", "caf" FFFD, 1},
        {"\xed\xa0\xbd!", FFFD "!", 1},
        {"\xf0\x9f\x98", FFFD FFFD FFFD, 3},
        {"\xc3\xa9\xff", "\xc3\xa9" FFFD, 1},
    };
    const struct line_defaults defaults = defaults_for("enrich");
    struct line_job job = {0};

    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char line[128];
        struct enrich_body body;
        snprintf(line, sizeof line, "{\"domain\":\"d\",\"query\":\"%s\"}", rows[i].written);
        cr_assert_str_eq(decode_line(&defaults, line, &job), "", "row %zu", i);
        cr_assert_eq(bodies_decode_enrich(job.body.data, job.body.bytes, NULL, &body, NULL),
                     STATUS_OK);
        cr_assert_eq(body.query.bytes, strlen(rows[i].read), "row %zu", i);
        cr_assert_eq(memcmp(body.query.data, rows[i].read, body.query.bytes), 0, "row %zu", i);
        cr_assert_eq(job.replaced, rows[i].replaced, "row %zu", i);
    }
    line_job_free(&job);
}

Test(cli_parts, whole_numbers_of_a_line_stay_exact_and_fractions_fractions)
{
    static const int64_t whole[] = {INT64_C(9007199254740993), INT64_C(-1546130668394913822),
                                    INT64_MAX, INT64_MIN};
    const struct line_defaults defaults = defaults_for("distill");
    struct line_job job = {0};
    struct distill_body body;
    struct arena arena = {0};

    cr_assert_str_eq(decode_line(&defaults,
                                 "{\"domain\":\"d\",\"task_id\":\"t\",\"prompt\":\"p\","
                                 "\"result\":\"r\",\"metadata\":{\"a\":9007199254740993,"
                                 "\"b\":-1546130668394913822,\"c\":9223372036854775807,"
                                 "\"d\":-9223372036854775808,\"e\":5.0,\"f\":1e3}}",
                                 &job),
                     "");
    cr_assert_eq(bodies_decode_distill(job.body.data, job.body.bytes, &arena, &body, NULL),
                 STATUS_OK);
    cr_assert_eq(body.metadata.count, 6);
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(body.metadata.pairs[i].value.type, META_INT);
        cr_assert_eq(body.metadata.pairs[i].value.integer, whole[i]);
    }
    cr_assert_eq(body.metadata.pairs[4].value.type, META_FLOAT);
    cr_assert_eq(body.metadata.pairs[5].value.type, META_FLOAT);
    arena_free(&arena);
    line_job_free(&job);
}

Test(cli_parts, a_body_over_the_limit_is_refused)
{
    static const char with_nul[] = "{\"domain\":\"d\",\"query\":\"a\0b\"}";
    const struct line_defaults defaults = defaults_for("enrich");
    struct line_job job = {0};
    struct arena scratch = {0};
    struct error err = {0};
    struct strbuf line = {0};

    cr_assert_eq(line_job_decode(&defaults, (struct slice){with_nul, sizeof with_nul - 1}, &scratch,
                                 &job, &err),
                 STATUS_OK);
    cr_assert_eq(job.replaced, 1);

    strbuf_append_str(&line, "{\"domain\":\"d\",\"query\":\"");
    for (int i = 0; i < 1000; i++) {
        strbuf_append_char(&line, 'x');
    }
    strbuf_append_str(&line, "\"}");
    cr_assert(strstr(decode_line(&defaults, line.data, &job), "at most 1000") != NULL);
    strbuf_free(&line);
    line_job_free(&job);
    arena_free(&scratch);
}

/* ---- entries ------------------------------------------------------------------------------- */

/* Replies are foreign to their parsers: these are put together by hand. */
static redisReply text_reply(char *text)
{
    return (redisReply){.type = REDIS_REPLY_STRING, .str = text, .len = strlen(text)};
}

Test(cli_parts, a_stream_entry_shows_its_fields_and_its_body)
{
    redisReply values[] = {text_reply("id"),           text_reply("j-1"),     text_reply("domain"),
                           text_reply("legal"),        text_reply("attempt"), text_reply("2"),
                           text_reply("options"),      text_reply(""),        text_reply("body"),
                           text_reply("\x81\xa1q\x05")};
    redisReply *fields[10];
    for (size_t i = 0; i < 10; i++) {
        fields[i] = &values[i];
    }
    redisReply id = text_reply("1700000000000-3");
    redisReply list = {.type = REDIS_REPLY_ARRAY, .elements = 10, .element = fields};
    redisReply *parts[] = {&id, &list};
    const redisReply element = {.type = REDIS_REPLY_ARRAY, .elements = 2, .element = parts};
    struct entry entry;
    struct strbuf out = {0};

    cr_assert(entry_from_stream(&element, ENTRY_WAITING, &entry));
    cr_assert_eq(entry_time_ms(&entry), 1700000000000);
    entry_to_json(&entry, &(struct json_writer){.out = &out}, NULL);
    cr_assert_str_eq(out.data, "{\"state\":\"waiting\",\"priority\":\"normal\","
                               "\"entry\":\"1700000000000-3\",\"id\":\"j-1\",\"domain\":\"legal\","
                               "\"attempt\":2,\"options\":\"\",\"body\":{\"q\":5}}");
    strbuf_free(&out);

    cr_assert_not(entry_from_stream(&id, ENTRY_WAITING, &entry));
    parts[1] = &id;
    cr_assert_not(entry_from_stream(&element, ENTRY_WAITING, &entry));
}

Test(cli_parts, a_body_that_is_not_msgpack_is_shown_in_base64)
{
    redisReply member = text_reply("j-1 legal 0 priority=high\n\xc1");
    struct entry entry;
    struct strbuf out = {0};

    cr_assert(entry_from_delayed(&member, 5, &entry));
    cr_assert_eq(entry.priority, JOB_HIGH);
    entry_to_json(&entry, &(struct json_writer){.out = &out}, NULL);
    cr_assert(strstr(out.data,
                     "\"due\":5,\"id\":\"j-1\",\"domain\":\"legal\",\"attempt\":0,"
                     "\"options\":\"priority=high\",\"body\":null,\"body_error\":\"") != NULL);
    cr_assert(strstr(out.data, "\"body_base64\":\"wQ==\"}") != NULL, "%s", out.data);
    strbuf_free(&out);

    member = text_reply("no line end");
    cr_assert_not(entry_from_delayed(&member, 5, &entry));
    member = text_reply("\n");
    cr_assert(entry_from_delayed(&member, 5, &entry));
    cr_assert_eq(entry.id.bytes, 0);
}

Test(cli_parts, stream_ids_are_told_from_job_ids)
{
    cr_assert(entry_is_stream_id("1700000000000-0"));
    cr_assert_not(entry_is_stream_id("1700000000000"));
    cr_assert_not(entry_is_stream_id("0192f1a0-7000"
                                     "-x"));
    cr_assert_not(entry_is_stream_id("-1"));
    cr_assert_not(entry_is_stream_id("1-"));
    cr_assert_not(entry_is_stream_id("111111111111111111111-1"));
}
