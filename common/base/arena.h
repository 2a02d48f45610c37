/* base/arena.h - memory that lives as long as one batch: allocate often, free once.
 *
 * A lane owns one arena; handlers allocate from it and free nothing; the lane resets it after each
 * batch. One thread at a time.
 */
#ifndef STILLHOUSE_BASE_ARENA_H
#define STILLHOUSE_BASE_ARENA_H

#include <stdbool.h>
#include <stddef.h>

#include "base/status.h"

struct arena_block;

struct arena {
    struct arena_block *blocks; /* newest first, the one that is filled */
    size_t total_bytes;         /* what the blocks hold together */
    bool is_must;               /* a program's: memory, or the end of the process (must.h) */
};

/* Memory of `bytes` bytes, zeroed, aligned for any type; NULL when malloc fails, where that does
 * not end the process (is_must). */
void *arena_alloc(struct arena *arena, size_t bytes) MUSTCHECK;

/* A copy of `bytes` bytes with a NUL behind them; NULL when malloc fails. */
char *arena_copy(struct arena *arena, const void *data, size_t bytes) MUSTCHECK;

/* arena_alloc for `count` elements of `size` bytes; NULL on overflow too. */
void *arena_array(struct arena *arena, size_t count, size_t size) MUSTCHECK;

/* What a caller returns who could not get memory of another kind on the way to the arena's: NULL,
 * where that does not end the process. */
void *arena_no_memory(const struct arena *arena);

/* Forgets all allocations; keeps at most `keep_bytes` of memory for the next batch. */
void arena_reset(struct arena *arena, size_t keep_bytes);

/* Where the arena stands now, and back to it: for steps of a batch that need memory each for
 * itself. What was allocated after the mark is gone; what was allocated before it stays. A mark is
 * void after arena_reset, and after going back to an older one. */
struct arena_mark {
    struct arena_block *block;
    size_t used;
};
struct arena_mark arena_mark(const struct arena *arena) MUSTCHECK;
void arena_rewind(struct arena *arena, struct arena_mark mark);

/* Frees everything. `struct arena a = {0};` starts one. */
void arena_free(struct arena *arena);

#endif
