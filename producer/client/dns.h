/* client/dns.h - the addresses of one host, found within a bound.
 *
 * Numeric addresses and "localhost" are known at once. Other names go to getaddrinfo(), which no
 * timeout can stop, in a detached thread: the caller waits for it as long as it wants to and may
 * come back for the answer later. There is at most one such thread a host at a time, and it owns
 * all it needs, so the rest may be freed under it. getaddrinfo_a() would do the same inside glibc,
 * but cannot take back a request that has begun either, and other C libraries do not have it.
 *
 * One thread at a time.
 */
#ifndef STILLHOUSE_CLIENT_DNS_H
#define STILLHOUSE_CLIENT_DNS_H

#include "redis/address.h"

struct resolve_lookup; /* shared with the thread */

struct resolve {
    char host[256];
    struct resolve_lookup *lookup; /* NULL: none is under way */
};

void resolve_init(struct resolve *resolve, const char *host);

/* Does not wait for a thread that still runs. */
void resolve_free(struct resolve *resolve);

/* The host's addresses, of now or of the look-up that was not waited for last time. TIMEOUT (it
 * goes on), UNREACHABLE (there is no such host), OOM. */
enum status resolve_addresses(struct resolve *resolve, int timeout_ms, struct redis_addresses *out,
                              struct error *err) MUSTCHECK;

/* In a child of fork() there is no such thread: forgets the look-up under way. */
void resolve_orphan(struct resolve *resolve);

#endif
