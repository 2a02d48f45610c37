/* servers.c - see servers.h.
 *
 * A server is a child in its own process group whose whole command line is kept in its folder
 * (`argv`, one argument a line), so that a restart is the same command again.
 *
 * Happy path: choose a port, write the command, fork and exec, ask the server until it answers.
 * Failure: the child ends before it answers (its port was taken in between): another port, a few
 * times. It never answers: its log is printed and the test aborts, which Criterion and a plain
 * main() both report as a crash.
 */
#include "servers.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum {
    START_TRIES = 5,
    READY_MS = 60000, /* a sanitizer build of everything on two busy cores */
    RUN_MS = 60000,
    ARGV_MAX = 64,
    /* Below the kernel's ephemeral range: no outgoing connection can take a port between a kill and
     * a restart. */
    PORT_FIRST = 20000,
    PORT_COUNT = 12000,
};

static void fail(const char *fmt, ...) __attribute__((format(printf, 1, 2), noreturn));
static void fail(const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    fprintf(stderr, "test server: ");
    vfprintf(stderr, fmt, args);
    fprintf(stderr, "\n");
    va_end(args);
    abort();
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static void pause_ms(long ms)
{
    struct timespec wait = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};
    nanosleep(&wait, NULL);
}

/* ---- ports and folders ---- */

static int bound_socket(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        fail("socket: %s", strerror(errno));
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

int test_free_port(void)
{
    static unsigned next;
    if (next == 0) {
        struct timespec now;
        clock_gettime(CLOCK_MONOTONIC, &now);
        next = (unsigned)getpid() * 7919u + (unsigned)now.tv_nsec / 1000u;
    }
    for (int tries = 0; tries < PORT_COUNT; tries++) {
        int port = PORT_FIRST + (int)(next++ % PORT_COUNT);
        int fd = bound_socket(port);
        if (fd >= 0) {
            close(fd);
            return port;
        }
    }
    fail("no free port from %d to %d", PORT_FIRST, PORT_FIRST + PORT_COUNT);
}

static void make_folder(struct test_server *server)
{
    const char *root = getenv("TMPDIR");
    if (root == NULL || *root == '\0') {
        root = "/tmp";
    }
    int length = snprintf(server->folder, sizeof server->folder, "%s/stillhouse-test-XXXXXX", root);
    if (length < 0 || (size_t)length >= sizeof server->folder) {
        fail("TMPDIR \"%s\" is too long", root);
    }
    if (mkdtemp(server->folder) == NULL) {
        fail("mkdtemp \"%s\": %s", server->folder, strerror(errno));
    }
}

static int remove_entry(const char *path, const struct stat *info, int kind, struct FTW *walk)
{
    (void)info;
    (void)kind;
    (void)walk;
    return remove(path) == 0 || errno == ENOENT ? 0 : -1;
}

static void path_in(const struct test_server *server, const char *name, char out[512])
{
    int length = snprintf(out, 512, "%s/%s", server->folder, name);
    if (length < 0 || length >= 512) {
        fail("path of \"%s\" is too long", name);
    }
}

static FILE *open_in(const struct test_server *server, const char *name, const char *mode)
{
    char path[512];
    path_in(server, name, path);
    FILE *file = fopen(path, mode);
    if (file == NULL) {
        fail("open \"%s\": %s", path, strerror(errno));
    }
    return file;
}

/* ---- the command line, kept in the folder ---- */

static void save_argv(const struct test_server *server, const char *const *head,
                      const char *const *extra)
{
    FILE *file = open_in(server, "argv", "w");
    for (; *head != NULL; head++) {
        fprintf(file, "%s\n", *head);
    }
    for (; extra != NULL && *extra != NULL; extra++) {
        fprintf(file, "%s\n", *extra);
    }
    if (fclose(file) != 0) {
        fail("write \"%s/argv\": %s", server->folder, strerror(errno));
    }
}

static void load_argv(const struct test_server *server, char *argv[ARGV_MAX])
{
    FILE *file = open_in(server, "argv", "r");
    int count = 0;
    char line[1024];
    while (fgets(line, sizeof line, file) != NULL) {
        line[strcspn(line, "\n")] = '\0';
        if (count + 1 >= ARGV_MAX || (argv[count++] = strdup(line)) == NULL) {
            fail("too many arguments in \"%s/argv\"", server->folder);
        }
    }
    argv[count] = NULL;
    fclose(file);
    if (count == 0) {
        fail("no command in \"%s/argv\"", server->folder);
    }
}

static void free_argv(char *argv[ARGV_MAX])
{
    for (int i = 0; argv[i] != NULL; i++) {
        free(argv[i]);
    }
}

static bool is_chroma(const struct test_server *server)
{
    return strncmp(server->url, "http:", 5) == 0;
}

/* ---- the process ---- */

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
        fail("fork: %s", strerror(errno));
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

static void spawn(struct test_server *server)
{
    char *argv[ARGV_MAX];
    char log_path[512];

    load_argv(server, argv);
    path_in(server, "log", log_path);
    server->pid = test_spawn((const char *const *)argv, log_path);
    free_argv(argv);
}

static bool has_ended(struct test_server *server)
{
    if (server->pid > 0 && waitpid(server->pid, NULL, WNOHANG) == server->pid) {
        server->pid = 0;
    }
    return server->pid <= 0;
}

/* ---- is it there? ---- */

/* Sends `request` and reads one answer, at most 2 s. Returns false when nobody answers. */
static bool ask(int port, const char *request, char *answer, size_t size)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval bound = {.tv_sec = 2};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ssize_t got = -1;
    if (fd < 0) {
        return false;
    }
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &bound, sizeof bound);
    if (connect(fd, (struct sockaddr *)&address, sizeof address) == 0 &&
        send(fd, request, strlen(request), MSG_NOSIGNAL) == (ssize_t)strlen(request)) {
        got = recv(fd, answer, size - 1, 0);
    }
    close(fd);
    answer[got > 0 ? got : 0] = '\0';
    return got > 0;
}

static bool redis_answers(const struct test_server *server)
{
    char answer[4096];
    char own[64];
    if (!ask(server->port, "INFO server\r\n", answer, sizeof answer)) {
        return false;
    }
    snprintf(own, sizeof own, "process_id:%d\r\n", (int)server->pid);
    return strstr(answer, own) != NULL || strncmp(answer, "-NOAUTH", 7) == 0;
}

static bool chroma_answers(const struct test_server *server)
{
    char answer[1024];
    return ask(server->port,
               "GET /api/v2/heartbeat HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n",
               answer, sizeof answer) &&
           strncmp(answer, "HTTP/1.1 200", 12) == 0;
}

static bool answers(const struct test_server *server)
{
    return is_chroma(server) ? chroma_answers(server) : redis_answers(server);
}

static void print_log(const struct test_server *server)
{
    char text[4096];
    FILE *file = open_in(server, "log", "r");
    if (fseek(file, -(long)sizeof text, SEEK_END) != 0) {
        rewind(file);
    }
    size_t bytes = fread(text, 1, sizeof text, file);
    fwrite(text, 1, bytes, stderr);
    fclose(file);
}

/* True when it answers; false when it ended before it did. */
static bool wait_until_ready(struct test_server *server)
{
    int64_t until = now_ms() + READY_MS;
    while (now_ms() < until) {
        if (has_ended(server)) {
            return false;
        }
        if (answers(server)) {
            return !has_ended(server);
        }
        pause_ms(10);
    }
    print_log(server);
    fail("no answer on port %d within %d ms", server->port, READY_MS);
}

/* ---- start ---- */

static void prepare_redis(struct test_server *server, const char *const *extra)
{
    char port[16];
    snprintf(port, sizeof port, "%d", server->port);
    snprintf(server->url, sizeof server->url, "redis://127.0.0.1:%d/0", server->port);
    const char *const head[] = {
        "redis-server", "--bind", "127.0.0.1", "--port",       port, "--dir",
        server->folder, "--save", "",          "--appendonly", "no", NULL};
    save_argv(server, head, extra);
}

/* A sentinel writes what it learns into its configuration, which is therefore a file of its own. */
static void prepare_sentinel(struct test_server *server, const char *config)
{
    char path[512];
    path_in(server, "sentinel.conf", path);
    snprintf(server->url, sizeof server->url, "redis://127.0.0.1:%d", server->port);
    FILE *file = open_in(server, "sentinel.conf", "w");
    fprintf(file, "bind 127.0.0.1\nport %d\ndir \"%s\"\n%s", server->port, server->folder, config);
    if (fclose(file) != 0) {
        fail("write \"%s\": %s", path, strerror(errno));
    }
    const char *const head[] = {"redis-server", path, "--sentinel", NULL};
    save_argv(server, head, NULL);
}

static void prepare_chroma(struct test_server *server)
{
    const char *command = getenv("STILLHOUSE_TEST_CHROMA");
    char config[512];
    if (command == NULL || *command == '\0') {
        fail("STILLHOUSE_TEST_CHROMA is not set: give it the path of deploy/chroma-server");
    }
    path_in(server, "chroma.yaml", config);
    snprintf(server->url, sizeof server->url, "http://127.0.0.1:%d", server->port);
    FILE *file = open_in(server, "chroma.yaml", "w");
    fprintf(file, "persist_path: \"%s/data\"\nlisten_address: \"127.0.0.1\"\nport: %d\n",
            server->folder, server->port);
    if (fclose(file) != 0) {
        fail("write \"%s\": %s", config, strerror(errno));
    }
    const char *const head[] = {command, config, NULL};
    save_argv(server, head, NULL);
}

enum kind { REDIS, SENTINEL, CHROMA };

static void start(struct test_server *server, enum kind kind, const char *const *extra,
                  const char *config)
{
    static const char *const names[] = {"redis-server", "sentinel", "chroma"};

    memset(server, 0, sizeof *server);
    make_folder(server);
    for (int tries = 0; tries < START_TRIES; tries++) {
        server->port = test_free_port();
        if (kind == CHROMA) {
            prepare_chroma(server);
        } else if (kind == SENTINEL) {
            prepare_sentinel(server, config);
        } else {
            prepare_redis(server, extra);
        }
        spawn(server);
        if (wait_until_ready(server)) {
            return;
        }
    }
    print_log(server);
    fail("%s ended at once, %d times", names[kind], START_TRIES);
}

void test_redis_start(struct test_server *server, const char *const *extra)
{
    start(server, REDIS, extra, NULL);
}

void test_sentinel_start(struct test_server *server, const char *config)
{
    start(server, SENTINEL, NULL, config);
}

void test_chroma_start(struct test_server *server)
{
    start(server, CHROMA, NULL, NULL);
}

/* ---- kill, restart, freeze, stop ---- */

void test_server_kill(struct test_server *server)
{
    if (server->pid <= 0) {
        return;
    }
    kill(-server->pid, SIGKILL);
    while (waitpid(server->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    server->pid = 0;
}

void test_server_restart(struct test_server *server)
{
    test_server_kill(server);
    for (int tries = 0; tries < START_TRIES; tries++) {
        spawn(server);
        if (wait_until_ready(server)) {
            return;
        }
        pause_ms(100);
    }
    print_log(server);
    fail("\"%s\" could not be started again", server->url);
}

void test_server_freeze(struct test_server *server, bool frozen)
{
    if (server->pid <= 0) {
        fail("\"%s\" does not run", server->url);
    }
    if (kill(-server->pid, frozen ? SIGSTOP : SIGCONT) != 0) {
        fail("signal to \"%s\": %s", server->url, strerror(errno));
    }
}

void test_server_stop(struct test_server *server)
{
    test_server_kill(server);
    if (server->folder[0] == '\0') {
        return;
    }
    if (nftw(server->folder, remove_entry, 16, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT) {
        fail("remove \"%s\": %s", server->folder, strerror(errno));
    }
    server->folder[0] = '\0';
}

/* ---- programs ---- */

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
        int64_t left = until - now_ms();
        if (left <= 0) {
            return false;
        }
        if (poll(polls, 3, (int)left) < 0 && errno != EINTR) {
            fail("poll: %s", strerror(errno));
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
        fail("pipe: %s", strerror(errno));
    }
}

static pid_t spawn_piped(const char *const *argv, int pipes[3][2])
{
    pid_t parent = getpid();
    pid_t pid = fork();
    if (pid < 0) {
        fail("fork: %s", strerror(errno));
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
        if (now_ms() >= until) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            fail("\"%s\" did not end within %d ms", name, RUN_MS);
        }
        pause_ms(1);
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
    int64_t until = now_ms() + RUN_MS;
    bool whole = pump(streams, until);
    sigaction(SIGPIPE, &before, NULL);
    int code = reap(pid, argv[0], whole ? until : 0);
    return code;
}

const char *test_program(const char *name, char out[512])
{
    const char *folder = getenv("STILLHOUSE_TEST_BIN");
    if (folder == NULL || *folder == '\0') {
        fail("STILLHOUSE_TEST_BIN is not set: give it the folder of \"%s\"", name);
    }
    int length = snprintf(out, 512, "%s/%s", folder, name);
    if (length < 0 || length >= 512 || access(out, X_OK) != 0) {
        fail("no program \"%s\" in \"%s\"", name, folder);
    }
    return out;
}
