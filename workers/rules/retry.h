/* rules/retry.h - when to try again: exponential, full jitter; and the retry policy. Pure. */
#ifndef STILLHOUSE_RULES_RETRY_H
#define STILLHOUSE_RULES_RETRY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/status.h"

/* A small random generator (splitmix64); one per thread, seeded by the caller. */
struct retry_random {
    uint64_t state;
};
uint64_t retry_random_next(struct retry_random *random);

/* The wait before try `attempt` (1 = first retry): uniform in [0, min(max_ms, base_ms *
 * 2^(attempt-1))]. Where the server named a wait (`asked_ms` > 0) never earlier than asked, the
 * jitter on top. */
int64_t retry_delay_ms(struct retry_random *random, int64_t attempt, int64_t base_ms,
                       int64_t max_ms, int64_t asked_ms);

/* True when a job that has now failed `failures` times (this one included) is tried again. */
bool retry_is_left(int64_t failures, int64_t max_attempts) MUSTCHECK;

#endif
