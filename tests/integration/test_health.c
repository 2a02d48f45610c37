/* The health endpoint over real sockets, and what it says of upstreams. */
#include <arpa/inet.h>
#include <criterion/criterion.h>
#include <dirent.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <cjson/cJSON.h>

#include "process/health.h"

enum { ANSWER_BYTES = 131072, PATIENCE_MS = 5000 };

struct place {
    struct settings settings;
    struct metrics *metrics;
    struct upstreams *upstreams;
    struct health *health;
    atomic_bool alive;
    atomic_bool redis_ready;
    char answer[ANSWER_BYTES];
};

static bool is_alive(void *context)
{
    return ((struct place *)context)->alive;
}

static bool is_redis_ready(void *context)
{
    return ((struct place *)context)->redis_ready;
}

static struct health_config config_of(struct place *place, const char *bind_text)
{
    return (struct health_config){.bind = bind_text,
                                  .metrics = place->metrics,
                                  .upstreams = place->upstreams,
                                  .alive = is_alive,
                                  .redis_ready = is_redis_ready,
                                  .context = place};
}

static struct place *open_place(const char *bind_text)
{
    struct place *place = calloc(1, sizeof *place);
    struct error err = {0};

    cr_assert_not_null(place);
    settings_defaults(&place->settings);
    place->settings.breaker_failures = 2;
    place->settings.breaker_pause_ms = 60000;
    place->metrics = metrics_new();
    cr_assert_not_null(place->metrics);
    place->upstreams = upstreams_new(&place->settings, place->metrics);
    cr_assert_not_null(place->upstreams);
    place->alive = true;
    place->redis_ready = true;
    const struct health_config config = config_of(place, bind_text);
    cr_assert_eq(health_start(&config, &place->health, &err), STATUS_OK, "%s", err.text);
    return place;
}

static void close_place(struct place *place)
{
    health_stop(place->health);
    upstreams_free(place->upstreams);
    metrics_free(place->metrics);
    free(place);
}

static int dial(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    const struct sockaddr_in address = {.sin_family = AF_INET,
                                        .sin_port = htons((uint16_t)port),
                                        .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    cr_assert_geq(fd, 0);
    cr_assert_eq(connect(fd, (const struct sockaddr *)&address, sizeof address), 0);
    return fd;
}

/* Everything until the server closes. */
static void read_all(int fd, char out[ANSWER_BYTES])
{
    size_t bytes = 0;

    for (;;) {
        struct pollfd waiting = {.fd = fd, .events = POLLIN};
        cr_assert_eq(poll(&waiting, 1, PATIENCE_MS), 1, "no answer in time");
        ssize_t got = read(fd, out + bytes, ANSWER_BYTES - 1 - bytes);
        cr_assert_geq(got, 0);
        if (got == 0) {
            out[bytes] = '\0';
            return;
        }
        bytes += (size_t)got;
    }
}

/* Sends a request, gives the HTTP code; the whole answer is in place->answer. */
static int request(struct place *place, const char *method, const char *path)
{
    char text[256];
    int code = 0;
    int fd = dial(health_port(place->health));
    int bytes = snprintf(text, sizeof text,
                         "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", method, path);

    cr_assert_eq(write(fd, text, (size_t)bytes), bytes);
    read_all(fd, place->answer);
    close(fd);
    cr_assert_eq(sscanf(place->answer, "HTTP/1.1 %d", &code), 1, "%s", place->answer);
    return code;
}

static const char *body_of(const struct place *place)
{
    const char *end = strstr(place->answer, "\r\n\r\n");
    cr_assert_not_null(end);
    return end + 4;
}

static const char *text_at(const cJSON *root, const char *object, const char *name)
{
    const cJSON *at = object == NULL ? root : cJSON_GetObjectItem(root, object);
    const char *text = cJSON_GetStringValue(cJSON_GetObjectItem(at, name));
    return text == NULL ? "" : text;
}

static cJSON *ready(struct place *place, int code)
{
    cr_assert_eq(request(place, "GET", "/readyz"), code, "%s", place->answer);
    cr_assert_not_null(strstr(place->answer, "Content-Type: application/json\r\n"));
    cJSON *root = cJSON_Parse(body_of(place));
    cr_assert_not_null(root, "%s", body_of(place));
    return root;
}

static void report(struct upstreams *upstreams, enum operation operation, enum status status,
                   const char *text)
{
    struct error err = {.status = status};

    snprintf(err.text, sizeof err.text, "%s", text == NULL ? "" : text);
    upstreams_report(upstreams, operation, status, text == NULL ? NULL : &err);
}

static void fail_twice(struct place *place, enum operation operation, const char *text)
{
    report(place->upstreams, operation, STATUS_UNREACHABLE, text);
    report(place->upstreams, operation, STATUS_UNREACHABLE, text);
}

/* ---- /healthz ------------------------------------------------------------------------------ */

Test(health, a_process_that_moves_is_healthy)
{
    struct place *place = open_place("127.0.0.1:0");
    cr_assert_eq(request(place, "GET", "/healthz"), 200);
    cr_assert_str_eq(body_of(place), "ok\n");
    place->redis_ready = false;
    cr_assert_eq(request(place, "GET", "/healthz"), 200, "Redis' absence is no reason to restart");
    close_place(place);
}

Test(health, a_process_that_is_stuck_is_not)
{
    struct place *place = open_place("127.0.0.1:0");
    place->alive = false;
    cr_assert_eq(request(place, "GET", "/healthz"), 503);
    cr_assert_str_eq(body_of(place), "stuck\n");
    place->alive = true;
    cr_assert_eq(request(place, "GET", "/healthz"), 200);
    close_place(place);
}

/* ---- /readyz ------------------------------------------------------------------------------- */

Test(health, readiness_tells_of_every_upstream)
{
    struct place *place = open_place("127.0.0.1:0");
    cJSON *root = ready(place, 200);
    cr_assert_str_eq(text_at(root, NULL, "status"), "ok");
    cr_assert_str_eq(text_at(root, "redis", "state"), "up");
    cr_assert_str_eq(text_at(root, "redis", "breaker"), "closed");
    cr_assert_str_eq(text_at(root, "chroma", "breaker"), "closed");
    cr_assert_str_eq(text_at(root, "embedder", "breaker"), "closed");
    cr_assert_null(cJSON_GetObjectItem(cJSON_GetObjectItem(root, "chroma"), "error"));
    cr_assert_null(cJSON_GetObjectItem(cJSON_GetObjectItem(root, "chroma"), "answered_ms_ago"));
    cJSON_Delete(root);
    close_place(place);
}

Test(health, without_redis_it_is_unready)
{
    struct place *place = open_place("127.0.0.1:0");
    place->redis_ready = false;
    report(place->upstreams, OPERATION_REDIS, STATUS_TIMEOUT, "no answer in \"5 s\"");
    cJSON *root = ready(place, 503);
    cr_assert_str_eq(text_at(root, NULL, "status"), "unready");
    cr_assert_str_eq(text_at(root, "redis", "state"), "down");
    cr_assert_str_eq(text_at(root, "redis", "error"), "no answer in \"5 s\"");
    cJSON_Delete(root);
    close_place(place);
}

Test(health, an_open_breaker_degrades_but_does_not_unready)
{
    struct place *place = open_place("127.0.0.1:0");
    fail_twice(place, OPERATION_QUERY, "connection refused");
    cJSON *root = ready(place, 200);
    cr_assert_str_eq(text_at(root, NULL, "status"), "degraded");
    cr_assert_str_eq(text_at(root, "chroma", "breaker"), "open");
    cr_assert_str_eq(text_at(root, "chroma", "error"), "connection refused");
    cr_assert_str_eq(text_at(root, "embedder", "breaker"), "closed");
    cJSON_Delete(root);
    place->redis_ready = false;
    root = ready(place, 503);
    cr_assert_str_eq(text_at(root, NULL, "status"), "unready");
    cJSON_Delete(root);
    close_place(place);
}

Test(health, an_error_goes_with_the_next_answer)
{
    struct place *place = open_place("127.0.0.1:0");
    report(place->upstreams, OPERATION_EMBED, STATUS_TIMEOUT, "slow");
    report(place->upstreams, OPERATION_EMBED, STATUS_OK, NULL);
    cJSON *root = ready(place, 200);
    const cJSON *embedder = cJSON_GetObjectItem(root, "embedder");
    cr_assert_null(cJSON_GetObjectItem(embedder, "error"));
    const cJSON *ago = cJSON_GetObjectItem(embedder, "answered_ms_ago");
    cr_assert(cJSON_IsNumber(ago) && ago->valuedouble >= 0 && ago->valuedouble < PATIENCE_MS);
    cJSON_Delete(root);
    close_place(place);
}

Test(health, whatever_an_upstream_said_readiness_is_json)
{
    static const char *const texts[] = {"quote \" backslash \\ newline \n",
                                        "\x01\x1f",
                                        "latin \xe9 cut \xc3",
                                        "",
                                        NULL,
                                        "M\xc3\xbcller"};
    static const char *const shown[] = {"quote \" backslash \\ newline \n",
                                        "\x01\x1f",
                                        "latin ? cut ?",
                                        "failed",
                                        "failed",
                                        "M\xc3\xbcller"};
    struct place *place = open_place("127.0.0.1:0");
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        report(place->upstreams, OPERATION_QUERY, STATUS_GARBLED, texts[i]);
        cJSON *root = ready(place, 200);
        cr_assert_str_eq(text_at(root, "chroma", "error"), shown[i]);
        cJSON_Delete(root);
    }
    char longest[2 * ERROR_TEXT_BYTES];
    for (size_t i = 0; i + 2 < sizeof longest; i += 2) {
        memcpy(longest + i, "\xc3\xbc", 3);
    }
    report(place->upstreams, OPERATION_QUERY, STATUS_GARBLED, longest);
    cJSON_Delete(ready(place, 200));
    close_place(place);
}

/* ---- upstreams ----------------------------------------------------------------------------- */

/* Our memory and our own checks say nothing about a server; everything that is no answer does, also
 * 4xx, and a collection of another embedder. */
Test(health, whatever_is_no_answer_counts_against_an_operation_and_no_other)
{
    static const enum status failures[] = {STATUS_FAILED,      STATUS_TIMEOUT, STATUS_UNREACHABLE,
                                           STATUS_UNAVAILABLE, STATUS_GARBLED, STATUS_REFUSED,
                                           STATUS_NOT_FOUND,   STATUS_FULL,    STATUS_MISMATCH};
    struct place *place = open_place("127.0.0.1:0");
    report(place->upstreams, OPERATION_QUERY, STATUS_TIMEOUT, "x");
    report(place->upstreams, OPERATION_QUERY, STATUS_OOM, "x");
    report(place->upstreams, OPERATION_QUERY, STATUS_INVALID, "our own check");
    cr_assert_eq(upstreams_state(place->upstreams, OPERATION_QUERY), BREAKER_CLOSED);
    close_place(place);
    for (size_t i = 0; i < sizeof failures / sizeof failures[0]; i++) {
        place = open_place("127.0.0.1:0");
        report(place->upstreams, OPERATION_WRITE, failures[i], "x");
        report(place->upstreams, OPERATION_QUERY, STATUS_OK, NULL);
        report(place->upstreams, OPERATION_GET, STATUS_OK, NULL);
        report(place->upstreams, OPERATION_WRITE, failures[i], "x");
        cr_assert_eq(upstreams_state(place->upstreams, OPERATION_WRITE), BREAKER_OPEN);
        cr_assert_eq(upstreams_worst(place->upstreams, METRICS_CHROMA), BREAKER_OPEN);
        cr_assert_eq(upstreams_allow(place->upstreams, OPERATION_WRITE, 64), 0);
        cr_assert_gt(upstreams_wait_ms(place->upstreams, OPERATION_WRITE), 50000);
        cr_assert_eq(upstreams_allow(place->upstreams, OPERATION_QUERY, 64), 64, "its neighbour");
        cr_assert_eq(upstreams_wait_ms(place->upstreams, OPERATION_EMBED), 0);
        close_place(place);
    }
}

Test(health, a_server_that_asks_for_it_is_left_alone_and_readiness_says_so)
{
    struct place *place = open_place("127.0.0.1:0");
    const struct error busy = {
        .status = STATUS_UNAVAILABLE, .retry_after_ms = 30000, .http_code = 429, .text = "busy"};
    upstreams_report(place->upstreams, OPERATION_EMBED, STATUS_UNAVAILABLE, &busy);
    cr_assert_eq(upstreams_state(place->upstreams, OPERATION_EMBED), BREAKER_CLOSED);
    cr_assert_eq(upstreams_allow(place->upstreams, OPERATION_EMBED, 64), 0);
    cr_assert_gt(upstreams_wait_ms(place->upstreams, OPERATION_EMBED), 25000);
    cJSON *root = ready(place, 200);
    const cJSON *embedder = cJSON_GetObjectItem(root, "embedder");
    cr_assert(cJSON_IsNumber(cJSON_GetObjectItem(embedder, "held_back_ms")));
    cJSON_Delete(root);
    close_place(place);
}

Test(health, a_domain_that_was_written_to_is_remembered_by_its_time)
{
    struct place *place = open_place("127.0.0.1:0");
    cr_assert_not(upstreams_wrote_since(place->upstreams, "legal", 0));
    upstreams_note_written(place->upstreams, "legal", 1000);
    cr_assert(upstreams_wrote_since(place->upstreams, "legal", 999));
    cr_assert_not(upstreams_wrote_since(place->upstreams, "legal", 1000));
    cr_assert_not(upstreams_wrote_since(place->upstreams, "code", 0));
    close_place(place);
}

Test(health, a_probe_reopens_cancels_or_closes)
{
    struct settings settings;
    struct metrics *metrics = metrics_new();
    cr_assert_not_null(metrics);
    settings_defaults(&settings);
    settings.breaker_failures = 1;
    settings.breaker_pause_ms = 0;
    struct upstreams *u = upstreams_new(&settings, metrics);
    cr_assert_not_null(u);
    report(u, OPERATION_EMBED, STATUS_TIMEOUT, "down");
    cr_assert_eq(upstreams_state(u, OPERATION_EMBED), BREAKER_HALF_OPEN, "the pause is over");
    cr_assert_eq(upstreams_allow(u, OPERATION_EMBED, 64), 1);
    cr_assert_eq(upstreams_allow(u, OPERATION_EMBED, 64), 0);
    upstreams_cancel(u, OPERATION_EMBED);
    cr_assert_eq(upstreams_allow(u, OPERATION_EMBED, 64), 1);
    report(u, OPERATION_EMBED, STATUS_TIMEOUT, "still down");
    cr_assert_eq(upstreams_allow(u, OPERATION_EMBED, 64), 1);
    report(u, OPERATION_EMBED, STATUS_OK, NULL);
    cr_assert_eq(upstreams_state(u, OPERATION_EMBED), BREAKER_CLOSED);
    cr_assert_eq(upstreams_allow(u, OPERATION_EMBED, 64), 1, "and grows from one");

    struct strbuf text = {0};
    upstreams_describe(u, METRICS_CHROMA, &text);
    cr_assert_str_eq(text.data, "\"breaker\":\"closed\",\"operations\":{"
                                "\"query\":{\"breaker\":\"closed\"},"
                                "\"get\":{\"breaker\":\"closed\"},"
                                "\"write\":{\"breaker\":\"closed\"},"
                                "\"collection\":{\"breaker\":\"closed\"}}");
    strbuf_free(&text);
    upstreams_free(u);
    metrics_free(metrics);
}

Test(health, redis_closes_with_its_first_answer)
{
    struct place *place = open_place("127.0.0.1:0");
    fail_twice(place, OPERATION_REDIS, "gone");
    cr_assert_eq(upstreams_state(place->upstreams, OPERATION_REDIS), BREAKER_OPEN);
    report(place->upstreams, OPERATION_REDIS, STATUS_OK, NULL);
    cr_assert_eq(upstreams_state(place->upstreams, OPERATION_REDIS), BREAKER_CLOSED,
                 "nobody asks leave for it");
    close_place(place);
}

/* ---- /metrics, the rest -------------------------------------------------------------------- */

Test(health, metrics_follow_the_breakers)
{
    struct place *place = open_place("127.0.0.1:0");
    fail_twice(place, OPERATION_QUERY, "down");
    cr_assert_eq(request(place, "GET", "/metrics"), 200);
    cr_assert_not_null(
        strstr(place->answer, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
    cr_assert_not_null(strstr(
        body_of(place), "\nstillhouse_breaker_state{upstream=\"chroma\",operation=\"query\"} 2\n"));
    cr_assert_not_null(
        strstr(body_of(place),
               "\nstillhouse_breaker_opened_total{upstream=\"chroma\",operation=\"query\"} 1\n"));
    cr_assert_not_null(
        strstr(body_of(place),
               "\nstillhouse_breaker_state{upstream=\"embedder\",operation=\"embed\"} 0\n"));
    cr_assert_eq(strncmp(body_of(place), "# HELP stillhouse_jobs_total ", 29), 0);
    close_place(place);
}

Test(health, the_index_names_the_pages)
{
    struct place *place = open_place("127.0.0.1:0");
    cr_assert_eq(request(place, "GET", "/"), 200);
    cr_assert_not_null(strstr(body_of(place), "/healthz\n/readyz\n/metrics\n"));
    cr_assert_eq(request(place, "GET", "/healthz?verbose=1"), 200, "a query is not looked at");
    close_place(place);
}

Test(health, other_paths_are_not_found)
{
    static const char *const paths[] = {"/health",   "/healthz/", "/METRICS",
                                        "/readyz/x", "//",        "/..%2f..%2fetc%2fpasswd"};
    struct place *place = open_place("127.0.0.1:0");
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        cr_assert_eq(request(place, "GET", paths[i]), 404, "%s", paths[i]);
    }
    close_place(place);
}

Test(health, other_methods_are_not_allowed)
{
    static const char *const methods[] = {"POST", "PUT", "DELETE", "OPTIONS", "PATCH", "NONSENSE"};
    struct place *place = open_place("127.0.0.1:0");
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        cr_assert_eq(request(place, methods[i], "/healthz"), 405, "%s", methods[i]);
        cr_assert_not_null(strstr(place->answer, "\r\nAllow: GET, HEAD\r\n"), "%s", place->answer);
    }
    close_place(place);
}

Test(health, head_is_get_without_its_body)
{
    static const char *const paths[] = {"/healthz", "/readyz", "/metrics", "/"};
    struct place *place = open_place("127.0.0.1:0");
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++) {
        cr_assert_eq(request(place, "HEAD", paths[i]), 200, "%s", paths[i]);
        cr_assert_str_eq(body_of(place), "");
        const char *length = strstr(place->answer, "Content-Length: ");
        cr_assert_not_null(length);
        cr_assert_gt(strtol(length + 16, NULL, 10), 2);
    }
    cr_assert_eq(request(place, "HEAD", "/nothing"), 404);
    close_place(place);
}

Test(health, nonsense_on_the_socket_does_not_stop_it)
{
    static const char *const noise[] = {"\r\n\r\n", "GET\r\n\r\n", "\x16\x03\x01\x02\x00\x01",
                                        "GET /healthz HTTP/1.1\r\n"};
    struct place *place = open_place("127.0.0.1:0");
    for (size_t i = 0; i < sizeof noise / sizeof noise[0]; i++) {
        int fd = dial(health_port(place->health));
        cr_assert_eq(write(fd, noise[i], strlen(noise[i])), (ssize_t)strlen(noise[i]));
        close(fd);
    }
    cr_assert_eq(request(place, "GET", "/healthz"), 200);
    close_place(place);
}

Test(health, many_ask_at_once)
{
    enum { ASKERS = 24 };
    static const char text[] = "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
    struct place *place = open_place("127.0.0.1:0");
    int fds[ASKERS];
    for (int i = 0; i < ASKERS; i++) {
        fds[i] = dial(health_port(place->health));
    }
    for (int i = ASKERS - 1; i >= 0; i--) {
        cr_assert_eq(write(fds[i], text, sizeof text - 1), (ssize_t)sizeof text - 1);
    }
    for (int i = 0; i < ASKERS; i++) {
        read_all(fds[i], place->answer);
        cr_assert_eq(strncmp(place->answer, "HTTP/1.1 200", 12), 0);
        close(fds[i]);
    }
    close_place(place);
}

/* ---- guests -------------------------------------------------------------------------------- */

/* One answer of a connection that stays open, at most. */
static bool gets_an_answer(int fd, const char *text)
{
    char answer[512] = {0};
    struct pollfd waiting = {.fd = fd, .events = POLLIN};

    cr_assert_eq(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    cr_assert_eq(poll(&waiting, 1, PATIENCE_MS), 1, "no answer in time");
    return read(fd, answer, sizeof answer - 1) > 0 && strstr(answer, "200 OK") != NULL;
}

Test(health, a_connection_is_kept_for_the_next_scrape)
{
    static const char get[] = "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n";
    static const char with_body[] =
        "GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello";
    struct place *place = open_place("127.0.0.1:0");
    int fd = dial(health_port(place->health));
    for (int i = 0; i < 3; i++) {
        cr_assert(gets_an_answer(fd, get));
        cr_assert(gets_an_answer(fd, with_body), "a body is passed over");
    }
    close(fd);
    close_place(place);
}

static int64_t now_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int count_descriptors(void)
{
    int count = 0;
    DIR *folder = opendir("/proc/self/fd");
    cr_assert_not_null(folder);
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count;
}

/* A crowd that begins with `first` and then sends `more` in rounds; a probe between them. */
static void crowd(struct place *place, const char *first, const char *more)
{
    enum { CROWD = 1000, ROUNDS = 5, ANSWER_MS = 1000 };
    static int fds[CROWD];

    for (int i = 0; i < CROWD; i++) {
        fds[i] = dial(health_port(place->health));
        (void)send(fds[i], first, strlen(first), MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    for (int round = 0; round < ROUNDS; round++) {
        const int64_t since_ms = now_ms();
        cr_assert_eq(request(place, "GET", "/healthz"), 200);
        cr_assert_lt(now_ms() - since_ms, ANSWER_MS, "first \"%s\", round %d", first, round);
        for (int i = 0; i < CROWD; i++) {
            (void)send(fds[i], more, strlen(more), MSG_NOSIGNAL | MSG_DONTWAIT);
        }
    }
    for (int i = 0; i < CROWD; i++) {
        close(fds[i]);
    }
}

/* That many connections of ours and theirs in one process. */
static void allow_descriptors(void)
{
    struct rlimit limit;
    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    if (limit.rlim_cur < 4096) {
        limit.rlim_cur = 4096;
        cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0, "too few descriptors for this test");
    }
}

Test(health, a_thousand_idle_slow_or_greedy_connections_keep_no_probe_waiting, .timeout = 120)
{
    static const char scrape[] = "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    char scrapes[20 * sizeof scrape] = "";

    allow_descriptors();
    struct place *place = open_place("127.0.0.1:0");
    const int before = count_descriptors();
    for (size_t i = 0; i < 20; i++) {
        strcat(scrapes, scrape);
    }
    crowd(place, "", "");
    crowd(place, "GET / HTTP/1.1\r\nX: ", "a");
    crowd(place, "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "");
    crowd(place, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n", "abc");
    crowd(place, scrapes, scrapes);
    cr_assert(gets_an_answer(dial(health_port(place->health)), scrape), "and it goes on");
    const int64_t until_ms = now_ms() + PATIENCE_MS;
    while (count_descriptors() > before + 2) {
        cr_assert_lt(now_ms(), until_ms, "%d descriptors, %d before", count_descriptors(), before);
        poll(NULL, 0, 10);
    }
    close_place(place);
}

Test(health, with_few_descriptors_there_are_few_guests_and_room_for_the_next)
{
    enum { DESCRIPTORS = 128, CROWD = 60, SLACK = 8 };
    struct rlimit limit;
    int fds[CROWD];

    cr_assert_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
    limit.rlim_cur = DESCRIPTORS;
    cr_assert_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
    struct place *place = open_place("127.0.0.1:0");
    const int before = count_descriptors();
    for (int i = 0; i < CROWD; i++) {
        fds[i] = dial(health_port(place->health));
    }
    cr_assert_eq(request(place, "GET", "/healthz"), 200);
    cr_assert_leq(count_descriptors() - before, CROWD + DESCRIPTORS / 4 + SLACK);
    for (int i = 0; i < CROWD; i++) {
        close(fds[i]);
    }
    close_place(place);
}

/* ---- addresses ----------------------------------------------------------------------------- */

static enum status start_on(struct place *place, const char *bind_text, struct error *err)
{
    const struct health_config config = config_of(place, bind_text);
    struct health *health = NULL;
    enum status status = health_start(&config, &health, err);
    if (status == STATUS_OK) {
        health_stop(health);
    } else {
        cr_assert_null(health);
    }
    return status;
}

Test(health, a_port_in_use_is_named)
{
    struct place *place = open_place("127.0.0.1:0");
    struct error err = {0};
    char text[64];
    snprintf(text, sizeof text, "127.0.0.1:%d", health_port(place->health));
    cr_assert_eq(start_on(place, text, &err), STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, text), "%s", err.text);
    cr_assert_not_null(strstr(err.text, "in use"), "%s", err.text);
    cr_assert_not_null(strstr(err.text, "--http off"), "%s", err.text);
    cr_assert_eq(request(place, "GET", "/healthz"), 200, "the first one goes on");
    close_place(place);
}

Test(health, a_port_is_free_again_after_the_stop)
{
    struct place *place = open_place("127.0.0.1:0");
    struct error err = {0};
    char text[64];
    snprintf(text, sizeof text, "127.0.0.1:%d", health_port(place->health));
    cr_assert_eq(request(place, "GET", "/healthz"), 200);
    health_stop(place->health);
    place->health = NULL;
    cr_assert_eq(start_on(place, text, &err), STATUS_OK, "%s", err.text);
    close_place(place);
}

Test(health, a_bad_address_is_named)
{
    static const char *const bad[] = {"", "off", "127.0.0.1", ":1", "[::1", "127.0.0.1:99999"};
    struct place *place = open_place("127.0.0.1:0");
    struct error err = {0};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        char expected[64];
        snprintf(expected, sizeof expected, "http address \"%s\" is not HOST:PORT", bad[i]);
        cr_assert_eq(start_on(place, bad[i], &err), STATUS_INVALID, "%s", bad[i]);
        cr_assert_not_null(strstr(err.text, expected), "%s", err.text);
    }
    cr_assert_eq(start_on(place, "no-such-host.invalid:1", &err), STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, "no-such-host.invalid:1"), "%s", err.text);
    cr_assert_eq(start_on(place, "192.0.2.1:1", &err), STATUS_FAILED, "not an address of ours");
    cr_assert_not_null(strstr(err.text, "192.0.2.1:1"), "%s", err.text);
    close_place(place);
}

Test(health, a_name_will_do)
{
    struct place *place = open_place("localhost:0");
    cr_assert_gt(health_port(place->health), 0);
    close_place(place);
}

/* Where this machine has IPv6. */
Test(health, ipv6_will_do)
{
    struct place *place = open_place("127.0.0.1:0");
    struct error err = {0};
    enum status status = start_on(place, "[::1]:0", &err);
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 loopback = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool has_ipv6 = fd >= 0 && bind(fd, (struct sockaddr *)&loopback, sizeof loopback) == 0;
    cr_assert_eq(status, has_ipv6 ? STATUS_OK : STATUS_FAILED, "%s", err.text);
    if (fd >= 0) {
        close(fd);
    }
    close_place(place);
}

Test(health, stopping_none_is_fine)
{
    health_stop(NULL);
    upstreams_free(NULL);
}
