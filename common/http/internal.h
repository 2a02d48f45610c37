/* http/internal.h - the pure parts of http/client.c, apart for their tests. */
#ifndef STILLHOUSE_HTTP_INTERNAL_H
#define STILLHOUSE_HTTP_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_URL_TEXT_BYTES = 200, HTTP_RETRY_AFTER_MAX_MS = 3600 * 1000 };

/* `url` as it may stand in a log: without user info, query and fragment, control characters as '?',
 * cut to fit. Returns `out`. */
const char *http_public_url(const char *url, char out[HTTP_URL_TEXT_BYTES]);

/* The wait a Retry-After value asks for, in ms: seconds, or an HTTP date seen from `now_unix_s`.
 * 0 for a date in the past and for what is neither; at most HTTP_RETRY_AFTER_MAX_MS. */
int http_retry_after_ms(const char *value, size_t bytes, int64_t now_unix_s);

/* Where the value of the header line "`name`: value\r\n" starts, white space around it left out,
 * its length in *value_bytes; NULL when the line is another header. */
const char *http_header_value(const char *line, size_t bytes, const char *name,
                              size_t *value_bytes);

/* True when the host of `url` is localhost, 127.x.y.z or [::1]. */
bool http_is_loopback(const char *url);

#endif
