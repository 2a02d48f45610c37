/* See learn/views.h. What a group is computed by and what it is compared with is one SELECT. */
#include "learn/views.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

enum { KEYS_MAX = 4, EDGE_MS = VIEWS_HOUR_MS };

#define PLACES(key)                                                                                \
    " row_number() OVER (PARTITION BY " key " ORDER BY duration_seconds NULLS LAST, id) AS place," \
    " count(duration_seconds) OVER (PARTITION BY " key ") AS many"
#define P95 "max(CASE WHEN place = (many * 95 + 99) / 100 THEN duration_seconds END)"

#define TIER_COLUMNS                                                                               \
    "domain, task_type, day, model_tier, executions, finished, successes, costed, cost, rated,"    \
    " quality, metered, tokens, timed, duration, duration_p95"
#define TIER_ROWS                                                                                  \
    "SELECT domain, task_type, at_ms / 86400000, model_tier, count(*), count(success),"            \
    " coalesce(sum(success), 0), count(actual_cost), coalesce(sum(actual_cost), 0),"               \
    " count(quality_score), coalesce(sum(quality_score), 0),"                                      \
    " count(coalesce(tokens_in, tokens_out)),"                                                     \
    " coalesce(sum(coalesce(tokens_in, 0) + coalesce(tokens_out, 0)), 0),"                         \
    " count(duration_seconds), coalesce(sum(duration_seconds), 0), " P95                           \
    " FROM (SELECT domain, task_type, at_ms, model_tier, success, actual_cost, quality_score,"     \
    "  tokens_in, tokens_out, duration_seconds," PLACES(                                           \
        "model_tier") "  FROM executions WHERE domain = $1 AND task_type = $2 AND at_ms >= $3 "    \
                      "AND at_ms < $4)"                                                            \
                      " AS placed GROUP BY 1, 2, 3, 4"

#define ARM_COLUMNS "domain, task_type, day, arm, executions, finished, successes, tokens, cost"
#define ARM_ROWS                                                                                   \
    "SELECT domain, task_type, at_ms / 86400000, arm, count(*), count(success),"                   \
    " coalesce(sum(success), 0),"                                                                  \
    " coalesce(sum(coalesce(tokens_in, 0) + coalesce(tokens_out, 0)), 0),"                         \
    " coalesce(sum(actual_cost), 0) FROM executions WHERE domain = $1 AND task_type = $2"          \
    " AND at_ms >= $3 AND at_ms < $4 AND arm IS NOT NULL GROUP BY 1, 2, 3, 4"

/* Of all domains and types. */
#define TOTAL_COLUMNS "day, model_tier, finished, successes, costed, cost, timed, duration"
#define TOTAL_ROWS                                                                                 \
    "SELECT day, model_tier, sum(finished), sum(successes), sum(costed), sum(cost), sum(timed),"   \
    " sum(duration) FROM tier_performance WHERE day = $1 GROUP BY 1, 2"

#define POOL_COLUMNS                                                                               \
    "domain, hour, pool_type, executions, finished, successes, waited, wait, timed, duration,"     \
    " duration_p95, peak_memory_mb"
#define POOL_ROWS                                                                                  \
    "SELECT domain, at_ms / 3600000, pool_type, count(*), count(success),"                         \
    " coalesce(sum(success), 0), count(queue_wait_seconds),"                                       \
    " coalesce(sum(queue_wait_seconds), 0), count(duration_seconds),"                              \
    " coalesce(sum(duration_seconds), 0), " P95 ", max(peak_memory_mb)"                            \
    " FROM (SELECT domain, at_ms, pool_type, success, queue_wait_seconds, duration_seconds,"       \
    "  peak_memory_mb," PLACES("pool_type") "  FROM executions WHERE domain = $1 AND at_ms >= $2 " \
                                            "AND at_ms < $3 AND pool_type <> '')"                  \
                                            " AS placed GROUP BY 1, 2, 3"

#define SOLUTION_COLUMNS                                                                           \
    "domain, hash, summary, uses, finished, successes, task_types, first_ms, last_ms"
/* One summary stands for all that have its hash: the first. All else is in one index, which the
 * types are read from only where no other could sort them: hence task_type || ''. */
#define SOLUTION_ROWS                                                                              \
    "SELECT domain, solution_hash, (SELECT min(solution_summary) FROM executions"                  \
    "  WHERE domain = $1 AND solution_hash = $2 AND at_ms = first_ms), uses, finished, successes," \
    " coalesce((SELECT group_concat(task_type, ', ') FROM (SELECT DISTINCT"                        \
    "  task_type || '' AS task_type FROM executions WHERE domain = $1 AND solution_hash = $2 AND " \
    "at_ms >= $3"                                                                                  \
    "  AND task_type <> '' ORDER BY 1 LIMIT 20) AS types), ''), first_ms, last_ms"                 \
    " FROM (SELECT domain, solution_hash, count(*) AS uses, count(success) AS finished,"           \
    "  coalesce(sum(success), 0) AS successes, min(at_ms) AS first_ms, max(at_ms) AS last_ms"      \
    "  FROM executions WHERE domain = $1 AND solution_hash = $2 AND at_ms >= $3 GROUP BY 1, 2)"    \
    " AS figures"

/* Of groups that are not marked. */
#define UNMARKED(name)                                                                             \
    " EXCEPT SELECT domain, name, bucket FROM dirty WHERE view = '" name "' ORDER BY 1, 2, 3"

/* A table that a group has rows in. */
struct kept {
    const char *table; /* NULL: there is none more */
    const char *columns;
    const char *clear;
    const char *fill;
    const char *stands, *computed; /* in one order */
    int keys;                      /* so many of the columns say which row it is */
};

enum { KEPT_MAX = 2 };

static const struct shape {
    const char *name;
    struct kept kept[KEPT_MAX];
    const char *groups;
    bool is_named;     /* its groups have names */
    int64_t bucket_ms; /* 0: no buckets, but a window */
    bool is_of_all;    /* its groups are of no domain, and made of another view */
} shapes[VIEWS] = {
    [VIEW_TIER] =
        {"tier",
         {{"tier_performance", TIER_COLUMNS,
           "DELETE FROM tier_performance WHERE domain = $1 AND task_type = $2 AND day = $3",
           "INSERT INTO tier_performance (" TIER_COLUMNS ") " TIER_ROWS,
           "SELECT " TIER_COLUMNS " FROM tier_performance"
           " WHERE domain = $1 AND task_type = $2 AND day = $3 ORDER BY model_tier",
           TIER_ROWS " ORDER BY 4", 4},
          {"arm_performance", ARM_COLUMNS,
           "DELETE FROM arm_performance WHERE domain = $1 AND task_type = $2 AND day = $3",
           "INSERT INTO arm_performance (" ARM_COLUMNS ") " ARM_ROWS,
           "SELECT " ARM_COLUMNS " FROM arm_performance"
           " WHERE domain = $1 AND task_type = $2 AND day = $3 ORDER BY arm",
           ARM_ROWS " ORDER BY 4", 4}},
         "SELECT domain, task_type, at_ms / 86400000 FROM executions UNION"
         " SELECT domain, task_type, day FROM tier_performance UNION"
         " SELECT domain, task_type, day FROM arm_performance" UNMARKED("tier"),
         true,
         VIEWS_DAY_MS,
         false},
    [VIEW_TOTAL] = {"total",
                    {{"tier_totals", TOTAL_COLUMNS, "DELETE FROM tier_totals WHERE day = $1",
                      "INSERT INTO tier_totals (" TOTAL_COLUMNS ") " TOTAL_ROWS,
                      "SELECT " TOTAL_COLUMNS
                      " FROM tier_totals WHERE day = $1 ORDER BY model_tier",
                      TOTAL_ROWS " ORDER BY 2", 2}},
                    "SELECT '', '', day FROM tier_performance UNION"
                    " SELECT '', '', day FROM tier_totals" UNMARKED("total"),
                    false,
                    VIEWS_DAY_MS,
                    true},
    [VIEW_POOL] = {"pool",
                   {{"pool_performance", POOL_COLUMNS,
                     "DELETE FROM pool_performance WHERE domain = $1 AND hour = $2",
                     "INSERT INTO pool_performance (" POOL_COLUMNS ") " POOL_ROWS,
                     "SELECT " POOL_COLUMNS " FROM pool_performance WHERE domain = $1 AND hour = $2"
                     " ORDER BY pool_type",
                     POOL_ROWS " ORDER BY 3", 3}},
                   "SELECT domain, '', at_ms / 3600000 FROM executions WHERE pool_type <> '' UNION"
                   " SELECT domain, '', hour FROM pool_performance" UNMARKED("pool"),
                   false,
                   VIEWS_HOUR_MS,
                   false},
    [VIEW_SOLUTION] =
        {"solution",
         {{"solutions", SOLUTION_COLUMNS, "DELETE FROM solutions WHERE domain = $1 AND hash = $2",
           "INSERT INTO solutions (" SOLUTION_COLUMNS ") " SOLUTION_ROWS,
           "SELECT " SOLUTION_COLUMNS " FROM solutions WHERE domain = $1 AND hash = $2",
           SOLUTION_ROWS, 2}},
         "SELECT domain, solution_hash, 0 FROM executions WHERE solution_hash IS NOT NULL UNION"
         " SELECT domain, hash, 0 FROM solutions" UNMARKED("solution"),
         true,
         0,
         false},
};

static bool is_kept(const struct shape *shape, size_t i)
{
    return i < KEPT_MAX && shape->kept[i].table != NULL;
}

const char *views_name(enum view view)
{
    return shapes[view].name;
}

enum view views_find(struct slice name)
{
    enum view view = 0;

    while (view < VIEWS && !slice_equal(slice_of(shapes[view].name), name)) {
        view++;
    }
    return view;
}

/* ---- parameters ------------------------------------------------------------------------------ */

struct with {
    struct value each[KEYS_MAX];
    size_t count;
};

static struct with name_of(const struct view_group *group)
{
    const struct shape *shape = &shapes[group->view];
    struct with with = {.count = 0};

    if (!shape->is_of_all) {
        with.each[with.count++] = value_text(group->domain);
    }
    if (shape->is_named) {
        with.each[with.count++] = value_text(group->name);
    }
    return with;
}

/* What the group's rows of the view are found by. */
static struct with key_of(const struct view_group *group)
{
    struct with with = name_of(group);

    if (shapes[group->view].bucket_ms > 0) {
        with.each[with.count++] = value_integer(group->bucket);
    }
    return with;
}

/* What the rows are found by that it is made of. */
static struct with range_of(const struct view_group *group, int64_t now_ms)
{
    const struct shape *shape = &shapes[group->view];
    struct with with = name_of(group);

    if (shape->is_of_all) {
        return key_of(group);
    }
    if (shape->bucket_ms > 0) {
        with.each[with.count++] = value_integer(group->bucket * shape->bucket_ms);
        with.each[with.count++] = value_integer((group->bucket + 1) * shape->bucket_ms);
    } else {
        with.each[with.count++] =
            value_integer(now_ms - (int64_t)VIEWS_SOLUTION_DAYS * VIEWS_DAY_MS);
    }
    return with;
}

/* ---- refresh --------------------------------------------------------------------------------- */

enum { MARK_VALUES = 5 };

static int compare_groups(const void *left, const void *right)
{
    const struct view_group *a = left;
    const struct view_group *b = right;
    int order = (int)a->view - (int)b->view;

    order = order != 0 ? order : slice_compare(a->domain, b->domain);
    order = order != 0 ? order : slice_compare(a->name, b->name);
    return order != 0 ? order : (a->bucket > b->bucket) - (a->bucket < b->bucket);
}

size_t views_sort(struct view_group *groups, size_t count)
{
    size_t once = 0;

    if (count > 0) {
        qsort(groups, count, sizeof *groups, compare_groups);
    }
    for (size_t i = 0; i < count; i++) {
        if (once == 0 || compare_groups(&groups[i], &groups[once - 1]) != 0) {
            groups[once++] = groups[i];
        }
    }
    return once;
}

enum status views_mark_all(struct database *database, struct view_group *groups, size_t count,
                           int64_t now_ms, struct error *err)
{
    struct value with[VIEWS_AT_ONCE * MARK_VALUES];

    count = views_sort(groups, count);
    for (size_t from = 0; from < count; from += VIEWS_AT_ONCE) {
        struct many many = {
            .sql = "INSERT INTO dirty (view, domain, name, bucket, since_ms)"
                   " VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
            .with = with,
            .count = MARK_VALUES,
            .sets = count - from < VIEWS_AT_ONCE ? count - from : VIEWS_AT_ONCE,
        };
        for (size_t i = 0; i < many.sets; i++) {
            const struct view_group *group = &groups[from + i];
            struct value *set = with + i * MARK_VALUES;
            set[0] = value_str(shapes[group->view].name);
            set[1] = value_text(group->domain);
            set[2] = value_text(group->name);
            set[3] = value_integer(group->bucket);
            set[4] = value_integer(now_ms);
        }
        TRY(database_many(database, &many, NULL, err));
    }
    return STATUS_OK;
}

/* Who has it computes the group. */
static int64_t lock_key(const struct view_group *group)
{
    const struct slice end = {"\xff", 1};
    const struct slice texts[] = {group->domain, end, group->name, end};
    uint64_t hash = SLICE_HASH ^ (uint64_t)group->bucket ^ (uint64_t)group->view << 60;

    for (size_t i = 0; i < 4; i++) {
        hash = slice_hash(hash, texts[i]);
    }
    return (int64_t)hash;
}

/* One statement for all of them. */
static enum status run_sets(struct database *database, const char *sql, const struct with *sets,
                            size_t count, struct error *err)
{
    struct value with[VIEWS_AT_ONCE * KEYS_MAX];
    struct many many = {.sql = sql, .with = with, .count = sets[0].count, .sets = count};

    for (size_t i = 0; i < count; i++) {
        memcpy(with + i * many.count, sets[i].each, many.count * sizeof *with);
    }
    return database_many(database, &many, NULL, err);
}

/* Those that another process has in its hand are left to it. */
static enum status keep_ours(struct database *database, struct view_group *groups, size_t *count,
                             struct error *err)
{
    int64_t keys[VIEWS_AT_ONCE];
    bool got[VIEWS_AT_ONCE];
    size_t ours = 0;

    for (size_t i = 0; i < *count; i++) {
        keys[i] = lock_key(&groups[i]);
    }
    TRY(database_try_locks(database, keys, *count, got, err));
    for (size_t i = 0; i < *count; i++) {
        if (got[i]) {
            groups[ours++] = groups[i];
        }
    }
    *count = ours;
    return STATUS_OK;
}

static enum status take_marks(struct database *database, const struct view_group *groups,
                              size_t count, struct error *err)
{
    struct with marks[VIEWS_AT_ONCE];

    for (size_t i = 0; i < count; i++) {
        marks[i] =
            (struct with){{value_str(shapes[groups[i].view].name), value_text(groups[i].domain),
                           value_text(groups[i].name), value_integer(groups[i].bucket)},
                          4};
    }
    return run_sets(database,
                    "DELETE FROM dirty WHERE view = $1 AND domain = $2 AND name = $3"
                    " AND bucket = $4 /*+ AND ctid = ANY (ARRAY(SELECT ctid FROM dirty"
                    " WHERE view = $1 AND domain = $2 AND name = $3 AND bucket = $4"
                    " FOR UPDATE SKIP LOCKED)) */",
                    marks, count, err);
}

/* Groups of one view. */
static enum status compute(struct database *database, const struct view_group *groups, size_t count,
                           int64_t now_ms, struct error *err)
{
    const struct shape *shape = &shapes[groups[0].view];
    struct with keys[VIEWS_AT_ONCE];
    struct with ranges[VIEWS_AT_ONCE];
    struct view_group totals[VIEWS_AT_ONCE];
    const struct slice none = {"", 0};

    for (size_t i = 0; i < count; i++) {
        keys[i] = key_of(&groups[i]);
        ranges[i] = range_of(&groups[i], now_ms);
        totals[i] = (struct view_group){VIEW_TOTAL, none, none, groups[i].bucket};
    }
    for (size_t i = 0; is_kept(shape, i); i++) {
        TRY(run_sets(database, shape->kept[i].clear, keys, count, err));
        TRY(run_sets(database, shape->kept[i].fill, ranges, count, err));
    }
    return groups[0].view == VIEW_TIER ? views_mark_all(database, totals, count, now_ms, err)
                                       : STATUS_OK;
}

/* On a server each who writes adds marks of its own, and a mark stands with the rows that it is of:
 * so what is computed after marks were taken away has seen their rows, and marks that come later
 * stay. */
enum status views_compute(struct database *database, struct view_group *groups, size_t count,
                          int64_t now_ms, struct error *err)
{
    size_t until = 0;

    TRY(keep_ours(database, groups, &count, err));
    if (count > 0) {
        TRY(take_marks(database, groups, count, err));
    }
    for (size_t from = 0; from < count; from = until) {
        while (until < count && groups[until].view == groups[from].view) {
            until++;
        }
        TRY(compute(database, groups + from, until - from, now_ms, err));
    }
    return STATUS_OK;
}

/* ---- check ----------------------------------------------------------------------------------- */

static double number_of(const struct value *value)
{
    return value->type == VALUE_INTEGER ? (double)value->integer : value->number;
}

/* Sums of numbers differ in their last digits with the order they are summed in. */
static bool is_same(const struct value *a, const struct value *b)
{
    const bool is_number = a->type == VALUE_NUMBER || b->type == VALUE_NUMBER;

    if (a->type == VALUE_NULL || b->type == VALUE_NULL || a->type == VALUE_TEXT ||
        b->type == VALUE_TEXT) {
        return a->type == b->type && slice_equal(a->text, b->text);
    }
    const double least = fmax(1, fmax(fabs(number_of(a)), fabs(number_of(b))));
    return is_number ? fabs(number_of(a) - number_of(b)) <= 1e-9 * least : a->integer == b->integer;
}

static void print_value(const struct value *value, char *out, size_t size)
{
    if (value->type == VALUE_INTEGER) {
        snprintf(out, size, "%" PRId64, value->integer);
    } else if (value->type == VALUE_NUMBER) {
        snprintf(out, size, "%.17g", value->number);
    } else if (value->type == VALUE_TEXT) {
        char shown[48];
        snprintf(out, size, "\"%s\"", text_excerpt(value->text.data, value->text.bytes, shown));
    } else {
        snprintf(out, size, "nothing");
    }
}

static int columns_of(const struct kept *kept)
{
    int count = 1;

    for (const char *at = kept->columns; *at != '\0'; at++) {
        count += *at == ',';
    }
    return count;
}

static struct slice column_name(const struct kept *kept, int column)
{
    const char *at = kept->columns;

    for (; column > 0; column--) {
        at += strcspn(at, ",") + 2; /* ", " */
    }
    return (struct slice){at, strcspn(at, ",")};
}

/* A value of one side and that of the other; NULL: no such row on this side. */
struct sides {
    const struct rows *view, *computed;
};

static void describe(const struct kept *kept, const struct sides *sides, int column,
                     char apart[VIEWS_APART_BYTES])
{
    const struct rows *any = sides->view == NULL ? sides->computed : sides->view;
    char found[64];
    char expected[64];
    size_t used = 0;

    used += (size_t)snprintf(apart, VIEWS_APART_BYTES, "%s (", kept->table);
    for (int i = 0; i < kept->keys; i++) {
        const struct value key = rows_value(any, i);
        print_value(&key, found, sizeof found);
        used += (size_t)snprintf(apart + used, VIEWS_APART_BYTES - used, "%s%s", i > 0 ? ", " : "",
                                 found);
    }
    if (sides->view == NULL || sides->computed == NULL) {
        snprintf(apart + used, VIEWS_APART_BYTES - used, ") %s",
                 sides->view == NULL ? "is missing" : "has no executions");
        return;
    }
    const struct slice name = column_name(kept, column);
    const struct value has = rows_value(sides->view, column);
    const struct value is = rows_value(sides->computed, column);
    print_value(&has, found, sizeof found);
    print_value(&is, expected, sizeof expected);
    snprintf(apart + used, VIEWS_APART_BYTES - used, ") has %.*s %s, its executions make %s",
             (int)name.bytes, name.data, found, expected);
}

static void compare_row(const struct kept *kept, const struct sides *sides,
                        char apart[VIEWS_APART_BYTES])
{
    const int columns = columns_of(kept);

    if (sides->view == NULL || sides->computed == NULL) {
        describe(kept, sides, 0, apart);
        return;
    }
    for (int i = 0; i < columns && apart[0] == '\0'; i++) {
        const struct value has = rows_value(sides->view, i);
        const struct value is = rows_value(sides->computed, i);
        if (!is_same(&has, &is)) {
            describe(kept, sides, i, apart);
        }
    }
}

/* Whether an execution of the solution is about to leave the window. */
static enum status is_at_edge(struct database *database, const struct view_group *group,
                              int64_t now_ms, bool *yes, struct error *err)
{
    const int64_t edge_ms = now_ms - (int64_t)VIEWS_SOLUTION_DAYS * VIEWS_DAY_MS;
    const struct value with[] = {value_text(group->domain), value_text(group->name),
                                 value_integer(edge_ms - EDGE_MS),
                                 value_integer(edge_ms + EDGE_MS)};
    struct value found;

    *yes = false;
    if (group->view != VIEW_SOLUTION) {
        return STATUS_OK;
    }
    TRY(database_find(database,
                      "SELECT 1 FROM executions WHERE domain = $1 AND solution_hash = $2"
                      " AND at_ms >= $3 AND at_ms < $4 LIMIT 1",
                      with, 4, &found, err));
    *yes = found.type == VALUE_INTEGER;
    return STATUS_OK;
}

static enum status compare_table(struct database *database, const struct kept *kept,
                                 const struct with *key, const struct with *range,
                                 char apart[VIEWS_APART_BYTES], struct error *err)
{
    struct rows view;
    struct rows computed;

    TRY(database_ask(database, kept->stands, key->each, key->count, &view, err));
    const enum status asked =
        database_ask(database, kept->computed, range->each, range->count, &computed, err);
    if (asked != STATUS_OK) {
        (void)!rows_end(&view);
        return asked;
    }
    for (bool more = true; more && apart[0] == '\0';) {
        const bool has = rows_next(&view, err) == ROWS_ONE;
        const bool is = rows_next(&computed, err) == ROWS_ONE;
        more = (has || is) && view.status == STATUS_OK && computed.status == STATUS_OK;
        if (more) {
            compare_row(kept, &(struct sides){has ? &view : NULL, is ? &computed : NULL}, apart);
        }
    }
    const enum status ended = rows_end(&view);
    const enum status also = rows_end(&computed);
    return ended != STATUS_OK ? ended : also;
}

enum status views_compare(struct database *database, const struct view_group *group, int64_t now_ms,
                          char apart[VIEWS_APART_BYTES], struct error *err)
{
    const struct shape *shape = &shapes[group->view];
    const struct with key = key_of(group);
    const struct with range = range_of(group, now_ms);
    bool is_moving = false;

    apart[0] = '\0';
    TRY(is_at_edge(database, group, now_ms, &is_moving, err));
    for (size_t i = 0; !is_moving && apart[0] == '\0' && is_kept(shape, i); i++) {
        TRY(compare_table(database, &shape->kept[i], &key, &range, apart, err));
    }
    return STATUS_OK;
}

enum status views_list(struct database *database, enum view view, struct rows *rows,
                       struct error *err)
{
    return database_ask(database, shapes[view].groups, NULL, 0, rows, err);
}
