/* cli/frame/cli.h - what a command of the program `stillhouse` has at hand: its arguments,
 * settings, output.
 *
 *     int cmd_pause(struct cli *cli)
 *     {
 *         struct queue queue;
 *         struct redis_conn *conn = NULL;
 *         int code = cli_queue(cli, 0, &queue);
 *         ...
 *     }
 *
 * A command returns the program's exit code. Whatever fails has said so on standard error before
 * its code is returned; standard output holds the answer and nothing else. One thread.
 */
#ifndef STILLHOUSE_CLI_FRAME_CLI_H
#define STILLHOUSE_CLI_FRAME_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/strbuf.h"
#include "config/settings.h"

/* The contract's exit codes, section 5. */
enum cli_exit {
    CLI_DONE = 0,
    CLI_FAILED = 1,
    CLI_USAGE = 2,       /* bad usage or configuration */
    CLI_UNREACHABLE = 3, /* a server could not be reached, or did not answer in time */
    CLI_NOT_FOUND = 4,   /* not found or timed out */
    CLI_FULL = 5,
};

/* A flag of a command. A table of them ends with a NULL name. */
struct cli_option {
    const char *name;     /* "domain" */
    const char *argument; /* "D"; NULL = takes none */
    const char *help;
};

/* One occurrence of a flag on the command line. */
struct cli_given {
    const char *name;
    char *value; /* NULL for a flag without argument; a word of main()'s */
};

struct cli;

struct command {
    const char *name;
    const char *usage;   /* behind the name: "list|show Q [ID]"; lines of it separated by '\n' */
    const char *summary; /* one line */
    const char *details; /* more for its help, "" = nothing */
    const struct cli_option *options;
    int (*run)(struct cli *cli);
};

struct cli {
    struct settings settings; /* complete and checked */
    const struct command *command;
    struct cli_given *given; /* in the order of the command line */
    size_t given_count;
    char **arguments; /* what is left: no flags */
    size_t argument_count;
    bool json;
};

/* The table of commands, ends with a NULL name. */
extern const struct command cli_commands[];

/* NULL when there is none of that name. */
const struct command *cli_command_find(const char *name);

int cmd_init(struct cli *cli);
int cmd_enqueue(struct cli *cli);
int cmd_prompt(struct cli *cli);
int cmd_result(struct cli *cli);
int cmd_stats(struct cli *cli);
int cmd_workers(struct cli *cli);
int cmd_ping(struct cli *cli);
int cmd_dead(struct cli *cli);
int cmd_peek(struct cli *cli);
int cmd_pause(struct cli *cli);
int cmd_resume(struct cli *cli);
int cmd_purge(struct cli *cli);
int cmd_verify(struct cli *cli);
int cmd_doctor(struct cli *cli);
int cmd_export(struct cli *cli);
int cmd_flush(struct cli *cli);
int cmd_help(struct cli *cli);

/* The whole program's help, or one command's, on standard output. */
void cli_help_all(void);
void cli_help_command(const struct command *command);

/* ---- arguments ----------------------------------------------------------------------------- */

/* The last value given for a flag; NULL when it was not given. */
const char *cli_value(const struct cli *cli, const char *name);
bool cli_has(const struct cli *cli, const char *name);

/* CLI_DONE and *out, else CLI_USAGE with a message that names flag, value and expectation. A flag
 * that is not given leaves *out as it is. */
int cli_get_int(const struct cli *cli, const char *name, int64_t min, int64_t max,
                int64_t *out) MUSTCHECK;
int cli_get_number(const struct cli *cli, const char *name, double min, double max,
                   double *out) MUSTCHECK;
/* Milliseconds, at most `max_ms`. */
int cli_get_duration(const struct cli *cli, const char *name, int64_t max_ms,
                     int64_t *out) MUSTCHECK;
/* Text that must be given, valid UTF-8 and not blank. */
int cli_get_text(const struct cli *cli, const char *name, const char **out) MUSTCHECK;
/* --domain; `required` or else NULL where it is not given. */
int cli_get_domain(const struct cli *cli, bool required, const char **out) MUSTCHECK;

/* CLI_USAGE when there are fewer than `min` or more than `max` arguments. `names` says what they
 * are: "QUEUE [ID]". */
int cli_check_arguments(const struct cli *cli, size_t min, size_t max, const char *names) MUSTCHECK;

/* ---- messages and failures ----------------------------------------------------------------- */

/* One line on standard error, "stillhouse: ..."; what is not safe to show becomes '?'. */
void cli_message(const char *fmt, ...) PRINTF_LIKE(1, 2);

/* cli_message with "; see `stillhouse help COMMAND`" behind it. Returns CLI_USAGE. `command` may be
 * NULL. */
int cli_usage(const struct command *command, const char *fmt, ...) PRINTF_LIKE(2, 3);

/* Says what *err says and returns the exit code of its status. Where Redis lacks the function
 * library it says what to do. */
int cli_fail(const struct error *err);

/* What to do where Redis wants a password, or another one; else "". */
const char *cli_secret_advice(const struct error *err);

/* The exit code of a status alone. */
int cli_exit_code(enum status status);

int cli_out_of_memory(void);

#endif
