#include "rules/news.h"

#include <string.h>

enum {
    ASKED_WAIT_MAX_MS = 60 * 60 * 1000,
    READ_EVERY_MS = 20,
    NO_READ_MS = 5000,
    PROBE_ASK_AGAIN_MS = 1000,
    TELL_SUCCESS_MS = 5000,
    FOREIGN_MS = 10 * 1000, /* so long a hash of other settings is theirs */
};

/* A wrong clock or a foreign hand may have written anything: no wait is longer than it may be. */
static int64_t bounded(int64_t ms, int64_t most_ms)
{
    return ms < 0 ? 0 : (ms < most_ms ? ms : most_ms);
}

void news_note_answer(struct news *news)
{
    news->last = NEWS_ANSWER;
}

void news_note_failure(struct news *news, int64_t asked_wait_ms, int64_t now_ms)
{
    news->last = NEWS_FAILURE;
    news->asked_wait_ms = bounded(asked_wait_ms, ASKED_WAIT_MAX_MS);
    if (news->asked_wait_ms > 0 && now_ms + news->asked_wait_ms > news->not_before_ms) {
        news->not_before_ms = now_ms + news->asked_wait_ms;
    }
}

int64_t news_wait_ms(const struct news *news, const struct breaker *breaker, int64_t now_ms)
{
    const int64_t asked_ms = news->not_before_ms - now_ms;
    int64_t wait_ms = breaker_wait_ms(breaker, now_ms);

    if (breaker->state != BREAKER_CLOSED && wait_ms == 0 && now_ms < news->elsewhere_ms) {
        wait_ms = PROBE_ASK_AGAIN_MS; /* another worker probes */
    }
    return wait_ms > asked_ms ? wait_ms : asked_ms;
}

bool news_is_due(struct news *news, const struct breaker *breaker, bool each_call, int64_t now_ms)
{
    const bool is_at_once =
        each_call || breaker->state != BREAKER_CLOSED || breaker->failures_in_a_row > 0;
    const bool due = now_ms >= news->no_read_before_ms &&
                     (is_at_once || now_ms - news->read_ms >= READ_EVERY_MS);

    if (due) {
        news->read_ms = now_ms;
    }
    return due;
}

void news_no_fleet(struct news *news, int64_t now_ms)
{
    news->no_read_before_ms = now_ms + NO_READ_MS;
    news->elsewhere_ms = 0;
}

static bool is_ours(const struct news *news)
{
    return !news->shared.is_junk && strcmp(news->shared.setting, news->setting) == 0;
}

void news_hear(struct news *news, struct breaker *breaker, const struct news_shared *shared,
               struct news_now now)
{
    news->shared = *shared;
    news->elsewhere_ms = 0;
    if (!is_ours(news)) {
        return;
    }
    const int64_t held_ms = bounded(shared->not_before_unix_ms - now.unix_ms, ASKED_WAIT_MAX_MS);
    const int64_t open_ms = now.unix_ms - shared->opened_unix_ms;
    if (now.ms + held_ms > news->not_before_ms) {
        news->not_before_ms = now.ms + held_ms;
    }
    if (shared->opened_unix_ms > shared->success_unix_ms && open_ms >= 0) {
        breaker_hear_open(breaker, now.ms - open_ms);
        news->elsewhere_ms =
            now.ms + bounded(shared->probe_until_unix_ms - now.unix_ms, breaker_probe_ms(breaker));
    } else if (shared->opened_unix_ms == 0 && shared->success_unix_ms > 0 &&
               now.ms - (now.unix_ms - shared->success_unix_ms) > breaker->opened_at_ms) {
        breaker_hear_closed(breaker);
    }
    breaker_hear_failures(breaker, shared->failures);
}

/* Others with other settings use the same hash, in a rolling deployment: it is theirs as long as
 * they have something to say. */
static bool is_foreign(const struct news *news, int64_t now_unix_ms)
{
    const struct news_shared *shared = &news->shared;

    return !shared->is_junk && shared->setting[0] != '\0' && !is_ours(news) &&
           (now_unix_ms - shared->success_unix_ms < FOREIGN_MS ||
            now_unix_ms - shared->opened_unix_ms < FOREIGN_MS);
}

/* An answer is news after failures, and now and then. */
static bool is_news(const struct news *news, int64_t now_ms)
{
    return news->shared.failures > 0 || news->shared.opened_unix_ms > 0 ||
           now_ms - news->told_success_ms >= TELL_SUCCESS_MS;
}

static void tell_failure(struct news *news, const struct breaker *breaker,
                         struct news_change *change)
{
    change->what = UPSTREAM_FAILED;
    if (news->failing_since_unix_ms == 0) {
        news->failing_since_unix_ms = change->now_unix_ms;
    }
    /* Where others got through meanwhile, it is our way there that is broken. */
    change->opened = breaker->state == BREAKER_OPEN &&
                     news->shared.success_unix_ms < news->failing_since_unix_ms;
    change->until_unix_ms = news->asked_wait_ms > 0 ? change->now_unix_ms + news->asked_wait_ms : 0;
    news->shared.failures++;
}

static void tell_answer(struct news *news, int64_t now_ms, struct news_change *change)
{
    change->what = UPSTREAM_SUCCEEDED;
    news->failing_since_unix_ms = 0;
    news->told_success_ms = now_ms;
    news->shared.failures = 0;
    news->shared.opened_unix_ms = 0;
    news->shared.success_unix_ms = change->now_unix_ms;
}

bool news_take(struct news *news, const struct breaker *breaker, struct news_now now,
               struct news_change *change)
{
    struct news_shared *shared = &news->shared;
    const bool answered = news->last == NEWS_ANSWER && is_news(news, now.ms);
    const bool is_told = (news->last == NEWS_FAILURE || answered || news->probes) &&
                         now.ms >= news->no_read_before_ms && !is_foreign(news, now.unix_ms);

    *change = (struct news_change){.now_unix_ms = now.unix_ms};
    if (is_told) {
        memcpy(change->setting, news->setting, strlen(news->setting));
        change->is_anew = !is_ours(news) && (shared->is_junk || shared->setting[0] != '\0');
        if (news->last == NEWS_FAILURE) {
            tell_failure(news, breaker, change);
        } else if (news->last == NEWS_ANSWER) {
            tell_answer(news, now.ms, change);
        } else {
            change->what = UPSTREAM_PROBES;
            change->until_unix_ms = now.unix_ms + breaker_probe_ms(breaker);
        }
        memcpy(shared->setting, change->setting, sizeof shared->setting);
        shared->is_junk = false;
    }
    news->last = NEWS_NONE;
    news->probes = false;
    return is_told;
}
