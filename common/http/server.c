/* http_server - libmicrohttpd, and who is let in.
 *
 * The library bounds the number of connections and the time that one is silent. That is not enough:
 * who sends a byte now and then is never silent, and at the bound it stops accepting. So each
 * connection is noted, and with every new one those are shut down whose time is over, and, near the
 * bound, the one that has waited longest. A limit for each address was not taken: a kubelet, a
 * proxy and everybody behind one router have the same.
 */
#include "http/server.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/must.h"

enum {
    FIRST_REQUEST_MS = 10000,
    SILENCE_S = 75, /* longer than usual scrape intervals */
    MEMORY_BYTES = 8 * 1024,
    ROOM_KEPT =
        32, /* places that are free before the next comes: the library accepts many a turn */
    PLACES = HTTP_SERVER_GUESTS + ROOM_KEPT + 1, /* the library lets one more in */
};

/* A connection. */
struct guest {
    struct MHD_Connection *connection; /* NULL = a free place */
    int64_t since_ms;                  /* it came, or its last request was answered */
    bool answered;                     /* once at least */
    bool leaving;                      /* shut down, not closed yet */
};

struct http_server_request {
    struct MHD_Connection *connection;
    const char *path;
    struct http_server_request *later; /* itself, where the answer is given by another thread */
    struct http_server_reply reply;    /* that answer */
};

struct http_server {
    struct http_server_config config;
    struct MHD_Daemon *daemon;
    int port;
    size_t bound;                /* of guests */
    struct guest guests[PLACES]; /* the server's thread, as all below */
    bool crowded;                /* at the last arrival: nobody stays for another request */
};

/* ---- guests ---------------------------------------------------------------------------------- */

/* The library sees the end of the connection in its next turn, and closes it. */
static void show_out(struct guest *guest)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(guest->connection, MHD_CONNECTION_INFO_CONNECTION_FD);

    guest->leaving = true;
    if (info != NULL) {
        (void)shutdown(info->connect_fd, SHUT_RDWR);
    }
}

/* Shows out those that came long ago and asked for nothing yet; where the house is full all the
 * same, the one that has waited longest. */
static void make_room(struct http_server *server, int64_t now_ms)
{
    struct guest *oldest = NULL;
    size_t staying = 0;

    for (size_t i = 0; i < PLACES; i++) {
        struct guest *guest = &server->guests[i];
        if (guest->connection == NULL || guest->leaving) {
            continue;
        }
        if (!guest->answered && now_ms - guest->since_ms > FIRST_REQUEST_MS) {
            show_out(guest);
            continue;
        }
        staying++;
        if (oldest == NULL || guest->since_ms < oldest->since_ms) {
            oldest = guest;
        }
    }
    if (staying >= server->bound) {
        show_out(oldest);
    }
    server->crowded = staying >= server->bound / 2;
}

static void come_or_go(void *context, struct MHD_Connection *connection, void **place,
                       enum MHD_ConnectionNotificationCode what)
{
    struct http_server *server = context;

    if (what == MHD_CONNECTION_NOTIFY_CLOSED) {
        if (*place != NULL) {
            *(struct guest *)*place = (struct guest){0};
        }
        return;
    }
    const int64_t now_ms = clock_now_ms();
    make_room(server, now_ms);
    for (size_t i = 0; i < PLACES; i++) {
        if (server->guests[i].connection == NULL) {
            server->guests[i] = (struct guest){.connection = connection, .since_ms = now_ms};
            *place = &server->guests[i];
            return;
        }
    }
}

/* What a request's state points to while its answer is not another thread's. */
static char seen;

static bool is_deferred(const void *state)
{
    return state != NULL && state != &seen;
}

/* A request has ended, well or not. The parameters are libmicrohttpd's. */
static void note_end(void *context, struct MHD_Connection *connection, void **state,
                     enum MHD_RequestTerminationCode how)
{
    const union MHD_ConnectionInfo *info =
        MHD_get_connection_info(connection, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
    struct guest *guest = info == NULL ? NULL : info->socket_context;
    (void)context;

    if (is_deferred(*state)) {
        struct http_server_request *request = *state;
        strbuf_free(&request->reply.body);
        free(request);
        *state = NULL;
    }
    if (guest != NULL && how == MHD_REQUEST_TERMINATED_COMPLETED_OK) {
        guest->answered = true;
        guest->since_ms = clock_now_ms();
    }
}

/* ---- answers --------------------------------------------------------------------------------- */

static const char text_type[] = "text/plain; charset=utf-8";

static enum MHD_Result send_reply(struct MHD_Connection *connection,
                                  const struct http_server_reply *reply, bool last)
{
    static char nothing[] = "";
    const struct strbuf *body = &reply->body;
    struct MHD_Response *response =
        strbuf_ok(body) && body->bytes > 0
            ? MHD_create_response_from_buffer(body->bytes, body->data, MHD_RESPMEM_MUST_COPY)
            : MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
    if (response == NULL) {
        return MHD_NO;
    }

    enum MHD_Result result = MHD_YES;
    if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, reply->type) != MHD_YES ||
        MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") != MHD_YES ||
        (last &&
         MHD_add_response_header(response, MHD_HTTP_HEADER_CONNECTION, "close") != MHD_YES) ||
        (reply->code == MHD_HTTP_METHOD_NOT_ALLOWED &&
         MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD") != MHD_YES)) {
        result = MHD_NO;
    }
    if (result == MHD_YES) {
        result = MHD_queue_response(
            connection, strbuf_ok(body) ? reply->code : MHD_HTTP_INTERNAL_SERVER_ERROR, response);
    }
    MHD_destroy_response(response);
    return result;
}

/* Called for the headers, for each part of a body, and at the end of the request. An answer before
 * the end would close the connection, so a body is passed over; only other methods, which may send
 * much, are answered at once. And called again once a deferred answer has been given. The
 * parameters are libmicrohttpd's. */
/* NOLINTNEXTLINE(readability-non-const-parameter) */
static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_bytes, void **state)
{
    const struct http_server *server = context;
    struct http_server_request request = {.connection = connection, .path = path};
    struct http_server_reply reply = {.code = MHD_HTTP_NOT_FOUND, .type = text_type};
    const bool known = strcmp(method, "GET") == 0 || strcmp(method, "HEAD") == 0;
    (void)version;
    (void)upload;

    if (is_deferred(*state)) {
        const struct http_server_request *answered = *state;
        return send_reply(connection, &answered->reply, server->crowded);
    }
    if (known && (*state == NULL || *upload_bytes > 0)) {
        *state = &seen;
        *upload_bytes = 0;
        return MHD_YES;
    }
    if (known) {
        server->config.answer(server->config.context, path, &request, &reply);
        if (request.later != NULL) {
            *state = request.later;
            strbuf_free(&reply.body);
            return MHD_YES;
        }
    } else {
        reply.code = MHD_HTTP_METHOD_NOT_ALLOWED;
        strbuf_append_str(&reply.body, "only GET and HEAD\n");
    }
    const enum MHD_Result result = send_reply(connection, &reply, server->crowded);
    strbuf_free(&reply.body);
    return result;
}

struct http_server_request *http_server_defer(struct http_server_request *request)
{
    struct http_server_request *later = must_alloc(1, sizeof *later);

    *later = *request;
    request->later = later;
    MHD_suspend_connection(request->connection);
    return later;
}

void http_server_send(struct http_server_request *request, struct http_server_reply *reply)
{
    request->reply = *reply;
    MHD_resume_connection(request->connection);
}

struct field_list {
    struct http_server_field *fields;
    size_t room;
    size_t count;
};

static enum MHD_Result note_field(void *context, enum MHD_ValueKind kind, const char *name,
                                  size_t name_bytes, const char *value, size_t value_bytes)
{
    struct field_list *list = context;
    (void)kind;

    if (list->count < list->room) {
        list->fields[list->count] = (struct http_server_field){
            {name, name_bytes}, {value == NULL ? "" : value, value == NULL ? 0 : value_bytes}};
    }
    list->count++;
    return MHD_YES;
}

size_t http_server_fields(const struct http_server_request *request,
                          struct http_server_field *fields, size_t room)
{
    struct field_list list = {fields, room, 0};

    (void)MHD_get_connection_values_n(request->connection, MHD_GET_ARGUMENT_KIND, note_field,
                                      &list);
    return list.count;
}

/* ---- listening ------------------------------------------------------------------------------- */

static enum status resolve(const struct http_server_config *config, struct addrinfo **out,
                           struct error *err)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    char service[16];

    snprintf(service, sizeof service, "%d", config->port);
    int failure = getaddrinfo(config->host, service, &hints, out);
    return failure == 0 ? STATUS_OK
                        : error_set(err, STATUS_FAILED, "http address \"%.160s\": %s",
                                    config->shown, gai_strerror(failure));
}

/* A listening socket, or -1 with errno. */
static int listen_on(const struct addrinfo *address)
{
    const int yes = 1;
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0) {
        return -1;
    }
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes) != 0 ||
        bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, SOMAXCONN) != 0) {
        int failure = errno;
        close(fd);
        errno = failure;
        return -1;
    }
    return fd;
}

/* Our own socket, so that the error says why: taken, not ours, not allowed. */
static enum status open_socket(const struct http_server_config *config, int *fd, struct error *err)
{
    struct addrinfo *addresses = NULL;
    enum status status = STATUS_OK;

    TRY(resolve(config, &addresses, err));
    *fd = -1;
    for (const struct addrinfo *at = addresses; at != NULL && *fd < 0; at = at->ai_next) {
        *fd = listen_on(at);
    }
    if (*fd < 0) {
        status = error_set(err, STATUS_FAILED, "http address \"%.160s\": cannot listen: %s",
                           config->shown, strerror(errno));
    }
    freeaddrinfo(addresses);
    return status;
}

static int port_of(int fd)
{
    struct sockaddr_storage address = {0};
    socklen_t bytes = sizeof address;

    if (getsockname(fd, (struct sockaddr *)&address, &bytes) != 0) {
        return 0;
    }
    return ntohs(address.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&address)->sin6_port
                                               : ((struct sockaddr_in *)&address)->sin_port);
}

/* A quarter of the descriptors at most: with none left the library would stop accepting. */
static size_t choose_bound(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur / 4 >= HTTP_SERVER_GUESTS) {
        return HTTP_SERVER_GUESTS;
    }
    return limit.rlim_cur < 8 ? 2 : (size_t)limit.rlim_cur / 4;
}

enum status http_server_start(const struct http_server_config *config, struct http_server **out,
                              struct error *err)
{
    int fd = -1;
    struct http_server *server = must_alloc(1, sizeof *server);
    enum status status = open_socket(config, &fd, err);
    if (status != STATUS_OK) {
        free(server);
        return status;
    }
    server->config = *config;
    server->port = port_of(fd);
    server->bound = choose_bound();
    server->daemon = MHD_start_daemon(
        MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD | MHD_ALLOW_SUSPEND_RESUME, 0, NULL, NULL,
        handle, server, MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT,
        (unsigned)(server->bound + server->bound / 8 + 1), MHD_OPTION_CONNECTION_TIMEOUT,
        (unsigned)SILENCE_S, MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_BYTES,
        MHD_OPTION_NOTIFY_CONNECTION, come_or_go, server, MHD_OPTION_NOTIFY_COMPLETED, note_end,
        server, MHD_OPTION_END);
    if (server->daemon == NULL) { /* libmicrohttpd has closed the socket in some of its failures */
        free(server);
        return error_set(err, STATUS_FAILED, "http address \"%.160s\": cannot start the server",
                         config->shown);
    }
    *out = server;
    return STATUS_OK;
}

void http_server_stop(struct http_server *server)
{
    if (server != NULL) {
        MHD_stop_daemon(server->daemon);
        free(server);
    }
}

int http_server_port(const struct http_server *server)
{
    return server->port;
}
