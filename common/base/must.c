#include "base/must.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void must_die(void)
{
    fprintf(stderr, "%s: out of memory\n", program_invocation_short_name);
    _exit(EXIT_FAILURE);
}

void *must_alloc(size_t count, size_t bytes)
{
    void *memory = calloc(count == 0 ? 1 : count, bytes);

    if (memory == NULL) {
        must_die();
    }
    return memory;
}

void *must_grow(void *old, size_t bytes)
{
    void *memory = realloc(old, bytes == 0 ? 1 : bytes);

    if (memory == NULL) {
        must_die();
    }
    return memory;
}

char *must_copy(const char *text, size_t bytes)
{
    char *copy = must_alloc(bytes + 1, 1);

    if (bytes > 0) {
        memcpy(copy, text, bytes);
    }
    return copy;
}
