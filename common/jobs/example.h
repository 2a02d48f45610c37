/* jobs/example.h - a text of a domain with its metadata, as Chroma holds it and results carry it.
 */
#ifndef STILLHOUSE_JOBS_EXAMPLE_H
#define STILLHOUSE_JOBS_EXAMPLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* A metadata value as Chroma can hold it; lists and maps are JSON text. */
enum meta_type { META_STRING, META_INT, META_FLOAT, META_BOOL, META_NULL };

struct meta_value {
    enum meta_type type;
    struct slice string;
    int64_t integer;
    double number;
    bool boolean;
};

struct meta_pair {
    struct slice key;
    struct meta_value value;
};

struct example {
    struct slice id;
    struct slice text;
    double distance;
    struct meta_pair *metadata;
    size_t metadata_count;
};

#endif
