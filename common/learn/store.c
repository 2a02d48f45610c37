/* See learn/store.h.
 *
 * Happy path of a put: one transaction; of each part the row is read, merged (merge.h) and written
 * where anything changed, and the groups of the views that it is in, before and after, are marked;
 * commit, which syncs. A repeated batch changes nothing and marks nothing.
 * Failure modes: whatever fails rolls back, and the caller repeats the batch. The path is looked at
 * after the commit too: what was written into a file that nobody will see again does not count.
 */
#include "learn/store.h"

#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/strbuf.h"
#include "base/text.h"
#include "learn/check.h"
#include "learn/columns.h"
#include "learn/database.h"
#include "learn/merge.h"
#include "learn/schema.h"
#include "learn/views.h"

/* Statements of a merged table. Their first columns: */
enum { ROW_ID, ROW_METADATA, ROW_STAMPS, ROW_COLUMNS };
struct table {
    const struct merged *merged;
    struct strbuf find, insert, update;
};

enum { TABLE_EXECUTIONS, TABLE_POOLS, TABLE_POLICIES, TABLES };
enum { EXTRAS = 2, GROUPS_MAX = 256, KEEP_BYTES = 1 << 20, CHECK_DAY_MS = 40 };

struct store {
    struct database *database;
    int lock;
    char id[STORE_ID_BYTES];
    struct table tables[TABLES];
    struct arena arena;
    struct view_group marked[GROUPS_MAX]; /* by this transaction already; texts in the arena */
    size_t marked_count;
    int64_t added, added_incomplete; /* by this transaction */
};

/* ---- open and close -------------------------------------------------------------------------- */

/* Besides the merged columns, executions have two that are computed. */
static void write_statements(struct table *table, const struct merged *merged)
{
    const size_t extras = merged == &merged_executions ? EXTRAS : 0;
    const size_t count = 3 + extras + merged->count; /* at_ms, metadata, stamps */

    table->merged = merged;
    strbuf_append_str(&table->find, "SELECT id, metadata, stamps");
    strbuf_printf(&table->insert, "INSERT INTO %s (domain, %s, at_ms, metadata, stamps%s",
                  merged->name, merged->key, extras > 0 ? ", incomplete, solution_hash" : "");
    strbuf_printf(&table->update, "UPDATE %s SET at_ms = $2, metadata = $3, stamps = $4%s",
                  merged->name, extras > 0 ? ", incomplete = $5, solution_hash = $6" : "");
    for (size_t i = 0; i < merged->count; i++) {
        strbuf_printf(&table->find, ", %s", merged->columns[i].name);
        strbuf_printf(&table->insert, ", %s", merged->columns[i].name);
        strbuf_printf(&table->update, ", %s = $%zu", merged->columns[i].name, 5 + extras + i);
    }
    strbuf_printf(&table->find, " FROM %s WHERE domain = $1 AND %s = $2", merged->name,
                  merged->key);
    strbuf_append_str(&table->insert, ") VALUES (");
    for (size_t i = 1; i <= count + 2; i++) {
        strbuf_printf(&table->insert, "%s$%zu", i > 1 ? ", " : "", i);
    }
    strbuf_append_str(&table->insert, ")");
    strbuf_append_str(&table->update, " WHERE id = $1");
}

static enum status open_database(struct store *store, const char *path, enum store_mode mode,
                                 struct error *err)
{
    static const enum database_mode modes[] = {
        [STORE_READ] = DATABASE_READ,
        [STORE_WRITE] = DATABASE_MAKE,
        [STORE_CHANGE] = DATABASE_WRITE,
    };
    size_t version = 0;

    if (mode == STORE_WRITE) {
        TRY(database_own(path, &store->lock, err));
    }
    TRY(database_open(path, modes[mode], &store->database, err));
    if (schema_version(store->database, &schema_steps, &version, err) != STATUS_OK ||
        (mode == STORE_WRITE &&
         schema_migrate(store->database, &schema_steps, schema_steps.count, err) != STATUS_OK)) {
        return error_wrap(err, "\"%s\"", path);
    }
    if (mode == STORE_WRITE) {
        TRY(schema_note_writer(store->database, err));
    }
    if (mode != STORE_WRITE && version != schema_steps.count) {
        return error_set(err, STATUS_INVALID,
                         "\"%s\": the learning store has version %zu, expected %zu: its recorder "
                         "migrates it",
                         path, version, schema_steps.count);
    }
    return schema_store_id(store->database, store->id, err);
}

enum status store_open(const char *where, enum store_mode mode, struct store **out,
                       struct error *err)
{
    static const struct merged *const merged[TABLES] = {&merged_executions, &merged_pools,
                                                        &merged_policies};
    struct store *store = calloc(1, sizeof *store);

    *out = NULL;
    if (store == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    store->lock = -1;
    bool is_whole = true;
    for (size_t i = 0; i < TABLES; i++) {
        struct table *table = &store->tables[i];
        write_statements(table, merged[i]);
        is_whole = is_whole && strbuf_ok(&table->find) && strbuf_ok(&table->insert) &&
                   strbuf_ok(&table->update);
    }
    const enum status status = is_whole ? open_database(store, where, mode, err)
                                        : error_set(err, STATUS_OOM, "out of memory");
    if (status != STATUS_OK) {
        store_close(store);
        if (status != STATUS_GARBLED) {
            return status;
        }
        if (err != NULL) {
            err->status = STATUS_INVALID; /* what is no database is no store of ours */
        }
        return STATUS_INVALID;
    }
    *out = store;
    return STATUS_OK;
}

void store_close(struct store *store)
{
    if (store == NULL) {
        return;
    }
    database_close(store->database);
    for (size_t i = 0; i < TABLES; i++) {
        strbuf_free(&store->tables[i].find);
        strbuf_free(&store->tables[i].insert);
        strbuf_free(&store->tables[i].update);
    }
    arena_free(&store->arena);
    database_disown(store->lock);
    free(store);
}

const char *store_id(const struct store *store)
{
    return store->id;
}

struct database *store_database(struct store *store)
{
    return store->database;
}

/* ---- transactions ---------------------------------------------------------------------------- */

static enum status begin(struct store *store, struct error *err)
{
    arena_reset(&store->arena, KEEP_BYTES);
    store->marked_count = 0;
    store->added = store->added_incomplete = 0;
    TRY(database_check(store->database, err));
    return database_begin(store->database, err);
}

/* Commits where all went well, and rolls back else. */
static enum status end(struct store *store, enum status status, struct error *err)
{
    const struct value with[] = {value_integer(store->added),
                                 value_integer(store->added_incomplete)};

    if (status == STATUS_OK && (store->added != 0 || store->added_incomplete != 0)) {
        status = database_do(store->database,
                             "UPDATE counts SET executions = executions + $1,"
                             " incomplete = incomplete + $2 WHERE id = 1",
                             with, 2, NULL, err);
    }
    if (status == STATUS_OK) {
        status = database_commit(store->database, err);
    }
    if (status != STATUS_OK) {
        database_rollback(store->database);
        return status;
    }
    return database_check(store->database, err);
}

static enum status copy(struct store *store, struct slice *text, struct error *err)
{
    if (text->data != NULL) {
        text->data = arena_copy(&store->arena, text->data, text->bytes);
    }
    return text->data == NULL && text->bytes > 0 ? error_set(err, STATUS_OOM, "out of memory")
                                                 : STATUS_OK;
}

/* The name and the domain live as long as the transaction. */
static enum status mark(struct store *store, const struct view_group *group, struct error *err)
{
    for (size_t i = 0; i < store->marked_count; i++) {
        const struct view_group *other = &store->marked[i];
        if (other->view == group->view && other->bucket == group->bucket &&
            slice_equal(other->name, group->name) && slice_equal(other->domain, group->domain)) {
            return STATUS_OK;
        }
    }
    if (store->marked_count < GROUPS_MAX) {
        store->marked[store->marked_count++] = *group;
    }
    return views_mark(store->database, group, clock_unix_ms(), err);
}

/* The groups of an execution. */
static enum status mark_all(struct store *store, struct slice domain, int64_t at_ms,
                            struct slice task_type, struct slice solution_hash, struct error *err)
{
    const struct slice none = {"", 0};

    TRY(mark(store,
             &(struct view_group){VIEW_TIER, domain, task_type.data == NULL ? none : task_type,
                                  at_ms / VIEWS_DAY_MS},
             err));
    TRY(mark(store, &(struct view_group){VIEW_POOL, domain, none, at_ms / VIEWS_HOUR_MS}, err));
    return solution_hash.data == NULL
               ? STATUS_OK
               : mark(store, &(struct view_group){VIEW_SOLUTION, domain, solution_hash, 0}, err);
}

/* ---- deletion -------------------------------------------------------------------------------- */

struct doomed {
    int64_t id, at_ms;
    bool incomplete;
    struct slice domain, task_id, task_type, hash;
};
#define DOOMED                                                                                     \
    "SELECT id, at_ms, incomplete, domain, task_id, task_type, solution_hash FROM executions "

static enum status list_doomed(struct store *store, const char *sql, const struct value *with,
                               size_t with_count, struct doomed *list, size_t *count,
                               struct error *err)
{
    const size_t most = *count;
    struct rows rows;
    enum status status = STATUS_OK;

    *count = 0;
    TRY(database_ask(store->database, sql, with, with_count, &rows, err));
    while (status == STATUS_OK && *count < most && rows_next(&rows, err) == ROWS_ONE) {
        struct doomed *row = &list[(*count)++];
        *row = (struct doomed){rows_value(&rows, 0).integer,      rows_value(&rows, 1).integer,
                               rows_value(&rows, 2).integer != 0, rows_value(&rows, 3).text,
                               rows_value(&rows, 4).text,         rows_value(&rows, 5).text,
                               rows_value(&rows, 6).text};
        struct slice *const texts[] = {&row->domain, &row->task_id, &row->task_type, &row->hash};
        for (size_t i = 0; status == STATUS_OK && i < sizeof texts / sizeof texts[0]; i++) {
            status = copy(store, texts[i], err);
        }
    }
    const enum status ended = rows_end(&rows);
    return ended != STATUS_OK ? ended : status;
}

static enum status delete_row(struct store *store, const struct doomed *row, struct error *err)
{
    const struct value id = value_integer(row->id);
    const struct value key[] = {value_text(row->domain), value_text(row->task_id)};

    TRY(mark_all(store, row->domain, row->at_ms, row->task_type, row->hash, err));
    TRY(database_do(store->database, "DELETE FROM feedback WHERE domain = $1 AND task_id = $2", key,
                    2, NULL, err));
    store->added--;
    store->added_incomplete -= row->incomplete;
    return database_do(store->database, "DELETE FROM executions WHERE id = $1", &id, 1, NULL, err);
}

/* What is kept of a forgotten name is a hash. */
static void hash_name(struct slice domain, struct slice name, char out[TEXT_HASH_CHARS + 1])
{
    struct strbuf text = {0};

    strbuf_append(&text, domain.data, domain.bytes);
    strbuf_append_char(&text, '\0');
    strbuf_append(&text, name.data, name.bytes);
    text_hash_raw(text.data, text.bytes, out);
    strbuf_free(&text);
}

static enum status remember(struct store *store, const char *what, struct slice domain,
                            struct slice name, int64_t now_ms, struct error *err)
{
    char hash[TEXT_HASH_CHARS + 1];

    hash_name(domain, name, hash);
    const struct value with[] = {value_str(what), value_str(hash), value_integer(now_ms)};
    return database_do(store->database,
                       "INSERT INTO forgotten (what, hash, at_ms) VALUES ($1, $2, $3)"
                       " ON CONFLICT (what, hash) DO UPDATE SET at_ms = excluded.at_ms"
                       " WHERE excluded.at_ms > forgotten.at_ms",
                       with, 3, NULL, err);
}

/* When the name was forgotten; VALUE_NULL: it was not. */
static enum status when_forgotten(struct store *store, const char *what, struct slice domain,
                                  struct slice name, struct value *when, struct error *err)
{
    char hash[TEXT_HASH_CHARS + 1];

    *when = value_null();
    if (name.data == NULL) {
        return STATUS_OK;
    }
    hash_name(domain, name, hash);
    const struct value with[] = {value_str(what), value_str(hash)};
    return database_find(store->database,
                         "SELECT at_ms FROM forgotten WHERE what = $1 AND hash = $2", with, 2, when,
                         err);
}

/* A pool that had the task has "" in its place, which is as late as the task's name was: the row
 * that it makes is the same, whether its parts came before or after. */
static enum status forget_task(struct store *store, struct slice domain, struct slice task_id,
                               int64_t now_ms, size_t *deleted, struct error *err)
{
    const struct value key[] = {value_text(domain), value_text(task_id)};
    struct doomed row;
    size_t count = 1;

    TRY(list_doomed(store, DOOMED "WHERE domain = $1 AND task_id = $2", key, 2, &row, &count, err));
    if (count > 0) {
        TRY(delete_row(store, &row, err));
    }
    *deleted += count;
    TRY(database_do(store->database,
                    "UPDATE pools SET task_id = '' WHERE domain = $1 AND task_id = $2", key, 2,
                    NULL, err));
    return remember(store, "task", domain, task_id, now_ms, err);
}

/* ---- put ------------------------------------------------------------------------------------- */

static enum status read_row(struct store *store, const struct table *table, struct rows *rows,
                            struct merge_row *row, struct error *err)
{
    struct value values[COLUMNS_MAX];
    struct slice stamps = rows_value(rows, ROW_STAMPS).text;
    struct slice metadata = rows_value(rows, ROW_METADATA).text;

    TRY(copy(store, &stamps, err));
    TRY(copy(store, &metadata, err));
    for (size_t i = 0; i < table->merged->count; i++) {
        values[i] = rows_value(rows, ROW_COLUMNS + (int)i);
        TRY(copy(store, &values[i].text, err));
    }
    return merge_open(table->merged, values, stamps, metadata, &store->arena, row, err);
}

static enum status find_row(struct store *store, const struct table *table, struct slice domain,
                            struct slice key, struct merge_row *row, int64_t *id, struct error *err)
{
    const struct value with[] = {value_text(domain), value_text(key)};
    const struct slice none = {NULL, 0};
    struct rows rows;
    enum status status = STATUS_OK;

    *id = 0;
    TRY(database_ask(store->database, table->find.data, with, 2, &rows, err));
    if (rows_next(&rows, err) == ROWS_ONE) {
        *id = rows_value(&rows, ROW_ID).integer;
        status = read_row(store, table, &rows, row, err);
    } else {
        status = merge_open(table->merged, NULL, none, none, &store->arena, row, err);
    }
    const enum status ended = rows_end(&rows);
    return ended != STATUS_OK ? ended : status;
}

static const struct value *column_of(const struct merge_row *row, size_t at)
{
    size_t i = 0;

    while (row->table->columns[i].at != at) {
        i++;
    }
    return &row->values[i];
}
#define VALUE(row, field) column_of(row, offsetof(struct record_body, field))

static bool is_incomplete(const struct merge_row *row)
{
    const unsigned told =
        merge_kind_bit(slice_of("routing")) | merge_kind_bit(slice_of("execution"));

    return (row->seen & merge_kind_bit(slice_of("outcome"))) != 0 && (row->seen & told) == 0;
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
    return copy(store, hash, err);
}

struct target {
    const struct table *table;
    struct slice domain, key;
};

static enum status write_row(struct store *store, const struct target *target,
                             const struct merge_row *row, int64_t id, struct slice solution_hash,
                             struct error *err)
{
    struct value with[COLUMNS_MAX + 8];
    struct slice stamps;
    struct slice metadata;
    size_t count = 0;

    TRY(merge_close(row, &store->arena, &stamps, &metadata, err));
    if (id == 0) {
        with[count++] = value_text(target->domain);
        with[count++] = value_text(target->key);
    } else {
        with[count++] = value_integer(id);
    }
    with[count++] = value_integer(row->at_ms);
    with[count++] = value_text(metadata);
    with[count++] = value_bytes(stamps);
    if (row->table == &merged_executions) {
        with[count++] = value_integer(is_incomplete(row));
        with[count++] = value_text(solution_hash);
    }
    for (size_t i = 0; i < row->table->count; i++) {
        const bool is_empty = row->values[i].type == VALUE_NULL && row->table->columns[i].is_group;
        with[count++] = is_empty ? value_str("") : row->values[i];
    }
    return database_do(store->database,
                       id == 0 ? target->table->insert.data : target->table->update.data, with,
                       count, NULL, err);
}

static enum status put_into(struct store *store, const struct target *target,
                            const struct part *part, struct error *err)
{
    struct merge_row row;
    struct merge_row before;
    struct slice old_hash = {NULL, 0};
    struct slice new_hash = {NULL, 0};
    int64_t id = 0;
    bool changed = false;

    TRY(find_row(store, target->table, target->domain, target->key, &row, &id, err));
    before = row;
    TRY(merge_part(&row, part, &store->arena, &changed, err));
    if (!changed) {
        return STATUS_OK;
    }
    if (row.table == &merged_executions) {
        TRY(hash_of_solution(store, &row, &new_hash, err));
        if (id != 0) {
            TRY(hash_of_solution(store, &before, &old_hash, err));
            TRY(mark_all(store, target->domain, before.at_ms, VALUE(&before, task_type)->text,
                         old_hash, err));
        }
        TRY(mark_all(store, target->domain, row.at_ms, VALUE(&row, task_type)->text, new_hash,
                     err));
        store->added += id == 0;
        store->added_incomplete += is_incomplete(&row) - is_incomplete(&before);
    }
    return write_row(store, target, &row, id, new_hash, err);
}

static enum status put_feedback(struct store *store, const struct part *part, struct error *err)
{
    const struct record_body *body = &part->body;
    struct slice metadata;

    TRY(merge_metadata(&body->metadata, &store->arena, &metadata, err));
    const struct value with[] = {
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
    return database_do(store->database,
                       "INSERT INTO feedback (domain, job_id, task_id, at_ms, feedback_type,"
                       " user_rating, user_accepted, comment, user, metadata)"
                       " VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) ON CONFLICT DO NOTHING",
                       with, 10, NULL, err);
}

/* Takes out of a part what was forgotten: a task for good; of a user what was before, and the task
 * that a late part says was theirs. Of their feedback the rating stays, a number that names nobody.
 */
static enum status leave_out(struct store *store, struct part *part, bool *has_feedback,
                             struct error *err)
{
    static const struct slice all_domains = {"", 0};
    struct record_body *body = &part->body;
    struct value task;
    struct value user;
    size_t deleted = 0;

    TRY(when_forgotten(store, "task", part->domain, body->task_id, &task, err));
    TRY(when_forgotten(store, "user", part->domain, body->user, &user, err));
    if (user.type == VALUE_NULL) {
        TRY(when_forgotten(store, "user", all_domains, body->user, &user, err));
    }
    const bool is_theirs = user.type == VALUE_INTEGER && part->at_ms <= user.integer;
    if (is_theirs && *has_feedback) {
        *has_feedback = false;
    } else if (is_theirs && task.type == VALUE_NULL && body->task_id.data != NULL) {
        TRY(forget_task(store, part->domain, body->task_id, user.integer, &deleted, err));
        task = user;
    }
    if (task.type == VALUE_INTEGER) {
        body->task_id = (struct slice){"", 0};
    }
    return STATUS_OK;
}

static enum status put_part(struct store *store, const struct part *whole, bool any_forgotten,
                            struct error *err)
{
    const struct slice default_repo = {"", 0};
    struct part part = *whole;
    const struct record_body *body = &part.body;
    bool has_feedback = slice_equal(body->kind, slice_of("feedback"));

    if (any_forgotten) {
        TRY(leave_out(store, &part, &has_feedback, err));
    }
    if (slice_equal(body->kind, slice_of("policy"))) {
        const struct target policies = {&store->tables[TABLE_POLICIES], part.domain,
                                        body->repo.data == NULL ? default_repo : body->repo};
        return put_into(store, &policies, &part, err);
    }
    if (body->pool_id.data != NULL) {
        const struct target pools = {&store->tables[TABLE_POOLS], part.domain, body->pool_id};
        TRY(put_into(store, &pools, &part, err));
    }
    if (body->task_id.bytes == 0) {
        return STATUS_OK;
    }
    if (has_feedback) {
        TRY(put_feedback(store, &part, err));
    }
    const struct target executions = {&store->tables[TABLE_EXECUTIONS], part.domain, body->task_id};
    return put_into(store, &executions, &part, err);
}

enum status store_put(struct store *store, const struct part *parts, size_t count,
                      struct error *err)
{
    struct value any;

    TRY(begin(store, err));
    enum status status =
        database_find(store->database, "SELECT 1 FROM forgotten LIMIT 1", NULL, 0, &any, err);
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        status = put_part(store, &parts[i], any.type == VALUE_INTEGER, err);
    }
    return end(store, status, err);
}

/* ---- refresh --------------------------------------------------------------------------------- */

/* Reads groups into the arena: view, domain, name, bucket. */
static enum status list_groups(struct store *store, const char *sql, struct value with,
                               struct view_group *groups, size_t *count, struct error *err)
{
    struct rows rows;
    enum status status = STATUS_OK;

    *count = 0;
    TRY(database_ask(store->database, sql, &with, 1, &rows, err));
    while (status == STATUS_OK && *count < GROUPS_MAX && rows_next(&rows, err) == ROWS_ONE) {
        struct view_group *group = &groups[(*count)++];
        *group =
            (struct view_group){views_find(rows_value(&rows, 0).text), rows_value(&rows, 1).text,
                                rows_value(&rows, 2).text, rows_value(&rows, 3).integer};
        status = copy(store, &group->domain, err);
        status = status == STATUS_OK ? copy(store, &group->name, err) : status;
    }
    const enum status ended = rows_end(&rows);
    return ended != STATUS_OK ? ended : status;
}

enum status store_refresh(struct store *store, int64_t now_unix_ms, size_t groups, size_t *left,
                          struct error *err)
{
    struct view_group list[GROUPS_MAX];
    struct value count;
    size_t found = 0;
    const int64_t window_ms = now_unix_ms - (int64_t)VIEWS_SOLUTION_DAYS * VIEWS_DAY_MS;

    *left = 0;
    TRY(begin(store, err));
    enum status status = list_groups(
        store, "SELECT 'solution', domain, hash, 0 FROM solutions WHERE first_ms < $1 LIMIT 64",
        value_integer(window_ms), list, &found, err);
    for (size_t i = 0; status == STATUS_OK && i < found; i++) {
        status = views_mark(store->database, &list[i], now_unix_ms, err);
    }
    if (status == STATUS_OK) {
        status = list_groups(
            store, "SELECT view, domain, name, bucket FROM dirty ORDER BY since_ms LIMIT $1",
            value_integer((int64_t)groups), list, &found, err);
    }
    for (size_t i = 0; status == STATUS_OK && i < found; i++) {
        status = views_compute(store->database, &list[i], now_unix_ms, err);
    }
    if (status == STATUS_OK) {
        status = database_find(store->database, "SELECT COUNT(*) FROM dirty", NULL, 0, &count, err);
        *left = status == STATUS_OK ? (size_t)count.integer : 0;
    }
    return end(store, status, err);
}

static void tell(const struct check *check, struct store_checked *checked)
{
    *checked = (struct store_checked){.groups = check->groups, .apart = check->apart};
    snprintf(checked->first, sizeof checked->first, "%s", check->first);
}

static enum status mark_listed(struct store *store, const struct check *check, struct error *err)
{
    for (size_t i = 0; i < check->listed; i++) {
        TRY(views_mark(store->database, &check->list[i], check->now_ms, err));
    }
    return STATUS_OK;
}

enum status store_check_day(struct store *store, uint64_t random, int64_t now_unix_ms,
                            struct store_checked *checked, struct error *err)
{
    struct check check = {.now_ms = now_unix_ms};

    TRY(begin(store, err));
    enum status status =
        check_day(store->database, random, CHECK_DAY_MS, &store->arena, &check, err);
    if (status == STATUS_OK) {
        status = mark_listed(store, &check, err);
    }
    tell(&check, checked);
    return end(store, status, err);
}

/* ---- expire and forget ----------------------------------------------------------------------- */

enum { SLICE_MAX = 1000 };

enum status store_expire(struct store *store, int64_t before_ms, int64_t most_bytes, size_t rows,
                         size_t *deleted, struct error *err)
{
    size_t count = rows < SLICE_MAX ? rows : SLICE_MAX;
    int64_t bytes = 0;
    int64_t used = 0;

    *deleted = 0;
    TRY(begin(store, err));
    struct doomed *list = arena_array(&store->arena, count + 1, sizeof *list);
    enum status status = list == NULL ? error_set(err, STATUS_OOM, "out of memory")
                                      : database_bytes(store->database, &bytes, &used, err);
    const bool is_over = most_bytes > 0 && used > most_bytes;
    const struct value with[] = {value_integer(is_over ? INT64_MAX : before_ms),
                                 value_integer((int64_t)count)};
    if (status == STATUS_OK) {
        status = list_doomed(store, DOOMED "WHERE at_ms < $1 ORDER BY at_ms LIMIT $2", with, 2,
                             list, &count, err);
    }
    for (size_t i = 0; status == STATUS_OK && i < count; i++) {
        status = delete_row(store, &list[i], err);
    }
    if (status == STATUS_OK) {
        const struct value old[] = {value_integer(before_ms), value_integer((int64_t)rows)};
        status = database_do(store->database,
                             "DELETE FROM pools WHERE id IN"
                             " (SELECT id FROM pools WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)",
                             old, 2, NULL, err);
    }
    status = end(store, status, err);
    if (status == STATUS_OK && count > 0) {
        *deleted = count;
        status = database_shrink(store->database, err);
    }
    return status;
}

static enum status forget_user(struct store *store, const struct forget *what, struct slice domain,
                               size_t *deleted, struct error *err)
{
    static const char feedback[] =
        "DELETE FROM feedback WHERE user = $2 AND ($1 = '' OR domain = $1)";
    const struct value with[] = {value_text(domain), value_text(what->user)};
    size_t count = what->rows < SLICE_MAX ? what->rows : SLICE_MAX;
    struct doomed *list = arena_array(&store->arena, count + 1, sizeof *list);

    if (list == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    TRY(remember(store, "user", domain, what->user, what->now_unix_ms, err));
    TRY(list_doomed(store, DOOMED "WHERE user = $2 AND ($1 = '' OR domain = $1)", with, 2, list,
                    &count, err));
    for (size_t i = 0; i < count; i++) {
        TRY(forget_task(store, list[i].domain, list[i].task_id, what->now_unix_ms, deleted, err));
    }
    return database_do(store->database, feedback, with, 2, NULL, err);
}

enum status store_forget(struct store *store, const struct forget *what, size_t *deleted,
                         struct error *err)
{
    const bool is_user = what->user.data != NULL;
    const struct slice domain = what->domain.data == NULL ? (struct slice){"", 0} : what->domain;
    size_t count = 0;

    *deleted = 0;
    if (!is_user && (what->task_id.data == NULL || domain.bytes == 0)) {
        return error_set(err, STATUS_INVALID, "expected a user, or a domain and a task id");
    }
    TRY(begin(store, err));
    enum status status =
        is_user ? forget_user(store, what, domain, &count, err)
                : forget_task(store, domain, what->task_id, what->now_unix_ms, &count, err);
    status = end(store, status, err);
    *deleted = status == STATUS_OK ? count : 0;
    return status;
}

/* ---- the whole file -------------------------------------------------------------------------- */

enum status store_look(struct store *store, struct store_state *state, struct error *err)
{
    struct value found;
    int64_t used = 0;

    *state = (struct store_state){.version = (int)schema_steps.count};
    TRY(database_check(store->database, err));
    TRY(database_find(store->database, "SELECT executions FROM counts WHERE id = 1", NULL, 0,
                      &found, err));
    state->executions = found.integer;
    TRY(database_find(store->database, "SELECT incomplete FROM counts WHERE id = 1", NULL, 0,
                      &found, err));
    state->incomplete = found.integer;
    TRY(database_find(store->database, "SELECT COUNT(*) FROM dirty", NULL, 0, &found, err));
    state->dirty_groups = found.integer;
    TRY(database_find(store->database, "SELECT min(since_ms) FROM dirty", NULL, 0, &found, err));
    state->oldest_dirty_ms = found.integer;
    return database_bytes(store->database, &state->bytes, &used, err);
}

enum status store_backup(struct store *store, const char *to, struct error *err)
{
    return database_copy(store->database, to, err);
}

/* As of one moment, while others write. */
static enum status check_all(struct store *store, struct check *check, struct error *err)
{
    arena_reset(&store->arena, KEEP_BYTES);
    TRY(database_begin_read(store->database, err));
    enum status status = check_counts(store->database, check, err);
    if (status == STATUS_OK) {
        status = check_views(store->database, &store->arena, check, err);
    }
    database_rollback(store->database);
    return status;
}

enum status store_check(struct store *store, int64_t now_unix_ms, struct store_checked *checked,
                        struct error *err)
{
    struct check check = {.now_ms = now_unix_ms};

    *checked = (struct store_checked){0};
    TRY(database_verify(store->database, err));
    TRY(check_all(store, &check, err));
    tell(&check, checked);
    return check.apart == 0
               ? STATUS_OK
               : error_set(err, STATUS_INVALID, "%s (%zu differences)", check.first, check.apart);
}

/* begin() would let the arena go, in which the list is. */
static enum status mend_listed(struct store *store, const struct check *check, struct error *err)
{
    TRY(database_begin(store->database, err));
    enum status status = mark_listed(store, check, err);
    if (status == STATUS_OK) {
        status = database_do(store->database,
                             "UPDATE counts SET executions = (SELECT count(*) FROM executions),"
                             " incomplete ="
                             " (SELECT count(*) FROM executions WHERE incomplete <> 0)",
                             NULL, 0, NULL, err);
    }
    if (status == STATUS_OK) {
        status = database_commit(store->database, err);
    }
    if (status != STATUS_OK) {
        database_rollback(store->database);
    }
    return status;
}

enum status store_mend(struct store *store, int64_t now_unix_ms, struct store_checked *checked,
                       struct error *err)
{
    struct store_checked all = {0};
    size_t listed = CHECK_GROUPS_MAX;

    while (listed == CHECK_GROUPS_MAX) { /* what is marked is not compared again */
        struct check check = {.now_ms = now_unix_ms};
        TRY(check_all(store, &check, err));
        listed = check.listed;
        if (check.apart > 0) {
            TRY(mend_listed(store, &check, err));
        }
        if (all.groups == 0) {
            tell(&check, &all);
        }
    }
    *checked = all;
    return STATUS_OK;
}

/* Before a step down, since what a version knows is lost with it. */
static enum status keep_copy(struct database *database, const char *where,
                             struct store_migration *migration, struct error *err)
{
    if (snprintf(migration->copy, sizeof migration->copy, "%s.version-%d", where,
                 migration->from) >= (int)sizeof migration->copy) {
        return error_set(err, STATUS_INVALID, "the path of the learning store is too long");
    }
    return migration->is_trial ? STATUS_OK : database_copy(database, migration->copy, err);
}

static enum status migrate(struct database *database, const char *where,
                           struct store_migration *migration, struct error *err)
{
    const int newest = (int)schema_steps.count;
    size_t version = 0;

    TRY(schema_version(database, &schema_steps, &version, err));
    migration->from = (int)version;
    migration->to = migration->to == 0 ? newest : migration->to;
    if (migration->to < 1 || migration->to > newest) {
        return error_set(err, STATUS_INVALID, "version %d: expected 1 to %d", migration->to,
                         newest);
    }
    if (migration->to < migration->from) {
        TRY(keep_copy(database, where, migration, err));
    }
    return migration->is_trial
               ? STATUS_OK
               : schema_migrate(database, &schema_steps, (size_t)migration->to, err);
}

enum status store_migrate(const char *where, struct store_migration *migration, struct error *err)
{
    struct database *database = NULL;
    int lock = -1;

    migration->copy[0] = '\0';
    TRY(database_open(where, migration->is_trial ? DATABASE_READ : DATABASE_WRITE, &database, err));
    enum status status = migration->is_trial ? STATUS_OK : database_own(where, &lock, err);
    if (status == STATUS_OK) {
        status = migrate(database, where, migration, err);
    }
    database_close(database);
    database_disown(lock);
    return status;
}

/* INVALID: a database of something else, or of a newer program. One that is damaged is ours to
 * replace: that is what copies are for. */
static enum status check_standing(const char *where, struct error *err)
{
    struct database *standing = NULL;
    size_t version = 0;

    enum status status = database_open(where, DATABASE_WRITE, &standing, err);
    if (status == STATUS_OK) {
        status = schema_version(standing, &schema_steps, &version, err);
    }
    database_close(standing); /* the last to close it takes the log away */
    return status == STATUS_GARBLED || status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

/* A whole file in the same folder: it takes the place in one step. One of an older version goes up
 * when its recorder opens it. */
static enum status fetch(const char *from, const char *to, struct error *err)
{
    struct database *copy = NULL;
    size_t version = 0;

    TRY(database_open(from, DATABASE_READ, &copy, err));
    enum status status = schema_version(copy, &schema_steps, &version, err);
    if (status == STATUS_OK && version == 0) {
        status = error_set(err, STATUS_INVALID, "the file is empty");
    }
    if (status == STATUS_OK) {
        status = database_verify(copy, err);
    }
    if (status == STATUS_OK) {
        unlink(to);
        status = database_copy(copy, to, err);
    }
    database_close(copy);
    return status == STATUS_OK ? STATUS_OK : error_wrap(err, "\"%s\"", from);
}

enum status store_restore(const char *where, const char *from, struct error *err)
{
    char place[PATH_MAX];
    char name[PATH_MAX + 16];
    int lock = -1;

    if (realpath(where, place) == NULL) { /* a link stays, and what it names is replaced */
        snprintf(place, sizeof place, "%s", where);
    }
    snprintf(name, sizeof name, "%s.restoring", place);
    enum status status = database_own(where, &lock, err);
    if (status == STATUS_OK) {
        status = check_standing(where, err);
    }
    if (status == STATUS_OK) {
        status = fetch(from, name, err);
        status = status == STATUS_OK ? database_replace(place, name, err) : status;
        unlink(name);
    }
    database_disown(lock);
    return status;
}
