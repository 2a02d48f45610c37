/* cli/frame/input.h - reading files and standard input. One thread. */
#ifndef STILLHOUSE_CLI_FRAME_INPUT_H
#define STILLHOUSE_CLI_FRAME_INPUT_H

#include <stdbool.h>
#include <stdio.h>

#include "base/strbuf.h"
#include "cli/frame/cli.h"

/* The file that a flag names for reading, "-" = standard input. What cannot be opened ends the
 * program: CLI_USAGE. */
FILE *input_open(const struct cli *cli, const char *flag);
void input_close(FILE *file);

/* All of it, at most 16 MiB. CLI_USAGE when it is longer or cannot be read, and when a pipe stays
 * silent for 10 s (not standard input). */
void input_read_all(const struct cli *cli, const char *flag, struct strbuf *out);

/* What a call of input_line found. */
enum input_line { INPUT_LINE, INPUT_TOO_LONG, INPUT_END, INPUT_ERROR };

/* The next line without its end, at most `most` bytes. A longer one is read over to its end and
 * reported: `out` then holds its head. A last line without an end counts. INPUT_ERROR: reading
 * failed (errno). */
enum input_line input_line(FILE *file, size_t most, struct strbuf *out) MUSTCHECK;

#endif
