/* redis_fixture.h - a Redis of the test's own, one connection to it, and what it says.
 *
 *     TestSuite(keys, .init = redis_setup, .fini = redis_teardown);
 *     cr_assert_str_eq(ask("PTTL", "sh:epoch:legal", NULL), "-1");
 *
 * Anything unexpected fails the test at once. The other fixtures stand on this one: a program has
 * one `redis` and one `conn`, whichever of them it uses.
 */
#ifndef STILLHOUSE_TESTS_REDIS_FIXTURE_H
#define STILLHOUSE_TESTS_REDIS_FIXTURE_H

#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "ok.h"
#include "queue/operate.h"
#include "queue/queue.h"
#include "redis/conn.h"
#include "servers.h"

extern struct test_server redis;
extern struct redis_conn *conn; /* to it */

/* ---- life ---------------------------------------------------------------------------------- */

/* Starts `redis`, sets `conn`, and installs the library of functions. */
void redis_setup(void);
/* Ends both. */
void redis_teardown(void);
/* Sets `conn` and installs the library on a server that runs. */
void redis_connect(void);
/* One more connection to `redis`; redis_conn_free. */
struct redis_conn *new_conn(void);

/* ---- raw commands -------------------------------------------------------------------------- */

/* A command of words, NULL behind the last: its reply, an error too; redis_reply_free. */
redisReply *ask_reply(const char *first, ...) __attribute__((sentinel));
/* The same, and it is not an error. */
redisReply *good_reply(const char *first, ...) __attribute__((sentinel));
/* The number in a reply, which is freed. */
long long integer_of(redisReply *reply);
/* The reply's text, number, or "[number of elements]"; "(nil)". Good for four calls. */
const char *ask(const char *first, ...) __attribute__((sentinel));
/* Appends the leaves of a reply to `out`, a space between. */
void flatten(const redisReply *reply, char *out, size_t size);

/* ---- queues -------------------------------------------------------------------------------- */

/* The queue of that name under the prefix "sh". */
struct queue queue_named(const char *name);
/* Its figures now. */
struct queue_stats figures_of(const struct queue *of);
struct queue_stats stats_of(const char *name);
/* One of its counters, by its name in `stats`: counter_of("distill", "done"). */
int64_t counter_of(const char *name, const char *counter);
int64_t counter_in(const struct queue_stats *stats, const char *counter);
/* Fails the test unless every job and every dead letter is accounted for. */
void check_balance(const struct queue_stats *stats);

/* Waits until a counter of a queue ("done") reaches `count`; the books must balance then. */
void wait_for(const char *name, const char *counter, int64_t count);

struct slice text(const char *chars);

#endif
