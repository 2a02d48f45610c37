/* When a failed job is tried again: the wait doubles, is spread evenly, and heeds what a server
 * asked. */
#include <criterion/criterion.h>
#include <stdint.h>

#include "rules/retry.h"

static int64_t longest_of(int64_t attempt, int64_t base_ms, int64_t max_ms, int64_t asked_ms,
                          int64_t *shortest)
{
    struct retry_random random = {.state = 42};
    int64_t longest = -1;

    *shortest = INT64_MAX;
    for (int i = 0; i < 20000; i++) {
        int64_t delay = retry_delay_ms(&random, attempt, base_ms, max_ms, asked_ms);
        longest = delay > longest ? delay : longest;
        *shortest = delay < *shortest ? delay : *shortest;
    }
    return longest;
}

Test(retry, the_ceiling_doubles_with_every_attempt_up_to_the_maximum)
{
    static const int64_t ceilings[] = {100, 200, 400, 800, 1000, 1000};
    for (int64_t attempt = 1; attempt <= 6; attempt++) {
        int64_t shortest = 0;
        int64_t longest = longest_of(attempt, 100, 1000, 0, &shortest);
        int64_t ceiling = ceilings[attempt - 1];
        cr_assert_leq(longest, ceiling, "attempt %d", (int)attempt);
        cr_assert_gt(longest, ceiling * 95 / 100, "attempt %d", (int)attempt);
        cr_assert_lt(shortest, ceiling * 5 / 100, "the jitter is full");
    }
}

Test(retry, delays_are_spread_evenly)
{
    struct retry_random random = {.state = 7};
    int halves[2] = {0, 0};
    for (int i = 0; i < 10000; i++) {
        halves[retry_delay_ms(&random, 1, 999, 999, 0) / 500]++;
    }
    cr_assert_geq(halves[0], 4700);
    cr_assert_geq(halves[1], 4700);
}

Test(retry, a_wait_that_the_server_asked_for_is_never_cut_short)
{
    int64_t shortest = 0;
    int64_t longest = longest_of(1, 100, 1000, 30000, &shortest);
    cr_assert_geq(shortest, 30000);
    cr_assert_leq(longest, 30100);
    cr_assert_gt(longest, 30050, "jitter comes on top");
    longest = longest_of(1, 100, 1000, -5, &shortest);
    cr_assert_geq(shortest, 0);
    cr_assert_leq(longest, 100);
}

Test(retry, extreme_numbers_do_not_overflow)
{
    struct retry_random random = {.state = 1};
    for (int i = 0; i < 1000; i++) {
        int64_t delay = retry_delay_ms(&random, INT64_MAX, 1, INT64_MAX - 1, 0);
        cr_assert_geq(delay, 0);
        delay = retry_delay_ms(&random, 100, INT64_MAX / 2 + 1, INT64_MAX - 1, INT64_MAX);
        cr_assert_eq(delay, INT64_MAX);
        cr_assert_eq(retry_delay_ms(&random, 3, 0, 1000, 0), 0);
        cr_assert_eq(retry_delay_ms(&random, 3, 1000, 0, 0), 0);
        cr_assert_leq(retry_delay_ms(&random, 1, 5000, 10, 0), 10, "base over the maximum");
        cr_assert_leq(retry_delay_ms(&random, -3, 10, 1000, 0), 10, "counted from 1");
    }
}

Test(retry, equal_seeds_give_equal_numbers_and_others_give_others)
{
    struct retry_random a = {.state = 5};
    struct retry_random b = {.state = 5};
    struct retry_random c = {.state = 6};
    int different = 0;
    for (int i = 0; i < 100; i++) {
        uint64_t number = retry_random_next(&a);
        cr_assert_eq(number, retry_random_next(&b));
        different += number != retry_random_next(&c);
    }
    cr_assert_eq(different, 100);
}

Test(retry, splitmix64_gives_its_published_numbers)
{
    struct retry_random random = {.state = 1234567};
    cr_assert_eq(retry_random_next(&random), UINT64_C(6457827717110365317));
    cr_assert_eq(retry_random_next(&random), UINT64_C(3203168211198807973));
    cr_assert_eq(retry_random_next(&random), UINT64_C(9817491932198370423));
}

Test(retry, the_last_attempt_is_not_followed_by_another)
{
    cr_assert(retry_is_left(1, 5));
    cr_assert(retry_is_left(4, 5));
    cr_assert_not(retry_is_left(5, 5));
    cr_assert_not(retry_is_left(6, 5));
    cr_assert_not(retry_is_left(1, 1));
}
