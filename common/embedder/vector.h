/* embedder/vector.h - the check made on every vector, also on those from the cache: finite and not
 * all zero. Pure.
 *
 *     float vector[2] = {3, 4};
 *     status = embedder_normalise(vector, 2, &err);  // 0.6, 0.8
 */
#ifndef STILLHOUSE_EMBEDDER_VECTOR_H
#define STILLHOUSE_EMBEDDER_VECTOR_H

#include <stddef.h>

#include "base/status.h"

/* Scales to unit length. GARBLED: a number is not finite, or all are zero. */
enum status embedder_normalise(float *vector, size_t dimension, struct error *err) MUSTCHECK;

#endif
