#include "lru.h"

#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

/* Keys come from foreigners, so the hash is keyed: FNV-1a over a secret start, then a finaliser. */
static unsigned lru_hash(const void *key, size_t bytes, uint64_t secret)
{
    const unsigned char *text = key;
    uint64_t h = 0xcbf29ce484222325U ^ secret;

    for (size_t i = 0; i < bytes; i++) {
        h = (h ^ text[i]) * 0x100000001b3U;
        h ^= h >> 29;
    }
    h = (h ^ (h >> 32)) * (0xd6e8feb86659fd93U ^ (secret | 1));
    return (unsigned)(h ^ (h >> 32));
}

struct lru_entry;

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

struct lru_entry {
    UT_hash_handle hh;
    struct lru_entry *newer;
    struct lru_entry *older;
    int64_t put_at_ms;
    size_t value_bytes;
    size_t key_bytes;
    char data[]; /* key, NUL, value */
};

struct lru {
    struct lru_entry *table;
    struct lru_entry *newest;
    struct lru_entry *oldest;
    size_t count;
    size_t bytes;
    size_t max_entries;
    size_t max_bytes;
    int64_t max_age_ms;
    uint64_t secret;
};

struct lru *lru_new(size_t max_entries, size_t max_bytes, int64_t max_age_ms)
{
    struct lru *lru = calloc(1, sizeof *lru);
    if (lru == NULL) {
        return NULL;
    }
    lru->max_entries = max_entries;
    lru->max_bytes = max_bytes;
    lru->max_age_ms = max_age_ms;
    if (getrandom(&lru->secret, sizeof lru->secret, 0) != (ssize_t)sizeof lru->secret) {
        lru->secret = (uint64_t)(uintptr_t)lru;
    }
    return lru;
}

static struct lru_entry *find(const struct lru *lru, const char *key, size_t bytes, unsigned hash)
{
    struct lru_entry *entry = NULL;
    HASH_FIND_BYHASHVALUE(hh, lru->table, key, bytes, hash, entry);
    return entry;
}

static void unlink_entry(struct lru *lru, struct lru_entry *entry)
{
    *(entry->newer != NULL ? &entry->newer->older : &lru->newest) = entry->older;
    *(entry->older != NULL ? &entry->older->newer : &lru->oldest) = entry->newer;
    entry->newer = NULL;
    entry->older = NULL;
}

static void link_newest(struct lru *lru, struct lru_entry *entry)
{
    entry->older = lru->newest;
    *(lru->newest != NULL ? &lru->newest->newer : &lru->oldest) = entry;
    lru->newest = entry;
}

static void drop(struct lru *lru, struct lru_entry *entry)
{
    HASH_DELETE(hh, lru->table, entry);
    unlink_entry(lru, entry);
    lru->count--;
    lru->bytes -= entry->value_bytes;
    free(entry);
}

void lru_free(struct lru *lru)
{
    if (lru == NULL) {
        return;
    }
    while (lru->oldest != NULL) {
        drop(lru, lru->oldest);
    }
    free(lru);
}

bool lru_put(struct lru *lru, const char *key, const void *value, size_t bytes, int64_t now_ms)
{
    lru_remove(lru, key);
    if (bytes > lru->max_bytes || lru->max_entries == 0) {
        return true;
    }
    size_t key_bytes = strlen(key);
    struct lru_entry *entry = malloc(sizeof *entry + key_bytes + 1 + bytes);
    if (entry == NULL) {
        return false;
    }
    memset(entry, 0, sizeof *entry);
    entry->put_at_ms = now_ms;
    entry->value_bytes = bytes;
    entry->key_bytes = key_bytes;
    memcpy(entry->data, key, key_bytes + 1);
    if (bytes > 0) {
        memcpy(entry->data + key_bytes + 1, value, bytes);
    }
    while (lru->count >= lru->max_entries || lru->bytes + bytes > lru->max_bytes) {
        drop(lru, lru->oldest);
    }

    unsigned hash = lru_hash(key, key_bytes, lru->secret);
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, lru->table, entry->data, key_bytes, hash, entry);
    if (entry->hh.tbl == NULL) {
        free(entry); /* uthash had no memory for its table */
        return false;
    }
    link_newest(lru, entry);
    lru->count++;
    lru->bytes += bytes;
    return true;
}

const void *lru_get(struct lru *lru, const char *key, int64_t now_ms, size_t *bytes)
{
    size_t key_bytes = strlen(key);
    struct lru_entry *entry = find(lru, key, key_bytes, lru_hash(key, key_bytes, lru->secret));

    if (entry == NULL) {
        return NULL;
    }
    if (now_ms - entry->put_at_ms >= lru->max_age_ms) {
        drop(lru, entry);
        return NULL;
    }
    if (entry != lru->newest) {
        unlink_entry(lru, entry);
        link_newest(lru, entry);
    }
    *bytes = entry->value_bytes;
    return entry->data + entry->key_bytes + 1;
}

void lru_remove(struct lru *lru, const char *key)
{
    size_t key_bytes = strlen(key);
    struct lru_entry *entry = find(lru, key, key_bytes, lru_hash(key, key_bytes, lru->secret));

    if (entry != NULL) {
        drop(lru, entry);
    }
}

size_t lru_count(const struct lru *lru)
{
    return lru->count;
}
