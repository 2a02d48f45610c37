#include "cli/frame/input.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "base/must.h"

enum { INPUT_MAX_BYTES = 16 * 1024 * 1024, INPUT_IDLE_MS = 10000, PIECE_BYTES = 16384 };

FILE *input_open(const struct cli *cli, const char *flag)
{
    const char *path = cli_required(cli, flag);
    FILE *file = strcmp(path, "-") == 0 ? stdin : fopen(path, "re");

    if (file == NULL) {
        cli_usage(cli->command, "--%s \"%s\": %s", flag, path, strerror(errno));
    }
    return file;
}

void input_close(FILE *file)
{
    if (file != stdin) {
        fclose(file);
    }
}

/* True once there is something to read, or nothing more will come. A pipe that nobody writes to is
 * not waited for without end; whoever types, or feeds standard input, has the time that it takes.
 */
static bool wait_readable(int file)
{
    struct pollfd one = {.fd = file, .events = POLLIN};
    int ready;

    do {
        ready = poll(&one, 1, file == STDIN_FILENO ? -1 : INPUT_IDLE_MS);
    } while (ready < 0 && errno == EINTR);
    return ready > 0;
}

/* Appends what can be had to `out`, at most one byte more than `most` in all; what went wrong, or
 * NULL. */
static const char *read_up_to(int file, size_t most, struct strbuf *out)
{
    for (;;) {
        const size_t left = most + 1 - out->bytes;
        char *to = strbuf_reserve(out, left < PIECE_BYTES ? left : PIECE_BYTES);
        if (to == NULL) {
            must_die();
        }
        if (!wait_readable(file)) {
            return "nothing came for 10 s";
        }
        const ssize_t got = read(file, to, left < PIECE_BYTES ? left : PIECE_BYTES);
        if (got < 0 && errno != EINTR && errno != EAGAIN) {
            return strerror(errno);
        }
        strbuf_commit(out, got < 0 ? 0 : (size_t)got);
        if (out->bytes > most) {
            return "it is too long, expected at most 16 MiB";
        }
        if (got == 0) {
            return NULL;
        }
    }
}

void input_read_all(const struct cli *cli, const char *flag, struct strbuf *out)
{
    const char *path = cli_required(cli, flag);
    const bool standard = strcmp(path, "-") == 0;
    const int file =
        standard ? STDIN_FILENO : open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);

    strbuf_append(out, "", 0); /* empty input is text too */
    const char *wrong = file < 0 ? strerror(errno) : read_up_to(file, INPUT_MAX_BYTES, out);
    if (file >= 0 && !standard) {
        close(file);
    }
    if (wrong != NULL) {
        strbuf_free(out);
        cli_usage(cli->command, "--%s \"%s\": %s", flag, path, wrong);
    }
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
    if (!strbuf_ok(out)) {
        must_die();
    }
    if (ferror(file) != 0) {
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
