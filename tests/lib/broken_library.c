/* See broken_library.h. */
#include "broken_library.h"

#include <errno.h>
#include <libpq-fe.h>
#include <poll.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

const char *broken_call;
int broken_after;
size_t broken_seen;

const char *const broken_sqlite[] = {
    "sqlite3_open_v2",     "sqlite3_prepare_v3", "sqlite3_bind_int64", "sqlite3_bind_text64",
    "sqlite3_bind_blob64", "sqlite3_step",       "sqlite3_exec",       NULL};
const char *const broken_postgres[] = {"PQconnectdbParams",
                                       "PQsendQuery",
                                       "PQsendPrepare",
                                       "PQsendDescribePrepared",
                                       "PQsendQueryPrepared",
                                       "PQenterPipelineMode",
                                       "PQpipelineSync",
                                       "PQexitPipelineMode",
                                       "PQflush",
                                       "PQconsumeInput",
                                       "PQcopyResult",
                                       "PQsetvalue",
                                       "poll",
                                       "silence",
                                       NULL};

static bool fails(const char *call)
{
    if (broken_call == NULL || strcmp(call, broken_call) != 0) {
        return false;
    }
    broken_seen++;
    return broken_after > 0 && --broken_after == 0;
}

#define BROKEN(result, name, parameters, arguments, failure)                                       \
    static __typeof__(name) *real_##name;                                                          \
    static result broken_##name parameters                                                         \
    {                                                                                              \
        return fails(#name) ? (failure) : real_##name arguments;                                   \
    }

/* ---- libsqlite3 ------------------------------------------------------------------------------ */

static bool has_no_memory; /* the last that failed was made to */

static int no_memory(void)
{
    has_no_memory = true;
    return SQLITE_NOMEM;
}

static __typeof__(sqlite3_open_v2) *real_sqlite3_open_v2;
static int broken_sqlite3_open_v2(const char *path, sqlite3 **out, int flags, const char *vfs)
{
    if (fails("sqlite3_open_v2")) {
        *out = NULL;
        return no_memory();
    }
    return real_sqlite3_open_v2(path, out, flags, vfs);
}

static __typeof__(sqlite3_exec) *real_sqlite3_exec;
static int broken_sqlite3_exec(sqlite3 *handle, const char *sql,
                               int (*row)(void *, int, char **, char **), void *context,
                               char **error)
{
    return strcmp(sql, "ROLLBACK") != 0 && fails("sqlite3_exec")
               ? no_memory()
               : real_sqlite3_exec(handle, sql, row, context, error);
}

BROKEN(int, sqlite3_prepare_v3,
       (sqlite3 * handle, const char *sql, int bytes, unsigned flags, sqlite3_stmt **out,
        const char **tail),
       (handle, sql, bytes, flags, out, tail), no_memory())
BROKEN(int, sqlite3_bind_int64, (sqlite3_stmt * statement, int place, sqlite3_int64 number),
       (statement, place, number), no_memory())
BROKEN(int, sqlite3_bind_text64,
       (sqlite3_stmt * statement, int place, const char *text, sqlite3_uint64 bytes,
        void (*ends)(void *), unsigned char encoding),
       (statement, place, text, bytes, ends, encoding), no_memory())
BROKEN(int, sqlite3_bind_blob64,
       (sqlite3_stmt * statement, int place, const void *data, sqlite3_uint64 bytes,
        void (*ends)(void *)),
       (statement, place, data, bytes, ends), no_memory())
BROKEN(int, sqlite3_step, (sqlite3_stmt * statement), (statement), no_memory())
BROKEN(int, sqlite3_libversion_number, (void), (), 3037002)

static __typeof__(sqlite3_extended_errcode) *real_sqlite3_extended_errcode;
static int broken_sqlite3_extended_errcode(sqlite3 *handle)
{
    const int code = has_no_memory ? SQLITE_NOMEM : real_sqlite3_extended_errcode(handle);

    has_no_memory = false;
    return code;
}

/* ---- libpq ----------------------------------------------------------------------------------- */

BROKEN(PGconn *, PQconnectdbParams,
       (const char *const *keywords, const char *const *values, int expand),
       (keywords, values, expand), NULL)
BROKEN(int, PQsendQuery, (PGconn * conn, const char *sql), (conn, sql), 0)
BROKEN(int, PQsendPrepare,
       (PGconn * conn, const char *name, const char *sql, int count, const Oid *types),
       (conn, name, sql, count, types), 0)
BROKEN(int, PQsendDescribePrepared, (PGconn * conn, const char *name), (conn, name), 0)
BROKEN(int, PQsendQueryPrepared,
       (PGconn * conn, const char *name, int count, const char *const *values, const int *lengths,
        const int *formats, int format),
       (conn, name, count, values, lengths, formats, format), 0)
BROKEN(int, PQenterPipelineMode, (PGconn * conn), (conn), 0)
BROKEN(int, PQpipelineSync, (PGconn * conn), (conn), 0)
BROKEN(int, PQexitPipelineMode, (PGconn * conn), (conn), 0)
BROKEN(int, PQflush, (PGconn * conn), (conn), -1)
BROKEN(int, PQconsumeInput, (PGconn * conn), (conn), 0)
BROKEN(PGresult *, PQcopyResult, (const PGresult *result, int flags), (result, flags), NULL)
BROKEN(int, PQsetvalue, (PGresult * result, int row, int column, char *text, int bytes),
       (result, row, column, text, bytes), 0)

/* ---- the table ------------------------------------------------------------------------------- */

void *__real_dlsym(void *library, const char *name);
void *__wrap_dlsym(void *library, const char *name);
int __real_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms);
int64_t __real_clock_now_ms(void);
int64_t __wrap_clock_now_ms(void);

/* AddressSanitizer asks for its own calls before it is ready to look at ours: of those it is told
 * at once. */
__attribute__((no_sanitize("address", "undefined"))) void *__wrap_dlsym(void *library,
                                                                        const char *name)
{
#define ROW(name)                                                                                  \
    {                                                                                              \
#name, (void *)broken_##name, (void **)&real_##name                                        \
    }
    static const struct {
        const char *name;
        void *broken;
        void **real;
    } calls[] = {
        ROW(sqlite3_open_v2),
        ROW(sqlite3_exec),
        ROW(sqlite3_prepare_v3),
        ROW(sqlite3_bind_int64),
        ROW(sqlite3_bind_text64),
        ROW(sqlite3_bind_blob64),
        ROW(sqlite3_step),
        ROW(sqlite3_libversion_number),
        ROW(PQconnectdbParams),
        ROW(PQsendQuery),
        ROW(PQsendPrepare),
        ROW(PQsendDescribePrepared),
        ROW(PQsendQueryPrepared),
        ROW(PQenterPipelineMode),
        ROW(PQpipelineSync),
        ROW(PQexitPipelineMode),
        ROW(PQflush),
        ROW(PQconsumeInput),
        ROW(PQcopyResult),
        ROW(PQsetvalue),
        ROW(sqlite3_extended_errcode),
    };
#undef ROW
    const bool is_ours = (name[0] == 'P' && name[1] == 'Q') || (name[0] == 's' && name[1] == 'q');
    void *real = __real_dlsym(library, name);

    for (size_t i = 0; is_ours && real != NULL && i < sizeof calls / sizeof calls[0]; i++) {
        if (strcmp(name, calls[i].name) == 0) {
            *calls[i].real = real;
            return calls[i].broken;
        }
    }
    return real;
}

/* ---- the system ------------------------------------------------------------------------------ */

static int64_t later_ms;

int __wrap_poll(struct pollfd *fds, nfds_t count, int timeout_ms)
{
    if (fails("poll")) {
        errno = EIO;
        return -1;
    }
    if (fails("silence")) {
        later_ms += timeout_ms;
        return 0;
    }
    return __real_poll(fds, count, timeout_ms);
}

int64_t __wrap_clock_now_ms(void)
{
    return __real_clock_now_ms() + later_ms;
}
