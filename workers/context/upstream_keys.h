/* context/upstream_keys.h - what the fleet knows of an operation of an upstream, in the cache's
 * Redis.
 *
 * One hash each, sh:upstream:<upstream>:<operation>, with a TTL, in plain commands: failures in a
 * row, since when its breaker is open, until when somebody probes, the last success, and before
 * when the server does not want to be asked (Retry-After). All times are Unix ms by Redis' clock.
 *
 * It is read before an operation is asked, and written on change only: after failures, after the
 * success that ends them, else at most every 5 s; an idle worker neither reads nor writes. Workers
 * with other settings (another address, model, key) share nothing: the hash names whose it is. What
 * is missing, junk or not to be had counts as nothing known, and each process goes on by itself.
 * The learning store is a recorder's own affair: nothing is shared of it.
 * Runs in the lane's thread.
 */
#ifndef STILLHOUSE_CONTEXT_UPSTREAM_KEYS_H
#define STILLHOUSE_CONTEXT_UPSTREAM_KEYS_H

#include "context/context.h"

/* Reads what others know where that is due, and merges it into the process' upstreams. */
void upstream_keys_sync(struct context *ctx, enum operation operation);

/* Writes what has changed by a report, or by a probe that begins. */
void upstream_keys_tell(struct context *ctx, enum operation operation);

#endif
