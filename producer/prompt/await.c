#include "prompt/await.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "prompt/lookup.h"

/* Redis looks at the clocks of those who wait about ten times a second, so its "nothing came" may
 * come so much late; a Redis that says nothing at all is not waited for longer. */
enum { LATE_MS = 250, PAUSE_MS = 50, PAUSE_MAX_MS = 500 };

struct waiting {
    struct wire *wire;
    const struct queue *queue;
    const char *id;
    int64_t deadline_ms; /* of the whole wait, also where the connection has to be made anew */
    bool begun;          /* Redis was there */
    struct strbuf *out;
};

/* Where "nothing came" is later than we may wait, the connection is given up. That is no sign of a
 * server that hangs, unless nothing was ever answered on this connection: hence the question
 * before. */
static enum status wait_for_reply(struct redis_conn *conn, void *context, struct error *err)
{
    struct waiting *waiting = context;

    enum status status = wire_prove(waiting->wire, err);
    if (status != STATUS_OK) {
        return status;
    }
    const int64_t left_ms = waiting->deadline_ms - clock_now_ms();
    waiting->begun = true;
    strbuf_reset(waiting->out);
    status = queue_await_reply(conn, waiting->queue, waiting->id, left_ms < 0 ? 0 : left_ms,
                               waiting->out, err);
    return status == STATUS_TIMEOUT
               ? error_set(err, STATUS_NOT_FOUND, "no reply for job \"%.64s\" in time", waiting->id)
               : status;
}

/* What may be otherwise while there is time: a restart, a failover, a full Redis, somebody who
 * unblocked us. */
static bool may_pass(const struct waiting *waiting, enum status status)
{
    return waiting->begun &&
           (status == STATUS_UNREACHABLE || status == STATUS_UNAVAILABLE ||
            status == STATUS_TIMEOUT || status == STATUS_OOM || status == STATUS_NOT_FOUND);
}

/* Until the wire tries again, but not beyond the wait. False when that is over. */
static bool pause_for(const struct waiting *waiting, int pause_ms)
{
    const int64_t left_ms = waiting->deadline_ms - clock_now_ms();
    const int64_t quiet_ms = wire_quiet_ms(waiting->wire);
    int64_t ms = quiet_ms > pause_ms ? quiet_ms : pause_ms;

    ms = ms > left_ms ? left_ms : ms;
    if (ms > 0) {
        const struct timespec nap = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
        (void)nanosleep(&nap, NULL); /* woken early, it is asked early */
    }
    return clock_now_ms() < waiting->deadline_ms;
}

enum status await_reply(stillhouse_client *client, const struct queue *queue, const char *id,
                        int wait_ms, struct strbuf *out, struct error *err)
{
    const int command_ms = client->config.bounds.command_ms;
    struct waiting waiting = {
        .wire = client->wire,
        .queue = queue,
        .id = id,
        .deadline_ms = clock_now_ms() + wait_ms,
        .out = out,
    };
    const int late_ms = wait_ms == 0 || command_ms < LATE_MS ? command_ms : LATE_MS;
    int pause_ms = PAUSE_MS;

    for (;;) {
        const enum status status = wire_run_until(client->wire, waiting.deadline_ms + late_ms,
                                                  wait_for_reply, &waiting, err);
        if (!may_pass(&waiting, status) || !pause_for(&waiting, pause_ms)) {
            return status;
        }
        pause_ms = pause_ms < PAUSE_MAX_MS / 2 ? pause_ms * 2 : PAUSE_MAX_MS;
    }
}

/* ---- the public calls ---------------------------------------------------------------------- */

static enum status check_arguments(const stillhouse_client *client, const char *queue,
                                   const char *id, int wait_ms, struct queue *target,
                                   struct error *err)
{
    if (id == NULL || !text_is_id(id, strlen(id))) {
        return error_set(err, STATUS_INVALID, "id \"%.64s\": expected 1 to 64 of A-Za-z0-9._:-",
                         id == NULL ? "(null)" : id);
    }
    if (wait_ms < 0) {
        return error_set(err, STATUS_INVALID, "wait_ms %d: expected 0 or more", wait_ms);
    }
    return queue_init(target, client->config.prefix, queue == NULL ? "" : queue, err);
}

static enum status await_named(stillhouse_client *client, const char *queue, const char *id,
                               int wait_ms, struct strbuf *out, struct error *err)
{
    struct queue target;

    const enum status status = check_arguments(client, queue, id, wait_ms, &target, err);
    return status == STATUS_OK ? await_reply(client, &target, id, wait_ms, out, err) : status;
}

stillhouse_status stillhouse_await_raw(stillhouse_client *client, const char *queue, const char *id,
                                       int wait_ms, void **body, size_t *body_bytes)
{
    struct strbuf out = {0};
    struct error err = {0};

    if (body != NULL) {
        *body = NULL;
    }
    if (!client_enter(client)) {
        return STILLHOUSE_INVALID;
    }
    if (body == NULL || body_bytes == NULL) {
        (void)error_set(&err, STATUS_INVALID, "body, body_bytes: expected places for them");
        return client_finish(client, STATUS_INVALID, &err);
    }
    *body_bytes = 0;
    const enum status status = await_named(client, queue, id, wait_ms, &out, &err);
    if (status == STATUS_OK) {
        *body = out.data; /* of malloc, as the caller's free() wants it */
        *body_bytes = out.bytes;
    } else {
        strbuf_free(&out);
    }
    return client_finish(client, status, &err);
}

stillhouse_status stillhouse_await(stillhouse_client *client, const char *queue, const char *id,
                                   int wait_ms, stillhouse_result **result)
{
    struct strbuf out = {0};
    struct error err = {0};

    if (result != NULL) {
        *result = NULL;
    }
    if (!client_enter(client)) {
        return STILLHOUSE_INVALID;
    }
    if (result == NULL) {
        (void)error_set(&err, STATUS_INVALID, "result: expected a place for it, got NULL");
        return client_finish(client, STATUS_INVALID, &err);
    }
    enum status status = await_named(client, queue, id, wait_ms, &out, &err);
    if (status == STATUS_OK) {
        const struct lookup_bytes bytes = {.data = out.data, .bytes = out.bytes};
        status = lookup_decode(client, &bytes, NULL, result, &err);
    }
    strbuf_free(&out);
    return client_finish(client, status, &err);
}
