#include "base/strbuf.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

void strbuf_init(struct strbuf *buf)
{
    *buf = (struct strbuf){0};
}

void strbuf_free(struct strbuf *buf)
{
    free(buf->data);
    strbuf_init(buf);
}

void strbuf_reset(struct strbuf *buf)
{
    buf->bytes = 0;
    buf->failed = false;
    if (buf->data != NULL) {
        buf->data[0] = '\0';
    }
}

void strbuf_trim(struct strbuf *buf, size_t keep_bytes)
{
    if (buf->capacity > keep_bytes) {
        strbuf_free(buf);
    }
    strbuf_reset(buf);
}

bool strbuf_ok(const struct strbuf *buf)
{
    return !buf->failed;
}

void strbuf_must(const struct strbuf *buf)
{
    if (buf->failed) {
        must_die();
    }
}

char *strbuf_reserve(struct strbuf *buf, size_t extra)
{
    if (buf->failed || extra > SIZE_MAX / 4 || buf->bytes > SIZE_MAX / 4) {
        buf->failed = true;
        return NULL;
    }
    size_t need = buf->bytes + extra + 1;
    if (need > buf->capacity) {
        size_t capacity = buf->capacity < 128 ? 128 : buf->capacity;
        while (capacity < need) {
            capacity *= 2;
        }
        char *data = realloc(buf->data, capacity);
        if (data == NULL) {
            buf->failed = true;
            return NULL;
        }
        buf->data = data;
        buf->capacity = capacity;
    }
    return buf->data + buf->bytes;
}

void strbuf_commit(struct strbuf *buf, size_t bytes)
{
    buf->bytes += bytes;
    buf->data[buf->bytes] = '\0';
}

void strbuf_append(struct strbuf *buf, const void *data, size_t bytes)
{
    char *room = strbuf_reserve(buf, bytes);
    if (room == NULL) {
        return;
    }
    if (bytes > 0) {
        memcpy(room, data, bytes);
    }
    strbuf_commit(buf, bytes);
}

void strbuf_append_str(struct strbuf *buf, const char *text)
{
    strbuf_append(buf, text, strlen(text));
}

void strbuf_append_char(struct strbuf *buf, char c)
{
    strbuf_append(buf, &c, 1);
}

void strbuf_printf(struct strbuf *buf, const char *fmt, ...)
{
    va_list args;
    va_list again;

    va_start(args, fmt);
    va_copy(again, args);
    int bytes = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    if (bytes < 0) {
        buf->failed = true;
    } else {
        char *room = strbuf_reserve(buf, (size_t)bytes);
        if (room != NULL) {
            vsnprintf(room, (size_t)bytes + 1, fmt, again);
            strbuf_commit(buf, (size_t)bytes);
        }
    }
    va_end(again);
}
