#include "process/duty.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/log.h"
#include "jobs/library.h"
#include "queue/keys.h"
#include "queue/limits.h"
#include "queue/queue.h"

enum {
    ALIVE_TTL_MS = 4200,        /* the beat is a chore of every 3 s */
    FULL_LOOK_EVERY_MS = 38000, /* well within a lease, which it prolongs */
    FULL_LOOK_OTHERS_MS = 150000,
    LOOK_AGAIN_MS = 300, /* somebody else is taking leases right now */
    LOOK_LATE_MS = 25,
    PROMPT_LOOKERS = 3, /* in a fleet of so many everybody looks as soon as it makes sense */
    SPREAD_MS = 1000,   /* a worker more: the others look later by so much at most */
    SPREAD_MAX_MS = 25000,
    SELF_LOOK_MS = 20000, /* no holder but ourselves */
};

void duty_init(struct duty *duty, struct worker *worker, struct redis_conn *conn)
{
    *duty = (struct duty){.worker = worker, .conn = conn, .random.state = (uint64_t)clock_now_ns()};
}

bool duty_holds_any(const struct duty *duty)
{
    for (size_t i = 0; i < duty->worker->queue_count; i++) {
        if (duty->holds[i]) {
            return true;
        }
    }
    return false;
}

static void set_holds(struct duty *duty, size_t queue, bool holds)
{
    if (duty->holds[queue] != holds) {
        duty->holds[queue] = holds;
        duty->changes++;
        log_debug("queue \"%s\": its chores are %s", duty->worker->queues[queue].name,
                  holds ? "ours" : "another worker's");
    }
    if (holds) {
        snprintf(duty->holder[queue], sizeof duty->holder[queue], "%s", duty->worker->id);
    }
}

static enum status take(struct duty *duty, const char *key, int64_t ttl_ms, bool *taken,
                        struct error *err)
{
    return lease_take(duty->conn, &(struct lease){key, duty->worker->id, ttl_ms}, taken, err);
}

static const char *alive_key(const struct duty *duty, char key[KEYS_BYTES], const char *id)
{
    return keys_name(key, KEYS_ALIVE, duty->worker->settings->prefix, id);
}

/* GETEX: it needs no memory, and says whether the key was there still. */
enum status duty_beat(struct duty *duty, struct error *err)
{
    char key[KEYS_BYTES];
    redisReply *reply = NULL;

    if (!duty_holds_any(duty)) {
        return STATUS_OK;
    }
    enum status status = redis_commandf(duty->conn, &reply, err, "GETEX %s PX %d",
                                        alive_key(duty, key, duty->worker->id), (int)ALIVE_TTL_MS);
    const bool lapsed = status == STATUS_OK && reply->type != REDIS_REPLY_STRING;
    redis_reply_free(reply);
    if (lapsed || (status != STATUS_OK && redis_is_wrong_type(err))) {
        duty->full_look_at_ms = 0; /* others may have taken it: look before the next chore */
        int64_t wait_ms = 0;
        return duty_look(duty, &wait_ms, err);
    }
    return status;
}

/* ms until the holder's key ends, 0 and less when it is dead. One without an end is no holder's. */
static enum status ask_alive(struct duty *duty, const char *holder, int64_t *left_ms,
                             struct error *err)
{
    char key[KEYS_BYTES];
    redisReply *reply = NULL;
    enum status status =
        redis_commandf(duty->conn, &reply, err, "PTTL %s", alive_key(duty, key, holder));

    *left_ms = 0;
    if (status == STATUS_OK && reply->type == REDIS_REPLY_INTEGER &&
        reply->integer <= ALIVE_TTL_MS) {
        *left_ms = reply->integer;
    }
    redis_reply_free(reply);
    return status;
}

/* Who stands for `queue` has stood for one before it: it was asked about already. */
static bool is_known(const struct duty *duty, size_t queue)
{
    for (size_t i = 0; i < queue; i++) {
        if (strcmp(duty->holder[i], duty->holder[queue]) == 0) {
            return true;
        }
    }
    return false;
}

/* Whoever held it may listen for tokens still. */
static void note_left(struct duty *duty, size_t queue)
{
    if (duty->holder[queue][0] != '\0' && !duty->holds[queue]) {
        duty->left_ms = clock_now_ms();
    }
}

/* Reads who holds what. */
static enum status read_leases(struct duty *duty, struct error *err)
{
    const struct worker *worker = duty->worker;
    struct redis_args args = {0};
    redisReply *reply = NULL;

    redis_args_str(&args, "MGET");
    for (size_t i = 0; i < worker->queue_count; i++) {
        redis_args_str(&args, worker->queues[i].lease);
    }
    enum status status = redis_conn_command(duty->conn, &args, &reply, err);
    redis_args_free(&args);
    for (size_t i = 0; status == STATUS_OK && i < worker->queue_count && i < reply->elements; i++) {
        const redisReply *name = reply->element[i];
        const bool is_name = name->type == REDIS_REPLY_STRING;
        if (!is_name || strcmp(name->str, duty->holder[i]) != 0) {
            note_left(duty, i);
        }
        snprintf(duty->holder[i], sizeof duty->holder[i], "%s", is_name ? name->str : "");
        set_holds(duty, i, is_name && strcmp(name->str, worker->id) == 0);
    }
    redis_reply_free(reply);
    return status;
}

/* Ends the leases of `holder`, so that they can be taken. */
static enum status take_from(struct duty *duty, const char *holder, struct error *err)
{
    for (size_t i = 0; i < duty->worker->queue_count; i++) {
        if (strcmp(duty->holder[i], holder) == 0) {
            note_left(duty, i);
            duty->holder[i][0] = '\0';
            TRY(lease_release(duty->conn, duty->worker->queues[i].lease, holder, err));
        }
    }
    return STATUS_OK;
}

/* A worker of a newer version has the leases, not one of an older: it is the one that sees to it
 * that the newest functions are in force. An older holder finds out with its next look at the
 * leases. */
static enum status ask_older(struct duty *duty, const char *holder, bool *older, struct error *err)
{
    char key[KEYS_BYTES];
    redisReply *reply = NULL;
    const enum status status =
        redis_commandf(duty->conn, &reply, err, "HGET %s functions",
                       keys_name(key, KEYS_WORKER, duty->worker->settings->prefix, holder));

    *older = status == STATUS_OK && reply->type == REDIS_REPLY_STRING &&
             strtoll(reply->str, NULL, 10) < queue_library_version();
    redis_reply_free(reply);
    /* Of another type: it makes way when that worker registers. */
    return status == STATUS_REFUSED ? STATUS_OK : status;
}

/* Asks after every holder but ourselves, and takes from those that are dead or older. *left_ms is
 * the least time that one of the others has left. */
static enum status ask_holders(struct duty *duty, int64_t *left_ms, struct error *err)
{
    for (size_t i = 0; i < duty->worker->queue_count; i++) {
        char holder[sizeof duty->holder[i]];
        int64_t one_ms = 0;
        bool older = false;
        if (duty->holder[i][0] == '\0' || duty->holds[i] || is_known(duty, i)) {
            continue;
        }
        snprintf(holder, sizeof holder, "%s", duty->holder[i]);
        TRY(ask_alive(duty, holder, &one_ms, err));
        if (one_ms > 0) {
            *left_ms = one_ms < *left_ms ? one_ms : *left_ms;
            TRY(ask_older(duty, holder, &older, err));
        }
        if (one_ms <= 0 || older) {
            TRY(take_from(duty, holder, err));
        }
    }
    return STATUS_OK;
}

/* The queue with the least name that nobody holds and that was not asked for yet; -1 for none. */
static int next_free(const struct duty *duty, const bool *asked)
{
    const struct queue *queues = duty->worker->queues;
    int found = -1;

    for (size_t i = 0; i < duty->worker->queue_count; i++) {
        if (duty->holder[i][0] == '\0' && !asked[i] &&
            (found < 0 || strcmp(queues[i].name, queues[found].name) < 0)) {
            found = (int)i;
        }
    }
    return found;
}

/* Moves the end of a lease that is ours. It is as good as our own key, and ends for queues that
 * nobody serves any more. */
static enum status prolong(struct duty *duty, size_t queue, struct error *err)
{
    return redis_commandf(duty->conn, NULL, err, "PEXPIRE %s %d", duty->worker->queues[queue].lease,
                          (int)LIBRARY_LEASE_MAX_MS);
}

/* Takes what nobody holds; *refused: somebody else is doing so right now. */
static enum status take_free(struct duty *duty, bool *refused, struct error *err)
{
    bool asked[READER_QUEUES_MAX] = {false};
    char key[KEYS_BYTES];
    bool taken = true;
    int queue = next_free(duty, asked);

    if (queue < 0 && !duty_holds_any(duty)) {
        return STATUS_OK;
    }
    /* Alive first, or another one would take it from us at once. */
    TRY(take(duty, alive_key(duty, key, duty->worker->id), ALIVE_TTL_MS, &taken, err));
    for (; queue >= 0 && !*refused; queue = next_free(duty, asked)) {
        asked[queue] = true;
        TRY(take(duty, duty->worker->queues[queue].lease, LIBRARY_LEASE_MAX_MS, &taken, err));
        *refused = !taken;
        if (taken) {
            set_holds(duty, (size_t)queue, true);
        }
    }
    return STATUS_OK;
}

static enum status look_at_all(struct duty *duty, int64_t *left_ms, struct error *err)
{
    bool refused = false;

    duty->full_look_at_ms = 0; /* again at once, where this one is not finished */
    TRY(read_leases(duty, err));
    TRY(ask_holders(duty, left_ms, err));
    TRY(take_free(duty, &refused, err));
    for (size_t i = 0; i < duty->worker->queue_count; i++) {
        if (duty->holds[i]) {
            TRY(prolong(duty, i, err));
        }
    }
    if (refused) {
        *left_ms = LOOK_AGAIN_MS;
    } else {
        duty->full_look_at_ms =
            clock_now_ms() + (duty_holds_any(duty) ? FULL_LOOK_EVERY_MS : FULL_LOOK_OTHERS_MS);
    }
    return STATUS_OK;
}

/* How much later than at once this worker looks. */
static int64_t spread(struct duty *duty)
{
    const int64_t others = atomic_load(&duty->worker->fleet_size) - PROMPT_LOOKERS;
    int64_t most_ms = others > 0 ? others * SPREAD_MS : 0;

    most_ms = most_ms > SPREAD_MAX_MS ? SPREAD_MAX_MS : most_ms;
    return most_ms == 0 ? 0 : (int64_t)(retry_random_next(&duty->random) % (uint64_t)most_ms);
}

enum status duty_look(struct duty *duty, int64_t *wait_ms, struct error *err)
{
    int64_t left_ms = SELF_LOOK_MS;
    bool all_alive = true;

    *wait_ms = left_ms;
    for (size_t i = 0; i < duty->worker->queue_count && all_alive; i++) {
        int64_t one_ms = 0;
        if (duty->holds[i] || is_known(duty, i)) {
            continue;
        }
        if (duty->holder[i][0] != '\0') {
            TRY(ask_alive(duty, duty->holder[i], &one_ms, err));
        }
        all_alive = one_ms > 0;
        left_ms = one_ms < left_ms ? one_ms : left_ms;
    }
    if (!all_alive || clock_now_ms() >= duty->full_look_at_ms) {
        left_ms = SELF_LOOK_MS;
        TRY(look_at_all(duty, &left_ms, err));
    }
    *wait_ms = left_ms + LOOK_LATE_MS + (left_ms == LOOK_AGAIN_MS ? 0 : spread(duty));
    return STATUS_OK;
}

void duty_end(struct duty *duty)
{
    const char *id = duty->worker->id;
    char key[KEYS_BYTES];
    struct error err = {0};

    if (!duty_holds_any(duty)) {
        return;
    }
    enum status status = lease_release(duty->conn, alive_key(duty, key, id), id, &err);
    for (size_t i = 0; i < duty->worker->queue_count; i++) {
        if (duty->holds[i] && status == STATUS_OK) {
            status = lease_release(duty->conn, duty->worker->queues[i].lease, id, &err);
        }
        set_holds(duty, i, false);
        duty->holder[i][0] = '\0';
    }
    if (status != STATUS_OK) {
        log_debug("the chores are left to others: %s", err.text);
    }
}
