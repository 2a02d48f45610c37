#include "jobs/operation.h"

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
    [OPERATION_LEARN] = {"learn", "write"},
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
