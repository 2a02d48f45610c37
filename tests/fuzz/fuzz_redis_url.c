/* Any text as a Redis URL: what parses fits its fields and can be described, and what is shown of
 * it, or of what does not parse, holds no password. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "redis/conn.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define PLAIN "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

static void must(bool condition)
{
    if (!condition) {
        abort();
    }
}

/* Where a password is also a part of what may be shown, nobody can tell. */
static bool is_elsewhere(const struct redis_url *url, const char *secret)
{
    bool found = strstr("unix:rediss+sentinel://:***@?sentinel_user=***&sentinel_password=***",
                        secret) != NULL ||
                 strstr(url->host, secret) != NULL || strstr(url->path, secret) != NULL ||
                 strstr(url->user, secret) != NULL || strstr(url->master, secret) != NULL;
    char described[320];

    for (size_t i = 0; i < url->sentinel_count; i++) {
        found = found || strstr(url->sentinels[i].host, secret) != NULL;
    }
    return found || strstr(redis_url_describe(url, described), secret) != NULL;
}

/* Letters and digits alone do not span the marks between the parts. */
static void check_hidden(const struct redis_url *url, const char *secret, const char *shown)
{
    if (strlen(secret) >= 4 && strspn(secret, PLAIN) == strlen(secret) &&
        !is_elsewhere(url, secret)) {
        must(strstr(shown, secret) == NULL);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    char shown[160];
    char described[320];
    struct redis_url url;
    struct error err = {0};

    must(text != NULL);
    memcpy(text, data, size);
    text[size] = '\0';
    must(strlen(redis_url_hide(text, shown, sizeof shown)) < sizeof shown);
    const enum status status = redis_url_parse(text, &url, &err);
    if (status == STATUS_OK) {
        must(url.sentinel_count > 0 || url.path[0] != '\0' || url.host[0] != '\0');
        must(url.port >= 0 && url.port <= 65535 && url.sentinel_count <= REDIS_SENTINELS_MAX);
        must(strlen(redis_url_describe(&url, described)) < sizeof described);
        check_hidden(&url, url.password, shown);
        check_hidden(&url, url.sentinel_password, shown);
    } else {
        must(status == STATUS_INVALID && err.text[0] != '\0');
    }
    free(text);
    return 0;
}
