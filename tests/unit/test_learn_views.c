/* The views that are kept as tables are what the rows make: whatever is falsified by hand is found,
 * said in words, and mended by the next refresh; and no statement of the store reads a table from
 * end to end. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "learn_fixture.h"
#include "ok.h"

static struct error err;

static const int64_t DAY = LEARN_DAY;
static const int64_t NOW = LEARN_DAY + 100000;
enum { LONG_MS = 600000 }; /* a look that no slow machine cuts short */

TestSuite(learn_views, .init = learn_setup, .fini = learn_teardown);
TestSuite(learn_file, .init = learn_setup, .fini = learn_teardown); /* what a server has not */

/* Executions of one domain and day, a second apart. */
static void put_executions(const char *domain, int count)
{
    for (int i = 1; i <= count; i++) {
        char name[40];
        snprintf(name, sizeof name, "%s.%d", domain, (i * 37) % 101);
        struct part part = learn_part("execution", name, name, DAY + i * 1000);
        part.domain = slice_of(domain);
        part.body.model_tier = slice_of(i % 2 == 0 ? "small" : "large");
        part.body.task_type = slice_of("fix");
        part.body.pool_type = slice_of("warm");
        part.body.solution_summary = slice_of("add an index");
        part.body.user = slice_of(i % 10 == 0 ? "ann" : "bob");
        part.body.arm = slice_of(i % 5 == 0 ? "holdout" : "enriched");
        part.body.success = (struct maybe_truth){i % 4 != 0, true};
        part.body.duration_seconds = (struct maybe_number){(i * 37) % 101, true};
        part.body.actual_cost = (struct maybe_number){0.1 * i, true};
        learn_put(&part);
    }
}

static void is_whole(void)
{
    struct store_checked checked;

    OK(store_check(learn_store, NOW, &checked, &err));
    cr_assert_gt(checked.groups, 0);
}

Test(learn_views, they_are_those_of_the_rows_and_p95_is_exact)
{
    put_executions("acme", 100);
    learn_refresh(NOW);
    cr_assert_eq(
        learn_number("SELECT sum(executions) = 100 AND sum(successes) = 75 FROM tier_performance"),
        1);
    cr_assert_eq(learn_number("SELECT count(*) FROM tier_performance WHERE executions = 50 AND"
                              " duration_p95 = CASE model_tier WHEN 'small' THEN 98 ELSE 95 END"),
                 2);
    cr_assert_eq(learn_number("SELECT duration_p95 FROM pool_performance"), 95);
    cr_assert_eq(learn_number("SELECT uses = 100 AND successes = 75 AND task_types = 'fix'"
                              " FROM solutions"),
                 1);
    is_whole();
}

/* What somebody or something might do to a store, and how it is said. */
static const struct lie {
    const char *sql, *words;
} lies[] = {
    {"UPDATE tier_performance SET successes = successes + 1 WHERE model_tier = 'small'",
     "tier_performance (\"acme\", \"fix\", 20000, \"small\") has successes 26, its executions make "
     "25"},
    {"UPDATE tier_performance SET duration_p95 = 94.5 WHERE model_tier = 'large'",
     "has duration_p95 94.5, its executions make 9"},
    {"UPDATE tier_performance SET duration_p95 = NULL WHERE model_tier = 'large'",
     "has duration_p95 nothing, its executions make 9"},
    {"DELETE FROM tier_performance WHERE model_tier = 'small'",
     "tier_performance (\"acme\", \"fix\", 20000, \"small\") is missing"},
    {"INSERT INTO tier_performance SELECT domain, 'nothing', day, model_tier, 1, 1, 1, 0, 0, 0, 0,"
     " 0, 0, 0, NULL, 0 FROM tier_performance LIMIT 1",
     "(\"acme\", \"nothing\", 20000, \"large\") has no executions"},
    {"UPDATE tier_performance SET metered = 7 WHERE model_tier = 'small'", "has metered 7, "},
    {"UPDATE arm_performance SET tokens = 7 WHERE arm = 'holdout'",
     "arm_performance (\"acme\", \"fix\", 20000, \"holdout\") has tokens 7, its executions make 0"},
    {"DELETE FROM arm_performance WHERE arm = 'holdout'", ", \"holdout\") is missing"},
    {"INSERT INTO arm_performance SELECT domain, 'nothing', day, arm, 1, 1, 1, 0, 0"
     " FROM arm_performance LIMIT 1",
     "arm_performance (\"acme\", \"nothing\", 20000, \"enriched\") has no executions"},
    {"UPDATE tier_totals SET cost = 7 WHERE model_tier = 'small'",
     "tier_totals (20000, \"small\") has cost 7, "},
    {"DELETE FROM tier_totals WHERE model_tier = 'small'",
     "tier_totals (20000, \"small\") is missing"},
    {"INSERT INTO tier_totals SELECT 1, model_tier, 1, 1, 0, 0, 0, 0 FROM tier_totals LIMIT 1",
     "tier_totals (1, \"large\") has no executions"},
    {"UPDATE pool_performance SET wait = 3", "has wait 3, its executions make 0"},
    {"DELETE FROM pool_performance", "pool_performance (\"acme\", 480000, \"warm\") is missing"},
    {"INSERT INTO pool_performance SELECT domain, hour + 1, pool_type, 1, 1, 1, 0, 0, 0, 0, NULL,"
     " NULL FROM pool_performance",
     "pool_performance (\"acme\", 480001, \"warm\") has no executions"},
    {"UPDATE solutions SET uses = 99", "has uses 99, its executions make 100"},
    {"UPDATE solutions SET task_types = ''", "has task_types \"\", its executions make \"fix\""},
    {"DELETE FROM solutions", ") is missing"},
    {"INSERT INTO solutions SELECT domain, 'ffffffff', summary, 1, 1, 1, '', first_ms, last_ms"
     " FROM solutions",
     "solutions (\"acme\", \"ffffffff\") has no executions"},
    {"DELETE FROM executions WHERE model_tier = 'large'",
     "counts has executions 100, there are 50"},
    {"UPDATE counts SET incomplete = 2", "counts has incomplete 2, there are 0"},
};

Test(learn_views, whatever_is_falsified_by_hand_is_found_and_said_and_mended)
{
    struct store_checked checked;

    put_executions("acme", 100);
    put_executions("other", 10);
    learn_refresh(NOW);
    for (size_t i = 0; i < sizeof lies / sizeof lies[0]; i++) {
        if (i + 2 == sizeof lies / sizeof lies[0]) { /* the counts are of all domains */
            learn_run("DELETE FROM executions WHERE domain = 'other'; UPDATE counts SET"
                      " executions = (SELECT count(*) FROM executions)");
            OK(store_mend(learn_store, NOW, &checked, &err));
            learn_refresh(NOW);
        }
        is_whole();
        learn_run(lies[i].sql);
        cr_assert_eq(store_check(learn_store, NOW, &checked, &err), STATUS_INVALID, "%s",
                     lies[i].sql);
        cr_assert_not_null(strstr(err.text, lies[i].words), "%s: %s", lies[i].words, err.text);
        OK(store_mend(learn_store, NOW, &checked, &err));
        cr_assert_gt(checked.apart, 0);
        learn_refresh(NOW);
    }
    is_whole();
}

Test(learn_views, more_groups_than_are_listed_at_once_are_mended)
{
    struct store_checked checked;

    for (int i = 0; i < 200; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        struct part part = learn_part("execution", name, name, DAY);
        part.body.task_type = slice_of(name);
        learn_put(&part);
    }
    learn_refresh(NOW);
    learn_run("DELETE FROM tier_performance");
    OK(store_mend(learn_store, NOW, &checked, &err));
    cr_assert_eq(checked.apart, 201); /* their day's total too */
    learn_refresh(NOW);
    is_whole();
}

/* The recorder's, of one day at random: it marks what it finds. */
Test(learn_views, a_random_day_finds_what_is_false_in_each_view_and_marks_it)
{
    static const char *const damage[] = {
        "UPDATE tier_performance SET cost = cost + 1",
        "DELETE FROM arm_performance WHERE arm = 'holdout'",
        "UPDATE pool_performance SET executions = 7",
        "UPDATE solutions SET successes = 7",
        "INSERT INTO tier_performance SELECT domain, 'nothing', day, model_tier, 1, 1, 1, 0, 0, 0,"
        " 0, 0, 0, 0, NULL, 0 FROM tier_performance LIMIT 1",
        "INSERT INTO pool_performance SELECT domain, hour + 1, pool_type, 1, 1, 1, 0, 0, 0, 0,"
        " NULL, NULL FROM pool_performance",
        "INSERT INTO solutions SELECT domain, 'ffffffff', summary, 1, 1, 1, '', first_ms, last_ms"
        " FROM solutions",
    };
    struct store_checked checked;

    OK(store_check_day(learn_store, 5, LONG_MS, NOW, &checked, &err));
    cr_assert_eq(checked.groups, 0, "there is nothing yet");
    put_executions("acme", 100);
    OK(store_check_day(learn_store, 5, LONG_MS, NOW, &checked, &err));
    cr_assert_eq(checked.groups, 0, "what is marked is not judged");
    learn_refresh(NOW);
    for (size_t i = 0; i < sizeof damage / sizeof damage[0]; i++) {
        const uint64_t random = UINT64_C(0xfffffff0) + i; /* the last of the solutions */
        OK(store_check_day(learn_store, random, LONG_MS, NOW, &checked, &err));
        cr_assert_geq(checked.groups, 3);
        cr_assert_eq(checked.apart, 0, "%s", checked.first);
        learn_run(damage[i]);
        OK(store_check_day(learn_store, random, LONG_MS, NOW, &checked, &err));
        cr_assert_geq(checked.apart, 1, "%s", damage[i]);
        cr_assert_neq(checked.first[0], '\0');
        OK(store_check_day(learn_store, random, LONG_MS, NOW, &checked, &err));
        cr_assert_eq(checked.apart, 0, "it is marked, and waits");
        learn_refresh(NOW);
        is_whole();
    }
}

/* Which an execution leaves 90 days after it was. */
Test(learn_views, a_solution_whose_executions_grow_old_is_computed_again_and_is_no_difference)
{
    static const int64_t days = INT64_C(90) * 86400000;
    struct store_checked checked;

    put_executions("acme", 100);
    learn_refresh(NOW);
    OK(store_check(learn_store, DAY + days + 50500, &checked, &err)); /* the refresh is due */
    learn_refresh(DAY + days + 50500);
    cr_assert_eq(learn_number("SELECT uses FROM solutions"), 50);
    OK(store_check(learn_store, DAY + days + 50500, &checked, &err));
    learn_refresh(DAY + days + 200000);
    cr_assert_eq(learn_number("SELECT count(*) FROM solutions"), 0);
    OK(store_check(learn_store, DAY + 2 * days, &checked, &err));
}

/* Of statements that run again and again; a check reads all there is. SQLite counts the rows that a
 * statement steps over in a table or index from end to end. */
Test(learn_file, no_statement_of_the_store_reads_a_table_from_end_to_end)
{
    struct store_state state;
    struct store_checked checked;
    struct store_expired expired;
    struct rows rows;
    size_t deleted = 0;
    size_t seen = 0;

    put_executions("acme", 100);
    learn_refresh(NOW);
    struct part parts[] = {
        learn_part("routing", "r", "j1", DAY),  learn_part("outcome", "r", "j2", DAY),
        learn_part("feedback", "r", "j3", DAY), learn_part("pool_start", "r", "j4", DAY),
        learn_part("policy", "", "j5", DAY),    learn_part("execution", "late", "j6", DAY)};
    parts[2].body.user = slice_of("ann");
    parts[3].body.pool_id = slice_of("p");
    parts[5].body.user = slice_of("ann");
    OK(store_put(learn_store, parts, 5, &err));
    OK(store_forget(learn_store,
                    &(struct forget){.user = slice_of("ann"), .now_unix_ms = NOW, .rows = 100},
                    &deleted, &err));
    cr_assert_eq(deleted, 10);
    OK(store_forget(learn_store,
                    &(struct forget){.domain = slice_of("acme.shop"),
                                     .task_id = slice_of("r"),
                                     .now_unix_ms = NOW,
                                     .rows = 1},
                    &deleted, &err));
    OK(store_put(learn_store, parts, 6, &err));
    for (int i = 0; i < 50; i++) { /* that are not old */
        char name[16];
        snprintf(name, sizeof name, "n%d", i);
        struct part pool = learn_part("pool_start", name, name, NOW);
        struct part policy = learn_part("policy", "", name, NOW);
        pool.body.pool_id = policy.body.repo = slice_of(name);
        learn_put(&pool);
        learn_put(&policy);
        OK(store_forget(learn_store,
                        &(struct forget){.domain = slice_of("acme.shop"),
                                         .task_id = slice_of(name),
                                         .now_unix_ms = NOW,
                                         .rows = 1},
                        &deleted, &err));
    }
    OK(store_expire(learn_store, DAY + 20000, 0, 5, &expired, &err));
    cr_assert_eq(expired.executions, 5);
    learn_refresh(NOW);
    OK(store_check_day(learn_store, 1, LONG_MS, NOW, &checked, &err));
    OK(store_look(learn_store, &state, &err));

    OK(database_ask(store_database(learn_store),
                    "SELECT sql, nscan FROM sqlite_stmt WHERE sql NOT LIKE '%sqlite_stmt%'"
                    " AND sql NOT LIKE '%sqlite_master%'",
                    NULL, 0, &rows, &err)); /* which a version's step counts */
    while (rows_next(&rows, &err) == ROWS_ONE) {
        const struct slice sql = rows_value(&rows, 0).text;
        const int64_t scanned = rows_value(&rows, 1).integer;
        seen++;
        cr_assert_lt(scanned, 10, "%lld rows by %.*s", (long long)scanned, (int)sql.bytes,
                     sql.data);
    }
    OK(rows_end(&rows));
    cr_assert_gt(seen, 30);
}
