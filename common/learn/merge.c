/* See learn/merge.h.
 *
 * Stamps as bytes, numbers little-endian:  version 1 | count u16, count x (at_ms i64, length u8,
 * job id) | rank u8, seen u16, index of at_ms | columns u8, an index each | pairs u16, each (key
 * bytes u32, value bytes u32, index). An index is u16: 0 is none, else the place of the stamp + 1.
 */
#include "learn/merge.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/strbuf.h"
#include "json/write.h"

enum { STAMPS_VERSION = 1, JOB_ID_MAX = 255 };

#define NUMBER_LEAST 1e-200

static int compare_stamps(const void *left, const void *right)
{
    const struct stamp *a = left;
    const struct stamp *b = right;

    return a->at_ms != b->at_ms ? (a->at_ms > b->at_ms) - (a->at_ms < b->at_ms)
                                : slice_compare(a->job_id, b->job_id);
}

/* Whether a part may set what an older one, or none, has set. */
static bool is_later(const struct stamp *part, const struct stamp *standing)
{
    return standing->job_id.data == NULL || compare_stamps(part, standing) > 0;
}

/* ---- stamps as bytes ------------------------------------------------------------------------- */

struct bytes {
    const unsigned char *at;
    size_t left;
    bool is_short;
};

static uint64_t take(struct bytes *bytes, size_t size)
{
    uint64_t number = 0;

    if (bytes->left < size) {
        bytes->is_short = true;
        return 0;
    }
    for (size_t i = 0; i < size; i++) {
        number |= (uint64_t)bytes->at[i] << (8 * i);
    }
    bytes->at += size;
    bytes->left -= size;
    return number;
}

static struct slice take_slice(struct bytes *bytes, size_t size)
{
    const struct slice found = {(const char *)bytes->at, size};

    if (bytes->left < size) {
        bytes->is_short = true;
        return (struct slice){NULL, 0};
    }
    bytes->at += size;
    bytes->left -= size;
    return found;
}

static void put(struct strbuf *out, uint64_t number, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        strbuf_append_char(out, (char)(unsigned char)(number >> (8 * i)));
    }
}

struct stamp_list {
    struct stamp *each;
    size_t count;
};

static struct stamp take_index(struct bytes *bytes, const struct stamp_list *list)
{
    const size_t index = (size_t)take(bytes, 2);

    if (index > list->count) {
        bytes->is_short = true;
        return (struct stamp){0};
    }
    if (index == 0) {
        return (struct stamp){0};
    }
    return list->each[index - 1];
}

/* The text is {"key":value,"key":value}: what is between is known by lengths, so nothing is parsed.
 */
static void take_pairs(struct bytes *bytes, struct slice metadata, const struct stamp_list *list,
                       struct merge_row *row)
{
    struct bytes text = {(const unsigned char *)metadata.data, metadata.bytes, false};

    for (size_t i = 0; i < row->pair_count; i++) {
        const size_t key_bytes = (size_t)take(bytes, 4);
        const size_t value_bytes = (size_t)take(bytes, 4);
        (void)take(&text, 1);
        row->pairs[i].key = take_slice(&text, key_bytes);
        (void)take(&text, 1);
        row->pairs[i].text = take_slice(&text, value_bytes);
        row->pairs[i].stamp = take_index(bytes, list);
    }
    bytes->is_short = bytes->is_short || text.is_short;
}

enum status merge_open(const struct merged *table, const struct value *values, struct slice stamps,
                       struct slice metadata, struct arena *arena, struct merge_row *row,
                       struct error *err)
{
    struct bytes bytes = {(const unsigned char *)stamps.data, stamps.bytes, false};
    struct stamp_list list = {NULL, 0};

    *row = (struct merge_row){.table = table};
    if (stamps.bytes == 0) {
        return STATUS_OK;
    }
    const uint64_t version = take(&bytes, 1);
    list.count = (size_t)take(&bytes, 2);
    list.each = arena_array(arena, list.count + 1, sizeof *list.each);
    if (list.each == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    for (size_t i = 0; i < list.count; i++) {
        list.each[i].at_ms = (int64_t)take(&bytes, 8);
        list.each[i].job_id = take_slice(&bytes, (size_t)take(&bytes, 1));
    }
    row->rank = (unsigned)take(&bytes, 1);
    row->seen = (unsigned)take(&bytes, 2);
    row->at_stamp = take_index(&bytes, &list);
    row->at_ms = row->at_stamp.at_ms;
    const size_t columns = (size_t)take(&bytes, 1);
    /* A newer schema may have had more, an older one fewer. */
    for (size_t i = 0; i < columns; i++) {
        const struct stamp stamp = take_index(&bytes, &list);
        if (i < table->count) {
            row->stamps[i] = stamp;
            row->values[i] = stamp.job_id.data == NULL ? value_null() : values[i];
        }
    }
    row->pair_count = (size_t)take(&bytes, 2);
    if (bytes.is_short || version != STAMPS_VERSION || row->pair_count > MERGE_KEYS_MAX) {
        return error_set(err, STATUS_GARBLED,
                         "a row of %s has stamps that this program cannot read", table->name);
    }
    row->pairs = arena_array(arena, row->pair_count + 1, sizeof *row->pairs);
    if (row->pairs == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    take_pairs(&bytes, metadata, &list, row);
    return bytes.is_short || bytes.left > 0
               ? error_set(err, STATUS_GARBLED,
                           "a row of %s has stamps that do not fit its metadata", table->name)
               : STATUS_OK;
}

/* All stamps that something comes from, sorted, each once. */
static enum status collect(const struct merge_row *row, struct arena *arena,
                           struct stamp_list *list, struct error *err)
{
    size_t used = 0;

    list->each = arena_array(arena, row->table->count + row->pair_count + 1, sizeof *list->each);
    if (list->each == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    list->each[used++] = row->at_stamp;
    for (size_t i = 0; i < row->table->count; i++) {
        if (row->stamps[i].job_id.data != NULL &&
            compare_stamps(&row->stamps[i], &list->each[used - 1]) != 0) {
            list->each[used++] = row->stamps[i];
        }
    }
    for (size_t i = 0; i < row->pair_count; i++) {
        if (compare_stamps(&row->pairs[i].stamp, &list->each[used - 1]) != 0) {
            list->each[used++] = row->pairs[i].stamp;
        }
    }
    qsort(list->each, used, sizeof *list->each, compare_stamps);
    list->count = 0;
    for (size_t i = 0; i < used; i++) {
        if (i == 0 || compare_stamps(&list->each[i], &list->each[list->count - 1]) != 0) {
            list->each[list->count++] = list->each[i];
        }
    }
    return STATUS_OK;
}

static void put_index(struct strbuf *out, const struct stamp *stamp, const struct stamp_list *list)
{
    const struct stamp *found =
        stamp->job_id.data == NULL
            ? NULL
            : bsearch(stamp, list->each, list->count, sizeof *list->each, compare_stamps);

    put(out, found == NULL ? 0 : (uint64_t)(found - list->each) + 1, 2);
}

static enum status keep(struct strbuf *text, struct arena *arena, struct slice *out,
                        struct error *err)
{
    const char *copy = strbuf_ok(text) ? arena_copy(arena, text->data, text->bytes) : NULL;

    *out = (struct slice){copy, text->bytes};
    strbuf_free(text);
    return copy == NULL ? error_set(err, STATUS_OOM, "out of memory") : STATUS_OK;
}

static enum status write_pairs(const struct merge_pair *pairs, size_t count, struct arena *arena,
                               struct slice *out, struct error *err)
{
    struct strbuf text = {0};

    *out = (struct slice){NULL, 0};
    if (count == 0) {
        return STATUS_OK;
    }
    for (size_t i = 0; i < count; i++) {
        strbuf_append_char(&text, i == 0 ? '{' : ',');
        strbuf_append(&text, pairs[i].key.data, pairs[i].key.bytes);
        strbuf_append_char(&text, ':');
        strbuf_append(&text, pairs[i].text.data, pairs[i].text.bytes);
    }
    strbuf_append_char(&text, '}');
    return keep(&text, arena, out, err);
}

enum status merge_close(const struct merge_row *row, struct arena *arena, struct slice *stamps,
                        struct slice *metadata, struct error *err)
{
    struct stamp_list list;
    struct strbuf out = {0};

    TRY(write_pairs(row->pairs, row->pair_count, arena, metadata, err));
    TRY(collect(row, arena, &list, err));
    put(&out, STAMPS_VERSION, 1);
    put(&out, list.count, 2);
    for (size_t i = 0; i < list.count; i++) {
        put(&out, (uint64_t)list.each[i].at_ms, 8);
        put(&out, list.each[i].job_id.bytes, 1);
        strbuf_append(&out, list.each[i].job_id.data, list.each[i].job_id.bytes);
    }
    put(&out, row->rank, 1);
    put(&out, row->seen, 2);
    put_index(&out, &row->at_stamp, &list);
    put(&out, row->table->count, 1);
    for (size_t i = 0; i < row->table->count; i++) {
        put_index(&out, &row->stamps[i], &list);
    }
    put(&out, row->pair_count, 2);
    for (size_t i = 0; i < row->pair_count; i++) {
        put(&out, row->pairs[i].key.bytes, 4);
        put(&out, row->pairs[i].text.bytes, 4);
        put_index(&out, &row->pairs[i].stamp, &list);
    }
    return keep(&out, arena, stamps, err);
}

/* ---- metadata -------------------------------------------------------------------------------- */

static void write_value(const struct meta_value *value, struct strbuf *out)
{
    switch (value->type) {
    case META_STRING:
        json_string(out, value->string.data, value->string.bytes);
        break;
    case META_INT:
        json_int(out, value->integer);
        break;
    case META_FLOAT:
        json_double(out, value->number);
        break;
    case META_BOOL:
        strbuf_append_str(out, value->boolean ? "true" : "false");
        break;
    case META_NULL:
        strbuf_append_str(out, "null");
        break;
    }
}

static int compare_pairs(const void *left, const void *right)
{
    const struct merge_pair *a = left;
    const struct merge_pair *b = right;

    return slice_compare(a->key, b->key);
}

/* The pairs of a part as they stand in JSON, sorted by key; no two keys of one map are equal. */
static enum status read_pairs(const struct metadata *metadata, const struct stamp *stamp,
                              struct arena *arena, struct merge_pair **out, struct error *err)
{
    struct merge_pair *pairs = arena_array(arena, metadata->count + 1, sizeof *pairs);

    if (pairs == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    for (size_t i = 0; i < metadata->count; i++) {
        struct strbuf key = {0};
        struct strbuf text = {0};
        json_string(&key, metadata->pairs[i].key.data, metadata->pairs[i].key.bytes);
        write_value(&metadata->pairs[i].value, &text);
        const enum status status = keep(&key, arena, &pairs[i].key, err);
        const enum status also = keep(&text, arena, &pairs[i].text, err);
        if (status != STATUS_OK || also != STATUS_OK) {
            return STATUS_OOM;
        }
        pairs[i].stamp = *stamp;
    }
    qsort(pairs, metadata->count, sizeof *pairs, compare_pairs);
    *out = pairs;
    return STATUS_OK;
}

enum status merge_metadata(const struct metadata *metadata, struct arena *arena, struct slice *out,
                           struct error *err)
{
    struct merge_pair *pairs = NULL;

    TRY(read_pairs(metadata, &(struct stamp){0}, arena, &pairs, err));
    return write_pairs(pairs, metadata->count, arena, out, err);
}

static enum status merge_pairs(struct merge_row *row, const struct metadata *metadata,
                               const struct stamp *stamp, struct arena *arena, bool *changed,
                               struct error *err)
{
    struct merge_pair *news = NULL;
    size_t i = 0;
    size_t k = 0;
    size_t count = 0;

    if (metadata->count == 0) {
        return STATUS_OK;
    }
    TRY(read_pairs(metadata, stamp, arena, &news, err));
    struct merge_pair *merged =
        arena_array(arena, row->pair_count + metadata->count, sizeof *merged);
    if (merged == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    while (i < row->pair_count || k < metadata->count) {
        const int order = i == row->pair_count   ? 1
                          : k == metadata->count ? -1
                                                 : compare_pairs(&row->pairs[i], &news[k]);
        const bool is_new =
            order > 0 || (order == 0 && is_later(&news[k].stamp, &row->pairs[i].stamp));
        merged[count++] = is_new ? news[k] : row->pairs[i];
        *changed = *changed || (is_new && count <= MERGE_KEYS_MAX);
        i += order <= 0;
        k += order >= 0;
    }
    row->pairs = merged;
    row->pair_count = count < MERGE_KEYS_MAX ? count : MERGE_KEYS_MAX;
    return STATUS_OK;
}

/* ---- a part ---------------------------------------------------------------------------------- */

unsigned merge_kind_bit(struct slice kind)
{
    const int place = kind_word_at(kind_words(job_kinds[KIND_record].shape), kind);

    return place < 0 ? 0 : 1U << place;
}

static unsigned rank_of(const struct part *part)
{
    return kind_is_word("outcome execution", part->body.kind)
               ? 2
               : !kind_is_word("feedback", part->body.kind);
}

/* -0.0 becomes 0.0, since not every database tells them apart; and so does what is next to nothing,
 * since a server that finds the mean of it too small for a double answers with an error. */
static double number_of(double given)
{
    return fabs(given) < NUMBER_LEAST ? 0.0 : given;
}

/* VALUE_NULL: the body has none. */
static struct value value_of(const struct column *column, const struct record_body *body)
{
    const void *member = (const char *)body + column->at;

    switch (column->type) {
    case FIELD_INTEGER: {
        const struct maybe_integer *integer = member;
        return integer->given ? value_integer(integer->value) : value_null();
    }
    case FIELD_NUMBER: {
        const struct maybe_number *number = member;
        return number->given ? value_number(number_of(number->value)) : value_null();
    }
    case FIELD_TRUTH: {
        const struct maybe_truth *truth = member;
        return truth->given ? value_integer(truth->value) : value_null();
    }
    default:
        return value_text(*(const struct slice *)member);
    }
}

enum status merge_part(struct merge_row *row, const struct part *part, struct arena *arena,
                       bool *changed, struct error *err)
{
    const struct stamp stamp = {part->at_ms, part->job_id};
    const bool is_feedback = kind_is_word("feedback", part->body.kind);
    const unsigned rank = rank_of(part);
    const unsigned seen = row->seen | merge_kind_bit(part->body.kind);

    if (part->job_id.bytes == 0 || part->job_id.bytes > JOB_ID_MAX) {
        return error_set(err, STATUS_INVALID, "job id: expected 1 to %d bytes, found %zu",
                         JOB_ID_MAX, part->job_id.bytes);
    }
    *changed = seen != row->seen;
    row->seen = seen;
    if (row->at_stamp.job_id.data == NULL || rank > row->rank ||
        (rank == row->rank && is_later(&stamp, &row->at_stamp))) {
        row->rank = rank;
        row->at_stamp = stamp;
        row->at_ms = stamp.at_ms;
        *changed = true;
    }
    for (size_t i = 0; i < row->table->count; i++) {
        const struct column *column = &row->table->columns[i];
        const struct value value = value_of(column, &part->body);
        if (value.type == VALUE_NULL || !is_later(&stamp, &row->stamps[i]) ||
            (is_feedback && column->at == offsetof(struct record_body, user))) {
            continue;
        }
        row->values[i] = value;
        row->stamps[i] = stamp;
        *changed = true;
    }
    return is_feedback ? STATUS_OK
                       : merge_pairs(row, &part->body.metadata, &stamp, arena, changed, err);
}
