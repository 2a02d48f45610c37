/* rules/breaker.h - a circuit breaker: closed, open after N failures in a row, half-open with one
 * probe.
 *
 * Pure: `now_ms` (monotonic) is passed in. One breaker per upstream and process; callers hold its
 * lock (struct breaker has none): see workers/context/upstreams.h.
 *
 *   closed --N failures in a row--> open --pause over--> half-open --probe ok--> closed
 *                                     ^----------probe failed---------'
 *
 * After closing, batches may have 1, 2, 4 ... jobs.
 */
#ifndef STILLHOUSE_RULES_BREAKER_H
#define STILLHOUSE_RULES_BREAKER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum breaker_state { BREAKER_CLOSED = 0, BREAKER_HALF_OPEN = 1, BREAKER_OPEN = 2 };

struct breaker {
    int64_t failures_to_open; /* > 0 */
    int64_t pause_ms;
    enum breaker_state state;
    int64_t failures_in_a_row;
    int64_t opened_at_ms;
    int64_t probe_until_ms; /* while half-open: a probe that never reports is given up then */
    int64_t ramp;           /* after closing: how many jobs a batch may have; 0 = no limit */
    uint64_t opened_total;
};

void breaker_init(struct breaker *breaker, int64_t failures_to_open, int64_t pause_ms);

/* How many jobs of a batch of `wanted` may go to the upstream now: 0 = none (open, or a probe is
 * under way). In half-open exactly one caller gets 1. */
size_t breaker_allow(struct breaker *breaker, int64_t now_ms, size_t wanted) MUSTCHECK;

/* How a call that was allowed ended. A failure is the upstream's fault (no answer, 408, 429, 5xx),
 * not the caller's (other 4xx). Reports while open are of calls from before and change nothing. */
void breaker_success(struct breaker *breaker, int64_t now_ms);
void breaker_failure(struct breaker *breaker, int64_t now_ms);

/* A call that was allowed was not made: another caller may probe. */
void breaker_cancel(struct breaker *breaker, int64_t now_ms);

/* Closed at once, without a ramp: for an upstream that is reported on but whose callers do not ask
 * breaker_allow. */
void breaker_reset(struct breaker *breaker);

/* The state as seen now (an open one whose pause is over shows as half-open). */
enum breaker_state breaker_peek(const struct breaker *breaker, int64_t now_ms);

/* ms until a probe may be made; 0 when calls are allowed. While another's probe is under way: how
 * long to wait before asking again, at most 1 s. */
int64_t breaker_wait_ms(const struct breaker *breaker, int64_t now_ms);

/* Others saw it open at `opened_at_ms`, or close: then as after a probe of our own. Only a change
 * changes anything. */
void breaker_hear_open(struct breaker *breaker, int64_t opened_at_ms);
void breaker_hear_closed(struct breaker *breaker);

/* Others saw so many failures in a row, ours among them. */
void breaker_hear_failures(struct breaker *breaker, int64_t failures);

/* How long a probe is waited for before another may begin, ms. */
int64_t breaker_probe_ms(const struct breaker *breaker);

const char *breaker_state_name(enum breaker_state state); /* closed half_open open */

#endif
