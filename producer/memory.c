#include "memory.h"

#include <string.h>

#include "text.h"

/* Longer queries are not kept: their keys would not count against MEMORY_BYTES_MAX. */
enum { QUERY_BYTES_MAX = 8 * 1024 };

/* What stands in front of the piece. */
struct head {
    uintptr_t made_at;
    int64_t kept_at_ms;
    size_t count;
    size_t few_shot_bytes;
    int k;
};

enum status memory_init(struct memory *memory, size_t entries, int64_t ttl_ms, struct error *err)
{
    *memory = (struct memory){.lru = lru_new(entries, MEMORY_BYTES_MAX, ttl_ms)};
    return memory->lru == NULL ? error_set(err, STATUS_OOM, "out of memory") : STATUS_OK;
}

void memory_free(struct memory *memory)
{
    lru_free(memory->lru);
    memory->lru = NULL;
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

bool memory_find(struct memory *memory, const char *domain, const char *query, int k,
                 int64_t now_ms, struct memory_hit *hit)
{
    const char *key = make_key(memory, domain, query);
    size_t bytes = 0;
    struct head head;

    const char *value =
        key == NULL || memory->lru == NULL ? NULL : lru_get(memory->lru, key, now_ms, &bytes);
    if (value == NULL) {
        return false;
    }
    memcpy(&head, value, sizeof head);
    if (head.k < k || (head.count == 0 && now_ms - head.kept_at_ms >= MEMORY_EMPTY_TTL_MS)) {
        return false;
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
    return true;
}

void memory_keep(struct memory *memory, const char *domain, const char *query, int k,
                 const stillhouse_result *result, size_t bytes, int64_t now_ms)
{
    const struct head head = {
        .made_at = (uintptr_t)result,
        .kept_at_ms = now_ms,
        .count = result->count,
        .few_shot_bytes = strlen(result->few_shot),
        .k = k,
    };
    const char *key = make_key(memory, domain, query);
    struct strbuf value = {0};

    if (key == NULL || memory->lru == NULL || result->stale || result->error != NULL) {
        return;
    }
    strbuf_append(&value, &head, sizeof head);
    strbuf_append(&value, result, bytes);
    if (strbuf_ok(&value)) {
        (void)lru_put(memory->lru, key, value.data, value.bytes, now_ms);
    }
    strbuf_free(&value);
}
