/* process/registration.h - who is alive: `sh:workers` and `sh:worker:<id>` (producer/CONTRACT.md,
 * section 6). For the janitor and its thread.
 */
#ifndef STILLHOUSE_PROCESS_REGISTRATION_H
#define STILLHOUSE_PROCESS_REGISTRATION_H

#include "process/lane.h"

enum { REGISTRATION_TTL_MS = 58000 };

/* Says that this worker lives, with its breakers and what it works on, for REGISTRATION_TTL_MS: one
 * call, in which the entry and its end are made together. `ask`: also learns how many live, and
 * Redis' clock, for two commands more. */
enum status registration_renew(struct redis_conn *conn, struct worker *worker,
                               const struct load *load, bool ask, struct error *err) MUSTCHECK;

/* What the entry tells that may change, as one number: it is renewed early when that has changed.
 */
uint64_t registration_digest(const struct worker *worker, const struct load *load);

/* Forgets workers that were not heard of for an hour. */
enum status registration_forget(struct redis_conn *conn, const struct worker *worker,
                                struct error *err) MUSTCHECK;

/* On a clean end the worker is gone at once. */
void registration_end(struct redis_conn *conn, const struct worker *worker);

#endif
