/* http/curl.c - see http/curl.h.
 *
 * Happy path: under one lock, the library is opened, its calls are looked up, it is started; from
 * then on the table is only read. Failure modes: no library, one that lacks a call, one that is too
 * old: the next call tries again. It is never closed: what OpenSSL leaves behind at its end is not
 * safe to unload.
 */
#include "http/curl.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

enum { OLDEST_VERSION = 0x075800 }; /* 7.88.0 */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#ifdef STILLHOUSE_LINK_CURL

static enum status find_calls(struct curl *curl, struct error *err)
{
#define TAKE(name) .name = curl_##name,
    *curl = (struct curl){CURL_CALLS(TAKE)};
#undef TAKE
    (void)err;
    return STATUS_OK;
}

#else

/* Of OpenSSL's build or of GnuTLS'; both have had this ABI since 2006. */
static const char *const library_names[] = {"libcurl.so.4", "libcurl-gnutls.so.4"};

static enum status look_up(void *library, struct curl *curl, struct error *err)
{
    static const struct {
        const char *name;
        size_t offset;
    } calls[] = {
#define ROW(name) {"curl_" #name, offsetof(struct curl, name)},
        CURL_CALLS(ROW)
#undef ROW
    };

    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        void *call = dlsym(library, calls[i].name);
        if (call == NULL) {
            return error_set(err, STATUS_FAILED, "libcurl lacks %s: %s", calls[i].name, dlerror());
        }
        *(void **)((char *)curl + calls[i].offset) = call;
    }
    return STATUS_OK;
}

static enum status find_calls(struct curl *curl, struct error *err)
{
    void *library = NULL;

    for (size_t i = 0; library == NULL && i < sizeof library_names / sizeof library_names[0]; i++) {
        library = dlopen(library_names[i], RTLD_NOW | RTLD_LOCAL);
        if (library == NULL && i == 0) { /* the usual one: its reason is the one to tell */
            error_set(err, STATUS_FAILED,
                      "HTTP servers (Chroma, embedders) need libcurl 7.88 or later: %s", dlerror());
        }
    }
    return library == NULL ? STATUS_FAILED : look_up(library, curl, err);
}

#endif

static enum status start(const struct curl *curl, struct error *err)
{
    const curl_version_info_data *version = curl->version_info(CURLVERSION_NOW);

    if (version->version_num < OLDEST_VERSION) {
        return error_set(err, STATUS_FAILED, "libcurl is %s, expected 7.88 or later",
                         version->version);
    }
    CURLcode code = curl->global_init(CURL_GLOBAL_DEFAULT);
    if (code != CURLE_OK) {
        return error_set(err, STATUS_FAILED, "cannot start libcurl: %s", curl->easy_strerror(code));
    }
    return STATUS_OK;
}

const struct curl *curl_load(struct error *err)
{
    static struct curl curl;
    static bool loaded;

    pthread_mutex_lock(&lock);
    loaded = loaded || (find_calls(&curl, err) == STATUS_OK && start(&curl, err) == STATUS_OK);
    const struct curl *found = loaded ? &curl : NULL;
    pthread_mutex_unlock(&lock);
    return found;
}
