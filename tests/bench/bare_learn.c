#include "bare_learn.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "learn/columns.h"
#include "support.h"

struct bare_learn {
    sqlite3 *handle;
    sqlite3_stmt *upsert, *dirty, *begin, *commit, *count;
};

static sqlite3_stmt *prepare(sqlite3 *handle, const char *sql)
{
    sqlite3_stmt *statement = NULL;

    if (sqlite3_prepare_v3(handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) !=
        SQLITE_OK) {
        bench_fail("%s", sqlite3_errmsg(handle));
    }
    return statement;
}

struct bare_learn *bare_learn_open(const char *path)
{
    struct bare_learn *bare = calloc(1, sizeof *bare);
    char sql[6000];
    size_t used = 0;

    if (bare == NULL) {
        bench_fail("out of memory");
    }
    if (sqlite3_open(path, &bare->handle) != SQLITE_OK ||
        sqlite3_exec(bare->handle,
                     "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                     "PRAGMA cache_size = -32000; PRAGMA journal_size_limit = 67108864",
                     NULL, NULL, NULL) != SQLITE_OK) {
        bench_fail("%s", sqlite3_errmsg(bare->handle));
    }
    used += (size_t)snprintf(sql, sizeof sql,
                             "INSERT INTO executions (domain, task_id, at_ms, incomplete,"
                             " solution_hash, metadata, stamps");
    for (size_t i = 0; i < merged_executions.count; i++) {
        used += (size_t)snprintf(sql + used, sizeof sql - used, ", %s",
                                 merged_executions.columns[i].name);
    }
    used += (size_t)snprintf(sql + used, sizeof sql - used, ") VALUES (?, ?, ?, ?, ?, ?, ?");
    for (size_t i = 0; i < merged_executions.count; i++) {
        used += (size_t)snprintf(sql + used, sizeof sql - used, ", ?");
    }
    used +=
        (size_t)snprintf(sql + used, sizeof sql - used,
                         ") ON CONFLICT (domain, task_id) DO UPDATE SET at_ms = excluded.at_ms");
    for (size_t i = 0; i < merged_executions.count; i++) {
        used +=
            (size_t)snprintf(sql + used, sizeof sql - used, ", %s = excluded.%s",
                             merged_executions.columns[i].name, merged_executions.columns[i].name);
    }
    bare->upsert = prepare(bare->handle, sql);
    bare->dirty = prepare(bare->handle, "INSERT INTO dirty (view, domain, name, bucket, since_ms)"
                                        " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING");
    bare->begin = prepare(bare->handle, "BEGIN IMMEDIATE");
    bare->commit = prepare(bare->handle, "COMMIT");
    bare->count =
        prepare(bare->handle, "UPDATE counts SET executions = executions + ? WHERE id = 1");
    return bare;
}

static void run(const struct bare_learn *bare, sqlite3_stmt *statement)
{
    if (sqlite3_step(statement) != SQLITE_DONE) {
        bench_fail("%s", sqlite3_errmsg(bare->handle));
    }
    sqlite3_reset(statement);
}

static void bind_text(sqlite3_stmt *statement, int place, struct slice text)
{
    sqlite3_bind_text(statement, place, text.data, (int)text.bytes, SQLITE_STATIC);
}

static void mark(const struct bare_learn *bare, const char *view, const struct part *part,
                 const char *name, int64_t bucket)
{
    sqlite3_bind_text(bare->dirty, 1, view, -1, SQLITE_STATIC);
    bind_text(bare->dirty, 2, part->domain);
    sqlite3_bind_text(bare->dirty, 3, name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(bare->dirty, 4, bucket);
    sqlite3_bind_int64(bare->dirty, 5, clock_unix_ms());
    run(bare, bare->dirty);
}

static void put_one(const struct bare_learn *bare, const struct part *part)
{
    static const char stamps[132] = "as long as those of the store";
    char solution[40]; /* as long as the hash */
    const struct slice summary = part->body.solution_summary;
    int place = 1;

    snprintf(solution, sizeof solution, "%032ld",
             strtol(summary.data + summary.bytes - 3, NULL, 10));
    bind_text(bare->upsert, place++, part->domain);
    bind_text(bare->upsert, place++, part->body.task_id);
    sqlite3_bind_int64(bare->upsert, place++, part->at_ms);
    sqlite3_bind_int64(bare->upsert, place++, 0);
    sqlite3_bind_text(bare->upsert, place++, solution, -1, SQLITE_STATIC);
    sqlite3_bind_text(bare->upsert, place++, "{\"branch\":1}", -1, SQLITE_STATIC);
    sqlite3_bind_blob(bare->upsert, place++, stamps, sizeof stamps, SQLITE_STATIC);
    for (size_t i = 0; i < merged_executions.count; i++, place++) {
        const struct column *column = &merged_executions.columns[i];
        const void *member = (const char *)&part->body + column->at;
        const struct maybe_integer *integer = member;
        const struct maybe_number *real = member;
        const struct maybe_truth *truth = member;
        sqlite3_bind_null(bare->upsert, place);
        if (column->type == FIELD_TEXT && ((const struct slice *)member)->data != NULL) {
            bind_text(bare->upsert, place, *(const struct slice *)member);
        } else if (column->type == FIELD_INTEGER && integer->given) {
            sqlite3_bind_int64(bare->upsert, place, integer->value);
        } else if (column->type == FIELD_NUMBER && real->given) {
            sqlite3_bind_double(bare->upsert, place, real->value);
        } else if (column->type == FIELD_TRUTH && truth->given) {
            sqlite3_bind_int64(bare->upsert, place, truth->value);
        }
    }
    run(bare, bare->upsert);
    mark(bare, "tier", part, part->body.task_type.data, part->at_ms / 86400000);
    mark(bare, "pool", part, "", part->at_ms / 3600000);
    mark(bare, "solution", part, solution, 0);
}

void bare_learn_put(struct bare_learn *bare, const struct part *parts, size_t count)
{
    run(bare, bare->begin);
    for (size_t i = 0; i < count; i++) {
        put_one(bare, &parts[i]);
    }
    sqlite3_bind_int64(bare->count, 1, (int64_t)count);
    run(bare, bare->count);
    run(bare, bare->commit);
}

void bare_learn_close(struct bare_learn *bare)
{
    sqlite3_stmt *const all[] = {bare->upsert, bare->dirty, bare->begin, bare->commit, bare->count};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        sqlite3_finalize(all[i]);
    }
    sqlite3_close(bare->handle);
    free(bare);
}
