#include <criterion/criterion.h>
#include <stdalign.h>
#include <stdint.h>
#include <string.h>

#include "base/arena.h"

Test(arena, memory_is_zeroed_aligned_and_apart)
{
    struct arena arena = {0};
    char *last = NULL;
    for (size_t bytes = 1; bytes < 200; bytes++) {
        char *memory = arena_alloc(&arena, bytes);
        cr_assert_not_null(memory);
        cr_assert_eq((uintptr_t)memory % alignof(max_align_t), 0);
        for (size_t i = 0; i < bytes; i++) {
            cr_assert_eq(memory[i], 0);
        }
        memset(memory, 0xff, bytes);
        cr_assert(last == NULL || (size_t)(memory - last) >= bytes - 1);
        last = memory;
    }
    arena_free(&arena);
}

Test(arena, memory_used_again_is_zeroed_again)
{
    struct arena arena = {0};
    char *first = arena_alloc(&arena, 100);
    cr_assert_not_null(first);
    memset(first, 0xff, 100);
    arena_reset(&arena, SIZE_MAX);
    char *second = arena_alloc(&arena, 100);
    cr_assert_eq(first, second, "the block is kept");
    for (size_t i = 0; i < 100; i++) {
        cr_assert_eq(second[i], 0);
    }
    arena_free(&arena);
}

Test(arena, a_large_piece_gets_a_block_of_its_own)
{
    struct arena arena = {0};
    char *large = arena_alloc(&arena, 1 << 20);
    cr_assert_not_null(large);
    large[(1 << 20) - 1] = 1;
    cr_assert_geq(arena.total_bytes, 1 << 20);
    cr_assert_not_null(arena_alloc(&arena, 10));
    arena_free(&arena);
    cr_assert_eq(arena.total_bytes, 0);
    cr_assert_null(arena.blocks);
}

Test(arena, a_reset_keeps_no_more_than_asked)
{
    struct arena arena = {0};
    for (int i = 0; i < 10; i++) {
        cr_assert_not_null(arena_alloc(&arena, 64 * 1024));
    }
    cr_assert_geq(arena.total_bytes, 10 * 64 * 1024);
    arena_reset(&arena, 3 * 64 * 1024);
    cr_assert_leq(arena.total_bytes, 3 * 64 * 1024);
    cr_assert_gt(arena.total_bytes, 0);
    arena_free(&arena);
}

Test(arena, a_copy_ends_in_nul)
{
    struct arena arena = {0};
    char *copy = arena_copy(&arena, "abcdef", 3);
    cr_assert_str_eq(copy, "abc");
    cr_assert_str_eq(arena_copy(&arena, NULL, 0), "");
    arena_free(&arena);
}

Test(arena, sizes_that_overflow_are_refused)
{
    struct arena arena = {0};
    cr_assert_null(arena_alloc(&arena, SIZE_MAX));
    cr_assert_null(arena_array(&arena, SIZE_MAX / 2, 4));
    cr_assert_not_null(arena_array(&arena, 10, 10));
    cr_assert_not_null(arena_array(&arena, 10, 0));
    arena_free(&arena);
}

Test(arena, going_back_to_a_mark_gives_back_what_came_after_it)
{
    struct arena arena = {0};
    char *before = arena_copy(&arena, "before", 6);
    cr_assert_not_null(before);
    const struct arena_mark mark = arena_mark(&arena);
    const size_t bytes = arena.total_bytes;
    char *first = arena_alloc(&arena, 100);

    for (int i = 0; i < 50; i++) {
        cr_assert_not_null(arena_alloc(&arena, 30000));
    }
    cr_assert_gt(arena.total_bytes, bytes);
    arena_rewind(&arena, mark);
    cr_assert_eq(arena.total_bytes, bytes);
    cr_assert_str_eq(before, "before");
    cr_assert_eq(arena_alloc(&arena, 100), first, "the same memory again");
    arena_free(&arena);
}

Test(arena, a_mark_of_an_empty_arena_empties_it)
{
    struct arena arena = {0};
    const struct arena_mark mark = arena_mark(&arena);

    cr_assert_not_null(arena_alloc(&arena, 10));
    arena_rewind(&arena, mark);
    cr_assert_eq(arena.total_bytes, 0);
    cr_assert_null(arena.blocks);
    arena_rewind(&arena, mark);
}

Test(arena, blocks_grow_with_the_batch_but_not_for_ever)
{
    struct arena arena = {0};

    cr_assert_not_null(arena_alloc(&arena, 1));
    const size_t small = arena.total_bytes;
    cr_assert_leq(small, 64 * 1024);
    for (int i = 0; i < 4000; i++) {
        const size_t had = arena.total_bytes;
        cr_assert_not_null(arena_alloc(&arena, 1000));
        cr_assert_leq(arena.total_bytes - had, 256 * 1024);
    }
    arena_free(&arena);
}

Test(arena, who_finds_no_memory_hears_of_it)
{
    struct arena arena = {0};

    cr_assert_null(arena_alloc(&arena, SIZE_MAX));
    cr_assert_null(arena_array(&arena, SIZE_MAX, 2));
    cr_assert_null(arena_no_memory(&arena));
}

Test(arena, a_programs_ends_the_process_where_there_is_no_memory, .exit_code = 1)
{
    struct arena arena = {.is_must = true};

    cr_assert_not_null(arena_alloc(&arena, SIZE_MAX), "it came back");
}

Test(arena, and_where_there_is_none_on_the_way_to_it, .exit_code = 1)
{
    struct arena arena = {.is_must = true};

    cr_assert_not_null(arena_no_memory(&arena), "it came back");
}
