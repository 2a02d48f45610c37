/* client/result_memory.h - results this client has read, ready to be handed out again without
 * asking Redis: a bounded table, least recently used out first.
 *
 *     const struct question question = {"legal", "notice period", 3};
 *     if (memory_find(&memory, &question, clock_now_ms(), &hit) == MEMORY_MISS) {
 *         memory_keep(&memory, &question, result, bytes, clock_now_ms());
 *     }
 *
 * The key is the domain and the query as the caller wrote it: hashing a query's normal form would
 * cost more than the whole look-up. Its hash is keyed at random (SipHash), since queries are
 * foreign: who chose those that fall into one place would make each look-up a walk over up to
 * `entries` of them, and the table's own hash has no key. Kept are current results only, so that
 * what is stale is asked for again, and results without examples for a moment only, because a
 * domain may get its first documents any time. Where a look-up in Redis shows that a domain's epoch
 * has moved, what is here of that domain is stale at once.
 *
 * Several clients, each in a thread of its own, may have one memory: memory_new, memory_join,
 * memory_leave. They look and keep between memory_hold and memory_release, where what was found is
 * copied out too. A fork() waits until nobody holds any, so that the child's copy is whole.
 *
 * Callers pass the monotonic clock. One thread at a time, but for the three above. A
 * zero-initialised memory remembers nothing.
 */
#ifndef STILLHOUSE_CLIENT_RESULT_MEMORY_H
#define STILLHOUSE_CLIENT_RESULT_MEMORY_H

#include <pthread.h>

#include "base/slice.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "stillhouse.h"

enum {
    MEMORY_BYTES_MAX = 64 * 1024 * 1024, /* of results */
    MEMORY_EMPTY_TTL_MS = 5000,
    MEMORY_DOMAINS = 1024,
};

/* What a result is an answer to; texts are borrowed. */
struct question {
    const char *domain;
    const char *query;
    int k; /* examples asked for */
};

/* What was heard last of a domain. Two domains that share a place outdate each other's results:
 * these are then asked for once more than they need be. */
struct memory_domain {
    uint64_t hash; /* of its name; 0 = none yet */
    int64_t epoch;
    uint64_t moves; /* of either: results that were kept at an earlier count are stale */
};

struct memory {
    struct memory_entry *entries; /* least recently used first */
    size_t count;
    size_t bytes; /* of the results */
    size_t max_entries;
    size_t max_bytes; /* MEMORY_BYTES_MAX */
    int64_t ttl_ms;
    uint64_t seed[2];
    struct memory_domain *domains; /* MEMORY_DOMAINS, by hash; NULL: nothing is remembered */
    struct strbuf key;
    pthread_mutex_t lock;
    size_t clients;               /* that have it; with the two below under a lock of all */
    struct memory *next, *before; /* all that memory_new made */
};

/* What was made of a result once, to be copied out again: one piece of malloc. */
struct memory_made {
    void *piece; /* NULL = nothing */
    size_t bytes;
    size_t count; /* of what is in it */
    int k;        /* for how many examples */
};

/* A result in memory. It points there: valid until the next call on the memory. */
struct memory_hit {
    struct memory_entry *entry;
    const void *piece; /* result.h */
    size_t bytes;
    uintptr_t made_at;
    size_t count; /* examples */
    struct slice few_shot;
    struct memory_made made;
};

enum status memory_init(struct memory *memory, size_t entries, int64_t ttl_ms,
                        struct error *err) MUSTCHECK;
void memory_free(struct memory *memory);

/* The same on the heap, for one client; memory_join makes it one client more, memory_leave one
 * less, and the last one frees it (NULL is fine). Any thread. */
struct memory *memory_new(size_t entries, int64_t ttl_ms, struct error *err) MUSTCHECK;
struct memory *memory_join(struct memory *memory);
void memory_leave(struct memory *memory);

/* Everything else on a memory that others may have goes between these; short, and without waiting
 * for anything. */
void memory_hold(struct memory *memory);
void memory_release(struct memory *memory);

/* For pthread_atfork: before a fork, and behind it in both processes. */
void memory_before_fork(void);
void memory_after_fork(void);

enum memory_answer {
    MEMORY_MISS,
    MEMORY_HIT,
    MEMORY_STALE, /* better than nothing, where Redis says nothing */
};

/* A result that was made for at least so many examples; *hit is filled but for a miss. */
enum memory_answer memory_find(struct memory *memory, const struct question *question,
                               int64_t now_ms, struct memory_hit *hit) MUSTCHECK;

/* The domain's epoch as Redis has just said it. */
void memory_note_epoch(struct memory *memory, const char *domain, int64_t epoch);

/* Keeps a copy of the piece `result`, made for question->k examples, in place of what was there;
 * does nothing when memory is short. */
void memory_keep(struct memory *memory, const struct question *question,
                 const stillhouse_result *result, size_t bytes, int64_t now_ms);

/* Keeps what was made of a hit in place of what was made of it before; from then on the piece is
 * the memory's. False: there is no room for it, and it is the caller's still. */
bool memory_keep_made(struct memory *memory, const struct memory_hit *hit,
                      const struct memory_made *made) MUSTCHECK;

#endif
