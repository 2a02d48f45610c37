#include "input.h"

#include <errno.h>
#include <string.h>

int input_open(const struct cli *cli, const char *flag, const char *path, FILE **out)
{
    *out = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");
    if (*out == NULL) {
        return cli_usage(cli->command, "--%s \"%s\": %s", flag, path, strerror(errno));
    }
    return CLI_DONE;
}

void input_close(FILE *file)
{
    if (file != stdin) {
        fclose(file);
    }
}

int input_read_all(const struct cli *cli, const char *flag, const char *path, struct strbuf *out)
{
    FILE *file = NULL;
    char piece[16384];
    size_t got;

    const int code = input_open(cli, flag, path, &file);
    if (code != CLI_DONE) {
        return code;
    }
    while ((got = fread(piece, 1, sizeof piece, file)) > 0) {
        strbuf_append(out, piece, got);
    }
    const bool failed = ferror(file) != 0;
    const int why = errno;
    input_close(file);
    if (failed) {
        return cli_usage(cli->command, "--%s \"%s\": %s", flag, path, strerror(why));
    }
    strbuf_append(out, "", 0); /* empty input is text too */
    return strbuf_ok(out) ? CLI_DONE : cli_out_of_memory();
}

enum input_line input_line(FILE *file, size_t most, struct strbuf *out)
{
    bool too_long = false;
    int c;

    strbuf_reset(out);
    while ((c = getc_unlocked(file)) != EOF && c != '\n') {
        if (out->bytes < most) {
            strbuf_append_char(out, (char)c);
        } else {
            too_long = true;
        }
    }
    if (ferror(file) || !strbuf_ok(out)) {
        return INPUT_ERROR;
    }
    if (c == EOF && out->bytes == 0) {
        return INPUT_END;
    }
    if (out->bytes > 0 && !too_long && out->data[out->bytes - 1] == '\r') {
        out->data[--out->bytes] = '\0';
    }
    return too_long ? INPUT_TOO_LONG : INPUT_LINE;
}
