/* Of learn/internal.h. The path is looked at after the commit too: what was written into a file
 * that nobody will see again does not count. Nor does what went into another history: what is
 * behind an open connection may have been dropped, and made anew by the next who came.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/clock.h"
#include "learn/internal.h"

enum { KEEP_BYTES = 4 << 20 };

/* Until the end of the transaction nobody changes the version: on a server another program may
 * have done so since the store was opened. */
static enum status check_history(struct store *store, struct error *err)
{
    const struct value with = value_str(store->id);
    struct value version;

    TRY(database_lock(store->database, SCHEMA_LOCK, LOCK_TOGETHER, err));
    TRY(database_find(store->database,
                      "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'version'"
                      " AND EXISTS (SELECT 1 FROM meta WHERE key = 'store_id' AND value = $1)",
                      &with, 1, &version, err));
    if (version.type != VALUE_INTEGER) {
        return error_set(err, STATUS_UNAVAILABLE,
                         "the learning store %s is gone, and another stands in its place",
                         store->id);
    }
    return version.integer == (int64_t)schema_steps.count
               ? STATUS_OK
               : error_set(err, STATUS_UNAVAILABLE,
                           "the learning store has version %" PRId64
                           " by now, this program writes version %zu",
                           version.integer, schema_steps.count);
}

/* how: ROWS_LOCK is taken; NULL: it is not. */
static enum status begin(struct store *store, const enum database_lock *how, struct error *err)
{
    arena_reset(&store->arena, KEEP_BYTES);
    store->marked_count = 0;
    store->added = store->added_incomplete = 0;
    store->is_alone = how != NULL && *how == LOCK_ALONE;
    TRY(database_check(store->database, err));
    TRY(database_begin(store->database, err));
    enum status status = check_history(store, err);
    if (status == STATUS_OK && how != NULL) {
        status = database_lock(store->database, ROWS_LOCK, *how, err);
    }
    if (status != STATUS_OK) {
        database_rollback(store->database);
    }
    return status;
}

enum status transaction_begin(struct store *store, struct error *err)
{
    return begin(store, NULL, err);
}

enum status transaction_begin_rows(struct store *store, enum database_lock how, struct error *err)
{
    return begin(store, &how, err);
}

enum status transaction_ask_alone(struct store *store, const char *why, struct error *err)
{
    store->wants_alone = true;
    return error_set(err, STATUS_UNAVAILABLE, "%s", why);
}

enum status transaction_keep(struct store *store, struct slice *text, struct error *err)
{
    if (text->data == NULL) {
        return STATUS_OK;
    }
    text->data = arena_copy(&store->arena, text->data, text->bytes);
    return text->data == NULL ? error_set(err, STATUS_OOM, "out of memory") : STATUS_OK;
}

/* ---- groups ---------------------------------------------------------------------------------- */

static enum status mark(struct store *store, const struct view_group *group, struct error *err)
{
    if (store->marked_count == store->marked_room) {
        const size_t room = store->marked_room == 0 ? 256 : store->marked_room * 2;
        struct view_group *more = realloc(store->marked, room * sizeof *more);
        if (more == NULL) {
            return error_set(err, STATUS_OOM, "out of memory");
        }
        store->marked = more;
        store->marked_room = room;
    }
    store->marked[store->marked_count++] = *group;
    return STATUS_OK;
}

enum status transaction_mark_all(struct store *store, struct slice domain, int64_t at_ms,
                                 struct slice task_type, struct slice solution_hash,
                                 struct error *err)
{
    const struct slice none = {"", 0};
    const struct slice type = task_type.data == NULL ? none : task_type;

    TRY(mark(store, &(struct view_group){VIEW_TIER, domain, type, at_ms / VIEWS_DAY_MS}, err));
    TRY(mark(store, &(struct view_group){VIEW_POOL, domain, none, at_ms / VIEWS_HOUR_MS}, err));
    return solution_hash.data == NULL
               ? STATUS_OK
               : mark(store, &(struct view_group){VIEW_SOLUTION, domain, solution_hash, 0}, err);
}

/* ---- the end --------------------------------------------------------------------------------- */

/* Each who writes has a row of the sums, mostly, so that none waits for another's commit. */
static enum status write_counts(struct store *store, struct error *err)
{
    const struct value with[] = {value_integer(database_place(store->database)),
                                 value_integer(store->added),
                                 value_integer(store->added_incomplete)};

    return store->added == 0 && store->added_incomplete == 0
               ? STATUS_OK
               : database_do(store->database,
                             "INSERT INTO counts (id, executions, incomplete) VALUES ($1, $2, $3)"
                             " ON CONFLICT (id) DO UPDATE SET"
                             " executions = counts.executions + excluded.executions,"
                             " incomplete = counts.incomplete + excluded.incomplete",
                             with, 3, NULL, err);
}

enum status transaction_end(struct store *store, enum status status, struct error *err)
{
    if (status == STATUS_OK) {
        status = views_mark_all(store->database, store->marked, store->marked_count,
                                clock_unix_ms(), err);
    }
    if (status == STATUS_OK) {
        status = write_counts(store, err);
    }
    if (status == STATUS_OK) {
        status = database_commit(store->database, err);
    }
    if (status != STATUS_OK) {
        database_rollback(store->database);
        return status;
    }
    return database_check(store->database, err);
}
