/* http/curl.h - libcurl, which comes into the process with its first request.
 *
 *     const struct curl *curl = curl_load(&err);
 *     CURL *easy = curl->easy_init();
 *
 * libcurl and the thirty libraries behind it take about 4 MiB of a process that may never call an
 * HTTP server: a worker of echo jobs, one whose prompts all come from the cache, one that waits.
 * So no program is linked with it. With STILLHOUSE_LINK_CURL (CMake; for a static libcurl) they
 * are, and the same calls are in the table from the start.
 *
 * The table is the only way to libcurl: a call that is not in CURL_CALLS does not link.
 */
#ifndef STILLHOUSE_HTTP_CURL_H
#define STILLHOUSE_HTTP_CURL_H

#include <curl/curl.h>

#include "base/status.h"

#define CURL_CALLS(CALL)                                                                           \
    CALL(easy_cleanup)                                                                             \
    CALL(easy_getinfo)                                                                             \
    CALL(easy_init)                                                                                \
    CALL(easy_perform)                                                                             \
    CALL(easy_setopt)                                                                              \
    CALL(easy_strerror)                                                                            \
    CALL(getdate)                                                                                  \
    CALL(global_init)                                                                              \
    CALL(slist_append)                                                                             \
    CALL(slist_free_all)                                                                           \
    CALL(version_info)

struct curl {
#define CURL_MEMBER(name) __typeof__(curl_##name) *name;
    CURL_CALLS(CURL_MEMBER)
#undef CURL_MEMBER
};

/* The same table for all, for the life of the process; loaded and started by the first call that
 * can. NULL with FAILED: no libcurl of 7.88 or later, the text says what was tried. Any thread. */
const struct curl *curl_load(struct error *err) MUSTCHECK;

#endif
