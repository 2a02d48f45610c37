/* The learning store and its recorder: what goes in a second, what a question takes, what the file
 * weighs.
 *
 *   put    executions by store_put, and batch by batch the same ones by bare upserts into a
 *          file of their own (--bare 0: without them, for a large store)
 *   ask    each question by one asker, once all views are computed
 *   load   executions come in at a steady rate through the queue and a worker, while askers,
 *          each on a connection of its own, ask one question after the other, without pauses:
 *          first of the store, then of the recorder over HTTP
 *   drain  a full queue through workers into the same store, then as many bare upserts into
 *          the other file
 *
 * --postgres 1: all of it in a database on a server of its own, which syncs each commit, beside no
 * bare upserts (bench_learn_server has them).
 *
 * How late a record stands is counted from when it was due to be sent to the event that follows
 * it; how stale the views are is what the store says ten times a second.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bare.h"
#include "bare_http.h"
#include "bare_learn.h"
#include "base/clock.h"
#include "drain.h"
#include "executions.h"
#include "flags.h"
#include "learn/questions.h"
#include "postgres.h"
#include "queue/enqueue.h"
#include "support.h"

enum {
    BATCH_MAX = 1024,
    ASKERS_MAX = 16,
    CALL = 250,
    TICK_MS = 10,
    LOOK_MS = 100,
    WAIT_MS = 60000
};

static long rounds = 1;
static long first_round = 0;
static long record_count = 100000;
static long days = 30;
static long domains = 10;
static long batch = 64;
static long with_bare = 1;
static long asks = 200;
static long rate = 500;
static long seconds = 30;
static long asker_count = 4;
static long drain_count = 20000;
static struct flag_list drain_workers = {{1}, 1};
static long on_server = 0;
static const char *group = "learn";

/* Nothing expires while it is counted. */
#define RECORDER "--queues", "record", "--learn-ttl", "3650d", "--learn"

static struct executions executions;
static long sent_count; /* of this round, behind those that were put */
static struct test_server redis;
static struct test_postgres server;

static void must(enum status status, const struct error *err)
{
    if (status != STATUS_OK) {
        bench_fail("%s", err->text);
    }
}

static void print(const char *series, long round, double value, const char *unit, bool checked)
{
    const struct bench_figure figure = {group, series, series,       round,
                                        value, unit,   record_count, checked};

    bench_print(&figure, "\"batch\": %ld, \"records\": %ld, \"days\": %ld, \"domains\": %ld", batch,
                record_count, days, domains);
}

/* ---- put ------------------------------------------------------------------------------------- */

static struct execution made[BATCH_MAX];
static struct part parts[BATCH_MAX];

static size_t make_batch(long from, long until)
{
    size_t count = 0;

    while (count < (size_t)batch && from + (long)count < until) {
        execution_make(&made[count], &executions, from + (long)count);
        parts[count] = made[count].part;
        count++;
    }
    return count;
}

static int64_t executions_in(const char *path)
{
    struct store *store = NULL;
    struct store_state state;
    struct error err = {0};

    must(store_open(path, STORE_READ, &store, &err), &err);
    must(store_look(store, &state, &err), &err);
    store_close(store);
    return state.executions;
}

/* What people say of one in ten, and what is asked of each domain's quality. */
static void put_rest(struct store *store)
{
    struct error err = {0};

    for (long at = 0; at < record_count;) {
        size_t count = 0;
        for (; at < record_count && count < (size_t)batch; at += 10, count++) {
            struct execution *of = &made[count];
            if (at < domains * 100) {
                execution_demand(of, &executions, at);
            } else {
                execution_rate(of, &executions, at);
            }
            parts[count] = of->part;
        }
        must(store_put(store, parts, count, &err), &err);
    }
}

/* Batch by batch, so that both have the same weather. */
static void measure_put(const char *path, struct bare_learn *bare, long round)
{
    struct error err = {0};
    struct store *store = NULL;
    int64_t store_ns = 0;
    int64_t bare_ns = 0;

    must(store_open(path, STORE_WRITE, &store, &err), &err);
    for (long at = 0; at < record_count;) {
        const size_t count = make_batch(at, record_count);
        const int64_t begin_ns = clock_now_ns();
        must(store_put(store, parts, count, &err), &err);
        const int64_t between_ns = clock_now_ns();
        if (bare != NULL) {
            bare_learn_put(bare, parts, count);
        }
        store_ns += between_ns - begin_ns;
        bare_ns += clock_now_ns() - between_ns;
        at += (long)count;
    }
    put_rest(store);
    store_close(store);
    const bool checked = executions_in(path) == record_count;
    print("store_put", round, (double)record_count * 1e9 / (double)store_ns, "records/s", checked);
    if (bare != NULL) {
        print("bare upserts", round, (double)record_count * 1e9 / (double)bare_ns, "records/s",
              true);
    }
}

static void measure_views(const char *path, long round)
{
    struct store *store = NULL;
    struct error err = {0};
    int64_t bytes = 0;
    size_t left = 1;

    must(store_open(path, STORE_WRITE, &store, &err), &err);
    const int64_t begin_ns = clock_now_ns();
    while (left > 0) {
        must(store_refresh(store, clock_unix_ms(), 200, &left, &err), &err);
    }
    print("all views computed", round, (double)(clock_now_ns() - begin_ns) / 1e9, "s", true);
    must(database_bytes(store_database(store), &bytes, NULL, &err), &err);
    store_close(store);
    print(on_server ? "database" : "file", round, (double)bytes / 1e6, "MB", true);
}

/* ---- ask ------------------------------------------------------------------------------------- */

struct asker {
    pthread_t thread;
    const char *path; /* of the store */
    const char *url;  /* of the recorder's endpoint; NULL: the store is asked */
    long number;
    atomic_bool *ends;
    struct bench_samples *samples; /* one a question */
};

static void ask_store(struct store *store, const struct store_question *question,
                      const struct slice given[QUESTION_PARAMETERS_MAX])
{
    struct value with[QUESTION_PARAMETERS_MAX];
    struct error err = {0};
    struct rows rows;

    must(question_take(question, given, with, &err), &err);
    must(question_ask(store_database(store), question, with, clock_unix_ms(), &rows, &err), &err);
    while (rows_next(&rows, &err) == ROWS_ONE) {
    }
    must(rows_end(&rows), &err);
}

/* Nothing that is asked with needs to be escaped. */
static void ask_endpoint(struct bare_http *http, const char *url,
                         const struct store_question *question,
                         const struct slice given[QUESTION_PARAMETERS_MAX])
{
    char asked[400];
    size_t used = (size_t)snprintf(asked, sizeof asked, "%s/learn/%s", url, question->name);
    char separator = '?';

    for (size_t i = 0; i < QUESTION_PARAMETERS_MAX && given[i].data != NULL; i++) {
        used += (size_t)snprintf(asked + used, sizeof asked - used, "%c%s=%.*s", separator,
                                 question->parameters[i].name, (int)given[i].bytes, given[i].data);
        separator = '&';
    }
    (void)bare_http_call(http, "GET", asked, NULL);
}

/* Whom an asker asks: one of the two. */
struct asked {
    struct store *store;
    struct bare_http *http;
    const char *url;
};

/* Its time goes into its samples. */
static void ask(const struct asked *whom, size_t which, long i, struct bench_samples *samples)
{
    struct slice given[QUESTION_PARAMETERS_MAX] = {{NULL, 0}};
    struct execution of = {0};

    execution_make(&of, &executions, i % record_count);
    if (!execution_give(&questions[which], &of, given)) {
        return;
    }
    const int64_t begin_ns = clock_now_ns();
    if (whom->http != NULL) {
        ask_endpoint(whom->http, whom->url, &questions[which], given);
    } else {
        ask_store(whom->store, &questions[which], given);
    }
    bench_add(&samples[which], (double)(clock_now_ns() - begin_ns) / 1e3);
}

static void print_asked(struct bench_samples *samples, const char *when, long round)
{
    char series[100];
    double slowest_us = 0;

    for (size_t i = 0; i < questions_count; i++) {
        if (samples[i].count == 0) {
            continue;
        }
        snprintf(series, sizeof series, "question %s%s, p50", questions[i].name, when);
        print(series, round, bench_quantile(&samples[i], .5) / 1e3, "ms", true);
        snprintf(series, sizeof series, "question %s%s, p95", questions[i].name, when);
        const double p95_us = bench_quantile(&samples[i], .95);
        print(series, round, p95_us / 1e3, "ms", true);
        slowest_us = p95_us > slowest_us ? p95_us : slowest_us;
        bench_reset(&samples[i]);
    }
    snprintf(series, sizeof series, "slowest question%s, p95", when);
    print(series, round, slowest_us / 1e3, "ms", true);
}

static struct bench_samples *new_samples(void)
{
    struct bench_samples *samples = calloc(questions_count, sizeof *samples);

    if (samples == NULL) {
        bench_fail("out of memory");
    }
    return samples;
}

static void measure_questions(const char *path, long round)
{
    struct bench_samples *samples = new_samples();
    struct asked whom = {0};
    struct error err = {0};

    must(store_open(path, STORE_READ, &whom.store, &err), &err);
    for (size_t which = 0; which < questions_count; which++) {
        for (long i = 0; i < asks; i++) {
            ask(&whom, which, i * 7919, samples);
        }
    }
    store_close(whom.store);
    print_asked(samples, "", round);
    free(samples);
}

/* ---- load ------------------------------------------------------------------------------------ */

static void *run_asker(void *argument)
{
    struct asker *asker = argument;
    struct asked whom = {.url = asker->url};
    struct error err = {0};

    if (whom.url != NULL) {
        whom.http = bare_http_new();
    } else {
        must(store_open(asker->path, STORE_READ, &whom.store, &err), &err);
    }
    for (long i = 0; !atomic_load(asker->ends); i++) {
        ask(&whom, (size_t)(i + asker->number) % questions_count, i * 7919 + asker->number,
            asker->samples);
    }
    if (whom.http != NULL) {
        bare_http_free(whom.http);
    }
    store_close(whom.store);
    return NULL;
}

/* Records that are sent: number i of them is record_count + first + i. */
struct traffic {
    struct redis_conn *conn;
    redisContext *bare;
    struct queue queue;
    long first;
    int64_t begin_ms;
    char last_event[32];
    long stood;
    struct bench_samples late;
    struct store *store;
    struct bench_samples stale;
};

static void send(struct traffic *traffic, long from, long count)
{
    struct queue_item items[CALL];
    struct queue_answer answers[CALL];
    struct strbuf bodies[CALL] = {0};
    struct execution *sent = made;
    struct error err = {0};

    executions.now_ms = clock_unix_ms();
    for (long i = 0; i < count; i++) {
        execution_make(&sent[i], &executions, record_count + traffic->first + from + i);
        bodies_encode_record(&sent[i].part.body, &bodies[i]);
        items[i] = (struct queue_item){
            sent[i].part.job_id, sent[i].part.domain, {"", 0}, {bodies[i].data, bodies[i].bytes}};
    }
    must(queue_enqueue(traffic->conn,
                       &(struct queue_items){&traffic->queue, 0, items, (size_t)count}, answers,
                       &err),
         &err);
    for (long i = 0; i < count; i++) {
        strbuf_free(&bodies[i]);
    }
}

static int64_t due_ms(const struct traffic *traffic, long i)
{
    return traffic->begin_ms + i * 1000 / rate;
}

/* An entry's id is Redis' time when the record stood; its job's last digits say which it was. */
static void read_event(struct traffic *traffic, const redisReply *entry)
{
    const redisReply *fields = entry->element[1];

    snprintf(traffic->last_event, sizeof traffic->last_event, "%s", entry->element[0]->str);
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        if (strcmp(fields->element[i]->str, "job_id") == 0) {
            const char *job = fields->element[i + 1]->str;
            const long number =
                strtol(strrchr(job, '-') + 1, NULL, 10) - record_count - traffic->first;
            bench_add(&traffic->late, 1e3 * (double)(strtoll(traffic->last_event, NULL, 10) -
                                                     due_ms(traffic, number)));
            traffic->stood++;
        }
    }
}

static void read_events(struct traffic *traffic)
{
    redisReply *reply = bare_command(traffic->bare, "XREAD COUNT 5000 STREAMS %s:events %s",
                                     traffic->queue.base, traffic->last_event);

    if (reply->type == REDIS_REPLY_ARRAY) {
        const redisReply *entries = reply->element[0]->element[1];
        for (size_t i = 0; i < entries->elements; i++) {
            read_event(traffic, entries->element[i]);
        }
    }
    freeReplyObject(reply);
}

static void look(struct traffic *traffic)
{
    struct store_state state;
    struct error err = {0};

    must(store_look(traffic->store, &state, &err), &err);
    bench_add(&traffic->stale, state.oldest_dirty_ms == 0
                                   ? 0
                                   : 1e3 * (double)(clock_unix_ms() - state.oldest_dirty_ms));
}

/* At a steady rate, whatever comes of them. */
static void send_all(struct traffic *traffic)
{
    const long total = rate * seconds;
    int64_t look_ms = 0;
    long sent = 0;

    traffic->begin_ms = clock_unix_ms();
    while (traffic->stood < total) {
        const int64_t now_ms = clock_unix_ms();
        long due = (now_ms - traffic->begin_ms) * rate / 1000 + 1;
        due = due < total ? due : total;
        while (sent < due) {
            const long count = due - sent < CALL ? due - sent : CALL;
            send(traffic, sent, count);
            sent += count;
        }
        if (now_ms >= look_ms) {
            read_events(traffic);
            if (sent < total) {
                look(traffic);
            }
            look_ms = now_ms + LOOK_MS;
        }
        if (now_ms > due_ms(traffic, total) + WAIT_MS) {
            bench_fail("%ld of %ld records stand", traffic->stood, total);
        }
        clock_sleep_ms(TICK_MS);
    }
}

static void print_traffic(struct traffic *traffic, const char *when, long round, bool checked)
{
    static const double quantiles[] = {.5, .95, .99};
    char series[120];

    for (size_t i = 0; i < sizeof quantiles / sizeof quantiles[0]; i++) {
        snprintf(series, sizeof series, "record, due to standing%s, p%.0f", when,
                 100 * quantiles[i]);
        print(series, round, bench_quantile(&traffic->late, quantiles[i]) / 1e3, "ms", checked);
    }
    snprintf(series, sizeof series, "age of the oldest stale figure%s, p95", when);
    print(series, round, bench_quantile(&traffic->stale, .95) / 1e6, "s", checked);
    bench_reset(&traffic->late);
    bench_reset(&traffic->stale);
}

static void add_all(struct bench_samples *to, const struct bench_samples *from)
{
    for (size_t i = 0; i < from->count; i++) {
        bench_add(to, from->us[i]);
    }
}

/* `url` NULL: the store is asked. */
static void ask_meanwhile(struct traffic *traffic, const char *path, const char *url,
                          struct bench_samples *samples)
{
    struct asker askers[ASKERS_MAX];
    atomic_bool ends = false;

    for (long i = 0; i < asker_count; i++) {
        askers[i] = (struct asker){
            .path = path, .url = url, .number = i, .ends = &ends, .samples = new_samples()};
        if (pthread_create(&askers[i].thread, NULL, run_asker, &askers[i]) != 0) {
            bench_fail("no thread");
        }
    }
    send_all(traffic);
    atomic_store(&ends, true);
    for (long i = 0; i < asker_count; i++) {
        pthread_join(askers[i].thread, NULL);
        for (size_t k = 0; k < questions_count; k++) {
            add_all(&samples[k], &askers[i].samples[k]);
            bench_reset(&askers[i].samples[k]);
        }
        free(askers[i].samples);
    }
}

static void measure_load(const char *path, bool over_http, long round)
{
    char endpoint[40];
    char url[60];
    char when[80];
    const char *const flags[] = {RECORDER, path, over_http ? "--http" : NULL, endpoint, NULL};
    struct drain drain = {.redis = &redis, .flags = flags, .workers = 1};
    struct traffic traffic = {.conn = bench_connect(&redis),
                              .bare = bare_connect(&redis),
                              .first = sent_count,
                              .last_event = "0"};
    struct bench_samples *samples = new_samples();
    struct error err = {0};
    pid_t worker = 0;

    snprintf(endpoint, sizeof endpoint, "127.0.0.1:%d", test_free_port());
    snprintf(url, sizeof url, "http://%s", endpoint);
    snprintf(when, sizeof when, ", %ld at once%s, %ld records/s", asker_count,
             over_http ? " over HTTP" : "", rate);
    bare_run(traffic.bare, "FLUSHALL SYNC");
    must(queue_init(&traffic.queue, "sh", "record", &err), &err);
    drain_start_workers(&drain, traffic.bare, &worker);
    must(store_open(path, STORE_READ, &traffic.store, &err), &err);
    ask_meanwhile(&traffic, path, over_http ? url : NULL, samples);
    store_close(traffic.store);
    bench_worker_stop(worker);
    sent_count += rate * seconds;
    const struct queue_stats stats = bench_stats(traffic.conn, &traffic.queue);
    const bool checked = stats.counters[QUEUE_DONE] == rate * seconds &&
                         executions_in(path) == record_count + sent_count;
    print_asked(samples, when, round);
    print_traffic(&traffic, when, round, checked);
    free(samples);
    redisFree(traffic.bare);
    redis_conn_free(traffic.conn);
}

/* ---- drain ----------------------------------------------------------------------------------- */

static void fill(void *context)
{
    for (long at = 0; at < drain_count; at += CALL) {
        send(context, at, drain_count - at < CALL ? drain_count - at : CALL);
    }
}

static void measure_drain(const char *path, long workers, long round)
{
    const char *const flags[] = {RECORDER, path, NULL};
    struct traffic traffic = {.conn = bench_connect(&redis), .first = sent_count};
    struct error err = {0};
    char series[60];

    must(queue_init(&traffic.queue, "sh", "record", &err), &err);
    struct drain drain = {.redis = &redis,
                          .flags = flags,
                          .queue = &traffic.queue,
                          .workers = workers,
                          .jobs = drain_count,
                          .fill = fill,
                          .context = &traffic};
    drain_run(&drain);
    redis_conn_free(traffic.conn);
    sent_count += drain_count;
    const bool checked = drain.checked && executions_in(path) == record_count + sent_count;
    snprintf(series, sizeof series, "recorder, %ld worker%s", workers, workers == 1 ? "" : "s");
    print(series, round, (double)drain_count / drain.seconds, "records/s", checked);
    if (workers == 1) {
        print("recorder CPU a 1,000 records", round, drain.worker_cpu_s * 1e6 / (double)drain_count,
              "ms", checked);
        print("recorder, resident, loaded", round, (double)drain.worker_peak_kib / 1024, "MiB",
              checked);
    }
}

/* As many as a drain has. */
static void measure_bare(struct bare_learn *bare, long round)
{
    const long first = record_count + sent_count;
    int64_t bare_ns = 0;
    for (long at = 0; at < drain_count;) {
        const size_t count = make_batch(first + at, first + drain_count);
        const int64_t begin_ns = clock_now_ns();
        bare_learn_put(bare, parts, count);
        bare_ns += clock_now_ns() - begin_ns;
        at += (long)count;
    }
    print("bare upserts, behind those", round, (double)drain_count * 1e9 / (double)bare_ns,
          "records/s", true);
}

/* ---- rounds ---------------------------------------------------------------------------------- */

static void measure(const char *folder, long round)
{
    char path[TEST_POSTGRES_URL];
    char bare_path[300];
    char name[40];
    struct bare_learn *bare = NULL;
    struct store *empty = NULL;
    struct error err = {0};

    if (on_server) {
        snprintf(name, sizeof name, "learn_%ld", round);
        test_postgres_database(&server, name, path);
    } else {
        snprintf(path, sizeof path, "%s/learn-%ld.db", folder, round);
    }
    snprintf(bare_path, sizeof bare_path, "%s/bare-%ld.db", folder, round);
    sent_count = 0;
    executions = (struct executions){record_count, days, domains, clock_unix_ms()};
    if (with_bare && !on_server) {
        must(store_open(bare_path, STORE_WRITE, &empty, &err), &err); /* the same tables */
        store_close(empty);
        bare = bare_learn_open(bare_path);
    }
    measure_put(path, bare, round);
    measure_views(path, round);
    measure_questions(path, round);
    if (rate > 0 && seconds > 0) {
        measure_load(path, false, round);
        measure_load(path, true, round);
    }
    for (size_t i = 0; drain_count > 0 && i < drain_workers.count; i++) {
        measure_drain(path, drain_workers.values[i], round);
    }
    if (bare != NULL) {
        measure_bare(bare, round);
        bare_learn_close(bare);
    }
}

int main(int argc, char **argv)
{
    const struct flag flags[] = {
        {"--records", FLAG_NUMBER, &record_count, "executions that are put"},
        {"--days", FLAG_NUMBER, &days, "that they are spread over"},
        {"--domains", FLAG_NUMBER, &domains, "that they are of"},
        {"--batch", FLAG_NUMBER, &batch, "records a transaction, up to 1024"},
        {"--bare", FLAG_NUMBER, &with_bare, "0: no bare upserts beside them"},
        {"--asks", FLAG_NUMBER, &asks, "times a question"},
        {"--rate", FLAG_NUMBER, &rate, "records a second that come in while one asks; 0: none"},
        {"--seconds", FLAG_NUMBER, &seconds, "for how long"},
        {"--askers", FLAG_NUMBER, &asker_count, "that ask at once, up to 16"},
        {"--drain", FLAG_NUMBER, &drain_count, "records that workers drain; 0: none"},
        {"--workers", FLAG_LIST, &drain_workers, "that drain them at once"},
        {"--postgres", FLAG_NUMBER, &on_server, "1: on a server, not in a file"},
        {"--rounds", FLAG_NUMBER, &rounds, "rounds"},
        {"--round", FLAG_NUMBER, &first_round, "number of the first round"},
        {"--group", FLAG_TEXT, &group, "name of the group in the figures"},
    };
    char folder[200];

    flags_parse(argc, argv, "The learning store, its questions and its recorder.", flags,
                sizeof flags / sizeof flags[0]);
    if (batch < 1 || batch > BATCH_MAX || record_count < 1 || days < 1 || domains < 1 ||
        asker_count > ASKERS_MAX) {
        bench_fail("--batch: expected 1 to %d; --askers: up to %d; --records, --days, --domains: 1 "
                   "or more",
                   BATCH_MAX, ASKERS_MAX);
    }
    if (on_server && !test_postgres_start(&server, true)) {
        return BENCH_SKIPPED;
    }
    test_folder_make(folder, sizeof folder);
    test_redis_start(&redis, NULL);
    for (long round = first_round; round < first_round + rounds; round++) {
        measure(folder, round);
    }
    test_server_stop(&redis);
    test_folder_remove(folder);
    test_postgres_stop(&server);
    return 0;
}
