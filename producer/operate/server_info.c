#include "operate/server_info.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum status server_info_get(struct redis_conn *conn, struct strbuf *out, struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    redis_args_str(&args, "INFO");
    enum status status = redis_conn_command(conn, &args, &reply, err);
    redis_args_free(&args);
    if (status != STATUS_OK) {
        return status;
    }
    if (reply->type == REDIS_REPLY_STRING) {
        strbuf_append_char(out, '\n');
        strbuf_append(out, reply->str, (size_t)reply->len);
    } else {
        status = error_set(err, STATUS_GARBLED, "INFO: an answer of another shape");
    }
    if (status == STATUS_OK && !strbuf_ok(out)) {
        status = error_set(err, STATUS_OOM, "out of memory");
    }
    redis_reply_free(reply);
    return status;
}

const char *server_info_text(const struct strbuf *info, const char *name, char out[128])
{
    char line[64];

    snprintf(line, sizeof line, "\n%s:", name);
    const char *found = info->bytes == 0 ? NULL : strstr(info->data, line);
    const char *value = found == NULL ? "" : found + strlen(line);
    snprintf(out, 128, "%.*s", (int)strcspn(value, "\r\n"), value);
    out[text_make_safe(out, strlen(out))] = '\0';
    return out;
}

int64_t server_info_number(const struct strbuf *info, const char *name)
{
    char text[128];

    return strtoll(server_info_text(info, name, text), NULL, 10);
}
