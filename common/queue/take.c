#include <stdlib.h>
#include <string.h>

#include "queue/internal.h"

enum { FIRST_JOBS = 64, FIRST_REPLIES = 4 };

/* ---- the batch ----------------------------------------------------------------------------- */

void queue_batch_reset(struct queue_batch *batch)
{
    for (size_t i = 0; i < batch->reply_count; i++) {
        redis_reply_free(batch->replies[i]);
    }
    batch->reply_count = 0;
    batch->count = 0;
}

void queue_batch_free(struct queue_batch *batch)
{
    queue_batch_reset(batch);
    free(batch->jobs);
    free(batch->replies);
    *batch = (struct queue_batch){0};
}

enum status queue_batch_own(struct queue_batch *batch, redisReply *reply, struct error *err)
{
    if (batch->reply_count == batch->reply_capacity) {
        const size_t capacity =
            batch->reply_capacity == 0 ? FIRST_REPLIES : batch->reply_capacity * 2;
        redisReply **replies = reallocarray(batch->replies, capacity, sizeof *replies);
        if (replies == NULL) {
            return error_set(err, STATUS_OOM, "no memory for %zu replies", capacity);
        }
        batch->replies = replies;
        batch->reply_capacity = capacity;
    }
    batch->replies[batch->reply_count++] = reply;
    return STATUS_OK;
}

static struct job *new_job(struct queue_batch *batch)
{
    if (batch->count == batch->capacity) {
        const size_t capacity = batch->capacity == 0 ? FIRST_JOBS : batch->capacity * 2;
        struct job *jobs = reallocarray(batch->jobs, capacity, sizeof *jobs);
        if (jobs == NULL) {
            return NULL;
        }
        batch->jobs = jobs;
        batch->capacity = capacity;
    }
    return &batch->jobs[batch->count++];
}

/* ---- entries ------------------------------------------------------------------------------- */

static bool is_word(const redisReply *reply, const char *word)
{
    return (size_t)reply->len == strlen(word) && memcmp(reply->str, word, (size_t)reply->len) == 0;
}

/* -1 for what is no count of failures. */
static int64_t parse_attempt(struct slice text)
{
    int64_t attempt = 0;

    if (text.bytes == 0 || text.bytes > 9) {
        return -1;
    }
    for (size_t i = 0; i < text.bytes; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return -1;
        }
        attempt = attempt * 10 + (text.data[i] - '0');
    }
    return attempt;
}

static void set_field(struct job *job, const redisReply *name, const redisReply *value)
{
    const struct slice text = {value->str, (size_t)value->len};

    if (is_word(name, "id")) {
        job->id = text;
    } else if (is_word(name, "domain")) {
        job->domain = text;
    } else if (is_word(name, "attempt")) {
        job->attempt = parse_attempt(text);
    } else if (is_word(name, "options")) {
        job->options_text = text;
    } else if (is_word(name, "body")) {
        job->body = text;
    }
}

enum status queue_batch_add(struct queue_batch *batch, enum job_priority stream,
                            const redisReply *entry, const redisReply *fields, int64_t deliveries,
                            struct error *err)
{
    struct job *job = new_job(batch);
    if (job == NULL) {
        return error_set(err, STATUS_OOM, "no memory for %zu jobs", batch->count);
    }

    *job = (struct job){
        .stream = stream,
        .entry = {entry->str, (size_t)entry->len},
        .deliveries = deliveries,
        .attempt = -1,
        .options.priority = JOB_NORMAL,
    };
    for (size_t i = 0; i + 1 < fields->elements; i += 2) {
        if (fields->element[i]->type == REDIS_REPLY_STRING &&
            fields->element[i + 1]->type == REDIS_REPLY_STRING) {
            set_field(job, fields->element[i], fields->element[i + 1]);
        }
    }
    if (job_options_parse(job->options_text.data, job->options_text.bytes, true, &job->options,
                          NULL) != STATUS_OK) {
        job->options = (struct job_options){.priority = JOB_NORMAL}; /* queue_job_check says why */
    }
    return STATUS_OK;
}

/* ---- XREADGROUP ---------------------------------------------------------------------------- */

enum status queue_read_append(struct redis_conn *conn, const char *consumer, size_t count,
                              int64_t block_ms, const char *const *streams, size_t stream_count,
                              struct error *err)
{
    struct redis_args args = {0};

    redis_args_format(&args, "XREADGROUP GROUP fleet %s COUNT %zu", consumer, count);
    if (block_ms > 0) {
        redis_args_format(&args, "BLOCK %jd", block_ms);
    }
    redis_args_str(&args, "STREAMS");
    for (size_t i = 0; i < stream_count; i++) {
        redis_args_str(&args, streams[i]);
    }
    for (size_t i = 0; i < stream_count; i++) {
        redis_args_str(&args, ">");
    }
    const enum status status = redis_conn_append(conn, &args, err);
    redis_args_free(&args);
    return status;
}

static enum status parse_entries(enum job_priority stream, const redisReply *entries,
                                 struct queue_batch *batch, struct error *err)
{
    for (size_t i = 0; i < entries->elements; i++) {
        const redisReply *entry = entries->element[i];
        if (redis_reply_is_row(entry, "s*") && entry->element[1]->type == REDIS_REPLY_NIL) {
            continue; /* deleted while it was pending */
        }
        if (!redis_reply_is_row(entry, "sa")) {
            return queue_bad_shape("XREADGROUP", err);
        }
        const enum status status =
            queue_batch_add(batch, stream, entry->element[0], entry->element[1], 1, err);
        if (status != STATUS_OK) {
            return status;
        }
    }
    return STATUS_OK;
}

enum status queue_read_parse(const struct queue *queue, const redisReply *reply,
                             struct queue_batch *batch, struct error *err)
{
    if (reply->type == REDIS_REPLY_NIL) {
        return STATUS_OK;
    }
    if (reply->type != REDIS_REPLY_ARRAY) {
        return queue_bad_shape("XREADGROUP", err);
    }

    for (size_t i = 0; i < reply->elements; i++) {
        const redisReply *stream = reply->element[i];
        if (!redis_reply_is_row(stream, "sa")) {
            return queue_bad_shape("XREADGROUP", err);
        }
        for (int priority = 0; priority < JOB_PRIORITIES; priority++) {
            if (!is_word(stream->element[0], queue->stream[priority])) {
                continue;
            }
            const enum status status =
                parse_entries((enum job_priority)priority, stream->element[1], batch, err);
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    return STATUS_OK;
}

enum status queue_job_check(const struct job *job, struct error *err)
{
    struct job_options options;
    char shown[48];

    if (job->id.data == NULL || !text_is_id(job->id.data, job->id.bytes)) {
        return error_set(err, STATUS_INVALID, "id \"%s\": expected 1 to 64 of A-Za-z0-9._:-",
                         text_excerpt(job->id.data, job->id.bytes, shown));
    }
    if (job->domain.data == NULL || !text_is_domain(job->domain.data, job->domain.bytes)) {
        return error_set(err, STATUS_INVALID,
                         "domain \"%s\": expected 1 to 63 of a-z0-9._- with a letter or digit at "
                         "both ends",
                         text_excerpt(job->domain.data, job->domain.bytes, shown));
    }
    if (job->attempt < 0) {
        return error_set(err, STATUS_INVALID, "attempt: expected a whole number");
    }
    if (job->options_text.data == NULL) {
        return error_set(err, STATUS_INVALID, "options: expected a field, it may be empty");
    }
    if (job->body.data == NULL) {
        return error_set(err, STATUS_INVALID, "body: expected a field, it may be empty");
    }
    return job_options_parse(job->options_text.data, job->options_text.bytes, true, &options, err);
}
