/* queue/internal.h - what the queue_*.c files share: one function call, its reply's shape. */
#ifndef STILLHOUSE_QUEUE_INTERNAL_H
#define STILLHOUSE_QUEUE_INTERNAL_H

#include "queue/queue.h"

/* Starts "FCALL <function> 1 <key>". */
void queue_args_start(struct redis_args *args, const char *function, const char *key);

/* A call whose answer is one whole number; *count is 0 where it fails. It takes the command as
 * redis_args_format does, or its arguments, which it frees. Others are redis_fetchf. */
enum status queue_countf(struct redis_conn *conn, size_t *count, struct error *err,
                         const char *format, ...) PRINTF_LIKE(4, 5) MUSTCHECK;
enum status queue_call_count(struct redis_conn *conn, struct redis_args *args, size_t *count,
                             struct error *err) MUSTCHECK;

/* Appends the stream, entry and deliveries of a job: what the functions' fence asks for. */
void queue_args_fence(struct redis_args *args, const struct job *job);

/* STATUS_GARBLED: `function` answered in a shape it never has. */
enum status queue_bad_shape(const char *function, struct error *err);

#endif
