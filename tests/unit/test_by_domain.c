#include <criterion/criterion.h>
#include <stdio.h>
#include <string.h>

#include "rules/by_domain.h"

enum { MANY = 500 };

static size_t fill(struct by_domain *each, const char *const *domains, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        each[i] = (struct by_domain){.domain = domains[i], .index = i};
    }
    return count;
}

Test(by_domain, nothing_and_one_item_are_as_they_were)
{
    struct by_domain one[1];

    by_domain_sort(NULL, 0);
    cr_assert_eq(by_domain_size(one, 0), 0);
    by_domain_sort(one, fill(one, (const char *const[]){"a"}, 1));
    cr_assert_eq(one[0].index, 0);
    cr_assert_eq(by_domain_size(one, 1), 1);
}

Test(by_domain, domains_come_by_their_first_items_and_items_in_their_order)
{
    static const char *const domains[] = {"b", "c", "b", "a", "c", "b"};
    static const size_t expected[] = {0, 2, 5, 1, 4, 3};
    struct by_domain each[6];

    by_domain_sort(each, fill(each, domains, 6));
    for (size_t i = 0; i < 6; i++) {
        cr_assert_eq(each[i].index, expected[i], "at %zu: %zu", i, each[i].index);
    }
    cr_assert_eq(by_domain_size(each, 6), 3);
    cr_assert_eq(by_domain_size(each + 3, 3), 2);
    cr_assert_eq(by_domain_size(each + 5, 1), 1);
}

Test(by_domain, a_name_counts_by_its_letters_not_by_where_it_stands)
{
    const char copy[] = "same";
    struct by_domain each[3];

    by_domain_sort(each, fill(each, (const char *const[]){"same", "other", copy}, 3));
    cr_assert_eq(by_domain_size(each, 3), 2);
    cr_assert_eq(each[1].index, 2);
}

Test(by_domain, indices_may_have_gaps)
{
    struct by_domain each[] = {
        {.domain = "a", .index = 7}, {.domain = "b", .index = 9}, {.domain = "a", .index = 40}};

    by_domain_sort(each, 3);
    cr_assert_eq(each[0].index, 7);
    cr_assert_eq(each[1].index, 40);
    cr_assert_eq(each[2].index, 9);
}

Test(by_domain, every_item_stands_once_in_the_group_of_its_domain)
{
    char names[MANY][8];
    struct by_domain each[MANY];
    bool seen[MANY] = {false};
    bool begun[MANY] = {false}; /* domains */
    size_t least = 0;

    for (size_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "d%zu", (i * 7919 + i * i) % 23);
        each[i] = (struct by_domain){.domain = names[i], .index = i};
    }
    by_domain_sort(each, MANY);
    for (size_t from = 0, size; from < MANY; from += size) {
        size = by_domain_size(each + from, MANY - from);
        const size_t name = (size_t)atoi(each[from].domain + 1);
        cr_assert(!begun[name], "%s stands in two groups", each[from].domain);
        begun[name] = true;
        cr_assert(from == 0 || each[from].index > least);
        least = each[from].index;
        for (size_t i = from; i < from + size; i++) {
            cr_assert_str_eq(each[i].domain, each[from].domain);
            cr_assert_str_eq(each[i].domain, names[each[i].index]);
            cr_assert(i == from || each[i].index > each[i - 1].index);
            cr_assert(!seen[each[i].index]);
            seen[each[i].index] = true;
        }
    }
}
