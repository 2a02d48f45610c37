/* redis/reply.h - what an answer may hold, how it is made, and what an error among them means. */
#ifndef STILLHOUSE_REDIS_REPLY_H
#define STILLHOUSE_REDIS_REPLY_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/slice.h"
#include "base/status.h"

/* What an answer may hold. Anybody may put a value of any size under a key that we read; the
 * largest of ours is a body of 16 MiB. */
enum {
    REDIS_VALUE_MAX = 17 * 1024 * 1024,   /* one value */
    REDIS_ANSWER_MAX = 256 * 1024 * 1024, /* all values together, where nothing else is set */
};

/* Frees a whole reply, never a part of one. NULL is fine. Not hiredis' freeReplyObject: replies are
 * made in memory of their own kind. */
void redis_reply_free(redisReply *reply);

/* Whether it is an array of exactly these: 's' a text, 'i' a number, 'a' an array, '*' anything. */
bool redis_reply_is_row(const redisReply *reply, const char *shape) MUSTCHECK;

/* Whether it is what `shape` says: "+" a status line, "$" a text, "#" a number of 0 or more, "[" an
 * array, else such a row. */
bool redis_reply_has_shape(const redisReply *reply, const char *shape) MUSTCHECK;

/* In a flat list of names and values (HGETALL, a stream entry's fields, a row of XINFO): the text
 * behind the first such name, {NULL, 0} where there is none. `list` may be NULL, and anything. */
struct slice redis_reply_find(const redisReply *list, const char *name);

/* ---- what an error reply means -----------------------------------------------------------------
 *
 * Its first word decides: texts differ between Redis and Valkey. Only a server that has no room for
 * one more client says so behind "ERR", and both say it alike. A reply means that the command was
 * refused, never that its outcome is unknown.
 *
 *   first word                              status       connection
 *   OOM                                     OOM          kept
 *   BUSY TRYAGAIN CLUSTERDOWN               UNAVAILABLE  kept: it passes by itself
 *   LOADING MASTERDOWN MISCONF NOREPLICAS   UNAVAILABLE  left: the next call connects anew, through
 *     READONLY UNBLOCKED                                 Sentinel to whoever is the master then
 *     ERR max number of clients reached
 *   NOGROUP                                 NOT_FOUND    kept
 *   SHFULL, SHINVALID (our functions)       FULL,        kept
 *                                           INVALID
 *   MOVED ASK                               REFUSED      kept; Redis Cluster is not followed
 *   NOAUTH WRONGPASS NOPERM WRONGTYPE       REFUSED      kept
 *     NOSCRIPT EXECABORT ERR, all others
 *
 * Who repeats what:
 *   producer   nothing; after UNAVAILABLE on a connection that was left it does not try again for
 *              retry_ms. Its callers see UNREACHABLE for UNAVAILABLE, FAILED for OOM and REFUSED.
 *   reader     everything: any failure closes, backs off (50 ms to 5 s, jitter), turns /readyz red,
 *              is logged once in 5 s, and loads the library and makes the groups anew before it
 *              reads again. Jobs that the same turn brought are worked on all the same.
 *   commit     UNAVAILABLE: up to four times within a second or so. REFUSED: once, when it finds or
 *              loads the function library ("ERR Function not found" after FUNCTION FLUSH). Else the
 *              jobs stay pending and are taken over after the visibility timeout.
 *   janitor    everything, at its next tick; OOM ends none. */

enum status redis_classify(const char *text, size_t bytes);

/* STATUS_OK for a reply that is not an error; else its class, with the text in *err. */
enum status redis_reply_status(const redisReply *reply, struct error *err) MUSTCHECK;

/* Whether the text of an error of STATUS_REFUSED says WRONGTYPE: a key holds something else than it
 * should, and only what needs that key is in trouble. */
bool redis_is_wrong_type(const struct error *err) MUSTCHECK;

/* ---- for redis/conn.c --------------------------------------------------------------------------
 */

/* True for what makes the connection be left: this server is not for us now. */
bool redis_reply_wants_reconnect(const redisReply *reply) MUSTCHECK;

/* The bound of one answer: the reader's private data. */
struct redis_answer_bound {
    size_t most;
    bool over; /* an answer was */
};

/* For the reader of a context that was just connected: all objects of one reply in a few blocks of
 * memory, instead of hiredis' two for each. A batch of 64 jobs is 900 objects, and an answer that
 * is too large ends before it is held. */
extern redisReplyObjectFunctions redis_reply_functions;

#endif
