/* learn/value.h - what stands in a column, and what a question is asked with. Pure, any thread.
 *
 *     const struct value asked[] = {value_str("acme"), value_integer(30)};
 */
#ifndef STILLHOUSE_LEARN_VALUE_H
#define STILLHOUSE_LEARN_VALUE_H

#include <stdint.h>

#include "base/slice.h"

enum value_type { VALUE_NULL, VALUE_INTEGER, VALUE_NUMBER, VALUE_TEXT, VALUE_BYTES };

/* Text and bytes are borrowed; of a row, until the next one is asked for. */
struct value {
    enum value_type type;
    int64_t integer;
    double number;
    struct slice text;
};

static inline struct value value_null(void)
{
    return (struct value){.type = VALUE_NULL};
}

static inline struct value value_integer(int64_t integer)
{
    return (struct value){.type = VALUE_INTEGER, .integer = integer};
}

static inline struct value value_number(double number)
{
    return (struct value){.type = VALUE_NUMBER, .number = number};
}

/* Absent text, {NULL, 0}, is NULL. */
static inline struct value value_text(struct slice text)
{
    return (struct value){.type = text.data == NULL ? VALUE_NULL : VALUE_TEXT, .text = text};
}

static inline struct value value_str(const char *text)
{
    return value_text(slice_of(text));
}

static inline struct value value_bytes(struct slice bytes)
{
    return (struct value){.type = VALUE_BYTES, .text = bytes};
}

#endif
