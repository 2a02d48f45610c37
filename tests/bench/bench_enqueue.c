/* How near to bare Redis is enqueueing? Each variant writes the very same entries, those of a
 * distillation, into an empty stream; within a round all of them run once, in another order.
 *
 *   in bulk, one pipeline a time   bare: D times XADD, then D replies, again. Ours: D jobs in calls
 *                                  of sh_enqueue with up to 250 each, then their replies.
 *   in bulk, three in flight       the same with three such windows under way. Ours is the
 * library's
 *                                  ..._many, which encodes the jobs too.
 *   one at a time                  a round trip a job: bare XADD, stillhouse_enqueue_raw.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bare.h"
#include "base/clock.h"
#include "flags.h"
#include "jobs/bodies.h"
#include "queue/enqueue.h"
#include "stillhouse.h"
#include "support.h"

enum { DEPTH_MAX = 1000, CALL_JOBS = 250, WINDOWS = 3, WARM = 100 };

enum method { BARE, FUNCTION, BARE_WINDOWS, LIBRARY_MANY, BARE_SINGLE, LIBRARY_SINGLE, METHODS };

static const char *const names[METHODS] = {
    "bare XADD",
    "sh_enqueue",
    "bare XADD, 3 windows in flight",
    "stillhouse_enqueue_distill_many",
    "bare XADD, one at a time",
    "stillhouse_enqueue_raw",
};

static long rounds = 1;
static long first_round = 0;
static long jobs_bulk = 100000;
static long jobs_single = 20000;
static long body_bytes = 200;
static struct flag_list depths = {{1000}, 1};
static const char *append = "off";
static const char *group = "enqueue";

static struct test_server redis;
static redisContext *bare;
static struct redis_conn *conn;
static stillhouse_client *client;
static struct queue queue;
static struct bare_jobs jobs;
static stillhouse_experience *experiences;

/* ---- what is written ----------------------------------------------------------------------- */

static void encode(const stillhouse_experience *experience, struct strbuf *out)
{
    const struct distill_body body = {
        .task_id = {experience->task_id, strlen(experience->task_id)},
        .prompt = {experience->prompt, strlen(experience->prompt)},
        .result = {experience->result, strlen(experience->result)},
        .success.value = true,
        .quality = {experience->quality, true},
    };

    strbuf_reset(out);
    bodies_encode_distill(&body, out);
}

/* One experience, as often as wanted, whose body has the wanted size. */
static void make_jobs(void)
{
    static struct strbuf body;
    static stillhouse_experience one = {.domain = "bench",
                                        .task_id = "task-00000001",
                                        .prompt = "notice period for tenants",
                                        .success = true,
                                        .quality = 0.9};
    char *result = malloc((size_t)body_bytes + 1);
    const long count = jobs_bulk > jobs_single ? jobs_bulk : jobs_single;

    experiences = calloc((size_t)count, sizeof *experiences);
    if (result == NULL || experiences == NULL) {
        bench_fail("out of memory");
    }
    memset(result, 'x', (size_t)body_bytes);
    result[body_bytes] = '\0';
    one.result = result;
    encode(&one, &body);
    const size_t over = body.bytes - (size_t)body_bytes;
    result[(size_t)body_bytes > over ? (size_t)body_bytes - over : 1] = '\0';
    encode(&one, &body);
    for (long i = 0; i < count; i++) {
        experiences[i] = one;
    }
    bare_jobs_make(&jobs, 1, count, (struct slice){body.data, body.bytes});
}

/* ---- the ways to write it -------------------------------------------------------------------- */

static void append_window(long from, long depth)
{
    for (long i = 0; i < depth; i++) {
        bare_append_job(bare, queue.stream[JOB_NORMAL], &jobs, from + i);
    }
    int done = 0;
    while (done == 0) { /* on its way at once: hiredis would wait until a reply is asked for */
        if (redisBufferWrite(bare, &done) != REDIS_OK) {
            bench_fail("redis: %s", bare->errstr);
        }
    }
}

static long window(long at, long count, long depth)
{
    return count - at < depth ? count - at : depth;
}

static void run_bare(long count, long depth, long windows)
{
    long sent = 0;

    for (long taken = 0; taken < count; taken += depth) {
        while (sent < count && sent < taken + windows * depth) {
            append_window(sent, window(sent, count, depth));
            sent += depth;
        }
        bare_collect_many(bare, window(taken, count, depth));
    }
}

static void run_function(long count, long depth)
{
    static struct queue_item items[DEPTH_MAX];
    static struct queue_answer answers[DEPTH_MAX];
    struct error err = {0};

    for (long at = 0; at < count; at += depth) {
        const long n = window(at, count, depth);
        for (long i = 0; i < n; i++) {
            items[i] = (struct queue_item){
                {jobs.ids[at + i], BARE_ID_BYTES}, {"bench", 5}, {"", 0}, jobs.body};
        }
        enum status status = STATUS_OK;
        for (long i = 0; i < n && status == STATUS_OK; i += CALL_JOBS) {
            status = queue_enqueue_append(conn,
                                          &(struct queue_items){&queue, 2 * count, items + i,
                                                                (size_t)window(i, n, CALL_JOBS)},
                                          &err);
        }
        for (long i = 0; i < n && status == STATUS_OK; i += CALL_JOBS) {
            status =
                queue_enqueue_collect(conn, (size_t)window(i, n, CALL_JOBS), answers + i, &err);
        }
        if (status != STATUS_OK) {
            bench_fail("enqueue: %s", err.text);
        }
    }
}

static void run_many(long count)
{
    if (stillhouse_enqueue_distill_many(client, experiences, (size_t)count, NULL, NULL, NULL) !=
        STILLHOUSE_OK) {
        bench_fail("enqueue: %s", stillhouse_error(client));
    }
}

static void run_single(long count)
{
    for (long i = 0; i < count; i++) {
        if (stillhouse_enqueue_raw(client, "distill", "bench", jobs.body.data, jobs.body.bytes,
                                   NULL, NULL) != STILLHOUSE_OK) {
            bench_fail("enqueue: %s", stillhouse_error(client));
        }
    }
}

static void run(enum method method, long count, long depth)
{
    switch (method) {
    case BARE:
    case BARE_SINGLE:
        run_bare(count, depth, 1);
        break;
    case BARE_WINDOWS:
        run_bare(count, depth, WINDOWS);
        break;
    case FUNCTION:
        run_function(count, depth);
        break;
    case LIBRARY_MANY:
        run_many(count);
        break;
    case LIBRARY_SINGLE:
        run_single(count);
        break;
    case METHODS:
        break;
    }
}

/* ---- one measurement ----------------------------------------------------------------------- */

/* True when the first and the last entry are, but for the id, what every method shall write. */
static bool is_same_entry(const char *command)
{
    static const char *const expected[] = {"id", NULL,      "domain", "bench", "attempt",
                                           "0",  "options", "",       "body"};
    redisReply *reply = bare_command(bare, command, queue.stream[JOB_NORMAL]);
    const redisReply *fields = reply->elements == 1 ? reply->element[0]->element[1] : NULL;
    bool same = fields != NULL && fields->elements == 10 &&
                fields->element[1]->len == BARE_ID_BYTES &&
                (size_t)fields->element[9]->len == jobs.body.bytes &&
                memcmp(fields->element[9]->str, jobs.body.data, jobs.body.bytes) == 0;

    for (size_t i = 0; same && i < sizeof expected / sizeof expected[0]; i++) {
        same = expected[i] == NULL || strcmp(expected[i], fields->element[i]->str) == 0;
    }
    freeReplyObject(reply);
    return same;
}

static void measure(enum method method, long depth, long round)
{
    char variant[96];
    const bool single = method == BARE_SINGLE || method == LIBRARY_SINGLE;
    const long count = single ? jobs_single : jobs_bulk;

    bare_run(bare, "FLUSHALL SYNC");
    const double server_before = bench_cpu_seconds(redis.pid);
    const int64_t start_ns = clock_now_ns();
    run(method, count, depth);
    const double seconds = (double)(clock_now_ns() - start_ns) / 1e9;
    const double server = bench_cpu_seconds(redis.pid) - server_before;

    const bool checked = bare_number(bare, "XLEN %s", queue.stream[JOB_NORMAL]) == count &&
                         is_same_entry("XRANGE %s - + COUNT 1") &&
                         is_same_entry("XREVRANGE %s + - COUNT 1");
    snprintf(variant, sizeof variant, single ? "%s" : "%s, depth %ld", names[method], depth);
    const struct bench_figure figure = {
        group, names[method], variant, round, (double)count / seconds, "jobs/s", count, checked};
    bench_print(&figure,
                "\"depth\": %ld, \"body\": %zu, \"append\": \"%s\", \"redis_cpu_us\": %.3f", depth,
                jobs.body.bytes, append, server / (double)count * 1e6);
}

struct variant {
    enum method method;
    long depth;
};

/* Connections stand and code is there before anything counts. */
static void warm_up(void)
{
    for (int method = 0; method < METHODS; method++) {
        run((enum method)method, jobs_bulk < WARM ? jobs_bulk : WARM, 1);
    }
}

/* The library's own depth is fixed: it is measured once, next to bare windows of that depth. */
static size_t make_variants(struct variant *variants)
{
    size_t count = 0;

    for (size_t i = 0; i < depths.count; i++) {
        variants[count++] = (struct variant){BARE, depths.values[i]};
        variants[count++] = (struct variant){FUNCTION, depths.values[i]};
    }
    variants[count++] = (struct variant){BARE_WINDOWS, DEPTH_MAX};
    variants[count++] = (struct variant){LIBRARY_MANY, DEPTH_MAX};
    if (jobs_single > 0) {
        variants[count++] = (struct variant){BARE_SINGLE, 1};
        variants[count++] = (struct variant){LIBRARY_SINGLE, 1};
    }
    return count;
}

static void connect_all(void)
{
    struct error err = {0};
    const stillhouse_options options = {.size = sizeof options,
                                        .redis_url = redis.url,
                                        .cache_url = "",
                                        .max_backlog = 1000000000,
                                        .command_timeout_ms = 30000};

    bare = bare_connect(&redis);
    conn = bench_connect(&redis);
    if (queue_init(&queue, "sh", "distill", &err) != STATUS_OK ||
        stillhouse_open(&options, &client) != STILLHOUSE_OK) {
        bench_fail("open: %s%s", err.text, stillhouse_open_error());
    }
}

int main(int argc, char **argv)
{
    const struct flag flags[] = {
        {"--group", FLAG_TEXT, &group, "name of the group in the output"},
        {"--rounds", FLAG_NUMBER, &rounds, "how often all is measured"},
        {"--round", FLAG_NUMBER, &first_round, "number of the first round"},
        {"--jobs", FLAG_NUMBER, &jobs_bulk, "jobs a measurement in bulk"},
        {"--single", FLAG_NUMBER, &jobs_single, "jobs one at a time, 0 = none"},
        {"--body", FLAG_NUMBER, &body_bytes, "bytes of a body, at least 100"},
        {"--depths", FLAG_LIST, &depths, "jobs a call, at most 1000"},
        {"--append", FLAG_TEXT, &append, "append-only file: off, no, everysec, always"},
    };
    struct variant variants[2 * FLAG_LIST_MAX + 4];

    flags_parse(argc, argv, "Enqueueing: bare XADD, the function, the library.", flags,
                sizeof flags / sizeof flags[0]);
    for (size_t i = 0; i < depths.count; i++) {
        if (depths.values[i] < 1 || depths.values[i] > DEPTH_MAX) {
            bench_fail("depth %ld: expected 1 to %d", depths.values[i], DEPTH_MAX);
        }
    }
    bench_redis_start(&redis, append);
    make_jobs();
    connect_all();
    const size_t count = make_variants(variants);
    warm_up();
    for (long round = first_round; round < first_round + rounds; round++) {
        for (size_t i = 0; i < count; i++) {
            const struct variant *variant = &variants[bench_turn(round, i, count)];
            measure(variant->method, variant->depth, round);
        }
    }
    stillhouse_close(client);
    redis_conn_free(conn);
    redisFree(bare);
    bare_jobs_free(&jobs);
    free(experiences);
    test_server_stop(&redis);
    return 0;
}
