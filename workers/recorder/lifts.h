/* recorder/lifts.h - the domains that examples surely help or hurt, as the cache's Redis knows
 * them: sh:learn:lift (producer/CONTRACT.md, section 6), for `stillhouse doctor` and for who hands
 * out prompts.
 *
 *     struct lifts *lifts = lifts_new("sh");
 *     do {
 *         status = lifts_look(lifts, &telling, &round, &err);   // a domain a call
 *     } while (status == STATUS_OK && !round.is_done);
 *     printf("%zu domains\n", round.hurt);
 *
 * A round goes through all domains and is told as a whole at its end; so a domain that was
 * forgotten, or is sure no more, is gone from what is told. One thread.
 */
#ifndef STILLHOUSE_RECORDER_LIFTS_H
#define STILLHOUSE_RECORDER_LIFTS_H

#include <stdbool.h>

#include "recorder/tiers.h"

struct lifts; /* opaque */

/* `prefix` of every key, borrowed. */
struct lifts *lifts_new(const char *prefix);
void lifts_free(struct lifts *lifts); /* NULL is fine */

struct lifts_round {
    bool is_done; /* the next call begins a new one */
    size_t hurt;  /* domains that examples surely hurt, so far */
};

/* Looks at the next domain. What Redis does not take is told by the next round. Errors: the
 * store's. */
enum status lifts_look(struct lifts *lifts, const struct tiers_telling *telling,
                       struct lifts_round *round, struct error *err) MUSTCHECK;

#endif
