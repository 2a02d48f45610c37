#include "learn/wire.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum wire_type wire_type_of(const struct value *value)
{
    static const enum wire_type types[] = {
        [VALUE_NULL] = WIRE_ANY,  [VALUE_INTEGER] = WIRE_INT8, [VALUE_NUMBER] = WIRE_FLOAT8,
        [VALUE_TEXT] = WIRE_TEXT, [VALUE_BYTES] = WIRE_BYTEA,
    };

    return types[value->type];
}

/* ---- numbers, most significant byte first ---------------------------------------------------- */

static uint64_t take(const char *bytes, size_t size)
{
    uint64_t number = 0;

    for (size_t i = 0; i < size; i++) {
        number = number << 8 | (unsigned char)bytes[i];
    }
    return number;
}

static void put(struct wire_value *out, uint64_t number, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        out->room[i] = (char)(unsigned char)(number >> (8 * (size - 1 - i)));
    }
    out->bytes = out->room;
    out->length = (int)size;
    out->is_binary = 1;
}

static void put_double(struct wire_value *out, double number)
{
    uint64_t bits = 0;

    memcpy(&bits, &number, sizeof bits);
    put(out, bits, sizeof bits);
}

void wire_write(const struct value *value, unsigned type, struct wire_value *out)
{
    const bool is_integer = value->type == VALUE_INTEGER;

    *out = (struct wire_value){.bytes = NULL};
    if (value->type == VALUE_NULL) {
        return;
    }
    if (!is_integer && value->type != VALUE_NUMBER) {
        out->bytes = value->text.data;
        out->length = (int)value->text.bytes;
        out->is_binary = 1;
    } else if (type == WIRE_FLOAT8) {
        put_double(out, is_integer ? (double)value->integer : value->number);
    } else if (type == WIRE_INT8 && is_integer) {
        put(out, (uint64_t)value->integer, 8);
    } else {
        out->bytes = out->room;
        out->length = is_integer ? snprintf(out->room, sizeof out->room, "%" PRId64, value->integer)
                                 : snprintf(out->room, sizeof out->room, "%.17g", value->number);
    }
}

/* ---- columns --------------------------------------------------------------------------------- */

/* Digits of 10,000 each: their count, the first one's place, sign, digits behind the point, then
 * they. */
static struct value read_numeric(const char *bytes, size_t length)
{
    enum { HEAD = 8, DIGITS_MAX = 80 };
    const size_t count = length < HEAD ? 0 : (size_t)take(bytes, 2);
    const int first = (int16_t)take(bytes + 2, 2);
    const uint64_t sign = take(bytes + 4, 2);
    const bool is_whole = take(bytes + 6, 2) == 0;
    char text[4 * DIGITS_MAX + 16];
    size_t used = 0;

    if (count > DIGITS_MAX || length < HEAD + 2 * count || (sign != 0 && sign != 0x4000)) {
        return value_number((double)NAN);
    }
    text[used++] = sign == 0 ? '+' : '-';
    for (size_t i = 0; i < count; i++) {
        used += (size_t)snprintf(text + used, sizeof text - used, "%04d",
                                 (int)take(bytes + HEAD + 2 * i, 2));
    }
    if (is_whole && first < 4) { /* 16 digits; zeros at the end are not sent */
        for (int i = (int)count; i <= first; i++) {
            used += (size_t)snprintf(text + used, sizeof text - used, "0000");
        }
        text[used] = '\0';
        return value_integer(strtoll(text, NULL, 10));
    }
    snprintf(text + used, sizeof text - used, "e%d", 4 * (first + 1 - (int)count));
    return value_number(strtod(text, NULL));
}

struct value wire_read(unsigned type, const char *bytes, size_t length)
{
    double number = 0;
    float single = 0;

    switch (type) {
    case WIRE_BOOL:
    case WIRE_OID:
        return value_integer((int64_t)take(bytes, length));
    case WIRE_INT2:
        return value_integer((int16_t)take(bytes, 2));
    case WIRE_INT4:
        return value_integer((int32_t)take(bytes, 4));
    case WIRE_INT8:
        return value_integer((int64_t)take(bytes, 8));
    case WIRE_FLOAT4: {
        const uint32_t bits = (uint32_t)take(bytes, 4);
        memcpy(&single, &bits, sizeof single);
        return value_number((double)single);
    }
    case WIRE_FLOAT8: {
        const uint64_t bits = take(bytes, 8);
        memcpy(&number, &bits, sizeof number);
        return value_number(number);
    }
    case WIRE_NUMERIC:
        return read_numeric(bytes, length);
    case WIRE_BYTEA:
        return value_bytes((struct slice){bytes, length});
    default:
        return value_text((struct slice){bytes, length});
    }
}
