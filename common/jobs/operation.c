#include "jobs/operation.h"

#include <string.h>

static const struct {
    const char *upstream;
    const char *name;
} names[OPERATIONS] = {
    [OPERATION_REDIS] = {"redis", "all"},
    [OPERATION_QUERY] = {"chroma", "query"},
    [OPERATION_GET] = {"chroma", "get"},
    [OPERATION_WRITE] = {"chroma", "write"},
    [OPERATION_COLLECTION] = {"chroma", "collection"},
    [OPERATION_EMBED] = {"embedder", "embed"},
};

const char *operation_upstream(enum operation operation)
{
    return names[operation].upstream;
}

const char *operation_name(enum operation operation)
{
    return names[operation].name;
}

bool operation_is_only_told(enum operation operation)
{
    return operation == OPERATION_REDIS || operation == OPERATION_COLLECTION;
}

bool operation_parse(const char *text, size_t bytes, enum operation *out)
{
    for (int i = 0; i < OPERATIONS; i++) {
        const size_t upstream = strlen(names[i].upstream);
        const size_t name = strlen(names[i].name);
        if (bytes == upstream + 1 + name && memcmp(text, names[i].upstream, upstream) == 0 &&
            text[upstream] == '.' && memcmp(text + upstream + 1, names[i].name, name) == 0) {
            *out = (enum operation)i;
            return true;
        }
    }
    return false;
}
