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

struct link {
    struct redis_url url;
    struct link_bounds bounds;
    /* Of the server; or of the sentinels, as they are asked, and of the master. */
    struct dns_name names[NAMES_MAX];
    size_t name_count;
    struct redis_conn *conn; /* NULL before the first attempt */
    bool proven;             /* something was answered on this connection */
    int64_t deadline_ms;     /* of the call in hand; 0 = none but the bounds */
    int64_t quiet_until_ms;
    char fault[FAULT_BYTES]; /* why it is quiet */
};

struct link *link_new(const char *url, const struct link_bounds *bounds, struct error *err)
{
    struct link *link = calloc(1, sizeof *link);

    if (link == NULL) {
        (void)error_set(err, STATUS_OOM, "out of memory");
        return NULL;
    }
    if (redis_url_parse(url, &link->url, err) != STATUS_OK) {
        link_free(link);
        return NULL;
    }
    link->bounds = *bounds;
    return link;
}

void link_free(struct link *link)
{
    if (link == NULL) {
        return;
    }
    redis_conn_free(link->conn);
    for (size_t i = 0; i < link->name_count; i++) {
        dns_free(&link->names[i]);
    }
    explicit_bzero(&link->url, sizeof link->url);
    free(link);
}

void link_limit(struct redis_conn *conn, int64_t deadline_ms)
{
    const int64_t left = deadline_ms - clock_now_ms();

    redis_conn_set_command_timeout(conn, left < 1 ? 1 : left > INT_MAX ? INT_MAX : (int)left);
}

/* ---- a child of fork() ----------------------------------------------------------------------- */

static void start_over(struct link *link)
{
    link->conn = NULL;
    link->name_count = 0;
    link->quiet_until_ms = 0;
}

void link_adopt(struct link *link, bool torn)
{
    if (torn) {
        start_over(link);
    } else {
        if (link->conn != NULL) {
            redis_conn_close(link->conn); /* the descriptor alone; TLS says nothing either */
        }
        for (size_t i = 0; i < link->name_count; i++) {
            dns_orphan(&link->names[i]);
        }
    }
    link->proven = false;
}

void link_distrust(struct link *link)
{
    if (link->conn != NULL) {
        redis_conn_close(link->conn);
    }
}

/* ---- connecting ------------------------------------------------------------------------------ */

static bool is_open(const struct link *link)
{
    return link->conn != NULL && redis_conn_is_open(link->conn);
}

int link_connect_bound_ms(const struct link *link)
{
    const int greetings = (link->url.password[0] != '\0') + (link->url.db != 0);

    return link->bounds.connect_ms + greetings * link->bounds.command_ms;
}

int64_t link_quiet_ms(const struct link *link)
{
    const int64_t quiet_ms = link->quiet_until_ms - clock_now_ms();

    return is_open(link) || quiet_ms < 0 ? 0 : quiet_ms;
}

bool link_is_willing(const struct link *link)
{
    return link_quiet_ms(link) == 0;
}

static void fall_quiet(struct link *link, const struct error *err)
{
    link->quiet_until_ms = clock_now_ms() + link->bounds.retry_ms;
    snprintf(link->fault, sizeof link->fault, "%s", err->text);
}

/* The one of this host; when there are too many, the last one's place is taken: sentinels keep
 * theirs, masters come and go. */
static struct dns_name *name_of(struct link *link, const char *host)
{
    for (size_t i = 0; i < link->name_count; i++) {
        if (strcmp(link->names[i].host, host) == 0) {
            return &link->names[i];
        }
    }
    if (link->name_count == NAMES_MAX) {
        dns_free(&link->names[--link->name_count]);
    }
    struct dns_name *name = &link->names[link->name_count++];
    dns_init(name, host);
    return name;
}

static enum status look_up(void *context, const char *host, int timeout_ms,
                           struct redis_addresses *out, struct error *err)
{
    struct link *link = context;

    return dns_find(name_of(link, host), timeout_ms, out, err);
}

/* One object for good: it remembers which address, and which sentinel, answered. */
static enum status make_conn(struct link *link, struct error *err)
{
    if (link->conn != NULL) {
        return STATUS_OK;
    }
    link->conn = redis_open(
        &link->url, (struct redis_timeouts){link->bounds.connect_ms, link->bounds.command_ms});
    if (link->conn == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    redis_conn_set_lookup(link->conn, look_up, link);
    redis_conn_set_answer_max(link->conn, ANSWER_MAX_BYTES);
    return STATUS_OK;
}

static enum status connect_link(struct link *link, struct error *err)
{
    const int64_t quiet_ms = link_quiet_ms(link);

    if (is_open(link)) {
        return STATUS_OK;
    }
    if (quiet_ms > 0) {
        return error_set(err, STATUS_UNREACHABLE, "%s; not tried again for %" PRId64 " ms",
                         link->fault, quiet_ms);
    }

    link->proven = false;
    enum status status = make_conn(link, err);
    if (status == STATUS_OK) {
        redis_conn_set_deadline(link->conn, link->deadline_ms);
        status = redis_conn_connect(link->conn, err);
    }
    if (status != STATUS_OK) {
        fall_quiet(link, err);
    }
    return status;
}

/* ---- working --------------------------------------------------------------------------------- */

static enum status attempt(struct link *link, link_work work, void *context, struct error *err)
{
    redis_conn_set_deadline(link->conn, link->deadline_ms);
    const enum status status = work(link->conn, context, err);

    redis_conn_set_command_timeout(link->conn, link->bounds.command_ms);
    if (status == STATUS_OK || status == STATUS_FAILED) { /* which is an answer too */
        link->proven = true;
    }
    if (!is_open(link)) {
        if (!link->proven || status == STATUS_UNAVAILABLE) {
            fall_quiet(link, err);
        }
    }
    return status;
}

enum status link_run(struct link *link, link_work work, void *context, struct error *err)
{
    const bool reused = is_open(link);

    enum status status = connect_link(link, err);
    if (status == STATUS_OK) {
        status = attempt(link, work, context, err);
    }
    if (status != STATUS_UNREACHABLE || !reused || is_open(link)) {
        return status;
    }
    status = connect_link(link, err);
    return status == STATUS_OK ? attempt(link, work, context, err) : status;
}

enum status link_run_until(struct link *link, int64_t deadline_ms, link_work work, void *context,
                           struct error *err)
{
    link->deadline_ms = deadline_ms;
    const enum status status = link_run(link, work, context, err);
    link->deadline_ms = 0;
    return status;
}

static enum status ping(struct redis_conn *conn, void *context, struct error *err)
{
    (void)context;
    return redis_commandf(conn, NULL, err, "PING");
}

enum status link_run_once(struct link *link, link_work work, void *context, struct error *err)
{
    const enum status status = link_run(link, ping, NULL, err);

    return status == STATUS_OK ? attempt(link, work, context, err) : status;
}

enum status link_prove(struct link *link, struct error *err)
{
    if (link->proven) {
        return STATUS_OK;
    }
    const enum status status = ping(link->conn, NULL, err);
    link->proven = status == STATUS_OK;
    return status;
}
