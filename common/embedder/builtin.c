/* The builtin embedder: signed feature hashing. Lexical, not semantic: texts are near when they
 * share words and parts of words. Integer hashing and + * / sqrt in a fixed order give the same
 * bits on every machine.
 *
 * Features: words (lower-cased, lightly stemmed, stop words dropped), pairs of neighbours, and
 * character n-grams inside each padded word, so that "tenant" meets "tenants" and "tenancy". What
 * occurs n times weighs 1 + ln n times as much. Each feature goes to two positions with signs of
 * their own, which halves what a collision does.
 */
#include "embedder/builtin.h"

#include <math.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "embedder/vector.h"

enum { WORD_MAX = 48, WORDS_MAX = 4096, GRAM_MIN = 3, GRAM_MAX = 5, TF_MAX = 16 };

static const float WORD_WEIGHT = 1.0F;
static const float PAIR_WEIGHT = 0.5F;
static const float GRAMS_WEIGHT = 0.6F; /* of all n-grams of a word together, in length */

/* 1 + ln n */
static const float tf_weight[TF_MAX + 1] = {
    0.0F,       1.0F,       1.6931472F, 2.0986123F, 2.3862944F, 2.6094379F,
    2.7917595F, 2.9459101F, 3.0794415F, 3.1972246F, 3.3025851F, 3.3978953F,
    3.4849066F, 3.5649494F, 3.6390573F, 3.7080502F, 3.7725887F};

static const char *const stop_words[] = {
    "a",    "about", "after", "all",   "also",  "an",     "and",   "any",   "are",  "as",
    "at",   "be",    "been",  "but",   "by",    "can",    "could", "do",    "does", "for",
    "from", "had",   "has",   "have",  "how",   "i",      "if",    "in",    "into", "is",
    "it",   "its",   "may",   "me",    "more",  "most",   "my",    "need",  "no",   "not",
    "of",   "on",    "or",    "other", "our",   "should", "so",    "some",  "such", "than",
    "that", "the",   "their", "them",  "then",  "there",  "these", "they",  "this", "those",
    "to",   "use",   "used",  "uses",  "using", "very",   "want",  "was",   "we",   "were",
    "what", "when",  "where", "which", "who",   "will",   "with",  "would", "you",  "your",
};

/* Small, because WORDS_MAX of them stand on the stack: nothing here may fail. */
struct word {
    char text[WORD_MAX + 1];
    unsigned char bytes;
    bool stop;
};

static uint64_t hash_bytes(const char *text, size_t bytes, uint64_t seed)
{
    uint64_t h = seed ^ 0xcbf29ce484222325U;

    for (size_t i = 0; i < bytes; i++) {
        h = (h ^ (unsigned char)text[i]) * 0x100000001b3U;
    }
    h = (h ^ (h >> 32)) * 0xd6e8feb86659fd93U;
    h = (h ^ (h >> 32)) * 0xd6e8feb86659fd93U;
    return h ^ (h >> 32);
}

static void add_feature(float *vector, size_t dimension, uint64_t hash, float weight)
{
    size_t first = (size_t)((hash & 0xffffff) % dimension);
    size_t second = (size_t)(((hash >> 24) & 0xffffff) % dimension);

    vector[first] += (hash >> 62 & 1) != 0 ? weight : -weight;
    vector[second] += (hash >> 63) != 0 ? weight : -weight;
}

static int compare_stop(const void *key, const void *element)
{
    return strcmp(key, *(const char *const *)element);
}

static bool is_stop_word(const char *text)
{
    return bsearch(text, stop_words, sizeof stop_words / sizeof stop_words[0], sizeof stop_words[0],
                   compare_stop) != NULL;
}

static bool ends_with(const struct word *word, const char *suffix)
{
    size_t bytes = strlen(suffix);
    return word->bytes >= bytes + 3 && memcmp(word->text + word->bytes - bytes, suffix, bytes) == 0;
}

static void cut(struct word *word, size_t bytes)
{
    word->bytes = (unsigned char)(word->bytes - bytes);
    word->text[word->bytes] = '\0';
}

/* Plural and the common verb endings: enough for "searches", "searching", "searched", "search". */
static void stem(struct word *word)
{
    if (ends_with(word, "ies")) {
        cut(word, 3);
        word->text[word->bytes++] = 'y';
        word->text[word->bytes] = '\0';
    } else if (ends_with(word, "sses") || ends_with(word, "shes") || ends_with(word, "ches")) {
        cut(word, 2);
    } else if (ends_with(word, "s") && !ends_with(word, "ss") && !ends_with(word, "us")) {
        cut(word, 1);
    }
    if (ends_with(word, "ing")) {
        cut(word, 3);
    } else if (ends_with(word, "ed")) {
        cut(word, 2);
    }
    if (word->bytes > 4 && word->text[word->bytes - 1] == 'e') {
        cut(word, 1);
    }
}

static bool is_word_byte(unsigned char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c >= 0x80;
}

/* Splits into at most WORDS_MAX words; a longer one is cut at WORD_MAX bytes. */
static size_t split(const char *text, size_t bytes, struct word *words)
{
    size_t count = 0;

    for (size_t i = 0; i < bytes && count < WORDS_MAX;) {
        struct word *word = &words[count];
        word->bytes = 0;
        while (i < bytes && is_word_byte((unsigned char)text[i])) {
            char c = text[i++];
            if (word->bytes < WORD_MAX) {
                word->text[word->bytes++] = c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
            }
        }
        if (word->bytes == 0) {
            i++;
            continue;
        }
        word->text[word->bytes] = '\0';
        word->stop = is_stop_word(word->text);
        if (!word->stop) {
            stem(word);
            word->stop = is_stop_word(word->text); /* "needed"; equal texts must agree in it */
        }
        count++;
    }
    return count;
}

static void add_grams(float *vector, size_t dimension, const struct word *word, float weight)
{
    char padded[WORD_MAX + 3];
    size_t bytes = word->bytes + 2U;
    size_t grams = 0;

    padded[0] = '^';
    memcpy(padded + 1, word->text, word->bytes);
    padded[bytes - 1] = '$';
    for (size_t n = GRAM_MIN; n <= GRAM_MAX && n < bytes; n++) {
        grams += bytes - n + 1;
    }
    if (grams == 0) {
        return;
    }
    float each = weight * GRAMS_WEIGHT / sqrtf((float)grams);
    for (size_t n = GRAM_MIN; n <= GRAM_MAX && n < bytes; n++) {
        for (size_t i = 0; i + n <= bytes; i++) {
            add_feature(vector, dimension, hash_bytes(padded + i, n, 3), each);
        }
    }
}

static int compare_words(const void *a, const void *b)
{
    const struct word *left = a;
    const struct word *right = b;
    /* A word has no NUL: only letters, digits and bytes >= 0x80. */
    return strcmp(left->text, right->text);
}

static float times_weight(size_t times)
{
    return tf_weight[times < TF_MAX ? times : TF_MAX];
}

static int compare_hashes(const void *a, const void *b)
{
    uint64_t left = *(const uint64_t *)a;
    uint64_t right = *(const uint64_t *)b;
    return (left > right) - (left < right);
}

/* Neighbours, in the order of the text; stop words between them do not part them. */
static void add_pairs(float *vector, size_t dimension, const struct word *words, size_t count)
{
    uint64_t pairs[WORDS_MAX];
    const struct word *previous = NULL;
    size_t pair_count = 0;

    for (size_t i = 0; i < count; i++) {
        if (words[i].stop) {
            continue;
        }
        if (previous != NULL) {
            uint64_t left = hash_bytes(previous->text, previous->bytes, 2);
            pairs[pair_count++] = hash_bytes(words[i].text, words[i].bytes, left);
        }
        previous = &words[i];
    }
    if (pair_count == 0) {
        return;
    }
    qsort(pairs, pair_count, sizeof pairs[0], compare_hashes);
    for (size_t i = 0; i < pair_count;) {
        size_t same = 1;
        while (i + same < pair_count && pairs[i] == pairs[i + same]) {
            same++;
        }
        add_feature(vector, dimension, pairs[i], PAIR_WEIGHT * times_weight(same));
        i += same;
    }
}

/* Equal words side by side (sorted) count once, with their number. */
static void add_words(float *vector, size_t dimension, const struct word *words, size_t count,
                      bool with_stops)
{
    for (size_t i = 0; i < count;) {
        size_t same = 1;
        while (i + same < count && compare_words(&words[i], &words[i + same]) == 0) {
            same++;
        }
        if (!words[i].stop || with_stops) {
            float weight = WORD_WEIGHT * times_weight(same);
            add_feature(vector, dimension, hash_bytes(words[i].text, words[i].bytes, 1), weight);
            add_grams(vector, dimension, &words[i], weight);
        }
        i += same;
    }
}

static bool is_zero(const float *vector, size_t dimension)
{
    for (size_t i = 0; i < dimension; i++) {
        if (vector[i] != 0.0F) {
            return false;
        }
    }
    return true;
}

void embedder_builtin(const char *text, size_t bytes, float *vector, size_t dimension)
{
    struct word words[WORDS_MAX];
    struct error err = {0};
    size_t count = split(text, bytes, words);

    memset(vector, 0, dimension * sizeof *vector);
    add_pairs(vector, dimension, words, count);
    qsort(words, count, sizeof words[0], compare_words);
    add_words(vector, dimension, words, count, false);
    if (is_zero(vector, dimension)) {
        add_words(vector, dimension, words, count, true);
    }
    if (is_zero(vector, dimension)) {
        vector[hash_bytes(text, bytes, 4) % dimension] = 1.0F; /* no word at all: "?!" */
    }
    enum status status = embedder_normalise(vector, dimension, &err);
    (void)status; /* not zero and finite by now */
}
