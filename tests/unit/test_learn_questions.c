/* What a learning store answers, and that it need not read all of itself for it. */
#include <criterion/criterion.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "learn/questions.h"
#include "learn_fixture.h"
#include "ok.h"

static struct error err;

static const int64_t DAY = LEARN_DAY;

TestSuite(learn_questions, .init = learn_setup, .fini = learn_teardown);
TestSuite(learn_file, .init = learn_setup, .fini = learn_teardown); /* what a server has not */

struct sample {
    const char *domain, *type, *tier, *arm;
    int count, successes;
    double cost;
};

static void put(const struct sample *sample)
{
    static int made;

    for (int i = 0; i < sample->count; i++) {
        char name[24];
        snprintf(name, sizeof name, "t%d", made++);
        struct part part = {
            .domain = slice_of(sample->domain), .job_id = slice_of(name), .at_ms = DAY + i};
        part.body.kind = slice_of("execution");
        part.body.task_id = slice_of(name);
        part.body.task_type = slice_of(sample->type);
        part.body.model_tier = slice_of(sample->tier);
        part.body.pool_type = slice_of("warm");
        part.body.arm = slice_of(sample->arm);
        part.body.solution_summary = slice_of("say \"it\", twice");
        part.body.success = (struct maybe_truth){i < sample->successes, true};
        part.body.actual_cost = (struct maybe_number){sample->cost, true};
        part.body.tokens_out = (struct maybe_integer){10, true};
        learn_put(&part);
    }
    learn_refresh(DAY + 1000);
}

/* The whole answer, a JSON object a line; with as many parameters as are given. */
static const char *answer(const char *name, const char *first, const char *second)
{
    static struct strbuf out;
    const struct store_question *question = question_find(slice_of(name));
    struct slice given[QUESTION_PARAMETERS_MAX] = {{NULL, 0}};
    struct value with[QUESTION_PARAMETERS_MAX];
    struct rows rows;

    cr_assert_not_null(question);
    given[0] = first == NULL ? given[0] : slice_of(first);
    given[1] = second == NULL ? given[1] : slice_of(second);
    strbuf_reset(&out);
    strbuf_append_str(&out, "");
    OK(question_take(question, given, with, &err));
    OK(question_ask(store_database(learn_store), question, with, DAY + 1000, &rows, &err));
    while (rows_next(&rows, &err) == ROWS_ONE) {
        question_json(question, &rows, &out);
        strbuf_append_char(&out, '\n');
    }
    OK(rows_end(&rows));
    return out.data;
}

static void holds(const char *text, const char *part)
{
    cr_assert_not_null(strstr(text, part), "no %s in %s", part, text);
}

Test(learn_file, none_reads_a_table_from_end_to_end)
{
    for (size_t i = 0; i < questions_count; i++) {
        static char sql[32][8000]; /* a statement is known by its address */
        const struct store_question *question = &questions[i];
        struct value with[QUESTION_PARAMETERS_MAX + 1];
        struct rows rows;
        size_t count = 0;

        if (question->sql == NULL) {
            continue; /* see test_similar.c */
        }
        for (; count < QUESTION_PARAMETERS_MAX && question->parameters[count].name != NULL;
             count++) {
            with[count] =
                question->parameters[count].is_integer ? value_integer(5) : value_str("a");
        }
        if (question->takes_now) {
            with[count++] = value_integer(DAY);
        }
        snprintf(sql[i], sizeof sql[i], "EXPLAIN QUERY PLAN %s", question->sql);
        OK(database_ask(store_database(learn_store), sql[i], with, count, &rows, &err));
        while (rows_next(&rows, &err) == ROWS_ONE) {
            const struct slice step = rows_value(&rows, 3).text;
            char text[300];
            snprintf(text, sizeof text, "%.*s", (int)step.bytes, step.data);
            const bool is_of_steps = strstr(text, "SCAN found") != NULL || /* the query's own */
                                     strstr(text, "SCAN chosen") != NULL ||
                                     strstr(text, "SCAN (subquery") != NULL ||
                                     strstr(text, "SCAN CONSTANT ROW") != NULL;
            const bool is_short = strcmp(text, "SCAN counts") == 0; /* a row for each who writes */
            cr_assert(strstr(text, "SCAN") == NULL || is_of_steps || is_short, "%s: %s",
                      question->name, text);
        }
        OK(rows_end(&rows));
    }
}

Test(learn_questions, a_column_has_a_name_and_a_name_a_column)
{
    for (size_t i = 0; i < questions_count; i++) {
        const struct store_question *question = &questions[i];
        cr_assert_not_null(question->help);
        cr_assert_eq(question_find(slice_of(question->name)), question);
        cr_assert_not_null(question->columns[0].name);
    }
    cr_assert_null(question_find(slice_of("nothing")));
}

Test(learn_questions, a_router_gets_the_lower_bound_by_wilson_and_what_a_success_costs)
{
    put(&(struct sample){"acme", "fix", "small", "enriched", 100, 80, 1});
    put(&(struct sample){"acme", "fix", "large", "holdout", 20, 19, 5});
    const char *found = answer("route", "acme", "fix");

    /* 80 of 100 is at least .7112 by Wilson, 19 of 20 at least .7639 */
    holds(found, "{\"tier\":\"large\",\"from\":\"type\",\"finished\":20,\"successes\":19,"
                 "\"success_rate\":0.95,\"success_at_least\":0.7638");
    holds(found, "\"success_rate\":0.8,\"success_at_least\":0.7111");
    holds(found, "\"mean_cost\":1.0,\"cost_per_success\":1.25");
    cr_assert_lt(strstr(found, "large"), strstr(found, "small"));
}

Test(learn_questions, where_a_type_has_too_few_a_router_gets_the_domain_and_then_all)
{
    put(&(struct sample){"acme", "fix", "small", "enriched", 3, 0, 1});
    put(&(struct sample){"acme", "write", "small", "enriched", 20, 20, 1});
    put(&(struct sample){"other", "fix", "large", "enriched", 20, 10, 1});

    holds(answer("route", "acme", "fix"),
          "{\"tier\":\"small\",\"from\":\"domain\",\"finished\":23,");
    holds(answer("route", "acme", "fix"), "{\"tier\":\"large\",\"from\":\"all\",\"finished\":20,");
    holds(answer("route", "acme", "write"),
          "{\"tier\":\"small\",\"from\":\"type\",\"finished\":20,");
}

Test(learn_questions, what_never_succeeded_surely_succeeds_never)
{
    put(&(struct sample){"acme", "fix", "small", "enriched", 3, 0, 1});
    holds(answer("types", "acme", NULL), "\"success_at_least\":0.0}");
    holds(answer("route", "acme", "fix"), "\"success_at_least\":0.0,\"mean_cost\":1.0,");
}

Test(learn_questions, tokens_that_nobody_told_are_not_known)
{
    struct part part = {.domain = slice_of("acme"), .job_id = slice_of("one"), .at_ms = LEARN_DAY};

    part.body.kind = slice_of("execution");
    part.body.task_id = slice_of("one");
    part.body.model_tier = slice_of("small");
    learn_put(&part);
    learn_refresh(LEARN_DAY + 1000);
    holds(answer("tiers", "acme", NULL), "\"mean_tokens\":null,");

    /* A mean is over those that told them, be it nought. */
    part.body.task_id = part.job_id = slice_of("two");
    part.body.tokens_in = (struct maybe_integer){30, true};
    learn_put(&part);
    part.body.task_id = part.job_id = slice_of("three");
    part.body.tokens_in = (struct maybe_integer){0, true};
    learn_put(&part);
    learn_refresh(LEARN_DAY + 2000);
    holds(answer("tiers", "acme", NULL), "\"executions\":3,");
    holds(answer("tiers", "acme", NULL), "\"mean_tokens\":15.0,");
}

Test(learn_questions, numbers_next_to_nothing_have_a_mean)
{
    put(&(struct sample){"acme", "fix", "small", "enriched", 1, 1, 5e-324});
    put(&(struct sample){"acme", "fix", "small", "enriched", 2, 1, 0});
    holds(answer("types", "acme", NULL), "\"mean_cost\":0.0,");
    holds(answer("tiers", "acme", NULL), "\"mean_cost\":0.0,");
    holds(answer("route", "acme", "fix"), "\"mean_cost\":0.0,");
    holds(answer("lift", "acme", NULL), "\"cost\":0.0}");
}

Test(learn_questions, the_figures_are_those_of_the_executions)
{
    put(&(struct sample){"acme", "fix", "small", "enriched", 8, 6, 2});
    put(&(struct sample){"acme", "write", "small", "holdout", 2, 1, 2});

    holds(answer("tiers", "acme", NULL), "{\"tier\":\"small\",\"executions\":10,\"finished\":10,"
                                         "\"successes\":7,\"success_rate\":0.7,\"mean_cost\":2.0,");
    holds(answer("tiers", "acme", "fix"), "\"executions\":8,");
    holds(answer("types", "acme", NULL),
          "{\"task_type\":null,\"tier\":\"small\",\"executions\":10,");
    holds(answer("types", "acme", NULL),
          "{\"task_type\":\"write\",\"tier\":\"small\",\"executions\":2,");
    holds(answer("pools", "acme", NULL), "{\"pool_type\":\"warm\",\"executions\":10,");
    holds(answer("trend", "acme", NULL), "{\"day_ms\":1728000000000,\"executions\":10,");
    holds(answer("solutions", "acme", NULL), "{\"summary\":\"say \\\"it\\\", twice\",\"uses\":10,");
    holds(answer("lift", "acme", NULL), "{\"arm\":\"enriched\",\"executions\":8,\"finished\":8,"
                                        "\"successes\":6,\"tokens\":80,\"cost\":16.0}");
    holds(answer("stats", NULL, NULL),
          "{\"executions\":10,\"incomplete\":0,\"first_ms\":1728000000000,");
    cr_assert_str_eq(answer("domains", NULL, NULL),
                     "{\"domain\":\"acme\",\"last_ms\":1728000000007}\n");
    cr_assert_str_eq(answer("domains", "acme", NULL), "");
    cr_assert_str_eq(answer("tiers", "nobody", NULL), "");
}

/* 1, 2 ... 20 seconds on one day, 101 ... 140 on the next. */
static void put_failure(const char *task, const char *type, const char *message, int64_t at_ms)
{
    struct part part = {.domain = slice_of("acme"), .job_id = slice_of(task), .at_ms = at_ms};

    part.body.kind = slice_of("outcome");
    part.body.task_id = slice_of(task);
    part.body.success = (struct maybe_truth){false, true};
    part.body.error_type = slice_of(type);
    part.body.error_message = slice_of(message);
    learn_put(&part);
}

Test(learn_questions, the_latest_come_first_and_errors_name_the_newest_of_each_type)
{
    put(&(struct sample){"acme", "fix", "small", "enriched", 6, 6, 2});
    put(&(struct sample){"other", "fix", "small", "enriched", 1, 0, 2});
    put_failure("old", "timeout", "first", DAY + 100);
    put_failure("new", "timeout", "second", DAY + 200);
    put_failure("mute", "", "", DAY + 300);

    const char *found = answer("latest", "acme", "2");
    cr_assert_eq(strncmp(found, "{\"at_ms\":1728000000300,\"task_id\":\"mute\",", 40), 0, "%s",
                 found);
    cr_assert_not_null(strstr(found, "}\n{\"at_ms\":1728000000200,\"task_id\":\"new\","));
    holds(found, "\"success\":0,");
    holds(found, "\"error_type\":\"timeout\",");
    cr_assert_null(strstr(found, "\"old\""));

    found = answer("errors", "acme", NULL);
    holds(found, "{\"error_type\":\"timeout\",\"failures\":2,\"share\":0.2222222222222222,"
                 "\"last_ms\":1728000000200,\"last_task_id\":\"new\",\"last_message\":\"second\"}\n"
                 "{\"error_type\":\"\",\"failures\":1,");
    found = answer("errors", "acme", "2"); /* of the last two */
    holds(found, "{\"error_type\":\"timeout\",\"failures\":1,\"share\":0.5,");
    cr_assert_str_eq(answer("errors", "nobody", NULL), "");
}

Test(learn_questions, p95_is_exact_for_a_day_and_of_days_the_mean_by_their_executions)
{
    for (int i = 1; i <= 60; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        const bool is_first = i <= 20;
        struct part part = learn_part("execution", name, name, DAY - (is_first ? 86400000 : 0));
        part.body.model_tier = slice_of("small");
        part.body.duration_seconds = (struct maybe_number){is_first ? i : 80 + i, true};
        learn_put(&part);
    }
    learn_refresh(DAY + 1000);
    holds(answer("trend", "acme.shop", NULL), "\"duration_p95_seconds\":19.0");
    holds(answer("trend", "acme.shop", NULL), "\"duration_p95_seconds\":138.0");
    /* (20 * 19 + 40 * 138) / 60 */
    holds(answer("tiers", "acme.shop", NULL), "\"duration_p95_seconds\":98.33");
}

Test(learn_questions, csv_doubles_quotes_and_leaves_out_what_is_not_known)
{
    const struct store_question *question = question_find(slice_of("export"));
    const struct value with[QUESTION_PARAMETERS_MAX] = {value_integer(0)};
    struct strbuf out = {0};
    struct rows rows;

    put(&(struct sample){"acme", "fix", "small", "enriched", 1, 1, 2});
    question_csv(question, NULL, &out);
    OK(question_ask(store_database(learn_store), question, with, DAY, &rows, &err));
    cr_assert_eq(rows_next(&rows, &err), ROWS_ONE);
    question_csv(question, &rows, &out);
    cr_assert_eq(rows_next(&rows, &err), ROWS_END);
    OK(rows_end(&rows));
    holds(out.data, "\"domain\",\"task_id\",\"at_ms\",");
    holds(out.data, ",\"say \"\"it\"\", twice\",,,\"enriched\",,");
    strbuf_free(&out);
}

Test(learn_questions, metadata_is_json_in_json)
{
    struct part part = learn_part("execution", "t", "j", DAY);
    struct meta_pair pair = {slice_of("say \"it\""), {.type = META_INT, .integer = 7}};

    part.body.metadata = (struct metadata){&pair, 1, {NULL, 0}};
    learn_put(&part);
    holds(answer("task", "acme.shop", "t"), "\"metadata\":{\"say \\\"it\\\"\":7}}");
}

Test(learn_questions, what_is_missing_or_no_number_is_named)
{
    const struct store_question *question = question_find(slice_of("tiers"));
    struct slice given[QUESTION_PARAMETERS_MAX] = {{NULL, 0}};
    struct value with[QUESTION_PARAMETERS_MAX];
    static const char *const bad[] = {"", "-1", "0", "x", "1.5", "9999999999999999"};

    cr_assert_eq(question_take(question, given, with, &err), STATUS_INVALID);
    holds(err.text, "domain is missing");
    given[0] = slice_of("Acme Corp");
    cr_assert_eq(question_take(question, given, with, &err), STATUS_INVALID);
    holds(err.text, "domain is \"Acme Corp\", expected 1 to 63 of a-z0-9._-");
    given[0] = slice_of("acme");
    OK(question_take(question, given, with, &err));
    cr_assert_eq(with[2].integer, 30);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        given[2] = slice_of(bad[i]);
        cr_assert_eq(question_take(question, given, with, &err), STATUS_INVALID, "%s", bad[i]);
        holds(err.text, "days");
    }
}
