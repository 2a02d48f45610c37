/* cli/frame/arguments.c - the command line: flags, the form that is meant, values. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "base/text.h"
#include "cli/frame/cli.h"
#include "cli/frame/help.h"
#include "stillhouse.h"

enum { FIRST_VALUE = 1000 }; /* of a long flag: none is a short one's character */

/* What every command takes besides the settings. */
static const char *const common_flags[] = {"json", "help", "version", "print-config"};

enum { COMMON_FLAGS = sizeof common_flags / sizeof common_flags[0] };

/* ---- flags --------------------------------------------------------------------------------- */

/* A getopt table of three sources, the command's own flags first. */
struct flags {
    struct option *table;
    size_t count;
};

static void add_flag(struct flags *flags, const char *name, bool argument)
{
    flags->table = must_grow(flags->table, (flags->count + 2) * sizeof *flags->table);
    flags->table[flags->count] = (struct option){
        .name = name,
        .has_arg = argument ? required_argument : no_argument,
        .val = FIRST_VALUE + (int)flags->count,
    };
    flags->table[++flags->count] = (struct option){.name = NULL};
}

static struct flags build_flags(const struct command *command)
{
    struct flags flags = {0};
    const struct cli_option *own = command == NULL ? NULL : command->options;

    for (; own != NULL && own->name != NULL; own++) {
        add_flag(&flags, own->name, own->argument != NULL);
    }
    for (size_t i = 0; i < COMMON_FLAGS; i++) {
        add_flag(&flags, common_flags[i], false);
    }
    for (size_t i = 0; i < settings_count(); i++) {
        const struct settings_row_info row = settings_row(i);
        if ((row.scope & SETTINGS_CLI) != 0) {
            add_flag(&flags, row.flag, true);
        }
    }
    return flags;
}

/* What getopt_long did not take; `word` is the command line's word it stood in. */
static _Noreturn void refuse(const struct command *command, const struct flags *flags, int answer,
                             const char *word)
{
    const size_t known = (size_t)optopt - FIRST_VALUE;

    if (optopt >= FIRST_VALUE && known < flags->count) {
        const char *name = flags->table[known].name;
        cli_usage(command, "flag \"--%s\" %s", name,
                  answer == ':' ? "needs a value" : "takes no value");
    }
    if (optopt != 0) {
        cli_usage(command, "unknown flag \"-%c\"", optopt);
    }
    cli_usage(command, "unknown or ambiguous flag \"%.*s\"", (int)strcspn(word, "="), word);
}

static void remember(struct cli *cli, struct cli_given one)
{
    cli->given = must_grow(cli->given, (cli->given_count + 1) * sizeof *cli->given);
    cli->given[cli->given_count++] = one;
}

/* Takes the flags of argv[1..argc); returns where the first other word stands (they are moved to
 * the end, or end the run where there is no command yet). */
static int parse_flags(struct cli *cli, const struct command *command, int argc, char **argv)
{
    struct flags flags = build_flags(command);

    optind = 0; /* glibc: start anew */
    opterr = 0;
    for (;;) {
        const int word = optind == 0 ? 1 : optind;
        const int answer =
            getopt_long(argc, argv, command == NULL ? "+:h" : ":h", flags.table, NULL);
        if (answer == -1) {
            break;
        }
        if (answer == 'h') {
            remember(cli, (struct cli_given){"help", NULL});
        } else if (answer < FIRST_VALUE) {
            refuse(command, &flags, answer, optind > word ? argv[optind - 1] : argv[word]);
        } else {
            remember(cli, (struct cli_given){flags.table[answer - FIRST_VALUE].name, optarg});
        }
    }
    free(flags.table);
    return optind;
}

/* ---- settings ------------------------------------------------------------------------------ */

static void load_settings(struct cli *cli)
{
    struct error err = {0};

    settings_defaults(&cli->settings);
    if (settings_load_env(&cli->settings, SETTINGS_CLI, &err) != STATUS_OK) {
        cli_usage(cli->command, "%s", err.text);
    }
    for (size_t i = 0; i < cli->given_count; i++) {
        const struct cli_given *given = &cli->given[i];
        char source[80];
        if (given->value == NULL) {
            continue;
        }
        snprintf(source, sizeof source, "--%s", given->name);
        const enum status status =
            settings_set(&cli->settings, given->name, given->value, source, &err);
        settings_blank(given->name, given->value);
        if (status != STATUS_OK && status != STATUS_NOT_FOUND) { /* the command's own: not there */
            cli_usage(cli->command, "%s", err.text);
        }
    }
    if (settings_finish(&cli->settings, &err) != STATUS_OK) {
        cli_usage(cli->command, "%s", err.text);
    }
    tls_files_use(&cli->settings.tls);
}

/* ---- the form ------------------------------------------------------------------------------ */

static bool is_same(const char *word, const char *other)
{
    return word == NULL || other == NULL ? word == other : strcmp(word, other) == 0;
}

/* `word` is in a list of words with spaces between them; NULL holds all. */
static bool is_among(const char *list, const char *word)
{
    const size_t bytes = strlen(word);

    for (const char *at = list; at != NULL; at = strchr(at, ' ')) {
        at += *at == ' ';
        if (strncmp(at, word, bytes) == 0 && (at[bytes] == '\0' || at[bytes] == ' ')) {
            return true;
        }
    }
    return list == NULL;
}

/* What may stand on the command line, for a message: the words, "list, show or requeue"; or, of one
 * word, what stands behind it, "QUEUE ID ... or QUEUE --all". */
static const char *describe(const struct command *command, const char *word, char out[256])
{
    enum { TEXTS_MAX = 32 };
    const char *texts[TEXTS_MAX];
    size_t count = 0;
    size_t bytes = 0;

    for (const struct cli_form *form = command->forms; form->run != NULL && count < TEXTS_MAX;
         form++) {
        const char *text = word == NULL && form->word != NULL ? form->word : form->usage;
        bool said = word != NULL && !is_same(word, form->word);
        for (size_t i = 0; i < count; i++) {
            said = said || strcmp(texts[i], text) == 0;
        }
        if (!said) {
            texts[count++] = text;
        }
    }
    for (size_t i = 0; i < count && bytes < 256; i++) {
        const char *between = i == 0 ? "" : i + 1 == count ? " or " : ", ";
        bytes += (size_t)snprintf(out + bytes, 256 - bytes, "%s%s", between, texts[i]);
    }
    return out;
}

static const struct cli_form *find_form(const struct cli *cli, const char *word)
{
    const struct cli_form *found = NULL;
    const char *flag = NULL;

    for (const struct cli_form *form = cli->command->forms; form->run != NULL; form++) {
        if (!is_same(form->word, word)) {
            continue;
        }
        if (form->flag != NULL && cli_has(cli, form->flag)) {
            return form;
        }
        flag = form->flag == NULL ? flag : form->flag;
        found = form->flag == NULL ? form : found;
    }
    if (found == NULL && flag != NULL) {
        char expected[256] = "";
        cli_usage(cli->command, "flag \"--%s\" is missing: expected %s", flag,
                  describe(cli->command, word, expected));
    }
    return found;
}

/* The form takes the flag, by one of its rows. */
static bool takes(const struct cli *cli, const char *flag)
{
    const struct cli_option *option = cli->command->options;

    for (; option->name != NULL; option++) {
        if (strcmp(option->name, flag) == 0 && is_among(option->only, cli->form->word)) {
            return true;
        }
    }
    return false;
}

/* Flags that go with other forms. */
static void check_flags(const struct cli *cli)
{
    const struct cli_option *option = cli->command->options;

    for (; option != NULL && option->name != NULL && cli->form->word != NULL; option++) {
        if (cli_has(cli, option->name) && !takes(cli, option->name)) {
            cli_usage(cli->command, "--%s does not go with %s %s", option->name, cli->command->name,
                      cli->form->word);
        }
    }
}

/* Which form is meant, and does it take what was given? Takes its word off the arguments. */
static void choose_form(struct cli *cli)
{
    const struct command *command = cli->command;
    const char *word = NULL;
    char expected[256] = "";

    if (command->forms->word != NULL && cli->argument_count > 0) {
        word = *cli->arguments++;
        cli->argument_count--;
    }
    const struct cli_form *form = find_form(cli, word);
    if (form == NULL && word == NULL) {
        cli_usage(command, "an argument is missing: expected %s",
                  describe(command, NULL, expected));
    }
    if (form == NULL) {
        cli_usage(command, "%s \"%s\": expected %s", command->name, word,
                  describe(command, NULL, expected));
    }
    cli->form = form;
    check_flags(cli);
    /* cppcheck-suppress nullPointerRedundantCheck; cli_usage does not return */
    if (cli->argument_count < form->min) {
        cli_usage(command, "an argument is missing: expected %s",
                  describe(command, word, expected));
    }
    if (cli->argument_count > form->max && form->max == 0) {
        cli_usage(command, "unexpected argument \"%s\"", cli->arguments[0]);
    }
    if (cli->argument_count > form->max) {
        cli_usage(command, "unexpected argument \"%s\": expected %s", cli->arguments[form->max],
                  describe(command, word, expected));
    }
}

static void answer_itself(struct cli *cli)
{
    if (cli_has(cli, "help")) {
        cli->command == NULL ? help_all(cli->commands) : help_command(cli->command);
    } else if (cli_has(cli, "version")) {
        printf("stillhouse %s\n", stillhouse_version());
    } else if (cli_has(cli, "print-config")) {
        load_settings(cli);
        settings_print(stdout, &cli->settings, SETTINGS_CLI);
    } else {
        return;
    }
    cli_exit(CLI_DONE);
}

void cli_parse(struct cli *cli, const struct command *commands, int argc, char **argv)
{
    *cli = (struct cli){.commands = commands};
    const int at = parse_flags(cli, NULL, argc, argv);
    if (at < argc) {
        cli->command = help_find(commands, argv[at]);
        const int next = at + parse_flags(cli, cli->command, argc - at, argv + at);
        cli->arguments = argv + next;
        cli->argument_count = (size_t)(argc - next);
    }
    answer_itself(cli);
    if (cli->command == NULL) {
        cli_usage(NULL, "which command?");
    }
    cli->json = cli_has(cli, "json");
    choose_form(cli);
    if (cli->form->run != cli_help) {
        load_settings(cli);
    }
}

void cli_free(struct cli *cli)
{
    free(cli->given);
    explicit_bzero(cli, sizeof *cli);
}

/* ---- values -------------------------------------------------------------------------------- */

const char *cli_value(const struct cli *cli, const char *name)
{
    for (size_t i = cli->given_count; i > 0; i--) {
        if (strcmp(cli->given[i - 1].name, name) == 0) {
            return cli->given[i - 1].value;
        }
    }
    return NULL;
}

bool cli_has(const struct cli *cli, const char *name)
{
    for (size_t i = 0; i < cli->given_count; i++) {
        if (strcmp(cli->given[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

int64_t cli_int(const struct cli *cli, const char *name, int64_t min, int64_t max,
                int64_t otherwise)
{
    const char *value = cli_value(cli, name);
    char *end = NULL;

    if (value == NULL) {
        return otherwise;
    }
    errno = 0;
    const long long number = strtoll(value, &end, 10);
    if (errno != 0 || end == value || *end != '\0' || strchr("0123456789-", value[0]) == NULL ||
        number < min || number > max) {
        cli_usage(cli->command, "--%s \"%s\": expected a whole number from %" PRId64 " to %" PRId64,
                  name, value, min, max);
    }
    return number;
}

double cli_number(const struct cli *cli, const char *name, double min, double max, double otherwise)
{
    const char *value = cli_value(cli, name);
    char *end = NULL;

    if (value == NULL) {
        return otherwise;
    }
    const double number = strtod(value, &end);
    if (end == value || *end != '\0' || strchr("0123456789.-", value[0]) == NULL ||
        !isfinite(number) || number < min || number > max) {
        cli_usage(cli->command, "--%s \"%s\": expected a number from %g to %g", name, value, min,
                  max);
    }
    return number;
}

int64_t cli_duration(const struct cli *cli, const char *name, int64_t max_ms, int64_t otherwise)
{
    const char *value = cli_value(cli, name);
    int64_t ms = 0;
    char most[32];

    if (value == NULL) {
        return otherwise;
    }
    if (!text_parse_duration(value, &ms) || ms > max_ms) {
        cli_usage(cli->command,
                  "--%s \"%s\": expected a duration such as 250ms, 5s or 2m, at most %s", name,
                  value, text_format_duration(max_ms, most));
    }
    return ms;
}

const char *cli_required(const struct cli *cli, const char *name)
{
    const char *value = cli_value(cli, name);

    if (value == NULL) {
        cli_usage(cli->command, "flag \"--%s\" is missing", name);
    }
    return value;
}

const char *cli_text(const struct cli *cli, const char *name)
{
    const char *value = cli_required(cli, name);

    if (!text_is_utf8(value, strlen(value))) {
        cli_usage(cli->command, "--%s: expected UTF-8 text", name);
    }
    if (text_is_blank(value, strlen(value))) {
        cli_usage(cli->command, "--%s is empty: expected text that is not blank", name);
    }
    return value;
}

const char *cli_domain(const struct cli *cli, bool required)
{
    const char *value = required ? cli_required(cli, "domain") : cli_value(cli, "domain");

    if (value != NULL && !text_is_domain(value, strlen(value))) {
        cli_usage(cli->command,
                  "--domain \"%s\": expected 1 to %d of a-z0-9._- with a letter or digit at both "
                  "ends",
                  value, TEXT_DOMAIN_MAX);
    }
    return value;
}
