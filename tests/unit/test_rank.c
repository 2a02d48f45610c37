#include <criterion/criterion.h>
#include <string.h>

#include "rules/rank.h"

static struct slice text_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

Test(rank, some_more_than_k_are_asked_for)
{
    cr_assert_eq(rank_first(1), 1 + RANK_SPARE);
    cr_assert_eq(rank_first(BODIES_K_MAX), BODIES_K_MAX + RANK_SPARE);
}

Test(rank, looking_further_grows_fourfold_and_ends_with_the_most)
{
    size_t asked = rank_first(3);
    size_t last = asked;
    int steps = 0;

    cr_assert_eq(rank_further(7), 28);
    while ((asked = rank_further(asked)) > 0) {
        cr_assert(asked > last && asked <= 4 * last && asked <= RANK_RESULTS_MAX);
        last = asked;
        cr_assert_lt(++steps, 10);
    }
    cr_assert_eq(last, RANK_RESULTS_MAX);
    cr_assert_eq(rank_further(RANK_RESULTS_MAX / 4), RANK_RESULTS_MAX);
    cr_assert_eq(rank_further(RANK_RESULTS_MAX - 1), RANK_RESULTS_MAX);
    cr_assert_eq(rank_further(RANK_RESULTS_MAX), 0);
}

Test(rank, the_nearest_k_are_taken_and_lacking_means_more_may_lie_behind)
{
    static const struct {
        struct rank_search search;
        size_t k;
        size_t kept;
        bool lacks;
    } cases[] = {
        {{7, 7, 7}, 3, 3, false},                           /* more than enough */
        {{7, 7, 3}, 3, 3, false},                           /* just enough */
        {{7, 7, 2}, 3, 2, true},                            /* the expired ones took the places */
        {{7, 7, 0}, 3, 0, true},  {{7, 6, 2}, 3, 2, false}, /* the collection has no more */
        {{7, 0, 0}, 3, 0, false},
    };

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        bool lacks = !cases[i].lacks;
        cr_assert_eq(rank_take(&cases[i].search, cases[i].k, &lacks), cases[i].kept, "%zu", i);
        cr_assert_eq(lacks, cases[i].lacks, "%zu", i);
    }
}

Test(rank, a_hit_gets_its_text_and_keeps_its_distance)
{
    struct meta_pair over[] = {{text_of("expires_ms"), {.type = META_INT, .integer = 1000}}};
    const struct example stored[] = {
        {.id = text_of("ab"), .text = text_of("another's")},
        {.id = text_of("old"), .text = text_of("old"), .metadata = over, .metadata_count = 1},
        {.id = text_of("a"), .text = text_of("its own"), .distance = 9},
    };
    struct example hit = {.id = text_of("a"), .distance = 0.25};
    struct example gone = {.id = text_of("b")};
    struct example expired = {.id = text_of("old")};
    struct example alive = {.id = text_of("old")};

    cr_assert(rank_complete(&hit, stored, 3, 1000));
    cr_assert_eq(hit.text.data, stored[2].text.data);
    cr_assert_eq(hit.distance, 0.25);
    cr_assert_not(rank_complete(&gone, stored, 3, 1000));
    cr_assert_not(rank_complete(&gone, NULL, 0, 1000));
    cr_assert_not(rank_complete(&expired, stored, 3, 1000), "expired since it was found");
    cr_assert(rank_complete(&alive, stored, 3, 999));
}

Test(rank, a_result_holds_with_its_epoch_and_for_a_short_time_after)
{
    const struct enrich_result result = {.created_unix_ms = 5000, .epoch = 4};

    cr_assert(rank_is_current(&result, 4, 900000, 0), "nothing was written since");
    cr_assert(rank_is_current(&result, 5, 5000, 100));
    cr_assert(rank_is_current(&result, 5, 5099, 100));
    cr_assert_not(rank_is_current(&result, 5, 5100, 100));
    cr_assert_not(rank_is_current(&result, 5, 5000, 0));
    cr_assert_not(rank_is_current(&result, 5, 4999, 100), "from the future");
    cr_assert_not(rank_is_current(&result, 0, 900000, 100), "the epochs were lost");
}
