/* Of learn/store.h: parts go into rows.
 *
 * Happy path: one transaction. What the parts are for is listed in the order of the keys, each row
 * once; all rows that are there are read, on a server locked; each is merged (merge.h) with its
 * parts; those that changed are written, and the groups of the views that they are in, before and
 * after, are marked. A repeated batch changes nothing and marks nothing.
 * Failure modes: whatever fails rolls back, and the caller repeats the batch. On a server others
 * write at the same time: a row that another has begun in between is found by the insert that
 * changes nothing, and all is done again while nobody else writes. Since all lock in one order, and
 * begin rows only when they have locked those that are there, nobody waits in a circle.
 */
#include <stddef.h>
#include <stdlib.h>

#include "base/text.h"
#include "learn/internal.h"
#include "learn/merge.h"

enum {
    ROW_ID, /* the first columns of a found row */
    ROW_METADATA,
    ROW_STAMPS,
    ROW_COLUMNS,
};
enum {
    HEAD_MOST = 7, /* values of a written row before its columns */
    WRITTEN_AT_ONCE = 64,
    FEEDBACK_VALUES = 10,
    TRIES = 4,
};

/* ---- statements ------------------------------------------------------------------------------ */

/* Besides the merged columns, executions have two that are computed. */
static void write_statements(struct merged_table *table, const struct merged *merged)
{
    const size_t extras = merged == &merged_executions ? 2 : 0;
    const size_t count = 3 + extras + merged->count; /* at_ms, metadata, stamps */

    table->merged = merged;
    strbuf_append_str(&table->find, "SELECT id, metadata, stamps");
    strbuf_printf(&table->insert, "INSERT INTO %s (domain, %s, at_ms, metadata, stamps%s",
                  merged->name, merged->key, extras > 0 ? ", incomplete, solution_hash" : "");
    strbuf_printf(&table->update, "UPDATE %s SET at_ms = $2, metadata = $3, stamps = $4%s",
                  merged->name, extras > 0 ? ", incomplete = $5, solution_hash = $6" : "");
    strbuf_printf(&table->list, "SELECT domain, %s, at_ms, metadata, %s", merged->key,
                  extras > 0 ? "incomplete" : "0");
    for (size_t i = 0; i < merged->count; i++) {
        strbuf_printf(&table->find, ", %s", merged->columns[i].name);
        strbuf_printf(&table->list, ", %s", merged->columns[i].name);
        strbuf_printf(&table->insert, ", %s", merged->columns[i].name);
        strbuf_printf(&table->update, ", %s = $%zu", merged->columns[i].name, 5 + extras + i);
    }
    strbuf_printf(&table->find, " FROM %s WHERE domain = $1 AND %s = $2 /*+ FOR UPDATE */",
                  merged->name, merged->key);
    strbuf_printf(&table->list, " FROM %s WHERE at_ms >= $1 ORDER BY at_ms", merged->name);
    strbuf_append_str(&table->insert, ") VALUES (");
    for (size_t i = 1; i <= count + 2; i++) {
        strbuf_printf(&table->insert, "%s$%zu", i > 1 ? ", " : "", i);
    }
    strbuf_append_str(&table->insert, ") ON CONFLICT DO NOTHING");
    strbuf_append_str(&table->update, " WHERE id = $1");
}

bool put_prepare(struct store *store)
{
    static const struct merged *const merged[TABLES] = {&merged_executions, &merged_pools,
                                                        &merged_policies};
    bool is_whole = true;

    for (size_t i = 0; i < TABLES; i++) {
        struct merged_table *table = &store->tables[i];
        write_statements(table, merged[i]);
        is_whole = is_whole && strbuf_ok(&table->find) && strbuf_ok(&table->insert) &&
                   strbuf_ok(&table->update) && strbuf_ok(&table->list);
    }
    return is_whole;
}

/* ---- a batch --------------------------------------------------------------------------------- */

/* That a part is for a row. */
struct wish {
    size_t table; /* TABLE_... */
    struct slice domain, key;
    const struct part *part;
};

/* A row, and what is to become of it. */
struct target {
    const struct wish *wishes; /* its first, */
    size_t count;              /* and how many */
    int64_t id;                /* 0: it is not there yet */
    struct merge_row row;
    struct slice solution_hash;
    bool changed;
};

struct batch {
    struct kept_part *parts;
    size_t count;
    struct wish *wishes; /* in the order of table and key */
    size_t wish_count;
    struct target *targets; /* likewise */
    size_t target_count;
};

static int compare_wishes(const void *left, const void *right)
{
    const struct wish *a = left;
    const struct wish *b = right;
    int order = (a->table > b->table) - (a->table < b->table);

    order = order != 0 ? order : slice_compare(a->domain, b->domain);
    order = order != 0 ? order : slice_compare(a->key, b->key);
    return order != 0 ? order : (a->part > b->part) - (a->part < b->part);
}

static void list_wishes(struct batch *batch)
{
    for (size_t i = 0; i < batch->count; i++) {
        const struct part *part = &batch->parts[i].part;
        const struct record_body *body = &part->body;
        struct wish *next = &batch->wishes[batch->wish_count];
        if (kind_is_word("policy", part->body.kind)) {
            const struct slice repo = body->repo.data == NULL ? (struct slice){"", 0} : body->repo;
            *next++ = (struct wish){TABLE_POLICIES, part->domain, repo, part};
        } else {
            if (body->pool_id.data != NULL) {
                *next++ = (struct wish){TABLE_POOLS, part->domain, body->pool_id, part};
            }
            if (body->task_id.bytes > 0) {
                *next++ = (struct wish){TABLE_EXECUTIONS, part->domain, body->task_id, part};
            }
        }
        batch->wish_count = (size_t)(next - batch->wishes);
    }
    if (batch->wish_count > 0) {
        qsort(batch->wishes, batch->wish_count, sizeof *batch->wishes, compare_wishes);
    }
}

static void list_targets(struct batch *batch)
{
    for (size_t i = 0; i < batch->wish_count; i++) {
        const struct wish *wish = &batch->wishes[i];
        const struct wish *last =
            batch->target_count == 0 ? NULL : batch->targets[batch->target_count - 1].wishes;
        if (last != NULL && last->table == wish->table && slice_equal(last->domain, wish->domain) &&
            slice_equal(last->key, wish->key)) {
            batch->targets[batch->target_count - 1].count++;
        } else {
            batch->targets[batch->target_count++] = (struct target){.wishes = wish, .count = 1};
        }
    }
}

static enum status list_batch(struct store *store, struct batch *batch, struct error *err)
{
    batch->wishes = arena_array(&store->arena, 2 * batch->count + 1, sizeof *batch->wishes);
    if (batch->wishes == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    list_wishes(batch);
    batch->targets = arena_array(&store->arena, batch->wish_count + 1, sizeof *batch->targets);
    if (batch->targets == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    list_targets(batch);
    return STATUS_OK;
}

/* The targets of a table stand together: [*from, result). */
static size_t end_of_table(const struct batch *batch, size_t table, size_t from)
{
    while (from < batch->target_count && batch->targets[from].wishes->table == table) {
        from++;
    }
    return from;
}

/* ---- rows that are there --------------------------------------------------------------------- */

struct finding {
    struct store *store;
    struct target *targets;
};

static enum status take_row(void *context, size_t set, const struct rows *rows, struct error *err)
{
    const struct finding *finding = context;
    struct store *store = finding->store;
    struct target *target = &finding->targets[set];
    const struct merged *merged = store->tables[target->wishes->table].merged;
    struct value values[COLUMNS_MAX];
    struct slice stamps = rows_value(rows, ROW_STAMPS).text;
    struct slice metadata = rows_value(rows, ROW_METADATA).text;

    target->id = rows_value(rows, ROW_ID).integer;
    TRY(transaction_keep(store, &stamps, err));
    TRY(transaction_keep(store, &metadata, err));
    for (size_t i = 0; i < merged->count; i++) {
        values[i] = rows_value(rows, ROW_COLUMNS + (int)i);
        TRY(transaction_keep(store, &values[i].text, err));
    }
    return merge_open(merged, values, stamps, metadata, &store->arena, &target->row, err);
}

static enum status find_rows(struct store *store, struct target *targets, size_t count,
                             struct error *err)
{
    const struct slice none = {NULL, 0};
    struct finding finding = {store, targets};
    struct value *with = arena_array(&store->arena, 2 * count + 1, sizeof *with);

    if (with == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    if (count == 0) {
        return STATUS_OK;
    }
    const struct merged_table *table = &store->tables[targets[0].wishes->table];
    for (size_t i = 0; i < count; i++) {
        with[2 * i] = value_text(targets[i].wishes->domain);
        with[2 * i + 1] = value_text(targets[i].wishes->key);
        TRY(merge_open(table->merged, NULL, none, none, &store->arena, &targets[i].row, err));
    }
    const struct many many = {.sql = table->find.data,
                              .with = with,
                              .count = 2,
                              .sets = count,
                              .take = take_row,
                              .context = &finding};
    return database_many(store->database, &many, NULL, err);
}

/* ---- merge ----------------------------------------------------------------------------------- */

static const struct value *column_of(const struct merge_row *row, size_t at)
{
    size_t i = 0;

    while (row->table->columns[i].at != at) {
        i++;
    }
    return &row->values[i];
}
#define VALUE(row, field) column_of(row, offsetof(struct record_body, field))

/* Whatever came, neither said how the task was routed. */
static bool is_incomplete(const struct merge_row *row)
{
    const unsigned told =
        merge_kind_bit(slice_of("routing")) | merge_kind_bit(slice_of("execution"));

    return row->seen != 0 && (row->seen & told) == 0;
}

static enum status hash_of_solution(struct store *store, const struct merge_row *row,
                                    struct slice *hash, struct error *err)
{
    const struct value *summary = VALUE(row, solution_summary);
    char text[TEXT_HASH_CHARS + 1];

    *hash = (struct slice){NULL, 0};
    if (summary->type != VALUE_TEXT) {
        return STATUS_OK;
    }
    text_hash(summary->text.data, summary->text.bytes, text);
    *hash = (struct slice){text, TEXT_HASH_CHARS};
    return transaction_keep(store, hash, err);
}

static enum status mark_groups(struct store *store, struct target *target, struct error *err)
{
    const struct merge_row *row = &target->row;

    TRY(hash_of_solution(store, row, &target->solution_hash, err));
    return transaction_mark_all(store, target->wishes->domain, row->at_ms,
                                VALUE(row, task_type)->text, target->solution_hash, err);
}

static enum status merge_wishes(struct store *store, struct target *target, struct error *err)
{
    for (size_t i = 0; i < target->count; i++) {
        bool changed = false;
        TRY(merge_part(&target->row, target->wishes[i].part, &store->arena, &changed, err));
        target->changed = target->changed || changed;
    }
    return STATUS_OK;
}

/* The groups before are marked too where nothing changes, and that is taken back. */
static enum status merge_target(struct store *store, struct target *target, struct error *err)
{
    const size_t marked_count = store->marked_count;

    if (target->row.table != &merged_executions) {
        return merge_wishes(store, target, err);
    }
    const bool was_incomplete = is_incomplete(&target->row);
    if (target->id != 0) {
        TRY(mark_groups(store, target, err));
    }
    TRY(merge_wishes(store, target, err));
    if (!target->changed) {
        store->marked_count = marked_count;
        return STATUS_OK;
    }
    TRY(mark_groups(store, target, err));
    store->added += target->id == 0;
    store->added_incomplete += is_incomplete(&target->row) - was_incomplete;
    return STATUS_OK;
}

/* ---- rows that changed ----------------------------------------------------------------------- */

/* The values of one row. */
static enum status list_values(struct store *store, const struct target *target, struct value *with,
                               size_t *count, struct error *err)
{
    const struct merge_row *row = &target->row;
    struct slice stamps;
    struct slice metadata;
    struct value *next = with;

    TRY(merge_close(row, &store->arena, &stamps, &metadata, err));
    if (target->id == 0) {
        *next++ = value_text(target->wishes->domain);
        *next++ = value_text(target->wishes->key);
    } else {
        *next++ = value_integer(target->id);
    }
    *next++ = value_integer(row->at_ms);
    *next++ = value_text(metadata);
    *next++ = value_bytes(stamps);
    if (row->table == &merged_executions) {
        *next++ = value_integer(is_incomplete(row));
        *next++ = value_text(target->solution_hash);
    }
    for (size_t i = 0; i < row->table->count; i++) {
        const bool is_empty = row->values[i].type == VALUE_NULL && row->table->columns[i].is_group;
        *next++ = is_empty ? value_str("") : row->values[i];
    }
    *count = (size_t)(next - with);
    return STATUS_OK;
}

/* Another may have begun one of the new rows meanwhile. */
static enum status write_sets(struct store *store, const struct many *many, bool is_new,
                              struct error *err)
{
    int64_t changed = 0;

    TRY(database_many(store->database, many, &changed, err));
    return changed == (int64_t)many->sets || !is_new
               ? STATUS_OK
               : transaction_ask_alone(store, "others began the same rows at the same time", err);
}

/* New ones, or those that were there. */
static enum status write_rows(struct store *store, const struct target *targets, size_t count,
                              bool is_new, struct error *err)
{
    struct value *with = arena_array(
        &store->arena, (size_t)WRITTEN_AT_ONCE * (COLUMNS_MAX + HEAD_MOST), sizeof *with);
    struct many many = {.with = with};

    if (with == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    for (size_t i = 0; i < count; i++) {
        const struct merged_table *table = &store->tables[targets[i].wishes->table];
        if (!targets[i].changed || (targets[i].id == 0) != is_new) {
            continue;
        }
        many.sql = is_new ? table->insert.data : table->update.data;
        TRY(list_values(store, &targets[i], with + many.sets * many.count, &many.count, err));
        if (++many.sets == WRITTEN_AT_ONCE) {
            TRY(write_sets(store, &many, is_new, err));
            many.sets = 0;
        }
    }
    return write_sets(store, &many, is_new, err);
}

static int compare_feedback(const void *left, const void *right)
{
    const struct part *a = *(const struct part *const *)left;
    const struct part *b = *(const struct part *const *)right;
    const int order = slice_compare(a->domain, b->domain);

    return order != 0 ? order : slice_compare(a->job_id, b->job_id);
}

static enum status list_feedback(struct store *store, const struct part *part,
                                 struct value with[FEEDBACK_VALUES], struct error *err)
{
    const struct record_body *body = &part->body;
    struct slice metadata;

    TRY(merge_metadata(&body->metadata, &store->arena, &metadata, err));
    const struct value values[FEEDBACK_VALUES] = {
        value_text(part->domain),
        value_text(part->job_id),
        value_text(body->task_id),
        value_integer(part->at_ms),
        value_text(body->feedback_type),
        body->user_rating.given ? value_integer(body->user_rating.value) : value_null(),
        body->user_accepted.given ? value_integer(body->user_accepted.value) : value_null(),
        value_text(body->comment),
        value_text(body->user),
        value_text(metadata),
    };
    memcpy(with, values, sizeof values);
    return STATUS_OK;
}

static enum status write_feedback(struct store *store, const struct batch *batch, struct error *err)
{
    const struct part **list = arena_array(&store->arena, batch->count + 1, sizeof *list);
    struct value *with =
        arena_array(&store->arena, batch->count * FEEDBACK_VALUES + 1, sizeof *with);
    struct many many = {.sql = "INSERT INTO feedback (domain, job_id, task_id, at_ms,"
                               " feedback_type, user_rating, user_accepted, comment, user,"
                               " metadata) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)"
                               " ON CONFLICT DO NOTHING",
                        .with = with,
                        .count = FEEDBACK_VALUES};

    if (list == NULL || with == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    for (size_t i = 0; i < batch->count; i++) {
        const struct kept_part *kept = &batch->parts[i];
        if (kept->has_feedback && kept->part.body.task_id.bytes > 0) {
            list[many.sets++] = &kept->part;
        }
    }
    qsort(list, many.sets, sizeof(const struct part *), compare_feedback);
    for (size_t i = 0; i < many.sets; i++) {
        TRY(list_feedback(store, list[i], with + i * FEEDBACK_VALUES, err));
    }
    return database_many(store->database, &many, NULL, err);
}

/* ---- all of it ------------------------------------------------------------------------------- */

static enum status put_rows(struct store *store, const struct part *parts, size_t count,
                            struct error *err)
{
    struct batch batch = {.parts = arena_array(&store->arena, count + 1, sizeof *batch.parts),
                          .count = count};
    size_t from = 0;

    if (batch.parts == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    TRY(removal_leave_out(store, parts, batch.parts, count, err));
    TRY(list_batch(store, &batch, err));
    for (size_t table = 0; table < TABLES; table++) {
        const size_t until = end_of_table(&batch, table, from);
        TRY(find_rows(store, batch.targets + from, until - from, err));
        from = until;
    }
    for (size_t i = 0; i < batch.target_count; i++) {
        TRY(merge_target(store, &batch.targets[i], err));
    }
    from = 0;
    for (size_t table = 0; table < TABLES; table++) {
        const size_t until = end_of_table(&batch, table, from);
        TRY(write_rows(store, batch.targets + from, until - from, true, err));
        TRY(write_rows(store, batch.targets + from, until - from, false, err));
        from = until;
    }
    return write_feedback(store, &batch, err);
}

enum status store_put(struct store *store, const struct part *parts, size_t count,
                      struct error *err)
{
    enum status status = STATUS_OK;
    bool is_again = true;

    store->wants_alone = false;
    for (int tries = 0; is_again && tries < TRIES; tries++) {
        const bool was_alone = store->wants_alone;
        TRY(transaction_begin_rows(store, was_alone ? LOCK_ALONE : LOCK_TOGETHER, err));
        status = transaction_end(store, put_rows(store, parts, count, err), err);
        is_again = status != STATUS_OK &&
                   (store->wants_alone != was_alone || database_was_crossed(store->database));
    }
    return status;
}
