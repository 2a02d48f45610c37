/* learn/arms.h - how a domain's tasks ended, by what became of their prompts: what lift.h compares.
 *
 *     const struct arms_question asked = {slice_of("acme.shop"), 30, now_unix_ms};
 *     struct arms arms;
 *     if (arms_ask(store_database(store), &asked, &arms, &err) == STATUS_OK) {
 *         const struct lift lift = lift_of(&arms.with.tasks, &arms.without.tasks);
 *     }
 *
 * One thread at a time.
 */
#ifndef STILLHOUSE_LEARN_ARMS_H
#define STILLHOUSE_LEARN_ARMS_H

#include "learn/database.h"
#include "learn/lift.h"

struct arm {
    struct lift_arm tasks;
    int64_t tokens; /* in and out, of all whose outcome names the arm */
    double cost;
};

struct arms {
    struct arm with;     /* enriched or stale */
    struct arm without;  /* holdout */
    struct arm fallback; /* had none: not to be compared with either */
};

struct arms_question {
    struct slice domain;
    int64_t days; /* how far back */
    int64_t now_unix_ms;
};

/* Errors: the database's. */
enum status arms_ask(struct database *database, const struct arms_question *asked, struct arms *out,
                     struct error *err) MUSTCHECK;

#endif
