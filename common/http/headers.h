/* http/headers.h - lines of an answer's head, for http/client.c. */
#ifndef STILLHOUSE_HTTP_HEADERS_H
#define STILLHOUSE_HTTP_HEADERS_H

#include <stddef.h>
#include <stdint.h>

enum { HTTP_RETRY_AFTER_MAX_MS = 3600 * 1000 };

/* The wait a Retry-After value asks for, in ms: seconds, or an HTTP date seen from `now_unix_s`.
 * 0 for a date in the past and for what is neither; at most HTTP_RETRY_AFTER_MAX_MS. */
int http_retry_after_ms(const char *value, size_t bytes, int64_t now_unix_s);

/* Where the value of the header line "`name`: value\r\n" starts, white space around it left out,
 * its length in *value_bytes; NULL when the line is another header. */
const char *http_header_value(const char *line, size_t bytes, const char *name,
                              size_t *value_bytes);

#endif
