#include "http_internal.h"

#include <ctype.h>
#include <curl/curl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "http.h"

/* Where the authority of `url` starts: behind "://", or at its beginning where there is none. */
static const char *authority_start(const char *url)
{
    const char *scheme_end = strstr(url, "://");
    return scheme_end == NULL ? url : scheme_end + 3;
}

const char *http_public_url(const char *url, char out[HTTP_URL_TEXT_BYTES])
{
    const char *authority = authority_start(url);
    size_t scheme_bytes = (size_t)(authority - url);
    size_t authority_bytes = strcspn(authority, "/?#");
    const char *at = memrchr(authority, '@', authority_bytes);
    const char *host = at == NULL ? authority : at + 1;
    size_t shown_bytes = strcspn(host, "?#");

    snprintf(out, HTTP_URL_TEXT_BYTES, "%.*s%.*s", (int)(scheme_bytes < 32 ? scheme_bytes : 32),
             url, (int)(shown_bytes < HTTP_URL_TEXT_BYTES ? shown_bytes : HTTP_URL_TEXT_BYTES),
             host);
    for (char *c = out; *c != '\0'; c++) {
        if (iscntrl((unsigned char)*c)) {
            *c = '?';
        }
    }
    return out;
}

static int retry_after_cap(int64_t seconds)
{
    if (seconds <= 0) {
        return 0;
    }
    return seconds >= HTTP_RETRY_AFTER_MAX_MS / 1000 ? HTTP_RETRY_AFTER_MAX_MS
                                                     : (int)(seconds * 1000);
}

int http_retry_after_ms(const char *value, size_t bytes, int64_t now_unix_s)
{
    char text[64];

    if (bytes == 0 || bytes >= sizeof text) {
        return 0;
    }
    memcpy(text, value, bytes);
    text[bytes] = '\0';
    if (strspn(text, "0123456789") == bytes) {
        return retry_after_cap(strtoll(text, NULL, 10)); /* saturates at LLONG_MAX */
    }

    time_t date = curl_getdate(text, NULL);
    return date == -1 ? 0 : retry_after_cap((int64_t)date - now_unix_s);
}

const char *http_header_value(const char *line, size_t bytes, const char *name, size_t *value_bytes)
{
    size_t name_bytes = strlen(name);
    if (bytes <= name_bytes || line[name_bytes] != ':' ||
        strncasecmp(line, name, name_bytes) != 0) {
        return NULL;
    }

    const char *start = line + name_bytes + 1;
    const char *end = line + bytes;
    while (start < end && isspace((unsigned char)*start)) {
        start++;
    }
    while (end > start && isspace((unsigned char)end[-1])) {
        end--;
    }
    *value_bytes = (size_t)(end - start);
    return start;
}

bool http_is_loopback(const char *url)
{
    const char *host = authority_start(url);
    size_t bytes = strcspn(host, "/?#");
    const char *at = memrchr(host, '@', bytes);
    if (at != NULL) {
        bytes -= (size_t)(at + 1 - host);
        host = at + 1;
    }
    if (bytes >= 5 && memcmp(host, "[::1]", 5) == 0) {
        return true;
    }

    size_t name_bytes = strcspn(host, ":/?#");
    if (name_bytes == strlen("localhost") && strncasecmp(host, "localhost", name_bytes) == 0) {
        return true;
    }
    return strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") == name_bytes;
}

/* True when `parts` has the part; what it says is not looked at. */
static bool url_has(CURLU *parts, CURLUPart part)
{
    char *text = NULL;
    CURLUcode code = curl_url_get(parts, part, &text, 0);
    curl_free(text);
    return code == CURLUE_OK;
}

static enum status check_parts(CURLU *parts, const char *shown, struct error *err)
{
    char *scheme = NULL;
    CURLUcode code = curl_url_get(parts, CURLUPART_SCHEME, &scheme, 0);
    bool known = code == CURLUE_OK && (strcmp(scheme, "http") == 0 || strcmp(scheme, "https") == 0);
    curl_free(scheme);
    if (!known) {
        return error_set(err, STATUS_INVALID, "url \"%s\" must start with http:// or https://",
                         shown);
    }
    if (url_has(parts, CURLUPART_USER) || url_has(parts, CURLUPART_PASSWORD)) {
        return error_set(err, STATUS_INVALID, "url \"%s\" must not hold a user or password", shown);
    }
    if (url_has(parts, CURLUPART_QUERY) || url_has(parts, CURLUPART_FRAGMENT)) {
        return error_set(err, STATUS_INVALID, "url \"%s\" must not hold a query or fragment",
                         shown);
    }
    return STATUS_OK;
}

enum status http_check_url(const char *url, struct error *err)
{
    char shown[HTTP_URL_TEXT_BYTES];
    http_public_url(url, shown);

    if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0) {
        return error_set(err, STATUS_INVALID, "url \"%s\" must start with http:// or https://",
                         shown);
    }
    CURLU *parts = curl_url();
    if (parts == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    CURLUcode code = curl_url_set(parts, CURLUPART_URL, url, 0);
    enum status status = code == CURLUE_OK ? check_parts(parts, shown, err)
                                           : error_set(err, STATUS_INVALID, "url \"%s\": %s", shown,
                                                       curl_url_strerror(code));
    curl_url_cleanup(parts);
    return status;
}
