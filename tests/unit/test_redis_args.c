/* The words of a command, one by one and by format. */
#include <criterion/criterion.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "redis/args.h"

static void assert_word(const struct redis_args *args, size_t i, const char *word)
{
    cr_assert_lt(i, args->count);
    cr_assert_eq(args->bytes[i], strlen(word), "word %zu has %zu bytes", i, args->bytes[i]);
    cr_assert_eq(memcmp(args->values[i], word, strlen(word)), 0);
}

Test(redis_args, a_format_makes_the_words_that_it_shows)
{
    const char body[] = {'a', ' ', '\0', '%', 's'};
    struct redis_args args = {0};

    redis_args_format(&args, "SET %s %.*s PX %d", "a key with spaces", (int)sizeof body, body, -5);
    cr_assert_eq(args.count, 5);
    cr_assert_not(args.failed);
    assert_word(&args, 0, "SET");
    assert_word(&args, 1, "a key with spaces");
    cr_assert_eq(args.bytes[2], sizeof body);
    cr_assert_eq(args.values[2], body, "a text is borrowed, not copied");
    assert_word(&args, 3, "PX");
    assert_word(&args, 4, "-5");
    redis_args_reset(&args);
    redis_args_format(&args, "X %jd %zu %s", INT64_MIN, (size_t)4294967296, "");
    assert_word(&args, 1, "-9223372036854775808");
    assert_word(&args, 2, "4294967296");
    assert_word(&args, 3, "");
    redis_args_format(&args, "more");
    cr_assert_eq(args.count, 5, "a second format appends");
    redis_args_free(&args);
}

Test(redis_args, an_absent_text_of_no_bytes_is_an_empty_word)
{
    struct redis_args args = {0};
    const char *volatile none = NULL;
    const struct slice absent = {none, 0};

    redis_args_format(&args, "SET %.*s", (int)absent.bytes, absent.data);
    redis_args_slice(&args, absent);
    cr_assert_eq(args.count, 3);
    cr_assert_not_null(args.values[1]);
    cr_assert_not_null(args.values[2]);
    redis_args_free(&args);
}

Test(redis_args, a_word_that_is_no_conversion_alone_fails_the_command)
{
    static const char *const bad[] = {"GET key:%s", "GET %s:x", "GET %x", "GET %%", "GET %5s"};

    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct redis_args args = {0};
        const char *volatile format = bad[i];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
#pragma GCC diagnostic ignored "-Wformat-security"
        redis_args_format(&args, format, "key");
#pragma GCC diagnostic pop
        cr_assert(args.failed, "\"%s\" was taken", bad[i]);
        redis_args_free(&args);
    }
}

Test(redis_args, printed_numbers_stay_where_they_are)
{
    struct redis_args args = {0};
    char expected[24];

    for (int i = 0; i < 500; i++) {
        redis_args_int(&args, i);
    }
    for (int i = 0; i < 500; i++) {
        snprintf(expected, sizeof expected, "%d", i);
        assert_word(&args, (size_t)i, expected);
    }
    redis_args_free(&args);
}
