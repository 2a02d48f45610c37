#include "rules/breaker.h"

/* Which fields count in which state: failures_in_a_row and ramp while closed, opened_at_ms while
 * open, probe_until_ms while half-open. */

enum { RAMP_END = 1024 }; /* from here on a batch has no limit */
enum {
    PROBE_MIN_MS = 30 * 1000,
    ASK_AGAIN_MS = 1000
}; /* a probe's patience; see breaker_wait_ms */

void breaker_init(struct breaker *breaker, int64_t failures_to_open, int64_t pause_ms)
{
    *breaker = (struct breaker){
        .failures_to_open = failures_to_open > 0 ? failures_to_open : 1,
        .pause_ms = pause_ms > 0 ? pause_ms : 0,
        .state = BREAKER_CLOSED,
    };
}

static void open_at(struct breaker *breaker, int64_t now_ms)
{
    breaker->state = BREAKER_OPEN;
    breaker->opened_at_ms = now_ms;
    breaker->failures_in_a_row = 0;
    breaker->ramp = 0;
    breaker->opened_total++;
}

static void close_with_ramp(struct breaker *breaker, int64_t ramp)
{
    breaker->state = BREAKER_CLOSED;
    breaker->failures_in_a_row = 0;
    breaker->ramp = ramp;
}

static size_t allow_probe(struct breaker *breaker, int64_t now_ms)
{
    breaker->state = BREAKER_HALF_OPEN;
    breaker->probe_until_ms = now_ms + breaker_probe_ms(breaker);
    return 1;
}

size_t breaker_allow(struct breaker *breaker, int64_t now_ms, size_t wanted)
{
    if (wanted == 0) {
        return 0;
    }

    switch (breaker->state) {
    case BREAKER_OPEN:
        return now_ms - breaker->opened_at_ms < breaker->pause_ms ? 0
                                                                  : allow_probe(breaker, now_ms);
    case BREAKER_HALF_OPEN:
        return now_ms < breaker->probe_until_ms ? 0 : allow_probe(breaker, now_ms);
    case BREAKER_CLOSED:
    default:
        return breaker->ramp > 0 && wanted > (size_t)breaker->ramp ? (size_t)breaker->ramp : wanted;
    }
}

void breaker_success(struct breaker *breaker, int64_t now_ms)
{
    (void)now_ms;
    switch (breaker->state) {
    case BREAKER_OPEN: /* of a call from before it opened: only a probe closes it */
        return;
    case BREAKER_HALF_OPEN:
        close_with_ramp(breaker, 1);
        return;
    case BREAKER_CLOSED:
    default:
        close_with_ramp(breaker, breaker->ramp >= RAMP_END / 2 ? 0 : breaker->ramp * 2);
        return;
    }
}

void breaker_failure(struct breaker *breaker, int64_t now_ms)
{
    switch (breaker->state) {
    case BREAKER_OPEN: /* of a call from before it opened: the pause does not start anew */
        return;
    case BREAKER_HALF_OPEN:
        open_at(breaker, now_ms);
        return;
    case BREAKER_CLOSED:
    default:
        breaker->failures_in_a_row++;
        if (breaker->failures_in_a_row >= breaker->failures_to_open) {
            open_at(breaker, now_ms);
        } else if (breaker->ramp > 0) {
            breaker->ramp = 1;
        }
        return;
    }
}

void breaker_cancel(struct breaker *breaker, int64_t now_ms)
{
    if (breaker->state == BREAKER_HALF_OPEN) {
        breaker->probe_until_ms = now_ms;
    }
}

void breaker_reset(struct breaker *breaker)
{
    close_with_ramp(breaker, 0);
}

enum breaker_state breaker_peek(const struct breaker *breaker, int64_t now_ms)
{
    if (breaker->state == BREAKER_OPEN && now_ms - breaker->opened_at_ms >= breaker->pause_ms) {
        return BREAKER_HALF_OPEN;
    }
    return breaker->state;
}

int64_t breaker_wait_ms(const struct breaker *breaker, int64_t now_ms)
{
    int64_t wait_ms = 0;

    if (breaker->state == BREAKER_OPEN) {
        wait_ms = breaker->opened_at_ms + breaker->pause_ms - now_ms;
    } else if (breaker->state == BREAKER_HALF_OPEN) {
        wait_ms = breaker->probe_until_ms - now_ms;
        wait_ms = wait_ms > ASK_AGAIN_MS ? ASK_AGAIN_MS : wait_ms;
    }
    return wait_ms > 0 ? wait_ms : 0;
}

int64_t breaker_probe_ms(const struct breaker *breaker)
{
    return breaker->pause_ms > PROBE_MIN_MS ? breaker->pause_ms : PROBE_MIN_MS;
}

void breaker_hear_open(struct breaker *breaker, int64_t opened_at_ms)
{
    if (breaker->state == BREAKER_CLOSED ||
        (breaker->state == BREAKER_OPEN && opened_at_ms > breaker->opened_at_ms)) {
        const bool was_closed = breaker->state == BREAKER_CLOSED;
        breaker->state = BREAKER_OPEN;
        breaker->opened_at_ms = opened_at_ms;
        breaker->failures_in_a_row = 0;
        breaker->ramp = 0;
        breaker->opened_total += was_closed;
    }
}

void breaker_hear_closed(struct breaker *breaker)
{
    if (breaker->state == BREAKER_OPEN) {
        close_with_ramp(breaker, 1);
    }
}

void breaker_hear_failures(struct breaker *breaker, int64_t failures)
{
    if (breaker->state == BREAKER_CLOSED && failures > breaker->failures_in_a_row) {
        /* The one that opens it is ours: a fleet's count alone closes nobody out. */
        breaker->failures_in_a_row =
            failures < breaker->failures_to_open ? failures : breaker->failures_to_open - 1;
    }
}

const char *breaker_state_name(enum breaker_state state)
{
    switch (state) {
    case BREAKER_OPEN:
        return "open";
    case BREAKER_HALF_OPEN:
        return "half_open";
    case BREAKER_CLOSED:
    default:
        return "closed";
    }
}
