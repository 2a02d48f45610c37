/* fuzz_embedder.c - what an embedding server answers, and what the builtin embedder is given. The
 * first byte chooses the reader and how many vectors are due, the rest is the answer or the text.
 * A vector that is accepted is finite and of unit length. */
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "embedder/builtin.h"
#include "embedder/decode.h"
#include "embedder/embedder.h"

enum { BUILTIN_DIMENSION = 64 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const float *vectors, size_t count, size_t dimension)
{
    for (size_t i = 0; i < count; i++) {
        double sum = 0;
        for (size_t d = 0; d < dimension; d++) {
            double number = (double)vectors[i * dimension + d];
            sum += number * number;
        }
        if (!(fabs(sum - 1.0) < 1e-4)) {
            abort();
        }
    }
}

static void *allocate(size_t bytes)
{
    void *memory = malloc(bytes);
    if (memory == NULL) {
        abort();
    }
    return memory;
}

static void decode(uint8_t choice, const char *body, size_t bytes)
{
    size_t count = 1 + (choice >> 2 & 3U);
    size_t dimension = 1 + (choice >> 4 & 3U);
    struct error err = {0};
    float *vectors = allocate(count * dimension * sizeof *vectors);
    enum status status = (choice & 1) != 0
                             ? embedder_decode_openai(body, bytes, count, dimension, vectors, &err)
                             : embedder_decode_ollama(body, bytes, count, dimension, vectors, &err);

    if (status == STATUS_OK) {
        check(vectors, count, dimension);
    } else if ((status != STATUS_GARBLED && status != STATUS_MISMATCH &&
                status != STATUS_INVALID) ||
               err.text[0] == '\0') { /* no answer of ours, another length, a text's own vector */
        abort();
    }
    free(vectors);
}

static void embed(const char *text, size_t bytes)
{
    float first[BUILTIN_DIMENSION];
    float second[BUILTIN_DIMENSION];

    embedder_builtin(text, bytes, first, BUILTIN_DIMENSION);
    embedder_builtin(text, bytes, second, BUILTIN_DIMENSION);
    check(first, 1, BUILTIN_DIMENSION);
    if (memcmp(first, second, sizeof first) != 0) {
        abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) {
        return 0;
    }
    char *exact = allocate(size > 1 ? size - 1 : 1); /* no NUL behind it, no room to read on */
    memcpy(exact, data + 1, size - 1);
    if ((data[0] & 2) != 0) {
        embed(exact, size - 1);
    } else {
        decode(data[0], exact, size - 1);
    }
    free(exact);
    return 0;
}
