#include "cli/frame/cli.h"

int cmd_help(struct cli *cli)
{
    const int code = cli_check_arguments(cli, 0, 1, "[COMMAND]");

    if (code != CLI_DONE) {
        return code;
    }
    if (cli->argument_count == 0) {
        cli_help_all();
        return CLI_DONE;
    }
    const struct command *command = cli_command_find(cli->arguments[0]);
    if (command == NULL) {
        return cli_usage(NULL, "unknown command \"%s\"", cli->arguments[0]);
    }
    cli_help_command(command);
    return CLI_DONE;
}
