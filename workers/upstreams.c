#include "upstreams.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "clock.h"
#include "json.h"
#include "log.h"

static const char *const names[METRICS_UPSTREAMS] = {"redis", "chroma", "embedder"};

struct upstream {
    struct breaker breaker;
    char error[ERROR_TEXT_BYTES]; /* "" after a success */
};

struct upstreams {
    pthread_mutex_t lock;
    struct metrics *metrics;
    struct upstream each[METRICS_UPSTREAMS];
};

struct upstreams *upstreams_new(const struct settings *settings, struct metrics *metrics)
{
    struct upstreams *upstreams = calloc(1, sizeof *upstreams);
    if (upstreams == NULL) {
        return NULL;
    }
    pthread_mutex_init(&upstreams->lock, NULL);
    upstreams->metrics = metrics;
    for (int i = 0; i < METRICS_UPSTREAMS; i++) {
        breaker_init(&upstreams->each[i].breaker, settings->breaker_failures,
                     settings->breaker_pause_ms);
        metrics_breaker(metrics, (enum metrics_upstream)i, BREAKER_CLOSED, 0);
    }
    return upstreams;
}

void upstreams_free(struct upstreams *upstreams)
{
    if (upstreams != NULL) {
        pthread_mutex_destroy(&upstreams->lock);
        free(upstreams);
    }
}

/* With the lock held: the gauge follows the state, and a change is said once. */
static void publish(struct upstreams *upstreams, enum metrics_upstream which,
                    enum breaker_state before)
{
    const struct breaker *breaker = &upstreams->each[which].breaker;

    metrics_breaker(upstreams->metrics, which, (int)breaker->state, breaker->opened_total);
    if (breaker->state != before) {
        log_warning("breaker of %s: %s -> %s %s", names[which], breaker_state_name(before),
                    breaker_state_name(breaker->state), upstreams->each[which].error);
    }
}

size_t upstreams_allow(struct upstreams *upstreams, enum metrics_upstream which, size_t wanted)
{
    pthread_mutex_lock(&upstreams->lock);
    enum breaker_state before = upstreams->each[which].breaker.state;
    size_t allowed = breaker_allow(&upstreams->each[which].breaker, clock_now_ms(), wanted);
    publish(upstreams, which, before);
    pthread_mutex_unlock(&upstreams->lock);
    return allowed;
}

static bool is_failure(enum status status)
{
    return status == STATUS_UNREACHABLE || status == STATUS_TIMEOUT ||
           status == STATUS_UNAVAILABLE || status == STATUS_FAILED || status == STATUS_GARBLED;
}

void upstreams_report(struct upstreams *upstreams, enum metrics_upstream which, enum status status,
                      const char *text)
{
    pthread_mutex_lock(&upstreams->lock);
    struct upstream *upstream = &upstreams->each[which];
    enum breaker_state before = upstream->breaker.state;
    if (is_failure(status)) {
        snprintf(upstream->error, sizeof upstream->error, "%s", text != NULL ? text : "");
        breaker_failure(&upstream->breaker, clock_now_ms());
    } else {
        upstream->error[0] = '\0';
        breaker_success(&upstream->breaker, clock_now_ms());
    }
    publish(upstreams, which, before);
    pthread_mutex_unlock(&upstreams->lock);
}

int64_t upstreams_wait_ms(struct upstreams *upstreams, enum metrics_upstream which)
{
    pthread_mutex_lock(&upstreams->lock);
    int64_t wait_ms = breaker_wait_ms(&upstreams->each[which].breaker, clock_now_ms());
    pthread_mutex_unlock(&upstreams->lock);
    return wait_ms;
}

enum breaker_state upstreams_state(struct upstreams *upstreams, enum metrics_upstream which)
{
    pthread_mutex_lock(&upstreams->lock);
    enum breaker_state state = breaker_peek(&upstreams->each[which].breaker, clock_now_ms());
    pthread_mutex_unlock(&upstreams->lock);
    return state;
}

void upstreams_describe(struct upstreams *upstreams, enum metrics_upstream which,
                        struct strbuf *out)
{
    char error[ERROR_TEXT_BYTES];

    pthread_mutex_lock(&upstreams->lock);
    enum breaker_state state = breaker_peek(&upstreams->each[which].breaker, clock_now_ms());
    snprintf(error, sizeof error, "%s", upstreams->each[which].error);
    pthread_mutex_unlock(&upstreams->lock);

    strbuf_append_str(out, "{\"breaker\":");
    json_str(out, breaker_state_name(state));
    if (error[0] != '\0') {
        strbuf_append_str(out, ",\"error\":");
        json_str(out, error);
    }
    strbuf_append_char(out, '}');
}
