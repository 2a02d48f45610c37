/* queue/internal.h - what the queue_*.c files share: one function call, its reply's shape. */
#ifndef STILLHOUSE_QUEUE_INTERNAL_H
#define STILLHOUSE_QUEUE_INTERNAL_H

#include "queue/queue.h"

/* Starts "FCALL <function> 1 <key>". */
void queue_args_start(struct redis_args *args, const char *function, const char *key);

/* Each sends one call and checks the answer's shape: "+" a status line, "$" a text, "#" a number of
 * 0 or more, which those that count expect, "[" an array; else a row of redis_reply_is_row, "si".
 * It takes the command as redis_args_format does, or its arguments, which it frees. `reply` may be
 * NULL: it is freed. */
enum status queue_callf(struct redis_conn *conn, const char *shape, redisReply **reply,
                        struct error *err, const char *format, ...) PRINTF_LIKE(5, 6) MUSTCHECK;
enum status queue_call(struct redis_conn *conn, struct redis_args *args, const char *shape,
                       redisReply **reply, struct error *err) MUSTCHECK;
enum status queue_countf(struct redis_conn *conn, size_t *count, struct error *err,
                         const char *format, ...) PRINTF_LIKE(4, 5) MUSTCHECK;
enum status queue_call_count(struct redis_conn *conn, struct redis_args *args, size_t *count,
                             struct error *err) MUSTCHECK;

/* Appends the stream, entry and deliveries of a job: what the functions' fence asks for. */
void queue_args_fence(struct redis_args *args, const struct job *job);

/* STATUS_GARBLED: `function` answered in a shape it never has. */
enum status queue_bad_shape(const char *function, struct error *err);

#endif
