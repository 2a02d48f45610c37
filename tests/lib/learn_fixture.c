#include "learn_fixture.h"

#include <criterion/hooks.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "folder.h"
#include "learn/columns.h"
#include "ok.h"

char learn_folder[200];
char learn_path[TEST_POSTGRES_URL];
struct store *learn_store;

static struct error err;
static struct test_postgres
    server; /* its folder is told to the tests' processes by the environment */

/* ---- life ---------------------------------------------------------------------------------- */

ReportHook(PRE_ALL)(struct criterion_test_set *tests)
{
    const char *kind = getenv("STILLHOUSE_TEST_STORE");

    (void)tests;
    if (kind == NULL || strcmp(kind, "postgres") != 0) {
        return;
    }
    if (!test_postgres_start(&server, false)) {
        exit(77);
    }
    setenv("STILLHOUSE_TEST_POSTGRES", server.folder, 1);
    setenv("STILLHOUSE_TEST_POSTGRES_BIN", server.programs, 1);
}

ReportHook(POST_ALL)(struct criterion_global_stats *stats)
{
    (void)stats;
    if (server.pid > 0) {
        test_postgres_stop(&server);
    }
}

const struct test_postgres *learn_server(void)
{
    return &server;
}

void learn_place(const char *name, char where[TEST_POSTGRES_URL])
{
    const char *at = getenv("STILLHOUSE_TEST_POSTGRES");
    char database[60];

    if (at == NULL) {
        snprintf(where, TEST_POSTGRES_URL, "%s/%s.db", learn_folder, name);
        return;
    }
    snprintf(server.folder, sizeof server.folder, "%s", at);
    snprintf(server.programs, sizeof server.programs, "%s", getenv("STILLHOUSE_TEST_POSTGRES_BIN"));
    snprintf(database, sizeof database, "%s_%d", name, (int)getpid());
    test_postgres_database(&server, database, where);
}

void learn_setup(void)
{
    test_folder_make(learn_folder, sizeof learn_folder);
    learn_place("learn", learn_path);
    learn_reopen(learn_path);
}

void learn_teardown(void)
{
    store_close(learn_store);
    learn_store = NULL;
    test_folder_remove(learn_folder);
}

void learn_reopen(const char *where)
{
    store_close(learn_store);
    learn_store = NULL;
    OK(store_open(where, STORE_WRITE, &learn_store, &err));
}

/* ---- rows ---------------------------------------------------------------------------------- */

struct part learn_part(const char *kind, const char *task, const char *job, int64_t at_ms)
{
    return (struct part){.domain = slice_of("acme.shop"),
                         .job_id = slice_of(job),
                         .at_ms = at_ms,
                         .body = {.kind = slice_of(kind), .task_id = slice_of(task)}};
}

void learn_put(const struct part *part)
{
    OK(store_put(learn_store, part, 1, &err));
}

void learn_refresh(int64_t now_unix_ms)
{
    enum { ROUNDS_MAX = 100000 };
    size_t left = 1;

    for (int i = 0; i < ROUNDS_MAX && left > 0; i++) {
        OK(store_refresh(learn_store, now_unix_ms, 100, &left, &err));
    }
    cr_assert_eq(left, 0, "%zu groups are never refreshed", left);
}

const char *learn_lasting(const char *sql)
{
    static char *kept[64];
    static size_t count;

    for (size_t i = 0; i < count; i++) {
        if (strcmp(kept[i], sql) == 0) {
            return kept[i];
        }
    }
    cr_assert_lt(count, 64);
    kept[count] = strdup(sql);
    return kept[count++];
}

int64_t learn_number(const char *sql)
{
    struct value found;

    OK(database_find(store_database(learn_store), learn_lasting(sql), NULL, 0, &found, &err));
    return found.type == VALUE_NUMBER ? (int64_t)found.number : found.integer;
}

void learn_run(const char *sql)
{
    OK(database_run(store_database(learn_store), sql, &err));
}

/* ---- all of it ------------------------------------------------------------------------------- */

static void dump_value(const struct value *value, struct strbuf *out)
{
    strbuf_append_char(out, '|');
    switch (value->type) {
    case VALUE_NULL:
        strbuf_append_char(out, '-');
        break;
    case VALUE_INTEGER:
        strbuf_printf(out, "%" PRId64, value->integer);
        break;
    case VALUE_NUMBER:
        strbuf_printf(out, "%.15g", value->number);
        break;
    case VALUE_TEXT:
        strbuf_append(out, value->text.data, value->text.bytes);
        break;
    case VALUE_BYTES:
        for (size_t i = 0; i < value->text.bytes; i++) {
            strbuf_printf(out, "%02x", (unsigned char)value->text.data[i]);
        }
        break;
    }
}

static void dump_rows(const char *table, int columns, const char *sql, struct strbuf *out)
{
    struct rows rows;

    OK(database_ask(store_database(learn_store), learn_lasting(sql), NULL, 0, &rows, &err));
    while (rows_next(&rows, &err) == ROWS_ONE) {
        strbuf_append_str(out, table);
        for (int i = 0; i < columns; i++) {
            const struct value value = rows_value(&rows, i);
            dump_value(&value, out);
        }
        strbuf_append_char(out, '\n');
    }
    OK(rows_end(&rows));
}

static void dump_merged(const struct merged *table, const char *computed, struct strbuf *out)
{
    struct strbuf sql = {0};
    int columns = 5;

    strbuf_printf(&sql, "SELECT domain, %s, at_ms, metadata, stamps", table->key);
    for (size_t i = 0; i < table->count; i++, columns++) {
        strbuf_printf(&sql, ", %s", table->columns[i].name);
    }
    for (const char *at = computed; *at != '\0'; at++) {
        columns += *at == ',';
    }
    strbuf_printf(&sql, "%s FROM %s ORDER BY domain, %s", computed, table->name, table->key);
    dump_rows(table->name, columns, sql.data, out);
    strbuf_free(&sql);
}

void learn_dump(struct strbuf *out)
{
    static const struct {
        const char *table;
        int columns;
        const char *sql;
    } others[] = {
        {"feedback", 10,
         "SELECT domain, job_id, task_id, at_ms, feedback_type, user_rating, user_accepted, "
         "comment,"
         " user, metadata FROM feedback ORDER BY domain, job_id"},
        {"forgotten", 3, "SELECT what, hash, at_ms FROM forgotten ORDER BY what, hash"},
        {"counts", 2, "SELECT sum(executions), sum(incomplete) FROM counts"},
        {"dirty", 4, "SELECT DISTINCT view, domain, name, bucket FROM dirty ORDER BY 1, 2, 3, 4"},
        {"tier_performance", 15,
         "SELECT domain, task_type, day, model_tier, executions, finished, successes, costed, cost,"
         " rated, quality, metered, tokens, timed, duration, duration_p95 FROM tier_performance"
         " ORDER BY domain, task_type, day, model_tier"},
        {"arm_performance", 9,
         "SELECT domain, task_type, day, arm, executions, finished, successes, tokens, cost"
         " FROM arm_performance ORDER BY 1, 2, 3, 4"},
        {"tier_totals", 8,
         "SELECT day, model_tier, finished, successes, costed, cost, timed, duration"
         " FROM tier_totals ORDER BY 1, 2"},
        {"pool_performance", 12,
         "SELECT domain, hour, pool_type, executions, finished, successes, waited, wait, timed,"
         " duration, duration_p95, peak_memory_mb FROM pool_performance"
         " ORDER BY domain, hour, pool_type"},
        {"solutions", 9,
         "SELECT domain, hash, summary, uses, finished, successes, task_types, first_ms, last_ms"
         " FROM solutions ORDER BY domain, hash"},
    };

    dump_merged(&merged_executions,
                ", incomplete, solution_hash, cost_error, token_error, confidence_error", out);
    dump_merged(&merged_pools, "", out);
    dump_merged(&merged_policies, "", out);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        dump_rows(others[i].table, others[i].columns, others[i].sql, out);
    }
}
