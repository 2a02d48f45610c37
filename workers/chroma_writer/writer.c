#include "chroma_writer/writer.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "queue/keys.h"
#include "queue/lease.h"

enum { LEASE_TTL_MS = 10000, LEASE_HOLD_MS = 500, POLL_MIN_MS = 2, POLL_SPREAD_MS = 8 };

struct writer_slot {
    bool busy;            /* a lane of this process uses it, or is asking Redis for it */
    bool leased;          /* Redis says that it is ours */
    int64_t leased_at_ms; /* since when without a break */
    int64_t renewed_at_ms;
    char key[KEYS_BYTES];
};

struct writer {
    pthread_mutex_t lock;
    pthread_cond_t freed;
    size_t waiting;
    size_t count;
    char token[80];
    struct writer_slot slots[];
};

struct writer *writer_new(const char *prefix, size_t writers, const char *token)
{
    struct writer *writer = calloc(1, sizeof *writer + writers * sizeof writer->slots[0]);
    if (writer == NULL) {
        return NULL;
    }

    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&writer->freed, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&writer->lock, NULL);
    writer->count = writers;
    snprintf(writer->token, sizeof writer->token, "%s", token);
    for (size_t i = 0; i < writers; i++) {
        keys_lease(writer->slots[i].key, prefix, i);
    }
    return writer;
}

void writer_free(struct writer *writer)
{
    if (writer == NULL) {
        return;
    }
    pthread_cond_destroy(&writer->freed);
    pthread_mutex_destroy(&writer->lock);
    free(writer);
}

/* Waits until a slot is free in this process and takes it; false when `until_ms` passed first. */
static bool take_local(struct writer *writer, int64_t until_ms, size_t start, size_t *slot)
{
    bool taken = false;
    const struct timespec until = {.tv_sec = until_ms / 1000,
                                   .tv_nsec = (until_ms % 1000) * 1000000};

    pthread_mutex_lock(&writer->lock);
    writer->waiting++;
    for (;;) {
        for (size_t i = 0; i < writer->count && !taken; i++) {
            size_t candidate = (start + i) % writer->count;
            if (!writer->slots[candidate].busy) {
                writer->slots[candidate].busy = true;
                *slot = candidate;
                taken = true;
            }
        }
        if (taken || pthread_cond_timedwait(&writer->freed, &writer->lock, &until) != 0) {
            break;
        }
    }
    writer->waiting--;
    pthread_mutex_unlock(&writer->lock);
    return taken;
}

static void free_local(struct writer *writer, size_t slot, bool leased)
{
    pthread_mutex_lock(&writer->lock);
    writer->slots[slot].leased = leased;
    writer->slots[slot].busy = false;
    pthread_cond_signal(&writer->freed);
    pthread_mutex_unlock(&writer->lock);
}

/* True when the lease that this process already holds is good for another use. */
static bool still_leased(struct writer *writer, size_t slot)
{
    pthread_mutex_lock(&writer->lock);
    bool good = writer->slots[slot].leased &&
                clock_now_ms() - writer->slots[slot].renewed_at_ms < LEASE_TTL_MS / 2;
    pthread_mutex_unlock(&writer->lock);
    return good;
}

static void note_leased(struct writer *writer, size_t slot)
{
    pthread_mutex_lock(&writer->lock);
    writer->slots[slot].leased = true;
    writer->slots[slot].leased_at_ms = clock_now_ms();
    writer->slots[slot].renewed_at_ms = writer->slots[slot].leased_at_ms;
    pthread_mutex_unlock(&writer->lock);
}

enum status writer_acquire(struct writer *writer, struct redis_conn *conn,
                           struct backoff_random *random, int64_t wait_ms, size_t *slot,
                           struct error *err)
{
    const int64_t until_ms = clock_now_ms() + wait_ms;
    size_t start = (size_t)(backoff_random_next(random) % writer->count);

    while (take_local(writer, until_ms, start, slot)) {
        if (still_leased(writer, *slot)) {
            return STATUS_OK;
        }
        bool taken = false;
        enum status status =
            lease_take(conn, writer->slots[*slot].key, writer->token, LEASE_TTL_MS, &taken, err);
        if (status == STATUS_OK && taken) {
            note_leased(writer, *slot);
            return STATUS_OK;
        }
        free_local(writer, *slot, false);
        if (status != STATUS_OK) {
            return error_wrap(err, "writer lease");
        }
        if (clock_now_ms() >= until_ms) {
            break;
        }
        start = *slot + 1;
        clock_sleep_ms(POLL_MIN_MS + (int64_t)(backoff_random_next(random) % POLL_SPREAD_MS));
    }
    return error_set(err, STATUS_TIMEOUT, "writer lease: others wrote for %lld ms",
                     (long long)wait_ms);
}

bool writer_may_stay(struct writer *writer, size_t slot)
{
    pthread_mutex_lock(&writer->lock);
    bool may = writer->slots[slot].leased &&
               clock_now_ms() - writer->slots[slot].leased_at_ms < LEASE_HOLD_MS;
    pthread_mutex_unlock(&writer->lock);
    return may;
}

void writer_release(struct writer *writer, struct redis_conn *conn, size_t slot)
{
    bool may_stay = writer_may_stay(writer, slot);
    pthread_mutex_lock(&writer->lock);
    bool keep = may_stay && writer->waiting > 0;
    pthread_mutex_unlock(&writer->lock);

    if (!keep) {
        struct error err = {0};
        if (lease_release(conn, writer->slots[slot].key, writer->token, &err) != STATUS_OK) {
            log_debug("lease \"%s\" ends by itself: %s", writer->slots[slot].key, err.text);
        }
    }
    free_local(writer, slot, keep);
}

void writer_renew(struct writer *writer, struct redis_conn *conn)
{
    for (size_t i = 0; i < writer->count; i++) {
        pthread_mutex_lock(&writer->lock);
        bool due = writer->slots[i].busy && writer->slots[i].leased;
        pthread_mutex_unlock(&writer->lock);
        if (!due) {
            continue;
        }

        struct error err = {0};
        bool renewed = false;
        enum status status =
            lease_renew(conn, writer->slots[i].key, writer->token, LEASE_TTL_MS, &renewed, &err);
        pthread_mutex_lock(&writer->lock);
        if (status == STATUS_OK && renewed) {
            writer->slots[i].renewed_at_ms = clock_now_ms();
        } else {
            writer->slots[i].leased = false;
        }
        pthread_mutex_unlock(&writer->lock);
    }
}
