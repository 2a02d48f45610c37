/* cli/frame/help.h - the help that is made from the table of commands. */
#ifndef STILLHOUSE_CLI_FRAME_HELP_H
#define STILLHOUSE_CLI_FRAME_HELP_H

#include "cli/frame/cli.h"

/* A name that is none ends the program. */
const struct command *help_find(const struct command *commands, const char *name);

/* The whole program's help, or one command's, on standard output. */
void help_all(const struct command *commands);
void help_command(const struct command *command);

#endif
