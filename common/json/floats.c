/* Printing vectors: the hot spot of talking to Chroma, so it does not go through printf.
 *
 * For |x| in [1e-13, 1e9) the digits are an integer d = round(|x| * 10^places) of 1 to 9 digits.
 * d < 2^53 and 10^places <= 10^22 are exact doubles, so d / 10^places is the double nearest to the
 * decimal text (IEEE division), and the text reads back as x if that double rounds to x. A reader
 * that goes straight to float32 and one that goes by way of a double could differ only where the
 * double is exactly half way between two floats; such digits are not used. Nine digits always
 * suffice for a float32. All other numbers but 0 go through printf.
 */
#include "json/write.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FLOAT_TEXT_BYTES = 32, FLOAT_DIGITS_MAX = 9, FLOAT_DIGITS_USUAL = 8, POWERS = 23 };

static const double powers_of_ten[POWERS] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
};

/* The value digits * 10^-places. */
struct decimal {
    uint32_t digits;
    int places;
};

/* Exactly half way between two normal float32: of the 29 bits that a float lacks only the first. */
static bool is_half_way(double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    return (bits & 0x1fffffff) == 0x10000000;
}

/* The exponent of the first digit: -4 for 3.2e-4. */
static int exponent_of(double magnitude)
{
    int exponent = 8;
    if (magnitude >= 1) {
        while (magnitude < powers_of_ten[exponent]) {
            exponent--;
        }
        return exponent;
    }
    exponent = -1;
    while (magnitude * powers_of_ten[-exponent] < 1) {
        exponent--;
    }
    return exponent;
}

static bool try_digits(float number, double magnitude, int exponent, int digits,
                       struct decimal *out)
{
    int places = digits - 1 - exponent;
    if (places < 0) {
        return false;
    }
    double scaled = magnitude * powers_of_ten[places] + 0.5;
    uint32_t rounded = (uint32_t)scaled;
    double back = (double)rounded / powers_of_ten[places];
    if ((float)back != number || is_half_way(back)) {
        return false;
    }
    *out = (struct decimal){rounded, places};
    return true;
}

/* The fewest digits that read back; most float32 take 8. */
static bool shortest_decimal(float magnitude, struct decimal *out)
{
    double wide = (double)magnitude;
    if (!(wide >= 1e-13 && wide < 1e9)) {
        return false;
    }
    int exponent = exponent_of(wide);
    int digits = FLOAT_DIGITS_USUAL;

    if (!try_digits(magnitude, wide, exponent, digits, out)) {
        digits = FLOAT_DIGITS_MAX;
        if (!try_digits(magnitude, wide, exponent, digits, out)) {
            return false;
        }
    }
    while (digits > 1 && digits <= FLOAT_DIGITS_USUAL &&
           try_digits(magnitude, wide, exponent, digits - 1, out)) {
        digits--;
    }
    while (out->digits % 10 == 0) {
        out->digits /= 10;
        out->places--;
    }
    return true;
}

static size_t write_digits(uint32_t number, char *out)
{
    char reversed[10];
    size_t count = 0;

    do {
        reversed[count++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    for (size_t i = 0; i < count; i++) {
        out[i] = reversed[count - 1 - i];
    }
    return count;
}

/* "123e-8": the digits as an integer and the places as exponent. */
static size_t write_exponent(struct decimal decimal, char *out)
{
    size_t at = write_digits(decimal.digits, out);
    out[at++] = 'e';
    if (decimal.places > 0) {
        out[at++] = '-';
    }
    return at + write_digits((uint32_t)abs(decimal.places), out + at);
}

/* "0.00123", "12.3", "1200". */
static size_t write_plain(struct decimal decimal, char *out)
{
    char digits[10];
    size_t count = write_digits(decimal.digits, digits);
    size_t places = decimal.places > 0 ? (size_t)decimal.places : 0;
    size_t at = 0;

    if (decimal.places <= 0) {
        memcpy(out, digits, count);
        memset(out + count, '0', (size_t)-decimal.places);
        return count + (size_t)-decimal.places;
    }
    if (count > places) {
        memcpy(out, digits, count - places);
        at = count - places;
        out[at++] = '.';
        memcpy(out + at, digits + count - places, places);
        return at + places;
    }
    memcpy(out, "0.", 2);
    memset(out + 2, '0', places - count);
    memcpy(out + 2 + places - count, digits, count);
    return 2 + places;
}

static size_t write_shorter(struct decimal decimal, char out[FLOAT_TEXT_BYTES])
{
    char exponent[FLOAT_TEXT_BYTES];
    size_t exponent_bytes = write_exponent(decimal, exponent);
    size_t plain_bytes = write_plain(decimal, out);

    if (exponent_bytes < plain_bytes) {
        memcpy(out, exponent, exponent_bytes);
        return exponent_bytes;
    }
    return plain_bytes;
}

/* The rest: zero, tiny, huge. printf and strtod share the host program's decimal point; only what
 * is written out has to be a full stop. */
static size_t write_slowly(float number, char out[FLOAT_TEXT_BYTES])
{
    if (!isfinite(number)) {
        memcpy(out, "null", 4); /* the server names it; a bare nan would break the document */
        return 4;
    }
    for (int digits = 1; digits <= FLOAT_DIGITS_MAX; digits++) {
        snprintf(out, FLOAT_TEXT_BYTES, "%.*g", digits, (double)number);
        if (strtof(out, NULL) == number && (float)strtod(out, NULL) == number) {
            break;
        }
    }
    return json_use_full_stop(out);
}

static size_t write_float(float number, char out[FLOAT_TEXT_BYTES])
{
    struct decimal decimal;

    if (number == 0 && !signbit(number)) { /* most of a sparse vector */
        out[0] = '0';
        return 1;
    }
    if (!shortest_decimal(fabsf(number), &decimal)) {
        return write_slowly(number, out);
    }
    out[0] = '-';
    size_t sign = signbit(number) ? 1 : 0;
    return sign + write_shorter(decimal, out + sign);
}

void json_floats(struct strbuf *out, const float *numbers, size_t count)
{
    strbuf_append_char(out, '[');
    for (size_t i = 0; i < count; i++) {
        char *room = strbuf_reserve(out, FLOAT_TEXT_BYTES + 2);
        if (room == NULL) {
            return;
        }
        size_t comma = i == 0 ? 0 : 1;
        room[0] = ',';
        strbuf_commit(out, comma + write_float(numbers[i], room + comma));
    }
    strbuf_append_char(out, ']');
}
