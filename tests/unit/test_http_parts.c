#include <criterion/criterion.h>
#include <string.h>

#include "http/address.h"
#include "http/client.h"
#include "http/headers.h"

enum { NOW_S = 1700000000 }; /* 2023-11-14T22:13:20Z */

static int wait_of(const char *value)
{
    return http_retry_after_ms(value, strlen(value), NOW_S);
}

Test(http_parts, retry_after_in_seconds)
{
    cr_assert_eq(wait_of("0"), 0);
    cr_assert_eq(wait_of("2"), 2000);
    cr_assert_eq(wait_of("120"), 120000);
}

Test(http_parts, retry_after_as_an_http_date)
{
    cr_assert_eq(wait_of("Tue, 14 Nov 2023 22:13:35 GMT"), 15000);
    cr_assert_eq(wait_of("Tue, 14 Nov 2023 22:13:05 GMT"), 0, "a date in the past");
}

Test(http_parts, retry_after_is_capped_at_an_hour)
{
    cr_assert_eq(wait_of("3600"), HTTP_RETRY_AFTER_MAX_MS);
    cr_assert_eq(wait_of("7200"), HTTP_RETRY_AFTER_MAX_MS);
    cr_assert_eq(wait_of("99999999999999999999999999"), HTTP_RETRY_AFTER_MAX_MS);
    cr_assert_eq(wait_of("Tue, 14 Nov 2028 22:13:35 GMT"), HTTP_RETRY_AFTER_MAX_MS);
}

Test(http_parts, a_retry_after_that_is_neither_names_no_wait)
{
    cr_assert_eq(wait_of(""), 0);
    cr_assert_eq(wait_of("soon"), 0);
    cr_assert_eq(wait_of("-5"), 0);
    cr_assert_eq(wait_of("2 apples and a very long explanation of why it takes that long today"),
                 0);
}

static const char *header(const char *line, const char *name, char out[64])
{
    size_t bytes = 0;
    const char *value = http_header_value(line, strlen(line), name, &bytes);
    if (value == NULL) {
        return NULL;
    }
    memcpy(out, value, bytes);
    out[bytes] = '\0';
    return out;
}

Test(http_parts, a_header_is_found_in_any_case_and_its_value_trimmed)
{
    char value[64];
    cr_assert_str_eq(header("retry-AFTER: \t 7 \r\n", "Retry-After", value), "7");
    cr_assert_str_eq(header("Retry-After:7", "Retry-After", value), "7");
    cr_assert_str_eq(header("Retry-After:\r\n", "Retry-After", value), "");
}

Test(http_parts, another_header_is_not_found)
{
    char value[64];
    cr_assert_null(header("Retry-After-All: 7\r\n", "Retry-After", value));
    cr_assert_null(header("Retry-After", "Retry-After", value));
    cr_assert_null(header("X: 7\r\n", "Retry-After", value));
    cr_assert_null(header("", "Retry-After", value));
}

static void assert_shown_as(const char *url, const char *expected)
{
    char out[HTTP_URL_TEXT_BYTES];
    cr_assert_str_eq(http_public_url(url, out), expected);
}

Test(http_parts, a_url_is_shown_without_user_query_and_fragment)
{
    assert_shown_as("http://host:8000/a/b", "http://host:8000/a/b");
    assert_shown_as("https://user:secret@host/v1", "https://host/v1");
    assert_shown_as("https://user:s@cret@host/v1", "https://host/v1");
    assert_shown_as("https://host/v1?api_key=secret", "https://host/v1");
    assert_shown_as("https://host?api_key=secret@x", "https://host");
    assert_shown_as("https://host/v1#secret", "https://host/v1");
    assert_shown_as("user:secret@host:80", "host:80");
    assert_shown_as("", "");
}

Test(http_parts, a_url_is_shown_on_one_line_and_cut_to_fit)
{
    char out[HTTP_URL_TEXT_BYTES];
    char longer[1000];

    assert_shown_as("http://ho\nst/\x1b[31m", "http://ho?st/?[31m");
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    memcpy(longer, "http://", 7);
    cr_assert_eq(strlen(http_public_url(longer, out)), HTTP_URL_TEXT_BYTES - 1);
}

Test(http_parts, loopback_hosts_are_known)
{
    cr_assert(http_is_loopback("http://127.0.0.1:8000/api"));
    cr_assert(http_is_loopback("http://127.9.8.7"));
    cr_assert(http_is_loopback("http://LocalHost/"));
    cr_assert(http_is_loopback("http://[::1]:80"));
    cr_assert(http_is_loopback("http://user@localhost:80"));
    cr_assert_not(http_is_loopback("http://127.evil.example/"));
    cr_assert_not(http_is_loopback("http://localhost.example/"));
    cr_assert_not(http_is_loopback("http://example.com/localhost"));
    cr_assert_not(http_is_loopback("http://localhost@example.com/"));
    cr_assert_not(http_is_loopback(""));
}

Test(http_parts, good_urls_are_accepted)
{
    static const char *const urls[] = {"http://127.0.0.1:8000",
                                       "https://host/",
                                       "HTTP://host/a/b",
                                       "http://[::1]:8000/x",
                                       "http://[fe80::1%25eth0]/",
                                       "http://host:1",
                                       "http://host:65535/",
                                       "http://host:",
                                       "http://b\303\274cher.example/"};
    for (size_t i = 0; i < sizeof urls / sizeof urls[0]; i++) {
        struct error err = {0};
        cr_assert_eq(http_check_url(urls[i], &err), STATUS_OK, "%s: %s", urls[i], err.text);
    }
}

static void assert_refused(const char *url, const char *reason)
{
    struct error err = {0};
    cr_assert_eq(http_check_url(url, &err), STATUS_INVALID, "\"%s\" was accepted", url);
    cr_assert_not_null(strstr(err.text, reason), "\"%s\": \"%s\" lacks \"%s\"", url, err.text,
                       reason);
    cr_assert_null(strstr(err.text, "secret"), "%s", err.text);
}

Test(http_parts, bad_urls_are_refused_with_the_reason_and_without_secrets)
{
    assert_refused("", "http:// or https://");
    assert_refused("127.0.0.1:8000", "http:// or https://");
    assert_refused("ftp://host/", "http:// or https://");
    assert_refused("file:///etc/passwd", "http:// or https://");
    assert_refused("http://", "url \"http://\"");
    assert_refused("http://host:99999/", "host:99999");
    assert_refused("http://ho st/", "ho st");
    assert_refused("http:///path", "must name a host");
    assert_refused("http://:80/", "must name a host");
    assert_refused("http://[::1/", "must name a host");
    assert_refused("http://[nonsense]/", "must name a host");
    assert_refused("http://ho\nst/", "must name a host");
    assert_refused("http://host:0/", "port of 1 to 65535");
    assert_refused("http://host:8x/", "port of 1 to 65535");
    assert_refused("http://[::1]x/", "port of 1 to 65535");
    assert_refused("http://host/a b", "spaces or control");
    assert_refused("http://user:secret@host/", "user or password");
    assert_refused("http://user@host/", "STILLHOUSE_CHROMA_TOKEN");
    assert_refused("http://user:secret", "url \"http://***\"");
    assert_refused("https://user:secret/path", "url \"https://***\"");
    assert_refused("http://user:1secret?x", "http://***");
    assert_refused("http://host/?key=secret", "query or fragment");
    assert_refused("http://host/#secret", "query or fragment");
}

static enum status status_of(int code, const char *body, int retry_after_ms, struct error *err)
{
    struct http_response response = {.code = code, .retry_after_ms = retry_after_ms};
    strbuf_append_str(&response.body, body);
    enum status status = http_code_status(&response, "chroma", err);
    http_response_free(&response);
    return status;
}

Test(http_parts, every_code_has_its_status)
{
    static const struct {
        int code;
        enum status status;
    } rows[] = {
        {400, STATUS_INVALID},     {401, STATUS_REFUSED},     {403, STATUS_REFUSED},
        {402, STATUS_REFUSED},     {407, STATUS_REFUSED},     {410, STATUS_REFUSED},
        {421, STATUS_REFUSED},     {424, STATUS_REFUSED},     {451, STATUS_REFUSED},
        {425, STATUS_UNAVAILABLE}, {507, STATUS_FAILED},      {499, STATUS_REFUSED},
        {404, STATUS_NOT_FOUND},   {405, STATUS_REFUSED},     {408, STATUS_UNAVAILABLE},
        {409, STATUS_REFUSED},     {413, STATUS_INVALID},     {415, STATUS_REFUSED},
        {422, STATUS_INVALID},     {429, STATUS_UNAVAILABLE}, {500, STATUS_FAILED},
        {501, STATUS_FAILED},      {502, STATUS_UNAVAILABLE}, {503, STATUS_UNAVAILABLE},
        {504, STATUS_UNAVAILABLE}, {301, STATUS_REFUSED},     {999, STATUS_REFUSED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct error err = {0};
        cr_assert_eq(status_of(rows[i].code, "", 0, &err), rows[i].status, "code %d: %s",
                     rows[i].code, status_text(err.status));
        cr_assert_eq(err.http_code, rows[i].code);
    }
}

Test(http_parts, an_error_names_the_code_and_the_printable_start_of_the_body)
{
    struct error err = {0};
    (void)status_of(400, "{\"error\":\n\n  \"\x1b[31m \xc3\xa9\"}", 0, &err);
    cr_assert_str_eq(err.text, "chroma: http 400: {\"error\": \"?[31m ??\"}");
    (void)status_of(400, "", 0, &err);
    cr_assert_str_eq(err.text, "chroma: http 400");
}

Test(http_parts, a_long_body_is_cut_in_an_error)
{
    char body[1000];
    struct error err = {0};
    memset(body, 'x', sizeof body - 1);
    body[sizeof body - 1] = '\0';
    (void)status_of(500, body, 0, &err);
    cr_assert_str_eq(err.text + strlen(err.text) - 4, "x...");
    cr_assert_lt(strlen(err.text), 200);
}

Test(http_parts, the_wait_the_server_asked_for_is_passed_on)
{
    struct error err = {0};
    (void)status_of(429, "", 2000, &err);
    cr_assert_eq(err.retry_after_ms, 2000);
    (void)status_of(403, "", 2000, &err);
    cr_assert_eq(err.retry_after_ms, 2000, "whatever the code");
    (void)status_of(403, "", 0, &err);
    cr_assert_eq(err.retry_after_ms, 0);
    cr_assert_eq(status_of(503, "", 2000, NULL), STATUS_UNAVAILABLE);
}
