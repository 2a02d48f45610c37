/* preflight.h - what must be true of Redis before a worker starts: it answers, is 7.0 or newer,
 * evicts nothing.
 *
 * Runs in the main thread, once.
 */
#ifndef STILLHOUSE_WORKERS_PREFLIGHT_H
#define STILLHOUSE_WORKERS_PREFLIGHT_H

#include "settings.h"
#include "status.h"

/* Tries for a few seconds while Redis is not there or loading. UNREACHABLE, TIMEOUT, UNAVAILABLE:
 * it did not answer in time; INVALID: it will not do, and the text says what to set; REFUSED,
 * GARBLED: it is not ours, or no Redis. */
enum status preflight_redis(const struct settings *settings, struct error *err) MUSTCHECK;

#endif
