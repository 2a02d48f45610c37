/* redis/url.h - where a Redis is, as one text says it. Pure, any thread.
 *
 *     struct redis_url url;
 *     char where[REDIS_WHERE_BYTES];
 *     status = redis_url_parse("redis://user:secret@127.0.0.1:6379/0", &url, &err);
 *     printf("%s\n", redis_url_describe(&url, where));     // 127.0.0.1:6379/0
 *
 * Written by hand: several hosts in one URL, as Sentinel needs them, are no URL to libcurl.
 */
#ifndef STILLHOUSE_REDIS_URL_H
#define STILLHOUSE_REDIS_URL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

enum { REDIS_HOST_BYTES = 256, REDIS_SENTINELS_MAX = 8, REDIS_WHERE_BYTES = 320 };

struct redis_host {
    char host[REDIS_HOST_BYTES];
    int port;
};

struct redis_url {
    char host[REDIS_HOST_BYTES]; /* "" for a unix socket and through Sentinel */
    char path[256];              /* unix socket, else "" */
    int port;
    int db;
    char user[128];     /* "" = none */
    char password[256]; /* "" = none */
    bool tls;           /* rediss:// */
    struct redis_host sentinels[REDIS_SENTINELS_MAX];
    size_t sentinel_count;       /* 0 = not through Sentinel */
    char master[128];            /* the name that the sentinels know */
    char sentinel_user[128];     /* "" = none */
    char sentinel_password[256]; /* "" = none */
};

/* Parses redis://user:password@host:port/db, unix:///path?db=N, rediss://..., redis+sentinel://...
 * (percent-decoding all texts; an '@' in the query must be written %40). STATUS_INVALID with a text
 * that names the URL without its passwords. */
enum status redis_url_parse(const char *text, struct redis_url *url, struct error *err) MUSTCHECK;

/* Any URL, malformed ones too, as it may stand in a message:
 * "redis://user:***@host:6379/0?key=***". What could be a password in the wrong place is "***" too:
 * without an '@' a word that is not clearly a host, and whatever a host or a path does not hold.
 * Returns `out`. */
const char *redis_url_hide(const char *text, char *out, size_t size);

/* "127.0.0.1:6379/0", the socket's path, or "h1:26379,h2:26379/name/0": for messages, without
 * secrets. Returns `out`. */
const char *redis_url_describe(const struct redis_url *url, char out[REDIS_WHERE_BYTES]);

/* "host:port" or "[::1]:port". Returns `out`. */
const char *redis_host_describe(const char *host, int port, char out[REDIS_HOST_BYTES + 16]);

#endif
