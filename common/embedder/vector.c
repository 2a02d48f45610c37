#include "embedder/vector.h"

#include <math.h>

enum status embedder_normalise(float *vector, size_t dimension, struct error *err)
{
    double sum = 0;

    for (size_t i = 0; i < dimension; i++) {
        if (!isfinite(vector[i])) {
            return error_set(err, STATUS_GARBLED, "number %zu is not finite", i);
        }
        sum += (double)vector[i] * (double)vector[i];
    }
    if (sum == 0) {
        return error_set(err, STATUS_GARBLED, "all %zu numbers are zero", dimension);
    }
    double scale = sqrt(sum);
    for (size_t i = 0; i < dimension; i++) {
        vector[i] = (float)((double)vector[i] / scale);
    }
    return STATUS_OK;
}
