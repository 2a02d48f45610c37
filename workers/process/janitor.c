/* The rounds of the janitor: runs what is due, looks after the connection. See janitor.h.
 *
 * A round begins every 200 ms, when a chore is due, or when somebody calls: between rounds the
 * thread waits for a token in a queue's `wake` (a job was delayed that is due before the others:
 * the worker with the queue's lease listens) or `call` (there is more to take than those take who
 * read: everybody listens, whoever has waited longest is served). What else may stand in these keys
 * is thrown away. On close the registration ends, so that the worker is gone at once.
 */
#include "process/janitor.h"

#include <string.h>

#include "base/clock.h"
#include "process/registration.h"
#include "redis/sentinel.h"

enum {
    TICK_MS = 200,
    FAILED_WAIT_MS = 1000,
    INSTALL_EVERY_MS = 1000,
    LOG_EVERY_MS = 5000,
    LISTEN_MS = 40000,
    LISTEN_LATE_MS = 6000,
};

static void complain(struct log_limit *limit, const struct chore *chore, const struct error *err)
{
    long long suppressed = 0;

    if (log_limit_allow(limit, clock_now_ms(), LOG_EVERY_MS, &suppressed)) {
        log_warning("janitor: %s: %s (%lld more like it)", chore->name, err->text, suppressed);
    }
}

/* After a refusal: the functions may be gone (FUNCTION FLUSH, a Redis that lost its data). The
 * texts of refusals differ, so the library is asked for. */
static void install_again(struct janitor *janitor)
{
    const int64_t now_ms = clock_now_ms();
    bool loaded = false;

    if (now_ms < janitor->install_at_ms) {
        return;
    }
    janitor->install_at_ms = now_ms + INSTALL_EVERY_MS;
    if (queue_install(janitor->conn, &loaded, NULL) == STATUS_OK && loaded) {
        log_warning("the function library was gone and is loaded again");
    }
}

static void note_due(struct janitor *janitor, int64_t due_ms)
{
    janitor->next_due_ms = due_ms < janitor->next_due_ms ? due_ms : janitor->next_due_ms;
}

/* Runs one chore where it is due; false when the connection is lost, and the round with it. */
static bool run_chore(struct janitor *janitor, const struct chore *chore, size_t queue,
                      int64_t *due_ms, struct log_limit *limit)
{
    struct error err = {0};
    struct turn turn = {queue, chore->every_ms};

    if (clock_now_ms() < *due_ms) {
        note_due(janitor, *due_ms);
        return true;
    }
    const enum status status = chore->run(janitor, &turn, &err);
    if (status != STATUS_OK) {
        redis_conn_abandon(janitor->conn);
        complain(limit, chore, &err);
        turn.wait_ms = chore->every_ms < FAILED_WAIT_MS ? chore->every_ms : FAILED_WAIT_MS;
    }
    *due_ms = clock_now_ms() + turn.wait_ms;
    note_due(janitor, *due_ms);
    if (status == STATUS_REFUSED && redis_conn_is_open(janitor->conn)) {
        install_again(janitor);
    }
    const bool connected = status == STATUS_OK || redis_conn_is_open(janitor->conn);
    if (!connected || redis_conn_is_open(janitor->conn)) {
        atomic_store(&janitor->fleet->is_cut_off, !connected);
    }
    return connected;
}

/* The worker's own first: what keeps jobs ours must not come late. */
static bool run_own(struct janitor *janitor)
{
    bool connected = true;

    for (size_t i = 0; i < chores_worker.count && connected; i++) {
        connected = run_chore(janitor, &chores_worker.rows[i], 0, &janitor->worker_due_ms[i],
                              &janitor->log_limits[0][i]);
    }
    return connected;
}

static void run_round(struct janitor *janitor)
{
    struct fleet *fleet = janitor->fleet;

    janitor->next_due_ms = clock_now_ms() + TICK_MS;
    bool connected = run_own(janitor);
    for (size_t i = 0; i < chores_queue.count; i++) {
        for (size_t q = 0; q < fleet->queue_count && connected; q++) {
            if (janitor->duty.holds[q]) {
                connected = run_chore(janitor, &chores_queue.rows[i], q,
                                      &janitor->queue_due_ms[i][q], &janitor->log_limits[1][i]);
            } else {
                janitor->queue_due_ms[i][q] = 0; /* when it is ours: at once */
            }
        }
    }
}

/* ---- listening ------------------------------------------------------------------------------- */

static void hush(struct janitor *janitor)
{
    redis_conn_close(janitor->ear);
    janitor->listening = false;
}

static void wake_queue(struct janitor *janitor, size_t queue)
{
    for (size_t i = 0; i < chores_queue.count; i++) {
        if (chores_queue.rows[i].is_woken) {
            janitor->queue_due_ms[i][queue] = 0;
        }
    }
}

/* What a token may have said meanwhile is looked after without it. */
static void wake_all(struct janitor *janitor)
{
    for (size_t q = 0; q < janitor->fleet->queue_count; q++) {
        wake_queue(janitor, q);
    }
}

/* Not listening: looks more often instead. */
bool janitor_is_deaf(const struct janitor *janitor)
{
    return !janitor->listening;
}

/* Listening failed. Keys of another type are in the way of all others, and worth nothing. */
static void go_deaf(struct janitor *janitor, const struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;
    long long suppressed = 0;

    hush(janitor);
    janitor->listen_at_ms = clock_now_ms() + FAILED_WAIT_MS;
    if (log_limit_allow(&janitor->ear_limit, clock_now_ms(), LOG_EVERY_MS, &suppressed)) {
        log_warning("janitor: listening: %s (%lld more like it)", err->text, suppressed);
    }
    if (redis_is_wrong_type(err)) {
        redis_args_str(&args, "DEL");
        for (size_t q = 0; q < janitor->fleet->queue_count; q++) {
            redis_args_str(&args, janitor->fleet->queues[q].wake);
            redis_args_str(&args, janitor->fleet->queues[q].call);
        }
        if (redis_conn_command(janitor->conn, &args, &reply, NULL) == STATUS_OK) {
            janitor->listen_at_ms = 0;
        }
        redis_reply_free(reply);
        redis_args_free(&args);
    }
    wake_all(janitor);
}

static enum status listen(struct janitor *janitor, struct error *err)
{
    struct fleet *fleet = janitor->fleet;
    struct redis_args args = {0};

    redis_args_str(&args, "BLPOP");
    for (size_t q = 0; q < fleet->queue_count; q++) {
        if (janitor->duty.holds[q]) {
            redis_args_str(&args, fleet->queues[q].wake);
        }
    }
    for (size_t q = 0; q < fleet->queue_count; q++) {
        redis_args_str(&args, fleet->queues[q].call);
    }
    redis_args_int(&args, LISTEN_MS / 1000);
    enum status status = redis_conn_append(janitor->ear, &args, err);
    redis_args_free(&args);
    janitor->listening = status == STATUS_OK;
    janitor->listening_ms = clock_now_ms();
    janitor->listening_change = janitor->duty.changes;
    return status;
}

/* {key, token}, or nil after LISTEN_MS. */
static void heed(struct janitor *janitor, const redisReply *reply)
{
    struct fleet *fleet = janitor->fleet;

    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING) {
        return;
    }
    for (size_t q = 0; q < fleet->queue_count; q++) {
        if (strcmp(reply->element[0]->str, fleet->queues[q].wake) == 0) {
            wake_queue(janitor, q);
        } else if (strcmp(reply->element[0]->str, fleet->queues[q].call) == 0) {
            /* More than others take, or stale jobs while their lanes are busy. */
            reader_call(fleet->reader);
        }
    }
}

static enum status hear(struct janitor *janitor, int64_t wait_ms, struct error *err)
{
    bool ready = false;
    enum status status = redis_conn_wait(janitor->ear, wait_ms, &ready, err);

    if (status == STATUS_OK && !ready &&
        clock_now_ms() - janitor->listening_ms > LISTEN_MS + LISTEN_LATE_MS) {
        return error_set(err, STATUS_TIMEOUT, "redis does not answer");
    }
    if (status != STATUS_OK || !ready) {
        return status;
    }
    redisReply *reply = NULL;
    janitor->listening = false;
    status = redis_conn_collect(janitor->ear, &reply, err);
    if (status == STATUS_OK) {
        status = redis_reply_status(reply, err);
    }
    if (status == STATUS_OK) {
        heed(janitor, reply);
        status = listen(janitor, err);
    }
    redis_reply_free(reply);
    return status;
}

/* Until the next chore is due, or a token comes. */
static void rest(struct janitor *janitor)
{
    struct error err = {0};
    enum status status = STATUS_OK;

    if (janitor->listening && janitor->listening_change != janitor->duty.changes) {
        hush(janitor);
        wake_all(janitor); /* a token may have come and gone */
    }
    if (!janitor->listening && fleet_get_mode(janitor->fleet) == FLEET_RUN &&
        clock_now_ms() >= janitor->listen_at_ms && redis_conn_is_open(janitor->conn)) {
        status = listen(janitor, &err);
    }
    const int64_t wait_ms = janitor->next_due_ms - clock_now_ms();
    if (status == STATUS_OK && janitor->listening) {
        status = hear(janitor, wait_ms > 0 ? wait_ms : 0, &err);
    } else if (wait_ms > 0) {
        clock_sleep_ms(wait_ms);
    }
    if (status != STATUS_OK) {
        go_deaf(janitor, &err);
    }
}

/* ---- life ------------------------------------------------------------------------------------ */

void *janitor_run(void *argument)
{
    struct janitor janitor = {.fleet = argument};
    struct redis_url url;
    struct error err = {0};

    if (redis_url_parse(janitor.fleet->settings->redis_url, &url, &err) == STATUS_OK) {
        janitor.conn = redis_open(&url, (struct redis_timeouts){3000, 5000});
        janitor.ear = redis_open(&url, (struct redis_timeouts){3000, 5000});
    }
    if (janitor.conn == NULL || janitor.ear == NULL) {
        log_error("janitor: no connection object");
        redis_conn_free(janitor.conn);
        redis_conn_free(janitor.ear);
        return NULL;
    }
    janitor.duty.random.state = (uint64_t)clock_now_ns();
    while (atomic_load(&janitor.fleet->lanes_running) > 0) {
        run_round(&janitor);
        rest(&janitor);
    }
    duty_end(&janitor.duty, janitor.fleet, janitor.conn);
    registration_end(janitor.conn, janitor.fleet);
    redis_conn_free(janitor.conn);
    redis_conn_free(janitor.ear);
    return NULL;
}
