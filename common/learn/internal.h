/* learn/internal.h - the store's own: what its files have in common. A transaction is begun, things
 * are done to rows (put.c, removal.c) or marked (check.c), each says which groups of the views it
 * touched and how many executions are more or fewer, and the end writes that down and commits.
 */
#ifndef STILLHOUSE_LEARN_INTERNAL_H
#define STILLHOUSE_LEARN_INTERNAL_H

#include "base/arena.h"
#include "base/strbuf.h"
#include "learn/columns.h"
#include "learn/database.h"
#include "learn/schema.h"
#include "learn/store.h"
#include "learn/views.h"

/* Advisory lock on a server, besides that of schema.h. Whoever adds executions or deletes them has
 * ROWS_LOCK together with others, alone where it also sees to it that something does not come back.
 */
enum { ROWS_LOCK = 2 };

/* Statements of a merged table. */
struct merged_table {
    const struct merged *merged;
    struct strbuf find, insert, update, list;
};
enum { TABLE_EXECUTIONS, TABLE_POOLS, TABLE_POLICIES, TABLES };

struct store {
    struct database *database;
    int lock;
    char id[STORE_ID_BYTES];
    struct merged_table tables[TABLES];
    struct arena arena; /* of a transaction */

    /* This transaction's. */
    struct view_group *marked; /* texts in the arena; some may be there several times */
    size_t marked_count, marked_room;
    int64_t added, added_incomplete;
    bool is_alone; /* has ROWS_LOCK so */

    bool wants_alone; /* a put's: transaction_ask_alone */
};

/* Everything in the arena is gone. */
enum status transaction_begin(struct store *store, struct error *err) MUSTCHECK;
/* One that changes executions. */
enum status transaction_begin_rows(struct store *store, enum database_lock how,
                                   struct error *err) MUSTCHECK;
/* Commits where all went well, and rolls back else. */
enum status transaction_end(struct store *store, enum status status, struct error *err) MUSTCHECK;

/* Fails a put that is to be done again while nobody else writes: it is. */
enum status transaction_ask_alone(struct store *store, const char *why, struct error *err);

/* A copy that lives as long as the transaction. */
enum status transaction_keep(struct store *store, struct slice *text, struct error *err) MUSTCHECK;
/* The groups of the views that an execution is in: the end marks them. The texts live as long as
 * the transaction. */
enum status transaction_mark_all(struct store *store, struct slice domain, int64_t at_ms,
                                 struct slice task_type, struct slice solution_hash,
                                 struct error *err) MUSTCHECK;

/* put.c: false where there is no memory. */
bool put_prepare(struct store *store) MUSTCHECK;

/* removal.c: what is kept of parts, which may be all: of a name that was forgotten nothing comes
 * back. Where a task has to be forgotten for that it asks to be alone. */
struct kept_part {
    struct part part;  /* task_id "": that of no execution */
    bool has_feedback; /* a row of its own for what somebody said */
};
enum status removal_leave_out(struct store *store, const struct part *parts, struct kept_part *kept,
                              size_t count, struct error *err) MUSTCHECK;

#endif
