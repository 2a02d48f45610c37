#include "resolve.h"

#include <errno.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

struct resolve_lookup {
    pthread_mutex_t mutex;
    pthread_cond_t done_changed;
    int owners; /* the client and the thread: the last one frees */
    bool done;
    int fault; /* of getaddrinfo */
    size_t count;
    char host[256];
    char addresses[RESOLVE_ADDRESSES][RESOLVE_ADDRESS_BYTES];
};

/* ---- the thread ------------------------------------------------------------------------------ */

static void disown(struct resolve_lookup *lookup)
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

/* Gets the numeric forms of the first addresses; returns how many. */
static size_t print_addresses(const struct addrinfo *found,
                              char out[RESOLVE_ADDRESSES][RESOLVE_ADDRESS_BYTES])
{
    size_t count = 0;

    for (; found != NULL && count < RESOLVE_ADDRESSES; found = found->ai_next) {
        if (getnameinfo(found->ai_addr, found->ai_addrlen, out[count], RESOLVE_ADDRESS_BYTES, NULL,
                        0, NI_NUMERICHOST) == 0) {
            count++;
        }
    }
    return count;
}

static void *look_up(void *argument)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct resolve_lookup *lookup = argument;
    struct addrinfo *found = NULL;
    char addresses[RESOLVE_ADDRESSES][RESOLVE_ADDRESS_BYTES] = {""};
    size_t count = 0;

    const int fault = getaddrinfo(lookup->host, NULL, &hints, &found);
    if (fault == 0) {
        count = print_addresses(found, addresses);
        freeaddrinfo(found);
    }
    pthread_mutex_lock(&lookup->mutex);
    memcpy(lookup->addresses, addresses, sizeof addresses);
    lookup->count = count;
    lookup->fault = fault;
    lookup->done = true;
    pthread_cond_signal(&lookup->done_changed);
    pthread_mutex_unlock(&lookup->mutex);
    disown(lookup);
    return NULL;
}

/* Detached, and deaf to the program's signals. */
static bool start_thread(struct resolve_lookup *lookup)
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

static bool init_signal(struct resolve_lookup *lookup)
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

static struct resolve_lookup *start_lookup(const char *host)
{
    struct resolve_lookup *lookup = calloc(1, sizeof *lookup);

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

void resolve_init(struct resolve *resolve, const char *host)
{
    *resolve = (struct resolve){0};
    snprintf(resolve->host, sizeof resolve->host, "%s", host);
}

void resolve_free(struct resolve *resolve)
{
    if (resolve->lookup != NULL) {
        disown(resolve->lookup);
        resolve->lookup = NULL;
    }
}

/* The thread may have held the mutex: it is not asked, and nobody else has the memory. */
void resolve_orphan(struct resolve *resolve)
{
    free(resolve->lookup);
    resolve->lookup = NULL;
}

static void add_address(struct resolve *resolve, const char *address)
{
    snprintf(resolve->addresses[resolve->count++], RESOLVE_ADDRESS_BYTES, "%s", address);
}

/* What needs no name server. "localhost" is the loopback (RFC 6761, section 6.3). */
static bool is_known(struct resolve *resolve)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_flags = AI_NUMERICHOST};
    struct addrinfo *found = NULL;

    if (strcasecmp(resolve->host, "localhost") == 0) {
        add_address(resolve, "127.0.0.1");
        add_address(resolve, "::1");
        return true;
    }
    if (strlen(resolve->host) >= RESOLVE_ADDRESS_BYTES ||
        getaddrinfo(resolve->host, NULL, &hints, &found) != 0) {
        return false;
    }
    freeaddrinfo(found);
    memcpy(resolve->addresses[0], resolve->host, strlen(resolve->host) + 1);
    resolve->count = 1;
    return true;
}

static struct timespec from_now(int timeout_ms)
{
    struct timespec at;

    clock_gettime(CLOCK_MONOTONIC, &at);
    at.tv_sec += timeout_ms / 1000;
    at.tv_nsec += (long)(timeout_ms % 1000) * 1000000;
    if (at.tv_nsec >= 1000000000) {
        at.tv_nsec -= 1000000000;
        at.tv_sec++;
    }
    return at;
}

static bool wait_for(struct resolve_lookup *lookup, int timeout_ms)
{
    const struct timespec deadline = from_now(timeout_ms);

    pthread_mutex_lock(&lookup->mutex);
    while (!lookup->done &&
           pthread_cond_timedwait(&lookup->done_changed, &lookup->mutex, &deadline) != ETIMEDOUT) {
    }
    const bool done = lookup->done;
    pthread_mutex_unlock(&lookup->mutex);
    return done;
}

/* Takes over what a finished look-up has found. */
static enum status take_answer(struct resolve *resolve, struct error *err)
{
    const struct resolve_lookup *lookup = resolve->lookup;
    const int fault = lookup->fault;

    memcpy(resolve->addresses, lookup->addresses, sizeof resolve->addresses);
    resolve->count = lookup->count;
    resolve_free(resolve);
    if (resolve->count == 0) {
        return error_set(err, STATUS_UNREACHABLE, "host \"%.128s\": %s", resolve->host,
                         fault == 0 ? "no address" : gai_strerror(fault));
    }
    return STATUS_OK;
}

static enum status ask_name_server(struct resolve *resolve, int timeout_ms, struct error *err)
{
    if (resolve->lookup == NULL) {
        resolve->lookup = start_lookup(resolve->host);
    }
    if (resolve->lookup == NULL) {
        return error_set(err, STATUS_OOM, "host \"%.128s\": no thread to look it up with",
                         resolve->host);
    }
    if (!wait_for(resolve->lookup, timeout_ms)) {
        return error_set(err, STATUS_TIMEOUT, "host \"%.128s\": not looked up within %d ms",
                         resolve->host, timeout_ms);
    }
    return take_answer(resolve, err);
}

enum status resolve_address(struct resolve *resolve, int timeout_ms,
                            char out[RESOLVE_ADDRESS_BYTES], struct error *err)
{
    if (resolve->next >= resolve->count) {
        resolve_forget(resolve);
        if (!is_known(resolve)) {
            const enum status status = ask_name_server(resolve, timeout_ms, err);
            if (status != STATUS_OK) {
                return status;
            }
        }
    }
    memcpy(out, resolve->addresses[resolve->next], RESOLVE_ADDRESS_BYTES);
    return STATUS_OK;
}

void resolve_skip(struct resolve *resolve)
{
    resolve->next++;
}

void resolve_forget(struct resolve *resolve)
{
    resolve->count = 0;
    resolve->next = 0;
}
