/* programs.c - see programs.h. */
#include "programs.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "folder.h"

enum { RUN_MS = 60000 };

/* ---- starting one ---- */

static void die_with(pid_t parent)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || getppid() != parent) {
        _exit(126);
    }
}

static void reset_signals(void)
{
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    signal(SIGPIPE, SIG_DFL);
}

pid_t test_spawn(const char *const *argv, const char *log_path)
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        test_fail("fork: %s", strerror(errno));
    }
    if (pid == 0) {
        int log = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0600);
        int null = open("/dev/null", O_RDONLY);
        setpgid(0, 0);
        die_with(parent);
        reset_signals();
        dup2(null, STDIN_FILENO);
        dup2(log, STDOUT_FILENO);
        dup2(log, STDERR_FILENO);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        dprintf(STDERR_FILENO, "exec \"%s\": %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    setpgid(pid, pid); /* in both, so that it stands before either goes on */
    return pid;
}

/* ---- running one to its end ---- */

struct stream {
    int fd; /* -1 when closed */
    char *text;
    size_t size;
    size_t used;
};

static void stream_close(struct stream *stream)
{
    close(stream->fd);
    stream->fd = -1;
}

static void stream_read(struct stream *stream)
{
    char piece[4096];
    ssize_t got = read(stream->fd, piece, sizeof piece);
    if (got < 0 && (errno == EINTR || errno == EAGAIN)) {
        return;
    }
    if (got <= 0) {
        stream_close(stream);
        return;
    }
    size_t room = stream->text != NULL ? stream->size - 1 - stream->used : 0;
    size_t take = (size_t)got < room ? (size_t)got : room;
    if (take > 0) {
        memcpy(stream->text + stream->used, piece, take);
        stream->used += take;
        stream->text[stream->used] = '\0';
    }
}

static void stream_write(struct stream *stream)
{
    ssize_t sent = write(stream->fd, stream->text + stream->used, stream->size - stream->used);
    if (sent < 0 && (errno == EINTR || errno == EAGAIN)) {
        return;
    }
    if (sent > 0) {
        stream->used += (size_t)sent;
    }
    if (sent <= 0 || stream->used == stream->size) {
        stream_close(stream);
    }
}

/* streams: in, out, err. False when `until` passed before all were closed. */
static bool pump(struct stream streams[3], int64_t until)
{
    while (streams[0].fd >= 0 || streams[1].fd >= 0 || streams[2].fd >= 0) {
        struct pollfd polls[3];
        for (int i = 0; i < 3; i++) {
            polls[i] = (struct pollfd){.fd = streams[i].fd, .events = i == 0 ? POLLOUT : POLLIN};
        }
        int64_t left = until - clock_now_ms();
        if (left <= 0) {
            return false;
        }
        if (poll(polls, 3, (int)left) < 0 && errno != EINTR) {
            test_fail("poll: %s", strerror(errno));
        }
        for (int i = 0; i < 3; i++) {
            if (streams[i].fd >= 0 && polls[i].revents != 0) {
                (i == 0 ? stream_write : stream_read)(&streams[i]);
            }
        }
    }
    return true;
}

static void make_pipe(int ends[2])
{
    if (pipe2(ends, O_CLOEXEC) != 0) {
        test_fail("pipe: %s", strerror(errno));
    }
}

static pid_t spawn_piped(const char *const *argv, int pipes[3][2])
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        test_fail("fork: %s", strerror(errno));
    }
    if (pid == 0) {
        die_with(parent);
        reset_signals();
        dup2(pipes[0][0], STDIN_FILENO);
        dup2(pipes[1][1], STDOUT_FILENO);
        dup2(pipes[2][1], STDERR_FILENO);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        dprintf(STDERR_FILENO, "exec \"%s\": %s\n", argv[0], strerror(errno));
        _exit(127);
    }
    close(pipes[0][0]);
    close(pipes[1][1]);
    close(pipes[2][1]);
    return pid;
}

static int reap(pid_t pid, const char *name, int64_t until)
{
    int status = 0;
    pid_t got = 0;
    while ((got = waitpid(pid, &status, WNOHANG)) == 0 || (got < 0 && errno == EINTR)) {
        if (clock_now_ms() >= until) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            test_fail("\"%s\" did not end within %d ms", name, RUN_MS);
        }
        clock_sleep_ms(1);
    }
    return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
}

int test_run(const char *const *argv, const char *input, char *out, size_t out_size, char *err_out,
             size_t err_size)
{
    int pipes[3][2];
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    struct sigaction before;
    for (int i = 0; i < 3; i++) {
        make_pipe(pipes[i]);
    }
    sigaction(SIGPIPE, &ignore, &before); /* a program may end without reading its input */
    pid_t pid = spawn_piped(argv, pipes);
    struct stream streams[3] = {
        {.fd = pipes[0][1], .text = (char *)(uintptr_t)input, .size = input ? strlen(input) : 0},
        {.fd = pipes[1][0], .text = out_size > 0 ? out : NULL, .size = out_size},
        {.fd = pipes[2][0], .text = err_size > 0 ? err_out : NULL, .size = err_size},
    };
    for (int i = 1; i < 3; i++) {
        if (streams[i].text != NULL) {
            streams[i].text[0] = '\0';
        }
    }
    fcntl(streams[0].fd, F_SETFL, O_NONBLOCK);
    if (streams[0].size == 0) {
        stream_close(&streams[0]);
    }
    int64_t until = clock_now_ms() + RUN_MS;
    bool whole = pump(streams, until);
    sigaction(SIGPIPE, &before, NULL);
    int code = reap(pid, argv[0], whole ? until : 0);
    return code;
}

const char *test_program(const char *name, char out[512])
{
    const char *folder = getenv("STILLHOUSE_TEST_BIN");
    if (folder == NULL || *folder == '\0') {
        test_fail("STILLHOUSE_TEST_BIN is not set: give it the folder of \"%s\"", name);
    }
    int length = snprintf(out, 512, "%s/%s", folder, name);
    if (length < 0 || length >= 512 || access(out, X_OK) != 0) {
        test_fail("no program \"%s\" in \"%s\"", name, folder);
    }
    return out;
}
