#include "process/health.h"

#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "base/strbuf.h"
#include "config/settings.h"
#include "http/address.h"
#include "http/server.h"
#include "learn/questions.h"
#include "recorder/answers.h"

enum { CODE_OK = 200, CODE_NOT_FOUND = 404, CODE_UNAVAILABLE = 503 };

/* Who asks for the metrics without end gets each text some times, so that the probes beside him
 * need not wait for its making. */
enum { TEXTS_AT_ONCE = 10, TEXTS_MS = 100 };

struct health {
    struct health_config config;
    struct http_server *server;
    struct answers *answers;    /* NULL: no learning store */
    struct strbuf metrics_text; /* the last one made; the server's thread, as all below */
    int64_t texts_since_ms;
    int texts;
};

/* ---- answers --------------------------------------------------------------------------------- */

/* Each appends its body and returns the HTTP code. */
static unsigned answer_health(struct health *health, struct strbuf *body)
{
    const struct health_config *config = &health->config;
    bool alive = config->alive(config->context);

    strbuf_append_str(body, alive ? "ok\n" : "stuck\n");
    return alive ? CODE_OK : CODE_UNAVAILABLE;
}

static unsigned answer_ready(struct health *health, struct strbuf *body)
{
    const struct health_config *config = &health->config;
    bool ready = config->redis_ready(config->context);
    struct strbuf more = {0};
    bool degraded = config->describe != NULL && config->describe(config->context, &more);

    for (int i = 0; i < METRICS_UPSTREAMS; i++) {
        degraded = degraded ||
                   upstreams_worst(config->upstreams, (enum metrics_upstream)i) != BREAKER_CLOSED;
    }
    const char *usable = degraded ? "degraded" : "ok";
    strbuf_printf(body, "{\"status\":\"%s\"", ready ? usable : "unready");
    for (int i = 0; i < METRICS_UPSTREAMS; i++) {
        enum metrics_upstream which = (enum metrics_upstream)i;
        if (which == METRICS_LEARN) {
            continue; /* describe() says more of it, where there is one */
        }
        strbuf_printf(body, ",\"%s\":{", upstreams_name(which));
        if (which == METRICS_REDIS) {
            strbuf_printf(body, "\"state\":\"%s\",", ready ? "up" : "down");
        }
        upstreams_describe(config->upstreams, which, body);
        strbuf_append_char(body, '}');
    }
    if (more.bytes > 0) {
        strbuf_append(body, more.data, more.bytes);
    }
    strbuf_append_str(body, "}\n");
    body->failed = body->failed || !strbuf_ok(&more);
    strbuf_free(&more);
    return ready ? CODE_OK : CODE_UNAVAILABLE;
}

static void make_metrics(const struct health_config *config, struct strbuf *body)
{
    if (config->families != NULL) {
        families_refresh(config->families);
        families_measure(config->families, config->redis_ready(config->context));
    }
    if (config->measure != NULL) {
        config->measure(config->context);
    }
    metrics_render(config->metrics, body);
}

static unsigned answer_metrics(struct health *health, struct strbuf *body)
{
    const int64_t now_ms = clock_now_ms();

    if (now_ms - health->texts_since_ms > TEXTS_MS) {
        health->texts_since_ms = now_ms;
        health->texts = 0;
    }
    if (health->texts < TEXTS_AT_ONCE) {
        health->texts++;
        strbuf_reset(&health->metrics_text);
        make_metrics(&health->config, &health->metrics_text);
    }
    strbuf_append(body, health->metrics_text.data, health->metrics_text.bytes);
    body->failed = body->failed || !strbuf_ok(&health->metrics_text);
    return CODE_OK;
}

static unsigned answer_index(struct health *health, struct strbuf *body)
{
    strbuf_append_str(body, "stillhouse-worker\n/healthz\n/readyz\n/metrics\n");
    for (size_t i = 0; health->answers != NULL && i < questions_count; i++) {
        strbuf_printf(body, ANSWERS_PATH "%s\n", questions[i].name);
    }
    return CODE_OK;
}

static const char text_type[] = "text/plain; charset=utf-8";

static const struct page {
    const char *path;
    const char *type;
    unsigned (*answer)(struct health *health, struct strbuf *body);
} pages[] = {
    {"/healthz", text_type, answer_health},
    {"/readyz", "application/json", answer_ready},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", answer_metrics},
    {"/", text_type, answer_index},
};

static void answer(void *context, const char *path, struct http_server_request *request,
                   struct http_server_reply *reply)
{
    struct health *health = context;
    const bool is_question = strncmp(path, ANSWERS_PATH, strlen(ANSWERS_PATH)) == 0;

    if (is_question && health->answers != NULL) {
        answers_ask(health->answers, path, http_server_defer(request));
        return;
    }
    for (size_t i = 0; i < sizeof pages / sizeof pages[0]; i++) {
        if (strcmp(path, pages[i].path) == 0) {
            reply->type = pages[i].type;
            reply->code = pages[i].answer(health, &reply->body);
            return;
        }
    }
    reply->code = CODE_NOT_FOUND;
    strbuf_append_str(
        &reply->body,
        is_question ? "this worker has no learning store: expected one that serves "
                      "the queue record\n"
                    : "not found: there are /healthz, /readyz and /metrics, and /learn/QUESTION "
                      "of a recorder\n");
}

static enum status listen_at(const struct http_server_config *config, struct health *health,
                             struct error *err)
{
    struct error cause = {0};
    const enum status status = http_server_start(config, &health->server, &cause);

    return status == STATUS_OK
               ? STATUS_OK
               : error_set(err, status,
                           "%s; give this worker another address, --http HOST:PORT, or none, "
                           "--http off",
                           cause.text);
}

enum status health_start(const struct health_config *config, struct health **out, struct error *err)
{
    struct http_server_config server = {.shown = config->bind, .answer = answer};
    char host[HTTP_HOST_BYTES];

    if (!http_split_address(config->bind, host, &server.port)) {
        return error_set(err, STATUS_INVALID,
                         "http address \"%.160s\" is not HOST:PORT or [HOST]:PORT", config->bind);
    }
    struct health *health = must_alloc(1, sizeof *health);
    health->config = *config;
    server.host = host;
    server.context = health;
    enum status status = STATUS_OK;
    if (config->learn != NULL) {
        status = answers_start(config->learn, &health->answers, err);
    }
    if (status == STATUS_OK) {
        status = listen_at(&server, health, err);
    }
    if (status != STATUS_OK) {
        health_stop(health);
        return status;
    }
    *out = health;
    return STATUS_OK;
}

void health_stop(struct health *health)
{
    if (health == NULL) {
        return;
    }
    if (health->answers != NULL) {
        answers_stop(health->answers); /* before the server, which may owe no answer when it ends */
    }
    http_server_stop(health->server);
    answers_free(health->answers);
    strbuf_free(&health->metrics_text);
    free(health);
}

int health_port(const struct health *health)
{
    return http_server_port(health->server);
}
