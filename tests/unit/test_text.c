#include <criterion/criterion.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* What `hashlib.sha256(b" ".join(q.split())).hexdigest()[:32]` says in Python. */
static const struct {
    const char *text;
    size_t bytes;
    const char *hash;
} known_hashes[] = {
    {"", 0, "e3b0c44298fc1c149afbf4c8996fb924"},
    {"   ", 3, "e3b0c44298fc1c149afbf4c8996fb924"},
    {"notice period for tenants", 25, "9799af08a419241e4ddf2574bd8bf982"},
    {"  notice\tperiod \v\f for\r\n\ntenants ", 33, "9799af08a419241e4ddf2574bd8bf982"},
    {"k\303\274ndigungsfrist f\303\274r mieter", 28, "ffe9ff9172ef0a89674a052743fbf657"},
    {"a\302\240b", 4, "9507017c6d887511a5a6ac28ea7e3a43"},
    {"\302\240a b\302\240", 7, "b17e57f6cee8327deceb85687fdb1683"},
    {"a\342\200\203b", 5, "d98ee46a818de7808c5b2342ea531289"},
    {"a b", 3, "c8687a08aa5d6ed2044328fa6a697ab8"},
    {"a  b", 4, "c8687a08aa5d6ed2044328fa6a697ab8"},
    {"a\034b", 3, "3b03cf1af522d0d5542860e2cfaeb87d"},
    {"a\037b c", 5, "ca69e5ef49419b350190f850d44781dd"},
    {"a\000b", 3, "59b271ae1bbcb1d31d41929817f4b16f"},
    {"\346\227\245\346\234\254\350\252\236 \343\203\206\343\202\255\343\202\271\343\203\210", 22,
     "011c113ba1ecc36378bf9fd03e848531"},
    {"x", 1, "2d711642b726b04401627ca9fbac32f5"},
    {" x", 2, "2d711642b726b04401627ca9fbac32f5"},
};

Test(text, hashes_are_those_of_the_contracts_python_line)
{
    char hash[TEXT_HASH_CHARS + 1];
    for (size_t i = 0; i < sizeof known_hashes / sizeof known_hashes[0]; i++) {
        text_hash(known_hashes[i].text, known_hashes[i].bytes, hash);
        cr_assert_str_eq(hash, known_hashes[i].hash, "text %zu", i);
    }
}

Test(text, a_long_text_with_tabs_hashes_like_the_one_with_spaces)
{
    static char text[50000];
    char hash[TEXT_HASH_CHARS + 1];
    for (size_t i = 0; i < sizeof text; i += 5) {
        memcpy(text + i, "word\t", 5);
    }
    text_hash(text, sizeof text, hash);
    cr_assert_str_eq(hash, "ec7b590bbadf02fad6ec9f1f5ddd526e");
}

Test(text, the_raw_hash_keeps_white_space)
{
    char hash[TEXT_HASH_CHARS + 1];
    text_hash_raw("a  b", 4, hash);
    cr_assert_str_eq(hash, "6e12db73209a66d147a67a15868bdb4b");
    text_hash_raw(NULL, 0, hash);
    cr_assert_str_eq(hash, "e3b0c44298fc1c149afbf4c8996fb924");
}

static void *hash_many(void *arg)
{
    size_t *wrong = arg;
    for (int i = 0; i < 500; i++) {
        char hash[TEXT_HASH_CHARS + 1];
        text_hash(" x", 2, hash);
        *wrong += strcmp(hash, "2d711642b726b04401627ca9fbac32f5") != 0;
    }
    return NULL;
}

Test(text, threads_hash_at_the_same_time)
{
    pthread_t threads[4];
    size_t wrong[4] = {0};
    for (size_t i = 0; i < 4; i++) {
        cr_assert_eq(pthread_create(&threads[i], NULL, hash_many, &wrong[i]), 0);
    }
    for (size_t i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        cr_assert_eq(wrong[i], 0);
    }
}

Test(text, blank_means_nothing_but_ascii_white_space)
{
    cr_assert(text_is_blank("", 0));
    cr_assert(text_is_blank(" \t\n\r\v\f", 6));
    cr_assert_not(text_is_blank("  x ", 4));
    cr_assert_not(text_is_blank("\302\240", 2));
    cr_assert_not(text_is_blank("\0", 1));
}

Test(text, sound_utf8_is_accepted)
{
    static const char *const sound[] = {
        "",
        "plain ascii, more than eight",
        "\302\200",
        "\337\277",
        "\340\240\200",
        "\355\237\277",
        "\356\200\200",
        "\357\277\277",
        "\360\220\200\200",
        "\364\217\277\277",
        "12345678\303\274",
        "\303\27412345678",
    };
    for (size_t i = 0; i < sizeof sound / sizeof sound[0]; i++) {
        cr_assert(text_is_utf8(sound[i], strlen(sound[i])), "text %zu", i);
    }
    cr_assert(text_is_utf8("a\0b", 3));
}

Test(text, broken_utf8_is_refused)
{
    static const char *const broken[] = {
        "\200",
        "\277",
        "\300\200",
        "\301\277",
        "\303",
        "\303x",
        "\340\237\277",
        "\340\240",
        "\355\240\200",
        "\355\277\277",
        "\360\217\277\277",
        "\360\220\200",
        "\364\220\200\200",
        "\365\200\200\200",
        "\377",
        "12345678\303",
        "\342\202x",
        "\342x\254",
        "\360\220\200x",
    };
    for (size_t i = 0; i < sizeof broken / sizeof broken[0]; i++) {
        cr_assert_not(text_is_utf8(broken[i], strlen(broken[i])), "text %zu", i);
    }
}

Test(text, a_cut_never_ends_inside_a_sequence)
{
    const char *text = "a\303\274\342\202\254\360\237\230\200z"; /* 1 + 2 + 3 + 4 + 1 bytes */
    static const size_t expected[] = {0, 1, 1, 3, 3, 3, 6, 6, 6, 6, 10, 11, 11};
    for (size_t limit = 0; limit < sizeof expected / sizeof expected[0]; limit++) {
        cr_assert_eq(text_utf8_cut(text, 11, limit), expected[limit], "limit %zu", limit);
    }
}

Test(text, a_cut_of_broken_text_goes_back_three_bytes_at_most)
{
    cr_assert_eq(text_utf8_cut("\200\200\200\200\200\200", 6, 5), 5);
    cr_assert_eq(text_utf8_cut("abc\360\237\230", 6, 100), 3);
    cr_assert_eq(text_utf8_cut("\377\377", 2, 1), 1);
}

static bool is_domain(const char *text)
{
    return text_is_domain(text, strlen(text));
}

Test(text, what_steers_a_terminal_is_not_safe_and_letters_are)
{
    static const uint32_t unsafe[] = {0,      0x09,   0x0a,    0x1b,    0x7f,    0x80,    0x9b,
                                      0xad,   0x61c,  0x6dd,   0x180e,  0x200b,  0x200d,  0x200f,
                                      0x2028, 0x2029, 0x202a,  0x202e,  0x2060,  0x2069,  0xfeff,
                                      0xfff9, 0xfffb, 0x110bd, 0x1d173, 0xe0001, 0xe007f, 0xe01ef};
    static const uint32_t safe[] = {' ',    '~',    0xa0,   0xac,   0xae,    0xfc,
                                    0x5d0,  0x627,  0x200a, 0x2010, 0x2027,  0x202f,
                                    0x3000, 0x4e00, 0xfe0f, 0xfffd, 0x1f600, 0x10ffff};
    for (size_t i = 0; i < sizeof unsafe / sizeof unsafe[0]; i++) {
        cr_assert_not(text_is_safe_codepoint(unsafe[i]), "U+%04x", (unsigned)unsafe[i]);
    }
    for (size_t i = 0; i < sizeof safe / sizeof safe[0]; i++) {
        cr_assert(text_is_safe_codepoint(safe[i]), "U+%04x", (unsigned)safe[i]);
    }
}

Test(text, characters_are_decoded_one_by_one)
{
    uint32_t c = 0;
    cr_assert_eq(text_decode("a", 1, &c), 1);
    cr_assert_eq(c, 'a');
    cr_assert_eq(text_decode("\303\274x", 3, &c), 2);
    cr_assert_eq(c, 0xfc);
    cr_assert_eq(text_decode("\342\200\213", 3, &c), 3);
    cr_assert_eq(c, 0x200b);
    cr_assert_eq(text_decode("\360\237\230\200", 4, &c), 4);
    cr_assert_eq(c, 0x1f600);
    cr_assert_eq(text_decode("\303", 1, &c), 0, "cut");
    cr_assert_eq(text_decode("\274", 1, &c), 0, "no beginning");
    cr_assert_eq(text_decode("\355\240\200", 3, &c), 0, "half of a pair");
}

Test(text, unsafe_characters_become_question_marks)
{
    static const struct {
        const char *text;
        const char *safe;
    } known[] = {
        {"", ""},
        {"plain \303\274", "plain \303\274"},
        {"a\033[31mb\nc", "a?[31mb?c"},
        {"\302\23331m\342\200\213evil\342\200\213", "?31m?evil?"},
        {"cut \342\200", "cut ??"},
        {"\377latin \351", "?latin ?"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        char text[64];
        strcpy(text, known[i].text);
        text[text_make_safe(text, strlen(text))] = '\0';
        cr_assert_str_eq(text, known[i].safe);
    }
}

Test(text, domains_are_those_of_the_contract)
{
    char longest[65];
    memset(longest, 'a', sizeof longest);

    cr_assert(is_domain("a"));
    cr_assert(is_domain("7"));
    cr_assert(is_domain("ab"));
    cr_assert(is_domain("a.b_c-d9"));
    cr_assert(text_is_domain(longest, 63));
    cr_assert_not(text_is_domain(longest, 64));
    cr_assert_not(is_domain(""));
    cr_assert_not(is_domain("-a"));
    cr_assert_not(is_domain("a-"));
    cr_assert_not(is_domain("."));
    cr_assert_not(is_domain("a.b."));
    cr_assert_not(is_domain("A"));
    cr_assert_not(is_domain("a b"));
    cr_assert_not(is_domain("a}b"));
    cr_assert_not(is_domain("\303\274b"));
    cr_assert_not(text_is_domain("a\0b", 3));
}

static bool is_id(const char *text)
{
    return text_is_id(text, strlen(text));
}

Test(text, ids_are_those_of_the_contract)
{
    char longest[66];
    memset(longest, 'Z', sizeof longest);

    cr_assert(is_id("0"));
    cr_assert(is_id("aZ09._:-"));
    cr_assert(text_is_id(longest, 64));
    cr_assert_not(text_is_id(longest, 65));
    cr_assert_not(is_id(""));
    cr_assert_not(is_id("a b"));
    cr_assert_not(is_id("a/b"));
    cr_assert_not(is_id("a\n"));
    cr_assert_not(is_id("\303\274"));
    cr_assert_not(text_is_id("a\0", 2));
}

Test(text, the_id_of_a_job_that_follows_another_is_an_id_too_however_long_the_other_is)
{
    static const char longest[] =
        "0123456789012345678901234567890123456789012345678901234567890123";
    char id[TEXT_ID_MAX + 1];
    char other[TEXT_ID_MAX + 1];

    cr_assert_str_eq(text_derive_id("job-1", 5, ".v", id), "job-1.v");
    cr_assert_str_eq(text_derive_id(longest, 62, ".v", id) + 60, "01.v");
    for (size_t bytes = 1; bytes <= TEXT_ID_MAX; bytes++) {
        text_derive_id(longest, bytes, ".v", id);
        cr_assert(text_is_id(id, strlen(id)), "%s", id);
        cr_assert_str_eq(id + strlen(id) - 2, ".v");
        text_derive_id(longest, bytes - 1, ".v", other);
        cr_assert_str_neq(id, other);
    }
}

Test(text, a_new_id_is_a_uuid_of_version_7_with_its_time)
{
    char id[37];
    text_make_id(INT64_C(0x0123456789ab), id);
    cr_assert_eq(strlen(id), 36);
    cr_assert_eq(strncmp(id, "01234567-89ab-7", 15), 0, "found %s", id);
    cr_assert_not_null(strchr("89ab", id[19]), "found %s", id);
    cr_assert_eq(id[18], '-');
    cr_assert_eq(id[23], '-');
    cr_assert_eq(strspn(id, "0123456789abcdef-"), 36);
    cr_assert(text_is_id(id, 36));
}

Test(text, a_thousand_ids_of_one_moment_differ)
{
    static char ids[1000][37];
    for (size_t i = 0; i < 1000; i++) {
        text_make_id(INT64_C(1700000000000), ids[i]);
        for (size_t j = 0; j < i; j++) {
            cr_assert_str_neq(ids[i], ids[j]);
        }
    }
}

Test(text, durations_have_a_unit_unless_they_are_zero)
{
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {
        {"0", 0},        {"00", 0},
        {"0s", 0},       {"250ms", 250},
        {"5s", 5000},    {"2m", 120000},
        {"1h", 3600000}, {"7d", INT64_C(604800000)},
        {"007s", 7000},  {"4611686018427387903ms", INT64_MAX / 2},
    };
    int64_t ms = -1;
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        cr_assert(text_parse_duration(good[i].text, &ms), "text %s", good[i].text);
        cr_assert_eq(ms, good[i].ms, "text %s", good[i].text);
    }
}

Test(text, other_durations_are_refused)
{
    static const char *const bad[] = {
        "",
        "5",
        "s",
        "-5s",
        "+5s",
        " 5s",
        "5s ",
        "1.5s",
        "5 s",
        "5S",
        "1h2m",
        "5sec",
        "5w",
        "0x5s",
        "5mss",
        "4611686018427387904ms",
        "99999999999999999999s",
        "53375995584d",
    };
    int64_t ms = 42;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        cr_assert_not(text_parse_duration(bad[i], &ms), "text %s", bad[i]);
    }
    cr_assert_eq(ms, 42);
}

Test(text, a_duration_is_written_in_the_largest_unit_that_fits)
{
    static const struct {
        int64_t ms;
        const char *text;
    } known[] = {
        {0, "0"},
        {1, "1ms"},
        {1000, "1s"},
        {1500, "1500ms"},
        {60000, "1m"},
        {90000, "90s"},
        {3600000, "1h"},
        {INT64_C(604800000), "7d"},
        {INT64_MAX / 2, "4611686018427387903ms"},
    };
    char out[32];
    int64_t back = -1;
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        cr_assert_str_eq(text_format_duration(known[i].ms, out), known[i].text);
        cr_assert(text_parse_duration(out, &back));
        cr_assert_eq(back, known[i].ms);
    }
}

Test(text, an_excerpt_is_printable_and_short)
{
    char out[48];
    char long_text[100];
    memset(long_text, 'x', sizeof long_text);

    cr_assert_str_eq(text_excerpt("", 0, out), "");
    cr_assert_str_eq(text_excerpt(NULL, 0, out), "");
    cr_assert_str_eq(text_excerpt("a\"b\\c\n\0\303\274", 9, out), "a?b?c????");
    cr_assert_str_eq(text_excerpt("%s%n", 4, out), "%s%n");
    cr_assert_eq(strlen(text_excerpt(long_text, 47, out)), 47);
    cr_assert_eq(out[46], 'x');
    cr_assert_eq(strlen(text_excerpt(long_text, 48, out)), 47);
    cr_assert_str_eq(out + 44, "...");
}
