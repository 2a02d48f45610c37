/* What the whole fleet keeps to together: a rate, and leases. On a real Redis. */
#include "queue/limits.h"
#include "queue_fixture.h"

static struct error err;

TestSuite(queue_lease, .init = queue_setup, .fini = queue_teardown, .timeout = 60);

/* ---- a rate ------------------------------------------------------------------------------ */

static int64_t take(const char *key, int64_t count, int64_t window_ms, int64_t cost)
{
    int64_t wait_ms = -1;

    OK(ratelimit_take(conn, &(struct rate){key, count, window_ms}, cost, &wait_ms, &err));
    return wait_ms;
}

BOOKED_TEST(queue_lease, a_rate_gives_its_count_and_then_says_how_long_to_wait)
{
    for (int i = 0; i < 10; i++) {
        cr_assert_eq(take("sh:rate:x", 10, 600000, 1), 0);
    }
    const int64_t wait_ms = take("sh:rate:x", 10, 600000, 1);
    cr_assert_gt(wait_ms, 50000);
    cr_assert_leq(wait_ms, 60000);
    cr_assert_eq(take("sh:rate:other", 10, 600000, 10), 0);
    cr_assert_gt(take("sh:rate:other", 10, 600000, 10), 500000);
    cr_assert_gt(atoll(ask("PTTL", "sh:rate:x", NULL)), 0);
}

BOOKED_TEST(queue_lease, a_rate_fills_up_again)
{
    cr_assert_eq(take("sh:rate:x", 100, 1000, 100), 0);
    const int64_t wait_ms = take("sh:rate:x", 100, 1000, 1);
    cr_assert_gt(wait_ms, 0);
    cr_assert_leq(wait_ms, 10);
    const int64_t until_ms = clock_now_ms() + 5000;
    while (take("sh:rate:x", 100, 1000, 1) > 0) {
        cr_assert_lt(clock_now_ms(), until_ms);
    }
}

BOOKED_TEST(queue_lease, more_than_the_count_at_once_waits_for_a_full_bucket_and_leaves_a_debt)
{
    cr_assert_eq(take("sh:rate:x", 10, 60000, 30), 0);
    cr_assert_gt(take("sh:rate:x", 10, 60000, 1), 100000);
    cr_assert_eq(take("sh:rate:free", 10, 60000, 0), 0);
    cr_assert_str_eq(ask("EXISTS", "sh:rate:free", NULL), "0");
    int64_t wait_ms = 0;
    cr_assert_eq(ratelimit_take(conn, &(struct rate){"sh:rate:x", 0, 1}, 1, &wait_ms, &err),
                 STATUS_INVALID);
}

/* ---- leases ------------------------------------------------------------------------------ */

BOOKED_TEST(queue_lease, a_lease_has_one_holder)
{
    bool yes = false;

    OK(lease_take(conn, &(struct lease){"sh:lease:x", "me", 20000}, &yes, &err));
    cr_assert(yes);
    OK(lease_take(conn, &(struct lease){"sh:lease:x", "you", 60000}, &yes, &err));
    cr_assert_not(yes);
    OK(lease_take(conn, &(struct lease){"sh:lease:x", "me", 40000}, &yes, &err));
    cr_assert(yes);
    cr_assert_gt(atoll(ask("PTTL", "sh:lease:x", NULL)), 20000);

    OK(lease_renew(conn, &(struct lease){"sh:lease:x", "you", 60000}, &yes, &err));
    cr_assert_not(yes);
    OK(lease_renew(conn, &(struct lease){"sh:lease:x", "me", 60000}, &yes, &err));
    cr_assert(yes);
    cr_assert_gt(atoll(ask("PTTL", "sh:lease:x", NULL)), 40000);

    OK(lease_release(conn, "sh:lease:x", "you", &err));
    cr_assert_str_eq(ask("GET", "sh:lease:x", NULL), "me");
    OK(lease_release(conn, "sh:lease:x", "me", &err));
    OK(lease_release(conn, "sh:lease:x", "me", &err));
    OK(lease_renew(conn, &(struct lease){"sh:lease:x", "me", 60000}, &yes, &err));
    cr_assert_not(yes, "a renewal took a free lease");
    OK(lease_take(conn, &(struct lease){"sh:lease:x", "you", 60000}, &yes, &err));
    cr_assert(yes);
    cr_assert_eq(lease_take(conn, &(struct lease){"sh:lease:x", "", 60000}, &yes, &err),
                 STATUS_INVALID);
    cr_assert_eq(lease_renew(conn, &(struct lease){"sh:lease:x", "me", 0}, &yes, &err),
                 STATUS_INVALID);
}

BOOKED_TEST(queue_lease, who_is_refused_a_lease_first_comes_next)
{
    bool yes = false;

    OK(lease_take(conn, &(struct lease){"sh:lease:x", "greedy", 60000}, &yes, &err));
    const int64_t until_ms = clock_now_ms() + 5000;
    do { /* its turn lapses soon: held here, so that a slow machine changes nothing */
        cr_assert_lt(clock_now_ms(), until_ms);
        OK(lease_take(conn, &(struct lease){"sh:lease:x", "patient", 60000}, &yes, &err));
        cr_assert_not(yes);
    } while (strcmp(ask("PEXPIRE", "sh:lease:x:next", "60000", NULL), "1") != 0);
    OK(lease_take(conn, &(struct lease){"sh:lease:x", "late", 60000}, &yes, &err));
    cr_assert_not(yes);
    OK(lease_release(conn, "sh:lease:x", "greedy", &err));
    OK(lease_take(conn, &(struct lease){"sh:lease:x", "greedy", 60000}, &yes, &err));
    cr_assert_not(yes, "taken again before the one who waits");
    OK(lease_take(conn, &(struct lease){"sh:lease:x", "patient", 60000}, &yes, &err));
    cr_assert(yes);
    cr_assert_str_eq(ask("EXISTS", "sh:lease:x:next", NULL), "0");
}

BOOKED_TEST(queue_lease, a_turn_lapses_when_its_owner_asks_no_more)
{
    bool yes = false;

    OK(lease_take(conn, &(struct lease){"sh:lease:x", "first", 60000}, &yes, &err));
    OK(lease_take(conn, &(struct lease){"sh:lease:x", "gone", 60000}, &yes, &err));
    cr_assert_not(yes);
    OK(lease_release(conn, "sh:lease:x", "first", &err));
    const int64_t until_ms = clock_now_ms() + 5000;
    do {
        OK(lease_take(conn, &(struct lease){"sh:lease:x", "second", 60000}, &yes, &err));
        cr_assert_lt(clock_now_ms(), until_ms);
    } while (!yes);
}

BOOKED_TEST(queue_lease, a_lease_ends_by_itself)
{
    bool taken = false;

    OK(lease_take(conn, &(struct lease){"sh:lease:x", "dead", 20}, &taken, &err));
    const int64_t until_ms = clock_now_ms() + 5000;
    do {
        OK(lease_take(conn, &(struct lease){"sh:lease:x", "me", 60000}, &taken, &err));
        cr_assert_lt(clock_now_ms(), until_ms);
    } while (!taken);
}
