/* cli/frame/input.h - reading files and standard input. One thread. */
#ifndef STILLHOUSE_CLI_FRAME_INPUT_H
#define STILLHOUSE_CLI_FRAME_INPUT_H

#include <stdbool.h>
#include <stdio.h>

#include "base/strbuf.h"
#include "cli/frame/cli.h"

/* `path` for reading, "-" = standard input. CLI_USAGE with a message when it cannot be opened. */
int input_open(const struct cli *cli, const char *flag, const char *path, FILE **out) MUSTCHECK;
void input_close(FILE *file);

/* All of it, at most 16 MiB. CLI_USAGE with a message when it is longer or cannot be read, when a
 * pipe stays silent for 10 s (not standard input), or memory is short. */
int input_read_all(const struct cli *cli, const char *flag, const char *path,
                   struct strbuf *out) MUSTCHECK;

/* What a call of input_line found. */
enum input_line { INPUT_LINE, INPUT_TOO_LONG, INPUT_END, INPUT_ERROR };

/* The next line without its end, at most `most` bytes. A longer one is read over to its end and
 * reported: `out` then holds its head. A last line without an end counts. INPUT_ERROR: reading
 * failed (errno) or memory is short. */
enum input_line input_line(FILE *file, size_t most, struct strbuf *out) MUSTCHECK;

#endif
