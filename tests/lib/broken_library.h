/* broken_library.h - a call of libsqlite3 or libpq that fails, in programs that are linked with
 * --wrap=dlsym,--wrap=poll,--wrap=clock_now_ms:
 *
 *     broken_call = "PQflush";
 *     broken_after = 3; // the third from now
 *     ... what is to be tested ...
 *     const bool was_asked = broken_after == 0;
 *     broken_after = 0;
 *
 * The call does nothing and says what it says when it has no memory or no connection. A ROLLBACK
 * never fails. "poll" is the system's, and "silence" a poll in which nothing comes, for as long as
 * it would wait: the clock is that much later then. One thread.
 */
#ifndef STILLHOUSE_TESTS_BROKEN_LIBRARY_H
#define STILLHOUSE_TESTS_BROKEN_LIBRARY_H

#include <stddef.h>

extern const char *broken_call; /* borrowed; NULL: none */
extern int broken_after;        /* its n-th from now; 0: none */
extern size_t broken_seen;      /* how often it was called since this was set to 0 */

/* What may be broken of each library, NULL behind the last. */
extern const char *const broken_sqlite[];
extern const char *const broken_postgres[];

#endif
