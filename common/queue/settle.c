/* queue/settle.c - how a lane ends or keeps the jobs it holds: fenced functions, which move each
 * job or answer that it is lost.
 *
 * A function takes up to QUEUE_BATCH_MAX jobs, and LIBRARY_CALL_BYTES of them. More are sent in
 * several calls; when one of them fails, the fates of the earlier ones stand and the rest is
 * QUEUE_LOST to the caller, who treats the whole as unknown.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "queue/internal.h"
#include "queue/settle.h"
#include "redis/pipeline.h"

enum { PARKED_BYTES = 96 };

/* DONE: what nobody waits for ends in a shorter call. PARK: by a name of its own, which a library
 * before 5 has not, since that one would burn an attempt for what it does not understand. */
enum verb { DONE, FINISH, RETRY, PARK, PARK_PLAINLY, BURY };

static const char *const functions[] = {"sh_done", "sh_finish", "sh_retry",
                                        "sh_park", "sh_retry",  "sh_bury"};

/* What goes into one call. */
struct call {
    enum verb verb;
    size_t count;
    size_t bytes;
    struct queue_end *ends[QUEUE_BATCH_MAX];
};

/* The call for an end that is to be a finish, a retry or a burial. */
static enum verb verb_of(enum verb verb, const struct queue_end *end)
{
    if (verb == FINISH && !end->expired && end->reply.data == NULL &&
        end->job->options.unique.bytes == 0) {
        return DONE;
    }
    return verb == RETRY && end->parked ? PARK : verb;
}

/* Whether one more job goes into a call that has `count`, which weigh `*bytes` so far. */
static bool fits(size_t count, size_t *bytes, size_t more_bytes)
{
    if (count == QUEUE_BATCH_MAX || (count > 0 && *bytes + more_bytes > LIBRARY_CALL_BYTES)) {
        return false;
    }
    *bytes += more_bytes;
    return true;
}

/* Takes one more end into the call, where it goes with the first one. */
static bool take_end(struct call *call, enum verb verb, struct queue_end *end)
{
    const struct job *first = call->count > 0 ? call->ends[0]->job : end->job;

    verb = verb_of(verb, end);
    if (call->count == 0) {
        call->verb = verb;
    }
    if (verb != call->verb ||
        (verb == DONE &&
         (end->job->stream != first->stream || end->job->deliveries != first->deliveries)) ||
        !fits(call->count, &call->bytes,
              verb <= FINISH ? end->reply.bytes : end->job->body.bytes)) {
        return false;
    }
    call->ends[call->count++] = end;
    return true;
}

/* What a parked job remembers: "<tries>.<upstream>.<operation>", with the time of its last try
 * where that was not just now. */
static const char *format_parked(const struct queue_end *end, char text[PARKED_BYTES])
{
    const struct job_parked *old = &end->job->options.parked;
    const char *upstream = operation_upstream(end->operation);
    const char *name = operation_name(end->operation);

    if (end->tried) {
        snprintf(text, PARKED_BYTES, "%" PRId64 ".%s.%s", old->tries + 1, upstream, name);
    } else {
        snprintf(text, PARKED_BYTES, "%" PRId64 ".%s.%s.%" PRId64, old->tries, upstream, name,
                 old->tried_unix_ms);
    }
    return text;
}

/* What the function is told of an end. `parked` is room that lives as long as the command. */
static void add_end(struct redis_args *args, enum verb verb, const struct queue_end *end,
                    char parked[PARKED_BYTES])
{
    const bool has_reply = end->reply.data != NULL;

    if (verb == DONE) {
        redis_args_slice(args, end->job->entry);
        return;
    }
    queue_args_fence(args, end->job);
    if (verb == FINISH) {
        redis_args_slice(args, end->job->id);
        redis_args_slice(args, end->job->domain);
        redis_args_slice(args, end->job->options.unique);
        redis_args_int(args, (end->expired ? LIBRARY_FLAG_EXPIRED : 0) |
                                 (has_reply ? LIBRARY_FLAG_REPLY : 0));
        redis_args_slice(args, end->reply);
    } else if (verb == BURY) {
        redis_args_str(args, end->reason);
        redis_args_str(args, end->error);
        redis_args_int(args, has_reply ? LIBRARY_FLAG_REPLY : 0);
        redis_args_slice(args, end->reply);
    } else {
        redis_args_int(args, end->delay_ms < 0 ? 0 : end->delay_ms);
        redis_args_str(args, verb == PARK ? format_parked(end, parked) : verb == RETRY ? "0" : "1");
    }
}

static enum queue_fate fate_of(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_INTEGER || reply->integer == LIBRARY_LOST) {
        return QUEUE_LOST;
    }
    switch (reply->integer) {
    case LIBRARY_WANTED:
        return QUEUE_MOVED_WANTED;
    case LIBRARY_RENEWED:
        return QUEUE_RENEWED;
    default:
        return QUEUE_MOVED;
    }
}

static enum status make_call(struct redis_conn *conn, const struct queue_holder *holder,
                             struct call *call, struct error *err)
{
    const struct job *first = call->ends[0]->job;
    char(*parked)[PARKED_BYTES] = NULL;
    struct redis_args args = {0};
    redisReply *reply = NULL;

    if (call->verb == PARK && (parked = calloc(call->count, sizeof *parked)) == NULL) {
        return error_set(err, STATUS_OOM, "out of memory for a command");
    }
    queue_args_start(&args, functions[call->verb], holder->queue->base);
    redis_args_str(&args, holder->consumer);
    if (call->verb == DONE) {
        redis_args_int(&args, first->stream);
        redis_args_int(&args, first->deliveries);
    } else if (call->verb == BURY) {
        redis_args_str(&args, holder->worker);
    }
    for (size_t i = 0; i < call->count; i++) {
        add_end(&args, call->verb, call->ends[i], parked == NULL ? NULL : parked[i]);
    }
    const enum status status = redis_conn_command(conn, &args, &reply, err);
    redis_args_free(&args);
    free(parked);
    if (status != STATUS_OK) {
        return status;
    }
    /* sh_done says how many where that is all of them. */
    const bool all = call->verb == DONE && reply->type == REDIS_REPLY_INTEGER &&
                     reply->integer == (long long)call->count;
    const bool each = reply->type == REDIS_REPLY_ARRAY && reply->elements == call->count;
    for (size_t i = 0; i < call->count && (all || each); i++) {
        call->ends[i]->fate = all ? QUEUE_MOVED : fate_of(reply->element[i]);
    }
    redis_reply_free(reply);
    return all || each ? STATUS_OK : queue_bad_shape(functions[call->verb], err);
}

/* Jobs that all end alike. */
struct ends {
    enum verb verb;
    struct queue_end *ends;
    size_t count;
};

/* Ends all of them, in as many calls as it takes. */
static enum status settle(struct redis_conn *conn, const struct queue_holder *holder,
                          const struct ends *all, struct error *err)
{
    struct queue_end *const ends = all->ends;
    const size_t count = all->count;
    enum status status = STATUS_OK;
    size_t sent = 0;

    for (size_t i = 0; i < count; i++) {
        ends[i].fate = QUEUE_UNSENT;
    }
    while (status == STATUS_OK && sent < count) {
        struct call call; /* large, so it is not cleared */
        call.verb = all->verb;
        call.count = call.bytes = 0;
        for (size_t i = 0; i < count && call.count < QUEUE_BATCH_MAX; i++) {
            if (ends[i].fate == QUEUE_UNSENT && take_end(&call, all->verb, &ends[i])) {
                ends[i].fate = QUEUE_LOST;
            }
        }
        status = make_call(conn, holder, &call, err);
        if (status == STATUS_REFUSED && call.verb == PARK) {
            call.verb = PARK_PLAINLY;
            status = make_call(conn, holder, &call, err);
        }
        sent += call.count;
    }
    for (size_t i = 0; i < count; i++) {
        ends[i].fate = ends[i].fate == QUEUE_UNSENT ? QUEUE_LOST : ends[i].fate;
    }
    return status;
}

enum status queue_finish(struct redis_conn *conn, const struct queue_holder *holder,
                         struct queue_end *ends, size_t count, struct error *err)
{
    return settle(conn, holder, &(struct ends){FINISH, ends, count}, err);
}

enum status queue_retry(struct redis_conn *conn, const struct queue_holder *holder,
                        struct queue_end *ends, size_t count, struct error *err)
{
    return settle(conn, holder, &(struct ends){RETRY, ends, count}, err);
}

enum status queue_bury(struct redis_conn *conn, const struct queue_holder *holder,
                       struct queue_end *ends, size_t count, struct error *err)
{
    return settle(conn, holder, &(struct ends){BURY, ends, count}, err);
}

enum status queue_push_wanted(struct redis_conn *conn, const struct queue *queue, struct slice id,
                              struct slice reply, struct error *err)
{
    return redis_fetchf(conn, "+", NULL, err, "FCALL sh_reply 1 %s %.*s %.*s wanted", queue->base,
                        (int)id.bytes, id.data, (int)reply.bytes, reply.data);
}

/* ---- giving back and keeping ----------------------------------------------------------------- */

/* Jobs for a function that answers how many of them it found. */
struct kept {
    const char *function;
    struct queue_jobs jobs;
    const struct queue_release *back; /* NULL: they are kept */
    size_t total;                     /* out */
};

static enum status call_kept(struct redis_conn *conn, const struct queue_holder *holder,
                             struct kept *kept, struct error *err)
{
    const struct queue_release *back = kept->back;
    enum status status = STATUS_OK;

    for (size_t at = 0, end = 0; status == STATUS_OK && at < kept->jobs.count; at = end) {
        struct redis_args args = {0};
        size_t some = 0;
        size_t bytes = 0;
        queue_args_start(&args, kept->function, holder->queue->base);
        redis_args_str(&args, holder->consumer);
        if (back != NULL) {
            redis_args_int(&args, back->visibility_ms);
            redis_args_str(&args, back->again ? "1" : "0");
        }
        for (; end < kept->jobs.count; end++) {
            const struct job *job = kept->jobs.jobs[end];
            if (!fits(end - at, &bytes, back != NULL && back->again ? job->body.bytes : 0)) {
                break;
            }
            queue_args_fence(&args, job);
        }
        status = queue_call_count(conn, &args, &some, err);
        kept->total += some;
    }
    return status;
}

enum status queue_release(struct redis_conn *conn, const struct queue_holder *holder,
                          struct queue_release *release, struct error *err)
{
    struct kept kept = {.function = "sh_release", .jobs = release->jobs, .back = release};

    const enum status status = call_kept(conn, holder, &kept, err);
    release->released = kept.total;
    return status;
}

enum status queue_heartbeat(struct redis_conn *conn, const struct queue_holder *holder,
                            struct queue_jobs jobs, size_t *alive, struct error *err)
{
    struct kept kept = {.function = "sh_heartbeat", .jobs = jobs};

    const enum status status = call_kept(conn, holder, &kept, err);
    *alive = kept.total;
    return status;
}

/* ---- the black box: one short-lived key a job, `sh:{Q}:phase:<id>`
 * -------------------------------- */

enum { PHASE_TTL_MS = 60 * 60 * 1000 };

static void name_key(const struct queue *queue, const struct job *job, char *out, size_t size)
{
    snprintf(out, size, "%s:phase:%.*s", queue->base, (int)job->id.bytes, job->id.data);
}

/* One command a job, in one pipeline: SET with a value, UNLINK without. */
static enum status note_all(struct redis_conn *conn, const struct queue *queue, const char *value,
                            struct queue_jobs jobs, struct error *err)
{
    struct redis_pipeline pipeline = {.conn = conn};
    char key[QUEUE_BASE_BYTES + TEXT_ID_MAX + 16];

    for (size_t i = 0; i < jobs.count; i++) {
        name_key(queue, jobs.jobs[i], key, sizeof key);
        if (value != NULL) {
            redis_pipelinef(&pipeline, "SET %s %s PX %d", key, value, PHASE_TTL_MS);
        } else {
            redis_pipelinef(&pipeline, "UNLINK %s", key);
        }
    }
    return redis_pipeline_end(&pipeline, err);
}

enum status queue_write_phase(struct redis_conn *conn, const struct queue_holder *holder,
                              const char *phase, struct queue_jobs jobs, struct error *err)
{
    char value[160];

    snprintf(value, sizeof value, "%s %s", phase, holder->consumer);
    return note_all(conn, holder->queue, value, jobs, err);
}

enum status queue_erase_phase(struct redis_conn *conn, const struct queue *queue,
                              struct queue_jobs jobs, struct error *err)
{
    return note_all(conn, queue, NULL, jobs, err);
}
