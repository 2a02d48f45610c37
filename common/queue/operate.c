#include <stdio.h>
#include <string.h>

#include "queue/internal.h"
#include "queue/operate.h"

const char *const queue_counter_names[QUEUE_COUNTERS] = {
    [QUEUE_ENQUEUED] = "enqueued", [QUEUE_DEDUPLICATED] = "deduplicated",
    [QUEUE_REFUSED] = "refused",   [QUEUE_DONE] = "done",
    [QUEUE_RETRIED] = "retried",   [QUEUE_BURIED] = "buried",
    [QUEUE_EXPIRED] = "expired",   [QUEUE_RECLAIMED] = "reclaimed",
    [QUEUE_REQUEUED] = "requeued", [QUEUE_DISCARDED] = "discarded",
    [QUEUE_PARKED] = "parked",     [QUEUE_RESET] = "reset",
};

/* ---- stats --------------------------------------------------------------------------------- */

/* Where the value of a field goes; NULL for one that a newer library added. */
static int64_t *place_of(struct queue_stats *stats, int64_t *paused, const char *name)
{
    const struct {
        const char *name;
        int64_t *place;
    } places[] = {
        {"waiting", &stats->waiting},
        {"running", &stats->running},
        {"delayed", &stats->delayed},
        {"dead", &stats->dead},
        {"paused", paused},
        {"oldest_ms", &stats->oldest_ms},
        {"adjusted", &stats->adjusted},
    };

    for (size_t i = 0; i < sizeof places / sizeof places[0]; i++) {
        if (strcmp(places[i].name, name) == 0) {
            return places[i].place;
        }
    }
    for (size_t i = 0; i < QUEUE_COUNTERS; i++) {
        if (strcmp(queue_counter_names[i], name) == 0) {
            return &stats->counters[i];
        }
    }
    return NULL;
}

/* How sh_stats begins a fault's sentence. */
static const char fault_marker[] = "key \"";

static void add_fault(struct queue_stats *stats, const char *sentence)
{
    const size_t used = strlen(stats->fault);

    snprintf(stats->fault + used, sizeof stats->fault - used, "%s%s", used > 0 ? "; " : "",
             sentence);
    stats->faults++;
}

static enum status parse_stats(const redisReply *reply, struct queue_stats *out, struct error *err)
{
    int64_t paused = 0;

    *out = (struct queue_stats){0};
    for (size_t i = 0; i + 1 < reply->elements; i += 2) {
        const redisReply *name = reply->element[i];
        const redisReply *value = reply->element[i + 1];
        if (name->type != REDIS_REPLY_STRING || value->type != REDIS_REPLY_INTEGER) {
            return queue_bad_shape("sh_stats", err);
        }
        int64_t *place = place_of(out, &paused, name->str);
        if (place != NULL) {
            *place = value->integer;
        } else if (strncmp(name->str, fault_marker, sizeof fault_marker - 1) == 0) {
            add_fault(out, name->str);
        }
    }
    out->paused = paused != 0;
    return STATUS_OK;
}

enum status queue_get_stats(struct redis_conn *conn, const struct queue *queue,
                            struct queue_stats *out, struct error *err)
{
    redisReply *reply = NULL;

    TRY(redis_fetchf(conn, "[", &reply, err, "FCALL_RO sh_stats 1 %s", queue->base));
    const enum status status = parse_stats(reply, out, err);
    redis_reply_free(reply);
    return status;
}

/* What the books are added up with: no number of jobs, or of a foreign hand, is beyond. */
static int64_t bounded(int64_t number)
{
    static const int64_t most = INT64_C(1) << 53;

    return number > most ? most : number < -most ? -most : number;
}

struct queue_balance queue_check_balance(const struct queue_stats *stats)
{
    int64_t counted[QUEUE_COUNTERS];

    for (size_t i = 0; i < QUEUE_COUNTERS; i++) {
        counted[i] = bounded(stats->counters[i]);
    }
    return (struct queue_balance){
        .jobs = counted[QUEUE_ENQUEUED] + counted[QUEUE_REQUEUED] + bounded(stats->adjusted) -
                (counted[QUEUE_DONE] + counted[QUEUE_BURIED] + counted[QUEUE_EXPIRED] +
                 bounded(stats->waiting) + bounded(stats->running) + bounded(stats->delayed)),
        .dead = counted[QUEUE_BURIED] -
                (bounded(stats->dead) + counted[QUEUE_REQUEUED] + counted[QUEUE_DISCARDED]),
    };
}

/* ---- dead letters and the pause ------------------------------------------------------------ */

/* Starts a call about dead letters; INVALID where they are too many. */
static enum status name_letters(const struct queue *queue, const char *function,
                                struct queue_letters letters, struct redis_args *args,
                                struct error *err)
{
    if (letters.count > QUEUE_BATCH_MAX) {
        return error_set(err, STATUS_INVALID, "%zu dead letters in a call: expected at most %d",
                         letters.count, QUEUE_BATCH_MAX);
    }
    queue_args_start(args, function, queue->base);
    for (size_t i = 0; i < letters.count; i++) {
        redis_args_slice(args, letters.entries[i]);
    }
    return STATUS_OK;
}

/* A call ends when the letters were large: the same again takes the rest, until none is left. */
enum status queue_requeue(struct redis_conn *conn, const struct queue *queue,
                          struct queue_letters letters, size_t *moved, struct error *err)
{
    size_t some = letters.count;

    *moved = 0;
    while (some > 0 && *moved < letters.count) {
        struct redis_args args = {0};
        some = 0;
        TRY(name_letters(queue, "sh_requeue", letters, &args, err));
        TRY(queue_call_count(conn, &args, &some, err));
        *moved += some;
    }
    return STATUS_OK;
}

enum status queue_discard(struct redis_conn *conn, const struct queue *queue,
                          struct queue_letters letters, size_t *moved, struct error *err)
{
    struct redis_args args = {0};

    *moved = 0;
    if (letters.count == 0) {
        return STATUS_OK;
    }
    TRY(name_letters(queue, "sh_discard", letters, &args, err));
    return queue_call_count(conn, &args, moved, err);
}

enum status queue_limit_bytes(struct redis_conn *conn, const struct queue *queue, int64_t bytes,
                              struct error *err)
{
    return redis_fetchf(conn, "+", NULL, err, "FCALL sh_limit 1 %s %jd", queue->base, bytes);
}

enum status queue_trim_dead(struct redis_conn *conn, const struct queue *queue,
                            const struct queue_dead_bounds *bounds, size_t *discarded,
                            struct error *err)
{
    return queue_countf(conn, discarded, err, "FCALL sh_trim 1 %s %jd %jd %jd", queue->base,
                        bounds->letters, bounds->ttl_ms, bounds->bytes);
}

/* Of any text that a foreign hand put there, the start. */
static void add_parked(struct queue_parked *out, const redisReply *operation,
                       const redisReply *jobs)
{
    if (out->count < QUEUE_PARKED_KINDS && operation->type == REDIS_REPLY_STRING &&
        jobs->type == REDIS_REPLY_INTEGER) {
        snprintf(out->each[out->count].operation, sizeof out->each[0].operation, "%s",
                 operation->str);
        out->each[out->count++].jobs = jobs->integer;
    }
}

enum status queue_get_parked(struct redis_conn *conn, const struct queue *queue,
                             struct queue_parked *out, struct error *err)
{
    redisReply *reply = NULL;

    *out = (struct queue_parked){.count = 0};
    enum status status =
        redis_fetchf(conn, "[", &reply, err, "FCALL_RO sh_parked 1 %s 0", queue->base);
    if (status != STATUS_OK) {
        return status;
    }
    if (reply->elements % 2 != 1 || reply->element[0]->type != REDIS_REPLY_INTEGER) {
        status = queue_bad_shape("sh_parked", err);
    } else {
        out->is_all = reply->element[0]->integer < 0;
        for (size_t i = 1; i + 1 < reply->elements; i += 2) {
            add_parked(out, reply->element[i], reply->element[i + 1]);
        }
    }
    redis_reply_free(reply);
    return status;
}

enum status queue_unpark_some(struct redis_conn *conn, const struct queue *queue, int64_t *passed,
                              int64_t *released, struct error *err)
{
    redisReply *reply = NULL;

    *released = 0;
    TRY(redis_fetchf(conn, "ii", &reply, err, "FCALL sh_unpark 1 %s %jd", queue->base, *passed));
    *passed = reply->element[0]->integer;
    *released = reply->element[1]->integer;
    redis_reply_free(reply);
    return STATUS_OK;
}

enum status queue_unpark(struct redis_conn *conn, const struct queue *queue, int64_t *released,
                         struct error *err)
{
    int64_t passed = 0;

    *released = 0;
    while (passed >= 0) {
        int64_t more = 0;
        TRY(queue_unpark_some(conn, queue, &passed, &more, err));
        *released += more;
    }
    return STATUS_OK;
}

enum status queue_pause(struct redis_conn *conn, const struct queue *queue, bool paused,
                        struct error *err)
{
    return redis_fetchf(conn, "+", NULL, err, "FCALL sh_pause 1 %s %d", queue->base,
                        paused ? 1 : 0);
}

/* ---- putting things right -------------------------------------------------------------------- */

enum status queue_purge(struct redis_conn *conn, const struct queue *queue, size_t limit,
                        size_t *purged, struct error *err)
{
    return queue_countf(conn, purged, err, "FCALL sh_purge 1 %s %zu", queue->base,
                        limit > QUEUE_BATCH_MAX ? QUEUE_BATCH_MAX : limit);
}

/* {cursor, count} of `function`; frees the reply. */
static enum status take_orphans(redisReply *reply, const char *function,
                                char cursor[QUEUE_CURSOR_BYTES], size_t *count, struct error *err)
{
    enum status status = STATUS_OK;

    if (redis_reply_is_row(reply, "si") && (size_t)reply->element[0]->len < QUEUE_CURSOR_BYTES &&
        reply->element[1]->integer >= 0) {
        snprintf(cursor, QUEUE_CURSOR_BYTES, "%s", reply->element[0]->str);
        *count = (size_t)reply->element[1]->integer;
    } else {
        status = queue_bad_shape(function, err);
    }
    redis_reply_free(reply);
    return status;
}

enum status queue_count_orphans(struct redis_conn *conn, const struct queue *queue,
                                char cursor[QUEUE_CURSOR_BYTES], size_t *count, struct error *err)
{
    redisReply *reply = NULL;

    *count = 0;
    TRY(redis_fetchf(conn, "[", &reply, err, "FCALL_RO sh_orphans 1 %s %s", queue->base, cursor));
    return take_orphans(reply, "sh_orphans", cursor, count, err);
}

enum status queue_adopt_orphans(struct redis_conn *conn, const struct queue *queue,
                                char cursor[QUEUE_CURSOR_BYTES], size_t *count, struct error *err)
{
    redisReply *reply = NULL;

    *count = 0;
    TRY(redis_fetchf(conn, "[", &reply, err, "FCALL sh_adopt 1 %s %s", queue->base, cursor));
    return take_orphans(reply, "sh_adopt", cursor, count, err);
}

enum status queue_repair(struct redis_conn *conn, const struct queue *queue,
                         struct queue_balance *was, struct error *err)
{
    redisReply *reply = NULL;

    *was = (struct queue_balance){0};
    TRY(redis_fetchf(conn, "ii", &reply, err, "FCALL sh_repair 1 %s", queue->base));
    *was = (struct queue_balance){reply->element[0]->integer, reply->element[1]->integer};
    redis_reply_free(reply);
    return STATUS_OK;
}
