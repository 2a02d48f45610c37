#include "client/lru.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define HASH_NONFATAL_OOM 1
#include <uthash.h>
#include <utlist.h>

/* One block: this, the value, the key. */
struct entry {
    UT_hash_handle hh;
    struct entry *prev; /* recency, newest first; the head's prev is the oldest */
    struct entry *next;
    int64_t stored_ms;
    size_t bytes;
    alignas(max_align_t) char value[];
};

struct lru {
    struct entry *table;  /* by key */
    struct entry *newest; /* by recency */
    size_t count;
    size_t bytes; /* of all values */
    size_t max_entries;
    size_t max_bytes;
    int64_t max_age_ms;
    uint64_t seed[2];
};

/* ---- SipHash-2-4: who chooses the keys cannot choose their hash ---- */

static uint64_t rotate(uint64_t x, int bits)
{
    return (x << bits) | (x >> (64 - bits));
}

static void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotate(v[1], 13) ^ v[0];
    v[0] = rotate(v[0], 32);
    v[2] += v[3];
    v[3] = rotate(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotate(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotate(v[1], 17) ^ v[2];
    v[2] = rotate(v[2], 32);
}

static void sip_word(uint64_t v[4], uint64_t word)
{
    v[3] ^= word;
    sip_round(v);
    sip_round(v);
    v[0] ^= word;
}

static unsigned hash_of(const struct lru *lru, const char *key, size_t bytes)
{
    uint64_t v[4] = {lru->seed[0] ^ 0x736f6d6570736575u, lru->seed[1] ^ 0x646f72616e646f6du,
                     lru->seed[0] ^ 0x6c7967656e657261u, lru->seed[1] ^ 0x7465646279746573u};
    uint64_t word = 0;
    size_t at = 0;

    for (; bytes - at >= sizeof word; at += sizeof word) {
        memcpy(&word, key + at, sizeof word);
        sip_word(v, word);
    }
    word = (uint64_t)bytes << 56;
    for (int shift = 0; at < bytes; at++, shift += 8) {
        word |= (uint64_t)(unsigned char)key[at] << shift;
    }
    sip_word(v, word);

    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++) {
        sip_round(v);
    }
    return (unsigned)(v[0] ^ v[1] ^ v[2] ^ v[3]);
}

/* ---- entries --------------------------------------------------------------------------------- */

static char *key_of(struct entry *entry)
{
    return entry->value + entry->bytes;
}

static struct entry *find(struct lru *lru, const char *key)
{
    size_t bytes = strlen(key);
    unsigned hash = hash_of(lru, key, bytes);
    struct entry *entry = NULL;

    HASH_FIND_BYHASHVALUE(hh, lru->table, key, bytes, hash, entry);
    return entry;
}

static void drop(struct lru *lru, struct entry *entry)
{
    HASH_DELETE(hh, lru->table, entry);
    DL_DELETE(lru->newest, entry);
    lru->count--;
    lru->bytes -= entry->bytes;
    free(entry);
}

static struct entry *make(const char *key, const void *value, size_t bytes, int64_t now_ms)
{
    size_t key_bytes = strlen(key) + 1;
    if (bytes > SIZE_MAX - sizeof(struct entry) - key_bytes) {
        return NULL;
    }

    struct entry *entry = calloc(1, sizeof *entry + bytes + key_bytes);
    if (entry == NULL) {
        return NULL;
    }
    entry->bytes = bytes;
    entry->stored_ms = now_ms;
    if (bytes > 0) {
        memcpy(entry->value, value, bytes);
    }
    memcpy(key_of(entry), key, key_bytes);
    return entry;
}

/* False when the table has no memory for one more. */
static bool insert(struct lru *lru, struct entry *entry)
{
    const char *key = key_of(entry);
    size_t bytes = strlen(key);
    unsigned hash = hash_of(lru, key, bytes);

    HASH_ADD_KEYPTR_BYHASHVALUE(hh, lru->table, key, bytes, hash, entry);
    if (entry->hh.tbl == NULL) {
        return false;
    }
    DL_PREPEND(lru->newest, entry);
    lru->count++;
    lru->bytes += entry->bytes;
    return true;
}

/* ---- calls ----------------------------------------------------------------------------------- */

struct lru *lru_new(size_t max_entries, size_t max_bytes, int64_t max_age_ms)
{
    struct lru *lru = calloc(1, sizeof *lru);
    if (lru == NULL) {
        return NULL;
    }
    lru->max_entries = max_entries;
    lru->max_bytes = max_bytes;
    lru->max_age_ms = max_age_ms;
    if (getrandom(lru->seed, sizeof lru->seed, GRND_NONBLOCK) != (ssize_t)sizeof lru->seed) {
        lru->seed[0] = (uint64_t)(uintptr_t)lru; /* so early that the kernel has none yet */
        lru->seed[1] = (uint64_t)time(NULL);
    }
    return lru;
}

void lru_free(struct lru *lru)
{
    if (lru == NULL) {
        return;
    }
    while (lru->newest != NULL) {
        drop(lru, lru->newest);
    }
    free(lru);
}

bool lru_put(struct lru *lru, const char *key, const void *value, size_t bytes, int64_t now_ms)
{
    struct entry *entry = NULL;

    if (bytes <= lru->max_bytes && lru->max_entries > 0) {
        entry = make(key, value, bytes, now_ms); /* before the old one goes: value may be its */
    }
    lru_remove(lru, key);
    if (entry == NULL) {
        return false;
    }
    while (lru->count >= lru->max_entries || lru->bytes > lru->max_bytes - bytes) {
        drop(lru, lru->newest->prev);
    }
    if (!insert(lru, entry)) {
        free(entry);
        return false;
    }
    return true;
}

const void *lru_get(struct lru *lru, const char *key, int64_t now_ms, size_t *bytes)
{
    struct entry *entry = find(lru, key);
    if (entry == NULL) {
        return NULL;
    }
    if (now_ms - entry->stored_ms > lru->max_age_ms) {
        drop(lru, entry);
        return NULL;
    }

    DL_DELETE(lru->newest, entry);
    DL_PREPEND(lru->newest, entry);
    *bytes = entry->bytes;
    return entry->value;
}

void lru_remove(struct lru *lru, const char *key)
{
    struct entry *entry = find(lru, key);
    if (entry != NULL) {
        drop(lru, entry);
    }
}

size_t lru_count(const struct lru *lru)
{
    return lru->count;
}
