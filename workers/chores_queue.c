/* The chores of a queue, done by one worker of those that serve it. See janitor.h. */
#include "janitor.h"

enum { REAP_IDLE_MS = 600000, PROMOTE_LIMIT = 1000 };

/* Moves due jobs to their streams. */
static enum status promote(struct janitor *janitor, struct turn *turn, struct error *err)
{
    size_t moved = 0;
    int64_t next_ms = 0;

    enum status status = queue_promote(janitor->conn, &janitor->fleet->queues[turn->queue],
                                       PROMOTE_LIMIT, &moved, &next_ms, err);
    if (moved > 0 && next_ms == 0) {
        turn->wait_ms = 0; /* the slice was too small for what is due */
    }
    return status;
}

/* Dead letters over their bound leave loudly: somebody may have wanted to read them. */
static enum status trim(struct janitor *janitor, struct turn *turn, struct error *err)
{
    const struct queue *trimmed = &janitor->fleet->queues[turn->queue];
    const struct settings *settings = janitor->fleet->settings;
    size_t gone = 0;
    enum status status = queue_trim_dead(janitor->conn, trimmed, settings->max_dead,
                                         settings->dead_ttl_ms, &gone, err);

    if (gone > 0) {
        log_warning("queue \"%s\": %zu dead letters over STILLHOUSE_MAX_DEAD or "
                    "STILLHOUSE_DEAD_TTL discarded",
                    trimmed->name, gone);
        turn->wait_ms = 0; /* there may be more */
    }
    return status;
}

/* Takes consumers out of the groups that are long gone. */
static enum status reap(struct janitor *janitor, struct turn *turn, struct error *err)
{
    const struct queue *reaped = &janitor->fleet->queues[turn->queue];
    size_t removed = 0;
    enum status status = queue_reap(janitor->conn, reaped, REAP_IDLE_MS, &removed, err);

    if (removed > 0) {
        log_info("queue \"%s\": %zu gone consumers removed", reaped->name, removed);
    }
    return status;
}

static const struct chore rows[] = {
    {"promote", 200, promote},
    {"trim", 60000, trim},
    {"reap", 60000, reap},
};

const struct chores chores_queue = {rows, sizeof rows / sizeof rows[0]};
