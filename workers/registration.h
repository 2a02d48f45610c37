/* registration.h - who is alive: `sh:workers` and `sh:worker:<id>` (contract, section 2). For the
 * janitor and its thread. */
#ifndef STILLHOUSE_WORKERS_REGISTRATION_H
#define STILLHOUSE_WORKERS_REGISTRATION_H

#include "fleet.h"

/* Says that this worker lives, with its breakers and what it works on; holds for 15 s. Forgets
 * workers that were not heard of for an hour. */
enum status registration_renew(struct redis_conn *conn, struct fleet *fleet,
                               struct error *err) MUSTCHECK;

/* On a clean end the worker is gone at once. */
void registration_end(struct redis_conn *conn, const struct fleet *fleet);

#endif
