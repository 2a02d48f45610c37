/* A part into a row, without a store: what the order test does not reach. Stamps that are damaged,
 * more metadata than a row keeps, every kind of value, job ids that are none. */
#include <criterion/criterion.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "learn/merge.h"
#include "ok.h"

static struct error err;
static struct arena arena;

static void teardown(void)
{
    arena_free(&arena);
}

TestSuite(learn_merge, .fini = teardown);

static const struct slice none = {NULL, 0};

static struct part outcome(const char *job, int64_t at_ms)
{
    return (struct part){.domain = slice_of("acme"),
                         .job_id = slice_of(job),
                         .at_ms = at_ms,
                         .body = {.kind = slice_of("outcome"), .task_id = slice_of("t")}};
}

/* Merges `part` into what `stamps`, `metadata` and `values` are, and says what is to be stored. */
struct stored {
    struct value values[COLUMNS_MAX];
    struct slice stamps, metadata;
};

static bool merge(struct stored *stored, const struct part *part)
{
    struct merge_row row;
    bool changed = false;

    OK(merge_open(&merged_executions, stored->values, stored->stamps, stored->metadata, &arena,
                  &row, &err));
    OK(merge_part(&row, part, &arena, &changed, &err));
    OK(merge_close(&row, &arena, &stored->stamps, &stored->metadata, &err));
    memcpy(stored->values, row.values, sizeof stored->values);
    return changed;
}

static void put_pair(struct part *part, const char *key, struct meta_value value)
{
    struct meta_pair *pair = arena_array(&arena, 1, sizeof *pair);

    cr_assert_not_null(pair);
    *pair = (struct meta_pair){slice_of(key), value};
    part->body.metadata = (struct metadata){pair, 1, none};
}

Test(learn_merge, every_kind_of_value_has_its_json)
{
    static const struct {
        struct meta_value value;
        const char *json;
    } all[] = {
        {{.type = META_STRING, .string = {"a\"b", 3}}, "{\"k\":\"a\\\"b\"}"},
        {{.type = META_INT, .integer = -7}, "{\"k\":-7}"},
        {{.type = META_FLOAT, .number = 0.5}, "{\"k\":0.5}"},
        {{.type = META_BOOL, .boolean = true}, "{\"k\":true}"},
        {{.type = META_BOOL, .boolean = false}, "{\"k\":false}"},
        {{.type = META_NULL}, "{\"k\":null}"},
    };

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        struct part part = outcome("j", 1);
        struct stored stored = {0};
        struct slice alone;
        put_pair(&part, "k", all[i].value);
        cr_assert(merge(&stored, &part));
        cr_assert_not(merge(&stored, &part), "a repetition changes nothing");
        cr_assert(slice_equal(stored.metadata, slice_of(all[i].json)), "%s", all[i].json);
        OK(merge_metadata(&part.body.metadata, &arena, &alone, &err));
        cr_assert(slice_equal(alone, slice_of(all[i].json)));
    }
}

/* A part of its own with one key more. */
static void merge_key(struct stored *stored, int i)
{
    char key[16];
    char job[16];

    snprintf(key, sizeof key, "k%03d", i);
    snprintf(job, sizeof job, "j%d", i);
    char *kept = arena_copy(&arena, key, sizeof key);
    struct part part = outcome(arena_copy(&arena, job, sizeof job), 1);
    put_pair(&part, kept, (struct meta_value){.type = META_INT, .integer = i});
    merge(stored, &part);
}

Test(learn_merge, of_more_keys_than_a_row_keeps_the_first_stay_whatever_the_order)
{
    enum { KEYS = 300 };
    struct stored up = {0};
    struct stored down = {0};

    for (int i = 0; i < KEYS; i++) {
        merge_key(&up, i);
    }
    for (int i = KEYS - 1; i >= 0; i--) {
        merge_key(&down, i);
    }
    cr_assert(slice_equal(up.metadata, down.metadata));
    cr_assert_not_null(memmem(up.metadata.data, up.metadata.bytes, "\"k255\":", 7));
    cr_assert_null(memmem(up.metadata.data, up.metadata.bytes, "\"k256\":", 7));
}

static struct stored some_row(void)
{
    struct stored stored = {0};
    struct part first = outcome("job-1", 5);
    struct part second = outcome("job-2", 4);

    first.body.model_tier = slice_of("small");
    put_pair(&first, "branch", (struct meta_value){.type = META_INT, .integer = 1});
    second.body.retries = (struct maybe_integer){2, true};
    put_pair(&second, "sprint", (struct meta_value){.type = META_INT, .integer = 2});
    merge(&stored, &first);
    merge(&stored, &second);
    return stored;
}

Test(learn_merge, stamps_that_are_cut_are_none_and_what_is_flipped_ends)
{
    const struct stored stored = some_row();
    struct merge_row row;

    for (size_t bytes = 1; bytes < stored.stamps.bytes; bytes++) {
        char *cut = malloc(bytes);
        cr_assert_not_null(cut);
        memcpy(cut, stored.stamps.data, bytes);
        cr_assert_eq(merge_open(&merged_executions, stored.values, (struct slice){cut, bytes},
                                stored.metadata, &arena, &row, &err),
                     STATUS_GARBLED, "%zu bytes", bytes);
        cr_assert_not_null(strstr(err.text, "executions"), "%s", err.text);
        free(cut);
    }
    for (size_t bit = 0; bit < stored.stamps.bytes * 8; bit++) {
        char *flipped = malloc(stored.stamps.bytes);
        cr_assert_not_null(flipped);
        memcpy(flipped, stored.stamps.data, stored.stamps.bytes);
        flipped[bit / 8] = (char)(flipped[bit / 8] ^ (1 << (bit % 8)));
        const enum status status = merge_open(&merged_executions, stored.values,
                                              (struct slice){flipped, stored.stamps.bytes},
                                              stored.metadata, &arena, &row, &err);
        cr_assert(status == STATUS_OK || status == STATUS_GARBLED, "bit %zu", bit);
        free(flipped);
    }
}

Test(learn_merge, metadata_that_is_shorter_than_its_stamps_say_is_damage)
{
    const struct stored stored = some_row();
    struct merge_row row;

    for (size_t bytes = 0; bytes + 1 < stored.metadata.bytes; bytes++) {
        char *cut = malloc(bytes + 1);
        cr_assert_not_null(cut);
        memcpy(cut, stored.metadata.data, bytes);
        cr_assert_eq(merge_open(&merged_executions, stored.values, stored.stamps,
                                (struct slice){cut, bytes}, &arena, &row, &err),
                     STATUS_GARBLED);
        cr_assert_not_null(strstr(err.text, "do not fit its metadata"), "%s", err.text);
        free(cut);
    }
}

Test(learn_merge, a_job_has_an_id_of_1_to_255_bytes)
{
    char longest[257];
    struct merge_row row;
    bool changed = false;

    memset(longest, 'j', sizeof longest);
    longest[256] = '\0';
    for (int i = 0; i < 3; i++) {
        struct part part = outcome(i == 0 ? "" : longest, 1);
        part.job_id.bytes -= i == 2; /* 0, 256, 255 */
        OK(merge_open(&merged_executions, NULL, none, none, &arena, &row, &err));
        cr_assert_eq(merge_part(&row, &part, &arena, &changed, &err),
                     i == 2 ? STATUS_OK : STATUS_INVALID);
    }
    cr_assert_not_null(strstr(err.text, "job id: expected 1 to 255 bytes, found 256"), "%s",
                       err.text);
}

Test(learn_merge, a_word_that_is_no_kind_has_no_bit)
{
    cr_assert_eq(merge_kind_bit(slice_of("routing")), 1);
    cr_assert_eq(merge_kind_bit(slice_of("policy")), 128);
    cr_assert_eq(merge_kind_bit(slice_of("refund")), 0);
    cr_assert_eq(merge_kind_bit(slice_of("rout")), 0);
}
