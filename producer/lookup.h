/* lookup.h - cached results, as the memory and Redis have them. */
#ifndef STILLHOUSE_PRODUCER_LOOKUP_H
#define STILLHOUSE_PRODUCER_LOOKUP_H

#include "client.h"

/* INVALID where no enrichment could be asked for so. *k becomes the default where it is 0. */
enum status lookup_check(const char *domain, const char *query, int *k,
                         struct error *err) MUSTCHECK;

/* The result in Redis, in one round trip; kept in memory where it is current. The caller frees it.
 * NOT_FOUND: none, or one for fewer than `k`. FAILED: what is cached is no result. */
enum status lookup_fetch(stillhouse_client *client, const char *domain, const char *query, int k,
                         stillhouse_result **out, struct error *err) MUSTCHECK;

/* The bytes of a result. */
struct lookup_bytes {
    const void *data;
    size_t bytes;
    bool epoch_known;
    int64_t epoch; /* of the domain now */
};
/* Decodes what a worker has written, and keeps it in memory where it is current. The caller frees
 * *out. `query` NULL: not kept. FAILED: it is no result; OOM; NOT_FOUND: one for fewer than `k`. */
enum status lookup_decode(stillhouse_client *client, const struct lookup_bytes *from,
                          const char *domain, const char *query, int k, stillhouse_result **out,
                          struct error *err) MUSTCHECK;

#endif
