/* postgres.c - learn/driver.h on a database of a server of PostgreSQL.
 *
 * Happy path: the library is loaded once (base/library.h says why). All that is ours stands in the
 * schema `stillhouse`. SQL is translated (words.h) and prepared once a connection; values go and
 * come in binary (wire.h). A statement's rows come one by one, and what is left of them is read
 * into memory if another statement is asked meanwhile. Many sets of values go in one pipeline.
 * Failure modes: every wait for the server ends, also where it neither answers nor breaks off; a
 * connection that failed stays so, and its owner opens another. Each SQLSTATE becomes one status,
 * in `status_of`. A password is in no text of ours: the server is named by user, host, port and
 * database, and what the library says of a URL that it cannot read is not told.
 */
#include <errno.h>
#include <inttypes.h>
#include <libpq-fe.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/library.h"
#include "base/text.h"
#include "learn/driver.h"
#include "learn/wire.h"
#include "learn/words.h"

#define PQ_CALLS(CALL)                                                                             \
    CALL(PQclear)                                                                                  \
    CALL(PQcmdStatus)                                                                              \
    CALL(PQcmdTuples)                                                                              \
    CALL(PQconnectdbParams)                                                                        \
    CALL(PQconninfoFree)                                                                           \
    CALL(PQconninfoParse)                                                                          \
    CALL(PQconsumeInput)                                                                           \
    CALL(PQcopyResult)                                                                             \
    CALL(PQenterPipelineMode)                                                                      \
    CALL(PQerrorMessage)                                                                           \
    CALL(PQexitPipelineMode)                                                                       \
    CALL(PQfinish)                                                                                 \
    CALL(PQflush)                                                                                  \
    CALL(PQfreemem)                                                                                \
    CALL(PQftype)                                                                                  \
    CALL(PQgetisnull)                                                                              \
    CALL(PQgetlength)                                                                              \
    CALL(PQgetResult)                                                                              \
    CALL(PQgetvalue)                                                                               \
    CALL(PQisBusy)                                                                                 \
    CALL(PQnfields)                                                                                \
    CALL(PQnparams)                                                                                \
    CALL(PQntuples)                                                                                \
    CALL(PQparameterStatus)                                                                        \
    CALL(PQparamtype)                                                                              \
    CALL(PQpipelineSync)                                                                           \
    CALL(PQresultErrorField)                                                                       \
    CALL(PQresultStatus)                                                                           \
    CALL(PQsendDescribePrepared)                                                                   \
    CALL(PQsendPrepare)                                                                            \
    CALL(PQsendQuery)                                                                              \
    CALL(PQsendQueryPrepared)                                                                      \
    CALL(PQserverVersion)                                                                          \
    CALL(PQsetnonblocking)                                                                         \
    CALL(PQsetvalue)                                                                               \
    CALL(PQsetSingleRowMode)                                                                       \
    CALL(PQsocket)                                                                                 \
    CALL(PQstatus)                                                                                 \
    CALL(PQtransactionStatus)

static struct libpq {
#define PQ_MEMBER(name) __typeof__(name) *name;
    PQ_CALLS(PQ_MEMBER)
#undef PQ_MEMBER
} pq;

enum {
    OLDEST_SERVER = 130000,
    WRITE_LIMIT_MS = 30000, /* a statement's, which the server keeps */
    READ_LIMIT_MS = 600000,
    ANSWER_MS = 60000, /* what is waited for one answer, or for the next row, at least */
    KEEP_MS = 3600000,
    STATEMENTS_MAX = 128,
    PARAMETERS_MAX = 64,
    AT_ONCE = 256, /* sets of a pipeline */
    MARK_BYTES = 12,
};

/* Advisory locks are of the whole database, which others may use too. */
#define LOCK_SPACE INT64_C(0x7374696c6c000000)
#define LOCK_TEXT "8319390326049472512"

struct statement {
    const char *sql; /* by its address */
    char name[MARK_BYTES + 12];
    unsigned types[PARAMETERS_MAX];
    size_t parameters;
    bool is_busy;

    /* While it is. */
    PGresult *rows;    /* the one that is read, or all that are kept */
    int at;            /* which of them */
    PGresult *kept;    /* rows that were read ahead of their being asked for */
    enum status ended; /* what the server said behind the last row, */
    struct error error;
    int64_t changed;
};

struct server {
    struct database base;
    PGconn *conn;
    char name[600];              /* as it may be shown */
    char mark[MARK_BYTES + 1];   /* hex digits that no other connection has */
    struct statement *streaming; /* whose rows are still to come; NULL: none's */
    bool is_broken;              /* nothing more is to be had of the connection */
    bool was_crossed;
    int64_t limit_ms;  /* of a statement, where nobody has set another */
    int64_t answer_ms; /* what is waited for one answer, or for the next row */
    size_t count;
    struct statement statements[STATEMENTS_MAX];
    struct wire_value wire[PARAMETERS_MAX];
};

static struct server *server_of(struct database *database)
{
    return (struct server *)database;
}

static const char *name_of(const struct database *database)
{
    return ((const struct server *)database)->name;
}

/* ---- failures -------------------------------------------------------------------------------- */

static const struct {
    const char *begin; /* of an SQLSTATE; the first that fits counts */
    enum status status;
    bool is_crossed;
} states[] = {
    {"40001", STATUS_UNAVAILABLE, true},  /* serialization_failure */
    {"40P01", STATUS_UNAVAILABLE, true},  /* deadlock_detected */
    {"55P03", STATUS_UNAVAILABLE, false}, /* lock_not_available */
    {"55006", STATUS_UNAVAILABLE, false}, /* object_in_use */
    {"57014", STATUS_TIMEOUT, false},     /* query_canceled */
    {"57P04", STATUS_FAILED, false},      /* database_dropped */
    {"57", STATUS_UNAVAILABLE, false},    /* admin_shutdown, crash_shutdown, cannot_connect_now */
    {"53300", STATUS_UNAVAILABLE, false}, /* too_many_connections */
    {"53200", STATUS_UNAVAILABLE, false}, /* the server's out_of_memory */
    {"25P03", STATUS_UNREACHABLE, false}, /* idle_in_transaction_session_timeout */
    {"08", STATUS_UNREACHABLE, false},    /* connection exceptions */
    {"22", STATUS_INVALID, false},        /* data exceptions */
    {"23", STATUS_INVALID, false},        /* integrity constraints */
    {"54000", STATUS_INVALID, false},     /* too large for an index */
    {"XX001", STATUS_GARBLED, false},     /* data_corrupted */
    {"XX002", STATUS_GARBLED, false},     /* index_corrupted */
    {"", STATUS_FAILED, false},           /* disk_full, read_only, privileges, syntax ... */
};

#define NO_SUCH_STATEMENT "26000" /* invalid_sql_statement_name */

/* The library's words for a connection, in one line. */
static enum status lost(struct server *server, struct error *err)
{
    char text[ERROR_TEXT_BYTES];
    size_t used = 0;

    server->is_broken = true;
    for (const char *from = pq.PQerrorMessage(server->conn); *from != '\0'; from++) {
        const bool is_space = *from == '\n' || *from == '\t' || *from == ' ';
        const bool is_wanted = !is_space || (from[1] != '\0' && used > 0 && text[used - 1] != ' ');
        if (used + 1 < sizeof text && is_wanted) {
            text[used++] = is_space ? ' ' : *from;
        }
    }
    text[used] = '\0';
    return error_set(err, STATUS_UNREACHABLE, "\"%s\": %s", server->name,
                     used == 0 ? "the connection is lost" : text);
}

static enum status failed(struct server *server, const PGresult *result, struct error *err)
{
    const char *state = pq.PQresultErrorField(result, PG_DIAG_SQLSTATE);
    const char *text = pq.PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
    size_t i = 0;

    if (state == NULL || text == NULL) {
        return lost(server, err);
    }
    while (strncmp(state, states[i].begin, strlen(states[i].begin)) != 0) {
        i++;
    }
    server->was_crossed = server->was_crossed || states[i].is_crossed;
    return error_set(err, states[i].status, "\"%s\": %s (%s)%s", server->name, text, state,
                     strcmp(state, NO_SUCH_STATEMENT) != 0
                         ? ""
                         : ": a pooler in between must keep a connection for a whole session");
}

/* ---- one answer after another ---------------------------------------------------------------- */

/* Sends what is still to be sent, and returns when an answer is whole. */
static enum status await(struct server *server, struct error *err)
{
    const int64_t until_ms = clock_now_ms() + server->answer_ms;
    int unsent = pq.PQflush(server->conn);

    while (unsent >= 0 && (unsent > 0 || pq.PQisBusy(server->conn))) {
        struct pollfd wait = {.fd = pq.PQsocket(server->conn),
                              .events = (short)(POLLIN | (unsent > 0 ? POLLOUT : 0))};
        const int64_t left_ms = until_ms - clock_now_ms();
        if (left_ms <= 0) {
            server->is_broken = true;
            return error_set(err, STATUS_UNREACHABLE, "\"%s\" has not answered for %" PRId64 " s",
                             server->name, server->answer_ms / 1000);
        }
        if (poll(&wait, 1, (int)left_ms) < 0 && errno != EINTR) {
            return lost(server, err);
        }
        if ((wait.revents & ~POLLOUT) != 0 && pq.PQconsumeInput(server->conn) == 0) {
            return lost(server, err);
        }
        unsent = pq.PQflush(server->conn);
        if (unsent > 0 && !pq.PQisBusy(server->conn)) {
            break; /* an answer is here already: it makes room */
        }
    }
    return unsent < 0 ? lost(server, err) : STATUS_OK;
}

/* *result: NULL behind the last of a statement. */
static enum status take(struct server *server, PGresult **result, struct error *err)
{
    *result = NULL;
    TRY(await(server, err));
    *result = pq.PQgetResult(server->conn);
    return STATUS_OK;
}

/* The last result of a statement without rows, or what it failed with; until nothing more comes. */
static enum status finish(struct server *server, PGresult **last, struct error *err)
{
    PGresult *result = NULL;
    enum status status = STATUS_OK;

    *last = NULL;
    do {
        TRY(take(server, &result, err));
        if (result == NULL) {
            break;
        }
        const ExecStatusType said = pq.PQresultStatus(result);
        if (said == PGRES_FATAL_ERROR || said == PGRES_BAD_RESPONSE) {
            status = status == STATUS_OK ? failed(server, result, err) : status;
        }
        pq.PQclear(*last);
        *last = result;
    } while (true);
    return status == STATUS_OK && *last == NULL ? lost(server, err) : status;
}

static enum status finish_and_forget(struct server *server, struct error *err)
{
    PGresult *last = NULL;

    const enum status status = finish(server, &last, err);
    pq.PQclear(last);
    return status;
}

/* ---- rows ------------------------------------------------------------------------------------ */

static void note_changed(struct statement *statement, const PGresult *result)
{
    PGresult *counted = (PGresult *)(uintptr_t)result; /* it is only read */

    statement->changed = strtoll(pq.PQcmdTuples(counted), NULL, 10);
    if (strcmp(statement->sql, "COMMIT") == 0 && strcmp(pq.PQcmdStatus(counted), "ROLLBACK") == 0) {
        statement->ended = error_set(&statement->error, STATUS_FAILED,
                                     "the transaction failed before and was rolled back");
    }
}

/* The next row of the statement that streams; NULL: it does so no more, and says how it ended. */
static PGresult *receive(struct server *server)
{
    struct statement *statement = server->streaming;
    PGresult *result = NULL;

    while (true) {
        const enum status status = take(server, &result, &statement->error);
        if (status != STATUS_OK) {
            statement->ended = status;
            break;
        }
        if (result == NULL) {
            break;
        }
        const ExecStatusType said = pq.PQresultStatus(result);
        if (said == PGRES_SINGLE_TUPLE) {
            return result;
        }
        if (said == PGRES_TUPLES_OK || said == PGRES_COMMAND_OK) {
            note_changed(statement, result);
        } else if (statement->ended == STATUS_OK) {
            statement->ended = failed(server, result, &statement->error);
        }
        pq.PQclear(result);
    }
    server->streaming = NULL;
    return NULL;
}

static enum status check(struct database *database, struct error *err)
{
    struct server *server = server_of(database);

    return server->is_broken
               ? error_set(err, STATUS_UNREACHABLE, "\"%s\": the connection is lost", server->name)
               : STATUS_OK;
}

static bool keep_row(struct statement *statement, const PGresult *row)
{
    if (statement->kept == NULL) {
        statement->kept = pq.PQcopyResult(row, PG_COPYRES_ATTRS);
    }
    const int at = statement->kept == NULL ? 0 : pq.PQntuples(statement->kept);
    for (int i = 0; statement->kept != NULL && i < pq.PQnfields(row); i++) {
        const bool is_null = pq.PQgetisnull(row, 0, i) != 0;
        if (pq.PQsetvalue(statement->kept, at, i, is_null ? NULL : pq.PQgetvalue(row, 0, i),
                          is_null ? -1 : pq.PQgetlength(row, 0, i)) == 0) {
            return false;
        }
    }
    return statement->kept != NULL;
}

/* The connection is free for another statement: what is still to come of the last is kept. */
static enum status gather(struct server *server, struct error *err)
{
    struct statement *statement = server->streaming;
    bool is_kept = true;

    TRY(check(&server->base, err));
    while (server->streaming != NULL) {
        PGresult *row = receive(server);
        is_kept = is_kept && (row == NULL || keep_row(statement, row));
        pq.PQclear(row);
    }
    return is_kept ? STATUS_OK : error_set(err, STATUS_OOM, "out of memory");
}

static enum rows_step next(struct rows *rows, struct error *err)
{
    struct server *server = server_of(rows->database);
    struct statement *statement = rows->statement;

    if (statement->rows != NULL && ++statement->at < pq.PQntuples(statement->rows)) {
        return ROWS_ONE;
    }
    pq.PQclear(statement->rows);
    statement->at = 0;
    statement->rows = statement->kept;
    statement->kept = NULL;
    if (statement->rows == NULL && server->streaming == statement) {
        statement->rows = receive(server);
    }
    if (statement->rows != NULL) {
        return ROWS_ONE;
    }
    rows->status = statement->ended;
    if (rows->status != STATUS_OK && err != NULL) {
        *err = statement->error;
    }
    return ROWS_END;
}

static struct value value(const struct rows *rows, int column)
{
    const PGresult *from = rows->statement->rows;
    const int at = rows->statement->at;

    return pq.PQgetisnull(from, at, column) != 0
               ? value_null()
               : wire_read(pq.PQftype(from, column), pq.PQgetvalue(from, at, column),
                           (size_t)pq.PQgetlength(from, at, column));
}

static void drop_rows(struct statement *statement)
{
    pq.PQclear(statement->rows);
    pq.PQclear(statement->kept);
    statement->rows = statement->kept = NULL;
    statement->at = 0;
}

/* What nobody asked for is read and dropped. */
static enum status end(struct rows *rows, int64_t *changed)
{
    struct server *server = server_of(rows->database);
    struct statement *statement = rows->statement;

    while (server->streaming == statement) {
        pq.PQclear(receive(server));
    }
    drop_rows(statement);
    statement->is_busy = false;
    if (changed != NULL) {
        *changed = statement->changed;
    }
    return statement->ended;
}

/* ---- statements ------------------------------------------------------------------------------ */

/* strbuf_free, where this is OK. */
static enum status translate(const char *sql, struct strbuf *text, struct error *err)
{
    words_translate(sql, text);
    if (strbuf_ok(text)) {
        return STATUS_OK;
    }
    strbuf_free(text);
    return error_set(err, STATUS_OOM, "out of memory");
}

static enum status run(struct database *database, const char *sql, struct error *err)
{
    struct server *server = server_of(database);
    struct strbuf text = {0};

    TRY(gather(server, err));
    TRY(translate(sql, &text, err));
    const int sent = pq.PQsendQuery(server->conn, text.data);
    strbuf_free(&text);
    return sent == 0 ? lost(server, err) : finish_and_forget(server, err);
}

static enum status describe(struct server *server, struct statement *statement, struct error *err)
{
    PGresult *last = NULL;

    if (pq.PQsendDescribePrepared(server->conn, statement->name) == 0) {
        return lost(server, err);
    }
    const enum status status = finish(server, &last, err);
    if (status == STATUS_OK) {
        statement->parameters = (size_t)pq.PQnparams(last);
        for (size_t i = 0; i < statement->parameters && i < PARAMETERS_MAX; i++) {
            statement->types[i] = pq.PQparamtype(last, (int)i);
        }
    }
    pq.PQclear(last);
    return status;
}

/* A number that is not told where a statement is first asked gets its type from its place. Behind a
 * pooler the server may keep statements of others too: none has the name of one of ours. */
static enum status make_statement(struct server *server, struct statement *statement,
                                  const struct value *with, size_t count, struct error *err)
{
    struct strbuf text = {0};

    for (size_t i = 0; i < count; i++) {
        statement->types[i] = wire_type_of(&with[i]);
    }
    TRY(translate(statement->sql, &text, err));
    snprintf(statement->name, sizeof statement->name, "s%zu_%s", server->count, server->mark);
    const int sent =
        pq.PQsendPrepare(server->conn, statement->name, text.data, (int)count, statement->types);
    strbuf_free(&text);
    if (sent == 0) {
        return lost(server, err);
    }
    TRY(finish_and_forget(server, err));
    return describe(server, statement, err);
}

/* A statement that nobody asks now, on a connection that is free. */
static enum status prepare(struct server *server, const char *sql, const struct value *with,
                           size_t count, struct statement **out, struct error *err)
{
    struct statement *statement = server->statements;

    TRY(gather(server, err));
    while (statement < server->statements + server->count && statement->sql != sql) {
        statement++;
    }
    if (statement == server->statements + server->count) {
        if (server->count == STATEMENTS_MAX || count > PARAMETERS_MAX) {
            return error_set(err, STATUS_FAILED, "more than %d statements or %d parameters",
                             STATEMENTS_MAX, PARAMETERS_MAX);
        }
        *statement = (struct statement){.sql = sql};
        TRY(make_statement(server, statement, with, count, err));
        server->count++;
    }
    if (statement->is_busy || statement->parameters != count) {
        return error_set(err, STATUS_FAILED, "\"%.60s...\" is %s", sql,
                         statement->is_busy ? "being asked already" : "asked with too few or many");
    }
    *out = statement;
    return STATUS_OK;
}

static enum status send(struct server *server, const struct statement *statement,
                        const struct value *with, struct error *err)
{
    const char *bytes[PARAMETERS_MAX];
    int lengths[PARAMETERS_MAX];
    int binary[PARAMETERS_MAX];

    for (size_t i = 0; i < statement->parameters; i++) {
        wire_write(&with[i], statement->types[i], &server->wire[i]);
        bytes[i] = server->wire[i].bytes;
        lengths[i] = server->wire[i].length;
        binary[i] = server->wire[i].is_binary;
    }
    return pq.PQsendQueryPrepared(server->conn, statement->name, (int)statement->parameters, bytes,
                                  lengths, binary, 1) != 0
               ? STATUS_OK
               : lost(server, err);
}

static enum status ask(struct database *database, const char *sql, const struct value *with,
                       size_t count, struct rows *rows, struct error *err)
{
    struct server *server = server_of(database);
    struct statement *statement = NULL;

    TRY(prepare(server, sql, with, count, &statement, err));
    server->was_crossed = server->was_crossed && sql != driver_postgres.begin;
    TRY(send(server, statement, with, err));
    pq.PQsetSingleRowMode(server->conn);
    statement->is_busy = true;
    statement->ended = STATUS_OK;
    statement->error = (struct error){0};
    statement->changed = 0;
    server->streaming = statement;
    rows->statement = statement;
    return STATUS_OK;
}

/* ---- pipelines ------------------------------------------------------------------------------- */

/* What came of one set: its rows are given away, its failure is the first one's. */
static enum status take_set(struct server *server, struct statement *statement,
                            const struct many *many, size_t set, struct error *err)
{
    const struct rows rows = {.database = &server->base, .statement = statement};
    PGresult *result = NULL;
    enum status status = STATUS_OK;

    TRY(take(server, &result, err));
    while (result != NULL) {
        const ExecStatusType said = pq.PQresultStatus(result);
        if (said == PGRES_SINGLE_TUPLE || (said == PGRES_TUPLES_OK && many->take != NULL)) {
            for (int i = 0; status == STATUS_OK && i < pq.PQntuples(result); i++) {
                statement->rows = result;
                statement->at = i;
                status = many->take(many->context, set, &rows, err);
            }
            statement->rows = NULL;
            statement->at = 0;
        } else if (said == PGRES_PIPELINE_ABORTED) {
            status = STATUS_FAILED; /* what failed before it is told */
        } else if (said != PGRES_TUPLES_OK && said != PGRES_COMMAND_OK) {
            status = failed(server, result, err);
        }
        statement->changed += strtoll(pq.PQcmdTuples(result), NULL, 10);
        pq.PQclear(result);
        const enum status taken = take(server, &result, err);
        TRY(taken);
    }
    return status;
}

static enum status take_sync(struct server *server, struct error *err)
{
    PGresult *result = NULL;

    TRY(take(server, &result, err));
    const bool is_sync = result != NULL && pq.PQresultStatus(result) == PGRES_PIPELINE_SYNC;
    pq.PQclear(result);
    return is_sync ? STATUS_OK : lost(server, err);
}

static enum status pipe_sets(struct server *server, struct statement *statement,
                             const struct many *many, size_t from, size_t until, struct error *err)
{
    struct error later;
    enum status status = STATUS_OK;

    if (pq.PQenterPipelineMode(server->conn) == 0) {
        return lost(server, err);
    }
    for (size_t set = from; set < until; set++) {
        TRY(send(server, statement, many->with + set * many->count, err));
    }
    if (pq.PQpipelineSync(server->conn) == 0) {
        return lost(server, err);
    }
    for (size_t set = from; set < until && !server->is_broken; set++) {
        const enum status of_set =
            take_set(server, statement, many, set, status == STATUS_OK ? err : &later);
        status = status == STATUS_OK ? of_set : status;
    }
    const enum status synced = server->is_broken
                                   ? STATUS_UNREACHABLE
                                   : take_sync(server, status == STATUS_OK ? err : &later);
    if (synced == STATUS_OK && pq.PQexitPipelineMode(server->conn) == 0) {
        return lost(server, err);
    }
    return status == STATUS_OK ? synced : status;
}

static enum status many_sets(struct database *database, const struct many *many, int64_t *changed,
                             struct error *err)
{
    struct server *server = server_of(database);
    struct statement *statement = NULL;

    if (changed != NULL) {
        *changed = 0;
    }
    if (many->sets == 0) {
        return STATUS_OK;
    }
    TRY(prepare(server, many->sql, many->with, many->count, &statement, err));
    statement->changed = 0;
    for (size_t from = 0; from < many->sets; from += AT_ONCE) {
        const size_t until = many->sets - from < AT_ONCE ? many->sets : from + AT_ONCE;
        TRY(pipe_sets(server, statement, many, from, until, err));
    }
    if (changed != NULL) {
        *changed = statement->changed;
    }
    return STATUS_OK;
}

/* ---- open and close -------------------------------------------------------------------------- */

static enum status load(struct error *err)
{
    static const struct library_call calls[] = {
#define ROW(name) {#name, offsetof(struct libpq, name)},
        PQ_CALLS(ROW)
#undef ROW
    };
    static struct library library = {
        .need = "a learning store on a server needs libpq 14 or later",
        .names = {"libpq.so.5"},
        .calls = calls,
        .count = sizeof calls / sizeof calls[0],
        .table = &pq,
        .lock = PTHREAD_MUTEX_INITIALIZER,
    };

    return library_load(&library, err);
}

/* The URL's defaults, and what it names without the password. The library's words for a URL that it
 * cannot read hold all of it. */
static enum status read_url(struct server *server, const char *url, struct error *err)
{
    static const struct {
        const char *keyword, *before;
    } parts[] = {{"user", "postgresql://"},
                 {"host", "@"},
                 {"port", ":"},
                 {"dbname", "/"},
                 {"host", "?host="}}; /* a socket's folder */
    PQconninfoOption *options = pq.PQconninfoParse(url, NULL);
    enum { FOLDER = 4 };
    size_t used = 0;

    if (options == NULL) {
        return error_set(err, STATUS_INVALID,
                         "learn: \"postgresql://...\" cannot be read, expected "
                         "postgresql://user@host:port/database?key=value with %%40 for an @ in a "
                         "name and so on");
    }
    for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++) {
        for (const PQconninfoOption *option = options; option->keyword != NULL; option++) {
            if (strcmp(option->keyword, parts[i].keyword) == 0 && used < sizeof server->name) {
                const char *text = option->val == NULL ? "" : option->val;
                const bool is_elsewhere =
                    strcmp(option->keyword, "host") == 0 && (text[0] == '/') != (i == FOLDER);
                if (i == 0 || (text[0] != '\0' && !is_elsewhere)) {
                    used += (size_t)snprintf(server->name + used, sizeof server->name - used,
                                             "%s%.107s", parts[i].before, text);
                }
            }
        }
    }
    pq.PQconninfoFree(options);
    return STATUS_OK;
}

/* What the URL says stands behind these and counts before them. */
static enum status connect_to(struct server *server, const char *url, struct error *err)
{
    static const char *const keywords[] = {
        "connect_timeout",  "keepalives_idle",  "keepalives_interval",
        "keepalives_count", "tcp_user_timeout", "fallback_application_name",
        "dbname",           "client_encoding",  NULL};
    const char *const values[] = {"5", "10", "5", "3", "30000", "stillhouse", url, "UTF8", NULL};

    TRY(read_url(server, url, err));
    server->conn = pq.PQconnectdbParams(keywords, values, 1);
    if (server->conn == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    if (pq.PQstatus(server->conn) != CONNECTION_OK) {
        return lost(server, err);
    }
    if (pq.PQserverVersion(server->conn) < OLDEST_SERVER) {
        return error_set(err, STATUS_INVALID, "\"%s\" is PostgreSQL %d, expected 13 or later",
                         server->name, pq.PQserverVersion(server->conn) / 10000);
    }
    const char *encoding = pq.PQparameterStatus(server->conn, "server_encoding");
    if (encoding == NULL || strcmp(encoding, "UTF8") != 0) {
        return error_set(err, STATUS_INVALID, "\"%s\" has the encoding %s, expected UTF8",
                         server->name, encoding == NULL ? "?" : encoding);
    }
    pq.PQsetnonblocking(server->conn, 1);
    return STATUS_OK;
}

static enum status limit(struct database *database, int64_t limit_ms, struct error *err)
{
    struct server *server = server_of(database);
    char sql[60];

    server->answer_ms = limit_ms > ANSWER_MS ? limit_ms : ANSWER_MS;
    snprintf(sql, sizeof sql, "SET statement_timeout = %" PRId64,
             limit_ms > 0 ? limit_ms : server->limit_ms);
    return run(database, sql, err);
}

/* A commit that has returned is on the disk, also where the server's own setting is `off`; whoever
 * sleeps in a transaction keeps the others waiting for a while only. */
static enum status set_up(struct server *server, enum database_mode mode, struct error *err)
{
    struct value found;

    TRY(run(&server->base,
            "SET search_path = stillhouse; SET default_transaction_isolation = 'read committed';"
            "SET lock_timeout = '15s'; SET idle_in_transaction_session_timeout = '30s';"
            "SET jit = off; SET client_min_messages = 'error';"
            "SELECT set_config('synchronous_commit', 'on', false)"
            " WHERE current_setting('synchronous_commit') = 'off'",
            err));
    server->limit_ms = mode == DATABASE_READ ? READ_LIMIT_MS : WRITE_LIMIT_MS;
    TRY(limit(&server->base, 0, err));
    if (mode == DATABASE_READ) {
        TRY(run(&server->base, "SET default_transaction_read_only = on", err));
    }
    /* Where it is made already, a role needs no leave to make it. */
    if (mode == DATABASE_MAKE) {
        TRY(run(&server->base,
                "DO $$ BEGIN PERFORM pg_advisory_xact_lock(" LOCK_TEXT ");"
                " IF to_regnamespace('stillhouse') IS NULL THEN CREATE SCHEMA stillhouse; END IF;"
                " END $$",
                err));
        return STATUS_OK;
    }
    TRY(database_find(&server->base, "SELECT 1 WHERE to_regnamespace('stillhouse') IS NOT NULL",
                      NULL, 0, &found, err));
    return found.type == VALUE_INTEGER
               ? STATUS_OK
               : error_set(err, STATUS_NOT_FOUND, "\"%s\" has no schema stillhouse yet",
                           server->name);
}

static void close_server(struct database *database)
{
    struct server *server = server_of(database);

    for (size_t i = 0; i < server->count; i++) {
        drop_rows(&server->statements[i]);
    }
    pq.PQfinish(server->conn);
    free(server);
}

static void make_mark(char mark[MARK_BYTES + 1])
{
    char id[37];

    text_make_id(clock_unix_ms(), id);
    memcpy(mark, id + sizeof id - 1 - MARK_BYTES, MARK_BYTES + 1);
}

static enum status open_server(const char *url, enum database_mode mode, struct database **out,
                               struct error *err)
{
    TRY(load(err));
    struct server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    server->base.driver = &driver_postgres;
    server->answer_ms = ANSWER_MS;
    make_mark(server->mark);
    enum status status = connect_to(server, url, err);
    if (status == STATUS_OK) {
        status = set_up(server, mode, err);
    }
    if (status != STATUS_OK) {
        close_server(&server->base);
        return status;
    }
    *out = &server->base;
    return STATUS_OK;
}

/* ---- transactions ---------------------------------------------------------------------------- */

static void rollback(struct database *database)
{
    struct server *server = server_of(database);
    struct error nobody = {0};

    if (!server->is_broken && pq.PQtransactionStatus(server->conn) != PQTRANS_IDLE &&
        run(database, "ROLLBACK", &nobody) != STATUS_OK) {
        server->is_broken = true; /* the next transaction would be a part of this one */
    }
}

static enum status lock(struct database *database, int64_t key, enum database_lock how,
                        struct error *err)
{
    static const char *const sql[] = {
        [LOCK_ALONE] = "SELECT pg_advisory_xact_lock($1)",
        [LOCK_TOGETHER] = "SELECT pg_advisory_xact_lock_shared($1)",
    };
    const struct value with = value_integer(key ^ LOCK_SPACE);

    return database_do(database, sql[how], &with, 1, NULL, err);
}

static enum status take_lock(void *context, size_t set, const struct rows *rows, struct error *err)
{
    bool *got = context;

    (void)err;
    got[set] = value(rows, 0).integer != 0;
    return STATUS_OK;
}

static enum status try_locks(struct database *database, const int64_t *keys, size_t count,
                             bool *got, struct error *err)
{
    struct value with[AT_ONCE];

    for (size_t from = 0; from < count; from += AT_ONCE) {
        bool *got_here = got + from;
        const struct many many = {
            .sql = "SELECT pg_try_advisory_xact_lock($1)",
            .with = with,
            .count = 1,
            .sets = count - from < AT_ONCE ? count - from : AT_ONCE,
            .take = take_lock,
            .context = got_here,
        };
        for (size_t i = 0; i < many.sets; i++) {
            with[i] = value_integer(keys[from + i] ^ LOCK_SPACE);
        }
        TRY(many_sets(database, &many, NULL, err));
    }
    return STATUS_OK;
}

static bool was_crossed(const struct database *database)
{
    return ((const struct server *)database)->was_crossed;
}

static int place(const struct database *database)
{
    const struct server *server = (const struct server *)database;

    return 1 + (int)(strtoul(server->mark, NULL, 16) % DATABASE_PLACES);
}

/* ---- the whole ------------------------------------------------------------------------------- */

#define OURS "relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = 'stillhouse')"

static enum status tables(struct database *database, int64_t *count, bool *has_meta,
                          struct error *err)
{
    struct value found;

    TRY(database_find(database, "SELECT count(*) FROM pg_class WHERE " OURS, NULL, 0, &found, err));
    *count = found.integer;
    TRY(database_find(database, "SELECT count(*) FROM pg_class WHERE relname = 'meta' AND " OURS,
                      NULL, 0, &found, err));
    *has_meta = found.integer > 0;
    return STATUS_OK;
}

/* Files do not shrink when rows go, their pages are filled again: what is used is the share that
 * the rows would fill, by the size of the newest ones. */
static enum status bytes(struct database *database, int64_t *all, int64_t *used, struct error *err)
{
    static const char share[] =
        "SELECT least(1, (SELECT sum(executions) FROM counts)"
        " * (SELECT avg(pg_column_size(e.*) + 28) FROM (SELECT * FROM executions"
        "     ORDER BY id DESC LIMIT 500) AS e)"
        " / nullif(pg_table_size('executions'), 0))::float8";
    struct value found;

    TRY(database_find(database,
                      "SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint FROM pg_class"
                      " WHERE relkind = 'r' AND " OURS,
                      NULL, 0, &found, err));
    *all = found.integer;
    if (used != NULL) {
        TRY(database_find(database, share, NULL, 0, &found, err));
        *used = (int64_t)((double)*all * found.number);
    }
    return STATUS_OK;
}

/* The server does this by itself. */
static enum status nothing(struct database *database, struct error *err)
{
    (void)database;
    (void)err;
    return STATUS_OK;
}

static enum status copy(struct database *database, const char *to, struct error *err)
{
    return error_set(err, STATUS_INVALID,
                     "a store on a server is copied by its own tools: pg_dump --format=custom "
                     "--schema=stillhouse --file=%s \"%s\"",
                     to, server_of(database)->name);
}

/* With its indexes, and its ids go on where they were: to put it back is to rename two schemas. */
static enum status keep(struct database *database, int version, bool is_trial,
                        char kept[DATABASE_KEPT_BYTES], struct error *err)
{
    static const char all[] =
        "BEGIN ISOLATION LEVEL REPEATABLE READ; DO $keep$"
        " DECLARE name text; columns text; options text; ids text; BEGIN CREATE SCHEMA %1$s;"
        " FOR name, columns, options IN SELECT relname, (SELECT string_agg(quote_ident(attname),"
        "   ', ') FROM pg_attribute WHERE attrelid = pg_class.oid AND attnum > 0"
        "   AND NOT attisdropped AND attgenerated = ''), array_to_string(reloptions, ', ')"
        "  FROM pg_class WHERE relkind = 'r' AND " OURS " LOOP"
        "  EXECUTE format('CREATE TABLE %1$s.%%1$I (LIKE stillhouse.%%1$I INCLUDING ALL)', name);"
        "  EXECUTE format('INSERT INTO %1$s.%%1$I (%%2$s) SELECT %%2$s FROM stillhouse.%%1$I',"
        "   name, columns);"
        "  IF options IS NOT NULL THEN"
        "   EXECUTE format('ALTER TABLE %1$s.%%I SET (%%s)', name, options);"
        "  END IF;"
        "  FOR ids IN SELECT pg_get_serial_sequence(format('%1$s.%%I', name), 'id')"
        "   WHERE 'id' = ANY (string_to_array(columns, ', ')) LOOP"
        "   EXECUTE format('SELECT setval(%%L, coalesce(max(id), 0) + 1, false) FROM %1$s.%%I',"
        "    ids, name);"
        "  END LOOP;"
        " END LOOP; END $keep$; COMMIT";
    char sql[sizeof all + 8 * DATABASE_KEPT_BYTES];

    snprintf(kept, DATABASE_KEPT_BYTES, "stillhouse_version_%d", version);
    if (is_trial) {
        return STATUS_OK;
    }
    TRY(limit(database, KEEP_MS, err));
    snprintf(sql, sizeof sql, all, kept);
    const enum status status = run(database, sql, err);
    if (status != STATUS_OK) {
        rollback(database);
        return status;
    }
    return limit(database, 0, err);
}

const struct driver driver_postgres = {
    .open = open_server,
    .close = close_server,
    .name = name_of,
    .limit = limit,
    .check = check,
    .run = run,
    .ask = ask,
    .next = next,
    .value = value,
    .end = end,
    .many = many_sets,
    .begin = "BEGIN",
    .now = "SELECT CAST(extract(epoch FROM clock_timestamp()) * 1000 AS bigint)",
    .begin_read = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY",
    .rollback = rollback,
    .lock = lock,
    .try_locks = try_locks,
    .was_crossed = was_crossed,
    .place = place,
    .tables = tables,
    .bytes = bytes,
    .verify = nothing,
    .shrink = nothing,
    .copy = copy,
    .keep = keep,
};
