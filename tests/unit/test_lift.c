/* What examples are worth, out of counts: intervals that are published, and that keep what they
 * promise. */
#include "learn/lift.h"

#include <criterion/criterion.h>
#include <stdbool.h>
#include <stdint.h>

static struct lift lift(int64_t with, int64_t with_tasks, int64_t without, int64_t without_tasks)
{
    return lift_of(&(struct lift_arm){with, with_tasks},
                   &(struct lift_arm){without, without_tasks});
}

/* Newcombe 1998, table II, method 10. */
Test(lift, the_intervals_of_differences_are_those_that_were_published)
{
    static const struct {
        int64_t with, with_tasks, without, without_tasks;
        double low, high;
    } published[] = {
        {56, 70, 48, 80, 0.0524, 0.3339}, {9, 10, 3, 10, 0.1705, 0.8090},
        {6, 7, 2, 7, 0.0582, 0.8062},     {5, 56, 0, 29, -0.0381, 0.1926},
        {0, 10, 0, 20, -0.1611, 0.2775},  {0, 10, 0, 10, -0.2775, 0.2775},
        {10, 10, 0, 20, 0.6791, 1.0},     {10, 10, 0, 10, 0.6075, 1.0},
    };

    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        const struct lift got = lift(published[i].with, published[i].with_tasks,
                                     published[i].without, published[i].without_tasks);
        cr_assert_float_eq(got.interval.low, published[i].low, 5.1e-5, "%zu: %f", i,
                           got.interval.low);
        cr_assert_float_eq(got.interval.high, published[i].high, 5.1e-5, "%zu: %f", i,
                           got.interval.high);
    }
}

/* Newcombe 1998, Statistics in Medicine 17, 857-872, table I, method 3. */
Test(lift, the_intervals_of_shares_are_those_that_were_published)
{
    static const struct {
        struct lift_arm arm;
        double low, high;
    } published[] = {{{81, 263}, 0.2553, 0.3662},
                     {{15, 148}, 0.0624, 0.1605},
                     {{0, 20}, 0.0000, 0.1611},
                     {{1, 29}, 0.0061, 0.1718}};

    for (size_t i = 0; i < sizeof published / sizeof published[0]; i++) {
        const struct lift_interval got = lift_wilson(&published[i].arm);
        cr_assert_float_eq(got.low, published[i].low, 5.1e-5, "%zu: %f", i, got.low);
        cr_assert_float_eq(got.high, published[i].high, 5.1e-5, "%zu: %f", i, got.high);
    }
}

Test(lift, without_tasks_in_an_arm_nothing_is_known)
{
    const struct lift none = lift(3, 5, 0, 0);

    cr_assert_eq(none.verdict, LIFT_UNKNOWN);
    cr_assert_eq(none.interval.low, -1);
    cr_assert_eq(none.interval.high, 1);
    cr_assert_eq(none.more, 0);
    cr_assert_eq(lift(0, 0, 0, 0).verdict, LIFT_UNKNOWN);
}

Test(lift, as_many_more_tasks_as_it_says_would_tell_such_a_difference)
{
    const struct lift few = lift(60, 100, 5, 10);
    cr_assert_eq(few.verdict, LIFT_UNKNOWN);
    cr_assert_gt(few.more, 0);

    const int64_t times = few.more / 110 + 1;
    cr_assert_eq(lift(60 * times, 100 * times, 5 * times, 10 * times).verdict, LIFT_UNKNOWN);
    cr_assert_eq(
        lift(60 * (times + 1), 100 * (times + 1), 5 * (times + 1), 10 * (times + 1)).verdict,
        LIFT_HELPS);
    cr_assert_eq(lift(50, 100, 5, 10).more, 0, "no difference is told by no number of tasks");
}

/* ---- a simulation ---------------------------------------------------------------------------- */

static uint64_t state;

/* SplitMix64: the same numbers on every machine. */
static double random_share(void)
{
    uint64_t mixed = state += UINT64_C(0x9e3779b97f4a7c15);

    mixed = (mixed ^ (mixed >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ (mixed >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (double)((mixed ^ (mixed >> 31)) >> 11) / 9007199254740992.0;
}

struct world {
    double with, without; /* how often a task succeeds */
    double held_out;
    int tasks;
};

static void live_on(const struct world *world, struct lift_arm *with, struct lift_arm *without)
{
    for (int i = 0; i < world->tasks; i++) {
        const bool is_out = random_share() < world->held_out;
        struct lift_arm *arm = is_out ? without : with;
        arm->tasks++;
        arm->successes += random_share() < (is_out ? world->without : world->with) ? 1 : 0;
    }
}

static struct lift live_through(const struct world *world)
{
    struct lift_arm with = {0, 0};
    struct lift_arm without = {0, 0};

    live_on(world, &with, &without);
    return lift_of(&with, &without);
}

/* What somebody saw who looked so often. */
struct history {
    bool alarmed;
    bool hurt_at_95;
};

static struct history look_again(const struct world *world, int looks)
{
    struct lift_arm with = {0, 0};
    struct lift_arm without = {0, 0};
    struct history seen = {false, false};

    for (int i = 0; i < looks; i++) {
        live_on(world, &with, &without);
        seen.alarmed = seen.alarmed || lift_alarm_of(&with, &without).verdict == LIFT_HURTS;
        seen.hurt_at_95 = seen.hurt_at_95 || lift_of(&with, &without).verdict == LIFT_HURTS;
    }
    return seen;
}

Test(lift, a_domain_that_examples_hurt_and_one_that_they_help_are_told_apart)
{
    const struct world hurt = {.with = 0.55, .without = 0.70, .held_out = 0.10, .tasks = 5000};
    const struct world helped = {.with = 0.80, .without = 0.60, .held_out = 0.10, .tasks = 5000};

    state = 17;
    const struct lift bad = live_through(&hurt);
    cr_assert_eq(bad.verdict, LIFT_HURTS);
    cr_assert(bad.interval.low < -0.15 && bad.interval.high > -0.15, "%f %f", bad.interval.low,
              bad.interval.high);
    const struct lift good = live_through(&helped);
    cr_assert_eq(good.verdict, LIFT_HELPS);
    cr_assert(good.interval.low < 0.20 && good.interval.high > 0.20, "%f %f", good.interval.low,
              good.interval.high);
}

/* 4,000 seeds: a standard deviation is a third of a point. */
Test(lift, the_interval_has_the_truth_in_it_95_times_in_a_hundred)
{
    static const struct world worlds[] = {
        {.with = 0.55, .without = 0.70, .held_out = 0.10, .tasks = 500},
        {.with = 0.80, .without = 0.60, .held_out = 0.50, .tasks = 200},
        {.with = 0.60, .without = 0.60, .held_out = 0.05, .tasks = 1000},
        {.with = 0.97, .without = 0.90, .held_out = 0.20, .tasks = 300},
    };
    enum { SEEDS = 4000 };

    for (size_t w = 0; w < sizeof worlds / sizeof worlds[0]; w++) {
        const double truth = worlds[w].with - worlds[w].without;
        int covered = 0;
        for (int seed = 0; seed < SEEDS; seed++) {
            state = (uint64_t)seed * 1000003 + w;
            const struct lift got = live_through(&worlds[w]);
            covered += got.interval.low <= truth && truth <= got.interval.high ? 1 : 0;
        }
        cr_assert(covered > 0.94 * SEEDS && covered < 0.97 * SEEDS, "world %zu: %d of %d", w,
                  covered, SEEDS);
    }
}

/* Examples that change nothing, in 200 domains, each looked at after every 20 tasks. */
Test(lift, an_alarm_that_looks_again_and_again_is_seldom_wrong_and_not_blind)
{
    enum { DOMAINS = 200, LOOKS = 100, TASKS = 20 };
    const struct world idle = {.with = 0.7, .without = 0.7, .held_out = 0.2, .tasks = TASKS};
    const struct world bad = {.with = 0.55, .without = 0.7, .held_out = 0.2, .tasks = TASKS};
    int wrong = 0;
    int wrong_once = 0;
    int found = 0;

    state = 23;
    for (int domain = 0; domain < DOMAINS; domain++) {
        const struct history idle_one = look_again(&idle, LOOKS);
        wrong += idle_one.alarmed ? 1 : 0;
        wrong_once += idle_one.hurt_at_95 ? 1 : 0;
        found += look_again(&bad, LOOKS).alarmed ? 1 : 0;
    }
    cr_assert_leq(wrong, DOMAINS / 50, "%d of %d", wrong, DOMAINS);
    cr_assert_gt(wrong_once, DOMAINS / 10, "95 %% would do: %d of %d", wrong_once, DOMAINS);
    cr_assert_geq(found, DOMAINS * 9 / 10, "%d of %d", found, DOMAINS);
}
