/* http/curl.c - see http/curl.h. Failure modes: no library, one that lacks a call, one that is too
 * old: the next call tries again.
 */
#include "http/curl.h"

#include <stddef.h>

#include "base/library.h"

enum { OLDEST_VERSION = 0x075800 }; /* 7.88.0 */

#ifdef STILLHOUSE_LINK_CURL

#define TAKE(name) .name = curl_##name,
static struct curl curl = {CURL_CALLS(TAKE)};
#undef TAKE
#define LIBRARY_NAMES                                                                              \
    {                                                                                              \
        NULL                                                                                       \
    }

#else

static struct curl curl;
/* Of OpenSSL's build or of GnuTLS'; both have had this ABI since 2006. */
#define LIBRARY_NAMES                                                                              \
    {                                                                                              \
        "libcurl.so.4", "libcurl-gnutls.so.4"                                                      \
    }

#endif

static enum status start(struct error *err)
{
    const curl_version_info_data *version = curl.version_info(CURLVERSION_NOW);

    if (version->version_num < OLDEST_VERSION) {
        return error_set(err, STATUS_FAILED, "libcurl is %s, expected 7.88 or later",
                         version->version);
    }
    CURLcode code = curl.global_init(CURL_GLOBAL_DEFAULT);
    if (code != CURLE_OK) {
        return error_set(err, STATUS_FAILED, "cannot start libcurl: %s", curl.easy_strerror(code));
    }
    return STATUS_OK;
}

const struct curl *curl_load(struct error *err)
{
    static const struct library_call calls[] = {
#define ROW(name) {"curl_" #name, offsetof(struct curl, name)},
        CURL_CALLS(ROW)
#undef ROW
    };
    static struct library library = {
        .need = "HTTP servers (Chroma, embedders) need libcurl 7.88 or later",
        .names = LIBRARY_NAMES,
        .calls = calls,
        .count = sizeof calls / sizeof calls[0],
        .table = &curl,
        .start = start,
        .lock = PTHREAD_MUTEX_INITIALIZER,
    };

    return library_load(&library, err) == STATUS_OK ? &curl : NULL;
}
