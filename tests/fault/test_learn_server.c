/* A learning store on a server: many who write at once, a server that dies, and whatever it says no
 * to. */
#include <criterion/criterion.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "fake_server.h"
#include "learn/questions.h"
#include "learn/views.h"
#include "learn_fixture.h"
#include "ok.h"

enum { WRITERS = 4, TASKS = 60, PARTS = 2000, BATCH = 50 };

static struct error err;
static const int64_t DAY = 20000 * INT64_C(86400000);
static const int64_t NOW = 20001 * INT64_C(86400000);

TestSuite(learn_server, .init = learn_setup, .fini = learn_teardown);

/* What psql says of a statement in the test's database. */
static void ask_server(const char *sql, char *out, size_t size)
{
    const struct test_postgres *server = learn_server();
    char name[60];

    snprintf(name, sizeof name, "learn_%d", (int)getpid());
    test_postgres_ask(server, name, sql, out, size);
}

/* The server's own function is replaced in the test's database: its clock is a year ahead. */
Test(learn_server, the_time_of_a_store_is_its_servers_and_not_that_of_whoever_asks)
{
    static const char ahead[] =
        "CREATE OR REPLACE FUNCTION pg_catalog.clock_timestamp() RETURNS timestamptz LANGUAGE sql"
        " AS $$SELECT statement_timestamp() + interval '365 days'$$";
    char out[100];
    int64_t now_unix_ms = 0;

    ask_server(ahead, out, sizeof out);
    learn_reopen(learn_path);
    OK(database_now(store_database(learn_store), &now_unix_ms, &err));
    const int64_t ahead_ms = now_unix_ms - clock_unix_ms() - 365 * INT64_C(86400000);
    cr_assert(ahead_ms > -60000 && ahead_ms < 60000, "%lld", (long long)ahead_ms);
}

/* ---- many at once ---------------------------------------------------------------------------- */

static void *open_store(void *where)
{
    struct store *store = NULL;
    struct error failed = {0};

    return store_open(where, STORE_WRITE, &store, &failed) == STATUS_OK ? store : NULL;
}

Test(learn_server, four_that_start_at_once_make_one_store)
{
    char where[TEST_POSTGRES_URL];
    pthread_t threads[WRITERS];
    void *stores[WRITERS];

    learn_place("fresh", where);
    for (int i = 0; i < WRITERS; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, open_store, where), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(threads[i], &stores[i]);
        cr_assert_not_null(stores[i]);
        cr_assert_str_eq(store_id(stores[i]), store_id(stores[0]));
    }
    for (int i = 0; i < WRITERS; i++) {
        store_close(stores[i]);
    }
}

static struct part random_part(unsigned *seed, size_t i)
{
    static const char *const kinds[] = {"routing", "outcome", "execution", "feedback"};
    static const char *const tiers[] = {"small", "medium", "large"};
    static char jobs[PARTS][24];
    static char tasks[TASKS][16];
    const size_t task = (size_t)rand_r(seed) % TASKS;

    snprintf(jobs[i], sizeof jobs[i], "job-%zu", i);
    snprintf(tasks[task], sizeof tasks[task], "task-%zu", task);
    struct part part = learn_part(kinds[rand_r(seed) % 4], tasks[task], jobs[i],
                                  DAY + rand_r(seed) % 50); /* many at the same moment */
    if (rand_r(seed) % 2 == 0) {
        part.body.model_tier = slice_of(tiers[rand_r(seed) % 3]);
    }
    if (rand_r(seed) % 2 == 0) {
        part.body.duration_seconds = (struct maybe_number){rand_r(seed) % 1000 / 8.0, true};
    }
    if (rand_r(seed) % 3 == 0) {
        part.body.success = (struct maybe_truth){rand_r(seed) % 2 == 0, true};
    }
    if (rand_r(seed) % 3 == 0) {
        part.body.solution_summary = slice_of(tiers[rand_r(seed) % 3]);
    }
    return part;
}

struct writer {
    pthread_t thread;
    struct part parts[PARTS];
    const char *failed; /* NULL: nothing did */
    struct error error;
};

/* All parts in an order of its own, with a slice of refreshing between the batches. */
static void *write_all(void *argument)
{
    struct writer *writer = argument;
    struct store *store = NULL;
    size_t left = 0;

    if (store_open(learn_path, STORE_WRITE, &store, &writer->error) != STATUS_OK) {
        writer->failed = "open";
        return NULL;
    }
    for (size_t i = 0; i < PARTS && writer->failed == NULL; i += BATCH) {
        if (store_put(store, writer->parts + i, BATCH, &writer->error) != STATUS_OK) {
            writer->failed = "put";
        } else if (store_refresh(store, NOW, 16, &left, &writer->error) != STATUS_OK) {
            writer->failed = "refresh";
        }
    }
    store_close(store);
    return NULL;
}

static void shuffle(struct part *parts, unsigned *seed)
{
    for (size_t i = PARTS - 1; i > 0; i--) {
        const size_t k = (size_t)rand_r(seed) % (i + 1);
        const struct part part = parts[i];
        parts[i] = parts[k];
        parts[k] = part;
    }
}

Test(learn_server, many_who_write_the_same_tasks_at_once_make_the_rows_of_the_ordered_run_in_a_file)
{
    static struct writer writers[WRITERS];
    static struct part ordered[PARTS];
    struct strbuf of_server = {0};
    struct strbuf of_file = {0};
    struct store_checked checked;
    char file[260];
    unsigned seed = 11;

    for (size_t i = 0; i < PARTS; i++) {
        ordered[i] = random_part(&seed, i);
    }
    for (int i = 0; i < WRITERS; i++) {
        memcpy(writers[i].parts, ordered, sizeof ordered);
        shuffle(writers[i].parts, &seed);
        cr_assert_eq(pthread_create(&writers[i].thread, NULL, write_all, &writers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, NULL);
        cr_assert_null(writers[i].failed, "%s: %s", writers[i].failed, writers[i].error.text);
    }
    learn_refresh(NOW);
    OK(store_check(learn_store, NOW, &checked, &err));
    learn_dump(&of_server);

    snprintf(file, sizeof file, "%s/ordered.db", learn_folder);
    learn_reopen(file);
    OK(store_put(learn_store, ordered, PARTS, &err));
    learn_refresh(NOW);
    learn_dump(&of_file);
    cr_assert_str_eq(of_server.data, of_file.data);
    strbuf_free(&of_server);
    strbuf_free(&of_file);
}

Test(learn_server, what_is_marked_while_its_group_is_computed_stays_marked)
{
    const struct part first = learn_part("execution", "t1", "j1", DAY);
    const struct part second = learn_part("execution", "t2", "j2", DAY);
    struct store *other = NULL;

    learn_put(&first);
    OK(store_open(learn_path, STORE_WRITE, &other, &err));
    OK(database_begin(store_database(other), &err)); /* a put that has not committed yet */
    OK(database_run(store_database(other),
                    "INSERT INTO dirty VALUES ('tier', 'acme.shop', '', 20000, 1)", &err));
    learn_refresh(NOW);
    OK(database_commit(store_database(other), &err));
    cr_assert_eq(learn_number("SELECT count(*) FROM dirty"), 1);
    OK(store_put(other, &second, 1, &err));
    learn_refresh(NOW);
    cr_assert_eq(learn_number("SELECT sum(executions) FROM tier_performance"), 2);
    store_close(other);
}

/* Nor does it wait for it. */
Test(learn_server, a_group_that_another_computes_is_left_to_it)
{
    const struct part first = learn_part("execution", "t1", "j1", DAY);
    const struct part second = learn_part("execution", "t2", "j2", DAY);
    struct view_group group = {VIEW_TIER, first.domain, slice_of(""), 20000};
    struct store *other = NULL;
    size_t left = 0;

    learn_put(&first);
    learn_refresh(NOW);
    OK(store_open(learn_path, STORE_WRITE, &other, &err));
    OK(database_begin(store_database(other), &err));
    OK(views_compute(store_database(other), &group, 1, NOW, &err));
    learn_put(&second);
    OK(store_refresh(learn_store, NOW, 100, &left, &err));
    cr_assert_gt(left, 0);
    cr_assert_eq(learn_number("SELECT sum(executions) FROM tier_performance"), 1);
    OK(database_commit(store_database(other), &err));
    store_close(other);
    learn_refresh(NOW);
    cr_assert_eq(learn_number("SELECT sum(executions) FROM tier_performance"), 2);
}

struct put {
    struct store *store;
    enum status status;
    struct error error;
};

static void *put_one(void *argument)
{
    const struct part part = learn_part("outcome", "t", "j2", DAY + 1);
    struct put *put = argument;

    put->status = store_put(put->store, &part, 1, &put->error);
    return NULL;
}

/* Which is there when the put has seen that it is not. */
Test(learn_server, a_row_that_another_begins_meanwhile_is_put_on_top_of_it)
{
    enum { MOST_MS = 60000 };
    struct put put = {0};
    struct store *other = NULL;
    const int64_t until_ms = clock_now_ms() + MOST_MS;
    pthread_t thread;

    OK(store_open(learn_path, STORE_WRITE, &put.store, &err));
    OK(store_open(learn_path, STORE_WRITE, &other, &err));
    OK(database_begin(store_database(other), &err));
    OK(database_run(store_database(other),
                    "INSERT INTO executions (domain, task_id, at_ms, incomplete, task_type,"
                    " model_tier, pool_type, stamps)"
                    " VALUES ('acme.shop', 't', 1, 0, '', '', '', ''::bytea)",
                    &err));
    cr_assert_eq(pthread_create(&thread, NULL, put_one, &put), 0);
    while (learn_number("SELECT count(*) FROM pg_locks WHERE NOT granted") == 0) {
        cr_assert_lt(clock_now_ms(), until_ms, "nobody waits for the row");
        clock_sleep_ms(5);
    }
    OK(database_commit(store_database(other), &err));
    pthread_join(thread, NULL);
    cr_assert_eq(put.status, STATUS_OK, "%s", put.error.text);
    cr_assert_eq(learn_number("SELECT at_ms FROM executions"), DAY + 1);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 1);
    store_close(other);
    store_close(put.store);
}

/* ---- a server that dies ---------------------------------------------------------------------- */

struct stream {
    const char *where;
    atomic_bool ends;
    atomic_size_t accepted;
    size_t refused;
    const char *wrong; /* NULL: nothing was */
    struct error error;
};

/* Batch after batch, each until it is accepted. */
static void *put_until_the_end(void *argument)
{
    static char names[BATCH][24];
    struct stream *stream = argument;
    struct store *store = NULL;
    struct part parts[BATCH];

    while (stream->wrong == NULL && !atomic_load(&stream->ends)) {
        if (store == NULL &&
            store_open(stream->where, STORE_WRITE, &store, &stream->error) != STATUS_OK) {
            stream->wrong = stream->error.status == STATUS_INVALID ? "open" : NULL;
            clock_sleep_ms(20);
            continue;
        }
        for (size_t i = 0; i < BATCH; i++) {
            snprintf(names[i], sizeof names[i], "task-%zu", atomic_load(&stream->accepted) + i);
            parts[i] = learn_part("execution", names[i], names[i], DAY);
        }
        const enum status status = store_put(store, parts, BATCH, &stream->error);
        if (status == STATUS_OK) {
            atomic_fetch_add(&stream->accepted, BATCH);
        } else {
            const bool is_away = status == STATUS_UNREACHABLE || status == STATUS_UNAVAILABLE;
            stream->wrong = is_away ? NULL : "put";
            stream->refused++;
            store_close(store);
            store = NULL;
        }
    }
    store_close(store);
    return NULL;
}

/* Until so many more are accepted. */
static void await_batches(struct stream *stream, size_t batches)
{
    enum { MOST_MS = 60000 };
    const size_t until = atomic_load(&stream->accepted) + batches * BATCH;
    const int64_t until_ms = clock_now_ms() + MOST_MS;

    while (atomic_load(&stream->accepted) < until) {
        cr_assert_lt(clock_now_ms(), until_ms, "nothing is accepted any more");
        clock_sleep_ms(1);
    }
}

Test(learn_server, a_server_that_is_killed_between_and_in_batches_has_every_part_that_was_accepted)
{
    struct test_postgres server;
    char where[TEST_POSTGRES_URL];
    struct stream stream = {.where = where};
    struct store_checked checked;
    pthread_t thread;

    cr_assert(test_postgres_start(&server, false));
    test_postgres_database(&server, "fresh", where);
    cr_assert_eq(pthread_create(&thread, NULL, put_until_the_end, &stream), 0);
    for (int i = 0; i < 3; i++) {
        await_batches(&stream, 3);
        test_postgres_kill(&server);
        test_postgres_restart(&server);
    }
    await_batches(&stream, 1);
    atomic_store(&stream.ends, true);
    pthread_join(thread, NULL);
    cr_assert_null(stream.wrong, "%s: %s", stream.wrong, stream.error.text);
    cr_assert_gt(stream.refused, 0);
    learn_reopen(where);
    learn_refresh(NOW);
    OK(store_check(learn_store, NOW, &checked, &err));
    cr_assert_eq((size_t)learn_number("SELECT count(*) FROM executions"),
                 atomic_load(&stream.accepted));
    store_close(learn_store);
    learn_store = NULL;
    test_postgres_stop(&server);
}

/* ---- what it says no to ---------------------------------------------------------------------- */

static void refuses(const char *where, enum status expected, const char *words)
{
    struct store *store = NULL;

    err = (struct error){0};
    cr_assert_eq(store_open(where, STORE_WRITE, &store, &err), expected, "%s: %s", where, err.text);
    cr_assert_not_null(strstr(err.text, words), "%s", err.text);
    cr_assert_null(strstr(err.text, "s3cret"), "%s", err.text);
}

Test(learn_server, what_cannot_be_opened_is_named_without_its_password)
{
    const struct test_postgres *server = learn_server();
    char where[TEST_POSTGRES_URL];

    refuses("postgresql://me:s3cret@/x?host=/nowhere", STATUS_UNREACHABLE,
            "\"postgresql://me/x?host=/nowhere\"");
    refuses("postgresql://me:s3cret@127.0.0.1:1/x", STATUS_UNREACHABLE, "127.0.0.1");
    refuses("postgresql://me:s3cret@[::1/x", STATUS_INVALID, "expected postgresql://");
    refuses("postgresql://me:s3cret@h/x?nothing=1", STATUS_INVALID, "cannot be read");
    refuses("mysql://me:s3cret@h/x", STATUS_INVALID, "\"mysql://...\"");
    snprintf(where, sizeof where, "postgresql://stillhouse:s3cret@/none?host=%s", server->folder);
    refuses(where, STATUS_UNREACHABLE, "does not exist");
    ask_server("CREATE DATABASE ascii ENCODING 'SQL_ASCII' LOCALE 'C' LOCALE_PROVIDER 'libc'"
               " TEMPLATE template0",
               NULL, 0);
    snprintf(where, sizeof where, "postgresql://stillhouse:s3cret@/ascii?host=%s", server->folder);
    refuses(where, STATUS_INVALID, "SQL_ASCII, expected UTF8");
    ask_server("CREATE ROLE few LOGIN PASSWORD 's3cret' CONNECTION LIMIT 0", NULL, 0);
    snprintf(where, sizeof where, "postgresql://few:s3cret@/postgres?host=%s", server->folder);
    refuses(where, STATUS_UNREACHABLE, "too many connections");
    ask_server("CREATE ROLE guest LOGIN", NULL, 0);
    snprintf(where, sizeof where, "postgresql://guest@/postgres?host=%s", server->folder);
    refuses(where, STATUS_FAILED, "permission denied");
}

Test(learn_server, a_role_that_may_read_reads_and_changes_nothing)
{
    const struct part part = learn_part("execution", "t", "j", DAY);
    const struct test_postgres *server = learn_server();
    char where[TEST_POSTGRES_URL];
    struct store *reader = NULL;
    struct store_state state;

    learn_put(&part);
    ask_server("CREATE ROLE analyst LOGIN; GRANT USAGE ON SCHEMA stillhouse TO analyst;"
               "GRANT SELECT ON ALL TABLES IN SCHEMA stillhouse TO analyst",
               NULL, 0);
    snprintf(where, sizeof where, "postgresql://analyst@/learn_%d?host=%s", (int)getpid(),
             server->folder);
    OK(store_open(where, STORE_READ, &reader, &err));
    OK(store_look(reader, &state, &err));
    cr_assert_eq(state.executions, 1);
    cr_assert_eq(store_put(reader, &part, 1, &err), STATUS_FAILED);
    store_close(reader);
    OK(store_open(where, STORE_CHANGE, &reader, &err));
    cr_assert_eq(store_put(reader, &part, 1, &err), STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, "permission denied"), "%s", err.text);
    store_close(reader);
    ask_server("DROP OWNED BY analyst; DROP ROLE analyst", NULL, 0);
}

Test(learn_server, a_server_that_only_reads_or_ends_the_connection_takes_nothing_and_then_again_all)
{
    const struct part part = learn_part("execution", "t", "j", DAY);
    char sql[200];

    snprintf(sql, sizeof sql, "ALTER DATABASE learn_%d SET default_transaction_read_only = on",
             (int)getpid());
    ask_server(sql, NULL, 0);
    store_close(learn_store);
    learn_store = NULL;
    refuses(learn_path, STATUS_FAILED, "read-only");
    snprintf(sql, sizeof sql, "ALTER DATABASE learn_%d RESET default_transaction_read_only",
             (int)getpid());
    test_postgres_ask(learn_server(), "postgres", sql, NULL, 0);
    learn_reopen(learn_path);
    ask_server("SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
               " WHERE application_name = 'stillhouse' AND datname = current_database()",
               NULL, 0);
    const enum status status = store_put(learn_store, &part, 1, &err);
    cr_assert(status == STATUS_UNAVAILABLE || status == STATUS_UNREACHABLE, "%s", err.text);
    cr_assert_eq(store_put(learn_store, &part, 1, &err), STATUS_UNREACHABLE);
    learn_reopen(learn_path);
    learn_put(&part);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 1);
}

Test(learn_server, a_text_that_no_server_holds_is_the_parts_fault_and_not_the_servers)
{
    struct part parts[] = {learn_part("execution", "t1", "j1", DAY),
                           learn_part("execution", "t2", "j2", DAY),
                           learn_part("execution", "t3", "j3", DAY)};

    parts[1].body.task_description = (struct slice){"a\0b", 3};
    cr_assert_eq(store_put(learn_store, parts, 3, &err), STATUS_INVALID, "%s", err.text);
    parts[1].body.task_description = slice_of("a\xff");
    cr_assert_eq(store_put(learn_store, parts, 3, &err), STATUS_INVALID, "%s", err.text);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 0);
    learn_put(&parts[0]);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 1);
}

/* As behind a pooler that gives each transaction another connection. */
Test(learn_server, no_statement_has_the_name_of_anothers_and_one_that_is_lost_says_why)
{
    const struct part part = learn_part("execution", "t", "j", DAY);
    static const char names[] = "SELECT min(substr(name, strpos(name, '_') + 1)) AS mark,"
                                " count(DISTINCT substr(name, strpos(name, '_'))) AS marks"
                                " FROM pg_prepared_statements";
    struct store *other = NULL;
    struct rows rows;
    char marks[2][40];

    OK(store_open(learn_path, STORE_WRITE, &other, &err));
    struct store *const stores[] = {learn_store, other};
    for (int i = 0; i < 2; i++) {
        OK(store_put(stores[i], &part, 1, &err));
        OK(database_ask(store_database(stores[i]), names, NULL, 0, &rows, &err));
        cr_assert_eq(rows_next(&rows, &err), ROWS_ONE);
        const struct slice mark = rows_value(&rows, 0).text;
        snprintf(marks[i], sizeof marks[i], "%.*s", (int)mark.bytes, mark.data);
        cr_assert_eq(rows_value(&rows, 1).integer, 1);
        OK(rows_end(&rows));
        const int place = database_place(store_database(stores[i]));
        cr_assert(place >= 1 && place <= DATABASE_PLACES, "%d", place);
    }
    cr_assert_str_neq(marks[0], marks[1]);
    OK(database_run(store_database(other), "DEALLOCATE ALL", &err));
    cr_assert_eq(store_put(other, &part, 1, &err), STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, "a pooler in between"), "%s", err.text);
    store_close(other);
}

Test(learn_server, copies_and_their_return_are_said_to_be_the_servers)
{
    char copy[260];

    snprintf(copy, sizeof copy, "%s/copy", learn_folder);
    cr_assert_eq(store_backup(learn_store, copy, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "pg_dump"), "%s", err.text);
    cr_assert_eq(store_restore(learn_path, copy, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "pg_restore"), "%s", err.text);
}

#define THINGS "SELECT count(*) FROM pg_class WHERE relnamespace = 'stillhouse'::regnamespace"

Test(learn_server, a_version_goes_down_and_up_and_keeps_its_rows)
{
    const struct part part = learn_part("execution", "t", "j", DAY);
    struct store_migration down = {.to = 1};
    struct store_migration up = {.to = 0};

    learn_put(&part);
    store_close(learn_store);
    learn_store = NULL;
    OK(store_migrate(learn_path, &down, &err));
    cr_assert_eq(store_open(learn_path, STORE_READ, &learn_store, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "\"postgresql://stillhouse"), "%s", err.text);
    cr_assert_not_null(strstr(err.text, "has version 1, expected "), "%s", err.text);
    OK(store_migrate(learn_path, &up, &err));
    cr_assert_eq(up.from, 1);
    learn_reopen(learn_path);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 1);
}

/* To put it back, two schemas are renamed. */
Test(learn_server, a_step_down_keeps_a_copy_that_is_a_whole_store_and_never_one_over_another)
{
    const struct part before = learn_part("execution", "t", "j", DAY);
    const struct part after = learn_part("execution", "t2", "j2", DAY);
    struct store_migration trial = {.to = 1, .is_trial = true};
    struct store_migration down = {.to = 1};
    struct store_migration again = {.to = 1};
    struct store_migration up = {.to = 0};
    struct store_checked checked;

    learn_put(&before);
    const int64_t tables = learn_number(THINGS);
    store_close(learn_store);
    learn_store = NULL;
    OK(store_migrate(learn_path, &trial, &err));
    OK(store_migrate(learn_path, &down, &err));
    cr_assert_str_eq(down.copy, "stillhouse_version_3");
    cr_assert_str_eq(trial.copy, down.copy);
    OK(store_migrate(learn_path, &up, &err));
    cr_assert_eq(store_migrate(learn_path, &again, &err), STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, down.copy), "%s", err.text);

    learn_reopen(learn_path);
    learn_run("DELETE FROM executions; DELETE FROM counts;"
              "ALTER SCHEMA stillhouse RENAME TO stillhouse_after;"
              "ALTER SCHEMA stillhouse_version_3 RENAME TO stillhouse");
    learn_reopen(learn_path);
    cr_assert_eq(learn_number(THINGS), tables);
    learn_put(&after);
    learn_refresh(DAY);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 2);
    OK(store_check(learn_store, DAY, &checked, &err));
    cr_assert_gt(checked.groups, 0);
}

Test(learn_server, who_has_it_open_writes_nothing_into_another_version)
{
    const struct part part = learn_part("execution", "t", "j", DAY);
    struct store_migration down = {.to = 1};

    OK(store_migrate(learn_path, &down, &err));
    cr_assert_eq(store_put(learn_store, &part, 1, &err), STATUS_UNAVAILABLE);
    cr_assert_not_null(strstr(err.text, "version 1 by now"), "%s", err.text);
    store_close(learn_store);
    OK(store_open(learn_path, STORE_WRITE, &learn_store, &err));
    learn_put(&part);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 1);
}

/* ---- plans ----------------------------------------------------------------------------------- */

Test(learn_server, no_question_reads_the_executions_from_end_to_end)
{
    static char sql[32][8000];

    learn_run("INSERT INTO executions (domain, task_id, at_ms, incomplete, task_type, model_tier,"
              " pool_type, stamps) SELECT 'd' || i % 50, 't' || i, 1728000000000 + i * 1000, 0,"
              " 'fix', 'small', '', '' FROM generate_series(1, 20000) AS i");
    learn_run("ANALYZE");
    for (size_t i = 0; i < questions_count; i++) {
        const struct store_question *question = &questions[i];
        struct value with[QUESTION_PARAMETERS_MAX + 1];
        struct rows rows;
        size_t count = 0;

        if (question->sql == NULL) {
            continue;
        }
        for (; count < QUESTION_PARAMETERS_MAX && question->parameters[count].name != NULL;
             count++) {
            with[count] = question->parameters[count].is_integer
                              ? value_integer(1728000000000 + 19900 * 1000)
                              : value_str("d7");
        }
        if (question->takes_now) {
            with[count++] = value_integer(1728020000000);
        }
        snprintf(sql[i], sizeof sql[i], "EXPLAIN %s", question->sql);
        OK(database_ask(store_database(learn_store), sql[i], with, count, &rows, &err));
        while (rows_next(&rows, &err) == ROWS_ONE) {
            const struct slice step = rows_value(&rows, 0).text;
            cr_assert_null(memmem(step.data, step.bytes, "Seq Scan on executions",
                                  strlen("Seq Scan on executions")),
                           "%s: %.*s", question->name, (int)step.bytes, step.data);
        }
        OK(rows_end(&rows));
    }
}

Test(learn_server, a_database_without_a_store_has_nothing_to_read)
{
    char where[TEST_POSTGRES_URL];
    struct store *store = NULL;

    learn_place("fresh", where);
    cr_assert_eq(store_open(where, STORE_READ, &store, &err), STATUS_NOT_FOUND);
    cr_assert_not_null(strstr(err.text, "has no schema stillhouse yet"), "%s", err.text);
}

Test(learn_server, a_commit_of_what_failed_before_is_no_commit)
{
    struct database *database = store_database(learn_store);

    OK(database_begin(database, &err));
    OK(database_run(database, "DELETE FROM meta", &err));
    cr_assert_eq(database_run(database, "SELECT nothing", &err), STATUS_FAILED);
    cr_assert_eq(database_commit(database, &err), STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, "rolled back"), "%s", err.text);
    cr_assert_gt(learn_number("SELECT count(*) FROM meta"), 0);
}

/* ---- much at once ---------------------------------------------------------------------------- */

static enum status count_bytes(void *context, size_t set, const struct rows *rows,
                               struct error *failed)
{
    size_t *bytes = context;

    (void)set;
    (void)failed;
    *bytes += rows_value(rows, 0).text.bytes;
    return STATUS_OK;
}

/* Each side would wait for the other to read. */
Test(learn_server, questions_and_answers_that_no_socket_holds_pass_each_other)
{
    enum { SETS = 256, BYTES = 100000 };
    static char text[BYTES];
    static struct value with[SETS];
    size_t bytes = 0;

    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < SETS; i++) {
        with[i] = value_text((struct slice){text, sizeof text});
    }
    const struct many many = {.sql = "SELECT $1",
                              .with = with,
                              .count = 1,
                              .sets = SETS,
                              .take = count_bytes,
                              .context = &bytes};
    OK(database_many(store_database(learn_store), &many, NULL, &err));
    cr_assert_eq(bytes, (size_t)SETS * BYTES);
}

/* ---- what is no server of ours --------------------------------------------------------------- */

/* AuthenticationOk, ParameterStatus of the version and the encodings, ReadyForQuery. */
#define GREETING(version)                                                                          \
    SEND_BYTES("R\0\0\0\x08\0\0\0\0"                                                               \
               "S\0\0\0\x19server_version\0" version "\0"                                          \
               "S\0\0\0\x19server_encoding\0UTF8\0"                                                \
               "S\0\0\0\x19"                                                                       \
               "client_encoding\0UTF8\0"                                                           \
               "Z\0\0\0\x05I",                                                                     \
               9 + 3 * 26 + 6)

static void refuses_server(const struct fake_step *script, enum status expected, const char *words)
{
    struct fake_server *server = fake_server_start(script);
    char where[200];

    snprintf(where, sizeof where,
             "postgresql://me:s3cret@127.0.0.1:%d/x?sslmode=disable&gssencmode=disable",
             fake_server_port(server));
    refuses(where, expected, words);
    const char *fault = fake_server_stop(server);
    cr_assert_null(fault, "%s", fault);
}

Test(learn_server, a_server_that_is_too_old_is_named_with_what_is_expected)
{
    static const struct fake_step script[] = {EXPECT("stillhouse"), GREETING("12.22"), END};

    refuses_server(script, STATUS_INVALID, "is PostgreSQL 12, expected 13 or later");
}

Test(learn_server, a_server_that_says_what_no_server_says_is_left)
{
    static const struct fake_step script[] = {EXPECT("stillhouse"), GREETING("16.10"),
                                              EXPECT("search_path"),
                                              SEND("HTTP/1.1 400 Bad Request\r\n\r\n"), END};

    refuses_server(script, STATUS_UNREACHABLE, "synchronization");
}
