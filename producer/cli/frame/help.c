#include "cli/frame/help.h"

#include <stdio.h>
#include <string.h>

const struct command *help_find(const struct command *commands, const char *name)
{
    for (const struct command *command = commands; command->name != NULL; command++) {
        if (strcmp(command->name, name) == 0) {
            return command;
        }
    }
    cli_usage(NULL, "unknown command \"%s\"", name);
}

void help_all(const struct command *commands)
{
    puts("stillhouse: enqueue work for the Stillhouse fleet, use its results, look after it\n\n"
         "usage: stillhouse COMMAND [flags]\n\ncommands:");
    for (const struct command *command = commands; command->name != NULL; command++) {
        printf("  %-8s  %s\n", command->name, command->summary);
    }
    puts("\n`stillhouse help COMMAND` has its flags. Of every command:\n"
         "  --json          one JSON document (or JSON Lines) on standard output\n"
         "  --help          its help\n"
         "  --version       the version\n"
         "  --print-config  the settings in force, secrets hidden\n\n"
         "settings (flags, then STILLHOUSE_... in the environment, then these defaults):");
    settings_print_help(stdout, SETTINGS_CLI);
    puts("\nexit codes: 0 done, 1 failed, 2 bad usage or configuration, 3 a server could not be\n"
         "reached, 4 not found or timed out, 5 queue full");
}

enum { LINE_CHARS = 80, FLAG_CHARS = 22 };

/* Word by word, with a line end where the next one has no room. */
static void print_words(const char *text, size_t at)
{
    for (bool is_first = true; *text != '\0'; is_first = false) {
        const size_t bytes = strcspn(text, " ");
        if (!is_first && at + 1 + bytes > LINE_CHARS) {
            printf("\n%*s", FLAG_CHARS, "");
            at = FLAG_CHARS;
            is_first = true;
        }
        at += (size_t)printf("%s%.*s", is_first ? "" : " ", (int)bytes, text);
        text += bytes + (text[bytes] == ' ');
    }
    putchar('\n');
}

static void print_flag(const struct cli_option *option)
{
    char flag[48];
    char text[512];
    size_t used = 0;

    snprintf(flag, sizeof flag, "--%s %s", option->name,
             option->argument == NULL ? "" : option->argument);
    for (const char *c = option->only; c != NULL && *c != '\0' && used < sizeof text / 2; c++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%s%c", *c == ' ' ? "," : "", *c);
    }
    snprintf(text + used, sizeof text - used, "%s%s", option->only == NULL ? "" : ": ",
             option->help);
    print_words(text, (size_t)printf("  %-18s  ", flag));
}

/* Their names alone: what they are is in the program's own help. */
static void print_settings(void)
{
    size_t used = LINE_CHARS;

    fputs("\nflags of every command, which `stillhouse help` explains:", stdout);
    for (size_t i = 0; i < settings_count(); i++) {
        const struct settings_row_info row = settings_row(i);
        const size_t chars = strlen(" --") + strlen(row.flag);
        if ((row.scope & SETTINGS_CLI) == 0) {
            continue;
        }
        fputs(used + chars > LINE_CHARS ? "\n " : "", stdout);
        used = used + chars > LINE_CHARS ? 1 : used;
        printf(" --%s", row.flag);
        used += chars;
    }
    putchar('\n');
}

void help_command(const struct command *command)
{
    static const struct cli_option json = {
        "json", NULL, "one JSON document (or JSON Lines) on standard output", NULL};

    for (const struct cli_form *form = command->forms; form->run != NULL; form++) {
        printf("%s stillhouse %s", form == command->forms ? "usage:" : "      ", command->name);
        printf("%s%s", form->word == NULL ? "" : " ", form->word == NULL ? "" : form->word);
        printf("%s%s\n", form->usage[0] == '\0' ? "" : " ", form->usage);
    }
    printf("\n%s\n", command->summary);
    if (command->details[0] != '\0') {
        printf("\n%s\n", command->details);
    }
    puts("\nflags:");
    for (const struct cli_option *option = command->options; option != NULL && option->name != NULL;
         option++) {
        print_flag(option);
    }
    print_flag(&json);
    print_settings();
}

int cli_help(struct cli *cli)
{
    if (cli->argument_count == 0) {
        help_all(cli->commands);
    } else {
        help_command(help_find(cli->commands, cli->arguments[0]));
    }
    return CLI_DONE;
}
