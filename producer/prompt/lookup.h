/* prompt/lookup.h - results of enrichments: those that are cached, as the memory and Redis have
 * them, and those that are waited for. The public calls stillhouse_lookup and stillhouse_await*.
 */
#ifndef STILLHOUSE_PROMPT_LOOKUP_H
#define STILLHOUSE_PROMPT_LOOKUP_H

#include "client/client.h"
#include "queue/queue.h"

/* INVALID where no enrichment could be asked for so. k becomes the default where it is 0. */
enum status lookup_check(struct question *asked, struct error *err) MUSTCHECK;

/* The bytes of a result. */
struct lookup_bytes {
    const void *data;
    size_t bytes;
    bool epoch_known;
    int64_t epoch; /* of the domain now */
};

/* Decodes what a worker has written, and keeps it in memory where it is current. The caller frees
 * *out. `asked` NULL: whatever it is of; not kept. FAILED: it is no result; MISMATCH: another's;
 * OOM; NOT_FOUND: one for fewer than asked->k. */
enum status lookup_decode(stillhouse_client *client, const struct lookup_bytes *from,
                          const struct question *asked, stillhouse_result **out,
                          struct error *err) MUSTCHECK;

/* The result in Redis, in one round trip; kept in memory where it is current. The caller frees it.
 * NOT_FOUND: none, or one for fewer than asked->k. FAILED: what is cached is no result, or not the
 * one that was asked for; then the connection is given up too. */
enum status lookup_fetch(stillhouse_client *client, const struct question *asked,
                         stillhouse_result **out, struct error *err) MUSTCHECK;

/* Appends what the worker pushed for a job to `out`. NOT_FOUND when nothing came within wait_ms. */
enum status await_reply(stillhouse_client *client, const struct queue *queue, const char *id,
                        int wait_ms, struct strbuf *out, struct error *err) MUSTCHECK;

#endif
