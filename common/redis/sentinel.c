/* redis/sentinel.c - asks sentinels for a master's address, within a bound.
 *
 * Happy path: the sentinel that answered last answers again; one connection, one question, closed
 * (a failover is rare, so none is kept). Failure modes: a sentinel that is away, hangs, speaks
 * nonsense, or does not know the name costs its share of the time and the next one is asked. What
 * it names may be yesterday's master: redis_sentinel_verify asks that server itself.
 */
#include "redis/sentinel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { SHARE_MIN_MS = 5, LIST_BYTES = 240 };

/* How a round went: the sentinels asked, and what they have in common. */
struct round {
    char list[LIST_BYTES + 8]; /* "h1:26379 (why), h2:26379 (why)" */
    size_t used;
    size_t asked;
    enum status common; /* of all asked; FAILED where they differ */
};

/* ---- one sentinel ---------------------------------------------------------------------------- */

/* [host, port] */
static bool take_address(struct redis_conn *conn, const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements != 2 ||
        reply->element[0]->type != REDIS_REPLY_STRING ||
        reply->element[1]->type != REDIS_REPLY_STRING) {
        return false;
    }
    const char *host = reply->element[0]->str;
    const size_t bytes = (size_t)reply->element[0]->len;
    char *end = NULL;
    const long port = strtol(reply->element[1]->str, &end, 10);
    if (bytes == 0 || bytes >= sizeof conn->host || strlen(host) != bytes || *end != '\0' ||
        port < 1 || port > 65535) {
        return false;
    }
    memcpy(conn->host, host, bytes + 1);
    conn->port = (int)port;
    return true;
}

static enum status ask_for_master(struct redis_conn *conn, struct redis_conn *sentinel,
                                  struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    redis_args_str(&args, "SENTINEL");
    redis_args_str(&args, "get-master-addr-by-name");
    redis_args_str(&args, conn->url.master);
    enum status status = redis_conn_command(sentinel, &args, &reply, err);
    redis_args_free(&args);
    if (status != STATUS_OK) {
        return status;
    }
    if (reply->type == REDIS_REPLY_NIL) {
        status = error_set(err, STATUS_INVALID, "does not know the name");
    } else if (!take_address(conn, reply)) {
        status = error_set(err, STATUS_GARBLED, "expected a host and a port");
    }
    redis_reply_free(reply);
    return status;
}

/* A connection of its own to one sentinel, good until `until_ms`. NULL when memory is short. */
static struct redis_conn *open_sentinel(const struct redis_conn *conn, size_t index,
                                        int64_t until_ms)
{
    const struct redis_host *at = &conn->url.sentinels[index];
    const int left_ms = redis_io_left_ms(until_ms);
    struct redis_url url = {.port = at->port};

    memcpy(url.host, at->host, sizeof url.host);
    memcpy(url.user, conn->url.sentinel_user, sizeof url.user);
    memcpy(url.password, conn->url.sentinel_password, sizeof url.password);
    struct redis_conn *sentinel = redis_conn_new(&url, (struct redis_timeouts){left_ms, left_ms});
    explicit_bzero(&url, sizeof url);
    if (sentinel != NULL) {
        sentinel->until_ms = until_ms;
        memcpy(sentinel->address, conn->sentinel_addresses[index], sizeof sentinel->address);
        redis_conn_set_lookup(sentinel, conn->lookup, conn->lookup_context);
    }
    return sentinel;
}

static enum status ask_one(struct redis_conn *conn, size_t index, int64_t until_ms,
                           struct error *err)
{
    struct redis_conn *sentinel = open_sentinel(conn, index, until_ms);
    char prefix[sizeof sentinel->where + 16];

    if (sentinel == NULL) {
        return error_set(err, STATUS_OOM, "no memory for a connection");
    }
    const enum status status = ask_for_master(conn, sentinel, err);
    if (status == STATUS_OK) {
        memcpy(conn->sentinel_addresses[index], sentinel->address, sizeof sentinel->address);
    }

    /* The sentinel's name stands in the list already. */
    const int bytes = snprintf(prefix, sizeof prefix, "redis %s: ", sentinel->where);
    if (status != STATUS_OK && strncmp(err->text, prefix, (size_t)bytes) == 0) {
        memmove(err->text, err->text + bytes, strlen(err->text + bytes) + 1);
    }
    redis_conn_free(sentinel);
    return status;
}

/* ---- all of them ----------------------------------------------------------------------------- */

/* The next share of the time: an even part of what is left, but not nothing. */
static int64_t share_until(int64_t deadline_ms, size_t still_to_ask)
{
    const int64_t now_ms = clock_now_ms();
    const int64_t share_ms = (deadline_ms - now_ms) / (int64_t)still_to_ask;

    return now_ms + (share_ms < SHARE_MIN_MS ? SHARE_MIN_MS : share_ms);
}

static void note(struct round *round, const struct redis_conn *conn, const struct redis_host *at,
                 const struct error *err)
{
    const size_t room = LIST_BYTES / conn->url.sentinel_count;
    char host[REDIS_HOST_BYTES + 16];
    char entry[LIST_BYTES + 1];

    int bytes = snprintf(entry, room < sizeof entry ? room : sizeof entry, "%s (%s",
                         redis_host_describe(at->host, at->port, host), err->text);
    if (bytes >= (int)room - 1) {
        bytes = (int)room - 2;
    }
    snprintf(entry + bytes, sizeof entry - (size_t)bytes, ")");
    const int more = snprintf(round->list + round->used, sizeof round->list - round->used, "%s%s",
                              round->used == 0 ? "" : ", ", entry);
    round->used += (size_t)more;
    if (round->used >= sizeof round->list) {
        round->used = sizeof round->list - 1;
    }
    round->common = round->asked == 0 || round->common == err->status ? err->status : STATUS_FAILED;
    round->asked++;
}

void redis_sentinel_doubt(struct redis_conn *conn)
{
    conn->sentinel = conn->sentinel + 1 < conn->url.sentinel_count ? conn->sentinel + 1 : 0;
}

static enum status give_up(struct redis_conn *conn, const struct round *round, struct error *err)
{
    const size_t count = conn->url.sentinel_count;
    const bool all = round->asked == count;

    for (size_t i = all ? 1 : round->asked; i > 0; i--) {
        redis_sentinel_doubt(conn);
    }
    if (all && round->common == STATUS_INVALID) {
        return error_set(err, STATUS_INVALID,
                         "no sentinel knows a master \"%.64s\": %s; expected the name in their "
                         "\"sentinel monitor\"",
                         conn->url.master, round->list);
    }
    const bool refused =
        all && (round->common == STATUS_REFUSED || round->common == STATUS_GARBLED);
    return error_set(err, refused ? round->common : STATUS_UNREACHABLE,
                     "no sentinel says where the master \"%.64s\" is: %s", conn->url.master,
                     round->list);
}

enum status redis_sentinel_find(struct redis_conn *conn, struct error *err)
{
    const int64_t start_ms = clock_now_ms();
    /* The rest is for the master itself. */
    const int64_t deadline_ms = start_ms + (conn->until_ms - start_ms) * 2 / 3;
    const size_t count = conn->url.sentinel_count;
    struct round round = {.list = ""};

    for (size_t i = 0; i < count && (i == 0 || clock_now_ms() < deadline_ms); i++) {
        const size_t index = (conn->sentinel + i) % count;
        const struct redis_host *at = &conn->url.sentinels[index];
        struct error own = {0};
        if (ask_one(conn, index, share_until(deadline_ms, count - i), &own) == STATUS_OK) {
            char host[REDIS_HOST_BYTES + 16];
            conn->sentinel = index;
            snprintf(conn->where, sizeof conn->where, "%.128s/%d",
                     redis_host_describe(conn->host, conn->port, host), conn->url.db);
            const size_t used = strlen(conn->where);
            snprintf(conn->where + used, sizeof conn->where - used,
                     " (master \"%.40s\" to sentinel %.100s)", conn->url.master,
                     redis_host_describe(at->host, at->port, host));
            return STATUS_OK;
        }
        note(&round, conn, at, &own);
    }
    return give_up(conn, &round, err);
}

/* ---- the master's own word ------------------------------------------------------------------- */

/* The first word of ROLE. */
static const char *role_of(const redisReply *reply)
{
    if (reply->type != REDIS_REPLY_ARRAY || reply->elements == 0 ||
        reply->element[0]->type != REDIS_REPLY_STRING) {
        return "something else";
    }
    return reply->element[0]->str;
}

enum status redis_sentinel_verify(struct redis_conn *conn, struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    redis_args_str(&args, "ROLE");
    enum status status = redis_conn_command(conn, &args, &reply, err);
    redis_args_free(&args);
    if (status != STATUS_OK) {
        redis_conn_close(conn);
        return status;
    }
    if (strcmp(role_of(reply), "master") != 0) {
        status = error_set(err, STATUS_UNAVAILABLE,
                           "redis %s: its role is \"%.24s\", expected \"master\": a failover is "
                           "under way",
                           conn->where, role_of(reply));
        redis_conn_close(conn);
    }
    redis_reply_free(reply);
    return status;
}
