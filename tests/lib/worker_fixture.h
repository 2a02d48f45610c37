/* worker_fixture.h - real worker processes behind proxies that hold a conversation at a word.
 *
 *     TestSuite(delivery, .init = setup_proxies, .fini = teardown_proxies, .timeout = 120);
 */
#ifndef STILLHOUSE_TESTS_WORKER_FIXTURE_H
#define STILLHOUSE_TESTS_WORKER_FIXTURE_H

#include "fleet_fixture.h"
#include "proxy.h"

enum { HELD_MS = 20000 };

extern struct test_proxy *redis_proxy;
extern struct test_proxy *chroma_proxy;
extern struct test_proxy *embed_proxy; /* before a scripted embedder of two dimensions */

/* fleet_setup, and the proxies. */
void setup_proxies(void);
void teardown_proxies(void);
/* Ends what the proxies carry now. */
void drop_all(void);

enum worker_kind { PROXIED, DIRECT };

/* Starts a worker with short times and one lane; `extra` flags (NULL-terminated, may be NULL) win.
 */
pid_t start_worker(const char *id, enum worker_kind kind, const char *const *extra);
/* Ends and reaps it; but for SIGKILL its exit code must be 0. */
void end_worker(pid_t pid, int signal);

/* The documents in "legal". */
int64_t stored(void);

#endif
