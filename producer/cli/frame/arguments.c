#include "cli/frame/arguments.h"

#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stillhouse.h"

enum { FIRST_VALUE = 1000 }; /* of a long flag: none is a short one's character */

/* What every command takes besides the settings. */
static const struct cli_option common_options[] = {
    {"json", NULL, "one JSON document (or JSON Lines) on standard output"},
    {"help", NULL, "this help"},
    {"version", NULL, "the version"},
    {"print-config", NULL, "the settings in force, secrets hidden"},
    {NULL, NULL, NULL},
};

/* A getopt table of three sources, the command's own flags first. */
struct flags {
    struct option *table;
    size_t count;
    size_t capacity;
};

static void add_flag(struct flags *flags, const char *name, bool argument)
{
    flags->table[flags->count] = (struct option){
        .name = name,
        .has_arg = argument ? required_argument : no_argument,
        .val = FIRST_VALUE + (int)flags->count,
    };
    flags->count++;
}

static size_t count_options(const struct cli_option *options)
{
    size_t count = 0;

    while (options != NULL && options[count].name != NULL) {
        count++;
    }
    return count;
}

static bool build_flags(const struct command *command, struct flags *flags)
{
    const struct cli_option *own = command == NULL ? NULL : command->options;
    const size_t most = count_options(own) + count_options(common_options) + settings_count() + 1;

    *flags = (struct flags){.table = calloc(most, sizeof *flags->table), .capacity = most};
    if (flags->table == NULL) {
        return false;
    }
    for (size_t i = 0; i < count_options(own); i++) {
        add_flag(flags, own[i].name, own[i].argument != NULL);
    }
    for (size_t i = 0; i < count_options(common_options); i++) {
        add_flag(flags, common_options[i].name, false);
    }
    for (size_t i = 0; i < settings_count(); i++) {
        const struct settings_row_info row = settings_row(i);
        if ((row.scope & SETTINGS_CLI) != 0) {
            add_flag(flags, row.flag, true);
        }
    }
    return true;
}

/* What getopt_long did not take; `word` is the command line's word it stood in. */
static int report(const struct command *command, const struct flags *flags, int answer,
                  const char *word)
{
    const size_t known = (size_t)optopt - FIRST_VALUE;

    if (optopt >= FIRST_VALUE && known < flags->count) {
        const char *name = flags->table[known].name;
        return answer == ':' ? cli_usage(command, "flag \"--%s\" needs a value", name)
                             : cli_usage(command, "flag \"--%s\" takes no value", name);
    }
    if (optopt != 0) {
        return cli_usage(command, "unknown flag \"-%c\"", optopt);
    }
    return cli_usage(command, "unknown or ambiguous flag \"%.*s\"", (int)strcspn(word, "="), word);
}

static bool remember(struct cli *cli, struct cli_given one)
{
    struct cli_given *given = realloc(cli->given, (cli->given_count + 1) * sizeof *cli->given);

    if (given == NULL) {
        return false;
    }
    given[cli->given_count++] = one;
    cli->given = given;
    return true;
}

/* Takes the flags of argv[1..argc); *next is where the first other word stands (they are moved to
 * the end, or end the run where there is no command yet). */
static int parse_flags(int argc, char **argv, const struct command *command, struct cli *cli,
                       int *next)
{
    struct flags flags;
    int code = CLI_DONE;

    if (!build_flags(command, &flags)) {
        return cli_out_of_memory();
    }
    optind = 0; /* glibc: start anew */
    opterr = 0;
    while (code == CLI_DONE) {
        const int word = optind == 0 ? 1 : optind;
        const int answer =
            getopt_long(argc, argv, command == NULL ? "+:h" : ":h", flags.table, NULL);
        if (answer == -1) {
            break;
        }
        if (answer == 'h') {
            code = remember(cli, (struct cli_given){"help", NULL}) ? CLI_DONE : cli_out_of_memory();
        } else if (answer < FIRST_VALUE) {
            const char *culprit = optind > word ? argv[optind - 1] : argv[word];
            code = report(command, &flags, answer, culprit);
        } else if (!remember(cli,
                             (struct cli_given){flags.table[answer - FIRST_VALUE].name, optarg})) {
            code = cli_out_of_memory();
        }
    }
    *next = optind;
    free(flags.table);
    return code;
}

/* The settings among the flags. */
static int apply_settings(struct cli *cli, struct error *err)
{
    for (size_t i = 0; i < cli->given_count; i++) {
        const struct cli_given *given = &cli->given[i];
        char source[80];
        if (given->value == NULL) {
            continue;
        }
        snprintf(source, sizeof source, "--%s", given->name);
        const enum status status =
            settings_set(&cli->settings, given->name, given->value, source, err);
        settings_blank(given->name, given->value);
        if (status != STATUS_OK && status != STATUS_NOT_FOUND) { /* the command's own: not there */
            return cli_usage(cli->command, "%s", err->text);
        }
    }
    return CLI_DONE;
}

static int load_settings(struct cli *cli)
{
    struct error err = {0};

    settings_defaults(&cli->settings);
    if (settings_load_env(&cli->settings, SETTINGS_CLI, &err) != STATUS_OK) {
        return cli_usage(cli->command, "%s", err.text);
    }
    const int code = apply_settings(cli, &err);
    if (code != CLI_DONE) {
        return code;
    }
    if (settings_finish(&cli->settings, &err) != STATUS_OK) {
        return cli_usage(cli->command, "%s", err.text);
    }
    tls_files_use(&cli->settings.tls);
    return CLI_DONE;
}

/* True when the flags asked for something that is answered here. */
static bool answered(struct cli *cli, int *code)
{
    if (cli_has(cli, "help")) {
        if (cli->command == NULL) {
            cli_help_all();
        } else {
            cli_help_command(cli->command);
        }
        return true;
    }
    if (cli_has(cli, "version")) {
        printf("stillhouse %s\n", stillhouse_version());
        return true;
    }
    if (cli_has(cli, "print-config")) {
        *code = load_settings(cli);
        if (*code == CLI_DONE) {
            settings_print(stdout, &cli->settings, SETTINGS_CLI);
        }
        return true;
    }
    return false;
}

int arguments_parse(int argc, char **argv, struct cli *cli)
{
    int next = 1;

    *cli = (struct cli){0};
    int code = parse_flags(argc, argv, NULL, cli, &next);
    if (code != CLI_DONE) {
        return code;
    }
    if (next < argc) {
        cli->command = cli_command_find(argv[next]);
        if (cli->command == NULL) {
            return cli_usage(NULL, "unknown command \"%s\"", argv[next]);
        }
        argc -= next;
        argv += next;
        code = parse_flags(argc, argv, cli->command, cli, &next);
        if (code != CLI_DONE) {
            return code;
        }
        cli->arguments = argv + next;
        cli->argument_count = (size_t)(argc - next);
    }

    if (answered(cli, &code)) {
        cli->command = NULL;
        return code;
    }
    if (cli->command == NULL) {
        return cli_usage(NULL, "which command?");
    }
    cli->json = cli_has(cli, "json");
    return cli->command->run == cmd_help ? CLI_DONE : load_settings(cli);
}

void arguments_free(struct cli *cli)
{
    free(cli->given);
    explicit_bzero(cli, sizeof *cli);
}
