#include <string.h>

#include "clock.h"
#include "reader_internal.h"

enum { RECLAIM_EVERY_MS = 500 };

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
