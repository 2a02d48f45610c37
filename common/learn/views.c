/* See learn/views.h. p95 is exact, by nearest rank. */
#include "learn/views.h"

#include <string.h>

enum { SOLUTION_DAYS = 90 };

#define PLACES(key)                                                                                \
    " row_number() OVER (PARTITION BY " key " ORDER BY duration_seconds NULLS LAST, id) AS place," \
    " count(duration_seconds) OVER (PARTITION BY " key ") AS many"
#define P95 "max(CASE WHEN place = (many * 95 + 99) / 100 THEN duration_seconds END)"

static const struct {
    const char *view;
    const char *clear;
    const char *fill;
    int64_t bucket_ms;
} views[] = {
    {"tier",
     "DELETE FROM tier_performance WHERE domain = $1 AND task_type = $2 AND day = $3"
     " AND $4 = $4 AND $5 = $5",
     "INSERT INTO tier_performance"
     " SELECT $1, $2, $3, model_tier, count(*), count(success), coalesce(sum(success), 0),"
     "  count(actual_cost), coalesce(sum(actual_cost), 0), count(quality_score),"
     "  coalesce(sum(quality_score), 0),"
     "  coalesce(sum(coalesce(tokens_in, 0) + coalesce(tokens_out, 0)), 0),"
     "  count(duration_seconds), coalesce(sum(duration_seconds), 0), " P95
     " FROM (SELECT *," PLACES("model_tier") "  FROM executions WHERE domain = $1 AND task_type = "
                                             "$2 AND at_ms >= $4 AND at_ms < $5)"
                                             " AS placed GROUP BY model_tier",
     VIEWS_DAY_MS},
    {"pool",
     "DELETE FROM pool_performance WHERE domain = $1 AND $2 = $2 AND hour = $3 AND $4 = $4"
     " AND $5 = $5",
     "INSERT INTO pool_performance"
     " SELECT $1, $3, pool_type, count(*), count(success), coalesce(sum(success), 0),"
     "  count(queue_wait_seconds), coalesce(sum(queue_wait_seconds), 0), count(duration_seconds),"
     "  coalesce(sum(duration_seconds), 0), " P95 ", max(peak_memory_mb)"
     " FROM (SELECT *," PLACES("pool_type") "  FROM executions WHERE domain = $1 AND $2 = $2 AND "
                                            "at_ms >= $4 AND at_ms < $5"
                                            "  AND pool_type <> '') AS placed GROUP BY pool_type",
     VIEWS_HOUR_MS},
    {"solution",
     "DELETE FROM solutions WHERE domain = $1 AND hash = $2 AND $3 = $3 AND $4 = $4 AND $5 = $5",
     "INSERT INTO solutions"
     " SELECT $1, $2, min(solution_summary), count(*), count(success), coalesce(sum(success), 0),"
     "  coalesce((SELECT group_concat(task_type, ', ') FROM (SELECT DISTINCT task_type"
     "   FROM executions WHERE domain = $1 AND solution_hash = $2 AND at_ms >= $4"
     "   AND task_type <> '' ORDER BY task_type LIMIT 20)), ''), min(at_ms), max(at_ms)"
     " FROM executions WHERE domain = $1 AND solution_hash = $2 AND at_ms >= $4 AND $3 = $3"
     "  AND $5 = $5 HAVING count(*) > 0",
     0},
};

enum status views_mark(struct database *database, const struct view_group *group, int64_t now_ms,
                       struct error *err)
{
    const struct value with[] = {value_str(group->view), value_text(group->domain),
                                 value_text(group->name), value_integer(group->bucket),
                                 value_integer(now_ms)};

    return database_do(database,
                       "INSERT INTO dirty (view, domain, name, bucket, since_ms)"
                       " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                       with, 5, NULL, err);
}

enum status views_compute(struct database *database, const struct view_group *group, int64_t now_ms,
                          struct error *err)
{
    const struct value mark[] = {value_str(group->view), value_text(group->domain),
                                 value_text(group->name), value_integer(group->bucket)};
    size_t i = 0;

    while (i < sizeof views / sizeof views[0] - 1 && strcmp(views[i].view, group->view) != 0) {
        i++;
    }
    const int64_t from = views[i].bucket_ms == 0 ? now_ms - (int64_t)SOLUTION_DAYS * VIEWS_DAY_MS
                                                 : group->bucket * views[i].bucket_ms;
    const struct value with[] = {value_text(group->domain), value_text(group->name),
                                 value_integer(group->bucket), value_integer(from),
                                 value_integer(from + views[i].bucket_ms)};

    TRY(database_do(database, views[i].clear, with, 5, NULL, err));
    TRY(database_do(database, views[i].fill, with, 5, NULL, err));
    return database_do(database,
                       "DELETE FROM dirty WHERE view = $1 AND domain = $2 AND name = $3"
                       " AND bucket = $4",
                       mark, 4, NULL, err);
}
