#include <criterion/criterion.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "embedder/builtin.h"
#include "embedder/embedder.h"
#include "embedder/vector.h"

enum { DIMENSION = 384 };

static struct error err;

static void embed(const char *text, float *vector)
{
    embedder_builtin(text, strlen(text), vector, DIMENSION);
}

static double dot(const float *a, const float *b)
{
    double sum = 0;
    for (size_t i = 0; i < DIMENSION; i++) {
        sum += (double)a[i] * (double)b[i];
    }
    return sum;
}

static double similarity(const char *one, const char *other)
{
    float a[DIMENSION];
    float b[DIMENSION];
    embed(one, a);
    embed(other, b);
    return dot(a, b);
}

static void assert_unit_length(const char *text, size_t bytes, size_t dimension)
{
    double sum = 0;
    float *vector = malloc(dimension * sizeof *vector);

    cr_assert_not_null(vector);
    embedder_builtin(text, bytes, vector, dimension);
    for (size_t i = 0; i < dimension; i++) {
        cr_assert(isfinite(vector[i]));
        sum += (double)vector[i] * (double)vector[i];
    }
    cr_assert_float_eq(sum, 1.0, 1e-5, "length^2 %f of %zu bytes", sum, bytes);
    free(vector);
}

/* FNV-1a over the bits, lowest byte first. */
static uint64_t fingerprint(const char *text, size_t dimension)
{
    float vector[4096];
    uint64_t hash = 0xcbf29ce484222325U;

    embedder_builtin(text, strlen(text), vector, dimension);
    for (size_t i = 0; i < dimension; i++) {
        uint32_t bits;
        memcpy(&bits, &vector[i], sizeof bits);
        for (int shift = 0; shift < 32; shift += 8) {
            hash = (hash ^ (bits >> shift & 0xff)) * 0x100000001b3U;
        }
    }
    return hash;
}

static enum status open_builtin(size_t dimension, struct embedder **out)
{
    const struct embedder_config config = {.kind = EMBEDDER_BUILTIN, .dimension = dimension};
    return embedder_new(&config, out, &err);
}

/* The vectors are stored: other bits need another identity than builtin-<dimension>-v1. */
Test(embedder_builtin, the_bits_are_those_of_v1)
{
    static const char text[] = "Reset the tenant's password; passwords expired, resetting \xc3\xbc";

    cr_assert_eq(fingerprint(text, 384), 0x5cf5fb0660fa63e0U, "%#lx", fingerprint(text, 384));
    cr_assert_eq(fingerprint(text, 1024), 0x469504ca36fb593U, "%#lx", fingerprint(text, 1024));
    cr_assert_eq(fingerprint("the", 64), 0x53e3823871d05da5U, "%#lx", fingerprint("the", 64));
    cr_assert_eq(fingerprint("?!", 384), 0xd26063dfd3c66e38U, "%#lx", fingerprint("?!", 384));
}

Test(embedder_builtin, every_text_has_unit_length)
{
    static const char *const texts[] = {
        "x",     "the", "The AND of it", "?!",   "\xe2\x82\xac", "a b c",
        "1 2 3", "...", "caf\xc3\xa9",   "ring", "ed ing s ies"};

    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        assert_unit_length(texts[i], strlen(texts[i]), 64);
        assert_unit_length(texts[i], strlen(texts[i]), 384);
        assert_unit_length(texts[i], strlen(texts[i]), 4096);
    }
    assert_unit_length("\0\1\2", 3, 384);
}

Test(embedder_builtin, only_the_bytes_given_are_read)
{
    float whole[DIMENSION];
    float part[DIMENSION];

    embedder_builtin("alpha", 5, whole, DIMENSION);
    embedder_builtin("alphabet soup", 5, part, DIMENSION);
    cr_assert_eq(memcmp(whole, part, sizeof whole), 0);
}

Test(embedder_builtin, a_text_of_many_and_of_endless_words)
{
    enum { BYTES = 256 * 1024 };
    char *text = malloc(BYTES);

    cr_assert_not_null(text);
    memset(text, 'w', BYTES);
    assert_unit_length(text, BYTES, DIMENSION);
    for (size_t i = 0; i < BYTES; i++) {
        text[i] = i % 3 == 2 ? ' ' : (char)('a' + (i * 7 + i / 256) % 26);
    }
    assert_unit_length(text, BYTES, DIMENSION);
    free(text);
}

Test(embedder_builtin, case_spaces_and_marks_do_not_matter)
{
    cr_assert_float_eq(similarity("Reset my password!", "  reset\n(MY) Password "), 1.0, 1e-5);
}

Test(embedder_builtin, inflected_words_are_the_same_word)
{
    static const char *const pairs[][2] = {
        {"query", "queries"},    {"tenant", "tenants"},   {"search", "searches"},
        {"search", "searching"}, {"search", "searched"},  {"class", "classes"},
        {"invoice", "invoices"}, {"crash", "crashes"},    {"store", "stored"},
        {"status", "status"},    {"process", "processed"}};

    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        cr_assert_float_eq(similarity(pairs[i][0], pairs[i][1]), 1.0, 1e-5, "%s, %s", pairs[i][0],
                           pairs[i][1]);
    }
    cr_assert_lt(similarity("ring", "r"), 0.9, "a short word keeps its ending");
}

Test(embedder_builtin, stop_words_do_not_matter_unless_there_is_nothing_else)
{
    cr_assert_float_eq(similarity("how do I reset the password", "reset password"), 1.0, 1e-5);
    cr_assert_float_eq(similarity("needed: reset password", "reset password"), 1.0, 1e-5);
    cr_assert_lt(similarity("to be or not to be", "how are you"), 0.5);
    cr_assert_float_eq(similarity("to be or not", "To be, or not!"), 1.0, 1e-5);
}

/* Equal words must be one word whatever order sorting leaves them in. */
Test(embedder_builtin, a_stop_word_and_its_plural_are_one_word)
{
    cr_assert_float_eq(similarity("and ands password", "ands and password"), 1.0, 1e-5);
    cr_assert_float_eq(similarity("and ands password", "password"), 1.0, 1e-5);
}

Test(embedder_builtin, shared_words_are_near_and_others_are_far)
{
    const char *question = "how to rotate the signing keys of a tenant";
    double same = similarity(question, "rotating a tenant's signing key");
    double some = similarity(question, "tenant billing report");
    double none = similarity(question, "chocolate cake with walnuts");

    cr_assert_gt(same, 0.6, "%f", same);
    cr_assert_gt(same, some + 0.2, "%f %f", same, some);
    cr_assert_gt(some, none, "%f %f", some, none);
    cr_assert_lt(fabs(none), 0.2, "%f", none);
}

Test(embedder_builtin, parts_of_words_are_shared)
{
    double related = similarity("authentication", "authenticate");
    double mistyped = similarity("kubernetes", "kubernets");
    double foreign = similarity("authentication", "walnut");

    cr_assert_gt(related, foreign + 0.1, "%f %f", related, foreign);
    cr_assert_gt(mistyped, foreign + 0.1, "%f %f", mistyped, foreign);
}

Test(embedder_builtin, the_order_of_words_counts_a_little)
{
    double turned = similarity("man bites dog", "dog bites man");

    cr_assert_lt(turned, 0.99, "%f", turned);
    cr_assert_gt(turned, 0.6, "%f", turned);
}

/* What is repeated must not drown the rest, neither as a word nor as a pair. */
Test(embedder_builtin, repeating_a_word_adds_less_and_less)
{
    char many[2048] = "password";
    double once = similarity("password invoice", "invoice");

    for (int i = 0; i < 100; i++) {
        strcat(many, " password");
    }
    strcat(many, " invoice");
    double often = similarity(many, "invoice");
    cr_assert_lt(often, once, "%f %f", often, once);
    cr_assert_gt(often, 0.12, "%f", often);
}

Test(embedder_builtin, beyond_sixteen_times_nothing_is_added)
{
    char sixteen[256] = "";
    char thirty[512] = "";

    for (int i = 0; i < 30; i++) {
        strcat(i < 17 ? sixteen : thirty, "password ");
    }
    strcat(thirty, sixteen);
    cr_assert_float_eq(similarity(sixteen, thirty), 1.0, 1e-5);
}

Test(embedder_builtin, the_handle_knows_its_identity)
{
    struct embedder *embedder = NULL;

    cr_assert_eq(open_builtin(0, &embedder), STATUS_OK, "%s", err.text);
    cr_assert_eq(embedder_dimension(embedder), 384);
    cr_assert_str_eq(embedder_model(embedder), "builtin-384-v1");
    embedder_free(embedder);
    cr_assert_eq(open_builtin(64, &embedder), STATUS_OK, "%s", err.text);
    cr_assert_eq(embedder_dimension(embedder), 64);
    cr_assert_str_eq(embedder_model(embedder), "builtin-64-v1");
    embedder_free(embedder);
    embedder_free(NULL);
}

Test(embedder_builtin, other_dimensions_are_refused_by_name)
{
    static const size_t wrong[] = {1, 63, 4097, 1000000};
    struct embedder *embedder = NULL;

    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        cr_assert_eq(open_builtin(wrong[i], &embedder), STATUS_INVALID);
        cr_assert_null(embedder);
        cr_assert_not_null(strstr(err.text, "STILLHOUSE_EMBED_DIMENSION"), "%s", err.text);
    }
}

Test(embedder_builtin, texts_are_embedded_in_their_order)
{
    const struct slice texts[] = {{"alpha", 5}, {"beta gamma", 10}, {"alpha", 5}};
    struct embedder *embedder = NULL;
    float vectors[3][DIMENSION];
    float expected[DIMENSION];

    cr_assert_eq(open_builtin(0, &embedder), STATUS_OK);
    cr_assert_eq(embedder_embed(embedder, texts, 3, vectors[0], &err), STATUS_OK, "%s", err.text);
    embed("beta gamma", expected);
    cr_assert_eq(memcmp(vectors[1], expected, sizeof expected), 0);
    cr_assert_eq(memcmp(vectors[0], vectors[2], sizeof expected), 0);
    cr_assert_neq(memcmp(vectors[0], vectors[1], sizeof expected), 0);
    embedder_free(embedder);
}

Test(embedder_builtin, blank_and_broken_texts_are_invalid)
{
    static const struct slice wrong[] = {{"", 0}, {" \t\n", 3}, {"\xff", 1}, {"\xc3", 1}};
    struct embedder *embedder = NULL;
    float vectors[2 * DIMENSION];

    cr_assert_eq(open_builtin(0, &embedder), STATUS_OK);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        const struct slice texts[] = {{"good", 4}, wrong[i]};
        cr_assert_eq(embedder_embed(embedder, texts, 2, vectors, &err), STATUS_INVALID);
        cr_assert_not_null(strstr(err.text, "text 2 of 2"), "%s", err.text);
    }
    embedder_free(embedder);
}

Test(embedder_builtin, normalising_scales_to_unit_length)
{
    float large[2] = {3e38F, -4e37F};
    float small[2] = {3e-45F, 0};
    float plain[2] = {3, 4};

    cr_assert_eq(embedder_normalise(plain, 2, &err), STATUS_OK);
    cr_assert_float_eq(plain[0], 0.6F, 1e-7);
    cr_assert_float_eq(plain[1], 0.8F, 1e-7);
    cr_assert_eq(embedder_normalise(large, 2, &err), STATUS_OK);
    cr_assert_float_eq(hypot((double)large[0], (double)large[1]), 1.0, 1e-6);
    cr_assert_eq(embedder_normalise(small, 2, &err), STATUS_OK);
    cr_assert_float_eq(small[0], 1.0F, 1e-6);
}

Test(embedder_builtin, what_cannot_be_scaled_is_garbled)
{
    float zero[3] = {0, -0.0F, 0};
    float nan[2] = {1, NAN};
    float infinite[2] = {-INFINITY, 1};

    cr_assert_eq(embedder_normalise(zero, 3, &err), STATUS_GARBLED);
    cr_assert_str_eq(err.text, "all 3 numbers are zero");
    cr_assert_eq(embedder_normalise(nan, 2, &err), STATUS_GARBLED);
    cr_assert_str_eq(err.text, "number 1 is not finite");
    cr_assert_eq(embedder_normalise(infinite, 2, &err), STATUS_GARBLED);
    cr_assert_str_eq(err.text, "number 0 is not finite");
}
