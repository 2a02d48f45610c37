/* recorder_fixture.h - recorders, the real program on a Redis and a store of the test's own.
 *
 *     TestSuite(recorder, .init = recorder_setup, .fini = recorder_teardown, .timeout = 120);
 *
 *     int port = 0;
 *     const pid_t pid = start_recorder("one", store_path, &port);
 *     push_part(1, 0, 0);
 *     wait_for("record", "done", 1);
 *     wait_for_page(port, "/readyz", "\"state\":\"open\"");
 *     end_recorder(pid, SIGTERM);
 */
#ifndef STILLHOUSE_TESTS_RECORDER_FIXTURE_H
#define STILLHOUSE_TESTS_RECORDER_FIXTURE_H

#include <sys/types.h>

#include "jobs/bodies.h"
#include "learn/store.h"
#include "postgres.h"
#include "redis_fixture.h"

enum { RECORDER_PATIENCE_MS = 20000, RECORDER_POLL_MS = 20 };

extern char store_path[TEST_POSTGRES_URL]; /* where no store is yet */

void recorder_setup(void);
void recorder_teardown(void);

/* A worker that serves `record`, with short times and two lanes; *port of its endpoint. */
pid_t start_recorder(const char *id, const char *file, int *port);
/* The same on another address of Redis, as a proxy's. */
pid_t start_recorder_at(const char *redis_url, const char *id, const char *file, int *port);
/* A worker of these flags, which win over the short times and two lanes. */
pid_t spawn_recorder(const char *id, const char *const *flags, int *port);
/* Ends and reaps it; but for SIGKILL its exit code must be 0. */
void end_recorder(pid_t pid, int signal);

/* Until a page of its endpoint (pages.h) has these words. */
void wait_for_page(int port, const char *name, const char *words);

void push_record(const char *id, const struct record_body *record);
/* One of the three parts (routing, outcome, feedback) of task `number`, once more with `times`. */
void push_part(size_t number, size_t which, size_t times);

/* What a store holds, read beside whoever writes to it. */
struct store_state state_of(const char *file);

#endif
