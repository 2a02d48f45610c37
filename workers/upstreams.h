/* upstreams.h - what a process knows of its upstreams: one circuit breaker each, and how the last
 * calls ended.
 *
 *     size_t allowed = upstreams_allow(upstreams, METRICS_CHROMA, count);  // 0: breaker is open
 *     status = chroma_query(...);
 *     upstreams_report(upstreams, METRICS_CHROMA, status, err.text);
 *
 * Every allowed call must be reported, or cancelled when it was not made. Redis is reported on
 * without being asked for leave: nothing works without it. Any thread; locks inside, held for a few
 * instructions.
 */
#ifndef STILLHOUSE_WORKERS_UPSTREAMS_H
#define STILLHOUSE_WORKERS_UPSTREAMS_H

#include <stddef.h>
#include <stdint.h>

#include "breaker.h"
#include "metrics.h"
#include "settings.h"
#include "strbuf.h"

struct upstreams; /* opaque; one a process */

/* `metrics` is borrowed and moved with every change. NULL: out of memory. */
struct upstreams *upstreams_new(const struct settings *settings, struct metrics *metrics) MUSTCHECK;
void upstreams_free(struct upstreams *upstreams); /* NULL is fine */

/* How many jobs of `wanted` may go to the upstream now; 0 while its breaker is open or probes. */
size_t upstreams_allow(struct upstreams *upstreams, enum metrics_upstream which,
                       size_t wanted) MUSTCHECK;

/* How an allowed call ended. UNREACHABLE, TIMEOUT, UNAVAILABLE, FAILED and GARBLED are the
 * upstream's failures; any other status is an answer. `text` (may be NULL) is kept for /readyz. */
void upstreams_report(struct upstreams *upstreams, enum metrics_upstream which, enum status status,
                      const char *text);

/* An allowed call was not made after all: another lane may probe. */
void upstreams_cancel(struct upstreams *upstreams, enum metrics_upstream which);

/* ms until a call may be tried; 0 = now. */
int64_t upstreams_wait_ms(struct upstreams *upstreams, enum metrics_upstream which);

enum breaker_state upstreams_state(struct upstreams *upstreams, enum metrics_upstream which);

/* "redis", "chroma" or "embedder". */
const char *upstreams_name(enum metrics_upstream which);

/* Appends the members of a JSON object, without its braces: "breaker":"closed", then
 * "answered_ms_ago":N if it ever answered, and "error":"..." after a failure that no answer
 * followed. */
void upstreams_describe_members(struct upstreams *upstreams, enum metrics_upstream which,
                                struct strbuf *out);

/* The same as an object. */
void upstreams_describe(struct upstreams *upstreams, enum metrics_upstream which,
                        struct strbuf *out);

#endif
