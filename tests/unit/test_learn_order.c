/* Parts of every kind, in any order and however often, over reopenings, with a forget, an expiry
 * and refreshes between, make the store of the ordered run: row for row, stamp for stamp, and the
 * views those of the rows.
 *
 * STILLHOUSE_TEST_PARTS and STILLHOUSE_TEST_SEED take the place of the number of parts and of the
 * seed.
 */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "learn_fixture.h"
#include "ok.h"

enum {
    PARTS = 10000,
    PARTS_A_TASK = 8,
    DOMAINS = 4,
    BATCH_MAX = 900,
    OLD_EACH = 9,        /* one task in so many is old enough to expire */
    FORGOTTEN_EACH = 13, /* and one in so many is forgotten */
};

static const int64_t NOW = 20000 * INT64_C(86400000) + 86400000 * 6;
static const int64_t HORIZON = 20000 * INT64_C(86400000) - 86400000 * 2;

TestSuite(learn_order, .init = learn_setup, .fini = learn_teardown, .timeout = 280);

static struct error err;
static struct arena arena;
static uint64_t state;

static size_t below(size_t bound)
{
    state += UINT64_C(0x9e3779b97f4a7c15);
    uint64_t z = state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return (size_t)((z ^ (z >> 31)) % bound);
}

static uint64_t setting(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text == NULL ? otherwise : strtoull(text, NULL, 10);
}

/* ---- parts ----------------------------------------------------------------------------------- */

static struct slice print(const char *format, size_t number)
{
    char text[64];
    const int bytes = snprintf(text, sizeof text, format, number);
    const char *copy = arena_copy(&arena, text, (size_t)bytes);

    cr_assert_not_null(copy);
    return (struct slice){copy, (size_t)bytes};
}

/* Absent as often as not. */
static struct slice one_of(const char *const *words, size_t count)
{
    return below(2) == 0 ? (struct slice){NULL, 0} : slice_of(words[below(count)]);
}

/* What sums without rounding, whatever the order. */
static struct maybe_number number(size_t most)
{
    return (struct maybe_number){(double)below(most * 8) / 8, below(2) == 0};
}

static struct maybe_integer integer(size_t least, size_t most)
{
    return (struct maybe_integer){(int64_t)(least + below(most - least + 1)), below(2) == 0};
}

static struct maybe_truth truth(void)
{
    return (struct maybe_truth){below(3) > 0, below(2) == 0};
}

static bool is_old(size_t task)
{
    return task % OLD_EACH == 0;
}

static struct slice domain_of(size_t task)
{
    static const char *const domains[DOMAINS] = {"acme.shop", "acme.shop2", "acme",
                                                 "z\xc3\xbcrich"};

    return slice_of(domains[task % DOMAINS]);
}

/* Every task has one user, whom some of its parts name. */
static struct slice user_of(size_t task)
{
    return print("user %zu", task % 101);
}

static void fill_metadata(struct metadata *metadata)
{
    static const char *const keys[] = {"branch", "a\"b", "sprint", "\xc3\xa9", "Branch"};
    struct meta_pair *pairs = arena_array(&arena, 2, sizeof *pairs);
    const size_t first = below(5);

    cr_assert_not_null(pairs);
    pairs[0] =
        (struct meta_pair){slice_of(keys[first]), {.type = META_INT, .integer = (int64_t)below(9)}};
    pairs[1] = (struct meta_pair){slice_of(keys[(first + 1) % 5]),
                                  {.type = META_STRING, .string = print("it's \"%zu\"", below(9))}};
    *metadata = (struct metadata){pairs, below(3), {NULL, 0}};
}

static struct part random_part(size_t i, size_t tasks)
{
    static const char *const kinds[] = {"routing",   "outcome",  "pool_start", "pool_end",
                                        "execution", "feedback", "solution",   "policy"};
    static const char *const types[] = {"fix", "write", "a, b"};
    static const char *const tiers[] = {"small", "large", ""};
    static const char *const pools[] = {"warm", "cold"};
    static const char *const ways[] = {"add an index", "add  an\tindex", "roll it back", "wait"};
    static const char *const words[] = {"one", "'two'", "thr\xc3\xa9\xc3\xa9"};
    const size_t task = below(tasks);
    const int64_t from = is_old(task) ? HORIZON - 9 * 86400000 : HORIZON;
    struct part part = {.domain = domain_of(task), .job_id = print("job-%zu", i)};
    struct record_body *body = &part.body;

    /* Of one task within some hours, and many parts of it in the same moment. */
    part.at_ms = from + (int64_t)(task % 7) * 86400000 + (int64_t)below(6) * 4000000;
    body->kind = slice_of(kinds[below(8)]);
    if (slice_equal(body->kind, slice_of("policy"))) {
        body->repo = one_of(words, 3);
        body->maturity = one_of(words, 3);
        body->strictness = one_of(words, 3);
        body->reason = one_of(words, 3);
        body->coverage_threshold = number(100);
        fill_metadata(&body->metadata);
        return part;
    }
    const bool is_of_pool = strncmp(body->kind.data, "pool", 4) == 0;
    body->task_id = is_of_pool && below(3) == 0 ? (struct slice){NULL, 0} : print("t-%zu", task);
    if (is_of_pool && (body->task_id.data == NULL || below(3) > 0)) {
        /* A pool lives as long as the tasks it has: old ones have pools of their own. */
        body->pool_id = print(is_old(task) ? "old-%zu" : "pool-%zu", below(tasks / 20 + 1));
    }
    if (slice_equal(body->kind, slice_of("feedback"))) {
        body->user = below(2) == 0 ? print("user %zu", below(101)) : (struct slice){NULL, 0};
        body->user_rating = integer(1, 5);
        body->user_accepted = truth();
        body->feedback_type = one_of(words, 3);
        body->comment = one_of(words, 3);
        fill_metadata(&body->metadata);
        return part;
    }
    body->user = !is_of_pool && below(2) == 0 ? user_of(task) : (struct slice){NULL, 0};
    body->repo = one_of(words, 3);
    body->task_type = one_of(types, 3);
    body->task_description = one_of(words, 3);
    body->model_tier = one_of(tiers, 3);
    body->pool_type = one_of(pools, 2);
    body->arm = one_of(words, 3);
    body->solution_summary = one_of(ways, 4);
    body->error_message = one_of(words, 3);
    body->tokens_in = integer(0, 9000);
    body->tokens_out = integer(0, 9000);
    body->estimated_tokens = integer(0, 9000);
    body->file_count = integer(0, 40);
    body->retries = integer(0, 3);
    body->started_ms = integer(1, 99999);
    body->success = truth();
    body->user_rating = integer(1, 5);
    body->duration_seconds = number(1000);
    body->queue_wait_seconds = number(100);
    body->actual_cost = number(10);
    body->cost_estimate = number(10);
    body->quality_score = number(100);
    body->peak_memory_mb = number(4000);
    body->routing_confidence = number(1);
    fill_metadata(&body->metadata);
    return part;
}

static int compare_parts(const void *left, const void *right)
{
    const struct part *a = left;
    const struct part *b = right;

    return (a->at_ms > b->at_ms) - (a->at_ms < b->at_ms);
}

/* Its doubles stand behind the first `count`. */
static struct part *make_parts(size_t count, size_t *all)
{
    struct part *parts = arena_array(&arena, 2 * count, sizeof *parts);

    cr_assert_not_null(parts);
    for (size_t i = 0; i < count; i++) {
        parts[i] = random_part(i, count / PARTS_A_TASK + 1);
    }
    qsort(parts, count, sizeof *parts, compare_parts);
    *all = count;
    for (size_t i = 0; i < count; i++) {
        if (below(4) == 0) {
            parts[(*all)++] = parts[i];
        }
    }
    return parts;
}

static void shuffle(struct part *parts, size_t count)
{
    for (size_t i = count; i > 1; i--) {
        const size_t k = below(i);
        const struct part part = parts[i - 1];
        parts[i - 1] = parts[k];
        parts[k] = part;
    }
}

/* ---- what is done between -------------------------------------------------------------------- */

static void forget(size_t tasks)
{
    size_t deleted = 0;

    for (size_t task = 0; task < tasks; task += FORGOTTEN_EACH) {
        const struct forget one = {.domain = domain_of(task),
                                   .task_id = print("t-%zu", task),
                                   .now_unix_ms = NOW,
                                   .rows = 9};
        OK(store_forget(learn_store, &one, &deleted, &err));
    }
    const struct forget users[] = {
        {.user = slice_of("user 7"), .now_unix_ms = NOW, .rows = 100},
        {.user = slice_of("user 8"), .domain = slice_of("acme"), .now_unix_ms = NOW, .rows = 100},
    };
    for (size_t i = 0; i < 2; i++) {
        do {
            OK(store_forget(learn_store, &users[i], &deleted, &err));
        } while (deleted == users[i].rows);
    }
}

static void expire(void)
{
    struct store_expired expired = {.executions = 1};

    while (store_expired_rows(&expired) > 0) {
        OK(store_expire(learn_store, HORIZON, 0, 200, &expired, &err));
    }
}

static void compare(const struct strbuf *ordered, const struct strbuf *shuffled)
{
    size_t at = 0;
    size_t line = 0;

    while (at < ordered->bytes && ordered->data[at] == shuffled->data[at]) {
        at++;
        line = ordered->data[at - 1] == '\n' ? at : line;
    }
    cr_assert_eq(at, ordered->bytes, "ordered %.*s\nshuffled %.*s",
                 (int)strcspn(ordered->data + line, "\n"), ordered->data + line,
                 (int)strcspn(shuffled->data + line, "\n"), shuffled->data + line);
    cr_assert_eq(shuffled->bytes, ordered->bytes, "more rows than in the ordered run");
}

/* Of two stores that are empty yet. */
static void any_order_makes_the_same_store(const char *first, const char *second)
{
    const size_t count = (size_t)setting("STILLHOUSE_TEST_PARTS", PARTS);
    const size_t tasks = count / PARTS_A_TASK + 1;
    struct strbuf ordered = {0};
    struct strbuf shuffled = {0};
    struct store_checked checked;
    size_t all = 0;
    size_t left = 0;

    state = setting("STILLHOUSE_TEST_SEED", 20260101);
    fprintf(stderr, "%zu parts, seed %llu\n", count, (unsigned long long)state);
    struct part *parts = make_parts(count, &all);

    learn_reopen(first);
    for (size_t i = 0; i < count; i += BATCH_MAX) {
        OK(store_put(learn_store, &parts[i], count - i < BATCH_MAX ? count - i : BATCH_MAX, &err));
    }
    forget(tasks);
    expire();
    learn_refresh(NOW);
    learn_dump(&ordered);
    OK(store_check(learn_store, NOW, &checked, &err));

    learn_reopen(second);
    shuffle(parts, all);
    size_t batch = 0;
    int forgotten = 0;
    int reopened = 0;
    for (size_t i = 0; i < all; i += batch) {
        batch = 1 + below(BATCH_MAX);
        batch = batch < all - i ? batch : all - i;
        OK(store_put(learn_store, &parts[i], batch, &err));
        OK(store_refresh(learn_store, NOW, below(40), &left, &err));
        if (forgotten == 0 && i > all / 4) {
            forget(tasks);
            forgotten++;
        }
        if (i > all * (size_t)(1 + reopened) / 3) {
            expire();
            learn_reopen(second);
            reopened++;
        }
    }
    cr_assert_eq(reopened, 2);
    expire();
    learn_refresh(NOW);
    learn_dump(&shuffled);
    compare(&ordered, &shuffled);
    OK(store_check(learn_store, NOW, &checked, &err));
    strbuf_free(&ordered);
    strbuf_free(&shuffled);
    arena_free(&arena);
}

Test(learn_order, any_order_and_any_repetition_makes_the_same_file)
{
    char second[TEST_POSTGRES_URL];

    learn_place("second", second);
    any_order_makes_the_same_store(learn_path, second);
}
