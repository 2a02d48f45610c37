/* See learn/store.h: a store is opened, its views are kept, it is copied and put back. What goes
 * into it is in put.c, what is deleted in removal.c, how it is checked in check.c.
 */
#include "learn/store.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "learn/internal.h"

enum { LEFT_WAIT_MS = 20 };

/* ---- open and close -------------------------------------------------------------------------- */

static enum status open_database(struct store *store, const char *path, enum store_mode mode,
                                 struct error *err)
{
    static const enum database_mode modes[] = {
        [STORE_READ] = DATABASE_READ,
        [STORE_WRITE] = DATABASE_MAKE,
        [STORE_CHANGE] = DATABASE_WRITE,
    };
    size_t version = 0;

    if (mode == STORE_WRITE) {
        TRY(database_own(path, &store->lock, err));
    }
    TRY(database_open(path, modes[mode], &store->database, err));
    enum status status = schema_version(store->database, &schema_steps, &version, err);
    if (status == STATUS_OK && mode == STORE_WRITE) {
        status = schema_migrate(store->database, &schema_steps, schema_steps.count, err);
    }
    if (status != STATUS_OK) { /* what the database says names the file already */
        return status == STATUS_INVALID ? error_wrap(err, "\"%s\"", database_name(store->database))
                                        : status;
    }
    if (mode == STORE_WRITE) {
        TRY(schema_note_writer(store->database, err));
    }
    if (mode != STORE_WRITE && version != schema_steps.count) {
        return error_set(err, STATUS_INVALID,
                         "\"%s\": the learning store has version %zu, expected %zu: its recorder "
                         "brings it there, or `stillhouse learn migrate`",
                         database_name(store->database), version, schema_steps.count);
    }
    return schema_store_id(store->database, store->id, err);
}

enum status store_open(const char *where, enum store_mode mode, struct store **out,
                       struct error *err)
{
    struct store *store = calloc(1, sizeof *store);

    *out = NULL;
    if (store == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    store->lock = -1;
    const enum status status = put_prepare(store) ? open_database(store, where, mode, err)
                                                  : error_set(err, STATUS_OOM, "out of memory");
    if (status != STATUS_OK) {
        store_close(store);
        if (status != STATUS_GARBLED) {
            return status;
        }
        if (err != NULL) {
            err->status = STATUS_INVALID; /* what is no database is no store of ours */
        }
        return STATUS_INVALID;
    }
    *out = store;
    return STATUS_OK;
}

void store_close(struct store *store)
{
    if (store == NULL) {
        return;
    }
    database_close(store->database);
    for (size_t i = 0; i < TABLES; i++) {
        strbuf_free(&store->tables[i].find);
        strbuf_free(&store->tables[i].insert);
        strbuf_free(&store->tables[i].update);
        strbuf_free(&store->tables[i].list);
    }
    arena_free(&store->arena);
    free(store->marked);
    database_disown(store->lock);
    free(store);
}

const char *store_id(const struct store *store)
{
    return store->id;
}

struct database *store_database(struct store *store)
{
    return store->database;
}

/* ---- refresh --------------------------------------------------------------------------------- */

_Static_assert((int)STORE_REFRESH_MAX <= (int)VIEWS_AT_ONCE, "a slice is computed at once");

/* Reads groups into the arena: view, domain, name, bucket. */
static enum status list_groups(struct store *store, const char *sql, struct value with,
                               struct view_group *groups, size_t *count, struct error *err)
{
    struct rows rows;
    enum status status = STATUS_OK;

    *count = 0;
    TRY(database_ask(store->database, sql, &with, 1, &rows, err));
    while (status == STATUS_OK && *count < STORE_REFRESH_MAX && rows_next(&rows, err) == ROWS_ONE) {
        struct view_group *group = &groups[(*count)++];
        *group =
            (struct view_group){views_find(rows_value(&rows, 0).text), rows_value(&rows, 1).text,
                                rows_value(&rows, 2).text, rows_value(&rows, 3).integer};
        status = transaction_keep(store, &group->domain, err);
        status = status == STATUS_OK ? transaction_keep(store, &group->name, err) : status;
    }
    const enum status ended = rows_end(&rows);
    return ended != STATUS_OK ? ended : status;
}

enum status store_refresh(struct store *store, int64_t now_unix_ms, size_t groups, size_t *left,
                          struct error *err)
{
    struct view_group list[STORE_REFRESH_MAX];
    const size_t most = groups < STORE_REFRESH_MAX ? groups : STORE_REFRESH_MAX;
    struct value count;
    size_t found = 0;
    const int64_t window_ms = now_unix_ms - (int64_t)VIEWS_SOLUTION_DAYS * VIEWS_DAY_MS;

    *left = 0;
    TRY(transaction_begin(store, err));
    enum status status = list_groups(
        store, "SELECT 'solution', domain, hash, 0 FROM solutions WHERE first_ms < $1 LIMIT 64",
        value_integer(window_ms), list, &found, err);
    if (status == STATUS_OK) {
        status = views_mark_all(store->database, list, found, now_unix_ms, err);
    }
    if (status == STATUS_OK) {
        status = list_groups(store,
                             "SELECT view, domain, name, bucket FROM dirty ORDER BY since_ms"
                             " LIMIT $1 /*+ FOR UPDATE SKIP LOCKED */",
                             value_integer((int64_t)most), list, &found, err);
    }
    if (status == STATUS_OK) {
        found = views_sort(list, found);
        status = views_compute(store->database, list, found, now_unix_ms, err);
    }
    if (status == STATUS_OK) {
        status = database_find(store->database, "SELECT count(*) FROM dirty", NULL, 0, &count, err);
        *left = status == STATUS_OK ? (size_t)count.integer : 0;
    }
    status = transaction_end(store, status, err);
    if (found == 0 && *left > 0) { /* others have them in hand */
        clock_sleep_ms(LEFT_WAIT_MS);
    }
    return status;
}

/* ---- the whole file -------------------------------------------------------------------------- */

enum status store_look(struct store *store, struct store_state *state, struct error *err)
{
    struct value found;

    *state = (struct store_state){.version = (int)schema_steps.count};
    TRY(database_check(store->database, err));
    TRY(database_find(store->database, "SELECT sum(executions) FROM counts", NULL, 0, &found, err));
    state->executions = found.integer;
    TRY(database_find(store->database, "SELECT sum(incomplete) FROM counts", NULL, 0, &found, err));
    state->incomplete = found.integer;
    TRY(database_find(store->database,
                      "SELECT count(*) FROM (SELECT DISTINCT view, domain, name,"
                      " bucket FROM dirty) AS groups",
                      NULL, 0, &found, err));
    state->dirty_groups = found.integer;
    TRY(database_find(store->database, "SELECT min(since_ms) FROM dirty", NULL, 0, &found, err));
    state->oldest_dirty_ms = found.integer;
    return database_bytes(store->database, &state->bytes, NULL, err);
}

enum status store_backup(struct store *store, const char *to, struct error *err)
{
    return database_copy(store->database, to, err);
}

/* ---- a place whose store nobody has open ----------------------------------------------------- */

static enum status migrate(struct database *database, struct store_migration *migration,
                           struct error *err)
{
    const int newest = (int)schema_steps.count;
    size_t version = 0;

    TRY(schema_version(database, &schema_steps, &version, err));
    migration->from = (int)version;
    migration->to = migration->to == 0 ? newest : migration->to;
    if (migration->to < 1 || migration->to > newest) {
        return error_set(err, STATUS_INVALID, "version %d: expected 1 to %d", migration->to,
                         newest);
    }
    if (migration->to < migration->from) { /* what a version knows is lost with it */
        TRY(database_keep(database, migration->from, migration->is_trial, migration->copy, err));
    }
    return migration->is_trial
               ? STATUS_OK
               : schema_migrate(database, &schema_steps, (size_t)migration->to, err);
}

enum status store_migrate(const char *where, struct store_migration *migration, struct error *err)
{
    struct database *database = NULL;
    int lock = -1;

    migration->copy[0] = '\0';
    TRY(database_open(where, migration->is_trial ? DATABASE_READ : DATABASE_WRITE, &database, err));
    enum status status = migration->is_trial ? STATUS_OK : database_own(where, &lock, err);
    if (status == STATUS_OK) {
        status = migrate(database, migration, err);
    }
    database_close(database);
    database_disown(lock);
    return status;
}

/* INVALID: a database of something else, or of a newer program. One that is damaged is ours to
 * replace: that is what copies are for. */
static enum status check_standing(const char *where, struct error *err)
{
    struct database *standing = NULL;
    size_t version = 0;

    enum status status = database_open(where, DATABASE_WRITE, &standing, err);
    if (status == STATUS_OK) {
        status = schema_version(standing, &schema_steps, &version, err);
    }
    database_close(standing); /* the last to close it takes the log away */
    return status == STATUS_GARBLED || status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* A whole file in the same folder: it takes the place in one step. One of an older version goes up
 * when its recorder opens it. */
static enum status fetch(const char *from, const char *to, struct error *err)
{
    struct database *copy = NULL;
    size_t version = 0;

    TRY(database_open(from, DATABASE_READ, &copy, err));
    enum status status = schema_version(copy, &schema_steps, &version, err);
    if (status == STATUS_OK && version == 0) {
        status = error_set(err, STATUS_INVALID, "the file is empty");
    }
    if (status == STATUS_OK) {
        status = database_verify(copy, err);
    }
    if (status == STATUS_OK) {
        unlink(to);
        status = database_copy(copy, to, err);
    }
    database_close(copy);
    return status == STATUS_OK ? STATUS_OK : error_wrap(err, "\"%s\"", from);
}

enum status store_restore(const char *where, const char *from, struct error *err)
{
    char place[PATH_MAX];
    char name[PATH_MAX + 16];
    int lock = -1;

    if (database_is_shared(where)) {
        return database_replace(where, from, err);
    }
    if (realpath(where, place) == NULL) { /* a link stays, and what it names is replaced */
        snprintf(place, sizeof place, "%s", where);
    }
    snprintf(name, sizeof name, "%s.restoring", place);
    enum status status = database_own(where, &lock, err);
    if (status == STATUS_OK) {
        status = check_standing(where, err);
    }
    if (status == STATUS_OK) {
        status = fetch(from, name, err);
        status = status == STATUS_OK ? database_replace(place, name, err) : status;
        unlink(name);
    }
    database_disown(lock);
    return status;
}
