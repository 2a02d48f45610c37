#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "json/walk.h"

/* The text behind the value, or "broken". */
static const char *behind(const char *text)
{
    const char *after = json_skip(text, text + strlen(text));
    return after == NULL ? "broken" : after;
}

/* The first characters of the elements, and how the list ended: "1,2." or "1!". */
static const char *elements(const char *text)
{
    static char out[64];
    struct json_list list;
    enum json_step step = JSON_END;
    size_t used = 0;

    if (!json_list_open(&list, text, text + strlen(text), '[')) {
        return "no list";
    }
    while ((step = json_list_next(&list)) == JSON_ELEMENT) {
        out[used++] = *list.at;
        list.at = json_skip(list.at, list.end);
        cr_assert_not_null(list.at, "%s", text);
    }
    snprintf(out + used, sizeof out - used, "%s", step == JSON_END ? "." : "!");
    return out;
}

Test(json_walk, values_are_passed_over_whole)
{
    cr_assert_str_eq(behind("1,"), ",");
    cr_assert_str_eq(behind(" -1.5e3 ]"), " ]");
    cr_assert_str_eq(behind("null}"), "}");
    cr_assert_str_eq(behind("\"a]b\",1"), ",1");
    cr_assert_str_eq(behind("[1,[2,{\"a\":[]}],3],4"), ",4");
    cr_assert_str_eq(behind("{\"a\":\"}\"} "), " ");
}

Test(json_walk, quotes_behind_backslashes_end_a_string_or_do_not)
{
    cr_assert_str_eq(behind("\"a\\\"b\"x"), "x");
    cr_assert_str_eq(behind("\"a\\\\\"x"), "x");
    cr_assert_str_eq(behind("\"\\\\\\\"\"x"), "x");
    cr_assert_str_eq(behind("\"a\\\""), "broken");
}

Test(json_walk, a_value_without_its_end_is_broken)
{
    static const char *const texts[] = {"",   "  ",  "\"",        "\"a", "[",
                                        "[1", "[1,", "{\"a\":[}", "]",   ","};

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        cr_assert_str_eq(behind(texts[i]), "broken", "%s", texts[i]);
    }
}

Test(json_walk, a_list_gives_its_elements_and_its_end)
{
    cr_assert_str_eq(elements("[]"), ".");
    cr_assert_str_eq(elements(" [ ] "), ".");
    cr_assert_str_eq(elements("[1, [2,3] ,\"x\"]"), "1[\".");
    cr_assert_str_eq(elements("{}"), "no list");
    cr_assert_str_eq(elements(""), "no list");
}

Test(json_walk, a_list_with_a_comma_too_few_or_too_many_is_broken)
{
    cr_assert_str_eq(elements("[1 2]"), "1!");
    cr_assert_str_eq(elements("[1,]"), "1!");
    cr_assert_str_eq(elements("[1"), "1!");
    cr_assert_str_eq(elements("[1,"), "1!");
    cr_assert_str_eq(elements("["), "!");
}

Test(json_walk, an_object_gives_its_keys_and_values)
{
    static const char text[] = "{\"a\" : 1,\"b\\\"\":[2]}";
    struct json_list object;
    const char *key = NULL;
    size_t bytes = 0;

    cr_assert(json_list_open(&object, text, text + strlen(text), '{'));
    cr_assert_eq(json_list_next(&object), JSON_ELEMENT);
    cr_assert(json_list_key(&object, &key, &bytes));
    cr_assert_eq(bytes, 1);
    cr_assert_eq(*key, 'a');
    cr_assert_eq(*object.at, '1');
    object.at++;
    cr_assert_eq(json_list_next(&object), JSON_ELEMENT);
    cr_assert(json_list_key(&object, &key, &bytes));
    cr_assert_eq(bytes, 3, "as it is written");
    cr_assert_eq(*object.at, '[');
    object.at = json_skip(object.at, object.end);
    cr_assert_eq(json_list_next(&object), JSON_END);
}

Test(json_walk, an_element_of_an_object_without_a_key_is_told)
{
    static const char *const texts[] = {"{1:2}", "{\"a\"}", "{\"a", "{\"a\":"};
    const char *key = NULL;
    size_t bytes = 0;

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct json_list object;
        cr_assert(json_list_open(&object, texts[i], texts[i] + strlen(texts[i]), '{'));
        cr_assert_eq(json_list_next(&object), JSON_ELEMENT, "%s", texts[i]);
        cr_assert_not(json_list_key(&object, &key, &bytes), "%s", texts[i]);
    }
}
