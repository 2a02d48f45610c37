#include "learn/arms.h"

#include "learn/questions.h"

/* NULL: an arm of a name that a program made up. */
static struct arm *arm_named(struct arms *arms, struct slice name)
{
    if (slice_equal(name, slice_of("enriched")) || slice_equal(name, slice_of("stale"))) {
        return &arms->with;
    }
    if (slice_equal(name, slice_of("holdout"))) {
        return &arms->without;
    }
    return slice_equal(name, slice_of("fallback")) ? &arms->fallback : NULL;
}

/* The columns of the question `lift`. */
static void add_row(struct arms *arms, const struct rows *rows)
{
    struct arm *arm = arm_named(arms, rows_value(rows, 0).text);

    if (arm != NULL) {
        arm->tasks.tasks += rows_value(rows, 2).integer;
        arm->tasks.successes += rows_value(rows, 3).integer;
        arm->tokens += rows_value(rows, 4).integer;
        arm->cost += rows_value(rows, 5).number;
    }
}

enum status arms_ask(struct database *database, const struct arms_question *asked, struct arms *out,
                     struct error *err)
{
    const struct store_question *question = question_find(slice_of("lift"));
    const struct value with[QUESTION_PARAMETERS_MAX] = {value_text(asked->domain),
                                                        value_integer(asked->days)};
    struct rows rows;

    *out = (struct arms){0};
    TRY(question_ask(database, question, with, asked->now_unix_ms, &rows, err));
    while (rows_next(&rows, err) == ROWS_ONE) {
        add_row(out, &rows);
    }
    return rows_end(&rows);
}
