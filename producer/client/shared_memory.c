#include "client/shared_memory.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

struct shared_memory {
    struct shared_memory *next; /* of all */
    pthread_mutex_t lock;
    atomic_uint owners;
    struct memory memory;
};

/* ---- fork() ---------------------------------------------------------------------------------- */

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct shared_memory *all;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static bool watching;

/* The one that this thread has: a signal handler may fork amid a look. */
static _Thread_local const struct shared_memory *held;

static void hold_all(void)
{
    pthread_mutex_lock(&all_lock);
    for (struct shared_memory *shared = all; shared != NULL; shared = shared->next) {
        if (shared != held) {
            pthread_mutex_lock(&shared->lock);
        }
    }
}

static void let_go_of_all(void)
{
    for (struct shared_memory *shared = all; shared != NULL; shared = shared->next) {
        if (shared != held) {
            pthread_mutex_unlock(&shared->lock);
        }
    }
    pthread_mutex_unlock(&all_lock);
}

static void watch(void)
{
    watching = pthread_atfork(hold_all, let_go_of_all, let_go_of_all) == 0;
}

/* ---- life ------------------------------------------------------------------------------------ */

struct shared_memory *shared_memory_new(size_t entries, int64_t ttl_ms, struct error *err)
{
    struct shared_memory *shared = calloc(1, sizeof *shared);

    if (shared == NULL || pthread_once(&once, watch) != 0 || !watching) {
        (void)error_set(err, STATUS_OOM, "out of memory");
        goto err_after_calloc;
    }
    if (memory_init(&shared->memory, entries, ttl_ms, err) != STATUS_OK) {
        goto err_after_calloc;
    }
    pthread_mutex_init(&shared->lock, NULL); /* without attributes it cannot fail */
    atomic_init(&shared->owners, 1);
    pthread_mutex_lock(&all_lock);
    shared->next = all;
    all = shared;
    pthread_mutex_unlock(&all_lock);
    return shared;

err_after_calloc:
    free(shared);
    return NULL;
}

struct shared_memory *shared_memory_join(struct shared_memory *shared)
{
    atomic_fetch_add(&shared->owners, 1);
    return shared;
}

void shared_memory_leave(struct shared_memory *shared)
{
    if (shared == NULL || atomic_fetch_sub(&shared->owners, 1) > 1) {
        return;
    }
    pthread_mutex_lock(&all_lock);
    struct shared_memory **at = &all;
    while (*at != shared) {
        at = &(*at)->next;
    }
    *at = shared->next;
    pthread_mutex_unlock(&all_lock);
    memory_free(&shared->memory);
    pthread_mutex_destroy(&shared->lock);
    free(shared);
}

/* ---- a look ---------------------------------------------------------------------------------- */

struct memory *shared_memory_lock(struct shared_memory *shared)
{
    pthread_mutex_lock(&shared->lock);
    held = shared;
    return &shared->memory;
}

void shared_memory_unlock(struct shared_memory *shared)
{
    held = NULL;
    pthread_mutex_unlock(&shared->lock);
}
