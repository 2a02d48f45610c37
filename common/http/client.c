/* http/client.c - see http/client.h.
 *
 * Happy path: one easy handle, set up by the first request; a request sets its URL, method, body
 * and timeout, and curl finds the connection of the last request still open.
 *
 * Failure modes: what curl reports is mapped to a status by fault_status(); the write callback
 * stops a response that grows over the cap; header lines are read for Retry-After only. A
 * connection that the server closed while it was idle is replaced by curl itself, which then sends
 * the request again: so a request may arrive twice, and all of ours are harmless twice.
 *
 * On close: http_free closes the connection.
 */
#include "http/client.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/tls_files.h"
#include "http/curl.h"
#include "http/headers.h"
#include "http/hide.h"

enum {
    CONNECT_TIMEOUT_DEFAULT_MS = 3000,
    TIMEOUT_DEFAULT_MS = 30000,
    STALL_DEFAULT_MS = 10 * 1000,
    KEEPALIVE_IDLE_SECONDS = 30,
    KEEPALIVE_INTERVAL_SECONDS = 10,
    HEADERS_MAX_BYTES = 256 * 1024,
    KEEP_BODY_BYTES = 64 * 1024, /* what a response keeps of its memory between requests */
    RESERVE_MAX_BYTES = 1024 * 1024,
    BODY_EXCERPT_BYTES = 160,
};

static const size_t MAX_RESPONSE_DEFAULT_BYTES = (size_t)64 * 1024 * 1024;

struct http {
    struct http_config config;
    char **header_lines; /* as configured; NULL-terminated */

    /* From the first request on; NULL before. */
    const struct curl *curl;
    CURL *easy;
    struct curl_slist *headers;
    char curl_text[CURL_ERROR_SIZE];

    /* The request under way. */
    struct http_response *response;
    size_t header_bytes;
    bool over_cap;
    size_t seen_bytes;  /* of the answer, when watch() looked last */
    int64_t seen_at_ms; /* when it had become more */
    bool stalled;

    http_waiter *waiter;
    void *waiter_context;
};

enum status http_global_init(struct error *err)
{
    return curl_load(err) != NULL ? STATUS_OK : STATUS_FAILED;
}

enum status http_check_library(struct error *err)
{
    int state = 0;
    const pid_t child = fork();

    if (child == 0) {
        _exit(curl_load(NULL) != NULL ? 0 : 1);
    }
    if (child > 0 && waitpid(child, &state, 0) == child && WIFEXITED(state) &&
        WEXITSTATUS(state) == 0) {
        return STATUS_OK;
    }
    return http_global_init(err); /* it knows why; and if it can after all, so much the better */
}

/* The whole body at once where its length is known: growing takes twice the memory. A length that
 * is not true costs no more than this. */
static void reserve_body(const struct http *http, struct strbuf *body)
{
    curl_off_t bytes = 0;
    CURLcode code =
        http->curl->easy_getinfo(http->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &bytes);

    if (code == CURLE_OK && bytes > 0 && bytes <= RESERVE_MAX_BYTES &&
        strbuf_reserve(body, (size_t)bytes) == NULL) {
        must_die();
    }
}

/* curl's write callback: returning less than it was given ends the transfer. */
static size_t take_body(char *data, size_t size, size_t count, void *context)
{
    struct http *http = context;
    struct strbuf *body = &http->response->body;
    size_t bytes = size * count;

    if (bytes > http->config.max_response_bytes - body->bytes) {
        http->over_cap = true;
        return 0;
    }
    if (body->bytes == 0) {
        reserve_body(http, body);
    }
    strbuf_append(body, data, bytes);
    strbuf_must(body);
    return bytes;
}

static size_t take_header(char *line, size_t size, size_t count, void *context)
{
    struct http *http = context;
    size_t bytes = size * count;
    size_t value_bytes = 0;

    http->header_bytes += bytes; /* older curl keeps every line it is sent */
    if (http->header_bytes > HEADERS_MAX_BYTES) {
        http->over_cap = true;
        return 0;
    }
    if (bytes >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        http->response->retry_after_ms = 0; /* a 1xx answer came before this one */
    }
    const char *value = http_header_value(line, bytes, "Retry-After", &value_bytes);
    if (value != NULL) {
        http->response->retry_after_ms =
            http_retry_after_ms(value, value_bytes, clock_unix_ms() / 1000);
    }
    return bytes;
}

/* curl's progress callback, called now and then, while nothing moves about once a second. Until the
 * first byte of the answer only the request's own bound counts, since a server may load a model
 * first; an answer that has begun must go on. */
static int watch(void *context, curl_off_t to_come, curl_off_t down, curl_off_t to_go,
                 curl_off_t up)
{
    struct http *http = context;
    const size_t bytes = http->header_bytes + http->response->body.bytes;
    const int64_t now_ms = clock_now_ms();
    (void)to_come;
    (void)down;
    (void)to_go;
    (void)up;

    if (http->waiter != NULL) {
        http->waiter(http->waiter_context);
    }
    if (bytes != http->seen_bytes || bytes == 0) {
        http->seen_bytes = bytes;
        http->seen_at_ms = now_ms;
    }
    http->stalled = now_ms - http->seen_at_ms >= http->config.stall_ms;
    return http->stalled ? 1 : 0;
}

void http_on_wait(struct http *http, http_waiter *waiter, void *context)
{
    http->waiter = waiter;
    http->waiter_context = context;
}

static void add_header(struct http *http, const char *line)
{
    http->headers = http->curl->slist_append(http->headers, line);
    if (http->headers == NULL) {
        must_die();
    }
}

static void add_headers(struct http *http)
{
    /* "Expect:" removes it: waiting for "100 Continue" costs a second above 1 MB. */
    add_header(http, "Expect:");
    add_header(http, "Content-Type: application/json");
    add_header(http, "Accept: application/json");
    for (char **line = http->header_lines; *line != NULL; line++) {
        add_header(http, *line);
    }
}

/* Each of these returns 0 where the library took all of it. */
static unsigned set_bounds(const struct http *http)
{
    const struct curl *curl = http->curl;
    CURL *easy = http->easy;
    unsigned failed = 0;

    failed |= curl->easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
    failed |= curl->easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
    failed |= curl->easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
    failed |=
        curl->easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, (long)http->config.connect_timeout_ms);
    failed |= curl->easy_setopt(easy, CURLOPT_TCP_KEEPALIVE, 1L);
    failed |= curl->easy_setopt(easy, CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_IDLE_SECONDS);
    failed |= curl->easy_setopt(easy, CURLOPT_TCP_KEEPINTVL, (long)KEEPALIVE_INTERVAL_SECONDS);
    return failed;
}

/* libcurl by itself looks at none of this, and at no variable. */
static unsigned set_trust(const struct http *http)
{
    const struct curl *curl = http->curl;
    CURL *easy = http->easy;
    const struct tls_files files = tls_files_now();
    const bool own = files.authorities[0] != '\0';
    const char *authorities = own ? files.authorities : getenv("SSL_CERT_FILE");
    const char *folder = own ? NULL : getenv("SSL_CERT_DIR");
    const char *key = files.key[0] != '\0' ? files.key : files.certificate;
    unsigned failed = 0;

    if (authorities != NULL && authorities[0] != '\0') {
        failed |= curl->easy_setopt(easy, CURLOPT_CAINFO, authorities);
        failed |= curl->easy_setopt(easy, CURLOPT_PROXY_CAINFO, authorities);
    }
    if (own || (folder != NULL && folder[0] != '\0')) {
        failed |= curl->easy_setopt(easy, CURLOPT_CAPATH, folder);
        failed |= curl->easy_setopt(easy, CURLOPT_PROXY_CAPATH, folder);
    }
    if (files.certificate[0] != '\0') {
        failed |= curl->easy_setopt(easy, CURLOPT_SSLCERT, files.certificate);
        failed |= curl->easy_setopt(easy, CURLOPT_SSLKEY, key);
    }
    return failed;
}

static unsigned set_callbacks(struct http *http)
{
    const struct curl *curl = http->curl;
    CURL *easy = http->easy;
    unsigned failed = 0;

    failed |= curl->easy_setopt(easy, CURLOPT_ERRORBUFFER, http->curl_text);
    failed |= curl->easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
    failed |= curl->easy_setopt(easy, CURLOPT_WRITEDATA, http);
    failed |= curl->easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
    failed |= curl->easy_setopt(easy, CURLOPT_HEADERDATA, http);
    failed |= curl->easy_setopt(easy, CURLOPT_XFERINFOFUNCTION, watch);
    failed |= curl->easy_setopt(easy, CURLOPT_XFERINFODATA, http);
    failed |= curl->easy_setopt(easy, CURLOPT_NOPROGRESS, 0L);
    failed |= curl->easy_setopt(easy, CURLOPT_HTTPHEADER, http->headers);
    return failed;
}

static void close_easy(struct http *http)
{
    if (http->curl != NULL) {
        http->curl->easy_cleanup(http->easy);
        http->curl->slist_free_all(http->headers);
        http->easy = NULL;
        http->headers = NULL;
    }
}

/* Of the first request: only now it is known that there is one. */
static enum status open_easy(struct http *http, struct error *err)
{
    if (http->easy != NULL) {
        return STATUS_OK;
    }
    http->curl = curl_load(err);
    if (http->curl == NULL) {
        return STATUS_FAILED;
    }
    http->easy = http->curl->easy_init();
    if (http->easy == NULL) {
        must_die();
    }
    add_headers(http);
    if ((set_bounds(http) | set_trust(http) | set_callbacks(http)) == 0) {
        return STATUS_OK;
    }
    close_easy(http);
    return error_set(err, STATUS_FAILED, "cannot set up the http client: libcurl lacks an option");
}

static char **copy_lines(const char *const *lines)
{
    size_t count = 0;

    while (lines != NULL && lines[count] != NULL) {
        count++;
    }
    char **copies = must_alloc(count + 1, sizeof *copies);
    for (size_t i = 0; i < count; i++) {
        copies[i] = must_copy(lines[i], strlen(lines[i]));
    }
    return copies;
}

struct http *http_new(const struct http_config *config)
{
    struct http *http = must_alloc(1, sizeof *http);

    http->config = *config;
    http->config.headers = NULL; /* the caller's; ours are the copies */
    if (http->config.connect_timeout_ms <= 0) {
        http->config.connect_timeout_ms = CONNECT_TIMEOUT_DEFAULT_MS;
    }
    if (http->config.stall_ms <= 0) {
        http->config.stall_ms = STALL_DEFAULT_MS;
    }
    if (http->config.timeout_ms <= 0) {
        http->config.timeout_ms = TIMEOUT_DEFAULT_MS;
    }
    if (http->config.max_response_bytes == 0) {
        http->config.max_response_bytes = MAX_RESPONSE_DEFAULT_BYTES;
    }
    http->header_lines = copy_lines(config->headers);
    return http;
}

void http_free(struct http *http)
{
    if (http == NULL) {
        return;
    }
    close_easy(http);
    for (char **line = http->header_lines; *line != NULL; line++) {
        free(*line);
    }
    free(http->header_lines);
    free(http);
}

void http_response_free(struct http_response *response)
{
    strbuf_free(&response->body);
}

static unsigned set_method(const struct http *http, const struct http_request *request)
{
    const struct curl *curl = http->curl;
    CURL *easy = http->easy;
    bool has_body = request->body != NULL || strcmp(request->method, "POST") == 0 ||
                    strcmp(request->method, "PUT") == 0;
    unsigned failed = 0;

    if (has_body) {
        const char *body = request->body == NULL ? "" : request->body;
        failed |= curl->easy_setopt(easy, CURLOPT_POST, 1L);
        failed |= curl->easy_setopt(easy, CURLOPT_POSTFIELDS, body);
        failed |=
            curl->easy_setopt(easy, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)request->body_bytes);
    } else {
        failed |= curl->easy_setopt(easy, CURLOPT_HTTPGET, 1L);
    }
    return failed | curl->easy_setopt(easy, CURLOPT_CUSTOMREQUEST, request->method);
}

static unsigned set_request(struct http *http, const struct http_request *request)
{
    const struct curl *curl = http->curl;
    int timeout_ms = request->timeout_ms > 0 ? request->timeout_ms : http->config.timeout_ms;
    /* A proxy from the environment is for the world outside, never for this machine. */
    const char *no_proxy = http_is_loopback(request->url) ? "*" : NULL;
    unsigned failed = set_method(http, request);

    failed |= curl->easy_setopt(http->easy, CURLOPT_URL, request->url);
    failed |= curl->easy_setopt(http->easy, CURLOPT_NOPROXY, no_proxy);
    failed |= curl->easy_setopt(http->easy, CURLOPT_TIMEOUT_MS, (long)timeout_ms);
    return failed;
}

/* True when the request had gone out, or could have: the connection stood. */
static bool was_connected(const struct http *http)
{
    curl_off_t pretransfer_us = 0;
    return http->curl->easy_getinfo(http->easy, CURLINFO_PRETRANSFER_TIME_T, &pretransfer_us) ==
               CURLE_OK &&
           pretransfer_us > 0;
}

static enum status fault_status(const struct http *http, CURLcode code)
{
    switch (code) {
    case CURLE_OK:
        return STATUS_OK;
    case CURLE_OPERATION_TIMEDOUT:
        return was_connected(http) ? STATUS_TIMEOUT : STATUS_UNREACHABLE;
    case CURLE_ABORTED_BY_CALLBACK:
        return STATUS_TIMEOUT;
    case CURLE_WRITE_ERROR:
        return STATUS_FULL;
    case CURLE_OUT_OF_MEMORY:
        must_die();
    case CURLE_URL_MALFORMAT:
        return STATUS_INVALID;
    case CURLE_UNSUPPORTED_PROTOCOL: /* of the URL; or the answer was not HTTP at all */
        return was_connected(http) ? STATUS_GARBLED : STATUS_INVALID;
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_BAD_CONTENT_ENCODING:
        return STATUS_GARBLED;
    default:
        return STATUS_UNREACHABLE;
    }
}

static enum status fault(const struct http *http, const struct http_request *request, CURLcode code,
                         struct error *err)
{
    enum status status = fault_status(http, code);
    if (status == STATUS_OK) {
        return STATUS_OK;
    }

    char url[HTTP_URL_TEXT_BYTES];
    http_public_url(request->url, url);
    if (status == STATUS_FULL) {
        return error_set(err, status, "%s \"%s\": the answer is over %zu bytes", request->method,
                         url, http->config.max_response_bytes);
    }
    if (http->stalled) {
        return error_set(err, status, "%s \"%s\": the answer stalled for %d ms", request->method,
                         url, http->config.stall_ms);
    }
    const char *text =
        http->curl_text[0] != '\0' ? http->curl_text : http->curl->easy_strerror(code);
    return error_set(err, status, "%s \"%s\": %s", request->method, url, text);
}

static void observe(const struct http *http, const struct http_request *request, int64_t started_ns,
                    enum status status)
{
    if (http->config.observer == NULL) {
        return;
    }
    long connects = 0;
    if (http->curl->easy_getinfo(http->easy, CURLINFO_NUM_CONNECTS, &connects) != CURLE_OK) {
        connects = 0;
    }
    double seconds = (double)(clock_now_ns() - started_ns) / 1e9;
    const char *operation = request->operation == NULL ? "" : request->operation;
    http->config.observer(http->config.observer_context, http->config.upstream, operation,
                          http->response->code, connects, seconds, status);
}

/* Whoever reads the answer may quote it. */
static void hide_echo(const struct http *http, const struct http_request *request,
                      struct http_response *response)
{
    struct strbuf *body = &response->body;
    const struct http_sent sent = {http->header_lines, request->body, request->body_bytes,
                                   request->foreign_from};

    if (body->bytes > 0 && response->code >= 200 && response->code < 300 &&
        (body->data[0] == '{' || body->data[0] == '[')) {
        http_hide_headers(body, http->header_lines);
    } else {
        http_hide_sent(body, &sent);
    }
}

enum status http_perform(struct http *http, const struct http_request *request,
                         struct http_response *response, struct error *err)
{
    strbuf_trim(&response->body, KEEP_BODY_BYTES);
    response->code = 0;
    response->retry_after_ms = 0;
    http->response = response;
    http->header_bytes = 0;
    http->over_cap = false;
    http->seen_bytes = 0;
    http->stalled = false;
    http->curl_text[0] = '\0';
    TRY(open_easy(http, err));
    if (set_request(http, request) != 0) {
        return error_set(err, STATUS_FAILED, "cannot set up a request: libcurl lacks an option");
    }

    int64_t started_ns = clock_now_ns();
    CURLcode code = http->curl->easy_perform(http->easy);
    const enum status status = fault(http, request, code, err);
    long http_code = 0;
    if (status == STATUS_OK &&
        http->curl->easy_getinfo(http->easy, CURLINFO_RESPONSE_CODE, &http_code) == CURLE_OK) {
        response->code = (int)http_code;
        hide_echo(http, request, response);
    }
    observe(http, request, started_ns, status);
    return status;
}

/* The body's beginning, fit for an error text: one line, nothing but printable ASCII. */
static const char *body_excerpt(const struct strbuf *body, char out[BODY_EXCERPT_BYTES])
{
    size_t used = 0;
    size_t i = 0;

    for (; i < body->bytes && i < HTTP_QUOTED_MAX_BYTES && used < BODY_EXCERPT_BYTES - 4; i++) {
        unsigned char c = (unsigned char)body->data[i];
        if (isspace(c)) {
            if (used > 0 && out[used - 1] != ' ') {
                out[used++] = ' ';
            }
        } else {
            out[used++] = c < 0x7f && isprint(c) ? (char)c : '?';
        }
    }
    if (i < body->bytes) {
        memcpy(out + used, "...", 3);
        used += 3;
    }
    out[used] = '\0';
    return out;
}

static enum status code_status(int code)
{
    switch (code) {
    case 400:
    case 413:
    case 422:
        return STATUS_INVALID;
    case 404:
        return STATUS_NOT_FOUND;
    case 408:
    case 425:
    case 429:
    case 502:
    case 503:
    case 504:
        return STATUS_UNAVAILABLE;
    default:
        return code >= 500 && code < 600 ? STATUS_FAILED : STATUS_REFUSED;
    }
}

enum status http_code_status(const struct http_response *response, const char *what,
                             struct error *err)
{
    char excerpt[BODY_EXCERPT_BYTES];
    enum status status = code_status(response->code);

    if (response->body.bytes == 0) {
        error_set(err, status, "%s: http %d", what, response->code);
    } else {
        error_set(err, status, "%s: http %d: %s", what, response->code,
                  body_excerpt(&response->body, excerpt));
    }
    if (err != NULL) {
        err->retry_after_ms = response->retry_after_ms;
        err->http_code = response->code;
    }
    return status;
}
