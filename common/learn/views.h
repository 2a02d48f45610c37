/* learn/views.h - the views that are kept as tables: which groups a row belongs to, and one group
 * computed from the rows. One thread at a time.
 */
#ifndef STILLHOUSE_LEARN_VIEWS_H
#define STILLHOUSE_LEARN_VIEWS_H

#include <stdbool.h>
#include <stdint.h>

#include "learn/database.h"

enum { VIEWS_DAY_MS = 86400000, VIEWS_HOUR_MS = 3600000 };

/* A group: tier_performance by (domain, task type, day), pool_performance by (domain, hour),
 * solutions by (domain, hash). */
struct view_group {
    const char *view; /* "tier", "pool" or "solution" */
    struct slice domain;
    struct slice name;
    int64_t bucket;
};

/* Says that the group is to be computed again. */
enum status views_mark(struct database *database, const struct view_group *group, int64_t now_ms,
                       struct error *err) MUSTCHECK;

/* Replaces the group's rows of the view, of which there may be none, and takes its mark away. */
enum status views_compute(struct database *database, const struct view_group *group, int64_t now_ms,
                          struct error *err) MUSTCHECK;

#endif
