/* prompt/result.h - a stillhouse_result and all it points to in one piece of memory, so that one
 * free() frees it, and a copy is one memcpy and the moving of its pointers. Pure.
 */
#ifndef STILLHOUSE_PROMPT_RESULT_H
#define STILLHOUSE_PROMPT_RESULT_H

#include "jobs/bodies.h"
#include "stillhouse.h"

/* *bytes = the size of the piece. NULL when memory is short. */
stillhouse_result *result_make(const struct enrich_result *from, bool stale,
                               size_t *bytes) MUSTCHECK;

/* A copy of a piece whose bytes are at `piece` now (aligned or not) and whose pointers are those of
 * the time when it was at `made_at`. NULL when memory is short. */
stillhouse_result *result_copy(const void *piece, size_t bytes, uintptr_t made_at) MUSTCHECK;

/* A past task among the examples of a result. */
struct result_task {
    struct halves halves; /* they point into the piece */
    double distance;
};

/* Example i < count of such a piece, aligned. False: it is none. */
bool result_task(const void *piece, uintptr_t made_at, size_t i, struct result_task *out) MUSTCHECK;

#endif
