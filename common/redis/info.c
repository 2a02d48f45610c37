#include "redis/info.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum { OLDEST_MAJOR = 7 };

enum status redis_info_get(struct redis_conn *conn, const char *section, struct redis_info *out,
                           struct error *err)
{
    *out = (struct redis_info){.text = ""};
    TRY(redis_fetchf(conn, "$", &out->reply, err, "INFO %s", section));
    out->text = out->reply->str;
    return STATUS_OK;
}

void redis_info_free(struct redis_info *info)
{
    redis_reply_free(info->reply);
    *info = (struct redis_info){.text = ""};
}

const char *redis_info_text(const struct redis_info *info, const char *name,
                            char out[REDIS_INFO_BYTES])
{
    const size_t bytes = strlen(name);
    const char *line = info->text;

    while (line != NULL && (strncmp(line, name, bytes) != 0 || line[bytes] != ':')) {
        line = strchr(line, '\n');
        line = line == NULL ? NULL : line + 1;
    }
    const char *value = line == NULL ? "" : line + bytes + 1;
    snprintf(out, REDIS_INFO_BYTES, "%.*s", (int)strcspn(value, "\r\n"), value);
    out[text_make_safe(out, strlen(out))] = '\0';
    return out;
}

int64_t redis_info_number(const struct redis_info *info, const char *name)
{
    char text[REDIS_INFO_BYTES];

    return strtoll(redis_info_text(info, name, text), NULL, 10);
}

bool redis_info_is_new_enough(const struct redis_info *info)
{
    return redis_info_number(info, "redis_version") >= OLDEST_MAJOR;
}

enum redis_eviction redis_info_eviction(const struct redis_info *info,
                                        char policy[REDIS_INFO_BYTES])
{
    redis_info_text(info, "maxmemory_policy", policy);
    if (strcmp(policy, "noeviction") == 0) {
        return REDIS_EVICTS_NOTHING;
    }
    if (strncmp(policy, "allkeys-", 8) == 0) {
        return REDIS_EVICTS_ALL;
    }
    return policy[0] == '\0' ? REDIS_EVICTION_UNKNOWN : REDIS_EVICTS_MORTAL;
}
