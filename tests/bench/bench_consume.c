/* How near to bare Redis is working jobs off that do nothing? Each variant empties a queue of the
 * same entries, filled before; within a round all of them run once, in another order.
 *
 *   bare consumer   C threads, each with a connection of its own; one round trip a batch of B: XACK
 *                   and XDEL of the last batch and XREADGROUP of the next one in one pipeline.
 *   echo            W workers of this build with their real flags (drain.h): the fence, the books
 *                   and the replies' keys are looked after.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "drain.h"
#include "flags.h"
#include "queue/queue.h"
#include "support.h"

enum { BATCH_MAX = 1000, STREAM_BYTES = 32 };

static const char stream[STREAM_BYTES] = "bare:{bench}:jobs";

static long rounds = 1;
static long first_round = 0;
static long job_count = 100000;
static long body_bytes = 200;
static struct flag_list batches = {{1, 16, 64, 256}, 4};
static struct flag_list consumers = {{1, 2, 4}, 3};
static struct flag_list worker_counts = {{1, 2, 4}, 3};
static struct flag_list worker_batches = {{64}, 1};
static long lanes = 4;
static const char *queues = "enrich,distill,index,echo";
static const char *append = "off";
static const char *group = "consume";

static struct test_server redis;
static redisContext *bare;
static struct redis_conn *conn;
static struct queue queue;
static struct bare_jobs jobs;

/* ---- the bare consumer ----------------------------------------------------------------------- */

struct consumer {
    pthread_t thread;
    pthread_barrier_t *barrier;
    char name[16];
    long batch;
    long acked;
    long deleted;
    int64_t ended_ns;
};

static void append_ids(redisContext *context, const redisReply *entries, bool acknowledge)
{
    const char *argv[BATCH_MAX + 3];
    size_t bytes[BATCH_MAX + 3];
    size_t count = 0;

    argv[count++] = acknowledge ? "XACK" : "XDEL";
    argv[count++] = stream;
    if (acknowledge) {
        argv[count++] = "fleet";
    }
    for (size_t i = 0; i < count; i++) {
        bytes[i] = strlen(argv[i]);
    }
    for (size_t i = 0; i < entries->elements; i++) {
        argv[count] = entries->element[i]->element[0]->str;
        bytes[count++] = (size_t)entries->element[i]->element[0]->len;
    }
    if (redisAppendCommandArgv(context, (int)count, argv, bytes) != REDIS_OK) {
        bench_fail("redis: %s", context->errstr);
    }
}

static long collect_number(redisContext *context)
{
    redisReply *reply = bare_collect(context);
    const long number = (long)reply->integer;

    freeReplyObject(reply);
    return number;
}

static void *consume(void *argument)
{
    struct consumer *self = argument;
    redisContext *context = bare_connect(&redis);
    redisReply *held = NULL;

    pthread_barrier_wait(self->barrier);
    for (;;) {
        if (held != NULL) {
            append_ids(context, held->element[0]->element[1], true);
            append_ids(context, held->element[0]->element[1], false);
        }
        redisAppendCommand(context, "XREADGROUP GROUP fleet %s COUNT %ld STREAMS %s >", self->name,
                           self->batch, stream);
        if (held != NULL) {
            self->acked += collect_number(context);
            self->deleted += collect_number(context);
            freeReplyObject(held);
        }
        held = bare_collect(context);
        if (held->type != REDIS_REPLY_ARRAY) {
            break;
        }
    }
    self->ended_ns = clock_now_ns();
    freeReplyObject(held);
    redisFree(context);
    return NULL;
}

static void run_consumers(struct consumer *all, long count, long batch, double *seconds)
{
    pthread_barrier_t barrier;
    int64_t last_ns = 0;

    pthread_barrier_init(&barrier, NULL, (unsigned)count + 1);
    for (long i = 0; i < count; i++) {
        all[i] = (struct consumer){.barrier = &barrier, .batch = batch};
        snprintf(all[i].name, sizeof all[i].name, "c%ld", i);
        if (pthread_create(&all[i].thread, NULL, consume, &all[i]) != 0) {
            bench_fail("no thread");
        }
    }
    pthread_barrier_wait(&barrier);
    const int64_t start_ns = clock_now_ns();
    for (long i = 0; i < count; i++) {
        pthread_join(all[i].thread, NULL);
        last_ns = all[i].ended_ns > last_ns ? all[i].ended_ns : last_ns;
    }
    pthread_barrier_destroy(&barrier);
    *seconds = (double)(last_ns - start_ns) / 1e9;
}

static void measure_bare(long batch, long count, long round)
{
    struct consumer all[FLAG_LIST_MAX];
    char variant[64];
    long acked = 0;
    long deleted = 0;
    double seconds = 0;

    if (batch > BATCH_MAX || count > FLAG_LIST_MAX) {
        bench_fail("batches up to %d, consumers up to %d", BATCH_MAX, FLAG_LIST_MAX);
    }
    bare_run(bare, "FLUSHALL SYNC");
    const long long empty_bytes = bare_info(bare, "memory", "used_memory");
    bare_fill(bare, stream, &jobs);
    const long long filled_bytes = bare_info(bare, "memory", "used_memory") - empty_bytes;
    const double redis_before = bench_cpu_seconds(redis.pid);
    run_consumers(all, count, batch, &seconds);
    const double redis_cpu = bench_cpu_seconds(redis.pid) - redis_before;

    for (long i = 0; i < count; i++) {
        acked += all[i].acked;
        deleted += all[i].deleted;
    }
    snprintf(variant, sizeof variant, "bare consumer, batch %ld, %ld at once", batch, count);
    const struct bench_figure figure = {group,
                                        "bare consumer",
                                        variant,
                                        round,
                                        (double)job_count / seconds,
                                        "jobs/s",
                                        job_count,
                                        acked == job_count && deleted == job_count &&
                                            bare_number(bare, "XLEN %s", stream) == 0};
    bench_print(&figure,
                "\"batch\": %ld, \"consumers\": %ld, \"body\": %ld, \"append\": \"%s\", "
                "\"redis_cpu_us\": %.3f, \"redis_bytes\": %lld",
                batch, count, body_bytes, append, redis_cpu / (double)job_count * 1e6,
                filled_bytes);
}

/* ---- the workers ----------------------------------------------------------------------------- */

static void fill(void *context)
{
    (void)context;
    bench_fill(conn, &queue, &jobs, "");
}

static void measure_workers(long batch, long count, long round)
{
    char variant[64];
    char lanes_text[24];
    char batch_text[24];

    snprintf(lanes_text, sizeof lanes_text, "%ld", lanes);
    snprintf(batch_text, sizeof batch_text, "%ld", batch);
    snprintf(variant, sizeof variant, "echo, batch %ld, %ld worker%s", batch, count,
             count > 1 ? "s" : "");
    struct drain drain = {
        .redis = &redis,
        .flags = (const char *const[]){"--queues", queues, "--lanes", lanes_text, "--batch",
                                       batch_text, NULL},
        .queue = &queue,
        .workers = count,
        .jobs = job_count,
        .fill = fill,
    };
    drain_run(&drain);
    const struct bench_figure figure = {
        group,    "echo",    variant,      round, (double)job_count / drain.seconds,
        "jobs/s", job_count, drain.checked};
    bench_print(
        &figure,
        "\"batch\": %ld, \"workers\": %ld, \"lanes\": %ld, \"body\": %ld, "
        "\"append\": \"%s\", \"worker_cpu_us\": %.3f, \"redis_cpu_us\": %.3f, "
        "\"worker_peak_kib\": %ld, \"redis_bytes\": %lld",
        batch, count, lanes, body_bytes, append, drain.worker_cpu_s / (double)job_count * 1e6,
        drain.redis_cpu_s / (double)job_count * 1e6, drain.worker_peak_kib, drain.redis_bytes);
}

struct variant {
    bool workers;
    long batch;
    long count;
};

static size_t make_variants(struct variant *variants)
{
    size_t made = 0;

    for (size_t i = 0; i < batches.count; i++) {
        for (size_t j = 0; j < consumers.count; j++) {
            variants[made++] = (struct variant){false, batches.values[i], consumers.values[j]};
        }
    }
    for (size_t i = 0; i < worker_batches.count; i++) {
        for (size_t j = 0; j < worker_counts.count; j++) {
            variants[made++] =
                (struct variant){true, worker_batches.values[i], worker_counts.values[j]};
        }
    }
    return made;
}

int main(int argc, char **argv)
{
    const struct flag flags[] = {
        {"--group", FLAG_TEXT, &group, "name of the group in the output"},
        {"--rounds", FLAG_NUMBER, &rounds, "how often all is measured"},
        {"--round", FLAG_NUMBER, &first_round, "number of the first round"},
        {"--jobs", FLAG_NUMBER, &job_count, "jobs a measurement: the backlog"},
        {"--body", FLAG_NUMBER, &body_bytes, "bytes of a body"},
        {"--batches", FLAG_LIST, &batches, "of the bare consumer"},
        {"--consumers", FLAG_LIST, &consumers, "bare ones at once"},
        {"--workers", FLAG_LIST, &worker_counts, "worker processes at once"},
        {"--batch", FLAG_LIST, &worker_batches, "of the workers' lanes"},
        {"--lanes", FLAG_NUMBER, &lanes, "threads of a worker"},
        {"--queues", FLAG_TEXT, &queues, "that the workers serve"},
        {"--append", FLAG_TEXT, &append, "append-only file: off, no, everysec, always"},
    };
    static struct variant variants[2 * FLAG_LIST_MAX * FLAG_LIST_MAX];
    struct error err = {0};

    flags_parse(argc, argv, "Working off jobs that do nothing: bare consumers, workers.", flags,
                sizeof flags / sizeof flags[0]);
    bench_redis_start(&redis, append);
    bare = bare_connect(&redis);
    conn = bench_connect(&redis);
    if (queue_init(&queue, "sh", "echo", &err) != STATUS_OK) {
        bench_fail("%s", err.text);
    }
    const struct slice body = bare_make_body((size_t)body_bytes);
    bare_jobs_make(&jobs, 1, job_count, body);
    const size_t count = make_variants(variants);
    for (long round = first_round; round < first_round + rounds; round++) {
        for (size_t i = 0; i < count; i++) {
            const struct variant *variant = &variants[bench_turn(round, i, count)];
            (variant->workers ? measure_workers : measure_bare)(variant->batch, variant->count,
                                                                round);
        }
    }
    bare_jobs_free(&jobs);
    free((char *)(uintptr_t)body.data);
    redis_conn_free(conn);
    redisFree(bare);
    test_server_stop(&redis);
    return 0;
}
