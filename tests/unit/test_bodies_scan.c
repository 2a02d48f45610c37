/* The scanner: what is not exactly one sound msgpack value is refused at once and by name. */
#include "bodies_support.h"

/* A map of one value of each kind of msgpack. */
static const char all_kinds[] = "\x87\x01\xc7\x02\x05zz"
                                "\xc0\xd6\x01zzzz"
                                "\xc3\xc4\x02\xff\xfe"
                                "\xca\x7f\xc0\x00\x00\xd3\xff\xff\xff\xff\xff\xff\xff\xff"
                                "\x90\x80"
                                "\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa1x"
                                "\xd9\x01y\xdc\x00\x01\xde\x00\x01\x01\x02";

static void expect_refused(const void *data, size_t bytes, const char *text)
{
    struct error err = {0};
    cr_assert_eq(mp_check(data, bytes, NULL, &err), STATUS_INVALID);
    cr_assert_eq(err.status, STATUS_INVALID);
    cr_assert_str_eq(err.text, text);
}

Test(bodies_scan, every_kind_of_value_is_accepted)
{
    struct error err = {0};
    static const struct {
        const char *data;
        size_t bytes;
    } sound[] = {
        {BYTES("\x00")},
        {BYTES("\x7f")},
        {BYTES("\xff")},
        {BYTES("\xc0")},
        {BYTES("\xc2")},
        {BYTES("\xc3")},
        {BYTES("\xa0")},
        {BYTES("\xa2\xc3\xbc")},
        {BYTES("\xd9\x01x")},
        {BYTES("\xda\x00\x01x")},
        {BYTES("\xdb\x00\x00\x00\x01x")},
        {BYTES("\xc4\x01\xff")},
        {BYTES("\xc5\x00\x01\xff")},
        {BYTES("\xc6\x00\x00\x00\x01\xff")},
        {BYTES("\xc7\x00\x01")},
        {BYTES("\xc8\x00\x01\x01z")},
        {BYTES("\xc9\x00\x00\x00\x01\x01z")},
        {BYTES("\xca\x00\x00\x00\x00")},
        {BYTES("\xcb\x00\x00\x00\x00\x00\x00\x00\x00")},
        {BYTES("\xcc\x01")},
        {BYTES("\xcd\x01\x02")},
        {BYTES("\xce\x01\x02\x03\x04")},
        {BYTES("\xcf\x01\x02\x03\x04\x05\x06\x07\x08")},
        {BYTES("\xd0\x01")},
        {BYTES("\xd1\x01\x02")},
        {BYTES("\xd2\x01\x02\x03\x04")},
        {BYTES("\xd3\x01\x02\x03\x04\x05\x06\x07\x08")},
        {BYTES("\xd4\x01z")},
        {BYTES("\xd5\x01zz")},
        {BYTES("\xd6\x01zzzz")},
        {BYTES("\xd7\x01zzzzzzzz")},
        {BYTES("\xd8\x01zzzzzzzzzzzzzzzz")},
        {BYTES("\x90")},
        {BYTES("\x92\x01\x02")},
        {BYTES("\xdc\x00\x01\x01")},
        {BYTES("\xdd\x00\x00\x00\x01\x01")},
        {BYTES("\x80")},
        {BYTES("\x81\x01\x02")},
        {BYTES("\xde\x00\x01\x01\x02")},
        {BYTES("\xdf\x00\x00\x00\x01\x01\x02")},
        {BYTES(all_kinds)},
    };
    for (size_t i = 0; i < sizeof sound / sizeof sound[0]; i++) {
        cr_assert_eq(mp_check(sound[i].data, sound[i].bytes, NULL, &err), STATUS_OK, "%zu: %s", i,
                     err.text);
    }
}

Test(bodies_scan, a_body_cut_anywhere_is_refused)
{
    struct error err = {0};
    for (size_t bytes = 0; bytes < sizeof all_kinds - 1; bytes++) {
        /* a copy of exactly that size, so that a sanitizer sees a read past its end */
        char *cut = malloc(bytes + 1);
        cr_assert_not_null(cut);
        memcpy(cut, all_kinds, bytes);
        char *exact = realloc(cut, bytes > 0 ? bytes : 1);
        cr_assert_eq(mp_check(exact, bytes, NULL, &err), STATUS_INVALID, "%zu bytes", bytes);
        free(exact);
    }
}

Test(bodies_scan, nothing_at_all_is_refused)
{
    expect_refused("", 0, "empty, expected a msgpack value");
    expect_refused(NULL, 0, "empty, expected a msgpack value");
}

Test(bodies_scan, text_that_is_not_msgpack_is_refused)
{
    expect_refused(BYTES("{\"query\":\"x\"}"), "expected msgpack, found what looks like JSON");
    expect_refused(BYTES("hello"), "4 trailing bytes after the end at byte 1");
    expect_refused(BYTES("\xc1"), "byte 0xc1 at byte 0 is not msgpack");
}

Test(bodies_scan, trailing_bytes_are_refused)
{
    expect_refused(BYTES("\x80\x00"), "1 trailing bytes after the end at byte 1");
    expect_refused(BYTES("\x81\xa1x\x01\xc0\xc0"), "2 trailing bytes after the end at byte 4");
}

Test(bodies_scan, an_error_names_the_field_it_is_in)
{
    expect_refused(BYTES("\x81\xa5query\xa2\xff\xfe"),
                   "field \"query\": the string at byte 7 is not valid UTF-8");
    expect_refused(
        BYTES("\x82\xa1k\x03\xa5query\xa9x"),
        "field \"query\": truncated: a string at byte 10 needs 9 bytes more, 1 are left");
    expect_refused(BYTES("\x81\xa8metadata\x81\xa1x"),
                   "field \"metadata\": truncated: a value is missing at byte 13");
}

Test(bodies_scan, an_error_outside_a_field_names_none)
{
    expect_refused(BYTES("\x81\xa2\xc3x\x01"), "the string at byte 1 is not valid UTF-8");
    expect_refused(BYTES("\x92\xa1x\xc1"), "byte 0xc1 at byte 3 is not msgpack");
    expect_refused(BYTES("\x81\x01\xd9"),
                   "truncated: a string at byte 2 needs 1 bytes more, 0 are left");
}

Test(bodies_scan, a_foreign_field_name_is_shown_harmlessly)
{
    expect_refused(BYTES("\x81\xa4%s\n\"\xc1"),
                   "field \"%s??\": byte 0xc1 at byte 6 is not msgpack");
}

Test(bodies_scan, four_billion_elements_in_five_bytes_are_refused_at_once)
{
    static const char heads[] = {'\xdd', '\xdf', '\xdb', '\xc6', '\xc9'};
    struct error err = {0};
    for (size_t i = 0; i < sizeof heads; i++) {
        char body[] = {heads[i], '\xff', '\xff', '\xff', '\xff'};
        cr_assert_eq(mp_check(body, sizeof body, NULL, &err), STATUS_INVALID);
    }
    expect_refused(BYTES("\xdd\xff\xff\xff\xff"),
                   "an array at byte 0 claims 4294967295 elements, 0 bytes are left");
    expect_refused(BYTES("\xdf\x80\x00\x00\x00\xc0\xc0"),
                   "a map at byte 0 claims 2147483648 elements, 2 bytes are left");
}

Test(bodies_scan, sixteen_levels_are_allowed_and_a_thousand_are_not)
{
    char deep[1001];
    struct error err = {0};
    memset(deep, '\x91', sizeof deep);
    deep[16] = '\xc0';
    cr_assert_eq(mp_check(deep, 17, NULL, &err), STATUS_OK, "%s", err.text);

    deep[16] = '\x91';
    deep[17] = '\xc0';
    expect_refused(deep, 18, "an array at byte 16 is nested deeper than 16");
    deep[17] = '\x91';
    deep[1000] = '\xc0';
    expect_refused(deep, sizeof deep, "an array at byte 16 is nested deeper than 16");
}

Test(bodies_scan, many_short_containers_side_by_side_are_fine)
{
    static char wide[3 + 60000];
    struct error err = {0};
    memcpy(wide, "\xdc\xea\x60", 3);
    memset(wide + 3, '\x90', 60000);
    cr_assert_eq(mp_check(wide, sizeof wide, NULL, &err), STATUS_OK, "%s", err.text);
    expect_refused(wide, sizeof wide - 1,
                   "an array at byte 0 claims 60000 elements, 59999 bytes are left");
}

Test(bodies_scan, an_error_text_is_not_needed)
{
    cr_assert_eq(mp_check("\xc1", 1, NULL, NULL), STATUS_INVALID);
}

/* ---- reading --------------------------------------------------------------------------------- */

Test(bodies_scan, bytes_that_nobody_checked_are_read_to_their_end_and_no_further)
{
    struct mp_value value;

    for (size_t bytes = 0; bytes < sizeof all_kinds; bytes++) {
        unsigned char *exact = malloc(bytes > 0 ? bytes : 1); /* for a sanitizer, as above */
        size_t read = 0;
        cr_assert_not_null(exact);
        memcpy(exact, all_kinds, bytes);
        struct mp_cursor whole = {exact, exact + bytes, NULL};
        cr_assert_eq(mp_next(&whole, &value), bytes == sizeof all_kinds - 1, "%zu bytes", bytes);
        struct mp_cursor inside = {exact + (bytes > 0), exact + bytes, NULL};
        while (mp_next(&inside, &value)) {
            read++;
        }
        cr_assert_eq(value.type, MP_NONE);
        cr_assert(read == 14 ? bytes == sizeof all_kinds - 1 : read < 14, "%zu of %zu bytes", read,
                  bytes);
        free(exact);
    }
    static const unsigned char never[] = {0xc1};
    struct mp_cursor cursor = {never, never + 1, NULL};
    cr_assert_not(mp_next(&cursor, &value));
}

Test(bodies_scan, a_number_is_the_same_in_every_width)
{
    static const struct {
        const char *data;
        size_t bytes;
        int64_t number;
    } numbers[] = {
        {BYTES("\xfe"), -2},
        {BYTES("\xd0\xfe"), -2},
        {BYTES("\xd1\xff\xfe"), -2},
        {BYTES("\xd2\xff\xff\xff\xfe"), -2},
        {BYTES("\xd3\xff\xff\xff\xff\xff\xff\xff\xfe"), -2},
        {BYTES("\x05"), 5},
        {BYTES("\xcc\x05"), 5},
        {BYTES("\xd0\x05"), 5},
        {BYTES("\xd1\x00\x05"), 5},
        {BYTES("\xd2\x00\x00\x00\x05"), 5},
    };

    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        struct mp_document document;
        int64_t number = 0;
        cr_assert_eq(mp_check(numbers[i].data, numbers[i].bytes, &document, NULL), STATUS_OK);
        cr_assert(mp_integer(&document.root, &number));
        cr_assert_eq(number, numbers[i].number, "%zu: %lld", i, (long long)number);
    }
}

/* The ends of the first ones are known, the others are walked. */
Test(bodies_scan, of_more_containers_than_are_kept_each_is_stepped_over_as_a_whole)
{
    enum { MANY = 3 * MP_ENDS, EACH = 4 };
    static unsigned char body[3 + MANY * EACH];
    struct mp_document document;
    struct mp_value value;
    uint32_t count = 0;

    memcpy(body, "\xdc\x01\x80", 3);
    for (size_t i = 0; i < MANY; i++) {
        memcpy(body + 3 + i * EACH, "\x92\x01\x91\x02", EACH);
    }
    cr_assert_eq(MANY, 0x180);
    cr_assert_eq(mp_check(body, sizeof body, &document, NULL), STATUS_OK);
    for (struct mp_cursor at = mp_inside(&document.root); mp_next(&at, &value); count++) {
        cr_assert_eq(value.type, MP_ARRAY);
        cr_assert_eq(value.count, 2);
        cr_assert_eq(value.bytes.bytes, EACH - 1);
    }
    cr_assert_eq(count, MANY);
}
