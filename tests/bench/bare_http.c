#include "bare_http.h"

#include <curl/curl.h>
#include <stdlib.h>

#include "support.h"

enum { TIMEOUT_MS = 120000 };

struct bare_http {
    CURL *curl;
    struct curl_slist *headers;
    struct strbuf answer;
};

static size_t keep(char *data, size_t size, size_t count, void *context)
{
    struct bare_http *http = context;

    strbuf_append(&http->answer, data, size * count);
    return size * count;
}

struct bare_http *bare_http_new(void)
{
    struct bare_http *http = calloc(1, sizeof *http);

    if (http == NULL || (http->curl = curl_easy_init()) == NULL) {
        bench_fail("curl: out of memory");
    }
    http->headers = curl_slist_append(NULL, "Content-Type: application/json");
    http->headers = curl_slist_append(http->headers, "Expect:");
    curl_easy_setopt(http->curl, CURLOPT_HTTPHEADER, http->headers);
    curl_easy_setopt(http->curl, CURLOPT_WRITEFUNCTION, keep);
    curl_easy_setopt(http->curl, CURLOPT_WRITEDATA, http);
    curl_easy_setopt(http->curl, CURLOPT_TIMEOUT_MS, (long)TIMEOUT_MS);
    curl_easy_setopt(http->curl, CURLOPT_NOSIGNAL, 1L);
    return http;
}

void bare_http_free(struct bare_http *http)
{
    curl_easy_cleanup(http->curl);
    curl_slist_free_all(http->headers);
    strbuf_free(&http->answer);
    free(http);
}

const struct strbuf *bare_http_call(struct bare_http *http, const char *method, const char *url,
                                    const struct strbuf *body)
{
    long code = 0;

    strbuf_reset(&http->answer);
    curl_easy_setopt(http->curl, CURLOPT_URL, url);
    if (body != NULL) {
        curl_easy_setopt(http->curl, CURLOPT_POST, 1L);
        curl_easy_setopt(http->curl, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)body->bytes);
        curl_easy_setopt(http->curl, CURLOPT_POSTFIELDS, body->data);
    } else {
        curl_easy_setopt(http->curl, CURLOPT_HTTPGET, 1L);
    }
    curl_easy_setopt(http->curl, CURLOPT_CUSTOMREQUEST, method);
    const CURLcode done = curl_easy_perform(http->curl);
    curl_easy_getinfo(http->curl, CURLINFO_RESPONSE_CODE, &code);
    if (done != CURLE_OK || code < 200 || code > 299) {
        bench_fail("%s %s: %s, code %ld: %.200s", method, url, curl_easy_strerror(done), code,
                   http->answer.data != NULL ? http->answer.data : "");
    }
    return &http->answer;
}
