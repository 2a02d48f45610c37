/* Of learn/store.h: what is kept beside the rows, the views and the counts, is held against the
 * rows, as of one moment, while others write; a group that waits for its refresh is not judged.
 * What is apart may be mended then, in a transaction: it is marked for the next refresh.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "learn/internal.h"

enum { LISTED_MAX = 64 };

struct check {
    struct database *database;
    struct arena arena; /* not the store's, which a transaction empties */
    int64_t now_ms;     /* by which a view's window ends */
    struct store_checked found;
    struct view_group list[LISTED_MAX]; /* of the groups apart, */
    size_t listed;                      /* the first so many */
};

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

static enum status compare(struct check *check, const struct view_group *group, struct error *err)
{
    char apart[VIEWS_APART_BYTES];

    TRY(views_compare(check->database, group, check->now_ms, apart, err));
    check->found.groups++;
    if (apart[0] == '\0') {
        return STATUS_OK;
    }
    if (check->found.apart++ == 0) {
        snprintf(check->found.first, sizeof check->found.first, "%s", apart);
    }
    if (check->listed < LISTED_MAX) {
        check->list[check->listed++] = *group;
    }
    return STATUS_OK;
}

/* Every group that the rows or a view have. Reads all of it. */
static enum status check_views(struct check *check, struct error *err)
{
    enum status status = STATUS_OK;

    for (enum view view = 0; view < VIEWS && status == STATUS_OK; view++) {
        struct rows rows;
        TRY(views_list(check->database, view, &rows, err));
        while (status == STATUS_OK && rows_next(&rows, err) == ROWS_ONE) {
            const struct arena_mark mark = arena_mark(&check->arena);
            const size_t apart = check->found.apart;
            struct view_group group;
            status = read_group(&rows, view, &check->arena, &group, err);
            status = status == STATUS_OK ? compare(check, &group, err) : status;
            if (check->found.apart == apart) {
                arena_rewind(&check->arena, mark);
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

static enum status find_execution(struct check *check, uint64_t random, struct found *found,
                                  struct error *err)
{
    struct value last;
    struct rows rows;
    enum status status = STATUS_OK;

    *found = (struct found){.at_ms = -1};
    TRY(database_find(check->database, "SELECT max(id) FROM executions", NULL, 0, &last, err));
    const struct value from =
        value_integer(last.integer < 1 ? 0 : 1 + (int64_t)(random % (uint64_t)last.integer));
    TRY(database_ask(check->database,
                     "SELECT domain, task_type, coalesce(solution_hash, ''), at_ms FROM executions"
                     " WHERE id >= $1 ORDER BY id LIMIT 1",
                     &from, 1, &rows, err));
    if (rows_next(&rows, err) == ROWS_ONE) {
        *found = (struct found){rows_value(&rows, 0).text, rows_value(&rows, 1).text,
                                rows_value(&rows, 2).text, rows_value(&rows, 3).integer};
        status = keep(&check->arena, &found->domain, err);
        status = status == STATUS_OK ? keep(&check->arena, &found->task_type, err) : status;
        status = status == STATUS_OK ? keep(&check->arena, &found->hash, err) : status;
    }
    const enum status ended = rows_end(&rows);
    return ended != STATUS_OK ? ended : status;
}

struct groups {
    struct view_group *each;
    size_t count, room;
};

/* Those that a view has, as domain, name, bucket. */
static enum status add_groups(struct check *check, enum view view, const char *sql,
                              const struct value with[3], struct groups *groups, struct error *err)
{
    struct rows rows;
    enum status status = STATUS_OK;

    TRY(database_ask(check->database, sql, with, 3, &rows, err));
    while (status == STATUS_OK && groups->count < groups->room &&
           rows_next(&rows, err) == ROWS_ONE) {
        status = read_group(&rows, view, &check->arena, &groups->each[groups->count++], err);
    }
    const enum status ended = rows_end(&rows);
    return ended != STATUS_OK ? ended : status;
}

/* Its own three, then what the views have of its domain and day, and one solution more. */
static enum status list_day(struct check *check, const struct found *of, uint64_t random,
                            struct groups *groups, struct error *err)
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
    TRY(add_groups(check, VIEW_SOLUTION,
                   "SELECT domain, hash, 0 FROM solutions WHERE domain = $1 AND hash >= $2"
                   " ORDER BY hash LIMIT $3",
                   solution, groups, err));
    const struct value tier[] = {value_text(of->domain), value_integer(day),
                                 value_integer(LISTED_MAX)};
    TRY(add_groups(check, VIEW_TIER,
                   "SELECT DISTINCT domain, task_type, day FROM tier_performance"
                   " WHERE domain = $1 AND day = $2 LIMIT $3",
                   tier, groups, err));
    const struct value pool[] = {value_text(of->domain), value_integer(day * hours),
                                 value_integer((day + 1) * hours)};
    return add_groups(check, VIEW_POOL,
                      "SELECT DISTINCT domain, '', hour FROM pool_performance"
                      " WHERE domain = $1 AND hour >= $2 AND hour < $3",
                      pool, groups, err);
}

static enum status compare_unmarked(struct check *check, const struct view_group *group,
                                    struct error *err)
{
    const struct value with[] = {value_str(views_name(group->view)), value_text(group->domain),
                                 value_text(group->name), value_integer(group->bucket)};
    struct value marked;

    TRY(database_find(check->database,
                      "SELECT 1 FROM dirty WHERE view = $1 AND domain = $2 AND name = $3"
                      " AND bucket = $4",
                      with, 4, &marked, err));
    return marked.type == VALUE_INTEGER ? STATUS_OK : compare(check, group, err);
}

/* The groups of one execution, whichever `random` finds, then those of its domain and day. */
static enum status check_day(struct check *check, uint64_t random, int64_t until_ms,
                             struct error *err)
{
    struct view_group each[2 * LISTED_MAX];
    struct groups groups = {each, 0, sizeof each / sizeof each[0]};
    struct found found;

    TRY(find_execution(check, random, &found, err));
    if (found.at_ms < 0) {
        return STATUS_OK;
    }
    TRY(list_day(check, &found, random, &groups, err));
    /* Not always the same first ones, where the time is up before the last. */
    const size_t start = (size_t)(random % groups.count);
    TRY(compare_unmarked(check, &groups.each[0], err));
    for (size_t i = 0; i < groups.count && clock_now_ms() < until_ms; i++) {
        const size_t which = (start + i) % groups.count;
        if (which > 0) {
            TRY(compare_unmarked(check, &groups.each[which], err));
        }
    }
    return STATUS_OK;
}

/* ---- counts ---------------------------------------------------------------------------------- */

/* How many executions are counted, and how many as incomplete. */
static enum status check_counts(struct check *check, struct error *err)
{
    static const char *const names[] = {"executions", "incomplete"};
    struct rows rows;

    TRY(database_ask(check->database,
                     "SELECT sum(executions), sum(incomplete), (SELECT count(*) FROM executions),"
                     " (SELECT count(*) FROM executions WHERE incomplete <> 0) FROM counts",
                     NULL, 0, &rows, err));
    const bool is_there = rows_next(&rows, err) == ROWS_ONE;
    for (int i = 0; is_there && i < 2; i++) {
        const int64_t counted = rows_value(&rows, i).integer;
        const int64_t there = rows_value(&rows, i + 2).integer;
        if (counted != there && check->found.apart++ == 0) {
            snprintf(check->found.first, sizeof check->found.first,
                     "counts has %s %" PRId64 ", there are %" PRId64, names[i], counted, there);
        }
    }
    return rows_end(&rows);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static enum status check_all(struct check *check, struct error *err)
{
    TRY(database_begin_read(check->database, err));
    enum status status = check_counts(check, err);
    if (status == STATUS_OK) {
        status = check_views(check, err);
    }
    database_rollback(check->database);
    return status;
}

/* While nobody adds or deletes rows. */
static enum status mend_counts(struct store *store, struct error *err)
{
    TRY(database_lock(store->database, ROWS_LOCK, LOCK_ALONE, err));
    TRY(database_do(store->database, "DELETE FROM counts WHERE id <> 1", NULL, 0, NULL, err));
    return database_do(store->database,
                       "UPDATE counts SET executions = (SELECT count(*) FROM executions),"
                       " incomplete = (SELECT count(*) FROM executions WHERE incomplete <> 0)",
                       NULL, 0, NULL, err);
}

static enum status mend(struct store *store, struct check *check, bool is_count_too,
                        struct error *err)
{
    TRY(transaction_begin(store, err));
    enum status status =
        views_mark_all(store->database, check->list, check->listed, check->now_ms, err);
    if (status == STATUS_OK && is_count_too) {
        status = mend_counts(store, err);
    }
    return transaction_end(store, status, err);
}

enum status store_check_day(struct store *store, uint64_t random, int most_ms, int64_t now_unix_ms,
                            struct store_checked *checked, struct error *err)
{
    struct check check = {.database = store->database, .now_ms = now_unix_ms};

    *checked = (struct store_checked){0};
    TRY(database_begin_read(store->database, err));
    enum status status = check_day(&check, random, clock_now_ms() + most_ms, err);
    database_rollback(store->database);
    if (status == STATUS_OK) {
        *checked = check.found;
        status = check.listed == 0 ? STATUS_OK : mend(store, &check, false, err);
    }
    arena_free(&check.arena);
    return status;
}

enum status store_check(struct store *store, int64_t now_unix_ms, struct store_checked *checked,
                        struct error *err)
{
    struct check check = {.database = store->database, .now_ms = now_unix_ms};

    *checked = (struct store_checked){0};
    TRY(database_verify(store->database, err));
    const enum status status = check_all(&check, err);
    arena_free(&check.arena);
    TRY(status);
    *checked = check.found;
    return checked->apart == 0 ? STATUS_OK
                               : error_set(err, STATUS_INVALID, "%s (%zu differences)",
                                           checked->first, checked->apart);
}

enum status store_mend(struct store *store, int64_t now_unix_ms, struct store_checked *checked,
                       struct error *err)
{
    struct store_checked first = {0};
    size_t listed = LISTED_MAX;

    while (listed == LISTED_MAX) { /* what is marked is not compared again */
        struct check check = {.database = store->database, .now_ms = now_unix_ms};
        enum status status = check_all(&check, err);
        if (status == STATUS_OK && check.found.apart > 0) {
            status = mend(store, &check, true, err);
        }
        arena_free(&check.arena);
        TRY(status);
        listed = check.listed;
        first = first.groups == 0 ? check.found : first;
    }
    *checked = first;
    return STATUS_OK;
}
