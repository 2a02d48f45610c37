/* postgres.h - a server of PostgreSQL of the test's own, where one is installed.
 *
 *     struct test_postgres server;
 *     if (test_postgres_start(&server, false)) {
 *         char url[TEST_POSTGRES_URL];
 *         test_postgres_database(&server, "one", url);
 *         ...
 *         test_postgres_stop(&server);
 *     }
 *
 * It listens on a socket in a new folder under $TMPDIR alone, and dies with the process that
 * started it. Where that is root's, the server is nobody's, since it refuses to be root's: the
 * folders above must be open to all. It orders texts as people do, which a store must not notice,
 * and does not sync, so it survives its own end and not the machine's.
 */
#ifndef STILLHOUSE_TESTS_POSTGRES_H
#define STILLHOUSE_TESTS_POSTGRES_H

#include <stdbool.h>
#include <sys/types.h>

enum { TEST_POSTGRES_URL = 400 };

struct test_postgres {
    pid_t pid;
    char programs[200]; /* the folder of initdb and postgres */
    char folder[200];
    bool syncs;
};

/* False where none is installed, which is said on standard error; what else goes wrong is a failed
 * test. */
bool test_postgres_start(struct test_postgres *server, bool syncs);

/* A new database, empty, and its URL. */
void test_postgres_database(const struct test_postgres *server, const char *name,
                            char url[TEST_POSTGRES_URL]);
/* Statements on it, as the server's owner: what psql prints of the last goes to out (may be NULL),
 * without the end of its line. */
void test_postgres_ask(const struct test_postgres *server, const char *name, const char *sql,
                       char *out, size_t size);

/* SIGKILL to the first of its processes; the others see that and end by themselves. */
void test_postgres_kill(struct test_postgres *server);
/* Starts it again on its folder. */
void test_postgres_restart(struct test_postgres *server);
/* Kills it and removes its folder. */
void test_postgres_stop(struct test_postgres *server);

#endif
