/* `stillhouse lift` on a store of its own: what examples are worth, and that it says so. */
#include <stdio.h>

#include "base/clock.h"
#include "cli_fixture.h"
#include "folder.h"
#include "learn/store.h"
#include "ok.h"

enum { MOST = 80 };

static char folder[200];
static char path[240];
static struct store *store;

/* So many executions of an arm, the first of which worked. */
static void put(const char *domain, const char *arm, int tasks, int successes)
{
    static int made;
    struct error err = {0};
    char ids[MOST][24];
    struct part parts[MOST];

    for (int i = 0; i < tasks; i++) {
        snprintf(ids[i], sizeof ids[i], "t-%d", made++);
        parts[i] = (struct part){.domain = slice_of(domain),
                                 .job_id = slice_of(ids[i]),
                                 .at_ms = clock_unix_ms() - 1000,
                                 .body = {.kind = slice_of("execution"),
                                          .task_id = slice_of(ids[i]),
                                          .arm = slice_of(arm),
                                          .tokens_out = {10, true},
                                          .actual_cost = {0.5, true},
                                          .success = {i < successes, true}}};
    }
    OK(store_put(store, parts, (size_t)tasks, &err));
}

static void setup(void)
{
    struct error err = {0};

    start_redis();
    test_folder_make(folder, sizeof folder);
    snprintf(path, sizeof path, "%s/learn.db", folder);
    OK(store_open(path, STORE_WRITE, &store, &err));
    put("good", "enriched", 36, 30);
    put("good", "stale", 34, 26);
    put("good", "holdout", 80, 48);
    put("good", "fallback", 7, 7);
    put("bad", "enriched", 80, 30);
    put("bad", "holdout", 60, 45);
    put("open", "enriched", 40, 24);
    put("open", "holdout", 10, 5);
    put("alone", "enriched", 3, 3);
    for (size_t left = 1; left > 0;) {
        OK(store_refresh(store, clock_unix_ms(), 100, &left, &err));
    }
    store_close(store);
}

static void teardown(void)
{
    test_folder_remove(folder);
    redis_teardown();
}

TestSuite(cli_lift, .init = setup, .fini = teardown);

/* Newcombe 1998: 56 of 70 against 48 of 80. */
Test(cli_lift, examples_that_help_are_said_to_with_the_published_interval)
{
    RUN(0, "lift", "--domain", "good", "--learn", path);
    PRINTS("Examples help: +20.0 points, +5.2 to +33.4 with 95 %.");
    PRINTS("80.0 %");
    RUN(0, "lift", "--domain", "good", "--learn", path, "--json");
    cJSON *answer = document();
    const cJSON *with = cJSON_GetObjectItemCaseSensitive(answer, "with");
    cr_assert_eq(number_at(with, "tasks"), 70);
    cr_assert_eq(number_at(with, "successes"), 56);
    cr_assert_eq(number_at(with, "tokens"), 700);
    cr_assert_eq(number_at(with, "cost"), 35);
    cr_assert_eq(number_at(cJSON_GetObjectItemCaseSensitive(answer, "without"), "tasks"), 80);
    cr_assert_eq(number_at(cJSON_GetObjectItemCaseSensitive(answer, "fallback"), "tasks"), 7);
    cr_assert_str_eq(text_at(answer, "examples"), "help");
    cr_assert_eq(number_at(answer, "more_tasks"), 0);
    cJSON_Delete(answer);
}

Test(cli_lift, examples_that_hurt_are_said_to)
{
    RUN(0, "lift", "--domain", "bad", "--learn", path);
    PRINTS("Examples hurt: -37.5 points");
}

Test(cli_lift, what_cannot_be_told_yet_says_how_many_tasks_it_takes)
{
    RUN(0, "lift", "--domain", "open", "--learn", path);
    PRINTS("It cannot be told apart yet: +10.0 points");
    PRINTS("more tasks would tell such a difference.");
    RUN(0, "lift", "--domain", "alone", "--learn", path);
    PRINTS("no task that was held out has told its outcome");
    RUN(0, "lift", "--domain", "nobody", "--learn", path);
    PRINTS("Nothing to compare yet");
}

Test(cli_lift, what_is_wrong_is_named)
{
    RUN(2, "lift", "--domain", "good");
    SAYS("no learning store is named");
    RUN(2, "lift", "--learn", path);
    SAYS("--domain");
    RUN(4, "lift", "--domain", "good", "--learn", "/nonexistent/learn.db");
    SAYS("/nonexistent/learn.db");
}
