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
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

enum {
    START_TRIES = 5,
    READY_MS = 60000, /* a sanitizer build of everything on two busy cores */
    ARGV_MAX = 64,
    /* Below the kernel's ephemeral range: no outgoing connection can take a port between a kill and
     * a restart. */
    PORT_FIRST = 20000,
    PORT_COUNT = 12000,
};

/* ---- ports ---- */

static int bound_socket(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        test_fail("socket: %s", strerror(errno));
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
    test_fail("no free port from %d to %d", PORT_FIRST, PORT_FIRST + PORT_COUNT);
}

static void path_in(const struct test_server *server, const char *name, char out[512])
{
    int length = snprintf(out, 512, "%s/%s", server->folder, name);
    if (length < 0 || length >= 512) {
        test_fail("path of \"%s\" is too long", name);
    }
}

static FILE *open_in(const struct test_server *server, const char *name, const char *mode)
{
    char path[512];
    path_in(server, name, path);
    FILE *file = fopen(path, mode);
    if (file == NULL) {
        test_fail("open \"%s\": %s", path, strerror(errno));
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
        test_fail("write \"%s/argv\": %s", server->folder, strerror(errno));
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
            test_fail("too many arguments in \"%s/argv\"", server->folder);
        }
    }
    argv[count] = NULL;
    fclose(file);
    if (count == 0) {
        test_fail("no command in \"%s/argv\"", server->folder);
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
    int64_t until = clock_now_ms() + READY_MS;
    while (clock_now_ms() < until) {
        if (has_ended(server)) {
            return false;
        }
        if (answers(server)) {
            return !has_ended(server);
        }
        clock_sleep_ms(10);
    }
    print_log(server);
    test_fail("no answer on port %d within %d ms", server->port, READY_MS);
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
        test_fail("write \"%s\": %s", path, strerror(errno));
    }
    const char *const head[] = {"redis-server", path, "--sentinel", NULL};
    save_argv(server, head, NULL);
}

static void prepare_chroma(struct test_server *server)
{
    const char *command = getenv("STILLHOUSE_TEST_CHROMA");
    char config[512];
    if (command == NULL || *command == '\0') {
        test_fail("STILLHOUSE_TEST_CHROMA is not set: give it the path of deploy/chroma-server");
    }
    path_in(server, "chroma.yaml", config);
    snprintf(server->url, sizeof server->url, "http://127.0.0.1:%d", server->port);
    FILE *file = open_in(server, "chroma.yaml", "w");
    fprintf(file, "persist_path: \"%s/data\"\nlisten_address: \"127.0.0.1\"\nport: %d\n",
            server->folder, server->port);
    if (fclose(file) != 0) {
        test_fail("write \"%s\": %s", config, strerror(errno));
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
    test_folder_make(server->folder, sizeof server->folder);
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
    test_fail("%s ended at once, %d times", names[kind], START_TRIES);
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
        clock_sleep_ms(100);
    }
    print_log(server);
    test_fail("\"%s\" could not be started again", server->url);
}

void test_server_freeze(struct test_server *server, bool frozen)
{
    if (server->pid <= 0) {
        test_fail("\"%s\" does not run", server->url);
    }
    if (kill(-server->pid, frozen ? SIGSTOP : SIGCONT) != 0) {
        test_fail("signal to \"%s\": %s", server->url, strerror(errno));
    }
}

void test_server_stop(struct test_server *server)
{
    test_server_kill(server);
    if (server->folder[0] == '\0') {
        return;
    }
    test_folder_remove(server->folder);
    server->folder[0] = '\0';
}
