/* redis/sentinel.c - asks sentinels for a master's address, within a bound.
 *
 * Happy path: the sentinel that answered last answers again; one connection, one question, closed
 * (a failover is rare, so none is kept open). Failure modes: a sentinel that is away, hangs, speaks
 * nonsense, or does not know the name costs its share of the time and the next one is asked.
 */
#include "redis/sentinel.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

enum { SHARE_MIN_MS = 5, LIST_BYTES = 240 };

/* Those who know the master. */
struct sentinels {
    struct redis_url url;
    struct redis_conn *conn[REDIS_SENTINELS_MAX]; /* closed between two questions */
    size_t first;                                 /* the one to ask first */
};

/* How a round went: the sentinels asked, and what they have in common. */
struct round {
    char list[LIST_BYTES + 8]; /* "h1:26379 (why), h2:26379 (why)" */
    size_t used;
    size_t asked;
    enum status common; /* of all asked; FAILED where they differ */
};

/* ---- one sentinel ---------------------------------------------------------------------------- */

/* [host, port] */
static bool take_address(const redisReply *reply, struct redis_host *at)
{
    if (!redis_reply_is_row(reply, "ss")) {
        return false;
    }
    const char *host = reply->element[0]->str;
    const size_t bytes = (size_t)reply->element[0]->len;
    char *end = NULL;
    const long port = strtol(reply->element[1]->str, &end, 10);
    if (bytes == 0 || bytes >= sizeof at->host || strlen(host) != bytes || *end != '\0' ||
        port < 1 || port > 65535) {
        return false;
    }
    memcpy(at->host, host, bytes + 1);
    at->port = (int)port;
    return true;
}

static enum status ask_for_master(struct redis_conn *sentinel, const char *master,
                                  struct redis_host *at, struct error *err)
{
    redisReply *reply = NULL;

    enum status status =
        redis_commandf(sentinel, &reply, err, "SENTINEL get-master-addr-by-name %s", master);
    if (status != STATUS_OK) {
        return status;
    }
    if (reply->type == REDIS_REPLY_NIL) {
        status = error_set(err, STATUS_INVALID, "does not know the name");
    } else if (!take_address(reply, at)) {
        status = error_set(err, STATUS_GARBLED, "expected a host and a port");
    }
    redis_reply_free(reply);
    return status;
}

static enum status ask_one(struct sentinels *sentinels, size_t index,
                           const struct redis_search *search, struct redis_host *at,
                           struct error *err)
{
    struct redis_conn *sentinel = sentinels->conn[index];
    char prefix[REDIS_WHERE_BYTES + 16];

    redis_conn_set_lookup(sentinel, search->lookup, search->lookup_context);
    redis_conn_set_deadline(sentinel, search->until_ms);
    const enum status status = ask_for_master(sentinel, sentinels->url.master, at, err);
    redis_conn_close(sentinel);

    /* The sentinel's name stands in the list already. */
    const int bytes = snprintf(prefix, sizeof prefix, "redis %s: ", redis_conn_where(sentinel));
    if (status != STATUS_OK && strncmp(err->text, prefix, (size_t)bytes) == 0) {
        memmove(err->text, err->text + bytes, strlen(err->text + bytes) + 1);
    }
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

static void note(struct round *round, size_t of, const struct redis_host *at,
                 const struct error *err)
{
    const size_t room = LIST_BYTES / of;
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

/* The sentinel that many places behind the first one; at most once around. */
static size_t behind_first(const struct sentinels *sentinels, size_t places)
{
    const size_t index = sentinels->first + places;

    return index < sentinels->url.sentinel_count ? index : index - sentinels->url.sentinel_count;
}

static enum status give_up(struct sentinels *sentinels, const struct round *round,
                           struct error *err)
{
    const size_t count = sentinels->url.sentinel_count;
    const bool all = round->asked == count;

    sentinels->first = behind_first(sentinels, all ? 1 : round->asked);
    if (all && round->common == STATUS_INVALID) {
        return error_set(err, STATUS_INVALID,
                         "no sentinel knows a master \"%.64s\": %s; expected the name in their "
                         "\"sentinel monitor\"",
                         sentinels->url.master, round->list);
    }
    const bool refused =
        all && (round->common == STATUS_REFUSED || round->common == STATUS_GARBLED);
    return error_set(err, refused ? round->common : STATUS_UNREACHABLE,
                     "no sentinel says where the master \"%.64s\" is: %s", sentinels->url.master,
                     round->list);
}

/* "10.0.0.1:6379/0 (master "main" to sentinel 10.0.0.9:26379)" */
static void describe(const struct sentinels *sentinels, size_t index, const struct redis_host *at,
                     char where[REDIS_WHERE_BYTES])
{
    const struct redis_host *sentinel = &sentinels->url.sentinels[index];
    char host[REDIS_HOST_BYTES + 16];
    char named_by[REDIS_HOST_BYTES + 16];

    snprintf(where, REDIS_WHERE_BYTES, "%.128s/%d (master \"%.40s\" to sentinel %.100s)",
             redis_host_describe(at->host, at->port, host), sentinels->url.db,
             sentinels->url.master, redis_host_describe(sentinel->host, sentinel->port, named_by));
}

static enum status find(void *state, const struct redis_search *search, struct redis_host *at,
                        char where[REDIS_WHERE_BYTES], struct error *err)
{
    struct sentinels *sentinels = state;
    const int64_t start_ms = clock_now_ms();
    /* The rest is for the master itself. */
    const int64_t deadline_ms = start_ms + (search->until_ms - start_ms) * 2 / 3;
    const size_t count = sentinels->url.sentinel_count;
    struct round round = {.list = ""};

    if (search->failed) {
        sentinels->first = behind_first(sentinels, 1);
    }
    for (size_t i = 0; i < count && (i == 0 || clock_now_ms() < deadline_ms); i++) {
        const size_t index = behind_first(sentinels, i);
        struct redis_search share = *search;
        struct error own = {0};
        share.until_ms = share_until(deadline_ms, count - i);
        if (ask_one(sentinels, index, &share, at, &own) == STATUS_OK) {
            sentinels->first = index;
            describe(sentinels, index, at, where);
            return STATUS_OK;
        }
        note(&round, count, &sentinels->url.sentinels[index], &own);
    }
    return give_up(sentinels, &round, err);
}

/* ---- life ------------------------------------------------------------------------------------ */

static void free_sentinels(void *state)
{
    struct sentinels *sentinels = state;

    for (size_t i = 0; i < sentinels->url.sentinel_count; i++) {
        redis_conn_free(sentinels->conn[i]);
    }
    explicit_bzero(&sentinels->url, sizeof sentinels->url);
    free(sentinels);
}

/* NULL when memory is short. */
static struct sentinels *make_sentinels(const struct redis_url *url, int connect_ms)
{
    struct sentinels *sentinels = calloc(1, sizeof *sentinels);
    if (sentinels == NULL) {
        return NULL;
    }
    sentinels->url = *url;
    for (size_t i = 0; i < url->sentinel_count; i++) {
        struct redis_url one = {.port = url->sentinels[i].port};
        memcpy(one.host, url->sentinels[i].host, sizeof one.host);
        memcpy(one.user, url->sentinel_user, sizeof one.user);
        memcpy(one.password, url->sentinel_password, sizeof one.password);
        sentinels->conn[i] = redis_conn_new(&one, (struct redis_timeouts){connect_ms, connect_ms});
        explicit_bzero(&one, sizeof one);
        if (sentinels->conn[i] == NULL) {
            free_sentinels(sentinels);
            return NULL;
        }
    }
    return sentinels;
}

struct redis_conn *redis_open(const struct redis_url *url, struct redis_timeouts timeouts)
{
    struct redis_conn *conn = redis_conn_new(url, timeouts);
    if (conn == NULL || url->sentinel_count == 0) {
        return conn;
    }
    struct sentinels *sentinels = make_sentinels(url, timeouts.connect_ms);
    if (sentinels == NULL) {
        redis_conn_free(conn);
        return NULL;
    }
    redis_conn_set_finder(
        conn, &(struct redis_finder){.find = find, .free = free_sentinels, .state = sentinels});
    return conn;
}
