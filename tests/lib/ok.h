/* ok.h - a call that must succeed, in Criterion tests.
 *
 *     static struct error err;
 *     ...
 *     OK(queue_init(&queue, "sh", "echo", &err));
 */
#ifndef STILLHOUSE_TESTS_OK_H
#define STILLHOUSE_TESTS_OK_H

#include <criterion/criterion.h>

#include "base/status.h"

/* Fails the test with the call, its status and the text of `err`, which is in scope. */
#define OK(call)                                                                                   \
    do {                                                                                           \
        const enum status got_ = (call);                                                           \
        cr_assert_eq(got_, STATUS_OK, "%s: %s: %s", #call, status_text(got_), err.text);           \
    } while (0)

#endif
