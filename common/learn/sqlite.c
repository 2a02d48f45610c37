/* sqlite.c - learn/driver.h on a file of SQLite.
 *
 * Happy path: the library is loaded once (base/library.h says why), the file is opened in WAL mode
 * with synchronous=FULL: a commit that has returned is on the disk. Statements are kept prepared.
 * Failure modes: each code of the library becomes one status, in `status_of`; the words are the
 * library's with the path in front. A file that was deleted or replaced under the process, or its
 * log, is found by its inode: the library itself would write on into the file that nobody sees any
 * more.
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/library.h"
#include "learn/driver.h"

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
    CALL(db_filename)                                                                              \
    CALL(errmsg)                                                                                   \
    CALL(exec)                                                                                     \
    CALL(extended_errcode)                                                                         \
    CALL(filename_wal)                                                                             \
    CALL(finalize)                                                                                 \
    CALL(get_autocommit)                                                                           \
    CALL(libversion)                                                                               \
    CALL(libversion_number)                                                                        \
    CALL(open_v2)                                                                                  \
    CALL(prepare_v3)                                                                               \
    CALL(progress_handler)                                                                         \
    CALL(reset)                                                                                    \
    CALL(step)                                                                                     \
    CALL(system_errno)

struct sqlite {
#define SQLITE_MEMBER(name) __typeof__(sqlite3_##name) *name;
    SQLITE_CALLS(SQLITE_MEMBER)
#undef SQLITE_MEMBER
};

enum {
    PATH_BYTES = PATH_MAX + 32, /* with what stands behind it for a log that is kept */
    OLDEST_VERSION = 3038000,   /* 3.38, of which Debian 12 has 3.40 */
    BUSY_MS = 2000,
    STATEMENTS_MAX = 96,
    PARAMETERS_MAX = 64,
    STEPS_A_LOOK = 1000, /* of the library's machine, some 10 us, between looks at the clock */
};

struct statement {
    const char *sql; /* by its address */
    sqlite3_stmt *prepared;
    int place[PARAMETERS_MAX]; /* of $1, $2 ...: where the library counts it */
    size_t parameters;
    bool is_busy;
};

struct file {
    struct database base;
    sqlite3 *handle;
    char *path;
    dev_t device;
    ino_t inode, log_inode; /* of the log beside it; 0: not known yet */
    struct statement statements[STATEMENTS_MAX];
    size_t count;
    int64_t limit_ms; /* of a statement; 0 = none */
    int64_t until_ms; /* of the one that was asked last */
};

/* ---- the library ----------------------------------------------------------------------------- */

static struct sqlite sqlite;

static enum status check_version(struct error *err)
{
    return sqlite.libversion_number() >= OLDEST_VERSION
               ? STATUS_OK
               : error_set(err, STATUS_FAILED, "libsqlite3 is %s, expected 3.38 or later",
                           sqlite.libversion());
}

static enum status load(struct error *err)
{
    static const struct library_call calls[] = {
#define ROW(name) {"sqlite3_" #name, offsetof(struct sqlite, name)},
        SQLITE_CALLS(ROW)
#undef ROW
    };
    static struct library library = {
        .need = "a learning store needs libsqlite3 3.38 or later",
        .names = {"libsqlite3.so.0"},
        .calls = calls,
        .count = sizeof calls / sizeof calls[0],
        .table = &sqlite,
        .start = check_version,
        .lock = PTHREAD_MUTEX_INITIALIZER,
    };

    return library_load(&library, err);
}

/* ---- failures -------------------------------------------------------------------------------- */

static enum status status_of(int code)
{
    switch (code & 0xff) {
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
    case SQLITE_PROTOCOL:
        return STATUS_UNAVAILABLE;
    case SQLITE_INTERRUPT:
        return STATUS_TIMEOUT;
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
static enum status failed(const struct file *file, struct error *err)
{
    const int code = sqlite.extended_errcode(file->handle);
    const int why = sqlite.system_errno(file->handle);
    const bool is_of_system = (code & 0xff) == SQLITE_IOERR || (code & 0xff) == SQLITE_CANTOPEN;

    return error_set(err, status_of(code), "\"%s\": %s%s%s", file->path,
                     sqlite.errmsg(file->handle), is_of_system && why != 0 ? ": " : "",
                     is_of_system && why != 0 ? strerror(why) : "");
}

static struct file *file_of(struct database *database)
{
    return (struct file *)database;
}

static const char *name_of(const struct database *database)
{
    return ((const struct file *)database)->path;
}

/* ---- open and close -------------------------------------------------------------------------- */

/* The lock's file stays: to delete it would let two in. It says who holds it, and stands beside the
 * file, whichever link to it is given. */
static enum status own(const char *path, int *lock, struct error *err)
{
    char name[PATH_BYTES + sizeof ".lock"];
    char place[PATH_BYTES];
    char who[64] = "";

    if (realpath(path, place) == NULL && snprintf(place, sizeof place, "%s", path) >= PATH_BYTES) {
        return error_set(err, STATUS_INVALID, "the path of the learning store is too long");
    }
    snprintf(name, sizeof name, "%s.lock", place);
    const int opened = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (opened < 0) {
        return error_set(err, STATUS_FAILED, "\"%s\": %s", name, strerror(errno));
    }
    if (flock(opened, LOCK_EX | LOCK_NB) != 0) {
        const ssize_t got = pread(opened, who, sizeof who - 1, 0);
        who[got > 0 ? strcspn(who, "\n") : 0] = '\0';
        close(opened);
        return error_set(err, STATUS_UNAVAILABLE, "\"%s\" is being written by process %s", path,
                         who[0] == '\0' ? "?" : who);
    }
    const int bytes = snprintf(who, sizeof who, "%ld\n", (long)getpid());
    if (ftruncate(opened, 0) != 0 || pwrite(opened, who, (size_t)bytes, 0) != bytes) {
        const int why = errno;
        close(opened);
        return error_set(err, STATUS_FAILED, "\"%s\": %s", name, strerror(why));
    }
    *lock = opened;
    return STATUS_OK;
}

static enum status run(struct database *database, const char *sql, struct error *err)
{
    struct file *file = file_of(database);

    file->until_ms = INT64_MAX;
    return sqlite.exec(file->handle, sql, NULL, NULL, NULL) == SQLITE_OK ? STATUS_OK
                                                                         : failed(file, err);
}

/* What another program made is not changed, not even before it is refused. */
static enum status may_change(struct file *file, bool *may, struct error *err)
{
    static const char sql[] =
        "SELECT (SELECT count(*) FROM sqlite_master) = 0 OR (SELECT count(*) FROM sqlite_master"
        " WHERE name IN ('meta', 'executions_key')) = 2";
    struct value found;

    TRY(database_find(&file->base, sql, NULL, 0, &found, err));
    *may = found.integer != 0;
    return STATUS_OK;
}

static enum status set_up(struct file *file, enum database_mode mode, struct error *err)
{
    bool may = false;
    struct stat at;

    sqlite.busy_timeout(file->handle, BUSY_MS);
    /* Names the file as no database, if it is none, before anything else is asked of it. */
    TRY(may_change(file, &may, err));
    if (mode == DATABASE_READ) {
        TRY(run(&file->base, "PRAGMA cache_size = -8000", err));
    } else if (may) {
        /* auto_vacuum counts only before the first table: a file that shrinks again. */
        TRY(run(&file->base,
                "PRAGMA auto_vacuum = INCREMENTAL; PRAGMA journal_mode = WAL;"
                "PRAGMA synchronous = FULL; PRAGMA cache_size = -32000;"
                "PRAGMA journal_size_limit = 67108864",
                err));
    }
    if (stat(file->path, &at) != 0) {
        return error_set(err, STATUS_UNAVAILABLE, "\"%s\": %s", file->path, strerror(errno));
    }
    file->device = at.st_dev;
    file->inode = at.st_ino;
    return STATUS_OK;
}

/* Then the library leaves the log where it is, and whoever opens what stands at the path now would
 * have it written over that. */
static bool is_moved(const struct file *file)
{
    struct stat at;

    return file->inode != 0 &&
           (stat(file->path, &at) != 0 || at.st_dev != file->device || at.st_ino != file->inode);
}

static void close_file(struct database *database)
{
    struct file *file = file_of(database);

    for (size_t i = 0; i < file->count; i++) {
        sqlite.finalize(file->statements[i].prepared);
    }
    if (is_moved(file)) {
        (void)sqlite.exec(file->handle, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
    }
    sqlite.close(file->handle);
    free(file->path);
    free(file);
}

static enum status open_file(const char *path, enum database_mode mode, struct database **out,
                             struct error *err)
{
    static const int flags[] = {
        [DATABASE_READ] = SQLITE_OPEN_READONLY,
        [DATABASE_WRITE] = SQLITE_OPEN_READWRITE,
        [DATABASE_MAKE] = SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
    };
    struct stat at;

    TRY(load(err));
    const bool stands = stat(path, &at) == 0;
    if (mode != DATABASE_MAKE && !stands && errno == ENOENT) {
        return error_set(err, STATUS_NOT_FOUND, "\"%s\" does not exist", path);
    }
    /* The log stands beside one name: by another name the file would get a second one. */
    if (mode != DATABASE_READ && stands && S_ISREG(at.st_mode) && at.st_nlink > 1) {
        return error_set(err, STATUS_UNAVAILABLE, "\"%s\" has %ju names (hard links), expected one",
                         path, (uintmax_t)at.st_nlink);
    }
    /* The library would open it to be read, and make a log that nobody may write to later on. */
    if (mode != DATABASE_READ && access(path, W_OK) != 0 && errno != ENOENT) {
        return error_set(err, STATUS_FAILED, "\"%s\" may not be written: %s", path,
                         strerror(errno));
    }
    struct file *file = calloc(1, sizeof *file);
    if (file == NULL || (file->path = strdup(path)) == NULL) {
        free(file);
        return error_set(err, STATUS_OOM, "out of memory");
    }
    file->base.driver = &driver_sqlite;
    const int code = sqlite.open_v2(
        path, &file->handle, flags[mode] | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL);
    const enum status status = code != SQLITE_OK ? failed(file, err) : set_up(file, mode, err);
    if (status != STATUS_OK) {
        close_file(&file->base);
        return status;
    }
    *out = &file->base;
    return STATUS_OK;
}

/* What stands in a log that nobody will see again goes into the file before it is too late. */
static enum status check_log(struct file *file, struct error *err)
{
    const char *name = sqlite.filename_wal(sqlite.db_filename(file->handle, "main"));
    struct stat at;

    const ino_t inode = stat(name, &at) == 0 ? at.st_ino : 0;
    if (file->log_inode == 0) {
        file->log_inode = inode;
    }
    if (inode == file->log_inode) {
        return STATUS_OK;
    }
    (void)sqlite.exec(file->handle, "PRAGMA wal_checkpoint(FULL)", NULL, NULL, NULL);
    return error_set(err, STATUS_UNAVAILABLE, "\"%s\" was deleted or replaced", name);
}

static enum status check(struct database *database, struct error *err)
{
    struct file *file = file_of(database);
    struct stat at;

    if (stat(file->path, &at) != 0) {
        return error_set(err, STATUS_UNAVAILABLE, "\"%s\" was deleted or moved: %s", file->path,
                         strerror(errno));
    }
    if (at.st_dev != file->device || at.st_ino != file->inode) {
        return error_set(err, STATUS_UNAVAILABLE,
                         "\"%s\" was deleted or replaced: it is another file than the one that "
                         "was opened",
                         file->path);
    }
    return check_log(file, err);
}

/* Of the library: whether to end the statement. */
static int is_over(void *context)
{
    const struct file *file = context;

    return clock_now_ms() > file->until_ms;
}

static enum status limit(struct database *database, int64_t limit_ms, struct error *err)
{
    struct file *file = file_of(database);
    (void)err;

    file->limit_ms = limit_ms;
    file->until_ms = INT64_MAX;
    sqlite.progress_handler(file->handle, limit_ms > 0 ? STEPS_A_LOOK : 0, is_over, file);
    return STATUS_OK;
}

/* ---- statements ------------------------------------------------------------------------------ */

/* "$7" may be the first that stands in the text: the library counts from there, we by name. */
static enum status note_places(struct statement *statement, struct error *err)
{
    const int count = sqlite.bind_parameter_count(statement->prepared);

    statement->parameters = (size_t)count;
    for (int i = 1; i <= count; i++) {
        const char *name = sqlite.bind_parameter_name(statement->prepared, i);
        const long number = name != NULL && name[0] == '$' ? strtol(name + 1, NULL, 10) : 0;
        if (number < 1 || number > count || number > PARAMETERS_MAX) {
            return error_set(err, STATUS_FAILED, "parameter %d of \"%.60s...\" is no $1..$%d", i,
                             statement->sql, count);
        }
        statement->place[number - 1] = i;
    }
    return STATUS_OK;
}

static enum status prepare(struct file *file, const char *sql, struct statement **out,
                           struct error *err)
{
    for (size_t i = 0; i < file->count; i++) {
        if (file->statements[i].sql == sql) {
            *out = &file->statements[i];
            return STATUS_OK;
        }
    }
    if (file->count == STATEMENTS_MAX) {
        return error_set(err, STATUS_FAILED, "more than %d statements", STATEMENTS_MAX);
    }
    struct statement *statement = &file->statements[file->count];
    *statement = (struct statement){.sql = sql};
    if (sqlite.prepare_v3(file->handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement->prepared,
                          NULL) != SQLITE_OK) {
        return failed(file, err);
    }
    const enum status status = note_places(statement, err);
    if (status != STATUS_OK) {
        sqlite.finalize(statement->prepared);
        return status;
    }
    file->count++;
    *out = statement;
    return STATUS_OK;
}

/* The bytes outlive the statement's run, so they are not copied. */
static int bind(const struct statement *statement, size_t i, const struct value *value)
{
    const int place = statement->place[i];

    switch (value->type) {
    case VALUE_INTEGER:
        return sqlite.bind_int64(statement->prepared, place, value->integer);
    case VALUE_NUMBER:
        return sqlite.bind_double(statement->prepared, place, value->number);
    case VALUE_TEXT:
        return sqlite.bind_text64(statement->prepared, place, value->text.data, value->text.bytes,
                                  SQLITE_STATIC, SQLITE_UTF8);
    case VALUE_BYTES:
        return sqlite.bind_blob64(statement->prepared, place, value->text.data, value->text.bytes,
                                  SQLITE_STATIC);
    case VALUE_NULL:
        break;
    }
    return sqlite.bind_null(statement->prepared, place);
}

static void let_go(struct statement *statement)
{
    sqlite.reset(statement->prepared);
    sqlite.clear_bindings(statement->prepared);
    statement->is_busy = false;
}

static enum status ask(struct database *database, const char *sql, const struct value *with,
                       size_t count, struct rows *rows, struct error *err)
{
    struct file *file = file_of(database);
    struct statement *statement = NULL;

    file->until_ms = file->limit_ms > 0 ? clock_now_ms() + file->limit_ms : INT64_MAX;
    TRY(prepare(file, sql, &statement, err));
    if (statement->is_busy || statement->parameters != count) {
        return error_set(err, STATUS_FAILED, "\"%.60s...\" is %s", sql,
                         statement->is_busy ? "being asked already" : "asked with too few or many");
    }
    for (size_t i = 0; i < count; i++) {
        if (bind(statement, i, &with[i]) != SQLITE_OK) {
            const enum status status = failed(file, err);
            let_go(statement);
            return status;
        }
    }
    statement->is_busy = true;
    rows->statement = statement;
    return STATUS_OK;
}

static enum rows_step next(struct rows *rows, struct error *err)
{
    const int code = sqlite.step(rows->statement->prepared);

    if (code == SQLITE_ROW) {
        return ROWS_ONE;
    }
    rows->status = code == SQLITE_DONE ? STATUS_OK : failed(file_of(rows->database), err);
    return ROWS_END;
}

static struct value value(const struct rows *rows, int column)
{
    sqlite3_stmt *prepared = rows->statement->prepared;

    switch (sqlite.column_type(prepared, column)) {
    case SQLITE_INTEGER:
        return value_integer(sqlite.column_int64(prepared, column));
    case SQLITE_FLOAT:
        return value_number(sqlite.column_double(prepared, column));
    case SQLITE_NULL:
        return value_null();
    default:
        break;
    }
    const bool is_text = sqlite.column_type(prepared, column) == SQLITE_TEXT;
    const void *bytes = sqlite.column_blob(prepared, column);
    const struct slice found = {bytes == NULL ? "" : bytes,
                                (size_t)sqlite.column_bytes(prepared, column)};
    return is_text ? value_text(found) : value_bytes(found);
}

static enum status end(struct rows *rows, int64_t *changed)
{
    if (changed != NULL) {
        *changed = sqlite.changes64(file_of(rows->database)->handle);
    }
    let_go(rows->statement);
    return rows->status;
}

/* A full disk or a lack of memory may have done it already. */
static void rollback(struct database *database)
{
    struct error nobody = {0};

    if (sqlite.get_autocommit(file_of(database)->handle) == 0) {
        (void)!run(database, "ROLLBACK", &nobody);
    }
}

/* ---- the whole file -------------------------------------------------------------------------- */

static enum status tables(struct database *database, int64_t *count, bool *has_meta,
                          struct error *err)
{
    struct value found;

    TRY(database_find(database, "SELECT count(*) FROM sqlite_master", NULL, 0, &found, err));
    *count = found.integer;
    TRY(database_find(database, "SELECT count(*) FROM sqlite_master WHERE name = 'meta'", NULL, 0,
                      &found, err));
    *has_meta = found.integer > 0;
    return STATUS_OK;
}

static enum status bytes(struct database *database, int64_t *all, int64_t *used, struct error *err)
{
    struct value size;
    struct value pages;
    struct value empty;

    TRY(database_find(database, "PRAGMA page_size", NULL, 0, &size, err));
    TRY(database_find(database, "PRAGMA page_count", NULL, 0, &pages, err));
    TRY(database_find(database, "PRAGMA freelist_count", NULL, 0, &empty, err));
    *all = pages.integer * size.integer;
    if (used != NULL) {
        *used = (pages.integer - empty.integer) * size.integer;
    }
    return STATUS_OK;
}

static enum status verify(struct database *database, struct error *err)
{
    struct rows rows;
    enum status status = STATUS_OK;

    TRY(database_ask(database, "PRAGMA integrity_check(1)", NULL, 0, &rows, err));
    if (rows_next(&rows, err) == ROWS_ONE) {
        const struct slice said = rows_value(&rows, 0).text;
        if (!slice_equal(said, slice_of("ok"))) {
            status = error_set(err, STATUS_INVALID, "the learning store is damaged: %.*s",
                               (int)(said.bytes < 200 ? said.bytes : 200), said.data);
        }
    }
    const enum status ended = rows_end(&rows);
    return ended != STATUS_OK ? ended : status;
}

static enum status shrink(struct database *database, struct error *err)
{
    return run(database, "PRAGMA incremental_vacuum(2000)", err);
}

/* ---- one file in the place of another -------------------------------------------------------- */

static enum status failed_at(const char *path, struct error *err)
{
    return error_set(err, STATUS_FAILED, "\"%s\": %s", path, strerror(errno));
}

static enum status sync_path(const char *path, struct error *err)
{
    const int fd = open(path, O_RDONLY | O_CLOEXEC);

    const bool is_synced = fd >= 0 && fsync(fd) == 0;
    const enum status status = is_synced ? STATUS_OK : failed_at(path, err);
    if (fd >= 0) {
        close(fd);
    }
    return status;
}

static enum status move_file(const char *from, const char *to, struct error *err)
{
    return rename(from, to) == 0 ? STATUS_OK : failed_at(from, err);
}

/* A log that stays beside another file would be read as that one's. Who still reads the old file
 * reads on. After a crash in between, the same again does the rest. */
static enum status put_aside(const char *path, struct error *err)
{
    static const char *const parts[] = {"", "-wal", "-shm"};
    const bool stands = access(path, F_OK) == 0;
    char from[PATH_BYTES];
    char to[PATH_BYTES];

    for (size_t i = 0; stands && i < sizeof parts / sizeof parts[0]; i++) {
        snprintf(to, sizeof to, "%s.before-restore%s", path, parts[i]);
        if (unlink(to) != 0 && errno != ENOENT) {
            return failed_at(to, err);
        }
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        snprintf(from, sizeof from, "%s%s", path, parts[i]);
        snprintf(to, sizeof to, "%s.before-restore%s", path, parts[i]);
        if (access(from, F_OK) == 0) {
            TRY(move_file(from, to, err));
        }
    }
    return STATUS_OK;
}

/* A synced file, in one step that is synced too. */
static enum status move_in(const char *from, const char *to, struct error *err)
{
    char folder[PATH_BYTES];

    TRY(move_file(from, to, err));
    snprintf(folder, sizeof folder, "%s", to);
    return sync_path(dirname(folder), err);
}

static enum status replace(const char *path, const char *with, struct error *err)
{
    TRY(sync_path(with, err));
    TRY(put_aside(path, err));
    return move_in(with, path, err);
}

/* ---- copies ---------------------------------------------------------------------------------- */

/* Whether the file that was made is still the one of that name. */
static bool is_still(int fd, const char *path)
{
    struct stat made;
    struct stat there;

    return fstat(fd, &made) == 0 && stat(path, &there) == 0 && made.st_dev == there.st_dev &&
           made.st_ino == there.st_ino && made.st_size > 0;
}

/* Under the name that it is to have there is never a part of one. What somebody who was killed left
 * of another is taken away. */
static enum status copy(struct database *database, const char *to, struct error *err)
{
    char part[PATH_BYTES];

    snprintf(part, sizeof part, "%s.part", to);
    if (access(to, F_OK) == 0) {
        return error_set(err, STATUS_FAILED, "\"%s\": a file is there already", to);
    }
    if (to[0] == '\0' || strcmp(to, ":memory:") == 0) { /* nobody could open it by that name */
        return error_set(err, STATUS_INVALID, "\"%s\": expected the path of a file", to);
    }
    unlink(part);
    const int fd = open(part, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (fd < 0) {
        return error_set(err, STATUS_INVALID, "\"%s\": expected the path of a file: %s", to,
                         strerror(errno));
    }
    const struct value with = value_str(part);
    enum status status = database_do(database, "VACUUM INTO $1", &with, 1, NULL, err);
    if (status == STATUS_OK && !is_still(fd, part)) {
        status = error_set(err, STATUS_FAILED, "\"%s\": another copy is being made there", to);
    }
    status = status == STATUS_OK ? sync_path(part, err) : status;
    status = status == STATUS_OK ? move_in(part, to, err) : status;
    if (status != STATUS_OK) {
        unlink(part);
    }
    close(fd);
    return status;
}

static enum status keep(struct database *database, int version, bool is_trial,
                        char kept[DATABASE_KEPT_BYTES], struct error *err)
{
    if (snprintf(kept, DATABASE_KEPT_BYTES, "%s.version-%d", file_of(database)->path, version) >=
        DATABASE_KEPT_BYTES) {
        return error_set(err, STATUS_INVALID, "the path of the learning store is too long");
    }
    return is_trial ? STATUS_OK : copy(database, kept, err);
}

const struct driver driver_sqlite = {
    .own = own,
    .open = open_file,
    .close = close_file,
    .name = name_of,
    .check = check,
    .limit = limit,
    .run = run,
    .ask = ask,
    .next = next,
    .value = value,
    .end = end,
    .begin = "BEGIN IMMEDIATE",
    .begin_read = "BEGIN",
    .rollback = rollback,
    .tables = tables,
    .bytes = bytes,
    .verify = verify,
    .shrink = shrink,
    .copy = copy,
    .keep = keep,
    .replace = replace,
};
