/* base/must.h - memory, or the end of the process: for the programs, never for libstillhouse, whose
 * caller decides.
 *
 *     char *name = must_copy(text, bytes);
 *     rows = must_grow(rows, (count + 1) * sizeof *rows);
 *
 * Nobody checks a result: where there is none, a line on standard error says so and the process
 * ends with exit code 1. Any thread. free() what is returned.
 */
#ifndef STILLHOUSE_BASE_MUST_H
#define STILLHOUSE_BASE_MUST_H

#include <stddef.h>

_Noreturn void must_die(void);

/* Zeroed. */
void *must_alloc(size_t count, size_t bytes) __attribute__((returns_nonnull));
void *must_grow(void *old, size_t bytes) __attribute__((returns_nonnull));
/* With a NUL behind it. */
char *must_copy(const char *text, size_t bytes) __attribute__((returns_nonnull));

#endif
