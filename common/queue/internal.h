/* queue/internal.h - what the queue_*.c files share: one function call, its reply's shape. */
#ifndef STILLHOUSE_QUEUE_INTERNAL_H
#define STILLHOUSE_QUEUE_INTERNAL_H

#include "queue/queue.h"

/* Starts "FCALL <function> 1 <key>". */
void queue_args_start(struct redis_args *args, const char *function, const char *key);

/* The calls below take a command as redis_args_format does, or its arguments, which they free. */
enum status queue_callf(struct redis_conn *conn, int type, redisReply **reply, struct error *err,
                        const char *format, ...) PRINTF_LIKE(5, 6) MUSTCHECK;
enum status queue_countf(struct redis_conn *conn, size_t *count, struct error *err,
                         const char *format, ...) PRINTF_LIKE(4, 5) MUSTCHECK;
enum status queue_okf(struct redis_conn *conn, struct error *err, const char *format, ...)
    PRINTF_LIKE(3, 4) MUSTCHECK;

/* Sends the call, frees `args`, and checks that the reply is of `type` (REDIS_REPLY_...). */
enum status queue_call(struct redis_conn *conn, struct redis_args *args, int type,
                       redisReply **reply, struct error *err) MUSTCHECK;

/* A call whose answer is one whole number >= 0. `count` may be NULL. */
enum status queue_call_count(struct redis_conn *conn, struct redis_args *args, size_t *count,
                             struct error *err) MUSTCHECK;

/* A call whose answer is a status line. */
enum status queue_call_ok(struct redis_conn *conn, struct redis_args *args,
                          struct error *err) MUSTCHECK;

/* Appends the stream, entry and deliveries of a job: what the functions' fence asks for. */
void queue_args_fence(struct redis_args *args, const struct job *job);

/* STATUS_GARBLED: `function` answered in a shape it never has. */
enum status queue_bad_shape(const char *function, struct error *err);

#endif
