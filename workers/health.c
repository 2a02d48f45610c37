#include "health.h"

#include <arpa/inet.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "strbuf.h"

enum { CONNECTIONS_MAX = 32, TIMEOUT_S = 10 };

struct health {
    struct health_config config;
    struct MHD_Daemon *daemon;
    int port;
};

static enum MHD_Result answer(struct MHD_Connection *connection, unsigned code, const char *type,
                              const struct strbuf *body, const char *allow)
{
    struct MHD_Response *response = MHD_create_response_from_buffer(
        body->bytes, body->bytes > 0 ? body->data : (void *)"", MHD_RESPMEM_MUST_COPY);
    if (response == NULL) {
        return MHD_NO;
    }
    MHD_add_response_header(response, "Content-Type", type);
    MHD_add_response_header(response, "Cache-Control", "no-store");
    if (allow != NULL) {
        MHD_add_response_header(response, "Allow", allow);
    }
    enum MHD_Result result = MHD_queue_response(connection, code, response);
    MHD_destroy_response(response);
    return result;
}

/* {"status":"ok","redis":{...},"chroma":{...},"embedder":{...}}; returns the HTTP code. */
static unsigned describe(const struct health *health, struct strbuf *body)
{
    static const char *const names[METRICS_UPSTREAMS] = {"redis", "chroma", "embedder"};
    bool ready = health->config.redis_ready(health->config.context);
    bool degraded = false;

    for (int i = 0; i < METRICS_UPSTREAMS; i++) {
        degraded |=
            upstreams_state(health->config.upstreams, (enum metrics_upstream)i) != BREAKER_CLOSED;
    }
    strbuf_printf(body, "{\"status\":\"%s\",\"redis_ready\":%s",
                  !ready     ? "unready"
                  : degraded ? "degraded"
                             : "ok",
                  ready ? "true" : "false");
    for (int i = 0; i < METRICS_UPSTREAMS; i++) {
        strbuf_printf(body, ",\"%s\":", names[i]);
        upstreams_describe(health->config.upstreams, (enum metrics_upstream)i, body);
    }
    strbuf_append_str(body, "}\n");
    return ready ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE;
}

static enum MHD_Result route(const struct health *health, struct MHD_Connection *connection,
                             const char *path, struct strbuf *body)
{
    if (strcmp(path, "/healthz") == 0) {
        bool alive = health->config.alive(health->config.context);
        strbuf_append_str(body, alive ? "ok\n" : "stuck: no lane has moved for too long\n");
        return answer(connection, alive ? MHD_HTTP_OK : MHD_HTTP_SERVICE_UNAVAILABLE, "text/plain",
                      body, NULL);
    }
    if (strcmp(path, "/readyz") == 0) {
        unsigned code = describe(health, body);
        return answer(connection, code, "application/json", body, NULL);
    }
    if (strcmp(path, "/metrics") == 0) {
        metrics_render(health->config.metrics, body);
        return answer(connection, MHD_HTTP_OK, "text/plain; version=0.0.4", body, NULL);
    }
    if (strcmp(path, "/") == 0) {
        strbuf_append_str(body, "stillhouse-worker\n/healthz\n/readyz\n/metrics\n");
        return answer(connection, MHD_HTTP_OK, "text/plain", body, NULL);
    }
    strbuf_append_str(body, "not found: try /healthz, /readyz or /metrics\n");
    return answer(connection, MHD_HTTP_NOT_FOUND, "text/plain", body, NULL);
}

static enum MHD_Result handle(void *context, struct MHD_Connection *connection, const char *path,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_bytes, void **state)
{
    struct strbuf body = {0};
    enum MHD_Result result;
    (void)version;
    (void)upload;
    (void)upload_bytes;
    (void)state;

    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0) {
        strbuf_append_str(&body, "only GET and HEAD\n");
        result = answer(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", &body, "GET, HEAD");
    } else {
        result = route(context, connection, path, &body);
    }
    strbuf_free(&body);
    return result;
}

/* Splits "host:port" or "[host]:port" and resolves it for listening. */
static enum status resolve(const char *bind, struct addrinfo **out, struct error *err)
{
    char host[128];
    const struct addrinfo hints = {.ai_family = AF_UNSPEC,
                                   .ai_socktype = SOCK_STREAM,
                                   .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
    const char *colon = strrchr(bind, ':');
    size_t bytes = colon != NULL ? (size_t)(colon - bind) : 0;

    if (bytes == 0 || bytes >= sizeof host) {
        return error_set(err, STATUS_INVALID, "http address \"%s\": expected HOST:PORT", bind);
    }
    if (bind[0] == '[' && colon[-1] == ']') {
        memcpy(host, bind + 1, bytes - 2);
        host[bytes - 2] = '\0';
    } else {
        memcpy(host, bind, bytes);
        host[bytes] = '\0';
    }
    int failure = getaddrinfo(host, colon + 1, &hints, out);
    if (failure != 0) {
        return error_set(err, STATUS_INVALID, "http address \"%s\": %s", bind,
                         gai_strerror(failure));
    }
    return STATUS_OK;
}

enum status health_start(const struct health_config *config, struct health **out, struct error *err)
{
    struct addrinfo *address = NULL;
    enum status status = resolve(config->bind, &address, err);
    if (status != STATUS_OK) {
        return status;
    }
    struct health *health = calloc(1, sizeof *health);
    if (health == NULL) {
        freeaddrinfo(address);
        return error_set(err, STATUS_OOM, "no memory for the http endpoint");
    }
    health->config = *config;
    unsigned flags = MHD_USE_INTERNAL_POLLING_THREAD;
    if (address->ai_family == AF_INET6) {
        flags |= MHD_USE_IPv6;
    }
    health->daemon =
        MHD_start_daemon(flags, 0, NULL, NULL, handle, health, MHD_OPTION_SOCK_ADDR,
                         address->ai_addr, MHD_OPTION_CONNECTION_LIMIT, (unsigned)CONNECTIONS_MAX,
                         MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)TIMEOUT_S, MHD_OPTION_END);
    freeaddrinfo(address);
    if (health->daemon == NULL) {
        free(health);
        return error_set(err, STATUS_FAILED, "http address \"%s\": cannot listen (is it in use?)",
                         config->bind);
    }
    const union MHD_DaemonInfo *info =
        MHD_get_daemon_info(health->daemon, MHD_DAEMON_INFO_BIND_PORT);
    health->port = info != NULL ? info->port : 0;
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
