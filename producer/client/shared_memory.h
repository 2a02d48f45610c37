/* client/shared_memory.h - the memory of results that clients opened beside one another have in
 * common: one at a time, for as long as a look takes.
 *
 *     struct memory *memory = shared_memory_lock(shared);
 *     const enum memory_answer found = memory_find(memory, &question, clock_now_ms(), &hit);
 *     ...                                            // the hit points into the memory
 *     shared_memory_unlock(shared);
 *
 * fork() waits until none is held, so the child finds every memory free and whole. Any thread; no
 * I/O while it is held, and never two at once.
 */
#ifndef STILLHOUSE_CLIENT_SHARED_MEMORY_H
#define STILLHOUSE_CLIENT_SHARED_MEMORY_H

#include "client/result_memory.h"

struct shared_memory;

/* An empty one with one owner; NULL when memory is short. */
struct shared_memory *shared_memory_new(size_t entries, int64_t ttl_ms,
                                        struct error *err) MUSTCHECK;

/* One owner more; returns it. */
struct shared_memory *shared_memory_join(struct shared_memory *shared);

/* One owner less; the last one frees it. NULL is fine. */
void shared_memory_leave(struct shared_memory *shared);

struct memory *shared_memory_lock(struct shared_memory *shared);
void shared_memory_unlock(struct shared_memory *shared);

#endif
