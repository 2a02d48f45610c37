/* base/strbuf.h - a growing byte buffer, for request bodies and rendered text.
 *
 * A failed allocation sticks: later appends do nothing and strbuf_ok() is false, so a long run of
 * appends needs one check at its end. The bytes are followed by a NUL that is not counted.
 * One thread at a time.
 */
#ifndef STILLHOUSE_BASE_STRBUF_H
#define STILLHOUSE_BASE_STRBUF_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct strbuf {
    char *data; /* never NULL after the first append that succeeded */
    size_t bytes;
    size_t capacity;
    bool failed;
};

/* Starts empty, without memory: `struct strbuf b = {0};` does the same. */
void strbuf_init(struct strbuf *buf);

/* Frees the memory; the buffer can be used again. */
void strbuf_free(struct strbuf *buf);

/* Empties it and keeps the memory. Clears a sticky failure. */
void strbuf_reset(struct strbuf *buf);

/* Like reset, but gives memory over `keep_bytes` back: the bound of a long-lived buffer. */
void strbuf_trim(struct strbuf *buf, size_t keep_bytes);

/* False once an allocation failed since the last reset. */
bool strbuf_ok(const struct strbuf *buf) MUSTCHECK;

/* Of a program's buffer: memory, or the end of the process (must.h). */
void strbuf_must(const struct strbuf *buf);

/* Makes room for `extra` bytes more; returns where they go, or NULL. Bytes written there count only
 * after strbuf_commit. */
char *strbuf_reserve(struct strbuf *buf, size_t extra) MUSTCHECK;
void strbuf_commit(struct strbuf *buf, size_t bytes);

void strbuf_append(struct strbuf *buf, const void *data, size_t bytes);
void strbuf_append_str(struct strbuf *buf, const char *text);
void strbuf_append_char(struct strbuf *buf, char c);
void strbuf_printf(struct strbuf *buf, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
