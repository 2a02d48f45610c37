/* learn/wire.h - values as PostgreSQL sends and takes them, in its binary forms. Pure, any thread.
 *
 *     struct wire_value out;
 *     wire_write(&value, WIRE_INT8, &out);
 *     struct value back = wire_read(WIRE_INT8, out.bytes, (size_t)out.length);
 */
#ifndef STILLHOUSE_LEARN_WIRE_H
#define STILLHOUSE_LEARN_WIRE_H

#include "learn/value.h"

/* The types that are known, as pg_type numbers them. */
enum wire_type {
    WIRE_ANY = 0, /* what the place in the statement says */
    WIRE_BOOL = 16,
    WIRE_BYTEA = 17,
    WIRE_INT8 = 20,
    WIRE_INT2 = 21,
    WIRE_INT4 = 23,
    WIRE_TEXT = 25,
    WIRE_OID = 26,
    WIRE_FLOAT4 = 700,
    WIRE_FLOAT8 = 701,
    WIRE_NUMERIC = 1700,
};

/* What a value is sent as where nothing is known of the place. */
enum wire_type wire_type_of(const struct value *value);

struct wire_value {
    const char *bytes; /* NULL: NULL; else of the value, or `room` */
    int length;
    int is_binary;
    char room[32];
};

/* For a parameter of that type; a number of a type that is none of the above as text, which the
 * server reads. `out` must stay where it is. */
void wire_write(const struct value *value, unsigned type, struct wire_value *out);

/* A column; what is of no type above is text. A sum of whole numbers, which is numeric there, is an
 * integer here. Borrows the bytes. */
struct value wire_read(unsigned type, const char *bytes, size_t length);

#endif
