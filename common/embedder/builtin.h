/* embedder/builtin.h - the builtin embedding. Pure.
 *
 *     float vector[384];
 *     embedder_builtin("notice period", 13, vector, 384);
 *
 * Lexical, not semantic: signed feature hashing of words and character n-grams, sublinear weights,
 * unit length, the same bits on every machine.
 */
#ifndef STILLHOUSE_EMBEDDER_BUILTIN_H
#define STILLHOUSE_EMBEDDER_BUILTIN_H

#include <stddef.h>

/* Deterministic, never fails on a text that is not blank. Words after the 4096th do not count.
 * Needs 256 KiB of stack. */
void embedder_builtin(const char *text, size_t bytes, float *vector, size_t dimension);

#endif
