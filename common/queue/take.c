#include <stdlib.h>
#include <string.h>

#include "queue/internal.h"
#include "queue/take.h"
#include "redis/pipeline.h"

enum { FIRST_JOBS = 64, FIRST_REPLIES = 4 };

enum { CURSOR_BYTES = 48 };

/* A library before 5 wakes nobody when a job is delayed or a queue resumed: it is asked often. */
enum { OLDER_EVERY_MS = 1000 };

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

/* A stream entry as it was handed out. */
struct entry {
    enum job_priority stream;
    const redisReply *id;
    const redisReply *fields; /* the flat array of names and values */
    int64_t deliveries;
};

/* Appends its job. */
static enum status add_job(struct queue_batch *batch, struct entry entry, struct error *err)
{
    const redisReply *fields = entry.fields;
    struct job *job = new_job(batch);
    if (job == NULL) {
        return error_set(err, STATUS_OOM, "no memory for %zu jobs", batch->count);
    }

    *job = (struct job){
        .stream = entry.stream,
        .entry = {entry.id->str, (size_t)entry.id->len},
        .deliveries = entry.deliveries,
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

enum status queue_read_append(struct redis_conn *conn, const struct queue_read *read,
                              struct error *err)
{
    struct redis_args args = {0};

    redis_args_format(&args, "XREADGROUP GROUP fleet %s COUNT %zu", read->consumer, read->count);
    if (read->block_ms > 0) {
        redis_args_format(&args, "BLOCK %jd", read->block_ms);
    }
    redis_args_str(&args, "STREAMS");
    for (size_t i = 0; i < read->stream_count; i++) {
        redis_args_str(&args, read->streams[i]);
    }
    for (size_t i = 0; i < read->stream_count; i++) {
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
        TRY(add_job(batch, (struct entry){stream, entry->element[0], entry->element[1], 1}, err));
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

/* ---- takeovers ----------------------------------------------------------------------------- */

/* {cursor, buried, {entry, deliveries, fields}, ...} */
static enum status parse_reclaimed(enum job_priority stream, const redisReply *reply,
                                   char cursor[CURSOR_BYTES], struct queue_batch *batch,
                                   size_t *buried, struct error *err)
{
    if (reply->elements < 2 || reply->element[0]->type != REDIS_REPLY_STRING ||
        (size_t)reply->element[0]->len >= CURSOR_BYTES ||
        reply->element[1]->type != REDIS_REPLY_INTEGER || reply->element[1]->integer < 0) {
        return queue_bad_shape("sh_reclaim", err);
    }
    for (size_t i = 2; i < reply->elements; i++) {
        const redisReply *taken = reply->element[i];
        if (!redis_reply_is_row(taken, "sia")) {
            return queue_bad_shape("sh_reclaim", err);
        }
        TRY(add_job(batch,
                    (struct entry){stream, taken->element[0], taken->element[2],
                                   taken->element[1]->integer},
                    err));
    }
    snprintf(cursor, CURSOR_BYTES, "%s", reply->element[0]->str);
    *buried = (size_t)reply->element[1]->integer;
    return STATUS_OK;
}

bool queue_is_suspect(const struct job *job, int64_t max_deliveries)
{
    const int64_t lower =
        max_deliveries - 1 < LIBRARY_SUSPECT_AFTER ? max_deliveries - 1 : LIBRARY_SUSPECT_AFTER;

    return job->deliveries > (lower < 1 ? 1 : lower);
}

enum status queue_reclaim(struct redis_conn *conn, const struct queue *queue,
                          const struct queue_takeover *takeover, char cursor[CURSOR_BYTES],
                          struct queue_batch *batch, size_t *buried, struct error *err)
{
    redisReply *reply = NULL;

    *buried = 0;
    TRY(redis_fetchf(conn, "[", &reply, err, "FCALL sh_reclaim 1 %s %d %s %s %jd %jd %zu %s %d",
                     queue->base, (int)takeover->stream, takeover->consumer, takeover->worker,
                     takeover->visibility_ms, takeover->max_deliveries, takeover->count, cursor,
                     (int)takeover->suspects));

    const size_t before = batch->count;
    enum status status = parse_reclaimed(takeover->stream, reply, cursor, batch, buried, err);
    if (status == STATUS_OK && batch->count > before) {
        status = queue_batch_own(batch, reply, err);
        if (status == STATUS_OK) {
            return STATUS_OK;
        }
    }
    if (status != STATUS_OK) {
        batch->count = before; /* they point into the reply; taken over again later */
    }
    redis_reply_free(reply);
    return status;
}

/* An entry's id begins with the ms when it was added. */
static bool is_old(const redisReply *entries, int64_t before_unix_ms)
{
    return entries->type == REDIS_REPLY_ARRAY && entries->elements > 0 &&
           entries->element[0]->type == REDIS_REPLY_ARRAY && entries->element[0]->elements > 0 &&
           entries->element[0]->element[0]->type == REDIS_REPLY_STRING &&
           strtoll(entries->element[0]->element[0]->str, NULL, 10) <= before_unix_ms;
}

static bool is_stream_of(const struct queue *queue, const redisReply *name)
{
    for (int priority = 0; priority < JOB_PRIORITIES; priority++) {
        if (name->type == REDIS_REPLY_STRING && strcmp(name->str, queue->stream[priority]) == 0) {
            return true;
        }
    }
    return false;
}

enum status queue_find_old(struct redis_conn *conn, const struct queue_age *age, bool *old,
                           struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    redis_args_format(&args, "XREAD COUNT 1 STREAMS");
    for (size_t i = 0; i < age->count; i++) {
        old[i] = false;
        for (int priority = 0; priority < JOB_PRIORITIES; priority++) {
            redis_args_str(&args, age->queues[i].stream[priority]);
        }
    }
    for (size_t i = 0; i < age->count * JOB_PRIORITIES; i++) {
        redis_args_str(&args, "0");
    }
    const enum status status = redis_conn_command(conn, &args, &reply, err);
    redis_args_free(&args);
    for (size_t i = 0;
         status == STATUS_OK && reply->type == REDIS_REPLY_ARRAY && i < reply->elements; i++) {
        const redisReply *stream = reply->element[i];
        for (size_t q = 0;
             q < age->count && stream->type == REDIS_REPLY_ARRAY && stream->elements == 2; q++) {
            if (is_stream_of(&age->queues[q], stream->element[0])) {
                old[q] = old[q] || is_old(stream->element[1], age->now_unix_ms - age->age_ms);
            }
        }
    }
    redis_reply_free(reply);
    return status;
}

enum status queue_list_idle(struct redis_conn *conn, const char *stream, int64_t idle_ms,
                            struct queue_idle *rows, size_t *count, struct error *err)
{
    const size_t limit = *count;
    redisReply *reply = NULL;

    *count = 0;
    enum status status = redis_fetchf(conn, "[", &reply, err, "XPENDING %s fleet IDLE %jd - + %zu",
                                      stream, idle_ms, limit);
    if (status == STATUS_NOT_FOUND) {
        return STATUS_OK; /* NOGROUP: nothing is held */
    }
    if (status != STATUS_OK) {
        return status;
    }
    for (size_t i = 0; i < reply->elements && i < limit; i++) {
        if (!redis_reply_is_row(reply->element[i], "*si*")) { /* entry, who, idle, deliveries */
            status = queue_bad_shape("XPENDING", err);
            break;
        }
        rows[*count].idle_ms = reply->element[i]->element[2]->integer;
        snprintf(rows[*count].consumer, sizeof rows[*count].consumer, "%s",
                 reply->element[i]->element[1]->str);
        (*count)++;
    }
    redis_reply_free(reply);
    return status;
}

enum status queue_push_token(struct redis_conn *conn, const char *key, struct error *err)
{
    struct redis_pipeline pipeline = {.conn = conn};

    redis_pipelinef(&pipeline, "DEL %s", key);
    redis_pipelinef(&pipeline, "RPUSH %s 1", key);
    redis_pipelinef(&pipeline, "PEXPIRE %s %d", key, (int)LIBRARY_TOKEN_TTL_MS);
    const enum status status = redis_pipeline_end(&pipeline, err);
    return status == STATUS_OOM ? STATUS_OK : status; /* full: others come a little later */
}

/* ---- delayed jobs -------------------------------------------------------------------------- */

enum status queue_promote(struct redis_conn *conn, const struct queue *queue, size_t limit,
                          struct queue_promotion *out, struct error *err)
{
    redisReply *reply = NULL;

    *out = (struct queue_promotion){.next_ms = -1};
    enum status status =
        redis_fetchf(conn, "[", &reply, err, "FCALL sh_promote 1 %s %zu paused", queue->base,
                     limit > QUEUE_BATCH_MAX ? QUEUE_BATCH_MAX : limit);
    if (status != STATUS_OK) {
        return status;
    }
    const bool is_older = redis_reply_is_row(reply, "ii");
    if ((is_older || redis_reply_is_row(reply, "iii")) && reply->element[0]->integer >= 0) {
        out->moved = (size_t)reply->element[0]->integer;
        out->next_ms = reply->element[1]->integer;
        out->paused = !is_older && reply->element[2]->integer == 1;
    } else {
        status = queue_bad_shape("sh_promote", err);
    }
    if (is_older && (out->next_ms < 0 || out->next_ms > OLDER_EVERY_MS)) {
        out->next_ms = OLDER_EVERY_MS;
    }
    redis_reply_free(reply);
    return status;
}

/* ---- consumers ----------------------------------------------------------------------------- */

enum status queue_yield(struct redis_conn *conn, const struct queue *queue, const char *consumer,
                        size_t *yielded, struct error *err)
{
    return queue_countf(conn, yielded, err, "FCALL sh_yield 1 %s %s", queue->base, consumer);
}

enum status queue_leave(struct redis_conn *conn, const struct queue *queue, const char *consumer,
                        struct error *err)
{
    return redis_fetchf(conn, "#", NULL, err, "FCALL sh_leave 1 %s %s", queue->base, consumer);
}

enum status queue_reap(struct redis_conn *conn, const struct queue *queue, int64_t idle_ms,
                       size_t *removed, struct error *err)
{
    return queue_countf(conn, removed, err, "FCALL sh_reap 1 %s %jd", queue->base, idle_ms);
}
