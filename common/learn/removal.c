/* Of learn/store.h: what is deleted, by age or on request, with all that hangs on it; and the
 * hashes of the names that were forgotten, so that late parts do not bring them back.
 */
#include "base/strbuf.h"
#include "base/text.h"
#include "learn/internal.h"

enum { SLICE_MAX = 1000 }; /* rows of one transaction */

/* ---- deletion -------------------------------------------------------------------------------- */

struct doomed {
    int64_t id, at_ms;
    bool incomplete, is_described;
    struct slice domain, task_id, task_type, hash;
};
#define DOOMED                                                                                     \
    "SELECT id, at_ms, incomplete, domain, task_id, task_type, solution_hash,"                     \
    " CASE WHEN task_description IS NULL THEN 0 ELSE 1 END FROM executions "

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
        *row = (struct doomed){
            .id = rows_value(&rows, 0).integer,
            .at_ms = rows_value(&rows, 1).integer,
            .incomplete = rows_value(&rows, 2).integer != 0,
            .domain = rows_value(&rows, 3).text,
            .task_id = rows_value(&rows, 4).text,
            .task_type = rows_value(&rows, 5).text,
            .hash = rows_value(&rows, 6).text,
            .is_described = rows_value(&rows, 7).integer != 0,
        };
        struct slice *const texts[] = {&row->domain, &row->task_id, &row->task_type, &row->hash};
        for (size_t i = 0; status == STATUS_OK && i < sizeof texts / sizeof texts[0]; i++) {
            status = transaction_keep(store, texts[i], err);
        }
    }
    const enum status ended = rows_end(&rows);
    return ended != STATUS_OK ? ended : status;
}

/* *feedback (may be NULL): how much of it went along. */
static enum status delete_row(struct store *store, const struct doomed *row, size_t *feedback,
                              struct error *err)
{
    const struct value id = value_integer(row->id);
    const struct value key[] = {value_text(row->domain), value_text(row->task_id)};
    int64_t changed = 0;

    TRY(transaction_mark_all(store, row->domain, row->at_ms, row->task_type, row->hash, err));
    TRY(database_do(store->database, "DELETE FROM feedback WHERE domain = $1 AND task_id = $2", key,
                    2, &changed, err));
    if (feedback != NULL) {
        *feedback += (size_t)changed;
    }
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
static enum status recall(struct store *store, const char *what, struct slice domain,
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
        TRY(delete_row(store, &row, NULL, err));
    }
    *deleted += count;
    TRY(database_do(store->database,
                    "UPDATE pools SET task_id = '' WHERE domain = $1 AND task_id = $2", key, 2,
                    NULL, err));
    return remember(store, "task", domain, task_id, now_ms, err);
}

/* ---- late parts ------------------------------------------------------------------------------ */

/* Takes out of a part what was forgotten: a task for good; of a user what was before, and the task
 * that a late part says was theirs. Of their feedback the rating stays, a number that names nobody.
 * *found: a task was forgotten that was not before. */
static enum status leave_out(struct store *store, struct kept_part *kept, bool *found,
                             struct error *err)
{
    static const struct slice all_domains = {"", 0};
    const struct part *part = &kept->part;
    struct record_body *body = &kept->part.body;
    struct value task;
    struct value user;
    size_t deleted = 0;

    TRY(recall(store, "task", part->domain, body->task_id, &task, err));
    TRY(recall(store, "user", part->domain, body->user, &user, err));
    if (user.type == VALUE_NULL) {
        TRY(recall(store, "user", all_domains, body->user, &user, err));
    }
    const bool is_theirs = user.type == VALUE_INTEGER && part->at_ms <= user.integer;
    if (is_theirs && kept->has_feedback) {
        kept->has_feedback = false;
    } else if (is_theirs && task.type == VALUE_NULL && body->task_id.data != NULL) {
        if (!store->is_alone) {
            return transaction_ask_alone(store, "a user's task is to be forgotten", err);
        }
        TRY(forget_task(store, part->domain, body->task_id, user.integer, &deleted, err));
        *found = true;
        task = user;
    }
    if (task.type == VALUE_INTEGER) {
        body->task_id = (struct slice){"", 0};
    }
    return STATUS_OK;
}

/* A task that a part brings to be forgotten is so for the parts before it too. */
enum status removal_leave_out(struct store *store, const struct part *parts, struct kept_part *kept,
                              size_t count, struct error *err)
{
    struct value any;
    bool found = true;

    TRY(database_find(store->database, "SELECT 1 FROM forgotten LIMIT 1", NULL, 0, &any, err));
    while (found) {
        found = false;
        for (size_t i = 0; i < count; i++) {
            kept[i] = (struct kept_part){parts[i], kind_is_word("feedback", parts[i].body.kind)};
            if (any.type == VALUE_INTEGER) {
                TRY(leave_out(store, &kept[i], &found, err));
            }
        }
    }
    return STATUS_OK;
}

/* ---- expire and forget ----------------------------------------------------------------------- */

/* What is to be deleted: up to `rows` of what is older than this. */
struct horizon {
    int64_t executions_ms, others_ms;
    size_t rows;
};

static enum status expire_executions(struct store *store, struct horizon *horizon, bool is_over,
                                     struct store_expired *expired, struct error *err)
{
    size_t count = horizon->rows;
    struct doomed *list = arena_array(&store->arena, count + 1, sizeof *list);
    struct store_task *described = arena_array(&store->arena, count + 1, sizeof *described);
    const struct value with[] = {value_integer(is_over ? INT64_MAX : horizon->executions_ms),
                                 value_integer((int64_t)count)};

    if (list == NULL || described == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    TRY(list_doomed(store,
                    DOOMED "WHERE at_ms < $1 ORDER BY at_ms LIMIT $2"
                           " /*+ FOR UPDATE SKIP LOCKED */",
                    with, 2, list, &count, err));
    for (size_t i = 0; i < count; i++) {
        TRY(delete_row(store, &list[i], &expired->feedback, err));
        if (list[i].is_described && list[i].at_ms >= horizon->executions_ms) {
            described[expired->described_count++] =
                (struct store_task){list[i].domain, list[i].task_id};
        }
    }
    expired->executions = count;
    expired->described = described;
    /* Of a store that is too large the pools go as far as the executions do, or alone. */
    if (is_over && count == 0) {
        horizon->executions_ms = INT64_MAX;
    } else if (is_over && list[count - 1].at_ms > horizon->executions_ms) {
        horizon->executions_ms = list[count - 1].at_ms;
    }
    return STATUS_OK;
}

static enum status expire_others(struct store *store, const struct horizon *horizon,
                                 struct store_expired *expired, struct error *err)
{
    static const char pools[] = "DELETE FROM pools WHERE id IN"
                                " (SELECT id FROM pools WHERE at_ms < $1 ORDER BY at_ms LIMIT $2"
                                " /*+ FOR UPDATE SKIP LOCKED */)";
    static const char policies[] =
        "DELETE FROM policies WHERE id IN"
        " (SELECT id FROM policies WHERE at_ms < $1 AND NOT EXISTS"
        "  (SELECT 1 FROM executions WHERE executions.domain = policies.domain)"
        " ORDER BY at_ms LIMIT $2 /*+ FOR UPDATE SKIP LOCKED */)";
    static const char names[] =
        "DELETE FROM forgotten WHERE (what, hash) IN"
        " (SELECT what, hash FROM forgotten WHERE at_ms < $1 ORDER BY at_ms LIMIT $2)";
    const struct {
        const char *sql;
        int64_t before_ms;
        size_t *deleted;
    } all[] = {
        {pools, horizon->executions_ms, &expired->pools},
        {policies, horizon->others_ms, &expired->policies},
        {names, horizon->others_ms - STORE_AHEAD_MS, &expired->forgotten},
    };

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        const struct value with[] = {value_integer(all[i].before_ms),
                                     value_integer((int64_t)horizon->rows)};
        int64_t changed = 0;
        TRY(database_do(store->database, all[i].sql, with, 2, &changed, err));
        *all[i].deleted = (size_t)changed;
    }
    return STATUS_OK;
}

size_t store_expired_rows(const struct store_expired *expired)
{
    return expired->executions + expired->feedback + expired->pools + expired->policies +
           expired->forgotten;
}

enum status store_expire(struct store *store, int64_t before_ms, int64_t most_bytes, size_t rows,
                         struct store_expired *expired, struct error *err)
{
    struct horizon horizon = {before_ms, before_ms, rows < SLICE_MAX ? rows : SLICE_MAX};
    struct store_expired found = {0};
    int64_t bytes = 0;
    int64_t used = 0;

    *expired = found;
    TRY(transaction_begin_rows(store, LOCK_TOGETHER, err));
    enum status status = database_bytes(store->database, &bytes, &used, err);
    const bool is_over = most_bytes > 0 && used > most_bytes;
    if (status == STATUS_OK) {
        status = expire_executions(store, &horizon, is_over, &found, err);
    }
    if (status == STATUS_OK) {
        status = expire_others(store, &horizon, &found, err);
    }
    status = transaction_end(store, status, err);
    if (status == STATUS_OK) {
        *expired = found;
    }
    return status == STATUS_OK && store_expired_rows(&found) > 0
               ? database_shrink(store->database, err)
               : status;
}

static enum status forget_execution(struct store *store, const struct forget *what,
                                    struct slice domain, struct slice task_id, size_t *deleted,
                                    struct error *err)
{
    const size_t before = *deleted;

    TRY(forget_task(store, domain, task_id, what->now_unix_ms, deleted, err));
    if (*deleted > before && what->take != NULL) {
        what->take(what->context, &(struct store_task){domain, task_id});
    }
    return STATUS_OK;
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
        TRY(forget_execution(store, what, list[i].domain, list[i].task_id, deleted, err));
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
    TRY(transaction_begin_rows(store, LOCK_ALONE, err));
    enum status status = is_user
                             ? forget_user(store, what, domain, &count, err)
                             : forget_execution(store, what, domain, what->task_id, &count, err);
    status = transaction_end(store, status, err);
    *deleted = status == STATUS_OK ? count : 0;
    return status;
}
