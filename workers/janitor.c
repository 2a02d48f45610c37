/* The rounds of the janitor: runs what is due, looks after the connection. See janitor.h.
 *
 * A round begins every 200 ms, or at once when a chore has more to do. On close the registration
 * ends, so that the worker is gone at once.
 */
#include "janitor.h"

#include "clock.h"
#include "registration.h"

enum {
    TICK_MS = 200,
    FAILED_WAIT_MS = 1000,
    INSTALL_EVERY_MS = 1000,
    LOG_EVERY_MS = 5000,
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

/* Runs one chore where it is due; false when the connection is lost, and the round with it. */
static bool run_chore(struct janitor *janitor, const struct chore *chore, size_t queue,
                      int64_t *due_ms, struct log_limit *limit)
{
    struct error err = {0};
    struct turn turn = {queue, chore->every_ms};

    if (clock_now_ms() < *due_ms) {
        return true;
    }
    const enum status status = chore->run(janitor, &turn, &err);
    if (status != STATUS_OK) {
        redis_conn_abandon(janitor->conn);
        complain(limit, chore, &err);
        turn.wait_ms = chore->every_ms < FAILED_WAIT_MS ? chore->every_ms : FAILED_WAIT_MS;
    }
    *due_ms = clock_now_ms() + turn.wait_ms;
    janitor->has_more = janitor->has_more || turn.wait_ms == 0;
    if (status == STATUS_REFUSED && redis_conn_is_open(janitor->conn)) {
        install_again(janitor);
    }
    return status == STATUS_OK || redis_conn_is_open(janitor->conn);
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
    janitor->has_more = false;
    bool connected = run_own(janitor);

    for (size_t i = 0; i < chores_queue.count; i++) {
        for (size_t q = 0; q < janitor->fleet->queue_count && connected; q++) {
            connected = run_chore(janitor, &chores_queue.rows[i], q, &janitor->queue_due_ms[i][q],
                                  &janitor->log_limits[1][i]);
        }
    }
}

void *janitor_run(void *argument)
{
    struct janitor janitor = {.fleet = argument};
    struct redis_url url;
    struct error err = {0};

    if (redis_url_parse(janitor.fleet->settings->redis_url, &url, &err) == STATUS_OK) {
        janitor.conn = redis_conn_new(&url, (struct redis_timeouts){3000, 5000});
    }
    if (janitor.conn == NULL) {
        log_error("janitor: no connection object");
        return NULL;
    }
    while (atomic_load(&janitor.fleet->lanes_running) > 0) {
        run_round(&janitor);
        if (!janitor.has_more) {
            clock_sleep_ms(TICK_MS);
        }
    }
    registration_end(janitor.conn, janitor.fleet);
    redis_conn_free(janitor.conn);
    return NULL;
}
