/* process/preflight.h - what must be true of Redis before a worker starts: it answers, is 7.0 or
 * newer, evicts nothing.
 *
 * Runs in the main thread, once.
 */
#ifndef STILLHOUSE_PROCESS_PREFLIGHT_H
#define STILLHOUSE_PROCESS_PREFLIGHT_H

#include <signal.h>
#include <stdbool.h>

#include "base/status.h"
#include "config/settings.h"
#include "redis/conn.h"

/* Tries for a few seconds while Redis is not there, and as long as it takes while it loads its
 * data; a signal of `signals` (which are blocked) ends that: *stopped. UNREACHABLE, TIMEOUT,
 * UNAVAILABLE: it did not answer in time; INVALID: it will not do, and the text says what to set;
 * REFUSED, GARBLED: it is not ours, or no Redis. */
enum status preflight_redis(const struct settings *settings, const sigset_t *signals, bool *stopped,
                            struct error *err) MUSTCHECK;

/* A queue's Redis must refuse writes when it is full, not throw away what it holds: STATUS_INVALID,
 * and what to set. Also later: the policy may be changed, or another server become the master. */
enum status preflight_check_eviction(struct redis_conn *conn, struct error *err) MUSTCHECK;

#endif
