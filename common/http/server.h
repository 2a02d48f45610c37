/* http/server.h - answers GET and HEAD over HTTP; no stranger can keep others from being answered.
 *
 *     const struct http_server_config config = {"127.0.0.1:9464", "127.0.0.1", 9464, answer,
 *                                               context};
 *     struct http_server *server;
 *     http_server_start(&config, &server, &err);
 *     ...
 *     http_server_stop(server);
 *
 * One thread of libmicrohttpd serves all. Whoever connects is let in: at most HTTP_SERVER_GUESTS
 * connections stand, and when they do, the one that has gone longest without a finished request
 * makes room; from half of them on nobody stays for a second request. A connection whose first
 * request is not done after 10 s goes with the next that comes. One between requests is kept for 75
 * s, so that scrapes keep theirs. Other methods are answered 405, request bodies are not read,
 * headers are 8 KiB at most.
 */
#ifndef STILLHOUSE_HTTP_SERVER_H
#define STILLHOUSE_HTTP_SERVER_H

#include "base/status.h"
#include "base/strbuf.h"

enum { HTTP_SERVER_GUESTS = 256 };

struct http_server; /* opaque */

/* What goes back: 404 without a body unless said otherwise. The server frees the body. */
struct http_server_reply {
    unsigned code;
    const char *type; /* Content-Type; static */
    struct strbuf body;
};

/* Runs in the server's thread, one at a time: whoever waits in it keeps all others waiting. `path`
 * is without its query. */
typedef void http_server_answer(void *context, const char *path, struct http_server_reply *reply);

struct http_server_config {
    const char *shown; /* the address as errors name it; only while starting, as the host */
    const char *host;  /* a name, or an address without brackets */
    int port;          /* 0 = any */
    http_server_answer *answer;
    void *context; /* borrowed, outlives the server */
};

/* From the main thread. STATUS_FAILED names the address and why it cannot be listened on. */
enum status http_server_start(const struct http_server_config *config, struct http_server **out,
                              struct error *err) MUSTCHECK;
void http_server_stop(struct http_server *server); /* waits for the thread; NULL is fine */

/* The port in use, also where 0 was asked for. */
int http_server_port(const struct http_server *server);

#endif
