#include <criterion/criterion.h>

#include "rules/halving.h"

/* Sends parts of `count` texts, of which bad[i] are bad; returns how many sendings it took. Every
 * bad one must have been sent alone and failed, every good one must have passed. */
static size_t run(size_t count, const bool *bad)
{
    bool passed[300] = {false};
    bool alone[300] = {false};
    struct halving halving;
    struct part part;

    halving_start(&halving, count);
    while (halving_next(&halving, &part)) {
        cr_assert(part.count > 0 && part.from + part.count <= count);
        bool good = true;
        for (size_t i = part.from; i < part.from + part.count; i++) {
            good = good && !bad[i];
        }
        for (size_t i = part.from; good && i < part.from + part.count; i++) {
            passed[i] = true;
        }
        if (!good && part.count == 1) {
            alone[part.from] = true;
        }
        halving_tell(&halving, good);
        cr_assert_lt(halving.sent, 2 * count + 2, "it does not end");
    }
    for (size_t i = 0; i < count; i++) {
        cr_assert_eq(passed[i], !bad[i], "text %zu of %zu", i, count);
        cr_assert_eq(alone[i], bad[i], "text %zu of %zu", i, count);
    }
    return halving.sent;
}

/* 2 log2 n, rounded down, without floating point: the largest s with 2^s <= n^2. */
static size_t twice_log2(size_t n)
{
    size_t s = 0;
    while (((size_t)1 << (s + 1)) <= n * n) {
        s++;
    }
    return s;
}

Test(halving, one_bad_text_among_n_is_alone_after_twice_log_n_sendings_wherever_it_is)
{
    for (size_t n = 2; n <= 257; n++) {
        for (size_t at = 0; at < n; at++) {
            bool bad[300] = {false};
            bad[at] = true;
            cr_assert_leq(run(n, bad), twice_log2(n), "%zu of %zu", at, n);
        }
    }
}

Test(halving, any_set_of_bad_texts_ends_alone_and_all_others_pass)
{
    for (size_t n = 2; n <= 9; n++) {
        for (unsigned set = 1; set < 1u << n; set++) {
            bool bad[300] = {false};
            for (size_t i = 0; i < n; i++) {
                bad[i] = (set >> i & 1u) != 0;
            }
            (void)run(n, bad);
        }
    }
}

Test(halving, a_part_that_passes_after_all_leaves_nobody_alone)
{
    struct halving halving;
    struct part part;
    size_t sent = 0;

    halving_start(&halving, 64);
    while (halving_next(&halving, &part)) {
        halving_tell(&halving, true); /* the whole failed by a stumble */
        sent++;
    }
    cr_assert_leq(sent, 7);
}

Test(halving, a_single_text_has_no_halves)
{
    struct halving halving;
    struct part part;

    halving_start(&halving, 1);
    cr_assert_not(halving_next(&halving, &part));
    cr_assert_eq(halving_patience(1), 2);
    cr_assert_eq(halving_patience(64), 14);
    cr_assert_eq(halving_patience(100), 16);
}
