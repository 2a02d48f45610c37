#include "http/headers.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "http/curl.h"

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

    const struct curl *curl = curl_load(NULL);
    time_t date = curl == NULL ? -1 : curl->getdate(text, NULL);
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
