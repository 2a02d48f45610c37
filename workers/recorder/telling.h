/* recorder/telling.h - what the cache's Redis is told without having asked: each domain's tiers, so
 * that a router in any language decides by one GET of sh:learn:{<domain>}; and which domains
 * examples surely help or hurt, sh:learn:lift, for `stillhouse doctor` and for who hands out
 * prompts (producer/CONTRACT.md, section 6).
 *
 *     struct telling *telling = telling_new("sh", cache);
 *     telling_touch(telling, slice_of("acme.shop"));                 // something of it was written
 *     if (store_refresh(store, now_unix_ms, 64, &left, &err) == STATUS_OK && left == 0) {
 *         telling_ready(telling);                                    // the views say so by now
 *     }
 *     status = telling_tiers(telling, store, &more, &err);
 *
 * A key lives for a day; all domains are told anew every few hours, since the days that count move
 * on and a cache forgets. What Redis does not take is said in the log, and told later. One thread.
 */
#ifndef STILLHOUSE_RECORDER_TELLING_H
#define STILLHOUSE_RECORDER_TELLING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "learn/store.h"
#include "redis/conn.h"

enum { TELLING_AGAIN_MS = 6 * 60 * 60 * 1000 };

struct telling; /* opaque */

/* Both borrowed: `prefix` of every key, and whom to tell. */
struct telling *telling_new(const char *prefix, struct redis_conn *cache);
void telling_free(struct telling *telling); /* NULL is fine */

/* ---- tiers ----------------------------------------------------------------------------------- */

/* A domain is to be told, once, however often it is touched, after a telling_ready. */
void telling_touch(struct telling *telling, struct slice domain);

/* So is each one that the store knows. Errors: the store's. */
enum status telling_touch_all(struct telling *telling, struct store *store,
                              struct error *err) MUSTCHECK;

/* The views are those of all that was written: what was touched until now may be told. Where what
 * was ready before is not told yet, that comes first, and this is for the next telling_ready. */
void telling_ready(struct telling *telling);

/* Tells a few of the domains that are ready; *more: others may be told now. Errors: the store's. */
enum status telling_tiers(struct telling *telling, struct store *store, bool *more,
                          struct error *err) MUSTCHECK;

/* ---- lifts ----------------------------------------------------------------------------------- */

struct telling_round {
    bool is_done; /* the next call begins a new one */
    size_t hurt;  /* domains that examples surely hurt, so far */
};

/* Looks at the next domain. A round goes through all domains and is told as a whole at its end; so
 * a domain that was forgotten, or is sure no more, is gone from what is told. Errors: the store's.
 */
enum status telling_lifts(struct telling *telling, struct store *store, struct telling_round *round,
                          struct error *err) MUSTCHECK;

#endif
