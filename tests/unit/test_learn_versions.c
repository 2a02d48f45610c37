/* Stores of other versions: what each released version left opens and keeps all that is in it, goes
 * down again to what it was, and up; what is newer than the program is refused.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "learn/schema.h"
#include "learn_fixture.h"
#include "ok.h"

static struct error err;

static const int64_t NOW = LEARN_DAY + 100000;

/* Every released version but the newest has its SQL text in tests/lib. */
static void make_version(size_t version)
{
    static char sql[64 * 1024];
    char name[512];
    struct database *database = NULL;
    const char *source = getenv("STILLHOUSE_TEST_SOURCE");

    cr_assert_not_null(source, "STILLHOUSE_TEST_SOURCE is not set: give it the source tree");
    snprintf(name, sizeof name, "%s/tests/lib/learn_version_%zu.sql", source, version);
    FILE *file = fopen(name, "r");
    cr_assert_not_null(file, "%s", name);
    sql[fread(sql, 1, sizeof sql - 1, file)] = '\0';
    fclose(file);
    store_close(learn_store);
    learn_store = NULL;
    snprintf(learn_path, sizeof learn_path, "%s/version-%zu.db", learn_folder, version);
    OK(database_open(learn_path, DATABASE_MAKE, &database, &err));
    OK(database_run(database, sql, &err));
    database_close(database);
}

TestSuite(learn_versions, .init = learn_setup, .fini = learn_teardown);

/* The texts that made the tables and indexes, in the order of their names. */
static void list_schema(const char *path, struct strbuf *out)
{
    struct database *database = NULL;
    struct rows rows;

    OK(database_open(path, DATABASE_READ, &database, &err));
    OK(database_ask(database,
                    "SELECT sql FROM sqlite_master WHERE sql IS NOT NULL ORDER BY type, name", NULL,
                    0, &rows, &err));
    while (rows_next(&rows, &err) == ROWS_ONE) {
        const struct slice sql = rows_value(&rows, 0).text;
        strbuf_append(out, sql.data, sql.bytes);
        strbuf_append_char(out, '\n');
    }
    OK(rows_end(&rows));
    database_close(database);
}

static void is_whole(void)
{
    struct store_checked checked;

    OK(store_check(learn_store, NOW, &checked, &err));
}

static void migrate(int from, int to)
{
    struct store_migration migration = {.to = to};

    store_close(learn_store);
    learn_store = NULL;
    OK(store_migrate(learn_path, &migration, &err));
    cr_assert_eq(migration.from, from);
    cr_assert_eq(migration.to, to == 0 ? (int)schema_steps.count : to);
}

Test(learn_versions, a_file_of_each_opens_and_what_is_in_it_goes_on)
{
    for (size_t version = 1; version < schema_steps.count; version++) {
        struct store *other = NULL;
        char said[64];
        make_version(version);
        snprintf(said, sizeof said, "has version %zu, expected %zu", version, schema_steps.count);
        cr_assert_eq(store_open(learn_path, STORE_READ, &other, &err), STATUS_INVALID);
        cr_assert_not_null(strstr(err.text, said), "%s", err.text);
        learn_reopen(learn_path);
        cr_assert_str_eq(store_id(learn_store), "cdfe11c08c9a2e6aad0d49de9b940f29");
        is_whole();

        struct part again = learn_part("routing", "t-1", "j1", LEARN_DAY);
        again.body.model_tier = slice_of("small");
        again.body.user = slice_of("ann");
        learn_put(&again);
        cr_assert_eq(learn_number("SELECT count(*) FROM dirty"), 0, "it is there already");
        struct part late = learn_part("outcome", "t-1", "j9", LEARN_DAY + 500);
        late.body.duration_seconds = (struct maybe_number){99, true};
        late.body.quality_score = (struct maybe_number){70, true};
        learn_put(&late);
        const struct part routing = learn_part("routing", "t-2", "j8", LEARN_DAY);
        learn_put(&routing);
        const struct part forgotten = learn_part("outcome", "t-9", "j7", LEARN_DAY);
        learn_put(&forgotten);
        learn_refresh(NOW);
        is_whole();
        cr_assert_eq(learn_number("SELECT duration_seconds = 12.5 AND quality_score = 70"
                                  " AND user_rating = 4 AND arm = 'enriched' FROM executions"
                                  " WHERE task_id = 't-1'"),
                     1);
        cr_assert_eq(learn_number("SELECT sum(incomplete) FROM counts"), 0);
        cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 2);
        cr_assert_eq(learn_number("SELECT count(*) FROM arm_performance"), 2);
        cr_assert_eq(learn_number("SELECT sum(metered) FROM tier_performance"), 1);
    }
}

Test(learn_versions, every_step_goes_up_down_and_up_with_all_that_was_in_it)
{
    const int newest = (int)schema_steps.count;
    struct strbuf first = {0};
    struct strbuf again = {0};
    struct strbuf made = {0};
    struct strbuf left = {0};
    char copy[512];

    make_version(1);
    list_schema(learn_path, &made);
    learn_reopen(learn_path);
    learn_dump(&first);
    for (int round = 0; round < 2; round++) {
        migrate(newest, 1);
        strbuf_reset(&left);
        list_schema(learn_path, &left);
        cr_assert_str_eq(left.data, made.data);
        snprintf(copy, sizeof copy, "%s.version-%d", learn_path, newest);
        cr_assert_eq(access(copy, R_OK), 0, "%s", copy);
        if (round == 0) { /* a copy is never written over: without it nothing is done */
            learn_reopen(learn_path);
            struct store_migration down = {.to = 1};
            store_close(learn_store);
            learn_store = NULL;
            cr_assert_eq(store_migrate(learn_path, &down, &err), STATUS_FAILED);
            cr_assert_not_null(strstr(err.text, "is there already"), "%s", err.text);
            cr_assert_eq(unlink(copy), 0);
            migrate(newest, 1);
        }
        migrate(1, 0);
        learn_reopen(learn_path);
        strbuf_reset(&again);
        learn_dump(&again);
        cr_assert_str_eq(again.data, first.data);
        is_whole();
        if (round == 0) {
            learn_reopen(copy); /* which is a store of its own */
            is_whole();
            store_close(learn_store);
            learn_store = NULL;
            cr_assert_eq(unlink(copy), 0);
        }
    }
    strbuf_free(&first);
    strbuf_free(&again);
    strbuf_free(&made);
    strbuf_free(&left);
}

Test(learn_versions, a_copy_of_an_older_version_is_put_back_and_goes_up)
{
    char old[300];

    make_version(1);
    snprintf(old, sizeof old, "%s", learn_path);
    snprintf(learn_path, sizeof learn_path, "%s/learn.db", learn_folder);
    OK(store_restore(learn_path, old, &err));
    learn_reopen(learn_path);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 2);
    is_whole();
}

Test(learn_versions, a_trial_tells_the_steps_and_changes_nothing)
{
    struct store_migration up = {.is_trial = true};
    struct store_migration down = {.is_trial = true, .to = 1};
    struct strbuf before = {0};
    struct strbuf after = {0};

    store_close(learn_store);
    learn_store = NULL;
    list_schema(learn_path, &before);
    OK(store_migrate(learn_path, &down, &err));
    cr_assert_eq(down.from, (int)schema_steps.count);
    cr_assert_neq(down.copy[0], '\0');
    cr_assert_neq(access(down.copy, F_OK), 0);
    list_schema(learn_path, &after);
    cr_assert_str_eq(before.data, after.data);

    make_version(1);
    OK(store_migrate(learn_path, &up, &err));
    cr_assert_eq(up.from, 1);
    cr_assert_eq(up.to, (int)schema_steps.count);
    cr_assert_eq(up.copy[0], '\0');
    strbuf_free(&before);
    strbuf_free(&after);
}

/* Than which a copy's name would be longer than it can be told. */
Test(learn_versions, a_step_down_from_a_path_that_leaves_no_room_for_its_copys_name_is_not_taken)
{
    struct store_migration down = {.to = 1};
    char folder[600];
    char path[700];
    int used = snprintf(folder, sizeof folder, "%s", learn_folder);

    store_close(learn_store);
    learn_store = NULL;
    for (int i = 0; i < 2; i++) {
        used += snprintf(folder + used, sizeof folder - (size_t)used, "/%0200d", 0);
        cr_assert_eq(mkdir(folder, 0700), 0);
    }
    snprintf(path, sizeof path, "%s/%0*d", folder,
             (int)(sizeof down.copy - sizeof ".version-") - used - 1, 0);
    learn_reopen(path);
    store_close(learn_store);
    learn_store = NULL;
    cr_assert_eq(store_migrate(path, &down, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "too long"), "%s", err.text);
    learn_reopen(path);
    is_whole();
}

/* A step that fails half way leaves the version that was, whole. */
Test(learn_versions, a_step_that_fails_changes_nothing)
{
    struct schema_step steps[] = {schema_steps.steps[0],
                                  schema_steps.steps[1],
                                  schema_steps.steps[2],
                                  {.up = "ALTER TABLE pools ADD COLUMN more TEXT;"
                                         "CREATE INDEX nothing ON no_such_table (x)",
                                   .down = "SELECT 1"}};
    const struct schema_list list = {steps, 4};
    struct strbuf before = {0};
    struct strbuf after = {0};

    cr_assert_eq(schema_steps.count, 3, "one step more: give the list above all of them");
    list_schema(learn_path, &before);
    cr_assert_eq(schema_migrate(store_database(learn_store), &list, 4, &err), STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, "from version 3 to 4"), "%s", err.text);
    list_schema(learn_path, &after);
    cr_assert_str_eq(before.data, after.data);
    strbuf_free(&before);
    strbuf_free(&after);
}

Test(learn_versions, a_newer_file_is_refused_and_both_versions_are_named)
{
    static const enum store_mode modes[] = {STORE_READ, STORE_WRITE, STORE_CHANGE};
    struct store_migration migration = {.to = 1};
    struct store *other = NULL;

    learn_run("UPDATE meta SET value = '9' WHERE key = 'version'");
    store_close(learn_store);
    learn_store = NULL;
    for (size_t i = 0; i < 3; i++) {
        cr_assert_eq(store_open(learn_path, modes[i], &other, &err), STATUS_INVALID);
        cr_assert_not_null(strstr(err.text, "version 9"), "%s", err.text);
        cr_assert_not_null(strstr(err.text, "versions up to 3"), "%s", err.text);
    }
    cr_assert_eq(store_migrate(learn_path, &migration, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "version 9"), "%s", err.text);
}
