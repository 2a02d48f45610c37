/* redis/args.h - the words of one command. Pure; of the thread that has it.
 *
 *     struct redis_args args = {0};
 *     redis_args_format(&args, "SET %s %.*s PX %d", key, (int)body.bytes, body.data, ttl_ms);
 *     status = redis_conn_command(conn, &args, &reply, &err);
 *     redis_args_free(&args);
 *
 * For one command redis_commandf (redis/conn.h) does all three.
 */
#ifndef STILLHOUSE_REDIS_ARGS_H
#define STILLHOUSE_REDIS_ARGS_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"
#include "base/status.h"

/* The argument vector of one command. Pointers are borrowed until the command is sent; numbers are
 * printed into the vector's own space. Grows on the heap past its inline room; redis_args_free.
 * redis_args_reset keeps the memory. A failed allocation sticks and fails the command. */
struct redis_args {
    const char **values;
    size_t *bytes;
    size_t count;
    size_t capacity;
    char (*numbers)[24]; /* blocks are chained so that printed numbers do not move */
    size_t numbers_used;
    void *number_blocks;
    bool failed;
};

void redis_args_reset(struct redis_args *args);
void redis_args_free(struct redis_args *args);
void redis_args_add(struct redis_args *args, const void *data, size_t bytes);
void redis_args_str(struct redis_args *args, const char *text);
void redis_args_slice(struct redis_args *args, struct slice slice);
void redis_args_int(struct redis_args *args, int64_t number);

/* Appends the words of `format`, which one space parts from each other. A word is what it says, or
 * exactly one of %s (const char *), %.*s (int, const char *: that many bytes, whatever they are),
 * %d, %zu and %jd (int64_t). What a text holds is never split or looked at, so no space or % in it
 * makes a word. The compiler checks the arguments; any other % fails the command. */
void redis_args_format(struct redis_args *args, const char *format, ...) PRINTF_LIKE(2, 3);
void redis_args_vformat(struct redis_args *args, const char *format, va_list values)
    PRINTF_LIKE(2, 0);

#endif
