#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "base/text.h"
#include "rules/long_text.h"

static struct slice text_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

static void assert_head(const char *text, size_t chars, const char *expected)
{
    const struct slice head = long_text_head(text_of(text), chars);
    cr_assert_eq(head.bytes, strlen(expected), "%zu of \"%s\": \"%.*s\"", chars, text,
                 (int)head.bytes, head.data);
    cr_assert_eq(memcmp(head.data, expected, head.bytes), 0);
}

Test(long_text, characters_are_counted_not_bytes)
{
    cr_assert_eq(long_text_chars(text_of("")), 0);
    cr_assert_eq(long_text_chars(text_of("a\xc3\xbc\xe2\x82\xac\xf0\x9f\x98\x80")), 4);
}

Test(long_text, a_beginning_ends_with_a_whole_character)
{
    for (size_t chars = 1; chars <= 8; chars++) {
        const struct slice head = long_text_head(
            text_of("\xf0\x9f\x98\x80\xe2\x82\xac\xc3\xbc\xe2\x82\xac\xc3\xbc"), chars);
        cr_assert(text_is_utf8(head.data, head.bytes));
        cr_assert_eq(long_text_chars(head), chars < 5 ? chars : 5);
    }
}

Test(long_text, a_beginning_ends_with_a_word_where_one_is_near)
{
    assert_head("one two", 7, "one two");
    assert_head("the quick brown fox jumps over", 21, "the quick brown fox");
    assert_head("the quick brown fox jumps over", 19, "the quick brown fox");
    assert_head("a bcdefghijklmnopqrstuvwxyz", 20, "a bcdefghijklmnopqrs"); /* not half of it */
    assert_head("aaaaaaaaaaaaaaaaaaaaaaa", 10, "aaaaaaaaaa");
}

Test(long_text, what_begins_with_nothing_but_white_space_is_not_cut)
{
    assert_head("                    word", 10, "                    word");
    assert_head("word", 0, "word");
}

Test(long_text, every_servers_words_for_too_long_are_known)
{
    static const struct error told[] = {
        {.status = STATUS_INVALID,
         .http_code = 400,
         .text = "embedder: http 400: {\"error\":\"the input length exceeds the context length\"}"},
        {.status = STATUS_FAILED,
         .http_code = 500,
         .text = "embedder: http 500: input is too large to process. increase the batch size"},
        {.status = STATUS_INVALID, .http_code = 413, .text = "embedder: http 413"},
        {.status = STATUS_INVALID, .http_code = 422, .text = "This model's Maximum context is"},
        {.status = STATUS_INVALID, .http_code = 400, .text = "too many tokens"},
    };
    static const struct error untold[] = {
        {.status = STATUS_FAILED, .http_code = 500, .text = "json: unsupported value: NaN"},
        {.status = STATUS_INVALID, .http_code = 400, .text = "no"},
        {.status = STATUS_TIMEOUT, .text = "maximum time exceeded"},
    };
    for (size_t i = 0; i < sizeof told / sizeof told[0]; i++) {
        cr_assert(long_text_is_told(&told[i]), "%s", told[i].text);
    }
    for (size_t i = 0; i < sizeof untold / sizeof untold[0]; i++) {
        cr_assert_not(long_text_is_told(&untold[i]), "%s", untold[i].text);
    }
}
