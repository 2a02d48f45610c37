#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "queue/keys.h"
#include "reader/reader_internal.h"

enum { LOOK_AT = 64 /* idle jobs of a stream in one look */ };

/* The visibility timeout that the holder of a job goes by: its lanes beat for it three times in it.
 * A worker that is not registered any more, or an older one, which does not say, has ours. */
static int64_t ask_visibility(struct reader *reader, const char *consumer)
{
    char key[KEYS_BYTES];
    char id[96];
    struct redis_args args = {0};
    redisReply *reply = NULL;
    int64_t visibility_ms = 0;

    snprintf(id, sizeof id, "%s", consumer);
    char *lane = strrchr(id, '.');
    if (lane != NULL) {
        *lane = '\0';
    }
    redis_args_str(&args, "HGET");
    redis_args_str(&args, keys_worker(key, reader->config.settings->prefix, id));
    redis_args_str(&args, "visibility_ms");
    if (redis_conn_command(reader->conn, &args, &reply, NULL) == STATUS_OK &&
        reply->type == REDIS_REPLY_STRING) {
        visibility_ms = strtoll(reply->str, NULL, 10);
    }
    redis_reply_free(reply);
    redis_args_free(&args);
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
    enum status status = queue_list_idle(reader->conn, stream, *visibility_ms, rows, &count, err);

    *stale = 0;
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        if (i == 0 || strcmp(rows[i].consumer, rows[i - 1].consumer) != 0) {
            const int64_t holders_ms = ask_visibility(reader, rows[i].consumer);
            *visibility_ms = holders_ms > *visibility_ms ? holders_ms : *visibility_ms;
        }
    }
    for (size_t i = 0; i < count && status == STATUS_OK; i++) {
        *stale += rows[i].idle_ms >= *visibility_ms;
    }
    return status;
}

/* One pass over one stream's idle jobs, from where the last one stopped, until it brings some. */
static enum status reclaim_stream(struct reader *reader, size_t index, enum job_priority priority,
                                  const char *consumer, struct take *take, size_t *buried,
                                  struct error *err)
{
    const struct settings *settings = reader->config.settings;
    const struct queue *queue = &reader->config.queues[index];
    char *cursor = reader->queues[index].cursor[priority];
    int64_t visibility_ms = settings->visibility_ms;
    size_t stale = 0;
    enum status status = count_stale(reader, queue->stream[priority], &visibility_ms, &stale, err);
    const struct queue_takeover takeover = {
        .stream = priority,
        .consumer = consumer,
        .worker = reader->config.worker_id,
        .visibility_ms = visibility_ms,
        .max_deliveries = settings->max_deliveries,
        .count = stale < (size_t)settings->batch ? stale : (size_t)settings->batch,
        .suspects = !atomic_load(&reader->suspect_out),
    };

    if (status != STATUS_OK || stale == 0) {
        return status;
    }
    do {
        size_t dead = 0;
        status = queue_reclaim(reader->conn, queue, &takeover, cursor, &take->batch, &dead, err);
        *buried += dead;
    } while (status == STATUS_OK && take->batch.count == 0 && strcmp(cursor, "0-0") != 0);
    return status;
}

static void account_reclaimed(struct reader *reader, size_t index, size_t taken, size_t buried)
{
    const char *name = reader->config.queues[index].name;
    size_t series = metrics_queue_of(reader->config.metrics, name);

    metrics_jobs(reader->config.metrics, series, METRICS_RECLAIMED, taken);
    metrics_jobs(reader->config.metrics, series, METRICS_BURIED, buried);
    if (taken > 0) {
        log_info("queue \"%s\": %zu stale jobs taken over", name, taken);
    }
    if (buried > 0) {
        log_warning("queue \"%s\": %zu jobs buried as crash_loop", name, buried);
    }
}

/* Takes over stale jobs of one stream, up to a batch, or one suspect. */
enum status reader_reclaim(struct reader *reader, const char *consumer, struct takes *takes,
                           struct error *err)
{
    struct take *take = &takes->each[0];
    enum status status = STATUS_OK;

    for (size_t i = 0; i < reader->config.queue_count && takes->count == 0; i++) {
        size_t buried = 0;
        for (int p = 0; p < JOB_PRIORITIES && reader_is_readable(reader, i) &&
                        status == STATUS_OK && take->batch.count == 0;
             p++) {
            status = reclaim_stream(reader, i, (enum job_priority)p, consumer, take, &buried, err);
            if (status != STATUS_OK && redis_is_wrong_type(err)) {
                reader_set_aside(reader, i, err->text);
                status = STATUS_OK;
            }
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
    return status;
}
