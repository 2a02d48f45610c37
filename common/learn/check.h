/* learn/check.h - what is kept beside the rows, held against the rows: the views and the counts.
 *
 *     struct check check = {.now_ms = now_unix_ms};
 *     if (check_views(database, &arena, &check, &err) == STATUS_OK && check.apart > 0) {
 *         puts(check.first);
 *     }
 *
 * A group that waits for its refresh is not judged. All calls add to the same `check`. The caller
 * sees to it that nothing is written between: a transaction, or one snapshot. One thread at a time.
 */
#ifndef STILLHOUSE_LEARN_CHECK_H
#define STILLHOUSE_LEARN_CHECK_H

#include <stdint.h>

#include "base/arena.h"
#include "learn/database.h"
#include "learn/views.h"

enum { CHECK_GROUPS_MAX = 64 };

struct check {
    int64_t now_ms;                /* by which a view's window ends */
    size_t groups;                 /* that were compared */
    size_t apart;                  /* groups and counts that are not what the rows make */
    char first[VIEWS_APART_BYTES]; /* the first difference in words, with the group's key */
    struct view_group list[CHECK_GROUPS_MAX]; /* of the groups apart, texts in the arena; */
    size_t listed;                            /* the first so many */
};

/* Every group that the rows or a view have. Reads all of it. */
enum status check_views(struct database *database, struct arena *arena, struct check *check,
                        struct error *err) MUSTCHECK;

/* The groups of one execution, whichever `random` finds, then those of its domain and day, for
 * `most_ms` at most. */
enum status check_day(struct database *database, uint64_t random, int64_t most_ms,
                      struct arena *arena, struct check *check, struct error *err) MUSTCHECK;

/* How many executions are counted, and how many as incomplete. A count that is apart has no group
 * in the list. */
enum status check_counts(struct database *database, struct check *check,
                         struct error *err) MUSTCHECK;

#endif
