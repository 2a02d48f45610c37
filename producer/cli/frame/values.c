/* values.c - what was given on the command line, checked. */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "cli/frame/cli.h"

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

int cli_get_int(const struct cli *cli, const char *name, int64_t min, int64_t max, int64_t *out)
{
    const char *value = cli_value(cli, name);
    char *end = NULL;

    if (value == NULL) {
        return CLI_DONE;
    }
    errno = 0;
    const long long number = strtoll(value, &end, 10);
    if (errno != 0 || end == value || *end != '\0' || strchr("0123456789-", value[0]) == NULL ||
        number < min || number > max) {
        return cli_usage(cli->command,
                         "--%s \"%s\": expected a whole number from %" PRId64 " to %" PRId64, name,
                         value, min, max);
    }
    *out = number;
    return CLI_DONE;
}

int cli_get_number(const struct cli *cli, const char *name, double min, double max, double *out)
{
    const char *value = cli_value(cli, name);
    char *end = NULL;

    if (value == NULL) {
        return CLI_DONE;
    }
    const double number = strtod(value, &end);
    if (end == value || *end != '\0' || strchr("0123456789.-", value[0]) == NULL ||
        !isfinite(number) || number < min || number > max) {
        return cli_usage(cli->command, "--%s \"%s\": expected a number from %g to %g", name, value,
                         min, max);
    }
    *out = number;
    return CLI_DONE;
}

int cli_get_duration(const struct cli *cli, const char *name, int64_t max_ms, int64_t *out)
{
    const char *value = cli_value(cli, name);
    int64_t ms = 0;
    char most[32];

    if (value == NULL) {
        return CLI_DONE;
    }
    if (!text_parse_duration(value, &ms) || ms > max_ms) {
        return cli_usage(cli->command,
                         "--%s \"%s\": expected a duration such as 250ms, 5s or 2m, at most %s",
                         name, value, text_format_duration(max_ms, most));
    }
    *out = ms;
    return CLI_DONE;
}

int cli_get_text(const struct cli *cli, const char *name, const char **out)
{
    const char *value = cli_value(cli, name);

    if (value == NULL) {
        return cli_usage(cli->command, "flag \"--%s\" is missing", name);
    }
    if (!text_is_utf8(value, strlen(value))) {
        return cli_usage(cli->command, "--%s: expected UTF-8 text", name);
    }
    if (text_is_blank(value, strlen(value))) {
        return cli_usage(cli->command, "--%s is empty: expected text that is not blank", name);
    }
    *out = value;
    return CLI_DONE;
}

int cli_get_domain(const struct cli *cli, bool required, const char **out)
{
    const char *value = cli_value(cli, "domain");

    *out = value;
    if (value == NULL) {
        return required ? cli_usage(cli->command, "flag \"--domain\" is missing") : CLI_DONE;
    }
    if (!text_is_domain(value, strlen(value))) {
        return cli_usage(cli->command,
                         "--domain \"%s\": expected 1 to %d of a-z0-9._- with a letter or digit at "
                         "both ends",
                         value, TEXT_DOMAIN_MAX);
    }
    return CLI_DONE;
}

int cli_check_arguments(const struct cli *cli, size_t min, size_t max, const char *names)
{
    if (cli->argument_count < min) {
        return cli_usage(cli->command, "an argument is missing: expected %s", names);
    }
    if (cli->argument_count > max) {
        return *names == '\0'
                   ? cli_usage(cli->command, "unexpected argument \"%s\"", cli->arguments[max])
                   : cli_usage(cli->command, "unexpected argument \"%s\": expected %s",
                               cli->arguments[max], names);
    }
    return CLI_DONE;
}
