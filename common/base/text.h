/* base/text.h - the text rules of the contract: normalising, hashing, domains, ids, UTF-8,
 * durations.
 *
 * Any thread; pure but for text_make_id. Nothing is left allocated.
 */
#ifndef STILLHOUSE_BASE_TEXT_H
#define STILLHOUSE_BASE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum {
    TEXT_HASH_CHARS = 32, /* without the NUL */
    TEXT_ID_MAX = 64,     /* bytes of a job id */
    TEXT_DOMAIN_MAX = 63, /* bytes of a domain */
};

/* The first 32 lower-case hex digits of SHA-256 over `text` after the contract's normalisation
 * (outer ASCII white space removed, inner runs made one space): query_hash and text_hash.
 * `out` holds TEXT_HASH_CHARS + 1 bytes. White space is " \t\n\r\v\f", as in Python's
 * bytes.split(). */
void text_hash(const char *text, size_t bytes, char out[TEXT_HASH_CHARS + 1]);

/* The same digits over the bytes as they are: the content hash of an indexed document. */
void text_hash_raw(const void *data, size_t bytes, char out[TEXT_HASH_CHARS + 1]);

/* True when nothing but white space is left. */
bool text_is_blank(const char *text, size_t bytes) MUSTCHECK;

/* Well-formed UTF-8 (no overlong forms, no surrogates). NUL bytes are well-formed. */
bool text_is_utf8(const char *text, size_t bytes) MUSTCHECK;

/* The largest n <= `limit` and <= `bytes` such that text[0..n) does not end inside a UTF-8
 * sequence. */
size_t text_utf8_cut(const char *text, size_t bytes, size_t limit) MUSTCHECK;

/* Decodes the character at `text` (bytes > 0); its length, or 0 where no well-formed one stands. */
size_t text_decode(const char *text, size_t bytes, uint32_t *c) MUSTCHECK;

/* False for what changes how a terminal or a reader takes the rest and shows nothing of itself: C0
 * and C1 controls (U+009B begins an escape sequence), DEL, the format characters (Unicode's Cf:
 * direction, joiners, tags), line and paragraph separators. */
bool text_is_safe_codepoint(uint32_t c) MUSTCHECK;

/* Puts '?' in the place of each character that is not safe and of each byte that is no UTF-8.
 * Returns the new length, which is never larger. */
size_t text_make_safe(char *text, size_t bytes) MUSTCHECK;

/* [a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])? */
bool text_is_domain(const char *text, size_t bytes) MUSTCHECK;

/* 1-64 bytes of [A-Za-z0-9._:-] */
bool text_is_id(const char *text, size_t bytes) MUSTCHECK;

/* A new UUIDv7 as text (36 bytes and NUL) from `unix_ms` and the kernel's random numbers. */
void text_make_id(int64_t unix_ms, char out[37]);

/* The id of a job that follows from another: "<id><suffix>"; where that is too long, with the hash
 * of the id in its place. `suffix` of a few bytes. Returns `out`. */
const char *text_derive_id(const char *id, size_t bytes, const char *suffix,
                           char out[TEXT_ID_MAX + 1]);

/* "250ms", "5s", "2m", "1h", "7d" or a bare number of milliseconds "0" (only zero may lack a unit).
 * False when it is anything else, negative, or over INT64_MAX / 2. */
bool text_parse_duration(const char *text, int64_t *out_ms) MUSTCHECK;

/* "0", "1s", "1500ms", "7d": the shortest form that parses back. Returns `out`. */
const char *text_format_duration(int64_t ms, char out[32]);

/* Appends to nothing, writes into `out`: a printable, quoted-safe excerpt of foreign bytes for
 * error texts: control bytes, non-ASCII bytes, quotes and backslashes become '?', longer ones end
 * in "...". Returns `out`. */
const char *text_excerpt(const void *data, size_t bytes, char out[48]);

#endif
