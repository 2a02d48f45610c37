#include "breaker.h"

enum { PROBE_GIVEN_UP_MS = 60000, RAMP_LIMIT = 1024 };

void breaker_init(struct breaker *breaker, int64_t failures_to_open, int64_t pause_ms)
{
    *breaker = (struct breaker){.failures_to_open = failures_to_open, .pause_ms = pause_ms};
}

size_t breaker_allow(struct breaker *breaker, int64_t now_ms, size_t wanted)
{
    if (wanted == 0 || breaker_wait_ms(breaker, now_ms) > 0) {
        return 0;
    }
    if (breaker->state == BREAKER_CLOSED) {
        if (breaker->ramp > 0 && (size_t)breaker->ramp < wanted) {
            return (size_t)breaker->ramp;
        }
        return wanted;
    }
    breaker->state = BREAKER_HALF_OPEN;
    breaker->probe_until_ms = now_ms + PROBE_GIVEN_UP_MS;
    return 1;
}

void breaker_success(struct breaker *breaker, int64_t now_ms)
{
    (void)now_ms;
    breaker->failures_in_a_row = 0;
    if (breaker->state == BREAKER_HALF_OPEN) {
        breaker->state = BREAKER_CLOSED;
        breaker->ramp = 1;
    } else if (breaker->state == BREAKER_CLOSED && breaker->ramp > 0) {
        breaker->ramp = breaker->ramp * 2 > RAMP_LIMIT ? 0 : breaker->ramp * 2;
    }
    /* A success while open belongs to a call from before it opened: it proves nothing new. */
}

void breaker_failure(struct breaker *breaker, int64_t now_ms)
{
    breaker->failures_in_a_row++;
    bool opens = breaker->state == BREAKER_HALF_OPEN ||
                 (breaker->state == BREAKER_CLOSED &&
                  breaker->failures_in_a_row >= breaker->failures_to_open);
    if (opens) {
        breaker->state = BREAKER_OPEN;
        breaker->opened_at_ms = now_ms;
        breaker->ramp = 0;
        breaker->opened_total++;
    }
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
    int64_t until_ms = now_ms;

    if (breaker->state == BREAKER_OPEN) {
        until_ms = breaker->opened_at_ms + breaker->pause_ms;
    } else if (breaker->state == BREAKER_HALF_OPEN) {
        until_ms = breaker->probe_until_ms;
    }
    return until_ms > now_ms ? until_ms - now_ms : 0;
}

const char *breaker_state_name(enum breaker_state state)
{
    switch (state) {
    case BREAKER_CLOSED:
        return "closed";
    case BREAKER_HALF_OPEN:
        return "half-open";
    case BREAKER_OPEN:
        return "open";
    }
    return "unknown";
}
