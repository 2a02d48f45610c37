/* What settings must be together, and their URLs. In a file of its own, since it alone needs
 * libcurl (for what a URL is): a program that never checks a configuration does not link it. */
#include "config/settings.h"

#include <string.h>
#include <strings.h>

#include "http/client.h"
#include "http/internal.h"
#include "redis/conn.h"

enum { BUILTIN_DIMENSION_MIN = 64, BUILTIN_DIMENSION_MAX = 4096 };

static enum status check_redis_url(const char *flag, const char *text, struct error *err)
{
    struct redis_url url;

    enum status status = redis_url_parse(text, &url, err);
    explicit_bzero(&url, sizeof url);
    return status == STATUS_OK ? STATUS_OK : error_wrap(err, "%s", flag);
}

static enum status check_http_url(const char *flag, const char *text, struct error *err)
{
    return http_check_url(text, err) == STATUS_OK ? STATUS_OK : error_wrap(err, "%s", flag);
}

static enum status check_urls(const struct settings *settings, struct error *err)
{
    enum status status = check_redis_url("redis-url", settings->redis_url, err);
    if (status == STATUS_OK && settings->cache_url[0] != '\0') {
        status = check_redis_url("cache-url", settings->cache_url, err);
    }
    if (status == STATUS_OK) {
        status = check_http_url("chroma-url", settings->chroma_url, err);
    }
    if (status == STATUS_OK && settings->embed_url[0] != '\0') {
        status = check_http_url("embed-url", settings->embed_url, err);
    }
    return status;
}

size_t settings_bare_secrets(const struct settings *settings, const char *names[SETTINGS_BARE_MAX])
{
    const struct {
        const char *name;
        const char *secret;
        const char *url;
    } uses[SETTINGS_BARE_MAX] = {
        {"chroma-token", settings->chroma_token, settings->chroma_url},
        {"embed-key", settings->embed_key, settings->embed_url},
    };
    size_t count = 0;

    for (size_t i = 0; i < SETTINGS_BARE_MAX; i++) {
        if (uses[i].secret[0] != '\0' && strncasecmp(uses[i].url, "http://", 7) == 0 &&
            !http_is_loopback(uses[i].url)) {
            names[count++] = uses[i].name;
        }
    }
    return count;
}

enum status settings_finish(const struct settings *settings, struct error *err)
{
    struct error own = {0}; /* error_wrap wants one */
    struct error *detail = err != NULL ? err : &own;

    enum status status = check_urls(settings, detail);
    if (status == STATUS_OK) {
        status = tls_files_check(&settings->tls, detail);
    }
    if (status != STATUS_OK) {
        return status;
    }
    if (settings->retry_max_ms < settings->retry_base_ms) {
        return error_set(detail, STATUS_INVALID,
                         "retry-max is %lld ms, expected at least retry-base, %lld ms",
                         (long long)settings->retry_max_ms, (long long)settings->retry_base_ms);
    }
    if (settings->embedder == EMBEDDER_BUILTIN && settings->embed_dimension != 0 &&
        (settings->embed_dimension < BUILTIN_DIMENSION_MIN ||
         settings->embed_dimension > BUILTIN_DIMENSION_MAX)) {
        return error_set(detail, STATUS_INVALID,
                         "embed-dimension is %lld, the builtin embedder takes %d to %d, or 0",
                         (long long)settings->embed_dimension, BUILTIN_DIMENSION_MIN,
                         BUILTIN_DIMENSION_MAX);
    }
    return STATUS_OK;
}
