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
 * Parameters are $1, $2 ... in any order. A statement is prepared once and kept by the address of
 * its text, which must therefore be a literal or live as long as the database.
 *
 * Statuses. UNAVAILABLE: locked by somebody, or the file was deleted or replaced. FAILED:
 * read-only, full, an error of the disk, and what is none of the others. GARBLED: damaged, or no
 * database. INVALID: a value that a rule of the schema refuses. Nothing of a transaction that
 * failed stands once it is rolled back. One thread at a time.
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

/* Of the file at `path`. *out is NULL unless OK. The library comes into the process with the
 * first call. */
enum status database_open(const char *path, enum database_mode mode, struct database **out,
                          struct error *err) MUSTCHECK;
void database_close(struct database *database);

/* Statements without parameters and rows, separated by ';'. */
enum status database_run(struct database *database, const char *sql, struct error *err) MUSTCHECK;

/* One statement whose rows nobody wants; *changed (may be NULL): how many rows it changed. */
enum status database_do(struct database *database, const char *sql, const struct value *with,
                        size_t count, int64_t *changed, struct error *err) MUSTCHECK;

/* One value of the first row, VALUE_NULL where there is none; no text. */
enum status database_find(struct database *database, const char *sql, const struct value *with,
                          size_t count, struct value *found, struct error *err) MUSTCHECK;

/* A transaction that may write; the caller ends it by one of the two. */
enum status database_begin(struct database *database, struct error *err) MUSTCHECK;
enum status database_commit(struct database *database, struct error *err) MUSTCHECK;
void database_rollback(struct database *database);

/* What the rows of a statement are read from. Opaque but for its size. */
struct rows {
    struct database *database;
    struct statement *statement;
    enum status status; /* what ended them early */
};
enum rows_step { ROWS_ONE, ROWS_END }; /* END: no more, or a failure that rows_end tells */

/* Borrows `with` until rows_end, which must follow where this is OK; one statement may be asked
 * again only after that. */
enum status database_ask(struct database *database, const char *sql, const struct value *with,
                         size_t count, struct rows *rows, struct error *err) MUSTCHECK;
enum rows_step rows_next(struct rows *rows, struct error *err) MUSTCHECK;
/* Valid until the next step. */
struct value rows_value(const struct rows *rows, int column);
enum status rows_end(struct rows *rows) MUSTCHECK;

/* UNAVAILABLE where the path names another file than the open one, or none. */
enum status database_check_file(const struct database *database, struct error *err) MUSTCHECK;

/* Bytes of the file, and those of them that hold something. */
enum status database_bytes(struct database *database, int64_t *bytes, int64_t *used,
                           struct error *err) MUSTCHECK;

#endif
