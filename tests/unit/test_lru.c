#include <criterion/criterion.h>
#include <stdalign.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/lru.h"

static void put(struct lru *lru, const char *key, const char *value)
{
    cr_assert(lru_put(lru, key, value, strlen(value), 0), "%s", key);
}

static bool has(struct lru *lru, const char *key, const char *value)
{
    size_t bytes = 0;
    const char *found = lru_get(lru, key, 0, &bytes);
    return found != NULL && bytes == strlen(value) && memcmp(found, value, bytes) == 0;
}

static bool misses(struct lru *lru, const char *key)
{
    size_t bytes = 4711;
    return lru_get(lru, key, 0, &bytes) == NULL && bytes == 4711;
}

Test(lru, what_was_put_is_found)
{
    struct lru *lru = lru_new(10, 1000, 1000);
    cr_assert_not_null(lru);
    cr_assert(misses(lru, "a"));
    put(lru, "a", "one");
    put(lru, "b", "two");
    put(lru, "", "empty key");
    put(lru, "empty value", "");
    cr_assert(has(lru, "a", "one"));
    cr_assert(has(lru, "b", "two"));
    cr_assert(has(lru, "", "empty key"));
    cr_assert(has(lru, "empty value", ""));
    cr_assert(misses(lru, "c"));
    cr_assert(misses(lru, "ab"));
    cr_assert_eq(lru_count(lru), 4);
    lru_free(lru);
}

Test(lru, a_value_is_a_copy_and_may_hold_any_bytes)
{
    struct lru *lru = lru_new(10, 1000, 1000);
    char value[4] = {'x', '\0', (char)0xff, 'y'};
    size_t bytes = 0;
    cr_assert(lru_put(lru, "k", value, sizeof value, 0));
    memset(value, 0, sizeof value);
    const char *found = lru_get(lru, "k", 0, &bytes);
    cr_assert_eq(bytes, 4);
    cr_assert_eq(memcmp(found, "x\0\xffy", 4), 0);
    lru_free(lru);
}

Test(lru, a_new_value_takes_the_place_of_the_old_one)
{
    struct lru *lru = lru_new(10, 10, 1000);
    put(lru, "k", "12345678");
    put(lru, "k", "abcdefghij");
    cr_assert(has(lru, "k", "abcdefghij"));
    cr_assert_eq(lru_count(lru), 1);
    lru_free(lru);
}

Test(lru, its_own_value_may_be_put_again)
{
    struct lru *lru = lru_new(1, 10, 1000);
    size_t bytes = 0;
    put(lru, "a", "0123456789");
    const void *value = lru_get(lru, "a", 0, &bytes);
    cr_assert(lru_put(lru, "a", value, bytes, 5));
    value = lru_get(lru, "a", 0, &bytes);
    cr_assert(lru_put(lru, "b", value, bytes, 5), "although a leaves for it");
    cr_assert(has(lru, "b", "0123456789"));
    lru_free(lru);
}

Test(lru, the_least_recently_used_entry_leaves_first)
{
    struct lru *lru = lru_new(3, 1000, 1000);
    put(lru, "a", "1");
    put(lru, "b", "2");
    put(lru, "c", "3");
    cr_assert(has(lru, "a", "1"), "used");
    put(lru, "b", "4");
    put(lru, "d", "5");
    cr_assert(misses(lru, "c"));
    put(lru, "e", "6");
    cr_assert(misses(lru, "a"));
    cr_assert(has(lru, "b", "4"));
    cr_assert(has(lru, "d", "5"));
    cr_assert(has(lru, "e", "6"));
    cr_assert_eq(lru_count(lru), 3);
    lru_free(lru);
}

Test(lru, values_together_stay_under_the_bound)
{
    struct lru *lru = lru_new(100, 10, 1000);
    put(lru, "a", "1234");
    put(lru, "b", "1234");
    put(lru, "c", "12");
    cr_assert_eq(lru_count(lru), 3, "exactly at the bound");
    put(lru, "d", "1");
    cr_assert(misses(lru, "a"));
    cr_assert_eq(lru_count(lru), 3);
    put(lru, "e", "0123456789");
    cr_assert_eq(lru_count(lru), 1, "as large as everything");
    cr_assert(has(lru, "e", "0123456789"));
    lru_free(lru);
}

Test(lru, a_value_over_the_bound_is_not_kept_and_the_old_one_is_gone)
{
    struct lru *lru = lru_new(100, 10, 1000);
    put(lru, "k", "old");
    put(lru, "other", "x");
    cr_assert_not(lru_put(lru, "k", "0123456789a", 11, 0));
    cr_assert(misses(lru, "k"));
    cr_assert(has(lru, "other", "x"));
    lru_free(lru);

    lru = lru_new(0, 10, 1000);
    cr_assert_not(lru_put(lru, "k", "v", 1, 0), "room for no entry");
    cr_assert_eq(lru_count(lru), 0);
    lru_free(lru);
}

Test(lru, a_size_that_no_memory_has_is_refused)
{
    struct lru *lru = lru_new(10, SIZE_MAX, 1000);
    cr_assert_not(lru_put(lru, "k", "v", SIZE_MAX - 8, 0));
    cr_assert_eq(lru_count(lru), 0);
    lru_free(lru);
}

Test(lru, an_entry_over_its_age_is_a_miss_and_leaves)
{
    struct lru *lru = lru_new(10, 1000, 300);
    size_t bytes = 0;
    cr_assert(lru_put(lru, "k", "v", 1, 1000));
    cr_assert_not_null(lru_get(lru, "k", 1300, &bytes));
    cr_assert_null(lru_get(lru, "k", 1301, &bytes), "using it did not make it younger");
    cr_assert_eq(lru_count(lru), 0);
    cr_assert(lru_put(lru, "k", "v", 1, 2000));
    cr_assert(lru_put(lru, "k", "w", 1, 2300));
    cr_assert_not_null(lru_get(lru, "k", 2600, &bytes), "putting it did");
    lru_free(lru);
}

Test(lru, what_was_removed_is_gone)
{
    struct lru *lru = lru_new(10, 1000, 1000);
    put(lru, "a", "1");
    put(lru, "b", "2");
    lru_remove(lru, "a");
    lru_remove(lru, "never there");
    cr_assert(misses(lru, "a"));
    cr_assert(has(lru, "b", "2"));
    lru_remove(lru, "b");
    cr_assert_eq(lru_count(lru), 0);
    put(lru, "a", "3");
    cr_assert(has(lru, "a", "3"));
    lru_free(lru);
}

Test(lru, values_are_aligned_for_any_type)
{
    struct lru *lru = lru_new(10, 1000, 1000);
    static const char *const keys[] = {"", "a", "ab", "abc"};
    size_t bytes = 0;
    for (size_t i = 0; i < 4; i++) {
        put(lru, keys[i], "value");
        cr_assert_eq((uintptr_t)lru_get(lru, keys[i], 0, &bytes) % alignof(max_align_t), 0);
    }
    lru_free(lru);
}

/* Against a plain model: 300 keys of lengths 0 to 299, a cache of 64. */
Test(lru, it_behaves_as_a_list_that_is_searched)
{
    enum { KEYS = 300, ROOM = 64 };
    struct lru *lru = lru_new(ROOM, SIZE_MAX, 1000);
    int order[KEYS];
    int count = 0;
    char key[KEYS + 1];
    uint32_t random = 1;

    for (int step = 0; step < 20000; step++) {
        random = random * 1664525u + 1013904223u;
        int k = (int)(random >> 8) % KEYS;
        size_t bytes = 0;
        int at = 0;
        memset(key, 'k', (size_t)k);
        key[k] = '\0';
        while (at < count && order[at] != k) {
            at++;
        }
        const void *found = lru_get(lru, key, 0, &bytes);
        cr_assert_eq(found != NULL, at < count, "step %d, key %d", step, k);
        if (found != NULL) {
            cr_assert_eq(bytes, sizeof k);
            cr_assert_eq(memcmp(found, &k, sizeof k), 0);
        } else {
            cr_assert(lru_put(lru, key, &k, sizeof k, 0));
            at = count < ROOM ? count++ : ROOM - 1;
        }
        memmove(order + 1, order, (size_t)at * sizeof order[0]);
        order[0] = k;
        cr_assert_eq(lru_count(lru), (size_t)count);
    }
    lru_free(lru);
}

Test(lru, freeing_none_is_fine)
{
    lru_free(NULL);
}
