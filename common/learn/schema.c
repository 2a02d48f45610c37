/* See learn/schema.h.
 *
 * Text that views group by is '' where it is absent, all other absent values are NULL. Truth is 0
 * or 1. Times are Unix ms. A bucket is a day or an hour since 1970, UTC.
 */
#include "learn/schema.h"

#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/text.h"

enum { STEP_MS = 3600000 }; /* of a statement of a step: millions of rows may be read */

static const struct schema_step steps[] = {
    {.up =
         "CREATE TABLE executions (id INTEGER PRIMARY KEY, domain TEXT NOT NULL,"
         " task_id TEXT NOT NULL, at_ms INTEGER NOT NULL, incomplete INTEGER NOT NULL,"
         " repo TEXT, user TEXT, task_type TEXT NOT NULL, task_description TEXT, file_count "
         "INTEGER,"
         " estimated_tokens INTEGER, tokens_in INTEGER, tokens_out INTEGER,"
         " model_tier TEXT NOT NULL, model TEXT, pool_type TEXT NOT NULL, swarm_topology TEXT,"
         " routing_confidence REAL, complexity_score REAL, cost_estimate REAL, parallelism INTEGER,"
         " queue_wait_seconds REAL, success INTEGER, duration_seconds REAL, retries INTEGER,"
         " quality_score REAL, actual_cost REAL, error_type TEXT, error_message TEXT,"
         " peak_memory_mb REAL, cpu_time_seconds REAL, solution_summary TEXT, started_ms INTEGER,"
         " completed_ms INTEGER, arm TEXT, prompt_id TEXT, user_accepted INTEGER,"
         " user_rating INTEGER, solution_hash TEXT, metadata TEXT, stamps BLOB NOT NULL,"
         " cost_error REAL GENERATED ALWAYS AS (actual_cost - cost_estimate) VIRTUAL,"
         " token_error INTEGER GENERATED ALWAYS AS"
         "  (coalesce(tokens_in, 0) + tokens_out - estimated_tokens) VIRTUAL,"
         " confidence_error REAL GENERATED ALWAYS AS (routing_confidence - success) VIRTUAL);"
         "CREATE UNIQUE INDEX executions_key ON executions (domain, task_id);"
         "CREATE INDEX executions_by_type ON executions (domain, task_type, at_ms);"
         "CREATE INDEX executions_by_tier ON executions (model_tier, success, at_ms);"
         "CREATE INDEX executions_by_pool ON executions (pool_type, success, duration_seconds);"
         "CREATE INDEX executions_by_quality ON executions (domain, quality_score, at_ms);"
         "CREATE INDEX executions_by_time ON executions (domain, at_ms);"
         "CREATE INDEX executions_by_age ON executions (at_ms);"
         "CREATE INDEX executions_by_arm ON executions (domain, arm, at_ms, success, tokens_in,"
         " tokens_out, actual_cost) WHERE arm IS NOT NULL;"
         "CREATE INDEX executions_by_user ON executions (user) WHERE user IS NOT NULL;"
         "CREATE INDEX executions_by_solution ON executions (domain, solution_hash, at_ms)"
         " WHERE solution_hash IS NOT NULL;"
         "CREATE TABLE pools (id INTEGER PRIMARY KEY, domain TEXT NOT NULL, pool_id TEXT NOT NULL,"
         " at_ms INTEGER NOT NULL, repo TEXT, task_id TEXT, pool_type TEXT NOT NULL,"
         " swarm_topology TEXT, parallelism INTEGER, queue_wait_seconds REAL, duration_seconds "
         "REAL,"
         " peak_memory_mb REAL, cpu_time_seconds REAL, started_ms INTEGER, completed_ms INTEGER,"
         " metadata TEXT, stamps BLOB NOT NULL);"
         "CREATE UNIQUE INDEX pools_key ON pools (domain, pool_id);"
         "CREATE INDEX pools_by_age ON pools (at_ms);"
         "CREATE TABLE policies (id INTEGER PRIMARY KEY, domain TEXT NOT NULL, repo TEXT NOT NULL,"
         " at_ms INTEGER NOT NULL, maturity TEXT, coverage_threshold REAL, strictness TEXT,"
         " reason TEXT, metadata TEXT, stamps BLOB NOT NULL);"
         "CREATE UNIQUE INDEX policies_key ON policies (domain, repo);"
         "CREATE TABLE feedback (domain TEXT NOT NULL, job_id TEXT NOT NULL, task_id TEXT NOT NULL,"
         " at_ms INTEGER NOT NULL, feedback_type TEXT, user_rating INTEGER, user_accepted INTEGER,"
         " comment TEXT, user TEXT, metadata TEXT, PRIMARY KEY (domain, job_id));"
         "CREATE INDEX feedback_by_task ON feedback (domain, task_id, at_ms);"
         "CREATE INDEX feedback_by_user ON feedback (user) WHERE user IS NOT NULL;"
         "CREATE TABLE forgotten (what TEXT NOT NULL, hash TEXT NOT NULL, at_ms INTEGER NOT NULL,"
         " PRIMARY KEY (what, hash));"
         "CREATE TABLE dirty (view TEXT NOT NULL, domain TEXT NOT NULL, name TEXT NOT NULL,"
         " bucket INTEGER NOT NULL, since_ms INTEGER NOT NULL,"
         " PRIMARY KEY (view, domain, name, bucket));"
         /* On a server each who writes adds marks of its own: none waits for another's. */
         "/*+ ALTER TABLE dirty DROP CONSTRAINT dirty_pkey;"
         " CREATE INDEX dirty_by_group ON dirty (view, domain, name, bucket);"
         " ALTER TABLE dirty SET (autovacuum_vacuum_scale_factor = 0,"
         "  autovacuum_vacuum_threshold = 5000); */"
         "CREATE INDEX dirty_by_age ON dirty (since_ms);"
         "CREATE TABLE tier_performance (domain TEXT NOT NULL, task_type TEXT NOT NULL,"
         " day INTEGER NOT NULL, model_tier TEXT NOT NULL, executions INTEGER NOT NULL,"
         " finished INTEGER NOT NULL, successes INTEGER NOT NULL, costed INTEGER NOT NULL,"
         " cost REAL NOT NULL, rated INTEGER NOT NULL, quality REAL NOT NULL,"
         " tokens INTEGER NOT NULL, timed INTEGER NOT NULL, duration REAL NOT NULL,"
         " duration_p95 REAL, PRIMARY KEY (domain, task_type, day, model_tier));"
         "CREATE INDEX tier_performance_by_day ON tier_performance (domain, day);"
         "CREATE INDEX tier_performance_of_all ON tier_performance (day);"
         "CREATE TABLE pool_performance (domain TEXT NOT NULL, hour INTEGER NOT NULL,"
         " pool_type TEXT NOT NULL, executions INTEGER NOT NULL, finished INTEGER NOT NULL,"
         " successes INTEGER NOT NULL, waited INTEGER NOT NULL, wait REAL NOT NULL,"
         " timed INTEGER NOT NULL, duration REAL NOT NULL, duration_p95 REAL, peak_memory_mb REAL,"
         " PRIMARY KEY (domain, hour, pool_type));"
         "CREATE TABLE solutions (domain TEXT NOT NULL, hash TEXT NOT NULL, summary TEXT NOT NULL,"
         " uses INTEGER NOT NULL, finished INTEGER NOT NULL, successes INTEGER NOT NULL,"
         " task_types TEXT NOT NULL, first_ms INTEGER NOT NULL, last_ms INTEGER NOT NULL,"
         " PRIMARY KEY (domain, hash));"
         "CREATE INDEX solutions_by_uses ON solutions (domain, uses);"
         "CREATE INDEX solutions_by_age ON solutions (first_ms);"
         "CREATE TABLE counts (id INTEGER PRIMARY KEY, executions INTEGER NOT NULL,"
         " incomplete INTEGER NOT NULL);"
         "INSERT INTO counts VALUES (1, 0, 0);",
     .down = NULL},
    /* `lift` and `route` read small views, a solution's figures one index; what is old is found by
       its age. */
    {.up = "CREATE TABLE arm_performance (domain TEXT NOT NULL, task_type TEXT NOT NULL,"
           " day INTEGER NOT NULL, arm TEXT NOT NULL, executions INTEGER NOT NULL,"
           " finished INTEGER NOT NULL, successes INTEGER NOT NULL, tokens INTEGER NOT NULL,"
           " cost REAL NOT NULL, PRIMARY KEY (domain, day, task_type, arm));"
           "INSERT INTO arm_performance SELECT domain, task_type, at_ms / 86400000, arm, count(*),"
           " count(success), coalesce(sum(success), 0),"
           " coalesce(sum(coalesce(tokens_in, 0) + coalesce(tokens_out, 0)), 0),"
           " coalesce(sum(actual_cost), 0) FROM executions WHERE arm IS NOT NULL"
           " GROUP BY 1, 2, 3, 4;"
           "CREATE TABLE tier_totals (day INTEGER NOT NULL, model_tier TEXT NOT NULL,"
           " finished INTEGER NOT NULL, successes INTEGER NOT NULL, costed INTEGER NOT NULL,"
           " cost REAL NOT NULL, timed INTEGER NOT NULL, duration REAL NOT NULL,"
           " PRIMARY KEY (day, model_tier));"
           "INSERT INTO tier_totals SELECT day, model_tier, sum(finished), sum(successes),"
           " sum(costed), sum(cost), sum(timed), sum(duration) FROM tier_performance"
           " GROUP BY 1, 2;"
           "DROP INDEX executions_by_arm;"
           "DROP INDEX executions_by_solution;"
           "CREATE INDEX executions_by_solution ON executions (domain, solution_hash, at_ms,"
           " success, task_type) WHERE solution_hash IS NOT NULL;"
           "CREATE INDEX forgotten_by_age ON forgotten (at_ms);"
           "CREATE INDEX pools_by_task ON pools (domain, task_id) WHERE task_id IS NOT NULL;"
           "CREATE INDEX policies_by_age ON policies (at_ms);",
     .down = "DROP INDEX policies_by_age;"
             "DROP INDEX pools_by_task;"
             "DROP INDEX forgotten_by_age;"
             "DROP INDEX executions_by_solution;"
             "CREATE INDEX executions_by_solution ON executions (domain, solution_hash, at_ms)"
             " WHERE solution_hash IS NOT NULL;"
             "CREATE INDEX executions_by_arm ON executions (domain, arm, at_ms, success,"
             " tokens_in, tokens_out, actual_cost) WHERE arm IS NOT NULL;"
             "DROP TABLE tier_totals;"
             "DELETE FROM dirty WHERE view = 'total';"
             "DROP TABLE arm_performance;"},
    /* A mean of tokens is over the executions that told some. */
    {.up = "ALTER TABLE tier_performance ADD COLUMN metered INTEGER NOT NULL DEFAULT 0;"
           "UPDATE tier_performance SET metered = (SELECT count(coalesce(tokens_in, tokens_out))"
           " FROM executions WHERE executions.domain = tier_performance.domain"
           " AND executions.task_type = tier_performance.task_type"
           " AND at_ms >= day * 86400000 AND at_ms < (day + 1) * 86400000"
           " AND executions.model_tier = tier_performance.model_tier);",
     .down = "ALTER TABLE tier_performance DROP COLUMN metered;"},
};

const struct schema_list schema_steps = {steps, sizeof steps / sizeof steps[0]};

enum status schema_version(struct database *database, const struct schema_list *list,
                           size_t *version, struct error *err)
{
    struct value found;
    int64_t tables = 0;
    bool has_meta = false;

    *version = 0;
    TRY(database_tables(database, &tables, &has_meta, err));
    if (!has_meta) {
        return tables == 0 ? STATUS_OK
                           : error_set(err, STATUS_INVALID,
                                       "the database has tables and is no learning store");
    }
    TRY(database_find(database,
                      "SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'version'"
                      " AND EXISTS (SELECT 1 FROM meta WHERE key = 'store_id')",
                      NULL, 0, &found, err));
    if (found.type != VALUE_INTEGER || found.integer < 1) {
        return error_set(err, STATUS_INVALID, "the database has no version of a learning store");
    }
    if (found.integer > (int64_t)list->count) {
        return error_set(err, STATUS_INVALID,
                         "the learning store has version %" PRId64
                         ", this program knows versions up to %zu: use a newer program",
                         found.integer, list->count);
    }
    *version = (size_t)found.integer;
    return STATUS_OK;
}

static enum status note(struct database *database, const char *key, const char *text,
                        struct error *err)
{
    const struct value with[] = {value_str(key), value_str(text)};

    return database_do(database,
                       "INSERT INTO meta (key, value) VALUES ($1, $2)"
                       " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                       with, 2, NULL, err);
}

static enum status found_store(struct database *database, struct error *err)
{
    char id[37];
    char hash[TEXT_HASH_CHARS + 1];
    char when[32];

    text_make_id(clock_unix_ms(), id);
    text_hash_raw(id, sizeof id - 1, hash);
    snprintf(when, sizeof when, "%" PRId64, clock_unix_ms());
    TRY(database_run(database, "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL)",
                     err));
    TRY(note(database, "store_id", hash, err));
    TRY(note(database, "made_by", STILLHOUSE_VERSION_TEXT, err));
    return note(database, "made_ms", when, err);
}

static enum status step_to(struct database *database, const struct schema_list *list, size_t from,
                           size_t to, struct error *err)
{
    char number[24];

    if (from == 0) {
        TRY(found_store(database, err));
    }
    TRY(database_run(database, to > from ? list->steps[from].up : list->steps[to].down, err));
    snprintf(number, sizeof number, "%zu", to);
    return note(database, "version", number, err);
}

/* One step towards `to`, where another process may be taking the same: *at is where it led. */
static enum status step(struct database *database, const struct schema_list *list, size_t to,
                        size_t *at, struct error *err)
{
    TRY(database_lock(database, SCHEMA_LOCK, LOCK_ALONE, err));
    TRY(schema_version(database, list, at, err));
    const size_t next = *at + (*at < to) - (*at > to);
    if (next != *at && step_to(database, list, *at, next, err) != STATUS_OK) {
        return error_wrap(err, "from version %zu to %zu", *at, next);
    }
    *at = next;
    return STATUS_OK;
}

enum status schema_migrate(struct database *database, const struct schema_list *list, size_t to,
                           struct error *err)
{
    size_t at = 0;

    TRY(schema_version(database, list, &at, err));
    if (at != to) {
        TRY(database_limit(database, STEP_MS, err));
    }
    while (at != to) {
        TRY(database_begin(database, err));
        enum status status = step(database, list, to, &at, err);
        if (status == STATUS_OK) {
            status = database_commit(database, err);
        }
        if (status != STATUS_OK) {
            database_rollback(database);
            return status;
        }
    }
    return database_limit(database, 0, err);
}

enum status schema_note_writer(struct database *database, struct error *err)
{
    char when[32];

    snprintf(when, sizeof when, "%" PRId64, clock_unix_ms());
    return note(database, "opened_ms", when, err);
}

enum status schema_store_id(struct database *database, char out[STORE_ID_BYTES], struct error *err)
{
    struct rows rows;

    out[0] = '\0';
    TRY(database_ask(database, "SELECT value FROM meta WHERE key = 'store_id'", NULL, 0, &rows,
                     err));
    if (rows_next(&rows, err) == ROWS_ONE) {
        const struct slice id = rows_value(&rows, 0).text;
        snprintf(out, STORE_ID_BYTES, "%.*s", (int)id.bytes, id.data);
    }
    return rows_end(&rows);
}
