#include "client/forks.h"

#include <pthread.h>

#include "client/result_memory.h"

atomic_uint forks_seen;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool watching;

static void in_child(void)
{
    memory_after_fork();
    atomic_fetch_add_explicit(&forks_seen, 1, memory_order_relaxed);
}

static void watch(void)
{
    watching = pthread_atfork(memory_before_fork, memory_after_fork, in_child) == 0;
}

bool forks_watch(void)
{
    return pthread_once(&once, watch) == 0 && watching;
}
