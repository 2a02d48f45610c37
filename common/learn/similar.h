/* learn/similar.h - executions by what they were about: their descriptions, whose vectors stand in
 * Chroma under CHROMA_TASKS and the domain, and the rows of those that are nearest to a text.
 *
 *     const struct value with[] = {value_str("acme.shop"), value_str("an empty cart"),
 *                                  value_integer(5)};
 *     struct rows near;
 *     if (similar_ask(&clients, with, &arena, &near, &err) == STATUS_OK) {
 *         while (rows_next(&near, &err) == ROWS_ONE) {
 *             printf("%.2f\n", rows_value(&near, 0).number);
 *         }
 *         status = rows_end(&near);
 *     }
 *
 * The rows come first: a vector is made of what its row says (the queue `vector`), and one whose
 * row is gone is found by nobody. One thread at a time.
 */
#ifndef STILLHOUSE_LEARN_SIMILAR_H
#define STILLHOUSE_LEARN_SIMILAR_H

#include "base/arena.h"
#include "chroma/chroma.h"
#include "embedder/embedder.h"
#include "learn/questions.h"

enum { SIMILAR_MAX = 20 }; /* executions an answer */

/* All borrowed. */
struct similar_clients {
    struct database *database;
    struct chroma *chroma;
    struct embedder *embedder; /* whose identity the Chroma's collections have */
    size_t text_bytes_max;     /* more of a text is not embedded; 0 = all of it is */
};

/* Asks the question `similar`, the one of the table that has no statement of its own; nearest
 * first. Where this is OK, rows_end must follow, and the arena, a program's (is_must), stay until
 * then. INVALID names what is wrong of the question. Errors: the embedder's, Chroma's (that there
 * are no vectors yet is none), the database's. */
enum status similar_ask(const struct similar_clients *clients,
                        const struct value with[QUESTION_PARAMETERS_MAX], struct arena *arena,
                        struct rows *rows, struct error *err) MUSTCHECK;

/* What an execution is about. */
struct description {
    const char *domain;
    struct slice task_id;

    /* Out. */
    struct slice text; /* in the arena; {NULL, 0}: there is no row, or it says nothing */
    int64_t at_ms;     /* of the row */
};

/* Asks for the executions with a description, as domain and task id, in the order of these: up to
 * `most` that stand behind `domain` and `task_id`. rows_end must follow where this is OK. */
struct described {
    struct slice domain, task_id; /* "" and "": from the first on */
    bool is_one_domain;           /* no other than `domain` */
    int64_t most;
};
enum status similar_list(struct database *database, const struct described *behind,
                         struct rows *rows, struct error *err) MUSTCHECK;

/* Reads `count` of them; the arena is a program's (is_must). */
enum status similar_describe(struct database *database, struct description *each, size_t count,
                             struct arena *arena, struct error *err) MUSTCHECK;

#endif
