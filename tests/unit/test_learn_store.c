/* The learning store on a file of its own: what is put comes out, in whatever order it came. */
#include <cJSON.h>
#include <criterion/criterion.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "learn/columns.h"
#include "learn/schema.h"
#include "learn_fixture.h"
#include "ok.h"

static struct error err;

static const int64_t DAY = LEARN_DAY;

TestSuite(learn_store, .init = learn_setup, .fini = learn_teardown);
TestSuite(learn_file, .init = learn_setup, .fini = learn_teardown); /* what a server has not */

/* The rows, the views and the counts. */
static void check_is_whole(void)
{
    struct store_checked checked;

    OK(store_check(learn_store, DAY + 1000, &checked, &err));
    cr_assert_eq(checked.apart, 0);
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

Test(learn_store, a_file_that_is_no_store_is_refused)
{
    struct store *other = NULL;
    char name[240];

    snprintf(name, sizeof name, "%s/garbage.db", learn_folder);
    FILE *file = fopen(name, "w");
    for (int i = 0; i < 200; i++) {
        fputs("this is no database at all", file);
    }
    fclose(file);
    cr_assert_eq(store_open(name, STORE_WRITE, &other, &err), STATUS_INVALID);
    cr_assert_null(other);

    snprintf(name, sizeof name, "%s/none.db", learn_folder);
    cr_assert_eq(store_open(name, STORE_READ, &other, &err), STATUS_NOT_FOUND);
}

/* ---- merge ----------------------------------------------------------------------------------- */

Test(learn_store, the_later_value_of_each_column_stands)
{
    struct part routing = learn_part("routing", "t", "a", DAY);
    struct part outcome = learn_part("outcome", "t", "b", DAY + 1);
    struct part late = learn_part("outcome", "t", "c", DAY - 1);

    routing.body.model_tier = slice_of("small");
    outcome.body.success = (struct maybe_truth){true, true};
    outcome.body.model_tier = slice_of("large");
    late.body.model_tier = slice_of("never");
    late.body.retries = (struct maybe_integer){3, true};
    learn_put(&outcome);
    cr_assert_eq(learn_number("SELECT incomplete FROM executions"), 1);
    learn_put(&late);
    learn_put(&routing);
    cr_assert_eq(
        learn_number(
            "SELECT model_tier = 'large' AND success = 1 AND retries = 3 AND incomplete = 0"
            " FROM executions"),
        1);
    cr_assert_eq(learn_number("SELECT at_ms FROM executions"), DAY + 1);
}

Test(learn_store, a_repeated_part_changes_and_marks_nothing)
{
    const struct part part = learn_part("execution", "t", "j", DAY);

    learn_put(&part);
    learn_refresh(DAY + 1000);
    learn_put(&part);
    cr_assert_eq(learn_number("SELECT count(*) FROM dirty"), 0);
}

Test(learn_store, texts_come_out_as_they_went_in)
{
    static const char text[] =
        "'; DROP TABLE executions; -- $(reboot) `x` \"\\ % _ \xc3\xa9 \xf0\x9f\x8d\xb6\n\t";
    struct part part = learn_part("execution", "t'; --", "j", DAY);
    struct meta_pair pair = {slice_of(text), {.type = META_STRING, .string = slice_of(text)}};
    struct rows rows;

    for (size_t i = 0; i < merged_executions.count; i++) {
        if (merged_executions.columns[i].type == FIELD_TEXT) {
            *(struct slice *)((char *)&part.body + merged_executions.columns[i].at) =
                slice_of(text);
        }
    }
    part.body.metadata = (struct metadata){&pair, 1, {NULL, 0}};
    learn_put(&part);
    for (size_t i = 0; i < merged_executions.count; i++) {
        const struct column *column = &merged_executions.columns[i];
        char sql[100];
        if (column->type != FIELD_TEXT) {
            continue;
        }
        snprintf(sql, sizeof sql, "SELECT %s FROM executions", column->name);
        OK(database_ask(store_database(learn_store), learn_lasting(sql), NULL, 0, &rows, &err));
        cr_assert_eq(rows_next(&rows, &err), ROWS_ONE);
        cr_assert(slice_equal(rows_value(&rows, 0).text, slice_of(text)), "%s", column->name);
        OK(rows_end(&rows));
    }
    OK(database_ask(store_database(learn_store), "SELECT metadata FROM executions", NULL, 0, &rows,
                    &err));
    cr_assert_eq(rows_next(&rows, &err), ROWS_ONE);
    const struct slice metadata = rows_value(&rows, 0).text;
    cJSON *parsed = cJSON_ParseWithLength(metadata.data, metadata.bytes);
    cr_assert_str_eq(cJSON_GetObjectItem(parsed, text)->valuestring, text);
    cJSON_Delete(parsed);
    OK(rows_end(&rows));
}

/* ---- deletion -------------------------------------------------------------------------------- */

Test(learn_store, what_is_old_goes_in_slices_with_all_that_hangs_on_it)
{
    struct store_expired expired;

    for (int i = 0; i < 10; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        struct part part = learn_part("execution", name, name, DAY + i);
        struct part feedback = learn_part("feedback", name, name, DAY + 50);
        if (i != 8) {
            part.body.task_description = slice_of("about something");
        }
        learn_put(&part);
        learn_put(&feedback);
    }
    learn_refresh(DAY + 1000);
    OK(store_expire(learn_store, DAY + 7, 0, 5, &expired, &err));
    cr_assert_eq(expired.executions, 5);
    cr_assert_eq(expired.feedback, 5);
    OK(store_expire(learn_store, DAY + 7, 0, 5, &expired, &err));
    cr_assert_eq(expired.executions, 2);
    cr_assert_eq(expired.described_count, 0, "the vectors of what is old end by themselves");
    cr_assert_eq(learn_number("SELECT count(*) FROM feedback"), 3);
    learn_refresh(DAY + 1000);
    cr_assert_eq(learn_number("SELECT sum(executions) FROM tier_performance"), 3);
    OK(store_expire(learn_store, 0, 1, 100, &expired, &err));
    cr_assert_eq(expired.executions, 3);
    cr_assert_eq(expired.described_count, 2);
    for (size_t i = 0; i < 2; i++) { /* t8 had no description */
        cr_assert(slice_equal(expired.described[i].domain, slice_of("acme.shop")));
        cr_assert(slice_equal(expired.described[i].task_id, slice_of(i == 0 ? "t7" : "t9")));
    }
    learn_refresh(DAY + 1000);
    cr_assert_eq(learn_number("SELECT count(*) FROM tier_performance"), 0);
    check_is_whole();
}

static void put_pool(const char *pool, int64_t at_ms)
{
    struct part part = learn_part("pool_start", "", pool, at_ms);

    part.body.task_id = (struct slice){NULL, 0};
    part.body.pool_id = slice_of(pool);
    learn_put(&part);
}

static void put_policy(const char *domain, const char *job, int64_t at_ms)
{
    struct part part = learn_part("policy", "", job, at_ms);

    part.domain = slice_of(domain);
    part.body.strictness = slice_of("high");
    learn_put(&part);
}

Test(learn_store, pools_policies_and_names_that_were_forgotten_expire_too)
{
    const int64_t day = 86400000;
    const struct part kept = learn_part("execution", "t", "j", DAY);
    struct store_expired expired;
    size_t deleted = 0;

    put_pool("old", DAY - 5 * day);
    put_pool("new", DAY);
    put_policy("acme.shop", "p1", DAY - 5 * day); /* stands as long as its domain has executions */
    put_policy("gone", "p2", DAY - 5 * day);
    put_policy("new", "p3", DAY);
    learn_put(&kept);
    for (int i = 0; i < 3; i++) { /* a part may be a day ahead of the time it is forgotten at */
        const struct forget what = {.domain = slice_of("acme.shop"),
                                    .task_id = slice_of(i == 0   ? "f1"
                                                        : i == 1 ? "f2"
                                                                 : "f3"),
                                    .now_unix_ms = DAY - (3 - i) * day,
                                    .rows = 1};
        OK(store_forget(learn_store, &what, &deleted, &err));
    }
    OK(store_expire(learn_store, DAY - day, 0, 100, &expired, &err));
    cr_assert_eq(expired.executions, 0);
    cr_assert_eq(expired.pools, 1);
    cr_assert_eq(expired.policies, 1);
    cr_assert_eq(expired.forgotten, 1);
    cr_assert_eq(store_expired_rows(&expired), 3);
    cr_assert_eq(learn_number("SELECT count(*) FROM pools WHERE pool_id = 'new'"), 1);
    cr_assert_eq(learn_number("SELECT count(*) FROM pools"), 1);
    cr_assert_eq(learn_number("SELECT count(*) FROM policies WHERE domain = 'gone'"), 0);
    cr_assert_eq(learn_number("SELECT count(*) FROM policies"), 2);
    cr_assert_eq(learn_number("SELECT count(*) FROM forgotten"), 2);
    OK(store_expire(learn_store, DAY - day, 0, 100, &expired, &err));
    cr_assert_eq(store_expired_rows(&expired), 0);
    check_is_whole();
}

Test(learn_store, a_late_part_of_a_name_whose_hash_has_expired_goes_with_the_next_expiry)
{
    const int64_t before = DAY;
    const struct forget what = {.domain = slice_of("acme.shop"),
                                .task_id = slice_of("t"),
                                .now_unix_ms = before - 86400001,
                                .rows = 1};
    const struct part latest = learn_part("outcome", "t", "j", what.now_unix_ms + 86400000);
    struct store_expired expired;
    size_t deleted = 0;

    OK(store_forget(learn_store, &what, &deleted, &err));
    OK(store_expire(learn_store, before, 0, 100, &expired, &err));
    cr_assert_eq(expired.forgotten, 1);
    learn_put(&latest);
    OK(store_expire(learn_store, before, 0, 100, &expired, &err));
    cr_assert_eq(expired.executions, 1);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 0);
}

static int64_t file_bytes(void)
{
    struct store_state state;

    OK(store_look(learn_store, &state, &err));
    return state.bytes;
}

Test(learn_file, above_its_bytes_a_store_without_executions_loses_its_pools)
{
    struct store_expired expired;

    put_pool("first", DAY);
    put_pool("second", DAY + 1);
    OK(store_expire(learn_store, 0, 1, 1, &expired, &err));
    cr_assert_eq(expired.pools, 1);
    cr_assert_eq(learn_number("SELECT pool_id = 'second' FROM pools"), 1, "the oldest goes first");
}

Test(learn_file, above_its_bytes_a_store_loses_its_oldest_and_the_file_shrinks)
{
    enum { ROWS = 1000, TEXT = 2000, MOST = 1500000 };
    static char text[TEXT];
    struct store_expired expired = {.executions = 1};
    size_t gone = 0;

    memset(text, 'x', sizeof text);
    for (int i = 0; i < ROWS; i += 100) {
        struct part parts[100];
        char names[100][16];
        for (int k = 0; k < 100; k++) {
            snprintf(names[k], sizeof names[k], "t%d", i + k);
            parts[k] = learn_part(k % 10 == 0 ? "pool_start" : "execution", names[k], names[k],
                                  DAY + i + k);
            parts[k].body.pool_id = k % 10 == 0 ? slice_of(names[k]) : parts[k].body.pool_id;
            parts[k].body.task_description = (struct slice){text, sizeof text};
        }
        OK(store_put(learn_store, parts, 100, &err));
    }
    const int64_t before = file_bytes();
    cr_assert_gt(before, MOST);
    for (int i = 0; i < 1000 && expired.executions > 0; i++) {
        OK(store_expire(learn_store, 0, MOST, 50, &expired, &err));
        gone += expired.executions;
        cr_assert_leq(expired.executions, 50);
    }
    cr_assert_eq(expired.executions, 0);
    cr_assert_leq(file_bytes(), MOST);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), (int64_t)(ROWS - gone));
    cr_assert_gt(learn_number("SELECT count(*) FROM executions"), 0);
    cr_assert_eq(learn_number("SELECT min(at_ms) FROM executions"), DAY + (int64_t)gone);
    cr_assert_geq(learn_number("SELECT min(at_ms) FROM pools"), DAY + (int64_t)gone - 1);
    check_is_whole();

    /* Where only pools are left they are the oldest. */
    for (int i = 0; i < 1000 && learn_number("SELECT count(*) FROM pools") > 0; i++) {
        OK(store_expire(learn_store, 0, 1, 100, &expired, &err));
    }
    cr_assert_eq(learn_number("SELECT count(*) FROM pools"), 0);
}

Test(learn_store, a_forgotten_task_and_user_do_not_come_back)
{
    struct part of_ann = learn_part("execution", "t1", "j1", DAY);
    struct part of_bob = learn_part("execution", "t2", "j2", DAY);
    struct part late = learn_part("outcome", "t1", "j3", DAY + 5);
    struct part old_of_ann = learn_part("execution", "t4", "j4", DAY + 5);
    struct part new_of_ann = learn_part("execution", "t5", "j5", DAY + 20);
    struct part feedback = learn_part("feedback", "t2", "j6", DAY);
    size_t deleted = 0;

    of_ann.body.user = old_of_ann.body.user = new_of_ann.body.user = slice_of("ann");
    of_bob.body.user = slice_of("bob");
    feedback.body.user = slice_of("ann");
    learn_put(&of_ann);
    learn_put(&of_bob);
    learn_put(&feedback);
    const struct forget ann = {.user = slice_of("ann"), .now_unix_ms = DAY + 10, .rows = 100};
    OK(store_forget(learn_store, &ann, &deleted, &err));
    cr_assert_eq(deleted, 1);
    cr_assert_eq(learn_number("SELECT count(*) FROM feedback"), 0);
    learn_put(&of_ann);
    learn_put(&late);
    learn_put(&old_of_ann);
    learn_put(&feedback);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 1);
    cr_assert_eq(learn_number("SELECT count(*) FROM feedback"), 0);
    learn_put(&new_of_ann);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 2);

    const struct forget task = {.domain = slice_of("acme.shop"),
                                .task_id = slice_of("t2"),
                                .now_unix_ms = DAY,
                                .rows = 100};
    OK(store_forget(learn_store, &task, &deleted, &err));
    cr_assert_eq(deleted, 1);
    learn_put(&of_bob);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 1);
    cr_assert_eq(store_forget(learn_store, &(struct forget){.rows = 1}, &deleted, &err),
                 STATUS_INVALID);
}

Test(learn_store, a_late_part_that_names_a_forgotten_user_takes_its_task_along)
{
    struct part outcome = learn_part("outcome", "t", "j1", DAY);
    struct part routing = learn_part("routing", "t", "j2", DAY);
    struct part pool = learn_part("pool_start", "t", "j3", DAY);
    struct part rating = learn_part("feedback", "of-bob", "j4", DAY);
    size_t deleted = 0;

    routing.body.user = rating.body.user = slice_of("ann");
    rating.body.user_rating = (struct maybe_integer){5, true};
    pool.body.pool_id = slice_of("p");
    learn_put(&outcome);
    learn_put(&pool);
    const struct forget ann = {.user = slice_of("ann"), .now_unix_ms = DAY + 10, .rows = 100};
    OK(store_forget(learn_store, &ann, &deleted, &err));
    cr_assert_eq(deleted, 0, "nobody said yet whose it is");
    learn_put(&routing);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 0);
    learn_put(&outcome);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 0);
    cr_assert_eq(learn_number("SELECT task_id = '' FROM pools"), 1);
    learn_put(&rating);
    cr_assert_eq(learn_number("SELECT user_rating FROM executions WHERE task_id = 'of-bob'"), 5);
    cr_assert_eq(learn_number("SELECT count(*) FROM feedback"), 0);
    learn_refresh(DAY + 1000);
    check_is_whole();
}

/* ---- incomplete ------------------------------------------------------------------------------ */

/* Every order of five parts, of which one is the routing. */
Test(learn_store, what_came_without_its_routing_is_counted_until_it_comes_in_every_order)
{
    enum { EACH = 5, ORDERS = 120 };
    static const char *const kinds[EACH] = {"routing", "outcome", "feedback", "pool_end",
                                            "solution"};
    char tasks[ORDERS][16];
    char jobs[ORDERS * EACH][16];
    struct store_state state;
    int64_t expected = 0;
    size_t deleted = 0;

    for (int order = 0; order < ORDERS; order++) {
        int left[EACH] = {0, 1, 2, 3, 4};
        bool told = false;
        snprintf(tasks[order], sizeof tasks[order], "t%d", order);
        for (int i = 0, code = order; i < EACH; code /= EACH - i, i++) {
            const int at = code % (EACH - i);
            const int kind = left[at];
            memmove(&left[at], &left[at + 1], (size_t)(EACH - i - at - 1) * sizeof left[0]);
            snprintf(jobs[order * EACH + i], sizeof jobs[0], "j%d.%d", order, kind);
            const struct part part =
                learn_part(kinds[kind], tasks[order], jobs[order * EACH + i], DAY + kind);
            learn_put(&part);
            expected += i == 0 && kind != 0;
            expected -= i > 0 && kind == 0 && !told;
            told = told || kind == 0;
            OK(store_look(learn_store, &state, &err));
            cr_assert_eq(state.incomplete, expected, "order %d, part %d", order, i);
        }
    }
    cr_assert_eq(state.incomplete, 0);
    check_is_whole();

    const struct part alone[] = {
        learn_part("outcome", "a", "ja", DAY - 5), learn_part("feedback", "b", "jb", DAY - 5),
        learn_part("pool_start", "c", "jc", DAY - 5), learn_part("execution", "d", "jd", DAY - 5)};
    OK(store_put(learn_store, alone, 4, &err));
    OK(store_put(learn_store, alone, 4, &err));
    cr_assert_eq(learn_number("SELECT sum(incomplete) FROM counts"), 3);
    OK(store_forget(learn_store,
                    &(struct forget){.domain = slice_of("acme.shop"),
                                     .task_id = slice_of("b"),
                                     .now_unix_ms = DAY,
                                     .rows = 1},
                    &deleted, &err));
    cr_assert_eq(learn_number("SELECT sum(incomplete) FROM counts"), 2);
    check_is_whole();
    struct store_expired expired;
    OK(store_expire(learn_store, DAY, 0, 100, &expired, &err));
    cr_assert_eq(expired.executions, 3);
    cr_assert_eq(learn_number("SELECT sum(incomplete) FROM counts"), 0);
    check_is_whole();
}

/* ---- faults ---------------------------------------------------------------------------------- */

Test(learn_file, a_second_writer_is_told_who_has_the_store)
{
    struct store *other = NULL;
    char pid[20];

    snprintf(pid, sizeof pid, "%d", (int)getpid());
    cr_assert_eq(store_open(learn_path, STORE_WRITE, &other, &err), STATUS_UNAVAILABLE);
    cr_assert_not_null(strstr(err.text, pid), "%s", err.text);
    OK(store_open(learn_path, STORE_READ, &other, &err));
    cr_assert_str_eq(store_id(other), store_id(learn_store));
    store_close(other);
}

Test(learn_file, a_file_that_was_replaced_or_deleted_takes_nothing)
{
    const struct part part = learn_part("execution", "t", "j", DAY);
    char aside[260];

    snprintf(aside, sizeof aside, "%s.aside", learn_path);
    cr_assert_eq(rename(learn_path, aside), 0);
    cr_assert_eq(store_put(learn_store, &part, 1, &err), STATUS_UNAVAILABLE);
    FILE *file = fopen(learn_path, "w");
    fclose(file);
    cr_assert_eq(store_put(learn_store, &part, 1, &err), STATUS_UNAVAILABLE);
    cr_assert_not_null(strstr(err.text, "replaced"), "%s", err.text);
    cr_assert_eq(unlink(learn_path), 0);
    cr_assert_eq(rename(aside, learn_path), 0);
    learn_put(&part);
}

Test(learn_file, by_another_name_nobody_writes_to_it_either)
{
    char other[260];
    struct store *second = NULL;
    struct store_migration migration = {.to = 1};

    snprintf(other, sizeof other, "%s/other.db", learn_folder);
    cr_assert_eq(symlink("learn.db", other), 0);
    cr_assert_eq(store_open(other, STORE_WRITE, &second, &err), STATUS_UNAVAILABLE);
    cr_assert_not_null(strstr(err.text, "is being written by process"), "%s", err.text);
    cr_assert_eq(store_migrate(other, &migration, &err), STATUS_UNAVAILABLE);
    cr_assert_eq(store_restore(other, learn_path, &err), STATUS_UNAVAILABLE);
    OK(store_open(other, STORE_READ, &second, &err));
    store_close(second);

    cr_assert_eq(unlink(other), 0);
    cr_assert_eq(link(learn_path, other), 0);
    store_close(learn_store);
    learn_store = NULL;
    cr_assert_eq(store_open(other, STORE_WRITE, &second, &err), STATUS_UNAVAILABLE);
    cr_assert_not_null(strstr(err.text, "has 2 names"), "%s", err.text);
    cr_assert_eq(store_open(learn_path, STORE_WRITE, &second, &err), STATUS_UNAVAILABLE);
    cr_assert_eq(unlink(other), 0);
    learn_reopen(learn_path);
}

Test(learn_file, of_a_batch_that_finds_no_room_nothing_stands_and_it_may_come_again)
{
    static char big[200000];
    struct part parts[] = {learn_part("execution", "t1", "j1", DAY),
                           learn_part("execution", "t2", "j2", DAY)};
    char sql[60];

    memset(big, 'x', sizeof big);
    parts[1].body.task_description = (struct slice){big, sizeof big};
    snprintf(sql, sizeof sql, "PRAGMA max_page_count = %d",
             (int)learn_number("PRAGMA page_count") + 8);
    OK(database_run(store_database(learn_store), sql, &err));
    cr_assert_eq(store_put(learn_store, parts, 2, &err), STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, "full"), "%s", err.text);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 0);
    OK(database_run(store_database(learn_store), "PRAGMA max_page_count = 1000000", &err));
    OK(store_put(learn_store, parts, 2, &err));
    cr_assert_eq(learn_number("SELECT executions FROM counts"), 2);
}

Test(learn_store, a_reader_changes_nothing)
{
    const struct part part = learn_part("execution", "t", "j", DAY);
    struct store *reader = NULL;

    OK(store_open(learn_path, STORE_READ, &reader, &err));
    cr_assert_eq(store_put(reader, &part, 1, &err), STATUS_FAILED);
    store_close(reader);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 0);
}

Test(learn_file, a_locked_file_is_unavailable_and_a_copy_is_the_same_history)
{
    const struct part part = learn_part("execution", "t", "j", DAY);
    struct store *other = NULL;
    char copy[260];

    OK(store_open(learn_path, STORE_CHANGE, &other, &err));
    OK(database_begin(store_database(other), &err));
    cr_assert_eq(store_put(learn_store, &part, 1, &err), STATUS_UNAVAILABLE);
    database_rollback(store_database(other));
    store_close(other);
    learn_put(&part);

    snprintf(copy, sizeof copy, "%s/copy.db", learn_folder);
    OK(store_backup(learn_store, copy, &err));
    OK(store_open(copy, STORE_WRITE, &other, &err));
    cr_assert_str_eq(store_id(other), store_id(learn_store));
    struct store_state state;
    OK(store_look(other, &state, &err));
    cr_assert_eq(state.executions, 1);
    store_close(other);
}

Test(learn_file, a_copy_is_put_back_and_what_stood_there_is_kept)
{
    const struct part first = learn_part("execution", "t1", "j1", DAY);
    const struct part second = learn_part("execution", "t2", "j2", DAY);
    char copy[260];
    char old[260];
    struct store_migration trial = {.is_trial = true};
    struct store_migration up = {.to = 0};

    learn_put(&first);
    snprintf(copy, sizeof copy, "%s/copy.db", learn_folder);
    snprintf(old, sizeof old, "%s.part", copy);
    cr_assert_eq(close(open(old, O_CREAT | O_WRONLY, 0600)), 0); /* of who was killed */
    OK(store_backup(learn_store, copy, &err));
    cr_assert_eq(access(old, F_OK), -1);
    snprintf(old, sizeof old, "%s.before-restore", learn_path);
    cr_assert_eq(store_backup(learn_store, copy, &err), STATUS_FAILED);
    learn_put(&second);
    cr_assert_eq(store_restore(learn_path, copy, &err), STATUS_UNAVAILABLE);
    cr_assert_eq(store_migrate(learn_path, &up, &err), STATUS_UNAVAILABLE);
    OK(store_migrate(learn_path, &trial, &err));
    store_close(learn_store);
    learn_store = NULL;

    cr_assert_eq(trial.from, (int)schema_steps.count);
    cr_assert_eq(store_restore(learn_path, learn_folder, &err), STATUS_FAILED);
    OK(store_restore(learn_path, copy, &err));
    OK(store_open(old, STORE_READ, &learn_store, &err));
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 2);
    store_close(learn_store);
    OK(store_open(learn_path, STORE_WRITE, &learn_store, &err));
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 1);
    check_is_whole();
}

/* Its log must not be read as that of the copy. */
Test(learn_file, a_copy_is_put_back_while_somebody_reads_who_reads_on)
{
    char copy[300];
    char id[32];
    struct store *reader = NULL;
    struct value found;

    snprintf(copy, sizeof copy, "%s/copy.db", learn_folder);
    OK(store_backup(learn_store, copy, &err));
    for (int i = 0; i < 300; i++) {
        snprintf(id, sizeof id, "t%d", i);
        const struct part part = learn_part("execution", id, "j", DAY);
        learn_put(&part);
    }
    OK(store_open(learn_path, STORE_READ, &reader, &err));
    OK(database_run(store_database(reader), "BEGIN; SELECT count(*) FROM executions", &err));
    store_close(learn_store);
    learn_store = NULL;
    OK(store_restore(learn_path, copy, &err));

    OK(store_open(learn_path, STORE_WRITE, &learn_store, &err));
    OK(database_verify(store_database(learn_store), &err));
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 0);
    OK(database_find(store_database(reader), "SELECT count(*) FROM executions", NULL, 0, &found,
                     &err));
    cr_assert_eq(found.integer, 300);
    const struct part part = learn_part("execution", "t0", "j", DAY);
    learn_put(&part);
    store_close(reader);
    learn_put(&part);
    store_close(learn_store);
    OK(store_open(learn_path, STORE_WRITE, &learn_store, &err));
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 1);
}

Test(learn_file, a_copy_takes_the_place_of_what_is_damaged_or_lost_but_of_nobody_elses_database)
{
    const struct part part = learn_part("execution", "t1", "j1", DAY);
    char copy[300];
    char old[300];
    struct database *other = NULL;

    snprintf(copy, sizeof copy, "%s/copy.db", learn_folder);
    snprintf(old, sizeof old, "%s.before-restore", learn_path);
    learn_put(&part);
    OK(store_backup(learn_store, copy, &err));
    store_close(learn_store);
    learn_store = NULL;
    for (int i = 0; i < 2; i++) {
        cr_assert_eq(i == 0 ? truncate(learn_path, 5000) : unlink(learn_path), 0);
        OK(store_restore(learn_path, copy, &err));
        cr_assert_eq(access(old, F_OK), 0); /* the damaged one, and it still stays */
        OK(store_open(learn_path, STORE_READ, &learn_store, &err));
        cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 1);
        store_close(learn_store);
        learn_store = NULL;
    }

    cr_assert_eq(unlink(learn_path), 0);
    OK(database_open(learn_path, DATABASE_MAKE, &other, &err));
    OK(database_run(other, "CREATE TABLE theirs (a)", &err));
    database_close(other);
    cr_assert_eq(store_restore(learn_path, copy, &err), STATUS_INVALID);
    OK(store_open(copy, STORE_READ, &learn_store, &err));
    cr_assert_eq(store_backup(learn_store, "", &err), STATUS_INVALID);
}

/* Nothing is lost where one file cannot take another's place. */
Test(learn_file, a_copy_that_cannot_take_its_place_says_which_file_is_in_the_way)
{
    const struct part part = learn_part("execution", "t", "j", DAY);
    char copy[300];
    char aside[300];
    char log[300];

    snprintf(copy, sizeof copy, "%s/copy.db", learn_folder);
    snprintf(aside, sizeof aside, "%s.before-restore", learn_path);
    learn_put(&part);
    OK(store_backup(learn_store, copy, &err));
    store_close(learn_store);
    learn_store = NULL;
    cr_assert_eq(mkdir(aside, 0700), 0);
    cr_assert_eq(store_restore(learn_path, copy, &err), STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, aside), "%s", err.text);
    cr_assert_eq(rmdir(aside), 0);
    learn_reopen(learn_path);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 1);
    store_close(learn_store);
    learn_store = NULL;

    snprintf(log, sizeof log, "%s-wal", learn_path);
    snprintf(aside, sizeof aside, "%s.before-restore-wal", learn_path);
    cr_assert_eq(rename(learn_path, log), 0); /* a log whose file is lost */
    cr_assert_eq(mkdir(aside, 0700), 0);
    cr_assert_eq(store_restore(learn_path, copy, &err), STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, log), "%s", err.text);
    cr_assert_eq(rmdir(aside), 0);
    OK(store_restore(learn_path, copy, &err));
    learn_reopen(learn_path);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 1);
}

Test(learn_file, an_empty_file_is_no_copy)
{
    char copy[300];

    snprintf(copy, sizeof copy, "%s/copy.db", learn_folder);
    fclose(fopen(copy, "w"));
    store_close(learn_store);
    learn_store = NULL;
    cr_assert_eq(store_restore(learn_path, copy, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "the file is empty"), "%s", err.text);
    learn_reopen(learn_path);
    check_is_whole();
}

static void read_file(const char *name, char *bytes, size_t size)
{
    FILE *file = fopen(name, "rb");

    memset(bytes, 0, size);
    cr_assert_gt(fread(bytes, 1, size, file), 0);
    fclose(file);
}

/* What a careless hand takes for rubbish beside the file. */
Test(learn_file, a_log_that_is_deleted_takes_nothing_with_it)
{
    const struct part first = learn_part("execution", "t1", "j1", DAY);
    const struct part second = learn_part("execution", "t2", "j2", DAY);
    struct store *reader = NULL;
    char log[320];

    learn_put(&first);
    OK(store_open(learn_path, STORE_READ, &reader, &err)); /* the writer is not the last to close */
    snprintf(log, sizeof log, "%s-wal", learn_path);
    cr_assert_eq(unlink(log), 0);
    cr_assert_eq(store_put(learn_store, &second, 1, &err), STATUS_UNAVAILABLE);
    cr_assert_not_null(strstr(err.text, log), "%s", err.text);
    learn_reopen(learn_path);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 1);
    learn_put(&second);
    store_close(reader);
    learn_put(&second);
    learn_reopen(learn_path);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 2);
    check_is_whole();
}

struct taker {
    char part[320];
    atomic_bool ends;
};

/* As another does who makes a copy of the same name. */
static void *take_away(void *argument)
{
    struct taker *taker = argument;

    while (!atomic_load(&taker->ends)) {
        unlink(taker->part);
    }
    return NULL;
}

Test(learn_file, of_two_copies_of_one_name_none_stands_half_made)
{
    const int64_t until_ms = clock_now_ms() + 10000;
    struct taker taker = {.ends = false};
    pthread_t thread;
    char copy[300];
    enum status status = STATUS_OK;

    snprintf(copy, sizeof copy, "%s/copy.db", learn_folder);
    snprintf(taker.part, sizeof taker.part, "%s.part", copy);
    cr_assert_eq(pthread_create(&thread, NULL, take_away, &taker), 0);
    while (strstr(err.text, "another copy is being made") == NULL && clock_now_ms() < until_ms) {
        unlink(copy);
        status = store_backup(learn_store, copy, &err); /* the library may see it first */
        cr_assert(status == STATUS_OK || status == STATUS_FAILED, "%s", err.text);
    }
    atomic_store(&taker.ends, true);
    pthread_join(thread, NULL);
    cr_assert_eq(status, STATUS_FAILED, "%s", err.text);
    cr_assert_not_null(strstr(err.text, "copy.db\": another copy"), "%s", err.text);
    cr_assert_eq(access(copy, F_OK), -1);

    snprintf(copy, sizeof copy, "%s/no-such-folder/copy.db", learn_folder);
    cr_assert_eq(store_backup(learn_store, copy, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "No such file"), "%s", err.text);
}

Test(learn_file, a_copy_that_fails_leaves_no_file)
{
    char copy[300];
    const struct rlimit little = {64 * 1024, RLIM_INFINITY};
    const struct rlimit all = {RLIM_INFINITY, RLIM_INFINITY};

    snprintf(copy, sizeof copy, "%s/copy.db", learn_folder);
    signal(SIGXFSZ, SIG_IGN);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &little), 0);
    cr_assert_eq(store_backup(learn_store, copy, &err), STATUS_FAILED, "%s", err.text);
    cr_assert_eq(setrlimit(RLIMIT_FSIZE, &all), 0);
    cr_assert_eq(access(copy, F_OK), -1);
    cr_assert_eq(store_backup(learn_store, ":memory:", &err), STATUS_INVALID);
    cr_assert_eq(access(":memory:", F_OK), -1);
    OK(store_backup(learn_store, copy, &err));
}

/* Another program's may have a table `meta` with a version, as browsers' do. */
Test(learn_file, another_programs_database_is_refused_and_not_a_byte_of_it_is_changed)
{
    enum { BYTES = 1 << 16 };
    static char before[BYTES];
    static char after[BYTES];
    char theirs[300];
    char sql[600];
    struct store *other = NULL;
    struct store_migration up = {.to = 0};

    snprintf(theirs, sizeof theirs, "%s/theirs.db", learn_folder);
    snprintf(sql, sizeof sql,
             "ATTACH '%s' AS theirs; CREATE TABLE theirs.meta (key TEXT, value TEXT);"
             "INSERT INTO theirs.meta VALUES ('version', '1'); DETACH theirs",
             theirs);
    OK(database_run(store_database(learn_store), sql, &err));
    read_file(theirs, before, BYTES);
    cr_assert_eq(store_open(theirs, STORE_WRITE, &other, &err), STATUS_INVALID);
    cr_assert_eq(store_open(theirs, STORE_CHANGE, &other, &err), STATUS_INVALID);
    cr_assert_eq(store_migrate(theirs, &up, &err), STATUS_INVALID);
    read_file(theirs, after, BYTES);
    cr_assert_arr_eq(before, after, BYTES);
}

static void refuses_place(const char *path, enum status expected, const char *words)
{
    struct store *other = NULL;

    err = (struct error){0};
    cr_assert_eq(store_open(path, STORE_WRITE, &other, &err), expected, "%.80s: %s", path,
                 err.text);
    cr_assert_not_null(strstr(err.text, words), "%s", err.text);
}

Test(learn_file, a_place_where_no_file_can_be_says_why)
{
    static char path[5000];
    char lock[300];

    memset(path, 'x', sizeof path - 1);
    refuses_place(path, STATUS_INVALID, "too long");
    snprintf(path, sizeof path, "%s/none/learn.db", learn_folder);
    refuses_place(path, STATUS_FAILED, "learn.db.lock\": No such file");
    snprintf(path, sizeof path, "%s/full.db", learn_folder);
    snprintf(lock, sizeof lock, "%s.lock", path);
    cr_assert_eq(symlink("/dev/full", lock), 0); /* where the process cannot be noted */
    refuses_place(path, STATUS_FAILED, "full.db.lock\": ");
    cr_assert_eq(access(path, F_OK), -1);
    cr_assert_eq(chdir(learn_folder), 0);
    refuses_place(":memory:", STATUS_UNAVAILABLE, "\":memory:\": No such file");
}

Test(learn_file, a_file_that_is_damaged_is_found_by_reading_all_of_it)
{
    const struct part part = learn_part("execution", "t", "j", DAY);
    struct store_checked checked;

    learn_put(&part);
    learn_run("PRAGMA writable_schema = ON;"
              "UPDATE sqlite_master SET sql = replace(sql, ' repo TEXT,', ' repo TEXT NOT NULL,')"
              " WHERE name = 'executions'; PRAGMA writable_schema = OFF");
    learn_reopen(learn_path);
    cr_assert_eq(store_check(learn_store, DAY, &checked, &err), STATUS_INVALID);
    cr_assert_not_null(strstr(err.text, "is damaged: NULL value in executions.repo"), "%s",
                       err.text);
}

/* Of a statement's parameters the library counts those that it has not seen before. */
Test(learn_file, a_statement_whose_parameters_are_not_counted_from_one_is_refused)
{
    const struct value with[] = {value_integer(1)};

    cr_assert_eq(database_do(store_database(learn_store), "SELECT $2", with, 1, NULL, &err),
                 STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, "is no $1..$1"), "%s", err.text);
}

Test(learn_file, a_text_that_no_file_holds_is_the_parts_fault)
{
    enum { MOST = 1000000001 }; /* the library takes a billion, and reads no longer one */
    struct part part = learn_part("execution", "t", "j", DAY);
    void *text = mmap(NULL, MOST, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    cr_assert_neq(text, MAP_FAILED);
    part.body.model = (struct slice){text, MOST};
    cr_assert_eq(store_put(learn_store, &part, 1, &err), STATUS_INVALID, "%s", err.text);
    part.body.model = slice_of("m");
    learn_put(&part);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 1);
    munmap(text, MOST);
}

/* ---- what both kinds of stores say alike ------------------------------------------------------
 */

Test(learn_store, minus_zero_is_zero)
{
    struct part part = learn_part("execution", "t1", "j1", DAY);
    struct value found;

    part.body.actual_cost = (struct maybe_number){-0.0, true};
    learn_put(&part);
    OK(database_find(store_database(learn_store), "SELECT actual_cost FROM executions", NULL, 0,
                     &found, &err));
    cr_assert_eq(found.type, VALUE_NUMBER);
    cr_assert_not(signbit(found.number));
}

Test(learn_store, no_part_of_a_servers_url_becomes_the_name_of_a_file)
{
    struct store_migration migration = {.to = 1, .is_trial = true};

    OK(store_migrate(learn_path, &migration, &err));
    cr_assert_null(strstr(migration.copy, "://"), "%s", migration.copy);
    cr_assert_eq(store_restore("postgresql://user:secret@host/base", learn_path, &err),
                 STATUS_INVALID);
    cr_assert_null(strstr(err.text, "secret"), "%s", err.text);
    cr_assert_not_null(strstr(err.text, "pg_restore"), "%s", err.text);
}

/* As where a schema is dropped, or a file written over, and the next who comes begins anew. */
Test(learn_store, another_history_behind_an_open_store_takes_nothing)
{
    const struct part part = learn_part("execution", "t1", "j1", DAY);

    learn_run("UPDATE meta SET value = 'another' WHERE key = 'store_id'");
    cr_assert_eq(store_put(learn_store, &part, 1, &err), STATUS_UNAVAILABLE);
    cr_assert_not_null(strstr(err.text, store_id(learn_store)), "%s", err.text);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 0);
    learn_reopen(learn_path);
    learn_put(&part);
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), 1);
}

Test(learn_store, what_a_rule_of_the_schema_refuses_is_the_values_fault)
{
    const struct value with[] = {value_str("version"), value_str("1")};

    cr_assert_eq(database_do(store_database(learn_store),
                             "INSERT INTO meta (key, value) VALUES ($1, $2)", with, 2, NULL, &err),
                 STATUS_INVALID, "%s", err.text);
}

Test(learn_store, a_statement_is_asked_once_at_a_time_and_with_all_its_values)
{
    static const char sql[] = "SELECT $1 + 1";
    const struct value with[] = {value_integer(1), value_integer(2)};
    struct database *database = store_database(learn_store);
    struct rows rows;
    struct rows more;

    OK(database_ask(database, sql, with, 1, &rows, &err));
    cr_assert_eq(database_ask(database, sql, with, 1, &more, &err), STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, "being asked already"), "%s", err.text);
    cr_assert_eq(rows_next(&rows, &err), ROWS_ONE);
    cr_assert_eq(rows_value(&rows, 0).integer, 2);
    OK(rows_end(&rows));
    cr_assert_eq(database_ask(database, sql, with, 2, &more, &err), STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, "too few or many"), "%s", err.text);
    OK(database_do(database, sql, with, 1, NULL, &err));
}

Test(learn_store, of_statements_there_is_a_bound)
{
    enum { MANY = 200 };
    static char sql[MANY][24]; /* each is known by its address */
    enum status status = STATUS_OK;

    for (int i = 0; i < MANY && status == STATUS_OK; i++) {
        snprintf(sql[i], sizeof sql[i], "SELECT %d", i);
        status = database_do(store_database(learn_store), sql[i], NULL, 0, NULL, &err);
    }
    cr_assert_eq(status, STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, " statements"), "%s", err.text);
    OK(database_do(store_database(learn_store), sql[0], NULL, 0, NULL, &err));
}

static struct strbuf listed;

static void take_line(struct strbuf *line)
{
    strbuf_append(&listed, line->data, line->bytes);
    strbuf_reset(line);
}

Test(learn_store, what_is_listed_as_parts_has_its_metadata_as_json)
{
    struct meta_pair pair = {slice_of("say \"it\""), {.type = META_INT, .integer = 7}};
    struct part part = learn_part("execution", "t", "j", DAY);

    part.body.metadata = (struct metadata){&pair, 1, {NULL, 0}};
    learn_put(&part);
    OK(store_list_parts(learn_store, 0, take_line, &err));
    cr_assert_not_null(strstr(listed.data, ",\"metadata\":{\"say \\\"it\\\"\":7}}\n"), "%s",
                       listed.data);
    strbuf_free(&listed);
}
