/* The learning store on short memory: of all that is done to it the 1st, 2nd, 3rd ... allocation of
 * ours fails, until none is left to fail. What failed says so and leaves nothing behind, and the
 * same call after it is a good one. (SQLite's own allocations are SQLite's to test.) */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "learn_fixture.h"
#include "ok.h"
#include "short_memory.h"

enum { FAILURES_MAX = 400 };

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

TestSuite(learn_memory, .init = learn_setup, .fini = learn_teardown, .timeout = 120);

Test(learn_memory, whatever_fails_for_want_of_memory_leaves_nothing_and_may_be_done_again)
{
    static enum status (*const all[])(void) = {put,  again,  refresh, check,   check_day, forget,
                                               late, expire, reopen,  migrate, restore};
    char copy[320];
    int failed = 0;

    snprintf(copy, sizeof copy, "%s.copy", learn_path);
    OK(store_backup(learn_store, copy, &err));
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
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
            strbuf_free(&before);
            strbuf_free(&after);
        }
    }
    cr_assert_gt(failed, 20);
}
