/* json/write.h - writing JSON into a strbuf; documents are read with cJSON.
 *
 * Vectors go out as base64 or with the shortest digits that read back as the same float32, by our
 * own hand (json/floats.c): most of what a distillation costs a worker is that text, and printf
 * takes several times as long. Any thread; one strbuf one thread.
 */
#ifndef STILLHOUSE_JSON_WRITE_H
#define STILLHOUSE_JSON_WRITE_H

#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"

/* "text" with quotes; bytes must be valid UTF-8. What text_is_safe_codepoint refuses is escaped, so
 * that a document can be shown on a terminal and says the same. */
void json_string(struct strbuf *out, const char *text, size_t bytes);
void json_str(struct strbuf *out, const char *text);
void json_int(struct strbuf *out, int64_t number);

/* The shortest text that reads back as the same double, with a point or an exponent, so that a
 * reader that tells integers from floats keeps it a float (1.0); NaN and infinities as null. */
void json_double(struct strbuf *out, double number);

/* printf writes the host program's decimal point, which may be a comma or several bytes; JSON wants
 * a full stop. Changes `text` in place, returns its new length. */
size_t json_use_full_stop(char *text);

/* "base64" with quotes. */
void json_base64(struct strbuf *out, const void *data, size_t bytes);

/* [0.1,-2,1e-7...] with the shortest text that reads back as the same float32. Finite numbers only
 * (others become null). */
void json_floats(struct strbuf *out, const float *numbers, size_t count);

#endif
