#include <criterion/criterion.h>
#include <stdint.h>
#include <string.h>

#include "base/strbuf.h"

/* Under AddressSanitizer, too, a malloc that asks too much shall return NULL. */
const char *__asan_default_options(void);
__attribute__((visibility("default"), used)) const char *__asan_default_options(void)
{
    return "allocator_may_return_null=1";
}

Test(strbuf, appends_follow_one_another_and_end_in_nul)
{
    struct strbuf buf;
    strbuf_init(&buf);
    strbuf_append(&buf, "ab", 2);
    strbuf_append_char(&buf, 'c');
    strbuf_append_str(&buf, "de");
    strbuf_printf(&buf, "-%d-%s", 7, "f");
    strbuf_append(&buf, NULL, 0);
    cr_assert(strbuf_ok(&buf));
    cr_assert_str_eq(buf.data, "abcde-7-f");
    cr_assert_eq(buf.bytes, 9);
    strbuf_free(&buf);
    cr_assert_null(buf.data);
    cr_assert_eq(buf.capacity, 0);
}

Test(strbuf, an_empty_append_makes_an_empty_text)
{
    struct strbuf buf = {0};
    strbuf_append_str(&buf, "");
    cr_assert_str_eq(buf.data, "");
    strbuf_printf(&buf, "%s", "");
    cr_assert_eq(buf.bytes, 0);
    strbuf_free(&buf);
}

Test(strbuf, it_grows_over_many_appends)
{
    struct strbuf buf = {0};
    for (int i = 0; i < 10000; i++) {
        strbuf_append(&buf, "0123456789", 10);
    }
    cr_assert(strbuf_ok(&buf));
    cr_assert_eq(buf.bytes, 100000);
    cr_assert_eq(memcmp(buf.data + 99990, "0123456789", 11), 0);
    strbuf_free(&buf);
}

Test(strbuf, reserved_room_counts_only_when_committed)
{
    struct strbuf buf = {0};
    char *room = strbuf_reserve(&buf, 1000);
    cr_assert_not_null(room);
    memset(room, 'x', 1000);
    cr_assert_eq(buf.bytes, 0);
    strbuf_commit(&buf, 3);
    cr_assert_str_eq(buf.data, "xxx");
    strbuf_free(&buf);
}

Test(strbuf, a_failure_sticks_until_the_next_reset)
{
    struct strbuf buf = {0};
    strbuf_append_str(&buf, "kept");
    cr_assert_null(strbuf_reserve(&buf, SIZE_MAX / 2));
    cr_assert_not(strbuf_ok(&buf));
    strbuf_append_str(&buf, "more");
    strbuf_printf(&buf, "%d", 1);
    cr_assert_str_eq(buf.data, "kept");

    strbuf_reset(&buf);
    cr_assert(strbuf_ok(&buf));
    cr_assert_str_eq(buf.data, "");
    strbuf_append_str(&buf, "again");
    cr_assert_str_eq(buf.data, "again");
    strbuf_free(&buf);
}

Test(strbuf, memory_that_cannot_be_had_is_a_failure_and_keeps_what_was_there)
{
    struct strbuf buf = {0};
    strbuf_append_str(&buf, "kept");
    cr_assert_null(strbuf_reserve(&buf, SIZE_MAX / 8));
    cr_assert_not(strbuf_ok(&buf));
    cr_assert_str_eq(buf.data, "kept");
    strbuf_free(&buf);
}

Test(strbuf, a_reset_keeps_the_memory_and_a_trim_gives_much_of_it_back)
{
    struct strbuf buf = {0};
    cr_assert_not_null(strbuf_reserve(&buf, 1000));
    size_t capacity = buf.capacity;
    strbuf_reset(&buf);
    cr_assert_eq(buf.capacity, capacity);
    strbuf_trim(&buf, 4096);
    cr_assert_eq(buf.capacity, capacity);
    strbuf_trim(&buf, 100);
    cr_assert_eq(buf.capacity, 0);
    strbuf_append_str(&buf, "usable");
    cr_assert_str_eq(buf.data, "usable");
    strbuf_free(&buf);
}
