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
#include "rules/news.h"

struct upstreams; /* opaque; one a process */

/* `metrics` is borrowed and moved with every change. */
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

/* Whoever looks after the upstream himself knows that it works again: nobody need probe. */
void upstreams_recover(struct upstreams *upstreams, enum operation operation);

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

/* What rules/news.h makes of it, under the operation's lock. */
bool upstreams_is_sync_due(struct upstreams *upstreams, enum operation operation);
void upstreams_sync_failed(struct upstreams *upstreams, enum operation operation);
void upstreams_hear(struct upstreams *upstreams, enum operation operation,
                    const struct news_shared *shared, int64_t now_unix_ms);
bool upstreams_take_change(struct upstreams *upstreams, enum operation operation,
                           int64_t now_unix_ms, struct news_change *change);

/* "redis", "chroma", "embedder" or "learn". */
const char *upstreams_name(enum metrics_upstream which);

/* Appends the members of a JSON object, without its braces: "breaker" (the worst of its
 * operations), then "answered_ms_ago":N if it ever answered, "error":"..." after a failure that no
 * answer followed, and "operations" with the same of each, "held_back_ms" where it asked for it. */
void upstreams_describe(struct upstreams *upstreams, enum metrics_upstream which,
                        struct strbuf *out);

#endif
