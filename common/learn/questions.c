/* See learn/questions.h. Figures come from the views; a share of success is followed by Wilson's
 * lower bound at 95 % where somebody decides by it.
 */
#include "learn/questions.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"
#include "json/write.h"

#define DOMAIN                                                                                     \
    {                                                                                              \
        "domain", false, NULL, "whose"                                                             \
    }
#define TYPE                                                                                       \
    {                                                                                              \
        "task-type", false, "", "of one task type only"                                            \
    }
#define DAYS                                                                                       \
    {                                                                                              \
        "days", true, "30", "how many days back"                                                   \
    }

/* With its parts n and s: z = 1.96. Of no success it is nought, which rounding would miss. */
#define WILSON(n, s)                                                                               \
    "CASE WHEN " s " = 0 AND " n " > 0 THEN 0.0 WHEN " n " > 0 THEN (1.0 * " s " / " n             \
    " + 1.9208 / " n " - 1.96 * sqrt((1.0 * " s " / " n " * (1 - 1.0 * " s " / " n                 \
    ") + 0.9604 / " n ") / " n ")) / (1 + 3.8416 / " n ") END"

/* Sums of tier_performance. p95: the groups' exact ones, weighted by how many executions they stand
 * for. An exact one over days would read every execution of them. */
#define TIER_FIGURES                                                                               \
    " sum(executions), sum(finished), sum(successes),"                                             \
    " 1.0 * sum(successes) / nullif(sum(finished), 0), sum(cost) / nullif(sum(costed), 0),"        \
    " sum(quality) / nullif(sum(rated), 0), 1.0 * sum(tokens) / nullif(sum(metered), 0),"          \
    " sum(duration) / nullif(sum(timed), 0),"                                                      \
    " sum(duration_p95 * timed) / nullif(sum(timed), 0)"
#define TIER_COLUMNS                                                                               \
    {"executions", VALUE_INTEGER}, {"finished", VALUE_INTEGER}, {"successes", VALUE_INTEGER},      \
        {"success_rate", VALUE_NUMBER}, {"mean_cost", VALUE_NUMBER},                               \
        {"mean_quality", VALUE_NUMBER}, {"mean_tokens", VALUE_NUMBER},                             \
        {"mean_duration_seconds", VALUE_NUMBER},                                                   \
    {                                                                                              \
        "duration_p95_seconds", VALUE_NUMBER                                                       \
    }

static const struct question_column tiers[] = {{"tier", VALUE_TEXT}, TIER_COLUMNS, {NULL, 0}};
static const struct question_column types[] = {
    {"task_type", VALUE_TEXT},
    {"tier", VALUE_TEXT},
    TIER_COLUMNS,
    {"success_at_least", VALUE_NUMBER},
    {NULL, 0},
};
static const struct question_column trend[] = {{"day_ms", VALUE_INTEGER}, TIER_COLUMNS, {NULL, 0}};

static const struct question_column pools[] = {
    {"pool_type", VALUE_TEXT},
    {"executions", VALUE_INTEGER},
    {"finished", VALUE_INTEGER},
    {"successes", VALUE_INTEGER},
    {"success_rate", VALUE_NUMBER},
    {"mean_wait_seconds", VALUE_NUMBER},
    {"mean_duration_seconds", VALUE_NUMBER},
    {"duration_p95_seconds", VALUE_NUMBER},
    {"peak_memory_mb", VALUE_NUMBER},
    {NULL, 0},
};

static const struct question_column solutions[] = {
    {"summary", VALUE_TEXT},        {"uses", VALUE_INTEGER},
    {"finished", VALUE_INTEGER},    {"successes", VALUE_INTEGER},
    {"success_rate", VALUE_NUMBER}, {"success_at_least", VALUE_NUMBER},
    {"task_types", VALUE_TEXT},     {"first_ms", VALUE_INTEGER},
    {"last_ms", VALUE_INTEGER},     {NULL, 0},
};

static const struct question_column route[] = {
    {"tier", VALUE_TEXT},
    {"from", VALUE_TEXT},
    {"finished", VALUE_INTEGER},
    {"successes", VALUE_INTEGER},
    {"success_rate", VALUE_NUMBER},
    {"success_at_least", VALUE_NUMBER},
    {"mean_cost", VALUE_NUMBER},
    {"cost_per_success", VALUE_NUMBER},
    {"mean_duration_seconds", VALUE_NUMBER},
    {NULL, 0},
};

static const struct question_column lift[] = {
    {"arm", VALUE_TEXT},
    {"executions", VALUE_INTEGER},
    {"finished", VALUE_INTEGER},
    {"successes", VALUE_INTEGER},
    {"tokens", VALUE_INTEGER},
    {"cost", VALUE_NUMBER},
    {NULL, 0},
};

/* All but the last, the metadata. */
#define EXECUTION_COLUMNS(COLUMN)                                                                  \
    COLUMN(domain, TEXT)                                                                           \
    COLUMN(task_id, TEXT)                                                                          \
    COLUMN(at_ms, INTEGER)                                                                         \
    COLUMN(incomplete, INTEGER)                                                                    \
    COLUMN(repo, TEXT)                                                                             \
    COLUMN(user, TEXT)                                                                             \
    COLUMN(task_type, TEXT)                                                                        \
    COLUMN(task_description, TEXT)                                                                 \
    COLUMN(file_count, INTEGER)                                                                    \
    COLUMN(estimated_tokens, INTEGER)                                                              \
    COLUMN(tokens_in, INTEGER)                                                                     \
    COLUMN(tokens_out, INTEGER)                                                                    \
    COLUMN(model_tier, TEXT)                                                                       \
    COLUMN(model, TEXT)                                                                            \
    COLUMN(pool_type, TEXT)                                                                        \
    COLUMN(swarm_topology, TEXT)                                                                   \
    COLUMN(routing_confidence, NUMBER)                                                             \
    COLUMN(complexity_score, NUMBER)                                                               \
    COLUMN(cost_estimate, NUMBER)                                                                  \
    COLUMN(parallelism, INTEGER)                                                                   \
    COLUMN(queue_wait_seconds, NUMBER)                                                             \
    COLUMN(success, INTEGER)                                                                       \
    COLUMN(duration_seconds, NUMBER)                                                               \
    COLUMN(retries, INTEGER)                                                                       \
    COLUMN(quality_score, NUMBER)                                                                  \
    COLUMN(actual_cost, NUMBER)                                                                    \
    COLUMN(error_type, TEXT)                                                                       \
    COLUMN(error_message, TEXT)                                                                    \
    COLUMN(peak_memory_mb, NUMBER)                                                                 \
    COLUMN(cpu_time_seconds, NUMBER)                                                               \
    COLUMN(solution_summary, TEXT)                                                                 \
    COLUMN(started_ms, INTEGER)                                                                    \
    COLUMN(completed_ms, INTEGER)                                                                  \
    COLUMN(arm, TEXT)                                                                              \
    COLUMN(prompt_id, TEXT)                                                                        \
    COLUMN(user_accepted, INTEGER)                                                                 \
    COLUMN(user_rating, INTEGER)                                                                   \
    COLUMN(cost_error, NUMBER)                                                                     \
    COLUMN(token_error, INTEGER)                                                                   \
    COLUMN(confidence_error, NUMBER)
#define NAME(name, type) #name ", "
#define ROW(name, type) {#name, VALUE_##type},

#define EXECUTION "SELECT " EXECUTION_COLUMNS(NAME) "metadata FROM executions "
static const struct question_column execution[] = {
    EXECUTION_COLUMNS(ROW){"metadata", VALUE_TEXT},
    {NULL, 0},
};

static const struct question_column similar[] = {
    {"distance", VALUE_NUMBER},
    {"task_id", VALUE_TEXT},
    {"at_ms", VALUE_INTEGER},
    {"task_type", VALUE_TEXT},
    {"model_tier", VALUE_TEXT},
    {"model", VALUE_TEXT},
    {"success", VALUE_INTEGER},
    {"quality_score", VALUE_NUMBER},
    {"actual_cost", VALUE_NUMBER},
    {"duration_seconds", VALUE_NUMBER},
    {"solution_summary", VALUE_TEXT},
    {"task_description", VALUE_TEXT},
    {NULL, 0},
};

static const struct question_column latest[] = {
    {"at_ms", VALUE_INTEGER},         {"task_id", VALUE_TEXT},
    {"task_type", VALUE_TEXT},        {"model_tier", VALUE_TEXT},
    {"success", VALUE_INTEGER},       {"quality_score", VALUE_NUMBER},
    {"actual_cost", VALUE_NUMBER},    {"duration_seconds", VALUE_NUMBER},
    {"user_rating", VALUE_INTEGER},   {"error_type", VALUE_TEXT},
    {"task_description", VALUE_TEXT}, {NULL, 0},
};

static const struct question_column errors[] = {
    {"error_type", VALUE_TEXT},
    {"failures", VALUE_INTEGER},
    {"share", VALUE_NUMBER},
    {"last_ms", VALUE_INTEGER},
    {"last_task_id", VALUE_TEXT},
    {"last_message", VALUE_TEXT},
    {NULL, 0},
};

static const struct question_column feedback[] = {
    {"at_ms", VALUE_INTEGER},       {"type", VALUE_TEXT},
    {"user_rating", VALUE_INTEGER}, {"user_accepted", VALUE_INTEGER},
    {"comment", VALUE_TEXT},        {"user", VALUE_TEXT},
    {"metadata", VALUE_TEXT},       {NULL, 0},
};

static const struct question_column policy[] = {
    {"repo", VALUE_TEXT},
    {"maturity", VALUE_TEXT},
    {"coverage_threshold", VALUE_NUMBER},
    {"strictness", VALUE_TEXT},
    {"reason", VALUE_TEXT},
    {"at_ms", VALUE_INTEGER},
    {NULL, 0},
};

static const struct question_column stats[] = {
    {"executions", VALUE_INTEGER}, {"incomplete", VALUE_INTEGER},     {"first_ms", VALUE_INTEGER},
    {"last_ms", VALUE_INTEGER},    {"stale_since_ms", VALUE_INTEGER}, {NULL, 0},
};

static const struct question_column domains[] = {
    {"domain", VALUE_TEXT}, {"last_ms", VALUE_INTEGER}, {NULL, 0}};

const struct store_question questions[] = {
    {"tiers",
     "how each model tier did",
     {DOMAIN, TYPE, DAYS},
     true,
     "SELECT model_tier," TIER_FIGURES " FROM tier_performance WHERE domain = $1"
     " AND ($2 = '' OR task_type = $2) AND day > $4 / 86400000 - $3"
     " GROUP BY model_tier ORDER BY model_tier",
     tiers},
    {"types",
     "how each tier did by task type; without a type: all together",
     {DOMAIN, DAYS},
     true,
     /* clang-format off */
     "SELECT NULL AS of, model_tier AS tier," TIER_FIGURES ", "
     WILSON("sum(finished)", "sum(successes)")
     " FROM tier_performance WHERE domain = $1 AND day > $3 / 86400000 - $2"
     " GROUP BY model_tier UNION ALL"
     " SELECT task_type, model_tier," TIER_FIGURES ", "
     WILSON("sum(finished)", "sum(successes)")
     " FROM tier_performance WHERE domain = $1 AND day > $3 / 86400000 - $2 AND task_type <> ''"
     " GROUP BY task_type, model_tier ORDER BY 1 NULLS FIRST, 2",
     /* clang-format on */
     types},
    {"pools",
     "how each type of pool did",
     {DOMAIN, {"hours", true, "168", "how many hours back"}},
     true,
     "SELECT pool_type, sum(executions), sum(finished), sum(successes),"
     " 1.0 * sum(successes) / nullif(sum(finished), 0), sum(wait) / nullif(sum(waited), 0),"
     " sum(duration) / nullif(sum(timed), 0),"
     " sum(duration_p95 * timed) / nullif(sum(timed), 0), max(peak_memory_mb)"
     " FROM pool_performance WHERE domain = $1 AND hour > $3 / 3600000 - $2"
     " GROUP BY pool_type ORDER BY pool_type",
     pools},
    {"solutions",
     "what solved tasks again and again",
     {DOMAIN, {"uses", true, "5", "used so often at least"}, {"limit", true, "20", "rows"}},
     false,
     /* clang-format off */
     "SELECT summary, uses, finished, successes, 1.0 * successes / nullif(finished, 0), "
     WILSON("finished", "successes")
     ", task_types, first_ms, last_ms FROM solutions"
     " WHERE domain = $1 AND uses >= $2 ORDER BY uses DESC, hash LIMIT $3",
     /* clang-format on */
     solutions},
    {"trend",
     "how it went day by day",
     {DOMAIN, TYPE, DAYS},
     true,
     "SELECT day * 86400000," TIER_FIGURES " FROM tier_performance WHERE domain = $1"
     " AND ($2 = '' OR task_type = $2) AND day > $4 / 86400000 - $3 GROUP BY day ORDER BY day",
     trend},
    {"route",
     "what a router asks: each tier's success and what it costs",
     {DOMAIN, TYPE, DAYS, {"least", true, "10", "finished executions, else the wider figures"}},
     true,
     "WITH found (tier, level, n, s, cost, costed, duration, timed) AS ("
     " SELECT model_tier, 1, sum(finished), sum(successes), sum(cost), sum(costed), sum(duration),"
     "  sum(timed) FROM tier_performance WHERE domain = $1 AND task_type = $2"
     "  AND day > $5 / 86400000 - $3 GROUP BY model_tier UNION ALL"
     " SELECT model_tier, 2, sum(finished), sum(successes), sum(cost), sum(costed), sum(duration),"
     "  sum(timed) FROM tier_performance WHERE domain = $1"
     "  AND day > $5 / 86400000 - $3 GROUP BY model_tier UNION ALL"
     " SELECT model_tier, 3, sum(finished), sum(successes), sum(cost), sum(costed), sum(duration),"
     "  sum(timed) FROM tier_totals WHERE day > $5 / 86400000 - $3 GROUP BY model_tier),"
     " chosen AS (SELECT *, row_number() OVER (PARTITION BY tier"
     "  ORDER BY CASE WHEN n >= $4 THEN level ELSE 9 - level END) AS place FROM found)"
     " SELECT tier, CASE level WHEN 1 THEN 'type' WHEN 2 THEN 'domain' ELSE 'all' END, n, s,"
     /* clang-format off */
     " 1.0 * s / nullif(n, 0), " WILSON("n", "s") " AS at_least, cost / nullif(costed, 0),"
     " cost / nullif(costed, 0) / nullif(1.0 * s / nullif(n, 0), 0), duration / nullif(timed, 0)"
     " FROM chosen WHERE place = 1 AND tier <> '' ORDER BY at_least DESC, tier",
     /* clang-format on */
     route},
    {"lift",
     "success by the arm of the prompt: with examples, and held out",
     {DOMAIN, {"days", true, "90", "how many days back"}},
     true,
     "SELECT arm, sum(executions), sum(finished), sum(successes), sum(tokens), sum(cost)"
     " FROM arm_performance WHERE domain = $1 AND day > $3 / 86400000 - $2"
     " GROUP BY arm ORDER BY arm",
     lift},
    {"similar",
     "past tasks about the same, nearest first",
     {DOMAIN, {"task", false, NULL, "what about"}, {"limit", true, "5", "rows, at most 20"}},
     false,
     NULL,
     similar},
    {"latest",
     "the last executions, newest first",
     {DOMAIN, {"limit", true, "20", "rows"}},
     false,
     "SELECT at_ms, task_id, task_type, model_tier, success, quality_score, actual_cost,"
     " duration_seconds, user_rating, error_type, task_description FROM executions"
     " WHERE domain = $1 ORDER BY at_ms DESC LIMIT $2",
     latest},
    /* Of so many that it reads no more of a large domain. */
    {"errors",
     "what the last executions failed of, by type, with the newest of each",
     {DOMAIN, {"last", true, "1000", "of how many executions"}},
     false,
     "WITH found (error, message, task, at_ms, success) AS (SELECT coalesce(error_type, ''),"
     "  error_message, task_id, at_ms, success FROM executions WHERE domain = $1"
     "  ORDER BY at_ms DESC LIMIT $2),"
     " chosen AS (SELECT *, count(*) OVER (PARTITION BY error) AS n, row_number() OVER"
     "  (PARTITION BY error ORDER BY at_ms DESC, task) AS place FROM found WHERE success = 0)"
     " SELECT error, n, 1.0 * n / (SELECT count(success) FROM found), at_ms, task, message"
     " FROM chosen WHERE place = 1 ORDER BY n DESC, error",
     errors},
    {"task",
     "all that is known of one task",
     {DOMAIN, {"task-id", false, NULL, "which"}},
     false,
     EXECUTION "WHERE domain = $1 AND task_id = $2",
     execution},
    {"feedback",
     "what was said of one task",
     {DOMAIN, {"task-id", false, NULL, "which"}},
     false,
     "SELECT at_ms, feedback_type, user_rating, user_accepted, comment, user, metadata"
     " FROM feedback WHERE domain = $1 AND task_id = $2 ORDER BY at_ms, job_id",
     feedback},
    {"policy",
     "what is asked of quality",
     {DOMAIN},
     false,
     "SELECT repo, maturity, coverage_threshold, strictness, reason, at_ms FROM policies"
     " WHERE domain = $1 ORDER BY repo",
     policy},
    {"stats",
     "how many executions, of when, and since when figures are stale, if any are",
     {{NULL, false, NULL, NULL}},
     false,
     "SELECT sum(executions), sum(incomplete), (SELECT min(at_ms) FROM executions),"
     " (SELECT max(at_ms) FROM executions), (SELECT min(since_ms) FROM dirty) FROM counts",
     stats},
    {"domains",
     "of which domains there are executions, and when the last was",
     {{"after", false, "", "those that sort behind this one"}, {"limit", true, "1000", "rows"}},
     false,
     "WITH RECURSIVE found (domain) AS (SELECT min(domain) FROM tier_performance WHERE domain > $1"
     " UNION ALL SELECT (SELECT min(domain) FROM tier_performance WHERE domain > found.domain)"
     "  FROM found WHERE found.domain IS NOT NULL)"
     " SELECT domain, (SELECT max(at_ms) FROM executions WHERE domain = found.domain)"
     " FROM found WHERE domain IS NOT NULL LIMIT $2",
     domains},
    {"export",
     "every execution since a moment, oldest first",
     {{"since-ms", true, "0", "Unix ms"}},
     false,
     EXECUTION "WHERE at_ms >= $1 ORDER BY at_ms",
     execution},
};

const size_t questions_count = sizeof questions / sizeof questions[0];

const struct store_question *question_find(struct slice name)
{
    for (size_t i = 0; i < questions_count; i++) {
        if (slice_equal(name, slice_of(questions[i].name))) {
            return &questions[i];
        }
    }
    return NULL;
}

static size_t parameters_of(const struct store_question *question)
{
    size_t count = 0;

    while (count < QUESTION_PARAMETERS_MAX && question->parameters[count].name != NULL) {
        count++;
    }
    return count;
}

size_t question_parameter_place(const struct store_question *question, struct slice name)
{
    for (size_t i = 0; i < parameters_of(question); i++) {
        if (slice_equal(name, slice_of(question->parameters[i].name))) {
            return i;
        }
    }
    return QUESTION_PARAMETERS_MAX;
}

/* One that must be given may not be given as nothing either. */
static enum status take_text(const struct question_parameter *parameter, struct slice text,
                             struct value *out, struct error *err)
{
    char found[48];

    if (text.bytes == 0 && parameter->fallback == NULL) {
        return error_set(err, STATUS_INVALID, "%s is empty, expected text", parameter->name);
    }
    if (memchr(text.data, '\0', text.bytes) != NULL || !text_is_utf8(text.data, text.bytes)) {
        return error_set(err, STATUS_INVALID, "%s is \"%s\", expected UTF-8 without NUL",
                         parameter->name, text_excerpt(text.data, text.bytes, found));
    }
    if (strcmp(parameter->name, "domain") == 0 && !text_is_domain(text.data, text.bytes)) {
        return error_set(err, STATUS_INVALID,
                         "domain is \"%s\", expected 1 to %d of a-z0-9._- with a letter or digit at"
                         " both ends",
                         text_excerpt(text.data, text.bytes, found), TEXT_DOMAIN_MAX);
    }
    *out = value_text(text);
    return STATUS_OK;
}

static enum status take_integer(const struct question_parameter *parameter, struct slice text,
                                struct value *out, struct error *err)
{
    int64_t number = 0;
    char found[48];

    for (size_t i = 0; i < text.bytes; i++) {
        if (text.bytes > 15 || text.data[i] < '0' || text.data[i] > '9') {
            return error_set(err, STATUS_INVALID,
                             "%s is \"%s\", expected a whole number of at most 15 digits",
                             parameter->name, text_excerpt(text.data, text.bytes, found));
        }
        number = number * 10 + (text.data[i] - '0');
    }
    if (text.bytes > 0 && number == 0 &&
        (strcmp(parameter->name, "days") == 0 || strcmp(parameter->name, "hours") == 0)) {
        return error_set(err, STATUS_INVALID, "%s is 0, expected a whole number from 1 on",
                         parameter->name);
    }
    *out = value_integer(number);
    return text.bytes > 0 ? STATUS_OK
                          : error_set(err, STATUS_INVALID, "%s is empty, expected a whole number",
                                      parameter->name);
}

enum status question_take(const struct store_question *question,
                          const struct slice given[QUESTION_PARAMETERS_MAX],
                          struct value with[QUESTION_PARAMETERS_MAX], struct error *err)
{
    const size_t count = parameters_of(question);

    for (size_t i = 0; i < count; i++) {
        const struct question_parameter *parameter = &question->parameters[i];
        struct slice text = given[i];
        if (text.data == NULL && parameter->fallback == NULL) {
            return error_set(err, STATUS_INVALID, "%s: %s is missing", question->name,
                             parameter->name);
        }
        text = text.data == NULL ? slice_of(parameter->fallback) : text;
        TRY((parameter->is_integer ? take_integer : take_text)(parameter, text, &with[i], err));
    }
    return STATUS_OK;
}

enum status question_ask(struct database *database, const struct store_question *question,
                         const struct value with[QUESTION_PARAMETERS_MAX], int64_t now_unix_ms,
                         struct rows *rows, struct error *err)
{
    struct value all[QUESTION_PARAMETERS_MAX + 1];
    size_t count = parameters_of(question);

    memcpy(all, with, count * sizeof all[0]);
    if (question->takes_now) {
        all[count++] = value_integer(now_unix_ms);
    }
    return database_ask(database, question->sql, all, count, rows, err);
}

/* ---- rows as text ---------------------------------------------------------------------------- */

/* What a number's column is made of is REAL: whole ones have a point too. */
static void write_value(const struct value *value, struct strbuf *out)
{
    switch (value->type) {
    case VALUE_INTEGER:
        json_int(out, value->integer);
        break;
    case VALUE_NUMBER:
        json_double(out, value->number);
        break;
    case VALUE_TEXT:
    case VALUE_BYTES:
        json_string(out, value->text.data, value->text.bytes);
        break;
    case VALUE_NULL:
        strbuf_append_str(out, "null");
        break;
    }
}

void question_json(const struct store_question *question, const struct rows *rows,
                   struct strbuf *out)
{
    for (int i = 0; question->columns[i].name != NULL; i++) {
        const struct value value = rows_value(rows, i);
        strbuf_append_char(out, i == 0 ? '{' : ',');
        json_str(out, question->columns[i].name);
        strbuf_append_char(out, ':');
        if (strcmp(question->columns[i].name, "metadata") == 0 && value.type == VALUE_TEXT) {
            strbuf_append(out, value.text.data, value.text.bytes); /* JSON already */
        } else {
            write_value(&value, out);
        }
    }
    strbuf_append_char(out, '}');
}

enum status question_list(const struct store_question *question, struct rows *rows,
                          size_t bytes_max, struct strbuf *out, struct error *err)
{
    const size_t from = out->bytes;

    strbuf_append_char(out, '[');
    for (size_t row = 0; rows_next(rows, err) == ROWS_ONE; row++) {
        const size_t end = out->bytes;
        strbuf_append_str(out, row == 0 ? "" : ",\n ");
        question_json(question, rows, out);
        if (out->bytes - from > bytes_max) {
            out->bytes = end;
            return error_set(err, STATUS_FULL,
                             "%s: the answer is longer than %zu bytes, ask for less",
                             question->name, bytes_max);
        }
    }
    strbuf_append_str(out, "]\n");
    return STATUS_OK;
}

void question_csv(const struct store_question *question, const struct rows *rows,
                  struct strbuf *out)
{
    for (int i = 0; question->columns[i].name != NULL; i++) {
        const struct value value =
            rows == NULL ? value_str(question->columns[i].name) : rows_value(rows, i);
        if (i > 0) {
            strbuf_append_char(out, ',');
        }
        if (value.type == VALUE_TEXT) {
            strbuf_append_char(out, '"');
            for (size_t k = 0; k < value.text.bytes; k++) {
                strbuf_append(out, "\"\"", value.text.data[k] == '"');
                strbuf_append_char(out, value.text.data[k]);
            }
            strbuf_append_char(out, '"');
        } else if (value.type != VALUE_NULL) {
            write_value(&value, out);
        }
    }
    strbuf_append_str(out, "\r\n");
}
