/* See learn/database.h. What the drivers (driver.h) have in common. */
#include "learn/database.h"

#include "base/clock.h"
#include "learn/driver.h"

void database_close(struct database *database)
{
    if (database != NULL) {
        database->driver->close(database);
    }
}

const char *database_name(const struct database *database)
{
    return database->driver->name(database);
}

enum status database_check(struct database *database, struct error *err)
{
    return database->driver->check(database, err);
}

enum status database_limit(struct database *database, int64_t limit_ms, struct error *err)
{
    return database->driver->limit(database, limit_ms, err);
}

enum status database_now(struct database *database, int64_t *unix_ms, struct error *err)
{
    struct value now = {.integer = clock_unix_ms()};

    if (database->driver->now != NULL) {
        TRY(database_find(database, database->driver->now, NULL, 0, &now, err));
    }
    *unix_ms = now.integer;
    return STATUS_OK;
}

/* ---- statements ------------------------------------------------------------------------------ */

enum status database_run(struct database *database, const char *sql, struct error *err)
{
    return database->driver->run(database, sql, err);
}

enum status database_ask(struct database *database, const char *sql, const struct value *with,
                         size_t count, struct rows *rows, struct error *err)
{
    *rows = (struct rows){.database = database};
    return database->driver->ask(database, sql, with, count, rows, err);
}

enum rows_step rows_next(struct rows *rows, struct error *err)
{
    return rows->database->driver->next(rows, err);
}

struct value rows_value(const struct rows *rows, int column)
{
    return rows->database->driver->value(rows, column);
}

enum status rows_end(struct rows *rows)
{
    return rows->database->driver->end(rows, NULL);
}

enum status database_do(struct database *database, const char *sql, const struct value *with,
                        size_t count, int64_t *changed, struct error *err)
{
    struct rows rows;

    TRY(database_ask(database, sql, with, count, &rows, err));
    while (rows_next(&rows, err) == ROWS_ONE) {
    }
    return database->driver->end(&rows, changed);
}

enum status database_find(struct database *database, const char *sql, const struct value *with,
                          size_t count, struct value *found, struct error *err)
{
    struct rows rows;

    TRY(database_ask(database, sql, with, count, &rows, err));
    *found = rows_next(&rows, err) == ROWS_ONE ? rows_value(&rows, 0) : value_null();
    found->text = (struct slice){NULL, 0};
    return rows_end(&rows);
}

static enum status do_set(struct database *database, const struct many *many, size_t set,
                          int64_t *changed, struct error *err)
{
    struct rows rows;
    enum status status = STATUS_OK;

    TRY(database_ask(database, many->sql, many->with + set * many->count, many->count, &rows, err));
    while (status == STATUS_OK && rows_next(&rows, err) == ROWS_ONE) {
        status = many->take == NULL ? STATUS_OK : many->take(many->context, set, &rows, err);
    }
    const enum status ended = database->driver->end(&rows, changed);
    return status != STATUS_OK ? status : ended;
}

enum status database_many(struct database *database, const struct many *many, int64_t *changed,
                          struct error *err)
{
    int64_t sum = 0;

    if (database->driver->many != NULL) {
        return database->driver->many(database, many, changed, err);
    }
    for (size_t set = 0; set < many->sets; set++) {
        int64_t of_set = 0;
        TRY(do_set(database, many, set, &of_set, err));
        sum += of_set;
    }
    if (changed != NULL) {
        *changed = sum;
    }
    return STATUS_OK;
}

/* ---- transactions ---------------------------------------------------------------------------- */

enum status database_begin(struct database *database, struct error *err)
{
    return database_do(database, database->driver->begin, NULL, 0, NULL, err);
}

enum status database_begin_read(struct database *database, struct error *err)
{
    return database_do(database, database->driver->begin_read, NULL, 0, NULL, err);
}

enum status database_commit(struct database *database, struct error *err)
{
    return database_do(database, "COMMIT", NULL, 0, NULL, err);
}

void database_rollback(struct database *database)
{
    database->driver->rollback(database);
}

bool database_was_crossed(const struct database *database)
{
    return database->driver->was_crossed != NULL && database->driver->was_crossed(database);
}

enum status database_lock(struct database *database, int64_t key, enum database_lock how,
                          struct error *err)
{
    return database->driver->lock == NULL ? STATUS_OK
                                          : database->driver->lock(database, key, how, err);
}

enum status database_try_locks(struct database *database, const int64_t *keys, size_t count,
                               bool *got, struct error *err)
{
    for (size_t i = 0; i < count; i++) {
        got[i] = true;
    }
    return database->driver->try_locks == NULL
               ? STATUS_OK
               : database->driver->try_locks(database, keys, count, got, err);
}

int database_place(const struct database *database)
{
    return database->driver->place == NULL ? 1 : database->driver->place(database);
}

/* ---- the whole ------------------------------------------------------------------------------- */

enum status database_tables(struct database *database, int64_t *tables, bool *has_meta,
                            struct error *err)
{
    return database->driver->tables(database, tables, has_meta, err);
}

enum status database_bytes(struct database *database, int64_t *bytes, int64_t *used,
                           struct error *err)
{
    return database->driver->bytes(database, bytes, used, err);
}

enum status database_verify(struct database *database, struct error *err)
{
    return database->driver->verify(database, err);
}

enum status database_shrink(struct database *database, struct error *err)
{
    return database->driver->shrink(database, err);
}

enum status database_copy(struct database *database, const char *to, struct error *err)
{
    return database->driver->copy(database, to, err);
}

enum status database_keep(struct database *database, int version, bool is_trial,
                          char kept[DATABASE_KEPT_BYTES], struct error *err)
{
    return database->driver->keep(database, version, is_trial, kept, err);
}
