/* rules/news.h - what a process tells the fleet of an operation of an upstream, and what it makes
 * of what the fleet says. Pure.
 *
 *     news_note_failure(&news, asked_wait_ms, now_ms);         // or news_note_answer, ->probes
 *     if (news_take(&news, &breaker, now, &change)) { ... write it where the fleet reads it }
 *
 *     if (news_is_due(&news, &breaker, false, now.ms)) { ... read what stands there into `shared`
 *         news_hear(&news, &breaker, &shared, now);
 *     }
 *
 * Callers hold the breaker's lock.
 */
#ifndef STILLHOUSE_RULES_NEWS_H
#define STILLHOUSE_RULES_NEWS_H

#include "base/status.h"
#include "rules/breaker.h"

enum { NEWS_SETTING_CHARS = 8 };

struct news_now {
    int64_t ms;      /* monotonic */
    int64_t unix_ms; /* by Redis' clock */
};

/* An operation as others saw it; times by Redis' clock, 0 = not known. */
struct news_shared {
    bool is_junk;                         /* not to be read: written anew with the next change */
    char setting[NEWS_SETTING_CHARS + 1]; /* whose it is */
    int64_t failures;                     /* in a row */
    int64_t opened_unix_ms;
    int64_t probe_until_unix_ms;
    int64_t success_unix_ms;
    int64_t not_before_unix_ms;
};

struct news {
    const char *setting;   /* a digest of what makes two workers ask the same server the same way;
                              borrowed */
    int64_t not_before_ms; /* monotonic: the server asked for it, us or another worker */
    int64_t elsewhere_ms;  /* until when another worker probes; 0 = nobody does */
    bool probes;           /* to be told: a probe has begun */
    struct news_shared shared; /* as read last */
    int64_t read_ms;
    int64_t no_read_before_ms;
    int64_t told_success_ms;
    int64_t asked_wait_ms;         /* Retry-After of the failure that is to be told */
    int64_t failing_since_unix_ms; /* the first of our failures in a row; 0 = none */
    enum { NEWS_NONE, NEWS_ANSWER, NEWS_FAILURE } last; /* to be told, an answer where it is news */
};

void news_note_answer(struct news *news);
/* `asked_wait_ms`: how long the server wants to be left alone; 0 = it did not say. */
void news_note_failure(struct news *news, int64_t asked_wait_ms, int64_t now_ms);

/* ms for which nobody asks, whatever the breaker says. */
int64_t news_wait_ms(const struct news *news, const struct breaker *breaker, int64_t now_ms);

/* May it be read again now? True at most once each time: the caller reads. At once while anything
 * is wrong, or `each_call`: where a server may ask to be left alone; else every 20 ms. */
bool news_is_due(struct news *news, const struct breaker *breaker, bool each_call, int64_t now_ms);

/* It could not be read or written: not tried again for 5 s. */
void news_no_fleet(struct news *news, int64_t now_ms);

void news_hear(struct news *news, struct breaker *breaker, const struct news_shared *shared,
               struct news_now now);

/* What is to be told of an operation. */
struct news_change {
    enum { UPSTREAM_SUCCEEDED, UPSTREAM_FAILED, UPSTREAM_PROBES } what;
    bool is_anew; /* what stands there is nobody's */
    bool opened;  /* its breaker is open by this failure */
    int64_t now_unix_ms;
    int64_t until_unix_ms; /* of a probe; of Retry-After after a failure, 0 = none */
    char setting[NEWS_SETTING_CHARS + 1];
    char text[ERROR_TEXT_BYTES]; /* of a failure; the caller's */
};
bool news_take(struct news *news, const struct breaker *breaker, struct news_now now,
               struct news_change *change);

#endif
