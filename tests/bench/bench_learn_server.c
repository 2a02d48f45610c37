/* What goes into the learning store on a server of PostgreSQL in a second, which syncs each commit
 * (bench_learn --postgres 1: what a recorder puts, and what questions take).
 *
 *   put     executions by store_put, by 1, 2 and 4 writers at once that share them
 *   upsert  the same rows, read from the store, by prepared upserts in pipelines of a batch into a
 *           table with the same columns and indexes
 *   copy    the same rows by COPY, a slice at a time, into such a table
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"
#include "executions.h"
#include "flags.h"
#include "learn/store.h"
#include "postgres.h"
#include "support.h"

enum { BATCH_MAX = 1024, WRITERS_MAX = 16, COLUMNS_MOST = 64, COPIED = 100000 };

static long record_count = 100000;
static long batch = 64;
static long rounds = 1;
static long first_round = 0;
static long round_now;
static const char *group = "learn-server";
static struct flag_list writer_counts = {{1, 2, 4}, 3};

static struct test_postgres server;
static struct executions executions;

static void must(enum status status, const struct error *err)
{
    if (status != STATUS_OK) {
        bench_fail("%s", err->text);
    }
}

static void print(const char *series, double per_second)
{
    const struct bench_figure figure = {group,      series,      series,       round_now,
                                        per_second, "records/s", record_count, true};

    bench_print(&figure, "\"batch\": %ld", batch);
}

static double records_per_second(int64_t took_ns)
{
    return (double)record_count * 1e9 / (double)took_ns;
}

/* ---- put ------------------------------------------------------------------------------------- */

struct writer {
    pthread_t thread;
    const char *url;
    long from, until;
};

static void *write_share(void *argument)
{
    const struct writer *writer = argument;
    struct execution *made = calloc((size_t)batch, sizeof *made);
    struct part *parts = calloc((size_t)batch, sizeof *parts);
    struct store *store = NULL;
    struct error err = {0};

    must(store_open(writer->url, STORE_WRITE, &store, &err), &err);
    for (long at = writer->from; at < writer->until;) {
        size_t count = 0;
        for (; count < (size_t)batch && at < writer->until; count++, at++) {
            execution_make(&made[count], &executions, at);
            parts[count] = made[count].part;
        }
        must(store_put(store, parts, count, &err), &err);
    }
    store_close(store);
    free(made);
    free(parts);
    return NULL;
}

static void measure_put(const char *url, long writers)
{
    struct writer list[WRITERS_MAX];
    char series[60];
    const int64_t began_ns = clock_now_ns();

    for (long i = 0; i < writers; i++) {
        list[i] = (struct writer){.url = url,
                                  .from = record_count * i / writers,
                                  .until = record_count * (i + 1) / writers};
        if (pthread_create(&list[i].thread, NULL, write_share, &list[i]) != 0) {
            bench_fail("no thread to be had");
        }
    }
    for (long i = 0; i < writers; i++) {
        pthread_join(list[i].thread, NULL);
    }
    snprintf(series, sizeof series, "store_put, %ld at once", writers);
    print(series, records_per_second(clock_now_ns() - began_ns));
}

/* ---- bare ------------------------------------------------------------------------------------ */

static const char columns_sql[] =
    "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum),"
    " string_agg('$' || place, ', ' ORDER BY attnum),"
    " string_agg(quote_ident(attname) || ' = excluded.' || quote_ident(attname), ', '), count(*)"
    " FROM (SELECT attname, attnum, row_number() OVER (ORDER BY attnum) AS place"
    "  FROM pg_attribute WHERE attrelid = 'stillhouse.executions'::regclass AND attnum > 0"
    "  AND NOT attisdropped AND attgenerated = '' AND attname <> 'id') AS columns";

struct bare {
    struct store *store; /* that is read, */
    struct store *to;    /* and the connection that writes */
    struct arena arena;
    char select[2000], insert[6000];
    size_t columns;
};

static void prepare_bare(struct bare *bare, const char *url)
{
    struct error err = {0};
    struct rows rows;

    must(store_open(url, STORE_READ, &bare->store, &err), &err);
    must(store_open(url, STORE_WRITE, &bare->to, &err), &err);
    must(database_run(store_database(bare->to),
                      "DROP TABLE IF EXISTS bare;"
                      "CREATE TABLE bare (LIKE executions INCLUDING ALL)",
                      &err),
         &err);
    must(database_ask(store_database(bare->to), columns_sql, NULL, 0, &rows, &err), &err);
    if (rows_next(&rows, &err) != ROWS_ONE) {
        bench_fail("no columns: %s", err.text);
    }
    const struct slice names = rows_value(&rows, 0).text;
    const struct slice places = rows_value(&rows, 1).text;
    const struct slice sets = rows_value(&rows, 2).text;
    bare->columns = (size_t)rows_value(&rows, 3).integer;
    snprintf(bare->select, sizeof bare->select, "SELECT %.*s FROM executions ORDER BY id",
             (int)names.bytes, names.data);
    snprintf(bare->insert, sizeof bare->insert,
             "INSERT INTO bare (%.*s) VALUES (%.*s) ON CONFLICT (domain, task_id) DO UPDATE SET "
             "%.*s",
             (int)names.bytes, names.data, (int)places.bytes, places.data, (int)sets.bytes,
             sets.data);
    must(rows_end(&rows), &err);
}

static int64_t upsert_batch(struct bare *bare, const struct value *with, size_t sets)
{
    const struct many many = {
        .sql = bare->insert, .with = with, .count = bare->columns, .sets = sets};
    const int64_t began_ns = clock_now_ns();
    struct error err = {0};

    must(database_begin(store_database(bare->to), &err), &err);
    must(database_many(store_database(bare->to), &many, NULL, &err), &err);
    must(database_commit(store_database(bare->to), &err), &err);
    arena_reset(&bare->arena, 1 << 20);
    return clock_now_ns() - began_ns;
}

static void measure_upsert(const char *url)
{
    static struct value with[BATCH_MAX * COLUMNS_MOST];
    static struct bare bare;
    struct error err = {0};
    struct rows rows;
    int64_t took_ns = 0;
    size_t sets = 0;

    prepare_bare(&bare, url);
    must(database_ask(store_database(bare.store), bare.select, NULL, 0, &rows, &err), &err);
    while (rows_next(&rows, &err) == ROWS_ONE) {
        for (size_t i = 0; i < bare.columns; i++) {
            struct value value = rows_value(&rows, (int)i);
            if (value.text.data != NULL) {
                value.text.data = arena_copy(&bare.arena, value.text.data, value.text.bytes);
            }
            with[sets * bare.columns + i] = value;
        }
        if (++sets == (size_t)batch) {
            took_ns += upsert_batch(&bare, with, sets);
            sets = 0;
        }
    }
    must(rows_end(&rows), &err);
    took_ns += upsert_batch(&bare, with, sets);
    print("bare upserts", records_per_second(took_ns));
    store_close(bare.store);
    store_close(bare.to);
    arena_free(&bare.arena);
}

static void measure_copy(const char *name)
{
    char columns[2000];
    char sql[5000];
    int64_t took_ns = 0;

    test_postgres_ask(&server, name,
                      "SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute"
                      " WHERE attrelid = 'stillhouse.executions'::regclass AND attnum > 0"
                      " AND NOT attisdropped AND attgenerated = '' AND attname <> 'id'",
                      columns, sizeof columns);
    test_postgres_ask(&server, name, "TRUNCATE stillhouse.bare", NULL, 0);
    for (long from = 0; from < record_count; from += COPIED) {
        snprintf(sql, sizeof sql,
                 "COPY (SELECT %s FROM stillhouse.executions ORDER BY id OFFSET %ld LIMIT %d)"
                 " TO '%s/copied'",
                 columns, from, COPIED, server.folder);
        test_postgres_ask(&server, name, sql, NULL, 0);
        snprintf(sql, sizeof sql, "COPY stillhouse.bare (%s) FROM '%s/copied'", columns,
                 server.folder);
        const int64_t began_ns = clock_now_ns();
        test_postgres_ask(&server, name, sql, NULL, 0);
        took_ns += clock_now_ns() - began_ns;
    }
    print("COPY", records_per_second(took_ns));
}

static void measure(void)
{
    char url[TEST_POSTGRES_URL];
    char name[40];

    executions = (struct executions){record_count, 30, 10, clock_unix_ms()};
    for (size_t i = 0; i < writer_counts.count; i++) {
        if (writer_counts.values[i] < 1 || writer_counts.values[i] > WRITERS_MAX) {
            bench_fail("--writers: expected 1 to %d", WRITERS_MAX);
        }
        snprintf(name, sizeof name, "put_%ld_%zu", round_now, i);
        test_postgres_database(&server, name, url);
        measure_put(url, writer_counts.values[i]);
    }
    test_postgres_ask(&server, name, "ANALYZE", NULL, 0);
    measure_upsert(url);
    measure_copy(name);
}

int main(int argc, char **argv)
{
    const struct flag flags[] = {
        {"--records", FLAG_NUMBER, &record_count, "executions that are put"},
        {"--batch", FLAG_NUMBER, &batch, "records a transaction, up to 1024"},
        {"--writers", FLAG_LIST, &writer_counts, "that put at once, up to 16"},
        {"--rounds", FLAG_NUMBER, &rounds, "rounds"},
        {"--round", FLAG_NUMBER, &first_round, "number of the first round"},
        {"--group", FLAG_TEXT, &group, "name of the group in the figures"},
    };

    flags_parse(argc, argv, "The learning store on a server of PostgreSQL.", flags,
                sizeof flags / sizeof flags[0]);
    if (batch < 1 || batch > BATCH_MAX || record_count < 1) {
        bench_fail("--batch: expected 1 to %d; --records: 1 or more", BATCH_MAX);
    }
    if (!test_postgres_start(&server, true)) {
        return BENCH_SKIPPED;
    }
    for (round_now = first_round; round_now < first_round + rounds; round_now++) {
        measure();
    }
    test_postgres_stop(&server);
    return 0;
}
