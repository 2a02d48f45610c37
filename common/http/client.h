/* http/client.h - one reused libcurl handle: blocking requests with hard bounds.
 *
 *     const struct http_config config = {.upstream = "chroma", .timeout_ms = 30000};
 *     struct http *http = http_new(&config);
 *     struct http_request request = {.method = "GET", .url = "http://127.0.0.1:8000/"};
 *     struct http_response response = {0};
 *     status = http_perform(http, &request, &response, &err);
 *     ...
 *     http_response_free(&response);
 *     http_free(http);
 *
 * Bounds: connect 3 s, a total timeout, an answer that stalls once it has begun (10 s), the
 * response size (in the write callback, so chunked bodies too). http and https only, no redirects,
 * no Expect, no signals. A handle belongs to one thread.
 *
 * libcurl is loaded by the first request of the process (http/curl.h says why), not by http_new: a
 * client that is never used costs nothing. A program that wants to know before its work begins asks
 * http_check_library. For programs: without memory the process ends (base/must.h).
 */
#ifndef STILLHOUSE_HTTP_CLIENT_H
#define STILLHOUSE_HTTP_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/strbuf.h"
#include "http/address.h"

struct http; /* opaque; one thread */

/* Called after each request from the thread that performed it (metrics): `code` 0 = no answer,
 * `new_connections` how many connections were opened for it, `seconds` the whole duration. */
typedef void http_observer(void *context, const char *upstream, const char *operation, int code,
                           long new_connections, double seconds, enum status status);

struct http_config {
    const char *upstream;      /* "chroma", "embedder"; a literal */
    int connect_timeout_ms;    /* 0 = 3000 */
    int timeout_ms;            /* 0 = 30000 */
    int stall_ms;              /* of an answer that has begun; 0 = 10000 */
    size_t max_response_bytes; /* 0 = 64 MiB */
    const char *const
        *headers;            /* "Name: value", NULL-terminated, sent with every request; copied */
    http_observer *observer; /* NULL = none */
    void *observer_context;
};

struct http_request {
    const char *method; /* GET POST PUT DELETE */
    const char *url;
    const char *operation; /* for metrics: "query"; a literal */
    const char *body;      /* NULL = none; sent as application/json */
    size_t body_bytes;
    size_t foreign_from; /* where texts of others begin in the body, which no error may repeat */
    int timeout_ms;      /* 0 = the handle's */
};

struct http_response {
    int code;
    struct strbuf body; /* reused between requests: zero-initialise once, free at the end */
    int retry_after_ms; /* from Retry-After (seconds or HTTP date), capped at 1 h; 0 = not named */
};

/* Is there a libcurl to be had, should a request need one? FAILED says what is missing. It is
 * loaded in a child process, so this one stays as small as it was; before threads. */
enum status http_check_library(struct error *err) MUSTCHECK;

/* Loads libcurl now, for programs that will use it anyway. Any thread, any number of times. */
enum status http_global_init(struct error *err) MUSTCHECK;

struct http *http_new(const struct http_config *config) MUSTCHECK;
void http_free(struct http *http);

/* Called about once a second while a request waits, from its thread: who waits within a bound is
 * not stuck. NULL = nobody. */
typedef void http_waiter(void *context);
void http_on_wait(struct http *http, http_waiter *waiter, void *context);

/* STATUS_OK whenever a whole HTTP answer came, whatever its code. What it repeats of our headers,
 * and where it is neither a success nor JSON of the request's texts, is "***" (http/hide.h). Else
 * UNREACHABLE (refused, DNS, TLS, reset, empty or half reply, no connection in time), TIMEOUT
 * (connected, no whole answer in time), FULL (response over the cap), GARBLED (what answered does
 * not speak HTTP), INVALID (not a URL of http or https), FAILED (no libcurl); the text names the
 * method and the URL without user info and query. The response's code is then 0. */
enum status http_perform(struct http *http, const struct http_request *request,
                         struct http_response *response, struct error *err) MUSTCHECK;

void http_response_free(struct http_response *response);

/* Maps an HTTP code that is not 2xx: 400/413/422 -> INVALID (only these judge what was sent), 404
 * -> NOT_FOUND, 408/425/429/502/503/504 -> UNAVAILABLE, other 5xx -> FAILED, all else -> REFUSED.
 * The code and Retry-After are in `err`, its text holds the code and an excerpt of the body. */
enum status http_code_status(const struct http_response *response, const char *what,
                             struct error *err) MUSTCHECK;

#endif
