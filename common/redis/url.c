#include "redis/url.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { DEFAULT_PORT = 6379, DEFAULT_SENTINEL_PORT = 26379, DATABASES_MAX = 65536 };

/* A part of the URL's text. */
struct part {
    const char *data;
    size_t bytes;
};

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* Copies `part` with its %XX decoded; false when it does not fit, is broken or holds a NUL. */
static bool decode(struct part part, char *out, size_t size)
{
    size_t used = 0;

    for (size_t i = 0; i < part.bytes; i++) {
        char c = part.data[i];
        if (c == '%') {
            const int high = i + 2 < part.bytes ? hex_value(part.data[i + 1]) : -1;
            const int low = i + 2 < part.bytes ? hex_value(part.data[i + 2]) : -1;
            if (high < 0 || low < 0 || high + low == 0) {
                return false;
            }
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (used + 1 >= size) {
            return false;
        }
        out[used++] = c;
    }
    out[used] = '\0';
    return true;
}

static bool parse_number(struct part part, int max, int *out)
{
    int number = 0;

    if (part.bytes == 0 || part.bytes > 6) {
        return false;
    }
    for (size_t i = 0; i < part.bytes; i++) {
        if (part.data[i] < '0' || part.data[i] > '9') {
            return false;
        }
        number = number * 10 + (part.data[i] - '0');
    }
    *out = number;
    return number <= max;
}

/* Everything up to the first `c`, which is dropped; *rest is what follows. All of it without one.
 */
static struct part cut(struct part *rest, char c)
{
    const char *found = rest->bytes == 0 ? NULL : memchr(rest->data, c, rest->bytes);
    if (found == NULL) {
        const struct part all = *rest;
        rest->data += rest->bytes;
        rest->bytes = 0;
        return all;
    }

    const struct part first = {rest->data, (size_t)(found - rest->data)};
    rest->data = found + 1;
    rest->bytes -= first.bytes + 1;
    return first;
}

/* ---- what may be shown of one ---------------------------------------------------------------- */

struct shown {
    char *out;
    size_t size;
    size_t used;
};

static void show(struct shown *shown, struct part part)
{
    const size_t room = shown->size - shown->used - 1;
    const size_t bytes = part.bytes < room ? part.bytes : room;

    memcpy(shown->out + shown->used, part.data, bytes);
    shown->used += bytes;
    shown->out[shown->used] = '\0';
}

static void show_text(struct shown *shown, const char *text)
{
    show(shown, (struct part){text, strlen(text)});
}

/* Letters, digits and what else stands in names, hosts and paths: a password seldom has only these,
 * and then not where they are looked for. */
static bool is_plain(struct part part)
{
    for (size_t i = 0; i < part.bytes; i++) {
        const char c = part.data[i];
        if (!isalnum((unsigned char)c) && strchr("._-:/,[]+", c) == NULL) {
            return false;
        }
    }
    return true;
}

/* Hosts that cannot be taken for a password whose "@host" was forgotten: they have a port, a dot or
 * brackets. */
static bool are_hosts(struct part authority)
{
    do {
        struct part host = cut(&authority, ',');
        const bool named = memchr(host.data, '.', host.bytes) != NULL ||
                           memchr(host.data, '[', host.bytes) != NULL ||
                           (host.bytes == 9 && memcmp(host.data, "localhost", 9) == 0);
        const char *colon = host.bytes == 0 ? NULL : memrchr(host.data, ':', host.bytes);
        int port = 0;
        const bool has_port =
            colon != NULL && colon > host.data &&
            parse_number((struct part){colon + 1, (size_t)(host.data + host.bytes - colon - 1)},
                         65535, &port);
        if (!has_port && (!named || (colon != NULL && host.data[0] != '['))) {
            return false;
        }
    } while (authority.bytes > 0);
    return true;
}

static void show_query(struct shown *shown, struct part query)
{
    const char *before = "?";

    while (query.bytes > 0) {
        struct part value = cut(&query, '&');
        const struct part key = cut(&value, '=');
        int db = 0;
        show_text(shown, before);
        const bool named = value.bytes > 0 && is_plain(key);
        show(shown, named ? key : (struct part){"***", 3});
        show_text(shown, "=");
        show(shown, key.bytes == 2 && memcmp(key.data, "db", 2) == 0 &&
                            parse_number(value, DATABASES_MAX, &db)
                        ? value
                        : (struct part){"***", 3});
        before = "&";
    }
}

const char *redis_url_hide(const char *text, char *out, size_t size)
{
    struct shown shown = {out, size, 0};
    const char *start = strstr(text, "://");

    out[0] = '\0';
    if (start == NULL || !is_plain((struct part){text, (size_t)(start - text)})) {
        show_text(&shown, "***");
        return out;
    }
    start += 3;
    show(&shown, (struct part){text, (size_t)(start - text)});

    struct part rest = {start, strlen(start)};
    const char *at = strrchr(start, '@');
    struct part query = rest;
    struct part path = cut(&query, '?');
    if (at != NULL && at >= path.data + path.bytes) { /* in a password, or in the query? */
        show_text(&shown, "***");
        return out;
    }
    if (at != NULL) {
        struct part secret = {start, (size_t)(at - start)};
        if (memchr(start, ':', secret.bytes) != NULL) {
            const struct part user = cut(&secret, ':');
            show(&shown, is_plain(user) ? user : (struct part){"***", 3});
            show_text(&shown, ":");
        }
        show_text(&shown, "***@");
        path = (struct part){at + 1, (size_t)(path.data + path.bytes - at - 1)};
    }
    struct part hosts = path;
    const struct part authority = cut(&hosts, '/');
    const bool named = at != NULL || strncmp(text, "redis", 5) != 0 || are_hosts(authority);
    show(&shown, named && is_plain(path) ? path : (struct part){"***", 3});
    show_query(&shown, query);
    return out;
}

static enum status bad_url(const char *text, const char *what, struct error *err)
{
    char shown[160];

    return error_set(err, STATUS_INVALID,
                     "redis URL \"%s\": %s; expected redis://[user:password@]host[:port][/db], "
                     "redis+sentinel://host[:port],.../name[/db], rediss://... or "
                     "unix:///path[?db=N]",
                     redis_url_hide(text, shown, sizeof shown), what);
}

/* "user:password", ":password" or "user" (a password is then missing, which is an error). */
static enum status parse_secret(const char *text, struct part secret, struct redis_url *url,
                                struct error *err)
{
    if (memchr(secret.data, ':', secret.bytes) == NULL) {
        return bad_url(text, "a user without a password", err);
    }
    const struct part user = cut(&secret, ':');
    if (!decode(user, url->user, sizeof url->user)) {
        return bad_url(text, "the user cannot be decoded or is too long", err);
    }
    if (secret.bytes == 0 || !decode(secret, url->password, sizeof url->password)) {
        return bad_url(
            text,
            "the password is empty, too long or cannot be decoded (@ : / % are written %40 "
            "%3A %2F %25)",
            err);
    }
    return STATUS_OK;
}

/* Takes "user:password@" off the front. */
static enum status take_secret(const char *text, struct part *rest, struct redis_url *url,
                               struct error *err)
{
    /* A password may hold '@' and '/'; hosts and ports never hold '@', paths seldom do. */
    const char *at = rest->bytes == 0 ? NULL : memrchr(rest->data, '@', rest->bytes);
    if (at == NULL || rest->data[0] == '/') {
        return STATUS_OK;
    }
    const struct part secret = {rest->data, (size_t)(at - rest->data)};
    rest->bytes -= secret.bytes + 1;
    rest->data = at + 1;
    return parse_secret(text, secret, url, err);
}

static enum status parse_unix(const char *text, struct part rest, struct redis_url *url,
                              struct error *err)
{
    const struct part path = cut(&rest, '?');

    if (path.bytes == 0 || path.data[0] != '/') {
        return bad_url(text, "the socket's path must begin with /", err);
    }
    /* 108 bytes is what the kernel's sockaddr_un holds. */
    if (!decode(path, url->path, 108)) {
        return bad_url(text, "the socket's path is too long or cannot be decoded", err);
    }
    if (rest.bytes == 0) {
        return STATUS_OK;
    }
    const struct part key = cut(&rest, '=');
    if (key.bytes != 2 || memcmp(key.data, "db", 2) != 0 ||
        !parse_number(rest, DATABASES_MAX, &url->db)) {
        return bad_url(text, "unknown query", err);
    }
    return STATUS_OK;
}

/* "host", "host:port", "[::1]:port"; an empty host is 127.0.0.1. Without a port *port stays. */
static enum status parse_host(const char *text, struct part where, char name[REDIS_HOST_BYTES],
                              int *port, struct error *err)
{
    struct part host;

    if (where.bytes > 0 && where.data[0] == '[') {
        where.data++;
        where.bytes--;
        if (memchr(where.data, ']', where.bytes) == NULL) {
            return bad_url(text, "[ without ]", err);
        }
        host = cut(&where, ']');
        if (where.bytes > 0 && cut(&where, ':').bytes != 0) {
            return bad_url(text, "something stands between ] and the port", err);
        }
    } else {
        const bool has_port = where.bytes > 0 && memchr(where.data, ':', where.bytes) != NULL;
        host = cut(&where, ':');
        if (has_port && where.bytes == 0) {
            return bad_url(text, "the port is missing", err);
        }
    }
    if (host.bytes == 0) {
        host = (struct part){"127.0.0.1", 9};
    }
    if (!decode(host, name, REDIS_HOST_BYTES)) {
        return bad_url(text, "the host is too long or cannot be decoded", err);
    }
    if (where.bytes > 0 && (!parse_number(where, 65535, port) || *port == 0)) {
        return bad_url(text, "the port must be 1 to 65535", err);
    }
    return STATUS_OK;
}

static enum status parse_network(const char *text, struct part rest, struct redis_url *url,
                                 struct error *err)
{
    TRY(parse_host(text, cut(&rest, '/'), url->host, &url->port, err));
    if (rest.bytes > 0 && !parse_number(rest, DATABASES_MAX, &url->db)) {
        return bad_url(text, "the database must be a number", err);
    }
    return STATUS_OK;
}

/* ---- sentinels ------------------------------------------------------------------------------- */

/* "host:port,host:port,..." */
static enum status parse_sentinels(const char *text, struct part hosts, struct redis_url *url,
                                   struct error *err)
{
    bool more = true;

    while (more) {
        more = hosts.bytes > 0 && memchr(hosts.data, ',', hosts.bytes) != NULL;
        const struct part one = cut(&hosts, ',');
        if (one.bytes == 0) {
            return bad_url(text, "a sentinel's host is empty", err);
        }
        if (url->sentinel_count == REDIS_SENTINELS_MAX) {
            return bad_url(text, "too many sentinels, 8 can be named", err);
        }
        struct redis_host *sentinel = &url->sentinels[url->sentinel_count++];
        sentinel->port = DEFAULT_SENTINEL_PORT;
        TRY(parse_host(text, one, sentinel->host, &sentinel->port, err));
    }
    return STATUS_OK;
}

/* "sentinel_user=U&sentinel_password=P" */
static enum status parse_sentinel_query(const char *text, struct part query, struct redis_url *url,
                                        struct error *err)
{
    while (query.bytes > 0) {
        struct part value = cut(&query, '&');
        const struct part key = cut(&value, '=');
        const bool user = key.bytes == 13 && memcmp(key.data, "sentinel_user", 13) == 0;
        const bool password = key.bytes == 17 && memcmp(key.data, "sentinel_password", 17) == 0;
        if (!user && !password) {
            return bad_url(text, "unknown query", err);
        }
        if (value.bytes == 0 ||
            !(user ? decode(value, url->sentinel_user, sizeof url->sentinel_user)
                   : decode(value, url->sentinel_password, sizeof url->sentinel_password))) {
            return bad_url(text,
                           "the sentinels' user or password is empty, cannot be decoded or "
                           "is too long",
                           err);
        }
    }
    if (url->sentinel_user[0] != '\0' && url->sentinel_password[0] == '\0') {
        return bad_url(text, "sentinel_user without sentinel_password", err);
    }
    return STATUS_OK;
}

/* "hosts/name/db?query" */
static enum status parse_sentinel_url(const char *text, struct part rest, struct redis_url *url,
                                      struct error *err)
{
    struct part path = cut(&rest, '?');
    const struct part hosts = cut(&path, '/');
    const struct part name = cut(&path, '/');

    url->port = 0;
    TRY(parse_sentinels(text, hosts, url, err));
    if (name.bytes == 0 || !decode(name, url->master, sizeof url->master)) {
        return bad_url(text, "the master's name is missing, cannot be decoded or is too long", err);
    }
    if (path.bytes > 0 && !parse_number(path, DATABASES_MAX, &url->db)) {
        return bad_url(text, "the database must be a number", err);
    }
    return parse_sentinel_query(text, rest, url, err);
}

/* ---- the whole ------------------------------------------------------------------------------- */

/* Skips `scheme` at the start of `text`. */
static bool has_scheme(const char *text, const char *scheme, struct part *rest)
{
    const size_t bytes = strlen(scheme);

    if (strncmp(text, scheme, bytes) != 0) {
        return false;
    }
    *rest = (struct part){text + bytes, strlen(text + bytes)};
    return true;
}

enum status redis_url_parse(const char *text, struct redis_url *url, struct error *err)
{
    struct part rest;

    *url = (struct redis_url){.port = DEFAULT_PORT};
    if (has_scheme(text, "rediss+sentinel://", &rest)) {
        return bad_url(text, "TLS together with Sentinel is not supported", err);
    }
    const bool local = has_scheme(text, "unix://", &rest);
    const bool sentinel = !local && has_scheme(text, "redis+sentinel://", &rest);
    url->tls = !local && !sentinel && has_scheme(text, "rediss://", &rest);
    if (!local && !sentinel && !url->tls && !has_scheme(text, "redis://", &rest)) {
        return bad_url(text, "unknown scheme", err);
    }

    TRY(take_secret(text, &rest, url, err));
    if (sentinel) {
        return parse_sentinel_url(text, rest, url, err);
    }
    return local ? parse_unix(text, rest, url, err) : parse_network(text, rest, url, err);
}

const char *redis_host_describe(const char *host, int port, char out[REDIS_HOST_BYTES + 16])
{
    snprintf(out, REDIS_HOST_BYTES + 16, strchr(host, ':') != NULL ? "[%s]:%d" : "%s:%d", host,
             port);
    return out;
}

/* "h1:26379,h2:26379/name/0": as many as fit. */
static void describe_sentinels(const struct redis_url *url, char out[REDIS_WHERE_BYTES])
{
    const int room = (int)(REDIS_WHERE_BYTES - sizeof url->master - 16) / (int)url->sentinel_count;
    char host[REDIS_HOST_BYTES + 16];
    size_t used = 0;

    for (size_t i = 0; i < url->sentinel_count; i++) {
        redis_host_describe(url->sentinels[i].host, url->sentinels[i].port, host);
        used += (size_t)snprintf(out + used, REDIS_WHERE_BYTES - used, "%s%.*s", i == 0 ? "" : ",",
                                 room - 1, host);
    }
    snprintf(out + used, REDIS_WHERE_BYTES - used, "/%s/%d", url->master, url->db);
}

const char *redis_url_describe(const struct redis_url *url, char out[REDIS_WHERE_BYTES])
{
    char host[REDIS_HOST_BYTES + 16];

    if (url->sentinel_count > 0) {
        describe_sentinels(url, out);
    } else if (url->path[0] != '\0') {
        snprintf(out, REDIS_WHERE_BYTES, url->db == 0 ? "%s" : "%s?db=%d", url->path, url->db);
    } else {
        snprintf(out, REDIS_WHERE_BYTES, "%s/%d", redis_host_describe(url->host, url->port, host),
                 url->db);
    }
    return out;
}
