/* The chores of a queue, done by one worker of those that serve it. See janitor.h. */
#include "process/janitor.h"

#include <string.h>

#include "base/clock.h"

enum {
    REAP_IDLE_MS = 600000,
    PROMOTE_LIMIT = 1000,
    PROMOTE_EVERY_MS = 180000, /* when nothing is due before */
    PROMOTE_DEAF_MS = 1000,
    PROMOTE_PAUSED_MS = 500,
    ADOPT_NEXT_MS = 100, /* behind a slice of which none was put back, or could be */
    FEW_QUEUES = 4,
    STILL_AFTER_MS = 120000,
    STILL_TIMES = 5,
};

/* For what only becomes due where jobs move or stand: a queue in which nothing of the kind was seen
 * for a while is looked at less often. */
static int64_t when_still(const struct janitor *janitor, size_t queue, int64_t every_ms)
{
    const int64_t jobs_ms = reader_last_jobs_ms(janitor->fleet->reader, queue);
    const int64_t old_ms = janitor->old_ms[queue];
    const int64_t last_ms = jobs_ms > old_ms ? jobs_ms : old_ms;

    return last_ms == 0 || clock_now_ms() - last_ms > STILL_AFTER_MS ? every_ms * STILL_TIMES
                                                                     : every_ms;
}

/* `every_ms` for up to a few queues; with many each comes less often, so that they cost no more. */
static int64_t stretched(const struct janitor *janitor, int64_t every_ms)
{
    const int64_t queues = (int64_t)janitor->fleet->queue_count;

    return queues <= FEW_QUEUES ? every_ms : every_ms * queues / FEW_QUEUES;
}

static enum status ask_paused(struct janitor *janitor, const struct queue *queue, bool *paused,
                              struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    redis_args_str(&args, "EXISTS");
    redis_args_str(&args, queue->paused);
    enum status status = redis_conn_command(janitor->conn, &args, &reply, err);
    *paused = status == STATUS_OK && reply->type == REDIS_REPLY_INTEGER && reply->integer > 0;
    redis_reply_free(reply);
    redis_args_free(&args);
    return status;
}

/* Moves due jobs to their streams, and sleeps until the next one is due. Who delays a job that is
 * due earlier leaves a token; so does who resumes the queue. */
static enum status promote(struct janitor *janitor, struct turn *turn, struct error *err)
{
    const struct queue *queue = &janitor->fleet->queues[turn->queue];
    const int64_t most_ms =
        janitor_is_deaf(janitor) ? PROMOTE_DEAF_MS : stretched(janitor, turn->wait_ms);
    size_t moved = 0;
    int64_t next_ms = 0;
    bool paused = false;
    enum status status = queue_promote(janitor->conn, queue, PROMOTE_LIMIT, &moved, &next_ms, err);

    if (status == STATUS_OK && next_ms < 0) {
        status = ask_paused(janitor, queue, &paused, err);
    }
    turn->wait_ms = next_ms < 0 || next_ms > most_ms ? most_ms : next_ms;
    if (paused) {
        turn->wait_ms = PROMOTE_PAUSED_MS;
    }
    if (moved == 0 && next_ms == 0) {
        turn->wait_ms = 1; /* due in less than a millisecond */
    }
    return status;
}

/* Dead letters over their bound leave loudly: somebody may have wanted to read them. */
static enum status trim(struct janitor *janitor, struct turn *turn, struct error *err)
{
    const struct queue *trimmed = &janitor->fleet->queues[turn->queue];
    const struct settings *settings = janitor->fleet->settings;
    size_t gone = 0;
    const struct queue_dead_bounds bounds = {settings->max_dead, settings->dead_ttl_ms,
                                             settings->max_dead_bytes};
    enum status status = queue_trim_dead(janitor->conn, trimmed, &bounds, &gone, err);

    if (gone > 0) {
        log_warning("queue \"%s\": %zu dead letters over STILLHOUSE_MAX_DEAD, _MAX_DEAD_BYTES or "
                    "_DEAD_TTL discarded",
                    trimmed->name, gone);
        turn->wait_ms = 0; /* there may be more */
    } else {
        turn->wait_ms = when_still(janitor, turn->queue, stretched(janitor, turn->wait_ms));
    }
    return status;
}

/* Takes consumers out of the groups that are long gone. */
static enum status reap(struct janitor *janitor, struct turn *turn, struct error *err)
{
    const struct queue *reaped = &janitor->fleet->queues[turn->queue];
    size_t removed = 0;
    turn->wait_ms = when_still(janitor, turn->queue, stretched(janitor, turn->wait_ms));
    enum status status = queue_reap(janitor->conn, reaped, REAP_IDLE_MS, &removed, err);

    if (removed > 0) {
        log_info("queue \"%s\": %zu gone consumers removed", reaped->name, removed);
    }
    return status;
}

/* Puts back what nobody would ever run. */
static enum status adopt(struct janitor *janitor, struct turn *turn, struct error *err)
{
    const struct queue *adopted = &janitor->fleet->queues[turn->queue];
    char *cursor = janitor->orphans[turn->queue];
    size_t count = 0;

    if (cursor[0] == '\0') {
        memcpy(cursor, "0", 2);
    }
    enum status status = queue_adopt_orphans(janitor->conn, adopted, cursor, &count, err);
    if (cursor[0] == '\0') {
        turn->wait_ms = when_still(janitor, turn->queue, stretched(janitor, turn->wait_ms));
    } else {
        turn->wait_ms = count > 0 ? 0 : ADOPT_NEXT_MS;
    }
    if (status != STATUS_OK) {
        cursor[0] = '\0';
    }
    if (count > 0) {
        log_warning("queue \"%s\": %zu jobs that nobody would ever run are put back; somebody took "
                    "them out of the group by hand",
                    adopted->name, count);
    }
    return status;
}

/* Tells those who enqueue what the backlog may weigh. */
static enum status limit(struct janitor *janitor, struct turn *turn, struct error *err)
{
    turn->wait_ms = stretched(janitor, turn->wait_ms);
    return queue_limit_bytes(janitor->conn, &janitor->fleet->queues[turn->queue],
                             janitor->fleet->settings->max_backlog_bytes, err);
}

static const struct chore rows[] = {
    {"promote", PROMOTE_EVERY_MS, promote, true},
    {"trim", 60000, trim, false},
    {"reap", 60000, reap, false},
    {"adopt", 60000, adopt, false},
    {"limit", 60000, limit, false},
};

const struct chores chores_queue = {rows, sizeof rows / sizeof rows[0]};
