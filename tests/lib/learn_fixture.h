/* learn_fixture.h - what the tests of the learning store share: a store in a folder of its own,
 * short words for what goes in, and all that is in it as text.
 *
 *     TestSuite(learn_store, .init = learn_setup, .fini = learn_teardown);
 *
 * With STILLHOUSE_TEST_STORE=postgres the program has a server of PostgreSQL, and each test a
 * database on it; where none is installed it says so and exits with 77.
 *
 * Anything unexpected fails the test at once.
 */
#ifndef STILLHOUSE_TESTS_LEARN_FIXTURE_H
#define STILLHOUSE_TESTS_LEARN_FIXTURE_H

#include "base/strbuf.h"
#include "learn/database.h"
#include "learn/store.h"
#include "postgres.h"

static const int64_t LEARN_DAY = 20000 * INT64_C(86400000); /* a midnight, Unix ms */

extern char learn_folder[200];
extern char learn_path[TEST_POSTGRES_URL]; /* of the store, in the folder or on the server */
extern struct store *learn_store;          /* open to be written */

/* ---- life ---------------------------------------------------------------------------------- */

void learn_setup(void);
void learn_teardown(void);

/* The server, where there is one. */
const struct test_postgres *learn_server(void);

/* A place where no store is yet. */
void learn_place(const char *name, char where[TEST_POSTGRES_URL]);

/* Closes the store, and opens the one that is there, or there from now on. */
void learn_reopen(const char *where);

/* ---- rows ---------------------------------------------------------------------------------- */

/* Of domain "acme.shop"; the texts are borrowed. */
struct part learn_part(const char *kind, const char *task, const char *job, int64_t at_ms);

/* Puts it, in a transaction of its own. */
void learn_put(const struct part *part);

/* Until no group is left. */
void learn_refresh(int64_t now_unix_ms);

/* The first value of the first row. */
int64_t learn_number(const char *sql);

/* Runs statements. */
void learn_run(const char *sql);

/* Appends every row of every table, a line each, but those that say when something was done or how
 * it is numbered. Equal stores have equal text. */
void learn_dump(struct strbuf *out);

/* A copy that stays: a statement is known by the address of its text. */
const char *learn_lasting(const char *sql);

#endif
