/* How soon does a job run, and how soon is its reply there? Open loop: jobs are due at fixed times,
 * whatever became of those before; a late one counts from when it was due.
 *
 *   bare consumer   one thread: XREADGROUP ... BLOCK, and for what it brings RPUSH, PEXPIRE, XACK
 *                   and XDEL in one pipeline together with the next read.
 *   echo            a whole fleet of this build in this process, so that one clock serves all: this
 *                   program has a handler of its own for "echo", which notes when it begins and
 *                   then returns the body as the real one does.
 *
 * Both are asked the same way: whoever wants the reply waits for it with BLMOVE, on a connection of
 * its own, in the order of the jobs.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "bare.h"
#include "base/clock.h"
#include "base/log.h"
#include "flags.h"
#include "http/client.h"
#include "process/fleet.h"
#include "queue/enqueue.h"
#include "queue/operate.h"
#include "support.h"

enum { HEAD_BYTES = 5, INDEX_BYTES = 12, READ_COUNT = 64, BATCH_MAX = 1000, END_MS = 10000 };

static const char bare_stream[] = "bare:{bench}:jobs";
static const char bare_reply[] = "bare:{bench}:reply";
static const char fleet_reply[] = "sh:{echo}:reply";

static long rounds = 1;
static long first_round = 0;
static struct flag_list rates = {{200, 1000}, 2};
static long seconds = 5;
static long body_bytes = 200;
static long lanes = 4;
static const char *append = "off";
static const char *group = "latency";

/* What happened to each job of the run; written by one thread each. */
struct moment {
    int64_t sent_ns; /* when it was due, or, where the sender was woken late, when that was */
    _Atomic int64_t started_ns;
    int64_t replied_ns;
    atomic_int starts;
};

static struct test_server redis;
static redisContext *bare;
static struct redis_conn *conn;
static struct queue queue;
static struct bare_jobs jobs;
static struct moment *moments;

static void note_start(const char *body, size_t bytes)
{
    const int64_t now_ns = clock_now_ns();
    char digits[INDEX_BYTES + 1] = {0};

    if (bytes < HEAD_BYTES + INDEX_BYTES) {
        bench_fail("a body of %zu bytes", bytes);
    }
    memcpy(digits, body + HEAD_BYTES, INDEX_BYTES);
    struct moment *moment = &moments[strtol(digits, NULL, 10)];
    atomic_store(&moment->started_ns, now_ns);
    atomic_fetch_add(&moment->starts, 1);
}

/* ---- who works: our fleet, with this handler ----------------------------------------------------
 */

static void echo_process(struct context *ctx, struct task *tasks, size_t count)
{
    (void)ctx;
    for (size_t i = 0; i < count; i++) {
        note_start(tasks[i].job->body.data, tasks[i].job->body.bytes);
        tasks[i].verdict = VERDICT_DONE;
        tasks[i].reply = tasks[i].job->body;
    }
}

const struct handler handler_echo = {.process = echo_process};

/* ---- who works: the bare consumer ---------------------------------------------------------------
 */

static void append_end(redisContext *context, const redisReply *entry)
{
    const char *id = entry->element[0]->str;
    const redisReply *fields = entry->element[1];
    char key[sizeof bare_reply + BARE_ID_BYTES + 1];

    snprintf(key, sizeof key, "%s:%.*s", bare_reply, BARE_ID_BYTES, fields->element[1]->str);
    redisAppendCommand(context, "RPUSH %s %b", key, fields->element[9]->str,
                       (size_t)fields->element[9]->len);
    redisAppendCommand(context, "PEXPIRE %s 300000", key);
    redisAppendCommand(context, "XACK %s fleet %s", bare_stream, id);
    redisAppendCommand(context, "XDEL %s %s", bare_stream, id);
}

static void *consume(void *argument)
{
    atomic_bool *stopping = argument;
    redisContext *context = bare_connect(&redis);

    redisReply *held = NULL;
    while (!atomic_load(stopping)) {
        const redisReply *entries =
            held != NULL && held->type == REDIS_REPLY_ARRAY ? held->element[0]->element[1] : NULL;
        const size_t count = entries != NULL ? entries->elements : 0;
        for (size_t i = 0; i < count; i++) {
            const redisReply *body = entries->element[i]->element[1]->element[9];
            note_start(body->str, (size_t)body->len);
        }
        for (size_t i = 0; i < count; i++) {
            append_end(context, entries->element[i]);
        }
        redisAppendCommand(context, "XREADGROUP GROUP fleet c COUNT %d BLOCK 200 STREAMS %s >",
                           READ_COUNT, bare_stream);
        bare_collect_many(context, 4 * (long)count);
        freeReplyObject(held);
        held = bare_collect(context);
    }
    freeReplyObject(held);
    redisFree(context);
    return NULL;
}

/* ---- who asks ------------------------------------------------------------------------------- */

struct asker {
    const char *prefix; /* of the reply lists */
    long count;
};

static void *ask(void *argument)
{
    const struct asker *asker = argument;
    redisContext *context = bare_connect(&redis);

    for (long i = 0; i < asker->count; i++) {
        redisReply *reply = bare_command(context, "BLMOVE %s:%s %s:%s LEFT LEFT 10", asker->prefix,
                                         jobs.ids[i], asker->prefix, jobs.ids[i]);
        if (reply->type != REDIS_REPLY_STRING) {
            bench_fail("no reply for job %ld", i);
        }
        moments[i].replied_ns = clock_now_ns();
        freeReplyObject(reply);
    }
    redisFree(context);
    return NULL;
}

static void send_job(bool ours, long i, char *body)
{
    char digits[INDEX_BYTES + 1];

    snprintf(digits, sizeof digits, "%0*ld", INDEX_BYTES, i);
    memcpy(body + HEAD_BYTES, digits, INDEX_BYTES);
    if (!ours) {
        bare_append_job(bare, bare_stream, &jobs, i);
        bare_collect_many(bare, 1);
        return;
    }
    const struct queue_item item = {
        {jobs.ids[i], BARE_ID_BYTES}, {"bench", 5}, {"reply=1", 7}, jobs.body};
    struct queue_answer answer;
    struct error err = {0};
    if (queue_enqueue(conn, &(struct queue_items){&queue, 0, &item, 1}, &answer, &err) !=
        STATUS_OK) {
        bench_fail("enqueue: %s", err.text);
    }
}

/* Returns the time from which the job counts. */
static int64_t wait_until(int64_t due_ns)
{
    const struct timespec due = {.tv_sec = due_ns / 1000000000, .tv_nsec = due_ns % 1000000000};

    if (clock_now_ns() >= due_ns) {
        return due_ns;
    }
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &due, NULL) != 0) {
    }
    return clock_now_ns();
}

static void send_all(bool ours, long rate, long count)
{
    const int64_t step_ns = 1000000000 / rate;
    const int64_t first_ns = clock_now_ns() + step_ns;
    char *body = (char *)(uintptr_t)jobs.body.data;

    for (long i = 0; i < count; i++) {
        moments[i].sent_ns = wait_until(first_ns + i * step_ns);
        send_job(ours, i, body);
    }
}

/* ---- one run ----------------------------------------------------------------------------------
 */

static void run_bare(long rate, long count)
{
    pthread_t consumer;
    pthread_t asking;
    atomic_bool stopping = false;
    struct asker asker = {bare_reply, count};

    bare_run(bare, "XGROUP CREATE %s fleet 0 MKSTREAM", bare_stream);
    if (pthread_create(&consumer, NULL, consume, &stopping) != 0 ||
        pthread_create(&asking, NULL, ask, &asker) != 0) {
        bench_fail("no thread");
    }
    send_all(false, rate, count);
    pthread_join(asking, NULL);
    atomic_store(&stopping, true);
    pthread_join(consumer, NULL);
}

static void run_fleet(long rate, long count)
{
    static struct settings settings;
    static struct fleet *fleet;
    struct asker asker = {fleet_reply, count};
    struct error err = {0};
    struct metrics *metrics = metrics_new();
    pthread_t asking;

    settings_defaults(&settings);
    snprintf(settings.redis_url, sizeof settings.redis_url, "%s", redis.url);
    settings.lanes = lanes;
    if (metrics == NULL || settings_finish(&settings, &err) != STATUS_OK ||
        fleet_start(&settings, metrics, &fleet, &err) != STATUS_OK) {
        bench_fail("fleet: %s", err.text);
    }
    while (bare_info(bare, "clients", "blocked_clients") == 0) {
        clock_sleep_ms(5);
    }
    if (pthread_create(&asking, NULL, ask, &asker) != 0) {
        bench_fail("no thread");
    }
    send_all(true, rate, count);
    pthread_join(asking, NULL);
    fleet_stop(fleet, FLEET_DRAIN);
    if (!fleet_wait(fleet, END_MS)) {
        bench_fail("the lanes do not end within %d ms", END_MS);
    }
    fleet_free(fleet);
    metrics_free(metrics);
}

static bool is_checked(bool ours, long count)
{
    for (long i = 0; i < count; i++) {
        if (atomic_load(&moments[i].starts) != 1 || moments[i].replied_ns == 0) {
            return false;
        }
    }
    return ours ? bench_stats(conn, &queue).counters[QUEUE_DONE] == count
                : bare_number(bare, "XLEN %s", bare_stream) == 0;
}

static void report(bool ours, const char *what, long rate, long round, double q,
                   struct bench_samples *samples, bool checked)
{
    char series[64];
    char variant[96];
    const char *who = ours ? "echo" : "bare consumer";

    snprintf(series, sizeof series, "%s, enqueue to %s, p%g", who, what, q * 100);
    snprintf(variant, sizeof variant, "%s, %ld/s", series, rate);
    const struct bench_figure figure = {
        group,  series, variant, round, bench_quantile(samples, q), "us", (long)samples->count,
        checked};
    bench_print(&figure,
                "\"rate\": %ld, \"quantile\": %g, \"who\": \"%s\", \"what\": \"%s\", "
                "\"body\": %ld, \"append\": \"%s\"",
                rate, q, who, what, body_bytes, append);
}

static void measure(bool ours, long rate, long round)
{
    const long warm = rate / 5 + 1;
    const long count = warm + rate * seconds;
    struct bench_samples starts = {0};
    struct bench_samples replies = {0};

    bare_run(bare, "FLUSHALL SYNC");
    memset(moments, 0, (size_t)count * sizeof *moments);
    (ours ? run_fleet : run_bare)(rate, count);

    for (long i = warm; i < count; i++) {
        bench_add(&starts,
                  (double)(atomic_load(&moments[i].started_ns) - moments[i].sent_ns) / 1e3);
        bench_add(&replies, (double)(moments[i].replied_ns - moments[i].sent_ns) / 1e3);
    }
    const bool checked = is_checked(ours, count);
    report(ours, "start", rate, round, 0.5, &starts, checked);
    report(ours, "start", rate, round, 0.99, &starts, checked);
    report(ours, "reply", rate, round, 0.5, &replies, checked);
    report(ours, "reply", rate, round, 0.99, &replies, checked);
    free(starts.us);
    free(replies.us);
}

static void prepare(void)
{
    struct error err = {0};
    long most = 0;

    for (size_t i = 0; i < rates.count; i++) {
        const long count = rates.values[i] * (seconds + 1) + 2;
        most = count > most ? count : most;
        if (rates.values[i] < 1) {
            bench_fail("rate 0");
        }
    }
    prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
    log_set_level(LOG_ERROR);
    bench_redis_start(&redis, append);
    bare = bare_connect(&redis);
    conn = bench_connect(&redis);
    if (queue_init(&queue, "sh", "echo", &err) != STATUS_OK ||
        http_global_init(&err) != STATUS_OK) {
        bench_fail("%s", err.text);
    }
    bare_jobs_make(&jobs, 1, most, bare_make_body((size_t)body_bytes));
    moments = calloc((size_t)most + 1, sizeof *moments);
    if (moments == NULL) {
        bench_fail("out of memory");
    }
}

int main(int argc, char **argv)
{
    const struct flag flags[] = {
        {"--group", FLAG_TEXT, &group, "name of the group in the output"},
        {"--rounds", FLAG_NUMBER, &rounds, "how often all is measured"},
        {"--round", FLAG_NUMBER, &first_round, "number of the first round"},
        {"--rates", FLAG_LIST, &rates, "jobs a second"},
        {"--seconds", FLAG_NUMBER, &seconds, "of each measurement"},
        {"--body", FLAG_NUMBER, &body_bytes, "bytes of a body, at least 32"},
        {"--lanes", FLAG_NUMBER, &lanes, "threads of the fleet"},
        {"--append", FLAG_TEXT, &append, "append-only file: off, no, everysec, always"},
    };

    flags_parse(argc, argv, "Latency at fixed rates: a bare blocking consumer, a fleet.", flags,
                sizeof flags / sizeof flags[0]);
    prepare();
    for (long round = first_round; round < first_round + rounds; round++) {
        for (size_t r = 0; r < rates.count; r++) {
            for (size_t i = 0; i < 2; i++) {
                measure(bench_turn(round, i, 2) == 1, rates.values[r], round);
            }
        }
    }
    free((char *)(uintptr_t)jobs.body.data);
    bare_jobs_free(&jobs);
    free(moments);
    redis_conn_free(conn);
    redisFree(bare);
    test_server_stop(&redis);
    return 0;
}
