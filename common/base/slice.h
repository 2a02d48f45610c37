/* base/slice.h - a borrowed run of bytes: a part of a body, of a reply, of a line.
 *
 *     struct slice domain = {text, bytes};
 *     printf("%.*s\n", (int)domain.bytes, domain.data);
 */
#ifndef STILLHOUSE_BASE_SLICE_H
#define STILLHOUSE_BASE_SLICE_H

#include <stddef.h>

/* Not NUL-terminated unless said. {NULL, 0} = absent. */
struct slice {
    const char *data;
    size_t bytes;
};

#endif
