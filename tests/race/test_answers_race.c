/* Many ask an endpoint for questions and pages while it ends: each is answered, or its connection
 * is closed, and nobody is left. */
#include <arpa/inet.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "folder.h"
#include "learn/store.h"
#include "process/health.h"

enum { ASKERS = 8, ROUNDS = 6, ROUND_MS = 150 };

static const char *const pages[] = {"/learn/stats", "/learn/tiers?domain=a", "/learn/tiers",
                                    "/healthz",     "/learn/none",           "/metrics"};
static atomic_int port; /* 0 = nobody listens */
static atomic_bool ends;
static atomic_int answered;

static void expect(bool condition, const char *what)
{
    if (!condition) {
        fprintf(stderr, "test_answers_race: %s\n", what);
        exit(1);
    }
}

static bool yes(void *context)
{
    (void)context;
    return true;
}

static void ask(const char *page)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    const struct timeval patience = {10, 0};
    char answer[65536] = "";
    size_t used = 0;
    ssize_t got = 1;
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (const struct sockaddr *)&at, sizeof at) == 0) {
        char request[256];
        const int bytes = snprintf(request, sizeof request,
                                   "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", page);
        (void)!send(fd, request, (size_t)bytes, MSG_NOSIGNAL);
        while (used + 1 < sizeof answer &&
               (got = recv(fd, answer + used, sizeof answer - 1 - used, 0)) > 0) {
            used += (size_t)got;
        }
        expect(used == 0 || strncmp(answer, "HTTP/1.1 ", 9) == 0, "an answer that is none");
        answered += used > 0;
    }
    close(fd);
}

static void *ask_often(void *argument)
{
    size_t next = (size_t)argument;

    while (!ends) {
        if (port == 0) {
            clock_sleep_ms(1);
        } else {
            ask(pages[next++ % (sizeof pages / sizeof pages[0])]);
        }
    }
    return NULL;
}

int main(void)
{
    static struct settings settings;
    struct metrics *metrics = metrics_new();
    pthread_t askers[ASKERS];
    char folder[200];
    struct error err = {0};
    struct store *store = NULL;

    test_folder_make(folder, sizeof folder);
    settings_defaults(&settings);
    snprintf(settings.learn, sizeof settings.learn, "%s/learn.db", folder);
    expect(store_open(settings.learn, STORE_WRITE, &store, &err) == STATUS_OK, err.text);
    struct upstreams *upstreams = upstreams_new(&settings, metrics);
    const struct health_config config = {.bind = "127.0.0.1:0",
                                         .metrics = metrics,
                                         .upstreams = upstreams,
                                         .alive = yes,
                                         .redis_ready = yes,
                                         .learn = &settings};
    for (size_t i = 0; i < ASKERS; i++) {
        expect(pthread_create(&askers[i], NULL, ask_often, (void *)i) == 0, "no thread");
    }
    for (int round = 0; round < ROUNDS; round++) {
        struct health *health = NULL;
        expect(health_start(&config, &health, &err) == STATUS_OK, err.text);
        port = health_port(health);
        clock_sleep_ms(ROUND_MS);
        health_stop(health); /* while they ask */
        port = 0;
    }
    ends = true;
    for (size_t i = 0; i < ASKERS; i++) {
        pthread_join(askers[i], NULL);
    }
    expect(answered > ROUNDS * ASKERS, "hardly anybody was answered");
    store_close(store);
    upstreams_free(upstreams);
    metrics_free(metrics);
    test_folder_remove(folder);
    printf("%d answers\n", (int)answered);
    return 0;
}
