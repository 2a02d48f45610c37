/* learn/columns.h - the tables whose rows are merged from parts, and what is read into their
 * columns.
 *
 *     const struct merged *table = &merged_executions;
 *     for (size_t i = 0; i < table->count; i++) {
 *         puts(table->columns[i].name);
 *     }
 *
 * A column's place in its list is what the stamps of a row call it (merge.h): new ones go to the
 * end, in a migration of the schema. Pure, any thread.
 */
#ifndef STILLHOUSE_LEARN_COLUMNS_H
#define STILLHOUSE_LEARN_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>

#include "jobs/kinds.h"

enum { COLUMNS_MAX = 48 };

struct column {
    const char *name;
    enum kind_field_type type;
    bool is_group; /* what the views group by: absent is '', not NULL */
    size_t at;     /* of the member in struct record_body */
};

struct merged {
    const char *name;
    const char *key; /* besides the domain */
    const struct column *columns;
    size_t count;
};

extern const struct merged merged_executions; /* by task_id: the fields of `execution` */
extern const struct merged merged_pools;      /* by pool_id: a pool's own life */
extern const struct merged merged_policies;   /* by repo: what is asked of quality there */

#endif
