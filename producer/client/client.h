/* client/client.h - what the files of the producer library share: the client and its configuration.
 */
#ifndef STILLHOUSE_CLIENT_CLIENT_H
#define STILLHOUSE_CLIENT_CLIENT_H

#include "base/arena.h"
#include "base/status.h"
#include "base/strbuf.h"
#include "client/counts.h"
#include "client/forks.h"
#include "client/link.h"
#include "client/result_memory.h"
#include "config/settings.h"
#include "queue/queue.h"
#include "spool/spool.h"
#include "stillhouse.h"

enum { CLIENT_URL_BYTES = 512, CLIENT_PREFIX_BYTES = 64, CLIENT_KEEP_BYTES = 64 * 1024 };

/* What stillhouse_options and the environment come to. */
struct client_config {
    char redis_url[CLIENT_URL_BYTES];
    char cache_url[CLIENT_URL_BYTES]; /* "" = the same */
    char prefix[CLIENT_PREFIX_BYTES];
    char outbox[SETTINGS_TEXT_BYTES]; /* "" = none */
    int64_t outbox_max_bytes;
    struct link_bounds bounds;
    size_t memory_entries;
    int64_t memory_ttl_ms;
    int64_t max_backlog;
    int64_t max_body_bytes;
    int64_t cache_fresh_ms;
    int64_t holdout; /* millionths */
};

struct stillhouse_client {
    struct client_config config;
    struct link *link;       /* the queues' Redis */
    struct link *cache_link; /* the cache's; may be the same */
    struct memory *memory;   /* of those that were opened beside one another together */
    struct counts counts;
    struct spool spool;
    struct queue enrich;
    struct queue distill;
    struct queue index;
    struct queue record;
    struct strbuf body; /* of the job in hand */
    struct arena arena; /* of the call in hand */
    struct error err;   /* of the last call that failed */
    char prompt_id[37]; /* of the last prompt, once it was asked for */
    bool has_asked;     /* for a prompt, so that it has an id */
    unsigned forks;     /* of the process that this copy of the client belongs to */
    atomic_bool busy;   /* a call is under way; only a child of fork() reads it */
};

/* Makes a copy that a fork() left with the child the child's own: it lets go of the connections
 * without a word and forgets what the parent has under way. For client_enter. */
void client_adopt(stillhouse_client *client);

/* Begins a public call; false for NULL. client_leave ends it, whatever it came to: a child that is
 * forked in between, by another thread, finds the client half changed and must know. */
static inline bool client_enter(stillhouse_client *client)
{
    if (client == NULL) {
        return false;
    }
    if (client->forks != forks_count()) {
        client_adopt(client);
    }
    atomic_store_explicit(&client->busy, true, memory_order_relaxed);
    atomic_signal_fence(memory_order_seq_cst); /* fork() orders the rest */
    return true;
}

static inline void client_leave(stillhouse_client *client)
{
    atomic_signal_fence(memory_order_seq_cst);
    atomic_store_explicit(&client->busy, false, memory_order_relaxed);
}

/* Keeps the error's text for stillhouse_error and returns what the caller is told. */
stillhouse_status client_failed(stillhouse_client *client, const struct error *err);

/* Ends a public call that came to `status`: client_leave, and client_failed where it is not OK. */
stillhouse_status client_finish(stillhouse_client *client, enum status status, struct error *err);

/* What an inner status is to the caller. Pure. */
stillhouse_status client_status(enum status status);

/* Gives large memory of the last call back. */
void client_tidy(stillhouse_client *client);

#endif
