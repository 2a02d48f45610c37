/* learn/views.h - the views that are kept as tables: which groups a row belongs to, groups
 * computed from the rows, and whether the view says what the rows do. One thread at a time.
 *
 *     struct view_group group = {VIEW_TIER, slice_of("acme"), slice_of("fix"), 20000};
 *     status = views_mark_all(database, &group, 1, now_ms, &err); // when a row of it changes
 *     status = views_compute(database, &group, 1, now_ms, &err);  // some seconds later
 *
 * p95 of a group is exact, by nearest rank. All is computed as of `now_ms`: solutions are those of
 * the last 90 days.
 */
#ifndef STILLHOUSE_LEARN_VIEWS_H
#define STILLHOUSE_LEARN_VIEWS_H

#include <stdbool.h>
#include <stdint.h>

#include "learn/database.h"

enum { VIEWS_DAY_MS = 86400000, VIEWS_HOUR_MS = 3600000, VIEWS_SOLUTION_DAYS = 90 };

enum view {
    VIEW_TIER,     /* tier_performance and arm_performance, by domain, task type and day */
    VIEW_TOTAL,    /* tier_totals, by day: tier_performance of all domains */
    VIEW_POOL,     /* pool_performance, by domain and hour */
    VIEW_SOLUTION, /* solutions, by domain and hash */
    VIEWS
};

struct view_group {
    enum view view;
    struct slice domain; /* of a total's "" */
    struct slice name;   /* the task type or hash; of a pool's and a total's "" */
    int64_t bucket;      /* the day or hour since 1970; of a solution's 0 */
};

/* "tier", "total", "pool" or "solution": what `dirty` calls it. */
const char *views_name(enum view view);
/* VIEWS: none is called so. */
enum view views_find(struct slice name);

/* Says that the groups are to be computed again, of which some may be there several times. They
 * come out in the order of their keys. */
enum status views_mark_all(struct database *database, struct view_group *groups, size_t count,
                           int64_t now_ms, struct error *err) MUSTCHECK;

/* Leaves each group once, in the order of their keys; returns how many. */
size_t views_sort(struct view_group *groups, size_t count);

/* Replaces the groups' rows of the views, of which there may be none, and takes their marks away;
 * what is marked meanwhile stays so. Marks what is made of them. Up to VIEWS_AT_ONCE groups, each
 * once and in the order of their keys (views_sort); those that another process computes are left
 * out, and `groups` is without them then. */
enum { VIEWS_AT_ONCE = 256 };
enum status views_compute(struct database *database, struct view_group *groups, size_t count,
                          int64_t now_ms, struct error *err) MUSTCHECK;

/* Computes the group beside the view: `apart` says in words where the two differ first, "" where
 * they do not. Who asks leaves out the groups that are marked. Nothing is said of a solution with
 * an execution within an hour of the 90 days' edge, since clocks differ. */
enum { VIEWS_APART_BYTES = 400 };
enum status views_compare(struct database *database, const struct view_group *group, int64_t now_ms,
                          char apart[VIEWS_APART_BYTES], struct error *err) MUSTCHECK;

/* Asks for all groups that rows or the view have and that are not marked, as domain, name, bucket;
 * reads every row. The caller ends it. */
enum status views_list(struct database *database, enum view view, struct rows *rows,
                       struct error *err) MUSTCHECK;

#endif
