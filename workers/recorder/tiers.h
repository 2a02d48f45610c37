/* recorder/tiers.h - a domain's tiers as the cache's Redis knows them, so that a router in any
 * language decides by one GET: sh:learn:{<domain>} (producer/CONTRACT.md, section 6).
 *
 *     const struct tiers_telling telling = {store, conn, now_unix_ms};
 *     tiers_touch(tiers, slice_of("acme.shop"));                     // something of it was written
 *     if (store_refresh(store, now_unix_ms, 64, &left, &err) == STATUS_OK && left == 0) {
 *         tiers_ready(tiers);                                        // the views say so by now
 *     }
 *     status = tiers_tell(tiers, &telling, 16, &left, &err);
 *
 * What is told is the answer to the question `types` (learn/questions.h). A key lives for a day;
 * all domains are told anew every few hours, since the days that count move on and a cache forgets.
 * One thread.
 */
#ifndef STILLHOUSE_RECORDER_TIERS_H
#define STILLHOUSE_RECORDER_TIERS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/strbuf.h"
#include "learn/store.h"
#include "redis/conn.h"

enum { TIERS_AGAIN_MS = 6 * 60 * 60 * 1000 };

struct tiers; /* opaque */

/* `prefix` of every key, borrowed. */
struct tiers *tiers_new(const char *prefix);
void tiers_free(struct tiers *tiers); /* NULL is fine */

/* A domain is to be told, once, however often it is touched, after the next tiers_ready. */
void tiers_touch(struct tiers *tiers, struct slice domain);

/* So is each one that the store knows. */
enum status tiers_touch_all(struct tiers *tiers, struct store *store, struct error *err) MUSTCHECK;

/* The views are those of all that was written: what was touched until now may be told. */
void tiers_ready(struct tiers *tiers);

/* Whom to ask, and whom to tell. */
struct tiers_telling {
    struct store *store;
    struct redis_conn *cache;
    int64_t now_unix_ms;
};

/* Sets a key for a day; false where Redis does not take it, which the log says. */
bool tiers_set(const struct tiers_telling *telling, const char *key, const struct strbuf *text);

/* Tells up to `most` domains that are ready; *left: how many are still to be told now. What Redis
 * does not take is told with the next call, and *left is 0 then. Errors: the store's. */
enum status tiers_tell(struct tiers *tiers, const struct tiers_telling *telling, size_t most,
                       size_t *left, struct error *err) MUSTCHECK;

#endif
