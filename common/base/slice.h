/* base/slice.h - a borrowed run of bytes: a part of a body, of a reply, of a line.
 *
 *     struct slice domain = {text, bytes};
 *     printf("%.*s\n", (int)domain.bytes, domain.data);
 */
#ifndef STILLHOUSE_BASE_SLICE_H
#define STILLHOUSE_BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Not NUL-terminated unless said. {NULL, 0} = absent. */
struct slice {
    const char *data;
    size_t bytes;
};

static inline bool slice_equal(struct slice a, struct slice b)
{
    return a.bytes == b.bytes && (a.bytes == 0 || memcmp(a.data, b.data, a.bytes) == 0);
}

/* By their bytes; of one that begins the other, the shorter is before. */
static inline int slice_compare(struct slice a, struct slice b)
{
    const size_t least = a.bytes < b.bytes ? a.bytes : b.bytes;
    const int order = least == 0 ? 0 : memcmp(a.data, b.data, least);

    return order != 0 ? order : (a.bytes > b.bytes) - (a.bytes < b.bytes);
}

/* FNV-1a, for tables of this process and locks: `start` is SLICE_HASH, or what the texts before
 * this one made. */
#define SLICE_HASH UINT64_C(14695981039346656037)
static inline uint64_t slice_hash(uint64_t start, struct slice slice)
{
    for (size_t i = 0; i < slice.bytes; i++) {
        start = (start ^ (unsigned char)slice.data[i]) * UINT64_C(1099511628211);
    }
    return start;
}

/* Of a text that ends with NUL. */
static inline struct slice slice_of(const char *text)
{
    return (struct slice){text, strlen(text)};
}

#endif
