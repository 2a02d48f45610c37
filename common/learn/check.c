/* See learn/check.h. */
#include "learn/check.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"

static enum status keep(struct arena *arena, struct slice *text, struct error *err)
{
    text->data = arena_copy(arena, text->data, text->bytes);
    return text->data == NULL ? error_set(err, STATUS_OOM, "out of memory") : STATUS_OK;
}

/* A group from a row of domain, name, bucket. */
static enum status read_group(const struct rows *rows, enum view view, struct arena *arena,
                              struct view_group *group, struct error *err)
{
    *group = (struct view_group){view, rows_value(rows, 0).text, rows_value(rows, 1).text,
                                 rows_value(rows, 2).integer};
    TRY(keep(arena, &group->domain, err));
    return keep(arena, &group->name, err);
}

static enum status compare(struct database *database, const struct view_group *group,
                           struct check *check, struct error *err)
{
    char apart[VIEWS_APART_BYTES];

    TRY(views_compare(database, group, check->now_ms, apart, err));
    check->groups++;
    if (apart[0] == '\0') {
        return STATUS_OK;
    }
    if (check->apart == 0) {
        snprintf(check->first, sizeof check->first, "%s", apart);
    }
    if (check->listed < CHECK_GROUPS_MAX) {
        check->list[check->listed++] = *group;
    }
    check->apart++;
    return STATUS_OK;
}

enum status check_views(struct database *database, struct arena *arena, struct check *check,
                        struct error *err)
{
    enum status status = STATUS_OK;

    for (enum view view = 0; view < VIEWS && status == STATUS_OK; view++) {
        struct rows rows;
        TRY(views_list(database, view, &rows, err));
        while (status == STATUS_OK && rows_next(&rows, err) == ROWS_ONE) {
            const struct arena_mark mark = arena_mark(arena);
            const size_t apart = check->apart;
            struct view_group group;
            status = read_group(&rows, view, arena, &group, err);
            status = status == STATUS_OK ? compare(database, &group, check, err) : status;
            if (check->apart == apart) {
                arena_rewind(arena, mark);
            }
        }
        const enum status ended = rows_end(&rows);
        status = status == STATUS_OK ? ended : status;
    }
    return status;
}

/* ---- a day ----------------------------------------------------------------------------------- */

/* An execution, and what its groups are called by. */
struct found {
    struct slice domain, task_type, hash;
    int64_t at_ms;
};

static enum status find_execution(struct database *database, uint64_t random, struct arena *arena,
                                  struct found *found, struct error *err)
{
    struct value last;
    struct rows rows;
    enum status status = STATUS_OK;

    *found = (struct found){.at_ms = -1};
    TRY(database_find(database, "SELECT max(id) FROM executions", NULL, 0, &last, err));
    const struct value from =
        value_integer(last.integer < 1 ? 0 : 1 + (int64_t)(random % (uint64_t)last.integer));
    TRY(database_ask(database,
                     "SELECT domain, task_type, coalesce(solution_hash, ''), at_ms FROM executions"
                     " WHERE id >= $1 ORDER BY id LIMIT 1",
                     &from, 1, &rows, err));
    if (rows_next(&rows, err) == ROWS_ONE) {
        *found = (struct found){rows_value(&rows, 0).text, rows_value(&rows, 1).text,
                                rows_value(&rows, 2).text, rows_value(&rows, 3).integer};
        status = keep(arena, &found->domain, err);
        status = status == STATUS_OK ? keep(arena, &found->task_type, err) : status;
        status = status == STATUS_OK ? keep(arena, &found->hash, err) : status;
    }
    const enum status ended = rows_end(&rows);
    return ended != STATUS_OK ? ended : status;
}

struct groups {
    struct view_group *each;
    size_t count, room;
};

/* Those that a view has, as domain, name, bucket. */
static enum status add_groups(struct database *database, enum view view, const char *sql,
                              const struct value with[3], struct arena *arena,
                              struct groups *groups, struct error *err)
{
    struct rows rows;
    enum status status = STATUS_OK;

    TRY(database_ask(database, sql, with, 3, &rows, err));
    while (status == STATUS_OK && groups->count < groups->room &&
           rows_next(&rows, err) == ROWS_ONE) {
        status = read_group(&rows, view, arena, &groups->each[groups->count++], err);
    }
    const enum status ended = rows_end(&rows);
    return ended != STATUS_OK ? ended : status;
}

/* Its own three, then what the views have of its domain and day, and one solution more. */
static enum status list_day(struct database *database, const struct found *of, uint64_t random,
                            struct arena *arena, struct groups *groups, struct error *err)
{
    const struct slice none = {"", 0};
    const int64_t day = of->at_ms / VIEWS_DAY_MS;
    const int64_t hours = VIEWS_DAY_MS / VIEWS_HOUR_MS;
    char hash[9];

    groups->each[groups->count++] = (struct view_group){VIEW_TIER, of->domain, of->task_type, day};
    groups->each[groups->count++] =
        (struct view_group){VIEW_POOL, of->domain, none, of->at_ms / VIEWS_HOUR_MS};
    if (of->hash.bytes > 0) {
        groups->each[groups->count++] = (struct view_group){VIEW_SOLUTION, of->domain, of->hash, 0};
    }
    snprintf(hash, sizeof hash, "%08" PRIx32, (uint32_t)random);
    const struct value solution[] = {value_text(of->domain), value_str(hash), value_integer(1)};
    TRY(add_groups(database, VIEW_SOLUTION,
                   "SELECT domain, hash, 0 FROM solutions WHERE domain = $1 AND hash >= $2"
                   " ORDER BY hash LIMIT $3",
                   solution, arena, groups, err));
    const struct value tier[] = {value_text(of->domain), value_integer(day),
                                 value_integer(CHECK_GROUPS_MAX)};
    TRY(add_groups(database, VIEW_TIER,
                   "SELECT DISTINCT domain, task_type, day FROM tier_performance"
                   " WHERE domain = $1 AND day = $2 LIMIT $3",
                   tier, arena, groups, err));
    const struct value pool[] = {value_text(of->domain), value_integer(day * hours),
                                 value_integer((day + 1) * hours)};
    return add_groups(database, VIEW_POOL,
                      "SELECT DISTINCT domain, '', hour FROM pool_performance"
                      " WHERE domain = $1 AND hour >= $2 AND hour < $3",
                      pool, arena, groups, err);
}

static enum status compare_unmarked(struct database *database, const struct view_group *group,
                                    struct check *check, struct error *err)
{
    const struct value with[] = {value_str(views_name(group->view)), value_text(group->domain),
                                 value_text(group->name), value_integer(group->bucket)};
    struct value marked;

    TRY(database_find(database,
                      "SELECT 1 FROM dirty WHERE view = $1 AND domain = $2 AND name = $3"
                      " AND bucket = $4",
                      with, 4, &marked, err));
    return marked.type == VALUE_INTEGER ? STATUS_OK : compare(database, group, check, err);
}

enum status check_day(struct database *database, uint64_t random, int64_t most_ms,
                      struct arena *arena, struct check *check, struct error *err)
{
    const int64_t until_ms = clock_now_ms() + most_ms;
    struct view_group each[2 * CHECK_GROUPS_MAX];
    struct groups groups = {each, 0, sizeof each / sizeof each[0]};
    struct found found;

    TRY(find_execution(database, random, arena, &found, err));
    if (found.at_ms < 0) {
        return STATUS_OK;
    }
    TRY(list_day(database, &found, random, arena, &groups, err));
    /* Not always the same first ones, where the time is up before the last. */
    const size_t start = (size_t)(random % groups.count);
    TRY(compare_unmarked(database, &groups.each[0], check, err));
    for (size_t i = 0; i < groups.count && clock_now_ms() < until_ms; i++) {
        const size_t which = (start + i) % groups.count;
        if (which > 0) {
            TRY(compare_unmarked(database, &groups.each[which], check, err));
        }
    }
    return STATUS_OK;
}

/* ---- counts ---------------------------------------------------------------------------------- */

enum status check_counts(struct database *database, struct check *check, struct error *err)
{
    static const char *const names[] = {"executions", "incomplete"};
    struct rows rows;

    TRY(database_ask(database,
                     "SELECT sum(executions), sum(incomplete), (SELECT count(*) FROM executions),"
                     " (SELECT count(*) FROM executions WHERE incomplete <> 0) FROM counts",
                     NULL, 0, &rows, err));
    const bool is_there = rows_next(&rows, err) == ROWS_ONE;
    for (int i = 0; is_there && i < 2; i++) {
        const int64_t counted = rows_value(&rows, i).integer;
        const int64_t there = rows_value(&rows, i + 2).integer;
        if (counted != there && check->apart++ == 0) {
            snprintf(check->first, sizeof check->first,
                     "counts has %s %" PRId64 ", there are %" PRId64, names[i], counted, there);
        }
    }
    return rows_end(&rows);
}
