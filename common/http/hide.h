/* http/hide.h - what we sent does not come back in an error text.
 *
 * Servers and proxies quote what they were sent: the key in a 401, the task's text in a 422. An
 * answer that tells of a failure is quoted in the log, in /readyz, in dead letters and replies, so
 * before anybody reads it what occurs in the request is cut out of it: "no such key: ***". Pure.
 */
#ifndef STILLHOUSE_HTTP_HIDE_H
#define STILLHOUSE_HTTP_HIDE_H

#include "base/strbuf.h"

struct http_sent {
    char *const *headers; /* "Name: value", NULL-terminated: all are secrets */
    const char *body;     /* JSON of our own making */
    size_t body_bytes;
    size_t foreign_from; /* where texts of others begin in it: what stands before may be quoted */
};

enum { HTTP_QUOTED_MAX_BYTES = 16 * 1024 }; /* what may be quoted of an answer is among these */

/* An answer that is no success, its first 16 KiB: runs of 16 characters and more that stand in a
 * string of the request become "***", whole strings from 8 on, and of the headers' values runs of
 * 8, or the whole value from 4 on. Escapes and white space make no difference. */
void http_hide_sent(struct strbuf *body, const struct http_sent *sent);

/* An answer that will be decoded: only the headers' values, byte for byte, in its first 16 KiB. */
void http_hide_headers(struct strbuf *body, char *const *headers);

#endif
