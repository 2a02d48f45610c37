/* learn/questions.h - what can be asked of a learning store: THE table, for the CLI and for HTTP.
 *
 *     const struct store_question *question = question_find(slice_of("route"));
 *     struct value with[QUESTION_PARAMETERS_MAX];
 *     struct rows rows;
 *     if (question_take(question, given, with, &err) == STATUS_OK &&
 *         question_ask(database, question, with, now_unix_ms, &rows, &err) == STATUS_OK) {
 *         while (rows_next(&rows, &err) == ROWS_ONE) {
 *             show(rows_value(&rows, 0));
 *         }
 *         status = rows_end(&rows);
 *     }
 *
 * Values that are not known are VALUE_NULL. No question reads a table from end to end, but
 * `export`. One thread at a time.
 */
#ifndef STILLHOUSE_LEARN_QUESTIONS_H
#define STILLHOUSE_LEARN_QUESTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/strbuf.h"
#include "learn/database.h"

enum {
    QUESTION_PARAMETERS_MAX = 4,
    QUESTIONS_WINDOW_DAYS = 30, /* what the recorder tells of on its own looks back so far */
};

struct question_parameter {
    const char *name;     /* NULL: there are no more */
    bool is_integer;      /* from 0 on; else text */
    const char *fallback; /* NULL: it must be given */
    const char *help;
};

struct question_column {
    const char *name; /* NULL: there are no more */
    enum value_type type;
};

struct store_question {
    const char *name;
    const char *help;
    struct question_parameter parameters[QUESTION_PARAMETERS_MAX]; /* $1, $2 ... */
    bool takes_now;                                                /* the parameter behind them */
    const char *sql; /* NULL: learn/similar.h asks it */
    const struct question_column *columns;
};

extern const struct store_question questions[];
extern const size_t questions_count;

/* NULL: there is none of this name. */
const struct store_question *question_find(struct slice name);

/* Where the parameter of this name stands; QUESTION_PARAMETERS_MAX: there is none. */
size_t question_parameter_place(const struct store_question *question, struct slice name);

/* Texts to what is asked with; {NULL, 0} is not given. INVALID names the parameter, what it is and
 * what was expected. Borrows. */
enum status question_take(const struct store_question *question,
                          const struct slice given[QUESTION_PARAMETERS_MAX],
                          struct value with[QUESTION_PARAMETERS_MAX], struct error *err) MUSTCHECK;

/* The rows; rows_end must follow where this is OK. Not for one without a statement. */
enum status question_ask(struct database *database, const struct store_question *question,
                         const struct value with[QUESTION_PARAMETERS_MAX], int64_t now_unix_ms,
                         struct rows *rows, struct error *err) MUSTCHECK;

/* Appends the rows that are left, a JSON list with a line for each; the rest of a list that would
 * be longer than `bytes_max` is left out, and the status is FULL. rows_end must follow. */
enum status question_list(const struct store_question *question, struct rows *rows,
                          size_t bytes_max, struct strbuf *out, struct error *err) MUSTCHECK;

/* Appends one row as a JSON object, and as a line of CSV (RFC 4180; the head with rows NULL). */
void question_json(const struct store_question *question, const struct rows *rows,
                   struct strbuf *out);
void question_csv(const struct store_question *question, const struct rows *rows,
                  struct strbuf *out);

#endif
