/* learn/database.h - statements and rows of a database; whose, the store does not know.
 *
 *     static const char sql[] = "SELECT id FROM executions WHERE domain = $1";
 *     const struct value asked[] = {value_str("acme")};
 *     struct rows rows;
 *     if (database_ask(database, sql, asked, 1, &rows, &err) == STATUS_OK) {
 *         while (rows_next(&rows, &err) == ROWS_ONE) {
 *             printf("%lld\n", (long long)rows_value(&rows, 0).integer);
 *         }
 *         status = rows_end(&rows);
 *     }
 *
 * It is a file of SQLite, which one process at a time writes, or a database on a server of
 * PostgreSQL, which many may write at once (database_is_shared).
 *
 * SQL. What both take, in SQLite's words where they differ: INTEGER, REAL, BLOB, VIRTUAL,
 * group_concat and the column `user` are said to PostgreSQL in its own. What stands in a comment
 * that begins with a plus sign is for PostgreSQL alone. Text is ordered by its bytes, whichever it
 * is; where NULL may be among what is ordered, NULLS FIRST or LAST is said.
 *
 * Parameters are $1, $2 ... in any order. A statement is prepared once and kept by the address of
 * its text, which must therefore be a literal or live as long as the database.
 *
 * Statuses. UNAVAILABLE: locked by somebody, the file was deleted or replaced, the server says "not
 * now". UNREACHABLE: no server, or it broke off. FAILED: read-only, full, an error of the disk, and
 * what is none of the others. GARBLED: damaged, or no database. INVALID: a value that a rule of the
 * schema refuses. TIMEOUT: see database_limit. Nothing of a transaction that failed stands once it
 * is rolled back. One thread at a time.
 */
#ifndef STILLHOUSE_LEARN_DATABASE_H
#define STILLHOUSE_LEARN_DATABASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "learn/value.h"

struct database;

enum database_mode {
    DATABASE_READ,  /* changes nothing; NOT_FOUND where there is no file */
    DATABASE_WRITE, /* changes it; NOT_FOUND likewise */
    DATABASE_MAKE,  /* the same, and makes it where there is none */
};

/* Whether `where` names a server, on which many may write at once. */
bool database_is_shared(const char *where);

/* From now on no other process owns `where`, until database_disown or the end of this one;
 * UNAVAILABLE names who does. On a server nobody needs to: *lock is -1. */
enum status database_own(const char *where, int *lock, struct error *err) MUSTCHECK;
void database_disown(int lock);

/* `where`: the path of a file, or postgresql://user@host/name. *out is NULL unless OK. The library
 * comes into the process with the first call. */
enum status database_open(const char *where, enum database_mode mode, struct database **out,
                          struct error *err) MUSTCHECK;
void database_close(struct database *database);

/* As it may be shown: a server's has no password. Valid as long as it is open. */
const char *database_name(const struct database *database);

/* UNAVAILABLE where the path names another file than the open one, or none. */
enum status database_check(struct database *database, struct error *err) MUSTCHECK;

/* From now on a statement that takes longer, from database_ask to its last row, ends with TIMEOUT;
 * 0: each may take its time. */
enum status database_limit(struct database *database, int64_t limit_ms,
                           struct error *err) MUSTCHECK;

/* Unix ms by the store's own clock, which is what "now" means to it: "the last 30 days" of a
 * question, the 90 of a solution, "until now" of who is forgotten. A file's is that of its machine,
 * where all who open it are, a server's the server's own: so one question has one answer, whoever
 * asks and over whatever way, and no other server is needed for it. */
enum status database_now(struct database *database, int64_t *unix_ms, struct error *err) MUSTCHECK;

/* ---- statements ------------------------------------------------------------------------------ */

/* Statements without parameters and rows, separated by ';'. */
enum status database_run(struct database *database, const char *sql, struct error *err) MUSTCHECK;

/* One statement whose rows nobody wants; *changed (may be NULL): how many rows it changed. */
enum status database_do(struct database *database, const char *sql, const struct value *with,
                        size_t count, int64_t *changed, struct error *err) MUSTCHECK;

/* One value of the first row, VALUE_NULL where there is none; no text. */
enum status database_find(struct database *database, const char *sql, const struct value *with,
                          size_t count, struct value *found, struct error *err) MUSTCHECK;

/* What the rows of a statement are read from. Opaque but for its size. */
struct rows {
    struct database *database;
    struct statement *statement;
    enum status status; /* what ended them early */
};
enum rows_step { ROWS_ONE, ROWS_END }; /* END: no more, or a failure that rows_end tells */

/* Borrows `with` until rows_end, which must follow where this is OK; one statement may be asked
 * again only after that, others may be asked meanwhile. */
enum status database_ask(struct database *database, const char *sql, const struct value *with,
                         size_t count, struct rows *rows, struct error *err) MUSTCHECK;
enum rows_step rows_next(struct rows *rows, struct error *err) MUSTCHECK;
/* Valid until the next step. */
struct value rows_value(const struct rows *rows, int column);
enum status rows_end(struct rows *rows) MUSTCHECK;

/* One statement for each of many sets of values, one set after another, in few round trips.
 * *changed (may be NULL): how many rows they changed together. */
struct many {
    const char *sql;
    const struct value *with; /* `sets` times `count` of them */
    size_t count, sets;
    /* Gets each row, which is valid for the call; may not use the database. NULL: nobody does. */
    enum status (*take)(void *context, size_t set, const struct rows *rows, struct error *err);
    void *context;
};
enum status database_many(struct database *database, const struct many *many, int64_t *changed,
                          struct error *err) MUSTCHECK;

/* ---- transactions ---------------------------------------------------------------------------- */

/* A transaction that may write; the caller ends it by commit or rollback. */
enum status database_begin(struct database *database, struct error *err) MUSTCHECK;
/* One that only reads: all its statements see the same moment. Ended likewise. */
enum status database_begin_read(struct database *database, struct error *err) MUSTCHECK;
enum status database_commit(struct database *database, struct error *err) MUSTCHECK;
void database_rollback(struct database *database);

/* Whether the transaction that failed last was crossed by another's: the same again may succeed. */
bool database_was_crossed(const struct database *database);

/* Until the end of the transaction: waits for whoever has the key otherwise. Where one process
 * writes it has every key. */
enum database_lock { LOCK_ALONE, LOCK_TOGETHER };
enum status database_lock(struct database *database, int64_t key, enum database_lock how,
                          struct error *err) MUSTCHECK;
/* The same alone, of those keys that nobody has otherwise: got[i] says of which. */
enum status database_try_locks(struct database *database, const int64_t *keys, size_t count,
                               bool *got, struct error *err) MUSTCHECK;

/* 1 where one process writes, else 1 to DATABASE_PLACES, mostly another for each that writes now:
 * for sums that all add to, so that none waits for another's commit. */
enum { DATABASE_PLACES = 64 };
int database_place(const struct database *database);

/* ---- the whole ------------------------------------------------------------------------------- */

/* How many tables and indexes there are, and whether a table `meta` is among them. */
enum status database_tables(struct database *database, int64_t *tables, bool *has_meta,
                            struct error *err) MUSTCHECK;

/* Bytes of it, and those of them that hold something (NULL: nobody asks, which is cheaper). */
enum status database_bytes(struct database *database, int64_t *bytes, int64_t *used,
                           struct error *err) MUSTCHECK;

/* Reads all of it: INVALID says what is damaged. A server's keeps its own books. */
enum status database_verify(struct database *database, struct error *err) MUSTCHECK;

/* Gives some of the bytes that hold nothing back. */
enum status database_shrink(struct database *database, struct error *err) MUSTCHECK;

/* A copy as of now at a path where no file is yet. INVALID: a server's are made by its own tools,
 * and the text says how. */
enum status database_copy(struct database *database, const char *to, struct error *err) MUSTCHECK;

/* A copy of all that stands, beside it and named after the version: a file's is `where`.version-N,
 * a server's the schema stillhouse_version_N. *kept gets its name; with is_trial that is all.
 * FAILED where there is one of that name already. Takes minutes where millions of rows are on a
 * server. */
enum { DATABASE_KEPT_BYTES = 512 };
enum status database_keep(struct database *database, int version, bool is_trial,
                          char kept[DATABASE_KEPT_BYTES], struct error *err) MUSTCHECK;

/* The file `with` takes the place of the one at `where`, which nobody may be writing, in one step
 * and synced. What stood there, damaged or not, is kept as `where`.before-restore, with its log as
 * ...-wal; who reads it reads on. INVALID where the place is a server. */
enum status database_replace(const char *where, const char *with, struct error *err) MUSTCHECK;

#endif
