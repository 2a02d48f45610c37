#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "rules/task.h"

/* Every failure that servers were seen with: may it be the fault of what was sent? */
static const struct {
    enum status status;
    int http_code;
    bool may_be_text;
    enum verdict when_alone; /* while others pass */
} rows[] = {
    {STATUS_UNREACHABLE, 0, true, VERDICT_RETRY}, /* the model's process dies of it */
    {STATUS_TIMEOUT, 0, true, VERDICT_RETRY},
    {STATUS_GARBLED, 0, true, VERDICT_RETRY},
    {STATUS_FULL, 0, true, VERDICT_RETRY},
    {STATUS_INVALID, 400, true, VERDICT_REJECT},
    {STATUS_INVALID, 413, true, VERDICT_REJECT},
    {STATUS_INVALID, 422, true, VERDICT_REJECT},
    {STATUS_INVALID, 200, true, VERDICT_REJECT}, /* a vector that is not finite */
    {STATUS_FAILED, 500, true, VERDICT_RETRY},
    {STATUS_FAILED, 507, true, VERDICT_RETRY},
    {STATUS_UNAVAILABLE, 502, true, VERDICT_RETRY},
    {STATUS_UNAVAILABLE, 504, true, VERDICT_RETRY},
    {STATUS_UNAVAILABLE, 503, false, VERDICT_PARK},
    {STATUS_UNAVAILABLE, 429, false, VERDICT_PARK},
    {STATUS_UNAVAILABLE, 408, false, VERDICT_PARK},
    {STATUS_UNAVAILABLE, 0, false, VERDICT_PARK}, /* the fleet's own rate */
    {STATUS_REFUSED, 401, false, VERDICT_PARK},
    {STATUS_REFUSED, 402, false, VERDICT_PARK},
    {STATUS_REFUSED, 403, false, VERDICT_PARK},
    {STATUS_REFUSED, 409, false, VERDICT_PARK},
    {STATUS_NOT_FOUND, 404, false, VERDICT_PARK}, /* a model that is not pulled */
    {STATUS_MISMATCH, 0, false, VERDICT_PARK},    /* vectors of another length */
    {STATUS_FAILED, 0, false, VERDICT_PARK},      /* no libcurl */
    {STATUS_OOM, 0, false, VERDICT_PARK},
};

Test(task, a_failure_is_a_texts_fault_only_alone_and_while_others_pass)
{
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct error err = {
            .status = rows[i].status, .http_code = rows[i].http_code, .text = "x"};
        cr_assert_eq(failure_may_be_text(&err), rows[i].may_be_text, "row %zu", i);
        for (int alone = 0; alone < 2; alone++) {
            for (int pass = 0; pass < 2; pass++) {
                for (int operation = 0; operation < OPERATIONS; operation++) {
                    const struct failure failure = {.operation = (enum operation)operation,
                                                    .err = &err,
                                                    .alone = alone,
                                                    .others_pass = pass};
                    const bool of_a_text = operation != OPERATION_REDIS &&
                                           operation != OPERATION_COLLECTION && alone && pass;
                    cr_assert_eq(failure_verdict(&failure),
                                 of_a_text ? rows[i].when_alone : VERDICT_PARK,
                                 "row %zu, operation %d", i, operation);
                }
            }
        }
    }
}

Test(task, what_our_own_check_refuses_needs_no_comparison)
{
    const struct error err = {.status = STATUS_INVALID, .text = "text 1 of 1 is blank"};
    struct failure failure = {.operation = OPERATION_EMBED, .err = &err, .alone = true};

    cr_assert(failure_is_own_check(&err));
    cr_assert_eq(failure_verdict(&failure), VERDICT_REJECT);
    failure.alone = false;
    cr_assert_eq(failure_verdict(&failure), VERDICT_PARK);
}

static struct failure make(const struct error *err, bool alone)
{
    return (struct failure){.operation = OPERATION_WRITE,
                            .err = err,
                            .document = {"d1", 2},
                            .alone = alone,
                            .others_pass = alone};
}

Test(task, of_several_documents_the_one_that_waits_decides)
{
    const struct error refused = {.status = STATUS_INVALID, .http_code = 400, .text = "no"};
    const struct error broken = {.status = STATUS_FAILED, .http_code = 500, .text = "oops"};
    const struct error busy = {
        .status = STATUS_UNAVAILABLE, .http_code = 429, .retry_after_ms = 700, .text = "later"};
    struct task task = {0};
    struct failure failure = make(&refused, true);

    task_judge_failure(&task, &failure);
    cr_assert_eq(task.verdict, VERDICT_REJECT);
    cr_assert_str_eq(task.error, "document \"d1\": no");
    failure = make(&broken, true);
    task_judge_failure(&task, &failure);
    cr_assert_eq(task.verdict, VERDICT_RETRY);
    failure = make(&busy, false);
    task_judge_failure(&task, &failure);
    cr_assert_eq(task.verdict, VERDICT_PARK);
    cr_assert_eq(task.wait_ms, 700);
    cr_assert_eq(task.operation, OPERATION_WRITE);
    cr_assert(task.tried && !task.may_be_text);
    failure = make(&refused, true);
    task_judge_failure(&task, &failure);
    cr_assert_eq(task.verdict, VERDICT_PARK, "what is written later loses nothing");

    struct task malformed = {.verdict = VERDICT_MALFORMED};
    task_judge_failure(&malformed, &failure);
    cr_assert_eq(malformed.verdict, VERDICT_MALFORMED);
}

Test(task, a_fate_is_shared_but_not_the_job_nor_its_reply)
{
    const struct job one = {.attempt = 1};
    const struct job other = {.attempt = 2};
    const struct error busy = {.status = STATUS_UNAVAILABLE, .http_code = 503, .text = "later"};
    const struct failure failure = make(&busy, false);
    struct task fate = {.job = &one};
    struct task task = {.job = &other};

    task_judge_failure(&fate, &failure);
    task_share_fate(&task, &fate);
    cr_assert_eq(task.verdict, VERDICT_PARK);
    cr_assert_eq(task.operation, OPERATION_WRITE);
    cr_assert_eq(task.job, &other);
}

static struct job job_parked(int64_t tries)
{
    return (struct job){.entry = {"5000-0", 6}, .options = {.parked = {.tries = tries}}};
}

static const struct park_policy policy = {.base_ms = 2000, .max_ms = 300000, .pause_ms = 60000};

Test(task, a_parked_job_waits_twice_as_long_each_time_up_to_the_longest)
{
    struct retry_random random = {.state = 1};

    for (int64_t tries = 0; tries < 70; tries++) {
        const struct job job = job_parked(tries);
        struct task task = {.job = &job, .tried = true, .may_be_text = true};
        const int64_t most = tries < 8 ? 2000 << tries : policy.max_ms;
        const int64_t bound = most < policy.max_ms ? most : policy.max_ms;
        for (int i = 0; i < 100; i++) {
            const int64_t wait_ms = task_park_ms(&task, 0, &policy, &random);
            cr_assert(wait_ms >= bound / 2 && wait_ms <= bound, "%lld", (long long)wait_ms);
        }
        task.may_be_text = false;
        cr_assert_leq(task_park_ms(&task, 0, &policy, &random), policy.pause_ms);
    }
}

Test(task, nobody_comes_back_before_the_breaker_or_the_server_allows_it)
{
    const struct job job = job_parked(0);
    struct retry_random random = {.state = 1};

    for (int i = 0; i < 200; i++) {
        struct task held = {.job = &job};
        int64_t wait_ms = task_park_ms(&held, 8000, &policy, &random);
        cr_assert(wait_ms >= 8000 && wait_ms < 11000, "%lld", (long long)wait_ms);
        held.wait_ms = 30000; /* Retry-After */
        cr_assert_geq(task_park_ms(&held, 8000, &policy, &random), 30000);
        struct task tried = {.job = &job, .tried = true, .wait_ms = 5000};
        cr_assert_geq(task_park_ms(&tried, 0, &policy, &random), 5000);
    }
}

Test(task, waiting_ends_with_the_experience)
{
    struct job job = job_parked(3);
    const struct task task = {.job = &job};

    cr_assert_not(task_is_over(&task, 5000 + 700, 700));
    cr_assert(task_is_over(&task, 5000 + 701, 700), "from the entry's own time on");
    job.options.since_unix_ms = 1000;
    cr_assert(task_is_over(&task, 5000, 700), "or from its first enqueueing on");
}

Test(task, the_last_try_is_what_was_noted_or_before_it_came_back)
{
    struct job job = job_parked(0);

    cr_assert_eq(task_tried_unix_ms(&job), 0, "never");
    job.attempt = 1;
    cr_assert_eq(task_tried_unix_ms(&job), 5000);
    job.options.parked = (struct job_parked){.tries = 2, .tried_unix_ms = 4000};
    cr_assert_eq(task_tried_unix_ms(&job), 4000);
}

Test(task, an_operations_name_fits)
{
    for (int i = 0; i < OPERATIONS; i++) {
        char text[OPERATION_TEXT_BYTES];
        const int bytes =
            snprintf(text, sizeof text, "%s.%s", operation_upstream((enum operation)i),
                     operation_name((enum operation)i));
        cr_assert_lt(bytes, OPERATION_TEXT_BYTES, "%s", text);
    }
}
