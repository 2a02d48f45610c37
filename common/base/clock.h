/* base/clock.h - the only places that ask the system for time. The pure core never includes this.
 */
#ifndef STILLHOUSE_BASE_CLOCK_H
#define STILLHOUSE_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

/* Monotonic milliseconds / nanoseconds: for durations and deadlines inside one process. Any thread.
 */
int64_t clock_now_ms(void);
int64_t clock_now_ns(void);

/* What is left until `deadline_ms` (monotonic): at least 1, since 0 means no timeout to the kernel,
 * and no more than an int holds. Any thread. */
int clock_left_ms(int64_t deadline_ms);

/* The monotonic moment `wait_ms` from now, for pthread_cond_clockwait and its like. Any thread. */
struct timespec clock_in_ms(int64_t wait_ms);

/* Wall clock, Unix milliseconds: for what is written down. Any thread. */
int64_t clock_unix_ms(void);

/* Sleeps `ms` (0 returns at once); a signal does not cut it short. Any thread. */
void clock_sleep_ms(int64_t ms);

#endif
