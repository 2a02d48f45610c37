#include "fake_server.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { FAULT_BYTES = 512, READ_BYTES = 16384, CLOSE_PATIENCE_MS = 300 };

struct fake_server {
    const struct fake_step *script;
    pthread_t thread;
    int listener;
    int stop_event; /* readable once fake_server_stop was called */
    int port;
    char url[64];

    /* The thread's own. */
    int connection; /* -1 = none */
    size_t step;
    size_t consumed; /* bytes of `received` that an EXPECT has used up */
    bool looped;

    pthread_mutex_t lock; /* of what follows */
    char *received;       /* NUL behind it */
    size_t received_bytes;
    int connections;
    char fault[FAULT_BYTES];
};

/* What a wait ended with. */
enum event { EVENT_READY, EVENT_STOP, EVENT_TIMEOUT };

static _Noreturn void die(const char *what)
{
    fprintf(stderr, "fake server: %s: %s\n", what, strerror(errno));
    abort();
}

static long long now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000LL + now.tv_nsec / 1000000;
}

/* Waits for `events` on `fd` (-1 = only for the end of the time), or for fake_server_stop. */
static enum event wait_for(const struct fake_server *server, int fd, short events, int timeout_ms)
{
    struct pollfd fds[2] = {{.fd = server->stop_event, .events = POLLIN},
                            {.fd = fd, .events = events}};
    long long deadline_ms = now_ms() + timeout_ms;

    for (;;) {
        long long left_ms = timeout_ms < 0 ? -1 : deadline_ms - now_ms();
        if (timeout_ms >= 0 && left_ms < 0) {
            left_ms = 0;
        }
        int ready = poll(fds, 2, (int)left_ms);
        if (ready < 0 && errno != EINTR) {
            die("poll");
        }
        if (ready > 0) {
            /* What the client has done is seen before the end: its close came first. */
            const bool is_told = events == POLLIN && fds[1].revents != 0;
            return fds[0].revents != 0 && !is_told ? EVENT_STOP : EVENT_READY;
        }
        if (ready == 0) {
            return EVENT_TIMEOUT;
        }
    }
}

/* ---- what went wrong ---- */

static const char *action_name(enum fake_action action)
{
    static const char *const names[] = {"END",  "ACCEPT", "EXPECT", "EXPECT_CLOSE",
                                        "SEND", "ANSWER", "FLOOD",  "CLOSE",
                                        "RST",  "HANG",   "LOOP"};
    return names[action];
}

static void printable(char *text)
{
    for (; *text != '\0'; text++) {
        if (!isprint((unsigned char)*text)) {
            *text = ' ';
        }
    }
}

/* "step 3 (EXPECT "PING"): <what>, received "..."". Only the first fault counts. */
static void set_fault(struct fake_server *server, const char *what)
{
    const struct fake_step *step = &server->script[server->step];

    pthread_mutex_lock(&server->lock);
    size_t left = server->received_bytes - server->consumed;
    const char *tail = left == 0 ? "" : server->received + server->consumed;
    if (server->fault[0] == '\0') {
        snprintf(server->fault, sizeof server->fault,
                 "step %zu (%s \"%.80s\"): %s, received \"%.300s\"", server->step + 1,
                 action_name(step->action), step->data == NULL ? "" : step->data, what, tail);
        printable(server->fault);
    }
    pthread_mutex_unlock(&server->lock);
}

/* False: the script is over. Being stopped is a fault, unless it has been played once already. */
static bool stopped(struct fake_server *server, enum event event, const char *what)
{
    if (event == EVENT_STOP && server->looped) {
        return false;
    }
    set_fault(server, what);
    return false;
}

/* ---- the connection ---- */

static void drop_connection(struct fake_server *server, bool reset)
{
    if (server->connection < 0) {
        return;
    }
    if (reset) {
        struct linger linger = {.l_onoff = 1, .l_linger = 0};
        setsockopt(server->connection, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    }
    close(server->connection);
    server->connection = -1;
}

/* How long the client may take; for ever once the whole script was played. */
static int patience_ms(const struct fake_server *server)
{
    return server->looped ? -1 : FAKE_PATIENCE_MS;
}

static bool need_connection(struct fake_server *server)
{
    if (server->connection >= 0) {
        return true;
    }
    enum event event = wait_for(server, server->listener, POLLIN, patience_ms(server));
    if (event != EVENT_READY) {
        return stopped(server, event, "nobody connected");
    }
    server->connection = accept4(server->listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (server->connection < 0) {
        die("accept");
    }
    int on = 1;
    setsockopt(server->connection, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    pthread_mutex_lock(&server->lock);
    server->connections++;
    server->consumed = server->received_bytes; /* what came on the one before is past */
    pthread_mutex_unlock(&server->lock);
    return true;
}

static void record(struct fake_server *server, const char *data, size_t bytes)
{
    pthread_mutex_lock(&server->lock);
    char *longer = realloc(server->received, server->received_bytes + bytes + 1);
    if (longer == NULL) {
        die("realloc");
    }
    memcpy(longer + server->received_bytes, data, bytes);
    server->received = longer;
    server->received_bytes += bytes;
    longer[server->received_bytes] = '\0';
    pthread_mutex_unlock(&server->lock);
}

/* Reads what is there. False when the client has closed or reset the connection. */
static bool read_some(struct fake_server *server)
{
    char data[READ_BYTES];
    ssize_t bytes = recv(server->connection, data, sizeof data, 0);
    if (bytes > 0) {
        record(server, data, (size_t)bytes);
        return true;
    }
    return bytes < 0 && (errno == EAGAIN || errno == EINTR);
}

/* Sends all of it; on a stop or a client that closed, false without a fault. */
static bool send_all(struct fake_server *server, const char *data, size_t bytes)
{
    while (bytes > 0) {
        ssize_t sent = send(server->connection, data, bytes, MSG_NOSIGNAL);
        if (sent > 0) {
            data += sent;
            bytes -= (size_t)sent;
            continue;
        }
        if (sent < 0 && errno != EAGAIN && errno != EINTR) {
            return false;
        }
        if (wait_for(server, server->connection, POLLOUT, FAKE_PATIENCE_MS) != EVENT_READY) {
            return false;
        }
    }
    return true;
}

/* ---- the steps; each returns false when the script is over ---- */

static size_t data_bytes(const struct fake_step *step)
{
    return step->bytes > 0 ? step->bytes : strlen(step->data);
}

static bool find_expected(struct fake_server *server, const struct fake_step *step)
{
    size_t bytes = data_bytes(step);
    size_t left = server->received_bytes - server->consumed;
    const char *from = server->received == NULL ? "" : server->received + server->consumed;
    const char *found = memmem(from, left, step->data, bytes);
    if (found == NULL) {
        return false;
    }
    server->consumed += (size_t)(found - from) + bytes;
    return true;
}

static bool play_expect(struct fake_server *server, const struct fake_step *step)
{
    long long deadline_ms = now_ms() + FAKE_PATIENCE_MS;

    while (!find_expected(server, step)) {
        long long left_ms = deadline_ms - now_ms();
        int timeout_ms = server->looped ? -1 : left_ms > 0 ? (int)left_ms : 0;
        enum event event = wait_for(server, server->connection, POLLIN, timeout_ms);
        if (event != EVENT_READY) {
            return stopped(server, event, "it did not come");
        }
        if (read_some(server)) {
            continue;
        }
        if (!server->looped) {
            set_fault(server, "the client closed the connection");
            return false;
        }
        drop_connection(server, false);
        if (!need_connection(server)) {
            return false;
        }
    }
    return true;
}

static bool play_expect_close(struct fake_server *server)
{
    do {
        enum event event = wait_for(server, server->connection, POLLIN, FAKE_PATIENCE_MS);
        if (event != EVENT_READY) {
            return stopped(server, event, "the client did not close the connection");
        }
    } while (read_some(server));
    drop_connection(server, false);
    return true;
}

static bool play_send_slowly(struct fake_server *server, const struct fake_step *step)
{
    for (size_t i = 0; i < data_bytes(step); i++) {
        if (wait_for(server, -1, 0, step->number) == EVENT_STOP) {
            return false;
        }
        if (!send_all(server, step->data + i, 1)) {
            drop_connection(server, false);
            return true;
        }
    }
    return true;
}

static bool play_send(struct fake_server *server, const struct fake_step *step)
{
    if (step->number > 0) {
        return play_send_slowly(server, step);
    }
    if (!send_all(server, step->data, data_bytes(step))) {
        set_fault(server, "the client did not take it");
        return false;
    }
    return true;
}

static bool play_answer(struct fake_server *server, const struct fake_step *step)
{
    char head[512];
    int bytes = snprintf(head, sizeof head, "HTTP/1.1 %s\r\nContent-Length: %zu\r\n\r\n",
                         step->data, strlen(step->body));
    if (bytes < 0 || (size_t)bytes >= sizeof head) {
        set_fault(server, "the status is too long");
        return false;
    }
    if (!send_all(server, head, (size_t)bytes) ||
        !send_all(server, step->body, strlen(step->body))) {
        set_fault(server, "the client did not take it");
        return false;
    }
    return true;
}

static bool play_flood(struct fake_server *server, const struct fake_step *step)
{
    for (int i = 0; i < step->number; i++) {
        if (!send_all(server, step->data, data_bytes(step))) {
            drop_connection(server, false);
            return true;
        }
    }
    return true;
}

/* Unread bytes would turn the close into a reset, which can overtake what was sent. */
static bool play_close(struct fake_server *server)
{
    shutdown(server->connection, SHUT_WR);
    while (wait_for(server, server->connection, POLLIN, CLOSE_PATIENCE_MS) == EVENT_READY &&
           read_some(server)) {
    }
    drop_connection(server, false);
    return true;
}

static bool play_step(struct fake_server *server, const struct fake_step *step)
{
    if (step->action == FAKE_ACCEPT) {
        drop_connection(server, false);
    }
    if (!need_connection(server)) {
        return false;
    }
    switch (step->action) {
    case FAKE_EXPECT:
        return play_expect(server, step);
    case FAKE_EXPECT_CLOSE:
        return play_expect_close(server);
    case FAKE_SEND:
        return play_send(server, step);
    case FAKE_ANSWER:
        return play_answer(server, step);
    case FAKE_FLOOD:
        return play_flood(server, step);
    case FAKE_CLOSE:
        return play_close(server);
    case FAKE_RST:
        drop_connection(server, true);
        return true;
    case FAKE_END:
    case FAKE_ACCEPT:
    case FAKE_HANG:
    case FAKE_LOOP:
        break;
    }
    return true;
}

static void *play(void *context)
{
    struct fake_server *server = context;

    for (;;) {
        const struct fake_step *step = &server->script[server->step];
        if (step->action == FAKE_LOOP) {
            server->looped = true;
            server->step = 0;
            continue;
        }
        if (step->action == FAKE_END) {
            break;
        }
        if (!play_step(server, step)) {
            drop_connection(server, false);
            return NULL;
        }
        if (step->action == FAKE_HANG) {
            break;
        }
        server->step++;
    }
    (void)wait_for(server, -1, 0, -1);
    drop_connection(server, false);
    return NULL;
}

/* ---- the test's side ---- */

static void listen_somewhere(struct fake_server *server)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;

    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server->listener < 0 ||
        bind(server->listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(server->listener, 16) != 0 ||
        getsockname(server->listener, (struct sockaddr *)&address, &bytes) != 0) {
        die("cannot listen on 127.0.0.1");
    }
    server->port = ntohs(address.sin_port);
}

struct fake_server *fake_server_start(const struct fake_step *script)
{
    struct fake_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        die("calloc");
    }
    server->script = script;
    server->connection = -1;
    pthread_mutex_init(&server->lock, NULL);
    server->stop_event = eventfd(0, EFD_CLOEXEC);
    if (server->stop_event < 0) {
        die("eventfd");
    }
    listen_somewhere(server);
    errno = pthread_create(&server->thread, NULL, play, server);
    if (errno != 0) {
        die("pthread_create");
    }
    return server;
}

int fake_server_port(const struct fake_server *server)
{
    return server->port;
}

const char *fake_server_url(struct fake_server *server, const char *scheme)
{
    snprintf(server->url, sizeof server->url, "%.20s://127.0.0.1:%d", scheme, server->port);
    return server->url;
}

bool fake_server_saw(struct fake_server *server, const char *text)
{
    pthread_mutex_lock(&server->lock);
    bool saw = server->received != NULL &&
               memmem(server->received, server->received_bytes, text, strlen(text)) != NULL;
    pthread_mutex_unlock(&server->lock);
    return saw;
}

int fake_server_connections(struct fake_server *server)
{
    pthread_mutex_lock(&server->lock);
    int connections = server->connections;
    pthread_mutex_unlock(&server->lock);
    return connections;
}

const char *fake_server_stop(struct fake_server *server)
{
    static char fault[FAULT_BYTES];

    if (eventfd_write(server->stop_event, 1) != 0) {
        die("eventfd_write");
    }
    pthread_join(server->thread, NULL);
    memcpy(fault, server->fault, sizeof fault);
    close(server->listener);
    close(server->stop_event);
    pthread_mutex_destroy(&server->lock);
    free(server->received);
    free(server);
    return fault[0] == '\0' ? NULL : fault;
}
