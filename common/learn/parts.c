/* Of learn/store.h: what a store holds, as the parts that make it anew elsewhere. */
#include "learn/internal.h"
#include "json/write.h"

enum { PART_DOMAIN, PART_KEY, PART_AT, PART_METADATA, PART_INCOMPLETE, PART_COLUMNS };

static const struct column feedback_columns[] = {
    {"feedback_type", FIELD_TEXT, false, 0},  {"user_rating", FIELD_INTEGER, false, 0},
    {"user_accepted", FIELD_TRUTH, false, 0}, {"comment", FIELD_TEXT, false, 0},
    {"user", FIELD_TEXT, false, 0},
};
static const struct merged feedback = {"feedback", "task_id", feedback_columns,
                                       sizeof feedback_columns / sizeof feedback_columns[0]};
static const char feedback_list[] =
    "SELECT domain, task_id, at_ms, metadata, 0, feedback_type, user_rating, user_accepted,"
    " comment, user FROM feedback WHERE at_ms >= $1 ORDER BY at_ms";

/* Whether a part of that kind has the field, of which each column is one. */
static bool kind_takes(const char *kind, const char *field)
{
    const struct kind_field *at = job_kinds[KIND_record].shape->fields;

    while (!slice_equal(at->name, slice_of(field))) {
        at++;
    }
    return kind_has(at, slice_of(kind));
}

static void write_field(const char *name, enum kind_field_type type, const struct value *value,
                        struct strbuf *out)
{
    if (value->type == VALUE_NULL || (value->type == VALUE_TEXT && value->text.bytes == 0)) {
        return; /* nobody told */
    }
    strbuf_append_char(out, ',');
    json_str(out, name);
    strbuf_append_char(out, ':');
    if (type == FIELD_METADATA) {
        strbuf_append(out, value->text.data, value->text.bytes); /* JSON already */
    } else if (value->type == VALUE_TEXT) {
        json_string(out, value->text.data, value->text.bytes);
    } else if (type == FIELD_TRUTH) {
        strbuf_append_str(out, value->integer != 0 ? "true" : "false");
    } else if (value->type == VALUE_NUMBER) {
        json_double(out, value->number);
    } else {
        json_int(out, value->integer);
    }
}

static void write_part(const struct merged *table, const char *kind, const struct rows *rows,
                       struct strbuf *out)
{
    const struct value domain = rows_value(rows, PART_DOMAIN);
    const struct value key = rows_value(rows, PART_KEY);
    const struct value at = rows_value(rows, PART_AT);
    const struct value metadata = rows_value(rows, PART_METADATA);

    strbuf_append_str(out, "{\"kind\":");
    json_str(out, kind);
    write_field("domain", FIELD_TEXT, &domain, out);
    write_field(table->key, FIELD_TEXT, &key, out);
    write_field("at_ms", FIELD_INTEGER, &at, out);
    for (size_t i = 0; i < table->count; i++) {
        const struct column *column = &table->columns[i];
        const struct value value = rows_value(rows, PART_COLUMNS + (int)i);
        if (kind_takes(kind, column->name)) {
            write_field(column->name, column->type, &value, out);
        }
    }
    write_field("metadata", FIELD_METADATA, &metadata, out);
    strbuf_append_str(out, "}\n");
}

/* An execution whose routing has not come stays without one. */
static void write_row(const struct merged *table, const struct rows *rows, struct strbuf *out)
{
    if (table == &merged_executions) {
        const bool is_incomplete = rows_value(rows, PART_INCOMPLETE).integer != 0;
        write_part(table, is_incomplete ? "outcome" : "execution", rows, out);
    } else if (table == &merged_pools) {
        write_part(table, "pool_start", rows, out);
        write_part(table, "pool_end", rows, out);
    } else {
        write_part(table, table == &merged_policies ? "policy" : "feedback", rows, out);
    }
}

static enum status list_table(struct store *store, const struct merged *table, const char *sql,
                              int64_t since_ms, void (*take)(struct strbuf *), struct error *err)
{
    const struct value since = value_integer(since_ms);
    struct strbuf line = {0};
    struct rows rows;
    bool is_whole = true;

    TRY(database_ask(store->database, sql, &since, 1, &rows, err));
    while (is_whole && rows_next(&rows, err) == ROWS_ONE) {
        write_row(table, &rows, &line);
        is_whole = strbuf_ok(&line);
        if (is_whole) {
            take(&line);
        }
    }
    const enum status status = rows_end(&rows);
    strbuf_free(&line);
    return is_whole ? status : error_set(err, STATUS_OOM, "out of memory");
}

enum status store_list_parts(struct store *store, int64_t since_ms, void (*take)(struct strbuf *),
                             struct error *err)
{
    enum status status = STATUS_OK;

    TRY(database_begin_read(store->database, err));
    for (size_t i = 0; i < TABLES && status == STATUS_OK; i++) {
        const struct merged_table *table = &store->tables[i];
        status = list_table(store, table->merged, table->list.data, since_ms, take, err);
    }
    if (status == STATUS_OK) {
        status = list_table(store, &feedback, feedback_list, since_ms, take, err);
    }
    database_rollback(store->database);
    return status;
}
