/* jobs/operation.h - one operation of one upstream: what a breaker stands for, what a parked job
 * waits for, what the fleet remembers of an upstream. A read that works says nothing of a write.
 * Pure.
 */
#ifndef STILLHOUSE_JOBS_OPERATION_H
#define STILLHOUSE_JOBS_OPERATION_H

#include <stdbool.h>

enum operation {
    OPERATION_REDIS,      /* all that is asked of Redis */
    OPERATION_QUERY,      /* Chroma: nearest documents */
    OPERATION_GET,        /* Chroma: documents by id */
    OPERATION_WRITE,      /* Chroma: upsert and delete */
    OPERATION_COLLECTION, /* Chroma: looking a collection up, making it, whether it is ours */
    OPERATION_EMBED,      /* the embedder */
    OPERATION_LEARN,      /* the learning store: writing */
    OPERATIONS
};

enum { OPERATION_TEXT_BYTES = 32 };

const char *operation_upstream(enum operation operation); /* "redis", "chroma", ... "learn" */
const char *operation_name(enum operation operation); /* "all", "query", ..., "embed", "write" */

/* Nobody asks leave for it, so nobody probes: its breaker only says how it is. */
bool operation_is_only_told(enum operation operation);

#endif
