/* What does it take? Bytes a queued job, memory of a worker, time to its first job, CPU a job.
 *
 *   bytes    used_memory of Redis with JOBS jobs waiting, over that without, a job, less the
 *            body; of a bare stream with the very same entries too
 *   memory   resident, of a worker and of a recorder that wait for their first job, and the most
 *            it was while a worker emptied the queue
 *   start    from fork to the reply of a job that waited already
 *   CPU      of the worker and of Redis for 100,000 echo jobs, from the kernel's accounts
 */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "drain.h"
#include "flags.h"
#include "queue/operate.h"
#include "queue/queue.h"
#include "support.h"

enum { IDLE_MS = 1500 };

static const char bare_stream[] = "bare:{bench}:jobs";

static long rounds = 1;
static long first_round = 0;
static long job_count = 100000;
static long body_bytes = 200;
static long lanes = 4;
static long batch = 64;
static const char *append = "off";
static const char *group = "size";

static struct test_server redis;
static redisContext *bare;
static struct redis_conn *conn;
static struct queue queue;
static struct bare_jobs jobs;
static char lanes_text[24];
static char batch_text[24];
static const char *const worker_flags[] = {"--lanes", lanes_text, "--batch", batch_text, NULL};

static void print(const char *variant, long round, double value, const char *unit, long count,
                  bool checked)
{
    const struct bench_figure figure = {group, variant, variant, round,
                                        value, unit,    count,   checked};

    bench_print(&figure, "\"body\": %ld, \"lanes\": %ld, \"batch\": %ld, \"append\": \"%s\"",
                body_bytes, lanes, batch, append);
}

static long long used_memory(void)
{
    return bare_info(bare, "memory", "used_memory");
}

/* Of two used_memory figures, a job, over its body. */
static double over_body(long long before, long long after)
{
    return (double)(after - before) / (double)job_count - (double)jobs.body.bytes;
}

static void measure_bytes(long round)
{
    bare_run(bare, "FLUSHALL SYNC");
    const long long empty = used_memory();
    bare_fill(bare, bare_stream, &jobs);
    const double bare_bytes = over_body(empty, used_memory());
    print("bare stream: bytes a queued job over its body", round, bare_bytes, "B", job_count,
          bare_number(bare, "XLEN %s", bare_stream) == job_count);

    bare_run(bare, "FLUSHALL SYNC");
    const long long again = used_memory();
    bench_fill(conn, &queue, &jobs, "");
    const double ours = over_body(again, used_memory());
    print("bytes a queued job over its body", round, ours, "B", job_count,
          bench_stats(conn, &queue).waiting == job_count);
}

static void measure_start(long round)
{
    const struct bare_jobs one = {.ids = jobs.ids, .count = 1, .body = jobs.body};

    bare_run(bare, "FLUSHALL SYNC");
    bench_fill(conn, &queue, &one, "reply=1");
    const int64_t start_ns = clock_now_ns();
    const pid_t worker =
        bench_worker_start(&redis, "http://127.0.0.1:9",
                           (const char *const[]){"--http", "off", "--log-level", "error", NULL});
    redisReply *reply = bare_command(bare, "BLMOVE %s:reply:%s %s:reply:%s LEFT LEFT 10",
                                     queue.base, jobs.ids[0], queue.base, jobs.ids[0]);
    const double ms = (double)(clock_now_ns() - start_ns) / 1e6;
    const bool replied = reply->type == REDIS_REPLY_STRING;
    freeReplyObject(reply);
    bench_worker_stop(worker);
    print("start to first job", round, ms, "ms", 1,
          replied && bench_stats(conn, &queue).counters[QUEUE_DONE] == 1);
}

/* The worker is watched for a while, since what it does now and then takes memory too. */
static void measure_idle(const char *variant, const char *const *flags, long round)
{
    const struct drain drain = {.redis = &redis, .flags = flags, .queue = &queue, .workers = 1};
    const int64_t until_ms = clock_now_ms() + IDLE_MS;
    pid_t worker = 0;
    long most_kib = 0;

    bare_run(bare, "FLUSHALL SYNC");
    drain_start_workers(&drain, bare, &worker);
    while (clock_now_ms() < until_ms) {
        const long kib = bench_resident_kib(worker);
        most_kib = kib > most_kib ? kib : most_kib;
        clock_sleep_ms(50);
    }
    bench_worker_stop(worker);
    print(variant, round, (double)most_kib / 1024, "MiB", 0, true);
}

static void measure_idle_recorder(long round)
{
    char store[300];
    const char *const flags[] = {"--queues", "record", "--learn", store, NULL};

    snprintf(store, sizeof store, "%s/learn.db", redis.folder);
    measure_idle("recorder, resident, idle", flags, round);
}

static void fill(void *context)
{
    (void)context;
    bench_fill(conn, &queue, &jobs, "");
}

static void measure_load(long round)
{
    const double to_100k = 100000.0 / (double)job_count;
    struct drain drain = {.redis = &redis,
                          .flags = worker_flags,
                          .queue = &queue,
                          .workers = 1,
                          .jobs = job_count,
                          .fill = fill};

    drain_run(&drain);
    print("worker, resident, loaded", round, (double)drain.worker_peak_kib / 1024, "MiB", job_count,
          drain.checked);
    print("worker CPU a 100,000 echo jobs", round, drain.worker_cpu_s * to_100k, "s", job_count,
          drain.checked);
    print("Redis CPU a 100,000 echo jobs", round, drain.redis_cpu_s * to_100k, "s", job_count,
          drain.checked);
}

int main(int argc, char **argv)
{
    const struct flag flags[] = {
        {"--group", FLAG_TEXT, &group, "name of the group in the output"},
        {"--rounds", FLAG_NUMBER, &rounds, "how often all is measured"},
        {"--round", FLAG_NUMBER, &first_round, "number of the first round"},
        {"--jobs", FLAG_NUMBER, &job_count, "jobs in the queue"},
        {"--body", FLAG_NUMBER, &body_bytes, "bytes of a body"},
        {"--lanes", FLAG_NUMBER, &lanes, "threads of a worker"},
        {"--batch", FLAG_NUMBER, &batch, "jobs a lane takes at once"},
        {"--append", FLAG_TEXT, &append, "append-only file: off, no, everysec, always"},
    };
    struct error err = {0};

    flags_parse(argc, argv, "Bytes, memory, start, CPU.", flags, sizeof flags / sizeof flags[0]);
    snprintf(lanes_text, sizeof lanes_text, "%ld", lanes);
    snprintf(batch_text, sizeof batch_text, "%ld", batch);
    bench_redis_start(&redis, append);
    bare = bare_connect(&redis);
    conn = bench_connect(&redis);
    if (job_count < 1 || queue_init(&queue, "sh", "echo", &err) != STATUS_OK) {
        bench_fail("%ld jobs; %s", job_count, err.text);
    }
    bare_jobs_make(&jobs, 1, job_count, bare_make_body((size_t)body_bytes));
    for (long round = first_round; round < first_round + rounds; round++) {
        measure_bytes(round);
        measure_start(round);
        measure_idle("worker, resident, idle", worker_flags, round);
        measure_idle_recorder(round);
        measure_load(round);
    }
    free((char *)(uintptr_t)jobs.body.data);
    bare_jobs_free(&jobs);
    redis_conn_free(conn);
    redisFree(bare);
    test_server_stop(&redis);
    return 0;
}
