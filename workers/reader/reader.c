#include "reader/reader.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "reader/reader_internal.h"
#include "redis/sentinel.h"
#include "json/write.h"

enum {
    READER_CONNECT_MS = 3000,
    READER_COMMAND_MS = 5000, /* for what does not block */
    ASIDE_MS = 5000,          /* how long a queue is set aside */
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
    reader->conn = redis_open(&url, (struct redis_timeouts){READER_CONNECT_MS, READER_COMMAND_MS});
    if (reader->conn == NULL) {
        free(reader);
        return error_set(err, STATUS_OOM, "no memory for the reader");
    }
    redis_conn_set_answer_max(reader->conn, ANSWER_MAX_BYTES);
    pthread_mutex_init(&reader->turn, NULL);
    pthread_mutex_init(&reader->aside_lock, NULL);
    reader_seats_init(reader);
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
        pthread_mutex_destroy(&reader->bench_lock);
        pthread_cond_destroy(&reader->invited);
        free(reader);
    }
}

bool reader_is_paused(const struct reader *reader, size_t queue)
{
    return atomic_load_explicit(&reader->queues[queue].paused, memory_order_relaxed);
}

int64_t reader_last_jobs_ms(const struct reader *reader, size_t queue)
{
    return atomic_load_explicit(&reader->queues[queue].last_jobs_ms, memory_order_relaxed);
}

void reader_call(struct reader *reader)
{
    long long not_called = 0;

    atomic_compare_exchange_strong(&reader->called_ms, &not_called, clock_now_ms());
    reader_invite(reader);
}

int64_t reader_called_for_ms(const struct reader *reader)
{
    const int64_t called_ms = atomic_load(&reader->called_ms);

    return called_ms == 0 ? -1 : clock_now_ms() - called_ms;
}

bool reader_unblock(struct reader *reader, struct redis_conn *conn)
{
    const int64_t id = atomic_load(&reader->client_id);
    struct redis_args args = {0};
    redisReply *reply = NULL;
    bool ended = false;

    if (id == 0 || !atomic_load(&reader->blocked)) {
        return false;
    }
    redis_args_str(&args, "CLIENT");
    redis_args_str(&args, "UNBLOCK");
    redis_args_int(&args, id);
    if (redis_conn_command(conn, &args, &reply, NULL) == STATUS_OK) {
        ended = reply->type == REDIS_REPLY_INTEGER && reply->integer == 1;
    }
    redis_reply_free(reply);
    redis_args_free(&args);
    return ended;
}

/* ---- queues that are set aside --------------------------------------------------------------- */

void reader_set_aside(struct reader *reader, size_t queue, const char *why)
{
    struct reader_queue *state = &reader->queues[queue];
    const bool is_new = atomic_load(&state->aside_until_ms) == 0;

    pthread_mutex_lock(&reader->aside_lock);
    snprintf(state->aside, sizeof state->aside, "%s", why);
    pthread_mutex_unlock(&reader->aside_lock);
    atomic_store(&state->aside_until_ms, clock_now_ms() + ASIDE_MS);
    if (is_new) {
        log_warning("queue \"%s\" is set aside, the others go on: %s",
                    reader->config.queues[queue].name, why);
    }
}

size_t reader_describe_aside(struct reader *reader, struct strbuf *out)
{
    size_t count = 0;

    for (size_t i = 0; i < reader->config.queue_count; i++) {
        if (atomic_load(&reader->queues[i].aside_until_ms) == 0) {
            continue;
        }
        strbuf_append_str(out, count++ == 0 ? ",\"set_aside\":{" : ",");
        json_str(out, reader->config.queues[i].name);
        strbuf_append_char(out, ':');
        pthread_mutex_lock(&reader->aside_lock);
        json_str(out, reader->queues[i].aside);
        pthread_mutex_unlock(&reader->aside_lock);
    }
    if (count > 0) {
        strbuf_append_char(out, '}');
    }
    return count;
}

/* Tries the queues again whose time is over. */
static enum status try_aside(struct reader *reader, struct error *err)
{
    for (size_t i = 0; i < reader->config.queue_count; i++) {
        const struct queue *queue = &reader->config.queues[i];
        const int64_t until_ms = atomic_load(&reader->queues[i].aside_until_ms);
        if (until_ms == 0 || clock_now_ms() < until_ms) {
            continue;
        }
        const enum status status = queue_prepare(reader->conn, queue, err);
        if (status == STATUS_OK) {
            atomic_store(&reader->queues[i].aside_until_ms, 0);
            log_info("queue \"%s\" is read again", queue->name);
        } else if (!redis_is_wrong_type(err)) {
            return status;
        } else {
            reader_set_aside(reader, i, err->text);
        }
    }
    return STATUS_OK;
}

/* ---- turns ----------------------------------------------------------------------------------- */

void reader_end_suspect(struct reader *reader)
{
    atomic_store(&reader->suspect_out, false);
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
/* "index.3" is of the kind index. */
static bool is_of_kind(const char *name, const char *kind)
{
    const size_t bytes = strlen(kind);

    return strncmp(name, kind, bytes) == 0 && (name[bytes] == '\0' || name[bytes] == '.');
}

/* Enrichments go on without their upstreams (stale or empty); what writes to Chroma waits for it.
 */
bool reader_is_readable(struct reader *reader, size_t queue)
{
    const char *name = reader->config.queues[queue].name;

    if (reader_is_paused(reader, queue) ||
        atomic_load(&reader->queues[queue].aside_until_ms) != 0) {
        return false;
    }
    if (!is_of_kind(name, "distill") && !is_of_kind(name, "index")) {
        return true;
    }
    return upstreams_wait_ms(reader->config.upstreams, OPERATION_EMBED) == 0 &&
           upstreams_wait_ms(reader->config.upstreams, OPERATION_GET) == 0 &&
           upstreams_wait_ms(reader->config.upstreams, OPERATION_WRITE) == 0;
}
/* How the reads of this connection can be ended: by its number, if we may. */
static enum status learn_client_id(struct reader *reader, struct error *err)
{
    static const char *const words[2][3] = {{"CLIENT", "ID", NULL}, {"CLIENT", "UNBLOCK", "0"}};
    long long answers[2] = {0, -1};
    enum status status = STATUS_OK;

    for (int i = 0; i < 2 && status == STATUS_OK; i++) {
        struct redis_args args = {0};
        for (int w = 0; w < 3 && words[i][w] != NULL; w++) {
            redis_args_str(&args, words[i][w]);
        }
        status = redis_conn_append(reader->conn, &args, err);
        redis_args_free(&args);
    }
    for (int i = 0; i < 2 && status == STATUS_OK; i++) {
        redisReply *reply = NULL;
        status = redis_conn_collect(reader->conn, &reply, err);
        if (status == STATUS_OK && reply->type == REDIS_REPLY_INTEGER) {
            answers[i] = reply->integer;
        }
        redis_reply_free(reply);
    }
    atomic_store(&reader->client_id, answers[1] == 0 ? answers[0] : 0);
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
        if (status != STATUS_OK && redis_is_wrong_type(err)) {
            reader_set_aside(reader, i, err->text);
            status = STATUS_OK;
        }
    }
    if (status == STATUS_OK) {
        status = learn_client_id(reader, err);
    }
    reader->prepared = status == STATUS_OK;
    return status;
}

/* A look for stale jobs goes on in the next turn while it brings some. */
static enum status take_over(struct reader *reader, const char *consumer, struct takes *takes,
                             struct error *err)
{
    if (atomic_exchange(&reader->called_ms, 0) == 0) {
        return STATUS_OK;
    }
    const enum status status = reader_reclaim(reader, consumer, takes, err);
    if (status != STATUS_OK || takes->count > 0) {
        reader_call(reader);
    }
    return status;
}

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
static enum status wait_for_jobs(struct reader *reader, const char *consumer, struct takes *takes,
                                 struct error *err)
{
    bool may_block = true;
    enum status status = reader_sit(reader, &may_block, err);

    if (status != STATUS_OK) {
        return status;
    }
    atomic_store(&reader->waits_since_ms, clock_now_ms());
    if (!may_block) {
        reader_wait_on_bench(reader);
    }
    status = reader_read_all(reader, consumer, may_block ? block_ms(reader) : 0, takes, err);
    atomic_store(&reader->waits_since_ms, 0);
    return status;
}

void reader_set_unsure(struct reader *reader, struct takes *takes, bool unsure)
{
    if (takes->unsure != unsure) {
        atomic_fetch_add(&reader->unsure, unsure ? 1 : -1);
    }
    takes->unsure = unsure;
}

/* The answer to the consumer's last read did not come, or was more than we hold: what it brought is
 * for whoever asks next, and counts as no death. Its lane has nothing in hand now. */
static enum status yield_unknown(struct reader *reader, const char *consumer, struct takes *takes,
                                 struct error *err)
{
    size_t total = 0;
    enum status status = STATUS_OK;

    for (size_t i = 0; i < reader->config.queue_count && status == STATUS_OK; i++) {
        size_t some = 0;
        status = queue_yield(reader->conn, &reader->config.queues[i], consumer, &some, err);
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

static enum status read_once(struct reader *reader, const char *consumer, struct takes *takes,
                             struct error *err)
{
    enum status status = reader->prepared ? STATUS_OK : prepare(reader, err);
    int64_t now_ms = clock_now_ms();

    if (status == STATUS_OK) {
        status = try_aside(reader, err);
    }
    if (status == STATUS_OK && takes->unsure) {
        status = yield_unknown(reader, consumer, takes, err);
    }
    if (status == STATUS_OK) {
        status = take_over(reader, consumer, takes, err);
    }
    if (status == STATUS_OK && takes->count == 0 && any_hot(reader)) {
        if (now_ms >= reader->cold_at_ms) {
            reader->cold_at_ms = now_ms + COLD_EVERY_MS;
            status = reader_read_all(reader, consumer, 0, takes, err);
        }
        if (status == STATUS_OK && takes->count == 0) {
            status = reader_read_hot(reader, consumer, takes, err);
        }
    }
    if (status == STATUS_OK && takes->count == 0) {
        status = wait_for_jobs(reader, consumer, takes, err);
    }
    if (status == STATUS_OK && takes->count > 0) {
        status = reader_return_paused(reader, consumer, takes, err);
    }
    if (status == STATUS_OK) {
        status = reader_share(reader, takes, err);
    }
    return status;
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
    metrics_upstream_error(reader->config.metrics, METRICS_REDIS, err->status);
    if (log_limit_allow(&reader->log_limit, clock_now_ms(), 5000, &suppressed)) {
        log_warning("reading: %s (%lld more like it)", err->text, suppressed);
    }
    if (!has_jobs) {
        clock_sleep_ms(BACKOFF_BASE_MS / 2 + backoff_delay_ms(&reader->random, reader->failures,
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

bool reader_take(struct reader *reader, const char *consumer, struct takes *takes,
                 bool (*stopping)(void *), void *context)
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
    enum status status = read_once(reader, consumer, takes, &err);
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
