/* The learning store on short memory: of all that is done to it the 1st, 2nd, 3rd ... allocation of
 * ours fails, until none is left to fail. What failed says so and leaves nothing behind, and the
 * same call after it is a good one. Then each call of the database's library fails that may, at
 * several places: what failed says so, and the same again makes it whole. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "broken_library.h"
#include "folder.h"
#include "learn_fixture.h"
#include "ok.h"
#include "short_memory.h"

enum { FAILURES_MAX = 4000 };

/* What comes out of an arena's block that is there already is an allocation too. */
void *__real_arena_array(struct arena *arena, size_t count, size_t size);
void *__wrap_arena_array(struct arena *arena, size_t count, size_t size);
char *__real_arena_copy(struct arena *arena, const void *data, size_t bytes);
char *__wrap_arena_copy(struct arena *arena, const void *data, size_t bytes);

void *__wrap_arena_array(struct arena *arena, size_t count, size_t size)
{
    return short_memory > 0 && --short_memory == 0 ? NULL : __real_arena_array(arena, count, size);
}

char *__wrap_arena_copy(struct arena *arena, const void *data, size_t bytes)
{
    return short_memory > 0 && --short_memory == 0 ? NULL : __real_arena_copy(arena, data, bytes);
}

static const int64_t NOW = LEARN_DAY + 1000;

/* ---- what is done ---------------------------------------------------------------------------- */

static struct error err;

static enum status put(void)
{
    static char text[90000]; /* of which a few need a block of their own */
    struct meta_pair pair = {slice_of("branch"), {.type = META_STRING, .string = slice_of("x")}};
    struct part parts[] = {
        learn_part("execution", "t-1", "j1", LEARN_DAY),
        learn_part("outcome", "t-1", "j2", LEARN_DAY),
        learn_part("feedback", "t-2", "j3", LEARN_DAY),
        learn_part("pool_start", "t-2", "j4", LEARN_DAY),
        learn_part("policy", "", "j5", LEARN_DAY),
        learn_part("outcome", "t-3", "j6", LEARN_DAY),
    };

    memset(text, 'x', sizeof text);
    parts[0].body.task_description = (struct slice){text, sizeof text};
    parts[0].body.solution_summary = slice_of("add an index");
    parts[0].body.metadata = parts[1].body.metadata = parts[2].body.metadata =
        (struct metadata){&pair, 1, {NULL, 0}};
    parts[1].body.error_message = (struct slice){text, sizeof text};
    parts[3].body.pool_id = slice_of("p");
    parts[5].body.user = slice_of("ann");
    return store_put(learn_store, parts, 6, &err);
}

static enum status again(void)
{
    const struct part part = learn_part("routing", "t-1", "j9", LEARN_DAY + 1);

    return store_put(learn_store, &part, 1, &err);
}

static enum status refresh(void)
{
    size_t left = 0;

    return store_refresh(learn_store, NOW, 100, &left, &err);
}

static enum status check(void)
{
    struct store_checked checked;

    return store_check(learn_store, NOW, &checked, &err);
}

/* What there is to mend. */
static enum status falsify(void)
{
    return database_run(
        store_database(learn_store),
        "UPDATE tier_performance SET executions = 9; UPDATE counts SET incomplete = 7", &err);
}

static enum status mend(void)
{
    struct store_checked checked;

    return store_mend(learn_store, NOW, &checked, &err);
}

static enum status check_day(void)
{
    struct store_checked checked;

    return store_check_day(learn_store, 1, 60000, NOW, &checked, &err);
}

static enum status forget(void)
{
    size_t deleted = 0;

    return store_forget(learn_store,
                        &(struct forget){.user = slice_of("ann"), .now_unix_ms = NOW, .rows = 10},
                        &deleted, &err);
}

static enum status late(void)
{
    struct part part = learn_part("outcome", "t-4", "j8", LEARN_DAY);

    part.body.user = slice_of("ann");
    return store_put(learn_store, &part, 1, &err);
}

static enum status expire(void)
{
    struct store_expired expired;

    return store_expire(learn_store, LEARN_DAY + 1, 0, 10, &expired, &err);
}

static enum status reopen(void)
{
    store_close(learn_store);
    learn_store = NULL;
    return store_open(learn_path, STORE_WRITE, &learn_store, &err);
}

static enum status restore(void)
{
    char copy[320];

    snprintf(copy, sizeof copy, "%s.copy", learn_path);
    store_close(learn_store);
    learn_store = NULL;
    enum status status = store_restore(learn_path, copy, &err);
    const int failures = short_memory;
    short_memory = 0;
    struct error nobody = {0};
    const enum status opened = store_open(learn_path, STORE_WRITE, &learn_store, &nobody);
    short_memory = failures;
    return status != STATUS_OK ? status : opened;
}

static enum status migrate(void)
{
    struct store_migration migration = {.is_trial = true};

    return store_migrate(learn_path, &migration, &err);
}

TestSuite(learn_memory, .init = learn_setup, .fini = learn_teardown, .timeout = 240);

Test(learn_memory, whatever_fails_for_want_of_memory_leaves_nothing_and_may_be_done_again)
{
    static enum status (*const all[])(void) = {put,     again,  refresh, check,   check_day,
                                               falsify, mend,   refresh, check,   forget,
                                               late,    expire, reopen,  migrate, restore};
    const bool is_file = !database_is_shared(learn_path);
    const size_t count =
        sizeof all / sizeof all[0] - !is_file; /* a server's are its own to restore */
    char copy[320];
    int failed = 0;

    if (is_file) {
        snprintf(copy, sizeof copy, "%s.copy", learn_path);
        OK(store_backup(learn_store, copy, &err));
    }
    for (size_t i = 0; i < count; i++) {
        enum status status = STATUS_OOM;
        for (int failure = 1; status != STATUS_OK; failure++) {
            struct strbuf before = {0};
            struct strbuf after = {0};
            const bool is_open = learn_store != NULL;
            cr_assert_lt(failure, FAILURES_MAX);
            if (is_open) {
                learn_dump(&before);
            }
            short_memory = failure;
            status = all[i]();
            short_memory = 0;
            cr_assert(status == STATUS_OK || status == STATUS_OOM, "call %zu, allocation %d: %s", i,
                      failure, err.text);
            failed += status == STATUS_OOM;
            if (status == STATUS_OOM && is_open && learn_store != NULL) {
                learn_dump(&after);
                cr_assert(before.bytes == after.bytes &&
                              memcmp(before.data, after.data, after.bytes) == 0,
                          "call %zu, allocation %d leaves something behind", i, failure);
            }
            if (learn_store != NULL &&
                database_check(store_database(learn_store), &err) != STATUS_OK) {
                learn_reopen(learn_path); /* as its owner does */
            }
            strbuf_free(&before);
            strbuf_free(&after);
        }
    }
    cr_assert_gt(failed, 20);
}

/* Of what the store is told, and of the one kind with a list. */
Test(learn_decoder, a_body_for_which_there_is_no_memory_is_read_when_there_is)
{
    struct index_document document = {.id = slice_of("a"), .text = slice_of("b")};
    const struct index_body index = {.documents = {&document, 1}};
    struct meta_pair pair = {slice_of("branch"), {.type = META_STRING, .string = slice_of("x")}};
    struct part part = learn_part("outcome", "t", "j", LEARN_DAY);
    struct strbuf bodies[2] = {{0}};
    union {
        struct index_body index;
        struct record_body record;
    } body;
    int failed = 0;

    part.body.metadata = (struct metadata){&pair, 1, {NULL, 0}};
    bodies_encode_index(&index, &bodies[0]);
    bodies_encode_record(&part.body, &bodies[1]);
    for (size_t i = 0; i < 2; i++) {
        const struct strbuf *of = &bodies[i];
        enum status status = STATUS_OOM;
        for (int failure = 1; status != STATUS_OK; failure++) {
            struct arena arena = {0};
            cr_assert_lt(failure, FAILURES_MAX);
            short_memory = failure;
            status = i == 0 ? bodies_decode_index(of->data, of->bytes, &arena, &body.index, &err)
                            : bodies_decode_record(of->data, of->bytes, &arena, &body.record, &err);
            short_memory = 0;
            cr_assert(status == STATUS_OK || status == STATUS_OOM, "%s", err.text);
            failed += status == STATUS_OOM;
            arena_free(&arena);
        }
        cr_assert_gt(failed, (int)i, "of each one may fail");
        strbuf_free(&bodies[i]);
    }
}

/* ---- libraries that fail --------------------------------------------------------------------- */

static char task[24]; /* of this round */
static char jobs[4][24];

static enum status put_task(void)
{
    struct meta_pair pair = {slice_of("branch"), {.type = META_STRING, .string = slice_of("x")}};
    struct part parts[] = {
        learn_part("execution", task, jobs[0], LEARN_DAY),
        learn_part("feedback", task, jobs[1], LEARN_DAY),
        learn_part("pool_start", task, jobs[2], LEARN_DAY),
    };

    parts[0].body.solution_summary = slice_of("add an index");
    parts[0].body.metadata = (struct metadata){&pair, 1, {NULL, 0}};
    parts[2].body.pool_id = slice_of(task);
    return store_put(learn_store, parts, 3, &err);
}

static enum status put_more(void)
{
    struct part part = learn_part("outcome", task, jobs[3], LEARN_DAY + 1);

    part.body.success = (struct maybe_truth){true, true};
    return store_put(learn_store, &part, 1, &err);
}

static enum status put_and_forget(void)
{
    const struct part part = learn_part("execution", "t-gone", task, LEARN_DAY);
    const struct forget what = {
        .domain = part.domain, .task_id = part.body.task_id, .now_unix_ms = NOW, .rows = 10};
    size_t deleted = 0;
    const enum status status = store_put(learn_store, &part, 1, &err);

    return status == STATUS_OK ? store_forget(learn_store, &what, &deleted, &err) : status;
}

static enum status refresh_all(void)
{
    enum status status = STATUS_OK;
    size_t left = 1;

    for (int i = 0; i < 100 && status == STATUS_OK && left > 0; i++) {
        status = store_refresh(learn_store, NOW, 100, &left, &err);
    }
    return status;
}

/* A round, of which each step is done until it is; how often one failed. */
static int do_all(int round)
{
    static enum status (*const steps[])(void) = {put_task,       put_more,  refresh_all, falsify,
                                                 mend,           check_day, refresh_all, check,
                                                 put_and_forget, expire,    reopen};
    int failed = 0;

    snprintf(task, sizeof task, "t-%d", round);
    for (size_t i = 0; i < sizeof jobs / sizeof jobs[0]; i++) {
        snprintf(jobs[i], sizeof jobs[i], "j-%d-%zu", round, i);
    }
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        for (int tries = 0; steps[i]() != STATUS_OK; tries++) {
            cr_assert_lt(tries, 4, "step %zu: %s fails again and again", i, err.text);
            cr_assert_neq(err.text[0], '\0');
            failed++;
            if (learn_store == NULL ||
                database_is_shared(learn_path)) { /* whose connection is lost */
                learn_reopen(learn_path);
            }
        }
    }
    return failed;
}

Test(learn_memory, a_call_that_fails_anywhere_is_told_and_the_same_again_makes_it_whole)
{
    const bool is_file = !database_is_shared(learn_path);
    const int places = is_file ? 10 : 4; /* a server's rounds take a tenth of a second */
    const char *const *call = is_file ? broken_sqlite : broken_postgres;
    int round = 0;

    for (; *call != NULL; call++) {
        broken_call = *call;
        broken_seen = 0;
        cr_assert_eq(do_all(round++), 0);
        const int seen = (int)broken_seen;
        cr_assert_gt(seen, 0, "%s is never called", *call);
        for (int place = 0; place < places && place < seen; place++) {
            broken_after = 1 + place * seen / places;
            cr_assert_gt(do_all(round++), 0, "%s fails unseen", *call);
            cr_assert_eq(broken_after, 0);
        }
    }
    broken_call = NULL;
    cr_assert_eq(learn_number("SELECT count(*) FROM executions"), round);
    cr_assert_eq(learn_number("SELECT count(*) FROM feedback"), round);
    cr_assert_eq(learn_number("SELECT count(*) FROM pools"), 0, "they have expired");
    OK(refresh_all());
    OK(check());
}

Test(learn_library, one_that_is_too_old_is_named_with_what_is_expected)
{
    char path[260];
    struct store *store = NULL;

    test_folder_make(learn_folder, sizeof learn_folder);
    snprintf(path, sizeof path, "%s/learn.db", learn_folder);
    broken_call = "sqlite3_libversion_number";
    broken_after = 1;
    cr_assert_eq(store_open(path, STORE_WRITE, &store, &err), STATUS_FAILED);
    cr_assert_not_null(strstr(err.text, "expected 3.38 or later"), "%s", err.text);
    OK(store_open(path, STORE_WRITE, &store, &err));
    store_close(store);
    test_folder_remove(learn_folder);
}
