#include "upstreams.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "json.h"
#include "log.h"
#include "text.h"

enum { NEVER = -1 };

struct upstream {
    pthread_mutex_t lock;
    struct breaker breaker;
    int64_t answered_ms;          /* monotonic; NEVER before the first answer */
    char error[ERROR_TEXT_BYTES]; /* "" after an answer */
};

struct upstreams {
    struct metrics *metrics;
    struct upstream each[METRICS_UPSTREAMS];
};

const char *upstreams_name(enum metrics_upstream which)
{
    static const char *const names[METRICS_UPSTREAMS] = {"redis", "chroma", "embedder"};

    return names[which];
}

struct upstreams *upstreams_new(const struct settings *settings, struct metrics *metrics)
{
    struct upstreams *upstreams = calloc(1, sizeof *upstreams);
    if (upstreams == NULL) {
        return NULL;
    }
    upstreams->metrics = metrics;
    for (int i = 0; i < METRICS_UPSTREAMS; i++) {
        struct upstream *upstream = &upstreams->each[i];
        pthread_mutex_init(&upstream->lock, NULL);
        breaker_init(&upstream->breaker, settings->breaker_failures, settings->breaker_pause_ms);
        upstream->answered_ms = NEVER;
        metrics_breaker(metrics, (enum metrics_upstream)i, BREAKER_CLOSED, 0);
    }
    return upstreams;
}

void upstreams_free(struct upstreams *upstreams)
{
    if (upstreams == NULL) {
        return;
    }
    for (int i = 0; i < METRICS_UPSTREAMS; i++) {
        pthread_mutex_destroy(&upstreams->each[i].lock);
    }
    free(upstreams);
}

static struct upstream *lock(struct upstreams *upstreams, enum metrics_upstream which)
{
    struct upstream *upstream = &upstreams->each[which];

    pthread_mutex_lock(&upstream->lock);
    return upstream;
}

/* A change of state as it is to be logged, once the lock is let go. */
struct change {
    enum breaker_state before;
    enum breaker_state after;
    char error[ERROR_TEXT_BYTES];
};

/* The gauge follows while the lock is held, so that two changes do not overtake each other. */
static void unlock(struct upstreams *upstreams, enum metrics_upstream which,
                   struct upstream *upstream, struct change *change)
{
    const struct breaker *breaker = &upstream->breaker;

    change->after = breaker->state;
    if (change->after != change->before) {
        metrics_breaker(upstreams->metrics, which, (int)breaker->state, breaker->opened_total);
        snprintf(change->error, sizeof change->error, "%s", upstream->error);
    }
    pthread_mutex_unlock(&upstream->lock);

    if (change->after == change->before) {
        return;
    }
    if (change->after == BREAKER_OPEN) {
        log_warning("%s: breaker is open: %s", upstreams_name(which), change->error);
    } else {
        log_info("%s: breaker is %s", upstreams_name(which), breaker_state_name(change->after));
    }
}

size_t upstreams_allow(struct upstreams *upstreams, enum metrics_upstream which, size_t wanted)
{
    struct upstream *upstream = lock(upstreams, which);
    struct change change = {.before = upstream->breaker.state};

    size_t allowed = breaker_allow(&upstream->breaker, clock_now_ms(), wanted);
    unlock(upstreams, which, upstream, &change);
    return allowed;
}

static bool is_failure(enum status status)
{
    return status == STATUS_UNREACHABLE || status == STATUS_TIMEOUT ||
           status == STATUS_UNAVAILABLE || status == STATUS_FAILED || status == STATUS_GARBLED;
}

static void note_answer(struct upstream *upstream, enum metrics_upstream which, int64_t now_ms)
{
    upstream->error[0] = '\0';
    upstream->answered_ms = now_ms;
    if (which == METRICS_REDIS && upstream->breaker.state != BREAKER_CLOSED) {
        breaker_reset(&upstream->breaker); /* nobody asks leave for it, so nobody probes */
    } else {
        breaker_success(&upstream->breaker, now_ms);
    }
}

/* Texts may quote what a server said: what cannot stand in JSON is cut out of them. */
static void note_failure(struct upstream *upstream, const char *text, int64_t now_ms)
{
    snprintf(upstream->error, sizeof upstream->error, "%s",
             text != NULL && text[0] != '\0' ? text : "failed");
    if (!text_is_utf8(upstream->error, strlen(upstream->error))) {
        for (char *c = upstream->error; *c != '\0'; c++) {
            *c = (unsigned char)*c < 0x80 ? *c : '?';
        }
    }
    breaker_failure(&upstream->breaker, now_ms);
}

void upstreams_report(struct upstreams *upstreams, enum metrics_upstream which, enum status status,
                      const char *text)
{
    struct upstream *upstream = lock(upstreams, which);
    struct change change = {.before = upstream->breaker.state};

    if (is_failure(status)) {
        note_failure(upstream, text, clock_now_ms());
    } else {
        note_answer(upstream, which, clock_now_ms());
    }
    unlock(upstreams, which, upstream, &change);
}

void upstreams_cancel(struct upstreams *upstreams, enum metrics_upstream which)
{
    struct upstream *upstream = lock(upstreams, which);

    breaker_cancel(&upstream->breaker, clock_now_ms());
    pthread_mutex_unlock(&upstream->lock);
}

int64_t upstreams_wait_ms(struct upstreams *upstreams, enum metrics_upstream which)
{
    struct upstream *upstream = lock(upstreams, which);

    int64_t wait_ms = breaker_wait_ms(&upstream->breaker, clock_now_ms());
    pthread_mutex_unlock(&upstream->lock);
    return wait_ms;
}

enum breaker_state upstreams_state(struct upstreams *upstreams, enum metrics_upstream which)
{
    struct upstream *upstream = lock(upstreams, which);

    enum breaker_state state = breaker_peek(&upstream->breaker, clock_now_ms());
    pthread_mutex_unlock(&upstream->lock);
    return state;
}

void upstreams_describe_members(struct upstreams *upstreams, enum metrics_upstream which,
                                struct strbuf *out)
{
    char error[ERROR_TEXT_BYTES];
    struct upstream *upstream = lock(upstreams, which);
    int64_t now_ms = clock_now_ms();
    enum breaker_state state = breaker_peek(&upstream->breaker, now_ms);
    int64_t answered_ms = upstream->answered_ms;

    snprintf(error, sizeof error, "%s", upstream->error);
    pthread_mutex_unlock(&upstream->lock);

    strbuf_append_str(out, "\"breaker\":");
    json_str(out, breaker_state_name(state));
    if (answered_ms != NEVER) {
        strbuf_append_str(out, ",\"answered_ms_ago\":");
        json_int(out, now_ms - answered_ms);
    }
    if (error[0] != '\0') {
        strbuf_append_str(out, ",\"error\":");
        json_str(out, error);
    }
}

void upstreams_describe(struct upstreams *upstreams, enum metrics_upstream which,
                        struct strbuf *out)
{
    strbuf_append_char(out, '{');
    upstreams_describe_members(upstreams, which, out);
    strbuf_append_char(out, '}');
}
