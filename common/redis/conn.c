/* redis/conn.c - one blocking connection, bounded in time whatever the server does.
 *
 * Happy path: the first call connects (AUTH, SELECT), a command is appended to hiredis' output
 * buffer, flushed, and its reply read (redis/io.c). Failure modes: every write and every reply has
 * a deadline. Any I/O error closes the context: hiredis leaves it unusable, and replies that were
 * on their way must not be taken for later ones.
 */
#include "redis/conn_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/clock.h"
#include "redis/objects.h"
#include "redis/sentinel.h"
#include "redis/tls.h"

/* What one command may weigh: hiredis counts in int. */
#define COMMAND_BYTES_MAX ((size_t)1 << 30)

enum { SHARE_MIN_MS = 5, LIST_BYTES = 200 };

/* ---- life ------------------------------------------------------------------------------------ */

struct redis_conn *redis_conn_new(const struct redis_url *url, struct redis_timeouts timeouts)
{
    struct redis_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        return NULL;
    }
    conn->url = *url;
    conn->timeouts = timeouts;
    memcpy(conn->host, url->host, sizeof conn->host);
    conn->port = url->port;
    conn->bound.most = REDIS_ANSWER_MAX;
    redis_url_describe(url, conn->where);
    return conn;
}

void redis_conn_set_answer_max(struct redis_conn *conn, size_t bytes)
{
    conn->bound.most = bytes;
}

void redis_conn_set_lookup(struct redis_conn *conn, redis_lookup lookup, void *context)
{
    conn->lookup = lookup;
    conn->lookup_context = context;
}

static void drop(struct redis_conn *conn)
{
    redisFree(conn->context);
    conn->context = NULL;
}

void redis_conn_close(struct redis_conn *conn)
{
    if (conn->context != NULL) {
        conn->doubted = !conn->answered;
        drop(conn);
    }
    conn->pending = 0;
    conn->left = STATUS_OK;
    conn->unsent = false;
    conn->receive_ms = 0;
    conn->send_ms = 0;
}

void redis_conn_free(struct redis_conn *conn)
{
    if (conn == NULL) {
        return;
    }
    redis_conn_close(conn);
    redis_tls_free(conn);
    explicit_bzero(&conn->url, sizeof conn->url);
    free(conn);
}

bool redis_conn_is_open(const struct redis_conn *conn)
{
    return conn->context != NULL;
}

void redis_conn_set_command_timeout(struct redis_conn *conn, int command_ms)
{
    conn->timeouts.command_ms = command_ms;
}

void redis_conn_set_deadline(struct redis_conn *conn, int64_t deadline_ms)
{
    conn->deadline_ms = deadline_ms;
}

int redis_conn_command_timeout(const struct redis_conn *conn)
{
    return conn->timeouts.command_ms;
}

uint64_t redis_conn_opened(const struct redis_conn *conn)
{
    return conn->opened;
}

const char *redis_conn_where(const struct redis_conn *conn)
{
    return conn->where;
}

/* ---- connecting ------------------------------------------------------------------------------ */

static enum status append(struct redis_conn *conn, const struct redis_args *args, struct error *err)
{
    size_t total = 0;

    for (size_t i = 0; i < args->count; i++) {
        total += args->bytes[i];
    }
    if (args->failed || args->count == 0 || args->count > INT_MAX) {
        return error_set(err, STATUS_OOM, "no memory for a command");
    }
    if (total > COMMAND_BYTES_MAX) {
        return error_set(err, STATUS_INVALID, "a command of %zu bytes; at most %zu can be sent",
                         total, COMMAND_BYTES_MAX);
    }
    if (redisAppendCommandArgv(conn->context, (int)args->count, args->values, args->bytes) !=
        REDIS_OK) {
        return redis_io_fail(conn, "sending", 0, err);
    }
    conn->unsent = true;
    conn->pending++;
    return STATUS_OK;
}

/* One command of the connection's own greeting. */
static enum status greet(struct redis_conn *conn, const struct redis_args *args, const char *what,
                         struct error *err)
{
    redisReply *reply = NULL;

    enum status status = append(conn, args, err);
    if (status == STATUS_OK) {
        status = redis_conn_collect(conn, &reply, err);
    }
    if (status != STATUS_OK) {
        return status;
    }
    status = redis_reply_status(reply, err);
    redis_reply_free(reply);
    if (status != STATUS_OK) {
        redis_conn_close(conn);
        return err == NULL ? status : error_wrap(err, "redis %s: %s", conn->where, what);
    }
    return STATUS_OK;
}

/* A server that does not know AUTH quotes what it was sent. In place, "***" for the password, also
 * where the text breaks off in the middle of it. */
static void blank(char *text, const char *password)
{
    enum { SHORTEST = 4 }; /* a password shorter than this stands in any text */
    const size_t bytes = strlen(password);

    for (char *at = text; bytes >= SHORTEST && *at != '\0'; at++) {
        size_t same = 0;
        while (same < bytes && at[same] == password[same]) {
            same++;
        }
        if (same == bytes || (same >= SHORTEST && at[same] == '\0')) {
            memset(at, '*', 3);
            memmove(at + 3, at + same, strlen(at + same) + 1);
            at += 2;
        }
    }
}

static enum status authenticate(struct redis_conn *conn, struct error *err)
{
    struct redis_args args = {0};

    redis_args_str(&args, "AUTH");
    if (conn->url.user[0] != '\0') {
        redis_args_str(&args, conn->url.user);
    }
    redis_args_str(&args, conn->url.password);
    const enum status status = greet(conn, &args, "cannot log in", err);
    redis_args_free(&args);
    if (status != STATUS_OK) {
        blank(conn->left_text, conn->url.password);
        if (err != NULL) {
            blank(err->text, conn->url.password);
        }
    }
    return status;
}

static enum status select_database(struct redis_conn *conn, struct error *err)
{
    struct redis_args args = {0};

    redis_args_str(&args, "SELECT");
    redis_args_int(&args, conn->url.db);
    const enum status status = greet(conn, &args, "cannot select the database", err);
    redis_args_free(&args);
    return status;
}

/* With TLS 1.3 the server's session tickets come before its first answer. Where nothing is asked in
 * greeting they would make the socket readable for who waits for an answer: they are read with this
 * one, whatever it says. */
static enum status read_tickets(struct redis_conn *conn, struct error *err)
{
    struct redis_args args = {0};
    redisReply *reply = NULL;

    redis_args_str(&args, "PING");
    enum status status = append(conn, &args, err);
    redis_args_free(&args);
    if (status == STATUS_OK) {
        status = redis_conn_collect(conn, &reply, err);
    }
    if (status == STATUS_OK && conn->context == NULL) { /* an answer that is not for staying */
        status = redis_reply_status(reply, err);
    }
    redis_reply_free(reply);
    return status;
}

/* Why no address of the host took the connection: "127.0.0.2: Connection refused, ::1: ...". */
static void note(char list[LIST_BYTES], const char *address, const struct redis_conn *conn)
{
    const size_t used = strlen(list);
    const bool named = strcmp(address, conn->host) != 0; /* else the message has it already */

    snprintf(list + used, LIST_BYTES - used, "%s%s%s%s", used == 0 ? "" : ", ",
             named ? address : "", named ? ": " : "", conn->context->errstr);
}

/* An even share of what is left for this address, but not nothing. */
static struct timeval share_of(int64_t deadline_ms, size_t still_to_try)
{
    const int share_ms = redis_io_left_ms(deadline_ms) / (int)still_to_try;

    return redis_io_to_timeval(share_ms < SHARE_MIN_MS ? SHARE_MIN_MS : share_ms);
}

static enum status find_addresses(struct redis_conn *conn, int64_t deadline_ms,
                                  struct redis_addresses *found, struct error *err)
{
    const enum status status = conn->lookup == NULL
                                   ? redis_address_find(conn->host, found, err)
                                   : conn->lookup(conn->lookup_context, conn->host,
                                                  redis_io_left_ms(deadline_ms), found, err);
    if (status != STATUS_OK) {
        return err == NULL ? status : error_wrap(err, "redis %s", conn->where);
    }
    redis_address_order(found, conn->address, conn->doubted);
    return STATUS_OK;
}

/* Tries one address of the host after the other. */
static enum status open_tcp(struct redis_conn *conn, int64_t deadline_ms, struct error *err)
{
    struct redis_addresses found;
    char list[LIST_BYTES] = "";

    const enum status status = find_addresses(conn, deadline_ms, &found, err);
    if (status != STATUS_OK) {
        return status;
    }
    for (size_t i = 0; i < found.count; i++) {
        conn->context = redisConnectWithTimeout(found.text[i], conn->port,
                                                share_of(deadline_ms, found.count - i));
        if (conn->context == NULL) {
            return error_set(err, STATUS_OOM, "redis %s: no memory for a connection", conn->where);
        }
        if (conn->context->err == 0) {
            memcpy(conn->address, found.text[i], sizeof conn->address);
            return STATUS_OK;
        }
        note(list, found.text[i], conn);
        drop(conn);
    }
    return error_set(err, STATUS_UNREACHABLE, "redis %s: cannot connect: %s", conn->where, list);
}

static enum status open_unix(struct redis_conn *conn, int64_t deadline_ms, struct error *err)
{
    conn->context = redisConnectUnixWithTimeout(conn->url.path, share_of(deadline_ms, 1));
    if (conn->context == NULL) {
        return error_set(err, STATUS_OOM, "redis %s: no memory for a connection", conn->where);
    }
    if (conn->context->err != 0) {
        (void)error_set(err, STATUS_UNREACHABLE, "redis %s: cannot connect: %s", conn->where,
                        conn->context->errstr);
        drop(conn);
        return STATUS_UNREACHABLE;
    }
    return STATUS_OK;
}

/* When connecting has to be done. */
static int64_t connect_deadline(const struct redis_conn *conn)
{
    const int64_t deadline_ms =
        conn->until_ms > 0 ? conn->until_ms : clock_now_ms() + conn->timeouts.connect_ms;

    return conn->deadline_ms > 0 && conn->deadline_ms < deadline_ms ? conn->deadline_ms
                                                                    : deadline_ms;
}

static enum status open_socket(struct redis_conn *conn, struct error *err)
{
    const bool local = conn->url.path[0] != '\0';
    const int64_t deadline_ms = connect_deadline(conn);

    conn->left = STATUS_OK;
    conn->answered = false;
    const enum status status =
        local ? open_unix(conn, deadline_ms, err) : open_tcp(conn, deadline_ms, err);
    if (status != STATUS_OK) {
        return status;
    }
    (void)fcntl(conn->context->fd, F_SETFD, FD_CLOEXEC); /* no business of programs we start */
    conn->context->reader->fn = &redis_objects;
    conn->context->reader->privdata = &conn->bound;
    conn->bound.over = false;
    if (!local && redisEnableKeepAlive(conn->context) != REDIS_OK) {
        return redis_io_fail(conn, "keepalive", errno, err);
    }
    return STATUS_OK;
}

/* Opens the connection to conn->host and makes it ready for the caller's commands. */
static enum status establish(struct redis_conn *conn, struct error *err)
{
#ifndef HAVE_HIREDIS_SSL
    if (conn->url.tls) {
        return redis_tls_start(conn, err);
    }
#endif

    enum status status = open_socket(conn, err);
    if (status == STATUS_OK && conn->url.tls) {
        status = redis_tls_start(conn, err);
    }
    if (status == STATUS_OK && conn->url.password[0] != '\0') {
        status = authenticate(conn, err);
    }
    if (status == STATUS_OK && conn->url.db != 0) {
        status = select_database(conn, err);
    }
    if (status == STATUS_OK && conn->url.tls && conn->url.password[0] == '\0' &&
        conn->url.db == 0) {
        status = read_tickets(conn, err);
    }
    return status;
}

/* Finding the master, connecting and its own word share the connect timeout. */
static enum status connect_to_master(struct redis_conn *conn, struct error *err)
{
    conn->until_ms = connect_deadline(conn);
    enum status status = redis_sentinel_find(conn, err);
    if (status == STATUS_OK) {
        status = establish(conn, err);
        if (status == STATUS_OK) {
            status = redis_sentinel_verify(conn, err);
        }
        if (status != STATUS_OK) {
            redis_sentinel_doubt(conn);
        }
    }
    conn->until_ms = 0;
    return status;
}

enum status redis_conn_connect(struct redis_conn *conn, struct error *err)
{
    if (conn->context != NULL) {
        return STATUS_OK;
    }
    const enum status status =
        conn->url.sentinel_count > 0 ? connect_to_master(conn, err) : establish(conn, err);
    if (status == STATUS_OK) {
        conn->opened++;
    }
    return status;
}

/* ---- commands -------------------------------------------------------------------------------- */

enum status redis_conn_append(struct redis_conn *conn, const struct redis_args *args,
                              struct error *err)
{
    const enum status status = redis_conn_connect(conn, err);

    return status == STATUS_OK ? append(conn, args, err) : status;
}

/* This server is not for us now. The replies behind this one are given up. */
static void leave(struct redis_conn *conn, const redisReply *reply)
{
    redis_conn_close(conn);
    conn->doubted = true; /* another address of the name may be another server */
    conn->left = redis_reply_status(reply, NULL);
    snprintf(conn->left_text, sizeof conn->left_text, "%s", reply->str);
}

enum status redis_conn_collect(struct redis_conn *conn, redisReply **reply, struct error *err)
{
    *reply = NULL;
    if (conn->context == NULL && conn->left != STATUS_OK) {
        return error_set(err, conn->left, "redis %s: left before the answer: %s", conn->where,
                         conn->left_text);
    }
    if (conn->context == NULL || conn->pending == 0) {
        return error_set(err, STATUS_UNREACHABLE, "redis %s: connection lost before the answer",
                         conn->where);
    }

    enum status status = redis_io_flush(conn, err);
    if (status == STATUS_OK) {
        status = redis_io_read(conn, reply, err);
    }
    if (status == STATUS_OK) {
        conn->pending--;
        conn->answered = true;
        if (redis_reply_wants_reconnect(*reply)) {
            leave(conn, *reply);
        }
    }
    return status;
}

void redis_conn_abandon(struct redis_conn *conn)
{
    if (conn->pending > 0) {
        redis_conn_close(conn);
    }
}

enum status redis_conn_command(struct redis_conn *conn, const struct redis_args *args,
                               redisReply **reply, struct error *err)
{
    *reply = NULL;
    redis_conn_abandon(conn); /* answers that nobody collected are not this command's */

    enum status status = redis_conn_append(conn, args, err);
    if (status == STATUS_OK) {
        status = redis_conn_collect(conn, reply, err);
    }
    if (status != STATUS_OK) {
        return status;
    }
    status = redis_reply_status(*reply, err);
    if (status != STATUS_OK) {
        redis_reply_free(*reply);
        *reply = NULL;
        return err == NULL ? status : error_wrap(err, "redis %s", conn->where);
    }
    return STATUS_OK;
}
