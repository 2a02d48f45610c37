#include "client/link.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "client/dns.h"
#include "redis/sentinel.h"

enum {
    FAULT_BYTES = 240,
    NAMES_MAX = REDIS_SENTINELS_MAX + 1,
    ANSWER_MAX_BYTES = 32 * 1024 * 1024, /* a result is one value, an answer to many jobs less */
};

struct wire {
    struct redis_url url;
    struct wire_bounds bounds;
    /* Of the server; or of the sentinels, as they are asked, and of the master. */
    struct resolve names[NAMES_MAX];
    size_t name_count;
    struct redis_conn *conn; /* NULL before the first attempt */
    bool proven;             /* something was answered on this connection */
    int64_t deadline_ms;     /* of the call in hand; 0 = none but the bounds */
    int64_t quiet_until_ms;
    char fault[FAULT_BYTES]; /* why it is quiet */
};

struct wire *wire_new(const char *url, const struct wire_bounds *bounds, struct error *err)
{
    struct wire *wire = calloc(1, sizeof *wire);

    if (wire == NULL) {
        (void)error_set(err, STATUS_OOM, "out of memory");
        return NULL;
    }
    if (redis_url_parse(url, &wire->url, err) != STATUS_OK) {
        wire_free(wire);
        return NULL;
    }
    wire->bounds = *bounds;
    return wire;
}

void wire_free(struct wire *wire)
{
    if (wire == NULL) {
        return;
    }
    redis_conn_free(wire->conn);
    for (size_t i = 0; i < wire->name_count; i++) {
        resolve_free(&wire->names[i]);
    }
    explicit_bzero(&wire->url, sizeof wire->url);
    free(wire);
}

void wire_limit(struct redis_conn *conn, int64_t deadline_ms)
{
    const int64_t left = deadline_ms - clock_now_ms();

    redis_conn_set_command_timeout(conn, left < 1 ? 1 : left > INT_MAX ? INT_MAX : (int)left);
}

/* ---- a child of fork() ----------------------------------------------------------------------- */

static void start_over(struct wire *wire)
{
    wire->conn = NULL;
    wire->name_count = 0;
    wire->quiet_until_ms = 0;
}

void wire_adopt(struct wire *wire, bool torn)
{
    if (torn) {
        start_over(wire);
    } else {
        if (wire->conn != NULL) {
            redis_conn_close(wire->conn); /* the descriptor alone; TLS says nothing either */
        }
        for (size_t i = 0; i < wire->name_count; i++) {
            resolve_orphan(&wire->names[i]);
        }
    }
    wire->proven = false;
}

void wire_distrust(struct wire *wire)
{
    if (wire->conn != NULL) {
        redis_conn_close(wire->conn);
    }
}

/* ---- connecting ------------------------------------------------------------------------------ */

static bool is_open(const struct wire *wire)
{
    return wire->conn != NULL && redis_conn_is_open(wire->conn);
}

int64_t wire_quiet_ms(const struct wire *wire)
{
    const int64_t quiet_ms = wire->quiet_until_ms - clock_now_ms();

    return is_open(wire) || quiet_ms < 0 ? 0 : quiet_ms;
}

bool wire_is_willing(const struct wire *wire)
{
    return wire_quiet_ms(wire) == 0;
}

static void fall_quiet(struct wire *wire, const struct error *err)
{
    wire->quiet_until_ms = clock_now_ms() + wire->bounds.retry_ms;
    snprintf(wire->fault, sizeof wire->fault, "%s", err->text);
}

/* The one of this host; when there are too many, the last one's place is taken: sentinels keep
 * theirs, masters come and go. */
static struct resolve *name_of(struct wire *wire, const char *host)
{
    for (size_t i = 0; i < wire->name_count; i++) {
        if (strcmp(wire->names[i].host, host) == 0) {
            return &wire->names[i];
        }
    }
    if (wire->name_count == NAMES_MAX) {
        resolve_free(&wire->names[--wire->name_count]);
    }
    struct resolve *name = &wire->names[wire->name_count++];
    resolve_init(name, host);
    return name;
}

static enum status look_up(void *context, const char *host, int timeout_ms,
                           struct redis_addresses *out, struct error *err)
{
    struct wire *wire = context;

    return resolve_addresses(name_of(wire, host), timeout_ms, out, err);
}

/* One object for good: it remembers which address, and which sentinel, answered. */
static enum status make_conn(struct wire *wire, struct error *err)
{
    if (wire->conn != NULL) {
        return STATUS_OK;
    }
    wire->conn = redis_open(
        &wire->url, (struct redis_timeouts){wire->bounds.connect_ms, wire->bounds.command_ms});
    if (wire->conn == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    redis_conn_set_lookup(wire->conn, look_up, wire);
    redis_conn_set_answer_max(wire->conn, ANSWER_MAX_BYTES);
    return STATUS_OK;
}

static enum status connect_wire(struct wire *wire, struct error *err)
{
    const int64_t quiet_ms = wire_quiet_ms(wire);

    if (is_open(wire)) {
        return STATUS_OK;
    }
    if (quiet_ms > 0) {
        return error_set(err, STATUS_UNREACHABLE, "%s; not tried again for %" PRId64 " ms",
                         wire->fault, quiet_ms);
    }

    wire->proven = false;
    enum status status = make_conn(wire, err);
    if (status == STATUS_OK) {
        redis_conn_set_deadline(wire->conn, wire->deadline_ms);
        status = redis_conn_connect(wire->conn, err);
    }
    if (status != STATUS_OK) {
        fall_quiet(wire, err);
    }
    return status;
}

/* ---- working --------------------------------------------------------------------------------- */

static enum status attempt(struct wire *wire, wire_work work, void *context, struct error *err)
{
    redis_conn_set_deadline(wire->conn, wire->deadline_ms);
    const enum status status = work(wire->conn, context, err);

    redis_conn_set_command_timeout(wire->conn, wire->bounds.command_ms);
    if (status == STATUS_OK || status == STATUS_FAILED) { /* which is an answer too */
        wire->proven = true;
    }
    if (!is_open(wire)) {
        if (!wire->proven || status == STATUS_UNAVAILABLE) {
            fall_quiet(wire, err);
        }
    }
    return status;
}

enum status wire_run(struct wire *wire, wire_work work, void *context, struct error *err)
{
    const bool reused = is_open(wire);

    enum status status = connect_wire(wire, err);
    if (status == STATUS_OK) {
        status = attempt(wire, work, context, err);
    }
    if (status != STATUS_UNREACHABLE || !reused || is_open(wire)) {
        return status;
    }
    status = connect_wire(wire, err);
    return status == STATUS_OK ? attempt(wire, work, context, err) : status;
}

enum status wire_run_until(struct wire *wire, int64_t deadline_ms, wire_work work, void *context,
                           struct error *err)
{
    wire->deadline_ms = deadline_ms;
    const enum status status = wire_run(wire, work, context, err);
    wire->deadline_ms = 0;
    return status;
}

static enum status ping(struct redis_conn *conn, void *context, struct error *err)
{
    (void)context;
    return redis_commandf(conn, NULL, err, "PING");
}

enum status wire_run_once(struct wire *wire, wire_work work, void *context, struct error *err)
{
    const enum status status = wire_run(wire, ping, NULL, err);

    return status == STATUS_OK ? attempt(wire, work, context, err) : status;
}

enum status wire_prove(struct wire *wire, struct error *err)
{
    if (wire->proven) {
        return STATUS_OK;
    }
    const enum status status = ping(wire->conn, NULL, err);
    wire->proven = status == STATUS_OK;
    return status;
}
