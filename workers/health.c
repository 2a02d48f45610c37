#include "health.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "settings.h"
#include "strbuf.h"

enum { CONNECTIONS_MAX = 32, TIMEOUT_S = 10, BACKLOG = 64 };

struct health {
    struct health_config config;
    struct MHD_Daemon *daemon;
    int port;
};

/* ---- answers --------------------------------------------------------------------------------- */

/* Each appends its body and returns the HTTP code. */
static unsigned answer_health(const struct health_config *config, struct strbuf *body)
{
    bool alive = config->alive(config->context);

    strbuf_append_str(body, alive ? "ok\n" : "stuck\n");
    return alive ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
}

static unsigned answer_ready(const struct health_config *config, struct strbuf *body)
{
    bool ready = config->redis_ready(config->context);
    bool degraded = false;

    for (int i = 0; i < METRICS_UPSTREAMS; i++) {
        degraded = degraded ||
                   upstreams_state(config->upstreams, (enum metrics_upstream)i) != BREAKER_CLOSED;
    }
    const char *usable = degraded ? "degraded" : "ok";
    strbuf_printf(body, "{\"status\":\"%s\"", ready ? usable : "unready");
    for (int i = 0; i < METRICS_UPSTREAMS; i++) {
        enum metrics_upstream which = (enum metrics_upstream)i;
        strbuf_printf(body, ",\"%s\":{", upstreams_name(which));
        if (which == METRICS_REDIS) {
            strbuf_printf(body, "\"state\":\"%s\",", ready ? "up" : "down");
        }
        upstreams_describe_members(config->upstreams, which, body);
        strbuf_append_char(body, '}');
    }
    strbuf_append_str(body, "}\n");
    return ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
}

static unsigned answer_metrics(const struct health_config *config, struct strbuf *body)
{
    if (config->families != NULL) {
        families_refresh(config->families);
    }
    metrics_render(config->metrics, body);
    if (config->families != NULL) {
        families_write(config->families, config->redis_ready(config->context), body);
    }
    return MHD_HTTP_OK;
}

static unsigned answer_index(const struct health_config *config, struct strbuf *body)
{
    (void)config;
    strbuf_append_str(body, "stillhouse-worker\n/healthz\n/readyz\n/metrics\n");
    return MHD_HTTP_OK;
}

static const char text_type[] = "text/plain; charset=utf-8";

static const struct page {
    const char *path;
    const char *type;
    unsigned (*answer)(const struct health_config *config, struct strbuf *body);
} pages[] = {
    {"/healthz", text_type, answer_health},
    {"/readyz", "application/json", answer_ready},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", answer_metrics},
    {"/", text_type, answer_index},
};

/* ---- HTTP ------------------------------------------------------------------------------------ */

static enum MHD_Result send_body(struct MHD_Connection *connection, unsigned code, const char *type,
                                 const struct strbuf *body)
{
    static char nothing[] = "";
    struct MHD_Response *response =
        strbuf_ok(body) && body->bytes > 0
            ? MHD_create_response_from_buffer(body->bytes, body->data, MHD_RESPMEM_MUST_COPY)
            : MHD_create_response_from_buffer(0, nothing, MHD_RESPMEM_PERSISTENT);
    if (response == NULL) {
        return MHD_NO;
    }

    enum MHD_Result result = MHD_YES;
    if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type) != MHD_YES ||
        MHD_add_response_header(response, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store") != MHD_YES ||
        (code == MHD_HTTP_METHOD_NOT_ALLOWED &&
         MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD") != MHD_YES)) {
        result = MHD_NO;
    }
    if (result == MHD_YES) {
        result = MHD_queue_response(
            connection, strbuf_ok(body) ? code : MHD_HTTP_INTERNAL_SERVER_ERROR, response);
    }
    MHD_destroy_response(response);
    return result;
}

/* The parameters are libmicrohttpd's. NOLINTNEXTLINE(readability-non-const-parameter) */
static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_bytes, void **state)
{
    const struct health *health = context;
    const char *type = text_type;
    unsigned code = MHD_HTTP_NOT_FOUND;
    struct strbuf body = {0};
    (void)version;
    (void)upload;
    *upload_bytes = 0; /* a body is not read */
    (void)state;

    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        code = MHD_HTTP_METHOD_NOT_ALLOWED;
        strbuf_append_str(&body, "only GET and HEAD\n");
    } else {
        for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
            if (strcmp(path, pages[i].path) == 0) {
                type = pages[i].type;
                code = pages[i].answer(&health->config, &body);
            }
        }
        if (code == MHD_HTTP_NOT_FOUND) {
            strbuf_append_str(&body, "not found: there are /healthz, /readyz and /metrics\n");
        }
    }
    enum MHD_Result result = send_body(connection, code, type, &body);
    strbuf_free(&body);
    return result;
}

/* ---- listening ------------------------------------------------------------------------------- */

static enum status resolve(const char *bind_text, struct addrinfo **out, struct error *err)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    char host[SETTINGS_HOST_BYTES];
    char service[16];
    int port = 0;

    if (!settings_split_address(bind_text, host, &port)) {
        return error_set(err, STATUS_INVALID,
                         "http address \"%.160s\" is not HOST:PORT or [HOST]:PORT", bind_text);
    }
    snprintf(service, sizeof service, "%d", port);
    int failure = getaddrinfo(host, service, &hints, out);
    if (failure != 0) {
        return error_set(err, STATUS_FAILED, "http address \"%.160s\": %s", bind_text,
                         gai_strerror(failure));
    }
    return STATUS_OK;
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
        bind(fd, address->ai_addr, address->ai_addrlen) != 0 || listen(fd, BACKLOG) != 0) {
        int failure = errno;
        close(fd);
        errno = failure;
        return -1;
    }
    return fd;
}

/* Our own socket, so that the error says why: taken, not ours, not allowed. */
static enum status open_socket(const char *bind_text, int *fd, struct error *err)
{
    struct addrinfo *addresses = NULL;
    enum status status = resolve(bind_text, &addresses, err);

    if (status != STATUS_OK) {
        return status;
    }
    *fd = -1;
    for (const struct addrinfo *at = addresses; at != NULL && *fd < 0; at = at->ai_next) {
        *fd = listen_on(at);
    }
    if (*fd < 0) {
        status = error_set(err, STATUS_FAILED, "http address \"%.160s\": cannot listen: %s",
                           bind_text, strerror(errno));
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

enum status health_start(const struct health_config *config, struct health **out, struct error *err)
{
    int fd = -1;
    struct health *health = calloc(1, sizeof *health);

    if (health == NULL) {
        return error_set(err, STATUS_OOM, "no memory for the http endpoint");
    }
    enum status status = open_socket(config->bind, &fd, err);
    if (status != STATUS_OK) {
        free(health);
        return status;
    }
    health->config = *config;
    health->port = port_of(fd);
    health->daemon = MHD_start_daemon(
        MHD_USE_AUTO | MHD_USE_INTERNAL_POLLING_THREAD, 0, NULL, NULL, handle, health,
        MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)TIMEOUT_S, MHD_OPTION_END);
    if (health->daemon == NULL) { /* libmicrohttpd has closed the socket in some of its failures */
        free(health);
        return error_set(err, STATUS_FAILED, "http address \"%.160s\": cannot start the server",
                         config->bind);
    }
    *out = health;
    return STATUS_OK;
}

void health_stop(struct health *health)
{
    if (health != NULL) {
        MHD_stop_daemon(health->daemon);
        free(health);
    }
}

int health_port(const struct health *health)
{
    return health->port;
}
