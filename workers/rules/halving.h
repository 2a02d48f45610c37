/* rules/halving.h - a request of several texts was refused: which part of it to send next, so that
 * what is bad in it ends alone. Pure.
 *
 *     halving_start(&halving, count);               // the whole was sent and failed
 *     while (halving_next(&halving, &part)) {
 *         bool passed = send(part);                 // a part of one that fails is bad, alone
 *         halving_tell(&halving, passed);
 *     }
 *
 * Only what failed is halved, and where a left half passes the right one must be what failed: one
 * bad text among n is alone after at most 2 log2 n sendings. The caller may stop at any time.
 */
#ifndef STILLHOUSE_RULES_HALVING_H
#define STILLHOUSE_RULES_HALVING_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct part {
    size_t from;
    size_t count;
};

enum { HALVING_DEPTH = 64 };

struct halving {
    struct part failed[HALVING_DEPTH]; /* known to hold something bad, two texts or more */
    size_t failed_count;
    struct part left;
    struct part right;
    enum { HALVING_SPLIT, HALVING_LEFT, HALVING_RIGHT, HALVING_LAST } step;
    size_t sent;
};

void halving_start(struct halving *halving, size_t count);

/* The part to send now; false when everything passed or stood alone. */
bool halving_next(struct halving *halving, struct part *part) MUSTCHECK;

/* How the part that halving_next gave ended. */
void halving_tell(struct halving *halving, bool passed);

/* The sendings after which a request of `count` in which nothing ever passed is no text's fault. */
size_t halving_patience(size_t count);

#endif
