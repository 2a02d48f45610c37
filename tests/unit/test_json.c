#include <criterion/criterion.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>

#include "json/write.h"
#include "json/writer.h"

static const char *string_of(struct strbuf *out, const char *text, size_t bytes)
{
    strbuf_reset(out);
    json_string(out, text, bytes);
    cr_assert(strbuf_ok(out));
    return out->data;
}

Test(json, strings_are_quoted_and_escaped)
{
    struct strbuf out = {0};
    cr_assert_str_eq(string_of(&out, "", 0), "\"\"");
    cr_assert_str_eq(string_of(&out, NULL, 0), "\"\"");
    cr_assert_str_eq(string_of(&out, "plain \303\274", 8), "\"plain \303\274\"");
    cr_assert_str_eq(string_of(&out, "\"\\/\b\f\n\r\t", 8), "\"\\\"\\\\/\\u0008\\u000c\\n\\r\\t\"");
    cr_assert_str_eq(string_of(&out, "a\0b\x1f\x7f", 5), "\"a\\u0000b\\u001f\\u007f\"");
    strbuf_reset(&out);
    json_str(&out, "x\"y");
    cr_assert_str_eq(out.data, "\"x\\\"y\"");
    strbuf_free(&out);
}

Test(json, what_steers_a_terminal_is_escaped_and_reads_back)
{
    static const char text[] =
        "\302\23331m \342\200\213x\342\200\215 \363\240\201\201 \343\201\202";
    struct strbuf out = {0};
    cr_assert_str_eq(string_of(&out, text, sizeof text - 1),
                     "\"\\u009b31m \\u200bx\\u200d \\udb40\\udc41 \343\201\202\"");
    cJSON *back = cJSON_Parse(out.data);
    cr_assert_str_eq(cJSON_GetStringValue(back), text);
    cJSON_Delete(back);
    cr_assert_str_eq(string_of(&out, "\351 \303", 3), "\"\351 \303\"", "no UTF-8: as it is");
    strbuf_free(&out);
}

Test(json, every_byte_at_every_place_reads_back)
{
    enum { PLACES = 24 };
    struct strbuf out = {0};

    for (int byte = 1; byte < 0x80; byte++) {
        for (size_t place = 0; place < PLACES; place++) {
            char text[PLACES + 1];
            memset(text, 'x', PLACES);
            text[PLACES] = '\0';
            text[place] = (char)byte;
            cJSON *back = cJSON_Parse(string_of(&out, text, PLACES));
            cr_assert_str_eq(cJSON_GetStringValue(back), text, "byte %d at %zu", byte, place);
            cJSON_Delete(back);
        }
    }
    strbuf_free(&out);
}

Test(json, integers_are_written_whole)
{
    struct strbuf out = {0};
    json_int(&out, INT64_MIN);
    strbuf_append_char(&out, ' ');
    json_int(&out, INT64_MAX);
    cr_assert_str_eq(out.data, "-9223372036854775808 9223372036854775807");
    strbuf_free(&out);
}

static const char *double_of(struct strbuf *out, double number)
{
    strbuf_reset(out);
    json_double(out, number);
    return out->data;
}

Test(json, doubles_are_short_and_stay_floats)
{
    struct strbuf out = {0};
    cr_assert_str_eq(double_of(&out, 0.1), "0.1");
    cr_assert_str_eq(double_of(&out, 0.9), "0.9");
    cr_assert_str_eq(double_of(&out, 1), "1.0");
    cr_assert_str_eq(double_of(&out, -3), "-3.0");
    cr_assert_str_eq(double_of(&out, 0), "0.0");
    cr_assert_str_eq(double_of(&out, -0.0), "-0.0");
    cr_assert_str_eq(double_of(&out, 0.1 + 0.2), "0.30000000000000004");
    cr_assert_str_eq(double_of(&out, 1e300), "1e+300");
    cr_assert_str_eq(double_of(&out, 5e-324), "5e-324");
    cr_assert_str_eq(double_of(&out, (double)NAN), "null");
    cr_assert_str_eq(double_of(&out, (double)INFINITY), "null");
    cr_assert_str_eq(double_of(&out, (double)-INFINITY), "null");
    strbuf_free(&out);
}

static uint64_t next_random(uint64_t *state)
{
    uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

Test(json, every_double_reads_back_as_it_was)
{
    struct strbuf out = {0};
    uint64_t state = 7;
    for (int i = 0; i < 20000; i++) {
        uint64_t bits = next_random(&state);
        double number;
        memcpy(&number, &bits, sizeof number);
        if (isfinite(number)) {
            double back = strtod(double_of(&out, number), NULL);
            cr_assert_eq(memcmp(&back, &number, sizeof back), 0, "found %s", out.data);
        }
    }
    strbuf_free(&out);
}

static const char *float_of(struct strbuf *out, float number)
{
    strbuf_reset(out);
    json_floats(out, &number, 1);
    return out->data;
}

Test(json, floats_are_as_short_as_can_be)
{
    struct strbuf out = {0};
    cr_assert_str_eq(float_of(&out, 0.1F), "[0.1]");
    cr_assert_str_eq(float_of(&out, -2), "[-2]");
    cr_assert_str_eq(float_of(&out, 0.3F), "[0.3]");
    cr_assert_str_eq(float_of(&out, 1.0F / 3), "[0.33333334]");
    cr_assert_str_eq(float_of(&out, 1e-7F), "[1e-7]");
    cr_assert_str_eq(float_of(&out, -12.5F), "[-12.5]");
    cr_assert_str_eq(float_of(&out, 100), "[100]");
    cr_assert_str_eq(float_of(&out, 1e8F), "[1e8]");
    cr_assert_str_eq(float_of(&out, 16777216), "[16777216]");
    cr_assert_str_eq(float_of(&out, 123456.789F), "[123456.79]");
    cr_assert_str_eq(float_of(&out, 0.00012345678F), "[12345678e-11]");
    cr_assert_str_eq(float_of(&out, 0), "[0]");
    cr_assert_str_eq(float_of(&out, -0.0F), "[-0]");
    cr_assert_str_eq(float_of(&out, 1e-45F), "[1e-45]");
    cr_assert_str_eq(float_of(&out, FLT_MAX), "[3.4028235e+38]");
    cr_assert_str_eq(float_of(&out, NAN), "[null]");
    cr_assert_str_eq(float_of(&out, -INFINITY), "[null]");
    strbuf_free(&out);
}

Test(json, a_vector_is_an_array)
{
    struct strbuf out = {0};
    const float numbers[] = {0.5F, -1, 0};
    json_floats(&out, numbers, 3);
    cr_assert_str_eq(out.data, "[0.5,-1,0]");
    strbuf_reset(&out);
    json_floats(&out, NULL, 0);
    cr_assert_str_eq(out.data, "[]");
    strbuf_free(&out);
}

/* Reads a vector back number by number, each straight to float32 and by way of a double. */
static void expect_same(const char *text, const float *numbers, size_t count)
{
    const char *at = text;
    for (size_t i = 0; i < count; i++) {
        char *end;
        float straight = strtof(at + 1, &end);
        float detour = (float)strtod(at + 1, NULL);
        if (memcmp(&straight, &numbers[i], sizeof straight) != 0 ||
            memcmp(&detour, &numbers[i], sizeof detour) != 0) {
            cr_assert_fail("%.9g became %.*s", (double)numbers[i], (int)(end - at - 1), at + 1);
        }
        at = end;
    }
    cr_assert_str_eq(at, "]");
}

enum { SAMPLES = 1000, ROUNDS = 500 };

static void expect_round_trips(float (*make)(uint64_t *state), size_t rounds)
{
    static float numbers[SAMPLES];
    struct strbuf out = {0};
    uint64_t state = 42;

    for (size_t round = 0; round < rounds; round++) {
        for (size_t i = 0; i < SAMPLES; i++) {
            numbers[i] = make(&state);
        }
        strbuf_reset(&out);
        json_floats(&out, numbers, SAMPLES);
        cr_assert(strbuf_ok(&out));
        expect_same(out.data, numbers, SAMPLES);
    }
    strbuf_free(&out);
}

static float any_float(uint64_t *state)
{
    uint32_t bits;
    float number;
    do {
        bits = (uint32_t)next_random(state);
        memcpy(&number, &bits, sizeof number);
    } while (!isfinite(number));
    return number;
}

static float vector_element(uint64_t *state)
{
    double unit = (double)(next_random(state) >> 11) / 9007199254740992.0;
    return (float)(unit * 2 - 1);
}

/* Neighbours of powers of two, where the distance to the next float halves, and of ten. */
static float edge_float(uint64_t *state)
{
    uint64_t random = next_random(state);
    float base = random & 1 ? ldexpf(1, (int)(random >> 8 & 127) - 60)
                            : strtof((const char *[]){"1e-13", "1e-9", "1e-5", "1e-1", "1", "1e4",
                                                      "1e8", "1e9"}[random >> 8 & 7],
                                     NULL);
    for (uint64_t steps = random >> 16 & 3; steps > 0; steps--) {
        base = nextafterf(base, random & 2 ? INFINITY : 0);
    }
    return base;
}

static float subnormal(uint64_t *state)
{
    uint32_t bits = (uint32_t)next_random(state) & 0x807fffff;
    float number;
    memcpy(&number, &bits, sizeof number);
    return number;
}

Test(json, random_floats_of_all_sizes_read_back_bit_for_bit)
{
    expect_round_trips(any_float, ROUNDS / 5);
}

Test(json, elements_of_vectors_read_back_bit_for_bit)
{
    expect_round_trips(vector_element, 2 * ROUNDS);
}

Test(json, floats_beside_powers_read_back_bit_for_bit)
{
    expect_round_trips(edge_float, ROUNDS / 10);
}

Test(json, subnormal_floats_read_back_bit_for_bit)
{
    expect_round_trips(subnormal, ROUNDS / 50);
}

Test(json, no_float_has_more_digits_than_it_needs)
{
    struct strbuf out = {0};
    uint64_t state = 3;
    for (int i = 0; i < 20000; i++) {
        float number = fabsf(vector_element(&state));
        char shortest[32];
        for (int digits = 1; digits <= 9; digits++) {
            snprintf(shortest, sizeof shortest, "%.*e", digits - 1, (double)number);
            if (strtof(shortest, NULL) == number) {
                break;
            }
        }
        size_t needed = strcspn(shortest, "e") - (shortest[1] == '.' ? 1 : 0);
        const char *text = float_of(&out, number) + 1;
        text += strspn(text, "0.");
        size_t used = 0;
        for (; *text != ']' && *text != 'e'; text++) {
            used += *text != '.';
        }
        cr_assert_leq(used, needed, "%s for %s", out.data, shortest);
    }
    strbuf_free(&out);
}

Test(json, a_decimal_comma_becomes_a_full_stop)
{
    char comma[] = "-1,5e-7";
    char arabic[] = "3\331\25325";
    cr_assert_eq(json_use_full_stop(comma), 7);
    cr_assert_str_eq(comma, "-1.5e-7");
    cr_assert_eq(json_use_full_stop(arabic), 4);
    cr_assert_str_eq(arabic, "3.25");
}

/* ---- documents ----------------------------------------------------------------------------- */

static void write_document(struct json_writer *json)
{
    json_open(json, NULL, '{');
    json_put_str(json, "a", "x\xff\"");
    json_open(json, "list", '[');
    json_put_int(json, NULL, -7);
    json_put_bool(json, NULL, true);
    json_open(json, NULL, '{');
    json_close(json, '}');
    json_close(json, ']');
    json_put_null(json, "nothing");
    json_str(json_name_begin(json), "by hand");
    json_name_end(json);
    json_open(json, NULL, '[');
    json_close(json, ']');
    json_double(json_put(json, "number"), 1);
    json_close(json, '}');
}

Test(json, a_document_is_written_member_by_member)
{
    struct strbuf out = {0};

    write_document(&(struct json_writer){.out = &out});
    cr_assert_str_eq(out.data, "{\"a\":\"x?\\\"\",\"list\":[-7,true,{}],\"nothing\":null,"
                               "\"by hand\":[],\"number\":1.0}");
    strbuf_free(&out);
}

Test(json, an_indented_document_has_a_line_a_member)
{
    struct strbuf out = {0};

    write_document(&(struct json_writer){.out = &out, .indented = true});
    cr_assert_str_eq(out.data, "{\n"
                               "  \"a\": \"x?\\\"\",\n"
                               "  \"list\": [\n"
                               "    -7,\n"
                               "    true,\n"
                               "    {}\n"
                               "  ],\n"
                               "  \"nothing\": null,\n"
                               "  \"by hand\": [],\n"
                               "  \"number\": 1.0\n"
                               "}");
    strbuf_free(&out);
}

Test(json, a_document_of_one_value_is_that_value)
{
    struct strbuf out = {0};

    json_put_str(&(struct json_writer){.out = &out, .indented = true}, NULL, "x");
    cr_assert_str_eq(out.data, "\"x\"");
    strbuf_free(&out);
}
