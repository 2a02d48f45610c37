#include "learn/similar.h"

#include <stdio.h>
#include <string.h>

#include "base/text.h"

/* $1 is the domain, $42 the limit, and between them the ids and their distances. */
#define NEAR(id, distance) "($" #id ", CAST($" #distance " AS REAL))"
/* clang-format off */
static const char rows_of_near[] =
    "WITH near (task_id, distance) AS (VALUES "
    NEAR(2, 3) ", " NEAR(4, 5) ", " NEAR(6, 7) ", " NEAR(8, 9) ", "
    NEAR(10, 11) ", " NEAR(12, 13) ", " NEAR(14, 15) ", " NEAR(16, 17) ", "
    NEAR(18, 19) ", " NEAR(20, 21) ", " NEAR(22, 23) ", " NEAR(24, 25) ", "
    NEAR(26, 27) ", " NEAR(28, 29) ", " NEAR(30, 31) ", " NEAR(32, 33) ", "
    NEAR(34, 35) ", " NEAR(36, 37) ", " NEAR(38, 39) ", " NEAR(40, 41) ")"
    " SELECT near.distance, e.task_id, e.at_ms, e.task_type, e.model_tier, e.model, e.success,"
    " e.quality_score, e.actual_cost, e.duration_seconds, e.solution_summary, e.task_description"
    " FROM near JOIN executions e ON e.domain = $1 AND e.task_id = near.task_id"
    " ORDER BY near.distance, e.task_id LIMIT $42";
/* clang-format on */

enum { DOMAIN, TEXT, LIMIT }; /* the question's parameters */
enum { FIRST_NEAR = 1, VALUES = FIRST_NEAR + 2 * SIMILAR_MAX + 1 };

static enum status check(const struct value *with, struct error *err)
{
    if (text_is_blank(with[TEXT].text.data, with[TEXT].text.bytes)) {
        return error_set(err, STATUS_INVALID, "task is blank, expected what it is about");
    }
    if (with[LIMIT].integer < 1 || with[LIMIT].integer > SIMILAR_MAX) {
        return error_set(err, STATUS_INVALID, "limit is %lld, expected 1 to %d",
                         (long long)with[LIMIT].integer, SIMILAR_MAX);
    }
    return STATUS_OK;
}

static enum status embed(const struct similar_clients *clients, struct slice text,
                         struct arena *arena, const float **vector, struct error *err)
{
    struct embedder *embedder = clients->embedder;

    if (clients->text_bytes_max > 0) {
        text.bytes = text_utf8_cut(text.data, text.bytes, clients->text_bytes_max);
    }
    TRY(embedder_learn(embedder, err));
    chroma_set_dimension(clients->chroma, embedder_dimension(embedder));
    float *made = arena_array(arena, embedder_dimension(embedder), sizeof *made);
    *vector = made;
    return embedder_embed(embedder, &text, 1, made, err);
}

static enum status find_near(const struct similar_clients *clients, struct slice domain,
                             const float *vector, struct arena *arena, struct chroma_hits *hits,
                             struct error *err)
{
    char tasks[CHROMA_DOMAIN_BYTES];
    const struct chroma_search search = {
        .domain = tasks,
        .vectors = &vector,
        .count = 1,
        .n_results = SIMILAR_MAX, /* some rows may be gone */
        .without_text = true,
    };

    snprintf(tasks, sizeof tasks, CHROMA_TASKS "%.*s", (int)domain.bytes, domain.data);
    const enum status status = chroma_query(clients->chroma, &search, err);
    if (status == STATUS_NOT_FOUND) {
        *hits = (struct chroma_hits){0};
        return STATUS_OK;
    }
    TRY(status);
    return chroma_next_hits(clients->chroma, arena, hits, err);
}

enum status similar_ask(const struct similar_clients *clients,
                        const struct value with[QUESTION_PARAMETERS_MAX], struct arena *arena,
                        struct rows *rows, struct error *err)
{
    const struct slice domain = with[DOMAIN].text;
    struct value asked[VALUES];
    struct chroma_hits hits;
    const float *vector = NULL;

    TRY(check(with, err));
    TRY(embed(clients, with[TEXT].text, arena, &vector, err));
    TRY(find_near(clients, domain, vector, arena, &hits, err));
    asked[0] = value_text(domain);
    for (size_t i = 0; i < SIMILAR_MAX; i++) {
        const bool is_there = i < hits.count;
        asked[FIRST_NEAR + 2 * i] = is_there ? value_text(hits.examples[i].id) : value_null();
        asked[FIRST_NEAR + 2 * i + 1] =
            is_there ? value_number(hits.examples[i].distance) : value_null();
    }
    asked[VALUES - 1] = with[LIMIT];
    return database_ask(clients->database, rows_of_near, asked, VALUES, rows, err);
}

/* ---- descriptions ---------------------------------------------------------------------------- */

enum status similar_list(struct database *database, const struct described *behind,
                         struct rows *rows, struct error *err)
{
    static const char of_domain[] =
        "SELECT domain, task_id FROM executions WHERE domain = $1 AND task_id > $2"
        " AND task_description IS NOT NULL ORDER BY domain, task_id LIMIT $3";
    static const char of_all[] =
        "SELECT domain, task_id FROM executions WHERE (domain, task_id) > ($1, $2)"
        " AND task_description IS NOT NULL ORDER BY domain, task_id LIMIT $3";
    const struct value with[] = {value_text(behind->domain), value_text(behind->task_id),
                                 value_integer(behind->most)};

    return database_ask(database, behind->is_one_domain ? of_domain : of_all, with, 3, rows, err);
}

static enum status read_one(struct database *database, struct description *one, struct arena *arena,
                            struct error *err)
{
    static const char sql[] =
        "SELECT task_description, at_ms FROM executions WHERE domain = $1 AND task_id = $2";
    const struct value with[] = {value_str(one->domain), value_text(one->task_id)};
    struct rows rows;

    one->text = (struct slice){NULL, 0};
    one->at_ms = 0;
    TRY(database_ask(database, sql, with, 2, &rows, err));
    if (rows_next(&rows, err) == ROWS_ONE) {
        const struct slice text = rows_value(&rows, 0).text;
        one->at_ms = rows_value(&rows, 1).integer;
        if (text.data != NULL && !text_is_blank(text.data, text.bytes)) {
            one->text = (struct slice){arena_copy(arena, text.data, text.bytes), text.bytes};
        }
    }
    return rows_end(&rows);
}

enum status similar_describe(struct database *database, struct description *each, size_t count,
                             struct arena *arena, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        TRY(read_one(database, &each[i], arena, err));
    }
    return STATUS_OK;
}
