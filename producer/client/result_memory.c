#include "client/result_memory.h"

#include <stdlib.h>
#include <string.h>

#include "base/text.h"

/* Longer queries are not kept: their keys would not count against MEMORY_BYTES_MAX. */
enum { QUERY_BYTES_MAX = 8 * 1024 };

/* What stands in front of the piece. */
struct head {
    uintptr_t made_at;
    int64_t kept_at_ms;
    size_t count;
    size_t few_shot_bytes;
    const struct memory_domain *domain;
    uint64_t moves; /* of the domain, when it was kept */
    int k;
};

enum status memory_init(struct memory *memory, size_t entries, int64_t ttl_ms, struct error *err)
{
    *memory = (struct memory){
        .lru = lru_new(entries, MEMORY_BYTES_MAX, ttl_ms),
        .domains = calloc(MEMORY_DOMAINS, sizeof *memory->domains),
    };
    if (memory->lru == NULL || memory->domains == NULL) {
        memory_free(memory);
        return error_set(err, STATUS_OOM, "out of memory");
    }
    return STATUS_OK;
}

void memory_free(struct memory *memory)
{
    lru_free(memory->lru);
    free(memory->domains);
    memory->lru = NULL;
    memory->domains = NULL;
    strbuf_free(&memory->key);
}

/* The domain's length (never 0, so no NUL), the domain, the query: no two pairs share a key. NULL:
 * not a key. */
static const char *make_key(struct memory *memory, const char *domain, const char *query)
{
    const size_t domain_bytes = strlen(domain);
    const size_t query_bytes = strlen(query);

    if (domain_bytes == 0 || domain_bytes > TEXT_DOMAIN_MAX || query_bytes > QUERY_BYTES_MAX) {
        return NULL;
    }
    strbuf_reset(&memory->key);
    char *at = strbuf_reserve(&memory->key, 1 + domain_bytes + query_bytes + 1);
    if (at == NULL) {
        return NULL;
    }
    at[0] = (char)domain_bytes;
    memcpy(at + 1, domain, domain_bytes);
    memcpy(at + 1 + domain_bytes, query, query_bytes + 1);
    return at;
}

/* FNV-1a; never 0. */
static uint64_t hash_of(const char *domain)
{
    uint64_t hash = 0xcbf29ce484222325U;

    for (; *domain != '\0'; domain++) {
        hash = (hash ^ (unsigned char)*domain) * 0x100000001b3U;
    }
    return hash | 1;
}

static struct memory_domain *domain_of(const struct memory *memory, uint64_t hash)
{
    return &memory->domains[(hash >> 1) % MEMORY_DOMAINS];
}

void memory_note_epoch(struct memory *memory, const char *domain, int64_t epoch)
{
    if (memory->domains == NULL) {
        return;
    }
    const uint64_t hash = hash_of(domain);
    struct memory_domain *known = domain_of(memory, hash);

    if (known->hash != hash || known->epoch != epoch) {
        *known = (struct memory_domain){hash, epoch, known->moves + 1};
    }
}

enum memory_answer memory_find(struct memory *memory, const char *domain, const char *query, int k,
                               int64_t now_ms, struct memory_hit *hit)
{
    const char *key = make_key(memory, domain, query);
    size_t bytes = 0;
    struct head head;

    const char *value =
        key == NULL || memory->lru == NULL ? NULL : lru_get(memory->lru, key, now_ms, &bytes);
    if (value == NULL) {
        return MEMORY_MISS;
    }
    memcpy(&head, value, sizeof head);
    if (head.k < k || (head.count == 0 && now_ms - head.kept_at_ms >= MEMORY_EMPTY_TTL_MS)) {
        return MEMORY_MISS;
    }

    stillhouse_result result;
    const char *piece = value + sizeof head;
    memcpy(&result, piece, sizeof result);
    *hit = (struct memory_hit){
        .piece = piece,
        .bytes = bytes - sizeof head,
        .made_at = head.made_at,
        .count = head.count,
        .few_shot = {piece + ((uintptr_t)result.few_shot - head.made_at), head.few_shot_bytes},
    };
    return head.moves == head.domain->moves ? MEMORY_HIT : MEMORY_STALE;
}

/* What a result's epoch says of its domain. NULL: it is older than what is known of that. */
static const struct memory_domain *domain_for(struct memory *memory, const char *domain,
                                              int64_t epoch)
{
    const uint64_t hash = hash_of(domain);
    const struct memory_domain *known = domain_of(memory, hash);

    if (known->hash == hash && epoch < known->epoch) {
        return NULL;
    }
    memory_note_epoch(memory, domain, epoch);
    return known;
}

void memory_keep(struct memory *memory, const char *domain, const char *query, int k,
                 const stillhouse_result *result, size_t bytes, int64_t now_ms)
{
    const char *key = make_key(memory, domain, query);
    struct strbuf value = {0};

    if (key == NULL || memory->lru == NULL || result->stale || result->error != NULL) {
        return;
    }
    const struct memory_domain *known = domain_for(memory, domain, result->epoch);
    if (known == NULL) {
        return;
    }
    const struct head head = {
        .made_at = (uintptr_t)result,
        .kept_at_ms = now_ms,
        .count = result->count,
        .few_shot_bytes = strlen(result->few_shot),
        .domain = known,
        .moves = known->moves,
        .k = k,
    };
    strbuf_append(&value, &head, sizeof head);
    strbuf_append(&value, result, bytes);
    if (strbuf_ok(&value)) {
        (void)lru_put(memory->lru, key, value.data, value.bytes, now_ms);
    }
    strbuf_free(&value);
}
