/* rules/rank.h - which past examples answer a query: what of a search's hits is taken, whether to
 * look further, and for how long an answer holds. Pure.
 *
 * Expired experiences may lie nearer than live ones, so more than k are asked for, and more again
 * while fewer than k of them live:
 *
 *     struct rank_search search = {.asked = rank_first(k)};
 *     bool lacks = true;
 *     while (lacks && search.asked > 0) {
 *         search.answered = search.live = 0; // ask, and count
 *         size_t kept = rank_take(&search, k, &lacks);
 *         search.asked = rank_further(search.asked);
 *     }
 */
#ifndef STILLHOUSE_RULES_RANK_H
#define STILLHOUSE_RULES_RANK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "jobs/bodies.h"

enum {
    RANK_SPARE = 4, /* asked for on top of k, to make up for expired experiences */
    RANK_FURTHER_FACTOR = 4,
    RANK_RESULTS_MAX = 4096, /* a query: 100,000 documents take half a second to say so many */
};

/* How many hits are asked for where k are wanted. */
size_t rank_first(size_t k) MUSTCHECK;

/* How many next, when `asked` were not enough; 0 = it is not worth it any more. */
size_t rank_further(size_t asked) MUSTCHECK;

struct rank_search {
    size_t asked;
    size_t answered; /* live and expired */
    size_t live;
};

/* How many of the live hits are taken, the nearest of them. *lacks: they are fewer than k, and
 * there may be more behind them. */
size_t rank_take(const struct rank_search *search, size_t k, bool *lacks);

/* Of a hit that is known by its id and distance: fills in what is stored of it. False: it is not
 * there any more, or its time is over. */
bool rank_complete(struct example *hit, const struct example *stored, size_t count,
                   int64_t now_unix_ms) MUSTCHECK;

/* May a cached result be given as it is, `epoch` being its domain's now? One of another epoch may,
 * for `fresh_ms`; one that is from the future by our clock may not. */
bool rank_is_current(const struct enrich_result *result, int64_t epoch, int64_t now_unix_ms,
                     int64_t fresh_ms) MUSTCHECK;

#endif
