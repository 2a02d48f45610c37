/* messages.c - what a person reads on standard error, and the exit code that goes with it. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "cli/frame/cli.h"

enum { MESSAGE_BYTES = 1024 };

static void say(const char *text)
{
    char line[MESSAGE_BYTES];

    snprintf(line, sizeof line, "%s", text);
    line[text_make_safe(line, strlen(line))] = '\0';
    fprintf(stderr, "stillhouse: %s\n", line);
}

void cli_message(const char *fmt, ...)
{
    char text[MESSAGE_BYTES];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    say(text);
}

int cli_usage(const struct command *command, const char *fmt, ...)
{
    char text[MESSAGE_BYTES - 128];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    if (command == NULL) {
        cli_message("%s; see `stillhouse help`", text);
    } else {
        cli_message("%s; see `stillhouse help %s`", text, command->name);
    }
    return CLI_USAGE;
}

int cli_exit_code(enum status status)
{
    switch (status) {
    case STATUS_OK:
        return CLI_DONE;
    case STATUS_INVALID:
        return CLI_USAGE;
    case STATUS_UNREACHABLE:
    case STATUS_TIMEOUT:
    case STATUS_UNAVAILABLE:
        return CLI_UNREACHABLE;
    case STATUS_NOT_FOUND:
        return CLI_NOT_FOUND;
    case STATUS_FULL:
        return CLI_FULL;
    case STATUS_FAILED:
    case STATUS_REFUSED:
    case STATUS_OOM:
    case STATUS_MISMATCH:
    case STATUS_GARBLED:
        break;
    }
    return CLI_FAILED;
}

const char *cli_secret_advice(const struct error *err)
{
    const bool no_secret =
        strstr(err->text, "NOAUTH") != NULL || strstr(err->text, "WRONGPASS") != NULL;

    return no_secret ? "put user:password into STILLHOUSE_REDIS_URL" : "";
}

int cli_fail(const struct error *err)
{
    const char *text = err->text[0] == '\0' ? status_text(err->status) : err->text;
    const char *advice = cli_secret_advice(err);

    if (strcasestr(text, "function not found") != NULL && strstr(text, "stillhouse init") == NULL) {
        advice = "run `stillhouse init` first";
    }
    cli_message("%s%s%s", text, advice[0] == '\0' ? "" : "; ", advice);
    return cli_exit_code(err->status);
}

int cli_out_of_memory(void)
{
    cli_message("out of memory");
    return CLI_FAILED;
}
