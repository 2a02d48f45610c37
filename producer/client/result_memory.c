#include "client/result_memory.h"

#include <stdalign.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "base/text.h"

#define HASH_NONFATAL_OOM 1
#include <uthash.h>

/* Longer queries are not kept: their keys would not count against MEMORY_BYTES_MAX. */
enum { QUERY_BYTES_MAX = 8 * 1024 };

/* One block: this, the piece, the key. uthash keeps the order in which entries were added, so what
 * is used is taken out and added again. */
struct memory_entry {
    UT_hash_handle hh;
    int64_t kept_at_ms;
    uintptr_t made_at;
    size_t bytes;
    size_t count; /* examples */
    size_t few_shot_bytes;
    const struct memory_domain *domain;
    uint64_t moves; /* of the domain, when it was kept */
    int k;
    struct memory_made made;
    alignas(max_align_t) char piece[];
};

/* ---- SipHash-2-4 -------------------------------------------------------------------------------
 */

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

static uint64_t hash_of(const struct memory *memory, const char *data, size_t bytes)
{
    uint64_t v[4] = {memory->seed[0] ^ 0x736f6d6570736575u, memory->seed[1] ^ 0x646f72616e646f6du,
                     memory->seed[0] ^ 0x6c7967656e657261u, memory->seed[1] ^ 0x7465646279746573u};
    uint64_t word = 0;
    size_t at = 0;

    for (; bytes - at >= sizeof word; at += sizeof word) {
        memcpy(&word, data + at, sizeof word);
        sip_word(v, word);
    }
    word = (uint64_t)bytes << 56;
    for (int shift = 0; at < bytes; at++, shift += 8) {
        word |= (uint64_t)(unsigned char)data[at] << shift;
    }
    sip_word(v, word);

    v[2] ^= 0xff;
    for (int i = 0; i < 4; i++) {
        sip_round(v);
    }
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* ---- life ------------------------------------------------------------------------------------ */

enum status memory_init(struct memory *memory, size_t entries, int64_t ttl_ms, struct error *err)
{
    *memory = (struct memory){
        .max_entries = entries,
        .max_bytes = MEMORY_BYTES_MAX,
        .ttl_ms = ttl_ms,
        .domains = calloc(MEMORY_DOMAINS, sizeof *memory->domains),
        .lock = PTHREAD_MUTEX_INITIALIZER,
    };
    if (memory->domains == NULL) {
        return error_set(err, STATUS_OOM, "out of memory");
    }
    if (getrandom(memory->seed, sizeof memory->seed, GRND_NONBLOCK) !=
        (ssize_t)sizeof memory->seed) {
        memory->seed[0] =
            (uint64_t)(uintptr_t)memory->domains; /* so early that there is none yet */
        memory->seed[1] = (uint64_t)time(NULL);
    }
    return STATUS_OK;
}

static void drop(struct memory *memory, struct memory_entry *entry)
{
    HASH_DELETE(hh, memory->entries, entry);
    memory->count--;
    memory->bytes -= entry->bytes + entry->made.bytes;
    free(entry->made.piece);
    free(entry);
}

void memory_free(struct memory *memory)
{
    while (memory->entries != NULL) {
        drop(memory, memory->entries);
    }
    free(memory->domains);
    memory->domains = NULL;
    strbuf_free(&memory->key);
}

/* ---- one for several clients, and fork() ------------------------------------------------------
 */

static pthread_mutex_t all_lock = PTHREAD_MUTEX_INITIALIZER;
static struct memory *all;

struct memory *memory_new(size_t entries, int64_t ttl_ms, struct error *err)
{
    struct memory *memory = malloc(sizeof *memory);

    if (memory == NULL || memory_init(memory, entries, ttl_ms, err) != STATUS_OK) {
        free(memory);
        (void)error_set(err, STATUS_OOM, "out of memory");
        return NULL;
    }
    memory->clients = 1;
    pthread_mutex_lock(&all_lock);
    memory->next = all;
    if (all != NULL) {
        all->before = memory;
    }
    all = memory;
    pthread_mutex_unlock(&all_lock);
    return memory;
}

struct memory *memory_join(struct memory *memory)
{
    pthread_mutex_lock(&all_lock);
    memory->clients++;
    pthread_mutex_unlock(&all_lock);
    return memory;
}

static void take_out(struct memory *memory)
{
    if (memory->before != NULL) {
        memory->before->next = memory->next;
    } else {
        all = memory->next;
    }
    if (memory->next != NULL) {
        memory->next->before = memory->before;
    }
}

void memory_leave(struct memory *memory)
{
    if (memory == NULL) {
        return;
    }
    pthread_mutex_lock(&all_lock);
    const bool is_last = --memory->clients == 0;
    if (is_last) {
        take_out(memory);
    }
    pthread_mutex_unlock(&all_lock);
    if (is_last) {
        memory_free(memory);
        pthread_mutex_destroy(&memory->lock);
        free(memory);
    }
}

void memory_hold(struct memory *memory)
{
    pthread_mutex_lock(&memory->lock);
}

void memory_release(struct memory *memory)
{
    pthread_mutex_unlock(&memory->lock);
}

void memory_before_fork(void)
{
    pthread_mutex_lock(&all_lock);
    for (struct memory *memory = all; memory != NULL; memory = memory->next) {
        memory_hold(memory);
    }
}

void memory_after_fork(void)
{
    for (struct memory *memory = all; memory != NULL; memory = memory->next) {
        memory_release(memory);
    }
    pthread_mutex_unlock(&all_lock);
}

/* ---- domains --------------------------------------------------------------------------------- */

void memory_note_epoch(struct memory *memory, const char *domain, int64_t epoch)
{
    if (memory->domains == NULL) {
        return;
    }
    const uint64_t hash = hash_of(memory, domain, strlen(domain)) | 1; /* never 0 */
    struct memory_domain *known = &memory->domains[(hash >> 1) % MEMORY_DOMAINS];

    if (known->hash != hash || known->epoch != epoch) {
        *known = (struct memory_domain){hash, epoch, known->moves + 1};
    }
}

/* What a result's epoch says of its domain. NULL: it is older than what is known of that. */
static const struct memory_domain *domain_for(struct memory *memory, const char *domain,
                                              int64_t epoch)
{
    const uint64_t hash = hash_of(memory, domain, strlen(domain)) | 1;
    const struct memory_domain *known = &memory->domains[(hash >> 1) % MEMORY_DOMAINS];

    if (known->hash == hash && epoch < known->epoch) {
        return NULL;
    }
    memory_note_epoch(memory, domain, epoch);
    return known;
}

/* ---- results --------------------------------------------------------------------------------- */

/* The domain's length (never 0), the domain, the query: no two pairs share a key. False: not a
 * key. */
static bool make_key(struct memory *memory, const struct question *question)
{
    const size_t domain_bytes = strlen(question->domain);
    const size_t query_bytes = strlen(question->query);

    if (memory->domains == NULL || domain_bytes == 0 || domain_bytes > TEXT_DOMAIN_MAX ||
        query_bytes > QUERY_BYTES_MAX) {
        return false;
    }
    strbuf_reset(&memory->key);
    strbuf_append_char(&memory->key, (char)domain_bytes);
    strbuf_append(&memory->key, question->domain, domain_bytes);
    strbuf_append(&memory->key, question->query, query_bytes);
    return strbuf_ok(&memory->key);
}

static struct memory_entry *find(const struct memory *memory, unsigned hash)
{
    struct memory_entry *entry = NULL;

    HASH_FIND_BYHASHVALUE(hh, memory->entries, memory->key.data, memory->key.bytes, hash, entry);
    return entry;
}

/* It is the last one to leave now. The only one is, and taking it out would free the table. */
static void touch(struct memory *memory, struct memory_entry *entry)
{
    const unsigned hash = entry->hh.hashv;

    if (memory->count > 1) {
        HASH_DELETE(hh, memory->entries, entry);
        HASH_ADD_KEYPTR_BYHASHVALUE(hh, memory->entries, entry->piece + entry->bytes,
                                    entry->hh.keylen, hash, entry);
    }
}

enum memory_answer memory_find(struct memory *memory, const struct question *question,
                               int64_t now_ms, struct memory_hit *hit)
{
    if (!make_key(memory, question)) {
        return MEMORY_MISS;
    }
    struct memory_entry *entry =
        find(memory, (unsigned)hash_of(memory, memory->key.data, memory->key.bytes));
    if (entry == NULL) {
        return MEMORY_MISS;
    }
    if (now_ms - entry->kept_at_ms > memory->ttl_ms) {
        drop(memory, entry);
        return MEMORY_MISS;
    }
    touch(memory, entry);
    if (entry->k < question->k ||
        (entry->count == 0 && now_ms - entry->kept_at_ms >= MEMORY_EMPTY_TTL_MS)) {
        return MEMORY_MISS;
    }
    const stillhouse_result *result = (const void *)entry->piece;
    *hit = (struct memory_hit){
        .entry = entry,
        .piece = entry->piece,
        .bytes = entry->bytes,
        .made_at = entry->made_at,
        .count = entry->count,
        .few_shot = {entry->piece + ((uintptr_t)result->few_shot - entry->made_at),
                     entry->few_shot_bytes},
        .made = entry->made,
    };
    return entry->moves == entry->domain->moves ? MEMORY_HIT : MEMORY_STALE;
}

/* Makes room, then adds; the entry is gone where the table has no memory for it. */
static void add(struct memory *memory, struct memory_entry *entry, unsigned hash)
{
    while (memory->count >= memory->max_entries ||
           memory->bytes > memory->max_bytes - entry->bytes) {
        drop(memory, memory->entries);
    }
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, memory->entries, entry->piece + entry->bytes, memory->key.bytes,
                                hash, entry);
    if (entry->hh.tbl == NULL) {
        free(entry);
        return;
    }
    memory->count++;
    memory->bytes += entry->bytes;
}

void memory_keep(struct memory *memory, const struct question *question,
                 const stillhouse_result *result, size_t bytes, int64_t now_ms)
{
    if (result->stale || result->error != NULL || !make_key(memory, question)) {
        return;
    }
    const struct memory_domain *known = domain_for(memory, question->domain, result->epoch);
    if (known == NULL) {
        return;
    }
    const unsigned hash = (unsigned)hash_of(memory, memory->key.data, memory->key.bytes);
    struct memory_entry *old = find(memory, hash);
    if (old != NULL) {
        drop(memory, old);
    }
    if (bytes > memory->max_bytes || memory->max_entries == 0) {
        return;
    }
    struct memory_entry *entry = calloc(1, sizeof *entry + bytes + memory->key.bytes);
    if (entry == NULL) {
        return;
    }
    entry->kept_at_ms = now_ms;
    entry->made_at = (uintptr_t)result;
    entry->bytes = bytes;
    entry->count = result->count;
    entry->few_shot_bytes = strlen(result->few_shot);
    entry->domain = known;
    entry->moves = known->moves;
    entry->k = question->k;
    memcpy(entry->piece, result, bytes);
    memcpy(entry->piece + bytes, memory->key.data, memory->key.bytes);
    add(memory, entry, hash);
}

bool memory_keep_made(struct memory *memory, const struct memory_hit *hit,
                      const struct memory_made *made)
{
    struct memory_entry *entry = hit->entry;
    const size_t others = memory->bytes - entry->made.bytes;

    if (made->bytes > memory->max_bytes - others) {
        return false;
    }
    free(entry->made.piece);
    entry->made = *made;
    memory->bytes = others + made->bytes;
    return true;
}
