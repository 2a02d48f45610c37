/* client/forks.h - how many fork()s lie between this process and the one in which the library was
 * first used: what was made under another count belongs to a parent.
 *
 *     if (!forks_watch()) { ... no memory ... }         // once, before the first count is taken
 *     made->forks = forks_count();
 *     ...
 *     if (made->forks != forks_count()) { ... we are a child ... }
 *
 * A counter that pthread_atfork() moves: one load a question, where getpid() is a system call, and
 * a process id may come again. A child made past the C library (a bare clone()) is not noticed;
 * nor may such a child use malloc(). MADV_WIPEONFORK would notice it, but not every kernel has it,
 * so that both would be needed. Any thread.
 */
#ifndef STILLHOUSE_CLIENT_FORKS_H
#define STILLHOUSE_CLIENT_FORKS_H

#include <stdatomic.h>
#include <stdbool.h>

#include "base/status.h"

extern atomic_uint forks_seen; /* forks.c's own */

/* From here on forks are counted. False when memory is short. */
bool forks_watch(void) MUSTCHECK;

static inline unsigned forks_count(void)
{
    return atomic_load_explicit(&forks_seen, memory_order_relaxed);
}

#endif
