#include "client/dns.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"

struct dns_lookup {
    pthread_mutex_t mutex;
    pthread_cond_t done_changed;
    int owners; /* the client and the thread: the last one frees */
    bool done;
    char host[256];
    struct redis_addresses addresses; /* none: see err */
    struct error err;
};

/* ---- the thread ------------------------------------------------------------------------------ */

static void disown(struct dns_lookup *lookup)
{
    pthread_mutex_lock(&lookup->mutex);
    const int left = --lookup->owners;
    pthread_mutex_unlock(&lookup->mutex);
    if (left == 0) {
        pthread_cond_destroy(&lookup->done_changed);
        pthread_mutex_destroy(&lookup->mutex);
        free(lookup);
    }
}

static void *look_up(void *argument)
{
    struct dns_lookup *lookup = argument;
    struct redis_addresses addresses;
    struct error err = {0};

    if (redis_address_find(lookup->host, &addresses, &err) != STATUS_OK) {
        addresses.count = 0;
    }
    pthread_mutex_lock(&lookup->mutex);
    lookup->addresses = addresses;
    lookup->err = err;
    lookup->done = true;
    pthread_cond_signal(&lookup->done_changed);
    pthread_mutex_unlock(&lookup->mutex);
    disown(lookup);
    return NULL;
}

/* Detached, and deaf to the program's signals. */
static bool start_thread(struct dns_lookup *lookup)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all;
    sigset_t old;

    if (pthread_attr_init(&attributes) != 0) {
        return false;
    }
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    const bool started = pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED) == 0 &&
                         pthread_create(&thread, &attributes, look_up, lookup) == 0;
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_attr_destroy(&attributes);
    return started;
}

static bool init_signal(struct dns_lookup *lookup)
{
    pthread_condattr_t monotonic;

    if (pthread_condattr_init(&monotonic) != 0) {
        return false;
    }
    const bool made = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC) == 0 &&
                      pthread_cond_init(&lookup->done_changed, &monotonic) == 0;
    pthread_condattr_destroy(&monotonic);
    if (made && pthread_mutex_init(&lookup->mutex, NULL) != 0) {
        pthread_cond_destroy(&lookup->done_changed);
        return false;
    }
    return made;
}

static struct dns_lookup *start_lookup(const char *host)
{
    struct dns_lookup *lookup = calloc(1, sizeof *lookup);

    if (lookup == NULL || !init_signal(lookup)) {
        free(lookup);
        return NULL;
    }
    snprintf(lookup->host, sizeof lookup->host, "%s", host);
    lookup->owners = 2;
    if (!start_thread(lookup)) {
        lookup->owners = 1;
        disown(lookup);
        return NULL;
    }
    return lookup;
}

/* ---- the caller ------------------------------------------------------------------------------ */

void dns_init(struct dns_name *name, const char *host)
{
    *name = (struct dns_name){0};
    snprintf(name->host, sizeof name->host, "%s", host);
}

void dns_free(struct dns_name *name)
{
    if (name->lookup != NULL) {
        disown(name->lookup);
        name->lookup = NULL;
    }
}

/* The thread may have held the mutex: it is not asked, and nobody else has the memory. */
void dns_orphan(struct dns_name *name)
{
    free(name->lookup);
    name->lookup = NULL;
}

static bool wait_for(struct dns_lookup *lookup, int timeout_ms)
{
    const struct timespec deadline = clock_in_ms(timeout_ms);

    pthread_mutex_lock(&lookup->mutex);
    while (!lookup->done &&
           pthread_cond_timedwait(&lookup->done_changed, &lookup->mutex, &deadline) != ETIMEDOUT) {
    }
    const bool done = lookup->done;
    pthread_mutex_unlock(&lookup->mutex);
    return done;
}

enum status dns_find(struct dns_name *name, int timeout_ms, struct redis_addresses *out,
                     struct error *err)
{
    if (redis_address_known(name->host, out)) {
        return STATUS_OK;
    }
    if (name->lookup == NULL) {
        name->lookup = start_lookup(name->host);
    }
    if (name->lookup == NULL) {
        return error_set(err, STATUS_OOM, "host \"%.128s\": no thread to look it up with",
                         name->host);
    }
    if (!wait_for(name->lookup, timeout_ms)) {
        return error_set(err, STATUS_TIMEOUT, "host \"%.128s\": not looked up within %d ms",
                         name->host, timeout_ms);
    }
    *out = name->lookup->addresses;
    const struct error found = name->lookup->err;
    dns_free(name);
    if (out->count == 0) {
        *err = found;
        return found.status;
    }
    return STATUS_OK;
}
