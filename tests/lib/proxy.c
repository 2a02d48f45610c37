/* proxy.c - see proxy.h.
 *
 * One thread polls the listener, a pipe for orders, and both ends of every connection. Each
 * direction of a connection reads only while its buffer is empty, so a peer that does not read
 * stops the other. State that the test's thread touches is guarded by one lock.
 */
#include "proxy.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CONNECTIONS = 64, CHUNK = 64 * 1024, TAIL = 64, POLL_MS = 5 };

/* Bytes on their way from `from` to `to`. */
struct flow {
    int from;
    int to;
    char tail[TAIL];
    size_t tail_bytes;
    size_t start;
    size_t bytes;
    bool held;
    char data[CHUNK];
};

struct connection {
    bool used;
    struct flow flow[2]; /* by enum proxy_direction */
};

struct test_proxy {
    pthread_t thread;
    int listener;
    int port;
    int target_port;
    pthread_mutex_t lock; /* guards what follows */
    bool stopping;
    bool dropping;
    bool armed;
    bool held;
    enum proxy_direction direction;
    char word[TAIL];
    struct connection *connections; /* the thread's own */
};

static void fail(const char *what)
{
    fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
    abort();
}

static int make_socket(int port, bool listening)
{
    struct sockaddr_in address = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int one = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0) {
        fail("socket");
    }
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    int done = listening ? bind(fd, (struct sockaddr *)&address, sizeof address)
                         : connect(fd, (struct sockaddr *)&address, sizeof address);
    if (done != 0 || (listening && listen(fd, 64) != 0)) {
        close(fd);
        return -1;
    }
    return fd;
}

/* ---- the thread ------------------------------------------------------------------------------ */

static void drop(struct connection *connection)
{
    const struct linger now = {.l_onoff = 1, .l_linger = 0};

    for (int i = 0; i < 2; i++) {
        int fd = connection->flow[i].from;
        setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
        close(fd);
    }
    connection->used = false;
}

static void welcome(struct test_proxy *proxy)
{
    int client = accept(proxy->listener, NULL, NULL);
    int server = client < 0 ? -1 : make_socket(proxy->target_port, false);

    for (int i = 0; i < CONNECTIONS && server >= 0; i++) {
        struct connection *connection = &proxy->connections[i];
        if (!connection->used) {
            memset(connection, 0, sizeof *connection);
            connection->used = true;
            connection->flow[PROXY_REQUEST].from = connection->flow[PROXY_ANSWER].to = client;
            connection->flow[PROXY_REQUEST].to = connection->flow[PROXY_ANSWER].from = server;
            return;
        }
    }
    if (client >= 0) {
        close(client);
    }
    if (server >= 0) {
        close(server);
    }
}

/* True when the new bytes of the flow complete the word. */
static bool completes(struct flow *flow, const char *word)
{
    char seam[2 * TAIL];
    size_t head = flow->bytes < TAIL ? flow->bytes : TAIL;

    memcpy(seam, flow->tail, flow->tail_bytes);
    memcpy(seam + flow->tail_bytes, flow->data, head);
    bool found = memmem(seam, flow->tail_bytes + head, word, strlen(word)) != NULL ||
                 memmem(flow->data, flow->bytes, word, strlen(word)) != NULL;

    size_t kept = flow->bytes < TAIL - 1 ? flow->bytes : TAIL - 1;
    memcpy(flow->tail, flow->data + flow->bytes - kept, kept);
    flow->tail_bytes = kept;
    return found;
}

/* Moves what can be moved; false when an end is closed. */
static bool pump(struct test_proxy *proxy, struct flow *flow, enum proxy_direction direction,
                 bool readable)
{
    if (flow->bytes == 0 && readable) {
        ssize_t got = recv(flow->from, flow->data, sizeof flow->data, MSG_DONTWAIT);
        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
            return false;
        }
        flow->start = 0;
        flow->bytes = got > 0 ? (size_t)got : 0;
        if (flow->bytes > 0 && proxy->armed && proxy->direction == direction &&
            completes(flow, proxy->word)) {
            flow->held = true;
            proxy->held = true;
            proxy->armed = false;
        }
    }
    if (flow->bytes > 0 && !flow->held) {
        ssize_t put =
            send(flow->to, flow->data + flow->start, flow->bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (put < 0 && errno != EAGAIN && errno != EINTR) {
            return false;
        }
        flow->start += put > 0 ? (size_t)put : 0;
        flow->bytes -= put > 0 ? (size_t)put : 0;
    }
    return true;
}

/* What poll is to watch of a flow: its source while it has room, its sink while it has bytes. */
static void watch(const struct flow *flow, struct pollfd *from, struct pollfd *to)
{
    from->events |= flow->bytes == 0 ? POLLIN : 0;
    to->events |= flow->bytes > 0 && !flow->held ? POLLOUT : 0;
}

static nfds_t watch_all(struct test_proxy *proxy, struct pollfd *polled)
{
    memset(polled, 0, (2 * CONNECTIONS + 1) * sizeof *polled);
    polled[0] = (struct pollfd){.fd = proxy->listener, .events = POLLIN};
    for (int i = 0; i < CONNECTIONS; i++) {
        const struct connection *connection = &proxy->connections[i];
        struct pollfd *pair = &polled[1 + 2 * i];
        pair[0].fd = connection->used ? connection->flow[0].from : -1;
        pair[1].fd = connection->used ? connection->flow[1].from : -1;
        if (connection->used) {
            watch(&connection->flow[0], &pair[0], &pair[1]);
            watch(&connection->flow[1], &pair[1], &pair[0]);
        }
    }
    return 2 * CONNECTIONS + 1;
}

static void serve(struct test_proxy *proxy, const struct pollfd *polled)
{
    for (int i = 0; i < CONNECTIONS; i++) {
        struct connection *connection = &proxy->connections[i];
        const struct pollfd *pair = &polled[1 + 2 * i];
        const short gone = POLLHUP | POLLERR;
        if (!connection->used || pair[0].fd < 0) {
            continue;
        }
        bool open = true;
        for (int d = 0; d < 2 && open; d++) {
            open = pump(proxy, &connection->flow[d], (enum proxy_direction)d,
                        (pair[d].revents & (POLLIN | gone)) != 0);
        }
        if (!open || proxy->dropping) {
            drop(connection);
        }
    }
    proxy->dropping = false;
    if ((polled[0].revents & POLLIN) != 0) {
        welcome(proxy);
    }
}

static void *run(void *argument)
{
    struct test_proxy *proxy = argument;
    struct pollfd polled[2 * CONNECTIONS + 1];

    pthread_mutex_lock(&proxy->lock);
    while (!proxy->stopping) {
        nfds_t count = watch_all(proxy, polled);
        pthread_mutex_unlock(&proxy->lock);
        poll(polled, count, POLL_MS);
        pthread_mutex_lock(&proxy->lock);
        serve(proxy, polled);
    }
    for (int i = 0; i < CONNECTIONS; i++) {
        if (proxy->connections[i].used) {
            drop(&proxy->connections[i]);
        }
    }
    pthread_mutex_unlock(&proxy->lock);
    return NULL;
}

/* ---- the test's side ------------------------------------------------------------------------- */

struct test_proxy *test_proxy_start(int target_port)
{
    struct test_proxy *proxy = calloc(1, sizeof *proxy);
    struct sockaddr_in address;
    socklen_t length = sizeof address;

    if (proxy == NULL) {
        fail("memory");
    }
    proxy->connections = calloc(CONNECTIONS, sizeof *proxy->connections);
    proxy->target_port = target_port;
    proxy->listener = make_socket(0, true);
    if (proxy->connections == NULL || proxy->listener < 0 ||
        getsockname(proxy->listener, (struct sockaddr *)&address, &length) != 0) {
        fail("listener");
    }
    proxy->port = ntohs(address.sin_port);
    pthread_mutex_init(&proxy->lock, NULL);
    if (pthread_create(&proxy->thread, NULL, run, proxy) != 0) {
        fail("thread");
    }
    return proxy;
}

int test_proxy_port(const struct test_proxy *proxy)
{
    return proxy->port;
}

void test_proxy_hold(struct test_proxy *proxy, enum proxy_direction direction, const char *word)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->armed = true;
    proxy->held = false;
    proxy->direction = direction;
    snprintf(proxy->word, sizeof proxy->word, "%s", word);
    pthread_mutex_unlock(&proxy->lock);
}

bool test_proxy_wait_held(struct test_proxy *proxy, int timeout_ms)
{
    const struct timespec step = {.tv_nsec = 2 * 1000 * 1000};

    for (int waited_ms = 0; waited_ms <= timeout_ms; waited_ms += 2) {
        pthread_mutex_lock(&proxy->lock);
        bool held = proxy->held;
        pthread_mutex_unlock(&proxy->lock);
        if (held) {
            return true;
        }
        nanosleep(&step, NULL);
    }
    return false;
}

void test_proxy_release(struct test_proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    for (int i = 0; i < CONNECTIONS; i++) {
        proxy->connections[i].flow[0].held = false;
        proxy->connections[i].flow[1].held = false;
    }
    proxy->held = false;
    proxy->armed = false;
    pthread_mutex_unlock(&proxy->lock);
}

void test_proxy_drop(struct test_proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->dropping = true;
    proxy->held = false;
    proxy->armed = false;
    pthread_mutex_unlock(&proxy->lock);
}

void test_proxy_stop(struct test_proxy *proxy)
{
    pthread_mutex_lock(&proxy->lock);
    proxy->stopping = true;
    pthread_mutex_unlock(&proxy->lock);
    pthread_join(proxy->thread, NULL);
    pthread_mutex_destroy(&proxy->lock);
    close(proxy->listener);
    free(proxy->connections);
    free(proxy);
}
