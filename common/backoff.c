#include "backoff.h"

uint64_t backoff_random_next(struct backoff_random *random)
{
    uint64_t z = random->state += 0x9e3779b97f4a7c15U;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9U;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebU;
    return z ^ (z >> 31);
}

/* min(max_ms, base_ms * 2^(attempt-1)) without overflow. */
static int64_t ceiling_ms(int64_t attempt, int64_t base_ms, int64_t max_ms)
{
    int64_t limit_ms = base_ms;

    for (int64_t i = 1; i < attempt && limit_ms < max_ms; i++) {
        limit_ms = limit_ms > max_ms / 2 ? max_ms : limit_ms * 2;
    }
    return limit_ms < max_ms ? limit_ms : max_ms;
}

int64_t backoff_delay_ms(struct backoff_random *random, int64_t attempt, int64_t base_ms,
                         int64_t max_ms, int64_t asked_ms)
{
    uint64_t choices = (uint64_t)ceiling_ms(attempt, base_ms, max_ms) + 1;
    int64_t jitter_ms = (int64_t)(backoff_random_next(random) % choices);

    return (asked_ms > 0 ? asked_ms : 0) + jitter_ms;
}

bool backoff_should_retry(int64_t failures, int64_t max_attempts)
{
    return failures < max_attempts;
}
