#include "reader/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "config/clients.h"
#include "queue/keys.h"
#include "queue/take.h"
#include "reader/queues.h"
#include "redis/pipeline.h"

enum {
    READER_CONNECT_MS = 3000,
    READER_COMMAND_MS = 5000, /* for what does not block */
    LOOK_AT = 64,             /* idle jobs of a stream in one look */
    COLD_EVERY_MS = 50,       /* how often queues without jobs are asked while others are busy */
    ACCEPTED_MS = 300,
    BACKOFF_BASE_MS = 100,
    BACKOFF_MAX_MS = 5000,
    UNSURE_BLOCK_MS =
        50, /* while a lane waits for its turn to give back what it does not know of */
    UNSURE_STEP_MS = 2,
    FIRST_BODY_BYTES = 256 * 1024, /* until a queue's bodies are known */
    ANSWER_MAX_BYTES =
        64 * 1024 * 1024, /* of a read; more is not read, and is found by a takeover */
};

enum status reader_new(const struct reader_config *config, struct reader **out, struct error *err)
{
    static const struct redis_timeouts timeouts = {READER_CONNECT_MS, READER_COMMAND_MS};
    struct redis_conn *conn = NULL;
    enum status status = clients_open_redis(config->settings->redis_url, timeouts, &conn, err);
    if (status != STATUS_OK) {
        return status;
    }
    struct reader *reader = must_alloc(1, sizeof *reader);
    reader->config = *config;
    reader->random.state = (uint64_t)clock_now_ns();
    reader->conn = conn;
    redis_conn_set_answer_max(reader->conn, ANSWER_MAX_BYTES);
    pthread_mutex_init(&reader->turn, NULL);
    pthread_mutex_init(&reader->aside_lock, NULL);
    seats_init(&reader->seats, &reader->config);
    reader_call(reader); /* what others left behind before we came */
    atomic_store(&reader->last_turn_ms, clock_now_ms());
    for (size_t i = 0; i < config->queue_count; i++) {
        reader->queues[i].body_bytes = FIRST_BODY_BYTES;
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
        pthread_mutex_destroy(&reader->aside_lock);
        seats_end(&reader->seats);
        free(reader);
    }
}

void reader_call(struct reader *reader)
{
    long long not_called = 0;

    atomic_compare_exchange_strong(&reader->called_ms, &not_called, clock_now_ms());
    seats_invite(&reader->seats);
}

void reader_invite(struct reader *reader)
{
    seats_invite(&reader->seats);
}

int64_t reader_called_for_ms(const struct reader *reader)
{
    const int64_t called_ms = atomic_load(&reader->called_ms);

    return called_ms == 0 ? -1 : clock_now_ms() - called_ms;
}

bool reader_unblock(struct reader *reader, struct redis_conn *conn)
{
    const int64_t id = atomic_load(&reader->client_id);
    redisReply *reply = NULL;

    if (id == 0 || !atomic_load(&reader->blocked) ||
        redis_commandf(conn, &reply, NULL, "CLIENT UNBLOCK %jd", (intmax_t)id) != STATUS_OK) {
        return false;
    }
    const bool ended = reply->type == REDIS_REPLY_INTEGER && reply->integer == 1;
    redis_reply_free(reply);
    return ended;
}

int64_t reader_last_turn_ms(const struct reader *reader)
{
    return atomic_load_explicit(&reader->last_turn_ms, memory_order_relaxed);
}

/* A wait for jobs that was not refused at once tells as much as one that has ended. */
bool reader_is_connected(const struct reader *reader)
{
    const int64_t since_ms = atomic_load(&reader->waits_since_ms);

    return atomic_load_explicit(&reader->connected, memory_order_relaxed) ||
           (since_ms != 0 && clock_now_ms() - since_ms > ACCEPTED_MS);
}

/* How the reads of this connection can be ended: by its number, if we may. */
static enum status learn_client_id(struct reader *reader, struct error *err)
{
    struct redis_pipeline pipeline = {.conn = reader->conn};
    long long answers[2] = {0, -1};
    const redisReply *reply = NULL;

    redis_pipelinef(&pipeline, "CLIENT ID");
    redis_pipelinef(&pipeline, "CLIENT UNBLOCK 0");
    for (int i = 0; i < 2; i++) {
        if (redis_pipeline_next(&pipeline, &reply) == STATUS_OK &&
            reply->type == REDIS_REPLY_INTEGER) {
            answers[i] = reply->integer;
        }
    }
    atomic_store(&reader->client_id, answers[1] == 0 ? answers[0] : 0);
    enum status status = redis_pipeline_end(&pipeline, err);
    return redis_conn_is_open(reader->conn) ? STATUS_OK : status;
}

/* Functions and groups, at the start and after they were lost. */
static enum status prepare(struct reader *reader, struct error *err)
{
    bool loaded = false;

    TRY(queue_install(reader->conn, &loaded, err));
    if (loaded) {
        log_info("function library loaded");
    }
    for (size_t i = 0; i < reader->config.queue_count; i++) {
        const enum status status = queue_prepare(reader->conn, &reader->config.queues[i], err);
        if (status != STATUS_OK && !redis_is_wrong_type(err)) {
            return status;
        }
        if (status != STATUS_OK) {
            reader_set_aside(reader, i, err->text);
        }
    }
    TRY(learn_client_id(reader, err));
    reader->prepared = true;
    return STATUS_OK;
}

/* ---- jobs whose holder does not beat any more ------------------------------------------------ */

/* The visibility timeout that the holder of a job goes by: its lanes beat for it three times in it.
 * A worker that is not registered any more, or an older one, which does not say, has ours. */
static int64_t ask_visibility(struct reader *reader, const char *consumer)
{
    char key[KEYS_BYTES];
    char id[96];
    redisReply *reply = NULL;
    int64_t visibility_ms = 0;

    snprintf(id, sizeof id, "%s", consumer);
    char *lane = strrchr(id, '.');
    if (lane != NULL) {
        *lane = '\0';
    }
    if (redis_commandf(reader->conn, &reply, NULL, "HGET %s visibility_ms",
                       keys_name(key, KEYS_WORKER, reader->config.settings->prefix, id)) ==
            STATUS_OK &&
        reply->type == REDIS_REPLY_STRING) {
        visibility_ms = strtoll(reply->str, NULL, 10);
    }
    redis_reply_free(reply);
    return visibility_ms;
}

/* How many of a stream's idle jobs are stale: idle for longer than this worker waits, and than
 * their holders do. *visibility_ms becomes the longest of these times, and only those count that
 * were idle for so long. */
static enum status count_stale(struct reader *reader, const char *stream, int64_t *visibility_ms,
                               size_t *stale, struct error *err)
{
    struct queue_idle rows[LOOK_AT];
    size_t count = LOOK_AT;

    *stale = 0;
    TRY(queue_list_idle(reader->conn, stream, *visibility_ms, rows, &count, err));
    for (size_t i = 0; i < count; i++) {
        if (i == 0 || strcmp(rows[i].consumer, rows[i - 1].consumer) != 0) {
            const int64_t holders_ms = ask_visibility(reader, rows[i].consumer);
            *visibility_ms = holders_ms > *visibility_ms ? holders_ms : *visibility_ms;
        }
    }
    for (size_t i = 0; i < count; i++) {
        *stale += rows[i].idle_ms >= *visibility_ms;
    }
    return STATUS_OK;
}

static void account_reclaimed(struct reader *reader, const struct queue *queue, size_t taken,
                              size_t buried)
{
    struct metrics *metrics = reader->config.metrics;

    metrics_add(metrics, METRICS_JOBS, queue->series, METRICS_RECLAIMED, taken);
    metrics_add(metrics, METRICS_JOBS, queue->series, METRICS_BURIED, buried);
    if (taken > 0) {
        log_info("queue \"%s\": %zu stale jobs taken over", queue->name, taken);
    }
    if (buried > 0) {
        log_warning("queue \"%s\": %zu jobs buried as crash_loop", queue->name, buried);
    }
}

/* One pass over one stream's idle jobs, from where the last one stopped, until it brings some. */
static enum status reclaim_stream(struct reader *reader, size_t index, enum job_priority priority,
                                  struct takes *takes, struct error *err)
{
    const struct settings *settings = reader->config.settings;
    const struct queue *queue = &reader->config.queues[index];
    struct queue_batch *batch = &takes->each[0].batch;
    char *cursor = reader->queues[index].cursor[priority];
    int64_t visibility_ms = settings->visibility_ms;
    enum status status = STATUS_OK;
    size_t stale = 0;
    size_t buried = 0;

    TRY(count_stale(reader, queue->stream[priority], &visibility_ms, &stale, err));
    if (stale == 0) {
        return STATUS_OK;
    }
    const struct queue_takeover takeover = {
        .stream = priority,
        .consumer = takes->consumer,
        .worker = reader->config.worker_id,
        .visibility_ms = visibility_ms,
        .max_deliveries = settings->max_deliveries,
        .count = stale < (size_t)settings->batch ? stale : (size_t)settings->batch,
        .suspects = !atomic_load(&reader->suspect_out),
    };

    do {
        size_t dead = 0;
        status = queue_reclaim(reader->conn, queue, &takeover, cursor, batch, &dead, err);
        buried += dead;
    } while (status == STATUS_OK && batch->count == 0 && strcmp(cursor, "0-0") != 0);
    account_reclaimed(reader, queue, batch->count, buried);
    return status;
}

/* Takes over stale jobs of one stream, up to a batch, or one suspect. */
static enum status reclaim(struct reader *reader, struct takes *takes, struct error *err)
{
    struct take *take = &takes->each[0];
    enum status status = STATUS_OK;

    for (size_t i = 0; i < reader->config.queue_count && takes->count == 0; i++) {
        for (int p = 0; p < JOB_PRIORITIES && reader_is_readable(reader, i) &&
                        status == STATUS_OK && take->batch.count == 0;
             p++) {
            status = reclaim_stream(reader, i, (enum job_priority)p, takes, err);
            if (status != STATUS_OK && redis_is_wrong_type(err)) {
                reader_set_aside(reader, i, err->text);
                status = STATUS_OK;
            }
        }
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
    return status;
}

/* A look for stale jobs goes on in the next turn while it brings some. */
static enum status take_over(struct reader *reader, struct takes *takes, struct error *err)
{
    if (atomic_exchange(&reader->called_ms, 0) == 0) {
        return STATUS_OK;
    }
    const enum status status = reclaim(reader, takes, err);
    if (status != STATUS_OK || takes->count > 0) {
        reader_call(reader);
    }
    return status;
}

/* ---- turns ----------------------------------------------------------------------------------- */

static bool any_hot(const struct reader *reader)
{
    for (size_t i = 0; i < reader->config.queue_count; i++) {
        if (reader->queues[i].hot) {
            return true;
        }
    }
    return false;
}

static int64_t block_ms(struct reader *reader)
{
    if (atomic_load(&reader->unsure) > 0) {
        return UNSURE_BLOCK_MS;
    }
    for (size_t i = 0; i < reader->config.queue_count; i++) {
        if (!reader_is_readable(reader, i)) {
            return READER_BLOCK_SHORT_MS;
        }
    }
    return atomic_load(&reader->client_id) != 0 ? READER_BLOCK_MS : READER_BLOCK_SHORT_MS;
}

/* Blocks on the streams; without a seat it looks once, then waits to be invited, and looks again.
 */
static enum status wait_for_jobs(struct reader *reader, struct takes *takes, struct error *err)
{
    bool may_block = true;

    TRY(seats_sit(&reader->seats, reader->conn, &may_block, err));
    atomic_store(&reader->waits_since_ms, clock_now_ms());
    if (!may_block) {
        seats_wait(&reader->seats);
    }
    const enum status status =
        reader_read_all(reader, takes, may_block ? block_ms(reader) : 0, err);
    atomic_store(&reader->waits_since_ms, 0);
    return status;
}

/* The answer to the consumer's last read did not come, or was more than we hold: what it brought is
 * for whoever asks next, and counts as no death. Its lane has nothing in hand now. */
static enum status yield_unknown(struct reader *reader, struct takes *takes, struct error *err)
{
    size_t total = 0;
    enum status status = STATUS_OK;

    for (size_t i = 0; i < reader->config.queue_count && status == STATUS_OK; i++) {
        size_t some = 0;
        status = queue_yield(reader->conn, &reader->config.queues[i], takes->consumer, &some, err);
        total += some;
    }
    reader_set_unsure(reader, takes, status != STATUS_OK && !redis_conn_is_open(reader->conn));
    if (!takes->unsure) {
        status = STATUS_OK; /* an older library does not know how: the visibility timeout will do */
    }
    if (total > 0) {
        log_info("%zu jobs of an answer that was lost are given back", total);
        reader_call(reader);
    }
    return status;
}

static enum status read_once(struct reader *reader, struct takes *takes, struct error *err)
{
    if (!reader->prepared) {
        TRY(prepare(reader, err));
    }
    const int64_t now_ms = clock_now_ms();
    TRY(reader_try_aside(reader, err));
    if (takes->unsure) {
        TRY(yield_unknown(reader, takes, err));
    }
    TRY(take_over(reader, takes, err));
    if (takes->count == 0 && any_hot(reader)) {
        if (now_ms >= reader->cold_at_ms) {
            reader->cold_at_ms = now_ms + COLD_EVERY_MS;
            TRY(reader_read_all(reader, takes, 0, err));
        }
        if (takes->count == 0) {
            TRY(reader_read_hot(reader, takes, err));
        }
    }
    if (takes->count == 0) {
        TRY(wait_for_jobs(reader, takes, err));
    }
    if (takes->count > 0) {
        TRY(reader_return_paused(reader, takes, err));
    }
    return seats_share(&reader->seats, reader->conn, takes, atomic_load(&reader->waiting) == 0,
                       err);
}

/* Any failure: close (also after NOGROUP, READONLY, LOADING ...), say so now and then, back off
 * with jitter, unless there are jobs to work on first. */
static void recover(struct reader *reader, bool has_jobs, const struct error *err)
{
    long long suppressed = 0;

    redis_conn_close(reader->conn);
    atomic_store(&reader->client_id, 0);
    reader->prepared = false;
    reader->failures++;
    upstreams_report(reader->config.upstreams, OPERATION_REDIS, err->status, err);
    metrics_add(reader->config.metrics, METRICS_UPSTREAM_ERRORS, METRICS_REDIS, err->status, 1);
    if (log_limit_allow(&reader->log_limit, clock_now_ms(), 5000, &suppressed)) {
        log_warning("reading: %s (%lld more like it)", err->text, suppressed);
    }
    if (!has_jobs) {
        clock_sleep_ms(BACKOFF_BASE_MS / 2 + retry_delay_ms(&reader->random, reader->failures,
                                                            BACKOFF_BASE_MS, BACKOFF_MAX_MS, 0));
    }
}

/* A few jobs that nobody had before: they are begun before the next lane is woken. */
static bool is_few(const struct takes *takes)
{
    if (takes->count != 1 || takes->each[0].batch.count > READER_FEW) {
        return false;
    }
    for (size_t i = 0; i < takes->each[0].batch.count; i++) {
        if (takes->each[0].batch.jobs[i].deliveries > 1) {
            return false;
        }
    }
    return true;
}

void reader_pass_turn(struct reader *reader, struct takes *takes)
{
    if (takes->has_turn) {
        takes->has_turn = false;
        pthread_mutex_unlock(&reader->turn);
    }
}

bool reader_take(struct reader *reader, struct takes *takes, bool (*stopping)(void *),
                 void *context)
{
    struct error err = {0};

    takes_reset(takes);
    if (!takes->unsure && atomic_load(&reader->unsure) > 0) {
        clock_sleep_ms(UNSURE_STEP_MS); /* a mutex is not fair, and that lane's jobs wait for it */
    }
    atomic_fetch_add(&reader->waiting, 1);
    pthread_mutex_lock(&reader->turn);
    atomic_fetch_sub(&reader->waiting, 1);
    if (stopping(context)) {
        pthread_mutex_unlock(&reader->turn);
        return false;
    }
    enum status status = read_once(reader, takes, &err);
    atomic_store_explicit(&reader->connected, status == STATUS_OK, memory_order_relaxed);
    if (status == STATUS_OK) {
        if (reader->failures > 0) {
            upstreams_report(reader->config.upstreams, OPERATION_REDIS, STATUS_OK, NULL);
            log_info("reading again after %lld failed turns", (long long)reader->failures);
        }
        reader->failures = 0;
    } else {
        reader_set_unsure(reader, takes, takes->unsure || takes->count == 0);
        recover(reader, takes->count > 0, &err);
    }
    atomic_store_explicit(&reader->last_turn_ms, clock_now_ms(), memory_order_relaxed);
    takes->has_turn = true;
    if (status != STATUS_OK || !is_few(takes)) {
        reader_pass_turn(reader, takes);
    }
    return status == STATUS_OK || takes->count > 0;
}
