#include "chroma_writer/slots.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/must.h"
#include "queue/keys.h"
#include "queue/limits.h"

enum { LEASE_TTL_MS = 10000, LEASE_HOLD_MS = 500 };

struct slot {
    bool busy;   /* a thread of this process uses it, or is asking Redis for it */
    bool leased; /* Redis says that it is ours */
    int64_t leased_at_ms;
    int64_t renewed_at_ms;
    char key[KEYS_BYTES];
};

struct slots {
    pthread_mutex_t lock;
    size_t count;
    char token[80];
    struct slot each[];
};

struct slots *slots_new(const char *prefix, size_t count, const char *token)
{
    struct slots *slots = must_alloc(1, sizeof *slots + count * sizeof slots->each[0]);

    pthread_mutex_init(&slots->lock, NULL);
    slots->count = count;
    snprintf(slots->token, sizeof slots->token, "%s", token);
    for (size_t i = 0; i < count; i++) {
        keys_name(slots->each[i].key, KEYS_LEASE, prefix, i);
    }
    return slots;
}

void slots_free(struct slots *slots)
{
    if (slots != NULL) {
        pthread_mutex_destroy(&slots->lock);
        free(slots);
    }
}

static bool take_free(struct slots *slots, uint64_t from, size_t *slot)
{
    bool found = false;

    pthread_mutex_lock(&slots->lock);
    for (size_t i = 0; i < slots->count && !found; i++) {
        *slot = (size_t)((from + i) % slots->count);
        found = !slots->each[*slot].busy;
    }
    if (found) {
        slots->each[*slot].busy = true;
    }
    pthread_mutex_unlock(&slots->lock);
    return found;
}

static void note(struct slots *slots, size_t slot, bool leased)
{
    pthread_mutex_lock(&slots->lock);
    slots->each[slot].busy = leased;
    slots->each[slot].leased = leased;
    slots->each[slot].leased_at_ms = clock_now_ms();
    slots->each[slot].renewed_at_ms = slots->each[slot].leased_at_ms;
    pthread_mutex_unlock(&slots->lock);
}

enum status slots_try(struct slots *slots, struct redis_conn *conn, uint64_t from, size_t *slot,
                      bool *held, struct error *err)
{
    *held = false;
    if (!take_free(slots, from, slot)) {
        return STATUS_OK;
    }
    const enum status status = lease_take(
        conn, &(struct lease){slots->each[*slot].key, slots->token, LEASE_TTL_MS}, held, err);
    *held = *held && status == STATUS_OK;
    note(slots, *slot, *held);
    return status == STATUS_OK ? status : error_wrap(err, "writer lease");
}

bool slots_may_go_on(struct slots *slots, size_t slot)
{
    const int64_t now_ms = clock_now_ms();

    pthread_mutex_lock(&slots->lock);
    const struct slot *own = &slots->each[slot];
    const bool may = own->leased && now_ms - own->renewed_at_ms < LEASE_TTL_MS / 2 &&
                     now_ms - own->leased_at_ms < LEASE_HOLD_MS;
    pthread_mutex_unlock(&slots->lock);
    return may;
}

void slots_release(struct slots *slots, struct redis_conn *conn, size_t slot)
{
    struct error err = {0};

    if (lease_release(conn, slots->each[slot].key, slots->token, &err) != STATUS_OK) {
        log_debug("lease \"%s\" ends by itself: %s", slots->each[slot].key, err.text);
    }
    note(slots, slot, false);
}

void slots_renew(struct slots *slots, struct redis_conn *conn)
{
    for (size_t i = 0; i < slots->count; i++) {
        struct slot *slot = &slots->each[i];
        struct error err = {0};
        bool renewed = false;

        pthread_mutex_lock(&slots->lock);
        const bool due = slot->busy && slot->leased;
        pthread_mutex_unlock(&slots->lock);
        if (!due) {
            continue;
        }
        const enum status status = lease_renew(
            conn, &(struct lease){slot->key, slots->token, LEASE_TTL_MS}, &renewed, &err);
        pthread_mutex_lock(&slots->lock);
        if (status == STATUS_OK && renewed) {
            slot->renewed_at_ms = clock_now_ms();
        } else {
            slot->leased = false;
        }
        pthread_mutex_unlock(&slots->lock);
    }
}
