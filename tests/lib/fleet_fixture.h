/* fleet_fixture.h - a fleet inside the test's own process, on a Redis and a Chroma of its own.
 *
 *     TestSuite(fleet, .init = fleet_setup, .fini = fleet_teardown, .timeout = 120);
 *
 *     settings.lanes = 1;
 *     start_fleet();
 *     push_distill("legal", "t-1", "a prompt", "a result", 0.9, "");
 *     wait_for("distill", "done", 1);
 *     stop_fleet();
 */
#ifndef STILLHOUSE_TESTS_FLEET_FIXTURE_H
#define STILLHOUSE_TESTS_FLEET_FIXTURE_H

#include "chroma/chroma.h"
#include "context/context.h"
#include "process/fleet.h"
#include "redis_fixture.h"

enum { PATIENCE_MS = 20000, POLL_MS = 10 };

extern struct test_server chroma_server;
extern struct settings settings;
extern struct metrics *metrics; /* of the fleet */
extern struct fleet *fleet;
extern struct embedder *embedder; /* the builtin one */
extern struct chroma *chroma;     /* of the test, with `embedder` */

/* Servers and settings, no fleet yet: tests change settings, then start_fleet. */
void fleet_setup(void);
void fleet_teardown(void);
/* Sets `conn`, `embedder` and `chroma` on servers that run, by `redis.url` and `settings`. */
void fleet_connect(void);
void start_fleet(void);
/* Lets it drain. */
void stop_fleet(void);

/* A client of the settings' Chroma for the vectors of an embedder; chroma_free. */
struct chroma *chroma_of(const struct embedder *of);
/* The documents of a domain. */
int64_t documents_in(const char *domain);

/* Enqueues a job that must be new; `options` as in "reply=1". */
void push(const char *queue_name, const char *id, const char *domain, const char *options,
          const void *body, size_t bytes);
void push_distill(const char *domain, const char *task_id, const char *prompt, const char *result,
                  double quality, const char *options);
void push_enrich(const char *domain, const char *id, const char *query, int k, const char *options);

/* The error of the newest dead letter of a queue, and its reason before it: "rejected: ...". */
void dead_letter(const char *name, char *out, size_t size);
/* The cached result of a query, decoded into `arena`; false for none. */
bool cached(const char *domain, const char *query, struct arena *arena, struct enrich_result *out);

#endif
