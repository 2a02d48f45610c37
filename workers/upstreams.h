/* upstreams.h - what a process knows of its upstreams: one circuit breaker each, and the last
 * error.
 *
 *     size_t allowed = upstreams_allow(upstreams, METRICS_CHROMA, count);   // 0: the breaker is
 * open status = chroma_query(...); upstreams_report(upstreams, METRICS_CHROMA, status, err.text);
 *
 * Every allowed call must be reported. Any thread; locks inside, held for a few instructions.
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

struct upstreams *upstreams_new(const struct settings *settings, struct metrics *metrics) MUSTCHECK;
void upstreams_free(struct upstreams *upstreams);

/* How many jobs of `wanted` may go to the upstream now; 0 while its breaker is open or probes. */
size_t upstreams_allow(struct upstreams *upstreams, enum metrics_upstream which,
                       size_t wanted) MUSTCHECK;

/* How an allowed call ended. UNREACHABLE, TIMEOUT, UNAVAILABLE, FAILED and GARBLED are the
 * upstream's failures; any other status is an answer. `text` (may be NULL) is kept for /readyz. */
void upstreams_report(struct upstreams *upstreams, enum metrics_upstream which, enum status status,
                      const char *text);

/* ms until a call may be tried; 0 = now. */
int64_t upstreams_wait_ms(struct upstreams *upstreams, enum metrics_upstream which);

enum breaker_state upstreams_state(struct upstreams *upstreams, enum metrics_upstream which);

/* Appends {"breaker":"closed","error":"..."}; `error` only after a failure that no success
 * followed. */
void upstreams_describe(struct upstreams *upstreams, enum metrics_upstream which,
                        struct strbuf *out);

#endif
