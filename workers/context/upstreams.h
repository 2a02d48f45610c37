/* context/upstreams.h - what a process knows of its upstreams: a circuit breaker for each
 * operation, how the last calls ended, and until when the server wants to be left alone.
 *
 *     size_t allowed = upstreams_allow(upstreams, OPERATION_QUERY, count);  // 0: not now
 *     status = chroma_query(...);
 *     upstreams_report(upstreams, OPERATION_QUERY, status, &err);
 *
 * Every allowed call must be reported, or cancelled when it was not made. Redis and Chroma's
 * collections are reported on without being asked for leave. Any thread; locks inside, held for a
 * few instructions.
 */
#ifndef STILLHOUSE_CONTEXT_UPSTREAMS_H
#define STILLHOUSE_CONTEXT_UPSTREAMS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "config/settings.h"
#include "jobs/operation.h"
#include "metrics/metrics.h"
#include "rules/breaker.h"

struct upstreams; /* opaque; one a process */

/* `metrics` is borrowed and moved with every change. NULL: out of memory. */
struct upstreams *upstreams_new(const struct settings *settings, struct metrics *metrics) MUSTCHECK;
void upstreams_free(struct upstreams *upstreams); /* NULL is fine */

/* How many jobs of `wanted` may go to the upstream now; 0 while its breaker is open or probes, or
 * while it asked to be left alone. */
size_t upstreams_allow(struct upstreams *upstreams, enum operation operation,
                       size_t wanted) MUSTCHECK;

/* How an allowed call ended. OK: it works. What says nothing of it (our memory, our own check of
 * the data) is as if it had not been made; all else is a failure. `err` (NULL with OK) brings the
 * text for /readyz and Retry-After, which holds back all calls. */
void upstreams_report(struct upstreams *upstreams, enum operation operation, enum status status,
                      const struct error *err);

/* An allowed call was not made after all: another lane may probe. */
void upstreams_cancel(struct upstreams *upstreams, enum operation operation);

/* ms until a call may be tried; 0 = now. */
int64_t upstreams_wait_ms(struct upstreams *upstreams, enum operation operation);

enum breaker_state upstreams_state(struct upstreams *upstreams, enum operation operation);

/* The worst state of an upstream's operations. */
enum breaker_state upstreams_worst(struct upstreams *upstreams, enum metrics_upstream which);

/* A text of `domain` was written: another one that fails now may be at fault itself. The last few
 * hundred domains are remembered. */
void upstreams_note_written(struct upstreams *upstreams, const char *domain, int64_t now_unix_ms);
bool upstreams_wrote_since(struct upstreams *upstreams, const char *domain, int64_t unix_ms);

/* How many times as long as usual the next call may take: twice, four and eight times after
 * time-outs in a row, so that a model that loads longer than the bound is loaded at last. One
 * caller at a time has such patience, all others get 1. */
int upstreams_patience(struct upstreams *upstreams, enum operation operation);

/* The characters of a text that the model was seen to take where it refused longer ones; 0 = it
 * refused none. Learning one that is longer than known changes nothing. */
size_t upstreams_text_bound(const struct upstreams *upstreams);
void upstreams_learn_text_bound(struct upstreams *upstreams, size_t chars);

/* ---- what the fleet knows (upstream_keys.h) -------------------------------------------------- */

enum { UPSTREAM_SETTING_CHARS = 8 };

/* An operation as others saw it; times by Redis' clock, 0 = not known. */
struct upstream_shared {
    bool is_junk; /* not to be read: written anew with the next change */
    char setting[UPSTREAM_SETTING_CHARS + 1]; /* whose it is */
    int64_t failures;                         /* in a row */
    int64_t opened_unix_ms;
    int64_t probe_until_unix_ms;
    int64_t success_unix_ms;
    int64_t not_before_unix_ms;
};

/* May it be read again now? True at most once each time: the caller reads. At once while anything
 * is wrong, or before each call where a server may ask to be left alone; else every 20 ms. */
bool upstreams_is_sync_due(struct upstreams *upstreams, enum operation operation);
void upstreams_merge(struct upstreams *upstreams, enum operation operation,
                     const struct upstream_shared *shared, int64_t now_unix_ms);

/* Redis did not say it, or did not take it: not asked again for 5 s. */
void upstreams_sync_failed(struct upstreams *upstreams, enum operation operation);

/* What is to be told of an operation. */
struct upstream_change {
    enum { UPSTREAM_SUCCEEDED, UPSTREAM_FAILED, UPSTREAM_PROBES } what;
    bool is_anew; /* what stands there is nobody's */
    bool opened;  /* its breaker is open by this failure */
    int64_t now_unix_ms;
    int64_t until_unix_ms; /* of a probe; of Retry-After after a failure, 0 = none */
    char setting[UPSTREAM_SETTING_CHARS + 1];
    char text[ERROR_TEXT_BYTES];
};
bool upstreams_take_change(struct upstreams *upstreams, enum operation operation,
                           int64_t now_unix_ms, struct upstream_change *change);

/* "redis", "chroma" or "embedder". */
const char *upstreams_name(enum metrics_upstream which);

/* Appends the members of a JSON object, without its braces: "breaker" (the worst of its
 * operations), then "answered_ms_ago":N if it ever answered, "error":"..." after a failure that no
 * answer followed, and "operations" with the same of each, "held_back_ms" where it asked for it. */
void upstreams_describe_members(struct upstreams *upstreams, enum metrics_upstream which,
                                struct strbuf *out);

/* The same as an object. */
void upstreams_describe(struct upstreams *upstreams, enum metrics_upstream which,
                        struct strbuf *out);

#endif
