/* cli/frame/arguments.h - the command line to a struct cli: the command's flags, every setting's,
 * the rest.
 *
 *     struct cli cli;
 *     int code = arguments_parse(argc, argv, &cli);   // settings: defaults, environment, flags
 *     if (code == CLI_DONE && cli.command != NULL) code = cli.command->run(&cli);
 *     arguments_free(&cli);
 */
#ifndef STILLHOUSE_CLI_FRAME_ARGUMENTS_H
#define STILLHOUSE_CLI_FRAME_ARGUMENTS_H

#include "cli/frame/cli.h"

/* Strings stay in argv. --help, --version and --print-config are answered here: CLI_DONE with
 * cli->command NULL. Flags of settings may also stand in front of the command. */
int arguments_parse(int argc, char **argv, struct cli *cli) MUSTCHECK;
void arguments_free(struct cli *cli);

#endif
