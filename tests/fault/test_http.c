#include <criterion/criterion.h>
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "fake_server.h"
#include "http/client.h"

/* What the observer was told last. */
struct observed {
    int calls;
    int code;
    long connections; /* of all calls */
    double seconds;
    enum status status;
    char upstream[16];
    char operation[16];
};

static void observe(void *context, const char *upstream, const char *operation, int code,
                    long new_connections, double seconds, enum status status)
{
    struct observed *observed = context;
    observed->calls++;
    observed->code = code;
    observed->connections += new_connections;
    observed->seconds = seconds;
    observed->status = status;
    snprintf(observed->upstream, sizeof observed->upstream, "%s", upstream);
    snprintf(observed->operation, sizeof observed->operation, "%s", operation);
}

static struct fake_server *server;
static struct observed observed;
static struct http *http;
static struct http_response response;
static struct error err;

static void start(const struct fake_step *script)
{
    static const char *const headers[] = {"x-test: one", "Authorization: Bearer hush-hush-key",
                                          NULL};
    server = fake_server_start(script);
    http = http_new(&(struct http_config){.upstream = "test",
                                          .timeout_ms = 3000,
                                          .max_response_bytes = 100000,
                                          .headers = headers,
                                          .observer = observe,
                                          .observer_context = &observed});
    cr_assert_not_null(http);
}

static enum status perform(const char *method, const char *body, int timeout_ms)
{
    char url[128];
    snprintf(url, sizeof url, "%s/path?key=secret", fake_server_url(server, "http"));
    err = (struct error){0};
    return http_perform(http,
                        &(struct http_request){.method = method,
                                               .url = url,
                                               .operation = "try",
                                               .body = body,
                                               .body_bytes = body == NULL ? 0 : strlen(body),
                                               .timeout_ms = timeout_ms},
                        &response, &err);
}

static void assert_error_is_clear(enum status status)
{
    cr_assert_eq(err.status, status, "%s: %s", status_text(err.status), err.text);
    cr_assert_not_null(strstr(err.text, "http://127.0.0.1:"), "%s", err.text);
    cr_assert_null(strstr(err.text, "secret"), "%s", err.text);
    cr_assert_eq(response.code, 0);
    cr_assert_eq(observed.code, 0);
    cr_assert_eq(observed.status, status);
}

static void stop(void)
{
    http_free(http);
    http_response_free(&response);
    const char *fault = fake_server_stop(server);
    cr_assert_null(fault, "%s", fault);
}

/* Plays `script` to one GET that must end with `status`. */
static void assert_fault(const struct fake_step *script, enum status status)
{
    start(script);
    cr_assert_eq(perform("GET", NULL, 0), status, "%s: %s", status_text(err.status), err.text);
    assert_error_is_clear(status);
    stop();
}

/* The error text that an answer makes. */
static void assert_says(const struct fake_step *script, const char *body, const char *expected)
{
    start(script);
    cr_assert_eq(perform("POST", body, 0), STATUS_OK, "%s", err.text);
    cr_assert_neq(http_code_status(&response, "test", &err), STATUS_OK);
    cr_assert_str_eq(err.text, expected);
    stop();
}

Test(http, what_the_server_repeats_of_the_request_is_in_no_error_text)
{
    static const struct fake_step key[] = {
        EXPECT("\r\n\r\n"),
        ANSWER("500 Oops", "no such key: Bearer hush-hush-key"),
        END,
    };
    static const struct fake_step text[] = {
        EXPECT("euros\"]}"),
        ANSWER("422 No", "{\"detail\":\"refused: the tenant owes 5,000 euros\"}"),
        END,
    };
    static const struct fake_step page[] = {
        EXPECT("euros\"]}"),
        ANSWER("200 OK", "you sent: the tenant owes 5,000 euros, hush-hush-key"),
        END,
    };
    static const char body[] = "{\"input\":[\"the tenant owes 5,000 euros\"]}";

    assert_says(key, body, "test: http 500: no such key: Bearer ***");
    assert_says(text, body, "test: http 422: {\"detail\":\"refused: ***\"}");
    start(page);
    cr_assert_eq(perform("POST", body, 0), STATUS_OK, "%s", err.text);
    cr_assert_str_eq(response.body.data, "you sent: ***, ***");
    stop();
}

Test(http, a_request_and_its_answer)
{
    static const struct fake_step script[] = {
        EXPECT("POST /path?key=secret HTTP/1.1\r\n"),
        EXPECT("\r\n\r\nhello"),
        ANSWER("201 Created", "{\"a\":1}"),
        END,
    };
    start(script);
    cr_assert_eq(perform("POST", "hello", 0), STATUS_OK, "%s", err.text);
    cr_assert_eq(response.code, 201);
    cr_assert_str_eq(response.body.data, "{\"a\":1}");
    cr_assert(fake_server_saw(server, "Content-Type: application/json\r\n"));
    cr_assert(fake_server_saw(server, "x-test: one\r\n"));
    cr_assert(fake_server_saw(server, "Content-Length: 5\r\n"));
    cr_assert_eq(observed.calls, 1);
    cr_assert_eq(observed.code, 201);
    cr_assert_eq(observed.connections, 1);
    cr_assert_str_eq(observed.upstream, "test");
    cr_assert_str_eq(observed.operation, "try");
    cr_assert(observed.seconds > 0 && observed.seconds < 3);
    stop();
}

Test(http, the_connection_and_the_response_are_reused)
{
    static const struct fake_step script[] = {
        EXPECT("GET /path"),        ANSWER("200 OK", "first and longer"),
        EXPECT("DELETE /path"),     ANSWER("200 OK", "second"),
        EXPECT("PUT /path"),        EXPECT("Content-Length: 0\r\n"),
        ANSWER("204 No", ""),       EXPECT("GET /path"),
        ANSWER("200 OK", "fourth"), END,
    };
    start(script);
    cr_assert_eq(perform("GET", NULL, 0), STATUS_OK, "%s", err.text);
    cr_assert_eq(perform("DELETE", NULL, 0), STATUS_OK, "%s", err.text);
    cr_assert_str_eq(response.body.data, "second");
    cr_assert_eq(perform("PUT", NULL, 0), STATUS_OK, "%s", err.text);
    cr_assert_eq(response.body.bytes, 0);
    cr_assert_eq(perform("GET", NULL, 0), STATUS_OK, "%s", err.text);
    cr_assert_eq(observed.calls, 4);
    cr_assert_eq(observed.connections, 1);
    cr_assert_eq(fake_server_connections(server), 1);
    stop();
}

Test(http, a_large_body_goes_out_without_waiting_for_permission)
{
    static const struct fake_step script[] = {
        EXPECT("POST /path"),
        EXPECT("yyy-the-end"),
        ANSWER("200 OK", "{}"),
        END,
    };
    static char body[2000000];
    memset(body, 'y', sizeof body - 1);
    memcpy(body + sizeof body - 9, "-the-end", 9);

    start(script);
    cr_assert_eq(perform("POST", body, 0), STATUS_OK, "%s", err.text);
    cr_assert_not(fake_server_saw(server, "Expect:"));
    cr_assert_lt(observed.seconds, 0.9, "it took %.2f s", observed.seconds);
    stop();
}

Test(http, a_connection_that_died_while_idle_is_replaced)
{
    static const struct fake_step script[] = {
        EXPECT("GET /path"), ANSWER("200 OK", "one"), CLOSE,
        EXPECT("GET /path"), ANSWER("200 OK", "two"), END,
    };
    start(script);
    cr_assert_eq(perform("GET", NULL, 0), STATUS_OK, "%s", err.text);
    cr_assert_eq(perform("GET", NULL, 0), STATUS_OK, "%s", err.text);
    cr_assert_str_eq(response.body.data, "two");
    cr_assert_eq(observed.connections, 2);
    stop();
}

Test(http, an_answer_that_is_an_error_is_still_an_answer)
{
    static const struct fake_step script[] = {
        EXPECT("GET "),
        ANSWER("429 Slow\r\nRetry-After: 7", "later"),
        EXPECT("GET "),
        ANSWER("500 Oops", ""),
        END,
    };
    start(script);
    cr_assert_eq(perform("GET", NULL, 0), STATUS_OK, "%s", err.text);
    cr_assert_eq(response.code, 429);
    cr_assert_eq(response.retry_after_ms, 7000);
    cr_assert_eq(perform("GET", NULL, 0), STATUS_OK, "%s", err.text);
    cr_assert_eq(response.code, 500);
    cr_assert_eq(response.retry_after_ms, 0);
    cr_assert_eq(observed.status, STATUS_OK);
    stop();
}

Test(http, a_wait_named_by_an_interim_answer_does_not_count)
{
    static const struct fake_step script[] = {
        EXPECT("GET "),
        SEND("HTTP/1.1 103 Early Hints\r\nRetry-After: 9\r\n\r\n"),
        ANSWER("200 OK", "{}"),
        END,
    };
    start(script);
    cr_assert_eq(perform("GET", NULL, 0), STATUS_OK, "%s", err.text);
    cr_assert_eq(response.code, 200);
    cr_assert_eq(response.retry_after_ms, 0);
    stop();
}

Test(http, redirects_are_not_followed)
{
    static const struct fake_step script[] = {
        EXPECT("GET "),
        ANSWER("302 Found\r\nLocation: http://127.0.0.1:1/elsewhere", ""),
        END,
    };
    start(script);
    cr_assert_eq(perform("GET", NULL, 0), STATUS_OK, "%s", err.text);
    cr_assert_eq(response.code, 302);
    stop();
}

Test(http, a_refused_connection)
{
    static const struct fake_step script[] = {END};
    start(script);
    char url[64];
    snprintf(url, sizeof url, "%s", fake_server_url(server, "http"));
    cr_assert_null(fake_server_stop(server));

    cr_assert_eq(
        http_perform(http, &(struct http_request){.method = "GET", .url = url}, &response, &err),
        STATUS_UNREACHABLE);
    assert_error_is_clear(STATUS_UNREACHABLE);
    cr_assert_str_eq(observed.operation, "");
    http_free(http);
    http_response_free(&response);
}

Test(http, a_host_that_does_not_exist)
{
    static const struct fake_step script[] = {END};
    start(script);
    cr_assert_eq(
        http_perform(http,
                     &(struct http_request){.method = "GET", .url = "http://no-such-host.invalid/"},
                     &response, &err),
        STATUS_UNREACHABLE);
    cr_assert_not_null(strstr(err.text, "no-such-host.invalid"), "%s", err.text);
    stop();
}

Test(http, other_protocols_are_invalid)
{
    static const struct fake_step script[] = {END};
    static const char *const urls[] = {"file:///etc/passwd", "ftp://127.0.0.1/x",
                                       "gopher://127.0.0.1/x", "http://"};
    start(script);
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        cr_assert_eq(http_perform(http, &(struct http_request){.method = "GET", .url = urls[i]},
                                  &response, &err),
                     STATUS_INVALID, "%s: %s", urls[i], err.text);
    }
    cr_assert_eq(response.body.bytes, 0);
    stop();
}

Test(http, a_reset)
{
    static const struct fake_step script[] = {EXPECT("GET "), RST, END};
    assert_fault(script, STATUS_UNREACHABLE);
}

Test(http, an_empty_reply)
{
    static const struct fake_step script[] = {EXPECT("\r\n\r\n"), CLOSE, END};
    assert_fault(script, STATUS_UNREACHABLE);
}

Test(http, half_a_head)
{
    static const struct fake_step script[] = {EXPECT("\r\n\r\n"), SEND("HTTP/1.1 200 O"), RST, END};
    assert_fault(script, STATUS_UNREACHABLE);
}

Test(http, half_a_body)
{
    static const struct fake_step script[] = {
        EXPECT("\r\n\r\n"), SEND("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"a\":"), CLOSE,
        END};
    assert_fault(script, STATUS_UNREACHABLE);
}

Test(http, half_a_chunked_body)
{
    static const struct fake_step script[] = {
        EXPECT("\r\n\r\n"),
        SEND("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
        CLOSE,
        END,
    };
    assert_fault(script, STATUS_UNREACHABLE);
}

Test(http, what_answers_is_not_http)
{
    static const struct fake_step script[] = {
        EXPECT("GET "), SEND("-ERR unknown command 'GET', with args beginning with: \r\n"), CLOSE,
        END};
    assert_fault(script, STATUS_GARBLED);
}

Test(http, garbage)
{
    static const char garbage[] = "\0\xff\x01\xfe\0\0\x80HTTP\r\n\r\n\0\0\0";
    static const struct fake_step script[] = {EXPECT("GET "), SEND_BYTES(garbage, sizeof garbage),
                                              CLOSE, END};
    assert_fault(script, STATUS_GARBLED);
}

Test(http, a_server_that_never_answers)
{
    static const struct fake_step script[] = {EXPECT("GET "), HANG, END};
    start(script);
    int64_t started_ms = clock_now_ms();
    cr_assert_eq(perform("GET", NULL, 200), STATUS_TIMEOUT, "%s", err.text);
    int64_t took_ms = clock_now_ms() - started_ms;
    cr_assert(took_ms >= 190 && took_ms < 2000, "it took %lld ms", (long long)took_ms);
    assert_error_is_clear(STATUS_TIMEOUT);
    stop();
}

Test(http, a_slow_drip_ends_at_the_total_timeout)
{
    static const struct fake_step script[] = {
        EXPECT("GET "),
        SEND("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"),
        SEND_SLOWLY("drip drip drip drip drip drip drip drip drip drip drip drip", 20),
        END,
    };
    start(script);
    cr_assert_eq(perform("GET", NULL, 200), STATUS_TIMEOUT, "%s", err.text);
    assert_error_is_clear(STATUS_TIMEOUT);
    stop();
}

Test(http, after_a_timeout_the_late_answer_is_not_taken_for_the_next)
{
    static const struct fake_step script[] = {
        EXPECT("GET "), EXPECT_CLOSE, EXPECT("GET "), ANSWER("200 OK", "fresh"), END,
    };
    start(script);
    cr_assert_eq(perform("GET", NULL, 100), STATUS_TIMEOUT, "%s", err.text);
    cr_assert_eq(perform("GET", NULL, 0), STATUS_OK, "%s", err.text);
    cr_assert_str_eq(response.body.data, "fresh");
    stop();
}

#define KILOBYTE_LINE                                                                              \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"                             \
    "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

Test(http, a_body_over_the_cap)
{
    static const struct fake_step script[] = {
        EXPECT("GET "), SEND("HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n"),
        FLOOD(KILOBYTE_LINE, 800000), END};
    assert_fault(script, STATUS_FULL);
}

Test(http, a_chunked_body_over_the_cap)
{
    static const struct fake_step script[] = {
        EXPECT("GET "), SEND("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        FLOOD("80\r\n" KILOBYTE_LINE "\r\n", 800000), END};
    assert_fault(script, STATUS_FULL);
}

Test(http, headers_without_end)
{
    static const struct fake_step script[] = {EXPECT("GET "), SEND("HTTP/1.1 200 OK\r\n"),
                                              FLOOD("X-More: " KILOBYTE_LINE "\r\n", 800000), END};
    assert_fault(script, STATUS_FULL);
}

Test(http, a_body_of_exactly_the_cap_is_taken)
{
    static char body[100001];
    static const struct fake_step script[] = {EXPECT("GET "), ANSWER("200 OK", body), END};
    memset(body, 'z', 100000);
    start(script);
    cr_assert_eq(perform("GET", NULL, 0), STATUS_OK, "%s", err.text);
    cr_assert_eq(response.body.bytes, 100000);
    stop();
}

Test(http, a_handle_works_again_after_each_fault)
{
    static const struct fake_step script[] = {
        EXPECT("GET "),           RST,   EXPECT("GET "),
        SEND("garbage\r\n\r\n"),  CLOSE, EXPECT("GET "),
        ANSWER("200 OK", "well"), END,
    };
    start(script);
    cr_assert_neq(perform("GET", NULL, 0), STATUS_OK);
    cr_assert_eq(perform("GET", NULL, 0), STATUS_GARBLED, "%s", err.text);
    cr_assert_eq(perform("GET", NULL, 0), STATUS_OK, "%s", err.text);
    cr_assert_str_eq(response.body.data, "well");
    stop();
}

#ifndef STILLHOUSE_LINK_CURL
static bool is_libcurl_loaded(void)
{
    return dlopen("libcurl.so.4", RTLD_NOW | RTLD_NOLOAD) != NULL ||
           dlopen("libcurl-gnutls.so.4", RTLD_NOW | RTLD_NOLOAD) != NULL;
}

Test(http, a_client_that_makes_no_request_loads_no_libcurl)
{
    static const struct fake_step script[] = {EXPECT("GET "), ANSWER("200 OK", "well"), END};

    start(script);
    cr_assert_eq(http_check_url("https://host:8000/", &err), STATUS_OK);
    cr_assert_eq(http_check_library(&err), STATUS_OK, "%s", err.text);
    cr_assert_not(is_libcurl_loaded());
    cr_assert_eq(perform("GET", NULL, 0), STATUS_OK, "%s", err.text);
    cr_assert(is_libcurl_loaded());
    stop();
}
#endif

Test(http, the_library_starts_once_for_the_process)
{
    cr_assert_eq(http_global_init(&err), STATUS_OK);
    cr_assert_eq(http_global_init(&err), STATUS_OK);
    http_free(NULL);
}

/* ---- who thinks before his first byte, and who falls silent after it ---- */

static void count(void *context)
{
    ++*(int *)context;
}

static void start_impatient(const struct fake_step *script)
{
    server = fake_server_start(script);
    http = http_new(&(struct http_config){
        .upstream = "test", .stall_ms = 200, .observer = observe, .observer_context = &observed});
    cr_assert_not_null(http);
}

Test(http, until_the_first_byte_only_the_requests_own_bound_counts)
{
    static const struct fake_step script[] = {EXPECT("GET "), HANG, END};
    int waits = 0;

    start_impatient(script);
    http_on_wait(http, count, &waits);
    const int64_t started_ms = clock_now_ms();
    cr_assert_eq(perform("GET", NULL, 1500), STATUS_TIMEOUT, "%s", err.text);
    cr_assert_geq(clock_now_ms() - started_ms, 1400);
    cr_assert_null(strstr(err.text, "stalled"), "%s", err.text);
    cr_assert_gt(waits, 0, "who waits is told");
    http_free(http);
    http_response_free(&response);
    cr_assert_null(fake_server_stop(server));
}

Test(http, an_answer_that_has_begun_must_go_on)
{
    static const struct fake_step script[] = {
        EXPECT("GET "), SEND("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{\"ha"), HANG, END};

    start_impatient(script);
    const int64_t started_ms = clock_now_ms();
    cr_assert_eq(perform("GET", NULL, 20000), STATUS_TIMEOUT, "%s", err.text);
    cr_assert_lt(clock_now_ms() - started_ms, 10000);
    cr_assert_not_null(strstr(err.text, "stalled for 200 ms"), "%s", err.text);
    http_free(http);
    http_response_free(&response);
    cr_assert_null(fake_server_stop(server));
}
