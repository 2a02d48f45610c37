#include "context/upstreams.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "base/text.h"
#include "chroma/chroma.h"
#include "json/write.h"

enum { NEVER = -1, WRITTEN_DOMAINS = 256, TELL_AGAIN_MS = 60 * 1000, PATIENCE_STEPS = 3 };

/* One operation. */
struct upstream {
    pthread_mutex_t lock;
    struct breaker breaker;
    int64_t answered_ms; /* monotonic; NEVER before the first answer */
    int timeouts;        /* in a row */
    bool is_patient;     /* somebody waits longer than usual */
    int64_t told_ms;     /* the last line in the log about a failure of what is only told */
    char error[ERROR_TEXT_BYTES]; /* "" after an answer */
    struct news news;             /* between us and the fleet */
};

/* When a domain was written to last. Two of one slot forget each other, which makes nobody guilty.
 */
struct written {
    char domain[CHROMA_DOMAIN_BYTES];
    int64_t unix_ms;
};

struct upstreams {
    struct metrics *metrics;
    struct upstream each[OPERATIONS];
    pthread_mutex_t written_lock;
    struct written written[WRITTEN_DOMAINS];
    atomic_size_t text_bound; /* in characters; 0 = none known */
    char settings[METRICS_UPSTREAMS][NEWS_SETTING_CHARS + 1];
};

const char *upstreams_name(enum metrics_upstream which)
{
    static const char *const names[METRICS_UPSTREAMS] = {"redis", "chroma", "embedder", "learn"};

    return names[which];
}

static bool belongs(enum operation operation, enum metrics_upstream which)
{
    return strcmp(operation_upstream(operation), upstreams_name(which)) == 0;
}

/* Of what makes two workers ask the same server the same way. A digest: a key stays where it is. */
static void name_settings(struct upstreams *upstreams, const struct settings *settings)
{
    struct strbuf text = {0};
    char hash[TEXT_HASH_CHARS + 1];

    strbuf_printf(&text, "%s\n%s\n%s\n%s", settings->chroma_url, settings->chroma_tenant,
                  settings->chroma_database, settings->chroma_token);
    text_hash_raw(text.data != NULL ? text.data : "", text.bytes, hash);
    memcpy(upstreams->settings[METRICS_CHROMA], hash, NEWS_SETTING_CHARS);
    strbuf_reset(&text);
    strbuf_printf(&text, "%d\n%s\n%s\n%s\n%lld", (int)settings->embedder, settings->embed_url,
                  settings->embed_model, settings->embed_key, (long long)settings->embed_dimension);
    text_hash_raw(text.data != NULL ? text.data : "", text.bytes, hash);
    memcpy(upstreams->settings[METRICS_EMBEDDER], hash, NEWS_SETTING_CHARS);
    strbuf_free(&text);
}

struct upstreams *upstreams_new(const struct settings *settings, struct metrics *metrics)
{
    struct upstreams *upstreams = must_alloc(1, sizeof *upstreams);

    upstreams->metrics = metrics;
    name_settings(upstreams, settings);
    pthread_mutex_init(&upstreams->written_lock, NULL);
    for (int i = 0; i < OPERATIONS; i++) {
        struct upstream *upstream = &upstreams->each[i];
        pthread_mutex_init(&upstream->lock, NULL);
        breaker_init(&upstream->breaker, settings->breaker_failures, settings->breaker_pause_ms);
        upstream->news.setting =
            upstreams->settings[i == OPERATION_EMBED ? METRICS_EMBEDDER : METRICS_CHROMA];
        upstream->answered_ms = NEVER;
        upstream->told_ms = NEVER;
        metrics_set(metrics, METRICS_BREAKER_STATE, (size_t)i, 0, BREAKER_CLOSED);
    }
    return upstreams;
}

void upstreams_free(struct upstreams *upstreams)
{
    if (upstreams == NULL) {
        return;
    }
    for (int i = 0; i < OPERATIONS; i++) {
        pthread_mutex_destroy(&upstreams->each[i].lock);
    }
    pthread_mutex_destroy(&upstreams->written_lock);
    free(upstreams);
}

static struct upstream *lock(struct upstreams *upstreams, enum operation operation)
{
    struct upstream *upstream = &upstreams->each[operation];

    pthread_mutex_lock(&upstream->lock);
    return upstream;
}

/* A change of state as it is to be logged, once the lock is let go. */
struct change {
    enum breaker_state before;
    enum breaker_state after;
    bool tell; /* a failure of what nobody asks leave for, the first in a minute */
    char error[ERROR_TEXT_BYTES];
};

/* The gauge follows while the lock is held, so that two changes do not overtake each other. */
static void unlock(struct upstreams *upstreams, enum operation operation, struct upstream *upstream,
                   struct change *change)
{
    const struct breaker *breaker = &upstream->breaker;
    const char *name = operation_upstream(operation);
    const char *action = operation_name(operation);

    change->after = breaker->state;
    if (change->after != change->before) {
        metrics_set(upstreams->metrics, METRICS_BREAKER_STATE, operation, 0, breaker->state);
        metrics_set(upstreams->metrics, METRICS_BREAKER_OPENED, operation, 0,
                    (int64_t)breaker->opened_total);
    }
    if (change->after != change->before || change->tell) {
        snprintf(change->error, sizeof change->error, "%s", upstream->error);
    }
    pthread_mutex_unlock(&upstream->lock);

    if (change->after != change->before && change->after == BREAKER_OPEN) {
        log_warning("%s %s: breaker is open: %s", name, action,
                    change->error[0] == '\0' ? "another worker says so" : change->error);
    } else if (change->after != change->before) {
        log_info("%s %s: breaker is %s", name, action, breaker_state_name(change->after));
    } else if (change->tell) {
        log_warning("%s %s: %s", name, action, change->error);
    }
}

size_t upstreams_allow(struct upstreams *upstreams, enum operation operation, size_t wanted)
{
    const int64_t now_ms = clock_now_ms();
    struct upstream *upstream = lock(upstreams, operation);
    struct change change = {.before = upstream->breaker.state};

    const bool is_held =
        now_ms < upstream->news.not_before_ms ||
        (upstream->breaker.state != BREAKER_CLOSED && now_ms < upstream->news.elsewhere_ms);
    const size_t allowed = is_held ? 0 : breaker_allow(&upstream->breaker, now_ms, wanted);
    if (allowed > 0 && upstream->breaker.state == BREAKER_HALF_OPEN) {
        upstream->news.probes = true;
    }
    unlock(upstreams, operation, upstream, &change);
    return allowed;
}

/* Redis answers for many keys: what it says of one of them is no word about itself. */
static bool is_failure(enum operation operation, enum status status, const struct error *err)
{
    switch (status) {
    case STATUS_UNREACHABLE:
    case STATUS_TIMEOUT:
    case STATUS_UNAVAILABLE:
    case STATUS_FAILED:
    case STATUS_GARBLED:
        return true;
    case STATUS_INVALID:
        return operation != OPERATION_REDIS && err != NULL && err->http_code > 0;
    case STATUS_OK:
    case STATUS_OOM:
        return false;
    default:
        return operation != OPERATION_REDIS;
    }
}

static bool says_nothing(enum operation operation, enum status status)
{
    return operation != OPERATION_REDIS && status == STATUS_INVALID;
}

static void note_answer(struct upstream *upstream, enum operation operation, int64_t now_ms)
{
    upstream->error[0] = '\0';
    upstream->answered_ms = now_ms;
    upstream->told_ms = NEVER;
    news_note_answer(&upstream->news);
    if (operation_is_only_told(operation) && upstream->breaker.state != BREAKER_CLOSED) {
        breaker_reset(&upstream->breaker); /* nobody asks leave for it, so nobody probes */
    } else {
        breaker_success(&upstream->breaker, now_ms);
    }
}

/* Texts may quote what a server said: what cannot stand in JSON is cut out of them. */
static void note_failure(struct upstream *upstream, const struct error *err, int64_t now_ms)
{
    const bool has_text = err != NULL && err->text[0] != '\0';

    snprintf(upstream->error, sizeof upstream->error, "%s", has_text ? err->text : "failed");
    if (!text_is_utf8(upstream->error, strlen(upstream->error))) {
        for (char *c = upstream->error; *c != '\0'; c++) {
            *c = (unsigned char)*c < 0x80 ? *c : '?';
        }
    }
    news_note_failure(&upstream->news, err != NULL ? err->retry_after_ms : 0, now_ms);
    breaker_failure(&upstream->breaker, now_ms);
}

/* Where no breaker asks, the log says it once a minute. */
static bool is_to_be_told(struct upstream *upstream, enum operation operation, int64_t now_ms)
{
    if (operation != OPERATION_COLLECTION ||
        (upstream->told_ms != NEVER && now_ms - upstream->told_ms < TELL_AGAIN_MS)) {
        return false;
    }
    upstream->told_ms = now_ms;
    return true;
}

void upstreams_report(struct upstreams *upstreams, enum operation operation, enum status status,
                      const struct error *err)
{
    const int64_t now_ms = clock_now_ms();
    struct upstream *upstream = lock(upstreams, operation);
    struct change change = {.before = upstream->breaker.state};

    upstream->timeouts = status == STATUS_TIMEOUT ? upstream->timeouts + 1 : 0;
    upstream->is_patient = false;
    if (is_failure(operation, status, err)) {
        note_failure(upstream, err, now_ms);
        change.tell = is_to_be_told(upstream, operation, now_ms);
    } else if (says_nothing(operation, status)) {
        breaker_cancel(&upstream->breaker, now_ms);
    } else {
        note_answer(upstream, operation, now_ms);
    }
    unlock(upstreams, operation, upstream, &change);
}

void upstreams_cancel(struct upstreams *upstreams, enum operation operation)
{
    struct upstream *upstream = lock(upstreams, operation);

    breaker_cancel(&upstream->breaker, clock_now_ms());
    pthread_mutex_unlock(&upstream->lock);
}

void upstreams_recover(struct upstreams *upstreams, enum operation operation)
{
    struct upstream *upstream = lock(upstreams, operation);
    struct change change = {.before = upstream->breaker.state};

    upstream->error[0] = '\0';
    upstream->answered_ms = clock_now_ms();
    breaker_reset(&upstream->breaker);
    unlock(upstreams, operation, upstream, &change);
}

int64_t upstreams_wait_ms(struct upstreams *upstreams, enum operation operation)
{
    struct upstream *upstream = lock(upstreams, operation);

    int64_t wait_ms = news_wait_ms(&upstream->news, &upstream->breaker, clock_now_ms());
    pthread_mutex_unlock(&upstream->lock);
    return wait_ms;
}

enum breaker_state upstreams_state(struct upstreams *upstreams, enum operation operation)
{
    struct upstream *upstream = lock(upstreams, operation);

    enum breaker_state state = breaker_peek(&upstream->breaker, clock_now_ms());
    pthread_mutex_unlock(&upstream->lock);
    return state;
}

enum breaker_state upstreams_worst(struct upstreams *upstreams, enum metrics_upstream which)
{
    enum breaker_state worst = BREAKER_CLOSED;

    for (int i = 0; i < OPERATIONS; i++) {
        if (belongs((enum operation)i, which)) {
            const enum breaker_state state = upstreams_state(upstreams, (enum operation)i);
            worst = state > worst ? state : worst;
        }
    }
    return worst;
}

int upstreams_patience(struct upstreams *upstreams, enum operation operation)
{
    struct upstream *upstream = lock(upstreams, operation);
    int patience = 1;

    if (upstream->timeouts > 0 && !upstream->is_patient) {
        upstream->is_patient = true;
        patience = 1 << (upstream->timeouts < PATIENCE_STEPS ? upstream->timeouts : PATIENCE_STEPS);
    }
    pthread_mutex_unlock(&upstream->lock);
    return patience;
}

size_t upstreams_text_bound(const struct upstreams *upstreams)
{
    return atomic_load_explicit(&upstreams->text_bound, memory_order_relaxed);
}

void upstreams_learn_text_bound(struct upstreams *upstreams, size_t chars)
{
    size_t known = upstreams_text_bound(upstreams);

    while ((known == 0 || chars < known) &&
           !atomic_compare_exchange_weak(&upstreams->text_bound, &known, chars)) {
    }
}

/* ---- what the fleet knows ------------------------------------------------------------------ */

bool upstreams_is_sync_due(struct upstreams *upstreams, enum operation operation)
{
    struct upstream *upstream = lock(upstreams, operation);
    const bool due = news_is_due(&upstream->news, &upstream->breaker, operation == OPERATION_EMBED,
                                 clock_now_ms());

    pthread_mutex_unlock(&upstream->lock);
    return due;
}

void upstreams_sync_failed(struct upstreams *upstreams, enum operation operation)
{
    struct upstream *upstream = lock(upstreams, operation);

    news_no_fleet(&upstream->news, clock_now_ms());
    pthread_mutex_unlock(&upstream->lock);
}

void upstreams_hear(struct upstreams *upstreams, enum operation operation,
                    const struct news_shared *shared, int64_t now_unix_ms)
{
    struct upstream *upstream = lock(upstreams, operation);
    struct change change = {.before = upstream->breaker.state};

    news_hear(&upstream->news, &upstream->breaker, shared,
              (struct news_now){clock_now_ms(), now_unix_ms});
    unlock(upstreams, operation, upstream, &change);
}

bool upstreams_take_change(struct upstreams *upstreams, enum operation operation,
                           int64_t now_unix_ms, struct news_change *change)
{
    struct upstream *upstream = lock(upstreams, operation);
    const bool is_told = news_take(&upstream->news, &upstream->breaker,
                                   (struct news_now){clock_now_ms(), now_unix_ms}, change);

    if (is_told && change->what == UPSTREAM_FAILED) {
        snprintf(change->text, sizeof change->text, "%s", upstream->error);
    }
    pthread_mutex_unlock(&upstream->lock);
    return is_told;
}

/* ---- domains that were written to ---------------------------------------------------------- */

static struct written *written_of(struct upstreams *upstreams, const char *domain)
{
    return &upstreams->written[slice_hash(SLICE_HASH, slice_of(domain)) % WRITTEN_DOMAINS];
}

void upstreams_note_written(struct upstreams *upstreams, const char *domain, int64_t now_unix_ms)
{
    pthread_mutex_lock(&upstreams->written_lock);
    struct written *written = written_of(upstreams, domain);
    snprintf(written->domain, sizeof written->domain, "%s", domain);
    written->unix_ms = now_unix_ms;
    pthread_mutex_unlock(&upstreams->written_lock);
}

bool upstreams_wrote_since(struct upstreams *upstreams, const char *domain, int64_t unix_ms)
{
    pthread_mutex_lock(&upstreams->written_lock);
    const struct written *written = written_of(upstreams, domain);
    const bool wrote = strcmp(written->domain, domain) == 0 && written->unix_ms > unix_ms;
    pthread_mutex_unlock(&upstreams->written_lock);
    return wrote;
}

/* ---- saying it ------------------------------------------------------------------------------- */

/* What is said of one operation, or of an upstream's operations together. */
struct description {
    enum breaker_state state;
    int64_t answered_ms;
    int64_t held_back_ms;
    char error[ERROR_TEXT_BYTES];
};

static void read_one(struct upstreams *upstreams, enum operation operation, int64_t now_ms,
                     struct description *out)
{
    struct upstream *upstream = lock(upstreams, operation);

    out->state = breaker_peek(&upstream->breaker, now_ms);
    out->answered_ms = upstream->answered_ms;
    out->held_back_ms =
        upstream->news.not_before_ms > now_ms ? upstream->news.not_before_ms - now_ms : 0;
    snprintf(out->error, sizeof out->error, "%s", upstream->error);
    pthread_mutex_unlock(&upstream->lock);
}

static void write_members(const struct description *said, int64_t now_ms, struct strbuf *out)
{
    strbuf_append_str(out, "\"breaker\":");
    json_str(out, breaker_state_name(said->state));
    if (said->answered_ms != NEVER) {
        strbuf_append_str(out, ",\"answered_ms_ago\":");
        json_int(out, now_ms - said->answered_ms);
    }
    if (said->held_back_ms > 0) {
        strbuf_append_str(out, ",\"held_back_ms\":");
        json_int(out, said->held_back_ms);
    }
    if (said->error[0] != '\0') {
        strbuf_append_str(out, ",\"error\":");
        json_str(out, said->error);
    }
}

/* The worst state, the latest answer; the error of the worst. */
static void add_to_sum(struct description *sum, const struct description *one)
{
    if (one->error[0] != '\0' && (sum->error[0] == '\0' || one->state > sum->state)) {
        memcpy(sum->error, one->error, sizeof sum->error);
    }
    sum->state = one->state > sum->state ? one->state : sum->state;
    sum->answered_ms = one->answered_ms > sum->answered_ms ? one->answered_ms : sum->answered_ms;
    sum->held_back_ms =
        one->held_back_ms > sum->held_back_ms ? one->held_back_ms : sum->held_back_ms;
}

void upstreams_describe(struct upstreams *upstreams, enum metrics_upstream which,
                        struct strbuf *out)
{
    const int64_t now_ms = clock_now_ms();
    struct description sum = {.answered_ms = NEVER};
    struct description each[OPERATIONS];
    const char *separator = ",\"operations\":{";

    for (int i = 0; i < OPERATIONS; i++) {
        if (belongs((enum operation)i, which)) {
            read_one(upstreams, (enum operation)i, now_ms, &each[i]);
            add_to_sum(&sum, &each[i]);
        }
    }
    write_members(&sum, now_ms, out);
    if (which == METRICS_REDIS) {
        return; /* its one operation is all of it */
    }
    for (int i = 0; i < OPERATIONS; i++) {
        if (belongs((enum operation)i, which)) {
            strbuf_append_str(out, separator);
            json_str(out, operation_name((enum operation)i));
            strbuf_append_str(out, ":{");
            write_members(&each[i], now_ms, out);
            strbuf_append_char(out, '}');
            separator = ",";
        }
    }
    strbuf_append_char(out, '}');
}
