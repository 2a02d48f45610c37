#include "client/forks.h"

#include <pthread.h>

atomic_uint forks_seen;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool watching;

static void count_one(void)
{
    atomic_fetch_add_explicit(&forks_seen, 1, memory_order_relaxed);
}

static void watch(void)
{
    watching = pthread_atfork(NULL, NULL, count_one) == 0;
}

bool forks_watch(void)
{
    return pthread_once(&once, watch) == 0 && watching;
}
