/* The learning store: records a second with synchronous=FULL, next to a bare loop of prepared
 * statements; then what a question takes, and what the file weighs.
 *
 *   bare      SQLite as a program without Stillhouse would use it: the same file, settings, tables,
 *             indexes, rows and batches, an upsert for each record and an insert for each group of
 * a view that it touches, into a file of its own. store_put the same records through the store:
 * read, merge, write, mark. question  on the file of the last round, once its views are computed.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "flags.h"
#include "folder.h"
#include "learn/columns.h"
#include "learn/questions.h"
#include "learn/store.h"
#include "support.h"

enum { DOMAINS = 10, TYPES = 8, DAYS = 30, BATCH_MAX = 1024 };

static long rounds = 1;
static long first_round = 0;
static long record_count = 100000;
static long batch = 64;
static long asks = 200;
static const char *group = "learn";

static const int64_t START = 20000 * INT64_C(86400000);

static void must(enum status status, const struct error *err)
{
    if (status != STATUS_OK) {
        bench_fail("%s", err->text);
    }
}

/* ---- records --------------------------------------------------------------------------------- */

struct record {
    char domain[24], job[40], task[32], type[16], user[16], description[240], solution[48];
    struct meta_pair pair;
    struct part part;
};

static const char *const tiers[] = {"small", "medium", "large", "local"};

static void make_record(struct record *record, long i)
{
    unsigned seed = (unsigned)i * 2654435761U + 1;
    const long day = i * DAYS / record_count; /* as they come: in the order of time */

    snprintf(record->domain, sizeof record->domain, "acme.repo%d", rand_r(&seed) % DOMAINS);
    snprintf(record->job, sizeof record->job, "01930000-0000-7000-8000-%012ld", i);
    snprintf(record->task, sizeof record->task, "task-%08x-%08ld", rand_r(&seed), i);
    snprintf(record->type, sizeof record->type, "type%d", rand_r(&seed) % TYPES);
    snprintf(record->user, sizeof record->user, "user%d", rand_r(&seed) % 50);
    snprintf(record->solution, sizeof record->solution, "solved in way number %d",
             rand_r(&seed) % 500);
    memset(record->description, 'a' + rand_r(&seed) % 26, 200);
    record->description[200] = '\0';
    record->pair = (struct meta_pair){{"branch", 6}, {.type = META_INT, .integer = i % 7}};
    record->part = (struct part){.domain = slice_of(record->domain),
                                 .job_id = slice_of(record->job),
                                 .at_ms = START + day * 86400000 + i % 86400 * 1000};
    record->part.body = (struct record_body){
        .kind = slice_of("execution"),
        .task_id = slice_of(record->task),
        .repo = slice_of("acme/repository"),
        .user = slice_of(record->user),
        .task_type = slice_of(record->type),
        .task_description = slice_of(record->description),
        .file_count = {rand_r(&seed) % 40, true},
        .estimated_tokens = {rand_r(&seed) % 9000, true},
        .tokens_in = {rand_r(&seed) % 9000, true},
        .tokens_out = {rand_r(&seed) % 9000, true},
        .model_tier = slice_of(tiers[rand_r(&seed) % 4]),
        .model = slice_of("a-model-of-some-name"),
        .pool_type = slice_of(rand_r(&seed) % 2 == 0 ? "warm" : "cold"),
        .routing_confidence = {rand_r(&seed) % 100 / 100.0, true},
        .complexity_score = {rand_r(&seed) % 10, true},
        .cost_estimate = {rand_r(&seed) % 1000 / 977.0, true},
        .queue_wait_seconds = {rand_r(&seed) % 1000 / 97.0, true},
        .success = {rand_r(&seed) % 4 != 0, true},
        .duration_seconds = {rand_r(&seed) % 100000 / 97.0, true},
        .retries = {rand_r(&seed) % 3, true},
        .quality_score = {rand_r(&seed) % 100, true},
        .actual_cost = {rand_r(&seed) % 1000 / 977.0, true},
        .peak_memory_mb = {rand_r(&seed) % 4000, true},
        .cpu_time_seconds = {rand_r(&seed) % 1000 / 97.0, true},
        .solution_summary = slice_of(record->solution),
        .started_ms = {record->part.at_ms - 5000, true},
        .completed_ms = {record->part.at_ms, true},
        .arm = slice_of(rand_r(&seed) % 10 == 0 ? "holdout" : "enriched"),
        .metadata = {&record->pair, 1, {NULL, 0}},
    };
}

/* ---- the bare loop --------------------------------------------------------------------------- */

struct bare {
    sqlite3 *handle;
    sqlite3_stmt *upsert, *dirty, *begin, *commit, *count;
};

static sqlite3_stmt *prepare(sqlite3 *handle, const char *sql)
{
    sqlite3_stmt *statement = NULL;

    if (sqlite3_prepare_v3(handle, sql, -1, SQLITE_PREPARE_PERSISTENT, &statement, NULL) !=
        SQLITE_OK) {
        bench_fail("%s", sqlite3_errmsg(handle));
    }
    return statement;
}

static void bare_open(struct bare *bare, const char *path)
{
    char sql[6000];
    size_t used = 0;

    if (sqlite3_open(path, &bare->handle) != SQLITE_OK ||
        sqlite3_exec(bare->handle,
                     "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;"
                     "PRAGMA cache_size = -32000; PRAGMA journal_size_limit = 67108864",
                     NULL, NULL, NULL) != SQLITE_OK) {
        bench_fail("%s", sqlite3_errmsg(bare->handle));
    }
    used += (size_t)snprintf(sql, sizeof sql,
                             "INSERT INTO executions (domain, task_id, at_ms, incomplete,"
                             " solution_hash, metadata, stamps");
    for (size_t i = 0; i < merged_executions.count; i++) {
        used += (size_t)snprintf(sql + used, sizeof sql - used, ", %s",
                                 merged_executions.columns[i].name);
    }
    used += (size_t)snprintf(sql + used, sizeof sql - used, ") VALUES (?, ?, ?, ?, ?, ?, ?");
    for (size_t i = 0; i < merged_executions.count; i++) {
        used += (size_t)snprintf(sql + used, sizeof sql - used, ", ?");
    }
    used +=
        (size_t)snprintf(sql + used, sizeof sql - used,
                         ") ON CONFLICT (domain, task_id) DO UPDATE SET at_ms = excluded.at_ms");
    for (size_t i = 0; i < merged_executions.count; i++) {
        used +=
            (size_t)snprintf(sql + used, sizeof sql - used, ", %s = excluded.%s",
                             merged_executions.columns[i].name, merged_executions.columns[i].name);
    }
    bare->upsert = prepare(bare->handle, sql);
    bare->dirty = prepare(bare->handle, "INSERT INTO dirty (view, domain, name, bucket, since_ms)"
                                        " VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING");
    bare->begin = prepare(bare->handle, "BEGIN IMMEDIATE");
    bare->commit = prepare(bare->handle, "COMMIT");
    bare->count =
        prepare(bare->handle, "UPDATE counts SET executions = executions + ? WHERE id = 1");
}

static void run(const struct bare *bare, sqlite3_stmt *statement)
{
    if (sqlite3_step(statement) != SQLITE_DONE) {
        bench_fail("%s", sqlite3_errmsg(bare->handle));
    }
    sqlite3_reset(statement);
}

static void bind_text(sqlite3_stmt *statement, int place, struct slice text)
{
    sqlite3_bind_text(statement, place, text.data, (int)text.bytes, SQLITE_STATIC);
}

static void bare_mark(const struct bare *bare, const char *view, const struct part *part,
                      const char *name, int64_t bucket)
{
    sqlite3_bind_text(bare->dirty, 1, view, -1, SQLITE_STATIC);
    bind_text(bare->dirty, 2, part->domain);
    sqlite3_bind_text(bare->dirty, 3, name, -1, SQLITE_STATIC);
    sqlite3_bind_int64(bare->dirty, 4, bucket);
    sqlite3_bind_int64(bare->dirty, 5, clock_unix_ms());
    run(bare, bare->dirty);
}

static void bare_put(const struct bare *bare, const struct part *part)
{
    static const char stamps[110] = "as long as those of the store";
    char solution[40]; /* as long as the hash */
    int place = 1;

    snprintf(solution, sizeof solution, "%032ld",
             strtol(part->body.solution_summary.data + strlen("solved in way number "), NULL, 10));
    bind_text(bare->upsert, place++, part->domain);
    bind_text(bare->upsert, place++, part->body.task_id);
    sqlite3_bind_int64(bare->upsert, place++, part->at_ms);
    sqlite3_bind_int64(bare->upsert, place++, 0);
    sqlite3_bind_text(bare->upsert, place++, solution, -1, SQLITE_STATIC);
    sqlite3_bind_text(bare->upsert, place++, "{\"branch\":1}", -1, SQLITE_STATIC);
    sqlite3_bind_blob(bare->upsert, place++, stamps, sizeof stamps, SQLITE_STATIC);
    for (size_t i = 0; i < merged_executions.count; i++, place++) {
        const struct column *column = &merged_executions.columns[i];
        const void *member = (const char *)&part->body + column->at;
        const struct maybe_integer *integer = member;
        const struct maybe_number *real = member;
        const struct maybe_truth *truth = member;
        sqlite3_bind_null(bare->upsert, place);
        if (column->type == FIELD_TEXT && ((const struct slice *)member)->data != NULL) {
            bind_text(bare->upsert, place, *(const struct slice *)member);
        } else if (column->type == FIELD_INTEGER && integer->given) {
            sqlite3_bind_int64(bare->upsert, place, integer->value);
        } else if (column->type == FIELD_NUMBER && real->given) {
            sqlite3_bind_double(bare->upsert, place, real->value);
        } else if (column->type == FIELD_TRUTH && truth->given) {
            sqlite3_bind_int64(bare->upsert, place, truth->value);
        }
    }
    run(bare, bare->upsert);
    bare_mark(bare, "tier", part, part->body.task_type.data, part->at_ms / 86400000);
    bare_mark(bare, "pool", part, "", part->at_ms / 3600000);
    bare_mark(bare, "solution", part, solution, 0);
}

static void bare_close(struct bare *bare)
{
    sqlite3_stmt *const all[] = {bare->upsert, bare->dirty, bare->begin, bare->commit, bare->count};

    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++) {
        sqlite3_finalize(all[i]);
    }
    sqlite3_close(bare->handle);
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static struct record records[BATCH_MAX];
static struct part parts[BATCH_MAX];

static size_t next_batch(long from)
{
    size_t count = 0;

    while (count < (size_t)batch && from + (long)count < record_count) {
        make_record(&records[count], from + (long)count);
        parts[count] = records[count].part;
        count++;
    }
    return count;
}

static void print(const char *series, long round, double value, const char *unit)
{
    const struct bench_figure figure = {group, series, series,       round,
                                        value, unit,   record_count, true};

    bench_print(&figure, "\"batch\": %ld, \"records\": %ld", batch, record_count);
}

static void measure(const char *folder, long round, char *path, size_t path_bytes)
{
    struct error err = {0};
    struct store *store = NULL;
    struct store *empty = NULL;
    struct store_state state;
    struct bare bare;
    char bare_path[300];
    int64_t store_ns = 0;
    int64_t bare_ns = 0;

    snprintf(path, path_bytes, "%s/learn-%ld.db", folder, round);
    snprintf(bare_path, sizeof bare_path, "%s/bare-%ld.db", folder, round);
    must(store_open(path, STORE_WRITE, &store, &err), &err);
    must(store_open(bare_path, STORE_WRITE, &empty, &err), &err); /* the same tables */
    store_close(empty);
    bare_open(&bare, bare_path);
    for (long at = 0; at < record_count;) { /* batch by batch, so that both have the same weather */
        const size_t count = next_batch(at);
        int64_t before = clock_now_ns();
        must(store_put(store, parts, count, &err), &err);
        store_ns += clock_now_ns() - before;
        before = clock_now_ns();
        run(&bare, bare.begin);
        for (size_t i = 0; i < count; i++) {
            bare_put(&bare, &parts[i]);
        }
        sqlite3_bind_int64(bare.count, 1, (int64_t)count);
        run(&bare, bare.count);
        run(&bare, bare.commit);
        bare_ns += clock_now_ns() - before;
        at += (long)count;
    }
    bare_close(&bare);
    must(store_look(store, &state, &err), &err);
    if (state.executions != record_count) {
        bench_fail("%lld executions, expected %ld", (long long)state.executions, record_count);
    }
    store_close(store);
    print("store_put", round, (double)record_count * 1e9 / (double)store_ns, "records/s");
    print("bare upserts", round, (double)record_count * 1e9 / (double)bare_ns, "records/s");
}

static void ask(struct store *store, const struct store_question *question, long round)
{
    const int64_t now = START + INT64_C(86400000) * DAYS - 1;
    struct slice given[QUESTION_PARAMETERS_MAX] = {{NULL, 0}};
    struct value with[QUESTION_PARAMETERS_MAX];
    struct bench_samples samples = {0};
    struct error err = {0};
    struct rows rows;
    char series[80];

    for (long i = 0; i < asks; i++) {
        make_record(&records[0], (i * 7919) % record_count);
        for (size_t k = 0; k < QUESTION_PARAMETERS_MAX && question->parameters[k].name != NULL;
             k++) {
            const char *name = question->parameters[k].name;
            given[k] = strcmp(name, "domain") == 0      ? slice_of(records[0].domain)
                       : strcmp(name, "task-id") == 0   ? slice_of(records[0].task)
                       : strcmp(name, "task-type") == 0 ? slice_of(records[0].type)
                                                        : (struct slice){NULL, 0};
        }
        must(question_take(question, given, with, &err), &err);
        const int64_t before = clock_now_ns();
        must(question_ask(store_database(store), question, with, now, &rows, &err), &err);
        while (rows_next(&rows, &err) == ROWS_ONE) {
        }
        must(rows_end(&rows), &err);
        bench_add(&samples, (double)(clock_now_ns() - before) / 1e3);
    }
    snprintf(series, sizeof series, "question %s, p50", question->name);
    print(series, round, bench_quantile(&samples, .5), "us");
    snprintf(series, sizeof series, "question %s, p95", question->name);
    print(series, round, bench_quantile(&samples, .95), "us");
    bench_reset(&samples);
}

static void measure_questions(const char *path, long round)
{
    struct store *store = NULL;
    struct error err = {0};
    struct stat at;
    size_t left = 1;
    const int64_t before = clock_now_ns();

    must(store_open(path, STORE_WRITE, &store, &err), &err);
    while (left > 0) {
        must(store_refresh(store, START + INT64_C(86400000) * DAYS, 200, &left, &err), &err);
    }
    print("all views computed", round, (double)(clock_now_ns() - before) / 1e9, "s");
    if (stat(path, &at) != 0) {
        bench_fail("no %s", path);
    }
    print("file", round, (double)at.st_size / 1e6, "MB");
    for (size_t i = 0; i < questions_count; i++) {
        if (strcmp(questions[i].name, "export") != 0) {
            ask(store, &questions[i], round);
        }
    }
    store_close(store);
}

int main(int argc, char **argv)
{
    const struct flag flags[] = {
        {"--records", FLAG_NUMBER, &record_count, "executions that are put"},
        {"--batch", FLAG_NUMBER, &batch, "records a transaction, up to 1024"},
        {"--asks", FLAG_NUMBER, &asks, "times a question"},
        {"--rounds", FLAG_NUMBER, &rounds, "rounds"},
        {"--round", FLAG_NUMBER, &first_round, "number of the first round"},
        {"--group", FLAG_TEXT, &group, "name of the group in the figures"},
    };
    char folder[200];
    char path[300];

    flags_parse(argc, argv, "the learning store next to a bare loop of prepared statements", flags,
                sizeof flags / sizeof flags[0]);
    if (batch < 1 || batch > BATCH_MAX || record_count < 1) {
        bench_fail("--batch: expected 1 to %d; --records: 1 or more", BATCH_MAX);
    }
    test_folder_make(folder, sizeof folder);
    for (long round = first_round; round < first_round + rounds; round++) {
        measure(folder, round, path, sizeof path);
        measure_questions(path, round);
    }
    test_folder_remove(folder);
    return 0;
}
