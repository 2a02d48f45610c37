#include <criterion/criterion.h>

#include "rules/breaker.h"

enum { FAILURES = 3, PAUSE = 1000, PROBE = 30000 };

static struct breaker make(void)
{
    struct breaker breaker;
    breaker_init(&breaker, FAILURES, PAUSE);
    return breaker;
}

static struct breaker make_open(int64_t now_ms)
{
    struct breaker breaker = make();
    for (int i = 0; i < FAILURES; i++) {
        breaker_failure(&breaker, now_ms);
    }
    cr_assert_eq(breaker.state, BREAKER_OPEN);
    return breaker;
}

Test(breaker, a_closed_one_lets_everything_through)
{
    struct breaker breaker = make();
    cr_assert_eq(breaker_peek(&breaker, 0), BREAKER_CLOSED);
    cr_assert_eq(breaker_allow(&breaker, 0, 64), 64);
    cr_assert_eq(breaker_allow(&breaker, 0, 0), 0);
    cr_assert_eq(breaker_wait_ms(&breaker, 0), 0);
}

Test(breaker, it_opens_after_so_many_failures_in_a_row)
{
    struct breaker breaker = make();
    breaker_failure(&breaker, 10);
    breaker_failure(&breaker, 10);
    breaker_success(&breaker, 10);
    breaker_failure(&breaker, 10);
    breaker_failure(&breaker, 10);
    cr_assert_eq(breaker.state, BREAKER_CLOSED, "the success came between");
    cr_assert_eq(breaker_allow(&breaker, 10, 8), 8);
    breaker_failure(&breaker, 10);
    cr_assert_eq(breaker.state, BREAKER_OPEN);
    cr_assert_eq(breaker.opened_total, 1);
    cr_assert_eq(breaker_allow(&breaker, 10, 8), 0);
    cr_assert_eq(breaker_wait_ms(&breaker, 10), PAUSE);
    cr_assert_eq(breaker_wait_ms(&breaker, 410), PAUSE - 400);
}

Test(breaker, after_the_pause_exactly_one_caller_probes)
{
    struct breaker breaker = make_open(0);
    cr_assert_eq(breaker_allow(&breaker, PAUSE - 1, 64), 0);
    cr_assert_eq(breaker_peek(&breaker, PAUSE - 1), BREAKER_OPEN);
    cr_assert_eq(breaker_peek(&breaker, PAUSE), BREAKER_HALF_OPEN);
    cr_assert_eq(breaker_wait_ms(&breaker, PAUSE), 0);
    cr_assert_eq(breaker_allow(&breaker, PAUSE, 0), 0, "who wants nothing is no probe");
    cr_assert_eq(breaker.state, BREAKER_OPEN);
    cr_assert_eq(breaker_allow(&breaker, PAUSE, 64), 1);
    cr_assert_eq(breaker_allow(&breaker, PAUSE, 64), 0);
    cr_assert_eq(breaker_allow(&breaker, PAUSE + 500, 64), 0);
    cr_assert_eq(breaker_peek(&breaker, PAUSE + 500), BREAKER_HALF_OPEN);
}

Test(breaker, a_good_probe_closes_it_and_batches_grow_again)
{
    struct breaker breaker = make_open(0);
    cr_assert_eq(breaker_allow(&breaker, PAUSE, 64), 1);
    breaker_success(&breaker, PAUSE + 1);
    cr_assert_eq(breaker.state, BREAKER_CLOSED);
    for (size_t expected = 1; expected < 1024; expected *= 2) {
        cr_assert_eq(breaker_allow(&breaker, PAUSE + 2, 5000), expected);
        breaker_success(&breaker, PAUSE + 2);
    }
    cr_assert_eq(breaker_allow(&breaker, PAUSE + 3, 5000), 5000, "no limit any more");
    breaker_success(&breaker, PAUSE + 3);
    cr_assert_eq(breaker_allow(&breaker, PAUSE + 3, 5000), 5000);
}

Test(breaker, a_small_batch_is_not_made_larger_by_the_ramp)
{
    struct breaker breaker = make_open(0);
    cr_assert_eq(breaker_allow(&breaker, PAUSE, 64), 1);
    breaker_success(&breaker, PAUSE);
    breaker_success(&breaker, PAUSE);
    breaker_success(&breaker, PAUSE);
    cr_assert_eq(breaker_allow(&breaker, PAUSE, 3), 3);
    cr_assert_eq(breaker_allow(&breaker, PAUSE, 5), 4);
}

Test(breaker, a_failure_on_the_ramp_starts_it_anew)
{
    struct breaker breaker = make_open(0);
    cr_assert_eq(breaker_allow(&breaker, PAUSE, 64), 1);
    for (int i = 0; i < 5; i++) {
        breaker_success(&breaker, PAUSE);
    }
    cr_assert_eq(breaker_allow(&breaker, PAUSE, 64), 16);
    breaker_failure(&breaker, PAUSE);
    cr_assert_eq(breaker.state, BREAKER_CLOSED);
    cr_assert_eq(breaker_allow(&breaker, PAUSE, 64), 1);
}

Test(breaker, a_bad_probe_opens_it_for_another_pause)
{
    struct breaker breaker = make_open(0);
    cr_assert_eq(breaker_allow(&breaker, PAUSE, 64), 1);
    breaker_failure(&breaker, PAUSE + 200);
    cr_assert_eq(breaker.state, BREAKER_OPEN);
    cr_assert_eq(breaker.opened_total, 2);
    cr_assert_eq(breaker_allow(&breaker, PAUSE + 200 + PAUSE - 1, 1), 0);
    cr_assert_eq(breaker_allow(&breaker, PAUSE + 200 + PAUSE, 1), 1);
}

Test(breaker, late_reports_of_calls_from_before_it_opened_change_nothing)
{
    struct breaker breaker = make_open(0);
    breaker_failure(&breaker, 900);
    breaker_success(&breaker, 900);
    cr_assert_eq(breaker.state, BREAKER_OPEN);
    cr_assert_eq(breaker.opened_total, 1);
    cr_assert_eq(breaker_wait_ms(&breaker, 900), 100, "the pause did not start anew");
}

Test(breaker, a_probe_that_never_reports_is_given_up)
{
    struct breaker breaker = make_open(0);
    cr_assert_eq(breaker_allow(&breaker, PAUSE, 64), 1);
    cr_assert_eq(breaker_wait_ms(&breaker, PAUSE), 1000, "others ask again soon");
    cr_assert_eq(breaker_wait_ms(&breaker, PAUSE + PROBE - 10), 10);
    cr_assert_eq(breaker_allow(&breaker, PAUSE + PROBE - 1, 64), 0);
    cr_assert_eq(breaker_wait_ms(&breaker, PAUSE + PROBE), 0);
    cr_assert_eq(breaker_allow(&breaker, PAUSE + PROBE, 64), 1);
    cr_assert_eq(breaker_allow(&breaker, PAUSE + PROBE, 64), 0);
}

Test(breaker, a_long_pause_is_also_the_patience_with_a_probe)
{
    struct breaker breaker;
    breaker_init(&breaker, 1, 2 * PROBE);
    breaker_failure(&breaker, 0);
    cr_assert_eq(breaker_allow(&breaker, 2 * PROBE, 1), 1);
    cr_assert_eq(breaker_allow(&breaker, 4 * PROBE - 1, 1), 0);
    cr_assert_eq(breaker_allow(&breaker, 4 * PROBE, 1), 1);
}

Test(breaker, a_cancelled_probe_is_anothers)
{
    struct breaker breaker = make_open(0);
    breaker_cancel(&breaker, 10);
    cr_assert_eq(breaker_allow(&breaker, 10, 64), 0, "nothing was allowed, nothing is given back");
    cr_assert_eq(breaker_allow(&breaker, PAUSE, 64), 1);
    breaker_cancel(&breaker, PAUSE + 5);
    cr_assert_eq(breaker.state, BREAKER_HALF_OPEN);
    cr_assert_eq(breaker_allow(&breaker, PAUSE + 5, 64), 1);
    cr_assert_eq(breaker_allow(&breaker, PAUSE + 5, 64), 0);
}

Test(breaker, a_reset_closes_it_at_once_and_keeps_the_count)
{
    struct breaker breaker = make_open(0);
    breaker_reset(&breaker);
    cr_assert_eq(breaker_peek(&breaker, 0), BREAKER_CLOSED);
    cr_assert_eq(breaker_allow(&breaker, 0, 64), 64);
    cr_assert_eq(breaker.opened_total, 1);
}

Test(breaker, nonsense_in_its_settings_is_made_sense_of)
{
    struct breaker breaker;
    breaker_init(&breaker, 0, -5);
    breaker_failure(&breaker, 0);
    cr_assert_eq(breaker.state, BREAKER_OPEN);
    cr_assert_eq(breaker_allow(&breaker, 0, 2), 1, "no pause");
}

Test(breaker, its_states_have_names)
{
    cr_assert_str_eq(breaker_state_name(BREAKER_CLOSED), "closed");
    cr_assert_str_eq(breaker_state_name(BREAKER_HALF_OPEN), "half_open");
    cr_assert_str_eq(breaker_state_name(BREAKER_OPEN), "open");
}

/* ---- what others saw ---- */

Test(breaker, what_others_saw_open_is_open_from_then_on)
{
    struct breaker breaker = make();
    breaker_hear_open(&breaker, 500);
    cr_assert_eq(breaker.state, BREAKER_OPEN);
    cr_assert_eq(breaker.opened_total, 1);
    cr_assert_eq(breaker_wait_ms(&breaker, 600), PAUSE - 100);
    breaker_hear_open(&breaker, 400);
    cr_assert_eq(breaker.opened_at_ms, 500, "older news");
    breaker_hear_open(&breaker, 700);
    cr_assert_eq(breaker.opened_at_ms, 700, "it was opened again");
    cr_assert_eq(breaker.opened_total, 1);
    breaker_hear_closed(&breaker);
    cr_assert_eq(breaker.state, BREAKER_CLOSED);
    cr_assert_eq(breaker_allow(&breaker, 800, 64), 1, "as after a probe of its own");
}

Test(breaker, a_probe_of_its_own_is_not_disturbed_by_what_others_saw)
{
    struct breaker breaker = make_open(0);
    cr_assert_eq(breaker_allow(&breaker, PAUSE, 64), 1);
    breaker_hear_open(&breaker, PAUSE);
    breaker_hear_closed(&breaker);
    breaker_hear_failures(&breaker, 100);
    cr_assert_eq(breaker.state, BREAKER_HALF_OPEN);
    breaker_success(&breaker, PAUSE);
    cr_assert_eq(breaker.state, BREAKER_CLOSED);
}

Test(breaker, others_failures_count_but_the_last_one_is_its_own)
{
    struct breaker breaker = make();
    breaker_hear_failures(&breaker, 1000);
    cr_assert_eq(breaker.state, BREAKER_CLOSED);
    breaker_failure(&breaker, 10);
    cr_assert_eq(breaker.state, BREAKER_OPEN);
}
