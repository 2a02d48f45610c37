/* main.c - the program `stillhouse`: for operators, and for producers that are scripts. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/descriptors.h"
#include "cli/frame/arguments.h"

/* What was printed must have arrived: a full disk or a closed pipe is a failure. */
static int flush_output(int code)
{
    if (fflush(stdout) == 0 && ferror(stdout) == 0) {
        return code;
    }
    if (errno != EPIPE) {
        cli_message("standard output: %s", strerror(errno));
    }
    return code == CLI_DONE ? CLI_FAILED : code;
}

int main(int argc, char **argv)
{
    struct cli cli;

    if (!descriptors_reserve()) {
        return CLI_FAILED;
    }
    signal(SIGPIPE, SIG_IGN); /* a reader that went away is seen as a failed write */
    int code = arguments_parse(argc, argv, &cli);
    if (code == CLI_DONE && cli.command != NULL) {
        log_set_level(cli.settings.log_level);
        code = cli.command->run(&cli);
    }
    arguments_free(&cli);
    return flush_output(code);
}
