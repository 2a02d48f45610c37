/* The learning store on a file of its own: what is put comes out, in whatever order it came. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "folder.h"
#include "learn/columns.h"
#include "learn/database.h"
#include "learn/schema.h"
#include "learn/store.h"
#include "learn/views.h"
#include "ok.h"

static char folder[200];
static char path[240];
static struct store *store;
static struct error err;

static const int64_t DAY = 20000 * INT64_C(86400000); /* a midnight */

static void setup(void)
{
    test_folder_make(folder, sizeof folder);
    snprintf(path, sizeof path, "%s/learn.db", folder);
    OK(store_open(path, STORE_WRITE, &store, &err));
}

static void teardown(void)
{
    store_close(store);
    test_folder_remove(folder);
}

TestSuite(learn_store, .init = setup, .fini = teardown);

static struct part part_of(const char *kind, const char *task, const char *job, int64_t at_ms)
{
    return (struct part){.domain = slice_of("acme.shop"),
                         .job_id = slice_of(job),
                         .at_ms = at_ms,
                         .body = {.kind = slice_of(kind), .task_id = slice_of(task)}};
}

static void put(const struct part *part)
{
    OK(store_put(store, part, 1, &err));
}

static int64_t number(const char *sql)
{
    struct value found;

    OK(database_find(store_database(store), sql, NULL, 0, &found, &err));
    return found.type == VALUE_NUMBER ? (int64_t)found.number : found.integer;
}

static void refresh(void)
{
    size_t left = 1;

    for (int i = 0; i < 1000 && left > 0; i++) {
        OK(store_refresh(store, DAY + 1000, 100, &left, &err));
    }
    cr_assert_eq(left, 0);
}

/* A statement is known by the address of its text, which therefore stays. */
static const char *lasting(const char *sql)
{
    static char *kept[64];
    static size_t count;

    cr_assert_lt(count, 64);
    kept[count] = strdup(sql);
    return kept[count++];
}

/* A hash of all rows of a table, in the order of their keys. */
static void hash_table(const struct merged *table, char out[TEXT_HASH_CHARS + 1])
{
    char sql[2000];
    struct strbuf all = {0};
    struct rows rows;
    size_t used = (size_t)snprintf(sql, sizeof sql, "SELECT stamps, metadata, at_ms");

    for (size_t i = 0; i < table->count; i++) {
        used += (size_t)snprintf(sql + used, sizeof sql - used, ", %s", table->columns[i].name);
    }
    snprintf(sql + used, sizeof sql - used, " FROM %s ORDER BY domain, %s", table->name,
             table->key);
    OK(database_ask(store_database(store), lasting(sql), NULL, 0, &rows, &err));
    while (rows_next(&rows, &err) == ROWS_ONE) {
        for (size_t i = 0; i < table->count + 3; i++) {
            const struct value value = rows_value(&rows, (int)i);
            strbuf_printf(&all, "%d|%lld|%.17g|", value.type, (long long)value.integer,
                          value.number);
            strbuf_append(&all, value.text.data, value.text.bytes);
        }
    }
    OK(rows_end(&rows));
    text_hash_raw(all.data, all.bytes, out);
    strbuf_free(&all);
}

/* ---- schema ---------------------------------------------------------------------------------- */

static bool has_column(const struct merged *table, struct slice name)
{
    for (size_t i = 0; i < table->count; i++) {
        if (slice_equal(slice_of(table->columns[i].name), name)) {
            return true;
        }
    }
    return false;
}

Test(learn_store, the_columns_are_the_fields_of_an_execution)
{
    const struct kind_shape *shape = job_kinds[KIND_record].shape;
    size_t count = 0;

    for (size_t i = 0; i < shape->count; i++) {
        const struct kind_field *field = &shape->fields[i];
        const char *name = field->name.data;
        if (!kind_has(field, slice_of("execution")) || field->type == FIELD_METADATA ||
            field->type == FIELD_WORD || strcmp(name, "task_id") == 0 ||
            strcmp(name, "at_ms") == 0) {
            continue;
        }
        cr_assert(has_column(&merged_executions, field->name), "%s is no column", name);
        count++;
    }
    cr_assert_eq(count, merged_executions.count);
}

Test(learn_store, a_version_goes_up_down_and_up_and_keeps_what_is_in_it)
{
    const struct schema_step steps[] = {
        schema_steps.steps[0],
        {"ALTER TABLE policies ADD COLUMN more TEXT", "ALTER TABLE policies DROP COLUMN more"}};
    const struct schema_list two = {steps, 2};
    const struct part part = part_of("outcome", "t", "j", DAY);
    size_t version = 0;

    put(&part);
    for (int round = 0; round < 2; round++) {
        OK(schema_migrate(store_database(store), &two, 2, &err));
        cr_assert_eq(
            number("SELECT count(*) FROM pragma_table_info('policies') WHERE name = 'more'"), 1);
        cr_assert_eq(schema_version(store_database(store), &schema_steps, &version, &err),
                     STATUS_INVALID);
        cr_assert_not_null(strstr(err.text, "version 2"), "%s", err.text);
        cr_assert_not_null(strstr(err.text, "up to 1"), "%s", err.text);
        OK(schema_migrate(store_database(store), &two, 1, &err));
    }
    cr_assert_eq(number("SELECT count(*) FROM executions"), 1);
}

Test(learn_store, a_newer_file_and_a_stranger_are_refused)
{
    struct store *other = NULL;
    char name[240];

    OK(database_run(store_database(store), "UPDATE meta SET value = '9' WHERE key = 'version'",
                    &err));
    store_close(store);
    store = NULL;
    cr_assert_eq(store_open(path, STORE_WRITE, &other, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "version 9"), "%s", err.text);

    snprintf(name, sizeof name, "%s/garbage.db", folder);
    FILE *file = fopen(name, "w");
    for (int i = 0; i < 200; i++) {
        fputs("this is no database at all", file);
    }
    fclose(file);
    cr_assert_eq(store_open(name, STORE_WRITE, &other, &err), STATUS_INVALID);
    cr_assert_null(other);

    snprintf(name, sizeof name, "%s/none.db", folder);
    cr_assert_eq(store_open(name, STORE_READ, &other, &err), STATUS_NOT_FOUND);
}

/* ---- merge ----------------------------------------------------------------------------------- */

Test(learn_store, the_later_value_of_each_column_stands)
{
    struct part routing = part_of("routing", "t", "a", DAY);
    struct part outcome = part_of("outcome", "t", "b", DAY + 1);
    struct part late = part_of("outcome", "t", "c", DAY - 1);

    routing.body.model_tier = slice_of("small");
    outcome.body.success = (struct maybe_truth){true, true};
    outcome.body.model_tier = slice_of("large");
    late.body.model_tier = slice_of("never");
    late.body.retries = (struct maybe_integer){3, true};
    put(&outcome);
    cr_assert_eq(number("SELECT incomplete FROM executions"), 1);
    put(&late);
    put(&routing);
    cr_assert_eq(
        number("SELECT model_tier = 'large' AND success = 1 AND retries = 3 AND NOT incomplete"
               " FROM executions"),
        1);
    cr_assert_eq(number("SELECT at_ms FROM executions"), DAY + 1);
}

enum { TASKS = 60, PARTS = 1500 };

static struct part random_part(unsigned *seed, size_t i)
{
    static const char *const kinds[] = {"routing", "outcome", "execution", "feedback",
                                        "pool_start"};
    static const char *const tiers[] = {"small", "medium", "large"};
    static char jobs[PARTS][24];
    static char tasks[TASKS][16];
    static struct meta_pair pairs[PARTS];
    const size_t task = (size_t)rand_r(seed) % TASKS;

    snprintf(jobs[i], sizeof jobs[i], "job-%zu", i);
    snprintf(tasks[task], sizeof tasks[task], "task-%zu", task);
    struct part part = part_of(kinds[rand_r(seed) % 5], tasks[task], jobs[i],
                               DAY + rand_r(seed) % 50); /* many at the same moment */
    const bool is_feedback = strcmp(part.body.kind.data, "feedback") == 0;
    if (rand_r(seed) % 2 == 0) {
        part.body.model_tier = slice_of(tiers[rand_r(seed) % 3]);
    }
    if (rand_r(seed) % 2 == 0) {
        part.body.duration_seconds = (struct maybe_number){rand_r(seed) % 1000 / 8.0, true};
    }
    if (rand_r(seed) % 3 == 0) {
        part.body.success = (struct maybe_truth){rand_r(seed) % 2 == 0, true};
    }
    if (is_feedback) {
        part.body.user_rating = (struct maybe_integer){1 + rand_r(seed) % 5, true};
    }
    if (rand_r(seed) % 3 == 0) {
        part.body.solution_summary = slice_of(tiers[rand_r(seed) % 3]);
    }
    pairs[i] = (struct meta_pair){slice_of(tiers[rand_r(seed) % 3]),
                                  {.type = META_INT, .integer = rand_r(seed) % 9}};
    part.body.metadata = (struct metadata){&pairs[i], 1, {NULL, 0}};
    return part;
}

Test(learn_store, any_order_and_any_repetition_over_restarts_gives_the_rows_of_the_ordered_run)
{
    static struct part parts[2 * PARTS];
    char ordered[TEXT_HASH_CHARS + 1];
    char shuffled[TEXT_HASH_CHARS + 1];
    unsigned seed = 7;

    for (size_t i = 0; i < PARTS; i++) {
        parts[i] = parts[PARTS + i] = random_part(&seed, i);
    }
    OK(store_put(store, parts, PARTS, &err));
    hash_table(&merged_executions, ordered);
    const int64_t feedback = number("SELECT count(*) FROM feedback");

    store_close(store);
    snprintf(path, sizeof path, "%s/shuffled.db", folder);
    OK(store_open(path, STORE_WRITE, &store, &err));
    for (size_t i = 2 * PARTS - 1; i > 0; i--) {
        const size_t k = (size_t)rand_r(&seed) % (i + 1);
        const struct part part = parts[i];
        parts[i] = parts[k];
        parts[k] = part;
    }
    for (size_t i = 0; i < 2 * PARTS; i += 50) {
        OK(store_put(store, &parts[i], 50, &err));
        if (i == 1000 || i == 2000) {
            store_close(store);
            OK(store_open(path, STORE_WRITE, &store, &err));
        }
    }
    hash_table(&merged_executions, shuffled);
    cr_assert_str_eq(ordered, shuffled);
    cr_assert_eq(number("SELECT count(*) FROM feedback"), feedback);
    cr_assert_eq(number("SELECT executions FROM counts"),
                 number("SELECT count(*) FROM executions"));
    cr_assert_eq(number("SELECT incomplete FROM counts"),
                 number("SELECT sum(incomplete) FROM executions"));
    OK(store_check(store, &err));
}

Test(learn_store, a_repeated_part_changes_and_marks_nothing)
{
    const struct part part = part_of("execution", "t", "j", DAY);

    put(&part);
    refresh();
    put(&part);
    cr_assert_eq(number("SELECT count(*) FROM dirty"), 0);
}

Test(learn_store, texts_come_out_as_they_went_in)
{
    static const char text[] =
        "'; DROP TABLE executions; -- $(reboot) `x` \"\\ % _ \xc3\xa9 \xf0\x9f\x8d\xb6\n\t";
    struct part part = part_of("execution", "t'; --", "j", DAY);
    struct meta_pair pair = {slice_of(text), {.type = META_STRING, .string = slice_of(text)}};
    struct rows rows;

    for (size_t i = 0; i < merged_executions.count; i++) {
        if (merged_executions.columns[i].type == FIELD_TEXT) {
            *(struct slice *)((char *)&part.body + merged_executions.columns[i].at) =
                slice_of(text);
        }
    }
    part.body.metadata = (struct metadata){&pair, 1, {NULL, 0}};
    put(&part);
    for (size_t i = 0; i < merged_executions.count; i++) {
        const struct column *column = &merged_executions.columns[i];
        char sql[100];
        if (column->type != FIELD_TEXT) {
            continue;
        }
        snprintf(sql, sizeof sql, "SELECT %s FROM executions", column->name);
        OK(database_ask(store_database(store), lasting(sql), NULL, 0, &rows, &err));
        cr_assert_eq(rows_next(&rows, &err), ROWS_ONE);
        cr_assert(slice_equal(rows_value(&rows, 0).text, slice_of(text)), "%s", column->name);
        OK(rows_end(&rows));
    }
    cr_assert_eq(number("SELECT json_valid(metadata) FROM executions"), 1);
}

/* ---- views ----------------------------------------------------------------------------------- */

Test(learn_store, the_views_are_those_of_the_rows_and_p95_is_exact)
{
    for (int i = 1; i <= 100; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", (i * 37) % 101);
        struct part part = part_of("execution", name, name, DAY + i);
        part.body.model_tier = slice_of("small");
        part.body.task_type = slice_of("fix");
        part.body.pool_type = slice_of("warm");
        part.body.solution_summary = slice_of("add an index");
        part.body.success = (struct maybe_truth){i % 4 != 0, true};
        part.body.duration_seconds = (struct maybe_number){(i * 37) % 101, true};
        put(&part);
    }
    refresh();
    cr_assert_eq(number("SELECT executions = 100 AND successes = 75 FROM tier_performance"), 1);
    cr_assert_eq(number("SELECT duration_p95 FROM tier_performance"), 95);
    cr_assert_eq(number("SELECT duration_p95 FROM pool_performance"), 95);
    cr_assert_eq(
        number("SELECT uses = 100 AND successes = 75 AND task_types = 'fix' FROM solutions"), 1);

    bool drifted = true;
    OK(store_check_group(store, 5, &drifted, &err));
    cr_assert_not(drifted);
    OK(database_run(store_database(store), "UPDATE tier_performance SET successes = 76", &err));
    OK(store_check_group(store, 5, &drifted, &err));
    cr_assert(drifted);
    OK(store_check_group(store, 5, &drifted, &err));
    cr_assert_not(drifted);
}

/* ---- deletion -------------------------------------------------------------------------------- */

Test(learn_store, what_is_old_goes_in_slices_with_all_that_hangs_on_it)
{
    size_t deleted = 0;

    for (int i = 0; i < 10; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        struct part part = part_of("execution", name, name, DAY + i);
        struct part feedback = part_of("feedback", name, name, DAY + 50);
        put(&part);
        put(&feedback);
    }
    refresh();
    OK(store_expire(store, DAY + 7, 0, 5, &deleted, &err));
    cr_assert_eq(deleted, 5);
    OK(store_expire(store, DAY + 7, 0, 5, &deleted, &err));
    cr_assert_eq(deleted, 2);
    cr_assert_eq(number("SELECT count(*) FROM feedback"), 3);
    refresh();
    cr_assert_eq(number("SELECT sum(executions) FROM tier_performance"), 3);
    OK(store_expire(store, 0, 1, 100, &deleted, &err));
    cr_assert_eq(deleted, 3);
    refresh();
    cr_assert_eq(number("SELECT count(*) FROM tier_performance"), 0);
    OK(store_check(store, &err));
}

Test(learn_store, a_forgotten_task_and_user_do_not_come_back)
{
    struct part of_ann = part_of("execution", "t1", "j1", DAY);
    struct part of_bob = part_of("execution", "t2", "j2", DAY);
    struct part late = part_of("outcome", "t1", "j3", DAY + 5);
    struct part old_of_ann = part_of("execution", "t4", "j4", DAY + 5);
    struct part new_of_ann = part_of("execution", "t5", "j5", DAY + 20);
    struct part feedback = part_of("feedback", "t2", "j6", DAY);
    size_t deleted = 0;

    of_ann.body.user = old_of_ann.body.user = new_of_ann.body.user = slice_of("ann");
    of_bob.body.user = slice_of("bob");
    feedback.body.user = slice_of("ann");
    put(&of_ann);
    put(&of_bob);
    put(&feedback);
    const struct forget ann = {.user = slice_of("ann"), .now_unix_ms = DAY + 10, .rows = 100};
    OK(store_forget(store, &ann, &deleted, &err));
    cr_assert_eq(deleted, 1);
    cr_assert_eq(number("SELECT count(*) FROM feedback"), 0);
    put(&of_ann);
    put(&late);
    put(&old_of_ann);
    put(&feedback);
    cr_assert_eq(number("SELECT count(*) FROM executions"), 1);
    cr_assert_eq(number("SELECT count(*) FROM feedback"), 0);
    put(&new_of_ann);
    cr_assert_eq(number("SELECT count(*) FROM executions"), 2);

    const struct forget task = {.domain = slice_of("acme.shop"),
                                .task_id = slice_of("t2"),
                                .now_unix_ms = DAY,
                                .rows = 100};
    OK(store_forget(store, &task, &deleted, &err));
    cr_assert_eq(deleted, 1);
    put(&of_bob);
    cr_assert_eq(number("SELECT count(*) FROM executions"), 1);
    cr_assert_eq(store_forget(store, &(struct forget){.rows = 1}, &deleted, &err), STATUS_INVALID);
}

/* ---- faults ---------------------------------------------------------------------------------- */

Test(learn_store, a_second_writer_is_told_who_has_the_store)
{
    struct store *other = NULL;
    char pid[20];

    snprintf(pid, sizeof pid, "%d", (int)getpid());
    cr_assert_eq(store_open(path, STORE_WRITE, &other, &err), STATUS_UNAVAILABLE);
    cr_assert_not_null(strstr(err.text, pid), "%s", err.text);
    OK(store_open(path, STORE_READ, &other, &err));
    cr_assert_str_eq(store_id(other), store_id(store));
    store_close(other);
}

Test(learn_store, a_file_that_was_replaced_or_deleted_takes_nothing)
{
    const struct part part = part_of("execution", "t", "j", DAY);
    char aside[260];

    snprintf(aside, sizeof aside, "%s.aside", path);
    cr_assert_eq(rename(path, aside), 0);
    cr_assert_eq(store_put(store, &part, 1, &err), STATUS_UNAVAILABLE);
    FILE *file = fopen(path, "w");
    fclose(file);
    cr_assert_eq(store_put(store, &part, 1, &err), STATUS_UNAVAILABLE);
    cr_assert_not_null(strstr(err.text, "replaced"), "%s", err.text);
    cr_assert_eq(unlink(path), 0);
    cr_assert_eq(rename(aside, path), 0);
    put(&part);
}

Test(learn_store, of_a_batch_that_finds_no_room_nothing_stands_and_it_may_come_again)
{
    static char big[200000];
    struct part parts[] = {part_of("execution", "t1", "j1", DAY),
                           part_of("execution", "t2", "j2", DAY)};
    char sql[60];

    memset(big, 'x', sizeof big);
    parts[1].body.task_description = (struct slice){big, sizeof big};
    snprintf(sql, sizeof sql, "PRAGMA max_page_count = %d", (int)number("PRAGMA page_count") + 8);
    OK(database_run(store_database(store), sql, &err));
    cr_assert_eq(store_put(store, parts, 2, &err), STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, "full"), "%s", err.text);
    cr_assert_eq(number("SELECT count(*) FROM executions"), 0);
    OK(database_run(store_database(store), "PRAGMA max_page_count = 1000000", &err));
    OK(store_put(store, parts, 2, &err));
    cr_assert_eq(number("SELECT executions FROM counts"), 2);
}

Test(learn_store, a_reader_changes_nothing)
{
    const struct part part = part_of("execution", "t", "j", DAY);
    struct store *reader = NULL;

    OK(store_open(path, STORE_READ, &reader, &err));
    cr_assert_eq(store_put(reader, &part, 1, &err), STATUS_FAILED);
    store_close(reader);
    cr_assert_eq(number("SELECT count(*) FROM executions"), 0);
}

Test(learn_store, a_locked_file_is_unavailable_and_a_copy_is_the_same_history)
{
    const struct part part = part_of("execution", "t", "j", DAY);
    struct store *other = NULL;
    char copy[260];

    OK(store_open(path, STORE_CHANGE, &other, &err));
    OK(database_begin(store_database(other), &err));
    cr_assert_eq(store_put(store, &part, 1, &err), STATUS_UNAVAILABLE);
    database_rollback(store_database(other));
    store_close(other);
    put(&part);

    snprintf(copy, sizeof copy, "%s/copy.db", folder);
    OK(store_backup(store, copy, &err));
    OK(store_open(copy, STORE_WRITE, &other, &err));
    cr_assert_str_eq(store_id(other), store_id(store));
    struct store_state state;
    OK(store_look(other, &state, &err));
    cr_assert_eq(state.executions, 1);
    store_close(other);
}

Test(learn_store, a_copy_is_put_back_and_what_stood_there_is_kept)
{
    const struct part first = part_of("execution", "t1", "j1", DAY);
    const struct part second = part_of("execution", "t2", "j2", DAY);
    char copy[260];
    char old[260];
    int version = 0;

    put(&first);
    snprintf(copy, sizeof copy, "%s/copy.db", folder);
    snprintf(old, sizeof old, "%s.before-restore", path);
    OK(store_backup(store, copy, &err));
    cr_assert_eq(store_backup(store, copy, &err), STATUS_FAILED);
    put(&second);
    cr_assert_eq(store_restore(path, copy, &err), STATUS_UNAVAILABLE);
    cr_assert_eq(store_migrate(path, 0, true, &version, &err), STATUS_UNAVAILABLE);
    store_close(store);
    store = NULL;

    OK(store_migrate(path, 0, true, &version, &err));
    cr_assert_eq(version, (int)schema_steps.count);
    cr_assert_eq(store_migrate(path, 99, false, &version, &err), STATUS_INVALID);
    cr_assert_eq(store_restore(path, folder, &err), STATUS_FAILED);
    OK(store_restore(path, copy, &err));
    OK(store_open(old, STORE_READ, &store, &err));
    cr_assert_eq(number("SELECT count(*) FROM executions"), 2);
    store_close(store);
    OK(store_open(path, STORE_WRITE, &store, &err));
    cr_assert_eq(number("SELECT count(*) FROM executions"), 1);
    OK(store_check(store, &err));
}
