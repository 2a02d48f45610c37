/* The producer library where no server is: layout, memory, results, arguments. */
#include "prompt/prompt.h"

#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "client/dns.h"
#include "client/result_memory.h"
#include "prompt/holdout.h"
#include "prompt/result.h"

static struct slice text(const char *chars)
{
    return (struct slice){chars, strlen(chars)};
}

/* ---- layout -------------------------------------------------------------------------------- */

Test(prompt, a_block_a_blank_line_and_the_base_prompt)
{
    char *composed = prompt_compose(text("block\n"), "base\n");
    cr_assert_str_eq(composed, "block\n\nbase\n");
    free(composed);
}

Test(prompt, a_block_without_a_line_end_is_given_one)
{
    char *composed = prompt_compose(text("block"), "");
    cr_assert_str_eq(composed, "block\n\n");
    free(composed);
}

Test(prompt, a_query_hash_is_that_of_the_contract)
{
    char one[33];
    char other[33];

    stillhouse_query_hash(" notice\tperiod ", one);
    cr_assert_str_eq(one, "3e3cc0f7619e7a8ec169dc19fb6ba83a"); /* sha256sum of "notice period" */
    stillhouse_query_hash("notice period", other);
    cr_assert_str_eq(one, other);
    stillhouse_query_hash(NULL, one);
    cr_assert_str_eq(one, "e3b0c44298fc1c149afbf4c8996fb924");
}

Test(prompt, without_a_client_the_base_prompt_comes_out)
{
    static const char base[] = "base";
    stillhouse_prompt_result out;

    cr_assert_eq(stillhouse_prompt(NULL, "legal", "query", base, 0, &out),
                 STILLHOUSE_PROMPT_FALLBACK);
    cr_assert_eq(out.text, base);
    cr_assert_eq(out.status, STILLHOUSE_INVALID);
    stillhouse_prompt_free(&out);
    cr_assert_str_eq(out.text, "");
    cr_assert_eq(stillhouse_prompt(NULL, "legal", "query", NULL, 0, &out),
                 STILLHOUSE_PROMPT_FALLBACK);
    cr_assert_str_eq(out.text, "");
    cr_assert_eq(stillhouse_prompt(NULL, "legal", "query", base, 0, NULL),
                 STILLHOUSE_PROMPT_FALLBACK);
    stillhouse_prompt_free(NULL);
}

Test(prompt, calls_without_a_client_are_invalid)
{
    stillhouse_experience experience = {.domain = "legal"};
    stillhouse_enrichment enrichment = {.domain = "legal"};
    stillhouse_document document = {.id = "a"};
    stillhouse_result *result = (void *)&experience;
    void *body = &experience;
    size_t bytes = 1;
    char id[STILLHOUSE_ID_BYTES] = "x";

    cr_assert_eq(stillhouse_enqueue_enrich(NULL, "d", "q", 0, NULL, id), STILLHOUSE_INVALID);
    cr_assert_str_eq(id, "");
    cr_assert_eq(stillhouse_enqueue_distill(NULL, &experience, NULL, id), STILLHOUSE_INVALID);
    cr_assert_eq(stillhouse_enqueue_index(NULL, "d", &document, 1, NULL, id), STILLHOUSE_INVALID);
    cr_assert_eq(stillhouse_enqueue_raw(NULL, "echo", "d", "x", 1, NULL, id), STILLHOUSE_INVALID);
    cr_assert_eq(stillhouse_enqueue_distill_many(NULL, &experience, 1, NULL, NULL, NULL),
                 STILLHOUSE_INVALID);
    cr_assert_eq(stillhouse_enqueue_enrich_many(NULL, &enrichment, 1, NULL, NULL, NULL),
                 STILLHOUSE_INVALID);
    cr_assert_eq(stillhouse_lookup(NULL, "d", "q", 0, &result), STILLHOUSE_INVALID);
    cr_assert_null(result);
    cr_assert_eq(stillhouse_await(NULL, "echo", "a", 0, &result), STILLHOUSE_INVALID);
    cr_assert_eq(stillhouse_await_raw(NULL, "echo", "a", 0, &body, &bytes), STILLHOUSE_INVALID);
    cr_assert_null(body);
    cr_assert_eq(stillhouse_open(NULL, NULL), STILLHOUSE_INVALID);
    cr_assert_str_eq(stillhouse_error(NULL), "");
    cr_assert_str_eq(stillhouse_version(), STILLHOUSE_VERSION);
    stillhouse_close(NULL);
    stillhouse_result_free(NULL);
}

/* ---- holding out --------------------------------------------------------------------------- */

enum { TASKS = 100000 };

static size_t held_out(int64_t share)
{
    size_t count = 0;

    for (int i = 0; i < TASKS; i++) {
        char id[16];
        snprintf(id, sizeof id, "t-%d", i);
        count += holdout_has(share, "legal", id) ? 1 : 0;
    }
    return count;
}

/* Four standard deviations either way. */
Test(holdout, as_many_tasks_are_held_out_as_the_share_says)
{
    static const struct {
        int64_t share;
        size_t least, most;
    } bounds[] = {{0, 0, 0},
                  {1000, 60, 140},
                  {50000, 4724, 5276},
                  {500000, 49368, 50632},
                  {950000, 94724, 95276},
                  {1000000, TASKS, TASKS}};

    for (size_t i = 0; i < sizeof bounds / sizeof bounds[0]; i++) {
        const size_t count = held_out(bounds[i].share);
        cr_assert(count >= bounds[i].least && count <= bounds[i].most, "%zu", count);
    }
}

Test(holdout, who_is_held_out_stays_so_when_the_share_grows)
{
    static const int64_t shares[] = {1, 1000, 50000, 100000, 500000, 999999, 1000000};

    for (int i = 0; i < 2000; i++) {
        bool was = false;
        char id[16];
        snprintf(id, sizeof id, "t-%d", i);
        for (size_t s = 0; s < sizeof shares / sizeof shares[0]; s++) {
            const bool is = holdout_has(shares[s], "legal", id);
            cr_assert(is || !was, "%s at %lld", id, (long long)shares[s]);
            was = is;
        }
        cr_assert(was);
    }
}

Test(holdout, domains_are_drawn_independently)
{
    size_t both = 0;

    for (int i = 0; i < TASKS; i++) {
        char id[16];
        snprintf(id, sizeof id, "t-%d", i);
        both += holdout_has(500000, "legal", id) && holdout_has(500000, "billing", id) ? 1 : 0;
    }
    cr_assert(both > 24452 && both < 25548, "%zu", both); /* a quarter */
}

Test(holdout, a_kind_has_the_name_that_an_arm_is_told_by)
{
    cr_assert_str_eq(stillhouse_kind_name(STILLHOUSE_PROMPT_ENRICHED), "enriched");
    cr_assert_str_eq(stillhouse_kind_name(STILLHOUSE_PROMPT_STALE), "stale");
    cr_assert_str_eq(stillhouse_kind_name(STILLHOUSE_PROMPT_FALLBACK), "fallback");
    cr_assert_str_eq(stillhouse_kind_name(STILLHOUSE_PROMPT_HOLDOUT), "holdout");
    cr_assert_str_eq(stillhouse_kind_name((stillhouse_prompt_kind)4), "");
}

/* ---- results ------------------------------------------------------------------------------- */

static struct meta_pair pairs[] = {
    {{"court", 5}, {.type = META_STRING, .string = {"BGH", 3}}},
    {{"year", 4}, {.type = META_INT, .integer = 2026}},
    {{"void", 4}, {.type = META_NULL}},
    {{"weight", 6}, {.type = META_FLOAT, .number = 0.5}},
    {{"final", 5}, {.type = META_BOOL, .boolean = true}},
};

static struct example examples[] = {
    {{"t-1", 3}, {"first", 5}, 0.25, pairs, 5},
    {{"t-2", 3}, {"second", 6}, 0.5, NULL, 0},
};

static stillhouse_result *make(size_t count, bool stale, size_t *bytes)
{
    const struct enrich_result from = {
        .domain = text("legal"),
        .query_hash = text("abc"),
        .created_unix_ms = 7,
        .epoch = 3,
        .k = 3,
        .examples = examples,
        .count = count,
        .few_shot = text(count == 0 ? "" : "block"),
    };
    stillhouse_result *made = result_make(&from, stale, bytes);
    cr_assert_not_null(made);
    return made;
}

static void check_result(const stillhouse_result *result)
{
    cr_assert_str_eq(result->domain, "legal");
    cr_assert_str_eq(result->query_hash, "abc");
    cr_assert_eq(result->created_unix_ms, 7);
    cr_assert_eq(result->epoch, 3);
    cr_assert_str_eq(result->few_shot, "block");
    cr_assert_null(result->error);
    cr_assert_eq(result->count, 2);
    cr_assert_str_eq(result->examples[0].id, "t-1");
    cr_assert_str_eq(result->examples[0].text, "first");
    cr_assert_eq(result->examples[0].distance, 0.25);
    cr_assert_str_eq(result->examples[1].text, "second");
    cr_assert_eq(result->examples[1].metadata_count, 0);

    const stillhouse_meta *metas = result->examples[0].metadata;
    cr_assert_eq(result->examples[0].metadata_count, 4);
    cr_assert_str_eq(metas[0].key, "court");
    cr_assert_str_eq(metas[0].string, "BGH");
    cr_assert_eq(metas[1].type, STILLHOUSE_META_INT);
    cr_assert_eq(metas[1].integer, 2026);
    cr_assert_eq(metas[2].number, 0.5);
    cr_assert_eq(metas[3].type, STILLHOUSE_META_BOOL);
    cr_assert(metas[3].boolean);
}

Test(result, a_copy_has_everything_and_points_into_itself)
{
    size_t bytes = 0;
    stillhouse_result *made = make(2, true, &bytes);

    check_result(made);
    char *unaligned = malloc(bytes + 1);
    cr_assert_not_null(unaligned);
    memcpy(unaligned + 1, made, bytes);
    const uintptr_t made_at = (uintptr_t)made;
    memset(made, 0xff, bytes);
    stillhouse_result_free(made);

    stillhouse_result *copy = result_copy(unaligned + 1, bytes, made_at);
    free(unaligned);
    cr_assert_not_null(copy);
    check_result(copy);
    cr_assert(copy->stale);
    stillhouse_result_free(copy);
}

Test(result, a_job_that_ended_without_a_result_has_its_error)
{
    const struct enrich_result from = {.few_shot = text(""), .error = text("rejected")};
    size_t bytes = 0;
    stillhouse_result *made = result_make(&from, false, &bytes);

    cr_assert_not_null(made);
    cr_assert_str_eq(made->error, "rejected");
    stillhouse_result *copy = result_copy(made, bytes, (uintptr_t)made);
    cr_assert_str_eq(copy->error, "rejected");
    stillhouse_result_free(copy);
    stillhouse_result_free(made);
}

/* ---- memory -------------------------------------------------------------------------------- */

static struct memory memory;
static struct memory_hit hit;

static void open_memory(size_t entries)
{
    struct error err = {0};

    cr_assert_eq(memory_init(&memory, entries, 10000, &err), STATUS_OK);
}

static void keep(const char *query, size_t count, bool stale, int k, int64_t now_ms)
{
    size_t bytes = 0;
    stillhouse_result *made = make(count, stale, &bytes);

    memory_keep(&memory, &(struct question){"legal", query, k}, made, bytes, now_ms);
    stillhouse_result_free(made);
}

Test(memory, what_is_kept_is_found_with_its_block_until_it_is_too_old)
{
    open_memory(10);
    keep("q", 2, false, 3, 1000);
    cr_assert(memory_find(&memory, &(struct question){"legal", "q", 3}, 10999, &hit));
    cr_assert_eq(hit.count, 2);
    cr_assert_eq(hit.few_shot.bytes, 5);
    cr_assert_eq(memcmp(hit.few_shot.data, "block", 5), 0);
    stillhouse_result *copy = result_copy(hit.piece, hit.bytes, hit.made_at);
    check_result(copy);
    stillhouse_result_free(copy);
    cr_assert_not(memory_find(&memory, &(struct question){"legal", "q", 3}, 11001, &hit));
    memory_free(&memory);
}

Test(memory, other_queries_domains_and_greater_k_are_misses)
{
    open_memory(10);
    keep("q", 2, false, 3, 0);
    cr_assert(memory_find(&memory, &(struct question){"legal", "q", 1}, 0, &hit));
    cr_assert_not(memory_find(&memory, &(struct question){"legal", "q", 4}, 0, &hit));
    cr_assert_not(memory_find(&memory, &(struct question){"legal", "Q", 3}, 0, &hit));
    cr_assert_not(memory_find(&memory, &(struct question){"legalq", "", 3}, 0, &hit));
    cr_assert_not(memory_find(&memory, &(struct question){"", "q", 3}, 0, &hit));
    memory_free(&memory);
}

Test(memory, stale_results_are_not_kept_and_empty_ones_for_a_moment)
{
    open_memory(10);
    keep("stale", 2, true, 3, 0);
    cr_assert_not(memory_find(&memory, &(struct question){"legal", "stale", 3}, 0, &hit));
    keep("empty", 0, false, 3, 0);
    cr_assert(memory_find(&memory, &(struct question){"legal", "empty", 3}, MEMORY_EMPTY_TTL_MS - 1,
                          &hit));
    cr_assert_not(
        memory_find(&memory, &(struct question){"legal", "empty", 3}, MEMORY_EMPTY_TTL_MS, &hit));
    memory_free(&memory);
}

Test(memory, a_domain_that_moved_makes_its_own_results_stale)
{
    open_memory(10);
    keep("q", 2, false, 3, 0); /* of epoch 3 */
    memory_note_epoch(&memory, "legal", 3);
    memory_note_epoch(&memory, "games", 8);
    cr_assert_eq(memory_find(&memory, &(struct question){"legal", "q", 3}, 0, &hit), MEMORY_HIT);
    memory_note_epoch(&memory, "legal", 4);
    cr_assert_eq(memory_find(&memory, &(struct question){"legal", "q", 3}, 0, &hit), MEMORY_STALE);
    cr_assert_eq(hit.count, 2);
    keep("q", 2, false, 3, 0);
    cr_assert_eq(memory_find(&memory, &(struct question){"legal", "q", 3}, 0, &hit), MEMORY_STALE,
                 "a result that is older than what is known of its domain is not kept");
    memory_note_epoch(&memory, "legal", 3); /* a Redis that lost its data */
    keep("q", 2, false, 3, 0);
    cr_assert_eq(memory_find(&memory, &(struct question){"legal", "q", 3}, 0, &hit), MEMORY_HIT);
    memory_free(&memory);
}

Test(memory, domains_that_share_a_place_cost_only_look_ups)
{
    char name[32];

    open_memory(10);
    keep("q", 2, false, 3, 0);
    for (int i = 0; i < 8 * MEMORY_DOMAINS; i++) {
        snprintf(name, sizeof name, "other-%d", i);
        memory_note_epoch(&memory, name, i);
    }
    cr_assert_eq(memory_find(&memory, &(struct question){"legal", "q", 3}, 0, &hit), MEMORY_STALE);
    keep("q", 2, false, 3, 0);
    cr_assert_eq(memory_find(&memory, &(struct question){"legal", "q", 3}, 0, &hit), MEMORY_HIT);
    memory_free(&memory);
}

Test(memory, the_number_of_entries_is_bounded_and_long_queries_are_not_kept)
{
    char *query = malloc(16384);

    cr_assert_not_null(query);
    memset(query, 'q', 16383);
    query[16383] = '\0';
    open_memory(2);
    keep("a", 2, false, 3, 0);
    keep("b", 2, false, 3, 0);
    keep("c", 2, false, 3, 0);
    keep(query, 2, false, 3, 0);
    cr_assert_not(memory_find(&memory, &(struct question){"legal", "a", 3}, 0, &hit));
    cr_assert(memory_find(&memory, &(struct question){"legal", "c", 3}, 0, &hit));
    cr_assert_not(memory_find(&memory, &(struct question){"legal", query, 3}, 0, &hit));
    memory_free(&memory);
    free(query);
}

/* ---- addresses ----------------------------------------------------------------------------- */

Test(resolve, addresses_and_localhost_need_no_name_server)
{
    static const char *const hosts[][2] = {
        {"127.0.0.1", "127.0.0.1"}, {"::1", "::1"}, {"LocalHost", "127.0.0.1"}};
    struct redis_addresses found;
    struct error err = {0};

    for (size_t i = 0; i < 3; i++) {
        struct dns_name resolve;
        dns_init(&resolve, hosts[i][0]);
        cr_assert_eq(dns_find(&resolve, 1, &found, &err), STATUS_OK);
        cr_assert_str_eq(found.text[0], hosts[i][1]);
        cr_assert_null(resolve.lookup);
        dns_free(&resolve);
    }
}

Test(resolve, the_address_that_worked_last_is_tried_first_and_a_doubted_one_last)
{
    static const struct redis_addresses three = {.text = {"a", "b", "c"}, .count = 3};
    static const struct {
        const char *last;
        bool doubted;
        const char *order;
    } cases[] = {{"", false, "abc"}, {"a", false, "abc"}, {"b", false, "bac"}, {"c", false, "cab"},
                 {"a", true, "bca"}, {"b", true, "acb"},  {"c", true, "abc"},  {"d", true, "abc"}};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct redis_addresses now = three;
        redis_address_order(&now, cases[i].last, cases[i].doubted);
        for (size_t j = 0; j < 3; j++) {
            cr_assert_eq(now.text[j][0], cases[i].order[j], "case %zu", i);
        }
    }
}

/* The machine's own name is in its hosts file or its DNS; where it is in neither, the error says
 * so. */
Test(resolve, a_name_is_looked_up_in_a_thread)
{
    char host[200] = "";
    struct redis_addresses found;
    struct dns_name resolve;
    struct error err = {0};

    cr_assert_eq(gethostname(host, sizeof host - 1), 0);
    dns_init(&resolve, host);
    const enum status status = dns_find(&resolve, 5000, &found, &err);
    if (status == STATUS_OK) {
        cr_assert_gt(found.count, 0);
        cr_assert_neq(found.text[0][0], '\0');
    } else {
        cr_assert_not_null(strstr(err.text, host), "%s", err.text);
    }
    dns_free(&resolve);
}

Test(resolve, a_name_that_does_not_exist_is_unreachable_or_late_but_never_found)
{
    struct redis_addresses found;
    struct dns_name resolve;
    struct error err = {0};

    dns_init(&resolve, "no-such-host.invalid");
    const enum status status = dns_find(&resolve, 1, &found, &err);
    cr_assert(status == STATUS_UNREACHABLE || status == STATUS_TIMEOUT, "%s", err.text);
    cr_assert_not_null(strstr(err.text, "no-such-host.invalid"), "%s", err.text);
    dns_free(&resolve);
}
