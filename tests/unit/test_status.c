#include <criterion/criterion.h>
#include <string.h>

#include "base/status.h"

Test(status, each_status_has_a_text_of_its_own)
{
    cr_assert_str_eq(status_text(STATUS_OK), "ok");
    cr_assert_str_eq(status_text(STATUS_NOT_FOUND), "not found");
    cr_assert_str_eq(status_text(STATUS_GARBLED), "garbled");
    cr_assert_str_eq(status_text((enum status)999), "unknown status");
    for (int i = STATUS_OK; i <= STATUS_GARBLED; i++) {
        for (int j = STATUS_OK; j < i; j++) {
            cr_assert_str_neq(status_text((enum status)i), status_text((enum status)j));
        }
    }
}

Test(status, setting_an_error_returns_its_status)
{
    struct error err = {.retry_after_ms = 5};
    cr_assert_eq(error_set(&err, STATUS_FULL, "queue \"%s\" is full", "enrich"), STATUS_FULL);
    cr_assert_eq(err.status, STATUS_FULL);
    cr_assert_eq(err.retry_after_ms, 0);
    cr_assert_str_eq(err.text, "queue \"enrich\" is full");
    cr_assert_eq(error_set(NULL, STATUS_OOM, "nobody reads this"), STATUS_OOM);
}

Test(status, wrapping_puts_context_in_front)
{
    struct error err = {0};
    error_set(&err, STATUS_TIMEOUT, "no answer in %d ms", 50);
    err.retry_after_ms = 7;
    cr_assert_eq(error_wrap(&err, "worker \"%s\"", "a1"), STATUS_TIMEOUT);
    cr_assert_str_eq(err.text, "worker \"a1\": no answer in 50 ms");
    cr_assert_eq(err.retry_after_ms, 7);
}

Test(status, long_texts_are_cut_and_end)
{
    struct error err = {0};
    char text[1000];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    error_set(&err, STATUS_FAILED, "%s", text);
    cr_assert_eq(strlen(err.text), ERROR_TEXT_BYTES - 1);
    for (int i = 0; i < 5; i++) {
        error_wrap(&err, "%s", text);
        cr_assert_eq(strlen(err.text), ERROR_TEXT_BYTES - 1);
    }
}
