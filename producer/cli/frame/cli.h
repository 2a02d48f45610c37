/* cli/frame/cli.h - the program `stillhouse` around its commands: a table of them, the command
 * line, values, messages, exit codes.
 *
 *     static const struct cli_form pause_forms[] = {{.usage = "QUEUE", .min = 1, .max = 1,
 *                                                    .run = cmd_pause}, {.run = NULL}};
 *
 *     int cmd_pause(struct cli *cli)
 *     {
 *         struct queue queue;
 *         struct redis_conn *conn = cli_open_queue(cli, &queue);    // frame/connections.h
 *         ...
 *         return CLI_DONE;
 *     }
 *
 * A command is run with complete settings and as many arguments as its form takes, and returns the
 * program's exit code; whatever fails has said so on standard error before. Standard output holds
 * the answer and nothing else. What makes it impossible to begin - bad usage, a server that is not
 * there - ends the program where it is noticed. One thread.
 */
#ifndef STILLHOUSE_CLI_FRAME_CLI_H
#define STILLHOUSE_CLI_FRAME_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "config/settings.h"

/* producer/CONTRACT.md, section 11. */
enum cli_exit {
    CLI_DONE = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,       /* bad usage or configuration */
    CLI_UNREACHABLE = 3, /* a server could not be reached, or did not answer in time */
    CLI_NOT_FOUND = 4,   /* not found or timed out */
    CLI_FULL = 5,
};

/* ---- the table of commands ----------------------------------------------------------------- */

/* A flag of a command; one that means something else to another form has a row for each. A table of
 * them ends with a NULL name. */
struct cli_option {
    const char *name;     /* "domain" */
    const char *argument; /* "D"; NULL = takes none */
    const char *help;
    const char *only; /* the words of the forms that take it, "requeue discard"; NULL = all */
};

struct cli;

/* One way to call a command, a line of its usage. Meant is the one whose word and flag were given,
 * or else the one of that word without a flag. A table of them ends with a NULL run. */
struct cli_form {
    const char *word;  /* the first argument: "list"; NULL = none */
    const char *flag;  /* the flag that chooses it: "all"; NULL = none */
    const char *usage; /* what stands behind the word: "QUEUE [--limit N]" */
    size_t min;        /* how many arguments stand there */
    size_t max;
    int (*run)(struct cli *cli);
};

struct command {
    const char *name;
    const char *summary;              /* one line */
    const char *details;              /* more for its help, "" = nothing */
    const struct cli_option *options; /* NULL = none */
    const struct cli_form *forms;
};

/* One occurrence of a flag on the command line. */
struct cli_given {
    const char *name;
    char *value; /* NULL for a flag without argument; a word of main()'s */
};

struct cli {
    struct settings settings;       /* complete and checked */
    const struct command *commands; /* the table, ends with a NULL name */
    const struct command *command;
    const struct cli_form *form;
    struct cli_given *given; /* in the order of the command line */
    size_t given_count;
    char **arguments; /* what is left: no flags, and not the form's word */
    size_t argument_count;
    bool json;
};

/* The command line to a struct cli: the command, its form and flags, and the settings (defaults,
 * environment, flags, which may also stand in front of the command). Strings stay in argv. --help,
 * --version, --print-config and bad usage end the program here. */
void cli_parse(struct cli *cli, const struct command *commands, int argc, char **argv);
void cli_free(struct cli *cli);

/* The command `help`. It runs without settings, which may be wrong. */
int cli_help(struct cli *cli);

/* ---- values -------------------------------------------------------------------------------- */

/* The last value given for a flag; NULL when it was not given. */
const char *cli_value(const struct cli *cli, const char *name);
bool cli_has(const struct cli *cli, const char *name);

/* The value as what it must be, `otherwise` where the flag is not given. What it cannot be ends the
 * program with a message that names flag, value and expectation. */
int64_t cli_int(const struct cli *cli, const char *name, int64_t min, int64_t max,
                int64_t otherwise);
double cli_number(const struct cli *cli, const char *name, double min, double max,
                  double otherwise);
/* Milliseconds, at most `max_ms`. */
int64_t cli_duration(const struct cli *cli, const char *name, int64_t max_ms, int64_t otherwise);
/* A flag that must be given. */
const char *cli_required(const struct cli *cli, const char *name);
/* The same, valid UTF-8 and not blank. */
const char *cli_text(const struct cli *cli, const char *name);
/* --domain; `required`, or else NULL where it is not given. */
const char *cli_domain(const struct cli *cli, bool required);

/* ---- messages and the end ------------------------------------------------------------------ */

/* One line on standard error, "stillhouse: ..."; what is not safe to show becomes '?'. */
void cli_message(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* Says what *err says, and what to do about it, and returns the exit code of its status. */
int cli_fail(const struct error *err);

/* What to do where Redis lacks the function library or wants a password, or another one; else "".
 */
const char *cli_advice(const struct error *err);

/* The exit code of a status alone. */
int cli_exit_code(enum status status);

/* Ends the program. What was printed must have arrived: a full disk or a closed pipe makes a
 * CLI_DONE a CLI_FAILED. */
_Noreturn void cli_exit(int code);

/* cli_message with "; see `stillhouse help COMMAND`" behind it, then the end with CLI_USAGE.
 * `command` may be NULL. */
_Noreturn void cli_usage(const struct command *command, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
