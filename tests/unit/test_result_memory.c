/* Results in a client's memory: what is found, what leaves, what is stale. */
#include <criterion/criterion.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/result_memory.h"
#include "jobs/bodies.h"
#include "prompt/result.h"

static struct memory memory;
static struct error err;

static void begin(size_t entries, int64_t ttl_ms)
{
    cr_assert_eq(memory_init(&memory, entries, ttl_ms, &err), STATUS_OK);
}

static void end(void)
{
    memory_free(&memory);
}

TestSuite(result_memory, .fini = end);

/* A piece as a look-up makes it; *bytes is its size. */
static stillhouse_result *piece_of(const char *few_shot, int64_t epoch, size_t *bytes)
{
    struct example example = {{"t-1", 3}, {"text", 4}, 0.25, NULL, 0};
    const struct enrich_result result = {
        .domain = {"legal", 5},
        .query_hash = {"0123", 4},
        .epoch = epoch,
        .k = 3,
        .examples = &example,
        .count = few_shot[0] == '\0' ? 0 : 1,
        .few_shot = {few_shot, strlen(few_shot)},
    };
    stillhouse_result *piece = result_make(&result, false, bytes);

    cr_assert_not_null(piece);
    return piece;
}

static void keep_at(const char *query, const char *few_shot, int64_t epoch, int64_t now_ms)
{
    size_t bytes = 0;
    stillhouse_result *piece = piece_of(few_shot, epoch, &bytes);

    memory_keep(&memory, &(struct question){"legal", query, 3}, piece, bytes, now_ms);
    memset(piece, 0, bytes); /* it is a copy */
    stillhouse_result_free(piece);
}

static void keep(const char *query, const char *few_shot)
{
    keep_at(query, few_shot, 0, 0);
}

static bool has(const char *query, const char *few_shot)
{
    struct memory_hit hit = {0};

    return memory_find(&memory, &(struct question){"legal", query, 3}, 0, &hit) == MEMORY_HIT &&
           hit.few_shot.bytes == strlen(few_shot) &&
           memcmp(hit.few_shot.data, few_shot, hit.few_shot.bytes) == 0;
}

static enum memory_answer find_at(const char *query, int k, int64_t now_ms)
{
    struct memory_hit hit = {0};

    return memory_find(&memory, &(struct question){"legal", query, k}, now_ms, &hit);
}

Test(result_memory, what_was_kept_is_found_and_copied_out)
{
    struct memory_hit hit = {0};

    begin(10, 1000);
    cr_assert_not(has("a", "one"));
    keep("a", "one");
    keep("b", "two");
    keep("", "of no query");
    cr_assert(has("a", "one"));
    cr_assert(has("b", "two"));
    cr_assert(has("", "of no query"));
    cr_assert_not(has("ab", "one"));
    cr_assert_eq(memory.count, 3);
    cr_assert_eq(memory_find(&memory, &(struct question){"lega", "la", 3}, 0, &hit), MEMORY_MISS,
                 "no two share a key");
    cr_assert_eq(memory_find(&memory, &(struct question){"legal", "a", 3}, 0, &hit), MEMORY_HIT);
    stillhouse_result *copy = result_copy(hit.piece, hit.bytes, hit.made_at);
    cr_assert_str_eq(copy->few_shot, "one");
    cr_assert_str_eq(copy->examples[0].text, "text");
    stillhouse_result_free(copy);
}

Test(result_memory, a_new_result_takes_the_place_of_the_old_one)
{
    begin(10, 1000);
    keep("a", "one");
    keep("a", "another");
    cr_assert(has("a", "another"));
    cr_assert_eq(memory.count, 1);
}

Test(result_memory, the_least_recently_used_leaves_first)
{
    begin(3, 1000);
    keep("a", "1");
    keep("b", "2");
    keep("c", "3");
    cr_assert(has("a", "1"), "used");
    keep("b", "4");
    keep("d", "5");
    cr_assert_not(has("c", "3"));
    keep("e", "6");
    cr_assert_not(has("a", "1"));
    cr_assert(has("b", "4"));
    cr_assert(has("d", "5"));
    cr_assert(has("e", "6"));
    cr_assert_eq(memory.count, 3);
}

Test(result_memory, results_together_stay_under_the_bound)
{
    char large[400];
    size_t bytes = 0;

    begin(100, 1000);
    stillhouse_result_free(piece_of("1", 0, &bytes));
    memory.max_bytes = 3 * bytes;
    keep("a", "1");
    keep("b", "2");
    keep("c", "3");
    cr_assert_eq(memory.count, 3, "exactly at the bound");
    keep("d", "4");
    cr_assert_not(has("a", "1"));
    cr_assert_eq(memory.count, 3);
    memset(large, 'x', sizeof large - 1);
    large[sizeof large - 1] = '\0';
    memory.max_bytes = bytes + 398;
    keep("e", large);
    cr_assert_eq(memory.count, 1, "as large as everything");
    memory.max_bytes--;
    keep("e", large);
    cr_assert_eq(memory.count, 0, "larger: the old one is gone too");
    cr_assert_eq(memory.bytes, 0);
}

Test(result_memory, where_there_is_room_for_none_none_is_kept)
{
    begin(0, 1000);
    keep("a", "1");
    cr_assert_eq(memory.count, 0);
    memory_free(&memory);
    memory = (struct memory){0}; /* as after a lack of memory */
    keep("a", "1");
    memory_note_epoch(&memory, "legal", 1);
    cr_assert_not(has("a", "1"));
}

Test(result_memory, a_result_over_its_age_is_a_miss_and_leaves)
{
    begin(10, 300);
    keep_at("a", "1", 0, 1000);
    cr_assert_eq(find_at("a", 3, 1300), MEMORY_HIT);
    cr_assert_eq(find_at("a", 3, 1301), MEMORY_MISS, "using it did not make it younger");
    cr_assert_eq(memory.count, 0);
    keep_at("a", "1", 0, 2000);
    keep_at("a", "1", 0, 2300);
    cr_assert_eq(find_at("a", 3, 2600), MEMORY_HIT, "keeping it did");
}

Test(result_memory, a_result_without_examples_or_for_fewer_is_a_miss)
{
    begin(10, 100000);
    keep_at("a", "", 0, 0);
    cr_assert_eq(find_at("a", 3, MEMORY_EMPTY_TTL_MS - 1), MEMORY_HIT);
    cr_assert_eq(find_at("a", 3, MEMORY_EMPTY_TTL_MS), MEMORY_MISS);
    keep_at("b", "1", 0, 0);
    cr_assert_eq(find_at("b", 4, 0), MEMORY_MISS);
    cr_assert_eq(find_at("b", 1, 0), MEMORY_HIT);
}

Test(result_memory, a_moved_epoch_makes_a_domains_results_stale)
{
    begin(10, 1000);
    memory_note_epoch(&memory, "legal", 4);
    keep_at("a", "1", 4, 0);
    keep_at("old", "1", 3, 0);
    cr_assert_eq(find_at("old", 3, 0), MEMORY_MISS, "older than what is known");
    cr_assert_eq(find_at("a", 3, 0), MEMORY_HIT);
    memory_note_epoch(&memory, "legal", 5);
    cr_assert_eq(find_at("a", 3, 0), MEMORY_STALE);
    keep_at("a", "2", 5, 0);
    cr_assert_eq(find_at("a", 3, 0), MEMORY_HIT);
}

/* Against a plain model: 300 queries of lengths 0 to 299, room for 64. */
Test(result_memory, it_behaves_as_a_list_that_is_searched)
{
    enum { KEYS = 300, ROOM = 64 };
    int order[KEYS];
    int count = 0;
    char key[KEYS + 1];
    char text[16];
    uint32_t random = 1;

    begin(ROOM, 1000);
    for (int step = 0; step < 20000; step++) {
        random = random * 1664525u + 1013904223u;
        int k = (int)(random >> 8) % KEYS;
        int at = 0;
        memset(key, 'k', (size_t)k);
        key[k] = '\0';
        snprintf(text, sizeof text, "%d", k);
        while (at < count && order[at] != k) {
            at++;
        }
        const bool found = has(key, text);
        cr_assert_eq(found, at < count, "step %d, key %d", step, k);
        if (!found) {
            keep(key, text);
            at = count < ROOM ? count++ : ROOM - 1;
        }
        memmove(order + 1, order, (size_t)at * sizeof order[0]);
        order[0] = k;
        cr_assert_eq(memory.count, (size_t)count);
    }
}
