#include "reader.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "backoff.h"
#include "clock.h"
#include "log.h"

enum {
    READER_CONNECT_MS = 3000,
    READER_COMMAND_MS = 5000, /* well above READER_BLOCK_MS */
    RECLAIM_EVERY_MS = 500,
    COLD_EVERY_MS = 50,      /* how often queues without jobs are asked while others are busy */
    FAIRNESS_EVERY_MS = 200, /* how often low and normal come before high */
    BACKOFF_BASE_MS = 100,
    BACKOFF_MAX_MS = 5000,
};

struct reader_queue {
    bool hot;                        /* the last read brought jobs */
    bool stream_hot[JOB_PRIORITIES]; /* ... of this priority */
    char cursor[JOB_PRIORITIES][48]; /* of the takeover pass */
    int64_t fairness_at_ms;
    atomic_bool paused;
};

struct reader {
    struct reader_config config;
    pthread_mutex_t turn;
    struct redis_conn *conn;
    struct backoff_random random;
    int64_t failures; /* turns that failed in a row */
    int64_t reclaim_at_ms;
    int64_t cold_at_ms;
    size_t next; /* where the round over hot queues goes on */
    struct log_limit log_limit;
    atomic_bool suspect_out; /* a lane of this process works on one */
    bool prepared;           /* functions and groups are known to stand */
    struct reader_queue queues[READER_QUEUES_MAX];
    atomic_llong last_turn_ms;
    atomic_bool connected;
};

enum status reader_new(const struct reader_config *config, struct reader **out, struct error *err)
{
    struct redis_url url;
    enum status status = redis_url_parse(config->settings->redis_url, &url, err);
    if (status != STATUS_OK) {
        return status;
    }
    struct reader *reader = calloc(1, sizeof *reader);
    if (reader == NULL) {
        return error_set(err, STATUS_OOM, "no memory for the reader");
    }
    reader->config = *config;
    reader->random.state = (uint64_t)clock_now_ns();
    reader->conn =
        redis_conn_new(&url, (struct redis_timeouts){READER_CONNECT_MS, READER_COMMAND_MS});
    if (reader->conn == NULL) {
        free(reader);
        return error_set(err, STATUS_OOM, "no memory for the reader");
    }
    pthread_mutex_init(&reader->turn, NULL);
    atomic_store(&reader->last_turn_ms, clock_now_ms());
    for (size_t i = 0; i < config->queue_count; i++) {
        for (int p = 0; p < JOB_PRIORITIES; p++) {
            memcpy(reader->queues[i].cursor[p], "0-0", 4);
        }
    }
    *out = reader;
    return STATUS_OK;
}

void reader_free(struct reader *reader)
{
    if (reader != NULL) {
        redis_conn_free(reader->conn);
        pthread_mutex_destroy(&reader->turn);
        free(reader);
    }
}

void reader_set_paused(struct reader *reader, size_t queue, bool paused)
{
    atomic_store_explicit(&reader->queues[queue].paused, paused, memory_order_relaxed);
}

void reader_end_suspect(struct reader *reader)
{
    atomic_store(&reader->suspect_out, false);
}

int64_t reader_last_turn_ms(const struct reader *reader)
{
    return atomic_load_explicit(&reader->last_turn_ms, memory_order_relaxed);
}

bool reader_is_connected(const struct reader *reader)
{
    return atomic_load_explicit(&reader->connected, memory_order_relaxed);
}

void takes_reset(struct takes *takes)
{
    for (size_t i = 0; i < takes->count; i++) {
        queue_batch_reset(&takes->each[i].batch);
        takes->each[i].suspect = false;
    }
    takes->count = 0;
}

void takes_free(struct takes *takes)
{
    for (size_t i = 0; i < READER_QUEUES_MAX; i++) {
        queue_batch_free(&takes->each[i].batch);
    }
    takes->count = 0;
}

/* Enrichments go on without their upstreams (stale or empty); what writes to Chroma waits for it.
 */
static bool is_readable(struct reader *reader, size_t queue)
{
    const char *name = reader->config.queues[queue].name;
    enum metrics_queue kind = metrics_queue_of(name);

    if (atomic_load_explicit(&reader->queues[queue].paused, memory_order_relaxed)) {
        return false;
    }
    if (kind != METRICS_DISTILL && kind != METRICS_INDEX) {
        return true;
    }
    return upstreams_wait_ms(reader->config.upstreams, METRICS_CHROMA) == 0 &&
           upstreams_wait_ms(reader->config.upstreams, METRICS_EMBEDDER) == 0;
}

/* How much the takes hold, so that a reply that fails half-way leaves them as they were. */
struct mark {
    size_t count;
    size_t last_count; /* jobs in the last of them, the only one that can grow */
};

static struct mark mark_takes(const struct takes *takes)
{
    return (struct mark){takes->count,
                         takes->count > 0 ? takes->each[takes->count - 1].batch.count : 0};
}

static void return_to(struct takes *takes, struct mark mark)
{
    for (size_t i = mark.count; i < READER_QUEUES_MAX; i++) {
        takes->each[i].batch.count = 0;
    }
    takes->count = mark.count;
    if (mark.count > 0) {
        takes->each[mark.count - 1].batch.count = mark.last_count;
    }
}

/* Collects one XREADGROUP reply into the takes, queue by queue. */
static enum status collect_read(struct reader *reader, struct takes *takes, const size_t *queues,
                                size_t queue_count, struct error *err)
{
    const struct mark mark = mark_takes(takes);
    redisReply *reply = NULL;
    enum status status = redis_conn_collect(reader->conn, &reply, err);
    if (status == STATUS_OK) {
        status = redis_reply_status(reply, err);
    }
    struct queue_batch *owner = NULL;
    for (size_t i = 0; i < queue_count && status == STATUS_OK; i++) {
        struct take *take = &takes->each[takes->count];
        if (takes->count > 0 && takes->each[takes->count - 1].queue == queues[i]) {
            take = &takes->each[takes->count - 1]; /* another priority of the same queue */
        }
        size_t before = take->batch.count;
        status = queue_read_parse(&reader->config.queues[queues[i]], reply, &take->batch, err);
        reader->queues[queues[i]].hot |= take->batch.count > before;
        if (take->batch.count > before) {
            owner = &take->batch;
            take->queue = queues[i];
            takes->count = (size_t)(take - takes->each) + 1;
        }
    }
    if (owner != NULL && status == STATUS_OK) {
        status = queue_batch_own(owner, reply, err);
        reply = status == STATUS_OK ? NULL : reply;
    }
    if (status != STATUS_OK) {
        return_to(takes, mark);
    }
    freeReplyObject(reply);
    return status;
}

static enum status append_paused(struct reader *reader, size_t queue, struct error *err)
{
    struct redis_args args = {0};

    redis_args_str(&args, "EXISTS");
    redis_args_str(&args, reader->config.queues[queue].paused);
    enum status status = redis_conn_append(reader->conn, &args, err);
    redis_args_free(&args);
    return status;
}

static enum status collect_paused(struct reader *reader, size_t queue, struct error *err)
{
    redisReply *reply = NULL;
    enum status status = redis_conn_collect(reader->conn, &reply, err);

    /* What was read must not be dropped for an error here: the janitor says it. */
    if (status == STATUS_OK && reply->type == REDIS_REPLY_INTEGER) {
        reader_set_paused(reader, queue, reply->integer > 0);
    }
    freeReplyObject(reply);
    return status;
}

/* Jobs of a queue that was paused while we read go back as they came. */
static enum status hand_back_paused(struct reader *reader, const char *consumer,
                                    struct takes *takes, struct error *err)
{
    enum status status = STATUS_OK;
    size_t kept = 0;

    for (size_t i = 0; i < takes->count; i++) {
        struct take *take = &takes->each[i];
        const struct queue *queue = &reader->config.queues[take->queue];
        if (!atomic_load_explicit(&reader->queues[take->queue].paused, memory_order_relaxed)) {
            struct take swap = takes->each[kept];
            takes->each[kept++] = *take;
            *take = swap;
            continue;
        }
        const struct job **jobs = calloc(take->batch.count + 1, sizeof *jobs);
        size_t released = 0;
        for (size_t j = 0; j < take->batch.count && jobs != NULL; j++) {
            jobs[j] = &take->batch.jobs[j];
        }
        if (jobs != NULL && status == STATUS_OK) {
            status =
                queue_release(reader->conn, queue, consumer, reader->config.settings->visibility_ms,
                              true, jobs, take->batch.count, &released, err);
        }
        free(jobs);
        if (take->suspect) {
            take->suspect = false;
            reader_end_suspect(reader);
        }
    }
    /* The batches of the queues that were paused lie behind the kept ones. A reply may be owned by
     * one of them while a kept one points into it, so they are freed with the takes, not here. */
    for (size_t i = kept; i < takes->count; i++) {
        takes->each[i].batch.count = 0;
    }
    return status;
}

/* Reads one queue without blocking: its three streams in one pipeline. A stream behind one that had
 * jobs the last time is left for the next turn, so that a turn brings about one batch;
 * `upside_down` lets the patient ones go first. */
static enum status read_queue(struct reader *reader, size_t index, const char *consumer,
                              bool upside_down, struct takes *takes, struct error *err)
{
    const struct queue *queue = &reader->config.queues[index];
    struct reader_queue *state = &reader->queues[index];
    size_t count = (size_t)reader->config.settings->batch;
    int order[JOB_PRIORITIES];
    int asked = 0;
    enum status status = append_paused(reader, index, err);

    for (int i = 0; i < JOB_PRIORITIES && status == STATUS_OK; i++) {
        int priority = upside_down ? JOB_PRIORITIES - 1 - i : i;
        const char *stream = queue->stream[priority];
        size_t share = upside_down && i < JOB_PRIORITIES - 1 ? (count + 3) / 4 : count;
        status = queue_read_append(reader->conn, consumer, share, 0, &stream, 1, err);
        order[asked++] = priority;
        if (state->stream_hot[priority] && !upside_down) {
            break;
        }
    }
    if (status == STATUS_OK) {
        status = collect_paused(reader, index, err);
    }
    state->hot = false;
    for (int i = 0; i < asked && status == STATUS_OK; i++) {
        size_t before = takes->count > 0 ? takes->each[takes->count - 1].batch.count : 0;
        status = collect_read(reader, takes, &index, 1, err);
        size_t after = takes->count > 0 ? takes->each[takes->count - 1].batch.count : 0;
        state->stream_hot[order[i]] = after > before;
    }
    return status;
}

/* Whether the lower priorities of a busy queue go first this time. */
static bool is_fair_turn(struct reader *reader, size_t queue, int64_t now_ms)
{
    struct reader_queue *state = &reader->queues[queue];
    if (!state->stream_hot[JOB_HIGH] && !state->stream_hot[JOB_NORMAL]) {
        state->fairness_at_ms = now_ms + FAIRNESS_EVERY_MS;
        return false;
    }
    if (now_ms < state->fairness_at_ms) {
        return false;
    }
    state->fairness_at_ms = now_ms + FAIRNESS_EVERY_MS;
    return true;
}

static enum status read_hot(struct reader *reader, const char *consumer, struct takes *takes,
                            struct error *err)
{
    size_t count = reader->config.queue_count;
    enum status status = STATUS_OK;

    for (size_t i = 0; i < count && status == STATUS_OK && takes->count == 0; i++) {
        size_t queue = (reader->next + i) % count;
        if (reader->queues[queue].hot && is_readable(reader, queue)) {
            bool fair = is_fair_turn(reader, queue, clock_now_ms());
            status = read_queue(reader, queue, consumer, fair, takes, err);
            reader->next = queue + 1;
        }
    }
    return status;
}

/* Asks all queues at once: blocking when nothing was hot. A small COUNT, since it counts for each
 * stream. */
static enum status read_all(struct reader *reader, const char *consumer, int64_t block_ms,
                            struct takes *takes, struct error *err)
{
    const char *streams[READER_QUEUES_MAX * JOB_PRIORITIES];
    size_t queues[READER_QUEUES_MAX];
    size_t stream_count = 0;
    size_t queue_count = 0;
    size_t batch = (size_t)reader->config.settings->batch;

    for (size_t i = 0; i < reader->config.queue_count; i++) {
        if (is_readable(reader, i)) {
            queues[queue_count++] = i;
            for (int p = 0; p < JOB_PRIORITIES; p++) {
                streams[stream_count++] = reader->config.queues[i].stream[p];
            }
        }
    }
    if (queue_count == 0) {
        clock_sleep_ms(block_ms / 5);
        return STATUS_OK;
    }
    enum status status = queue_read_append(reader->conn, consumer, (batch + 3) / 4, block_ms,
                                           streams, stream_count, err);
    for (size_t i = 0; i < queue_count && status == STATUS_OK; i++) {
        status = append_paused(reader, queues[i], err);
    }
    if (status == STATUS_OK) {
        status = collect_read(reader, takes, queues, queue_count, err);
    }
    if (status != STATUS_OK) {
        return status; /* the connection is closed by the caller: the other replies go with it */
    }
    for (size_t i = 0; i < queue_count && status == STATUS_OK; i++) {
        status = collect_paused(reader, queues[i], err);
    }
    return status;
}

/* One pass over one stream's idle jobs, from where the last one stopped, until it brings some. */
static enum status reclaim_stream(struct reader *reader, size_t index, enum job_priority priority,
                                  const char *consumer, struct take *take, size_t *buried,
                                  struct error *err)
{
    const struct settings *settings = reader->config.settings;
    char *cursor = reader->queues[index].cursor[priority];
    const struct queue_takeover takeover = {
        .stream = priority,
        .consumer = consumer,
        .worker = reader->config.worker_id,
        .visibility_ms = settings->visibility_ms,
        .max_deliveries = settings->max_deliveries,
        .count = (size_t)settings->batch,
        .suspects = !atomic_load(&reader->suspect_out),
    };
    enum status status = STATUS_OK;

    do {
        size_t dead = 0;
        status = queue_reclaim(reader->conn, &reader->config.queues[index], &takeover, cursor,
                               &take->batch, &dead, err);
        *buried += dead;
    } while (status == STATUS_OK && take->batch.count == 0 && strcmp(cursor, "0-0") != 0);
    return status;
}

static void account_reclaimed(struct reader *reader, size_t index, size_t taken, size_t buried)
{
    const char *name = reader->config.queues[index].name;
    enum metrics_queue kind = metrics_queue_of(name);

    metrics_jobs(reader->config.metrics, kind, METRICS_RECLAIMED, taken);
    metrics_jobs(reader->config.metrics, kind, METRICS_BURIED, buried);
    if (taken > 0) {
        log_info("queue \"%s\": %zu stale jobs taken over", name, taken);
    }
    if (buried > 0) {
        log_warning("queue \"%s\": %zu jobs buried as crash_loop", name, buried);
    }
}

/* Takes over stale jobs of one stream, up to a batch, or one suspect. */
static enum status reclaim(struct reader *reader, const char *consumer, struct takes *takes,
                           struct error *err)
{
    struct take *take = &takes->each[0];
    enum status status = STATUS_OK;

    for (size_t i = 0; i < reader->config.queue_count && takes->count == 0; i++) {
        size_t buried = 0;
        for (int p = 0; p < JOB_PRIORITIES && is_readable(reader, i) && status == STATUS_OK &&
                        take->batch.count == 0;
             p++) {
            status = reclaim_stream(reader, i, (enum job_priority)p, consumer, take, &buried, err);
        }
        account_reclaimed(reader, i, take->batch.count, buried);
        if (take->batch.count > 0) {
            take->queue = i;
            take->suspect =
                queue_is_suspect(&take->batch.jobs[0], reader->config.settings->max_deliveries);
            takes->count = 1;
        }
        if (take->suspect) {
            atomic_store(&reader->suspect_out, true);
        }
    }
    if (takes->count == 0) {
        reader->reclaim_at_ms = clock_now_ms() + RECLAIM_EVERY_MS;
    }
    return status;
}

/* Functions and groups, at the start and after they were lost. */
static enum status prepare(struct reader *reader, struct error *err)
{
    bool loaded = false;
    enum status status = queue_install(reader->conn, &loaded, err);

    if (loaded) {
        log_info("function library loaded");
    }
    for (size_t i = 0; i < reader->config.queue_count && status == STATUS_OK; i++) {
        status = queue_prepare(reader->conn, &reader->config.queues[i], err);
    }
    reader->prepared = status == STATUS_OK;
    return status;
}

static enum status read_once(struct reader *reader, const char *consumer, struct takes *takes,
                             struct error *err)
{
    enum status status = reader->prepared ? STATUS_OK : prepare(reader, err);
    int64_t now_ms = clock_now_ms();

    if (status == STATUS_OK && now_ms >= reader->reclaim_at_ms) {
        status = reclaim(reader, consumer, takes, err);
    }
    if (status == STATUS_OK && takes->count == 0 && now_ms >= reader->cold_at_ms) {
        reader->cold_at_ms = now_ms + COLD_EVERY_MS;
        status = read_all(reader, consumer, 0, takes, err);
    }
    if (status == STATUS_OK && takes->count == 0) {
        status = read_hot(reader, consumer, takes, err);
    }
    if (status == STATUS_OK && takes->count == 0) {
        status = read_all(reader, consumer, READER_BLOCK_MS, takes, err);
    }
    if (status == STATUS_OK && takes->count > 0) {
        status = hand_back_paused(reader, consumer, takes, err);
    }
    return status;
}

/* Any failure: close (also after NOGROUP, READONLY, LOADING ...), say so now and then, back off
 * with jitter, unless there are jobs to work on first. */
static void recover(struct reader *reader, bool has_jobs, const struct error *err)
{
    long long suppressed = 0;

    redis_conn_close(reader->conn);
    reader->prepared = false;
    reader->failures++;
    upstreams_report(reader->config.upstreams, METRICS_REDIS, err->status, err->text);
    metrics_upstream_error(reader->config.metrics, METRICS_REDIS, err->status);
    if (log_limit_allow(&reader->log_limit, clock_now_ms(), 5000, &suppressed)) {
        log_warning("reading: %s (%lld more like it)", err->text, suppressed);
    }
    if (!has_jobs) {
        clock_sleep_ms(BACKOFF_BASE_MS / 2 + backoff_delay_ms(&reader->random, reader->failures,
                                                              BACKOFF_BASE_MS, BACKOFF_MAX_MS, 0));
    }
}

bool reader_take(struct reader *reader, const char *consumer, struct takes *takes,
                 bool (*stopping)(void *), void *context)
{
    struct error err = {0};

    takes_reset(takes);
    pthread_mutex_lock(&reader->turn);
    if (stopping(context)) {
        pthread_mutex_unlock(&reader->turn);
        return false;
    }
    enum status status = read_once(reader, consumer, takes, &err);
    atomic_store_explicit(&reader->connected, status == STATUS_OK, memory_order_relaxed);
    if (status == STATUS_OK) {
        if (reader->failures > 0) {
            upstreams_report(reader->config.upstreams, METRICS_REDIS, STATUS_OK, NULL);
            log_info("reading again after %lld failed turns", (long long)reader->failures);
        }
        reader->failures = 0;
    } else {
        recover(reader, takes->count > 0, &err);
    }
    atomic_store_explicit(&reader->last_turn_ms, clock_now_ms(), memory_order_relaxed);
    pthread_mutex_unlock(&reader->turn);
    return status == STATUS_OK || takes->count > 0;
}
