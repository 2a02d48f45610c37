/* outbox_fixture.h - a client with an outbox, on a Redis of its own.
 *
 *     TestSuite(outbox, .init = outbox_setup, .fini = outbox_teardown);
 */
#ifndef STILLHOUSE_TESTS_OUTBOX_FIXTURE_H
#define STILLHOUSE_TESTS_OUTBOX_FIXTURE_H

#include "client_fixture.h"

enum { IN_TIME_MS = 2000 };

extern char folder[512]; /* the outbox; made by the client */

/* queue_setup with the queue "distill", and `client` opened with boxed(). */
void outbox_setup(void);
void outbox_teardown(void);
/* The options of a client with the outbox `folder` that tries again after 20 ms. */
stillhouse_options boxed(void);

/* Redis is killed, */
void away(void);
/* and comes back: it has forgotten everything, as after a crash without persistence, until a worker
 * comes. */
void back(void);

/* Hands an experience with this task id in. */
stillhouse_status hand_in(const char *task);
stillhouse_status hand_in_to(stillhouse_client *to, const char *task);
/* Flushes once; how many jobs are left. */
size_t flushed(stillhouse_status expected);
/* Flushes until the status is as expected: Redis may be taken for away for a moment. */
void comes_to(stillhouse_status expected);
/* How many jobs are left, and were sent, without waiting. */
size_t left_now(void);
uint64_t sent_count(void);

/* The task ids in the stream, in order, each with a comma behind it; until the next call. */
const char *tasks(void);
/* Files in a folder of the outbox ("" = itself) that end so. */
size_t files_like(const char *under, const char *end);
/* Files with jobs, and those that were put aside. */
size_t kept_files(void);
size_t bad_files(void);
/* The path of the oldest file; until the next call. */
const char *oldest_file(void);

#endif
