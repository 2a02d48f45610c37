#include "base/arena.h"

#include <stdalign.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

enum { BLOCK_BYTES_MIN = 64 * 1024, BLOCK_BYTES_MAX = 256 * 1024 };

struct arena_block {
    struct arena_block *next;
    size_t capacity;
    size_t used;
    alignas(max_align_t) unsigned char data[];
};

static struct arena_block *block_new(size_t capacity)
{
    struct arena_block *block = malloc(sizeof *block + capacity);
    if (block != NULL) {
        block->next = NULL;
        block->capacity = capacity;
        block->used = 0;
    }
    return block;
}

/* As much again as there is, within bounds: few blocks for a big batch, a small one for a small. */
static size_t next_capacity(const struct arena *arena, size_t bytes)
{
    size_t capacity = arena->total_bytes;

    capacity = capacity > BLOCK_BYTES_MIN ? capacity : BLOCK_BYTES_MIN;
    capacity = capacity < BLOCK_BYTES_MAX ? capacity : BLOCK_BYTES_MAX;
    return capacity > bytes ? capacity : bytes;
}

void *arena_no_memory(const struct arena *arena)
{
    if (arena->is_must) {
        must_die();
    }
    return NULL;
}

void *arena_alloc(struct arena *arena, size_t bytes)
{
    if (bytes > SIZE_MAX / 2) {
        return arena_no_memory(arena);
    }
    size_t rounded = (bytes + alignof(max_align_t) - 1) & ~(alignof(max_align_t) - 1);
    struct arena_block *block = arena->blocks;

    if (block == NULL || block->capacity - block->used < rounded) {
        const size_t capacity = next_capacity(arena, rounded);
        block = block_new(capacity);
        if (block == NULL) {
            return arena_no_memory(arena);
        }
        block->next = arena->blocks;
        arena->blocks = block;
        arena->total_bytes += capacity;
    }
    void *memory = block->data + block->used;
    block->used += rounded;
    memset(memory, 0, bytes);
    return memory;
}

char *arena_copy(struct arena *arena, const void *data, size_t bytes)
{
    char *copy = arena_alloc(arena, bytes + 1);
    if (copy != NULL && bytes > 0) {
        memcpy(copy, data, bytes);
    }
    return copy;
}

void *arena_array(struct arena *arena, size_t count, size_t size)
{
    if (size != 0 && count > SIZE_MAX / size) {
        return arena_no_memory(arena);
    }
    return arena_alloc(arena, count * size);
}

static void free_blocks(struct arena *arena)
{
    for (struct arena_block *block = arena->blocks; block != NULL;) {
        struct arena_block *next = block->next;
        free(block);
        block = next;
    }
    arena->blocks = NULL;
    arena->total_bytes = 0;
}

/* Several blocks become one that holds as much as they did together: the next batch of this size
 * fits into it, and no block stands behind another that is never looked at again. */
void arena_reset(struct arena *arena, size_t keep_bytes)
{
    struct arena_block *block = arena->blocks;
    const size_t capacity = arena->total_bytes < keep_bytes ? arena->total_bytes : keep_bytes;

    if (block != NULL && block->next == NULL && block->capacity <= keep_bytes) {
        block->used = 0;
        return;
    }
    free_blocks(arena);
    block = capacity == 0 ? NULL : block_new(capacity);
    if (block != NULL) {
        arena->blocks = block;
        arena->total_bytes = capacity;
    }
}

struct arena_mark arena_mark(const struct arena *arena)
{
    return (struct arena_mark){arena->blocks, arena->blocks == NULL ? 0 : arena->blocks->used};
}

void arena_rewind(struct arena *arena, struct arena_mark mark)
{
    while (arena->blocks != mark.block) {
        struct arena_block *newest = arena->blocks;
        arena->blocks = newest->next;
        arena->total_bytes -= newest->capacity;
        free(newest);
    }
    if (mark.block != NULL) {
        mark.block->used = mark.used;
    }
}

void arena_free(struct arena *arena)
{
    free_blocks(arena);
}
