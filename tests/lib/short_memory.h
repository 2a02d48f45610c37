/* short_memory.h - an allocation that fails, in programs that are linked with
 * --wrap=malloc,--wrap=calloc,--wrap=realloc. */
#ifndef STILLHOUSE_TESTS_SHORT_MEMORY_H
#define STILLHOUSE_TESTS_SHORT_MEMORY_H

extern _Thread_local int short_memory; /* this thread's n-th allocation from now fails; 0: none */

#endif
