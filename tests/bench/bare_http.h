/* bare_http.h - HTTP as a program without Stillhouse would use it: one libcurl handle, kept open,
 * bodies that were made before, answers read and dropped. A handle belongs to one thread. Failure,
 * and any answer but 2xx, is fatal.
 */
#ifndef STILLHOUSE_TESTS_BENCH_BARE_HTTP_H
#define STILLHOUSE_TESTS_BENCH_BARE_HTTP_H

#include "base/strbuf.h"

struct bare_http; /* opaque; heap */

struct bare_http *bare_http_new(void);
void bare_http_free(struct bare_http *http);

/* `body` NULL: GET, or DELETE where `method` says so. The answer lives until the next call. */
const struct strbuf *bare_http_call(struct bare_http *http, const char *method, const char *url,
                                    const struct strbuf *body);

#endif
