#include "rule_server.h"

#include <cjson/cJSON.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "http/client.h"

enum { CONNECTIONS_MAX = 256, URL_BYTES = 512 };

struct connection {
    struct rule_server *server;
    pthread_t thread;
    int fd;
};

struct rule_server {
    rule_function *rule;
    void *context;
    const char *behind;
    char url[64];
    int listener;
    pthread_t thread;
    pthread_mutex_t lock; /* guards the following, and the rule */
    struct connection connections[CONNECTIONS_MAX];
    size_t count;
    size_t requests;
};

static void die(const char *what)
{
    perror(what);
    abort();
}

/* Reads one request; false at the end of the connection. `head` ends with NUL where it ends. */
static bool read_request(int fd, struct strbuf *in, size_t *head_bytes, size_t *bytes)
{
    char chunk[16384];

    for (;;) {
        const char *end = in->bytes > 0 ? memmem(in->data, in->bytes, "\r\n\r\n", 4) : NULL;
        if (end != NULL) {
            const char *length = strcasestr(in->data, "content-length:");
            const size_t body = length != NULL && length < end ? strtoul(length + 15, NULL, 10) : 0;
            *head_bytes = (size_t)(end - in->data) + 4;
            *bytes = *head_bytes + body;
            if (in->bytes >= *bytes) {
                return true;
            }
        }
        const ssize_t got = read(fd, chunk, sizeof chunk);
        if (got <= 0) {
            return false;
        }
        strbuf_append(in, chunk, (size_t)got);
        if (!strbuf_ok(in)) {
            die("memory");
        }
    }
}

static int forward(const struct rule_server *server, struct http *http,
                   const struct rule_request *request, struct strbuf *answer)
{
    char url[URL_BYTES];
    struct http_response response = {0};
    struct error err = {0};

    snprintf(url, sizeof url, "%s%s", server->behind, request->path);
    const struct http_request passed_on = {
        .method = request->method,
        .url = url,
        .body = request->body[0] == '\0' ? NULL : request->body,
        .body_bytes = strlen(request->body),
    };
    const enum status status = http_perform(http, &passed_on, &response, &err);
    if (status == STATUS_OK && response.body.bytes > 0) {
        strbuf_append(answer, response.body.data, response.body.bytes);
    }
    const int code = status == STATUS_OK ? response.code : 502;
    http_response_free(&response);
    return code;
}

static void answer_one(struct connection *connection, struct http *http,
                       const struct rule_request *request)
{
    struct rule_server *server = connection->server;
    struct strbuf answer = {0};
    char head[128];

    pthread_mutex_lock(&server->lock);
    server->requests++;
    int code = server->rule(server->context, request, &answer);
    pthread_mutex_unlock(&server->lock);
    if (code == RULE_FORWARD) {
        strbuf_reset(&answer);
        code = forward(server, http, request, &answer);
    }
    const int bytes = snprintf(head, sizeof head, "HTTP/1.1 %d Said\r\nContent-Length: %zu\r\n\r\n",
                               code, answer.bytes);
    const bool sent = send(connection->fd, head, (size_t)bytes, MSG_NOSIGNAL) == bytes &&
                      (answer.bytes == 0 || send(connection->fd, answer.data, answer.bytes,
                                                 MSG_NOSIGNAL) == (ssize_t)answer.bytes);
    strbuf_free(&answer);
    if (!sent) {
        shutdown(connection->fd, SHUT_RDWR);
    }
}

static void *serve(void *argument)
{
    struct connection *connection = argument;
    struct http *http = http_new(&(struct http_config){.upstream = "behind"});
    struct strbuf in = {0};
    size_t head_bytes = 0;
    size_t bytes = 0;

    while (http != NULL && read_request(connection->fd, &in, &head_bytes, &bytes)) {
        char method[16] = "";
        char path[URL_BYTES] = "";
        char *body = strndup(in.data + head_bytes, bytes - head_bytes);
        if (body == NULL || sscanf(in.data, "%15s %511s", method, path) != 2) {
            free(body);
            break;
        }
        const struct rule_request request = {method, path, body};
        answer_one(connection, http, &request);
        free(body);
        memmove(in.data, in.data + bytes, in.bytes - bytes);
        in.bytes -= bytes;
    }
    strbuf_free(&in);
    http_free(http);
    return NULL;
}

static void *accept_all(void *argument)
{
    struct rule_server *server = argument;

    for (;;) {
        const int fd = accept(server->listener, NULL, NULL);
        if (fd < 0) {
            return NULL;
        }
        pthread_mutex_lock(&server->lock);
        if (server->count == CONNECTIONS_MAX) {
            die("too many connections");
        }
        struct connection *connection = &server->connections[server->count++];
        *connection = (struct connection){.server = server, .fd = fd};
        if (pthread_create(&connection->thread, NULL, serve, connection) != 0) {
            die("pthread_create");
        }
        pthread_mutex_unlock(&server->lock);
    }
}

struct rule_server *rule_server_start(rule_function *rule, void *context, const char *behind)
{
    struct rule_server *server = calloc(1, sizeof *server);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t bytes = sizeof address;

    if (server == NULL) {
        die("calloc");
    }
    server->rule = rule;
    server->context = context;
    server->behind = behind;
    pthread_mutex_init(&server->lock, NULL);
    server->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (server->listener < 0 ||
        bind(server->listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(server->listener, 64) != 0 ||
        getsockname(server->listener, (struct sockaddr *)&address, &bytes) != 0) {
        die("listen");
    }
    snprintf(server->url, sizeof server->url, "http://127.0.0.1:%d", ntohs(address.sin_port));
    if (pthread_create(&server->thread, NULL, accept_all, server) != 0) {
        die("pthread_create");
    }
    return server;
}

const char *rule_server_url(const struct rule_server *server)
{
    return server->url;
}

size_t rule_server_requests(struct rule_server *server)
{
    pthread_mutex_lock(&server->lock);
    const size_t requests = server->requests;
    pthread_mutex_unlock(&server->lock);
    return requests;
}

void rule_server_stop(struct rule_server *server)
{
    shutdown(server->listener, SHUT_RDWR);
    pthread_join(server->thread, NULL);
    close(server->listener);
    for (size_t i = 0; i < server->count; i++) {
        shutdown(server->connections[i].fd, SHUT_RDWR);
        pthread_join(server->connections[i].thread, NULL);
        close(server->connections[i].fd);
    }
    pthread_mutex_destroy(&server->lock);
    free(server);
}

int rule_embed(const struct rule_request *request, struct strbuf *answer)
{
    cJSON *root = cJSON_Parse(request->body);
    const int count = cJSON_GetArraySize(cJSON_GetObjectItem(root, "input"));

    strbuf_append_str(answer, "{\"data\":[");
    for (int i = 0; i < count; i++) {
        strbuf_printf(answer, "%s{\"index\":%d,\"embedding\":[%d,1]}", i > 0 ? "," : "", i, i + 1);
    }
    strbuf_append_str(answer, "]}");
    cJSON_Delete(root);
    return 200;
}
