/* learn/merge.h - a part goes into a row: any order and any repetition makes the same row.
 *
 *     struct slice stamps = {NULL, 0}, metadata = {NULL, 0};
 *     struct arena arena = {0};
 *     struct merge_row row;
 *     bool changed = false;
 *     if (merge_open(&merged_pools, NULL, stamps, metadata, &arena, &row, &err) == STATUS_OK &&
 *         merge_part(&row, part, &arena, &changed, &err) == STATUS_OK) {
 *         status = merge_close(&row, &arena, &stamps, &metadata, &err);
 *     }
 *
 * Each column, and each key of the metadata, remembers the part it came from: of two values the one
 * of the later part stands (at_ms, then job id by its bytes). A part sets only what it carries.
 * `at_ms` of the row is that of the part that tells most of it: an outcome's or an execution's
 * before any other's, and feedback's only where there is nothing else; of equals the later.
 *
 * The stamps of a row are bytes: the parts that something still comes from, sorted, and an index
 * for each column. So equal rows have equal stamps, byte for byte. Pure, any thread.
 */
#ifndef STILLHOUSE_LEARN_MERGE_H
#define STILLHOUSE_LEARN_MERGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"
#include "base/status.h"
#include "learn/columns.h"
#include "learn/store.h"
#include "learn/value.h"

/* Of a row; of more the keys that sort first are kept, so that this too knows no order. */
enum { MERGE_KEYS_MAX = 256 };

/* A part that something comes from; job_id.data NULL: nothing does. */
struct stamp {
    int64_t at_ms;
    struct slice job_id;
};

/* A pair of the metadata, as it stands in the JSON text. */
struct merge_pair {
    struct slice key;  /* with its quotes */
    struct slice text; /* the value */
    struct stamp stamp;
};

struct merge_row {
    const struct merged *table;
    struct value values[COLUMNS_MAX];
    struct stamp stamps[COLUMNS_MAX];
    int64_t at_ms; /* 0 and no stamp: a new row */
    unsigned rank; /* of the part that at_ms is of */
    struct stamp at_stamp;
    unsigned seen;            /* 1 << the place of a kind among the words: parts that came */
    struct merge_pair *pairs; /* sorted by key */
    size_t pair_count;
};

/* A row as it is stored, or with stamps of no bytes a new one. Everything is borrowed. GARBLED:
 * stamps that are none of ours. */
enum status merge_open(const struct merged *table, const struct value *values, struct slice stamps,
                       struct slice metadata, struct arena *arena, struct merge_row *row,
                       struct error *err) MUSTCHECK;

/* *changed: whether anything is other than before. Feedback carries its rating and whether the user
 * accepted; its user and its metadata are those of who gave it, not the row's. INVALID: a job id of
 * no bytes, or of more than 255. */
enum status merge_part(struct merge_row *row, const struct part *part, struct arena *arena,
                       bool *changed, struct error *err) MUSTCHECK;

/* What is to be stored; the metadata is JSON, or {NULL, 0}. */
enum status merge_close(const struct merge_row *row, struct arena *arena, struct slice *stamps,
                        struct slice *metadata, struct error *err) MUSTCHECK;

/* The metadata of one part as JSON; {NULL, 0}: none. */
enum status merge_metadata(const struct metadata *metadata, struct arena *arena, struct slice *out,
                           struct error *err) MUSTCHECK;

/* 1 << the place of a kind among the words of the table of kinds. */
unsigned merge_kind_bit(struct slice kind);

#endif
