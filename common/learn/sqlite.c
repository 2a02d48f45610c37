/* sqlite.c - learn/database.h on a file of SQLite.
 *
 * Happy path: the library is loaded once (http/curl.h says why), the file is opened in WAL mode
 * with synchronous=FULL: a commit that has returned is on the disk. Statements are kept prepared.
 * Failure modes: each code of the library becomes one status, in `status_of`; the words are the
 * library's with the path in front. A file that was deleted or replaced under the process is found
 * by its inode: the library itself would write on into the file that nobody sees any more.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "learn/database.h"

#define SQLITE_CALLS(CALL)                                                                         \
    CALL(bind_blob64)                                                                              \
    CALL(bind_double)                                                                              \
    CALL(bind_int64)                                                                               \
    CALL(bind_null)                                                                                \
    CALL(bind_parameter_count)                                                                     \
    CALL(bind_parameter_name)                                                                      \
    CALL(bind_text64)                                                                              \
    CALL(busy_timeout)                                                                             \
    CALL(changes64)                                                                                \
    CALL(clear_bindings)                                                                           \
    CALL(close)                                                                                    \
    CALL(column_blob)                                                                              \
    CALL(column_bytes)                                                                             \
    CALL(column_double)                                                                            \
    CALL(column_int64)                                                                             \
    CALL(column_type)                                                                              \
    CALL(errmsg)                                                                                   \
    CALL(exec)                                                                                     \
    CALL(extended_errcode)                                                                         \
    CALL(finalize)                                                                                 \
    CALL(get_autocommit)                                                                           \
    CALL(libversion)                                                                               \
    CALL(libversion_number)                                                                        \
    CALL(open_v2)                                                                                  \
    CALL(prepare_v3)                                                                               \
    CALL(reset)                                                                                    \
    CALL(step)                                                                                     \
    CALL(system_errno)

struct sqlite {
#define SQLITE_MEMBER(name) __typeof__(sqlite3_##name) *name;
    SQLITE_CALLS(SQLITE_MEMBER)
#undef SQLITE_MEMBER
};

enum {
    OLDEST_VERSION = 3038000, /* 3.38, of which Debian 12 has 3.40 */
    BUSY_MS = 2000,
    STATEMENTS_MAX = 96,
    PARAMETERS_MAX = 64,
};

struct statement {
    const char *sql; /* by its address */
    sqlite3_stmt *prepared;
    int place[PARAMETERS_MAX]; /* of $1, $2 ...: where the library counts it */
    size_t parameters;
    bool is_busy;
};

struct database {
    const struct sqlite *calls;
    sqlite3 *handle;
    char *path;
    dev_t device;
    ino_t inode;
    struct statement statements[STATEMENTS_MAX];
    size_t count;
};

/* ---- the library ----------------------------------------------------------------------------- */

static enum status find_calls(struct sqlite *sqlite, struct error *err)
{
    static const struct {
        const char *name;
        size_t offset;
    } calls[] = {
#define ROW(name) {"sqlite3_" #name, offsetof(struct sqlite, name)},
        SQLITE_CALLS(ROW)
#undef ROW
    };
    void *library = dlopen("libsqlite3.so.0", RTLD_NOW | RTLD_LOCAL);

    if (library == NULL) {
        return error_set(err, STATUS_FAILED, "a learning store needs libsqlite3 3.38 or later: %s",
                         dlerror());
    }
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        void *call = dlsym(library, calls[i].name);
        if (call == NULL) {
            return error_set(err, STATUS_FAILED, "libsqlite3 lacks %s: %s", calls[i].name,
                             dlerror());
        }
        *(void **)((char *)sqlite + calls[i].offset) = call;
    }
    if (sqlite->libversion_number() < OLDEST_VERSION) {
        return error_set(err, STATUS_FAILED, "libsqlite3 is %s, expected 3.38 or later",
                         sqlite->libversion());
    }
    return STATUS_OK;
}

static const struct sqlite *sqlite_load(struct error *err)
{
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    static struct sqlite sqlite;
    static bool loaded;

    pthread_mutex_lock(&lock);
    loaded = loaded || find_calls(&sqlite, err) == STATUS_OK;
    const struct sqlite *found = loaded ? &sqlite : NULL;
    pthread_mutex_unlock(&lock);
    return found;
}

/* ---- failures -------------------------------------------------------------------------------- */

static enum status status_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return STATUS_UNAVAILABLE;
    case SQLITE_NOMEM:
        return STATUS_OOM;
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return STATUS_GARBLED;
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
        return STATUS_INVALID;
    default: /* READONLY, FULL, IOERR, CANTOPEN, PERM, AUTH, SCHEMA, ERROR ... */
        return code == SQLITE_READONLY_DBMOVED ? STATUS_UNAVAILABLE : STATUS_FAILED;
    }
}

/* What the library said last, of this file. */
static enum status failed(const struct database *database, struct error *err)
{
    const struct sqlite *calls = database->calls;
    const int code = calls->extended_errcode(database->handle);
    const int why = calls->system_errno(database->handle);
    const bool is_of_system = (code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN;

    return error_set(err, status_of(code), "\"%s\": %s%s%s", database->path,
                     calls->errmsg(database->handle), is_of_system && why != 0 ? ": " : "",
                     is_of_system && why != 0 ? strerror(why) : "");
}

/* ---- open and close -------------------------------------------------------------------------- */

static enum status set_up(struct database *database, enum database_mode mode, struct error *err)
{
    struct stat at;

    database->calls->busy_timeout(database->handle, BUSY_MS);
    if (mode == DATABASE_READ) {
        TRY(database_run(database, "PRAGMA cache_size = -8000", err));
    } else { /* auto_vacuum counts only before the first table: a file that shrinks again */
        TRY(database_run(database,
                         "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;"
                         "PRAGMA synchronous = FULL; PRAGMA cache_size = -32000;"
                         "PRAGMA journal_size_limit = 67108864",
                         err));
    }
    /* Names the file as no database, if it is none, before anything else is asked of it. */
    TRY(database_run(database, "SELECT 1 FROM sqlite_master LIMIT 1", err));
    if (stat(database->path, &at) != 0) {
        return error_set(err, STATUS_UNAVAILABLE, "\"%s\": %s", database->path, strerror(errno));
    }
    database->device = at.st_dev;
    database->inode = at.st_ino;
    return STATUS_OK;
}

enum status database_open(const char *path, enum database_mode mode, struct database **out,
                          struct error *err)
{
    static const int flags[] = {
        [DATABASE_READ] = SQLITE_OPEN_READONLY,
        [DATABASE_WRITE] = SQLITE_OPEN_READWRITE,
        [DATABASE_MAKE] = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
    };
    const struct sqlite *calls = sqlite_load(err);
    struct stat at;

    *out = NULL;
    if (calls == NULL) {
        return STATUS_FAILED;
    }
    if (mode != DATABASE_MAKE && stat(path, &at) != 0 && errno == ENOENT) {
        return error_set(err, STATUS_NOT_FOUND, "\"%s\" does not exist", path);
    }
    struct database *database = calloc(1, sizeof *database);
    if (database == NULL || (database->path = strdup(path)) == NULL) {
        free(database);
        return error_set(err, STATUS_OOM, "out of memory");
    }
    database->calls = calls;
    const int code = calls->open_v2(
        path, &database->handle, flags[mode] | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    const enum status status =
        code != SQLITE_OK ? failed(database, err) : set_up(database, mode, err);
    if (status != STATUS_OK) {
        database_close(database);
        return status;
    }
    *out = database;
    return STATUS_OK;
}

void database_close(struct database *database)
{
    if (database == NULL) {
        return;
    }
    for (size_t i = 0; i < database->count; i++) {
        database->calls->finalize(database->statements[i].prepared);
    }
    database->calls->close(database->handle);
    free(database->path);
    free(database);
}

enum status database_check_file(const struct database *database, struct error *err)
{
    struct stat at;

    if (stat(database->path, &at) != 0) {
        return error_set(err, STATUS_UNAVAILABLE, "\"%s\" was deleted or moved: %s", database->path,
                         strerror(errno));
    }
    if (at.st_dev != database->device || at.st_ino != database->inode) {
        return error_set(err, STATUS_UNAVAILABLE,
                         "\"%s\" was deleted or replaced: it is another file than the one that "
                         "was opened",
                         database->path);
    }
    return STATUS_OK;
}

/* ---- statements ------------------------------------------------------------------------------ */

enum status database_run(struct database *database, const char *sql, struct error *err)
{
    return database->calls->exec(database->handle, sql, NULL, NULL, NULL) == SQLITE_OK
               ? STATUS_OK
               : failed(database, err);
}

/* "$7" may be the first that stands in the text: the library counts from there, we by name. */
static enum status note_places(const struct sqlite *calls, struct statement *statement,
                               struct error *err)
{
    const int count = calls->bind_parameter_count(statement->prepared);

    statement->parameters = (size_t)count;
    for (int i = 1; i <= count; i++) {
        const char *name = calls->bind_parameter_name(statement->prepared, i);
        const long number = name != NULL && name[0] == '$' ? strtol(name + 1, NULL, 10) : 0;
        if (number < 1 || number > count || number > PARAMETERS_MAX) {
            return error_set(err, STATUS_FAILED, "parameter %d of \"%.60s...\" is no $1..$%d", i,
                             statement->sql, count);
        }
        statement->place[number - 1] = i;
    }
    return STATUS_OK;
}

static enum status prepare(struct database *database, const char *sql, struct statement **out,
                           struct error *err)
{
    for (size_t i = 0; i < database->count; i++) {
        if (database->statements[i].sql == sql) {
            *out = &database->statements[i];
            return STATUS_OK;
        }
    }
    if (database->count == STATEMENTS_MAX) {
        return error_set(err, STATUS_FAILED, "more than %d statements", STATEMENTS_MAX);
    }
    struct statement *statement = &database->statements[database->count];
    *statement = (struct statement){.sql = sql};
    if (database->calls->prepare_v3(database->handle, sql, -1, SQLITE_PREPARE_PERSISTENT,
                                    &statement->prepared, NULL) != SQLITE_OK) {
        return failed(database, err);
    }
    const enum status status = note_places(database->calls, statement, err);
    if (status != STATUS_OK) {
        database->calls->finalize(statement->prepared);
        return status;
    }
    database->count++;
    *out = statement;
    return STATUS_OK;
}

/* The bytes outlive the statement's run, so they are not copied. */
static int bind(const struct sqlite *calls, const struct statement *statement, size_t i,
                const struct value *value)
{
    const int place = statement->place[i];

    switch (value->type) {
    case VALUE_INTEGER:
        return calls->bind_int64(statement->prepared, place, value->integer);
    case VALUE_NUMBER:
        return calls->bind_double(statement->prepared, place, value->number);
    case VALUE_TEXT:
        return calls->bind_text64(statement->prepared, place, value->text.data, value->text.bytes,
                                  SQLITE_STATIC, SQLITE_UTF8);
    case VALUE_BYTES:
        return calls->bind_blob64(statement->prepared, place, value->text.data, value->text.bytes,
                                  SQLITE_STATIC);
    case VALUE_NULL:
        break;
    }
    return calls->bind_null(statement->prepared, place);
}

static void let_go(struct database *database, struct statement *statement)
{
    database->calls->reset(statement->prepared);
    database->calls->clear_bindings(statement->prepared);
    statement->is_busy = false;
}

enum status database_ask(struct database *database, const char *sql, const struct value *with,
                         size_t count, struct rows *rows, struct error *err)
{
    struct statement *statement = NULL;

    TRY(prepare(database, sql, &statement, err));
    if (statement->is_busy || statement->parameters != count) {
        return error_set(err, STATUS_FAILED, "\"%.60s...\" is %s", sql,
                         statement->is_busy ? "being asked already" : "asked with too few or many");
    }
    for (size_t i = 0; i < count; i++) {
        if (bind(database->calls, statement, i, &with[i]) != SQLITE_OK) {
            const enum status status = failed(database, err);
            let_go(database, statement);
            return status;
        }
    }
    statement->is_busy = true;
    *rows = (struct rows){database, statement, STATUS_OK};
    return STATUS_OK;
}

enum rows_step rows_next(struct rows *rows, struct error *err)
{
    const int code = rows->database->calls->step(rows->statement->prepared);

    if (code == SQLITE_ROW) {
        return ROWS_ONE;
    }
    rows->status = code == SQLITE_DONE ? STATUS_OK : failed(rows->database, err);
    return ROWS_END;
}

struct value rows_value(const struct rows *rows, int column)
{
    const struct sqlite *calls = rows->database->calls;
    sqlite3_stmt *prepared = rows->statement->prepared;

    switch (calls->column_type(prepared, column)) {
    case SQLITE_INTEGER:
        return value_integer(calls->column_int64(prepared, column));
    case SQLITE_FLOAT:
        return value_number(calls->column_double(prepared, column));
    case SQLITE_NULL:
        return value_null();
    default:
        break;
    }
    const bool is_text = calls->column_type(prepared, column) == SQLITE_TEXT;
    const void *bytes = calls->column_blob(prepared, column);
    const struct slice found = {bytes == NULL ? "" : bytes,
                                (size_t)calls->column_bytes(prepared, column)};
    return is_text ? value_text(found) : value_bytes(found);
}

enum status rows_end(struct rows *rows)
{
    let_go(rows->database, rows->statement);
    return rows->status;
}

enum status database_do(struct database *database, const char *sql, const struct value *with,
                        size_t count, int64_t *changed, struct error *err)
{
    struct rows rows;

    TRY(database_ask(database, sql, with, count, &rows, err));
    while (rows_next(&rows, err) == ROWS_ONE) {
    }
    if (changed != NULL) {
        *changed = database->calls->changes64(database->handle);
    }
    return rows_end(&rows);
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

/* ---- transactions ---------------------------------------------------------------------------- */

enum status database_begin(struct database *database, struct error *err)
{
    return database_do(database, "BEGIN IMMEDIATE", NULL, 0, NULL, err);
}

enum status database_commit(struct database *database, struct error *err)
{
    return database_do(database, "COMMIT", NULL, 0, NULL, err);
}

/* A full disk or a lack of memory may have done it already. */
void database_rollback(struct database *database)
{
    struct error nobody = {0};

    if (database->calls->get_autocommit(database->handle) == 0) {
        (void)!database_do(database, "ROLLBACK", NULL, 0, NULL, &nobody);
    }
}

enum status database_bytes(struct database *database, int64_t *bytes, int64_t *used,
                           struct error *err)
{
    struct value size;
    struct value pages;
    struct value empty;

    TRY(database_find(database, "PRAGMA page_size", NULL, 0, &size, err));
    TRY(database_find(database, "PRAGMA page_count", NULL, 0, &pages, err));
    TRY(database_find(database, "PRAGMA freelist_count", NULL, 0, &empty, err));
    *bytes = pages.integer * size.integer;
    *used = (pages.integer - empty.integer) * size.integer;
    return STATUS_OK;
}
