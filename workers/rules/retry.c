#include "rules/retry.h"

uint64_t retry_random_next(struct retry_random *random)
{
    uint64_t z = (random->state += 0x9e3779b97f4a7c15u);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

/* base_ms * 2^(attempt-1), at most max_ms. */
static int64_t ceiling_ms(int64_t attempt, int64_t base_ms, int64_t max_ms)
{
    int64_t ceiling = base_ms;

    for (int64_t i = 1; i < attempt && ceiling < max_ms; i++) {
        if (ceiling > max_ms / 2) {
            return max_ms;
        }
        ceiling *= 2;
    }
    return ceiling < max_ms ? ceiling : max_ms;
}

int64_t retry_delay_ms(struct retry_random *random, int64_t attempt, int64_t base_ms,
                       int64_t max_ms, int64_t asked_ms)
{
    int64_t asked = asked_ms > 0 ? asked_ms : 0;
    int64_t jitter = 0;

    if (base_ms > 0 && max_ms > 0) {
        uint64_t choices = (uint64_t)ceiling_ms(attempt, base_ms, max_ms) + 1;
        jitter = (int64_t)(retry_random_next(random) % choices);
    }
    return asked > INT64_MAX - jitter ? INT64_MAX : asked + jitter;
}

bool retry_is_left(int64_t failures, int64_t max_attempts)
{
    return failures < max_attempts;
}
