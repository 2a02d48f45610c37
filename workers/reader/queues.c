#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/must.h"
#include "queue/settle.h"
#include "queue/take.h"
#include "reader/queues.h"
#include "json/write.h"

enum {
    FAIRNESS_EVERY_MS = 200,      /* how often low and normal come before high */
    ASIDE_MS = 5000,              /* how long a queue is set aside */
    WAIT_STEP_MS = 400,           /* how often paused queues are looked at */
    READ_BYTES = 4 * 1024 * 1024, /* of bodies in a read */
};

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

/* ---- which may be read now ------------------------------------------------------------------- */

bool reader_is_paused(const struct reader *reader, size_t queue)
{
    return atomic_load_explicit(&reader->queues[queue].paused, memory_order_relaxed);
}

int64_t reader_last_jobs_ms(const struct reader *reader, size_t queue)
{
    return atomic_load_explicit(&reader->queues[queue].last_jobs_ms, memory_order_relaxed);
}

void reader_end_suspect(struct reader *reader)
{
    atomic_store(&reader->suspect_out, false);
}

void reader_set_unsure(struct reader *reader, struct takes *takes, bool unsure)
{
    if (takes->unsure != unsure) {
        atomic_fetch_add(&reader->unsure, unsure ? 1 : -1);
    }
    takes->unsure = unsure;
}

/* A queue whose jobs would only wait for a server is not read until it answers again. */
bool reader_is_readable(struct reader *reader, size_t queue)
{
    const enum kind_id kind = reader->config.queues[queue].kind;
    const unsigned needs = kind == KINDS ? 0 : job_kinds[kind].needs;

    if (reader_is_paused(reader, queue) ||
        atomic_load(&reader->queues[queue].aside_until_ms) != 0) {
        return false;
    }
    for (int i = 0; needs >> i != 0; i++) {
        if ((needs >> i & 1) != 0 &&
            upstreams_wait_ms(reader->config.upstreams, (enum operation)i) != 0) {
            return false;
        }
    }
    return true;
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
enum status reader_try_aside(struct reader *reader, struct error *err)
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

/* ---- reads ----------------------------------------------------------------------------------- */

size_t reader_count(const struct reader *reader, size_t queue)
{
    const size_t batch = (size_t)reader->config.settings->batch;
    const size_t most = READ_BYTES / (reader->queues[queue].body_bytes + 1) + 1;

    return most < batch ? most : batch;
}

/* Notes what the bodies weigh that a read brought, from `before` on. */
static void note_bytes(struct reader_queue *state, const struct queue_batch *batch, size_t before)
{
    size_t bytes = 0;

    for (size_t i = before; i < batch->count; i++) {
        bytes += batch->jobs[i].body.bytes;
    }
    state->body_bytes = bytes / (batch->count - before);
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
            note_bytes(&reader->queues[queues[i]], &take->batch, before);
            atomic_store_explicit(&reader->queues[queues[i]].last_jobs_ms, clock_now_ms(),
                                  memory_order_relaxed);
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
    redis_reply_free(reply);
    return status;
}

/* Asks how many of the queues are paused: none, as a rule. */
static enum status append_paused(struct reader *reader, const size_t *queues, size_t count,
                                 struct error *err)
{
    struct redis_args args = {0};

    redis_args_str(&args, "EXISTS");
    for (size_t i = 0; i < count; i++) {
        redis_args_str(&args, reader->config.queues[queues[i]].paused);
    }
    enum status status = redis_conn_append(reader->conn, &args, err);
    redis_args_free(&args);
    return status;
}

static enum status collect_paused(struct reader *reader, const size_t *queues, size_t count,
                                  struct error *err)
{
    redisReply *reply = NULL;
    enum status status = redis_conn_collect(reader->conn, &reply, err);

    /* What was read must not be dropped for an error here. */
    const bool known = status == STATUS_OK && reply->type == REDIS_REPLY_INTEGER;
    const size_t paused = known ? (size_t)reply->integer : 0;
    redis_reply_free(reply);
    for (size_t i = 0; i < count && known && (paused == 0 || paused == count); i++) {
        atomic_store_explicit(&reader->queues[queues[i]].paused, paused > 0, memory_order_relaxed);
    }
    if (paused == 0 || paused == count) {
        return status;
    }
    for (size_t i = 0; i < count && status == STATUS_OK; i++) { /* some: which? */
        status = append_paused(reader, &queues[i], 1, err);
        if (status == STATUS_OK) {
            status = collect_paused(reader, &queues[i], 1, err);
        }
    }
    return status;
}

/* Jobs of a queue that was paused while we read go back as they came. */
enum status reader_return_paused(struct reader *reader, struct takes *takes, struct error *err)
{
    enum status status = STATUS_OK;
    size_t kept = 0;

    for (size_t i = 0; i < takes->count; i++) {
        struct take *take = &takes->each[i];
        const struct queue *queue = &reader->config.queues[take->queue];
        if (!reader_is_paused(reader, take->queue)) {
            struct take swap = takes->each[kept];
            takes->each[kept++] = *take;
            *take = swap;
            continue;
        }
        const struct job **jobs = must_alloc(take->batch.count, sizeof *jobs);
        for (size_t j = 0; j < take->batch.count; j++) {
            jobs[j] = &take->batch.jobs[j];
        }
        if (status == STATUS_OK) {
            struct queue_release release = {
                .jobs = {jobs, take->batch.count},
                .again = true,
                .visibility_ms = reader->config.settings->visibility_ms,
            };
            status = queue_release(
                reader->conn, &(struct queue_holder){.queue = queue, .consumer = takes->consumer},
                &release, err);
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
static enum status read_queue(struct reader *reader, struct takes *takes, size_t index,
                              bool upside_down, struct error *err)
{
    const struct queue *queue = &reader->config.queues[index];
    struct reader_queue *state = &reader->queues[index];
    size_t count = reader_count(reader, index);
    int order[JOB_PRIORITIES];
    int asked = 0;
    enum status status = append_paused(reader, &index, 1, err);

    for (int i = 0; i < JOB_PRIORITIES && status == STATUS_OK; i++) {
        int priority = upside_down ? JOB_PRIORITIES - 1 - i : i;
        const char *stream = queue->stream[priority];
        size_t share = upside_down && i < JOB_PRIORITIES - 1 ? (count + 3) / 4 : count;
        status = queue_read_append(
            reader->conn, &(struct queue_read){takes->consumer, share, 0, &stream, 1}, err);
        order[asked++] = priority;
        if (state->stream_hot[priority] && !upside_down) {
            break;
        }
    }
    if (status == STATUS_OK) {
        status = collect_paused(reader, &index, 1, err);
    }
    state->hot = false;
    for (int i = 0; i < asked && status == STATUS_OK; i++) {
        size_t before = takes->count > 0 ? takes->each[takes->count - 1].batch.count : 0;
        status = collect_read(reader, takes, &index, 1, err);
        size_t after = takes->count > 0 ? takes->each[takes->count - 1].batch.count : 0;
        state->stream_hot[order[i]] = after > before;
    }
    if (takes->count > 0 && (status == STATUS_UNREACHABLE || status == STATUS_TIMEOUT)) {
        reader_set_unsure(reader, takes,
                          true); /* by the next turn the lane has nothing in hand of what came */
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

enum status reader_read_hot(struct reader *reader, struct takes *takes, struct error *err)
{
    size_t count = reader->config.queue_count;
    enum status status = STATUS_OK;

    for (size_t i = 0; i < count && status == STATUS_OK && takes->count == 0; i++) {
        size_t queue = (reader->next + i) % count;
        if (reader->queues[queue].hot && reader_is_readable(reader, queue)) {
            bool fair = is_fair_turn(reader, queue, clock_now_ms());
            status = read_queue(reader, takes, queue, fair, err);
            reader->next = queue + 1;
        }
    }
    return status;
}

/* Nothing may be read: asks now and then whether the queues are paused still, and so whether Redis
 * is there at all. */
static enum status wait_for_queues(struct reader *reader, int64_t wait_ms, struct error *err)
{
    size_t queues[READER_QUEUES_MAX];

    for (size_t i = 0; i < reader->config.queue_count; i++) {
        queues[i] = i;
    }
    clock_sleep_ms(wait_ms);
    TRY(append_paused(reader, queues, reader->config.queue_count, err));
    return collect_paused(reader, queues, reader->config.queue_count, err);
}

/* Asks all queues at once: blocking when nothing was hot. A small COUNT, since it counts for each
 * stream. */
enum status reader_read_all(struct reader *reader, struct takes *takes, int64_t block_ms,
                            struct error *err)
{
    const char *streams[READER_QUEUES_MAX * JOB_PRIORITIES];
    size_t readable[READER_QUEUES_MAX];
    size_t queues[READER_QUEUES_MAX]; /* all: what is not read may be paused, or not any more */
    size_t stream_count = 0;
    size_t readable_count = 0;
    size_t queue_count = 0;
    size_t count = ((size_t)reader->config.settings->batch + 3) / 4; /* of each stream */

    for (size_t i = 0; i < reader->config.queue_count; i++) {
        queues[queue_count++] = i;
        if (reader_is_readable(reader, i)) {
            const size_t most = reader_count(reader, i);
            count = most < count ? most : count;
            readable[readable_count++] = i;
            for (int p = 0; p < JOB_PRIORITIES; p++) {
                streams[stream_count++] = reader->config.queues[i].stream[p];
            }
        }
    }
    if (readable_count == 0) {
        return block_ms > 0 ? wait_for_queues(reader, WAIT_STEP_MS, err) : STATUS_OK;
    }
    const struct queue_read read = {takes->consumer, count, block_ms, streams, stream_count};
    TRY(queue_read_append(reader->conn, &read, err));
    TRY(append_paused(reader, queues, queue_count, err));
    const int command_ms = redis_conn_command_timeout(reader->conn);
    redis_conn_set_command_timeout(reader->conn, command_ms + (int)block_ms);
    atomic_store(&reader->blocked, block_ms > 0);
    const enum status status = collect_read(reader, takes, readable, readable_count, err);
    atomic_store(&reader->blocked, false);
    redis_conn_set_command_timeout(reader->conn, command_ms);
    TRY(status); /* the connection is closed by the caller: the other reply goes with it */
    return collect_paused(reader, queues, queue_count, err);
}
