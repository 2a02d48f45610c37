#include "reader.h"

#include <stdlib.h>
#include <string.h>

#include "clock.h"
#include "reader_internal.h"

enum {
    READER_CONNECT_MS = 3000,
    READER_COMMAND_MS = 5000, /* well above READER_BLOCK_MS */
    COLD_EVERY_MS = 50,       /* how often queues without jobs are asked while others are busy */
    BACKOFF_BASE_MS = 100,
    BACKOFF_MAX_MS = 5000,
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

    if (atomic_load_explicit(&reader->queues[queue].paused, memory_order_relaxed)) {
        return false;
    }
    if (!is_of_kind(name, "distill") && !is_of_kind(name, "index")) {
        return true;
    }
    return upstreams_wait_ms(reader->config.upstreams, OPERATION_EMBED) == 0 &&
           upstreams_wait_ms(reader->config.upstreams, OPERATION_GET) == 0 &&
           upstreams_wait_ms(reader->config.upstreams, OPERATION_WRITE) == 0;
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
        status = reader_reclaim(reader, consumer, takes, err);
    }
    if (status == STATUS_OK && takes->count == 0 && now_ms >= reader->cold_at_ms) {
        reader->cold_at_ms = now_ms + COLD_EVERY_MS;
        status = reader_read_all(reader, consumer, 0, takes, err);
    }
    if (status == STATUS_OK && takes->count == 0) {
        status = reader_read_hot(reader, consumer, takes, err);
    }
    if (status == STATUS_OK && takes->count == 0) {
        status = reader_read_all(reader, consumer, READER_BLOCK_MS, takes, err);
    }
    if (status == STATUS_OK && takes->count > 0) {
        status = reader_return_paused(reader, consumer, takes, err);
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
    pthread_mutex_lock(&reader->turn);
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
        recover(reader, takes->count > 0, &err);
    }
    atomic_store_explicit(&reader->last_turn_ms, clock_now_ms(), memory_order_relaxed);
    takes->has_turn = true;
    if (status != STATUS_OK || !is_few(takes)) {
        reader_pass_turn(reader, takes);
    }
    return status == STATUS_OK || takes->count > 0;
}
