#include "redis/args.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NUMBERS_PER_BLOCK = 64, FIRST_CAPACITY = 16 };

/* Printed numbers stay where they are: a full block is kept and another one is put in front. */
struct number_block {
    struct number_block *next;
    char numbers[NUMBERS_PER_BLOCK][24];
};

static void free_blocks(struct number_block *block)
{
    while (block != NULL) {
        struct number_block *next = block->next;
        free(block);
        block = next;
    }
}

void redis_args_reset(struct redis_args *args)
{
    struct number_block *newest = args->number_blocks;

    if (newest != NULL) {
        free_blocks(newest->next);
        newest->next = NULL;
    }
    args->numbers_used = 0;
    args->count = 0;
    args->failed = false;
}

void redis_args_free(struct redis_args *args)
{
    free(args->values);
    free(args->bytes);
    free_blocks(args->number_blocks);
    *args = (struct redis_args){0};
}

static bool make_room(struct redis_args *args)
{
    if (args->count < args->capacity) {
        return true;
    }

    const size_t capacity = args->capacity == 0 ? FIRST_CAPACITY : args->capacity * 2;
    const char **values = reallocarray(args->values, capacity, sizeof *values);
    if (values == NULL) {
        return false;
    }
    args->values = values;
    size_t *bytes = reallocarray(args->bytes, capacity, sizeof *bytes);
    if (bytes == NULL) {
        return false;
    }
    args->bytes = bytes;
    args->capacity = capacity;
    return true;
}

void redis_args_add(struct redis_args *args, const void *data, size_t bytes)
{
    if (args->failed || !make_room(args)) {
        args->failed = true;
        return;
    }
    args->values[args->count] = bytes == 0 ? "" : data;
    args->bytes[args->count] = bytes;
    args->count++;
}

void redis_args_str(struct redis_args *args, const char *text)
{
    redis_args_add(args, text, strlen(text));
}

void redis_args_slice(struct redis_args *args, struct slice slice)
{
    redis_args_add(args, slice.data, slice.bytes);
}

static char *number_room(struct redis_args *args)
{
    if (args->number_blocks == NULL || args->numbers_used == NUMBERS_PER_BLOCK) {
        struct number_block *block = malloc(sizeof *block);
        if (block == NULL) {
            return NULL;
        }
        block->next = args->number_blocks;
        args->number_blocks = block;
        args->numbers = block->numbers;
        args->numbers_used = 0;
    }
    return args->numbers[args->numbers_used++];
}

void redis_args_int(struct redis_args *args, int64_t number)
{
    char *room = args->failed ? NULL : number_room(args);

    if (room == NULL) {
        args->failed = true;
        return;
    }
    const int printed = snprintf(room, sizeof args->numbers[0], "%" PRId64, number);
    redis_args_add(args, room, (size_t)printed);
}

void redis_args_vformat(struct redis_args *args, const char *format, va_list values)
{
    for (;;) {
        size_t bytes = 0;
        if (format[0] != '%') {
            while (format[bytes] != ' ' && format[bytes] != '\0' && format[bytes] != '%') {
                bytes++;
            }
            redis_args_add(args, format, bytes);
        } else if (format[1] == 's') {
            redis_args_str(args, va_arg(values, const char *));
            bytes = 2;
        } else if (format[1] == '.' && format[2] == '*' && format[3] == 's') {
            const int length = va_arg(values, int);
            redis_args_add(args, va_arg(values, const char *), (size_t)length);
            bytes = 4;
        } else if (format[1] == 'd') {
            redis_args_int(args, va_arg(values, int));
            bytes = 2;
        } else if (format[1] == 'z' && format[2] == 'u') {
            redis_args_int(args, (int64_t)va_arg(values, size_t));
            bytes = 3;
        } else if (format[1] == 'j' && format[2] == 'd') {
            redis_args_int(args, va_arg(values, intmax_t));
            bytes = 3;
        }
        if (bytes == 0 || (format[bytes] != ' ' && format[bytes] != '\0')) {
            args->failed = true; /* no word, or one with something beside it */
            return;
        }
        if (format[bytes] == '\0') {
            return;
        }
        format += bytes + 1;
    }
}

void redis_args_format(struct redis_args *args, const char *format, ...)
{
    va_list values;

    va_start(values, format);
    redis_args_vformat(args, format, values);
    va_end(values);
}
