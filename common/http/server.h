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
 * headers and the query are 8 KiB at most.
 *
 * An answer that takes time is given by another thread, and nobody waits for it but who asked:
 *
 *     static void answer(void *context, const char *path, struct http_server_request *request,
 *                        struct http_server_reply *reply)
 *     {
 *         put_in_line(context, http_server_defer(request));
 *     }
 *
 * and the other thread:
 *
 *     struct http_server_reply reply = {.code = 200, .type = "application/json", .body = text};
 *     http_server_send(request, &reply);
 */
#ifndef STILLHOUSE_HTTP_SERVER_H
#define STILLHOUSE_HTTP_SERVER_H

#include "base/slice.h"
#include "base/status.h"
#include "base/strbuf.h"

enum { HTTP_SERVER_GUESTS = 256 };

struct http_server;         /* opaque */
struct http_server_request; /* opaque */

/* What goes back: 404 without a body unless said otherwise. The server frees the body. */
struct http_server_reply {
    unsigned code;
    const char *type; /* Content-Type; static */
    struct strbuf body;
};

/* Runs in the server's thread, one at a time: whoever waits in it keeps all others waiting. `path`
 * is without its query; it and the request live until the answer is given. */
typedef void http_server_answer(void *context, const char *path,
                                struct http_server_request *request,
                                struct http_server_reply *reply);

/* In the server's thread, from within `answer`: the answer comes later, by http_server_send, which
 * must be called once, from any thread; `reply` does not count. The request is nobody else's until
 * then. */
struct http_server_request *http_server_defer(struct http_server_request *request) MUSTCHECK;

/* Gives the deferred answer; takes over the body. The request is gone. */
void http_server_send(struct http_server_request *request, struct http_server_reply *reply);

/* What stands behind the path's '?', decoded; no foreign byte is left out, NUL neither. */
struct http_server_field {
    struct slice name, value; /* as long as the request; without '=' the value is empty */
};
/* The first `room` of them; returns how many there are. */
size_t http_server_fields(const struct http_server_request *request,
                          struct http_server_field *fields, size_t room) MUSTCHECK;

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
/* Waits for the thread; every deferred answer must have been given, and none may be deferred any
 * more but at once. NULL is fine. */
void http_server_stop(struct http_server *server);

/* The port in use, also where 0 was asked for. */
int http_server_port(const struct http_server *server);

#endif
